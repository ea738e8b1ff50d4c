/**
 * A body that arrives in parts, in one piece: no turn of the event loop copies more than a bounded part of it.
 *
 * Room that is not written to costs no memory, so from a megabyte on there is room for the largest body; before, it
 * grows with what has come.
 */
const FIRST_BYTES = 65_536;
const GROWTH = 4;
/** What a copy of takes well under a millisecond. */
const COPIED_BYTES = 1024 * 1024;
const NOTHING = Buffer.alloc(0);

export class BodyBuffer {
  private readonly mostBytes: number;
  private bytes = NOTHING;
  private used = 0;

  constructor(mostBytes: number) {
    this.mostBytes = mostBytes;
  }

  /** False: it is larger than it may be, and let go. */
  add(part: Buffer): boolean {
    const need = this.used + part.length;
    if (need > this.mostBytes) {
      this.take();
      return false;
    }
    if (need > this.bytes.length) {
      const next =
        need > COPIED_BYTES ? this.mostBytes : Math.max(FIRST_BYTES, need, GROWTH * this.bytes.length);
      const larger = Buffer.allocUnsafeSlow(Math.min(next, this.mostBytes));
      this.bytes.copy(larger, 0, 0, this.used);
      this.bytes = larger;
    }
    part.copy(this.bytes, this.used);
    this.used = need;
    return true;
  }

  /** What has come so far, to keep: the buffer is empty after it. */
  take(): Buffer {
    const whole = this.bytes.subarray(0, this.used);
    this.bytes = NOTHING;
    this.used = 0;
    return whole;
  }
}

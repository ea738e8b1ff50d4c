/** Bits of a Zstandard frame (RFC 8878), forwards for tables and backwards for what they decode. */

/** Thrown at what no encoder writes, and caught by the decoder. One object: nothing is known of it but that. */
export const CORRUPT = new Error('no Zstandard');

/** So many bits can be read at once, wherever they begin in a byte. */
const AT_ONCE = 25;

function bitsAt(bytes: Uint8Array, bit: number, count: number): number {
  const at = bit >>> 3;
  const word =
    (bytes[at] ?? 0) |
    ((bytes[at + 1] ?? 0) << 8) |
    ((bytes[at + 2] ?? 0) << 16) |
    ((bytes[at + 3] ?? 0) << 24);
  return (word >>> (bit & 7)) & ((1 << count) - 1);
}

/** From the first bit of `from` on. */
export class ForwardBits {
  private readonly bytes: Uint8Array;
  private readonly from: number;
  private bit = 0;

  constructor(bytes: Uint8Array, from: number) {
    this.bytes = bytes;
    this.from = from;
  }

  peek(count: number): number {
    return bitsAt(this.bytes, this.from * 8 + this.bit, count);
  }

  skip(count: number): void {
    this.bit += count;
  }

  /** Where the next byte is that has not been begun. */
  nextByte(): number {
    return this.from + ((this.bit + 7) >>> 3);
  }
}

/** From the last bit of a part to its first; above the last one is a mark and padding. */
export class BackwardBits {
  private readonly bytes: Uint8Array;
  private readonly firstBit: number;
  private bit: number;

  /** @param to behind the last byte. */
  constructor(bytes: Uint8Array, from: number, to: number) {
    const last = bytes[to - 1] ?? 0;
    if (to <= from || last === 0) throw CORRUPT;
    this.bytes = bytes;
    this.firstBit = from * 8;
    this.bit = (to - 1) * 8 + (31 - Math.clz32(last));
  }

  /** Bits that are left; negative: more were read than there were. */
  left(): number {
    return this.bit - this.firstBit;
  }

  /** The next bits, up to 25; zeros where there are none. */
  peek(count: number): number {
    const begin = this.bit - count;
    if (begin >= this.firstBit) return bitsAt(this.bytes, begin, count);
    const there = this.bit - this.firstBit;
    return there <= 0 ? 0 : bitsAt(this.bytes, this.firstBit, there) << (count - there);
  }

  skip(count: number): void {
    this.bit -= count;
  }

  /** Up to 31 bits. */
  read(count: number): number {
    if (count > AT_ONCE) {
      const upper = this.read(count - 16);
      return upper * 65_536 + this.read(16);
    }
    const value = this.peek(count);
    this.bit -= count;
    return value;
  }
}

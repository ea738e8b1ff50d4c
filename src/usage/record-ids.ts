/**
 * Ids of usage records: UUIDs of version 7 (RFC 9562, section 5.7), which are in the order of time.
 *
 *   48 bits  Unix time in ms; it never goes back
 *   26 bits  a counter of this process, around the version and the variant
 *   48 bits  drawn at the start of the process
 *
 * Two records have one id only if two processes drew the same 48 bits and had the same count in the same millisecond.
 */

const COUNTER_BITS = 26;
const COUNTER_END = 2 ** COUNTER_BITS;
const LOW_BITS = 14;
const MAX_MS = 2 ** 48 - 1;

/** Random bytes that it wants. */
export const RECORD_ID_SEED_BYTES = 10;

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

export class RecordIds {
  readonly #drawn: string;
  #counter: number;
  #ms = 0;

  /** @param seed RECORD_ID_SEED_BYTES random bytes, of this process alone. */
  constructor(seed: Uint8Array) {
    const [a = 0, b = 0, c = 0, d = 0, ...drawn] = seed;
    this.#drawn = drawn.map((byte) => hex(byte, 2)).join('');
    this.#counter = (((a << 24) | (b << 16) | (c << 8) | d) >>> 0) % COUNTER_END;
  }

  /** The next id; later than all before it, also when the clock went back. */
  next(unixMs: number): string {
    if (unixMs > this.#ms && unixMs <= MAX_MS) this.#ms = Math.floor(unixMs);
    this.#counter += 1;
    if (this.#counter >= COUNTER_END) {
      this.#counter = 0;
      this.#ms += 1;
    }
    const ms = hex(this.#ms, 12);
    const high = hex(0x7000 | (this.#counter >>> LOW_BITS), 4);
    const low = hex(0x8000 | (this.#counter & (2 ** LOW_BITS - 1)), 4);
    return `${ms.slice(0, 8)}-${ms.slice(8)}-${high}-${low}-${this.#drawn}`;
  }
}

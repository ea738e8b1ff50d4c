/**
 * Hashes bytes as they come, and gives the hash of every block's beginning-to-end prefix (prompt-blocks.ts).
 *
 * The hash is two chains of 64 bits over alternate words, mixed into one of 64 at each block's end. It is no cryptographic one,
 * but starts from a secret seed with secret multipliers, and a header comes before the first byte: nobody can aim at a
 * collision, and two headers have no hash in common.
 *
 * This is the hot path: text is encoded in pieces into one buffer and read by words. `npm run bench:routing` has the time.
 */
import { decodeInto } from '../openai/json/text.ts';
import { endOfBlock, HASHED_BYTES, HASHED_END, MOST_BLOCKS, PAIR_BYTES } from './prompt-blocks.ts';

const BUFFER_BYTES = 65_536;
/** UTF-8 of a UTF-16 unit. */
const MOST_UNIT_BYTES = 3;
/** Room below which the buffer is emptied first: no piece is so short that cutting costs more than hashing. */
const LEAST_ROOM = 4_096;
/** Shorter ASCII text is copied unit by unit: a call costs more. */
const SHORT_UNITS = 24;
const SAMPLES = 256;
/** Fills a header up to a pair of words. */
const PADDING = 0x1e;

/** The finalizer of MurmurHash3 (A. Appleby), on 32 bits. */
function mix(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

const rotate = (word: number, by: number): number => (word << by) | (word >>> (32 - by));

export class ChainHash {
  readonly #seed: Uint32Array;
  /** Odd, or bits would be lost; with high bits, or they would spread slowly. */
  readonly #factorA: number;
  readonly #factorB: number;

  // Bytes that are not hashed.
  readonly #bytes = Buffer.from(new ArrayBuffer(BUFFER_BYTES));
  readonly #words = new Int32Array(this.#bytes.buffer);
  #fill = 0;
  /** Work beyond the bytes that are hashed, in bytes: of escapes, which are longer than what they say, and of numbers. */
  #extraWork = 0;

  // The chains.
  /** Bytes hashed since the header. */
  #position = 0;
  #a = 0;
  #b = 0;
  #c = 0;
  #d = 0;

  // Their hashes.
  readonly #blocks = new Uint32Array(2 * MOST_BLOCKS);
  #blockCount = 0;
  #high = 0;
  #low = 0;

  /** @param seed six words, secret and random, new ones for each process. */
  constructor(seed: Uint32Array) {
    const [, , , , firstFactor = 0, secondFactor = 0] = seed;
    this.#seed = seed;
    this.#factorA = firstFactor | 0x80000001;
    this.#factorB = secondFactor | 0x40000001;
  }

  /** Starts anew, with a header that no prompt can imitate. */
  begin(...header: readonly string[]): void {
    const [a = 0, b = 0, c = 0, d = 0] = this.#seed;
    this.#fill = 0;
    this.#extraWork = 0;
    this.#a = a;
    this.#b = b;
    this.#c = c;
    this.#d = d;
    this.#restart();
    // Lengths first: no two headers are the same bytes.
    for (const { length } of header) this.feed(`${length},`);
    for (const part of header) this.feed(part);
    while (this.#fill % PAIR_BYTES !== 0) this.mark(PADDING);
    this.#consume();
    this.#restart();
  }

  /** More would not be hashed, or would take too long. */
  isFull(): boolean {
    return this.#blockCount === MOST_BLOCKS || this.#extraWork > HASHED_BYTES;
  }

  /** Counts work that the bytes do not show. */
  work(bytes: number): void {
    this.#extraWork += bytes;
  }

  /** Feeds one byte. */
  mark(byte: number): void {
    if (this.#fill === BUFFER_BYTES) this.#consume();
    this.#bytes[this.#fill] = byte;
    this.#fill += 1;
  }

  /** Feeds text as UTF-8. A piece never ends within a surrogate pair, so the bytes do not depend on where pieces end. */
  feed(text: string): void {
    if (this.#feedShort(text)) return;
    const bytes = this.#bytes;
    let at = 0;
    while (at < text.length && !this.isFull()) {
      const room = BUFFER_BYTES - this.#fill;
      const left = text.length - at;
      if (left * MOST_UNIT_BYTES <= room) {
        this.#fill += bytes.write(at === 0 ? text : text.slice(at), this.#fill, 'utf8');
        return;
      }
      if (room < LEAST_ROOM) {
        this.#consume();
        continue;
      }
      let end = at + Math.min(left, Math.floor(room / MOST_UNIT_BYTES));
      const lastUnit = text.charCodeAt(end - 1);
      if (end < text.length && lastUnit >= 0xd800 && lastUnit < 0xdc00) end -= 1;
      this.#fill += bytes.write(text.slice(at, end), this.#fill, 'utf8');
      at = end;
    }
  }

  /** Feeds UTF-8, from `start` to `end`. @param isEscaped it has JSON escapes: the same bytes however it is written. */
  feedBytes(source: Buffer, start: number, end: number, isEscaped: boolean): void {
    const bytes = this.#bytes;
    let from = start;
    let fill = this.#fill;
    if (end - start <= SHORT_UNITS && !isEscaped && BUFFER_BYTES - fill >= SHORT_UNITS) {
      for (; from < end; from += 1, fill += 1) bytes[fill] = source[from] as number;
      this.#fill = fill;
      return;
    }
    while (from < end && !this.isFull()) {
      if (BUFFER_BYTES - this.#fill < LEAST_ROOM) this.#consume();
      fill = this.#fill;
      if (isEscaped) {
        const decoded = decodeInto(bytes, fill, source, from, end);
        this.#extraWork += decoded.from - from - (decoded.at - fill);
        this.#fill = decoded.at;
        ({ from } = decoded);
      } else {
        const copied = source.copy(bytes, fill, from, end);
        this.#fill = fill + copied;
        from += copied;
      }
    }
  }

  /** Feeds a number. Prompts of token ids have tens of thousands. @param value of 32 bits, not negative. */
  feedWord(value: number): void {
    if (BUFFER_BYTES - this.#fill < 4) this.#consume();
    const bytes = this.#bytes;
    const fill = this.#fill;
    bytes[fill] = value & 0xff;
    bytes[fill + 1] = (value >>> 8) & 0xff;
    bytes[fill + 2] = (value >>> 16) & 0xff;
    bytes[fill + 3] = value >>> 24;
    this.#fill = fill + 4;
  }

  /** Feeds long data by its length, SAMPLES of its bytes, and its end. */
  feedSampled(source: Buffer, start: number, end: number): void {
    const step = (end - start) / SAMPLES;
    this.feed(`${end - start}:`);
    if (BUFFER_BYTES - this.#fill < LEAST_ROOM) this.#consume();
    const bytes = this.#bytes;
    const fill = this.#fill;
    for (let i = 0; i < SAMPLES; i += 1) bytes[fill + i] = source[start + Math.floor(i * step)] as number;
    this.#fill = fill + SAMPLES;
    this.feedBytes(source, end - SAMPLES, end, false);
  }

  /** Gives 53 bits of all that was fed so far. */
  sum(): number {
    this.#consume();
    let rest = 0;
    for (let i = 0; i < this.#fill; i += 1) rest = Math.imul(rest ^ (this.#bytes[i] as number), 0x01000193);
    this.#finish(this.#position + this.#fill);
    return (mix(this.#high ^ rest) & 0x1fffff) * 2 ** 32 + mix(this.#low ^ rest);
  }

  /** Ends it: gives two words for each full block, and the bytes since the header. */
  end(): { readonly blocks: Uint32Array; readonly bytes: number } {
    this.#consume();
    const isWhole = this.#blockCount === MOST_BLOCKS;
    return {
      blocks: this.#blocks.slice(0, 2 * this.#blockCount),
      bytes: isWhole ? HASHED_END : this.#position + this.#fill,
    };
  }

  #restart(): void {
    this.#position = 0;
    this.#blockCount = 0;
  }

  /** True if it was short and ASCII, and is in the buffer. */
  #feedShort(text: string): boolean {
    const { length } = text;
    const bytes = this.#bytes;
    const fill = this.#fill;
    if (length > SHORT_UNITS || BUFFER_BYTES - fill < SHORT_UNITS) return false;
    for (let i = 0; i < length; i += 1) {
      const unit = text.charCodeAt(i);
      // What was written so far is overwritten by the call.
      if (unit >= 0x80) return false;
      bytes[fill + i] = unit;
    }
    this.#fill = fill + length;
    return true;
  }

  /** Hashes what is in the buffer, to the last full pair of words; the rest moves to the front. */
  #consume(): void {
    const all = this.#fill >>> 3;
    let pair = 0;
    while (pair < all && this.#blockCount < MOST_BLOCKS) {
      const blockEnd = endOfBlock(this.#blockCount);
      const stop = Math.min(all, pair + ((blockEnd - this.#position) >>> 3));
      this.#position += (stop - pair) * PAIR_BYTES;
      this.#hashPairs(pair, stop);
      pair = stop;
      if (this.#position !== blockEnd) continue;
      this.#finish(blockEnd);
      this.#blocks[2 * this.#blockCount] = this.#high;
      this.#blocks[2 * this.#blockCount + 1] = this.#low;
      this.#blockCount += 1;
    }
    const done = all * PAIR_BYTES;
    this.#bytes.copyWithin(0, done, this.#fill);
    this.#fill -= done;
  }

  #hashPairs(first: number, stop: number): void {
    // Locals that V8 knows to be 32-bit integers: four times as fast.
    const fa = this.#factorA;
    const fb = this.#factorB;
    const words = this.#words;
    let a = this.#a | 0;
    let b = this.#b | 0;
    let c = this.#c | 0;
    let d = this.#d | 0;
    for (let pair = first; pair < stop; pair += 1) {
      const even = words[2 * pair] as number;
      const odd = words[2 * pair + 1] as number;
      a = Math.imul(a ^ even, fa);
      a ^= a >>> 15;
      b = Math.imul((b + even) | 0, fb);
      b ^= b >>> 13;
      c = Math.imul(c ^ odd, fa);
      c ^= c >>> 15;
      d = Math.imul((d + odd) | 0, fb);
      d ^= d >>> 13;
    }
    this.#a = a;
    this.#b = b;
    this.#c = c;
    this.#d = d;
  }

  #finish(length: number): void {
    this.#high = mix((this.#a ^ rotate(this.#c, 17)) + length);
    this.#low = mix((this.#b + rotate(this.#d, 11)) ^ length);
  }
}

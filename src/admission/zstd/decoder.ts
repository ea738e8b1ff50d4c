/**
 * Zstandard (RFC 8878), a block at a time: not every Node.js that serves has it. What has come out is the window, so the memory
 * is that of the result, whatever window a frame asks for. Without dictionaries; checksums are not compared, as the RFC allows.
 *
 * Invariants: a step makes 128 KiB at most; no more comes out than may; blocks are bounded, as well as bytes.
 */
import { BackwardBits, CORRUPT } from './bits.ts';
import { type FseTable, readTable, tableOfOne } from './fse.ts';
import { decodeStream, type HuffmanTable, readHuffman } from './huffman.ts';
import { type Codes, LITERAL_LENGTHS, MATCH_LENGTHS, OFFSETS } from './sequences.ts';

export type ZstdResult =
  | { readonly kind: 'ok'; readonly bytes: Uint8Array }
  | { readonly kind: 'too-large' }
  | { readonly kind: 'broken' };

const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
const MAX_BLOCK = 131_072;
const FIRST_BYTES = 65_536;
/** Room that is not written to costs no memory: from here on there is room for all, and nothing is copied again. */
const COPIED_BYTES = 1024 * 1024;
/** Of all frames: each may bring tables, which cost more than what it says. Encoders make one of 128 KiB. */
const MOST_BLOCKS = 8_192;
const TOO_LARGE = new Error('larger than it may be');
const BLOCK = { raw: 0, rle: 1, compressed: 2 } as const;
const LITERALS = { raw: 0, rle: 1, treeless: 3 } as const;
const MODE = { predefined: 0, rle: 1, compressed: 2 } as const;

/** What a frame has told of itself and of the blocks to come. */
interface Frame {
  /** Of the output. */
  readonly begin: number;
  /** Bytes that it says it has. */
  readonly size: number | undefined;
  readonly hasChecksum: boolean;
  huffman: HuffmanTable | undefined;
  lengths: FseTable | undefined;
  offsets: FseTable | undefined;
  matches: FseTable | undefined;
  /** The latest offsets. */
  repeated: [number, number, number];
}

export class ZstdDecoder {
  private readonly input: Uint8Array;
  private readonly most: number;
  private at = 0;
  private frame: Frame | undefined = undefined;
  private output = new Uint8Array(0);
  private used = 0;
  /** Blocks and beginnings of frames that there have been. */
  private blocks = 0;

  /** @param most bytes that may come out. */
  constructor(input: Uint8Array, most: number) {
    this.input = input;
    this.most = most;
  }

  /** @returns undefined: there is more to do. */
  step(): ZstdResult | undefined {
    try {
      this.blocks += 1;
      if (this.blocks > MOST_BLOCKS) throw CORRUPT;
      if (this.frame !== undefined) this.block(this.frame);
      else if (this.at < this.input.length || this.at === 0) this.frameBegins();
      else return { kind: 'ok', bytes: this.output.subarray(0, this.used) };
      return undefined;
    } catch (error) {
      if (error === CORRUPT) return { kind: 'broken' };
      if (error === TOO_LARGE) return { kind: 'too-large' };
      throw error;
    }
  }

  /** A number in the input, least byte first. */
  private number(bytes: number): number {
    if (this.at + bytes > this.input.length) throw CORRUPT;
    let value = 0;
    for (let i = bytes - 1; i >= 0; i -= 1) value = value * 256 + (this.input[this.at + i] ?? 0);
    this.at += bytes;
    return value;
  }

  /** Makes room for so many bytes more. */
  private room(bytes: number): void {
    const need = this.used + bytes;
    if (need > this.most) throw TOO_LARGE;
    if (need <= this.output.length) return;
    const next = need > COPIED_BYTES ? this.most : Math.max(need, FIRST_BYTES, 2 * this.output.length);
    const larger = Buffer.allocUnsafeSlow(Math.min(this.most, next));
    larger.set(this.output.subarray(0, this.used));
    this.output = larger;
  }

  private frameBegins(): void {
    const magic = this.number(4);
    if (magic >= SKIPPABLE && magic < SKIPPABLE + 16) {
      const bytes = this.number(4);
      if (this.at + bytes > this.input.length) throw CORRUPT;
      this.at += bytes;
      return;
    }
    if (magic !== MAGIC) throw CORRUPT;
    const flags = this.number(1);
    const isSingle = (flags & 32) !== 0;
    // The window: all that has come out is one.
    if (!isSingle) this.number(1);
    // A reserved bit, or a dictionary.
    if ((flags & 8) !== 0 || this.number([0, 1, 2, 4][flags & 3] ?? 0) !== 0) throw CORRUPT;
    const width = [isSingle ? 1 : 0, 2, 4, 8][flags >>> 6] ?? 0;
    const size = width === 0 ? undefined : this.number(width) + (width === 2 ? 256 : 0);
    if (size !== undefined) this.room(size);
    this.frame = {
      begin: this.used,
      size,
      hasChecksum: (flags & 4) !== 0,
      huffman: undefined,
      lengths: undefined,
      offsets: undefined,
      matches: undefined,
      repeated: [1, 4, 8],
    };
  }

  private frameEnds({ begin, size, hasChecksum }: Frame): void {
    if (hasChecksum) this.number(4);
    if (size !== undefined && size !== this.used - begin) throw CORRUPT;
    this.frame = undefined;
  }

  private block(frame: Frame): void {
    const head = this.number(3);
    const type = (head >>> 1) & 3;
    const size = head >>> 3;
    if (size > MAX_BLOCK) throw CORRUPT;
    const begin = this.at;
    const end = begin + (type === BLOCK.rle ? 1 : size);
    if (end > this.input.length) throw CORRUPT;
    if (type === BLOCK.raw) this.copyIn(this.input, begin, end);
    else if (type === BLOCK.rle) this.fill(this.input[begin] ?? 0, size);
    else if (type === BLOCK.compressed) this.compressed(frame, end);
    else throw CORRUPT;
    this.at = end;
    if ((head & 1) === 1) this.frameEnds(frame);
  }

  private copyIn(bytes: Uint8Array, from: number, to: number): void {
    this.room(to - from);
    this.output.set(bytes.subarray(from, to), this.used);
    this.used += to - from;
  }

  private fill(byte: number, count: number): void {
    this.room(count);
    this.output.fill(byte, this.used, this.used + count);
    this.used += count;
  }

  // --- compressed blocks

  private compressed(frame: Frame, end: number): void {
    const literals = this.literals(frame, end);
    const begin = this.used;
    const first = this.within(1, end);
    const count =
      first < 128
        ? first
        : first < 255
          ? (first - 128) * 256 + this.within(1, end)
          : this.within(2, end) + 0x7f00;
    if (count === 0) {
      if (this.at !== end) throw CORRUPT;
      this.copyIn(literals, 0, literals.length);
      return;
    }
    const modes = this.within(1, end);
    if ((modes & 3) !== 0) throw CORRUPT;
    frame.lengths = this.table(modes >>> 6, LITERAL_LENGTHS, frame.lengths, end);
    frame.offsets = this.table((modes >>> 4) & 3, OFFSETS, frame.offsets, end);
    frame.matches = this.table((modes >>> 2) & 3, MATCH_LENGTHS, frame.matches, end);
    const tables = { lengths: frame.lengths, offsets: frame.offsets, matches: frame.matches };
    this.sequences(frame, tables, literals, count, [end, begin + MAX_BLOCK]);
  }

  private within(bytes: number, end: number): number {
    const value = this.number(bytes);
    if (this.at > end) throw CORRUPT;
    return value;
  }

  private table(mode: number, codes: Codes, previous: FseTable | undefined, end: number): FseTable {
    switch (mode) {
      case MODE.predefined:
        return codes.predefined;
      case MODE.rle: {
        const symbol = this.within(1, end);
        if (symbol > codes.most.symbol) throw CORRUPT;
        return tableOfOne(symbol);
      }
      case MODE.compressed: {
        const { table, end: next } = readTable(this.input, this.at, end, codes.most);
        this.at = next;
        return table;
      }
      default:
        if (previous === undefined) throw CORRUPT;
        return previous;
    }
  }

  private literals(frame: Frame, end: number): Uint8Array {
    const { input } = this;
    const head = input[this.at] ?? 0;
    const type = head & 3;
    const format = (head >>> 2) & 3;
    if (type === LITERALS.raw || type === LITERALS.rle) {
      const width = format === 1 ? 2 : format === 3 ? 3 : 1;
      const size = this.within(width, end) >>> (width === 1 ? 3 : 4);
      const from = this.at;
      this.at += type === LITERALS.raw ? size : 1;
      if (size > MAX_BLOCK || this.at > end) throw CORRUPT;
      return type === LITERALS.raw
        ? input.subarray(from, this.at)
        : new Uint8Array(size).fill(input[from] ?? 0);
    }
    const width = format < 2 ? 3 : format + 2;
    const sizeBits = format < 2 ? 10 : format === 2 ? 14 : 18;
    const packed = Math.floor(this.within(width, end) / 16);
    const size = packed % 2 ** sizeBits;
    const literalsEnd = this.at + Math.floor(packed / 2 ** sizeBits);
    if (size > MAX_BLOCK || literalsEnd > end) throw CORRUPT;
    if (type !== LITERALS.treeless) {
      const { table, end: next } = readHuffman(input, this.at, literalsEnd);
      frame.huffman = table;
      this.at = next;
    }
    if (frame.huffman === undefined) throw CORRUPT;
    const literals = new Uint8Array(size);
    this.streams(frame.huffman, literals, literalsEnd, format === 0);
    this.at = literalsEnd;
    return literals;
  }

  private streams(table: HuffmanTable, into: Uint8Array, end: number, isOne: boolean): void {
    if (isOne) {
      decodeStream(table, this.input, [this.at, end], into);
      return;
    }
    const sizes = [this.within(2, end), this.within(2, end), this.within(2, end)];
    const part = (into.length + 3) >>> 2;
    let from = this.at;
    for (let i = 0; i < 4; i += 1) {
      const to = i === 3 ? end : from + (sizes[i] ?? 0);
      if (to > end || 3 * part > into.length) throw CORRUPT;
      decodeStream(
        table,
        this.input,
        [from, to],
        into.subarray(i * part, i === 3 ? into.length : (i + 1) * part),
      );
      from = to;
    }
  }

  private sequences(
    frame: Frame,
    { lengths, offsets, matches }: { lengths: FseTable; offsets: FseTable; matches: FseTable },
    literals: Uint8Array,
    count: number,
    [end, mostUsed]: readonly [number, number],
  ): void {
    const source = new BackwardBits(this.input, this.at, end);
    let lengthState = source.read(lengths.accuracyLog);
    let offsetState = source.read(offsets.accuracyLog);
    let matchState = source.read(matches.accuracyLog);
    let taken = 0;
    for (let i = 0; i < count; i += 1) {
      const ofOffset = offsets.symbols[offsetState] ?? 0;
      const ofMatch = matches.symbols[matchState] ?? 0;
      const ofLength = lengths.symbols[lengthState] ?? 0;
      const offset = (OFFSETS.base[ofOffset] ?? 0) + source.read(ofOffset);
      const match = (MATCH_LENGTHS.base[ofMatch] ?? 0) + source.read(MATCH_LENGTHS.extra[ofMatch] ?? 0);
      const length =
        (LITERAL_LENGTHS.base[ofLength] ?? 0) + source.read(LITERAL_LENGTHS.extra[ofLength] ?? 0);
      if (taken + length > literals.length || this.used + length + match > mostUsed) throw CORRUPT;
      this.copyIn(literals, taken, taken + length);
      taken += length;
      this.repeat(offsetOf(frame.repeated, offset, length), match, frame.begin);
      if (i === count - 1) break;
      lengthState = (lengths.next[lengthState] ?? 0) + source.read(lengths.bits[lengthState] ?? 0);
      matchState = (matches.next[matchState] ?? 0) + source.read(matches.bits[matchState] ?? 0);
      offsetState = (offsets.next[offsetState] ?? 0) + source.read(offsets.bits[offsetState] ?? 0);
      if (source.left() < 0) throw CORRUPT;
    }
    if (source.left() !== 0 || this.used + literals.length - taken > mostUsed) throw CORRUPT;
    this.copyIn(literals, taken, literals.length);
  }

  /** Copies what came out `offset` bytes ago, which may reach into itself. */
  private repeat(offset: number, count: number, begin: number): void {
    if (offset <= 0 || offset > this.used - begin) throw CORRUPT;
    this.room(count);
    const { output } = this;
    const from = this.used - offset;
    if (offset >= count) output.copyWithin(this.used, from, from + count);
    else for (let i = 0; i < count; i += 1) output[this.used + i] = output[from + i] ?? 0;
    this.used += count;
  }
}

/** The offset that a value means, and what are the latest three after it. */
function offsetOf(repeated: Frame['repeated'], value: number, literals: number): number {
  const [first, second, third] = repeated;
  const which = value > 3 ? 0 : literals === 0 ? value + 1 : value;
  const offset = which === 0 ? value - 3 : ([first, second, third, first - 1][which - 1] ?? 0);
  if (which === 1) return offset;
  repeated[0] = offset;
  repeated[1] = first;
  if (which !== 2) repeated[2] = second;
  return offset;
}

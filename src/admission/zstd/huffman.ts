/** Huffman's codes of the literals, RFC 8878, 4.2. */
import { BackwardBits, CORRUPT } from './bits.ts';
import { readTable } from './fse.ts';

export interface HuffmanTable {
  /** The longest code. */
  readonly maxBits: number;
  /** By the next `maxBits` bits. */
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
}

const MAX_BITS = 11;
const MAX_SYMBOLS = 255;
const WEIGHTS = { symbol: 255, accuracyLog: 6 };

/** Weights as they are written: of all symbols but the last. */
function readWeights(bytes: Uint8Array, from: number, to: number): { weights: number[]; end: number } {
  const head = bytes[from] ?? 0;
  const weights: number[] = [];
  const begin = from + 1;
  if (head >= 128) {
    const count = head - 127;
    const end = begin + ((count + 1) >>> 1);
    if (end > to) throw CORRUPT;
    for (let i = 0; i < count; i += 1) {
      const pair = bytes[begin + (i >>> 1)] ?? 0;
      weights.push(i % 2 === 0 ? pair >>> 4 : pair & 15);
    }
    return { weights, end };
  }
  const end = begin + head;
  if (end > to) throw CORRUPT;
  const { table, end: bitsBegin } = readTable(bytes, begin, end, WEIGHTS);
  const source = new BackwardBits(bytes, bitsBegin, end);
  const { accuracyLog, symbols, bits, next } = table;
  // Two states take turns; the first that finds no bits is the last but one symbol.
  let state = source.read(accuracyLog);
  let other = source.read(accuracyLog);
  if (source.left() < 0) throw CORRUPT;
  while (weights.length < MAX_SYMBOLS) {
    weights.push(symbols[state] ?? 0);
    const advanced = (next[state] ?? 0) + source.read(bits[state] ?? 0);
    if (source.left() < 0) {
      weights.push(symbols[other] ?? 0);
      return { weights, end };
    }
    state = other;
    other = advanced;
  }
  throw CORRUPT;
}

/** @returns the table, and where what follows it is. */
export function readHuffman(
  bytes: Uint8Array,
  from: number,
  to: number,
): { readonly table: HuffmanTable; readonly end: number } {
  const { weights, end } = readWeights(bytes, from, to);
  if (weights.length > MAX_SYMBOLS) throw CORRUPT;
  let sum = 0;
  for (const weight of weights) {
    if (weight > MAX_BITS) throw CORRUPT;
    if (weight > 0) sum += 1 << (weight - 1);
  }
  if (sum === 0) throw CORRUPT;
  const maxBits = 32 - Math.clz32(sum);
  const rest = (1 << maxBits) - sum;
  if (maxBits > MAX_BITS || (rest & (rest - 1)) !== 0) throw CORRUPT;
  weights.push(32 - Math.clz32(rest));
  const symbols = new Uint8Array(1 << maxBits);
  const bits = new Uint8Array(1 << maxBits);
  let at = 0;
  for (let weight = 1; weight <= maxBits; weight += 1) {
    const width = 1 << (weight - 1);
    weights.forEach((one, symbol) => {
      if (one !== weight) return;
      symbols.fill(symbol, at, at + width);
      bits.fill(maxBits + 1 - weight, at, at + width);
      at += width;
    });
  }
  return { table: { maxBits, symbols, bits }, end };
}

/** Decodes one stream, all of it. */
export function decodeStream(
  { maxBits, symbols, bits }: HuffmanTable,
  bytes: Uint8Array,
  [from, to]: readonly [number, number],
  into: Uint8Array,
): void {
  const source = new BackwardBits(bytes, from, to);
  for (let i = 0; i < into.length; i += 1) {
    const code = source.peek(maxBits);
    into[i] = symbols[code] ?? 0;
    source.skip(bits[code] ?? 0);
  }
  if (source.left() !== 0) throw CORRUPT;
}

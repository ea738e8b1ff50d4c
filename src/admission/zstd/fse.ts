/** Tables of finite state entropy, RFC 8878, 4.1. */
import { CORRUPT, ForwardBits } from './bits.ts';

export interface FseTable {
  readonly accuracyLog: number;
  /** By state. */
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
  readonly next: Uint16Array;
}

/** A table that has one symbol, of no bits. */
export const tableOfOne = (symbol: number): FseTable => ({
  accuracyLog: 0,
  symbols: new Uint8Array([symbol]),
  bits: new Uint8Array(1),
  next: new Uint16Array(1),
});

/** @param counts of each symbol, together 2 ** accuracyLog; -1: less than one. */
export function buildTable(counts: ArrayLike<number>, accuracyLog: number): FseTable {
  const size = 1 << accuracyLog;
  const symbols = new Uint8Array(size);
  const bits = new Uint8Array(size);
  const next = new Uint16Array(size);
  const following = new Uint16Array(counts.length);
  let high = size - 1;
  for (let symbol = 0; symbol < counts.length; symbol += 1) {
    const count = counts[symbol] ?? 0;
    following[symbol] = count === -1 ? 1 : count;
    if (count !== -1) continue;
    symbols[high] = symbol;
    high -= 1;
  }
  const step = (size >>> 1) + (size >>> 3) + 3;
  let at = 0;
  for (let symbol = 0; symbol < counts.length; symbol += 1) {
    for (let i = counts[symbol] ?? 0; i > 0; i -= 1) {
      symbols[at] = symbol;
      do at = (at + step) & (size - 1);
      while (at > high);
    }
  }
  if (at !== 0) throw CORRUPT;
  for (let state = 0; state < size; state += 1) {
    const symbol = symbols[state] ?? 0;
    const value = following[symbol] ?? 0;
    following[symbol] = value + 1;
    const count = accuracyLog - (31 - Math.clz32(value));
    bits[state] = count;
    next[state] = (value << count) - size;
  }
  return { accuracyLog, symbols, bits, next };
}

/** Reads a table. @param to behind the last byte that may belong to it. @returns it, and where what follows it is. */
export function readTable(
  bytes: Uint8Array,
  from: number,
  to: number,
  most: { readonly symbol: number; readonly accuracyLog: number },
): { readonly table: FseTable; readonly end: number } {
  const source = new ForwardBits(bytes, from);
  const accuracyLog = source.peek(4) + 5;
  source.skip(4);
  if (accuracyLog > most.accuracyLog) throw CORRUPT;
  const counts: number[] = [];
  let threshold = 1 << accuracyLog;
  let width = accuracyLog + 1;
  let remaining = threshold + 1;
  while (remaining > 1) {
    const least = 2 * threshold - 1 - remaining;
    let count = source.peek(width) & (threshold - 1);
    if (count < least) source.skip(width - 1);
    else {
      count = source.peek(width);
      if (count >= threshold) count -= least;
      source.skip(width);
    }
    count -= 1;
    remaining -= Math.abs(count);
    counts.push(count);
    if (count === 0) {
      let more: number;
      do {
        more = source.peek(2);
        source.skip(2);
        for (let i = 0; i < more; i += 1) counts.push(0);
      } while (more === 3 && counts.length <= most.symbol);
    }
    if (counts.length > most.symbol + 1 || source.nextByte() > to) throw CORRUPT;
    while (remaining < threshold && threshold > 1) {
      width -= 1;
      threshold >>>= 1;
    }
  }
  if (remaining !== 1) throw CORRUPT;
  return { table: buildTable(counts, accuracyLog), end: source.nextByte() };
}

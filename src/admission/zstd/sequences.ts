/** The codes of sequences and their tables, RFC 8878, 3.1.1.3.2. */
import { buildTable, type FseTable } from './fse.ts';

export interface Codes {
  /** By code: what it begins with, and how many bits are added to it. */
  readonly base: Int32Array;
  readonly extra: Uint8Array;
  readonly most: { readonly symbol: number; readonly accuracyLog: number };
  /** The table that need not be written. */
  readonly predefined: FseTable;
}

function codes(
  first: number,
  extra: readonly number[],
  accuracyLog: number,
  counts: readonly number[],
  predefinedLog: number,
): Codes {
  const base = new Int32Array(extra.length);
  let value = first;
  extra.forEach((bits, code) => {
    base[code] = value;
    value += 2 ** bits;
  });
  return {
    base,
    extra: new Uint8Array(extra),
    most: { symbol: extra.length - 1, accuracyLog },
    predefined: buildTable(counts, predefinedLog),
  };
}

const zeros = (count: number): readonly number[] => Array.from({ length: count }, () => 0);

// biome-ignore format: as the RFC has them
export const LITERAL_LENGTHS = codes(
  0,
  [...zeros(16), 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  9,
  [4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1],
  6,
);
// biome-ignore format: as the RFC has them
export const MATCH_LENGTHS = codes(
  3,
  [...zeros(32), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  9,
  [
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
  ],
  6,
);
/** A code is the number of bits. More than 30 reach back further than any body is long. */
// biome-ignore format: as the RFC has them
export const OFFSETS = codes(
  1,
  Array.from({ length: 31 }, (_, bits) => bits),
  8,
  [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1],
  5,
);

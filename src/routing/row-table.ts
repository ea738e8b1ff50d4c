/**
 * Open hash tables of row numbers, for rows that are kept in typed arrays: linear probing, deletion by shifting back
 * (D. Knuth, TAOCP 3, 6.4, algorithm R). Row r is there as r + 1; 0 is an empty place. No object is made for a row.
 *
 * Finding is the caller's: it compares its own arrays, and that loop has to be inlined.
 */

/** Places for so many rows, at most half of them used. */
export const tableSize = (rows: number): number => 2 ** Math.ceil(Math.log2(Math.max(2, 2 * rows)));

/** Mixes a word (the finalizer of MurmurHash3, A. Appleby, without its last step). */
export const rowHash = (word: number): number => {
  const h = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  return (h ^ (h >>> 13)) >>> 0;
};

export function insertRow(table: Int32Array, hash: number, row: number): void {
  const mask = table.length - 1;
  let at = hash & mask;
  while (table[at] !== 0) at = (at + 1) & mask;
  table[at] = row + 1;
}

/** The row has to be there. */
export function deleteRow(
  table: Int32Array,
  hash: number,
  row: number,
  hashOf: (row: number) => number,
): void {
  const mask = table.length - 1;
  let hole = hash & mask;
  while (table[hole] !== row + 1) hole = (hole + 1) & mask;
  for (let at = (hole + 1) & mask; table[at] !== 0; at = (at + 1) & mask) {
    const other = table[at] as number;
    const home = hashOf(other - 1) & mask;
    // It may move back if its home is not between the hole and itself.
    if (((at - home) & mask) < ((at - hole) & mask)) continue;
    table[hole] = other;
    hole = at;
  }
  table[hole] = 0;
}

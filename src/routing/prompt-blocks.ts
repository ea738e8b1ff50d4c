/**
 * Where the blocks of a prompt end. That depends on their place alone, so two prompts with the same first bytes have the same
 * first blocks. Blocks grow with their place, to 1/GROWTH of what is before them: a match is known to a sixteenth, and a
 * megabyte takes a hundred blocks.
 */
const FIRST_BLOCK = 256;
/** A block has this part of the bytes before it. */
const GROWTH = 16;
/** Blocks end between pairs of words of 32 bits: what is hashed at once. */
export const PAIR_BYTES = 8;
/** Beyond it a prompt is not read: what follows is known by its beginning. */
export const HASHED_BYTES = 2 ** 20;

/** In bytes from the prompt's beginning. */
const ENDS: readonly number[] = (() => {
  const ends: number[] = [];
  for (let end = FIRST_BLOCK; end <= HASHED_BYTES; ) {
    ends.push(end);
    end += Math.max(FIRST_BLOCK, Math.floor(end / GROWTH / PAIR_BYTES) * PAIR_BYTES);
  }
  return ends;
})();
export const MOST_BLOCKS = ENDS.length;
/** Where the last block ends, in bytes. */
export const HASHED_END = ENDS[MOST_BLOCKS - 1] ?? 0;

/** Where the block ends, in bytes. */
export const endOfBlock = (index: number): number => ENDS[index] ?? HASHED_END;

/** The hashes by which an engine finds blocks again: each with all before it, of text that only grows. */
export interface BlockChain {
  append(text: string): void;
  /** Characters. */
  length(): number;
  /** Of the full blocks. */
  hashes(): readonly string[];
}

const PRIME = 16_777_619;
const OTHER_PRIME = 0x5bd1e995;

/** FNV-1a and a second one with another factor; nothing of src/route is used, so that a fault there is seen. */
export function createBlockChain(salt: string, blockCharacters: number): BlockChain {
  let high = 2_166_136_261;
  let low = 0x9747b28c;
  let length = 0;
  const hashes: string[] = [];
  const feed = (unit: number): void => {
    high = Math.imul(high ^ unit, PRIME);
    low = Math.imul(low ^ unit, OTHER_PRIME);
    low ^= low >>> 15;
  };
  for (let i = 0; i < salt.length; i += 1) feed(salt.charCodeAt(i));
  return {
    append(text) {
      for (let i = 0; i < text.length; i += 1) {
        feed(text.charCodeAt(i));
        length += 1;
        if (length % blockCharacters === 0) hashes.push(`${high.toString(36)}${low.toString(36)}`);
      }
    },
    length: () => length,
    hashes: () => hashes,
  };
}

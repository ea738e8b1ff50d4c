/**
 * Which endpoint has which beginnings of prompts in its cache, as far as can be known from what was sent there.
 *
 * Engines evict whole blocks by least recent use, the end of a prompt before its beginning. So does this index, for each
 * endpoint within the bytes of prompt that its KV cache holds: what was sent too long ago is not expected there any more.
 *
 * An entry is a block at an endpoint. Blocks and entries are rows of typed arrays that grow up to `maxEntries` and are found by
 * two open hash tables (linear probing, deletion by shifting back: D. Knuth, TAOCP 3, 6.4, algorithm R); no object is made
 * for either.
 *
 * Invariants:
 * - What is found for a scope was inserted for it: the hashes are its own (prompt-hash.ts).
 * - An endpoint that has a block has all blocks before it: the later one is always the longer unused.
 * - Entries ≤ maxEntries, and each endpoint's bytes ≤ its capacity.
 */
import { endOfBlock, MOST_BLOCKS } from './prompt-hash.ts';

export interface PrefixIndex {
  /** An endpoint's place; the smallest that is free. */
  attach(): number;
  /** Its place is free, and what was in its cache is forgotten. */
  detach(slot: number): void;
  /** What was in its cache is gone: it was restarted, or slept. */
  forget(slot: number): void;
  /** Bytes of prompt that its cache holds. */
  setCapacity(slot: number, bytes: number): void;
  /** The prompt is or was computed there. Its last blocks will be evicted first. */
  touch(slot: number, blocks: Uint32Array): void;
  /**
   * What of the prompt is where. Valid until the next call. Time goes by the number of blocks, and by the endpoints of the
   * places where their number falls; not by their product.
   */
  lookup(blocks: Uint32Array): PrefixMatch;
  /** Entries, of all endpoints. */
  size(): number;
  bytesOf(slot: number): number;
  /** Of all arrays. */
  memoryBytes(): number;
}

/** Bytes of the prompt, from its beginning. */
interface PrefixMatch {
  /** By slot. 0 for endpoints that have no more than `matchedEverywhere`. */
  readonly matchedBytes: Uint32Array;
  /** Every endpoint has so much. */
  readonly matchedEverywhere: number;
}

export interface PrefixIndexConfig {
  /** Entries of all endpoints together: about 60 bytes of memory each. */
  readonly maxEntries: number;
  /** Bytes of prompt for an endpoint whose capacity nobody knows. */
  readonly defaultBytes: number;
}

/** 31 MB. An H100 with an 8B model caches 1.7 MB of text, about 6,000 entries: enough for 80 of them. */
export const DEFAULT_PREFIX_INDEX: PrefixIndexConfig = { maxEntries: 2 ** 19, defaultBytes: 2 ** 21 };

const FIRST_ROWS = 1_024;
const FIRST_SLOTS = 16;
const NONE = -1;
/** Entries that are taken at once from the endpoint with the most, when another has less than its share. */
const TAKEN_AT_ONCE = 64;
/** Endpoints that one lookup visits at most, the deepest matches first. */
const MOST_VISITS = 8_192;

/** Of tables of row numbers. Row r is there as r + 1. */
const indexHash = (word: number): number => {
  const h = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  return (h ^ (h >>> 13)) >>> 0;
};
const entryHash = (block: number, slot: number): number =>
  indexHash(Math.imul(block, 0x9e3779b1) ^ Math.imul(slot + 1, 0x27d4eb2f));

function insertRow(table: Int32Array, hash: number, row: number): void {
  const mask = table.length - 1;
  let at = hash & mask;
  while (table[at] !== 0) at = (at + 1) & mask;
  table[at] = row + 1;
}

function deleteRow(table: Int32Array, hash: number, row: number, hashOf: (row: number) => number): void {
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

function grown<T extends Int32Array | Uint32Array>(array: T, length: number): T {
  const larger = (array instanceof Int32Array ? new Int32Array(length) : new Uint32Array(length)) as T;
  larger.set(array);
  return larger;
}

export function createPrefixIndex({ maxEntries, defaultBytes }: PrefixIndexConfig): PrefixIndex {
  let rows = Math.min(FIRST_ROWS, maxEntries);

  // Blocks. Free ones are a list by `first`.
  let blockHigh = new Uint32Array(rows);
  let blockLow = new Uint32Array(rows);
  let blockBytes = new Uint32Array(rows);
  let blockFirst = new Int32Array(rows);
  let blockCount = new Int32Array(rows);
  let blockTable = new Int32Array(tableSize(rows));
  let freeBlock = NONE;
  let blocksMade = 0;

  // Entries. `next` and `previous` are those of the block, `older` and `newer` those of the endpoint. Free ones: by `next`.
  let entryBlock = new Int32Array(rows);
  let entrySlot = new Int32Array(rows);
  let entryNext = new Int32Array(rows);
  let entryPrevious = new Int32Array(rows);
  let entryOlder = new Int32Array(rows);
  let entryNewer = new Int32Array(rows);
  let entryTable = new Int32Array(tableSize(rows));
  let freeEntry = NONE;
  let entriesMade = 0;
  let size = 0;

  // Endpoints.
  let slots = FIRST_SLOTS;
  let oldest = new Int32Array(slots).fill(NONE);
  let newest = new Int32Array(slots).fill(NONE);
  let entries = new Int32Array(slots);
  let usedBytes = new Float64Array(slots);
  let capacity = new Float64Array(slots);
  let matched = new Uint32Array(slots);
  let touched = new Int32Array(slots);
  let touchedCount = 0;
  const attached: boolean[] = [];
  let attachedCount = 0;

  const path = new Int32Array(MOST_BLOCKS);

  function tableSize(forRows: number): number {
    return 2 ** Math.ceil(Math.log2(Math.max(2, 2 * forRows)));
  }

  const hashOfBlock = (block: number): number => blockLow[block] as number;
  const hashOfEntry = (entry: number): number =>
    entryHash(entryBlock[entry] as number, entrySlot[entry] as number);

  const findBlock = (high: number, low: number): number => {
    const mask = blockTable.length - 1;
    for (let at = low & mask; ; at = (at + 1) & mask) {
      const block = (blockTable[at] as number) - 1;
      if (block < 0 || (blockLow[block] === low && blockHigh[block] === high)) return block;
    }
  };

  const findEntry = (block: number, slot: number): number => {
    const mask = entryTable.length - 1;
    for (let at = entryHash(block, slot) & mask; ; at = (at + 1) & mask) {
      const entry = (entryTable[at] as number) - 1;
      if (entry < 0 || (entryBlock[entry] === block && entrySlot[entry] === slot)) return entry;
    }
  };

  const growRows = (): void => {
    rows = Math.min(maxEntries, 2 * rows);
    blockHigh = grown(blockHigh, rows);
    blockLow = grown(blockLow, rows);
    blockBytes = grown(blockBytes, rows);
    blockFirst = grown(blockFirst, rows);
    blockCount = grown(blockCount, rows);
    entryBlock = grown(entryBlock, rows);
    entrySlot = grown(entrySlot, rows);
    entryNext = grown(entryNext, rows);
    entryPrevious = grown(entryPrevious, rows);
    entryOlder = grown(entryOlder, rows);
    entryNewer = grown(entryNewer, rows);
    const before = [blockTable, entryTable] as const;
    blockTable = new Int32Array(tableSize(rows));
    entryTable = new Int32Array(tableSize(rows));
    for (const at of before[0]) if (at > 0) insertRow(blockTable, hashOfBlock(at - 1), at - 1);
    for (const at of before[1]) if (at > 0) insertRow(entryTable, hashOfEntry(at - 1), at - 1);
  };

  const unlinkAge = (entry: number, slot: number): void => {
    const older = entryOlder[entry] as number;
    const newer = entryNewer[entry] as number;
    if (older === NONE) oldest[slot] = newer;
    else entryNewer[older] = newer;
    if (newer === NONE) newest[slot] = older;
    else entryOlder[newer] = older;
  };
  const linkNewest = (entry: number, slot: number): void => {
    const before = newest[slot] as number;
    entryOlder[entry] = before;
    entryNewer[entry] = NONE;
    if (before === NONE) oldest[slot] = entry;
    else entryNewer[before] = entry;
    newest[slot] = entry;
  };

  const dropBlock = (block: number): void => {
    deleteRow(blockTable, hashOfBlock(block), block, hashOfBlock);
    blockFirst[block] = freeBlock;
    freeBlock = block;
  };

  const evict = (entry: number): void => {
    const slot = entrySlot[entry] as number;
    const block = entryBlock[entry] as number;
    deleteRow(entryTable, hashOfEntry(entry), entry, hashOfEntry);
    unlinkAge(entry, slot);
    const previous = entryPrevious[entry] as number;
    const next = entryNext[entry] as number;
    if (previous === NONE) blockFirst[block] = next;
    else entryNext[previous] = next;
    if (next !== NONE) entryPrevious[next] = previous;
    usedBytes[slot] = (usedBytes[slot] as number) - (blockBytes[block] as number);
    entries[slot] = (entries[slot] as number) - 1;
    size -= 1;
    entryNext[entry] = freeEntry;
    freeEntry = entry;
    const left = (blockCount[block] as number) - 1;
    blockCount[block] = left;
    if (left === 0) dropBlock(block);
  };

  const evictOldest = (slot: number): boolean => {
    const entry = oldest[slot] as number;
    if (entry === NONE) return false;
    evict(entry);
    return true;
  };

  /** Memory is full: the endpoint's own oldest goes, or others' while they have more than their share. */
  const makeRoom = (slot: number): void => {
    const isBelowShare = (entries[slot] as number) * attachedCount < maxEntries;
    if (!isBelowShare && evictOldest(slot)) return;
    let most = slot;
    for (let other = 0; other < slots; other += 1) {
      if ((entries[other] as number) > (entries[most] as number)) most = other;
    }
    for (let i = 0; i < TAKEN_AT_ONCE && evictOldest(most); i += 1);
  };

  /** The block's row; made if need be. There are never more blocks than entries, so a row is there. */
  const blockFor = (high: number, low: number, index: number): number => {
    const known = findBlock(high, low);
    if (known >= 0) return known;
    let block = freeBlock;
    if (block === NONE) {
      block = blocksMade;
      blocksMade += 1;
    } else freeBlock = blockFirst[block] as number;
    blockHigh[block] = high;
    blockLow[block] = low;
    blockBytes[block] = endOfBlock(index) - (index === 0 ? 0 : endOfBlock(index - 1));
    blockFirst[block] = NONE;
    blockCount[block] = 0;
    insertRow(blockTable, low, block);
    return block;
  };

  const addEntry = (slot: number, high: number, low: number, index: number): void => {
    if (freeEntry === NONE && entriesMade === rows) {
      if (rows < maxEntries) growRows();
      else makeRoom(slot);
    }
    const block = blockFor(high, low, index);
    let entry = freeEntry;
    if (entry === NONE) {
      entry = entriesMade;
      entriesMade += 1;
    } else freeEntry = entryNext[entry] as number;
    entryBlock[entry] = block;
    entrySlot[entry] = slot;
    const first = blockFirst[block] as number;
    entryNext[entry] = first;
    entryPrevious[entry] = NONE;
    if (first !== NONE) entryPrevious[first] = entry;
    blockFirst[block] = entry;
    blockCount[block] = (blockCount[block] as number) + 1;
    insertRow(entryTable, entryHash(block, slot), entry);
    linkNewest(entry, slot);
    usedBytes[slot] = (usedBytes[slot] as number) + (blockBytes[block] as number);
    entries[slot] = (entries[slot] as number) + 1;
    size += 1;
  };

  const shrinkToCapacity = (slot: number): void => {
    while ((usedBytes[slot] as number) > (capacity[slot] as number) && evictOldest(slot));
  };

  const forget = (slot: number): void => {
    while (evictOldest(slot));
  };

  const growSlots = (): void => {
    const before = slots;
    slots *= 2;
    oldest = grown(oldest, slots).fill(NONE, before);
    newest = grown(newest, slots).fill(NONE, before);
    entries = grown(entries, slots);
    matched = grown(matched, slots);
    touched = grown(touched, slots);
    const bytes = new Float64Array(slots);
    bytes.set(usedBytes);
    usedBytes = bytes;
    const capacities = new Float64Array(slots);
    capacities.set(capacity);
    capacity = capacities;
  };

  return {
    attach() {
      let slot = attached.indexOf(false);
      if (slot === -1) slot = attached.length;
      if (slot === slots) growSlots();
      attached[slot] = true;
      attachedCount += 1;
      capacity[slot] = defaultBytes;
      return slot;
    },
    detach(slot) {
      if (attached[slot] !== true) return;
      forget(slot);
      attached[slot] = false;
      attachedCount -= 1;
    },
    forget,
    setCapacity(slot, bytes) {
      capacity[slot] = bytes;
      shrinkToCapacity(slot);
    },
    touch(slot, blocks) {
      if (attached[slot] !== true) return;
      // The first block last: it is to be the newest.
      for (let i = blocks.length / 2 - 1; i >= 0; i -= 1) {
        const high = blocks[2 * i] as number;
        const low = blocks[2 * i + 1] as number;
        const block = findBlock(high, low);
        const entry = block < 0 ? NONE : findEntry(block, slot);
        if (entry >= 0) {
          unlinkAge(entry, slot);
          linkNewest(entry, slot);
        } else addEntry(slot, high, low, i);
      }
      shrinkToCapacity(slot);
    },
    lookup(blocks) {
      for (let i = 0; i < touchedCount; i += 1) matched[touched[i] as number] = 0;
      touchedCount = 0;
      let depth = 0;
      for (; 2 * depth < blocks.length; depth += 1) {
        const block = findBlock(blocks[2 * depth] as number, blocks[2 * depth + 1] as number);
        if (block < 0) break;
        path[depth] = block;
      }
      if (depth === 0) return { matchedBytes: matched, matchedEverywhere: 0 };
      const all = blockCount[path[0] as number] as number;
      let deeper = 0;
      let visits = 0;
      for (let i = depth - 1; i >= 0 && touchedCount < all && visits < MOST_VISITS; i -= 1) {
        const block = path[i] as number;
        const here = blockCount[block] as number;
        // Who has a block has those before it: all of them have the rest too.
        if (here === attachedCount) return { matchedBytes: matched, matchedEverywhere: endOfBlock(i) };
        // The same number means the same endpoints.
        if (here === deeper) continue;
        deeper = here;
        for (let entry = blockFirst[block] as number; entry !== NONE; entry = entryNext[entry] as number) {
          visits += 1;
          const slot = entrySlot[entry] as number;
          if (matched[slot] !== 0) continue;
          matched[slot] = endOfBlock(i);
          touched[touchedCount] = slot;
          touchedCount += 1;
        }
      }
      return { matchedBytes: matched, matchedEverywhere: 0 };
    },
    size: () => size,
    bytesOf: (slot) => usedBytes[slot] ?? 0,
    memoryBytes() {
      const ofBlocks: readonly ArrayBufferView[] = [blockHigh, blockLow, blockBytes, blockFirst, blockCount];
      const ofEntries = [entryBlock, entrySlot, entryNext, entryPrevious, entryOlder, entryNewer];
      const ofSlots = [oldest, newest, entries, usedBytes, capacity, matched, touched];
      return [...ofBlocks, blockTable, ...ofEntries, entryTable, ...ofSlots].reduce(
        (sum, { byteLength }) => sum + byteLength,
        0,
      );
    },
  };
}

/**
 * Which endpoint has which beginnings of prompts in its cache, as far as can be known from what was sent there.
 *
 * Engines evict whole blocks by least recent use, the end of a prompt before its beginning. So does this index, for each
 * endpoint within the bytes of prompt that its KV cache holds: what was sent too long ago is not expected there any more.
 *
 * An entry is a block at an endpoint. Blocks and entries are rows of typed arrays that grow up to `maxEntries` and are found by
 * two open hash tables (row-table.ts); no object is made for either. This is a hot path: arrays are read into locals before
 * loops. The file is longer than others because all its arrays change together, and the invariants are of all of them.
 *
 * Invariants:
 * - What is found for a scope was inserted for it: the hashes are its own (prompt-hash.ts).
 * - An endpoint that has a block has all blocks before it: the later one is always the longer unused.
 * - Entries ≤ maxEntries, and each endpoint's bytes ≤ its capacity.
 */
import { endOfBlock, MOST_BLOCKS } from './prompt-blocks.ts';
import { deleteRow, insertRow, rowHash, tableSize } from './row-table.ts';

/** Bytes of the prompt, from its beginning. */
interface PrefixMatch {
  /** By candidateIndex. 0 for endpoints that have no more than `matchedEverywhere`. */
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
const FIRST_ENDPOINTS = 16;
const NONE = -1;
/** Entries that are taken at once from the endpoint with the most, when another has less than its share. */
const TAKEN_AT_ONCE = 64;
/** Endpoints that one lookup visits at most, the deepest matches first. */
const MOST_VISITS = 8_192;

const entryHash = (block: number, endpoint: number): number =>
  rowHash(Math.imul(block, 0x9e3779b1) ^ Math.imul(endpoint + 1, 0x27d4eb2f));

function grown<T extends Int32Array | Uint32Array | Float64Array>(array: T, length: number): T {
  const larger = new (array.constructor as new (length: number) => T)(length);
  larger.set(array);
  return larger;
}

export class PrefixIndex {
  readonly #maxEntries: number;
  readonly #defaultBytes: number;
  /** Of blocks, and of entries. */
  #rows: number;

  // Blocks. Free ones are a list by `first`.
  #blockHigh: Uint32Array;
  #blockLow: Uint32Array;
  #blockBytes: Uint32Array;
  /** Its newest entry. */
  #blockFirst: Int32Array;
  /** Its entries. */
  #blockCount: Int32Array;
  #blockTable: Int32Array;
  #freeBlock = NONE;
  #blocksMade = 0;

  // Entries. `next` and `previous` are those of the block, `older` and `newer` those of the endpoint. Free ones: by `next`.
  #entryBlock: Int32Array;
  #entryEndpoint: Int32Array;
  #entryNext: Int32Array;
  #entryPrevious: Int32Array;
  #entryOlder: Int32Array;
  #entryNewer: Int32Array;
  #entryTable: Int32Array;
  #freeEntry = NONE;
  #entriesMade = 0;
  #size = 0;

  // Endpoints, by candidateIndex.
  #endpointRows = FIRST_ENDPOINTS;
  #oldest = new Int32Array(FIRST_ENDPOINTS).fill(NONE);
  #newest = new Int32Array(FIRST_ENDPOINTS).fill(NONE);
  #entries = new Int32Array(FIRST_ENDPOINTS);
  #usedBytes = new Float64Array(FIRST_ENDPOINTS);
  #capacity = new Float64Array(FIRST_ENDPOINTS);
  readonly #attached: boolean[] = [];
  #attachedCount = 0;

  // The latest lookup.
  #matched = new Uint32Array(FIRST_ENDPOINTS);
  #touched = new Int32Array(FIRST_ENDPOINTS);
  #touchedCount = 0;
  readonly #path = new Int32Array(MOST_BLOCKS);

  constructor({ maxEntries, defaultBytes }: PrefixIndexConfig) {
    this.#maxEntries = maxEntries;
    this.#defaultBytes = defaultBytes;
    const rows = Math.min(FIRST_ROWS, maxEntries);
    this.#rows = rows;
    this.#blockHigh = new Uint32Array(rows);
    this.#blockLow = new Uint32Array(rows);
    this.#blockBytes = new Uint32Array(rows);
    this.#blockFirst = new Int32Array(rows);
    this.#blockCount = new Int32Array(rows);
    this.#blockTable = new Int32Array(tableSize(rows));
    this.#entryBlock = new Int32Array(rows);
    this.#entryEndpoint = new Int32Array(rows);
    this.#entryNext = new Int32Array(rows);
    this.#entryPrevious = new Int32Array(rows);
    this.#entryOlder = new Int32Array(rows);
    this.#entryNewer = new Int32Array(rows);
    this.#entryTable = new Int32Array(tableSize(rows));
  }

  // Endpoints.

  /** Takes an endpoint in. Gives its candidateIndex: the smallest that is free. */
  attach(): number {
    let endpoint = this.#attached.indexOf(false);
    if (endpoint === -1) endpoint = this.#attached.length;
    if (endpoint === this.#endpointRows) this.#growEndpoints();
    this.#attached[endpoint] = true;
    this.#attachedCount += 1;
    this.#capacity[endpoint] = this.#defaultBytes;
    return endpoint;
  }

  /** Its index is free, and what was in its cache is forgotten. */
  detach(endpoint: number): void {
    if (this.#attached[endpoint] !== true) return;
    this.forget(endpoint);
    this.#attached[endpoint] = false;
    this.#attachedCount -= 1;
  }

  /** What was in its cache is gone: it was restarted, or slept. */
  forget(endpoint: number): void {
    while (this.#evictOldest(endpoint));
  }

  /** Bytes of prompt that its cache holds. */
  setCapacity(endpoint: number, bytes: number): void {
    this.#capacity[endpoint] = bytes;
    this.#shrinkToCapacity(endpoint);
  }

  // Prompts.

  /** The prompt is or was computed there. Its last blocks will be evicted first. */
  touch(endpoint: number, blocks: Uint32Array): void {
    if (this.#attached[endpoint] !== true) return;
    // The first block last: it is to be the newest.
    for (let i = blocks.length / 2 - 1; i >= 0; i -= 1) {
      const high = blocks[2 * i] as number;
      const low = blocks[2 * i + 1] as number;
      const block = this.#findBlock(high, low);
      const entry = block < 0 ? NONE : this.#findEntry(block, endpoint);
      if (entry >= 0) {
        this.#unlinkAge(entry, endpoint);
        this.#linkNewest(entry, endpoint);
      } else this.#addEntry(endpoint, high, low, i);
    }
    this.#shrinkToCapacity(endpoint);
  }

  /**
   * Says what of the prompt is where. Valid until the next call. Time goes by the number of blocks, and by the endpoints of the
   * places where their number falls; not by their product.
   */
  lookup(blocks: Uint32Array): PrefixMatch {
    const matched = this.#matched;
    const touched = this.#touched;
    for (let i = 0; i < this.#touchedCount; i += 1) matched[touched[i] as number] = 0;
    this.#touchedCount = 0;
    const depth = this.#follow(blocks);
    const matchedEverywhere = depth === 0 ? 0 : this.#match(depth);
    return { matchedBytes: matched, matchedEverywhere };
  }

  // Sizes.

  /** Entries, of all endpoints. */
  size(): number {
    return this.#size;
  }

  bytesOf(endpoint: number): number {
    return this.#usedBytes[endpoint] ?? 0;
  }

  /** Of all arrays. */
  memoryBytes(): number {
    const arrays: readonly ArrayBufferView[] = [
      ...[this.#blockHigh, this.#blockLow, this.#blockBytes, this.#blockFirst, this.#blockCount],
      ...[this.#entryBlock, this.#entryEndpoint, this.#entryNext, this.#entryPrevious],
      ...[this.#entryOlder, this.#entryNewer, this.#blockTable, this.#entryTable],
      ...[this.#oldest, this.#newest, this.#entries, this.#usedBytes, this.#capacity],
      ...[this.#matched, this.#touched],
    ];
    return arrays.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Writes the known blocks from the prompt's beginning into the path. Gives their number. */
  #follow(blocks: Uint32Array): number {
    const path = this.#path;
    let depth = 0;
    for (; 2 * depth < blocks.length; depth += 1) {
      const block = this.#findBlock(blocks[2 * depth] as number, blocks[2 * depth + 1] as number);
      if (block < 0) break;
      path[depth] = block;
    }
    return depth;
  }

  /** Matches endpoints with the blocks of the path, the deepest first. Gives the bytes that every endpoint has. */
  #match(depth: number): number {
    const path = this.#path;
    const matched = this.#matched;
    const touched = this.#touched;
    const blockCount = this.#blockCount;
    const entryEndpoint = this.#entryEndpoint;
    const entryNext = this.#entryNext;
    const all = blockCount[path[0] as number] as number;
    let count = 0;
    let deeper = 0;
    let visits = 0;
    let everywhere = 0;
    for (let i = depth - 1; i >= 0 && count < all && visits < MOST_VISITS; i -= 1) {
      const block = path[i] as number;
      const here = blockCount[block] as number;
      // Who has a block has those before it: all of them have the rest too.
      if (here === this.#attachedCount) {
        everywhere = endOfBlock(i);
        break;
      }
      // The same number means the same endpoints.
      if (here === deeper) continue;
      deeper = here;
      for (
        let entry = this.#blockFirst[block] as number;
        entry !== NONE;
        entry = entryNext[entry] as number
      ) {
        visits += 1;
        const endpoint = entryEndpoint[entry] as number;
        if (matched[endpoint] !== 0) continue;
        matched[endpoint] = endOfBlock(i);
        touched[count] = endpoint;
        count += 1;
      }
    }
    this.#touchedCount = count;
    return everywhere;
  }

  // Rows.

  #findBlock(high: number, low: number): number {
    const table = this.#blockTable;
    const lows = this.#blockLow;
    const highs = this.#blockHigh;
    const mask = table.length - 1;
    for (let at = low & mask; ; at = (at + 1) & mask) {
      const block = (table[at] as number) - 1;
      if (block < 0 || (lows[block] === low && highs[block] === high)) return block;
    }
  }

  #findEntry(block: number, endpoint: number): number {
    const table = this.#entryTable;
    const blocks = this.#entryBlock;
    const endpoints = this.#entryEndpoint;
    const mask = table.length - 1;
    for (let at = entryHash(block, endpoint) & mask; ; at = (at + 1) & mask) {
      const entry = (table[at] as number) - 1;
      if (entry < 0 || (blocks[entry] === block && endpoints[entry] === endpoint)) return entry;
    }
  }

  readonly #hashOfBlock = (block: number): number => this.#blockLow[block] as number;
  readonly #hashOfEntry = (entry: number): number =>
    entryHash(this.#entryBlock[entry] as number, this.#entryEndpoint[entry] as number);

  #addEntry(endpoint: number, high: number, low: number, index: number): void {
    if (this.#freeEntry === NONE && this.#entriesMade === this.#rows) {
      if (this.#rows < this.#maxEntries) this.#growRows();
      else this.#makeRoom(endpoint);
    }
    const block = this.#blockFor(high, low, index);
    let entry = this.#freeEntry;
    if (entry === NONE) {
      entry = this.#entriesMade;
      this.#entriesMade += 1;
    } else this.#freeEntry = this.#entryNext[entry] as number;
    this.#entryBlock[entry] = block;
    this.#entryEndpoint[entry] = endpoint;
    const first = this.#blockFirst[block] as number;
    this.#entryNext[entry] = first;
    this.#entryPrevious[entry] = NONE;
    if (first !== NONE) this.#entryPrevious[first] = entry;
    this.#blockFirst[block] = entry;
    this.#blockCount[block] = (this.#blockCount[block] as number) + 1;
    insertRow(this.#entryTable, entryHash(block, endpoint), entry);
    this.#linkNewest(entry, endpoint);
    this.#usedBytes[endpoint] = (this.#usedBytes[endpoint] as number) + (this.#blockBytes[block] as number);
    this.#entries[endpoint] = (this.#entries[endpoint] as number) + 1;
    this.#size += 1;
  }

  /** Gives the block's row; made if need be. There are never more blocks than entries, so a row is there. */
  #blockFor(high: number, low: number, index: number): number {
    const known = this.#findBlock(high, low);
    if (known >= 0) return known;
    let block = this.#freeBlock;
    if (block === NONE) {
      block = this.#blocksMade;
      this.#blocksMade += 1;
    } else this.#freeBlock = this.#blockFirst[block] as number;
    this.#blockHigh[block] = high;
    this.#blockLow[block] = low;
    this.#blockBytes[block] = endOfBlock(index) - (index === 0 ? 0 : endOfBlock(index - 1));
    this.#blockFirst[block] = NONE;
    this.#blockCount[block] = 0;
    insertRow(this.#blockTable, low, block);
    return block;
  }

  // Ages.

  #unlinkAge(entry: number, endpoint: number): void {
    const olders = this.#entryOlder;
    const newers = this.#entryNewer;
    const older = olders[entry] as number;
    const newer = newers[entry] as number;
    if (older === NONE) this.#oldest[endpoint] = newer;
    else newers[older] = newer;
    if (newer === NONE) this.#newest[endpoint] = older;
    else olders[newer] = older;
  }

  #linkNewest(entry: number, endpoint: number): void {
    const newest = this.#newest;
    const newers = this.#entryNewer;
    const before = newest[endpoint] as number;
    this.#entryOlder[entry] = before;
    newers[entry] = NONE;
    if (before === NONE) this.#oldest[endpoint] = entry;
    else newers[before] = entry;
    newest[endpoint] = entry;
  }

  // Eviction.

  #shrinkToCapacity(endpoint: number): void {
    while (
      (this.#usedBytes[endpoint] as number) > (this.#capacity[endpoint] as number) &&
      this.#evictOldest(endpoint)
    );
  }

  /** Memory is full: the endpoint's own oldest goes, or others' while they have more than their share. */
  #makeRoom(endpoint: number): void {
    const entries = this.#entries;
    const isBelowShare = (entries[endpoint] as number) * this.#attachedCount < this.#maxEntries;
    if (!isBelowShare && this.#evictOldest(endpoint)) return;
    let most = endpoint;
    for (let other = 0; other < this.#endpointRows; other += 1) {
      if ((entries[other] as number) > (entries[most] as number)) most = other;
    }
    for (let i = 0; i < TAKEN_AT_ONCE && this.#evictOldest(most); i += 1);
  }

  #evictOldest(endpoint: number): boolean {
    const entry = this.#oldest[endpoint] as number;
    if (entry === NONE) return false;
    this.#evict(entry);
    return true;
  }

  #evict(entry: number): void {
    const endpoint = this.#entryEndpoint[entry] as number;
    const block = this.#entryBlock[entry] as number;
    deleteRow(this.#entryTable, this.#hashOfEntry(entry), entry, this.#hashOfEntry);
    this.#unlinkAge(entry, endpoint);
    const nexts = this.#entryNext;
    const previouses = this.#entryPrevious;
    const previous = previouses[entry] as number;
    const next = nexts[entry] as number;
    if (previous === NONE) this.#blockFirst[block] = next;
    else nexts[previous] = next;
    if (next !== NONE) previouses[next] = previous;
    this.#usedBytes[endpoint] = (this.#usedBytes[endpoint] as number) - (this.#blockBytes[block] as number);
    this.#entries[endpoint] = (this.#entries[endpoint] as number) - 1;
    this.#size -= 1;
    nexts[entry] = this.#freeEntry;
    this.#freeEntry = entry;
    const counts = this.#blockCount;
    const left = (counts[block] as number) - 1;
    counts[block] = left;
    if (left === 0) this.#dropBlock(block);
  }

  #dropBlock(block: number): void {
    deleteRow(this.#blockTable, this.#hashOfBlock(block), block, this.#hashOfBlock);
    this.#blockFirst[block] = this.#freeBlock;
    this.#freeBlock = block;
  }

  // Growth.

  #growRows(): void {
    const rows = Math.min(this.#maxEntries, 2 * this.#rows);
    this.#rows = rows;
    this.#blockHigh = grown(this.#blockHigh, rows);
    this.#blockLow = grown(this.#blockLow, rows);
    this.#blockBytes = grown(this.#blockBytes, rows);
    this.#blockFirst = grown(this.#blockFirst, rows);
    this.#blockCount = grown(this.#blockCount, rows);
    this.#entryBlock = grown(this.#entryBlock, rows);
    this.#entryEndpoint = grown(this.#entryEndpoint, rows);
    this.#entryNext = grown(this.#entryNext, rows);
    this.#entryPrevious = grown(this.#entryPrevious, rows);
    this.#entryOlder = grown(this.#entryOlder, rows);
    this.#entryNewer = grown(this.#entryNewer, rows);
    const [blocks, entries] = [this.#blockTable, this.#entryTable];
    this.#blockTable = new Int32Array(tableSize(rows));
    this.#entryTable = new Int32Array(tableSize(rows));
    for (const at of blocks) if (at > 0) insertRow(this.#blockTable, this.#hashOfBlock(at - 1), at - 1);
    for (const at of entries) if (at > 0) insertRow(this.#entryTable, this.#hashOfEntry(at - 1), at - 1);
  }

  #growEndpoints(): void {
    const before = this.#endpointRows;
    const rows = 2 * before;
    this.#endpointRows = rows;
    this.#oldest = grown(this.#oldest, rows).fill(NONE, before);
    this.#newest = grown(this.#newest, rows).fill(NONE, before);
    this.#entries = grown(this.#entries, rows);
    this.#usedBytes = grown(this.#usedBytes, rows);
    this.#capacity = grown(this.#capacity, rows);
    this.#matched = grown(this.#matched, rows);
    this.#touched = grown(this.#touched, rows);
  }
}

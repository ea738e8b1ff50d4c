/**
 * The KV blocks of an engine. Free ones wait in one list in the order in which they were freed, as in vLLM's
 * FreeKVCacheBlockQueue, whether they hold something that can be found or not.
 * Invariant: a block is in the list exactly when it has no user.
 */
export class KvBlocks {
  readonly #end: number;
  /** The list of free blocks, doubly linked; the place `end` is before the first and after the last. */
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  #free: number;

  readonly #users: Int32Array;
  /** What can be found in a block. */
  readonly #hashes: (string | undefined)[];
  readonly #found = new Map<string, number>();

  constructor(count: number) {
    this.#end = count;
    this.#next = new Int32Array(count + 1);
    this.#previous = new Int32Array(count + 1);
    this.#users = new Int32Array(count);
    this.#hashes = Array.from({ length: count });
    this.#free = count;
    for (let block = 0; block <= count; block += 1) {
      this.#next[block] = block === count ? 0 : block + 1;
      this.#previous[block] = block === 0 ? count : block - 1;
    }
  }

  free(): number {
    return this.#free;
  }

  find(hash: string): number | undefined {
    return this.#found.get(hash);
  }

  isUnused(block: number): boolean {
    return this.#users[block] === 0;
  }

  /** Takes the longest unused block, without its contents. The caller has seen that there is one. */
  take(): number {
    const block = this.#next[this.#end] ?? this.#end;
    this.#leaveList(block);
    this.forget(block);
    this.#users[block] = 1;
    return block;
  }

  /** Adds a user. */
  share(block: number): void {
    if (this.#users[block] === 0) this.#leaveList(block);
    this.#users[block] = (this.#users[block] ?? 0) + 1;
  }

  /** Removes a user; a block without any goes to the end of the list. */
  drop(block: number): void {
    const left = (this.#users[block] ?? 1) - 1;
    this.#users[block] = left;
    if (left > 0) return;
    this.#link(this.#previous[this.#end] ?? this.#end, block);
    this.#link(block, this.#end);
    this.#free += 1;
  }

  /** Lets a block be found. Where two sequences hold the same tokens, the first one's block is found. */
  publish(block: number, hash: string): void {
    if (this.#found.has(hash)) return;
    this.#found.set(hash, block);
    this.#hashes[block] = hash;
  }

  /** Lets a block be found no more. */
  forget(block: number): void {
    const hash = this.#hashes[block];
    if (hash === undefined) return;
    this.#found.delete(hash);
    this.#hashes[block] = undefined;
  }

  #link(before: number, after: number): void {
    this.#next[before] = after;
    this.#previous[after] = before;
  }

  #leaveList(block: number): void {
    this.#link(this.#previous[block] ?? this.#end, this.#next[block] ?? this.#end);
    this.#free -= 1;
  }
}

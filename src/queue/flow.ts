/**
 * The requests of one tenant in one lane, and which of them is next.
 *
 * Unit: a request. Two orders:
 * - `fcfs`: first come, first served.
 * - `shortest`: the least cost first (shortest job first), and of equal costs the older one. A flow's oldest request goes
 *   before it as soon as it has waited for `maxAgeMs`, so nothing is passed for ever (aging; A. Silberschatz et al.,
 *   "Operating System Concepts", CPU scheduling).
 *
 * Invariants: the list is in order of arrival; with `shortest` the heap holds the same entries, each at its `heapAt`.
 */

export type FlowOrder =
  | { readonly kind: 'fcfs' }
  | { readonly kind: 'shortest' /** Age from which the oldest goes first. */; readonly maxAgeMs: number };

/** A request in its flow. It belongs to the flow from `append` or `insertByAge` until `remove`. */
export class FlowEntry<T> {
  readonly owner: Flow<T>;
  readonly cost: number;
  readonly item: T;
  readonly sinceMs: number;
  isWaiting = true;
  /** Place in the heap. */
  heapAt = 0;
  /** Neighbours by age. */
  before: FlowEntry<T> | undefined = undefined;
  after: FlowEntry<T> | undefined = undefined;

  constructor(owner: Flow<T>, cost: number, item: T, sinceMs: number) {
    this.owner = owner;
    this.cost = cost;
    this.item = item;
    this.sinceMs = sinceMs;
  }

  /** Name of its flow. */
  get flow(): string {
    return this.owner.name;
  }
}

export class Flow<T> {
  readonly name: string;
  private readonly order: FlowOrder;

  // What is waiting.
  length = 0;
  private head: FlowEntry<T> | undefined = undefined;
  private tail: FlowEntry<T> | undefined = undefined;
  /** By cost, then by arrival. Empty with the order `fcfs`. */
  private readonly heap: FlowEntry<T>[] = [];

  // Its account and its place in the round: deficit-round-robin.ts alone writes these.
  weight = 1;
  deficit = 0;
  eligible = true;
  /** True once this visit's quantum has been added. */
  visited = false;
  /** Neighbours in the ring; undefined while the flow is not in it. */
  left: Flow<T> | undefined = undefined;
  right: Flow<T> | undefined = undefined;

  constructor(name: string, order: FlowOrder) {
    this.name = name;
    this.order = order;
  }

  /** Adds as the youngest. */
  append(cost: number, item: T, nowMs: number): FlowEntry<T> {
    return this.insertBefore(undefined, new FlowEntry(this, cost, item, nowMs));
  }

  /** Adds to its place by age: what was taken out and has not been served returns. */
  insertByAge(cost: number, item: T, sinceMs: number): FlowEntry<T> {
    let after = this.head;
    while (after !== undefined && after.sinceMs <= sinceMs) after = after.after;
    return this.insertBefore(after, new FlowEntry(this, cost, item, sinceMs));
  }

  /** The entry that is next; undefined: the flow is empty. */
  next(nowMs: number): FlowEntry<T> | undefined {
    const oldest = this.head;
    if (this.order.kind === 'fcfs' || oldest === undefined) return oldest;
    return nowMs - oldest.sinceMs >= this.order.maxAgeMs ? oldest : this.heap[0];
  }

  /** Takes out an entry of this flow that is waiting. */
  remove(entry: FlowEntry<T>): void {
    if (entry.before === undefined) this.head = entry.after;
    else entry.before.after = entry.after;
    if (entry.after === undefined) this.tail = entry.before;
    else entry.after.before = entry.before;
    entry.before = undefined;
    entry.after = undefined;
    entry.isWaiting = false;
    if (this.order.kind === 'shortest') leaveHeap(this.heap, entry);
    this.length -= 1;
  }

  /** @param after the next younger one; undefined: there is none. */
  private insertBefore(after: FlowEntry<T> | undefined, entry: FlowEntry<T>): FlowEntry<T> {
    entry.before = after === undefined ? this.tail : after.before;
    entry.after = after;
    if (entry.before === undefined) this.head = entry;
    else entry.before.after = entry;
    if (after === undefined) this.tail = entry;
    else after.before = entry;
    if (this.order.kind === 'shortest') enterHeap(this.heap, entry);
    this.length += 1;
    return entry;
  }
}

const goesBefore = <T>(a: FlowEntry<T>, b: FlowEntry<T>): boolean =>
  a.cost < b.cost || (a.cost === b.cost && a.sinceMs < b.sinceMs);

function moveUp<T>(heap: FlowEntry<T>[], entry: FlowEntry<T>): void {
  let at = entry.heapAt;
  while (at > 0) {
    const above = (at - 1) >>> 1;
    const parent = heap[above];
    if (parent === undefined || !goesBefore(entry, parent)) break;
    heap[at] = parent;
    parent.heapAt = at;
    at = above;
  }
  heap[at] = entry;
  entry.heapAt = at;
}

function moveDown<T>(heap: FlowEntry<T>[], entry: FlowEntry<T>): void {
  let at = entry.heapAt;
  for (;;) {
    let below = 2 * at + 1;
    const left = heap[below];
    const right = heap[below + 1];
    if (left === undefined) break;
    if (right !== undefined && goesBefore(right, left)) below += 1;
    const child = heap[below];
    if (child === undefined || !goesBefore(child, entry)) break;
    heap[at] = child;
    child.heapAt = at;
    at = below;
  }
  heap[at] = entry;
  entry.heapAt = at;
}

function enterHeap<T>(heap: FlowEntry<T>[], entry: FlowEntry<T>): void {
  entry.heapAt = heap.length;
  heap.push(entry);
  moveUp(heap, entry);
}

function leaveHeap<T>(heap: FlowEntry<T>[], entry: FlowEntry<T>): void {
  const last = heap.pop();
  if (last === undefined || last === entry) return;
  last.heapAt = entry.heapAt;
  moveDown(heap, last);
  moveUp(heap, last);
}

/**
 * Deficit round robin over flows, by cost.
 *
 * M. Shreedhar and G. Varghese, "Efficient Fair Queueing using Deficit Round Robin", SIGCOMM 1995, section 3, with two
 * additions: a flow's weight multiplies its quantum, and `charge` corrects a flow's deficit once the real cost of a
 * request is known.
 *
 * Inside a flow the order is first come first served, or shortest first: then the least cost goes first, unless the oldest
 * has waited for maxAgeMs.
 *
 * Invariants:
 * - Only backlogged flows are in the ring: a decision's cost does not grow with idle flows.
 * - Two flows that stay backlogged and eligible over an interval receive weighted service that differs by at most
 *   quantum + maxCost/weightA + maxCost/weightB.
 * - An emptied flow keeps no credit; it keeps its debt.
 */

export interface DrrEntry<T> {
  readonly flow: string;
  readonly cost: number;
  readonly item: T;
}

/** The order inside a flow. */
export type FlowOrder =
  | { readonly kind: 'fcfs' }
  | { readonly kind: 'shortest' /** Age from which the oldest goes first. */; readonly maxAgeMs: number };

export interface DeficitRoundRobin<T> {
  /** Appends to the flow. `weight` > 0 takes effect from the flow's next quantum on. */
  push(flow: string, weight: number, cost: number, item: T, nowMs: number): DrrEntry<T>;
  /** Likewise, to its place by age: what was taken out and has not been served returns. */
  pushByAge(flow: string, weight: number, cost: number, item: T, nowMs: number): DrrEntry<T>;
  /** The entry whose turn it is, or undefined when no eligible flow is backlogged. It stays until it is taken. */
  peek(nowMs: number): DrrEntry<T> | undefined;
  /** Takes what `peek` has shown: its flow pays. */
  take(entry: DrrEntry<T>): void;
  /** Takes an entry out; false if it is not waiting any more. */
  remove(entry: DrrEntry<T>): boolean;
  /** An ineligible flow keeps its entries and its place in time, and is passed over. */
  setEligible(flow: string, eligible: boolean): void;
  /** Adds to what the flow has to pay (negative: gives back). Credit is only kept while backlogged. */
  charge(flow: string, cost: number): void;
  /** Entries waiting in all flows. */
  size(): number;
  sizeOf(flow: string): number;
}

interface Node<T> extends DrrEntry<T> {
  readonly sinceMs: number;
  /** Place in the flow's heap. */
  heapAt: number;
  before: Node<T> | undefined;
  after: Node<T> | undefined;
  owner: Flow<T> | undefined;
}

interface Flow<T> {
  readonly name: string;
  weight: number;
  deficit: number;
  eligible: boolean;
  head: Node<T> | undefined;
  tail: Node<T> | undefined;
  length: number;
  /** By cost, then by arrival; only with the order `shortest`. */
  readonly heap: Node<T>[];
  /** True once this visit's quantum has been added. */
  visited: boolean;
  /** Neighbours in the ring; undefined while the flow is not in it. */
  left: Flow<T> | undefined;
  right: Flow<T> | undefined;
}

/**
 * @param quantum cost added to a flow of weight 1 at each visit. Small makes the order finer; a head that costs more
 *   than many quanta is not paid for with visits: whole rounds that would release nothing are added up at once.
 */
export function createDeficitRoundRobin<T>(
  quantum: number,
  order: FlowOrder = { kind: 'fcfs' },
): DeficitRoundRobin<T> {
  const flows = new Map<string, Flow<T>>();
  /** The flow whose turn it is. */
  let current: Flow<T> | undefined;
  let ringSize = 0;
  let size = 0;

  const flowOf = (name: string): Flow<T> => {
    let flow = flows.get(name);
    if (flow === undefined) {
      flow = {
        name,
        weight: 1,
        deficit: 0,
        eligible: true,
        head: undefined,
        tail: undefined,
        length: 0,
        heap: [],
        visited: false,
        left: undefined,
        right: undefined,
      };
      flows.set(name, flow);
    }
    return flow;
  };

  /** Last in the round: just before the current flow. */
  const enterRing = (flow: Flow<T>): void => {
    flow.visited = false;
    ringSize += 1;
    if (current === undefined) {
      flow.left = flow;
      flow.right = flow;
      current = flow;
      return;
    }
    const last = current.left ?? current;
    flow.left = last;
    flow.right = current;
    last.right = flow;
    current.left = flow;
  };

  const leaveRing = (flow: Flow<T>): void => {
    if (flow.left === undefined || flow.right === undefined) return;
    ringSize -= 1;
    if (ringSize === 0) current = undefined;
    else {
      flow.left.right = flow.right;
      flow.right.left = flow.left;
      if (current === flow) current = flow.right;
    }
    flow.left = undefined;
    flow.right = undefined;
    flow.visited = false;
  };

  const forgetIfIdle = (flow: Flow<T>): void => {
    if (flow.length === 0 && flow.deficit === 0 && flow.eligible) flows.delete(flow.name);
  };

  const headOf = (flow: Flow<T>, nowMs: number): Node<T> | undefined => {
    const oldest = flow.head;
    if (order.kind === 'fcfs' || oldest === undefined) return oldest;
    return nowMs - oldest.sinceMs >= order.maxAgeMs ? oldest : flow.heap[0];
  };

  const takeOut = (flow: Flow<T>, node: Node<T>): void => {
    if (node.before === undefined) flow.head = node.after;
    else node.before.after = node.after;
    if (node.after === undefined) flow.tail = node.before;
    else node.after.before = node.before;
    node.before = undefined;
    node.after = undefined;
    node.owner = undefined;
    if (order.kind === 'shortest') leaveHeap(flow.heap, node);
    flow.length -= 1;
    size -= 1;
    if (flow.length === 0) {
      leaveRing(flow);
      flow.deficit = Math.min(0, flow.deficit);
      forgetIfIdle(flow);
    }
  };

  /** Adds, to every flow, the whole rounds in which nobody could be served. */
  const skipEmptyRounds = (start: Flow<T>, nowMs: number): void => {
    let rounds = Number.POSITIVE_INFINITY;
    for (let flow = start, i = 0; i < ringSize; i += 1, flow = flow.right ?? start) {
      const missing = (headOf(flow, nowMs)?.cost ?? 0) - flow.deficit;
      rounds = Math.min(rounds, Math.ceil(missing / (quantum * flow.weight)));
    }
    const skipped = rounds - 1;
    if (skipped <= 0) return;
    for (let flow = start, i = 0; i < ringSize; i += 1, flow = flow.right ?? start) {
      flow.deficit += skipped * quantum * flow.weight;
    }
  };

  const enter = (flow: Flow<T>, node: Node<T>): Node<T> => {
    if (node.before === undefined) flow.head = node;
    else node.before.after = node;
    if (node.after === undefined) flow.tail = node;
    else node.after.before = node;
    if (order.kind === 'shortest') enterHeap(flow.heap, node);
    flow.length += 1;
    size += 1;
    if (flow.length === 1 && flow.eligible) enterRing(flow);
    return node;
  };

  return {
    push(name, weight, cost, item, nowMs) {
      const flow = flowOf(name);
      flow.weight = weight;
      return enter(flow, {
        flow: name,
        cost,
        item,
        sinceMs: nowMs,
        heapAt: 0,
        before: flow.tail,
        after: undefined,
        owner: flow,
      });
    },

    pushByAge(name, weight, cost, item, nowMs) {
      const flow = flowOf(name);
      flow.weight = weight;
      let after = flow.head;
      while (after !== undefined && after.sinceMs <= nowMs) after = after.after;
      return enter(flow, {
        flow: name,
        cost,
        item,
        sinceMs: nowMs,
        heapAt: 0,
        before: after === undefined ? flow.tail : after.before,
        after,
        owner: flow,
      });
    },

    peek(nowMs) {
      let visits = 0;
      while (current !== undefined) {
        const flow = current;
        const head = headOf(flow, nowMs);
        if (head === undefined) {
          leaveRing(flow);
          continue;
        }
        if (!flow.visited) {
          flow.visited = true;
          flow.deficit += quantum * flow.weight;
        }
        if (head.cost <= flow.deficit) return head;
        flow.visited = false;
        current = flow.right ?? flow;
        visits += 1;
        if (visits >= ringSize) {
          skipEmptyRounds(current, nowMs);
          visits = 0;
        }
      }
      return undefined;
    },

    take(entry) {
      const node = entry as Node<T>;
      const flow = node.owner;
      if (flow === undefined) return;
      flow.deficit -= node.cost;
      takeOut(flow, node);
    },

    remove(entry) {
      const node = entry as Node<T>;
      if (node.owner === undefined) return false;
      takeOut(node.owner, node);
      return true;
    },

    setEligible(name, eligible) {
      const flow = flowOf(name);
      if (flow.eligible === eligible) return;
      flow.eligible = eligible;
      if (!eligible) {
        leaveRing(flow);
        flow.deficit = Math.min(0, flow.deficit);
      } else if (flow.length > 0) enterRing(flow);
      forgetIfIdle(flow);
    },

    charge(name, cost) {
      if (cost === 0) return;
      const flow = flowOf(name);
      flow.deficit -= cost;
      if (flow.length === 0) flow.deficit = Math.min(0, flow.deficit);
      forgetIfIdle(flow);
    },

    size: () => size,
    sizeOf: (name) => flows.get(name)?.length ?? 0,
  };
}

const goesBefore = <T>(a: Node<T>, b: Node<T>): boolean =>
  a.cost < b.cost || (a.cost === b.cost && a.sinceMs < b.sinceMs);

function moveUp<T>(heap: Node<T>[], node: Node<T>): void {
  let at = node.heapAt;
  while (at > 0) {
    const above = (at - 1) >>> 1;
    const parent = heap[above];
    if (parent === undefined || !goesBefore(node, parent)) break;
    heap[at] = parent;
    parent.heapAt = at;
    at = above;
  }
  heap[at] = node;
  node.heapAt = at;
}

function moveDown<T>(heap: Node<T>[], node: Node<T>): void {
  let at = node.heapAt;
  for (;;) {
    let below = 2 * at + 1;
    const left = heap[below];
    const right = heap[below + 1];
    if (left === undefined) break;
    if (right !== undefined && goesBefore(right, left)) below += 1;
    const child = heap[below];
    if (child === undefined || !goesBefore(child, node)) break;
    heap[at] = child;
    child.heapAt = at;
    at = below;
  }
  heap[at] = node;
  node.heapAt = at;
}

function enterHeap<T>(heap: Node<T>[], node: Node<T>): void {
  node.heapAt = heap.length;
  heap.push(node);
  moveUp(heap, node);
}

function leaveHeap<T>(heap: Node<T>[], node: Node<T>): void {
  const last = heap.pop();
  if (last === undefined || last === node) return;
  last.heapAt = node.heapAt;
  moveDown(heap, last);
  moveUp(heap, last);
}

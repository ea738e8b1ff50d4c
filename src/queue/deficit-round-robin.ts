/**
 * Deficit round robin: whose turn it is among the flows of a lane.
 *
 * Unit of fairness: weighted tokens of service, a flow for each tenant.
 * Formula: at each visit a flow's deficit grows by quantum · weight, and it may release what its deficit covers.
 * Source: M. Shreedhar and G. Varghese, "Efficient Fair Queueing using Deficit Round Robin", SIGCOMM 1995, section 3, with
 * two additions: a flow's weight multiplies its quantum, and `charge` corrects a flow's deficit once the real cost of a
 * request is known.
 *
 * Which request of a flow is next is the flow's own order (flow.ts).
 *
 * Invariants:
 * - Only backlogged flows are in the ring: a decision's cost does not grow with idle flows.
 * - Two flows that stay backlogged and eligible over an interval receive weighted service that differs by at most
 *   quantum + maxCost/weightA + maxCost/weightB.
 * - An emptied flow keeps no credit; it keeps its debt.
 */
import { Flow, type FlowEntry, type FlowOrder } from './flow.ts';

export class DeficitRoundRobin<T> {
  private readonly quantum: number;
  private readonly order: FlowOrder;
  private readonly flows = new Map<string, Flow<T>>();
  private length = 0;

  // The ring of the flows that have requests waiting and are eligible.
  /** The flow whose turn it is. */
  private current: Flow<T> | undefined = undefined;
  private ringSize = 0;

  /**
   * @param quantum cost added to a flow of weight 1 at each visit. Small makes the order finer; a head that costs more
   *   than many quanta is not paid for with visits: whole rounds that would release nothing are added up at once.
   */
  constructor(quantum: number, order: FlowOrder = { kind: 'fcfs' }) {
    this.quantum = quantum;
    this.order = order;
  }

  /** Appends to the flow. `weight` > 0 takes effect from the flow's next quantum on. */
  push(name: string, weight: number, cost: number, item: T, nowMs: number): FlowEntry<T> {
    const flow = this.flowOf(name, weight);
    const entry = flow.append(cost, item, nowMs);
    this.entered(flow);
    return entry;
  }

  /** Adds to its place by age: what was taken out and has not been served returns. */
  pushByAge(name: string, weight: number, cost: number, item: T, sinceMs: number): FlowEntry<T> {
    const flow = this.flowOf(name, weight);
    const entry = flow.insertByAge(cost, item, sinceMs);
    this.entered(flow);
    return entry;
  }

  /** The entry whose turn it is, or undefined when no eligible flow is backlogged. It stays until it is taken. */
  peek(nowMs: number): FlowEntry<T> | undefined {
    let visits = 0;
    while (this.current !== undefined) {
      const flow: Flow<T> = this.current;
      const head = flow.next(nowMs);
      if (head === undefined) {
        this.leaveRing(flow);
        continue;
      }
      if (!flow.visited) {
        flow.visited = true;
        flow.deficit += this.quantum * flow.weight;
      }
      if (head.cost <= flow.deficit) return head;
      flow.visited = false;
      this.current = flow.right ?? flow;
      visits += 1;
      if (visits >= this.ringSize) {
        this.skipEmptyRounds(this.current, nowMs);
        visits = 0;
      }
    }
    return undefined;
  }

  /** Takes what `peek` has shown: its flow pays. */
  take(entry: FlowEntry<T>): void {
    if (!entry.isWaiting) return;
    entry.owner.deficit -= entry.cost;
    this.takeOut(entry);
  }

  /** Takes an entry out; false if it is not waiting any more. */
  remove(entry: FlowEntry<T>): boolean {
    if (!entry.isWaiting) return false;
    this.takeOut(entry);
    return true;
  }

  /** An ineligible flow keeps its entries and its place in time, and is passed over. */
  setEligible(name: string, eligible: boolean): void {
    const flow = this.flowOf(name);
    if (flow.eligible === eligible) return;
    flow.eligible = eligible;
    if (!eligible) {
      this.leaveRing(flow);
      flow.deficit = Math.min(0, flow.deficit);
    } else if (flow.length > 0) this.enterRing(flow);
    this.forgetIfIdle(flow);
  }

  /** Adds to what the flow has to pay (negative: gives back). Credit is only kept while backlogged. */
  charge(name: string, cost: number): void {
    if (cost === 0) return;
    const flow = this.flowOf(name);
    flow.deficit -= cost;
    if (flow.length === 0) flow.deficit = Math.min(0, flow.deficit);
    this.forgetIfIdle(flow);
  }

  /** Entries waiting in all flows. */
  size(): number {
    return this.length;
  }

  sizeOf(name: string): number {
    return this.flows.get(name)?.length ?? 0;
  }

  /** @param weight absent: as it was. */
  private flowOf(name: string, weight?: number): Flow<T> {
    let flow = this.flows.get(name);
    if (flow === undefined) {
      flow = new Flow(name, this.order);
      this.flows.set(name, flow);
    }
    if (weight !== undefined) flow.weight = weight;
    return flow;
  }

  private entered(flow: Flow<T>): void {
    this.length += 1;
    if (flow.length === 1 && flow.eligible) this.enterRing(flow);
  }

  private takeOut(entry: FlowEntry<T>): void {
    const flow = entry.owner;
    flow.remove(entry);
    this.length -= 1;
    if (flow.length > 0) return;
    this.leaveRing(flow);
    flow.deficit = Math.min(0, flow.deficit);
    this.forgetIfIdle(flow);
  }

  private forgetIfIdle(flow: Flow<T>): void {
    if (flow.length === 0 && flow.deficit === 0 && flow.eligible) this.flows.delete(flow.name);
  }

  /** Adds the flow as the last of the round: just before the current one. */
  private enterRing(flow: Flow<T>): void {
    flow.visited = false;
    this.ringSize += 1;
    if (this.current === undefined) {
      flow.left = flow;
      flow.right = flow;
      this.current = flow;
      return;
    }
    const last = this.current.left ?? this.current;
    flow.left = last;
    flow.right = this.current;
    last.right = flow;
    this.current.left = flow;
  }

  private leaveRing(flow: Flow<T>): void {
    if (flow.left === undefined || flow.right === undefined) return;
    this.ringSize -= 1;
    if (this.ringSize === 0) this.current = undefined;
    else {
      flow.left.right = flow.right;
      flow.right.left = flow.left;
      if (this.current === flow) this.current = flow.right;
    }
    flow.left = undefined;
    flow.right = undefined;
    flow.visited = false;
  }

  /** Adds, to every flow, the whole rounds in which nobody could be served. */
  private skipEmptyRounds(start: Flow<T>, nowMs: number): void {
    let rounds = Number.POSITIVE_INFINITY;
    for (let flow = start, i = 0; i < this.ringSize; i += 1, flow = flow.right ?? start) {
      const missing = (flow.next(nowMs)?.cost ?? 0) - flow.deficit;
      rounds = Math.min(rounds, Math.ceil(missing / (this.quantum * flow.weight)));
    }
    const skipped = rounds - 1;
    if (skipped <= 0) return;
    for (let flow = start, i = 0; i < this.ringSize; i += 1, flow = flow.right ?? start) {
      flow.deficit += skipped * this.quantum * flow.weight;
    }
  }
}

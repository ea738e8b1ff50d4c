/**
 * The requests that wait for one pool, and where each of them waits.
 *
 *     add ──▶ ahead ────────┐
 *         ──▶ in-turn ──────┼──▶ left     by `leave`, once: released, expired or cancelled
 *         ──▶ for-adapter ──┘
 *                ▲ │
 *                │ └ wake…: back to `ahead` or `in-turn`, at its place by age
 *                └ setAside: from `ahead` or `in-turn`, without charge
 *
 * - ahead: its tenant was below its fair share when it came. It waits for a slot, not for a turn.
 * - in-turn: it waits in its tenant's flow, in its lane.
 * - for-adapter: its adapter is not where there is room. It is out of the queue, still counted as queued, and keeps nobody
 *   waiting. The first of each flow is woken when something ended or at a tick, and looks; when one goes, is refused or waits
 *   for room, all for that adapter are woken.
 *
 * This file owns who waits and the counts of it; the dispatcher owns when somebody goes. It alone calls the requests' methods.
 *
 * Invariants:
 * - A request that has not left is in `queued` and in exactly one of the three places.
 * - `TenantLoad.queued…` are the counts of `queued`, tenant by tenant.
 */
import type { PoolEndpoints } from '../pool/types.ts';
import { FairShare } from './fair-share.ts';
import type { FlowEntry } from './flow.ts';
import { Headroom } from './headroom.ts';
import { type Lane, Lanes } from './lanes.ts';
import { ReleaseInterval } from './retry-after.ts';
import { type TenantConcurrency, TenantLoad } from './tenant-load.ts';
import type { QueueSettings, Ticket, Waiting } from './types.ts';
import { WaitingForAdapter } from './waiting-for-adapter.ts';
import { type SlotWait, waitingForSlot } from './waiting-rows.ts';

/** Adapters whose requests look again at a tick. */
const WOKEN_AT_ONCE = 64;

/** A request in the queue, and its ticket. One for each that waits: it holds nothing that the request itself has. */
export class QueuedRequest implements Ticket {
  readonly waiting: Waiting;
  private readonly queue: PoolQueue;
  readonly sinceMs: number;
  /** Its number among all arrivals of the pool. */
  readonly arrival: number;
  /** Its tenant was below its fair share when it came. */
  readonly belowFairShare: boolean;

  // Where it is: `queue` alone writes these.
  state: 'ahead' | 'in-turn' | 'for-adapter' | 'left' = 'left';
  lane: Lane<QueuedRequest>;
  /** Its place in its flow, `in-turn` only. */
  entry: FlowEntry<QueuedRequest> | undefined = undefined;

  constructor(
    queue: PoolQueue,
    waiting: Waiting,
    lane: Lane<QueuedRequest>,
    arrival: number,
    belowFairShare: boolean,
    nowMs: number,
  ) {
    this.queue = queue;
    this.waiting = waiting;
    this.lane = lane;
    this.arrival = arrival;
    this.belowFairShare = belowFairShare;
    this.sinceMs = nowMs;
  }

  cancel(nowMs: number): boolean {
    return this.queue.cancel(this, nowMs);
  }
}

/** One of each class looks for the others, which may go where it may: another flow may have to wait for its turn. */
const wakingClassOf = ({ lane, waiting: { tenant, demand } }: QueuedRequest): string | undefined =>
  demand.within === undefined
    ? `${lane.name} ${demand.choice?.slow === true ? 'slow' : ''} ${tenant}`
    : undefined;

export class PoolQueue {
  readonly name: string;
  readonly endpoints: PoolEndpoints;
  readonly lanes: Lanes<QueuedRequest>;
  readonly fairShare = new FairShare();
  readonly headroom = new Headroom();
  private readonly tenants: TenantConcurrency;
  private readonly dispatch: (queue: PoolQueue, nowMs: number) => void;

  // Who waits.
  /** In order of arrival, which is the order of expiry. */
  private readonly queued = new Set<QueuedRequest>();
  /** Those that are `ahead`, in order of arrival. */
  private readonly ahead = new Set<QueuedRequest>();
  private readonly forAdapter = new WaitingForAdapter<QueuedRequest>();
  /** Queued beyond maxQueued, for what is coming from other replicas. */
  private readonly overflow = new Set<QueuedRequest>();

  // Counts of it.
  /** A tenant without any request here is not in it. */
  private readonly loads = new Map<string, TenantLoad>();
  /** Queued requests that need an adapter, by its name. */
  private readonly needing = new Map<string, number>();
  private bodyBytes = 0;
  private arrivals = 0;
  private readonly releases = new ReleaseInterval();

  /** A dispatch of this pool is under way. The dispatcher's. */
  isDispatching = false;

  constructor(
    name: string,
    endpoints: PoolEndpoints,
    { lanes, quantumTokens }: QueueSettings,
    tenants: TenantConcurrency,
    dispatch: (queue: PoolQueue, nowMs: number) => void,
  ) {
    this.name = name;
    this.endpoints = endpoints;
    this.lanes = new Lanes(lanes.values(), quantumTokens);
    this.tenants = tenants;
    this.dispatch = dispatch;
  }

  get size(): number {
    return this.queued.size;
  }

  /** Of the bodies of what waits. */
  get bytes(): number {
    return this.bodyBytes;
  }

  // ---- What a request that comes now would meet. These change nothing.

  knownLoadOf(tenant: string): TenantLoad | undefined {
    return this.loads.get(tenant);
  }

  /** Slots that are kept free for tenants below their fair share. @param isArriving once a request of one has come. */
  slotsKept(nowMs: number, isArriving = false): number {
    const { endpoints } = this;
    const limit = endpoints.concurrencyLimit(nowMs);
    const size = Math.max(limit, endpoints.reservable(nowMs));
    const kept = this.headroom.slots(size, endpoints.headroom(), nowMs, isArriving);
    return Math.min(kept, Math.max(0, limit - 1));
  }

  /** @param load what the tenant has here. What waits for an adapter keeps none of its tenant's other requests from going. */
  isBelowFairShare(tenant: string, load: Readonly<TenantLoad>, sequences: number, nowMs: number): boolean {
    if (load.queued !== load.queuedBelowFairShare + load.waitingForAdapterInTurn) return false;
    const slots = load.sequences + load.queuedBelowFairShare + sequences;
    const limit = this.endpoints.concurrencyLimit(nowMs);
    return this.fairShare.isBelow(tenant, this.tenants.weightOf(tenant), slots, limit, nowMs);
  }

  /** Whether nobody waits before it, so that it may look for a slot at once. */
  isNext(load: Readonly<TenantLoad>, belowFairShare: boolean): boolean {
    return (
      load.queued === load.waitingForAdapter &&
      (this.queued.size === this.forAdapter.size() || (belowFairShare && this.ahead.size === 0))
    );
  }

  /** Whether a queued request needs the adapter. */
  needs(adapter: string): boolean {
    return this.needing.has(adapter);
  }

  slotWait(nowMs: number): SlotWait {
    const { requests, sinceMs } = waitingForSlot(this.queued, (tenant) =>
      this.tenants.isAtCap(tenant, nowMs),
    );
    return { requests, predictedMs: this.releases.predictedWaitMs(requests, sinceMs, nowMs) };
  }

  retryAfterMs(): number {
    return this.releases.retryAfterMs(this.queued.size);
  }

  // ---- Who comes and leaves.

  loadOf(tenant: string): TenantLoad {
    let load = this.loads.get(tenant);
    if (load === undefined) {
      load = new TenantLoad();
      this.loads.set(tenant, load);
    }
    return load;
  }

  forgetIfAbsent(tenant: string, load: TenantLoad): void {
    if (load.queued === 0 && load.sequences === 0) this.loads.delete(tenant);
  }

  /**
   * @param isForAdapter its adapter is not where there is room.
   * @param isOverflow its tenant's queue is full, but for what is coming.
   */
  add(
    waiting: Waiting,
    lane: Lane<QueuedRequest>,
    belowFairShare: boolean,
    isForAdapter: boolean,
    isOverflow: boolean,
    nowMs: number,
  ): QueuedRequest {
    this.arrivals += 1;
    const request = new QueuedRequest(this, waiting, lane, this.arrivals, belowFairShare, nowMs);
    const { tenant, bytes = 0 } = waiting;
    const { adapter } = waiting.demand;
    const load = this.loadOf(tenant);
    this.queued.add(request);
    this.bodyBytes += bytes;
    load.queued += 1;
    if (belowFairShare) load.queuedBelowFairShare += 1;
    if (adapter !== undefined) this.needing.set(adapter, (this.needing.get(adapter) ?? 0) + 1);
    if (adapter !== undefined && isForAdapter) this.waitForAdapter(adapter, request);
    else if (belowFairShare) this.goAhead(request);
    else {
      this.pushInTurn(request, 'last', nowMs);
      this.headroom.backlogged(tenant);
    }
    if (isOverflow) this.overflow.add(request);
    return request;
  }

  /** Takes the request out of the queue; false if it has left before. Nobody is told. */
  leave(request: QueuedRequest): boolean {
    if (!this.queued.delete(request)) return false;
    if (this.queued.size === 0) this.releases.emptied();
    this.overflow.delete(request);
    const { tenant, demand, bytes = 0 } = request.waiting;
    const load = this.loadOf(tenant);
    this.bodyBytes -= bytes;
    load.queued -= 1;
    if (request.belowFairShare) load.queuedBelowFairShare -= 1;
    this.leavePlace(request);
    if (demand.adapter !== undefined) this.needsNoMore(demand.adapter);
    this.forgetIfAbsent(tenant, load);
    return true;
  }

  /** Its owner takes it out; false if it has left before. It may have been what others waited behind. */
  cancel(request: QueuedRequest, nowMs: number): boolean {
    const keptOthers = request.state !== 'for-adapter';
    if (!this.leave(request)) return false;
    if (keptOthers) this.dispatch(this, nowMs);
    return true;
  }

  /** Takes the request out because it goes: its flow pays for it if it was its turn. */
  release(request: QueuedRequest, nowMs: number): void {
    if (request.entry !== undefined) request.lane.queue.take(request.entry);
    this.releases.released(this.queued.size - 1, nowMs);
    this.leave(request);
  }

  // ---- Who is next.

  /** The first of those that are ahead whose tenant is not at its cap. */
  firstAhead(nowMs: number): QueuedRequest | undefined {
    for (const request of this.ahead) {
      if (!this.tenants.isAtCap(request.waiting.tenant, nowMs)) return request;
    }
    return undefined;
  }

  /** Those that have waited longest first. */
  byAge(): Iterable<QueuedRequest> {
    return this.queued;
  }

  /** Those beyond maxQueued, the newest first. The list stays as it is while they leave. */
  overflowNewestFirst(): readonly QueuedRequest[] {
    return this.overflow.size === 0 ? [] : [...this.overflow].toReversed();
  }

  /** There is a place in its tenant's queue for it now. */
  leaveOverflow(request: QueuedRequest): void {
    this.overflow.delete(request);
  }

  // ---- Adapters.

  /** Its adapter is not where there is room: it waits for that, out of the queue. */
  setAside(adapter: string, request: QueuedRequest): void {
    this.leavePlace(request);
    this.waitForAdapter(adapter, request);
  }

  /** The first of each class returns to its place in the queue, to look whether the adapter is there. */
  wake(adapter: string, nowMs: number): void {
    this.putBack(this.forAdapter.takeFirsts(adapter, wakingClassOf), nowMs);
  }

  /** All adapters in their turn, a bounded number at once: what a look costs grows with the adapters that wait for places. */
  wakeSome(nowMs: number): void {
    if (this.forAdapter.size() === 0) return;
    const adapters = [...this.forAdapter.adapters()];
    for (const adapter of adapters.slice(0, WOKEN_AT_ONCE)) this.wake(adapter, nowMs);
  }

  /** A request ended on the endpoint: what waits for an adapter that is there may go. */
  wakeForEndpoint(address: string, nowMs: number): void {
    if (this.forAdapter.size() === 0) return;
    for (const adapter of [...this.endpoints.adaptersOn(address)]) this.wake(adapter, nowMs);
  }

  /** A request did not have to wait for this adapter: nor have the others. */
  wakeAll(adapter: string | undefined, nowMs: number): void {
    if (adapter === undefined || this.forAdapter.size() === 0) return;
    this.putBack(this.forAdapter.takeAll(adapter), nowMs);
  }

  // ---- The configuration.

  /** Puts every request into its lane as it is now. */
  reconfigure({ lanes, quantumTokens }: QueueSettings, nowMs: number): void {
    this.lanes.reconfigure(lanes.values(), quantumTokens);
    for (const request of this.queued) {
      request.lane = this.lanes.named(request.waiting.lane);
      if (request.state !== 'in-turn') continue;
      this.pushInTurn(request, 'last', nowMs);
      this.headroom.backlogged(request.waiting.tenant);
    }
  }

  // ---- Places.

  private goAhead(request: QueuedRequest): void {
    request.state = 'ahead';
    this.ahead.add(request);
  }

  private pushInTurn(request: QueuedRequest, where: 'by-age' | 'last', nowMs: number): void {
    const { tenant, cost } = request.waiting;
    const { queue } = request.lane;
    const weight = this.tenants.weightOf(tenant);
    request.state = 'in-turn';
    request.entry =
      where === 'by-age'
        ? queue.pushByAge(tenant, weight, cost, request, request.sinceMs)
        : queue.push(tenant, weight, cost, request, request.sinceMs);
    queue.setEligible(tenant, !this.tenants.isAtCap(tenant, nowMs));
  }

  private waitForAdapter(adapter: string, request: QueuedRequest): void {
    request.state = 'for-adapter';
    this.forAdapter.add(adapter, request);
    this.countForAdapter(request, 1);
  }

  private countForAdapter(request: QueuedRequest, by: 1 | -1): void {
    const load = this.loadOf(request.waiting.tenant);
    load.waitingForAdapter += by;
    if (!request.belowFairShare) load.waitingForAdapterInTurn += by;
  }

  private leavePlace(request: QueuedRequest): void {
    const { state, entry, waiting, lane } = request;
    request.state = 'left';
    request.entry = undefined;
    if (state === 'ahead') this.ahead.delete(request);
    else if (state === 'in-turn') {
      if (entry !== undefined) lane.queue.remove(entry);
    } else if (state === 'for-adapter' && this.forAdapter.remove(waiting.demand.adapter ?? '', request)) {
      this.countForAdapter(request, -1);
    }
  }

  private needsNoMore(adapter: string): void {
    const rest = (this.needing.get(adapter) ?? 1) - 1;
    if (rest > 0) {
      this.needing.set(adapter, rest);
      return;
    }
    this.needing.delete(adapter);
    this.endpoints.adapterCancelled(adapter);
  }

  /**
   * Back to their places by age. Who only looks whether its adapter is there does not wait for its turn: its tenant keeps its
   * headroom.
   */
  private putBack(requests: readonly QueuedRequest[], nowMs: number): void {
    let isAnyAhead = false;
    for (const request of requests) {
      this.countForAdapter(request, -1);
      if (request.belowFairShare) isAnyAhead = true;
      else this.pushInTurn(request, 'by-age', nowMs);
    }
    if (!isAnyAhead) return;
    const all = [...this.ahead, ...requests.filter(({ belowFairShare }) => belowFairShare)];
    this.ahead.clear();
    for (const request of all.sort((a, b) => a.arrival - b.arrival)) this.goAhead(request);
  }
}

/**
 * Who is next, and when: the single writer of every pool's queue and slots. types.ts has the contract and the outcomes.
 *
 * A request of a tenant below its fair share goes at once, if need be into a slot of the headroom. Any other waits in its
 * tenant's flow, in its lane, while others do. The rules are files of their own, each with its unit of fairness and source:
 *
 *     fair-share.ts           who passes the queue
 *     headroom.ts             how many slots stay free for them
 *     lanes.ts                which lane's turn it is
 *     deficit-round-robin.ts  which tenant's turn it is in a lane
 *     flow.ts                 which of a tenant's requests is next
 *
 * Releases are events (a slot came free, one that waited gave up, a prompt is computed, an endpoint returned, the configuration changed); a timer only
 * ends what an event failed to. pool-queue.ts draws where a request waits meanwhile.
 *
 * Invariants:
 * - In flight stays within what the endpoints have room for at every release; every slot taken is freed exactly once.
 * - Work conserving, but for the headroom and for a request that waits a moment for the endpoint that has its prompt cached:
 *   nothing eligible waits while another slot than its is free, and nothing is refused that could go at once.
 * - A lane above its weight's part gets nothing while one below it has requests waiting that fit.
 * - Nothing waits longer than maxWaitMs, and nothing for a model that is broken on every endpoint.
 * - `offer` and `explain` decide by the same functions (arrival-decision.ts).
 *
 * With other replicas, a tenant's cap and the endpoints' limits are allotments that are asked for when they are needed.
 * Requests that will go when the answer is there do not count against maxQueued; those that then cannot are refused.
 *
 * Over 400 lines: each event that may let a request go is a method here, so that there is one writer.
 */
import type { Limits } from '../config/config.ts';
import type { Demand, PoolEndpoints, Slot } from '../pool/types.ts';
import { ArrivalDecision, type Place } from './arrival-decision.ts';
import type { Lane } from './lanes.ts';
import { PoolQueue, type QueuedRequest } from './pool-queue.ts';
import { PoolRelease, type ReleaseOwner } from './release.ts';
import { clampRetryAfterMs, MAX_RETRY_AFTER_MS, MIN_RETRY_AFTER_MS } from './retry-after.ts';
import { NO_LOAD, TenantConcurrency } from './tenant-load.ts';
import type {
  Dispatcher,
  ExpiryReason,
  Offer,
  QueueReport,
  QueueSettings,
  RefusalReason,
  TenantCaps,
  Waiting,
} from './types.ts';
import { NO_SLOT_WAIT, type SlotWait, type WaitingRow, waitingRows } from './waiting-rows.ts';

/** What other replicas do not use is given back sooner. */
const COMING_MS = 500;

class QueueDispatcher implements Dispatcher, ReleaseOwner {
  private settings: QueueSettings;
  private readonly tenants: TenantConcurrency;
  private readonly arrivals: ArrivalDecision;
  private readonly pools = new Map<string, PoolQueue>();

  constructor(settings: QueueSettings, tenants: TenantConcurrency) {
    this.settings = settings;
    this.tenants = tenants;
    this.arrivals = new ArrivalDecision(tenants);
  }

  // ---- Offer.

  offer(waiting: Waiting, nowMs: number): Offer {
    const { tenant, demand } = waiting;
    const pool = this.pools.get(waiting.pool);
    const unservedMs =
      pool === undefined ? MIN_RETRY_AFTER_MS : this.arrivals.unservedMs(pool, tenant, demand, nowMs);
    if (pool === undefined || unservedMs !== undefined) {
      return { kind: 'refused', reason: 'no-endpoint', retryAfterMs: unservedMs ?? MIN_RETRY_AFTER_MS };
    }
    const lane = pool.lanes.named(waiting.lane);
    const load = pool.loadOf(tenant);
    const belowFairShare = pool.isBelowFairShare(tenant, load, demand.sequences, nowMs);
    pool.fairShare.arrived(tenant, this.tenants.weightOf(tenant), nowMs);
    if (belowFairShare) pool.headroom.arrived(tenant, nowMs);
    let isForAdapter = false;
    if (this.arrivals.mayGo(pool, tenant, load, belowFairShare, nowMs)) {
      const claim = this.arrivals.claimOf(pool, tenant, belowFairShare, nowMs);
      const got = pool.endpoints.acquire(demand, claim, nowMs);
      if (got?.kind === 'refused') {
        pool.forgetIfAbsent(tenant, load);
        return { kind: 'refused', reason: got.reason, retryAfterMs: clampRetryAfterMs(got.retryMs) };
      }
      if (got?.kind === 'slot') {
        this.release(pool, lane, waiting, got, false, belowFairShare, 0, nowMs);
        return { kind: 'released' };
      }
      isForAdapter = got?.kind === 'later';
    }
    const place = this.arrivals.placeFor(pool, tenant, nowMs);
    const refusal = this.queueRefusal(pool, place, waiting.bytes);
    if (refusal !== undefined) {
      const { adapter } = demand;
      pool.forgetIfAbsent(tenant, load);
      if (adapter !== undefined && !pool.needs(adapter)) pool.endpoints.adapterCancelled(adapter);
      return { kind: 'refused', reason: refusal, retryAfterMs: pool.retryAfterMs() };
    }
    const ticket = pool.add(waiting, lane, belowFairShare, isForAdapter, place === 'overflow', nowMs);
    // Others may wait only because they are at their cap: then this one finds a free slot.
    this.dispatchPool(pool, nowMs);
    if (ticket.state === 'left') return { kind: 'released' };
    if (this.tenants.isAtCap(tenant, nowMs)) this.tenants.usageChanged(tenant, nowMs);
    return { kind: 'queued', ticket };
  }

  // ---- Explain.

  explain(
    { tenant, pool: name, demand, bytes }: Pick<Waiting, 'tenant' | 'pool' | 'demand' | 'bytes'>,
    nowMs: number,
  ): QueueReport | undefined {
    const pool = this.pools.get(name);
    if (pool === undefined) return undefined;
    const load = pool.knownLoadOf(tenant) ?? NO_LOAD;
    const belowFairShare = pool.isBelowFairShare(tenant, load, demand.sequences, nowMs);
    const mayGo = this.arrivals.mayGo(pool, tenant, load, belowFairShare, nowMs);
    const claim = this.arrivals.claimOf(pool, tenant, belowFairShare, nowMs);
    const choice = pool.endpoints.explain(demand, claim, nowMs);
    const refusal = this.refusalOf(pool, { tenant, demand, bytes }, nowMs, {
      belowFairShare,
      mayGo,
      goes: mayGo && choice.chosen !== undefined,
    });
    // What has not been asked for is not at its end.
    const cap = this.tenants.capOf(tenant, nowMs) + this.tenants.comingOf(tenant, nowMs);
    return {
      ...(refusal !== undefined && { refusal }),
      belowFairShare,
      atCap: this.tenants.inFlightOf(tenant) >= cap,
      headroom: pool.slotsKept(nowMs),
      queued: pool.size,
      queuedOfTenant: load.queued,
      choice,
    };
  }

  /** Why `offer` would refuse it, as far as that is known without asking for an adapter. */
  private refusalOf(
    pool: PoolQueue,
    { tenant, demand, bytes }: Pick<Waiting, 'tenant' | 'demand'> & { readonly bytes: number | undefined },
    nowMs: number,
    found: { readonly belowFairShare: boolean; readonly mayGo: boolean; readonly goes: boolean },
  ): RefusalReason | undefined {
    if (this.arrivals.unservedMs(pool, tenant, demand, nowMs) !== undefined) return 'no-endpoint';
    if (found.mayGo && pool.endpoints.lacksAdapter(demand)) return 'no-endpoint';
    if (found.goes) return undefined;
    return this.queueRefusal(pool, this.arrivals.placeFor(pool, tenant, nowMs, found.belowFairShare), bytes);
  }

  /** Why a request may not wait at its place. */
  private queueRefusal(pool: PoolQueue, place: Place, bytes = 0): RefusalReason | undefined {
    if (place === 'none') return 'tenant-queue-full';
    const { maxQueued, maxQueuedBytes = Number.POSITIVE_INFINITY } = this.settings;
    return pool.size >= maxQueued || this.queuedBytes() + bytes > maxQueuedBytes ? 'queue-full' : undefined;
  }

  private queuedBytes(): number {
    let bytes = 0;
    for (const pool of this.pools.values()) bytes += pool.bytes;
    return bytes;
  }

  // ---- Dispatch.

  dispatch(nowMs: number): void {
    for (const tenant of this.tenants.tenants()) this.refreshEligibility(tenant, nowMs);
    for (const pool of this.pools.values()) {
      pool.wakeSome(nowMs);
      this.dispatchPool(pool, nowMs);
    }
  }

  private dispatchPool(pool: PoolQueue, nowMs: number): void {
    // A release may end at once and free its slot from within: the outer loop goes on with it.
    if (pool.isDispatching) return;
    pool.isDispatching = true;
    try {
      let goesOn = pool.size > 0;
      while (goesOn) goesOn = this.releaseNext(pool, nowMs);
    } finally {
      pool.isDispatching = false;
    }
  }

  /** Whether another one may be looked at. */
  private releaseNext(pool: PoolQueue, nowMs: number): boolean {
    const ahead = pool.firstAhead(nowMs);
    if (ahead !== undefined) return this.tryRelease(pool, ahead, true, nowMs);
    const request = pool.lanes.next(nowMs);
    if (request === undefined) return false;
    const { tenant } = request.waiting;
    // An allotment may have ended since its flow was last looked at.
    if (this.tenants.capsMayEnd() && this.tenants.isAtCap(tenant, nowMs)) {
      this.refreshEligibility(tenant, nowMs);
      return true;
    }
    return this.tryRelease(pool, request, false, nowMs);
  }

  /** Whether the next one may be looked at: this one went, was refused, or waits aside. */
  private tryRelease(
    pool: PoolQueue,
    request: QueuedRequest,
    belowFairShare: boolean,
    nowMs: number,
  ): boolean {
    const { lane, waiting } = request;
    const { demand, tenant } = waiting;
    const claim = this.arrivals.claimOf(pool, tenant, belowFairShare, nowMs);
    const got = pool.endpoints.acquire(demand, claim, nowMs);
    if (got?.kind === 'later') {
      pool.setAside(demand.adapter ?? '', request);
      return true;
    }
    // Before it goes: a release may end at once.
    pool.wakeAll(demand.adapter, nowMs);
    if (got === undefined) {
      if (!request.belowFairShare) pool.headroom.backlogged(tenant);
      // What no endpoint would take does not keep others waiting.
      if (pool.endpoints.brokenMs(demand, tenant, nowMs) === undefined) return false;
      this.expire(pool, request, 'no-endpoint', nowMs);
    } else if (got.kind === 'slot') {
      const waitedMs = Math.max(0, nowMs - request.sinceMs);
      pool.release(request, nowMs);
      this.release(pool, lane, waiting, got, !belowFairShare, belowFairShare, waitedMs, nowMs);
    } else this.expire(pool, request, got.reason, nowMs);
    return true;
  }

  /** @param inTurn its flow has paid for it. */
  private release(
    pool: PoolQueue,
    lane: Lane<QueuedRequest>,
    waiting: Waiting,
    slot: Slot,
    inTurn: boolean,
    belowFairShare: boolean,
    waitedMs: number,
    nowMs: number,
  ): void {
    const { tenant, demand } = waiting;
    this.tenants.began(tenant);
    pool.loadOf(tenant).sequences += demand.sequences;
    lane.inFlight += demand.sequences;
    pool.fairShare.served(tenant, waiting.cost, nowMs);
    this.refreshEligibility(tenant, nowMs);
    this.tenants.usageChanged(tenant, nowMs);
    waiting.onRelease(
      new PoolRelease(this, pool, lane, waiting, slot, inTurn, belowFairShare, waitedMs),
      nowMs,
    );
  }

  promptComputed(pool: PoolQueue, nowMs: number): void {
    this.dispatchPool(pool, nowMs);
  }

  freed({ queue: pool, lane, tenant, sequences, slot }: PoolRelease, nowMs: number): void {
    pool.headroom.slotFreed(nowMs);
    pool.wakeForEndpoint(slot.address, nowMs);
    lane.inFlight -= sequences;
    const load = pool.loadOf(tenant);
    load.sequences -= sequences;
    pool.forgetIfAbsent(tenant, load);
    const wasAtCap = this.tenants.isAtCap(tenant, nowMs);
    this.tenants.ended(tenant);
    if (wasAtCap) {
      this.refreshEligibility(tenant, nowMs);
      // The tenant's own next request may wait in another pool.
      for (const other of this.pools.values()) if (other !== pool) this.dispatchPool(other, nowMs);
    }
    this.dispatchPool(pool, nowMs);
    this.tenants.usageChanged(tenant, nowMs);
  }

  private refreshEligibility(tenant: string, nowMs: number): void {
    const eligible = !this.tenants.isAtCap(tenant, nowMs);
    for (const pool of this.pools.values()) pool.lanes.setEligible(tenant, eligible);
  }

  // ---- Events from outside.

  capChanged(tenant: string, nowMs: number): void {
    this.refreshEligibility(tenant, nowMs);
    for (const pool of this.pools.values()) {
      if (pool.knownLoadOf(tenant) === undefined) continue;
      this.dispatchPool(pool, nowMs);
      this.expireOverflow(pool, nowMs);
    }
  }

  roomChanged(name: string, nowMs: number): void {
    const pool = this.pools.get(name);
    if (pool === undefined) return;
    this.dispatchPool(pool, nowMs);
    this.expireOverflow(pool, nowMs);
  }

  adaptersChanged(name: string, adapter: string | undefined, nowMs: number): void {
    const pool = this.pools.get(name);
    if (pool === undefined) return;
    if (adapter === undefined) pool.wakeSome(nowMs);
    else pool.wake(adapter, nowMs);
    this.dispatchPool(pool, nowMs);
  }

  tick(nowMs: number): void {
    for (const pool of this.pools.values()) {
      this.expireOldest(pool, 'timeout', this.settings.maxWaitMs, nowMs);
      this.expireOverflow(pool, nowMs);
      pool.wakeSome(nowMs);
      this.dispatchPool(pool, nowMs);
    }
  }

  flush(nowMs: number): void {
    for (const pool of this.pools.values()) {
      this.expireOldest(pool, 'draining', Number.NEGATIVE_INFINITY, nowMs);
    }
  }

  // ---- Expiry.

  private expire(pool: PoolQueue, request: QueuedRequest, reason: ExpiryReason, nowMs: number): void {
    // It may have left from within another one's end.
    if (!pool.leave(request)) return;
    request.waiting.onExpire(reason, Math.max(0, nowMs - request.sinceMs), nowMs);
  }

  private expireOldest(
    pool: PoolQueue,
    reason: 'timeout' | 'draining',
    minAgeMs: number,
    nowMs: number,
  ): void {
    for (const request of pool.byAge()) {
      if (nowMs - request.sinceMs < minAgeMs) return;
      this.expire(pool, request, reason, nowMs);
    }
  }

  /** Expires what was queued for what did not come. Others may have waited behind it. */
  private expireOverflow(pool: PoolQueue, nowMs: number): void {
    const before = pool.size;
    for (const request of pool.overflowNewestFirst()) {
      const { tenant } = request.waiting;
      const beyond = (pool.knownLoadOf(tenant)?.queued ?? 0) - this.tenants.maxQueuedOf(tenant);
      if (beyond <= 0) pool.leaveOverflow(request);
      else if (
        nowMs - request.sinceMs >= COMING_MS ||
        beyond > this.arrivals.comingFor(pool, tenant, nowMs)
      ) {
        this.expire(pool, request, 'queue-full', nowMs);
      }
    }
    if (pool.size < before) this.dispatchPool(pool, nowMs);
  }

  // ---- Pools and settings.

  addPool(name: string, endpoints: PoolEndpoints): void {
    if (this.pools.has(name)) return;
    const dispatch = (pool: PoolQueue, nowMs: number): void => this.dispatchPool(pool, nowMs);
    this.pools.set(name, new PoolQueue(name, endpoints, this.settings, this.tenants, dispatch));
  }

  removePool(name: string, nowMs: number): void {
    const pool = this.pools.get(name);
    if (pool === undefined) return;
    this.pools.delete(name);
    this.expireOldest(pool, 'draining', Number.NEGATIVE_INFINITY, nowMs);
  }

  reconfigure(settings: QueueSettings, nowMs: number): void {
    this.settings = settings;
    for (const pool of this.pools.values()) {
      pool.reconfigure(settings, nowMs);
      this.dispatchPool(pool, nowMs);
    }
  }

  // ---- What is asked of it.

  canServe(name: string, within: Demand['within']): boolean {
    return this.pools.get(name)?.endpoints.canServe(within) === true;
  }

  isFullFor(tenant: string, nowMs: number): boolean {
    if (this.tenants.maxQueuedOf(tenant) === 0 || this.pools.size === 0) return false;
    for (const pool of this.pools.values()) {
      if (this.arrivals.placeFor(pool, tenant, nowMs) !== 'none') return false;
    }
    return true;
  }

  retryAfterMs(name?: string): number {
    if (name !== undefined) return this.pools.get(name)?.retryAfterMs() ?? MIN_RETRY_AFTER_MS;
    return Math.min(MAX_RETRY_AFTER_MS, ...Array.from(this.pools.values(), (pool) => pool.retryAfterMs()));
  }

  slotWaitOf(name: string, nowMs: number): SlotWait {
    return this.pools.get(name)?.slotWait(nowMs) ?? NO_SLOT_WAIT;
  }

  queued(): number {
    return Array.from(this.pools.values()).reduce((sum, { size }) => sum + size, 0);
  }

  queuedOf(name: string): number {
    return this.pools.get(name)?.size ?? 0;
  }

  headroomOf(name: string, nowMs: number): number {
    return this.pools.get(name)?.slotsKept(nowMs) ?? 0;
  }

  lanesOf(name: string): ReturnType<Dispatcher['lanesOf']> {
    return this.pools.get(name)?.lanes.counts() ?? [];
  }

  waitingOf(name: string): readonly WaitingRow[] {
    return waitingRows(this.pools.get(name)?.byAge() ?? []);
  }

  queuedOfTenant(tenant: string): number {
    let queued = 0;
    for (const pool of this.pools.values()) queued += pool.knownLoadOf(tenant)?.queued ?? 0;
    return queued;
  }

  inFlightOfTenant(tenant: string): number {
    return this.tenants.inFlightOf(tenant);
  }
}

/**
 * @param limitsOf the tenant's limits now; undefined for a tenant that is no longer configured.
 * @param caps where replicas share maxConcurrent.
 * @param mostInFlight of a tenant, for now, whatever its limits say.
 */
export function createDispatcher(
  settings: QueueSettings,
  limitsOf: (tenant: string) => Limits | undefined,
  caps?: TenantCaps,
  mostInFlight: (tenant: string) => number = () => Number.POSITIVE_INFINITY,
): Dispatcher {
  return new QueueDispatcher(settings, new TenantConcurrency(limitsOf, caps, mostInFlight));
}

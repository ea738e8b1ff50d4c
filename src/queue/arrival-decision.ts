/**
 * What becomes of a request that arrives: the rules that `offer` and `explain` share. Nothing here changes anything, so what is
 * explained is what an offer then meets.
 *
 *     unserved?  ──yes──▶ refused, no-endpoint
 *     may go?    ──yes──▶ looks for a slot with its claim; if it gets one: released
 *     its place  ──────▶ queue or overflow: it waits; none: refused, tenant-queue-full
 *
 * The dispatcher itself refuses what is beyond the bounds of the whole queue (queue-full), and passes on what an endpoint
 * refuses.
 *
 * Who is below its fair share, asked for first, is fair-share.ts; which endpoint has room, PoolEndpoints.
 */
import type { Claim, Demand } from '../pool/types.ts';
import type { PoolQueue } from './pool-queue.ts';
import { clampRetryAfterMs, MIN_RETRY_AFTER_MS } from './retry-after.ts';
import type { TenantConcurrency, TenantLoad } from './tenant-load.ts';

/** Where a request would wait. */
export type Place =
  | 'queue'
  /** Beyond its tenant's maxQueued, for what other replicas are about to give. */
  | 'overflow'
  | 'none';

export class ArrivalDecision {
  private readonly tenants: TenantConcurrency;

  constructor(tenants: TenantConcurrency) {
    this.tenants = tenants;
  }

  /** No endpoint may take it, now or after a wait: how long until that may change. Undefined: one may. */
  unservedMs(pool: PoolQueue, tenant: string, demand: Demand, nowMs: number): number | undefined {
    if (!pool.endpoints.canServe(demand.within)) return MIN_RETRY_AFTER_MS;
    const brokenMs = pool.endpoints.brokenMs(demand, tenant, nowMs);
    return brokenMs === undefined ? undefined : clampRetryAfterMs(brokenMs);
  }

  /** Whether it may look for a slot at once: nobody waits before it. */
  mayGo(
    pool: PoolQueue,
    tenant: string,
    load: Readonly<TenantLoad>,
    belowFairShare: boolean,
    nowMs: number,
  ): boolean {
    return !this.tenants.isAtCap(tenant, nowMs) && pool.isNext(load, belowFairShare);
  }

  claimOf(pool: PoolQueue, tenant: string, belowFairShare: boolean, nowMs: number): Claim {
    return { belowFairShare, headroom: belowFairShare ? 0 : pool.slotsKept(nowMs), tenant };
  }

  /**
   * Where a request would wait that has found no slot. One that is idle and no headroom is about to be given away: nobody is
   * refused meanwhile, within reason. Asked for every request: the slots are only looked at when the queue is long.
   *
   * @param isArriving a request below its fair share that has not been noted as arrived.
   */
  placeFor(pool: PoolQueue, tenant: string, nowMs: number, isArriving = false): Place {
    const queued = pool.knownLoadOf(tenant)?.queued ?? 0;
    const maxQueued = this.tenants.maxQueuedOf(tenant);
    if (queued < maxQueued) return 'queue';
    const limit = pool.endpoints.concurrencyLimit(nowMs);
    const isIdle = pool.endpoints.inFlight() < limit - pool.slotsKept(nowMs, isArriving);
    if (isIdle && queued < 2 * maxQueued) return 'queue';
    return queued < maxQueued + this.comingFor(pool, tenant, nowMs) ? 'overflow' : 'none';
  }

  /** Requests of the tenant that may go when other replicas have answered. */
  comingFor({ endpoints }: PoolQueue, tenant: string, nowMs: number): number {
    const cap = this.tenants.comingOf(tenant, nowMs);
    const slots = endpoints.coming(nowMs);
    if (cap === 0 && slots === 0) return 0;
    const byCap = this.tenants.capOf(tenant, nowMs) + cap - this.tenants.inFlightOf(tenant);
    return Math.max(0, Math.min(byCap, endpoints.concurrencyLimit(nowMs) + slots - endpoints.inFlight()));
  }
}

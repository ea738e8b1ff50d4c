/**
 * Headroom: how many slots of a pool stay free for tenants below their fair share (fair-share.ts).
 *
 * Unit: a slot. It is a base stock: such a tenant's request takes a free slot, and the next request that ends puts it back.
 * With their requests arriving λ times a second and τ seconds between two ends, n taken slots have not been put back with
 * probability about (λτ)ⁿ, the stationary tail of an M/M/1 queue (L. Kleinrock, "Queueing Systems", volume I, 1975,
 * section 3.2). So
 *
 *     slots = ⌈ln(p) ÷ ln(λτ)⌉
 *
 * leaves a part p of these requests without one.
 *
 * Invariants: the cost of a call does not grow with idle tenants; without such a request for ACTIVE_MS it is 0; `slots`
 * changes nothing that a later call sees.
 */

import { FadingSum, HALF_LIFE_MS } from './fading-sum.ts';
import { ACTIVE_MS } from './fair-share.ts';

/** Part of the requests below the fair share that may find no free slot. */
const MISS_PROBABILITY = 0.01;
/** Largest part of the concurrency limit that is kept free; one slot always may be, of a limit that is not tiny. */
const MAX_KEPT_PART = 1 / 16;
const MIN_CONCURRENCY_LIMIT = 4;

/** Events a millisecond, fading. */
class Rate {
  private readonly count = new FadingSum(0);
  private sinceMs: number | undefined = undefined;

  add(nowMs: number): void {
    this.sinceMs ??= nowMs;
    this.count.add(1, nowMs);
  }

  /**
   * Unbiased also while young: a fading count of a constant rate r is r · (1 − 2^(−t/h)) · h ÷ ln 2.
   *
   * @param more events that are thought to happen now.
   */
  perMs(nowMs: number, more = 0): number {
    const sinceMs = this.sinceMs ?? (more > 0 ? nowMs : undefined);
    if (sinceMs === undefined) return 0;
    const seen = 1 - 2 ** (-Math.max(1, nowMs - sinceMs) / HALF_LIFE_MS);
    return ((this.count.at(nowMs) + more) * Math.LN2) / (HALF_LIFE_MS * seen);
  }
}

export class Headroom {
  /** Tenants that were below their fair share, and when last; in that order. */
  private readonly below = new Map<string, number>();
  private arrivals = new Rate();
  private readonly freed = new Rate();

  /** Notes a request of a tenant below its fair share with nothing else waiting. */
  arrived(tenant: string, nowMs: number): void {
    this.forgetIdle(nowMs);
    this.below.delete(tenant);
    this.below.set(tenant, nowMs);
    this.arrivals.add(nowMs);
  }

  /** Notes that the tenant has requests waiting for their turn: nothing is kept free for it. */
  backlogged(tenant: string): void {
    this.forget(tenant);
  }

  slotFreed(nowMs: number): void {
    this.freed.add(nowMs);
  }

  /**
   * Says how many slots to keep free.
   *
   * @param configured so many while any tenant below its fair share is active, or `auto`.
   * @param isArriving as it would be after `arrived(…, nowMs)`.
   */
  slots(concurrencyLimit: number, configured: number | 'auto', nowMs: number, isArriving = false): number {
    this.forgetIdle(nowMs);
    const isAnyActive = this.below.size > 0;
    if (!isAnyActive && !isArriving) return 0;
    if (configured !== 'auto') return Math.min(configured, concurrencyLimit - 1);
    if (concurrencyLimit < MIN_CONCURRENCY_LIMIT) return 0;
    const most = Math.max(1, Math.floor(concurrencyLimit * MAX_KEPT_PART));
    const freed = this.freed.perMs(nowMs);
    const arrivals = isAnyActive ? this.arrivals : new Rate();
    const load = freed === 0 ? 0 : arrivals.perMs(nowMs, isArriving ? 1 : 0) / freed;
    if (load >= 1) return most;
    return Math.min(most, Math.max(1, Math.ceil(Math.log(MISS_PROBABILITY) / Math.log(load))));
  }

  /** The rate of those that have gone says nothing of the next. */
  private forget(tenant: string): void {
    if (this.below.delete(tenant) && this.below.size === 0) this.arrivals = new Rate();
  }

  private forgetIdle(nowMs: number): void {
    for (const [tenant, lastMs] of this.below) {
      if (nowMs - lastMs < ACTIVE_MS) return;
      this.forget(tenant);
    }
  }
}

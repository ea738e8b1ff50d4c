/**
 * Who is next, and when: the single writer of every pool's queue and slots.
 *
 * A request that may not go at once waits in its tenant's flow. It is released by an event (a slot came free, an
 * endpoint returned, the configuration changed), never by a timer. Deficit round robin decides the order, the window
 * of the pool's healthy endpoints decides the number.
 *
 * Invariants:
 * - 0 ≤ in flight ≤ window at every release; every slot taken is freed exactly once.
 * - Work conserving: nothing eligible waits while a slot is free, and nothing is refused that could go at once.
 * - Nothing waits longer than maxWaitMs.
 */
import type { Limits } from '../config/config.ts';
import type { PoolEndpoints, Slot } from '../route/endpoints.ts';
import { createDeficitRoundRobin, type DeficitRoundRobin, type DrrEntry } from './deficit-round-robin.ts';

export interface QueueSettings {
  readonly maxWaitMs: number;
  readonly maxQueued: number;
  readonly quantumTokens: number;
}

export interface Release {
  readonly pool: string;
  readonly slot: Slot;
  /** Time spent in the queue. */
  readonly waitedMs: number;
  /** Gives the slot back and lets the next request go. The first call counts. */
  free(nowMs: number): void;
  /** Corrects what the flow has paid to the real cost. The first call counts. */
  settle(cost: number): void;
}

/** A waiting request's place. */
export interface Ticket {
  /** Leaves the queue; false if it was released or expired before. */
  cancel(): boolean;
}

export type Offer =
  /** `onRelease` has been called already. */
  | { readonly kind: 'released' }
  | { readonly kind: 'queued'; readonly ticket: Ticket }
  | {
      readonly kind: 'refused';
      readonly reason: 'tenant-queue-full' | 'queue-full' | 'no-endpoint';
      readonly retryAfterMs: number;
    };

interface Waiting {
  readonly tenant: string;
  readonly pool: string;
  /** Predicted weighted tokens. */
  readonly cost: number;
  onRelease(release: Release, nowMs: number): void;
  /** It waited for maxWaitMs, or the dispatcher is closing. */
  onExpire(reason: 'timeout' | 'draining', waitedMs: number, nowMs: number): void;
}

export interface Dispatcher {
  offer(waiting: Waiting, nowMs: number): Offer;
  /** Releases what can go; call it when an endpoint returned or the configuration changed. */
  dispatch(nowMs: number): void;
  /** Expires what waited too long. Cheap when nothing has. */
  expire(nowMs: number): void;
  /** Expires everything that waits. */
  flush(nowMs: number): void;
  /** True if the tenant could not wait in any pool: known before its body is read. */
  isFullFor(tenant: string): boolean;
  /** When a place in the queue may be free; of one pool, or the soonest of all. */
  retryAfterMs(pool?: string): number;
  addPool(name: string, endpoints: PoolEndpoints): void;
  /** Its waiting requests expire; what is in flight ends as usual. */
  removePool(name: string, nowMs: number): void;
  reconfigure(settings: QueueSettings): void;
  queued(): number;
  queuedOf(pool: string): number;
  queuedOfTenant(tenant: string): number;
  inFlightOfTenant(tenant: string): number;
}

interface QueuedRequest {
  readonly waiting: Waiting;
  readonly sinceMs: number;
}

interface Pool {
  readonly name: string;
  readonly endpoints: PoolEndpoints;
  queue: DeficitRoundRobin<QueuedRequest>;
  /** In order of arrival, which is the order of expiry. */
  readonly entries: Map<QueuedRequest, DrrEntry<QueuedRequest>>;
  /** Smoothed time between two releases while there is a queue, for Retry-After. */
  releaseIntervalMs: number;
  lastReleaseMs: number | undefined;
  dispatching: boolean;
}

const RELEASE_SMOOTHING = 0.1;
const MIN_RETRY_AFTER_MS = 1_000;
const MAX_RETRY_AFTER_MS = 60_000;

/** @param limitsOf the tenant's limits now; undefined for a tenant that is no longer configured. */
export function createDispatcher(
  initial: QueueSettings,
  limitsOf: (tenant: string) => Limits | undefined,
): Dispatcher {
  let settings = initial;
  const pools = new Map<string, Pool>();
  const inFlight = new Map<string, number>();

  const atCap = (tenant: string): boolean =>
    (inFlight.get(tenant) ?? 0) >= (limitsOf(tenant)?.maxConcurrent ?? Number.POSITIVE_INFINITY);

  const refreshEligibility = (tenant: string): void => {
    const eligible = !atCap(tenant);
    for (const pool of pools.values()) {
      if (pool.queue.sizeOf(tenant) > 0) pool.queue.setEligible(tenant, eligible);
    }
  };

  /** @param paid what the flow has paid in the queue; a request that went at once has paid nothing and owes nothing. */
  const releaseTo = (
    pool: Pool,
    waiting: Waiting,
    slot: Slot,
    waitedMs: number,
    paid: number | undefined,
    nowMs: number,
  ): void => {
    const { tenant } = waiting;
    inFlight.set(tenant, (inFlight.get(tenant) ?? 0) + 1);
    refreshEligibility(tenant);
    let open = true;
    let toSettle = paid;
    waiting.onRelease(
      {
        pool: pool.name,
        slot,
        waitedMs,
        free(at) {
          if (!open) return;
          open = false;
          slot.free();
          const rest = (inFlight.get(tenant) ?? 1) - 1;
          if (rest === 0) inFlight.delete(tenant);
          else inFlight.set(tenant, rest);
          const wasAtCap = rest + 1 >= (limitsOf(tenant)?.maxConcurrent ?? Number.POSITIVE_INFINITY);
          if (wasAtCap) {
            refreshEligibility(tenant);
            // The tenant's own next request may wait in another pool.
            for (const other of pools.values()) if (other !== pool) dispatchPool(other, at);
          }
          dispatchPool(pool, at);
        },
        settle(cost) {
          if (toSettle === undefined) return;
          pool.queue.charge(tenant, cost - toSettle);
          toSettle = undefined;
        },
      },
      nowMs,
    );
  };

  const noteRelease = (pool: Pool, nowMs: number): void => {
    if (pool.lastReleaseMs !== undefined) {
      pool.releaseIntervalMs +=
        RELEASE_SMOOTHING * (Math.max(0, nowMs - pool.lastReleaseMs) - pool.releaseIntervalMs);
    }
    pool.lastReleaseMs = pool.queue.size() > 0 ? nowMs : undefined;
  };

  const dispatchPool = (pool: Pool, nowMs: number): void => {
    // A release may end at once and free its slot from within: the outer loop goes on with it.
    if (pool.dispatching) return;
    pool.dispatching = true;
    try {
      while (pool.queue.size() > 0) {
        const slot = pool.endpoints.acquire();
        if (slot === undefined) return;
        const entry = pool.queue.next();
        if (entry === undefined) {
          slot.free();
          return;
        }
        pool.entries.delete(entry.item);
        noteRelease(pool, nowMs);
        const waitedMs = Math.max(0, nowMs - entry.item.sinceMs);
        releaseTo(pool, entry.item.waiting, slot, waitedMs, entry.cost, nowMs);
      }
    } finally {
      pool.dispatching = false;
    }
  };

  const retryAfterMs = (pool: Pool | undefined): number =>
    Math.min(
      MAX_RETRY_AFTER_MS,
      Math.max(MIN_RETRY_AFTER_MS, Math.ceil((pool?.queue.size() ?? 0) * (pool?.releaseIntervalMs ?? 0))),
    );

  const expireHead = (pool: Pool, reason: 'timeout' | 'draining', nowMs: number, minAgeMs: number): void => {
    for (const [request, entry] of pool.entries) {
      const waitedMs = nowMs - request.sinceMs;
      if (waitedMs < minAgeMs) return;
      pool.entries.delete(request);
      pool.queue.remove(entry);
      request.waiting.onExpire(reason, Math.max(0, waitedMs), nowMs);
    }
  };

  return {
    offer(waiting, nowMs) {
      const pool = pools.get(waiting.pool);
      if (pool === undefined || pool.endpoints.healthyCount() === 0) {
        return { kind: 'refused', reason: 'no-endpoint', retryAfterMs: MIN_RETRY_AFTER_MS };
      }
      const { tenant } = waiting;
      const limits = limitsOf(tenant);
      const mayGoAtOnce = pool.queue.sizeOf(tenant) === 0 && !atCap(tenant);
      if (mayGoAtOnce && pool.queue.size() === 0) {
        const slot = pool.endpoints.acquire();
        if (slot !== undefined) {
          releaseTo(pool, waiting, slot, 0, undefined, nowMs);
          return { kind: 'released' };
        }
      }
      if (pool.queue.sizeOf(tenant) >= (limits?.maxQueued ?? 0)) {
        return { kind: 'refused', reason: 'tenant-queue-full', retryAfterMs: retryAfterMs(pool) };
      }
      if (pool.queue.size() >= settings.maxQueued) {
        return { kind: 'refused', reason: 'queue-full', retryAfterMs: retryAfterMs(pool) };
      }
      const request: QueuedRequest = { waiting, sinceMs: nowMs };
      const entry = pool.queue.push(tenant, limits?.weight ?? 1, waiting.cost, request);
      pool.entries.set(request, entry);
      pool.queue.setEligible(tenant, !atCap(tenant));
      // Others may wait only because they are at their cap: then this one finds a free slot.
      dispatchPool(pool, nowMs);
      if (!pool.entries.has(request)) return { kind: 'released' };
      return {
        kind: 'queued',
        ticket: {
          cancel: () => pool.entries.delete(request) && pool.queue.remove(entry),
        },
      };
    },
    dispatch(nowMs) {
      for (const tenant of inFlight.keys()) refreshEligibility(tenant);
      for (const pool of pools.values()) dispatchPool(pool, nowMs);
    },
    expire(nowMs) {
      for (const pool of pools.values()) expireHead(pool, 'timeout', nowMs, settings.maxWaitMs);
    },
    flush(nowMs) {
      for (const pool of pools.values()) expireHead(pool, 'draining', nowMs, Number.NEGATIVE_INFINITY);
    },
    isFullFor(tenant) {
      const maxQueued = limitsOf(tenant)?.maxQueued ?? 0;
      if (maxQueued === 0 || pools.size === 0) return false;
      for (const pool of pools.values()) if (pool.queue.sizeOf(tenant) < maxQueued) return false;
      return true;
    },
    retryAfterMs: (name) =>
      name === undefined
        ? Math.min(MAX_RETRY_AFTER_MS, ...[...pools.values()].map(retryAfterMs))
        : retryAfterMs(pools.get(name)),
    addPool(name, endpoints) {
      if (pools.has(name)) return;
      pools.set(name, {
        name,
        endpoints,
        queue: createDeficitRoundRobin(settings.quantumTokens),
        entries: new Map(),
        releaseIntervalMs: 0,
        lastReleaseMs: undefined,
        dispatching: false,
      });
    },
    removePool(name, nowMs) {
      const pool = pools.get(name);
      if (pool === undefined) return;
      pools.delete(name);
      expireHead(pool, 'draining', nowMs, Number.NEGATIVE_INFINITY);
    },
    reconfigure(next) {
      const quantumChanged = next.quantumTokens !== settings.quantumTokens;
      settings = next;
      if (!quantumChanged) return;
      for (const pool of pools.values()) {
        const queue = createDeficitRoundRobin<QueuedRequest>(next.quantumTokens);
        for (const [request, entry] of pool.entries) {
          const { tenant } = request.waiting;
          pool.entries.set(request, queue.push(tenant, limitsOf(tenant)?.weight ?? 1, entry.cost, request));
          queue.setEligible(tenant, !atCap(tenant));
        }
        pool.queue = queue;
      }
    },
    queued: () => [...pools.values()].reduce((sum, pool) => sum + pool.queue.size(), 0),
    queuedOf: (name) => pools.get(name)?.queue.size() ?? 0,
    queuedOfTenant: (tenant) => [...pools.values()].reduce((sum, pool) => sum + pool.queue.sizeOf(tenant), 0),
    inFlightOfTenant: (tenant) => inFlight.get(tenant) ?? 0,
  };
}

/**
 * The queue's contract: what it is given, what it answers, and how a request leaves it.
 *
 * Life of a request. `offer` takes it, and exactly one of these follows, once:
 *
 *     outcome    told by
 *     refused    `offer` returns `refused`; none of the request's methods is called
 *     released   `onRelease`; before `offer` returns if it says `released`
 *     expired    `onExpire`: it waited too long, or cannot be served any more
 *     cancelled  nobody: its owner called `Ticket.cancel`, which returned true
 *
 * Ownership. The caller owns the request; the dispatcher refers to it from `offer` to the outcome. From `onRelease` on, the
 * caller owns the Release and has to call `free` and `settle`, each once; the dispatcher never takes a slot back.
 *
 * Threads. One dispatcher, one writer: every call runs to its end before the next, and `onRelease` and `onExpire` may call
 * the dispatcher and the Release from within.
 */
import type { LaneConfig } from '../config/config.ts';
import type { Demand, NotServable, PoolEndpoints, Slot } from '../pool/types.ts';
import type { ChoiceReport } from '../routing/explain.ts';
import type { SlotWait, WaitingRow } from './waiting-rows.ts';

export interface QueueSettings {
  readonly maxWaitMs: number;
  readonly maxQueued: number;
  readonly maxQueuedBytes?: number;
  readonly quantumTokens: number;
  /** By name. At least one. */
  readonly lanes: ReadonlyMap<string, LaneConfig>;
}

/** A request that waits, or asks to. Its methods are called on it, each at most once, and never both. */
export interface Waiting {
  readonly tenant: string;
  readonly pool: string;
  /** One of the settings' lanes; any other counts as the first. */
  readonly lane: string;
  /** Predicted weighted tokens. */
  readonly cost: number;
  /** Of its body; absent: none are counted. */
  readonly bytes?: number;
  readonly demand: Demand;
  onRelease(release: Release, nowMs: number): void;
  onExpire(reason: ExpiryReason, waitedMs: number, nowMs: number): void;
}

/** Nothing healthy serves it, or its adapter could not be loaded, or too many adapters wait. */
type NotServableReason = Extract<NotServable, { kind: 'refused' }>['reason'];

/**
 * Why a request left the queue without a slot: it waited for maxWaitMs, the dispatcher is closing, what it was queued for
 * beyond maxQueued did not come, its model is broken on every endpoint, or its adapter is not to be had.
 */
export type ExpiryReason = 'timeout' | 'draining' | 'queue-full' | NotServableReason;

export type RefusalReason = 'tenant-queue-full' | 'queue-full' | NotServableReason;

/** A request's slot in an engine. */
export interface Release {
  readonly pool: string;
  readonly slot: Slot;
  /** Its tenant was below its fair share, and it passed the queue. */
  readonly belowFairShare: boolean;
  /** Time spent in the queue. */
  readonly waitedMs: number;
  /** The first token was seen. */
  firstToken(nowMs: number): void;
  /** What it has cost so far, if that is more than has been paid. */
  charge(costSoFar: number, nowMs: number): void;
  /** Gives the slot back and lets the next request go. The first call counts. */
  free(nowMs: number): void;
  /** Corrects what has been paid to the real cost. The first call counts. */
  settle(cost: number, nowMs: number): void;
}

/** A waiting request's place. */
export interface Ticket {
  /**
   * Leaves the queue; false if it was released or expired before. Whom it kept waiting may go: their `onRelease` is called
   * from within.
   */
  cancel(nowMs: number): boolean;
}

export type Offer =
  /** It has left already: `onRelease` or `onExpire` has been called. */
  | { readonly kind: 'released' }
  | { readonly kind: 'queued'; readonly ticket: Ticket }
  | { readonly kind: 'refused'; readonly reason: RefusalReason; readonly retryAfterMs: number };

/** This replica's part of each tenant's maxConcurrent. */
export interface TenantCaps {
  /** Requests that the tenant may have in flight here. */
  limit(tenant: string, nowMs: number): number;
  /** What may be added to that within moments. */
  coming(tenant: string, nowMs: number): number;
  /** What the tenant has in flight, or waits for because of its cap, has changed. */
  usageChanged(tenant: string, nowMs: number): void;
}

/** Of a request that is not offered. */
export interface QueueReport {
  /** It would be refused at once; absent: it would go or wait. Whether its adapter can be loaded is not tried. */
  readonly refusal?: RefusalReason;
  /** Its tenant is below its fair share: it passes the queue. */
  readonly belowFairShare: boolean;
  /** Its tenant has as many requests in the engines as it may. */
  readonly atCap: boolean;
  /** Slots that are kept free for tenants below their fair share. */
  readonly headroom: number;
  /** Requests that wait for the pool, and those of the tenant. */
  readonly queued: number;
  readonly queuedOfTenant: number;
  readonly choice: ChoiceReport;
}

export interface Dispatcher {
  offer(waiting: Waiting, nowMs: number): Offer;
  /** Says what would become of it now. Changes nothing. Undefined: there is no such pool. */
  explain(
    waiting: Pick<Waiting, 'tenant' | 'pool' | 'demand' | 'bytes'>,
    nowMs: number,
  ): QueueReport | undefined;
  /** Whether an endpoint of the pool may serve it at all, now or after a wait. */
  canServe(pool: string, within: Demand['within']): boolean;
  /** Releases what can go; call it when an endpoint returned, a limit grew or the configuration changed. */
  dispatch(nowMs: number): void;
  /** The tenant may have more or fewer requests in flight than before. */
  capChanged(tenant: string, nowMs: number): void;
  /** An endpoint of the pool has more or less room than before. */
  roomChanged(pool: string, nowMs: number): void;
  /** The adapter was loaded on an endpoint of the pool, or could not be; undefined: some have come or gone. */
  adaptersChanged(pool: string, adapter: string | undefined, nowMs: number): void;
  /** Expires what waited too long, and releases what no event did. Cheap when there is nothing to do. */
  tick(nowMs: number): void;
  /** Expires everything that waits. */
  flush(nowMs: number): void;
  /** True if the tenant could not wait in any pool: known before its body is read. */
  isFullFor(tenant: string, nowMs: number): boolean;
  /** When a place in the queue may be free; of one pool, or the soonest of all. */
  retryAfterMs(pool?: string): number;
  /** Who waits for a slot of the pool, and for how long. Takes time for each request that waits. */
  slotWaitOf(pool: string, nowMs: number): SlotWait;
  addPool(name: string, endpoints: PoolEndpoints): void;
  /** Its waiting requests expire; what is in flight ends as usual. */
  removePool(name: string, nowMs: number): void;
  reconfigure(settings: QueueSettings, nowMs: number): void;
  queued(): number;
  queuedOf(pool: string): number;
  /** Slots of the pool that are kept free for tenants below their fair share now. */
  headroomOf(pool: string, nowMs: number): number;
  lanesOf(
    pool: string,
  ): Iterable<{ readonly lane: string; readonly queued: number; readonly inFlight: number }>;
  /** Who waits for the pool, by lane and tenant. Takes time for each request that waits. */
  waitingOf(pool: string): readonly WaitingRow[];
  queuedOfTenant(tenant: string): number;
  inFlightOfTenant(tenant: string): number;
}

/**
 * Who is next, and when: the single writer of every pool's queue and slots.
 *
 * A request of a tenant below its fair share goes at once, if need be into a slot of the reserve. Any other waits in its
 * tenant's flow, in its lane, while others do. Of the lanes with requests waiting the one goes first that holds the least
 * part of its share; in it, deficit round robin decides by cost. Releases are events (a slot came free, a prompt is
 * computed, an endpoint returned, the configuration changed); a timer only ends what an event failed to.
 *
 * Invariants:
 * - In flight stays within what the endpoints have room for at every release; every slot taken is freed exactly once.
 * - Work conserving, but for the reserve and for a request that waits a moment for the endpoint that has its prompt cached:
 *   nothing eligible waits while another slot than its is free, and nothing is refused that could go at once.
 * - A lane above its share gets nothing while one below it has requests waiting that fit.
 * - Nothing waits longer than maxWaitMs, and nothing for a model that is broken on every endpoint.
 *
 * A request whose adapter is not where there is room is parked: out of its lane's queue, without charge, still counted as
 * queued. The first of each flow returns to its place there when something ended or a tick came, and looks; when one goes, is
 * refused or waits for room, all for that adapter follow. So nobody waits behind an adapter that is being loaded.
 *
 * With other replicas, a tenant's cap and the endpoints' windows are shares that are asked for when they are needed. Requests
 * that will go when the answer is there do not count against maxQueued; those that then cannot are refused.
 */
import type { LaneConfig, Limits } from '../config/config.ts';
import type { Claim, Demand, NotServable, PoolEndpoints, Slot } from '../pool/types.ts';
import type { ChoiceReport } from '../routing/explain.ts';
import {
  createDeficitRoundRobin,
  type DeficitRoundRobin,
  type DrrEntry,
  type FlowOrder,
} from './deficit-round-robin.ts';
import { createFairShare, type FairShare } from './fair-share.ts';
import { createParking, type Parked, type Parking } from './parking.ts';

export interface QueueSettings {
  readonly maxWaitMs: number;
  readonly maxQueued: number;
  readonly maxQueuedBytes?: number;
  readonly quantumTokens: number;
  /** By name. At least one. */
  readonly lanes: ReadonlyMap<string, LaneConfig>;
}

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
  /** Leaves the queue; false if it was released or expired before. */
  cancel(): boolean;
}

export type Offer =
  /** `onRelease` has been called already. */
  | { readonly kind: 'released' }
  | { readonly kind: 'queued'; readonly ticket: Ticket }
  | {
      readonly kind: 'refused';
      readonly reason: 'tenant-queue-full' | 'queue-full' | NotThere;
      readonly retryAfterMs: number;
    };

/** Nothing healthy serves it, or its adapter could not be loaded, or too many adapters wait. */
type NotThere = Extract<NotServable, { kind: 'refused' }>['reason'];

interface Waiting {
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
  /**
   * It waited for maxWaitMs, the dispatcher is closing, what it was queued for beyond maxQueued did not come, its model is
   * broken on every endpoint, or its adapter is not to be had.
   */
  onExpire(reason: 'timeout' | 'draining' | 'queue-full' | NotThere, waitedMs: number, nowMs: number): void;
}

/** This replica's part of each tenant's maxConcurrent. */
export interface TenantCaps {
  /** Requests that the tenant may have in flight here. */
  limit(tenant: string, nowMs: number): number;
  /** What may be added to that within moments. */
  coming(tenant: string, nowMs: number): number;
  /** What the tenant has in flight, or waits for because of its cap, has changed. */
  moved(tenant: string, nowMs: number): void;
}

/** Of a request that is not offered. */
export interface QueueReport {
  /** It would be refused at once; absent: it would go or wait. Whether its adapter can be loaded is not tried. */
  readonly refusal?: Extract<Offer, { kind: 'refused' }>['reason'];
  /** Its tenant is below its fair share: it passes the queue. */
  readonly belowFairShare: boolean;
  /** Its tenant has as many requests in the engines as it may. */
  readonly atCap: boolean;
  /** Slots that are kept free for quiet tenants. */
  readonly headroom: number;
  /** Requests that wait for the pool, and those of the tenant. */
  readonly queued: number;
  readonly queuedOfTenant: number;
  readonly choice: ChoiceReport;
}

export interface Dispatcher {
  offer(waiting: Waiting, nowMs: number): Offer;
  /** What would become of it now. Changes nothing. Undefined: there is no such pool. */
  explain(
    waiting: Pick<Waiting, 'tenant' | 'pool' | 'demand' | 'bytes'>,
    nowMs: number,
  ): QueueReport | undefined;
  /** Whether an endpoint of the pool may serve it at all, now or after a wait. */
  canServe(pool: string, within: Demand['within']): boolean;
  /** Releases what can go; call it when an endpoint returned, a window grew or the configuration changed. */
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
  addPool(name: string, endpoints: PoolEndpoints): void;
  /** Its waiting requests expire; what is in flight ends as usual. */
  removePool(name: string, nowMs: number): void;
  reconfigure(settings: QueueSettings, nowMs: number): void;
  queued(): number;
  queuedOf(pool: string): number;
  /** Slots of the pool that are kept free for quiet tenants now. */
  reserveOf(pool: string, nowMs: number): number;
  lanesOf(
    pool: string,
  ): Iterable<{ readonly lane: string; readonly queued: number; readonly inFlight: number }>;
  queuedOfTenant(tenant: string): number;
  inFlightOfTenant(tenant: string): number;
}

interface QueuedRequest extends Parked {
  readonly waiting: Waiting;
  lane: Lane;
  readonly sinceMs: number;
  /** It waits for a slot, not for a turn. */
  readonly quiet: boolean;
  /** Undefined for a quiet request, and for a parked one. */
  entry: DrrEntry<QueuedRequest> | undefined;
}

interface Lane {
  readonly name: string;
  config: LaneConfig;
  queue: DeficitRoundRobin<QueuedRequest>;
  /** Sequences. */
  inFlight: number;
}

/** What a tenant has in one pool. */
interface Presence {
  queued: number;
  /** Of those, quiet ones. */
  quietQueued: number;
  /** Of the queued, parked ones, and of those the ones that are not quiet. */
  parked: number;
  parkedInTurn: number;
  sequences: number;
}

interface Pool {
  readonly name: string;
  readonly endpoints: PoolEndpoints;
  /** In the settings' order. */
  lanes: readonly Lane[];
  readonly share: FairShare;
  readonly tenants: Map<string, Presence>;
  /** In order of arrival, which is the order of expiry. */
  readonly queued: Set<QueuedRequest>;
  readonly quiet: Set<QueuedRequest>;
  /** By adapter. */
  readonly parking: Parking<QueuedRequest>;
  /** Queued requests that need an adapter, by its name. */
  readonly adapters: Map<string, number>;
  /** Queued beyond maxQueued, for what is coming. */
  readonly extra: Set<QueuedRequest>;
  /** Smoothed time between two releases while there is a queue, for Retry-After. */
  releaseIntervalMs: number;
  lastReleaseMs: number | undefined;
  dispatching: boolean;
}

const RELEASE_SMOOTHING = 0.1;
const MIN_RETRY_AFTER_MS = 1_000;
const MAX_RETRY_AFTER_MS = 60_000;
/** What other replicas do not use is given back sooner. */
const COMING_MS = 500;

const ABSENT: Readonly<Presence> = { queued: 0, quietQueued: 0, parked: 0, parkedInTurn: 0, sequences: 0 };

/** Adapters whose requests look again at a tick. */
const WOKEN_AT_ONCE = 64;

const withinRetry = (ms: number): number =>
  Math.min(MAX_RETRY_AFTER_MS, Math.max(MIN_RETRY_AFTER_MS, Math.ceil(ms)));

const orderOf = (lane: LaneConfig): FlowOrder =>
  lane.order === 'fcfs' ? { kind: 'fcfs' } : { kind: 'shortest', maxAgeMs: lane.maxAgeMs };

/**
 * @param limitsOf the tenant's limits now; undefined for a tenant that is no longer configured.
 * @param caps where replicas share maxConcurrent.
 * @param mostInFlight of a tenant, for now, whatever its limits say.
 */
export function createDispatcher(
  initial: QueueSettings,
  limitsOf: (tenant: string) => Limits | undefined,
  caps?: TenantCaps,
  mostInFlight: (tenant: string) => number = () => Number.POSITIVE_INFINITY,
): Dispatcher {
  let settings = initial;
  const pools = new Map<string, Pool>();
  /** Requests, in all pools. */
  const inFlight = new Map<string, number>();
  let arrivals = 0;
  /** In all pools. */
  let queuedBytes = 0;

  const makeLanes = (): readonly Lane[] =>
    [...settings.lanes.values()].map((config) => ({
      name: config.name,
      config,
      queue: createDeficitRoundRobin(settings.quantumTokens, orderOf(config)),
      inFlight: 0,
    }));
  const laneOf = (pool: Pool, name: string): Lane => {
    for (const lane of pool.lanes) if (lane.name === name) return lane;
    const [first] = pool.lanes;
    if (first === undefined) throw new Error('the queue has no lane');
    return first;
  };

  const presenceOf = (pool: Pool, tenant: string): Presence => {
    let presence = pool.tenants.get(tenant);
    if (presence === undefined) {
      presence = { queued: 0, quietQueued: 0, parked: 0, parkedInTurn: 0, sequences: 0 };
      pool.tenants.set(tenant, presence);
    }
    return presence;
  };
  const forgetIfAbsent = (pool: Pool, tenant: string, presence: Presence): void => {
    if (presence.queued === 0 && presence.sequences === 0) pool.tenants.delete(tenant);
  };

  const maxQueuedOf = (tenant: string): number => limitsOf(tenant)?.maxQueued ?? 0;
  const weightOf = (tenant: string): number => limitsOf(tenant)?.weight ?? 1;
  /** Of a tenant with a cap. */
  const capsOf = (tenant: string): TenantCaps | undefined =>
    caps !== undefined && limitsOf(tenant)?.maxConcurrent !== undefined ? caps : undefined;
  const capOf = (tenant: string, nowMs: number): number => {
    const most = limitsOf(tenant)?.maxConcurrent ?? Number.POSITIVE_INFINITY;
    return Math.min(most, capsOf(tenant)?.limit(tenant, nowMs) ?? most, mostInFlight(tenant));
  };
  const atCap = (tenant: string, nowMs: number): boolean =>
    (inFlight.get(tenant) ?? 0) >= capOf(tenant, nowMs);

  const reserveOf = ({ endpoints, share }: Pool, nowMs: number): number => {
    const window = endpoints.concurrencyLimit(nowMs);
    const reserve = share.reserve(Math.max(window, endpoints.reservable(nowMs)), endpoints.headroom(), nowMs);
    return Math.min(reserve, Math.max(0, window - 1));
  };

  /** Requests of the tenant that may go when other replicas have answered. */
  const comingFor = ({ endpoints }: Pool, tenant: string, nowMs: number): number => {
    const cap = capsOf(tenant)?.coming(tenant, nowMs) ?? 0;
    const slots = endpoints.coming(nowMs);
    if (cap === 0 && slots === 0) return 0;
    const byCap = capOf(tenant, nowMs) + cap - (inFlight.get(tenant) ?? 0);
    return Math.max(0, Math.min(byCap, endpoints.concurrencyLimit(nowMs) + slots - endpoints.inFlight()));
  };

  /**
   * A slot that is idle, and no reserve, is about to be given away: nobody is refused meanwhile, within reason. Asked for every
   * request: the slots are only looked at when the queue is long.
   */
  const placeFor = (pool: Pool, tenant: string, nowMs: number): 'queue' | 'extra' | 'none' => {
    const queued = pool.tenants.get(tenant)?.queued ?? 0;
    const maxQueued = maxQueuedOf(tenant);
    if (queued < maxQueued) return 'queue';
    const window = pool.endpoints.concurrencyLimit(nowMs);
    const isIdle = pool.endpoints.inFlight() < window - reserveOf(pool, nowMs);
    if (isIdle && queued < 2 * maxQueued) return 'queue';
    return queued < maxQueued + comingFor(pool, tenant, nowMs) ? 'extra' : 'none';
  };

  /** A request that comes now may look for a slot: nobody waits before it. */
  const mayGo = (
    pool: Pool,
    tenant: string,
    presence: Readonly<Presence>,
    quiet: boolean,
    nowMs: number,
  ): boolean =>
    !atCap(tenant, nowMs) &&
    presence.queued === presence.parked &&
    (pool.queued.size === pool.parking.size() || (quiet && pool.quiet.size === 0));

  /** Why it may not wait. */
  const queueRefusal = (
    pool: Pool,
    tenant: string,
    bytes: number,
    nowMs: number,
    place = placeFor(pool, tenant, nowMs),
  ): 'tenant-queue-full' | 'queue-full' | undefined => {
    if (place === 'none') return 'tenant-queue-full';
    const { maxQueued, maxQueuedBytes = Number.POSITIVE_INFINITY } = settings;
    return pool.queued.size >= maxQueued || queuedBytes + bytes > maxQueuedBytes ? 'queue-full' : undefined;
  };

  const refreshEligibility = (tenant: string, nowMs: number): void => {
    const eligible = !atCap(tenant, nowMs);
    for (const pool of pools.values()) {
      for (const { queue } of pool.lanes) if (queue.sizeOf(tenant) > 0) queue.setEligible(tenant, eligible);
    }
  };

  const leaveQueue = (pool: Pool, request: QueuedRequest): boolean => {
    if (!pool.queued.delete(request)) return false;
    pool.extra.delete(request);
    const { tenant, demand, bytes = 0 } = request.waiting;
    queuedBytes -= bytes;
    const presence = presenceOf(pool, tenant);
    if (demand.adapter !== undefined) leaveAdapter(pool, demand.adapter, request);
    presence.queued -= 1;
    if (request.quiet) {
      pool.quiet.delete(request);
      presence.quietQueued -= 1;
    }
    if (request.entry !== undefined) request.lane.queue.remove(request.entry);
    forgetIfAbsent(pool, tenant, presence);
    return true;
  };

  const leaveAdapter = (pool: Pool, adapter: string, request: QueuedRequest): void => {
    if (pool.parking.remove(adapter, request)) countParked(pool, request, -1);
    const rest = (pool.adapters.get(adapter) ?? 1) - 1;
    if (rest > 0) {
      pool.adapters.set(adapter, rest);
      return;
    }
    pool.adapters.delete(adapter);
    pool.endpoints.adapterCancelled(adapter);
  };

  const countParked = (pool: Pool, request: QueuedRequest, by: 1 | -1): void => {
    const presence = presenceOf(pool, request.waiting.tenant);
    presence.parked += by;
    if (!request.quiet) presence.parkedInTurn += by;
  };

  const park = (pool: Pool, adapter: string, request: QueuedRequest): void => {
    pool.quiet.delete(request);
    if (request.entry !== undefined) request.lane.queue.remove(request.entry);
    request.entry = undefined;
    pool.parking.add(adapter, request);
    countParked(pool, request, 1);
  };

  /** To their places in their flows: the heads. */
  const unpark = (pool: Pool, requests: readonly QueuedRequest[], nowMs: number): void => {
    let hasQuiet = false;
    for (const request of requests) {
      countParked(pool, request, -1);
      if (request.quiet) hasQuiet = true;
      else pushInTurn(pool, request, nowMs, 'by-age');
    }
    if (!hasQuiet) return;
    const all = [...pool.quiet, ...requests.filter(({ quiet }) => quiet)];
    pool.quiet.clear();
    for (const request of all.sort((a, b) => a.arrival - b.arrival)) pool.quiet.add(request);
  };

  /** One of each flow looks for the others that may go where it may: another flow may have to wait for its turn. */
  const wake = (pool: Pool, adapter: string, nowMs: number): void => {
    const woken = pool.parking.takeFirsts(adapter, ({ lane, waiting: { tenant, demand } }) =>
      demand.within === undefined
        ? `${lane.name} ${demand.choice?.slow === true ? 'slow' : ''} ${tenant}`
        : undefined,
    );
    unpark(pool, woken, nowMs);
  };

  /** All in their turn: what is asked of the plan grows with the adapters that wait for places. */
  const wakeSome = (pool: Pool, nowMs: number): void => {
    if (pool.parking.size() === 0) return;
    const adapters = [...pool.parking.keys()];
    for (const adapter of adapters.slice(0, WOKEN_AT_ONCE)) wake(pool, adapter, nowMs);
  };

  /** It did not have to wait for the adapter: nor have the others. */
  const followed = (pool: Pool, adapter: string | undefined, nowMs: number): void => {
    if (adapter === undefined || pool.parking.size() === 0) return;
    unpark(pool, pool.parking.takeAll(adapter), nowMs);
  };

  /** @param inTurn the flow has paid for it; a request that went at once has not, and owes its flow nothing. */
  const releaseTo = (
    pool: Pool,
    lane: Lane,
    waiting: Waiting,
    slot: Slot,
    {
      inTurn,
      quiet,
      waitedMs,
    }: { readonly inTurn: boolean; readonly quiet: boolean; readonly waitedMs: number },
    nowMs: number,
  ): void => {
    const { tenant, demand } = waiting;
    const { sequences } = demand;
    inFlight.set(tenant, (inFlight.get(tenant) ?? 0) + 1);
    presenceOf(pool, tenant).sequences += sequences;
    lane.inFlight += sequences;
    pool.share.served(tenant, waiting.cost, nowMs);
    refreshEligibility(tenant, nowMs);
    capsOf(tenant)?.moved(tenant, nowMs);
    let open = true;
    let settled = false;
    let paid = waiting.cost;
    const pay = (cost: number, at: number): void => {
      const more = cost - paid;
      paid = cost;
      pool.share.served(tenant, more, at);
      if (inTurn) lane.queue.charge(tenant, more);
    };
    waiting.onRelease(
      {
        pool: pool.name,
        slot,
        belowFairShare: quiet,
        waitedMs,
        firstToken(at) {
          slot.firstToken(at);
          dispatchPool(pool, at);
        },
        charge(costSoFar, at) {
          if (!settled && costSoFar > paid) pay(costSoFar, at);
        },
        free(at) {
          if (!open) return;
          open = false;
          slot.free(at);
          pool.share.slotFreed(at);
          if (pool.parking.size() > 0) {
            for (const adapter of [...pool.endpoints.adaptersOn(slot.address)]) wake(pool, adapter, at);
          }
          lane.inFlight -= sequences;
          const presence = presenceOf(pool, tenant);
          presence.sequences -= sequences;
          forgetIfAbsent(pool, tenant, presence);
          const wasAtCap = atCap(tenant, at);
          const rest = (inFlight.get(tenant) ?? 1) - 1;
          if (rest === 0) inFlight.delete(tenant);
          else inFlight.set(tenant, rest);
          if (wasAtCap) {
            refreshEligibility(tenant, at);
            // The tenant's own next request may wait in another pool.
            for (const other of pools.values()) if (other !== pool) dispatchPool(other, at);
          }
          dispatchPool(pool, at);
          capsOf(tenant)?.moved(tenant, at);
        },
        settle(cost, at) {
          if (settled) return;
          settled = true;
          pay(cost, at);
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
    pool.lastReleaseMs = pool.queued.size > 0 ? nowMs : undefined;
  };

  /** Whose turn it is in the lane with the least part of its share in flight, of those with anybody. */
  const nextInTurn = (pool: Pool, nowMs: number): QueuedRequest | undefined => {
    let best: QueuedRequest | undefined;
    for (const lane of pool.lanes) {
      if (lane.queue.size() === 0) continue;
      const ahead = best?.lane;
      if (ahead !== undefined && lane.inFlight * ahead.config.weight >= ahead.inFlight * lane.config.weight) {
        continue;
      }
      best = lane.queue.peek(nowMs)?.item ?? best;
    }
    return best;
  };

  const releaseQueued = (pool: Pool, request: QueuedRequest, slot: Slot, nowMs: number): void => {
    const { waiting, lane, sinceMs, entry } = request;
    const inTurn = entry !== undefined;
    if (inTurn) lane.queue.take(entry);
    leaveQueue(pool, request);
    noteRelease(pool, nowMs);
    const waitedMs = Math.max(0, nowMs - sinceMs);
    releaseTo(pool, lane, waiting, slot, { inTurn, quiet: !inTurn, waitedMs }, nowMs);
  };

  /** Whether the next one may be looked at: this one went, was refused, or waits aside. */
  const tryRelease = (pool: Pool, request: QueuedRequest, claim: Claim, nowMs: number): boolean => {
    const { demand } = request.waiting;
    const got = pool.endpoints.acquire(demand, claim, nowMs);
    if (got?.kind === 'later') {
      park(pool, demand.adapter ?? '', request);
      return true;
    }
    // Before it goes: a release may end at once.
    followed(pool, demand.adapter, nowMs);
    if (got === undefined) {
      if (!request.quiet) pool.share.backlogged(request.waiting.tenant);
      return expireBroken(pool, request, nowMs);
    }
    if (got.kind === 'slot') releaseQueued(pool, request, got, nowMs);
    else {
      leaveQueue(pool, request);
      request.waiting.onExpire(got.reason, Math.max(0, nowMs - request.sinceMs), nowMs);
    }
    return true;
  };

  /** What no endpoint would take does not keep others waiting. */
  const expireBroken = (pool: Pool, request: QueuedRequest, nowMs: number): boolean => {
    const { demand, tenant } = request.waiting;
    if (pool.endpoints.brokenMs(demand, tenant, nowMs) === undefined) return false;
    leaveQueue(pool, request);
    request.waiting.onExpire('no-endpoint', Math.max(0, nowMs - request.sinceMs), nowMs);
    return true;
  };

  const releaseQuiet = (pool: Pool, nowMs: number): 'released' | 'waits' | 'none' => {
    for (const request of pool.quiet) {
      const { tenant } = request.waiting;
      if (atCap(tenant, nowMs)) continue;
      return tryRelease(pool, request, { belowFairShare: true, headroom: 0, tenant }, nowMs)
        ? 'released'
        : 'waits';
    }
    return 'none';
  };

  const releaseNext = (pool: Pool, nowMs: number): boolean => {
    const quiet = releaseQuiet(pool, nowMs);
    if (quiet !== 'none') return quiet === 'released';
    const request = nextInTurn(pool, nowMs);
    if (request === undefined) return false;
    const { tenant } = request.waiting;
    // A share may have ended since its flow was last looked at.
    if (caps !== undefined && atCap(tenant, nowMs)) {
      refreshEligibility(tenant, nowMs);
      return true;
    }
    return tryRelease(
      pool,
      request,
      { belowFairShare: false, headroom: reserveOf(pool, nowMs), tenant },
      nowMs,
    );
  };

  const dispatchPool = (pool: Pool, nowMs: number): void => {
    // A release may end at once and free its slot from within: the outer loop goes on with it.
    if (pool.dispatching) return;
    pool.dispatching = true;
    try {
      let goesOn = pool.queued.size > 0;
      while (goesOn) goesOn = releaseNext(pool, nowMs);
    } finally {
      pool.dispatching = false;
    }
  };

  const retryAfterMs = (pool: Pool | undefined): number =>
    Math.min(
      MAX_RETRY_AFTER_MS,
      Math.max(MIN_RETRY_AFTER_MS, Math.ceil((pool?.queued.size ?? 0) * (pool?.releaseIntervalMs ?? 0))),
    );

  const expireHead = (pool: Pool, reason: 'timeout' | 'draining', nowMs: number, minAgeMs: number): void => {
    for (const request of pool.queued) {
      const waitedMs = nowMs - request.sinceMs;
      if (waitedMs < minAgeMs) return;
      leaveQueue(pool, request);
      request.waiting.onExpire(reason, Math.max(0, waitedMs), nowMs);
    }
  };

  /** What was queued for what did not come. */
  const expireExtra = (pool: Pool, nowMs: number): void => {
    for (const request of [...pool.extra].toReversed()) {
      const { tenant } = request.waiting;
      const queued = pool.tenants.get(tenant)?.queued ?? 0;
      const beyond = queued - maxQueuedOf(tenant);
      const waitedMs = Math.max(0, nowMs - request.sinceMs);
      if (beyond <= 0) pool.extra.delete(request);
      else if (waitedMs >= COMING_MS || beyond > comingFor(pool, tenant, nowMs)) {
        leaveQueue(pool, request);
        request.waiting.onExpire('queue-full', waitedMs, nowMs);
      }
    }
  };

  const pushInTurn = (
    pool: Pool,
    request: QueuedRequest,
    nowMs: number,
    where: 'by-age' | 'last' = 'last',
  ): void => {
    const { tenant, cost } = request.waiting;
    const { sinceMs } = request;
    const { queue } = request.lane;
    const weight = weightOf(tenant);
    request.entry =
      where === 'by-age'
        ? queue.pushByAge(tenant, weight, cost, request, sinceMs)
        : queue.push(tenant, weight, cost, request, sinceMs);
    request.lane.queue.setEligible(tenant, !atCap(tenant, nowMs));
    // Who only looks whether its adapter is there does not wait for its turn.
    if (where === 'last') pool.share.backlogged(tenant);
  };

  return {
    offer(waiting, nowMs) {
      const pool = pools.get(waiting.pool);
      if (pool === undefined || !pool.endpoints.canServe(waiting.demand.within)) {
        return { kind: 'refused', reason: 'no-endpoint', retryAfterMs: MIN_RETRY_AFTER_MS };
      }
      const { tenant, demand, bytes = 0 } = waiting;
      const brokenMs = pool.endpoints.brokenMs(demand, tenant, nowMs);
      if (brokenMs !== undefined) {
        return { kind: 'refused', reason: 'no-endpoint', retryAfterMs: withinRetry(brokenMs) };
      }
      const limits = limitsOf(tenant);
      const lane = laneOf(pool, waiting.lane);
      pool.share.arrived(tenant, limits?.weight ?? 1, nowMs);
      const presence = presenceOf(pool, tenant);
      const slots = presence.sequences + presence.quietQueued + demand.sequences;
      // What is parked keeps nobody from going.
      const quiet =
        presence.queued === presence.quietQueued + presence.parkedInTurn &&
        pool.share.isBelow(tenant, slots, pool.endpoints.concurrencyLimit(nowMs), nowMs);
      if (quiet) pool.share.quietArrived(tenant, nowMs);
      let isLater = false;
      if (mayGo(pool, tenant, presence, quiet, nowMs)) {
        const reserve = quiet ? 0 : reserveOf(pool, nowMs);
        const slot = pool.endpoints.acquire(
          demand,
          { belowFairShare: quiet, headroom: reserve, tenant },
          nowMs,
        );
        if (slot?.kind === 'refused') {
          if (presence.queued === 0) forgetIfAbsent(pool, tenant, presence);
          return { kind: 'refused', reason: slot.reason, retryAfterMs: withinRetry(slot.retryMs) };
        }
        isLater = slot?.kind === 'later';
        if (slot?.kind === 'slot') {
          releaseTo(pool, lane, waiting, slot, { inTurn: false, quiet, waitedMs: 0 }, nowMs);
          return { kind: 'released' };
        }
      }
      const place = placeFor(pool, tenant, nowMs);
      const refusal = queueRefusal(pool, tenant, bytes, nowMs, place);
      const { adapter } = demand;
      if (refusal !== undefined) {
        forgetIfAbsent(pool, tenant, presence);
        if (adapter !== undefined && !pool.adapters.has(adapter)) pool.endpoints.adapterCancelled(adapter);
        return { kind: 'refused', reason: refusal, retryAfterMs: retryAfterMs(pool) };
      }
      arrivals += 1;
      const request: QueuedRequest = {
        waiting,
        lane,
        sinceMs: nowMs,
        quiet,
        entry: undefined,
        arrival: arrivals,
      };
      pool.queued.add(request);
      queuedBytes += bytes;
      presence.queued += 1;
      if (quiet) presence.quietQueued += 1;
      if (adapter !== undefined) pool.adapters.set(adapter, (pool.adapters.get(adapter) ?? 0) + 1);
      if (adapter !== undefined && isLater) park(pool, adapter, request);
      else if (quiet) pool.quiet.add(request);
      else pushInTurn(pool, request, nowMs);
      if (place === 'extra') pool.extra.add(request);
      // Others may wait only because they are at their cap: then this one finds a free slot.
      dispatchPool(pool, nowMs);
      if (!pool.queued.has(request)) return { kind: 'released' };
      if (atCap(tenant, nowMs)) capsOf(tenant)?.moved(tenant, nowMs);
      return { kind: 'queued', ticket: { cancel: () => leaveQueue(pool, request) } };
    },
    explain({ tenant, pool: name, demand, bytes = 0 }, nowMs) {
      const pool = pools.get(name);
      if (pool === undefined) return undefined;
      const { share, endpoints, queued } = pool;
      const presence = pool.tenants.get(tenant) ?? ABSENT;
      const slots = presence.sequences + presence.quietQueued + demand.sequences;
      const quiet =
        presence.queued === presence.quietQueued + presence.parkedInTurn &&
        share.wouldBeBelow(tenant, weightOf(tenant), slots, endpoints.concurrencyLimit(nowMs), nowMs);
      const reserve = reserveOf(pool, nowMs);
      // What has not been asked for is not at its end.
      const comingCap = capsOf(tenant)?.coming(tenant, nowMs) ?? 0;
      const choice = endpoints.explain(
        demand,
        { belowFairShare: quiet, headroom: quiet ? 0 : reserve, tenant },
        nowMs,
      );
      const goes = choice.chosen !== undefined && mayGo(pool, tenant, presence, quiet, nowMs);
      const cannot =
        !endpoints.canServe(demand.within) ||
        endpoints.brokenMs(demand, tenant, nowMs) !== undefined ||
        endpoints.lacksAdapter(demand);
      const refusal = cannot ? 'no-endpoint' : goes ? undefined : queueRefusal(pool, tenant, bytes, nowMs);
      return {
        ...(refusal !== undefined && { refusal }),
        belowFairShare: quiet,
        atCap: (inFlight.get(tenant) ?? 0) >= capOf(tenant, nowMs) + comingCap,
        headroom: reserve,
        queued: queued.size,
        queuedOfTenant: presence.queued,
        choice,
      };
    },
    canServe: (name, within) => pools.get(name)?.endpoints.canServe(within) === true,
    dispatch(nowMs) {
      for (const tenant of inFlight.keys()) refreshEligibility(tenant, nowMs);
      for (const pool of pools.values()) {
        wakeSome(pool, nowMs);
        dispatchPool(pool, nowMs);
      }
    },
    adaptersChanged(name, adapter, nowMs) {
      const pool = pools.get(name);
      if (pool === undefined) return;
      if (adapter === undefined) wakeSome(pool, nowMs);
      else wake(pool, adapter, nowMs);
      dispatchPool(pool, nowMs);
    },
    capChanged(tenant, nowMs) {
      refreshEligibility(tenant, nowMs);
      for (const pool of pools.values()) {
        if (!pool.tenants.has(tenant)) continue;
        dispatchPool(pool, nowMs);
        expireExtra(pool, nowMs);
      }
    },
    roomChanged(name, nowMs) {
      const pool = pools.get(name);
      if (pool === undefined) return;
      dispatchPool(pool, nowMs);
      expireExtra(pool, nowMs);
    },
    tick(nowMs) {
      for (const pool of pools.values()) {
        expireHead(pool, 'timeout', nowMs, settings.maxWaitMs);
        expireExtra(pool, nowMs);
        wakeSome(pool, nowMs);
        dispatchPool(pool, nowMs);
      }
    },
    flush(nowMs) {
      for (const pool of pools.values()) expireHead(pool, 'draining', nowMs, Number.NEGATIVE_INFINITY);
    },
    isFullFor(tenant, nowMs) {
      if (maxQueuedOf(tenant) === 0 || pools.size === 0) return false;
      for (const pool of pools.values()) {
        if (placeFor(pool, tenant, nowMs) !== 'none') return false;
      }
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
        lanes: makeLanes(),
        share: createFairShare(),
        tenants: new Map(),
        queued: new Set(),
        quiet: new Set(),
        parking: createParking(),
        adapters: new Map(),
        extra: new Set(),
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
    reconfigure(next, nowMs) {
      settings = next;
      for (const pool of pools.values()) {
        const before = new Map(pool.lanes.map((lane) => [lane.name, lane]));
        // A lane that stays is the same object: what it has in flight knows it.
        pool.lanes = makeLanes().map((made) => {
          const known = before.get(made.name);
          if (known === undefined) return made;
          known.config = made.config;
          known.queue = made.queue;
          return known;
        });
        for (const request of pool.queued) {
          request.lane = laneOf(pool, request.waiting.lane);
          if (request.entry !== undefined) pushInTurn(pool, request, nowMs);
        }
        dispatchPool(pool, nowMs);
      }
    },
    queued: () => [...pools.values()].reduce((sum, pool) => sum + pool.queued.size, 0),
    queuedOf: (name) => pools.get(name)?.queued.size ?? 0,
    reserveOf(name, nowMs) {
      const pool = pools.get(name);
      return pool === undefined ? 0 : reserveOf(pool, nowMs);
    },
    lanesOf: (name) =>
      (pools.get(name)?.lanes ?? []).map((lane) => ({
        lane: lane.name,
        queued: lane.queue.size(),
        inFlight: lane.inFlight,
      })),
    queuedOfTenant: (tenant) =>
      [...pools.values()].reduce((sum, pool) => sum + (pool.tenants.get(tenant)?.queued ?? 0), 0),
    inFlightOfTenant: (tenant) => inFlight.get(tenant) ?? 0,
  };
}

/**
 * The endpoints of one pool: who is in the rotation, how much each has in flight, and which one is next.
 *
 * | file | what it is |
 * |---|---|
 * | types.ts | what a pool is asked and answers |
 * | selection.ts, weights.ts | which endpoint a request gets: the one rule, for acquire() and explain() |
 * | explanation.ts | a selection as a report |
 * | endpoint.ts, prefills.ts, passed-on.ts | one endpoint: counts, room, prompts that are computed, what it would not serve |
 * | slot.ts | a grant, from release to end |
 * | limit-allotment.ts | this replica's part of a limit that replicas share |
 * | concurrency-limit/ | how many sequences an endpoint may have in flight |
 * | health/ | who is in the rotation |
 * | lora-placement.ts | what the pool asks of whoever loads adapters |
 *
 * Invariant: 0 ≤ in flight; every slot taken is given back exactly once.
 */
import type { ChoiceReport } from '../routing/explain.ts';
import { createPoolRouter, type PoolRouter } from '../routing/pool-router.ts';
import { resolveProfile } from '../routing/profiles.ts';
import type { ConcurrencyLimit, Gauges } from './concurrency-limit/concurrency-limit.ts';
import { fixedLimit } from './concurrency-limit/fixed.ts';
import { Endpoint } from './endpoint.ts';
import { explainSelection } from './explanation.ts';
import { type RequestKey, Rotation, type RotationEvents } from './health/rotation.ts';
import { DEFAULT_SLOW_START } from './health/slow-start.ts';
import { type AllottedPool, LimitAllotment, SPARE_LIMIT } from './limit-allotment.ts';
import type { LoraPlacement } from './lora-placement.ts';
import { type Selection, type SelectionPool, Selector } from './selection.ts';
import { EndpointSlot, type SlotPool } from './slot.ts';
import type {
  Claim,
  Demand,
  EndpointState,
  MakeConcurrencyLimit,
  NotServable,
  PoolEndpoint,
  PoolEndpoints,
  PoolLimits,
  SharedLimits,
  Slot,
} from './types.ts';
import { Weights } from './weights.ts';

const INITIAL_LIMIT = 8;
/** A request of unknown size in an engine of known capacity. */
const TYPICAL_TOKENS = 2_048;
/** Of a prompt, as engines usually have it: what an endpoint's cache holds is known only in tokens. */
const BYTES_PER_TOKEN = 4;
/** Where nothing loads an adapter somebody has to. */
const ADAPTER_RETRY_MS = 1_000;

/** Why there is no adapter, in the words of a queue that has other reasons too. */
const ADAPTER_REFUSALS = {
  failed: 'adapter-failed',
  busy: 'adapter-busy',
  'no-endpoint': 'no-endpoint',
} as const;

class EndpointPool implements PoolEndpoints, SelectionPool, SlotPool, AllottedPool {
  readonly rotation: Rotation;
  readonly adapters: LoraPlacement | undefined;
  readonly weights = new Weights();
  readonly #makeLimit: MakeConcurrencyLimit;
  readonly #shared: SharedLimits | undefined;
  readonly #selector = new Selector(this);

  // As configured.
  limits: PoolLimits = { concurrencyLimit: 1, prefillTokens: 1, headroom: 'auto' };
  endpoints: readonly Endpoint[] = [];
  router: PoolRouter | undefined;
  isolates = false;
  byCandidate: Endpoint[] = [];

  // Requests.
  #inFlight = 0;
  turn = 0;
  latestRequestMs = Number.NEGATIVE_INFINITY;

  constructor(
    makeLimit: MakeConcurrencyLimit,
    shared: SharedLimits | undefined,
    events: RotationEvents | undefined,
    adapters: LoraPlacement | undefined,
  ) {
    this.#makeLimit = makeLimit;
    this.#shared = shared;
    this.rotation = new Rotation(events);
    this.adapters = adapters;
  }

  // Requests.

  acquire(demand: Demand, claim: Claim, nowMs: number): Slot | NotServable | undefined {
    this.latestRequestMs = nowMs;
    const selection = this.#selector.select(demand, claim, false, nowMs);
    this.#book(selection, demand, nowMs);
    if (selection.order === undefined)
      return this.#slotOn(selection, selection.endpoint, demand, claim, nowMs);
    return this.#slotWithAdapter(selection, selection.order, demand, claim, nowMs);
  }

  explain(demand: Demand, claim: Claim, nowMs: number): ChoiceReport {
    const selection = this.#selector.select(demand, claim, true, nowMs);
    const { order } = selection;
    let chosen = selection.endpoint;
    if (order !== undefined && demand.adapter !== undefined) {
      const url = this.adapters?.usable(
        demand.adapter,
        order.map((endpoint) => endpoint.url),
        nowMs,
      );
      chosen = order.find((endpoint) => endpoint.url === url);
    }
    return explainSelection(this, this.#selector, selection, chosen, {
      demand,
      tenant: claim.tenant,
      nowMs,
    });
  }

  canServe(within: Demand['within']): boolean {
    return this.endpoints.some(
      (one) => !one.isDrained && (one.isHealthy || !one.isProbed) && one.isWithin(within),
    );
  }

  brokenMs(demand: Demand, tenant: string, nowMs: number): number | undefined {
    if (this.rotation.admitsEverything()) return undefined;
    const key: RequestKey = { model: demand.model, tenant };
    let soonestMs: number | undefined;
    for (const endpoint of this.endpoints) {
      if (!endpoint.isOpen(demand.within)) continue;
      const retryMs = this.rotation.retryMs(endpoint.status, key, nowMs);
      if (retryMs === undefined) return undefined;
      soonestMs = Math.min(soonestMs ?? retryMs, retryMs);
    }
    return soonestMs;
  }

  addresses(within: Demand['within']): readonly string[] {
    return this.endpoints
      .filter((one) => one.isServing() && one.isWithin(within))
      .sort((a, b) => a.load - b.load)
      .map(({ address }) => address);
  }

  // Adapters.

  *adaptersOn(address: string): Iterable<string> {
    const endpoint = this.endpointAt(address);
    if (endpoint !== undefined && this.adapters !== undefined) yield* this.adapters.loadedOn(endpoint.url);
  }

  adapterCancelled(adapter: string): void {
    this.adapters?.cancelled(adapter);
  }

  lacksAdapter(demand: Demand): boolean {
    if (demand.adapter === undefined) return false;
    const open = this.endpoints.filter((one) => one.isOpen(demand.within));
    return open.length > 0 && open.every((one) => !this.#selector.mayHaveAdapter(one, demand));
  }

  // How much there is.

  concurrencyLimit(nowMs: number): number {
    let limit = 0;
    for (const endpoint of this.endpoints) if (endpoint.isServing()) limit += endpoint.limit(nowMs);
    return limit;
  }

  reservable(nowMs: number): number {
    let size = 0;
    for (const endpoint of this.endpoints) {
      const isShared = (endpoint.allotment?.others(nowMs) ?? 0) > 0;
      if (isShared && endpoint.isServing()) size += endpoint.concurrency.limit(nowMs);
    }
    return Math.min(size, SPARE_LIMIT);
  }

  coming(nowMs: number): number {
    let slots = 0;
    for (const endpoint of this.endpoints) if (endpoint.isServing()) slots += endpoint.coming(nowMs);
    return slots;
  }

  headroom(): number | 'auto' {
    return this.limits.headroom;
  }

  inFlight(): number {
    return this.#inFlight;
  }

  healthyCount(): number {
    return this.endpoints.reduce((count, { isHealthy }) => count + (isHealthy ? 1 : 0), 0);
  }

  servingCount(): number {
    return this.endpoints.reduce((count, endpoint) => count + (endpoint.isServing() ? 1 : 0), 0);
  }

  list(nowMs: number): readonly EndpointState[] {
    return this.endpoints.map((endpoint) => endpoint.state(nowMs));
  }

  stateOf(url: string, nowMs: number): EndpointState | undefined {
    return this.#endpointOf(url)?.state(nowMs);
  }

  endpointAt(address: string): Endpoint | undefined {
    return this.endpoints.find((endpoint) => endpoint.address === address);
  }

  // What its endpoints are.

  setHealthy(url: string, healthy: boolean, nowMs: number): void {
    const endpoint = this.#endpointOf(url);
    if (endpoint === undefined) return;
    if (endpoint.isHealthy && !healthy) {
      if (endpoint.candidate !== undefined) this.router?.restarted(endpoint.candidate);
      this.adapters?.crashed(url);
    }
    endpoint.wasProbed(healthy);
    this.rotation.setHealthy(url, healthy, nowMs);
  }

  setDrained(url: string, drained: boolean): void {
    const endpoint = this.#endpointOf(url);
    if (endpoint !== undefined) endpoint.isDrained = drained;
  }

  engineLoaded(url: string): void {
    this.#endpointOf(url)?.passedOn.forget();
    this.rotation.loaded(url);
  }

  gauges(url: string, sample: Gauges | 'unusable', nowMs: number): void {
    this.#endpointOf(url)?.gauges(sample, nowMs);
  }

  setCapacity(url: string, kvTokens: number | undefined, isDivided = false): void {
    const endpoint = this.#endpointOf(url);
    if (endpoint === undefined) return;
    endpoint.kvIsDivided = isDivided;
    if (endpoint.kvCapacityTokens === kvTokens) return;
    endpoint.kvCapacityTokens = kvTokens;
    this.#tellCacheSize(endpoint);
    if (endpoint.requests === 0) endpoint.concurrency = this.#newLimit(kvTokens, endpoint.maxSequences);
  }

  setMaxSequences(url: string, sequences: number | undefined): void {
    const endpoint = this.#endpointOf(url);
    if (endpoint === undefined) return;
    endpoint.maxSequences = sequences;
    endpoint.concurrency.atMost(sequences);
  }

  reconfigure(endpoints: readonly PoolEndpoint[], next: PoolLimits): void {
    const isNewLimit = next.concurrencyLimit !== this.limits.concurrencyLimit;
    this.limits = next;
    this.#reconfigureRouter(next);
    this.rotation.reconfigure(
      endpoints.map(({ url }) => url),
      next.slowStartMs ?? DEFAULT_SLOW_START.rampMs,
    );
    const before = new Map(this.endpoints.map((endpoint) => [endpoint.url, endpoint]));
    this.endpoints = endpoints.map((config) => {
      const known = before.get(config.url);
      before.delete(config.url);
      const endpoint = known ?? this.#newEndpoint(config);
      endpoint.reconfigure(config);
      if (known === undefined) this.#join(endpoint);
      else if (isNewLimit) known.concurrency = this.#newLimit(known.kvCapacityTokens, known.maxSequences);
      return endpoint;
    });
    for (const gone of before.values()) {
      gone.isRemoved = true;
      gone.allotment?.left();
      if (gone.candidate !== undefined) this.router?.leave(gone.candidate);
      gone.candidate = undefined;
    }
    this.turn = 0;
    this.weights.reconfigure(this.endpoints);
  }

  freed(): void {
    this.#inFlight -= 1;
  }

  #endpointOf(url: string): Endpoint | undefined {
    return this.endpoints.find((endpoint) => endpoint.url === url);
  }

  #newLimit(kvTokens?: number, maxSequences?: number): ConcurrencyLimit {
    const { concurrencyLimit } = this.limits;
    if (concurrencyLimit !== 'auto') return fixedLimit(concurrencyLimit);
    const fitting = Math.ceil((kvTokens ?? Number.POSITIVE_INFINITY) / TYPICAL_TOKENS);
    const limit = this.#makeLimit(Math.min(INITIAL_LIMIT, fitting));
    limit.atMost(maxSequences);
    return limit;
  }

  #newEndpoint(config: PoolEndpoint): Endpoint {
    const status = this.rotation.statusOf(config.url);
    const endpoint = new Endpoint(config, status, this.rotation, this.#newLimit());
    if (this.#shared !== undefined) {
      endpoint.allotment = new LimitAllotment(endpoint, this, this.#shared);
    }
    return endpoint;
  }

  #reconfigureRouter({ routing }: PoolLimits): void {
    const profile = routing && resolveProfile(routing);
    this.isolates = profile?.isolate === true;
    const isNewRouter = (profile === undefined) !== (this.router === undefined);
    if (profile !== undefined) this.router?.setProfile(profile);
    if (!isNewRouter) return;
    this.router = profile && createPoolRouter(profile);
    this.byCandidate = [];
    for (const endpoint of this.endpoints) this.#join(endpoint);
  }

  /** Gives the endpoint a place in the router, if there is one. */
  #join(endpoint: Endpoint): void {
    endpoint.candidate = this.router?.join(endpoint.address);
    if (endpoint.candidate !== undefined) this.byCandidate[endpoint.candidate.candidateIndex] = endpoint;
    this.#tellCacheSize(endpoint);
  }

  #tellCacheSize({ candidate, kvCapacityTokens }: Endpoint): void {
    if (candidate === undefined || kvCapacityTokens === undefined) return;
    this.router?.setCacheBytes(candidate, kvCapacityTokens * BYTES_PER_TOKEN);
  }

  /** Does what a request that asks for a slot changes, whether it gets one or not. */
  #book(selection: Selection, demand: Demand, nowMs: number): void {
    const { endpoint, decision, offeredProbe, isProbe } = selection;
    const { claim } = this.#selector;
    for (const one of this.endpoints) {
      if (one.answer !== undefined) one.answered(one.answer, demand, claim, nowMs);
    }
    this.#selector.noteWait(selection);
    if (offeredProbe !== undefined) this.rotation.offered(offeredProbe.status, nowMs);
    if (decision !== undefined) this.router?.advance(decision.candidate);
    else if (endpoint !== undefined && !isProbe) {
      this.turn = (this.endpoints.indexOf(endpoint) + 1) % this.endpoints.length;
      this.weights.chosen(endpoint, demand.sequences);
    }
  }

  #slotOn(
    selection: Selection,
    endpoint: Endpoint | undefined,
    demand: Demand,
    claim: Claim,
    nowMs: number,
  ): Slot | undefined {
    if (endpoint === undefined) return undefined;
    this.#inFlight += 1;
    const fallbacks = this.#selector.fallbacksOf(selection, endpoint);
    const matchedTokens = endpoint === selection.endpoint ? selection.matchedTokens : 0;
    return new EndpointSlot(this, { endpoint, fallbacks, matchedTokens }, demand, claim, nowMs);
  }

  /** Where the adapter is, of the endpoints with room; else the plan says what comes next. */
  #slotWithAdapter(
    selection: Selection,
    order: readonly Endpoint[],
    demand: Demand,
    claim: Claim,
    nowMs: number,
  ): Slot | NotServable | undefined {
    if (this.lacksAdapter(demand)) {
      return { kind: 'refused', reason: 'no-endpoint', retryMs: ADAPTER_RETRY_MS };
    }
    if (order.length === 0 || demand.adapter === undefined) return undefined;
    const urls = order.map(({ url }) => url);
    const next = this.adapters?.ensure(demand.adapter, urls, nowMs);
    if (next?.kind === 'wait') return { kind: 'later' };
    if (next?.kind === 'refuse') {
      return { kind: 'refused', reason: ADAPTER_REFUSALS[next.reason], retryMs: next.retryMs };
    }
    const endpoint = order.find(({ url }) => url === next?.endpoint);
    return this.#slotOn(selection, endpoint, demand, claim, nowMs);
  }
}

/**
 * @param shared where other replicas use the same endpoints.
 * @param events who is told of endpoints that leave and return by what requests showed.
 * @param adapters what is loaded where; undefined: adapters are models like any other.
 */
export const createPoolEndpoints = (
  makeLimit: MakeConcurrencyLimit,
  shared?: SharedLimits,
  events?: RotationEvents,
  adapters?: LoraPlacement,
): PoolEndpoints => new EndpointPool(makeLimit, shared, events, adapters);

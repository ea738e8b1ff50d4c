/**
 * Selects the endpoint for a request: the one way, by which acquiring takes it and explaining reports it.
 *
 *   1. Who may have it: healthy, not drained, in its subset, let in by outlier detection and the circuit breaker.
 *   2. Who of those has room (Endpoint.roomFor), asked as late as possible: each answer is left in `endpoint.answer`.
 *   3. Of those with room: the least loaded by its weight, ties in turn; with a routing profile, the router's choice (routing/choose.ts),
 *      or nobody yet while it is sooner to wait for the endpoint that has the prompt cached.
 *   4. Before that one a half-open probe, where an endpoint needs one.
 *   5. A request that needs an adapter gets all endpoints with room in their order; the LoRA plan takes one of them.
 *
 * Selecting changes nothing: whoever takes what was selected books it (pool-endpoints.ts).
 *
 * One selector for a pool, and one selection at a time: it holds the question meanwhile, so that a hot path makes no closures.
 */
import type { Candidate, ChoiceRequest, EndpointQueries } from '../routing/candidate.ts';
import type { RoutingDecision } from '../routing/choose.ts';
import type { PoolRouter } from '../routing/pool-router.ts';
import type { Endpoint, Room, RoomClaim } from './endpoint.ts';
import type { Admission, RequestKey, Rotation } from './health/rotation.ts';
import type { LoraPlacement } from './lora-placement.ts';
import type { Claim, Demand, PoolLimits } from './types.ts';
import type { Weights } from './weights.ts';

/** The pool, as it is. */
export interface SelectionPool {
  readonly rotation: Rotation;
  readonly router: PoolRouter | undefined;
  readonly adapters: LoraPlacement | undefined;
  readonly endpoints: readonly Endpoint[];
  /** By candidateIndex, where there is a router. */
  readonly byCandidate: readonly Endpoint[];
  /** Slow clients have endpoints of their own, where any is marked for it. */
  readonly isolates: boolean;
  readonly limits: PoolLimits;
  /** Where ties begin without a router, so that an idle pool does not send everything to its first endpoint. */
  readonly turn: number;
  readonly weights: Weights;
  /** Requests. */
  inFlight(): number;
}

/** An endpoint that was found, and how. */
interface Found {
  readonly endpoint: Endpoint;
  readonly matchedTokens: number;
  /** By a router: where to try next, `ip:port`. */
  readonly decision?: RoutingDecision;
}

export interface Selection {
  /** The request's own endpoint; undefined: nobody has room now. With an adapter: the first of `order`. */
  readonly endpoint: Endpoint | undefined;
  /** Prompt tokens that it is thought to have cached. */
  readonly matchedTokens: number;
  /** The router's choice behind it. */
  readonly decision: RoutingDecision | undefined;
  /** It is the endpoint's half-open probe. */
  readonly isProbe: boolean;
  /** Endpoints with room, the best first, where a LoRA plan takes one of them. */
  readonly order: readonly Endpoint[] | undefined;
  /** The request waits, or did, for this endpoint, which has its prompt cached. */
  readonly awaited: Endpoint | undefined;
  /** An endpoint needs a half-open probe, and the request could go to another one. */
  readonly offeredProbe: Endpoint | undefined;
}

/** Without tenants below their fair share, so many times the prompt tokens may wait: the engine never runs out of prompts. */
const UNPACED_PREFILL = 4;
/** Cached prompt tokens that are worth a wait. */
const LEAST_SAVED_TOKENS = 512;
const MOST_CACHE_WAIT_MS = 250;

const NOTHING: Demand = { sequences: 0, promptTokens: 0, totalTokens: 0, streamed: false };
const NOBODY: RoomClaim = {
  belowFairShare: false,
  missingHeadroom: 0,
  prefillTokens: 0,
  unpacedPrefillTokens: 0,
  isPaced: false,
  holds: false,
};

export class Selector implements EndpointQueries {
  readonly #pool: SelectionPool;
  /** Since when a request has waited for the endpoint that has its prompt cached. */
  readonly #waitsSinceMs = new WeakMap<ChoiceRequest, number>();

  // The question.
  #demand: Demand = NOTHING;
  #claim: RoomClaim = NOBODY;
  /** Undefined: nobody is refused anything. */
  #key: RequestKey | undefined;
  #nowMs = 0;
  /** Slots that are about to be added to an endpoint count as there. */
  #countsComing = false;

  // What the router is told (EndpointQueries).
  borrows = false;
  /** Only where the adapter is loaded is room. */
  #loadedOnly = false;
  /** Where only prompts hold back is room. */
  #overlooksPrefills = false;
  /** An endpoint only holds back because prompts are computed there. */
  #isHeld = false;

  constructor(pool: SelectionPool) {
    this.#pool = pool;
  }

  // Questions of the router.

  room({ candidateIndex }: Candidate, matchedTokens: number): boolean {
    const endpoint = this.#pool.byCandidate[candidateIndex];
    if (endpoint === undefined) return false;
    if (this.#loadedOnly && !this.hasAdapter(endpoint, this.#demand)) return false;
    const room = this.askRoom(endpoint, matchedTokens);
    this.#isHeld ||= room === 'prefill';
    return room === 'yes' || (this.#overlooksPrefills && room === 'prefill');
  }

  /** A model's circuit breaker was asked before: who is not admitted is no candidate. */
  permits(): boolean {
    return true;
  }

  // Selecting.

  /** @param countsComing for what only asks: a limit that was not asked for yet is not at its end. */
  select(demand: Demand, claim: Claim, countsComing: boolean, nowMs: number): Selection {
    this.#begin(demand, claim, countsComing, nowMs);
    const { rotation, adapters } = this.#pool;
    const { belowFairShare } = claim;
    const [found, awaited] = this.#find();
    const probe = this.#findProbe();
    const isProbe =
      probe !== undefined && (found === undefined || rotation.mayProbe(probe.status, belowFairShare, nowMs));
    const needsAdapter = demand.adapter !== undefined && adapters !== undefined;
    const order = needsAdapter
      ? this.#orderForAdapter(found?.endpoint, isProbe ? probe : undefined)
      : undefined;
    const goesToProbe = isProbe && (order === undefined || order[0] === probe);
    return {
      endpoint: order === undefined ? (goesToProbe ? probe : found?.endpoint) : order[0],
      matchedTokens: goesToProbe ? 0 : (found?.matchedTokens ?? 0),
      decision: goesToProbe ? undefined : found?.decision,
      isProbe: goesToProbe,
      order,
      awaited,
      offeredProbe: found !== undefined && belowFairShare ? probe : undefined,
    };
  }

  /** The claim of the question that was asked last. */
  get claim(): RoomClaim {
    return this.#claim;
  }

  /** Where Envoy may try next, the least loaded first: on the side of the one that was chosen. */
  fallbacksOf({ endpoint, decision, order }: Selection, chosen = endpoint): readonly string[] {
    if (order === undefined && decision !== undefined)
      return decision.fallbacks.map(({ address }) => address);
    if (chosen === undefined) return [];
    const demand = this.#demand;
    return this.#pool.endpoints
      .filter(
        (other) =>
          other !== chosen &&
          this.#admits(other, 'yes') &&
          (this.isAcross(chosen, demand) || !this.isAcross(other, demand)) &&
          this.hasAdapter(other, demand),
      )
      .sort((a, b) => a.load - b.load)
      .map(({ address }) => address);
  }

  /** The selected request waits for a cached prompt: from now on, if it did not before. */
  noteWait({ awaited }: Selection): void {
    const { choice } = this.#demand;
    if (awaited === undefined || choice === undefined || this.#waitsSinceMs.has(choice)) return;
    this.#waitsSinceMs.set(choice, this.#nowMs);
  }

  // Parts of it that explaining shows.

  askRoom(endpoint: Endpoint, matchedTokens: number): Room {
    const coming = this.#countsComing ? endpoint.coming(this.#nowMs) : 0;
    endpoint.answer = endpoint.roomFor(this.#demand, this.#claim, this.#nowMs, matchedTokens, coming);
    return endpoint.answer;
  }

  /** Its adapter is loaded there, or nobody knows better. */
  hasAdapter({ url }: Endpoint, { adapter }: Demand): boolean {
    return adapter === undefined || this.#pool.adapters?.isLoaded(url, adapter) !== false;
  }

  /** Its adapter is loaded there, or may be. */
  mayHaveAdapter({ url }: Endpoint, { adapter }: Demand): boolean {
    return adapter === undefined || this.#pool.adapters?.mayHave(url, adapter) !== false;
  }

  /** Slow clients and others are apart, and this is the other side than the request's. */
  isAcross({ isolated }: Endpoint, { choice }: Demand): boolean {
    return this.#pool.isolates && choice !== undefined && isolated !== choice.slow;
  }

  /** Slots stay free beside the demand; who may not use those for slow clients leaves none there either. */
  #leavesHeadroom(headroom: number): boolean {
    const { sequences, choice } = this.#demand;
    const { endpoints, isolates } = this.#pool;
    const isApart =
      isolates && choice?.slow === false && endpoints.some((one) => one.isServing() && !one.isolated);
    let free = 0;
    let size = 0;
    for (const endpoint of endpoints) {
      if (!endpoint.isServing() || (isApart && endpoint.isolated)) continue;
      const limit = endpoint.limit(this.#nowMs);
      size += limit;
      if (!endpoint.concurrency.isProbing()) free += Math.max(0, limit - endpoint.taken);
    }
    return free - sequences >= (isApart ? Math.min(headroom, Math.max(0, size - 1)) : headroom);
  }

  #begin(demand: Demand, claim: Claim, countsComing: boolean, nowMs: number): void {
    const { rotation, endpoints, limits } = this.#pool;
    const { headroom, tenant, belowFairShare } = claim;
    this.#demand = demand;
    this.#nowMs = nowMs;
    this.#countsComing = countsComing;
    this.#key = rotation.admitsEverything() ? undefined : { model: demand.model, tenant };
    const leavesIt = headroom === 0 || this.#pool.inFlight() === 0 || this.#leavesHeadroom(headroom);
    this.#claim = {
      belowFairShare,
      missingHeadroom: leavesIt ? 0 : headroom,
      prefillTokens: limits.prefillTokens,
      unpacedPrefillTokens: UNPACED_PREFILL * limits.prefillTokens,
      isPaced: headroom > 0,
      holds: limits.holds !== false,
    };
    this.#isHeld = false;
    this.#loadedOnly = false;
    this.#overlooksPrefills = false;
    for (const endpoint of endpoints) endpoint.answer = undefined;
  }

  #admits(endpoint: Endpoint, how: Admission): boolean {
    if (!endpoint.isOpen(this.#demand.within)) return false;
    if (this.#key === undefined) return how === 'yes';
    return this.#pool.rotation.admits(endpoint.status, this.#key, this.#nowMs) === how;
  }

  /** Where clients are kept apart, who can never have its adapter is none of its side's. */
  #isCandidate(endpoint: Endpoint): boolean {
    if (!this.#admits(endpoint, 'yes')) return false;
    return !this.#pool.isolates || this.mayHaveAdapter(endpoint, this.#demand);
  }

  #find(): readonly [found: Found | undefined, awaited: Endpoint | undefined] {
    const { router } = this.#pool;
    const { adapter, choice } = this.#demand;
    if (router === undefined || choice === undefined) return [this.#findLeastLoaded(), undefined];
    for (const endpoint of this.#pool.endpoints) this.#writeCandidate(endpoint, choice);
    if (adapter === undefined) return this.#findRouted(router, choice, choice.slow);
    // Where it is loaded before anywhere else: there, what is cached leaves room for more.
    this.#loadedOnly = true;
    const loaded = this.#findRouted(router, choice, false);
    this.#loadedOnly = false;
    if (loaded[0] !== undefined) return loaded;
    this.#isHeld = false;
    const any = this.#findRouted(router, choice, choice.slow);
    return [any[0], any[1] ?? loaded[1]];
  }

  #writeCandidate(endpoint: Endpoint, choice: ChoiceRequest): void {
    endpoint.writeCandidate(this.#isCandidate(endpoint), this.#nowMs);
    if (choice.adapter === undefined || endpoint.candidate === undefined) return;
    this.#pool.adapters?.describe(endpoint.candidate, endpoint.url, choice.adapter);
  }

  /** The router's choice among the candidates. @param borrows at the head of the queue it would keep everybody waiting. */
  #findRouted(
    router: PoolRouter,
    choice: ChoiceRequest,
    borrows: boolean,
  ): readonly [found: Found | undefined, awaited: Endpoint | undefined] {
    this.borrows = borrows;
    const decision = router.peek(choice, this, this.#nowMs);
    const endpoint = decision && this.#pool.byCandidate[decision.candidate.candidateIndex];
    if (decision === undefined || endpoint === undefined) return [undefined, undefined];
    const { matchedTokens } = decision;
    const found = { endpoint, matchedTokens, decision };
    if (!this.#isHeld) return [found, undefined];
    this.#overlooksPrefills = true;
    const better = router.peek(choice, this, this.#nowMs);
    this.#overlooksPrefills = false;
    const best = better && this.#pool.byCandidate[better.candidate.candidateIndex];
    const saved = (better?.matchedTokens ?? 0) - matchedTokens;
    if (best === undefined || saved < LEAST_SAVED_TOKENS) return [found, undefined];
    return [this.#waitsFor(best, saved, choice) ? undefined : found, best];
  }

  /**
   * The best endpoint only holds others back while prompts are computed there, and has so much of the prompt cached that it is
   * sooner to wait for it: for as long as that saves, and not for long, as those behind it in the queue wait too.
   */
  #waitsFor({ prefills }: Endpoint, savedTokens: number, choice: ChoiceRequest): boolean {
    const waitedMs = this.#nowMs - (this.#waitsSinceMs.get(choice) ?? this.#nowMs);
    return waitedMs < Math.min(MOST_CACHE_WAIT_MS, savedTokens * prefills.msPerToken);
  }

  #findLeastLoaded(): Found | undefined {
    const { endpoints, turn, weights } = this.#pool;
    let best: Endpoint | undefined;
    for (let i = 0; i < endpoints.length; i += 1) {
      const endpoint = endpoints[(turn + i) % endpoints.length];
      if (endpoint === undefined || !this.#isCandidate(endpoint)) continue;
      if (this.askRoom(endpoint, 0) !== 'yes') continue;
      if (best === undefined || weights.isBefore(endpoint, best)) best = endpoint;
    }
    return best && { endpoint: best, matchedTokens: 0 };
  }

  #findProbe(): Endpoint | undefined {
    if (this.#key === undefined) return undefined;
    return this.#pool.endpoints.find(
      (endpoint) => this.#admits(endpoint, 'half-open') && this.askRoom(endpoint, 0) === 'yes',
    );
  }

  /** All with room, the best first, then the least loaded. What requests have shown to be broken is the last to load anything. */
  #orderForAdapter(best: Endpoint | undefined, probe: Endpoint | undefined): readonly Endpoint[] {
    const demand = this.#demand;
    const candidates = this.#pool.endpoints.filter((one) => this.#isCandidate(one));
    const isApart = candidates.some((one) => !this.isAcross(one, demand));
    const others = candidates.filter(
      (one) => one !== best && !(isApart && this.isAcross(one, demand)) && this.askRoom(one, 0) === 'yes',
    );
    const leads = probe !== undefined && this.hasAdapter(probe, demand);
    const rest = leads && best !== undefined ? [best, ...others] : others;
    rest.sort((a, b) => a.load - b.load);
    const first = leads ? probe : best;
    return [
      ...(first === undefined ? [] : [first]),
      ...rest,
      ...(probe === undefined || leads ? [] : [probe]),
    ];
  }
}

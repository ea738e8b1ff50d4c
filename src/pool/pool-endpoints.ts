/**
 * The endpoints of one pool: who is in the rotation, how much each has in flight, and which one is next.
 *
 * Room on an endpoint is counted three times over, because eight long prompts are not eight short ones: sequences against
 * its window, tokens against its KV cache, and prompt tokens that are not computed yet against what may share a step.
 *
 * Where replicas share the engines, an endpoint's sequences are counted against this replica's part of its window, and what
 * the window learns from is what all of them have in flight.
 *
 * Invariant: 0 ≤ in flight; every slot taken is given back exactly once. An endpoint that left the rotation or the
 * configuration keeps the count of what it still serves.
 */
import type { Allotment, AllotmentOwner } from '../limit/allotments.ts';
import {
  type Candidate,
  type CandidateState,
  type ChoiceRequest,
  ISOLATED,
  UNHEALTHY,
} from '../routing/candidate.ts';
import type { RoutingDecision } from '../routing/choose.ts';
import { type ChoiceReport, explainLeastLoaded, withFallbacks } from '../routing/explain.ts';
import { createPoolRouter, type PoolRouter } from '../routing/pool-router.ts';
import { type RoutingConfig, resolveProfile } from '../routing/profiles.ts';
import {
  type ConcurrencyLimit,
  fixedLimit,
  type Gauges,
  type LimitSource,
} from './concurrency-limit/gauges.ts';
import type { AttemptResult } from './health/outcome.ts';
import {
  createRotation,
  type EndpointStatus,
  type RequestKey,
  type RotationEvents,
} from './health/rotation.ts';
import { DEFAULT_SLOW_START } from './health/slow-start.ts';
import type { LoraPlacement } from './lora-placement.ts';

interface EndpointState {
  /** `http://host:port` as configured. */
  readonly url: string;
  /** `ip:port`, as Envoy knows it. */
  readonly address: string;
  readonly healthy: boolean;
  /** Kept out by what requests through it showed. */
  readonly ejected: boolean;
  /** Models that are broken there, for everybody. */
  readonly broken: readonly string[];
  /** Requests. */
  readonly inFlight: number;
  /** Sequences that may be in flight. */
  readonly window: number;
  readonly windowSource: LimitSource;
  /** Its gauges are worth reading sooner. */
  readonly eager: boolean;
  /** KV cache tokens that the requests in flight need, prompt and predicted output. */
  readonly kvTokens: number;
  /** Undefined until the engine has said. */
  readonly kvCapacityTokens: number | undefined;
  /** Requests in flight whose clients read slowly; undefined: nobody asks, the least loaded endpoint is taken. */
  readonly slowClients: number | undefined;
  /** The last request that asked had to wait for the prompts that are being computed, not for a slot. */
  readonly holding: boolean;
}

/** What a request takes of an endpoint. */
export interface Demand {
  /** Sequences that it runs as: one for each output (`n`). */
  readonly sequences: number;
  readonly promptTokens: number;
  /** Prompt and predicted output, of all sequences. */
  readonly totalTokens: number;
  /** Its tokens are seen as they come, so the end of its prefill is too. */
  readonly streamed: boolean;
  /** What its lane promises, if anything. */
  readonly slo?: Slo;
  /** As the engine is asked for it; absent: it goes wherever the endpoint serves. */
  readonly model?: string;
  /** LoRA adapter that has to be loaded where it goes; absent: it needs none. */
  readonly adapter?: string;
  /** `ip:port` of the endpoints that may serve it; absent: any. */
  readonly within?: ReadonlySet<string>;
  /** What the choice among endpoints with room goes by, where the pool's routing does more than count; absent: load alone. */
  readonly choice?: ChoiceRequest;
}

interface Slo {
  /** From the release to the first token. */
  readonly ttftMs?: number;
  readonly itlMs?: number;
}

/** What a request needs is not where there is room: it keeps nobody else waiting. */
export type NotServable =
  /** It will be: ask again when an adapter was loaded or a request has ended, and now and then. */
  | { readonly kind: 'later' }
  | {
      readonly kind: 'refused';
      readonly reason: 'no-endpoint' | 'adapter-failed' | 'adapter-busy';
      readonly retryMs: number;
    };

export interface Slot {
  readonly kind: 'slot';
  /** Ordered `ip:port`: the chosen endpoint, then the fallbacks for Envoy's retries. */
  readonly addresses: readonly string[];
  /** The endpoint that the slot is counted on, `ip:port`. */
  readonly address: string;
  /** Tokens to compute where it was released to before its first one comes: those of its prompt, and of those before it. */
  readonly prefillTokens: number;
  /** Its prompt is computed. The first call counts. */
  firstToken(nowMs: number): void;
  /** Mean time between some of its tokens. */
  interToken(meanMs: number, nowMs: number): void;
  /** The first call gives the slot back; later ones are no-ops. */
  free(nowMs: number): void;
  /** Envoy served the request elsewhere (a retry): the slot is counted there from now on. */
  moveTo(address: string): void;
  /** What the endpoint made of it, and those that Envoy passed over. The first call counts. */
  ended(ending: AttemptResult, nowMs: number): void;
}

/** Who asks for a slot. */
export interface Claim {
  /** A tenant below its fair share: it may use the reserve, and while its prompt is computed no other is sent there. */
  readonly belowFairShare: boolean;
  /** Slots of the pool that stay free for quiet tenants; not while an endpoint tries a larger window. */
  readonly headroom: number;
  readonly tenant: string;
}

export interface PoolLimits {
  /** Sequences per endpoint; `auto` finds the size. */
  readonly concurrencyLimit: number | 'auto';
  /**
   * Prompt tokens per endpoint that may wait for their computation while quiet tenants are active: a quiet request shares
   * its step with no more. A longer prompt goes alone.
   */
  readonly prefillTokens: number;
  /** Slots of the pool that are kept free while quiet tenants are active. */
  readonly headroom: number | 'auto';
  /** How endpoints with room are chosen among; absent: the least loaded. */
  readonly routing?: RoutingConfig;
  /** Others wait while a quiet prompt is computed. Default: true; benchmarks compare. */
  readonly holds?: boolean;
  /** Time in which an endpoint that returns gets back to its whole window. Default: 30 s. */
  readonly slowStartMs?: number;
}

interface PoolEndpoint {
  readonly url: string;
  /** The resolved `ip:port`. */
  readonly address: string;
  /** It is kept for clients that read slowly, where the routing isolates them. */
  readonly isolated?: boolean;
  readonly zone?: string;
}

export interface PoolEndpoints {
  /** The least-loaded healthy endpoint that has room for it, or undefined. `Absent` only where it needs an adapter. */
  acquire(demand: Demand, claim: Claim, nowMs: number): Slot | NotServable | undefined;
  /** Adapters that the endpoint has, `ip:port`: what waits for one of them may go when something ended there. */
  adaptersOn(address: string): Iterable<string>;
  /** Nothing of the queue needs it any more. */
  adapterCancelled(adapter: string): void;
  /** There are endpoints for it, and none of them can have its adapter. */
  lacksAdapter(demand: Demand): boolean;
  /** Which endpoint a request would have now, and why. Changes nothing. */
  explain(demand: Demand, claim: Claim, nowMs: number): ChoiceReport;
  /** Sequences that all healthy endpoints may have in flight, but for drained ones. */
  concurrencyLimit(nowMs: number): number;
  /** A window that the reserve may be a part of, where it is shared: half of a slot is none. */
  reservable(nowMs: number): number;
  /** What may be added to the window within moments, once other replicas have answered. */
  coming(nowMs: number): number;
  /** As configured. */
  headroom(): number | 'auto';
  /** Requests. */
  inFlight(): number;
  healthyCount(): number;
  /** Whether an endpoint that may serve it is healthy, or may be: its first probe has not been answered yet. */
  canServe(within: Demand['within']): boolean;
  /**
   * There are healthy endpoints for it, and what it asks for is broken on each of them: how long until that may change.
   * Undefined: one of them would take it.
   */
  brokenMs(demand: Demand, tenant: string, nowMs: number): number | undefined;
  /** Healthy endpoints, `ip:port`, the least loaded first: for what takes no slot. */
  addresses(within: Demand['within']): readonly string[];
  setHealthy(url: string, healthy: boolean, nowMs: number): void;
  /** While drained it gets no new requests; what it has ends as usual. */
  setDrained(url: string, drained: boolean): void;
  /** Its engine has loaded: what it did before does not count. */
  loaded(url: string): void;
  /** What an endpoint's engine says of itself. */
  gauges(url: string, sample: Gauges | 'unusable', nowMs: number): void;
  /** @param isDivided each sequence has its own part of the KV cache: it bounds nothing beside the window. Default: false. */
  setCapacity(url: string, kvTokens: number | undefined, isDivided?: boolean): void;
  /** What its engine runs at once, if it says: a window that finds its own size is never larger. */
  setMaxSequences(url: string, sequences: number | undefined): void;
  /** Replaces the set; endpoints that stay keep their state. */
  reconfigure(endpoints: readonly PoolEndpoint[], config: PoolLimits): void;
  list(nowMs: number): readonly EndpointState[];
}

/** A prompt that is being computed, or waits for it in the engine. */
interface Prefill {
  readonly tokens: number;
  readonly quiet: boolean;
  /** It is over by then, whether its first token was seen or not. */
  readonly untilMs: number;
}

interface Member {
  readonly url: string;
  address: string;
  isolated: boolean;
  zone: string | undefined;
  readonly seat: EndpointStatus;
  /** Where the pool has a router. */
  candidate: CandidateState | undefined;
  healthy: boolean;
  drained: boolean;
  probed: boolean;
  requests: number;
  sequences: number;
  kvTokens: number;
  kvCapacityTokens: number | undefined;
  kvIsDivided: boolean;
  maxSequences: number | undefined;
  /** Requests whose clients read slowly. */
  slowClients: number;
  /** By its engine's gauges, when they were read last: in its own queue, and running or waiting but not ours. */
  waiting: number;
  foreign: number;
  readonly prefills: Set<Prefill>;
  prefillTokens: number;
  quietPrefills: number;
  holding: boolean;
  window: ConcurrencyLimit;
  /** This replica's part of the window; undefined: all of it. */
  share: Allotment | undefined;
  /** Not in the configuration any more. */
  removed: boolean;
  /** Learned; of the prompts before it in the engine and its own. */
  msPerPromptToken: number;
}

export type MakeConcurrencyLimit = (initial: number) => ConcurrencyLimit;

/** How replicas share the endpoints of a pool. */
export interface SharedLimits {
  hold(url: string, owner: Omit<AllotmentOwner, 'changed'>): Allotment;
  /** Sequences that wait for this pool, and the slots that it should keep free. */
  waiting(nowMs: number): { readonly queued: number; readonly reserve: number };
}

/** For want of what an endpoint has no room. */
type Shortage = 'window' | 'kv-cache' | 'reserve' | 'prefill';

interface RoomClaim {
  readonly quiet: boolean;
  readonly paced: boolean;
  /** Slots that it would not leave. */
  readonly reserve: number;
}

const SHORTAGES: Readonly<Record<Shortage, string>> = {
  window: 'window full',
  'kv-cache': 'KV cache full',
  reserve: 'only the reserve is free',
  prefill: 'prompts before it',
};

/** Part of the KV cache that requests above their fair share may plan with: outputs grow past their prediction. */
const KV_PLANNED_PART = 0.9;
const INITIAL_WINDOW = 8;
/** A request of unknown size in an engine of known capacity. */
const TYPICAL_TOKENS = 2_048;
const INITIAL_MS_PER_PROMPT_TOKEN = 0.2;
const SMOOTHING = 0.1;
/** Without quiet tenants, so many times the prompt tokens may wait: the engine never runs out of prompts. */
const UNPACED_PREFILL = 4;
/** Prompt tokens beside what is cached that a request may bring where others are held back. */
const CHEAP_TOKENS = 512;
/** Cached prompt tokens that are worth a wait. */
const LEAST_SAVED_TOKENS = 512;
const MOST_CACHE_WAIT_MS = 250;
/** A prefill is not waited for longer than so many times its expected duration, and some. */
const PREFILL_PATIENCE = 3;
const PREFILL_MARGIN_MS = 100;
/** An answer that does not stream shows no first token: the expected duration alone has to do. */
const UNSEEN_PATIENCE = 1;
/** A pool without requests for so long gives its shares back. */
const IDLE_MS = 30_000;
/** Slots that a replica keeps free for its next requests: more take a moment to come from the others. */
const SPARE = 2;
/** Of a smaller window one. */
const SPARE_WINDOW = 32;
/** The most that a replica keeps free for quiet tenants. */
const RESERVED_PART = 1 / 16;

const mayServe = ({ address }: Member, within: Demand['within']): boolean =>
  within === undefined || within.has(address);

/** It may be given requests, as far as probes and operators go. */
const isOpen = (member: Member, within: Demand['within']): boolean =>
  member.healthy && !member.drained && mayServe(member, within);

/** It is given requests without further questions. */
const isServing = ({ seat, drained }: Member): boolean => seat.serves && !drained;

/** Why there is no adapter, in the words of a queue that has other reasons too. */
const ABSENT = { failed: 'adapter-failed', busy: 'adapter-busy', 'no-endpoint': 'no-endpoint' } as const;

/** Where nothing loads an adapter somebody has to. */
const ADAPTER_RETRY_MS = 1_000;

/** Of a prompt, as engines usually have it: what an endpoint's cache holds is known only in tokens. */
const BYTES_PER_TOKEN = 4;

const spareOf = (size: number): number => (size < SPARE_WINDOW ? 1 : SPARE);

/**
 * @param shared where other replicas use the same endpoints.
 * @param events who is told of endpoints that leave and return by what requests showed.
 * @param adapters what is loaded where; undefined: adapters are models like any other.
 */
export function createPoolEndpoints(
  makeWindow: MakeConcurrencyLimit,
  shared?: SharedLimits,
  events?: RotationEvents,
  adapters?: LoraPlacement,
): PoolEndpoints {
  const rotation = createRotation(events);
  let router: PoolRouter | undefined;
  /** Slow clients have endpoints of their own, where any is marked for it. */
  let isolates = false;
  let bySlot: Member[] = [];
  let members: Member[] = [];
  let config: PoolLimits = { concurrencyLimit: 1, prefillTokens: 1, headroom: 'auto' };
  let inFlight = 0;
  /** Since when a request has waited for the endpoint that has its prompt cached. */
  const heldSinceMs = new WeakMap<ChoiceRequest, number>();
  /** Ties go round, so that an idle pool does not send everything to its first endpoint. */
  let turn = 0;
  let askedMs = Number.NEGATIVE_INFINITY;

  const memberOf = (url: string): Member | undefined => members.find((member) => member.url === url);

  const newWindow = (kvTokens?: number, maxSequences?: number): ConcurrencyLimit => {
    if (config.concurrencyLimit !== 'auto') return fixedLimit(config.concurrencyLimit);
    const window = makeWindow(
      Math.min(INITIAL_WINDOW, Math.ceil((kvTokens ?? Number.POSITIVE_INFINITY) / TYPICAL_TOKENS)),
    );
    window.atMost(maxSequences);
    return window;
  };

  const endPrefill = (member: Member, prefill: Prefill): void => {
    if (!member.prefills.delete(prefill)) return;
    member.prefillTokens -= prefill.tokens;
    if (prefill.quiet) member.quietPrefills -= 1;
  };
  const forgetOverdue = (member: Member, nowMs: number): void => {
    for (const prefill of member.prefills) if (prefill.untilMs <= nowMs) endPrefill(member, prefill);
  };

  /** Before any slow start. */
  const ownLimitOf = ({ window, share }: Member, nowMs: number): number => {
    const limit = window.limit(nowMs);
    return share === undefined ? limit : Math.min(limit, share.limit(nowMs));
  };
  const limitOf = (member: Member, nowMs: number): number => {
    const { seat } = member;
    const own = ownLimitOf(member, nowMs);
    return seat.returnedMs === undefined ? own : rotation.ramped(seat, own, nowMs);
  };

  /** A larger size is tried over what others keep free, or it would never be full. */
  const capacityOf = ({ window, share }: Member, nowMs: number): number => {
    const size = window.limit(nowMs);
    const others = window.isProbing() ? share?.others(nowMs) : undefined;
    if (others === undefined) return size;
    const most = others.count * Math.max(spareOf(size), Math.floor(size * RESERVED_PART));
    return size + Math.min(Math.max(0, others.held - others.inUse), most);
  };

  /** What this replica has in the engine, and its part of what waits for the pool. */
  const claimedOf = (member: Member, nowMs: number): number => {
    const most = capacityOf(member, nowMs);
    if (member.removed || !isServing(member) || shared === undefined) return member.sequences;
    const queued = Math.ceil(shared.waiting(nowMs).queued / Math.max(1, openCount()));
    return Math.max(member.sequences, Math.min(most, member.sequences + queued));
  };

  const wantOf = (member: Member, nowMs: number): number => {
    if (member.removed || !isServing(member) || nowMs - askedMs >= IDLE_MS) return member.sequences;
    const most = capacityOf(member, nowMs);
    const reserve = Math.ceil((shared?.waiting(nowMs).reserve ?? 0) / Math.max(1, openCount()));
    const spare = Math.max(spareOf(Math.max(most, member.share?.capacity() ?? 0)), reserve);
    return Math.max(member.sequences, Math.min(most, claimedOf(member, nowMs) + spare));
  };

  const share = (member: Member): void => {
    member.share = shared?.hold(member.url, {
      capacity: (nowMs) => capacityOf(member, nowMs),
      inUse: () => member.sequences,
      claimed: (nowMs) => claimedOf(member, nowMs),
      want: (nowMs) => wantOf(member, nowMs),
    });
  };

  /** What the engine has of all replicas, as far as it is known. */
  const inFlightOf = (member: Member, nowMs: number): number | undefined =>
    member.share === undefined ? member.sequences : member.share.inUse(nowMs);

  /** A request found no room. That is a reason for a larger window when this replica's fair part does not cover it either. */
  const foundFull = ({ window, share: held, sequences }: Member, more: number, nowMs: number): void => {
    const others = held?.others(nowMs);
    const isKnown = held === undefined || held.inUse(nowMs) !== undefined;
    if (held === undefined || others === undefined) {
      if (isKnown) window.saturated();
    } else if (sequences + more + others.held > window.limit(nowMs)) {
      if (others.count === 0 || sequences + more > held.fair()) window.saturated();
    }
    held?.moved(nowMs);
  };

  /** What may be added to this replica's part of the window within moments. */
  const comingOn = ({ share: held }: Member, nowMs: number): number =>
    held === undefined ? 0 : Math.max(0, held.coming(nowMs) - (held.others(nowMs)?.count ?? 0));

  /** Whether it has room, and if not, for want of what. Changes nothing. */
  const roomOn = (
    member: Member,
    demand: Demand,
    { quiet, paced, reserve }: RoomClaim,
    nowMs: number,
    matched = 0,
    coming = 0,
  ): 'yes' | Shortage => {
    const limit = limitOf(member, nowMs) + coming;
    const others = member.share?.others(nowMs)?.count;
    // What is larger than a whole endpoint goes when it is alone there.
    const isFull = (member.sequences > 0 || limit === 0) && member.sequences + demand.sequences > limit;
    const mayExceed = quiet && member.window.isUnconfirmed() && (member.share === undefined || others === 0);
    if (isFull && !mayExceed) return 'window';
    if (member.kvCapacityTokens !== undefined && !member.kvIsDivided && member.requests > 0) {
      const part = quiet ? 1 : KV_PLANNED_PART;
      if (member.kvTokens + demand.totalTokens > member.kvCapacityTokens * part) return 'kv-cache';
    }
    if (quiet) return 'yes';
    if (reserve > 0 && !member.window.isProbing()) return 'reserve';
    // Who is quiet elsewhere is not known here.
    const isPaced = paced || (others ?? 0) > 0;
    const unpaced = UNPACED_PREFILL * config.prefillTokens;
    const own = demand.promptTokens - matched;
    // Anywhere else its whole prompt would have to be computed.
    if (matched > 0 && own <= CHEAP_TOKENS && member.prefillTokens + own <= unpaced) return 'yes';
    const isHeld =
      (member.quietPrefills > 0 && config.holds !== false) ||
      (member.prefillTokens > 0 && member.prefillTokens + own > (isPaced ? config.prefillTokens : unpaced));
    return isHeld ? 'prefill' : 'yes';
  };

  /** The same, and who is asked learns of it. */
  const askRoom = (
    member: Member,
    demand: Demand,
    claim: RoomClaim,
    nowMs: number,
    matched = 0,
  ): 'yes' | Shortage => {
    const room = roomOn(member, demand, claim, nowMs, matched);
    if (room === 'window' || room === 'reserve') {
      const more = demand.sequences + (room === 'reserve' ? claim.reserve : 0);
      // What is not full because it is let fill slowly says nothing of its window.
      if (member.seat.returnedMs === undefined) foundFull(member, more, nowMs);
    } else if (room !== 'kv-cache' && !claim.quiet) member.holding = room === 'prefill';
    return room;
  };

  const move = (member: Member, demand: Demand, sign: 1 | -1): void => {
    member.requests += sign;
    member.sequences += sign * demand.sequences;
    member.kvTokens += sign * demand.totalTokens;
    if (demand.choice?.slow === true) member.slowClients += sign;
  };

  const changed = (member: Member, nowMs: number): void => member.share?.moved(nowMs);

  /** Envoy goes through the addresses in their order: those before the one that served have failed. */
  const tellPassedOver = (
    addresses: readonly string[],
    served: Member,
    rider: RequestKey,
    nowMs: number,
  ): void => {
    const tried = addresses.indexOf(served.address);
    // Not one of them: Envoy's own choice, after at least the first.
    for (const address of addresses.slice(0, tried === -1 ? 1 : tried)) {
      const passed = members.find((candidate) => candidate.address === address);
      if (passed !== undefined) rotation.ended(passed.seat, rider, { passedOver: true }, nowMs);
    }
  };

  const join = (member: Member): void => {
    member.candidate = router?.join(member.address);
    if (member.candidate !== undefined) bySlot[member.candidate.candidateIndex] = member;
    tellCacheSize(member);
  };
  const tellCacheSize = ({ candidate, kvCapacityTokens }: Member): void => {
    if (candidate === undefined || kvCapacityTokens === undefined) return;
    router?.setCacheBytes(candidate, kvCapacityTokens * BYTES_PER_TOKEN);
  };

  /** What the router goes by, as it is now. Gauges are a moment old and may be wrong: they never count for more than a window. */
  const refresh = (member: Member, isCandidate: boolean, nowMs: number): void => {
    const { candidate, seat } = member;
    if (candidate === undefined) return;
    const limit = ownLimitOf(member, nowMs);
    candidate.address = member.address;
    candidate.flags = (isCandidate ? 0 : UNHEALTHY) | (member.isolated ? ISOLATED : 0);
    candidate.zone = member.zone;
    candidate.sequences = member.sequences + Math.min(member.foreign, limit);
    candidate.waiting = Math.min(member.waiting, limit);
    candidate.window = limit;
    candidate.startWeight =
      seat.returnedMs === undefined || limit <= 0 ? 1 : rotation.ramped(seat, limit, nowMs) / limit;
    candidate.slowClients = member.slowClients;
    candidate.prefillTokens = member.prefillTokens;
    candidate.kvTokens = member.kvTokens;
    candidate.kvCapacityTokens = member.kvCapacityTokens ?? 0;
  };

  const refreshFor = (member: Member, choice: ChoiceRequest, isCandidate: boolean, nowMs: number): void => {
    refresh(member, isCandidate, nowMs);
    if (choice.adapter === undefined || member.candidate === undefined) return;
    adapters?.describe(member.candidate, member.url, choice.adapter);
  };

  interface Found {
    readonly member: Member;
    /** Where to try next, `ip:port`; undefined: all others, the least loaded first. */
    readonly fallbacks?: readonly string[];
    /** Prompt tokens that it is thought to have cached. */
    readonly matchedTokens: number;
  }

  /**
   * The best endpoint only holds others back while prompts are computed there, and has so much of the prompt cached that it is
   * sooner to wait for it: for as long as that saves, and not for long, as those behind it in the queue wait too.
   */
  const waitsFor = (
    better: RoutingDecision,
    chosen: RoutingDecision,
    choice: ChoiceRequest,
    nowMs: number,
  ): boolean => {
    const best = bySlot[better.candidate.candidateIndex];
    const saved = better.matchedTokens - chosen.matchedTokens;
    if (best === undefined || saved < LEAST_SAVED_TOKENS) return false;
    const sinceMs = heldSinceMs.get(choice) ?? nowMs;
    heldSinceMs.set(choice, sinceMs);
    return nowMs - sinceMs < Math.min(MOST_CACHE_WAIT_MS, saved * best.msPerPromptToken);
  };

  /** The router's choice among those that probes, operators and requests have nothing against. */
  const findRouted = (
    chosenBy: PoolRouter,
    choice: ChoiceRequest,
    admits: (member: Member) => boolean,
    roomFor: (member: Member, matched: number) => 'yes' | Shortage,
    nowMs: number,
    borrows = choice.slow,
  ): Found | undefined => {
    for (const member of members) refreshFor(member, choice, admits(member), nowMs);
    let isHeld = false;
    const asks = {
      room: ({ candidateIndex: slot }: Candidate, matched: number) => {
        const member = bySlot[slot];
        const room = member === undefined ? 'window' : roomFor(member, matched);
        isHeld ||= room === 'prefill';
        return room === 'yes';
      },
      permits: () => true,
      // At the head of the queue it would keep everybody waiting.
      borrows,
    };
    const chosen = chosenBy.choose(choice, asks, nowMs);
    const member = chosen && bySlot[chosen.candidate.candidateIndex];
    if (chosen === undefined || member === undefined) return undefined;
    if (isHeld) {
      const room = ({ candidateIndex: slot }: Candidate, matched: number): boolean => {
        const one = bySlot[slot];
        const found = one === undefined ? 'window' : roomFor(one, matched);
        return found === 'yes' || found === 'prefill';
      };
      const better = chosenBy.choose(choice, { ...asks, room }, nowMs);
      if (better !== undefined && waitsFor(better, chosen, choice, nowMs)) return undefined;
    }
    return {
      member,
      fallbacks: chosen.fallbacks.map(({ address }) => address),
      matchedTokens: chosen.matchedTokens,
    };
  };

  const findLeastLoaded = (
    admits: (member: Member) => boolean,
    fits: (member: Member) => boolean,
  ): Found | undefined => {
    let best: Member | undefined;
    for (let i = 0; i < members.length; i += 1) {
      const member = members[(turn + i) % members.length];
      if (member === undefined || !admits(member) || !fits(member)) continue;
      if (best === undefined || member.sequences < best.sequences) best = member;
    }
    if (best === undefined) return undefined;
    turn = (members.indexOf(best) + 1) % members.length;
    return { member: best, matchedTokens: 0 };
  };

  /** It is loaded there, or nobody knows better. */
  const hasAdapter = ({ url }: Member, adapter: string | undefined): boolean =>
    adapter === undefined || adapters?.isLoaded(url, adapter) !== false;

  /** It is loaded there, or may be. */
  const mayHave = ({ url }: Member, adapter: string): boolean => adapters?.mayHave(url, adapter) !== false;

  /** Where clients are kept apart, who can never have its adapter is none of its side's. */
  const mayTake = (member: Member, adapter: string | undefined): boolean =>
    adapter === undefined || !isolates || mayHave(member, adapter);

  /** There are endpoints for it, and none of them can have its adapter. */
  const lacksAdapter = ({ adapter, within }: Demand): boolean => {
    if (adapter === undefined) return false;
    let hasOpen = false;
    for (const member of members) {
      if (!isOpen(member, within)) continue;
      if (mayHave(member, adapter)) return false;
      hasOpen = true;
    }
    return hasOpen;
  };

  /** Slow clients and others are apart, and this is the other side than the request's. */
  const isAcross = ({ isolated }: Member, { choice }: Demand): boolean =>
    isolates && choice !== undefined && isolated !== choice.slow;

  /** Where Envoy may try next, the least loaded first: on the side of the one that was chosen. */
  const retriesAfter = (first: Member, demand: Demand, rider: RequestKey, nowMs: number): readonly string[] =>
    members
      .filter(
        (other) =>
          other !== first &&
          isOpen(other, demand.within) &&
          (isAcross(first, demand) || !isAcross(other, demand)) &&
          rotation.admits(other.seat, rider, nowMs) === 'yes' &&
          hasAdapter(other, demand.adapter),
      )
      .sort((a, b) => a.sequences - b.sequences)
      .map((other) => other.address);

  const slotOn = (
    { member: first, fallbacks: chosen, matchedTokens }: Found,
    demand: Demand,
    { belowFairShare: quiet, tenant }: Claim,
    releasedMs: number,
  ): Slot => {
    let member = first;
    let open = true;
    let told = false;
    const rider: RequestKey = { model: demand.model, tenant };
    rotation.began(first.seat, rider, releasedMs);
    move(member, demand, 1);
    inFlight += 1;
    changed(member, releasedMs);
    const own = Math.max(1, demand.promptTokens - matchedTokens);
    const before = member.prefillTokens + own;
    const expectedMs = member.msPerPromptToken * before;
    const patience = demand.streamed ? PREFILL_PATIENCE : UNSEEN_PATIENCE;
    const prefill: Prefill = {
      tokens: own,
      quiet,
      untilMs: releasedMs + patience * expectedMs + PREFILL_MARGIN_MS,
    };
    member.prefills.add(prefill);
    member.prefillTokens += prefill.tokens;
    if (quiet) member.quietPrefills += 1;
    let tokenSeen = false;
    const { adapter } = demand;
    const beginAdapter =
      adapter === undefined || adapters === undefined
        ? undefined
        : (url: string) => adapters.began(url, adapter, releasedMs);
    let endAdapter = beginAdapter?.(first.url);
    const tellRouter = (now: number): void => {
      if (demand.choice !== undefined && member.candidate !== undefined) {
        router?.released(demand.choice, member.candidate, now);
      }
    };
    tellRouter(releasedMs);
    const addresses = [first.address, ...(chosen ?? retriesAfter(first, demand, rider, releasedMs))];
    return {
      kind: 'slot',
      addresses,
      prefillTokens: before,
      get address() {
        return member.address;
      },
      firstToken(nowMs) {
        if (tokenSeen) return;
        tokenSeen = true;
        endPrefill(first, prefill);
        if (member !== first) return;
        const ttftMs = nowMs - releasedMs;
        member.msPerPromptToken += SMOOTHING * (ttftMs / Math.max(64, before) - member.msPerPromptToken);
        member.window.firstToken(ttftMs, before, inFlightOf(member, nowMs) ?? member.sequences, nowMs);
        if (demand.slo?.ttftMs !== undefined) member.window.slo(ttftMs / demand.slo.ttftMs, nowMs);
      },
      interToken(meanMs, nowMs) {
        member.window.interToken(meanMs);
        if (demand.slo?.itlMs !== undefined) member.window.slo(meanMs / demand.slo.itlMs, nowMs);
      },
      free(nowMs) {
        if (!open) return;
        open = false;
        endPrefill(first, prefill);
        move(member, demand, -1);
        inFlight -= 1;
        endAdapter?.(nowMs);
        if (tokenSeen && demand.choice !== undefined && member.candidate !== undefined) {
          router?.ended(demand.choice, member.candidate);
        }
        changed(member, nowMs);
      },
      moveTo(address) {
        if (!open || address === member.address) return;
        const other = members.find((candidate) => candidate.address === address);
        if (other === undefined) return;
        endPrefill(first, prefill);
        move(member, demand, -1);
        member = other;
        move(member, demand, 1);
        endAdapter?.(releasedMs);
        endAdapter = beginAdapter?.(other.url);
        tellRouter(releasedMs);
      },
      ended(ending, nowMs) {
        if (told) return;
        told = true;
        if (member !== first) tellPassedOver(addresses, member, rider, nowMs);
        if (adapter !== undefined && ending.status === 404) adapters?.suspect(member.url);
        rotation.ended(member.seat, rider, ending, nowMs);
      },
    };
  };

  /** Where it is loaded before anywhere else: there, what is cached leaves room for more. */
  const findWithAdapter = (
    adapter: string,
    choice: ChoiceRequest,
    admits: (member: Member) => boolean,
    roomFor: (member: Member, matched: number) => 'yes' | Shortage,
    nowMs: number,
  ): Found | undefined => {
    if (router === undefined) return undefined;
    const roomLoaded = (member: Member, matched: number): 'yes' | Shortage =>
      hasAdapter(member, adapter) ? roomFor(member, matched) : 'window';
    return (
      findRouted(router, choice, admits, roomLoaded, nowMs, false) ??
      findRouted(router, choice, admits, roomFor, nowMs)
    );
  };

  /** Where the adapter is, of the endpoints with room; else the plan says what comes next. */
  const slotWithAdapter = (
    adapter: string,
    plan: LoraPlacement,
    best: Found | undefined,
    others: readonly Member[],
    last: Member | undefined,
    [demand, asked, nowMs]: readonly [Demand, Claim, number],
  ): Slot | NotServable | undefined => {
    const order = [...others].sort((a, b) => a.sequences - b.sequences);
    if (best !== undefined) order.unshift(best.member);
    if (last !== undefined) order.push(last);
    if (lacksAdapter(demand)) {
      return { kind: 'refused', reason: 'no-endpoint', retryMs: ADAPTER_RETRY_MS };
    }
    if (order.length === 0) return undefined;
    const next = plan.ensure(
      adapter,
      order.map(({ url }) => url),
      nowMs,
    );
    if (next.kind === 'wait') return { kind: 'later' };
    if (next.kind === 'refuse') {
      return { kind: 'refused', reason: ABSENT[next.reason], retryMs: next.retryMs };
    }
    const member = order.find(({ url }) => url === next.endpoint);
    if (member === undefined) return undefined;
    const matchedTokens = member === best?.member ? best.matchedTokens : 0;
    return slotOn({ member, matchedTokens }, demand, asked, nowMs);
  };

  /** Slots stay free beside the demand; who may not use those for slow clients leaves none there either. */
  const leaves = (reserve: number, { sequences, choice }: Demand, nowMs: number): boolean => {
    const isApart =
      isolates && choice?.slow === false && members.some((one) => isServing(one) && !one.isolated);
    let free = 0;
    let size = 0;
    for (const member of members) {
      if (!isServing(member) || (isApart && member.isolated)) continue;
      const limit = limitOf(member, nowMs);
      size += limit;
      if (!member.window.isProbing()) free += Math.max(0, limit - member.sequences);
    }
    return free - sequences >= (isApart ? Math.min(reserve, Math.max(0, size - 1)) : reserve);
  };

  const roomClaimOf = (
    demand: Demand,
    { belowFairShare: quiet, headroom: reserve }: Claim,
    nowMs: number,
  ): RoomClaim => {
    const leavesReserve = reserve === 0 || inFlight === 0 || leaves(reserve, demand, nowMs);
    return { quiet, paced: reserve > 0, reserve: leavesReserve ? 0 : reserve };
  };

  /** Why it may not have the request, but for room. */
  const refusalsBy = (member: Member, demand: Demand, tenant: string, nowMs: number): readonly string[] => {
    const { healthy, probed, drained, seat } = member;
    const admits = rotation.admits(seat, { model: demand.model, tenant }, nowMs);
    return [
      ...(healthy ? [] : [probed ? 'unhealthy' : 'not probed yet']),
      ...(drained ? ['drained'] : []),
      ...(mayServe(member, demand.within) ? [] : ['not in the subset']),
      ...(!healthy || admits === 'yes' ? [] : [seat.ejected ? 'ejected' : 'model broken there']),
    ];
  };

  const openCount = (): number => members.reduce((sum, member) => sum + (isServing(member) ? 1 : 0), 0);
  const healthyCount = (): number => members.reduce((sum, member) => sum + (member.healthy ? 1 : 0), 0);

  return {
    acquire(demand, asked, nowMs) {
      const { belowFairShare: quiet, tenant } = asked;
      askedMs = nowMs;
      const rider: RequestKey | undefined = rotation.admitsEverything()
        ? undefined
        : { model: demand.model, tenant };
      const claim = roomClaimOf(demand, asked, nowMs);
      const roomFor = (member: Member, matched: number): 'yes' | Shortage => {
        forgetOverdue(member, nowMs);
        return askRoom(member, demand, claim, nowMs, matched);
      };
      const fits = (member: Member): boolean => roomFor(member, 0) === 'yes';
      const isAdmitted = (member: Member, how: 'yes' | 'trial'): boolean =>
        isOpen(member, demand.within) &&
        (rider === undefined ? how === 'yes' : rotation.admits(member.seat, rider, nowMs) === how);
      const { adapter, choice } = demand;
      const admits = (member: Member): boolean => isAdmitted(member, 'yes') && mayTake(member, adapter);
      const found =
        router === undefined || choice === undefined
          ? findLeastLoaded(admits, fits)
          : adapter === undefined
            ? findRouted(router, choice, admits, roomFor, nowMs)
            : findWithAdapter(adapter, choice, admits, roomFor, nowMs);
      const trial =
        rider === undefined
          ? undefined
          : members.find((member) => isAdmitted(member, 'trial') && fits(member));
      const isTrial =
        trial !== undefined && (found === undefined || rotation.mayTry(trial.seat, quiet, nowMs));
      if (adapter !== undefined && adapters !== undefined) {
        const isApart = members.some((one) => admits(one) && !isAcross(one, demand));
        const others = members.filter(
          (one) => one !== found?.member && admits(one) && !(isApart && isAcross(one, demand)) && fits(one),
        );
        // What requests have shown to be broken is the last to load anything.
        const leads = isTrial && hasAdapter(trial, adapter);
        const first = leads ? { member: trial, matchedTokens: 0 } : found;
        const rest = leads && found !== undefined ? [found.member, ...others] : others;
        const last = isTrial && !leads ? trial : undefined;
        return slotWithAdapter(adapter, adapters, first, rest, last, [demand, asked, nowMs]);
      }
      if (isTrial) {
        return slotOn({ member: trial, matchedTokens: 0 }, demand, asked, nowMs);
      }
      return found && slotOn(found, demand, asked, nowMs);
    },
    explain(demand, asked, nowMs) {
      const claim = roomClaimOf(demand, asked, nowMs);
      const rows = members.map((member) => {
        forgetOverdue(member, nowMs);
        const refusals = refusalsBy(member, demand, asked.tenant, nowMs);
        // What has not been asked for is not at its end.
        const coming = comingOn(member, nowMs);
        return { member, refusals, coming, room: roomOn(member, demand, claim, nowMs, 0, coming) };
      });
      const rowOf = new Map(rows.map((row) => [row.member.address, row]));
      let report: ChoiceReport;
      if (router === undefined || demand.choice === undefined) {
        const counted = rows.map(({ member, refusals, room }) => ({
          address: member.address,
          sequences: member.sequences,
          admitted: refusals.length === 0 && hasAdapter(member, demand.adapter),
          hasRoom: room === 'yes',
        }));
        report = explainLeastLoaded([...counted.slice(turn), ...counted.slice(0, turn)], demand.promptTokens);
      } else {
        const { adapter, choice } = demand;
        const admitted = rows.filter(
          ({ member, refusals }) => refusals.length === 0 && mayTake(member, adapter),
        );
        for (const row of rows) refreshFor(row.member, choice, admitted.includes(row), nowMs);
        const mayBeLoaded = admitted.some(
          ({ member, room }) => adapter !== undefined && room === 'yes' && !isAcross(member, demand),
        );
        const asks = {
          room({ address }: Candidate, matched: number) {
            const row = rowOf.get(address);
            if (row === undefined) return false;
            row.room = roomOn(row.member, demand, claim, nowMs, matched, row.coming);
            return row.room === 'yes' && hasAdapter(row.member, adapter);
          },
          permits: () => true,
          borrows: choice.slow && !mayBeLoaded,
        };
        report = router.explain(choice, asks, nowMs);
      }
      const first = demand.adapter === undefined ? undefined : rowOf.get(report.chosen ?? '')?.member;
      if (first !== undefined) {
        const rider: RequestKey = { model: demand.model, tenant: asked.tenant };
        report = withFallbacks(report, retriesAfter(first, demand, rider, nowMs));
      }
      return {
        ...report,
        endpoints: report.endpoints.map((endpoint) => {
          const { member, refusals = [], room = 'yes' } = rowOf.get(endpoint.address) ?? {};
          return {
            ...endpoint,
            refusedBy: [
              ...refusals,
              ...(room === 'yes' ? [] : [SHORTAGES[room]]),
              // It may be loaded for the request.
              ...(member === undefined || hasAdapter(member, demand.adapter) ? [] : ['adapter not loaded']),
            ],
          };
        }),
      };
    },
    *adaptersOn(address) {
      const member = members.find((one) => one.address === address);
      if (member !== undefined && adapters !== undefined) yield* adapters.loadedOn(member.url);
    },
    adapterCancelled: (adapter) => adapters?.cancelled(adapter),
    lacksAdapter,
    concurrencyLimit: (nowMs) =>
      members.reduce((sum, member) => sum + (isServing(member) ? limitOf(member, nowMs) : 0), 0),
    reservable(nowMs) {
      let size = 0;
      for (const member of members) {
        const { share: held, window } = member;
        if (isServing(member) && (held?.others(nowMs)?.count ?? 0) > 0) size += window.limit(nowMs);
      }
      return Math.min(size, SPARE_WINDOW);
    },
    coming(nowMs) {
      let slots = 0;
      for (const member of members) if (isServing(member)) slots += comingOn(member, nowMs);
      return slots;
    },
    headroom: () => config.headroom,
    inFlight: () => inFlight,
    healthyCount,
    canServe: (within) =>
      members.some((one) => !one.drained && (one.healthy || !one.probed) && mayServe(one, within)),
    brokenMs(demand, tenant, nowMs) {
      if (rotation.admitsEverything()) return undefined;
      const rider: RequestKey = { model: demand.model, tenant };
      let soonestMs: number | undefined;
      for (const member of members) {
        if (!isOpen(member, demand.within)) continue;
        const retryMs = rotation.retryMs(member.seat, rider, nowMs);
        if (retryMs === undefined) return undefined;
        soonestMs = Math.min(soonestMs ?? retryMs, retryMs);
      }
      return soonestMs;
    },
    addresses: (within) =>
      members
        .filter((one) => isServing(one) && mayServe(one, within))
        .sort((a, b) => a.sequences - b.sequences)
        .map(({ address }) => address),
    setHealthy(url, healthy, nowMs) {
      const member = memberOf(url);
      if (member === undefined) return;
      if (member.healthy && !healthy && member.candidate !== undefined) router?.restarted(member.candidate);
      if (member.healthy && !healthy) adapters?.crashed(url);
      member.healthy = healthy;
      member.probed = true;
      rotation.setHealthy(url, healthy, nowMs);
    },
    setDrained(url, drained) {
      const member = memberOf(url);
      if (member !== undefined) member.drained = drained;
    },
    loaded: (url) => rotation.loaded(url),
    gauges(url, sample, nowMs) {
      const member = memberOf(url);
      if (member === undefined) return;
      // What the others have is a moment old, and not known at all before they were asked.
      const inEngine =
        sample === 'unusable' ? 0 : Math.max(member.sequences, sample.running + sample.waiting);
      const ours = inFlightOf(member, nowMs) ?? inEngine;
      const certain = member.share?.others(nowMs) === undefined ? ours : Math.min(ours, inEngine);
      member.window.gauges(sample, ours, nowMs, certain);
      const isTrusted = sample !== 'unusable' && member.window.source() !== 'ttft';
      member.waiting = isTrusted ? sample.waiting : 0;
      // Shares of a window already leave out what others have.
      member.foreign = isTrusted && member.share === undefined ? Math.max(0, inEngine - member.sequences) : 0;
      changed(member, nowMs);
    },
    setCapacity(url, kvTokens, isDivided = false) {
      const member = memberOf(url);
      if (member === undefined) return;
      member.kvIsDivided = isDivided;
      if (member.kvCapacityTokens === kvTokens) return;
      member.kvCapacityTokens = kvTokens;
      tellCacheSize(member);
      if (member.requests === 0) member.window = newWindow(kvTokens, member.maxSequences);
    },
    setMaxSequences(url, sequences) {
      const member = memberOf(url);
      if (member === undefined) return;
      member.maxSequences = sequences;
      member.window.atMost(sequences);
    },
    reconfigure(endpoints, next) {
      const windowChanged = next.concurrencyLimit !== config.concurrencyLimit;
      const routed = next.routing && resolveProfile(next.routing);
      isolates = routed?.isolate === true;
      const isNewRouter = (routed === undefined) !== (router === undefined);
      if (isNewRouter) {
        router = routed && createPoolRouter(routed);
        bySlot = [];
        for (const member of members) join(member);
      } else if (routed !== undefined) router?.setProfile(routed);
      config = next;
      const before = new Map(members.map((member) => [member.url, member]));
      rotation.reconfigure(
        endpoints.map(({ url }) => url),
        next.slowStartMs ?? DEFAULT_SLOW_START.rampMs,
      );
      members = endpoints.map(({ url, address, isolated = false, zone }) => {
        const known = before.get(url);
        before.delete(url);
        if (known === undefined) {
          const member: Member = {
            url,
            address,
            isolated,
            zone,
            seat: rotation.statusOf(url),
            candidate: undefined,
            healthy: false,
            drained: false,
            probed: false,
            requests: 0,
            sequences: 0,
            kvTokens: 0,
            kvCapacityTokens: undefined,
            kvIsDivided: false,
            maxSequences: undefined,
            slowClients: 0,
            waiting: 0,
            foreign: 0,
            prefills: new Set(),
            prefillTokens: 0,
            quietPrefills: 0,
            holding: false,
            window: newWindow(),
            share: undefined,
            removed: false,
            msPerPromptToken: INITIAL_MS_PER_PROMPT_TOKEN,
          };
          share(member);
          join(member);
          return member;
        }
        known.address = address;
        known.isolated = isolated;
        known.zone = zone;
        if (windowChanged) known.window = newWindow(known.kvCapacityTokens, known.maxSequences);
        return known;
      });
      for (const gone of before.values()) {
        gone.removed = true;
        if (gone.candidate !== undefined) router?.leave(gone.candidate);
        gone.candidate = undefined;
      }
      turn = 0;
    },
    list: (nowMs) =>
      members.map((member) => ({
        url: member.url,
        address: member.address,
        healthy: member.healthy,
        ejected: member.seat.ejected,
        broken: rotation.broken(member.url, nowMs),
        inFlight: member.requests,
        window: limitOf(member, nowMs),
        windowSource: member.window.source(),
        eager: member.window.isEager(),
        kvTokens: member.kvTokens,
        kvCapacityTokens: member.kvCapacityTokens,
        slowClients: member.candidate === undefined ? undefined : member.slowClients,
        holding: member.holding,
      })),
  };
}

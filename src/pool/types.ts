/** What a pool is asked, what it answers, and what it asks of others. */
import type { Allotment, AllotmentOwner } from '../limit/allotments.ts';
import type { ChoiceRequest } from '../routing/candidate.ts';
import type { ChoiceReport } from '../routing/explain.ts';
import type { RoutingConfig } from '../routing/profiles.ts';
import type { CachedGuess } from '../usage/cached-part.ts';
import type { PromptUse } from '../usage/gpu-demand.ts';
import type { ConcurrencyLimit, Gauges, LimitSource } from './concurrency-limit/concurrency-limit.ts';
import type { AttemptResult } from './health/outcome.ts';

// A request, as a pool sees it.

/** What a request takes of an endpoint. */
export interface Demand {
  /** Sequences that it runs as: one for each output (`n`). */
  readonly sequences: number;
  readonly promptTokens: number;
  /** Of those, what the engine's prefix cache is guessed to have; absent: nothing. */
  readonly cachedTokens?: CachedGuess;
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

/** Who asks for a slot. */
export interface Claim {
  /** A tenant below its fair share: it may use the headroom, and while its prompt is computed no other is sent there. */
  readonly belowFairShare: boolean;
  /** Slots of the pool that stay free for tenants below their fair share; not while an endpoint probes a larger limit. */
  readonly headroom: number;
  readonly tenant: string;
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

/** The grant: a request's place on an endpoint, from its release to its end. */
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
  /** Hears the mean time between the tokens that came since it was told last, or since the first one. */
  interToken(meanMs: number, nowMs: number): void;
  /**
   * It computes nothing any more: gives its part of the busy time of its endpoints, in ms. Later calls give the same.
   *
   * @param prompt as its engine says; absent: it does not, or is not believed.
   */
  gpuMs(nowMs: number, prompt?: PromptUse): number;
  /** The first call gives the slot back; later ones are no-ops. */
  free(nowMs: number): void;
  /** Envoy served the request elsewhere (a retry): the slot is counted there from now on. */
  moveTo(address: string, nowMs: number): void;
  /** Hears what the endpoint made of it, and those that Envoy passed over. The first call counts. */
  ended(ending: AttemptResult, nowMs: number): void;
}

// The pool.

export interface PoolLimits {
  /** Sequences per endpoint; `auto` finds the size. */
  readonly concurrencyLimit: number | 'auto';
  /**
   * Prompt tokens per endpoint that may wait for their computation while tenants below their fair share are active: their
   * requests share a step with no more. A longer prompt goes alone.
   */
  readonly prefillTokens: number;
  /** Slots of the pool that are kept free while tenants below their fair share are active. */
  readonly headroom: number | 'auto';
  /** How endpoints with room are chosen among; absent: the least loaded. */
  readonly routing?: RoutingConfig;
  /** Others wait while a prompt of a tenant below its fair share is computed. Default: true; benchmarks compare. */
  readonly holds?: boolean;
  /** Time in which an endpoint that returns gets back to its whole limit. Default: 30 s. */
  readonly slowStartMs?: number;
}

export interface PoolEndpoint {
  readonly url: string;
  /** The resolved `ip:port`. */
  readonly address: string;
  /** It is kept for clients that read slowly, where the routing isolates them. */
  readonly isolated?: boolean;
  readonly zone?: string;
  /** Its part of the load, relative to the others'. Over 0. Default: 1. */
  readonly weight?: number;
}

export interface EndpointState {
  /** Its name among the pool's. */
  readonly url: string;
  /** `ip:port`, as Envoy knows it. */
  readonly address: string;
  readonly healthy: boolean;
  /** Kept out by what requests through it showed. */
  readonly ejected: boolean;
  /** Models that are broken there, for everybody. */
  readonly broken: readonly string[];
  /** It is given new requests. */
  readonly serving: boolean;
  /** Requests, and the sequences that they run as. */
  readonly inFlight: number;
  readonly sequences: number;
  /** Sequences that may be in flight. */
  readonly concurrencyLimit: number;
  readonly limitSource: LimitSource;
  /** Its gauges are worth reading sooner. */
  readonly isEager: boolean;
  /** KV cache tokens that the requests in flight need, prompt and predicted output. */
  readonly kvTokens: number;
  /** Undefined until the engine has said. */
  readonly kvCapacityTokens: number | undefined;
  /** Requests in flight whose clients read slowly; undefined: nobody asks, the least loaded endpoint is taken. */
  readonly slowClients: number | undefined;
  /** The last request that asked had to wait for the prompts that are being computed, not for a slot. */
  readonly isHolding: boolean;
  /** Time in which requests of ours were in it, in ms; our part of it, where others' were there too. */
  readonly busyMs: number;
}

export interface PoolEndpoints {
  // Requests.

  /** Gives a slot on the endpoint that explain() names, or undefined. `NotServable` only where it needs an adapter. */
  acquire(demand: Demand, claim: Claim, nowMs: number): Slot | NotServable | undefined;
  /** Says which endpoint a request would have now, and why. Changes nothing. */
  explain(demand: Demand, claim: Claim, nowMs: number): ChoiceReport;
  /** Whether an endpoint that may serve it is healthy, or may be: its first probe has not been answered yet. */
  canServe(within: Demand['within']): boolean;
  /**
   * There are healthy endpoints for it, and what it asks for is broken on each of them: how long until that may change.
   * Undefined: one of them would take it.
   */
  brokenMs(demand: Demand, tenant: string, nowMs: number): number | undefined;
  /** Healthy endpoints, `ip:port`, the least loaded first: for what takes no slot. */
  addresses(within: Demand['within']): readonly string[];

  // Adapters.

  /** Adapters that the endpoint has, `ip:port`: what waits for one of them may go when something ended there. */
  adaptersOn(address: string): Iterable<string>;
  /** Nothing of the queue needs it any more. */
  adapterCancelled(adapter: string): void;
  /** There are endpoints for it, and none of them can have its adapter. */
  lacksAdapter(demand: Demand): boolean;

  // How much there is.

  /** Sequences that all healthy endpoints may have in flight, but for drained ones. */
  concurrencyLimit(nowMs: number): number;
  /** The part of the limit that headroom may be taken of, where it is shared: half of a slot is none. */
  reservable(nowMs: number): number;
  /** What may be added to the limit within moments, once other replicas have answered. */
  coming(nowMs: number): number;
  /** As configured. */
  headroom(): number | 'auto';
  /** Requests. */
  inFlight(): number;
  healthyCount(): number;
  /** Endpoints that requests may go to: healthy or the best there is, and not drained. */
  servingCount(): number;
  list(nowMs: number): readonly EndpointState[];
  /** Undefined: there is no such endpoint. */
  stateOf(url: string, nowMs: number): EndpointState | undefined;

  // What its endpoints are.

  setHealthy(url: string, healthy: boolean, nowMs: number): void;
  /** While drained it gets no new requests; what it has ends as usual. */
  setDrained(url: string, drained: boolean): void;
  /** Its engine has loaded: what it did before does not count. */
  engineLoaded(url: string): void;
  /** Hears what an endpoint's engine says of itself. */
  gauges(url: string, sample: Gauges | 'unusable', nowMs: number): void;
  /** @param isDivided each sequence has its own part of the KV cache: it bounds nothing beside the limit. Default: false. */
  setCapacity(url: string, kvTokens: number | undefined, isDivided?: boolean): void;
  /** What its engine runs at once, if it says: a limit that finds its own size is never larger. */
  setMaxSequences(url: string, sequences: number | undefined): void;
  /** Replaces the set; endpoints that stay keep their state. */
  reconfigure(endpoints: readonly PoolEndpoint[], config: PoolLimits): void;
}

export type MakeConcurrencyLimit = (initial: number) => ConcurrencyLimit;

/** How replicas share the endpoints of a pool. */
export interface SharedLimits {
  hold(url: string, owner: Omit<AllotmentOwner, 'changed'>): Allotment;
  /** Sequences that wait for this pool, and the slots that it should keep free. */
  waiting(nowMs: number): { readonly queued: number; readonly headroom: number };
}

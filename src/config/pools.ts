/** Pools, their endpoints, models, adapters and lanes, as the program uses them. */
import type { CostWeights } from '../domain/cost.ts';
import type { PoolEngine } from '../domain/engine-kinds.ts';
import type { ModelShape } from '../domain/kv-size.ts';
import type { EngineRoute } from '../domain/routes.ts';
import type { ProfileName, Weights } from '../domain/routing-profiles.ts';
import type { GpuPrice } from './gpu-price.ts';

/** What an engine is shown or checked by, and where that is set. */
export interface EngineSecret {
  /** Never logged, never printed. */
  readonly value: string;
  /** Whose it is: the pool's, for all endpoints without their own, or this endpoint's. */
  readonly of: 'pool' | 'endpoint';
}

/** How TLS is spoken to an engine. */
export interface EngineTls {
  /** PEM of the authorities that its certificate must be from; absent: those of Node.js. */
  readonly ca?: EngineSecret;
  /** PEM of what Fairlane shows as a client; `value` is the private key. */
  readonly identity?: EngineSecret & { readonly cert: string };
  /** The name that is asked for, and that its certificate must have; absent: the host. */
  readonly serverName?: string;
  /** Its certificate is not looked at. */
  readonly insecureSkipVerify?: true;
}

export interface EndpointConfig {
  /** `http://host:port`, or `https://`, and the prefix: as configured, without `/v1` at its end. Names the endpoint. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** IP address that its name stands for: one of several, perhaps. Absent: as configured, not looked up yet. */
  readonly address?: string;
  /** Its pool, for messages that name settings. */
  readonly pool?: string;
  /** Before each path, for example `/llm`; absent: none. */
  readonly prefix?: string;
  /** The engine wants it as `authorization: Bearer KEY`; absent: it wants none. */
  readonly apiKey?: EngineSecret;
  /** Absent: plain HTTP. */
  readonly tls?: EngineTls;
  /** Its part of the pool's load, relative to the others'. Over 0; absent: 1. */
  readonly weight?: number;
}

export interface EndpointChoice {
  /** Replace the profile's. */
  readonly weights: Partial<Weights>;
  readonly largeTokens?: number;
  /** URLs of endpoints that are kept for clients that read slowly; never all. */
  readonly slowClients: readonly string[];
  /** In lower case. */
  readonly sessionHeader: string;
  /** URLs of endpoints, each in one zone at most. */
  readonly zones: ReadonlyMap<string, readonly string[]>;
}

export interface PoolConfig {
  readonly name: string;
  readonly endpoints: readonly EndpointConfig[];
  /** Of those, the URLs of endpoints that get no new requests. */
  readonly drain: readonly string[];
  /** Which endpoint with room gets a request. */
  readonly routing: 'least-loaded' | ProfileName;
  /** What that goes by, but for `least-loaded`. */
  readonly choice: EndpointChoice;
  /** For engines that do not say how many tokens theirs holds. */
  readonly kvCache?: { readonly memoryBytes: number; readonly shape: ModelShape };
  /** Absent: what its requests cost is not known. */
  readonly gpuPrice?: GpuPrice;
  /** What all endpoints are; `auto`: each is asked, and may be another one. */
  readonly engine: PoolEngine;
  /** Sequences that each endpoint may have in flight; `auto` finds the size. */
  readonly concurrencyLimit: number | 'auto';
  /** Places for adapters on each endpoint; absent: none is loaded. */
  readonly adaptersPerEndpoint?: number;
  /** Prompt tokens of each endpoint that may wait for their computation; a longer prompt goes alone. */
  readonly prefillTokens: number;
  /** Slots of the pool that are kept free while tenants below their fair share are active. */
  readonly headroom: number | 'auto';
  /** Where the engines' gauges are read, and how often. */
  readonly gauges: { readonly path: string; readonly intervalMs: number };
  /** What engines are asked to do themselves. */
  readonly engineCapabilities: { readonly priority: 'off' | 'auto'; readonly cacheSalt: 'off' | 'auto' };
  readonly health: {
    readonly path: string;
    readonly intervalMs: number;
    readonly timeoutMs: number;
    /** Failed probes in a row before an endpoint leaves the rotation. */
    readonly unhealthyAfter: number;
    /** Successful probes in a row before it returns. */
    readonly healthyAfter: number;
    /** Time in which one that has returned gets back to its whole concurrency limit. */
    readonly slowStartMs: number;
  };
  /** True when no configured model names this pool, not even for copies: its models are asked of its endpoints (`/v1/models`). */
  readonly discoverModels: boolean;
}

/** Another model that has part of a model's requests, until it is shown to be worse. */
export interface RolloutConfig {
  /** A configured model. */
  readonly model: string;
  /** Its part, 0 to 1. */
  readonly weight: number;
  /** Whose requests stay with one version. */
  readonly by: 'tenant' | 'session';
  /** In lower case. */
  readonly sessionHeader: string;
  /** Another one is another draw. */
  readonly salt: string;
}

/** A pool that gets copies of a model's requests; nobody sees its answers. */
export interface MirrorConfig {
  readonly pool: string;
  /** Part of the requests, 0 to 1. */
  readonly fraction: number;
  /** Copies that run at once. */
  readonly maxConcurrent: number;
  readonly perSecond: number;
  /** Envoy ends a copy that takes longer. */
  readonly maxDurationMs: number;
}

export interface ModelConfig {
  /** The name clients send. */
  readonly name: string;
  readonly pool: string;
  readonly cost: CostWeights;
  /** Models or aliases that serve in its place when it cannot, in their order. */
  readonly fallback: readonly string[];
  readonly canary?: RolloutConfig;
  readonly mirror?: MirrorConfig;
}

/** A LoRA adapter. */
export interface LoraAdapterConfig {
  /** As clients send it in `model`, and as the engine knows it. */
  readonly name: string;
  /** Model that it adapts; its pool serves the adapter. */
  readonly base: string;
  /** As the engine finds it; absent: it is used only where an engine has it already. */
  readonly path?: string;
  /** Tenants that may use it; absent: those whose `models` has it. */
  readonly tenants?: ReadonlySet<string>;
}

/** A traffic class: it has a weight and an order. */
export interface LaneConfig {
  readonly name: string;
  /** Its part of the concurrency limit is weight ÷ sum of the weights of lanes with requests waiting. > 0. */
  readonly weight: number;
  /** Inside a tenant's flow. */
  readonly order: 'fcfs' | 'shortest';
  /** With `shortest`: the oldest request goes first from this age on. */
  readonly maxAgeMs: number;
  /** Limits that the concurrency limit is kept small enough for: from the release to the first token, and between tokens. */
  readonly ttftMs?: number;
  readonly itlMs?: number;
  /** A stream whose client stopped reading gives its slot back after this, once its engine must be done. */
  readonly stalledAfterMs: number;
  /** One of them must be true of a request; absent: it takes every request. */
  readonly when?: readonly LaneCondition[];
}

/** The only lane where none is configured. */
export const DEFAULT_LANE: LaneConfig = {
  name: 'default',
  weight: 1,
  order: 'fcfs',
  maxAgeMs: 10_000,
  stalledAfterMs: 10_000,
};

/** What a request must be like: all that is said. */
export interface LaneCondition {
  readonly tenants?: readonly string[];
  readonly tiers?: readonly string[];
  readonly models?: readonly string[];
  readonly routes?: readonly EngineRoute[];
  /** Lower-case name and the value it must have; Envoy must set it, or clients can. */
  readonly header?: { readonly name: string; readonly value: string };
  readonly minPromptTokens?: number;
  readonly maxPromptTokens?: number;
  /** Of the request's own cap on its output; one without a cap is over every maximum. */
  readonly minOutputTokens?: number;
  readonly maxOutputTokens?: number;
}

/**
 * The configuration as the program uses it: complete, with defaults filled in, units in their names, frozen.
 * schema/ says how it is written in YAML; build.ts turns one into the other.
 */
import type { Amount } from '../domain/amount.ts';
import type { CostWeights } from '../domain/cost.ts';
import type { CustomRoutes } from '../domain/routes.ts';
import type { TenantKey } from '../domain/tenant-key.ts';
import type { AdminAddress, HostPort, ServiceAddress } from './addresses.ts';
import type { AdminConfig } from './admin.ts';
import type { AttributionConfig } from './attribution.ts';
import type { ConsoleMode } from './console.ts';
import type { LedgerConfig } from './ledger.ts';
import type { BudgetEnd, LimitRaise } from './limits.ts';
import type { LogFormat } from './log-format.ts';
import type { PickerConfig } from './picker.ts';
import type { LaneConfig, LoraAdapterConfig, ModelConfig, PoolConfig } from './pools.ts';
import type { PricesConfig } from './prices.ts';
import type { RateLimitConfig } from './rate-limit.ts';
import type { TelemetryConfig } from './telemetry.ts';
import type { WebhookConfig } from './webhooks.ts';

export * from './addresses.ts';
export * from './log-format.ts';
export * from './pools.ts';
export type { WebhookConfig } from './webhooks.ts';

/** Where clients connect. */
export interface ListenerConfig {
  readonly address: HostPort;
  /** PEM texts; absent: no TLS is spoken. */
  readonly tls?: {
    /** The chain, the listener's own certificate first. */
    readonly cert: string;
    readonly key: string;
    /** Authorities that clients' certificates must be from; absent: none is asked for. */
    readonly clientCa?: string;
  };
}

/** Tokens that name the tenant. */
export interface JwtConfig {
  readonly issuer: string;
  /** One of them must be in the token; empty: none is asked for. */
  readonly audiences: readonly string[];
  readonly jwks:
    | {
        readonly kind: 'url';
        readonly url: string;
        readonly host: string;
        readonly port: number;
        /** PEM of authorities; absent: no TLS is spoken. */
        readonly ca?: string;
      }
    /** The key set's text. */
    | { readonly kind: 'keys'; readonly text: string };
  /** A dot leads into a mapping. */
  readonly tenantClaim: string;
  readonly tierClaim?: string;
  /** Absent: tenants that are not configured are refused. */
  readonly visitors?: VisitorPolicy;
}

/** Tenants that a token names and the configuration does not. */
export interface VisitorPolicy {
  /** Of those whose token names no tier of `limits`. */
  readonly tier: string;
  /** By tier. */
  readonly limits: ReadonlyMap<string, Limits>;
  /** As many may be active within an hour. */
  readonly most: number;
}

/** A file of `tenantDirectory` that was not taken. */
export interface RefusedTenantFile {
  readonly file: string;
  readonly problems: readonly string[];
  /** The tenant is served as the file said before. */
  readonly isKept: boolean;
}

export interface Limits {
  /** Weight in the fair queue among backlogged tenants, relative to the others'. > 0. */
  readonly weight: number;
  /** Refill of the request bucket; absent: unlimited. */
  readonly requestsPerMinute?: number;
  /** Capacity of the request bucket. Default: requestsPerMinute. */
  readonly requestBurst?: number;
  /** Refill of the token bucket (prompt plus output tokens); absent: unlimited. */
  readonly tokensPerMinute?: number;
  /** Capacity of the token bucket. Default: tokensPerMinute. */
  readonly tokenBurst?: number;
  /** Prompt plus output tokens a calendar month (UTC); absent: unlimited. */
  readonly tokensPerMonth?: number;
  /** What requests may cost a calendar month (UTC); absent: unlimited. */
  readonly budgetPerMonth?: Amount;
  /** What becomes of requests when it is used up. Default: refuse. */
  readonly onBudgetSpent?: BudgetEnd;
  /** Per cent of the month's tokens and budget, ascending, at which is warned. Default: DEFAULT_ALERTS. */
  readonly budgetAlerts?: readonly number[];
  /** Higher limits for a time. */
  readonly raises?: readonly LimitRaise[];
  /** Most requests in the engines at once; more wait in the queue. Absent: unlimited. */
  readonly maxConcurrent?: number;
  /** Most tokens of one request, prompt plus output. Absent: unlimited. */
  readonly maxContext?: number;
  /** Most outputs of one request: choices times prompts. */
  readonly maxOutputs: number;
  /** Most requests waiting in the queue. */
  readonly maxQueued: number;
  /** Most bytes of request bodies that are held for the tenant; never below the largest body. Absent: unlimited. */
  readonly maxHeldBytes?: number;
  /** Of a key: what its buckets are called where that is not its id. Keys that follow each other have them in common. */
  readonly bucketsOf?: string;
  /** Of single keys (by their ids) and models, within these: their buckets and their maxContext count. */
  readonly byKey?: ReadonlyMap<string, Limits>;
  readonly byModel?: ReadonlyMap<string, Limits>;
}

export interface TenantConfig {
  readonly name: string;
  /** The tier's name, or undefined. The tier's limits are already merged into `limits`. */
  readonly tier?: string;
  /** Whose prefix cache it may share; by default nobody's. */
  readonly trustGroup?: string;
  readonly keys: readonly TenantKey[];
  /** Models the tenant may use; `*` alone: all. */
  readonly models: '*' | ReadonlySet<string>;
  /** Of a request whose key is for some models: of those that the tenant may use, these alone. */
  readonly keyModels?: ReadonlySet<string>;
  readonly limits: Limits;
}

export interface RedisConfig {
  readonly target:
    | { readonly kind: 'url' /** With user and password. */; readonly url: string }
    | {
        readonly kind: 'sentinel';
        readonly sentinels: readonly HostPort[];
        readonly name: string;
        /** Of the sentinels themselves. */
        readonly username?: string;
        readonly password?: string;
      }
    | { readonly kind: 'cluster'; readonly nodes: readonly HostPort[] };
  /** Of sentinels' primaries and clusters. */
  readonly username?: string;
  readonly password?: string;
  /** Absent: none is spoken. What is in it is PEM; without `ca` the authorities are those of Node.js. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  readonly keyPrefix: string;
  readonly maxWaitMs: number;
  /** Part of each limit that this replica grants alone while Redis is away, 0 to 1. */
  readonly failureShare: number;
}

export interface FieldPolicy {
  /** What happens to a request that carries a field its tenant must not control. */
  readonly onForbidden: 'drop' | 'refuse';
  /** Body fields: `a.b` is `b` within `a`, lists are transparent; a trailing `*` matches a prefix. */
  readonly forbidden: readonly string[];
  /** Types of tools that a request may bring; a trailing `*` matches a prefix. */
  readonly tools: readonly string[];
  /** What names something that is stored elsewhere. */
  readonly state: 'refuse' | 'allow';
}

export type MediumKind = 'image' | 'audio' | 'video' | 'file';

/** Media in prompts. */
export interface MediaPolicy {
  /** What an engine may fetch; `data:` always is taken. */
  readonly urls: 'refuse' | 'allow-list' | 'allow';
  /** With `allow-list`: hosts, in lower case; `*.` stands for any names before. */
  readonly hosts: readonly string[];
  /** Prompt tokens of one of each kind. */
  readonly tokens: Readonly<Record<MediumKind, number>>;
}

export interface Config {
  /** A gateway asks, by the Endpoint Picker Protocol; absent: an Envoy of our own configuration. */
  readonly picker?: PickerConfig;
  /** Where clients connect: Envoy's listeners, at least one. */
  readonly listen: readonly ListenerConfig[];
  /** Absent: API keys alone say who a client is. */
  readonly jwt?: JwtConfig;
  /** Browser clients; absent: none are told that they may. */
  readonly cors?: {
    /** As browsers write them, or `*`. */
    readonly origins: readonly string[];
    /** Of requests, in lower case, or `*`. */
    readonly headers: readonly string[];
    readonly maxAgeMs: number;
  };
  readonly envoy: {
    readonly admin: AdminAddress;
    /** Files that Envoy watches (keys, clusters, endpoints) and, by default, the service's socket. Absolute. */
    readonly directory: string;
    /** What Envoy does with a request while the service is away. */
    readonly failureMode: 'open' | 'closed';
    /** Pool that serves requests which the service did not route. */
    readonly fallbackPool: string;
    readonly maxBodyBytes: number;
    readonly maxUnsizedBodyBytes: number;
    /** Request headers that engines get besides those that they always get. */
    readonly passHeaders?: readonly string[];
    /** High watermark of each buffer between Envoy and a client or an engine. */
    readonly connectionBufferBytes: number;
    readonly maxHeapBytes: number;
    /** Of clients. */
    readonly maxConnections: number;
    readonly idleTimeoutMs: number;
    readonly uploads: { readonly minBytesPerSecond: number; readonly graceMs: number };
  };
  readonly service: {
    readonly address: ServiceAddress;
    readonly metrics: HostPort;
    /** Whether the console is there too. `auto`: where only this machine can reach it. */
    readonly console: ConsoleMode;
    readonly drainTimeoutMs: number;
    /** Where this replica is. */
    readonly zone?: string;
    /** How endpoints' names are looked up. `servers`: none, as the system does it. */
    readonly dns: { readonly refreshMs: number; readonly servers: readonly string[] };
    /** What a gateway is shown. Absent: a certificate of our own, or none in a sidecar. */
    readonly tls?: NonNullable<ListenerConfig['tls']>;
  };
  readonly queue: {
    readonly maxWaitMs: number;
    /** Most requests waiting in one pool's queue, all tenants together. */
    readonly maxQueued: number;
    /** Most bytes of request bodies waiting in all pools' queues. Absent: unlimited. */
    readonly maxQueuedBytes?: number;
    /** Deficit round robin quantum of a tenant with weight 1, in weighted tokens. */
    readonly quantumTokens: number;
    /** By name, at least one: the first that takes a request has it; what none takes goes into the first. */
    readonly lanes: ReadonlyMap<string, LaneConfig>;
  };
  /** Absent: no tenants are made while it runs. */
  readonly admin?: AdminConfig;
  /** Absent: requests are their tenant's alone. */
  readonly attribution?: AttributionConfig;
  /** Absent: levels are in this process. */
  readonly redis?: RedisConfig;
  /** Who is told of events; absent: nobody. */
  readonly webhooks?: readonly WebhookConfig[];
  /** Absent: what requests used is not kept. */
  readonly ledger?: LedgerConfig;
  readonly rateLimit: RateLimitConfig;
  /** Of models that the configuration does not name. */
  readonly cost: CostWeights;
  readonly fields: FieldPolicy;
  readonly media: MediaPolicy;
  /** Routes that the API does not have, by name; absent: none. */
  readonly routes?: CustomRoutes;
  readonly pools: ReadonlyMap<string, PoolConfig>;
  readonly models: ReadonlyMap<string, ModelConfig>;
  /** Other names of models: each leads to a model or another alias, none in a circle. */
  readonly aliases: ReadonlyMap<string, string>;
  /** By name. */
  readonly adapters: ReadonlyMap<string, LoraAdapterConfig>;
  /** Absent: nothing is charged. */
  readonly prices?: PricesConfig;
  readonly tenants: ReadonlyMap<string, TenantConfig>;
  /** Made while Fairlane runs, and disabled or kept out: no token brings them back. Absent: none is made. */
  readonly lockedOut?: ReadonlySet<string>;
  /** Of `tenantDirectory`; empty: all were taken. */
  readonly refusedTenantFiles: readonly RefusedTenantFile[];
  readonly telemetry: TelemetryConfig;
  readonly log: { readonly level: 'debug' | 'info' | 'warn' | 'error'; readonly format: LogFormat };
}

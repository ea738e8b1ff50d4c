/**
 * The configuration as the program uses it: complete, with defaults filled in, units in their names, frozen.
 * schema.ts says how it is written in YAML; load.ts turns one into the other.
 */

export interface HostPort {
  /** IP address or host name, without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Where the gRPC service listens and Envoy finds it. */
export type ServiceAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

export interface Limits {
  /** Share of the engine among backlogged tenants, relative to the others'. > 0. */
  readonly weight: number;
  /** Refill of the request bucket; absent: unlimited. */
  readonly requestsPerMinute?: number;
  /** Capacity of the request bucket. Default: requestsPerMinute. */
  readonly requestBurst?: number;
  /** Refill of the token bucket (prompt plus output tokens); absent: unlimited. */
  readonly tokensPerMinute?: number;
  /** Capacity of the token bucket. Default: tokensPerMinute. */
  readonly tokenBurst?: number;
  /** Most requests in the engines at once; more wait in the queue. Absent: unlimited. */
  readonly maxConcurrent?: number;
  /** Most tokens of one request, prompt plus output. Absent: unlimited. */
  readonly maxContext?: number;
  /** Most requests waiting in the queue. */
  readonly maxQueued: number;
}

export interface TenantConfig {
  readonly name: string;
  /** The tier's name, or undefined. The tier's limits are already merged into `limits`. */
  readonly tier?: string;
  /** API keys, resolved. Never logged, never printed. */
  readonly keys: readonly string[];
  /** Models the tenant may use; `*` alone: all. */
  readonly models: '*' | ReadonlySet<string>;
  readonly limits: Limits;
}

export interface EndpointConfig {
  /** `http://host:port` as configured. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
}

export interface PoolConfig {
  readonly name: string;
  readonly endpoints: readonly EndpointConfig[];
  /** Requests that each endpoint may have in flight. */
  readonly windowPerEndpoint: number;
  readonly health: {
    readonly path: string;
    readonly intervalMs: number;
    readonly timeoutMs: number;
    /** Failed probes in a row before an endpoint leaves the rotation. */
    readonly unhealthyAfter: number;
    /** Successful probes in a row before it returns. */
    readonly healthyAfter: number;
  };
  /** True when no configured model names this pool: its models are asked of its endpoints (`/v1/models`). */
  readonly discoverModels: boolean;
}

interface ModelConfig {
  /** The name clients send. */
  readonly name: string;
  readonly pool: string;
}

export interface FieldPolicy {
  /** What happens to a request that carries a field its tenant must not control. */
  readonly onForbidden: 'drop' | 'refuse';
  /** Top-level body fields; a trailing `*` matches a prefix. */
  readonly forbidden: readonly string[];
}

export interface Config {
  /** Where clients connect: Envoy's listener. */
  readonly listen: HostPort;
  readonly envoy: {
    readonly admin: HostPort;
    /** Files that Envoy watches (keys, clusters, endpoints) and, by default, the service's socket. Absolute. */
    readonly directory: string;
    /** What Envoy does with a request while the service is away. */
    readonly failureMode: 'open' | 'closed';
    /** Pool that serves requests which the service did not route. */
    readonly fallbackPool: string;
    readonly maxBodyBytes: number;
  };
  readonly service: {
    readonly address: ServiceAddress;
    readonly metrics: HostPort;
    readonly drainTimeoutMs: number;
  };
  readonly queue: {
    readonly maxWaitMs: number;
    /** Most requests waiting in one pool's queue, all tenants together. */
    readonly maxQueued: number;
    /** Deficit round robin quantum of a tenant with weight 1, in weighted tokens. */
    readonly quantumTokens: number;
  };
  readonly fields: FieldPolicy;
  readonly pools: ReadonlyMap<string, PoolConfig>;
  readonly models: ReadonlyMap<string, ModelConfig>;
  readonly tenants: ReadonlyMap<string, TenantConfig>;
  readonly log: { readonly level: 'debug' | 'info' | 'warn' | 'error' };
}

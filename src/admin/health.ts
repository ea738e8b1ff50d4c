/** What `GET /health` answers, as JSON. Its names are for others to rely on. */

export interface HealthReport {
  /** `degraded`: it works, and something is wrong that somebody should mend; `reasons` says what. */
  readonly status: 'ok' | 'degraded' | 'draining';
  /** Whether a pool serves: what `/ready` goes by. */
  readonly ready: boolean;
  readonly reasons?: readonly string[];
  /** Files that are not in use as they are now: what they said before is. */
  readonly refused?: readonly RefusedHealth[];
  /** Only where one is configured. */
  readonly redis?: 'connected' | 'away';
  /** Only where one is configured. */
  readonly ledger?: LedgerHealth;
  /** By file of `tenantDirectory`: those that are refused. Only where there are any. */
  readonly refusedTenantFiles?: Readonly<Record<string, RefusedFileHealth>>;
  /** Of tenants that are made while it runs. Only where `admin` is configured. */
  readonly tenantStore?: TenantStoreHealth;
  readonly pools: Readonly<Record<string, PoolHealth>>;
  /** By model: its canary. Only where one is configured. */
  readonly canaries?: Readonly<Record<string, CanaryHealth>>;
  /** By model: the pool that gets copies. Only where one is configured. */
  readonly shadows?: Readonly<Record<string, MirrorHealth>>;
}

export interface TenantStoreHealth {
  /** `away`: nothing can be changed; what is in force stays. */
  readonly state: 'connected' | 'away';
  /** Of the first failure, as ISO 8601. */
  readonly since?: string;
  readonly problem?: string;
  /** Why this replica cannot take over what is stored. */
  readonly notInForce?: string;
  /** That were made. */
  readonly tenants: number;
  readonly keys: number;
  /** By tenant that is not served: why. */
  readonly keptOut?: Readonly<Record<string, string>>;
}

export interface LedgerHealth {
  /** `away`: records wait on this replica’s disk. */
  readonly state: 'ok' | 'away';
  readonly problem?: string;
  /** Records that wait. */
  readonly spooled: number;
  /** Since the start: records that will be in no ledger. */
  readonly lost: number;
}

interface RefusedFileHealth {
  /** ISO 8601. */
  readonly since: string;
  readonly problem: string;
  /** The tenant is served as the file said before. */
  readonly kept: boolean;
}

export interface RefusedHealth {
  /** The configuration, or the folder of limits. */
  readonly file: string;
  /** Of the first refusal, as ISO 8601. */
  readonly since: string;
  /** The first ones. */
  readonly problems: readonly string[];
}

export interface PoolHealth {
  readonly healthy: number;
  readonly endpoints: number;
  /** By endpoint: those that get no new requests. */
  readonly draining?: Readonly<Record<string, { readonly empty: boolean; readonly inFlight: number }>>;
  /** By endpoint. */
  readonly windows: Readonly<Record<string, EndpointHealth>>;
}

export interface EndpointHealth {
  /** Its concurrency limit, in sequences. */
  readonly window: number;
  /** What the limit goes by. */
  readonly by: string;
  /** What its probes say. */
  readonly state: string;
  /** `ip:port` that its name stands for. */
  readonly address?: string;
  readonly engine?: string;
  /** Why its gauges cannot be used. */
  readonly gauges?: string;
  /** Only while requests are kept away because others failed there. */
  readonly ejected?: boolean;
  /** Models that are broken there. */
  readonly broken?: readonly string[];
  /** LoRA adapters, where the pool has any. */
  readonly adapters?: { readonly loaded: readonly string[]; readonly loading?: readonly string[] };
}

export interface CanaryHealth {
  readonly model: string;
  /** Part of the requests that it has now, 0 to 1. */
  readonly weight: number;
  readonly rolledBack?: { readonly gate: string; readonly detail: string };
}

export interface MirrorHealth {
  readonly pool: string;
  /** Part of the requests, 0 to 1. */
  readonly fraction: number;
  /** Copies that are thought to run. */
  readonly running: number;
}

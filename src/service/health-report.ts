/** Writes what `/health` shows from what the parts know. Pure. */
import type {
  CanaryHealth,
  EndpointHealth,
  HealthReport,
  MirrorHealth,
  PoolHealth,
} from '../admin/health.ts';
import type { AdapterPlace } from '../lora/placement.ts';

interface EndpointFacts {
  readonly url: string;
  /** Of concurrency, in sequences, and what it goes by. */
  readonly limit: number;
  readonly limitSource: string;
  readonly ejected: boolean;
  readonly broken: readonly string[];
  /** What its probes say. */
  readonly readiness: string;
  readonly engine: string | undefined;
  readonly gaugesProblem: string | undefined;
  /** Undefined: the pool has none. */
  readonly adapters: Pick<AdapterPlace, 'loaded' | 'loading'> | undefined;
}

export interface PoolFacts {
  readonly name: string;
  /** Endpoints: healthy ones, and all. */
  readonly healthy: number;
  readonly configured: number;
  readonly drained: readonly { readonly url: string; readonly inFlight: number }[];
  readonly endpoints: readonly EndpointFacts[];
}

export interface HealthFacts {
  readonly isDraining: boolean;
  /** Undefined: none is configured. */
  readonly isRedisConnected: boolean | undefined;
  readonly refusedTenantFiles?: HealthReport['refusedTenantFiles'];
  readonly pools: readonly PoolFacts[];
  readonly canaries: readonly {
    readonly model: string;
    readonly canary: string;
    readonly weight: number;
    readonly rolledBack: { readonly gate: string; readonly detail: string } | undefined;
  }[];
  readonly mirrors: readonly (MirrorHealth & { readonly model: string })[];
}

/** Names that are shown of one endpoint. */
const SHOWN_ADAPTERS = 100;

export function healthReport(facts: HealthFacts): HealthReport {
  const { isDraining, isRedisConnected, refusedTenantFiles = {}, pools, canaries, mirrors } = facts;
  return {
    status: isDraining ? 'draining' : 'ok',
    ...(isRedisConnected !== undefined && { redis: isRedisConnected ? 'connected' : 'away' }),
    ...(Object.keys(refusedTenantFiles).length > 0 && { refusedTenantFiles }),
    pools: Object.fromEntries(pools.map((pool) => [pool.name, poolHealth(pool)])),
    ...(canaries.length > 0 && {
      canaries: Object.fromEntries(canaries.map((one) => [one.model, canaryHealth(one)])),
    }),
    ...(mirrors.length > 0 && {
      shadows: Object.fromEntries(
        mirrors.map(({ model, pool, fraction, running }) => [model, { pool, fraction, running }]),
      ),
    }),
  };
}

function poolHealth({ healthy, configured, drained, endpoints }: PoolFacts): PoolHealth {
  return {
    healthy,
    endpoints: configured,
    ...(drained.length > 0 && {
      draining: Object.fromEntries(
        drained.map(({ url, inFlight }) => [url, { empty: inFlight === 0, inFlight }]),
      ),
    }),
    windows: Object.fromEntries(endpoints.map((one) => [one.url, endpointHealth(one)])),
  };
}

function endpointHealth(facts: EndpointFacts): EndpointHealth {
  const { limit, limitSource, readiness, ejected, broken, engine, gaugesProblem, adapters } = facts;
  return {
    window: limit,
    by: limitSource,
    state: readiness,
    ...(ejected && { ejected }),
    ...(broken.length > 0 && { broken }),
    ...(engine !== undefined && { engine }),
    ...(gaugesProblem !== undefined && { gauges: gaugesProblem }),
    ...(adapters !== undefined && {
      adapters: {
        loaded: adapters.loaded.slice(0, SHOWN_ADAPTERS).map(({ adapter }) => adapter),
        ...(adapters.loading.length > 0 && { loading: adapters.loading }),
      },
    }),
  };
}

function canaryHealth({ canary, weight, rolledBack }: HealthFacts['canaries'][number]): CanaryHealth {
  return {
    model: canary,
    weight,
    ...(rolledBack !== undefined && {
      rolledBack: { gate: rolledBack.gate, detail: rolledBack.detail },
    }),
  };
}

/** Writes what `/health` shows from what the parts know. Pure. */
import type {
  CanaryHealth,
  EndpointHealth,
  HealthReport,
  LedgerHealth,
  MirrorHealth,
  PoolHealth,
  RefusedHealth,
  TenantStoreHealth,
} from '../admin/health.ts';
import type { AdapterPlace } from '../lora/placement.ts';
import type { Gauges } from '../pool/concurrency-limit/concurrency-limit.ts';
import type { Refused } from './reloader.ts';
import type { RuntimeTenants } from './runtime-tenants.ts';

interface EndpointFacts {
  readonly url: string;
  /** `ip:port` that its name stands for; undefined: it has none, or that is not known. */
  readonly address?: string | undefined;
  /** Of concurrency, in sequences, and what it goes by. */
  readonly limit: number;
  readonly limitSource: string;
  readonly ejected: boolean;
  readonly broken: readonly string[];
  /** What its probes say. */
  readonly readiness: string;
  readonly engine: string | undefined;
  readonly gaugesProblem: string | undefined;
  /** As its engine said last; absent: it does not say. */
  readonly gauges?: Gauges | undefined;
  /** Undefined: the pool has none. */
  readonly adapters: Pick<AdapterPlace, 'loaded' | 'loading'> | undefined;
}

export interface PoolFacts {
  readonly name: string;
  /** Endpoints: healthy ones, those that requests may go to, and all. */
  readonly healthy: number;
  readonly serving: number;
  readonly configured: number;
  readonly drained: readonly { readonly url: string; readonly inFlight: number }[];
  readonly endpoints: readonly EndpointFacts[];
}

export interface HealthFacts {
  readonly isDraining: boolean;
  /** Undefined: none is configured. */
  readonly isRedisConnected: boolean | undefined;
  /** Absent: there is none. */
  readonly ledger?: LedgerHealth | undefined;
  readonly refusedTenantFiles?: HealthReport['refusedTenantFiles'];
  /** Tenants that are made while it runs. Undefined: there is no admin API. */
  readonly made?: Pick<RuntimeTenants, 'status' | 'keptOut'>;
  readonly pools: readonly PoolFacts[];
  readonly canaries: readonly {
    readonly model: string;
    readonly canary: string;
    readonly weight: number;
    readonly rolledBack: { readonly gate: string; readonly detail: string } | undefined;
  }[];
  readonly mirrors: readonly (MirrorHealth & { readonly model: string })[];
  /** Files that were not taken over. */
  readonly refused: readonly Refused[];
  /** Pools that answer no client. */
  readonly mirrorPools: ReadonlySet<string>;
}

/** Names that are shown of one endpoint. */
const SHOWN_ADAPTERS = 100;

export function healthReport(facts: HealthFacts): HealthReport {
  const { isDraining, isRedisConnected, refusedTenantFiles = {}, pools, canaries, mirrors, refused } = facts;
  const reasons = reasonsOf(facts);
  return {
    status: isDraining ? 'draining' : reasons.length > 0 ? 'degraded' : 'ok',
    ready: !isDraining && pools.some(({ name, serving }) => !facts.mirrorPools.has(name) && serving > 0),
    ...(reasons.length > 0 && { reasons }),
    ...(refused.length > 0 && { refused: refused.map(refusedHealth) }),
    ...(isRedisConnected !== undefined && { redis: isRedisConnected ? 'connected' : 'away' }),
    ...(facts.ledger !== undefined && { ledger: facts.ledger }),
    ...(Object.keys(refusedTenantFiles).length > 0 && { refusedTenantFiles }),
    ...(facts.made !== undefined && { tenantStore: tenantStoreHealth(facts.made) }),
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

const MOST_PROBLEMS = 5;
const LONGEST_PROBLEM = 300;

const refusedHealth = ({ file, sinceMs, problems }: Refused): RefusedHealth => ({
  file,
  since: new Date(sinceMs).toISOString(),
  problems: problems.slice(0, MOST_PROBLEMS).map((problem) => problem.slice(0, LONGEST_PROBLEM)),
});

/** Why it is degraded, one sentence each: what clients feel first. */
function reasonsOf(facts: HealthFacts): readonly string[] {
  const { pools, mirrorPools, isRedisConnected, refused, refusedTenantFiles = {}, ledger } = facts;
  const tenantFiles = Object.keys(refusedTenantFiles);
  const silent = pools.filter((pool) => !mirrorPools.has(pool.name) && pool.serving === 0);
  return [
    ...silent.map(({ name, configured }) => `pool ${name}: none of ${configured} endpoints takes requests`),
    ...refused.map(({ file, sinceMs }) => `${file}: not taken over since ${new Date(sinceMs).toISOString()}`),
    ...(tenantFiles.length > 0
      ? [`refused files of tenants: ${tenantFiles.length}, such as ${tenantFiles[0]}`]
      : []),
    ...madeReasons(facts.made),
    ...(isRedisConnected === false ? ['Redis is away: limits are decided alone'] : []),
    ...(ledger?.problem === undefined ? [] : [`ledger: ${ledger.spooled} records wait: ${ledger.problem}`]),
  ];
}

/** Names that are shown of tenants that are kept out. */
const SHOWN_KEPT_OUT = 100;

function tenantStoreHealth(made: NonNullable<HealthFacts['made']>): TenantStoreHealth {
  const { away, notInForce, tenants, keys } = made.status();
  const keptOut = made.keptOut();
  return {
    state: away === undefined ? 'connected' : 'away',
    tenants,
    keys,
    ...(away !== undefined && { since: new Date(away.sinceMs).toISOString(), problem: away.reason }),
    ...(notInForce !== undefined && { notInForce: notInForce.reason }),
    ...(keptOut.length > 0 && {
      keptOut: Object.fromEntries(
        keptOut.slice(0, SHOWN_KEPT_OUT).map(({ tenant, problems }) => [tenant, problems[0] ?? '']),
      ),
    }),
  };
}

function madeReasons(made: HealthFacts['made']): readonly string[] {
  if (made === undefined) return [];
  const { away, notInForce, shown } = made.status();
  const keptOut = made.keptOut();
  return [
    ...(away === undefined
      ? []
      : [`tenants cannot be changed: ${shown} is away; those of before are served`]),
    ...(notInForce === undefined
      ? []
      : [`changes of tenants are stored and not in force here: ${notInForce.reason}`]),
    ...(keptOut.length === 0
      ? []
      : [`tenants that the configuration no longer fits: ${keptOut.length}, such as ${keptOut[0]?.tenant}`]),
  ];
}

/** A line for each engine of the pools that none serves. */
export const unservedOf = (pools: readonly PoolFacts[]): readonly string[] =>
  pools
    .filter(({ healthy }) => healthy === 0)
    .flatMap(({ name, endpoints }) =>
      endpoints.map(({ url, readiness }) => `pool ${name}, ${url}: ${readiness}`),
    );

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
  const { address, limit, limitSource, readiness, ejected, broken, engine, gaugesProblem, adapters } = facts;
  return {
    window: limit,
    by: limitSource,
    state: readiness,
    ...(address !== undefined && { address }),
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

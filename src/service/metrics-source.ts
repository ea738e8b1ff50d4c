/** What gauges read when they are scraped. */
import type { Config } from '../config/config.ts';
import { tenantsInHistograms } from '../config/telemetry.ts';
import { saturationOfPool } from '../pool/saturation.ts';
import type { Dispatcher } from '../queue/types.ts';
import type { Rollouts } from '../rollout/rollouts.ts';
import type { MetricsSource } from '../telemetry/prom-metrics.ts';
import type { ActiveTenant } from '../telemetry/prom-tenant-limits.ts';
import type { RecentUsage } from '../telemetry/recent-usage.ts';
import type { TenantDirectory } from '../tenant/directory.ts';
import type { Occupancy, OccupancyRow } from '../usage/occupancy.ts';
import { addressOf } from './addressed-pools.ts';
import type { PoolSet } from './pool-set.ts';

export interface MetricsSourceParts {
  readonly pools: PoolSet;
  readonly dispatcher: Dispatcher;
  readonly occupancy: Occupancy;
  readonly recent: Pick<RecentUsage, 'names'>;
  readonly tenants: Pick<TenantDirectory, 'get'>;
  /** The configuration in use, since when it is, and what was refused after it. */
  readonly reloader: {
    readonly config: Config;
    readonly inUse: { readonly sinceMs: number };
    readonly refused: unknown;
  };
  /** What a tenant is called in metrics. */
  readonly tenantLabel: (tenant: string) => string;
  readonly rollouts: Rollouts;
  readonly openStreams: () => number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

export function metricsSource(parts: MetricsSourceParts): MetricsSource {
  const { pools, dispatcher, occupancy, tenantLabel, rollouts, openStreams, reloader, now } = parts;
  return {
    occupancy: () => byLabel(occupancy.rows(), tenantLabel),
    *pools() {
      for (const pool of pools.all()) {
        const { name, endpoints } = pool;
        const states = endpoints.list(now());
        const { requests, predictedMs } = dispatcher.slotWaitOf(name, now());
        yield {
          pool: name,
          queued: dispatcher.queuedOf(name),
          inFlight: endpoints.inFlight(),
          concurrencyLimit: endpoints.concurrencyLimit(now()),
          headroom: dispatcher.headroomOf(name, now()),
          lanes: [...dispatcher.lanesOf(name)],
          saturation: saturationOfPool(states, requests),
          predictedWaitMs: predictedMs,
          endpoints: states.map((state) => ({
            ...state,
            endpoint: pool.nameOf(state.url),
            gauges: pool.gaugesOf(state.url),
          })),
        };
      }
    },
    *adapters() {
      for (const pool of pools.all()) {
        const { name, lora, config } = pool;
        if (!lora.adapters.isUsed()) continue;
        for (const { endpoint: url, loaded, loading } of lora.adapters.list()) {
          const endpoint = config.endpoints.find((one) => one.url === url);
          if (endpoint === undefined) continue;
          yield {
            pool: name,
            endpoint: pool.nameOf(url),
            address: addressOf(endpoint),
            loaded: loaded.length,
            loading: loading.length,
          };
        }
      }
    },
    openStreams,
    rollouts: () => rollouts.list(),
    tenantHistograms() {
      const { telemetry, tenants } = reloader.config;
      return tenantsInHistograms(telemetry, tenants.size);
    },
    reloads: () => ({ sinceMs: reloader.inUse.sinceMs, refused: reloader.refused !== undefined }),
    activeTenants: () => activeTenants(parts),
  };
}

/** Visitors share a name and no limits: they are left out. */
function* activeTenants({
  occupancy,
  recent,
  tenants,
  reloader,
  now,
}: Pick<
  MetricsSourceParts,
  'occupancy' | 'recent' | 'tenants' | 'reloader' | 'now'
>): Iterable<ActiveTenant> {
  const nowMs = now();
  const names = new Set(recent.names(nowMs));
  for (const { tenant } of occupancy.rows()) names.add(tenant);
  for (const name of names) {
    if (!reloader.config.tenants.has(name)) continue;
    const tenant = tenants.get(name);
    if (tenant === undefined) continue;
    const { limits } = tenant;
    yield {
      tenant: name,
      weight: tenant.config.limits.weight,
      requests: limits.requests(nowMs),
      tokens: limits.tokens(nowMs),
      month: limits.month(nowMs),
    };
  }
}

/** One row for those that share a label. */
function byLabel(rows: Iterable<OccupancyRow>, labelOf: (tenant: string) => string): Iterable<OccupancyRow> {
  const merged = new Map<string, OccupancyRow>();
  for (const row of rows) {
    const tenant = labelOf(row.tenant);
    const key = `${tenant}\n${row.model}`;
    const { queued = 0, inFlight = 0 } = merged.get(key) ?? {};
    merged.set(key, {
      tenant,
      model: row.model,
      queued: queued + row.queued,
      inFlight: inFlight + row.inFlight,
    });
  }
  return merged.values();
}

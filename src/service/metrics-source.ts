/** What gauges read when they are scraped. */
import type { Dispatcher } from '../queue/types.ts';
import type { Rollouts } from '../rollout/rollouts.ts';
import type { MetricsSource } from '../telemetry/prom-metrics.ts';
import type { Occupancy } from '../usage/occupancy.ts';
import { addressOf } from './addressed-pools.ts';
import type { PoolSet } from './pool-set.ts';

export interface MetricsSourceParts {
  readonly pools: PoolSet;
  readonly dispatcher: Dispatcher;
  readonly occupancy: Occupancy;
  readonly rollouts: Rollouts;
  readonly openStreams: () => number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

export function metricsSource({
  pools,
  dispatcher,
  occupancy,
  rollouts,
  openStreams,
  now,
}: MetricsSourceParts): MetricsSource {
  return {
    occupancy: () => occupancy.rows(),
    *pools() {
      for (const { name, endpoints } of pools.all()) {
        yield {
          pool: name,
          queued: dispatcher.queuedOf(name),
          inFlight: endpoints.inFlight(),
          concurrencyLimit: endpoints.concurrencyLimit(now()),
          headroom: dispatcher.headroomOf(name, now()),
          lanes: dispatcher.lanesOf(name),
          endpoints: endpoints.list(now()),
        };
      }
    },
    *adapters() {
      for (const { name, lora, config } of pools.all()) {
        if (!lora.adapters.isUsed()) continue;
        for (const { endpoint: url, loaded, loading } of lora.adapters.list()) {
          const endpoint = config.endpoints.find((one) => one.url === url);
          if (endpoint === undefined) continue;
          yield {
            pool: name,
            endpoint: addressOf(endpoint),
            loaded: loaded.length,
            loading: loading.length,
          };
        }
      }
    },
    openStreams,
    rollouts: () => rollouts.list(),
  };
}

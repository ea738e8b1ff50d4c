/** Metrics with everything registered, and a series of each. */
import { createMetrics, type Metrics, type MetricsSource } from '../../src/telemetry/prom-metrics.ts';
import type { UsageRecord } from '../../src/usage/usage-record.ts';

const ENDPOINT = {
  endpoint: 'http://10.0.0.1:8000',
  address: '10.0.0.1:8000',
  healthy: true,
  ejected: false,
  broken: [],
  inFlight: 1,
  concurrencyLimit: 4,
  limitSource: 'gauges',
  kvTokens: 10,
  kvCapacityTokens: 100,
  slowClients: 0,
  busyMs: 1_500,
  gauges: { running: 3, waiting: 2, kvUsage: 0.5 },
} as const;

export const SOURCE: MetricsSource = {
  occupancy: () => [{ tenant: 'alice', model: 'm', queued: 1, inFlight: 2 }],
  pools: () => [
    {
      pool: 'main',
      queued: 1,
      inFlight: 1,
      concurrencyLimit: 4,
      headroom: 1,
      saturation: 0.25,
      predictedWaitMs: 1_500,
      lanes: [{ lane: 'standard', queued: 1, inFlight: 1 }],
      endpoints: [ENDPOINT],
    },
  ],
  adapters: () => [{ ...ENDPOINT, pool: 'main', loaded: 1, loading: 0 }],
  openStreams: () => 3,
  rollouts: () => [{ model: 'm', canary: 'm2', weight: 0.5 }],
  activeTenants: () => [
    {
      tenant: 'alice',
      weight: 2,
      requests: { limit: 60, remaining: 59 },
      tokens: { limit: 1_000, remaining: -5 },
      month: undefined,
    },
  ],
  reloads: () => ({ sinceMs: 1_700_000_000_500, refused: false }),
};

export const RECORD: UsageRecord = {
  requestId: 'r',
  tenant: 'alice',
  route: 'chat.completions',
  model: 'm',
  pool: 'main',
  endpoint: 'http://10.0.0.1:8000',
  address: '10.0.0.1:8000',
  stream: true,
  outcome: 'completed',
  status: 200,
  queueMs: 10,
  ttftMs: 20,
  itlMeanMs: 5,
  durationMs: 3_000,
  promptTokens: 10,
  completionTokens: 20,
  cachedTokens: 3,
  gpuSeconds: 0.1,
  usageSource: 'engine',
  quiet: false,
  stalled: false,
  droppedFields: [],
};

/** As they are in a service that has all there is. */
export function allMetrics(source: Partial<MetricsSource> = {}): Metrics {
  const metrics = createMetrics({ ...SOURCE, ...source });
  metrics.watchRedis(() => ({ connected: true, leased: 5, commands: 7 }));
  metrics.watchSharedCapacity(() => ({ capacity: 8, held: 4 }));
  metrics.watchLedger(() => ({ rows: 9, lost: { torn: 1 }, spooled: 2, lagMs: 300 }));
  metrics.watchBudgets({
    monthRatios: () => [{ tenant: 'alice', limit: 'budget', ratio: 0.5 }],
    webhooks: () => [{ host: 'hooks.example', queued: 1 }],
  });
  metrics.made.watch(() => ({ isConnected: true, tenants: 1, keys: 2, keptOut: 0 }));
  metrics.built({ version: '1.2.3', commit: 'abc' });
  return metrics;
}

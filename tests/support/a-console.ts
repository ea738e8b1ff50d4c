/** Documents of the console for tests: quiet against noisy. */
import type { RequestLine, UsageEvent } from '../../src/admin/console-feed.ts';
import type { StatusReport, TenantStatus } from '../../src/admin/status.ts';
import { NO_OTHERS } from './a-status.ts';

export const aLine = (id: string, change: Partial<RequestLine> = {}): RequestLine => ({
  id,
  endedMs: Date.now(),
  requestId: id,
  tenant: 'quiet',
  route: 'chat.completions',
  model: 'demo',
  pool: 'main',
  lane: 'default',
  endpoint: 'http://127.0.0.1:8000',
  stream: true,
  outcome: 'completed',
  status: 200,
  queueMs: 1,
  prefillMs: 57,
  decodeMs: 900,
  durationMs: 960,
  ttftMs: 58,
  itlMeanMs: 12,
  promptTokens: 120,
  cachedTokens: 60,
  completionTokens: 80,
  quiet: true,
  stalled: false,
  ...change,
});

export const aTenantRow = (name: string, change: Partial<TenantStatus> = {}): TenantStatus => ({
  name,
  weight: 1,
  inFlight: 1,
  waiting: 0,
  requestsPerSecond: 1,
  refusalsPerSecond: 0,
  tokensPerSecond: 200,
  ttftP50Ms: 58,
  ttftP99Ms: 90,
  ...change,
});

const RATES = { requestsPerSecond: 9, refusalsPerSecond: 0, tokensPerSecond: 2_000 };

export const aConsoleStatus = (rows: readonly TenantStatus[]): StatusReport => ({
  version: 1,
  at: new Date().toISOString(),
  startedAt: new Date().toISOString(),
  status: 'ok',
  reasons: [],
  config: { inUseSince: new Date().toISOString(), refused: [], refusedTenantFiles: [] },
  totals: { streams: 14, inFlight: 8, waiting: 6, ...RATES },
  pools: [
    {
      name: 'main',
      mirror: false,
      healthy: 1,
      serving: 1,
      inFlight: 8,
      sequences: 8,
      concurrencyLimit: 8,
      headroom: 1,
      waiting: 6,
      saturation: 1,
      lanes: [],
      endpoints: [
        {
          name: 'http://127.0.0.1:8000',
          state: 'healthy',
          serving: true,
          healthy: true,
          ejected: false,
          draining: false,
          broken: [],
          inFlight: 8,
          sequences: 8,
          concurrencyLimit: 8,
          limitBy: 'gauges',
          kvTokens: 2_000,
          gauges: { running: 8, waiting: 0, kvUsage: 0.42 },
        },
      ],
    },
  ],
  queue: {
    rows: rows
      .filter(({ waiting }) => waiting > 0)
      .map(({ name, waiting }) => ({
        pool: 'main',
        lane: 'default',
        tenant: name,
        waiting,
        oldestMs: 4_100,
      })),
    rest: { rows: 0, waiting: 0 },
  },
  tenants: {
    configured: rows.length,
    active: rows.length,
    sort: 'tokens',
    rows: [...rows],
    rest: NO_OTHERS,
  },
});

export const aUsage = (tenants: readonly string[]): UsageEvent => ({
  since: new Date().toISOString(),
  rows: tenants.map((tenant, i) => ({
    tenant,
    model: 'demo',
    requests: 100 + i,
    refused: i,
    promptTokens: 12_000,
    cachedTokens: 6_000,
    completionTokens: 8_000 * (i + 1),
    gpuSeconds: 12,
  })),
  left: 0,
});

/** A status of any size, as the service would make it. */
import {
  type EndpointStatusRow,
  type PoolStatus,
  type StatusReport,
  statusSchema,
  type TenantStatus,
} from '../../src/admin/status.ts';

export const aTenant = (name: string, change: Partial<TenantStatus> = {}): TenantStatus => ({
  name,
  tier: 'gold',
  weight: 2,
  inFlight: 3,
  waiting: 1,
  requestsPerSecond: 4.2,
  refusalsPerSecond: 0,
  tokensPerSecond: 12_345,
  ttftP50Ms: 120,
  ttftP99Ms: 980,
  requests: { limit: 60, left: 12, resetMs: 1_000 },
  month: { limit: 1e9, left: 123_456_789, resetMs: 1_000 },
  ...change,
});

export const anEndpoint = (name: string, change: Partial<EndpointStatusRow> = {}): EndpointStatusRow => ({
  name,
  engine: 'vllm',
  state: 'healthy for 3 s',
  serving: true,
  healthy: true,
  ejected: false,
  draining: false,
  broken: [],
  inFlight: 6,
  sequences: 6,
  concurrencyLimit: 8,
  limitBy: 'gauges',
  kvTokens: 1_000,
  kvCapacityTokens: 65_536,
  gauges: { running: 6, waiting: 0, kvUsage: 0.42 },
  ...change,
});

export const aPool = (name: string, endpoints: readonly EndpointStatusRow[]): PoolStatus => ({
  name,
  mirror: false,
  healthy: endpoints.length,
  serving: endpoints.length,
  inFlight: 6,
  sequences: 6,
  concurrencyLimit: 8,
  headroom: 1,
  waiting: 0,
  saturation: 0.75,
  lanes: [{ name: 'default', inFlight: 6, waiting: 0 }],
  endpoints,
});

/** What the rows of tenants leave out, where they leave out nothing. */
export const NO_OTHERS: StatusReport['tenants']['rest'] = {
  tenants: 0,
  inFlight: 0,
  waiting: 0,
  requestsPerSecond: 0,
  refusalsPerSecond: 0,
  tokensPerSecond: 0,
};

export function aStatus(
  tenants: readonly TenantStatus[] = [aTenant('quiet'), aTenant('noisy')],
  pools: readonly PoolStatus[] = [aPool('main', [anEndpoint('http://10.0.0.1:8000')])],
  change: Partial<StatusReport> = {},
): StatusReport {
  return statusSchema.parse({
    version: 1,
    at: '2026-11-29T01:10:00.000Z',
    startedAt: '2026-11-28T22:00:00.000Z',
    status: 'ok',
    reasons: [],
    config: { inUseSince: '2026-11-29T01:00:00.000Z', refused: [], refusedTenantFiles: [] },
    totals: {
      streams: 7,
      inFlight: 6,
      waiting: 2,
      requestsPerSecond: 8.4,
      refusalsPerSecond: 0,
      tokensPerSecond: 24_690,
    },
    pools,
    queue: {
      rows: [{ pool: 'main', lane: 'default', tenant: 'quiet', waiting: 2, oldestMs: 1_250 }],
      rest: { rows: 0, waiting: 0 },
    },
    tenants: {
      configured: tenants.length,
      active: tenants.length,
      sort: 'waiting',
      rows: tenants,
      rest: NO_OTHERS,
    },
    ...change,
  });
}

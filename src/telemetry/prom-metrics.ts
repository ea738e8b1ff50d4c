/**
 * Prometheus metrics. Labels are bounded: tenants, pools and endpoints come from the configuration, models from it or
 * from the engines (at most 256 a pool), routes, outcomes and reasons from the code.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { OccupancyRow } from '../usage/occupancy.ts';
import type { UsageRecord } from '../usage/usage-record.ts';
import type { ServiceEvent, Telemetry } from './telemetry.ts';

interface EndpointRow {
  readonly address: string;
  readonly healthy: boolean;
  readonly ejected: boolean;
  readonly broken: readonly string[];
  readonly inFlight: number;
  readonly window: number;
  readonly windowSource: 'fixed' | 'gauges' | 'ttft';
  readonly kvTokens: number;
  readonly kvCapacityTokens: number | undefined;
  readonly slowClients: number | undefined;
}

/** What gauges read when they are scraped: nobody keeps a second count. */
export interface MetricsSource {
  /** Waiting and running requests of every tenant and model that has any. */
  readonly occupancy: () => Iterable<OccupancyRow>;
  readonly pools: () => Iterable<{
    readonly pool: string;
    readonly queued: number;
    readonly inFlight: number;
    readonly window: number;
    readonly reserve: number;
    readonly lanes: Iterable<{ readonly lane: string; readonly queued: number; readonly inFlight: number }>;
    readonly endpoints: readonly EndpointRow[];
  }>;
  /** Endpoints of pools that have adapters. */
  readonly adapters: () => Iterable<{
    readonly pool: string;
    readonly endpoint: string;
    readonly loaded: number;
    readonly loading: number;
  }>;
  readonly openStreams: () => number;
  readonly rollouts: () => Iterable<{
    readonly model: string;
    readonly canary: string;
    readonly weight: number;
  }>;
}

interface RedisStatus {
  readonly connected: boolean;
  readonly leased: number;
  readonly commands: number;
}

const SHARE_KINDS = ['concurrency', 'window'] as const;
type ShareTotals = (kind: (typeof SHARE_KINDS)[number]) => {
  readonly capacity: number;
  readonly held: number;
};

/** What the rate limit service counts. */
interface RateLimitHit {
  readonly domain: string;
  readonly metricKey: string;
  readonly hits: number;
  readonly outcome: 'within' | 'over' | 'shadow';
}

/** Keys with values of requests in them (detailed_metric, value_to_metric) are counted apart up to so many. */
const MAX_RATE_LIMIT_KEYS = 2_000;

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const ITL_SECONDS = [0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1];

export interface Metrics extends Telemetry {
  readonly registry: Registry;
  readonly rateLimitHit: (hit: RateLimitHit) => void;
  /** A request of a model with a shadow was drawn: `copy`, or why it was not copied. */
  readonly shadowDrawn: (model: string, decision: string) => void;
  /** There is a Redis: its gauges are shown from now on. */
  readonly watchRedis: (status: () => RedisStatus) => void;
  /** Capacities are divided among replicas: what there is, and what this one may use. */
  readonly watchShares: (totals: ShareTotals) => void;
}

export function createMetrics(source: MetricsSource): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry, prefix: 'fairlane_' });

  const requests = new Counter({
    name: 'fairlane_requests_total',
    help: 'Requests that ended, by outcome: completed, refused, aborted or failed.',
    labelNames: ['tenant', 'model', 'route', 'outcome'],
    registers,
  });
  const refusals = new Counter({
    name: 'fairlane_refusals_total',
    help: 'Requests that Fairlane or Envoy refused, by the error code that the client got.',
    labelNames: ['tenant', 'model', 'reason'],
    registers,
  });
  const aborts = new Counter({
    name: 'fairlane_aborts_total',
    help: 'Requests whose stream ended early, by when: upload, queued, before-first-token or streaming.',
    labelNames: ['tenant', 'model', 'reason'],
    registers,
  });
  const tokens = new Counter({
    name: 'fairlane_tokens_total',
    help: 'Tokens used. kind is prompt, completion or cached (a part of prompt); source is engine or estimate.',
    labelNames: ['tenant', 'model', 'kind', 'source'],
    registers,
  });
  const queueWait = new Histogram({
    name: 'fairlane_queue_wait_seconds',
    help: 'Time from joining the queue to the release, of released requests; 0 for those that did not wait.',
    labelNames: ['tenant', 'model'],
    buckets: SECONDS,
    registers,
  });
  const ttft = new Histogram({
    name: 'fairlane_ttft_seconds',
    help: 'Time to first token of streamed answers, from the arrival of the request: the queue wait is part of it.',
    labelNames: ['tenant', 'model'],
    buckets: SECONDS,
    registers,
  });
  const itl = new Histogram({
    name: 'fairlane_itl_seconds',
    help: "Mean inter-token time of each streamed answer's tokens.",
    labelNames: ['tenant', 'model'],
    buckets: ITL_SECONDS,
    registers,
  });
  const droppedFields = new Counter({
    name: 'fairlane_dropped_fields_total',
    help: 'Request fields that a tenant must not control and that were dropped.',
    labelNames: ['tenant'],
    registers,
  });
  const passed = new Counter({
    name: 'fairlane_passed_queue_total',
    help: 'Requests released ahead of the queue because their tenant was below its fair share.',
    labelNames: ['tenant'],
    registers,
  });
  const stalled = new Counter({
    name: 'fairlane_stalled_streams_total',
    help: 'Streams whose slot went to others before their end, because their client had stopped reading.',
    labelNames: ['tenant'],
    registers,
  });
  const reloads = new Counter({
    name: 'fairlane_config_reloads_total',
    help: 'Configuration reloads, by result: applied or refused.',
    labelNames: ['result'],
    registers,
  });
  const ejections = new Counter({
    name: 'fairlane_endpoint_ejections_total',
    help: 'Times that an endpoint left the rotation because requests failed there.',
    labelNames: ['pool'],
    registers,
  });
  const limitedTenants = new Counter({
    name: 'fairlane_tenant_limited_total',
    help: 'Times that a tenant was held to one request at a time because engines died while they had requests of it.',
    labelNames: ['tenant'],
    registers,
  });
  const rateLimitHits = new Counter({
    name: 'fairlane_ratelimit_hits_total',
    help: 'Hits of the rate limit service by the descriptor that matched (`other` after 2,000 keys), by outcome: within, over, or shadow (over, and let through).',
    labelNames: ['domain', 'key', 'outcome'],
    registers,
  });
  const limitReloads = new Counter({
    name: 'fairlane_ratelimit_reloads_total',
    help: 'Loads of the rate limit files, by result: applied or refused.',
    labelNames: ['result'],
    registers,
  });
  const rateLimitKeys = new Set<string>();
  let redisStatus: (() => RedisStatus) | undefined;
  const redisGauge = (name: string, help: string, value: (status: RedisStatus) => number): Gauge =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.reset();
        if (redisStatus !== undefined) this.set(value(redisStatus()));
      },
    });
  redisGauge(
    'fairlane_redis_connected',
    '1 while Redis answers; 0: limits are decided alone.',
    ({ connected }) => (connected ? 1 : 0),
  );
  redisGauge(
    'fairlane_redis_leased_tokens',
    'Tokens in the leases of this replica: what may be granted too much if it died now.',
    ({ leased }) => leased,
  );
  redisGauge(
    'fairlane_redis_commands',
    'Commands sent to Redis since the start.',
    ({ commands }) => commands,
  );
  let shareTotals: ShareTotals | undefined;
  const shareGauge = (name: string, help: string, value: 'capacity' | 'held'): Gauge<'kind'> =>
    new Gauge({
      name,
      help,
      labelNames: ['kind'],
      registers,
      collect() {
        this.reset();
        if (shareTotals === undefined) return;
        for (const kind of SHARE_KINDS) this.set({ kind }, shareTotals(kind)[value]);
      },
    });
  shareGauge(
    'fairlane_shared_capacity',
    'What replicas divide among them and this one has requests for. kind is concurrency (maxConcurrent of such tenants) or window (sequences of such endpoints).',
    'capacity',
  );
  shareGauge(
    'fairlane_shared_capacity_held',
    'What this replica may use of fairlane_shared_capacity at the moment.',
    'held',
  );
  const adapterLoads = new Counter({
    name: 'fairlane_adapter_loads_total',
    help: 'Loads of LoRA adapters that engines were asked for, by result: loaded or failed.',
    labelNames: ['pool', 'result'],
    registers,
  });
  const adapterUnloads = new Counter({
    name: 'fairlane_adapter_unloads_total',
    help: 'LoRA adapters that engines were told to unload, by result: unloaded or failed.',
    labelNames: ['pool', 'result'],
    registers,
  });
  const adapterGauge = (
    name: string,
    help: string,
    value: 'loaded' | 'loading',
  ): Gauge<'pool' | 'endpoint'> =>
    new Gauge({
      name,
      help,
      labelNames: ['pool', 'endpoint'],
      registers,
      collect() {
        this.reset();
        for (const row of source.adapters()) this.set({ pool: row.pool, endpoint: row.endpoint }, row[value]);
      },
    });
  adapterGauge(
    'fairlane_endpoint_adapters',
    'LoRA adapters that the endpoint has loaded, also by others; only of pools that have adapters.',
    'loaded',
  );
  adapterGauge(
    'fairlane_endpoint_adapters_loading',
    'LoRA adapters that the endpoint is loading, or will be.',
    'loading',
  );
  const rollbacks = new Counter({
    name: 'fairlane_canary_rollbacks_total',
    help: 'Canaries that were rolled back, by what they were worse in: failures or ttft.',
    labelNames: ['model', 'canary', 'gate'],
    registers,
  });
  new Gauge({
    name: 'fairlane_canary_weight',
    help: 'Part of the model’s requests that its canary has, 0 to 1: 0 once it was rolled back.',
    labelNames: ['model', 'canary'],
    registers,
    collect() {
      this.reset();
      for (const { model, canary, weight } of source.rollouts()) this.set({ model, canary }, weight);
    },
  });
  const shadowCopies = new Counter({
    name: 'fairlane_shadow_copies_total',
    help: 'Requests of the model that Envoy was told to copy to its shadow pool.',
    labelNames: ['model'],
    registers,
  });
  const shadowSkips = new Counter({
    name: 'fairlane_shadow_skips_total',
    help: 'Requests that were drawn for a copy and not copied, by reason: unhealthy (an endpoint of the pool is, or is drained), unknown (no gauges), behind (requests wait there, or it is full), too-many (maxConcurrent) or too-fast (perSecond).',
    labelNames: ['model', 'reason'],
    registers,
  });
  const streamErrors = new Counter({
    name: 'fairlane_stream_errors_total',
    help: 'ext_proc streams that ended by a fault of the service. Each is a bug worth a report.',
    registers,
  });

  const tenantGauge = (name: string, help: string, value: 'queued' | 'inFlight'): Gauge<'tenant' | 'model'> =>
    new Gauge({
      name,
      help,
      labelNames: ['tenant', 'model'],
      registers,
      collect() {
        this.reset();
        for (const row of source.occupancy()) this.set({ tenant: row.tenant, model: row.model }, row[value]);
      },
    });
  tenantGauge('fairlane_tenant_queued', 'Requests of the tenant that wait in the queue.', 'queued');
  tenantGauge('fairlane_tenant_in_flight', 'Requests of the tenant that are in the engines.', 'inFlight');

  const poolGauge = (
    name: string,
    help: string,
    value: 'queued' | 'inFlight' | 'window' | 'reserve',
  ): Gauge<'pool'> =>
    new Gauge({
      name,
      help,
      labelNames: ['pool'],
      registers,
      collect() {
        this.reset();
        for (const row of source.pools()) this.set({ pool: row.pool }, row[value]);
      },
    });
  poolGauge('fairlane_pool_queued', "Requests that wait in the pool's queue.", 'queued');
  poolGauge('fairlane_pool_in_flight', "Requests that are in the pool's engines.", 'inFlight');
  poolGauge(
    'fairlane_pool_window',
    'Sequences that the healthy endpoints of the pool may have in flight: this replica’s part, where replicas share them.',
    'window',
  );
  poolGauge(
    'fairlane_pool_reserve',
    'Slots of the window that are kept free for tenants below their fair share.',
    'reserve',
  );

  const laneGauge = (name: string, help: string, value: 'queued' | 'inFlight'): Gauge<'pool' | 'lane'> =>
    new Gauge({
      name,
      help,
      labelNames: ['pool', 'lane'],
      registers,
      collect() {
        this.reset();
        for (const { pool, lanes } of source.pools()) {
          for (const row of lanes) this.set({ pool, lane: row.lane }, row[value]);
        }
      },
    });
  laneGauge('fairlane_lane_queued', 'Requests that wait for their turn in the lane.', 'queued');
  laneGauge('fairlane_lane_in_flight', 'Sequences of the lane that are in the engines.', 'inFlight');

  /** @param value undefined: there is no such series. */
  const endpointGauge = (
    name: string,
    help: string,
    value: (endpoint: EndpointRow) => number | undefined,
  ): Gauge<'pool' | 'endpoint'> =>
    new Gauge({
      name,
      help,
      labelNames: ['pool', 'endpoint'],
      registers,
      collect() {
        this.reset();
        for (const { pool, endpoints } of source.pools()) {
          for (const endpoint of endpoints) {
            const shown = value(endpoint);
            if (shown !== undefined) this.set({ pool, endpoint: endpoint.address }, shown);
          }
        }
      },
    });
  endpointGauge(
    'fairlane_endpoint_window',
    'Sequences that the endpoint may have in flight: this replica’s part, where replicas share it.',
    ({ window }) => window,
  );
  new Gauge({
    name: 'fairlane_endpoint_window_by',
    help: '1 for what the window goes by: fixed (the configuration), gauges (of the engine), or ttft (times to first token, because the gauges are missing, frozen or wrong).',
    labelNames: ['pool', 'endpoint', 'by'],
    registers,
    collect() {
      this.reset();
      for (const { pool, endpoints } of source.pools()) {
        for (const { address, windowSource } of endpoints) {
          for (const by of ['fixed', 'gauges', 'ttft']) {
            this.set({ pool, endpoint: address, by }, by === windowSource ? 1 : 0);
          }
        }
      }
    },
  });
  endpointGauge(
    'fairlane_endpoint_kv_tokens',
    'KV cache tokens that the requests in flight are thought to need: their prompts and predicted outputs.',
    ({ kvTokens }) => kvTokens,
  );
  endpointGauge(
    'fairlane_endpoint_kv_capacity_tokens',
    'Tokens that the KV cache of the engine holds, where it says so.',
    ({ kvCapacityTokens }) => kvCapacityTokens,
  );
  endpointGauge(
    'fairlane_endpoint_slow_clients',
    'Requests in flight whose clients were seen to read slowly of late. Only of pools whose routing is not least-loaded.',
    ({ slowClients }) => slowClients,
  );

  endpointGauge('fairlane_endpoint_healthy', '1 while the probes of the endpoint succeed.', ({ healthy }) =>
    healthy ? 1 : 0,
  );
  endpointGauge(
    'fairlane_endpoint_ejected',
    '1 while the endpoint gets no requests, or only trials, because others failed there.',
    ({ ejected }) => (ejected ? 1 : 0),
  );
  endpointGauge(
    'fairlane_endpoint_broken_models',
    'Models that the endpoint gets no requests for, or only trials, because those of several tenants failed there.',
    ({ broken }) => broken.length,
  );
  endpointGauge(
    'fairlane_endpoint_in_flight',
    'Requests that the endpoint serves.',
    ({ inFlight }) => inFlight,
  );
  new Gauge({
    name: 'fairlane_ext_proc_streams',
    help: 'Open ext_proc streams: one per HTTP request that Envoy has in flight.',
    registers,
    collect() {
      this.set(source.openStreams());
    },
  });

  const count = (record: UsageRecord): void => {
    const { tenant } = record;
    const model = record.model ?? '';
    requests.inc({ tenant, model, route: record.route, outcome: record.outcome });
    if (record.outcome === 'refused') refusals.inc({ tenant, model, reason: record.reason ?? '' });
    if (record.outcome === 'aborted') aborts.inc({ tenant, model, reason: record.reason ?? '' });
    if (record.quiet) passed.inc({ tenant });
    if (record.stalled) stalled.inc({ tenant });
    if (record.droppedFields.length > 0) droppedFields.inc({ tenant }, record.droppedFields.length);
    if (record.pool !== undefined) queueWait.observe({ tenant, model }, record.queueMs / 1_000);
    if (record.ttftMs !== undefined) ttft.observe({ tenant, model }, record.ttftMs / 1_000);
    if (record.itlMeanMs !== undefined) itl.observe({ tenant, model }, record.itlMeanMs / 1_000);
    if (record.usageSource === 'none') return;
    const counted = record.usageSource;
    tokens.inc({ tenant, model, kind: 'prompt', source: counted }, record.promptTokens);
    tokens.inc({ tenant, model, kind: 'completion', source: counted }, record.completionTokens);
    if (record.cachedTokens > 0)
      tokens.inc({ tenant, model, kind: 'cached', source: counted }, record.cachedTokens);
  };

  return {
    registry,
    watchRedis(status) {
      redisStatus = status;
    },
    watchShares(totals) {
      shareTotals = totals;
    },
    rateLimitHit({ domain, metricKey, hits, outcome }) {
      const known = rateLimitKeys.has(metricKey) || rateLimitKeys.size < MAX_RATE_LIMIT_KEYS;
      if (known) rateLimitKeys.add(metricKey);
      rateLimitHits.inc({ domain, key: known ? metricKey : 'other', outcome }, hits);
    },
    requestEnded: count,
    shadowDrawn(model, decision) {
      if (decision === 'copy') shadowCopies.inc({ model });
      else shadowSkips.inc({ model, reason: decision });
    },
    event(event: ServiceEvent) {
      if (event.kind === 'config-reloaded') reloads.inc({ result: 'applied' });
      else if (event.kind === 'config-refused') reloads.inc({ result: 'refused' });
      else if (event.kind === 'limits-loaded') limitReloads.inc({ result: 'applied' });
      else if (event.kind === 'limits-refused') limitReloads.inc({ result: 'refused' });
      else if (event.kind === 'stream-failed') streamErrors.inc();
      else if (event.kind === 'adapter-loaded') adapterLoads.inc({ pool: event.pool, result: 'loaded' });
      else if (event.kind === 'adapter-unloaded') {
        adapterUnloads.inc({ pool: event.pool, result: 'unloaded' });
      } else if (event.kind === 'adapter-failed') {
        const counter = event.action === 'load' ? adapterLoads : adapterUnloads;
        counter.inc({ pool: event.pool, result: 'failed' });
      } else if (event.kind === 'canary-rolled-back') {
        rollbacks.inc({ model: event.model, canary: event.canary, gate: event.gate });
      } else if (event.kind === 'tenant-limited') {
        if (event.limited) limitedTenants.inc({ tenant: event.tenant });
      } else if (event.kind === 'endpoint-ejected' && event.ejected) ejections.inc({ pool: event.pool });
    },
  };
}

/** Metrics of pools, their lanes and their endpoints: what is in flight, what may be, and what is well. */
import { Counter, type Registry } from 'prom-client';
import { knownCounter, rowGauge } from './prom-row-gauge.ts';

const LIMIT_SOURCES = ['fixed', 'gauges', 'ttft'] as const;

interface EngineGauges {
  readonly running: number;
  readonly waiting: number;
  /** 0 to 1. */
  readonly kvUsage?: number;
}

interface EndpointRow {
  /** Its name: the URL as configured. */
  readonly endpoint: string;
  /** `ip:port`. */
  readonly address: string;
  readonly healthy: boolean;
  readonly ejected: boolean;
  /** Models that it gets no requests for. */
  readonly broken: readonly string[];
  readonly inFlight: number;
  readonly concurrencyLimit: number;
  readonly limitSource: (typeof LIMIT_SOURCES)[number];
  readonly kvTokens: number;
  readonly kvCapacityTokens: number | undefined;
  readonly slowClients: number | undefined;
  /** Since it is there. */
  readonly busyMs: number;
  /** As its engine said last; undefined: it says none. */
  readonly gauges?: EngineGauges | undefined;
}

interface PoolRow {
  readonly pool: string;
  readonly queued: number;
  readonly inFlight: number;
  readonly concurrencyLimit: number;
  readonly headroom: number;
  /** 0 to 1. */
  readonly saturation: number;
  readonly predictedWaitMs: number;
  readonly lanes: readonly { readonly lane: string; readonly queued: number; readonly inFlight: number }[];
  readonly endpoints: readonly EndpointRow[];
}

export interface PoolSource {
  readonly pools: () => Iterable<PoolRow>;
}

export interface PoolMetrics {
  /** Counts an endpoint that left the rotation because requests failed there. */
  ejected(pool: string): void;
}

export function poolMetrics(registry: Registry, source: PoolSource): PoolMetrics {
  const ejections = knownCounter(registry, {
    name: 'fairlane_endpoint_ejections_total',
    help: 'Times that an endpoint left the rotation because requests failed there.',
    labels: ['pool'],
    *known() {
      for (const { pool } of source.pools()) yield { pool };
    },
  });
  poolGauges(registry, source);
  laneGauges(registry, source);
  endpointGauges(registry, source);
  engineGauges(registry, source);
  limitSourceGauge(registry, source);
  busyCounter(registry, source);
  return { ejected: (pool) => ejections.inc({ pool }) };
}

function poolGauges(registry: Registry, source: PoolSource): void {
  const gauge = (name: string, help: string, value: (row: PoolRow) => number, was?: string): void =>
    rowGauge(registry, {
      name,
      ...(was !== undefined && { was }),
      help,
      labels: ['pool'],
      *rows() {
        for (const row of source.pools()) yield [{ pool: row.pool }, value(row)];
      },
    });
  gauge('fairlane_pool_queued', "Requests that wait in the pool's queue.", ({ queued }) => queued);
  gauge('fairlane_pool_in_flight', "Requests that are in the pool's engines.", ({ inFlight }) => inFlight);
  gauge(
    'fairlane_pool_concurrency_limit',
    'Concurrency limit of the pool: sequences that its healthy endpoints may have in flight. This replica’s part, where replicas share them.',
    ({ concurrencyLimit }) => concurrencyLimit,
    'fairlane_pool_window',
  );
  gauge(
    'fairlane_pool_headroom',
    'Headroom: slots of the concurrency limit that are kept free for tenants below their fair share.',
    ({ headroom }) => headroom,
    'fairlane_pool_reserve',
  );
  gauge(
    'fairlane_pool_saturation',
    'How full the pool is, 0 to 1: sequences in flight ÷ concurrency limit; 1 where requests wait for a slot, or nothing serves. Those that wait only because their tenant has `maxConcurrent` in flight do not count. To scale by.',
    ({ saturation }) => saturation,
  );
  gauge(
    'fairlane_pool_predicted_wait_seconds',
    'Wait of a request that joined the end of the queue now: requests that wait for a slot × smoothed time between two releases. 0 while none wait. To scale by.',
    ({ predictedWaitMs }) => predictedWaitMs / 1_000,
  );
}

function laneGauges(registry: Registry, source: PoolSource): void {
  const gauge = (name: string, help: string, value: 'queued' | 'inFlight'): void =>
    rowGauge(registry, {
      name,
      help,
      labels: ['pool', 'lane'],
      *rows() {
        for (const { pool, lanes } of source.pools()) {
          for (const row of lanes) yield [{ pool, lane: row.lane }, row[value]];
        }
      },
    });
  gauge('fairlane_lane_queued', 'Requests that wait for their turn in the lane.', 'queued');
  gauge('fairlane_lane_in_flight', 'Sequences of the lane that are in the engines.', 'inFlight');
}

/** An endpoint's name, and where it is: one name may stand for another address tomorrow. */
const ENDPOINT_LABELS = ['pool', 'endpoint', 'address'] as const;

const labelsOf = (pool: string, { endpoint, address }: EndpointRow) => ({ pool, endpoint, address });

/** Makes a gauge of each endpoint. */
function endpointGauge(registry: Registry, source: PoolSource) {
  /** @param value undefined: there is no such series. @param was its name of before. */
  return (
    name: string,
    help: string,
    value: (endpoint: EndpointRow) => number | undefined,
    was?: string,
  ): void =>
    rowGauge(registry, {
      name,
      ...(was !== undefined && { was }),
      help,
      labels: ENDPOINT_LABELS,
      *rows() {
        for (const { pool, endpoints } of source.pools()) {
          for (const endpoint of endpoints) {
            const shown = value(endpoint);
            if (shown !== undefined) yield [labelsOf(pool, endpoint), shown];
          }
        }
      },
    });
}

/** What engines say of themselves. An engine that says nothing of late has no series. */
function engineGauges(registry: Registry, source: PoolSource): void {
  const gauge = endpointGauge(registry, source);
  gauge(
    'fairlane_engine_running',
    'Sequences that the engine computes, as it said last: of all that ask it. None where it does not say.',
    ({ gauges }) => gauges?.running,
  );
  gauge(
    'fairlane_engine_waiting',
    'Requests that wait inside the engine, as it said last. None where it does not say.',
    ({ gauges }) => gauges?.waiting,
  );
  gauge(
    'fairlane_engine_kv_usage_ratio',
    'Part of the engine’s KV cache that is in use, 0 to 1, as it said last. None where it does not say.',
    ({ gauges }) => gauges?.kvUsage,
  );
}

function endpointGauges(registry: Registry, source: PoolSource): void {
  const gauge = endpointGauge(registry, source);
  gauge(
    'fairlane_endpoint_concurrency_limit',
    'Concurrency limit of the endpoint: sequences that it may have in flight. This replica’s part, where replicas share it.',
    ({ concurrencyLimit }) => concurrencyLimit,
    'fairlane_endpoint_window',
  );
  gauge(
    'fairlane_endpoint_kv_tokens',
    'KV cache tokens that the requests in flight are thought to need: their prompts and predicted outputs.',
    ({ kvTokens }) => kvTokens,
  );
  gauge(
    'fairlane_endpoint_kv_capacity_tokens',
    'Tokens that the KV cache of the engine holds, where it says so.',
    ({ kvCapacityTokens }) => kvCapacityTokens,
  );
  gauge(
    'fairlane_endpoint_slow_clients',
    'Requests in flight whose clients were seen to read slowly of late. Only of pools whose routing is not least-loaded.',
    ({ slowClients }) => slowClients,
  );
  gauge('fairlane_endpoint_healthy', '1 while the probes of the endpoint succeed.', ({ healthy }) =>
    healthy ? 1 : 0,
  );
  gauge(
    'fairlane_endpoint_ejected',
    '1 while the endpoint gets no requests, or only half-open ones, because others failed there.',
    ({ ejected }) => (ejected ? 1 : 0),
  );
  gauge(
    'fairlane_endpoint_broken_models',
    'Models that the endpoint gets no requests for, or only half-open ones, because those of several tenants failed there.',
    ({ broken }) => broken.length,
  );
  gauge('fairlane_endpoint_in_flight', 'Requests that the endpoint serves.', ({ inFlight }) => inFlight);
}

function busyCounter(registry: Registry, source: PoolSource): void {
  new Counter({
    name: 'fairlane_endpoint_busy_seconds_total',
    help: 'Time in which requests from here were in the endpoint; this replica’s part of it, where requests of others were there too.',
    labelNames: ENDPOINT_LABELS,
    registers: [registry],
    collect() {
      this.reset();
      for (const { pool, endpoints } of source.pools()) {
        for (const endpoint of endpoints) this.inc(labelsOf(pool, endpoint), endpoint.busyMs / 1_000);
      }
    },
  });
}

function limitSourceGauge(registry: Registry, source: PoolSource): void {
  rowGauge(registry, {
    name: 'fairlane_endpoint_concurrency_limit_by',
    was: 'fairlane_endpoint_window_by',
    help: '1 for what the concurrency limit goes by: fixed (the configuration), gauges (of the engine), or ttft (times to first token, because the gauges are missing, frozen or wrong).',
    labels: [...ENDPOINT_LABELS, 'by'],
    *rows() {
      for (const { pool, endpoints } of source.pools()) {
        for (const endpoint of endpoints) {
          for (const by of LIMIT_SOURCES) {
            yield [{ ...labelsOf(pool, endpoint), by }, by === endpoint.limitSource ? 1 : 0];
          }
        }
      }
    },
  });
}

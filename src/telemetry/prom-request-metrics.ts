/** Metrics of requests, by tenant and model: how they ended, what they used, how long they took. */
import { Counter, Histogram, type Registry } from 'prom-client';
import type { Money } from '../domain/money.ts';
import { ODD_USAGE } from '../usage/believed-usage.ts';
import type { OccupancyRow } from '../usage/occupancy.ts';
import type { UsageRecord } from '../usage/usage-record.ts';
import type { PoolSource } from './prom-pool-metrics.ts';
import { knownCounter, rowGauge } from './prom-row-gauge.ts';

export interface RequestSource {
  /** Waiting and running requests of every tenant and model that has any. */
  readonly occupancy: () => Iterable<OccupancyRow>;
  /** Whether histograms tell tenants apart now; absent: they do. */
  readonly tenantHistograms?: () => boolean;
}

export interface RequestMetrics {
  /** Counts a request that has ended. */
  ended(record: UsageRecord): void;
  /** Counts requests of nobody that is known, which never got to the service. */
  refusedByEnvoy(reason: string, status: number | undefined, requests: number): void;
  /** Counts a tenant that was held to one request at a time. */
  tenantLimited(tenant: string): void;
}

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** Of whole answers: some take minutes. */
const DURATION_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
/** Of one unit of a currency. */
const PICO = 1e12;
const ITL_SECONDS = [0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1];

const endings = (registers: Registry[]) => ({
  requests: new Counter({
    name: 'fairlane_requests_total',
    help: 'Requests that ended, by outcome: completed, refused, aborted or failed.',
    labelNames: ['tenant', 'model', 'route', 'outcome'],
    registers,
  }),
  refusals: new Counter({
    name: 'fairlane_refusals_total',
    help: 'Requests that Fairlane or Envoy refused, by reason: the error code that the client got, and of rate limits which one it was, requests_per_minute or tokens_per_minute (the code of both is rate_limit_exceeded). Without a tenant: Envoy refused it before it was known whose it was.',
    labelNames: ['tenant', 'model', 'reason'],
    registers,
  }),
  responses: new Counter({
    name: 'fairlane_responses_total',
    help: 'Requests that ended, by the class of the status that the client got: 1xx to 5xx, or none: it got no answer. Also those that Envoy refused, without a tenant.',
    labelNames: ['tenant', 'status_class'],
    registers,
  }),
  aborts: new Counter({
    name: 'fairlane_aborts_total',
    help: 'Requests whose stream ended early, by when: upload, queued, before-first-token or streaming.',
    labelNames: ['tenant', 'model', 'reason'],
    registers,
  }),
  droppedFields: new Counter({
    name: 'fairlane_dropped_fields_total',
    help: 'Request fields that a tenant must not control and that were dropped.',
    labelNames: ['tenant'],
    registers,
  }),
  passed: new Counter({
    name: 'fairlane_passed_queue_total',
    help: 'Requests released ahead of the queue because their tenant was below its fair share.',
    labelNames: ['tenant'],
    registers,
  }),
  stalled: new Counter({
    name: 'fairlane_stalled_streams_total',
    help: 'Streams whose slot went to others before their end, because their client had stopped reading.',
    labelNames: ['tenant'],
    registers,
  }),
  limitedTenants: new Counter({
    name: 'fairlane_tenant_limited_total',
    help: 'Times that a tenant was held to one request at a time because engines died while they had requests of it.',
    labelNames: ['tenant'],
    registers,
  }),
});

const amounts = (registers: Registry[]) => ({
  tokens: new Counter({
    name: 'fairlane_tokens_total',
    help: 'Tokens used. kind is prompt, completion or cached (a part of prompt); source is engine or estimate.',
    labelNames: ['tenant', 'model', 'kind', 'source'],
    registers,
  }),
  gpuSeconds: new Counter({
    name: 'fairlane_gpu_seconds_total',
    help: "Parts of the time in which endpoints were busy, of requests that have ended. Over all tenants they are the endpoints' busy time.",
    labelNames: ['tenant', 'pool'],
    registers,
  }),
  audioSeconds: new Counter({
    name: 'fairlane_audio_seconds_total',
    help: 'Seconds of audio that engines said they have heard.',
    labelNames: ['tenant', 'model'],
    registers,
  }),
  images: new Counter({
    name: 'fairlane_images_total',
    help: 'Images in answers.',
    labelNames: ['tenant', 'model'],
    registers,
  }),
  price: new Counter({
    name: 'fairlane_price_total',
    help: 'What is charged for requests that have ended, in units of the currency, where their models have prices.',
    labelNames: ['tenant', 'currency'],
    registers,
  }),
  cost: new Counter({
    name: 'fairlane_cost_total',
    help: 'What the GPU-seconds of requests cost, in units of the currency, where their pools say a price of them.',
    labelNames: ['tenant', 'currency'],
    registers,
  }),
});

const oddUsageOf = (registry: Registry, { pools }: Partial<PoolSource>): Counter<'pool' | 'reason'> =>
  knownCounter(registry, {
    name: 'fairlane_engine_usage_odd_total',
    help: `Answers whose engine reported usage that cannot be, so that part of it was estimated. reason is one of ${ODD_USAGE.join(', ')}.`,
    labels: ['pool', 'reason'],
    *known() {
      for (const { pool } of pools?.() ?? []) for (const reason of ODD_USAGE) yield { pool, reason };
    },
  });

const histograms = (registers: Registry[], collect: () => void) => ({
  duration: new Histogram({
    name: 'fairlane_request_duration_seconds',
    help: 'Time from the arrival of a request to its end, of every request that reached the service, also refused and aborted ones. This and other histograms have an empty tenant where `telemetry.tenantHistograms` leaves tenants out.',
    labelNames: ['tenant', 'model'],
    buckets: DURATION_SECONDS,
    registers,
    collect,
  }),
  queueWait: new Histogram({
    name: 'fairlane_queue_wait_seconds',
    help: 'Time from joining the queue to the release, of released requests; 0 for those that did not wait.',
    labelNames: ['tenant', 'model'],
    buckets: SECONDS,
    registers,
    collect,
  }),
  ttft: new Histogram({
    name: 'fairlane_ttft_seconds',
    help: 'Time to first token of streamed answers, from the arrival of the request: fairlane_queue_wait_seconds is part of it, and the rest is the engine. What a tenant would see alone is not measured: the wait is what others cost it here, and the engine’s part what they cost it there.',
    labelNames: ['tenant', 'model'],
    buckets: SECONDS,
    registers,
    collect,
  }),
  itl: new Histogram({
    name: 'fairlane_itl_seconds',
    help: "Mean inter-token time of each streamed answer's tokens.",
    labelNames: ['tenant', 'model'],
    buckets: ITL_SECONDS,
    registers,
    collect,
  }),
});

const CLASSES = ['none', '1xx', '2xx', '3xx', '4xx', '5xx'] as const;

const classOf = (status = 0): string => CLASSES[Math.trunc(status / 100)] ?? 'none';

/** What is given back is no count. */
function addMoney(counter: Counter<'tenant' | 'currency'>, tenant: string, money: Money | undefined): void {
  if (money === undefined || money.pico <= 0n) return;
  counter.inc({ tenant, currency: money.currency }, Number(money.pico) / PICO);
}

export function requestMetrics(
  registry: Registry,
  source: RequestSource & Partial<PoolSource>,
): RequestMetrics {
  const { requests, refusals, responses, aborts, droppedFields, passed, stalled, limitedTenants } = endings([
    registry,
  ]);
  const { tokens, gpuSeconds, audioSeconds, images, price, cost } = amounts([registry]);
  const oddUsage = oddUsageOf(registry, source);
  let isByTenant = source.tenantHistograms?.() ?? true;
  /** Looks whether histograms tell tenants apart, and begins anew where that has changed: no series is of both kinds. */
  const byTenant = (): boolean => {
    const now = source.tenantHistograms?.() ?? true;
    if (now !== isByTenant) {
      isByTenant = now;
      for (const one of [duration, queueWait, ttft, itl]) one.reset();
    }
    return now;
  };
  const { duration, queueWait, ttft, itl } = histograms([registry], () => void byTenant());
  const tenantGauge = (name: string, help: string, value: 'queued' | 'inFlight'): void =>
    rowGauge(registry, {
      name,
      help,
      labels: ['tenant', 'model'],
      *rows() {
        for (const row of source.occupancy()) yield [{ tenant: row.tenant, model: row.model }, row[value]];
      },
    });
  tenantGauge('fairlane_tenant_queued', 'Requests of the tenant that wait in the queue.', 'queued');
  tenantGauge('fairlane_tenant_in_flight', 'Requests of the tenant that are in the engines.', 'inFlight');

  return {
    ended(record) {
      const { tenant, usageSource } = record;
      const model = record.model ?? '';
      requests.inc({ tenant, model, route: record.customRoute ?? record.route, outcome: record.outcome });
      responses.inc({ tenant, status_class: classOf(record.status) });
      const timed = { tenant: byTenant() ? tenant : '', model };
      duration.observe(timed, Math.max(0, record.durationMs) / 1_000);
      if (record.outcome === 'refused') refusals.inc({ tenant, model, reason: record.reason ?? '' });
      if (record.outcome === 'aborted') aborts.inc({ tenant, model, reason: record.reason ?? '' });
      if (record.quiet) passed.inc({ tenant });
      if (record.stalled) stalled.inc({ tenant });
      if (record.droppedFields.length > 0) droppedFields.inc({ tenant }, record.droppedFields.length);
      if (record.pool !== undefined) queueWait.observe(timed, record.queueMs / 1_000);
      if (record.ttftMs !== undefined) ttft.observe(timed, record.ttftMs / 1_000);
      if (record.itlMeanMs !== undefined) itl.observe(timed, record.itlMeanMs / 1_000);
      for (const reason of record.oddUsage ?? []) oddUsage.inc({ pool: record.pool ?? '', reason });
      if (record.gpuSeconds !== undefined) {
        gpuSeconds.inc({ tenant, pool: record.pool ?? '' }, record.gpuSeconds);
      }
      addMoney(price, tenant, record.price);
      addMoney(cost, tenant, record.cost);
      if (record.audioSeconds !== undefined) audioSeconds.inc({ tenant, model }, record.audioSeconds);
      if (record.images !== undefined) images.inc({ tenant, model }, record.images);
      if (usageSource === 'none') return;
      const { estimated } = record;
      const ofPrompt = estimated === 'completion' ? 'engine' : usageSource;
      const ofCompletion = estimated === 'prompt' ? 'engine' : usageSource;
      tokens.inc({ tenant, model, kind: 'prompt', source: ofPrompt }, record.promptTokens);
      tokens.inc({ tenant, model, kind: 'completion', source: ofCompletion }, record.completionTokens);
      if (record.cachedTokens > 0) {
        tokens.inc({ tenant, model, kind: 'cached', source: ofPrompt }, record.cachedTokens);
      }
    },
    refusedByEnvoy(reason, status, count) {
      refusals.inc({ tenant: '', model: '', reason }, count);
      responses.inc({ tenant: '', status_class: classOf(status) }, count);
    },
    tenantLimited: (tenant) => limitedTenants.inc({ tenant }),
  };
}

/**
 * Prometheus metrics. Labels are bounded: tenants, pools and endpoints come from the configuration, models from it or
 * from the engines (at most 256 a pool), routes, outcomes and reasons from the code.
 *
 * To add a metric, register it in the prom-*-metrics.ts of its domain. What it counts comes from an event (telemetry.ts,
 * and the switch below), from the record of a request, or, when it is scraped, from the domain's source, which service/
 * supplies. `npm run docs` writes docs/reference/metrics.md.
 */
import { collectDefaultMetrics, type Registry } from 'prom-client';
import type { BuildInfo } from '../domain/build-info.ts';
import { type AdapterMetrics, type AdapterSource, adapterMetrics } from './prom-adapter-metrics.ts';
import {
  type BudgetMetrics,
  type BudgetSource,
  budgetMetrics,
  type WebhookOutcome,
} from './prom-budget-metrics.ts';
import { genAiMetrics } from './prom-genai-metrics.ts';
import { type LedgerFigures, ledgerMetrics } from './prom-ledger-metrics.ts';
import {
  type LimitMetrics,
  limitMetrics,
  type RateLimitHit,
  type RateLimitProblem,
  type RedisStatus,
  type SharedTotals,
} from './prom-limit-metrics.ts';
import { PiecedRegistry } from './prom-pieced-registry.ts';
import { type PoolMetrics, type PoolSource, poolMetrics } from './prom-pool-metrics.ts';
import { type RequestMetrics, type RequestSource, requestMetrics } from './prom-request-metrics.ts';
import { type RolloutMetrics, type RolloutSource, rolloutMetrics } from './prom-rollout-metrics.ts';
import { type ServiceMetrics, type ServiceSource, serviceMetrics } from './prom-service-metrics.ts';
import { type TenantLimitSource, tenantLimitMetrics } from './prom-tenant-limits.ts';
import { type TenantMetrics, tenantMetrics } from './prom-tenant-metrics.ts';
import { traceMetrics } from './prom-trace-metrics.ts';
import type { SpanResult } from './span-of.ts';
import type { ServiceEvent, Telemetry } from './telemetry.ts';

/** What gauges read when they are scraped. */
export interface MetricsSource
  extends RequestSource,
    PoolSource,
    AdapterSource,
    RolloutSource,
    TenantLimitSource,
    ServiceSource {}

export interface Metrics extends Telemetry {
  readonly registry: Registry;
  /** Of tenants that are made while it runs. */
  readonly made: TenantMetrics;
  /** Says which Fairlane this is. */
  readonly built: (build: BuildInfo) => void;
  readonly rateLimitHit: (hit: RateLimitHit) => void;
  readonly rateLimitProblem: (problem: RateLimitProblem) => void;
  /** A request of a model with a mirror was drawn: `copy`, or why it was not copied. */
  readonly mirrorDrawn: (model: string, decision: string) => void;
  /** There is a Redis: its gauges are shown from now on. */
  readonly watchRedis: (status: () => RedisStatus) => void;
  /** There is a ledger: its metrics are shown from now on. */
  readonly watchLedger: (figures: () => LedgerFigures) => void;
  /** Capacities are divided among replicas: what there is, and what this one may use. */
  readonly watchSharedCapacity: (totals: SharedTotals) => void;
  /** Spans were exported, or were not. */
  readonly spans: (result: SpanResult, spans: number) => void;
  readonly watchBudgets: (source: BudgetSource) => void;
  /** Events were sent to a receiver, or were not. */
  readonly webhook: (host: string, outcome: WebhookOutcome, events: number) => void;
}

interface Domains {
  readonly requests: RequestMetrics;
  readonly pools: PoolMetrics;
  readonly adapters: AdapterMetrics;
  readonly rollouts: RolloutMetrics;
  readonly limits: LimitMetrics;
  readonly budgets: BudgetMetrics;
  readonly service: ServiceMetrics;
}

export function createMetrics(from: MetricsSource): Metrics {
  const registry = new PiecedRegistry();
  const source: MetricsSource = {
    ...from,
    pools: registry.oncePerText(from.pools),
    occupancy: registry.oncePerText(from.occupancy),
    activeTenants: registry.oncePerText(from.activeTenants),
    adapters: registry.oncePerText(from.adapters),
    rollouts: registry.oncePerText(from.rollouts),
  };
  collectDefaultMetrics({ register: registry, prefix: 'fairlane_' });
  const domains: Domains = {
    requests: requestMetrics(registry, source),
    pools: poolMetrics(registry, source),
    adapters: adapterMetrics(registry, source),
    rollouts: rolloutMetrics(registry, source),
    limits: limitMetrics(registry),
    budgets: budgetMetrics(registry),
    service: serviceMetrics(registry, source),
  };
  tenantLimitMetrics(registry, source);
  const genAi = genAiMetrics(registry);
  const { requests, rollouts, limits, budgets, service } = domains;
  return {
    registry,
    made: tenantMetrics(registry),
    built: (build) => service.built(build),
    rateLimitHit: (hit) => limits.hit(hit),
    rateLimitProblem: (problem) => limits.problem(problem),
    mirrorDrawn: (model, decision) => rollouts.mirrorDrawn(model, decision),
    watchRedis: (status) => limits.watchRedis(status),
    watchLedger: (figures) => ledgerMetrics(registry, figures),
    watchSharedCapacity: (totals) => limits.watchShared(totals),
    watchBudgets: (of) => budgets.watch(of),
    webhook: (...tried) => budgets.webhook(...tried),
    spans: traceMetrics(registry),
    requestEnded(record) {
      requests.ended(record);
      genAi(record);
    },
    event: (event) => count(domains, event),
  };
}

function count(domains: Domains, event: ServiceEvent): void {
  const { requests, pools, adapters, rollouts, limits, service } = domains;
  switch (event.kind) {
    case 'config-reloaded':
      return service.reloaded('applied');
    case 'config-refused':
      return service.reloaded('refused');
    case 'stream-failed':
      return service.streamFailed();
    case 'envoy-refused':
      return requests.refusedByEnvoy(event.reason, event.status, event.requests);
    case 'limits-loaded':
      return limits.loaded('applied');
    case 'limits-refused':
      return limits.loaded('refused');
    case 'budget-alert':
      return domains.budgets.alert(event);
    case 'tenant-limited':
      return event.limited ? requests.tenantLimited(event.tenant) : undefined;
    case 'endpoint-ejected':
      return event.ejected ? pools.ejected(event.pool) : undefined;
    case 'adapter-loaded':
      return adapters.load(event.pool, 'loaded');
    case 'adapter-unloaded':
      return adapters.unload(event.pool, 'unloaded');
    case 'adapter-failed':
      return adapters[event.action](event.pool, 'failed');
    case 'canary-rolled-back':
      return rollouts.rolledBack(event.model, event.canary, event.gate);
    // Gauges show the state, or the log alone tells of it.
    case 'endpoint-health':
    case 'engine-refuses':
    case 'endpoint-drain':
    case 'model-broken':
    case 'engine-identified':
    case 'engine-gauges':
    case 'engine-usage-odd':
    case 'engine-help':
    case 'tenant-file-refused':
    case 'tenant-kept-out':
    case 'tenant-store':
    case 'tenant-changed':
    case 'tenants-copy-failed':
    case 'tenants-not-in-force':
    case 'admin-refused':
    case 'tenant-file-mended':
    case 'snapshot-failed':
    case 'ledger-away':
    case 'ledger-lost':
    case 'redis':
    case 'models-discovered':
    case 'filter-misconfigured':
    case 'dns-failed':
    case 'limit-raise-ended':
    case 'webhook':
    case 'webhook-dropped':
    case 'traces':
    case 'draining':
    case 'drained':
      return undefined;
  }
}

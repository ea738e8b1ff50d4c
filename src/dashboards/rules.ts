/** Prometheus rules: what dashboards and alerts ask for often, and what somebody is to be told of. */
import { stringify } from 'yaml';

interface RecordingRule {
  /** level:metric:operation. */
  readonly record: string;
  readonly expr: string;
}

export interface Alert {
  readonly alert: string;
  readonly expr: string;
  /** How long it must be so. */
  readonly for: string;
  /** page: somebody is to look now; ticket: within days. */
  readonly severity: 'page' | 'ticket';
  readonly summary: string;
  readonly description: string;
}

/** Jain, Chiu, Hawe, "A quantitative measure of fairness" (1984): (Σx)² ÷ (n · Σx²), x: tokens a second ÷ weight. */
const SHARE = '(tenant:fairlane_tokens:rate5m > 0) / on (tenant) max by (tenant) (fairlane_tenant_weight)';

export const RECORDING: readonly RecordingRule[] = [
  {
    record: 'tenant:fairlane_tokens:rate5m',
    expr: 'sum by (tenant) (rate(fairlane_tokens_total{kind=~"prompt|completion"}[5m]))',
  },
  {
    record: 'fairlane:jain_index:rate5m',
    expr: `sum(${SHARE}) ^ 2 / (count(${SHARE}) * sum((${SHARE}) ^ 2))`,
  },
  {
    record: 'tenant:fairlane_ttft_seconds:p99_5m',
    expr: 'histogram_quantile(0.99, sum by (le, tenant) (rate(fairlane_ttft_seconds_bucket[5m])))',
  },
  {
    record: 'tenant:fairlane_queue_wait_seconds:p99_5m',
    expr: 'histogram_quantile(0.99, sum by (le, tenant) (rate(fairlane_queue_wait_seconds_bucket[5m])))',
  },
  {
    record: 'pool:fairlane_saturation:avg15m',
    expr: 'max by (pool) (avg_over_time(fairlane_pool_saturation[15m]))',
  },
];

export const ALERTS: readonly Alert[] = [
  {
    alert: 'FairlaneDown',
    expr: 'up{job="fairlane"} == 0',
    for: '1m',
    severity: 'page',
    summary: 'Fairlane at {{ $labels.instance }} does not answer',
    description:
      'While no replica answers, Envoy lets requests pass without limits, fairness and metering, or refuses them (envoy.failureMode).',
  },
  {
    alert: 'FairlaneEnvoyDown',
    expr: 'up{job="envoy"} == 0',
    for: '1m',
    severity: 'page',
    summary: 'Envoy at {{ $labels.instance }} does not answer',
    description: 'Clients reach no engine through it.',
  },
  {
    alert: 'FairlaneFailsOpen',
    expr: 'sum by (instance) (increase(envoy_http_ext_proc_failure_mode_allowed[5m])) > 0',
    for: '0m',
    severity: 'page',
    summary: '{{ $value | humanize }} requests passed {{ $labels.instance }} without Fairlane',
    description: 'They had no limits, took no turn and were not metered.',
  },
  {
    alert: 'FairlaneNoEndpoint',
    expr: 'max by (pool, instance) (fairlane_pool_concurrency_limit) == 0',
    for: '30s',
    severity: 'page',
    summary: 'No endpoint of pool {{ $labels.pool }} serves',
    description: 'Its requests wait, or are refused with 503.',
  },
  {
    alert: 'FairlaneEndpointUnhealthy',
    expr: 'max by (pool, endpoint) (fairlane_endpoint_healthy) == 0',
    for: '5m',
    severity: 'ticket',
    summary: 'Probes of {{ $labels.endpoint }} fail',
    description: 'It gets no requests. The others of pool {{ $labels.pool }} have its part.',
  },
  {
    alert: 'FairlaneEndpointEjected',
    expr: 'max by (pool, endpoint) (fairlane_endpoint_ejected) == 1',
    for: '10m',
    severity: 'ticket',
    summary: 'Requests fail at {{ $labels.endpoint }}',
    description: 'Its probes may succeed, yet requests of several tenants failed there.',
  },
  {
    alert: 'FairlaneSaturated',
    expr: 'pool:fairlane_saturation:avg15m > 0.95',
    for: '30m',
    severity: 'ticket',
    summary: 'Pool {{ $labels.pool }} has been full for half an hour',
    description: 'Tenants get their shares and no more. If they need more, add engines.',
  },
  {
    alert: 'FairlaneLongWait',
    expr: 'tenant:fairlane_queue_wait_seconds:p99_5m > 10 and on (tenant) tenant:fairlane_tokens:rate5m < on () group_left () avg(tenant:fairlane_tokens:rate5m)',
    for: '10m',
    severity: 'ticket',
    summary: '{{ $labels.tenant }} waits {{ $value | humanizeDuration }} and uses less than most',
    description:
      'One in a hundred of its requests waits so long, although it has fewer tokens a second than the mean of tenants.',
  },
  {
    alert: 'FairlaneStreamErrors',
    expr: 'increase(fairlane_stream_errors_total[15m]) > 0',
    for: '0m',
    severity: 'ticket',
    summary: 'Streams ended by a fault of Fairlane',
    description: 'Each is a bug. The log has the place; please report it.',
  },
  {
    alert: 'FairlaneConfigRefused',
    expr: 'fairlane_config_last_reload_successful == 0',
    for: '5m',
    severity: 'ticket',
    summary: 'The configuration on {{ $labels.instance }} is refused',
    description: 'The one before goes on. After a restart it would not start.',
  },
  {
    alert: 'FairlaneRedisAway',
    expr: 'fairlane_redis_connected == 0',
    for: '1m',
    severity: 'ticket',
    summary: '{{ $labels.instance }} does not reach Redis',
    description: 'It decides alone, with a part of each limit (redis.failureShare).',
  },
  {
    alert: 'FairlaneLedgerBehind',
    expr: 'fairlane_ledger_lag_seconds > 300',
    for: '5m',
    severity: 'ticket',
    summary: 'The ledger is {{ $value | humanizeDuration }} behind',
    description:
      'Records wait on the disk of {{ $labels.instance }}. Nothing is lost until ledger.maxSpool is full.',
  },
  {
    alert: 'FairlaneLedgerLost',
    expr: 'increase(fairlane_ledger_lost_total[15m]) > 0',
    for: '0m',
    severity: 'page',
    summary: 'Records are in no ledger ({{ $labels.reason }})',
    description: 'What was used by them will be on no invoice.',
  },
  {
    alert: 'FairlaneBudgetSpent',
    expr: 'max by (tenant) (fairlane_budget_used_ratio) >= 1',
    for: '0m',
    severity: 'ticket',
    summary: '{{ $labels.tenant }} has used up its budget',
    description: 'Its requests are refused, if the budget refuses.',
  },
  {
    alert: 'FairlaneWebhooksDropped',
    expr: 'increase(fairlane_webhook_events_total{outcome="dropped"}[15m]) > 0',
    for: '0m',
    severity: 'ticket',
    summary: 'Events for {{ $labels.host }} were dropped',
    description: 'It was away for a day, or too many waited.',
  },
  {
    alert: 'FairlaneOddUsage',
    expr: 'sum by (pool, reason) (increase(fairlane_engine_usage_odd_total[15m])) > 10',
    for: '0m',
    severity: 'ticket',
    summary: 'Engines of pool {{ $labels.pool }} report usage that cannot be ({{ $labels.reason }})',
    description: 'It is estimated in part. Invoices may be off.',
  },
  {
    alert: 'FairlaneSlowEventLoop',
    expr: 'fairlane_event_loop_delay_seconds{stat="p99"} > 0.1',
    for: '5m',
    severity: 'ticket',
    summary: 'The event loop of {{ $labels.instance }} is late by {{ $value | humanizeDuration }}',
    description: 'Every token of every tenant is late by it. Add a replica or a core.',
  },
];

/** In the clone and in the package; put your own address before it. */
const RUNBOOKS = 'docs/runbooks.md';

/** Anchor of an alert in docs/runbooks.md. */
export const anchorOf = (alert: string): string => alert.toLowerCase();

/** Of each YAML file in observability/. */
export const HEAD = '# Generated by `npm run docs`. Do not edit.\n';

export const recordingYaml = (): string =>
  HEAD +
  stringify(
    { groups: [{ name: 'fairlane-recording', interval: '15s', rules: RECORDING }] },
    { lineWidth: 0 },
  );

export function alertsYaml(): string {
  const rules = ALERTS.map(({ severity, summary, description, ...rule }) => ({
    ...rule,
    labels: { severity },
    annotations: { summary, description, runbook_url: `${RUNBOOKS}#${anchorOf(rule.alert)}` },
  }));
  return HEAD + stringify({ groups: [{ name: 'fairlane', rules }] }, { lineWidth: 0 });
}

/** For docker compose: the names are those of its services. */
export const prometheusYaml = (): string =>
  HEAD +
  stringify({
    global: { scrape_interval: '15s', evaluation_interval: '15s' },
    rule_files: ['recording.yaml', 'alerts.yaml'],
    scrape_configs: [
      { job_name: 'fairlane', static_configs: [{ targets: ['fairlane:9464'] }] },
      {
        job_name: 'envoy',
        metrics_path: '/stats/prometheus',
        static_configs: [{ targets: ['envoy:9901'] }],
      },
    ],
  });

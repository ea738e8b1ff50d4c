/** Who is told of what. What to do is in docs/runbooks.md, under the alert's name. */

export interface Alert {
  readonly alert: string;
  readonly expr: string;
  /** What it looks at: there also while all is well. */
  readonly of: string;
  /** How long it must be so. */
  readonly for: string;
  /** page: somebody is to look now; ticket: within days. */
  readonly severity: 'page' | 'ticket';
  readonly summary: string;
  readonly description: string;
}

type Condition = Pick<Alert, 'expr' | 'of'>;

/** @param and what must be so beside. */
const when = (of: string, threshold: string, and = ''): Condition => ({
  of,
  expr: `${of} ${threshold}${and && ` ${and}`}`,
});

/**
 * Something was counted more than so many times within the window. `increase()` sees no rise of a series that begins with it:
 * of a label that was not known before, or of what was counted before the first scrape. So what was not there in the window
 * before counts whole.
 */
const happened = (counter: string, window: string, moreThan = 0): Condition => ({
  of: counter,
  expr: `increase(${counter}[${window}]) > ${moreThan} or (${counter} unless last_over_time(${counter}[${window}] offset ${window})) > ${moreThan}`,
});

export const ALERTS: readonly Alert[] = [
  {
    alert: 'FairlaneDown',
    ...when('up{job="fairlane"}', '== 0'),
    for: '1m',
    severity: 'page',
    summary: 'Fairlane at {{ $labels.instance }} does not answer',
    description:
      'While no replica answers, Envoy lets requests pass without limits, fairness and metering, or refuses them (envoy.failureMode).',
  },
  {
    alert: 'FairlaneEnvoyDown',
    ...when('up{job="envoy"}', '== 0'),
    for: '1m',
    severity: 'page',
    summary: 'Envoy at {{ $labels.instance }} does not answer',
    description: 'Clients reach no engine through it.',
  },
  {
    alert: 'FairlaneStreamsFail',
    ...when(
      'sum by (instance) (rate(envoy_http_ext_proc_streams_failed[5m])) / sum by (instance) (rate(envoy_http_ext_proc_streams_started[5m]))',
      '> 0.01',
    ),
    for: '5m',
    severity: 'page',
    summary: '{{ $value | humanizePercentage }} of the streams from {{ $labels.instance }} to Fairlane fail',
    description: 'Envoy does not reach the service, or does not get its answers in time.',
  },
  {
    alert: 'FairlaneEnvoyHeap',
    ...when('max by (instance) (envoy_overload_envoy_resource_monitors_fixed_heap_pressure)', '> 90'),
    for: '5m',
    severity: 'ticket',
    summary: 'Envoy at {{ $labels.instance }} uses {{ $value }} % of its heap',
    description: 'At the bound (envoy.maxHeapSize) it ends the largest streams and takes no new ones.',
  },
  {
    alert: 'FairlaneCertificateEnds',
    // Huge where there is no certificate.
    ...when('min by (instance) (envoy_server_days_until_first_cert_expiring)', '< 14'),
    for: '1h',
    severity: 'ticket',
    summary: 'A certificate of Envoy at {{ $labels.instance }} ends in {{ $value }} days',
    description: 'Then clients do not reach Envoy over TLS, or Envoy the engines.',
  },
  {
    alert: 'FairlaneFailsOpen',
    ...happened('envoy_http_ext_proc_failure_mode_allowed', '5m'),
    for: '0m',
    severity: 'page',
    summary: '{{ $value | humanize }} requests passed {{ $labels.instance }} without Fairlane',
    description: 'They had no limits, took no turn and were not metered.',
  },
  {
    alert: 'FairlaneServerErrors',
    ...when(
      'sum(rate(fairlane_responses_total{status_class="5xx"}[5m])) / sum(rate(fairlane_responses_total[5m]))',
      '> 0.05',
    ),
    for: '5m',
    severity: 'page',
    summary: '{{ $value | humanizePercentage }} of the answers are 5xx',
    description: 'Engines fail, or none serves.',
  },
  {
    alert: 'FairlaneNoEndpoint',
    // A replica without requests for a pool has no part of its limit: its saturation is then 0.
    ...when(
      'fairlane_pool_concurrency_limit',
      '== 0',
      'and on (pool, instance) fairlane_pool_saturation == 1',
    ),
    for: '30s',
    severity: 'page',
    summary: 'No endpoint of pool {{ $labels.pool }} serves',
    description: 'Its requests wait, or are refused with 503.',
  },
  {
    alert: 'FairlaneEndpointUnhealthy',
    ...when('max by (pool, endpoint) (fairlane_endpoint_healthy)', '== 0'),
    for: '5m',
    severity: 'ticket',
    summary: 'Probes of {{ $labels.endpoint }} fail',
    description: 'It gets no requests. The others of pool {{ $labels.pool }} have its part.',
  },
  {
    alert: 'FairlaneEndpointEjected',
    ...when('max by (pool, endpoint) (fairlane_endpoint_ejected)', '== 1'),
    for: '10m',
    severity: 'ticket',
    summary: 'Requests fail at {{ $labels.endpoint }}',
    description: 'Its probes may succeed, yet requests of several tenants failed there.',
  },
  {
    alert: 'FairlaneSaturated',
    ...when('pool:fairlane_saturation:avg15m', '> 0.95'),
    for: '30m',
    severity: 'ticket',
    summary: 'Pool {{ $labels.pool }} has been full for half an hour',
    description: 'Tenants get their shares and no more. If they need more, add engines.',
  },
  {
    alert: 'FairlaneLongWait',
    ...when(
      'tenant:fairlane_queue_wait_seconds:p99_5m',
      '> 10',
      'and on (tenant) tenant:fairlane_tokens:rate5m < on () group_left () avg(tenant:fairlane_tokens:rate5m)',
    ),
    for: '10m',
    severity: 'ticket',
    summary: '{{ $labels.tenant }} waits {{ $value | humanizeDuration }} and uses less than most',
    description:
      'One in a hundred of its requests waits so long, although it has fewer tokens a second than the mean of tenants.',
  },
  {
    alert: 'FairlaneWaitsBelowShare',
    ...when(
      'tenant:fairlane_share:ratio5m',
      '< 0.5',
      'and on (tenant) sum by (tenant) (fairlane_tenant_queued) > 0',
    ),
    for: '5m',
    severity: 'ticket',
    summary: '{{ $labels.tenant }} waits, and has {{ $value | humanizePercentage }} of its fair share',
    description: 'Requests of it wait all the time, while others have more than their weights say.',
  },
  {
    alert: 'FairlaneCanaryRolledBack',
    ...happened('fairlane_canary_rollbacks_total', '1h'),
    for: '0m',
    severity: 'ticket',
    summary: 'The canary {{ $labels.canary }} of {{ $labels.model }} was rolled back ({{ $labels.gate }})',
    description: 'It was worse than the model, which has all requests again.',
  },
  {
    alert: 'FairlaneStreamErrors',
    ...happened('fairlane_stream_errors_total', '15m'),
    for: '0m',
    severity: 'ticket',
    summary: 'Streams ended by a fault of Fairlane',
    description: 'Each is a bug. The log has the place; please report it.',
  },
  {
    alert: 'FairlaneConfigRefused',
    ...when('fairlane_config_last_reload_successful', '== 0'),
    for: '5m',
    severity: 'ticket',
    summary: 'The configuration on {{ $labels.instance }} is refused',
    description: 'The one before goes on. After a restart it would not start.',
  },
  {
    alert: 'FairlaneRedisAway',
    ...when('fairlane_redis_connected', '== 0'),
    for: '1m',
    severity: 'ticket',
    summary: '{{ $labels.instance }} does not reach Redis',
    description: 'It decides alone, with a part of each limit (redis.failureShare).',
  },
  {
    alert: 'FairlaneTenantStoreAway',
    ...when('fairlane_tenant_store_connected', '== 0'),
    for: '5m',
    severity: 'ticket',
    summary: 'The store of made tenants does not answer {{ $labels.instance }}',
    description: 'Made tenants and keys are served as they are known, and cannot be changed.',
  },
  {
    alert: 'FairlaneLedgerBehind',
    ...when('fairlane_ledger_lag_seconds', '> 300'),
    for: '5m',
    severity: 'ticket',
    summary: 'The ledger is {{ $value | humanizeDuration }} behind',
    description:
      'Records wait on the disk of {{ $labels.instance }}. Nothing is lost until ledger.maxSpool is full.',
  },
  {
    alert: 'FairlaneLedgerLost',
    ...happened('fairlane_ledger_lost_total', '15m'),
    for: '0m',
    severity: 'page',
    summary: 'Records are in no ledger ({{ $labels.reason }})',
    description: 'What was used by them will be on no invoice.',
  },
  {
    alert: 'FairlaneBudgetNearlySpent',
    ...when('max by (tenant) (fairlane_budget_used_ratio)', '>= 0.8 < 1'),
    for: '0m',
    severity: 'ticket',
    summary: '{{ $labels.tenant }} has used {{ $value | humanizePercentage }} of its budget',
    description: 'When all is used its requests are refused, if the budget refuses.',
  },
  {
    alert: 'FairlaneBudgetSpent',
    ...when('max by (tenant) (fairlane_budget_used_ratio)', '>= 1'),
    for: '0m',
    severity: 'ticket',
    summary: '{{ $labels.tenant }} has used up its budget',
    description: 'Its requests are refused, if the budget refuses.',
  },
  {
    alert: 'FairlaneWebhooksDropped',
    ...happened('fairlane_webhook_events_total{outcome="dropped"}', '15m'),
    for: '0m',
    severity: 'ticket',
    summary: 'Events for {{ $labels.host }} were dropped',
    description: 'It was away for a day, or too many waited.',
  },
  {
    alert: 'FairlaneOddUsage',
    ...happened('fairlane_engine_usage_odd_total', '15m', 10),
    for: '0m',
    severity: 'ticket',
    summary: 'Engines of pool {{ $labels.pool }} report usage that cannot be ({{ $labels.reason }})',
    description: 'It is estimated in part. Invoices may be off.',
  },
  {
    alert: 'FairlaneSlowEventLoop',
    ...when('fairlane_event_loop_delay_seconds{stat="p99"}', '> 0.1'),
    for: '5m',
    severity: 'ticket',
    summary: 'The event loop of {{ $labels.instance }} is late by {{ $value | humanizeDuration }}',
    description: 'Every token of every tenant is late by it. Add a replica or a core.',
  },
];

/** For each alert what makes it fire, and what looks like it and does not: series as promtool's tests write them. */

/** By the series, its values: samples of a minute. */
export type Series = Readonly<Record<string, string>>;

interface Case {
  readonly bad: Series;
  readonly good: Series;
  /** When it is looked at. */
  readonly at: string;
}

/** Of two tenants of one weight: tokens a minute of each, and how many requests of the first one wait. */
const sharing = (small: number, large: number, waiting: number): Series => ({
  'fairlane_tokens_total{tenant="small",kind="completion"}': `0+${small}x30`,
  'fairlane_tokens_total{tenant="large",kind="completion"}': `0+${large}x30`,
  'fairlane_tenant_weight{tenant="small"}': '1x30',
  'fairlane_tenant_weight{tenant="large"}': '1x30',
  'fairlane_tenant_queued{tenant="small",model="m"}': `${waiting}x30`,
  'fairlane_tenant_queued{tenant="large",model="m"}': '50x30',
});

/** Series that make each alert fire, and the same a little better, which do not; samples of a minute. */
export const CASES: Readonly<Record<string, Case>> = {
  FairlaneDown: {
    bad: { 'up{job="fairlane",instance="a"}': '0x60' },
    good: { 'up{job="fairlane",instance="a"}': '1x60' },
    at: '5m',
  },
  FairlaneEnvoyDown: {
    bad: { 'up{job="envoy",instance="a"}': '0x60' },
    good: { 'up{job="envoy",instance="a"}': '1x60' },
    at: '5m',
  },
  FairlaneFailsOpen: {
    bad: { 'envoy_http_ext_proc_failure_mode_allowed{instance="a"}': '0+1x60' },
    good: { 'envoy_http_ext_proc_failure_mode_allowed{instance="a"}': '7x60' },
    at: '10m',
  },
  FairlaneNoEndpoint: {
    bad: {
      'fairlane_pool_concurrency_limit{pool="p",instance="a"}': '0x60',
      'fairlane_pool_saturation{pool="p",instance="a"}': '1x60',
    },
    // It has no requests, and so no part of what replicas divide.
    good: {
      'fairlane_pool_concurrency_limit{pool="p",instance="a"}': '0x60',
      'fairlane_pool_saturation{pool="p",instance="a"}': '0x60',
    },
    at: '5m',
  },
  FairlaneEndpointUnhealthy: {
    bad: { 'fairlane_endpoint_healthy{pool="p",endpoint="e",instance="a"}': '0x60' },
    good: { 'fairlane_endpoint_healthy{pool="p",endpoint="e",instance="a"}': '0x3 1x60' },
    at: '10m',
  },
  FairlaneEndpointEjected: {
    bad: { 'fairlane_endpoint_ejected{pool="p",endpoint="e",instance="a"}': '1x60' },
    good: { 'fairlane_endpoint_ejected{pool="p",endpoint="e",instance="a"}': '1x5 0x60' },
    at: '20m',
  },
  FairlaneSaturated: {
    bad: { 'fairlane_pool_saturation{pool="p",instance="a"}': '1x120' },
    good: { 'fairlane_pool_saturation{pool="p",instance="a"}': '0.9x120' },
    at: '100m',
  },
  FairlaneStreamErrors: {
    bad: { 'fairlane_stream_errors_total{instance="a"}': '0+1x60' },
    good: { 'fairlane_stream_errors_total{instance="a"}': '3x60' },
    at: '20m',
  },
  FairlaneConfigRefused: {
    bad: { 'fairlane_config_last_reload_successful{instance="a"}': '0x60' },
    good: { 'fairlane_config_last_reload_successful{instance="a"}': '1x60' },
    at: '20m',
  },
  FairlaneRedisAway: {
    bad: { 'fairlane_redis_connected{instance="a"}': '0x60' },
    good: { 'fairlane_redis_connected{instance="a"}': '1x60' },
    at: '20m',
  },
  FairlaneLedgerBehind: {
    bad: { 'fairlane_ledger_lag_seconds{instance="a"}': '400x60' },
    good: { 'fairlane_ledger_lag_seconds{instance="a"}': '200x60' },
    at: '20m',
  },
  FairlaneLedgerLost: {
    bad: { 'fairlane_ledger_lost_total{instance="a",reason="torn"}': '0+1x60' },
    good: { 'fairlane_ledger_lost_total{instance="a",reason="torn"}': '1x60' },
    at: '20m',
  },
  FairlaneBudgetSpent: {
    bad: { 'fairlane_budget_used_ratio{tenant="t",instance="a"}': '1x60' },
    good: { 'fairlane_budget_used_ratio{tenant="t",instance="a"}': '0.99x60' },
    at: '20m',
  },
  FairlaneWebhooksDropped: {
    bad: { 'fairlane_webhook_events_total{host="h",outcome="dropped"}': '0+1x60' },
    good: { 'fairlane_webhook_events_total{host="h",outcome="failed"}': '0+1x60' },
    at: '20m',
  },
  FairlaneOddUsage: {
    bad: { 'fairlane_engine_usage_odd_total{pool="p",reason="zero-prompt"}': '0+5x60' },
    good: { 'fairlane_engine_usage_odd_total{pool="p",reason="zero-prompt"}': '0x30 1x30' },
    at: '20m',
  },
  FairlaneSlowEventLoop: {
    bad: { 'fairlane_event_loop_delay_seconds{stat="p99",instance="a"}': '0.2x60' },
    good: { 'fairlane_event_loop_delay_seconds{stat="max",instance="a"}': '0.2x60' },
    at: '20m',
  },
  FairlaneLongWait: {
    bad: {
      'fairlane_queue_wait_seconds_bucket{tenant="small",le="10"}': '0x60',
      'fairlane_queue_wait_seconds_bucket{tenant="small",le="30"}': '0+60x60',
      'fairlane_queue_wait_seconds_bucket{tenant="small",le="+Inf"}': '0+60x60',
      'fairlane_tokens_total{tenant="small",kind="prompt"}': '0+60x60',
      'fairlane_tokens_total{tenant="large",kind="prompt"}': '0+6000x60',
    },
    good: {
      'fairlane_queue_wait_seconds_bucket{tenant="large",le="10"}': '0x60',
      'fairlane_queue_wait_seconds_bucket{tenant="large",le="30"}': '0+60x60',
      'fairlane_queue_wait_seconds_bucket{tenant="large",le="+Inf"}': '0+60x60',
      'fairlane_tokens_total{tenant="small",kind="prompt"}': '0+60x60',
      'fairlane_tokens_total{tenant="large",kind="prompt"}': '0+6000x60',
    },
    at: '50m',
  },
  FairlaneStreamsFail: {
    bad: {
      'envoy_http_ext_proc_streams_started{instance="a"}': '0+100x30',
      'envoy_http_ext_proc_streams_failed{instance="a"}': '0+5x30',
    },
    good: {
      'envoy_http_ext_proc_streams_started{instance="a"}': '0+1000x30',
      'envoy_http_ext_proc_streams_failed{instance="a"}': '0+5x30',
    },
    at: '20m',
  },
  FairlaneEnvoyHeap: {
    bad: { 'envoy_overload_envoy_resource_monitors_fixed_heap_pressure{instance="a"}': '95x30' },
    good: { 'envoy_overload_envoy_resource_monitors_fixed_heap_pressure{instance="a"}': '95x4 50x30' },
    at: '8m',
  },
  FairlaneCertificateEnds: {
    bad: { 'envoy_server_days_until_first_cert_expiring{instance="a"}': '5x100' },
    // Envoy says so where it has none.
    good: { 'envoy_server_days_until_first_cert_expiring{instance="a"}': '4294967295x100' },
    at: '70m',
  },
  FairlaneServerErrors: {
    bad: {
      'fairlane_responses_total{tenant="a",status_class="2xx"}': '0+90x30',
      'fairlane_responses_total{tenant="a",status_class="5xx"}': '0+10x30',
    },
    good: {
      'fairlane_responses_total{tenant="a",status_class="2xx"}': '0+99x30',
      'fairlane_responses_total{tenant="a",status_class="5xx"}': '0+1x30',
    },
    at: '20m',
  },
  FairlaneWaitsBelowShare: {
    bad: sharing(10, 90, 2),
    // As little, and nothing of it waits: it asks for no more.
    good: sharing(10, 90, 0),
    at: '20m',
  },
  FairlaneCanaryRolledBack: {
    bad: { 'fairlane_canary_rollbacks_total{model="m",canary="n",gate="ttft"}': '0x20 1x40' },
    good: { 'fairlane_canary_rollbacks_total{model="m",canary="n",gate="ttft"}': '0x200' },
    at: '40m',
  },
  FairlaneTenantStoreAway: {
    bad: { 'fairlane_tenant_store_connected{instance="a"}': '0x30' },
    good: { 'fairlane_tenant_store_connected{instance="a"}': '0x4 1x30' },
    at: '8m',
  },
  FairlaneBudgetNearlySpent: {
    bad: { 'fairlane_budget_used_ratio{tenant="t",instance="a"}': '0.8x30' },
    // That is the other alert.
    good: { 'fairlane_budget_used_ratio{tenant="t",instance="a"}': '1x30' },
    at: '20m',
  },
};

interface FirstEvent {
  readonly series: Series;
  readonly at: string;
  /** When it is over. */
  readonly not: string;
}

/** Series that begin with what they count: `increase()` alone says nothing of them. */
export const FIRST_EVENTS: Readonly<Record<string, FirstEvent>> = {
  FairlaneStreamErrors: {
    series: { 'fairlane_stream_errors_total{instance="a"}': '_x20 1x60' },
    at: '25m',
    not: '40m',
  },
  FairlaneLedgerLost: {
    series: { 'fairlane_ledger_lost_total{instance="a",reason="torn"}': '_x20 3x60' },
    at: '25m',
    not: '40m',
  },
  FairlaneWebhooksDropped: {
    series: { 'fairlane_webhook_events_total{host="h",outcome="dropped"}': '_x20 1x60' },
    at: '25m',
    not: '40m',
  },
  FairlaneOddUsage: {
    series: { 'fairlane_engine_usage_odd_total{pool="p",reason="zero-prompt"}': '_x20 11x60' },
    at: '25m',
    not: '40m',
  },
  FairlaneCanaryRolledBack: {
    series: { 'fairlane_canary_rollbacks_total{model="m",canary="n",gate="ttft"}': '_x20 1x200' },
    at: '25m',
    not: '90m',
  },
  FairlaneFailsOpen: {
    series: { 'envoy_http_ext_proc_failure_mode_allowed{instance="a"}': '_x20 1x60' },
    at: '22m',
    not: '40m',
  },
  // Nobody has served it yet: it has no tokens.
  FairlaneWaitsBelowShare: {
    series: {
      'fairlane_tokens_total{tenant="large",kind="completion"}': '0+90x40',
      'fairlane_tenant_weight{tenant="new"}': '1x20 _x20',
      'fairlane_tenant_weight{tenant="large"}': '1x40',
      'fairlane_tenant_queued{tenant="new",model="m"}': '2x20 _x20',
    },
    at: '15m',
    not: '30m',
  },
};

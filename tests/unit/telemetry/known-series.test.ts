/** What may be counted is shown as 0 before it is: `increase()` sees the first event only of a series that was there before it. */
import { expect, it } from 'vitest';
import { allMetrics } from '../../support/metrics.ts';

const POOL = 'pool="main"';
const KNOWN = [
  `fairlane_endpoint_ejections_total{${POOL}}`,
  `fairlane_adapter_loads_total{${POOL},result="loaded"}`,
  `fairlane_adapter_loads_total{${POOL},result="failed"}`,
  `fairlane_adapter_unloads_total{${POOL},result="unloaded"}`,
  `fairlane_adapter_unloads_total{${POOL},result="failed"}`,
  'fairlane_canary_rollbacks_total{model="m",canary="m2",gate="failures"}',
  'fairlane_canary_rollbacks_total{model="m",canary="m2",gate="ttft"}',
  `fairlane_engine_usage_odd_total{${POOL},reason="zero-prompt"}`,
  'fairlane_webhook_events_total{host="hooks.example",outcome="delivered"}',
  'fairlane_webhook_events_total{host="hooks.example",outcome="dropped"}',
  'fairlane_config_reloads_total{result="applied"}',
  'fairlane_config_reloads_total{result="refused"}',
  'fairlane_ratelimit_reloads_total{result="refused"}',
  'fairlane_ratelimit_problems_total{problem="unknown_domain"}',
  'fairlane_stream_errors_total',
] as const;

const linesOf = async (metrics: ReturnType<typeof allMetrics>): Promise<readonly string[]> =>
  (await metrics.registry.metrics()).split('\n');

it.each(KNOWN)('%s is 0 before the first one', async (series) => {
  expect(await linesOf(allMetrics())).toContain(`${series} 0`);
});

it('what was counted stays, however often it is scraped', async () => {
  const metrics = allMetrics();
  metrics.webhook('hooks.example', 'dropped', 2);
  for (let i = 0; i < 2; i += 1) {
    expect(await linesOf(metrics)).toContain(`${KNOWN[9]} 2`);
    metrics.webhook('hooks.example', 'delivered', 1);
  }
  expect(await linesOf(metrics)).toContain(`${KNOWN[8]} 2`);
});

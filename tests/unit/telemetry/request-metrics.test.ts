/** What the metrics say of the tokens of a request, and of what its engine reported. */
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { requestMetrics } from '../../../src/telemetry/prom-request-metrics.ts';
import type { UsageRecord } from '../../../src/usage/usage-record.ts';

const RECORD: UsageRecord = {
  requestId: 'r',
  tenant: 'a',
  route: 'messages',
  model: 'm',
  pool: 'main',
  endpoint: 'http://10.0.0.1:8000',
  address: '10.0.0.1:8000',
  stream: true,
  outcome: 'completed',
  queueMs: 0,
  durationMs: 1,
  promptTokens: 10,
  completionTokens: 20,
  cachedTokens: 3,
  usageSource: 'engine',
  quiet: false,
  stalled: false,
  droppedFields: [],
};

async function seriesOf(record: Partial<UsageRecord>): Promise<readonly string[]> {
  const registry = new Registry();
  requestMetrics(registry, { occupancy: () => [] }).ended({ ...RECORD, ...record });
  return (await registry.metrics())
    .split('\n')
    .filter((line) => /^fairlane_(tokens|engine_usage_odd)_total\{/.test(line))
    .map((line) => line.replace(/tenant="a",model="m",/, ''));
}

describe('the tokens of a request', () => {
  it("are the engine's, or an estimate, each half for itself", async () => {
    expect(await seriesOf({})).toEqual([
      'fairlane_tokens_total{kind="prompt",source="engine"} 10',
      'fairlane_tokens_total{kind="completion",source="engine"} 20',
      'fairlane_tokens_total{kind="cached",source="engine"} 3',
    ]);
    expect(await seriesOf({ usageSource: 'estimate', cachedTokens: 0 })).toEqual([
      'fairlane_tokens_total{kind="prompt",source="estimate"} 10',
      'fairlane_tokens_total{kind="completion",source="estimate"} 20',
    ]);
    expect(await seriesOf({ usageSource: 'estimate', estimated: 'completion' })).toEqual([
      'fairlane_tokens_total{kind="prompt",source="engine"} 10',
      'fairlane_tokens_total{kind="completion",source="estimate"} 20',
      'fairlane_tokens_total{kind="cached",source="engine"} 3',
    ]);
    expect(await seriesOf({ usageSource: 'estimate', estimated: 'prompt', cachedTokens: 0 })).toEqual([
      'fairlane_tokens_total{kind="prompt",source="estimate"} 10',
      'fairlane_tokens_total{kind="completion",source="engine"} 20',
    ]);
  });

  it('are counted as odd by pool and reason', async () => {
    const oddUsage = ['zero-prompt', 'zero-completion'] as const;
    expect(await seriesOf({ usageSource: 'none', oddUsage })).toEqual([
      'fairlane_engine_usage_odd_total{pool="main",reason="zero-prompt"} 1',
      'fairlane_engine_usage_odd_total{pool="main",reason="zero-completion"} 1',
    ]);
  });
});

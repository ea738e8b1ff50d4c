/** What is counted of the rate limit service. */
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { limitMetrics } from '../../../src/telemetry/prom-limit-metrics.ts';

describe('metrics of the rate limit service', () => {
  it('have hits by outcome, those near a limit apart, and what is wrong with calls', async () => {
    const registry = new Registry();
    const metrics = limitMetrics(registry);
    const hit = { domain: 'D', metricKey: 'D.k', hits: 5 };
    metrics.hit({ ...hit, outcome: 'within', near: 2 });
    metrics.hit({ ...hit, outcome: 'over', near: 0 });
    metrics.problem('override_unit');
    const text = await registry.metrics();
    expect(text).toContain('fairlane_ratelimit_hits_total{domain="D",key="D.k",outcome="within"} 5');
    expect(text).toContain('fairlane_ratelimit_hits_total{domain="D",key="D.k",outcome="over"} 5');
    expect(text).toContain('fairlane_ratelimit_near_limit_hits_total{domain="D",key="D.k"} 2');
    expect(text).toContain('fairlane_ratelimit_problems_total{problem="override_unit"} 1');
  });

  it('have a bounded number of series', async () => {
    const registry = new Registry();
    const metrics = limitMetrics(registry);
    for (let i = 0; i < 5_000; i += 1) {
      metrics.hit({ domain: 'D', metricKey: `D.k_${i}`, hits: 1, outcome: 'within', near: 1 });
    }
    const text = await registry.metrics();
    const series = (name: string): number =>
      text.split('\n').filter((line) => line.startsWith(`${name}{`)).length;
    expect(series('fairlane_ratelimit_hits_total')).toBe(2_001);
    expect(series('fairlane_ratelimit_near_limit_hits_total')).toBe(2_001);
    expect(text).toContain('fairlane_ratelimit_near_limit_hits_total{domain="D",key="other"} 3000');
  });
});

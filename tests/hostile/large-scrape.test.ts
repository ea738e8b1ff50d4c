/** A scrape of many tenants: how long it takes, and how long it holds others up. */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../src/telemetry/prom-metrics.ts';
import { RECORD, SOURCE } from '../support/metrics.ts';

describe('a scrape', () => {
  it('of 10,000 tenants with requests takes at most a second, and holds nobody up', async () => {
    const tenants = Array.from({ length: 10_000 }, (_, i) => `tenant-${i}`);
    const view = { limit: 60, remaining: 1 };
    const metrics = createMetrics({
      ...SOURCE,
      tenantHistograms: () => false,
      occupancy: () => tenants.map((tenant) => ({ tenant, model: 'm', queued: 1, inFlight: 1 })),
      activeTenants: () =>
        tenants.map((tenant) => ({ tenant, weight: 1, requests: view, tokens: view, month: view })),
    });
    for (const tenant of tenants) metrics.requestEnded({ ...RECORD, tenant });
    // What was compiled for the first one is not part of it.
    await metrics.registry.metrics();
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const [startMs, cpu] = [performance.now(), process.cpuUsage()];
    const text = await metrics.registry.metrics();
    const tookMs = performance.now() - startMs;
    const { user, system } = process.cpuUsage(cpu);
    delay.disable();
    const series = text.split('\n').filter((line) => !line.startsWith('#')).length;
    const figures = { series, tookMs, cpuMs: (user + system) / 1e3, longestMs: delay.max / 1e6 };
    // 18 of a tenant with one model.
    expect(series).toBeLessThan(10_000 * 18 + 500);
    expect(figures.cpuMs).toBeLessThan(1_000);
    // A turn of 50 ms on a quiet machine; others run beside a test.
    expect(figures.longestMs).toBeLessThan(200);
  });
});

/** A scrape of many tenants: how long it takes, and how long it holds others up. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../src/telemetry/prom-metrics.ts';
import { RECORD, SOURCE } from '../support/metrics.ts';

/** What a scrape says, its CPU time, and for how long it holds up all others at most. */
async function figuresOf(scrape: () => Promise<string>) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const cpu = process.cpuUsage();
  const text = await scrape();
  const { user, system } = process.cpuUsage(cpu);
  delay.disable();
  return { text, cpuMs: (user + system) / 1e3, longestMs: delay.max / 1e6 };
}

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
    const scrapes = [];
    for (let i = 0; i < 3; i += 1) scrapes.push(await figuresOf(() => metrics.registry.metrics()));
    for (const { text } of scrapes) {
      // 18 of a tenant with one model.
      const series = text.split('\n').filter((line) => !line.startsWith('#')).length;
      expect(series).toBeLessThan(10_000 * 18 + 500);
    }
    expect(Math.min(...scrapes.map(({ cpuMs }) => cpuMs))).toBeLessThan(1_000);
    // A turn takes 50 ms on a quiet machine. What else runs there only adds to it, so the least of three counts.
    expect(Math.min(...scrapes.map(({ longestMs }) => longestMs))).toBeLessThan(200);
  });
});

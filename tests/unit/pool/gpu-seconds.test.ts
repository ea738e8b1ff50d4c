/** Slots of an endpoint, and whose its busy time is. */
import { describe, expect, it } from 'vitest';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import type { PoolEndpoints, Slot } from '../../../src/pool/types.ts';

const URLS = ['http://a:1', 'http://b:1'] as const;
const ADDRESSES = ['10.0.0.1:1', '10.0.0.2:1'] as const;

function pool(): PoolEndpoints {
  const endpoints = createPoolEndpoints(fixedLimit);
  endpoints.reconfigure(
    URLS.map((url, i) => ({ url, address: ADDRESSES[i] ?? '' })),
    { concurrencyLimit: 8, prefillTokens: 10_000, headroom: 0 },
  );
  for (const url of URLS) endpoints.setHealthy(url, true, 0);
  return endpoints;
}

function take(endpoints: PoolEndpoints, nowMs: number): Slot {
  const demand = { sequences: 1, promptTokens: 10, totalTokens: 20, streamed: true };
  const slot = endpoints.acquire(demand, { belowFairShare: true, headroom: 0, tenant: 'a' }, nowMs);
  if (slot?.kind !== 'slot') throw new Error('no slot');
  return slot;
}

const busyMs = (endpoints: PoolEndpoints, nowMs: number): readonly number[] =>
  endpoints.list(nowMs).map((endpoint) => endpoint.busyMs);

describe('the time of an endpoint', () => {
  it('is that of its slots, until each is free; freed twice it is counted once', () => {
    const endpoints = pool();
    const slot = take(endpoints, 100);
    slot.firstToken(150);
    slot.interToken(10, 250);
    slot.free(300);
    slot.free(400);
    expect(slot.gpuMs(500)).toBe(200);
    expect(busyMs(endpoints, 900)).toEqual([200, 0]);
  });

  it('ends when its part is asked for, before the slot is given back', () => {
    const endpoints = pool();
    const slot = take(endpoints, 0);
    expect(slot.gpuMs(70)).toBe(70);
    slot.free(90);
    expect([slot.gpuMs(100), ...busyMs(endpoints, 100)]).toEqual([70, 70, 0]);
  });

  it('moves with the request', () => {
    const endpoints = pool();
    const slot = take(endpoints, 0);
    slot.moveTo(ADDRESSES[1], 40);
    slot.firstToken(60);
    slot.free(100);
    slot.moveTo(ADDRESSES[0], 120);
    expect(slot.gpuMs(200)).toBe(100);
    expect(busyMs(endpoints, 200)).toEqual([40, 60]);
  });

  it('is shared with others that the engine’s gauges show twice in a row', () => {
    const endpoints = pool();
    const slot = take(endpoints, 0);
    endpoints.gauges(URLS[0], { running: 4, waiting: 0 }, 1_000);
    // One look may be at a request of ours that has just ended.
    endpoints.gauges(URLS[0], { running: 4, waiting: 0 }, 2_000);
    slot.free(3_000);
    expect(slot.gpuMs(3_000)).toBeCloseTo(2_000 + 1_000 / 4, 6);
  });

  it('is not shared for gauges that cannot be read, or are nonsense', () => {
    const endpoints = pool();
    const slot = take(endpoints, 0);
    for (const atMs of [100, 200, 300]) endpoints.gauges(URLS[0], 'unusable', atMs);
    for (const running of [Number.NaN, -5, 1e12]) {
      endpoints.gauges(URLS[0], { running, waiting: 0 }, 400);
    }
    slot.free(1_000);
    expect(slot.gpuMs(1_000)).toBeGreaterThan(0);
    expect(slot.gpuMs(1_000)).toBeLessThanOrEqual(1_000);
  });
});

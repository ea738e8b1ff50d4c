/** Weights of endpoints: what each gets of many requests, and of few. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { adaptiveLimit } from '../../../src/pool/concurrency-limit/adaptive.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import type { Claim, PoolEndpoints, Slot } from '../../../src/pool/types.ts';

const CLAIM: Claim = { belowFairShare: true, headroom: 0, tenant: 'a' };
const DEMAND = { sequences: 1, promptTokens: 1, totalTokens: 2, streamed: false };
const url = (n: number): string => `http://e${n}:8000`;

function poolOf(weights: readonly (number | undefined)[], limit = 1_000): PoolEndpoints {
  const pool = createPoolEndpoints((initial) => adaptiveLimit({ initial, most: 8 }));
  pool.reconfigure(
    weights.map((weight, n) => ({
      url: url(n),
      address: `10.0.0.${n}:8000`,
      ...(weight !== undefined && { weight }),
    })),
    { concurrencyLimit: limit, prefillTokens: 1_000_000, headroom: 0, slowStartMs: 0 },
  );
  weights.forEach((_, n) => pool.setHealthy(url(n), true, 0));
  return pool;
}

const take = (pool: PoolEndpoints): Slot => {
  const slot = pool.acquire(DEMAND, CLAIM, 0);
  if (slot?.kind !== 'slot') throw new Error('no slot');
  return slot;
};
const counts = (pool: PoolEndpoints): readonly number[] => pool.list(0).map(({ inFlight }) => inFlight);

describe('endpoints with weights', () => {
  it('have what is in flight by their weights', () => {
    const pool = poolOf([1, 3, undefined]);
    for (let i = 0; i < 100; i += 1) take(pool);
    expect(counts(pool)).toEqual([20, 60, 20]);
  });

  it('have requests that come one after another by their weights too', () => {
    const pool = poolOf([1, 3]);
    const served = [0, 0];
    for (let i = 0; i < 100; i += 1) {
      const slot = take(pool);
      const n = slot.address.startsWith('10.0.0.1') ? 1 : 0;
      served[n] = (served[n] ?? 0) + 1;
      slot.free(0);
    }
    expect(served).toEqual([25, 75]);
  });

  it('that come later, or come back, are given no more than their part', () => {
    const pool = poolOf([1, 3]);
    pool.setHealthy(url(1), false, 0);
    for (let i = 0; i < 500; i += 1) take(pool).free(0);
    pool.setHealthy(url(1), true, 0);
    let first = 0;
    for (let i = 0; i < 40; i += 1) {
      const slot = take(pool);
      if (slot.address.startsWith('10.0.0.0')) first += 1;
      slot.free(0);
    }
    expect(first).toBeGreaterThan(8);
    expect(first).toBeLessThan(12);
  });

  it('go to others when they are full', () => {
    const pool = poolOf([1, 1_000], 4);
    for (let i = 0; i < 8; i += 1) take(pool);
    expect(counts(pool)).toEqual([4, 4]);
  });

  it('that are all the same are as those without', () => {
    const [a, b] = [poolOf([5, 5, 5]), poolOf([undefined, undefined, undefined])];
    for (let i = 0; i < 20; i += 1) expect(take(a).address).toBe(take(b).address);
  });

  it('name the least loaded by weight as the next to try', () => {
    const pool = poolOf([1, 4, 2]);
    for (let i = 0; i < 70; i += 1) take(pool);
    expect(pool.addresses(undefined)).toHaveLength(3);
    expect(take(pool).addresses).toHaveLength(3);
  });

  it('never differ by more than a request from their part, whatever the weights', () => {
    const weights = fc.array(fc.integer({ min: 1, max: 1_000 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(weights, fc.integer({ min: 1, max: 200 }), (list, requests) => {
        const pool = poolOf(list.map((weight) => weight / 100));
        for (let i = 0; i < requests; i += 1) take(pool);
        const sum = list.reduce((total, weight) => total + weight, 0);
        counts(pool).forEach((count, n) => {
          expect(Math.abs(count - (requests * (list[n] ?? 0)) / sum)).toBeLessThanOrEqual(list.length);
        });
      }),
      { seed: 14, numRuns: 200 },
    );
  });
});

describe('a pool with a profile', () => {
  it('has them in the score of its load', () => {
    const pool = createPoolEndpoints((initial) => adaptiveLimit({ initial, most: 8 }));
    pool.reconfigure(
      [1, 3].map((weight, n) => ({ url: url(n), address: `10.0.0.${n}:8000`, weight })),
      {
        concurrencyLimit: 100,
        prefillTokens: 1_000_000,
        headroom: 0,
        slowStartMs: 0,
        routing: { profile: 'balanced' },
      },
    );
    for (const n of [0, 1]) pool.setHealthy(url(n), true, 0);
    const choice = {
      prompt: undefined,
      promptBytes: 4,
      promptTokens: 1,
      totalTokens: 2,
      stream: false,
      slow: false,
    };
    for (let i = 0; i < 40; i += 1) pool.acquire({ ...DEMAND, choice }, CLAIM, 0);
    const [light = 0, heavy = 0] = counts(pool);
    expect(light + heavy).toBe(40);
    expect(heavy / light).toBeGreaterThan(2);
    expect(heavy / light).toBeLessThan(4.5);
  });
});

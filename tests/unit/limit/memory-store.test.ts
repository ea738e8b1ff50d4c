import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createMemoryStore } from '../../../src/limit/memory-store.ts';

describe('the store in memory', () => {
  it('keeps granted − given back within amount + rate · time for every key, whatever the clock does', () => {
    const arbStep = fc.record({
      key: fc.constantFrom('a', 'b', '__proto__'),
      hits: fc.integer({ min: -20, max: 60 }),
      ms: fc.integer({ min: -5_000, max: 20_000 }),
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 100 }),
        fc.integer({ min: 1, max: 60_000 }),
        fc.array(arbStep, { maxLength: 80 }),
        (amount, unitMs, steps) => {
          const store = createMemoryStore();
          const granted = new Map<string, number>();
          let now = 0;
          let first: number | undefined;
          let latest = Number.NEGATIVE_INFINITY;
          for (const { key, hits, ms } of steps) {
            now += ms;
            first ??= now;
            latest = Math.max(latest, now);
            const [taken] = store.take([{ key, limit: { amount, unitMs }, hits }], now);
            const net = (granted.get(key) ?? 0) + (hits < 0 || taken?.granted ? hits : 0);
            granted.set(key, net);
            expect(net).toBeLessThanOrEqual(amount + (amount * (latest - first)) / unitMs + 1e-3);
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it('forgets buckets that are full again', () => {
    const store = createMemoryStore();
    const limit = { amount: 10, unitMs: 1_000 };
    for (let i = 0; i < 1_000; i += 1) store.take([{ key: `k${i}`, limit, hits: 10 }], 0);
    expect(store.size()).toBe(1_000);
    for (let i = 0; i < 2_000; i += 1) store.take([{ key: 'one', limit, hits: 1 }], 1_001);
    expect(store.size()).toBe(1);
  });

  it('keeps a bucket that is not full, however many others come', () => {
    const store = createMemoryStore();
    const limit = { amount: 10, unitMs: 1e9 };
    store.take([{ key: 'mine', limit, hits: 10 }], 0);
    for (let i = 0; i < 5_000; i += 1) store.take([{ key: `k${i}`, limit, hits: 0 }], 0);
    expect(store.take([{ key: 'mine', limit, hits: 1 }], 0)[0]?.granted).toBe(false);
  });
});

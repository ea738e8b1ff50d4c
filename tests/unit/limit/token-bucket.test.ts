import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createTokenBucket } from '../../../src/limit/token-bucket.ts';

const arbLimit = fc.record({
  perMinute: fc.integer({ min: 1, max: 1_000_000 }),
  burst: fc.integer({ min: 1, max: 100_000 }),
});
/** A step moves the clock, also backwards, and asks for something. */
const arbSteps = fc.array(
  fc.record({
    advanceMs: fc.double({ min: -5_000, max: 60_000, noNaN: true }),
    amount: fc.integer({ min: 0, max: 200_000 }),
    used: fc.option(fc.integer({ min: 0, max: 200_000 }), { nil: undefined }),
  }),
  { maxLength: 60 },
);

describe('a token bucket', () => {
  it('never grants more than burst + rate · time, whatever the clock does', () => {
    fc.assert(
      fc.property(arbLimit, arbSteps, (limit, steps) => {
        const bucket = createTokenBucket(limit, 0);
        let now = 0;
        let latest = 0;
        let granted = 0;
        for (const { advanceMs, amount } of steps) {
          now += advanceMs;
          latest = Math.max(latest, now);
          if (bucket.take(amount, now).kind === 'taken') granted += amount;
          expect(granted).toBeLessThanOrEqual(limit.burst + (limit.perMinute * latest) / 60_000 + 1e-3);
        }
      }),
    );
  });

  it('grants after retryAfterMs what it refused', () => {
    fc.assert(
      fc.property(arbLimit, fc.integer({ min: 1, max: 100_000 }), (limit, amount) => {
        const bucket = createTokenBucket(limit, 0);
        bucket.take(limit.burst, 0);
        const refused = bucket.take(amount, 0);
        if (amount > limit.burst) expect(refused.kind).toBe('never');
        else {
          expect(refused.kind).toBe('short');
          if (refused.kind === 'short') expect(bucket.take(amount, refused.retryAfterMs).kind).toBe('taken');
        }
      }),
    );
  });

  it('counts what was used, not what was reserved, and pays debt before it grants again', () => {
    fc.assert(
      fc.property(arbLimit, arbSteps, (limit, steps) => {
        const bucket = createTokenBucket(limit, 0);
        let now = 0;
        for (const { advanceMs, amount, used } of steps) {
          now += Math.max(0, advanceMs);
          const before = bucket.available(now);
          if (bucket.take(amount, now).kind !== 'taken') continue;
          bucket.settle(amount, used ?? amount, now);
          expect(bucket.available(now)).toBeCloseTo(Math.min(limit.burst, before - (used ?? amount)), 3);
        }
      }),
    );
    const bucket = createTokenBucket({ perMinute: 60, burst: 10 }, 0);
    bucket.take(1, 0);
    bucket.settle(1, 20, 0);
    expect(bucket.available(0)).toBe(-10);
    expect(bucket.take(1, 10_000)).toEqual({ kind: 'short', retryAfterMs: 1_000 });
  });

  it('keeps its level over a reload, cut to the new burst', () => {
    const bucket = createTokenBucket({ perMinute: 60, burst: 100 }, 0);
    bucket.take(90, 0);
    bucket.reconfigure({ perMinute: 60, burst: 1_000 }, 0);
    expect(bucket.available(0)).toBe(10);
    bucket.reconfigure({ perMinute: 60, burst: 5 }, 0);
    expect(bucket.available(0)).toBe(5);
  });

  it('tells when it is full again', () => {
    const bucket = createTokenBucket({ perMinute: 60, burst: 10 }, 0);
    expect(bucket.msUntilFull(0)).toBe(0);
    bucket.take(4, 0);
    expect(bucket.msUntilFull(0)).toBe(4_000);
    expect(bucket.msUntilFull(1_000)).toBe(3_000);
  });
});

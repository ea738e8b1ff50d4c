import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_SLOW_START, rampedLimit, slowStartWeight } from '../../../../src/pool/health/slow-start.ts';

describe('an endpoint that came back', () => {
  it('takes a tenth at first, half after half the ramp, and all of it after the ramp', () => {
    const weight = (nowMs: number) => slowStartWeight(1_000, DEFAULT_SLOW_START, nowMs);
    expect([0, 1_000, 16_000, 31_000, 1e9].map(weight)).toEqual([0.1, 0.1, 0.5, 1, 1]);
  });
  it('takes all of it when it was never away, or has no ramp', () => {
    expect(slowStartWeight(undefined, DEFAULT_SLOW_START, 0)).toBe(1);
    expect(slowStartWeight(0, { ...DEFAULT_SLOW_START, rampMs: 0 }, 0)).toBe(1);
  });
  it('never takes less as time goes on, and at least one sequence', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.2, max: 5, noNaN: true }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        fc.nat(40_000),
        fc.nat(40_000),
        fc.nat(500),
        (aggression, floor, a, b, window) => {
          const config = { rampMs: 30_000, floor, aggression };
          const [before, after] = [Math.min(a, b), Math.max(a, b)].map((ms) =>
            slowStartWeight(0, config, ms),
          );
          expect(after).toBeGreaterThanOrEqual(before ?? 2);
          expect(before).toBeGreaterThanOrEqual(floor);
          const ramped = rampedLimit(window, before ?? 0);
          expect(ramped).toBeLessThanOrEqual(window);
          expect(ramped > 0).toBe(window > 0);
        },
      ),
    );
  });
});

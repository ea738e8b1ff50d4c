import { describe, expect, it } from 'vitest';
import { createSequentialTest } from '../../../src/rollout/sequential.ts';

describe('the sequential test', () => {
  it('calls a canary worse whose first three outcomes are bad while the stable arm has none', () => {
    const test = createSequentialTest(0.005);
    const outcomes = Array.from({ length: 3 }, () => {
      for (let i = 0; i < 9; i += 1) expect(test.outcome(false, false, 0.1)).toBe(false);
      return test.outcome(true, true, 0.1);
    });
    expect(outcomes).toEqual([false, false, true]);
    expect(test.outcome(false, false, 0.1)).toBe(true);
  });
  it('has no opinion on what befalls both arms: the mean ratio of an outcome is 1, whatever the rate of bad ones is', () => {
    for (const share of [0.01, 0.1, 0.5, 0.9]) {
      for (const isBad of [true, false]) {
        const before = createSequentialTest(1e-9);
        before.outcome(true, true, share);
        before.outcome(false, false, share);
        const after = (isCanary: boolean): number => {
          const test = createSequentialTest(1e-9);
          test.outcome(true, true, share);
          test.outcome(false, false, share);
          test.outcome(isCanary, isBad, share);
          return test.ratio();
        };
        expect(share * after(true) + (1 - share) * after(false)).toBeCloseTo(before.ratio(), 9);
      }
    }
  });
  it('finds a change after an hour of good outcomes nearly as soon as at the beginning', () => {
    const badsAfter = (good: number): number => {
      const test = createSequentialTest(0.005);
      for (let i = 0; i < good; i += 1) test.outcome(i % 10 === 0, i % 100 === 5, 0.1);
      for (let bads = 1; ; bads += 1) {
        if (test.outcome(true, true, 0.1)) return bads;
        for (let i = 0; i < 9; i += 1) test.outcome(false, false, 0.1);
      }
    };
    expect(badsAfter(0)).toBeLessThanOrEqual(3);
    expect(badsAfter(72_000)).toBeLessThanOrEqual(6);
  });
  it('stays finite, and does not call a canary worse that is never bad', () => {
    const test = createSequentialTest(0.005);
    for (let i = 0; i < 100_000; i += 1) expect(test.outcome(i % 2 === 0, i % 2 === 1, 0.5)).toBe(false);
    expect(Number.isFinite(test.ratio())).toBe(true);
  });
});

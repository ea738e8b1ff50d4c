/** The wait that is predicted of who joins a pool's queue now. */
import { describe, expect, it } from 'vitest';
import { ReleaseInterval } from '../../../src/queue/retry-after.ts';

describe('the predicted wait', () => {
  it('is nothing where nobody waits, whatever was', () => {
    const interval = new ReleaseInterval();
    expect(interval.predictedWaitMs(0, 0, 5_000)).toBe(0);
    for (let i = 0; i < 10; i += 1) interval.released(1, i * 1_000);
    expect(interval.predictedWaitMs(0, 0, 60_000)).toBe(0);
  });

  it('is the time between two releases for each that waits', () => {
    const interval = new ReleaseInterval();
    for (let i = 0; i <= 200; i += 1) interval.released(10, i * 100);
    expect(interval.predictedWaitMs(10, 0, 20_000)).toBeCloseTo(1_000, 0);
  });

  it('grows while a queue stands still, and has no bound: who scales is to see it', () => {
    const interval = new ReleaseInterval();
    for (let i = 0; i <= 200; i += 1) interval.released(10, i * 100);
    expect(interval.predictedWaitMs(10, 0, 50_000)).toBeCloseTo(300_000, 0);
    expect(interval.retryAfterMs(10)).toBe(1_000);
  });

  it('counts no time in which nobody waited for a slot', () => {
    const interval = new ReleaseInterval();
    for (let i = 0; i <= 200; i += 1) interval.released(10, i * 100);
    expect(interval.predictedWaitMs(1, 3_600_000, 3_600_500)).toBeCloseTo(500, 0);
    interval.emptied();
    expect(interval.predictedWaitMs(1, 3_600_000, 3_600_500)).toBeCloseTo(100, 0);
    interval.released(0, 3_600_500);
    expect(interval.predictedWaitMs(1, 3_600_600, 3_600_600)).toBeCloseTo(100, 0);
  });
});

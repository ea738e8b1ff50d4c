/** GPU-seconds against the truth of the simulated engine's steps. `npm run bench:gpu-seconds` prints the figures of docs/billing.md. */
import { describe, expect, it } from 'vitest';
import { accuracyOf, CASES } from '../../bench/gpu-seconds/accuracy.ts';

const alone = CASES.filter(({ replicas }) => replicas === 1);
const shared = CASES.filter(({ replicas }) => replicas > 1);

describe('GPU-seconds of one Fairlane', () => {
  it.each(alone)('are those of the engine: %j', (one) => {
    const { requests, median, p95, sum } = accuracyOf(one);
    expect(requests).toBeGreaterThan(20);
    expect(median).toBeLessThanOrEqual(0.02);
    expect(p95).toBeLessThanOrEqual(0.2);
    expect(Math.abs(sum - 1)).toBeLessThanOrEqual(0.001);
  });
});

describe('GPU-seconds of two replicas on one engine', () => {
  it.each(shared)('count it once: %j', (one) => {
    for (const load of [0.3, 0.7, 0.95]) {
      const { median, p95, sum } = accuracyOf({ ...one, load });
      expect(Math.abs(sum - 1)).toBeLessThanOrEqual(0.006);
      expect(median).toBeLessThanOrEqual(0.05);
      expect(p95).toBeLessThanOrEqual(0.2);
    }
  });
});

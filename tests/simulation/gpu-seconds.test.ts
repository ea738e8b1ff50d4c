/** GPU-seconds against the truth of the simulated engine's steps. `npm run bench:gpu-seconds` prints the figures of docs/billing.md. */
import { describe, expect, it } from 'vitest';
import { accuracyOf, CASES } from '../../bench/gpu-seconds/accuracy.ts';

const alone = CASES.filter(({ replicas }) => replicas === 1);
const shared = CASES.filter(({ replicas }) => replicas > 1);

describe('GPU-seconds of one Fairlane', () => {
  it.each(alone)('are those of the engine: %j', (one) => {
    // How much of a prompt is cached is not known before the engine says it.
    const isCached = one.mix === 'one long beginning';
    const { requests, median, p95, sum } = accuracyOf(one);
    expect(requests).toBeGreaterThan(20);
    expect(median).toBeLessThanOrEqual(isCached ? 0.1 : 0.02);
    expect(p95).toBeLessThanOrEqual(isCached ? 0.35 : 0.2);
    expect(Math.abs(sum - 1)).toBeLessThanOrEqual(0.001);
  });
});

describe('GPU-seconds of two replicas on one engine', () => {
  it.each(shared)('count it once: %j', (one) => {
    for (const load of [0.3, 0.7, 0.95]) {
      const { median, sum } = accuracyOf({ ...one, load });
      expect(sum).toBeGreaterThan(0.95);
      expect(sum).toBeLessThanOrEqual(1.01);
      expect(median).toBeLessThanOrEqual(0.25);
    }
  });
});

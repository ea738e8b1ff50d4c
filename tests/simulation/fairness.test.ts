/** Claims of the README on a virtual clock, in small: `npm run bench:fairness` has the figures. */
import { describe, expect, it } from 'vitest';
import { aimdLimit, gradientLimit } from '../../bench/concurrency-limits.ts';
import { noisyNeighbour, profileOf } from '../../bench/fairness/loads.ts';
import { compare, jainOf, sloGoodput, variants } from '../../bench/fairness/simulated.ts';

const setup = {
  profile: profileOf('8b', 64),
  tenants: noisyNeighbour(1, 'chat'),
  durationMs: 200_000,
  seed: 1,
};

describe('beside a flooder that offers 1.5 times the capacity', () => {
  const { direct, fairlane, floor, bucket, unsaturated } = compare(setup);

  it('every arm that shares the engine saturates it', () => {
    expect(unsaturated).toEqual([]);
  });
  it('a quiet tenant waits a fiftieth of what it waits without Fairlane, and little more than with a perfect scheduler', () => {
    expect(fairlane.p99 / direct.p99).toBeLessThan(0.02);
    expect(fairlane.p99 / floor.p99).toBeLessThan(1.5);
  });
  it('the engine stays full, which a request bucket does not manage', () => {
    expect(fairlane.tokensPerSecond / direct.tokensPerSecond).toBeGreaterThan(0.96);
    expect(bucket.tokensPerSecond / direct.tokensPerSecond).toBeLessThan(0.9);
  });
  it('nobody is refused while a slot is idle that the reserve does not hold', () => {
    expect(fairlane.refused).toBeGreaterThan(0);
    expect(fairlane.outcome.refusedWhileIdle?.beyondReserve).toBe(0);
  });
});

it('windows by the engine’s gauges are better than by AIMD or a gradient of TTFT', () => {
  const [gauges, aimd, gradient] = variants(setup, {
    gauges: {},
    aimd: { makeLimit: aimdLimit },
    gradient: { makeLimit: gradientLimit },
  });
  expect(gauges?.vsFloor).toBeLessThan(aimd?.vsFloor ?? 0);
  expect(gauges?.vsFloor).toBeLessThan(gradient?.vsFloor ?? 0);
  expect(gauges?.kept).toBeGreaterThan(gradient?.kept ?? 1);
});

it('gauges that are absent, frozen or 0 cost a quiet tenant a few times the floor, and the engine little', () => {
  const frozen = { running: 3, waiting: 0, kvUsage: 0.1 };
  const zero = { running: 0, waiting: 0, kvUsage: 0 };
  const broken = { absent: 'unusable', frozen, zero } as const;
  const results = variants(
    setup,
    Object.fromEntries(Object.entries(broken).map(([name, told]) => [name, { gauges: () => told }])),
  );
  for (const { vsFloor, kept } of results) {
    expect(vsFloor).toBeLessThan(10);
    expect(kept).toBeGreaterThan(0.9);
  }
});

it('SLO mode finds a window about as good as the best fixed one', () => {
  const limits = { ttftMs: 200, itlMs: 15 };
  const { ratio } = sloGoodput(profileOf('8b', 128), limits, { seed: 1, durationMs: 90_000 });
  expect(ratio).toBeGreaterThan(0.85);
});

it('a hundred backlogged tenants get equal service', () => {
  expect(jainOf(profileOf('8b', 64), 100, 1, 120_000)).toBeGreaterThan(0.99);
});

it('the same seed gives the same figures', () => {
  const short = { ...setup, durationMs: 20_000 };
  expect(compare(short).fairlane.p99).toBe(compare(short).fairlane.p99);
});

/** Several engines behind Fairlane as it runs, with prompts that are long and have beginnings in common. */
import { describe, expect, it } from 'vitest';
import { roundRobin } from '../../bench/routing/routers.ts';
import { type MakeRouter, simulate } from '../../bench/routing/simulation.ts';
import { ONE_DOCUMENT, ragTrace, SEVERAL_DOCUMENTS } from '../../bench/routing/traces.ts';
import { wholeFairlane } from '../../bench/routing/whole.ts';
import { parseProfile } from '../../src/simulator/profile.ts';

const profile = parseProfile('8b', {});
const ENDPOINTS = 4;

function run(router: MakeRouter, documents: readonly number[], load: number) {
  const { ttfts, cachedTokens, promptTokens } = simulate(
    ragTrace(documents, {
      seed: 1,
      durationMs: 200_000,
      promptTokensPerSecond: (load * ENDPOINTS * 1_000) / profile.msPerPrefillToken,
      blockTokens: profile.blockTokens,
    }),
    router,
    { profile, endpoints: ENDPOINTS },
  );
  const sorted = [...ttfts].sort((a, b) => a - b);
  const p90 = sorted[Math.floor(0.9 * sorted.length)] ?? Number.NaN;
  return { p90, hitRate: cachedTokens / promptTokens };
}

describe('documents as prompts', () => {
  it.each([0.7, 1])('of great length do not wait for windows that are too small, at load %f', (load) => {
    const others = run(roundRobin, SEVERAL_DOCUMENTS, load);
    expect(run(wholeFairlane(undefined), SEVERAL_DOCUMENTS, load).p90).toBeLessThan(1.25 * others.p90);
    expect(run(wholeFairlane('balanced'), SEVERAL_DOCUMENTS, load).p90).toBeLessThan(0.8 * others.p90);
  });

  it('go where they are cached, through the queue and the windows too', () => {
    const others = run(roundRobin, ONE_DOCUMENT, 0.7);
    const ours = run(wholeFairlane('balanced'), ONE_DOCUMENT, 0.7);
    expect(ours.p90).toBeLessThan(0.7 * others.p90);
    expect(ours.hitRate).toBeGreaterThan(1.4 * others.hitRate);
  });
});

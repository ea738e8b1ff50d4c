import { describe, expect, it } from 'vitest';
import { PROFILE_NAMES, type ProfileName } from '../../../src/domain/routing-profiles.ts';
import { type CandidateState, type ChoiceRequest, ISOLATED } from '../../../src/routing/candidate.ts';
import { choose, newScratch, scoringContextOf } from '../../../src/routing/choose.ts';
import { resolveProfile, weightsFor } from '../../../src/routing/profiles.ts';
import { ALWAYS, endpoint, memory, promptOf, request } from './fixtures.ts';

function chosenBy(
  name: ProfileName,
  candidates: readonly CandidateState[],
  more: Partial<ChoiceRequest> = {},
  matched: Readonly<Record<number, number>> = {},
): number | undefined {
  const profile = resolveProfile({ profile: name });
  const one = request(more);
  const asked = scoringContextOf(candidates, one, memory(matched), ALWAYS, profile.isolate);
  return choose(candidates, asked, weightsFor(profile, one), 0, newScratch())?.candidate.candidateIndex;
}

const LONG = { prompt: promptOf(80_000), promptBytes: 80_000, promptTokens: 20_000, totalTokens: 24_000 };

describe('the profile', () => {
  it('balanced takes the idle endpoint, and the one with the prefix when both are equally busy', () => {
    const uneven = [endpoint(0, { sequences: 40 }), endpoint(1, { sequences: 2 })];
    expect(chosenBy('balanced', uneven)).toBe(1);
    const even = [endpoint(0, { sequences: 10 }), endpoint(1, { sequences: 10 })];
    expect(chosenBy('balanced', even, {}, { 1: 3_900 })).toBe(1);
  });

  it('large-tokens looks for room in the KV cache before free slots', () => {
    const candidates = [
      endpoint(0, { sequences: 2, kvTokens: 70_000 }),
      endpoint(1, { sequences: 20, kvTokens: 20_000 }),
    ];
    expect(chosenBy('large-tokens', candidates, LONG)).toBe(1);
    expect(chosenBy('interactive', candidates)).toBe(0);
  });

  it('interactive does not queue behind a long prompt for what it has cached', () => {
    const candidates = [endpoint(0, { sequences: 4, prefillTokens: 3_000 }), endpoint(1, { sequences: 4 })];
    const matched = { 0: 3_900 };
    expect(chosenBy('interactive', candidates, {}, matched)).toBe(1);
    expect(chosenBy('prefix-cache', candidates, {}, matched)).toBe(0);
  });

  it('prefix-cache goes where most of the prompt is, though another endpoint has less to do', () => {
    const candidates = [endpoint(0, { sequences: 20, prefillTokens: 4_000 }), endpoint(1, { sequences: 10 })];
    expect(chosenBy('prefix-cache', candidates, {}, { 0: 4_000 })).toBe(0);
    expect(chosenBy('balanced', candidates, {}, { 0: 4_000 })).toBe(1);
  });

  it('slow-client-isolation keeps slow clients on their endpoints, and everybody else off them', () => {
    const candidates = [endpoint(0, { flags: ISOLATED, sequences: 50 }), endpoint(1), endpoint(2)];
    expect(chosenBy('slow-client-isolation', candidates, { slow: true })).toBe(0);
    expect(chosenBy('slow-client-isolation', candidates, {}, { 0: 4_000 })).toBe(1);
  });

  it('slow-client-isolation packs slow clients where no endpoint is marked', () => {
    const candidates = [endpoint(0), endpoint(1, { slowClients: 10, sequences: 14 })];
    expect(chosenBy('slow-client-isolation', candidates, { slow: true })).toBe(1);
    expect(chosenBy('slow-client-isolation', candidates)).toBe(0);
  });

  it('class-aware sends each class where its own profile would', () => {
    const candidates = [
      endpoint(0, { sequences: 2, kvTokens: 70_000 }),
      endpoint(1, { sequences: 20, kvTokens: 20_000 }),
      endpoint(2, { flags: ISOLATED, sequences: 30 }),
    ];
    expect(chosenBy('class-aware', candidates)).toBe(0);
    expect(chosenBy('class-aware', candidates, LONG)).toBe(1);
    expect(chosenBy('class-aware', candidates, { slow: true })).toBe(2);
  });

  it('takes the configured weights, for every class', () => {
    for (const name of PROFILE_NAMES) {
      const profile = resolveProfile({ profile: name, weights: { zone: 7 }, largeTokens: 100 });
      for (const more of [{}, LONG, { slow: true }, { stream: false }]) {
        expect(weightsFor(profile, request(more)).zone).toBe(7);
      }
      expect(profile.largeTokens).toBe(100);
    }
  });
});

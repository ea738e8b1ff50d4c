import { describe, expect, it } from 'vitest';
import type { ScorerName } from '../../../src/domain/routing-profiles.ts';
import type { CandidateState } from '../../../src/routing/candidate.ts';
import { choose, newScratch } from '../../../src/routing/choose.ts';
import { ALL_SCORERS } from '../../../src/routing/scorers.ts';
import { ask, endpoint, memory, only } from './fixtures.ts';

const score = (name: ScorerName, candidate: CandidateState, asked = ask([candidate])): number => {
  const scorer = ALL_SCORERS.find((one) => one.name === name);
  if (scorer === undefined) throw new Error(`no scorer ${name}`);
  return scorer.score(candidate, asked);
};

describe('scorers', () => {
  it('load is the free part of the window; what waits in the engine counts twice; a warming endpoint has less', () => {
    expect(score('load', endpoint(0, { sequences: 16 }))).toBe(0.75);
    expect(score('load', endpoint(0, { sequences: 16, waiting: 16 }))).toBe(0.5);
    expect(score('load', endpoint(0, { sequences: 16, startWeight: 0.5 }))).toBe(0.5);
    expect(score('load', endpoint(0, { sequences: 70 }))).toBe(0);
  });

  it('a token ahead in the queue costs what a cached token saves', () => {
    const queued = endpoint(0, { prefillTokens: 700 });
    const free = endpoint(1);
    const sumAt = (candidate: CandidateState, matched: number): number => {
      const asked = ask([candidate], {}, memory({ [candidate.candidateIndex]: matched * 4 }));
      return score('queue', candidate, asked) + score('prefix', candidate, asked);
    };
    expect(sumAt(queued, 700)).toBeCloseTo(sumAt(free, 0), 12);
    expect(sumAt(queued, 701)).toBeGreaterThan(sumAt(free, 0));
  });

  it('a prefix counts beyond what every endpoint has', () => {
    const asked = ask([endpoint(0)], {}, { ...memory({ 0: 2_000 }), matchedEverywhere: 1_000 });
    const without = ask([endpoint(0)], {}, memory({ 0: 1_000 }));
    expect(score('prefix', endpoint(0), asked)).toBe(score('prefix', endpoint(0), without));
    expect(score('prefix', endpoint(1), asked)).toBe(0);
  });

  it('KV room is what is left when all has grown as predicted; unknown is neither good nor bad', () => {
    const asked = ask([], { totalTokens: 20_000 });
    expect(score('kvRoom', endpoint(0, { kvTokens: 30_000 }), asked)).toBe(0.5);
    expect(score('kvRoom', endpoint(0, { kvTokens: 90_000 }), asked)).toBe(0);
    expect(score('kvRoom', endpoint(0, { kvCapacityTokens: 0 }), asked)).toBe(0.5);
  });

  it('an adapter is best where it is loaded, then loading, then where a place is free, then where one can be made', () => {
    const asked = ask([], { adapter: 'sql' });
    const other = new Set(['other']);
    const scores = [
      endpoint(0, { adapters: new Set(['sql']) }),
      endpoint(0, { adaptersLoading: new Set(['sql']) }),
      endpoint(0, { adapters: other }),
      endpoint(0, { adapters: other, adaptersMax: 1, adaptersIdle: 1 }),
      endpoint(0, { adapters: other, adaptersMax: 1 }),
    ].map((candidate) => score('adapter', candidate, asked));
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
    expect(new Set(scores).size).toBe(5);
  });

  it('slow clients are packed up to half a window, and others keep away from them', () => {
    const [none, some, many] = [0, 8, 32].map((slowClients) => endpoint(0, { slowClients }));
    const asked = ask([], { slow: true });
    expect(score('slowClients', some as CandidateState, asked)).toBeGreaterThan(
      score('slowClients', none as CandidateState, asked),
    );
    expect(score('slowClients', many as CandidateState, asked)).toBe(0);
    expect(score('slowClients', some as CandidateState)).toBeLessThan(
      score('slowClients', none as CandidateState),
    );
  });

  it('a zone is a preference, not a wall', () => {
    const candidates = [endpoint(0, { zone: 'b' }), endpoint(1, { zone: 'a' })];
    const asked = ask(candidates, { zone: 'a' });
    expect(choose(candidates, asked, only('zone'), 0, newScratch())?.candidate.candidateIndex).toBe(1);
    expect(choose([candidates[0] as CandidateState], asked, only('zone'), 0, newScratch())).toBeDefined();
  });
});

describe('attraction', () => {
  const choiceOf = (candidates: readonly CandidateState[], asked = ask(candidates)) =>
    choose(candidates, asked, { ...only('load'), prefix: 100, session: 100 }, 0, newScratch())?.candidate
      .candidateIndex;

  it('a prefix or a session draws to its endpoint, but not above the bound over the mean use', () => {
    for (const known of [memory({ 0: 4_000 }), memory({}, 0)]) {
      const calm = [endpoint(0, { sequences: 20 }), endpoint(1, { sequences: 15 })];
      expect(choiceOf(calm, ask(calm, {}, known))).toBe(0);
      const hot = [endpoint(0, { sequences: 60 }), endpoint(1, { sequences: 15 })];
      expect(choiceOf(hot, ask(hot, {}, known))).toBe(1);
    }
  });

  it('hardly used endpoints attract however uneven they are', () => {
    const candidates = [endpoint(0, { sequences: 6 }), ...[1, 2, 3].map((slot) => endpoint(slot))];
    expect(choiceOf(candidates, ask(candidates, {}, memory({ 0: 4_000 })))).toBe(0);
  });

  it('a prefix that everybody asks for spreads over all endpoints', () => {
    const candidates = Array.from({ length: 8 }, (_, slot) => endpoint(slot));
    const matched: Record<number, number> = {};
    for (let i = 0; i < 8 * 60; i += 1) {
      const slot = choiceOf(candidates, ask(candidates, {}, memory(matched))) ?? -1;
      const chosen = candidates[slot] as CandidateState;
      chosen.sequences += 1;
      matched[slot] = 4_000;
      const used = candidates.map(({ sequences }) => sequences);
      const mean = used.reduce((sum, one) => sum + one, 0) / used.length;
      expect(Math.max(...used)).toBeLessThanOrEqual(1.25 * mean + 64 / 8 + 1);
    }
  });
});

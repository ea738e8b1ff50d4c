import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PROFILE_NAMES } from '../../../src/domain/routing-profiles.ts';
import {
  type Candidate,
  type CandidateState,
  type ChoiceRequest,
  DRAINING,
  EJECTED,
  type EndpointQueries,
  GUARDED,
  ISOLATED,
  UNHEALTHY,
} from '../../../src/routing/candidate.ts';
import { choose, newScratch, scoringContextOf } from '../../../src/routing/choose.ts';
import { explain } from '../../../src/routing/explain.ts';
import { ALL_FILTERS } from '../../../src/routing/filters.ts';
import { resolveProfile, weightsFor } from '../../../src/routing/profiles.ts';
import { ALL_SCORERS } from '../../../src/routing/scorers.ts';
import { ALWAYS, ask, endpoint, memory, only, request } from './fixtures.ts';

const BALANCED = resolveProfile({ profile: 'balanced' }).weights;
const pick = (candidates: readonly CandidateState[], asked = ask(candidates), turn = 0, weights = BALANCED) =>
  choose(candidates, asked, weights, turn, newScratch());

const arbEndpoint = fc.record({
  flags: fc
    .subarray([UNHEALTHY, EJECTED, DRAINING, GUARDED, ISOLATED])
    .map((bits) => bits.reduce((sum, bit) => sum + bit, 0)),
  sequences: fc.nat(80),
  waiting: fc.nat(5),
  concurrencyLimit: fc.nat(64),
  startWeight: fc.constantFrom(0.1, 0.5, 1),
  prefillTokens: fc.nat(40_000),
  kvTokens: fc.nat(150_000),
  kvCapacityTokens: fc.constantFrom(0, 100_000),
  adapters: fc.subarray(['x', 'y', 'z']).map((names) => new Set(names)),
  adaptersLoading: fc.subarray(['x', 'w']).map((names) => new Set(names)),
  adaptersMax: fc.nat(4),
  adaptersIdle: fc.nat(2),
  slowClients: fc.nat(80),
  zone: fc.constantFrom(undefined, 'a', 'b'),
});
const arbCase = fc.record({
  states: fc.array(arbEndpoint, { maxLength: 12 }),
  rooms: fc.array(fc.boolean(), { minLength: 12, maxLength: 12 }),
  permits: fc.array(fc.boolean(), { minLength: 12, maxLength: 12 }),
  matched: fc.array(fc.nat(400_000), { minLength: 12, maxLength: 12 }),
  everywhere: fc.nat(1_000),
  sessionCandidate: fc.integer({ min: -1, max: 12 }),
  adapter: fc.constantFrom(undefined, 'x', 'w', 'q'),
  zone: fc.constantFrom(undefined, 'a'),
  subset: fc.option(fc.subarray(Array.from({ length: 12 }, (_, i) => `10.0.0.${i}:8000`)), {
    nil: undefined,
  }),
  promptTokens: fc.nat(50_000),
  totalTokens: fc.nat(60_000),
  slow: fc.boolean(),
  stream: fc.boolean(),
  isolate: fc.boolean(),
  profile: fc.constantFrom(...PROFILE_NAMES),
  turn: fc.nat(100),
});

type Case = typeof arbCase extends fc.Arbitrary<infer T> ? T : never;

function set(one: Case) {
  const candidates = one.states.map((state, slot) => endpoint(slot, state));
  const { adapter, zone, subset } = one;
  const asked: ChoiceRequest = request({
    promptTokens: one.promptTokens,
    totalTokens: one.totalTokens,
    slow: one.slow,
    stream: one.stream,
    ...(adapter !== undefined && { adapter }),
    ...(zone !== undefined && { zone }),
    ...(subset !== undefined && { subset: new Set(subset) }),
  });
  const asks: EndpointQueries = {
    room: ({ candidateIndex: slot }) => one.rooms[slot] ?? false,
    permits: ({ candidateIndex: slot }) => one.permits[slot] ?? false,
  };
  const known = {
    ...memory(Object.fromEntries(one.matched.entries()), one.sessionCandidate),
    matchedEverywhere: one.everywhere,
  };
  const weights = weightsFor(resolveProfile({ profile: one.profile }), asked);
  return { candidates, weights, asked: scoringContextOf(candidates, asked, known, asks, one.isolate) };
}

describe('the choice', () => {
  it('passes all filters, and is only missing when no endpoint passes them', () => {
    fc.assert(
      fc.property(arbCase, (one) => {
        const { candidates, weights, asked } = set(one);
        const passing = candidates.filter((candidate) =>
          ALL_FILTERS.every((filter) => filter.passes(candidate, asked)),
        );
        const choice = pick(candidates, asked, one.turn, weights);
        if (choice === undefined) expect(passing).toEqual([]);
        else expect(passing).toContain(choice.candidate);
      }),
    );
  });

  it('names at most three fallbacks, each another endpoint that passes every filter but room', () => {
    fc.assert(
      fc.property(arbCase, (one) => {
        const { candidates, weights, asked } = set(one);
        const choice = pick(candidates, asked, one.turn, weights);
        if (choice === undefined) return;
        const named = [choice.candidate, ...choice.fallbacks];
        expect(new Set(named).size).toBe(named.length);
        expect(choice.fallbacks.length).toBeLessThanOrEqual(3);
        for (const fallback of choice.fallbacks) {
          for (const { name, passes } of ALL_FILTERS) {
            if (name !== 'room') expect(passes(fallback, asked)).toBe(true);
          }
        }
      }),
    );
  });

  it('has the highest sum of all that pass, and explain() says the same of every endpoint', () => {
    fc.assert(
      fc.property(arbCase, (one) => {
        const { candidates, weights, asked } = set(one);
        const report = explain(candidates, asked, weights, one.turn);
        const choice = pick(candidates, asked, one.turn, weights);
        expect(report.chosen).toBe(choice?.candidate.address);
        const sums = report.endpoints
          .filter(({ filters }) => filters.every(({ passes }) => passes))
          .map(({ sum }) => sum);
        const chosen = report.endpoints.find(({ place }) => place === 0);
        if (chosen !== undefined) expect(chosen.sum).toBeCloseTo(Math.max(...sums), 9);
      }),
    );
  });

  it('scores everything from 0 to 1', () => {
    fc.assert(
      fc.property(arbCase, (one) => {
        const { candidates, asked } = set(one);
        for (const candidate of candidates) {
          for (const { score } of ALL_SCORERS) {
            const value = score(candidate, asked);
            expect(value).toBeGreaterThanOrEqual(0);
            expect(value).toBeLessThanOrEqual(1);
          }
        }
      }),
    );
  });

  it('is the same for the same arguments, and whatever the order when no sums are equal', () => {
    fc.assert(
      fc.property(arbCase, (one) => {
        const { candidates, weights, asked } = set(one);
        const choice = pick(candidates, asked, one.turn, weights);
        expect(pick(candidates, asked, one.turn, weights)).toEqual(choice);
        const { endpoints } = explain(candidates, asked, weights, one.turn);
        const sums = endpoints.map(({ sum }) => sum.toPrecision(10));
        if (new Set(sums).size < sums.length) return;
        expect(pick(candidates.toReversed(), asked, one.turn, weights)?.candidate).toBe(choice?.candidate);
      }),
    );
  });

  it('goes round endpoints that are equal', () => {
    const candidates = [0, 1, 2].map((slot) => endpoint(slot));
    const slots = [0, 1, 2, 3, 4].map(
      (turn) => pick(candidates, ask(candidates), turn)?.candidate.candidateIndex,
    );
    expect(slots).toEqual([0, 1, 2, 0, 1]);
  });

  it('breaks ties by the fewest sequences', () => {
    const candidates = [endpoint(0, { sequences: 70 }), endpoint(1, { sequences: 65 })];
    expect(pick(candidates, ask(candidates), 0, only('load'))?.candidate.candidateIndex).toBe(1);
  });

  it('asks for room of few of a thousand endpoints, and of all that pass when none has any', () => {
    const candidates = Array.from({ length: 1_000 }, (_, slot) =>
      endpoint(slot, { sequences: (slot * 37) % 61 }),
    );
    const asked: Candidate[] = [];
    const asking = (answer: boolean): EndpointQueries => ({
      room(candidate) {
        asked.push(candidate);
        return answer;
      },
      permits: () => true,
    });
    expect(pick(candidates, ask(candidates, {}, memory(), asking(true)))?.candidate.sequences).toBe(0);
    expect(asked.length).toBeLessThan(30);
    asked.length = 0;
    expect(pick(candidates, ask(candidates, {}, memory(), asking(false)))).toBeUndefined();
    expect(new Set(asked).size).toBe(1_000);
  });

  it('asks a breaker only where one is not closed', () => {
    const asked: number[] = [];
    const asks: EndpointQueries = {
      room: () => true,
      permits({ candidateIndex: slot }) {
        asked.push(slot);
        return false;
      },
    };
    const candidates = [endpoint(0, { flags: GUARDED }), endpoint(1, { sequences: 10 })];
    const choice = pick(candidates, ask(candidates, {}, memory(), asks));
    expect(choice?.candidate.candidateIndex).toBe(1);
    expect(choice?.fallbacks).toEqual([]);
    expect(asked).toEqual([0]);
  });

  it('is nobody in an empty pool', () => {
    expect(pick([])).toBeUndefined();
  });

  it('leaves room for nothing at an endpoint without a window', () => {
    const candidates = [endpoint(0, { concurrencyLimit: 0 }), endpoint(1, { sequences: 63 })];
    const asked = ask(candidates, {}, memory(), {
      ...ALWAYS,
      room: ({ concurrencyLimit: window }) => window > 0,
    });
    expect(pick(candidates, asked)?.candidate.candidateIndex).toBe(1);
  });
});

describe('filters', () => {
  const passing = (candidates: readonly CandidateState[], asked = ask(candidates)): readonly number[] =>
    candidates
      .filter((candidate) => ALL_FILTERS.every((filter) => filter.passes(candidate, asked)))
      .map(({ candidateIndex: slot }) => slot);

  it('keep out what is down, ejected or draining', () => {
    const flags = [UNHEALTHY, EJECTED, DRAINING, 0];
    expect(passing(flags.map((bits, slot) => endpoint(slot, { flags: bits })))).toEqual([3]);
  });

  it('keep an adapter to endpoints that have it or take adapters', () => {
    const candidates = [
      endpoint(0, { adaptersMax: 0 }),
      endpoint(1, { adaptersMax: 0, adapters: new Set(['sql']) }),
      endpoint(2, { adaptersMax: 1, adapters: new Set(['other']) }),
    ];
    expect(passing(candidates, ask(candidates, { adapter: 'sql' }))).toEqual([1, 2]);
    expect(passing(candidates)).toEqual([0, 1, 2]);
  });

  it('keep slow clients and others apart, as long as each side has somebody', () => {
    const candidates = [endpoint(0, { flags: ISOLATED }), endpoint(1)];
    const sideOf = (slow: boolean) => passing(candidates, ask(candidates, { slow }, memory(), ALWAYS, true));
    expect(sideOf(true)).toEqual([0]);
    expect(sideOf(false)).toEqual([1]);
    (candidates[0] as CandidateState).flags |= DRAINING;
    expect(sideOf(true)).toEqual([1]);
  });

  it('narrow a request to its subset of addresses', () => {
    const candidates = [endpoint(0), endpoint(1), endpoint(2)];
    const subset = new Set(['10.0.0.2:8000', '10.9.9.9:1']);
    expect(passing(candidates, ask(candidates, { subset }))).toEqual([2]);
  });
});

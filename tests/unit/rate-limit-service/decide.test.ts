import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CallSettings } from '../../../src/config/rate-limit.ts';
import { createMemoryStore } from '../../../src/limit/memory-store.ts';
import { type CountedHit, type Decision, decide } from '../../../src/rate-limit-service/decide.ts';
import { loadLimits } from '../../../src/rate-limit-service/limits-config.ts';
import type { Descriptor } from '../../../src/rate-limit-service/match.ts';
import { CALL_SETTINGS } from '../../support/call-settings.ts';
import { cpuMs } from '../../support/cpu-time.ts';

const CONFIG = `
domain: shop
descriptors:
  - key: path
    rate_limit: { unit: minute, requests_per_unit: 10, name: any-path }
  - key: path
    value: /login
    rate_limit: { unit: minute, requests_per_unit: 2 }
  - key: path
    value: /static/*
    rate_limit: { unlimited: true }
  - key: path
    value: /api/*/users
    rate_limit: { unit: second, requests_per_unit: 3 }
  - key: user
    descriptors:
      - key: plan
        value: free
        rate_limit: { unit: hour, requests_per_unit: 5 }
      - key: plan
        rate_limit: { unit: hour, requests_per_unit: 50 }
  - key: shadowed
    shadow_mode: true
    rate_limit: { unit: minute, requests_per_unit: 1 }
  - key: boss
    rate_limit: { unit: minute, requests_per_unit: 100, replaces: [{ name: any-path }] }
  - key: shared
    value: team-*
    share_threshold: true
    rate_limit: { unit: minute, requests_per_unit: 2 }
  - key: tokens
    value_to_metric: true
    rate_limit: { unit: minute, requests_per_unit: 1000 }
  - key: quota-a
    quota_mode: true
    rate_limit: { unit: minute, requests_per_unit: 1 }
  - key: quota-b
    quota_mode: true
    rate_limit: { unit: minute, requests_per_unit: 2 }
  - key: detailed
    detailed_metric: true
    rate_limit: { unit: minute, requests_per_unit: 1 }
  - key: never
    rate_limit: { unit: day, requests_per_unit: 0 }
`;

const of = (...pairs: readonly (readonly [string, string])[]): Descriptor => ({
  entries: pairs.map(([key, value]) => ({ key, value })),
  negative: false,
});

function setup(settings: Partial<CallSettings> = {}) {
  const loaded = loadLimits([{ name: 'f', text: CONFIG }], false);
  if (loaded.kind === 'bad') throw new Error(loaded.problem);
  const hits: CountedHit[] = [];
  const context = {
    domains: loaded.domains,
    store: createMemoryStore(),
    settings: { ...CALL_SETTINGS, ...settings },
    onHit: (hit: CountedHit) => hits.push(hit),
    onProblem: () => undefined,
    unixMs: () => 0,
  };
  const ask = (
    descriptors: readonly Descriptor[],
    options: { hits?: number; domain?: string; at?: number } = {},
  ) => {
    const decision = decide(
      { domain: options.domain ?? 'shop', descriptors, hits: options.hits ?? 0 },
      context,
      options.at ?? 0,
    ) as Decision;
    if (decision.kind === 'error') throw new Error(decision.message);
    return decision.answer;
  };
  const overs = (count: number, descriptor: Descriptor, at = 0): readonly boolean[] =>
    Array.from({ length: count }, () => ask([descriptor], { at }).over);
  return { ask, overs, hits };
}

describe('a descriptor', () => {
  it.each<[string, Descriptor, number | undefined]>([
    ['its exact value', of(['path', '/login']), 2],
    ['a wildcard in the middle', of(['path', '/api/7/users']), 3],
    ['its bare key', of(['path', '/else']), 10],
    ['no limit when unlimited', of(['path', '/static/x.css']), undefined],
    ['a nested exact value', of(['user', 'ann'], ['plan', 'free']), 5],
    ['a nested bare key', of(['user', 'ann'], ['plan', 'gold']), 50],
    ['nothing where it is too short', of(['user', 'ann']), undefined],
    ['nothing where it is too long', of(['path', '/login'], ['more', 'x']), undefined],
    ['nothing for an unknown key', of(['nobody', 'x']), undefined],
    ['nothing without entries', of(), undefined],
  ])('has the limit of %s', (_, descriptor, limit) => {
    const { ask } = setup();
    const [status] = ask([descriptor]).statuses;
    expect(status?.over).toBe(false);
    expect(status?.rate?.requestsPerUnit).toBe(limit);
  });

  it('does not go back to a bare key when its exact value leads nowhere', () => {
    const { ask } = setup();
    expect(ask([of(['path', '/login'], ['x', 'y'])]).statuses[0]?.rate).toBeUndefined();
  });

  it('of an unknown domain is let through, and its override too', () => {
    const { ask } = setup();
    const override = { ...of(['a', 'b']), override: { requestsPerUnit: 1, unit: 1 } };
    expect(ask([override], { domain: 'nowhere' }).statuses[0]?.rate).toBeUndefined();
  });

  it('with a limit of its own has that, in known domains', () => {
    const { overs } = setup();
    const override = { ...of(['anything', 'x']), override: { requestsPerUnit: 2, unit: 3 } };
    expect(overs(3, override)).toEqual([false, false, true]);
  });

  it('whose override has a unit that is none is let through', () => {
    const { overs } = setup();
    const override = { ...of(['anything', 'x']), override: { requestsPerUnit: 0, unit: 99 } };
    expect(overs(3, override)).toEqual([false, false, false]);
  });
});

describe('a limit', () => {
  it('is a bucket: no double burst at the edge of a window, and what refills is let through', () => {
    const { overs, ask } = setup();
    const login = of(['path', '/login']);
    expect(overs(3, login, 59_999)).toEqual([false, false, true]);
    expect(overs(1, login, 60_001)).toEqual([true]);
    expect(overs(2, login, 90_001)).toEqual([false, true]);
    expect(ask([login], { at: 200_000 }).statuses[0]?.remaining).toBe(1);
  });

  it('tells what is left and when it is full again', () => {
    const { ask } = setup();
    const answer = ask([of(['path', '/x']), of(['path', '/login'])]);
    expect(answer.statuses.map(({ remaining, resetMs }) => [remaining, resetMs])).toEqual([
      [9, 6_000],
      [1, 30_000],
    ]);
    expect(answer.headers).toEqual([
      ['RateLimit-Limit', '2'],
      ['RateLimit-Remaining', '1'],
      ['RateLimit-Reset', '30'],
    ]);
  });

  it('of 0 lets nothing through', () => {
    expect(setup().overs(2, of(['never', 'x']))).toEqual([true, true]);
  });

  it('is apart for each value, and one for all that a shared wildcard matches', () => {
    const { overs } = setup();
    expect([...overs(2, of(['path', '/login'])), ...overs(1, of(['path', '/logout']))]).toEqual([
      false,
      false,
      false,
    ]);
    expect([
      ...overs(1, of(['shared', 'team-a'])),
      ...overs(1, of(['shared', 'team-b'])),
      ...overs(1, of(['shared', 'team-c'])),
    ]).toEqual([false, false, true]);
  });

  it('cannot be reached through another one by clever values', () => {
    const { ask } = setup();
    for (let i = 0; i < 5; i += 1) ask([of(['user', 'a'], ['plan', 'free'])]);
    expect(ask([of(['user', 'a:plan'], ['plan', 'free'])]).over).toBe(false);
    expect(ask([of(['user', 'a'], ['plan', 'free'])]).over).toBe(true);
  });

  it('in shadow mode counts and lets through; so does all of a service in shadow mode', () => {
    const { overs, hits } = setup();
    expect(overs(3, of(['shadowed', 'x']))).toEqual([false, false, false]);
    expect(hits.map(({ outcome }) => outcome)).toEqual(['within', 'shadow', 'shadow']);
    expect(setup({ shadowMode: true }).overs(4, of(['path', '/login']))).toEqual([
      false,
      false,
      false,
      false,
    ]);
  });

  it('that another one of the request replaces does not count', () => {
    const { ask } = setup();
    const both = [of(['path', '/x']), of(['boss', 'x'])];
    for (let i = 0; i < 20; i += 1) expect(ask(both).over).toBe(false);
    expect(ask([of(['path', '/x'])]).statuses[0]?.remaining).toBe(9);
  });

  it('in quota mode refuses only when all quotas of the request are over', () => {
    const { ask } = setup();
    const both = [of(['quota-a', 'x']), of(['quota-b', 'x'])];
    expect([ask(both).over, ask(both).over, ask(both).over]).toEqual([false, false, true]);
    const [a, b] = ask(both).statuses;
    expect([a?.over, b?.over]).toEqual([true, true]);
  });

  it('has its metrics by what is configured, or by values where that is wanted', () => {
    const { ask, hits } = setup();
    ask([of(['path', '/else']), of(['tokens', 'ann']), of(['detailed', 'x']), of(['path', '/api/1/users'])]);
    ask([{ ...of(['secret', 'ann']), override: { requestsPerUnit: 1, unit: 1 } }]);
    expect(hits.map(({ metricKey }) => metricKey)).toEqual([
      'shop.path',
      'shop.tokens_ann',
      'shop.detailed_x',
      'shop.path_/api/*/users',
      'shop.override',
    ]);
  });
});

describe('hits', () => {
  const tokens = of(['tokens', 'ann']);
  const left = (answer: ReturnType<ReturnType<typeof setup>['ask']>): number =>
    answer.statuses[0]?.remaining ?? -1;

  it('of the request count for descriptors that say nothing; 0 means 1', () => {
    const { ask } = setup();
    expect(left(ask([tokens], { hits: 100 }))).toBe(900);
    expect(left(ask([tokens]))).toBe(899);
    expect(left(ask([{ ...tokens, hits: 99 }], { hits: 5 }))).toBe(800);
  });

  it('of 0 on a descriptor only check', () => {
    const { ask } = setup();
    const check = { ...tokens, hits: 0 };
    expect([ask([check]).over, left(ask([check]))]).toEqual([false, 1_000]);
    ask([tokens], { hits: 1_000 });
    expect(ask([check]).over).toBe(true);
  });

  it('that are negative give back, never more than there was', () => {
    const { ask } = setup();
    ask([tokens], { hits: 600 });
    expect(left(ask([{ ...tokens, hits: 100, negative: true }]))).toBe(500);
    expect(ask([{ ...tokens, hits: 1e9, negative: true }])).toMatchObject({
      over: false,
      statuses: [{ remaining: 1_000 }],
    });
  });

  it('that report what has been used are charged though they are too many, down to a debt of one bucket', () => {
    const { ask } = setup();
    expect(ask([tokens], { hits: 1_500 }).over).toBe(true);
    expect(ask([tokens], { at: 29_000 }).over).toBe(true);
    expect(ask([tokens], { at: 31_000 }).over).toBe(false);
    ask([tokens], { hits: 1e12, at: 31_000 });
    expect(ask([tokens], { at: 31_000 + 59_000 }).over).toBe(true);
    expect(ask([tokens], { at: 31_000 + 61_000 }).over).toBe(false);
  });
});

describe('a call that cannot be answered', () => {
  it.each([
    ['', [of(['a', 'b'])], 'rate limit domain must not be empty'],
    ['shop', [], 'rate limit descriptor list must not be empty'],
  ])('is an error in the reference service’s words', (domain, descriptors, message) => {
    const { ask } = setup();
    expect(() => ask(descriptors, { domain })).toThrow(message);
  });
});

it('grants no more than the burst and what time brings, whatever is asked', () => {
  const arbStep = fc.record({
    hits: fc.integer({ min: 1, max: 400 }),
    wait: fc.integer({ min: -5_000, max: 20_000 }),
    refund: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(arbStep, { maxLength: 100 }), (steps) => {
      const { ask } = setup();
      let now = 0;
      let first: number | undefined;
      let latest = Number.NEGATIVE_INFINITY;
      let granted = 0;
      let given = 0;
      for (const { hits, wait, refund } of steps) {
        now += wait;
        first ??= now;
        latest = Math.max(latest, now);
        const descriptor = { ...of(['tokens', 'x']), hits, negative: refund };
        const { over } = ask([descriptor], { at: now });
        if (refund) given += hits;
        else if (!over) granted += hits;
        expect(granted - given).toBeLessThanOrEqual(1_000 + ((latest - first) * 1_000) / 60_000 + 1);
      }
    }),
  );
});

it('takes a time that grows with the descriptors of a call, and not with their square', () => {
  const { ask } = setup({ chargeRefused: false, dynamicMetadata: 'on' });
  const many = (key: string): readonly Descriptor[] => Array.from({ length: 80_000 }, () => of([key, 'x']));
  const begun = cpuMs();
  const { over, statuses } = ask([...many('tokens'), ...many('nobody'), of(['never', 'x'])]);
  expect(cpuMs() - begun).toBeLessThan(4_000);
  expect(over).toBe(true);
  expect(statuses.at(-1)?.over).toBe(true);
});

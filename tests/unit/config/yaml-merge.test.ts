/** Anchors, aliases, merge keys and sections of the user's own. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readYaml } from '../../../src/config/yaml-source.ts';
import { cpuMs } from '../../support/cpu-time.ts';
import { configOf, minimal, parse, put } from './parse.ts';

const problemsOf = (text: string): string => {
  const parsed = parse(text);
  return parsed.kind === 'bad' ? parsed.problems.join('\n') : '';
};

const TEXT = `
x-limits: &limits { requestsPerMinute: 60, weight: 2 }
x-tenant: &tenant
  limits: { <<: *limits, weight: 3 }
  models: "*"
pools:
  main: { endpoints: ["http://127.0.0.1:8000"] }
tiers:
  silver: *limits
  gold: { <<: *limits, tokensPerMinute: 1000 }
tenants:
  alice: { <<: *tenant, keys: [key-of-alice] }
  bob:
    <<: [{ limits: { weight: 7 } }, *tenant]
    keys: [key-of-bob-too]
`;

describe('anchors and merge keys', () => {
  it('give what is shared, with own keys and earlier sources first', () => {
    const parsed = parse(TEXT);
    if (parsed.kind === 'bad') throw new Error(parsed.problems.join('\n'));
    const { tenants } = parsed.config;
    expect(tenants.get('alice')?.limits).toMatchObject({ requestsPerMinute: 60, weight: 3 });
    expect(tenants.get('bob')?.limits).toMatchObject({ weight: 7 });
    expect(tenants.get('bob')?.limits.requestsPerMinute).toBeUndefined();
  });

  it('mean what the type says, whatever is merged: own keys win, then the earlier source', () => {
    const key = fc.constantFrom('a', 'b', 'c', 'd');
    const mapping = fc.dictionary(key, fc.integer({ min: 0, max: 9 }), { minKeys: 1 });
    const json = (value: unknown): string => JSON.stringify(value);
    fc.assert(
      fc.property(mapping, mapping, mapping, mapping, (one, two, three, four) => {
        const inner = (map: object): string => json(map).slice(1, -1);
        const text = [
          `x-1: &one ${json(one)}`,
          `x-2: &two { <<: *one, ${inner(two)} }`,
          `x-3: { ${inner(three)}, <<: [*two, *one] }`,
          // An anchor may be given again: what was merged before stays.
          'x-4: &one { "a": 99 }',
          `last: { inner: { <<: *two }, <<: *one, ${inner(four)} }`,
        ].join('\n');
        const merged = { ...one, ...two };
        expect(readYaml(text).source?.value).toEqual({
          'x-1': one,
          'x-2': merged,
          'x-3': { ...one, ...merged, ...three },
          'x-4': { a: 99 },
          last: { inner: merged, a: 99, ...four },
        });
      }),
      { seed: 14, numRuns: 300 },
    );
  });

  it('keep the order of pools, and say where something is wrong: where it was written', () => {
    const text = `x-pools: &pools
  one: { endpoints: ["http://127.0.0.1:8001"] }
  two: { endpoints: ["http://127.0.0.1:8002"], concurrencyLimit: 0 }
pools: { zero: { endpoints: ["http://127.0.0.1:8000"] }, <<: *pools }
tenants: { alice: { keys: [key-of-alice] } }
`;
    expect(problemsOf(text)).toMatch(/:3:66: pools\.two\.concurrencyLimit: must be/);
    const good = parse(text.replace('Limit: 0', 'Limit: 1'));
    expect(good.kind === 'ok' && [...good.config.pools.keys()]).toEqual(['zero', 'one', 'two']);
    expect(good.kind === 'ok' && good.config.envoy.fallbackPool).toBe('zero');
  });

  it('serve more tenants than could be written out by hand', () => {
    const tenants = Array.from(
      { length: 2_000 },
      (_, i) => `  t${i}: { <<: *t, tier: *tier, keys: [key-of-${i}-x] }`,
    );
    const text = `x-t: &t { models: "*", limits: &l { weight: 2 } }
x-tier: &tier gold
tiers: { gold: *l }
pools: { main: { endpoints: ["http://127.0.0.1:8000"] } }
tenants:
${tenants.join('\n')}
`;
    const parsed = parse(text);
    expect(parsed.kind === 'ok' && parsed.config.tenants.size).toBe(2_000);
  });

  it.each([
    ['a word', 'x-a: &a word\npools: { <<: *a }', ':2:10: pools."<<": merges what is no mapping'],
    ['nothing', 'pools: { <<: }', 'merges what is no mapping'],
    ['a list of words', 'x-a: &a { b: 1 }\npools: { <<: [*a, word] }', 'merges what is no mapping'],
    ['an unknown alias', 'pools: { <<: *a }', 'this one is unknown'],
    ['a later anchor', 'pools: { <<: *a }\nx-a: &a { b: 1 }', 'this one is unknown'],
    ['itself', 'pools: &a { <<: *a }', 'pools: contains itself by an alias'],
    ['itself, by a value', 'pools: { b: &b { <<: { c: *b } } }', 'contains itself by an alias'],
    ['the same twice', 'x-a: &a { b: 1 }\npools: { <<: *a, <<: *a }', 'is written twice'],
    ['a quoted key', 'pools: { "<<": { main: {} } }', '"<<"'],
  ])('of %s is a problem with its place', (_, text, expected) => {
    expect(problemsOf(text)).toContain(expected);
  });

  it('are counted before they are built, whatever multiplies: aliases, merges, or both', () => {
    const bombs = [
      (i: number) => `x${i}: &x${i} { <<: [*x${i - 1}, *x${i - 1}], a${i}: *x${i - 1}, b${i}: *x${i - 1} }`,
      (i: number) => `x${i}: &x${i} { a${i}: { <<: *x${i - 1} }, b${i}: { <<: *x${i - 1} } }`,
      (i: number) => `x${i}: &x${i} [*x${i - 1}, *x${i - 1}]`,
    ];
    for (const bomb of bombs) {
      const text = ['x0: &x0 { a: 1, b: 2 }', ...Array.from({ length: 40 }, (_, i) => bomb(i + 1))].join(
        '\n',
      );
      const started = cpuMs();
      expect(problemsOf(text)).toBe(
        '/etc/f.yaml:1:1: has too many aliases (*name) of anchors (&name); write the values out',
      );
      expect(cpuMs() - started).toBeLessThan(2_000);
    }
  });
});

describe('sections of the user’s own', () => {
  it('at the top are ignored, and only there', () => {
    expect(configOf({ ...minimal(), 'x-notes': { anything: [1, { b: null }] }, 'x-': 1 })).toEqual(
      configOf(minimal()),
    );
    const below = parse(put(minimal(), 'pools.main.x-notes', 1));
    expect(below.kind === 'bad' && below.problems.join()).toContain('unknown setting');
    const near = parse({ ...minimal(), xnotes: 1 });
    expect(near.kind === 'bad' && near.problems.join()).toContain('unknown setting');
  });
});

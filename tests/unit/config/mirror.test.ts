import { describe, expect, it } from 'vitest';
import { configOf, full, problemsOf, put, type Settings } from './parse.ts';

const MIRROR = { pool: 'next', percent: 10, maxConcurrent: 4, perSecond: 0.5, maxDuration: '30s' };
/** A sidecar with models `llama` (which has the mirror) and `org/Model 7B`. */
const settings = (): Settings => {
  const { pools, models, ...rest } = full();
  return {
    ...rest,
    mode: 'sidecar',
    pools: { ...pools, next: { endpoints: ['http://10.0.0.7:8000'] } },
    models: { ...models, llama: { ...models.llama, mirror: MIRROR } },
  };
};
const PATH = 'models.llama.mirror';
const told = (changed: Settings): readonly string[] =>
  problemsOf(changed).map((problem) => problem.replace(/^\S+ /, ''));

describe('a mirror', () => {
  it('is taken as it is written', () => {
    const { models, pools } = configOf(settings());
    expect(models.get('llama')?.mirror).toEqual({
      pool: 'next',
      fraction: 0.1,
      maxConcurrent: 4,
      perSecond: 0.5,
      maxDurationMs: 30_000,
    });
    expect(models.get('org/Model 7B')?.mirror).toBeUndefined();
    // Or its models would be served to clients.
    expect(pools.get('next')?.discoverModels).toBe(false);
  });

  it('needs a pool and a percentage; the rest has defaults', () => {
    expect(configOf(put(settings(), PATH, { pool: 'next', percent: 1 })).models.get('llama')?.mirror).toEqual(
      { pool: 'next', fraction: 0.01, maxConcurrent: 8, perSecond: 5, maxDurationMs: 60_000 },
    );
    expect(told(put(settings(), `${PATH}.percent`, undefined))).toEqual([
      expect.stringContaining(`${PATH}.percent: is missing; it must be a number from 0 to 100`),
    ]);
    expect(told(put(settings(), `${PATH}.pool`, undefined))).toEqual([
      expect.stringContaining(`${PATH}.pool: is missing`),
    ]);
  });

  it.each([
    ['', [null, true, 5, 'next', [], { percent: 1 }]],
    ['.pool', [null, 5, '', '../next', 'x'.repeat(100_000), {}, 'a\nb', '\u0000']],
    ['.percent', [null, '10', '10%', -1, 101, 1e300, Number.NaN, true, {}]],
    ['.maxConcurrent', [null, 0, 1.5, -1, 1e300, '8', 'unlimited', true]],
    ['.perSecond', [null, 0, -1, 1e300, '5/s', Number.POSITIVE_INFINITY]],
    ['.maxDuration', [null, 60, '60', '0s', '2h', '-1s', 'x'.repeat(100_000), {}]],
  ])('models.llama.mirror%s refuses what is hostile, where it stands, in few words', (key, values) => {
    for (const value of values) {
      const problems = told(put(settings(), PATH + key, value));
      expect({ value, found: problems.some((one) => one.startsWith(PATH + key)) }).toMatchObject({
        found: true,
      });
      expect(Math.max(...problems.map(({ length }) => length))).toBeLessThan(500);
    }
    expect(told(put(settings(), `${PATH}.percnt`, 1)).join()).toContain('did you mean "percent"?');
  });

  it('is no endpoint picker’s', () => {
    expect(told(put(settings(), 'mode', 'endpoint-picker'))).toEqual([
      expect.stringContaining(`${PATH}: needs mode: sidecar; with an endpoint picker the gateway`),
    ]);
  });
});

describe('the pool of a mirror', () => {
  it.each([
    ['nxt', 'there is no pool "nxt"; did you mean "next"?'],
    ['constructor', 'there is no pool "constructor"'],
    ['main', 'is the model’s own pool; name another one'],
    ['small', 'pool "small" serves the model "org/Model 7B"; copies need a pool that serves nobody'],
  ])('is not %s: %s', (pool, expected) => {
    const problems = told(put(put(settings(), `${PATH}.pool`, pool), 'envoy.fallbackPool', undefined));
    expect(problems).toEqual([expect.stringContaining(`${PATH}.pool: ${expected}`)]);
  });

  it('is not the fallback pool, named or by default', () => {
    expect(told(put(settings(), 'envoy.fallbackPool', 'next'))).toEqual([
      expect.stringContaining(`${PATH}.pool: pool "next" is envoy.fallbackPool`),
    ]);
    const first = {
      pools: { next: { endpoints: ['http://a:1'] }, main: { endpoints: ['http://b:1'] } },
      models: { demo: { pool: 'main', mirror: { pool: 'next', percent: 1 } } },
      tenants: { alice: { keys: ['key-of-alice'] } },
    };
    expect(configOf(first).envoy.fallbackPool).toBe('main');
  });

  it('is never the only one: two models cannot be each other’s', () => {
    const problems = told({
      pools: { a: { endpoints: ['http://a:1'] }, b: { endpoints: ['http://b:1'] } },
      models: {
        one: { pool: 'a', mirror: { pool: 'b', percent: 1 } },
        two: { pool: 'b', mirror: { pool: 'a', percent: 1 } },
      },
      tenants: { alice: { keys: ['key-of-alice'] } },
    });
    expect(problems).toEqual([
      expect.stringContaining('models.one.mirror.pool: pool "b" serves the model "two"'),
      expect.stringContaining('models.two.mirror.pool: pool "a" serves the model "one"'),
    ]);
    const lone = {
      pools: { a: { endpoints: ['http://a:1'] } },
      models: { one: { pool: 'a', mirror: { pool: 'a', percent: 1 } } },
      tenants: { alice: { keys: ['key-of-alice'] } },
    };
    expect(told(lone).join()).toContain('is the model’s own pool');
  });

  it('may be another model’s too, with the same maxDuration', () => {
    const second = (mirror: object) =>
      put(settings(), 'models', {
        ...(settings()['models'] as object),
        'org/Model 7B': { pool: 'small', mirror },
      });
    expect(told(second({ pool: 'next', percent: 1, maxDuration: '30s' }))).toEqual([]);
    expect(told(second({ pool: 'next', percent: 1, maxDuration: '30000ms' }))).toEqual([]);
    expect(told(second({ pool: 'next', percent: 1 }))).toEqual([
      expect.stringContaining('has another maxDuration than the model "llama" for the same pool "next"'),
    ]);
  });

  it('announces no models: a tenant’s list is checked against the configured ones', () => {
    expect(told(put(settings(), 'tenants.alice.models', ['lama'])).join()).toContain(
      'there is no model "lama"; did you mean "llama"?',
    );
  });
});

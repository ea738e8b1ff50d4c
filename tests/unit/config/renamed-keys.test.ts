import { readdirSync, readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { configJsonSchema, configReference } from '../../../src/config/reference.ts';
import { RENAMED_KEYS, withCurrentKeys } from '../../../src/config/renamed-keys.ts';
import { configOf, minimal, problemsOf, put, warningsOf } from './parse.ts';

const FOLDER = new URL('../../fixtures/config-before-house/', import.meta.url);
const files = readdirSync(FOLDER);
const textOf = (name: string): string => readFileSync(new URL(name, FOLDER), 'utf8');
const OLD = textOf('old-names.yaml');

const env = {
  ...Object.fromEntries(
    ['ALICE_KEY', 'BOB_KEY', 'BOB_NEXT_KEY', 'NIGHTLY_KEY', 'QUIET_KEY', 'NOISY_KEY'].map((name) => [
      name,
      `example-${name}`,
    ]),
  ),
  ENGINE_URL: 'http://engine:8000',
  REDIS_URL: 'redis://redis:6379',
  FAIRLANE_SIMULATOR_URL: 'http://127.0.0.1:8000',
};

/** The words of each warning, without the place. */
const renames = (warnings: readonly string[]): readonly string[] =>
  warnings.map(
    (warning) => /: (.+): is now called (\w+); rename it/.exec(warning)?.slice(1).join(' → ') ?? warning,
  );

describe('configurations from before the renaming', () => {
  it.each([
    ['docker.yaml', []],
    ['existing-vllm.yaml', []],
    ['quickstart.yaml', []],
    [
      'full.yaml',
      [
        'pools.main.windowPerEndpoint → concurrencyLimit',
        'pools.main.reserve → headroom',
        'pools.main.engineHelp → engineCapabilities',
        'models.llama-3-8b.shadow → mirror',
        'lanes.tools.share → weight',
        'rateLimit.shadow → shadowMode',
      ],
    ],
    [
      'old-names.yaml',
      [
        'pools.main.windowPerEndpoint → concurrencyLimit',
        'pools.main.reserve → headroom',
        'pools.main.engineHelp → engineCapabilities',
        'models.demo.shadow → mirror',
        'lanes.batch.share → weight',
        'rateLimit.shadow → shadowMode',
      ],
    ],
  ])('%s loads, with one warning for each old name', (name, expected) => {
    expect(renames(warningsOf(textOf(name), { env }))).toEqual(expected);
  });

  it('are all here', () => {
    expect(files.toSorted()).toEqual([
      'docker.yaml',
      'existing-vllm.yaml',
      'full.yaml',
      'old-names.yaml',
      'quickstart.yaml',
    ]);
  });

  it('mean the same as with the names of now', () => {
    const renamed = RENAMED_KEYS.reduce(
      (text, { old, now }) => text.replaceAll(new RegExp(`^( *)${old}:`, 'gm'), `$1${now}:`),
      OLD.replace(/^ {2}shadow: on$/m, '  shadowMode: on').replace(/^ {4}shadow:/m, '    mirror:'),
    );
    expect(warningsOf(renamed)).toEqual([]);
    expect(configOf(renamed)).toEqual(configOf(OLD));
  });

  it('are right by the JSON schema', () => {
    const validate = new Ajv2020({ allErrors: true }).compile(configJsonSchema());
    for (const name of files) {
      validate(parseYaml(textOf(name)));
      expect(validate.errors).toBeNull();
    }
  });
});

describe('the warning of an old name', () => {
  it('is one for all places, says where the first is, and in which lines the others are', () => {
    const found = warningsOf(OLD).filter((warning) => warning.includes('concurrencyLimit'));
    expect(found).toEqual([
      '/etc/f.yaml:5:5: pools.main.windowPerEndpoint: is now called concurrencyLimit; rename it, also in line 10',
    ]);
  });

  it('names a few of many lines', () => {
    const pools = Object.fromEntries(
      Array.from({ length: 60 }, (_, i) => [`p${i}`, { endpoints: [`http://e${i}:1`], reserve: 1 }]),
    );
    const warnings = warningsOf({ ...minimal(), pools });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/rename it, also in line \d+(, \d+){4} and 54 more$/);
  });
});

describe('an old name', () => {
  it.each(RENAMED_KEYS)('$old beside $now is a problem that names both lines', ({ within, old, now }) => {
    const path = within.map((step) => (step === '*' ? 'main' : step));
    const both = (value: unknown) =>
      put(put(minimal(), [...path, old].join('.'), value), [...path, now].join('.'), value);
    const problems = problemsOf(both('x')).filter((problem) => problem.includes('old name'));
    expect(problems).toEqual([
      expect.stringMatching(
        new RegExp(
          `^/etc/f\\.yaml:(\\d+):\\d+: ${[...path, old].join('\\.')}: is the old name of ${now}, which is given too \\(lines \\1 and \\d+\\); remove one of them$`,
        ),
      ),
    ]);
  });

  it('is what problems below it say, where it stands', () => {
    const bad = OLD.replace('windowPerEndpoint: 64', 'windowPerEndpoint: many')
      .replace('cacheSalt: auto', 'cacheSalt: always')
      .replace('pool: next,', 'pool: nex,')
      .replace('maxDuration: 60s', 'maxDuratio: 60s');
    expect(problemsOf(bad)).toEqual([
      '/etc/f.yaml:5:24: pools.main.windowPerEndpoint: must be a whole number from 1 to 10000, or the word auto',
      '/etc/f.yaml:7:46: pools.main.engineHelp.cacheSalt: must be one of off, auto',
      '/etc/f.yaml:16:21: models.demo.shadow.pool: there is no pool "nex"; did you mean "next"?',
      '/etc/f.yaml:16:71: models.demo.shadow.maxDuratio: unknown setting; did you mean "maxDuration"?',
    ]);
  });

  it('is no suggestion: the name of now is', () => {
    expect(problemsOf(put(minimal(), 'pools.main.windowPerEndpoin', 4))[0]).toContain(
      'unknown setting; did you mean "concurrencyLimit"?',
    );
    expect(problemsOf(put(minimal(), 'rateLimit.shado', 'on'))[0]).toContain('did you mean "shadowMode"?');
    expect(problemsOf(put(minimal(), 'pools.main.zzzzzzzzzz', 4))[0]).not.toContain('windowPerEndpoint');
  });

  it('means nothing elsewhere', () => {
    expect(problemsOf(put(minimal(), 'queue.windowPerEndpoint', 4))[0]).toContain('unknown setting');
    expect(problemsOf(put(minimal(), 'tiers.gold.share', 4))[0]).toContain('unknown setting');
  });

  it('has no effect where the mapping around it is none', () => {
    for (const value of ['text', 1, null, ['shadow']]) {
      expect(problemsOf({ ...minimal(), rateLimit: value, models: value })).not.toEqual([]);
    }
  });

  it('stands in the reference beside the name of now', () => {
    const text = configReference();
    for (const old of [
      'windowPerEndpoint',
      'reserve',
      'engineHelp.priority',
      'shadow.pool',
      'shadow',
      'share',
    ]) {
      expect(text).toContain(`Old name: \`${old}\`.`);
    }
  });

  it('and the name of now are refused together by the JSON schema too', () => {
    const validate = new Ajv2020({ allErrors: true }).compile(configJsonSchema());
    expect(validate(put(minimal(), 'pools.main.reserve', 1))).toBe(true);
    expect(validate(put(put(minimal(), 'pools.main.reserve', 1), 'pools.main.headroom', 1))).toBe(false);
  });
});

describe('names of now in place of old ones', () => {
  it('leave what was written as it was, and share what is not renamed', () => {
    const root = { pools: { main: { reserve: 1 }, other: { headroom: 2 } }, queue: {} };
    const { value } = withCurrentKeys(root);
    expect(value).toEqual({ pools: { main: { headroom: 1 }, other: { headroom: 2 } }, queue: {} });
    expect(root.pools.main).toEqual({ reserve: 1 });
    expect((value as typeof root).pools.other).toBe(root.pools.other);
    expect(withCurrentKeys(root.queue).value).toBe(root.queue);
  });

  it('do not let a name change what objects are', () => {
    const root: unknown = JSON.parse('{"pools": {"__proto__": {"reserve": 1}}}');
    const { value } = withCurrentKeys(root);
    expect(JSON.stringify(value)).toBe('{"pools":{"__proto__":{"headroom":1}}}');
    expect(({} as Record<string, unknown>)['headroom']).toBeUndefined();
  });
});

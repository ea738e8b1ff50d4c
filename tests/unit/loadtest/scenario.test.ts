import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { type ParsedScenario, parseScenario, type Scenario } from '../../../src/loadtest/scenario.ts';
import { fineDurationMs } from '../../../src/loadtest/scenario-schema.ts';

type Settings = Record<string, unknown>;

const parse = (settings: unknown, files: Readonly<Record<string, string>> = {}): ParsedScenario =>
  parseScenario({
    text: typeof settings === 'string' ? settings : stringify(settings),
    file: '/etc/s.yaml',
    readFile(path) {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      return text;
    },
  });
const problemsOf = (settings: unknown, files?: Readonly<Record<string, string>>): readonly string[] => {
  const parsed = parse(settings, files);
  return parsed.kind === 'bad' ? parsed.problems : [];
};
const scenarioOf = (settings: unknown, files?: Readonly<Record<string, string>>): Scenario => {
  const parsed = parse(settings, files);
  if (parsed.kind === 'bad') throw new Error(parsed.problems.join('\n'));
  return parsed.scenario;
};

const minimal = (): Settings => ({
  name: 'small',
  tenants: { alice: { arrivals: { perSecond: 1 }, prompt: 100, output: 10 } },
});
/** Every setting, but for the forms of arrivals and lengths that exclude each other. */
const full = (): Settings => ({
  name: 'large',
  description: 'all of it',
  duration: '90s',
  seed: 7,
  limits: { ttft: '500ms', itl: '12.5ms' },
  engine: { profile: '70b', set: { maxSequences: 64 } },
  bucket: 0.5,
  bucketPerSecond: 3,
  hop: '0.25ms',
  ignoreEos: true,
  model: 'llama',
  tenants: {
    quiet: {
      quiet: true,
      weight: 2,
      arrivals: { perSecond: 1.5 },
      prompt: 200,
      output: { from: 10, to: 20 },
      sharedPrefix: 32,
      key: 'env:QUIET_KEY',
      saysLength: true,
      lane: 'fast',
    },
    batch: {
      count: 2,
      arrivals: { timesCapacity: 0.7 },
      prompt: { median: 300, sigma: 0.5, max: 900 },
      output: 50,
      key: 'env:BATCH_{n}_KEY',
    },
    replay: { arrivals: { trace: [0, 10.5, 20] }, prompt: 1, output: 1 },
    recorded: { arrivals: { traceFile: 'trace.txt' }, prompt: 1, output: 1 },
  },
});
const FILES = { '/etc/trace.txt': '5\n15\n25.5\n' };

/** A copy with the value at `path` replaced, or removed if it is undefined. */
function put(settings: Settings, path: string, value: unknown): Settings {
  const [first = '', ...rest] = path.split('.');
  const copy = { ...settings };
  const inner = rest.length === 0 ? value : put((copy[first] ?? {}) as Settings, rest.join('.'), value);
  if (inner === undefined) delete copy[first];
  else copy[first] = inner;
  return copy;
}
function pathsOf(value: unknown, path = ''): readonly string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [path];
  const inner = Object.entries(value).flatMap(([key, child]) =>
    pathsOf(child, path === '' ? key : `${path}.${key}`),
  );
  return path === '' ? inner : [path, ...inner];
}

const HOSTILE: Readonly<Record<string, unknown>> = {
  nothing: null,
  'a mapping': { x: { y: 1 } },
  'a list of lists': [[[]]],
  'a huge number': 1e300,
  'a negative number': -1,
  'a control character': '\u0000',
  'an enormous text': 'x'.repeat(100_000),
  'not a number': Number.NaN,
  infinity: Number.POSITIVE_INFINITY,
};
const paths = pathsOf(full());

describe('every setting of a scenario', () => {
  it('is accepted in the full example', () => {
    expect(problemsOf(full(), FILES)).toEqual([]);
    expect(paths.length).toBeGreaterThan(40);
  });

  it.each(paths)('%s refuses what is hostile, where it stands, in few words', (path) => {
    for (const [what, value] of Object.entries(HOSTILE)) {
      const problems = problemsOf(put(full(), path, value), FILES);
      const places = problems.map((problem) => problem.replace(/^\/etc\/s\.yaml:\d+:\d+: /, ''));
      const section = path === 'engine.set.maxSequences' ? 'engine.set' : path;
      expect({ what, found: places.some((place) => place.startsWith(section)) }).toEqual({
        what,
        found: true,
      });
      expect(Math.max(...problems.map(({ length }) => length))).toBeLessThan(500);
    }
  });

  it.each(paths)('%s refuses another type', (path) => {
    const isFlag =
      typeof path.split('.').reduce<unknown>((at, key) => (at as Settings)[key], full()) === 'boolean';
    expect(problemsOf(put(full(), path, isFlag ? 'yes' : true), FILES)).not.toEqual([]);
  });

  it.each(paths.filter((path) => !/^tenants\.\w+$/.test(path)))(
    '%s with a word more is unknown, and the nearest is named',
    (path) => {
      const [problem = ''] = problemsOf(put(full(), `${path}x`, 1), FILES);
      expect(problem).toContain('unknown setting; did you mean');
      expect(problem).toContain(path.split('.').at(-1));
    },
  );

  it.each(paths)('%s may be absent unless it is required', (path) => {
    const required = /^(name|tenants|tenants\.\w+\.(arrivals|prompt|output)(\.\w+)?)$/.test(path);
    expect({ path, refused: problemsOf(put(full(), path, undefined), FILES).length > 0 }).toEqual({
      path,
      refused: required,
    });
  });
});

describe('a scenario', () => {
  it('has defaults for all but its name and tenants', () => {
    expect(scenarioOf(minimal())).toEqual({
      name: 'small',
      durationMs: 60_000,
      seed: 1,
      engine: expect.objectContaining({ name: '8b', maxSequences: 256 }),
      bucket: 0.8,
      hopMs: 0.5,
      ignoreEos: false,
      tenants: [
        {
          name: 'alice',
          weight: 1,
          quiet: false,
          arrivals: { kind: 'poisson', perSecond: 1 },
          prompt: { kind: 'fixed', tokens: 100 },
          output: { kind: 'fixed', tokens: 10 },
          sharedPrefix: 0,
          saysLength: false,
        },
      ],
      keyVariables: new Map(),
    });
  });

  it('becomes loads: lengths, arrivals, numbered tenants and the names of their keys', () => {
    const { tenants, keyVariables, limits, hopMs, engine } = scenarioOf(full(), FILES);
    expect(tenants.map(({ name }) => name)).toEqual(['quiet', 'batch-1', 'batch-2', 'replay', 'recorded']);
    expect(tenants.map(({ arrivals }) => arrivals)).toEqual([
      { kind: 'poisson', perSecond: 1.5 },
      { kind: 'capacity', times: 0.7 },
      { kind: 'capacity', times: 0.7 },
      { kind: 'trace', atMs: [0, 10.5, 20] },
      { kind: 'trace', atMs: [5, 15, 25.5] },
    ]);
    expect(tenants[0]?.output).toEqual({ kind: 'uniform', from: 10, to: 20 });
    expect(tenants[1]?.prompt).toEqual({ kind: 'lognormal', median: 300, sigma: 0.5, max: 900 });
    expect(Object.fromEntries(keyVariables)).toEqual({
      quiet: 'QUIET_KEY',
      'batch-1': 'BATCH_1_KEY',
      'batch-2': 'BATCH_2_KEY',
    });
    expect(limits).toEqual({ ttftMs: 500, itlMs: 12.5, from: 'arrival' });
    expect([hopMs, engine.name, engine.maxSequences]).toEqual([0.25, '70b', 64]);
  });

  it.each([
    ['tenants.alice.arrivals', {}, 'exactly one of perSecond, timesCapacity, trace, traceFile'],
    ['tenants.alice.arrivals', { perSecond: 1, trace: [1] }, 'exactly one of'],
    ['tenants.alice.arrivals', { traceFile: 'nowhere' }, 'traceFile: cannot be read (no such file)'],
    ['tenants.alice.arrivals', { perSecnd: 1 }, 'did you mean "perSecond"?'],
    ['tenants.alice.arrivals.trace', [], 'at least one arrival'],
    ['tenants.alice.prompt', 0, 'tenants.alice.prompt: must be a whole number from 1 to 10000000'],
    ['tenants.alice.prompt', {}, 'must be one of: a number of tokens, {from, to}, {median, sigma, max}'],
    ['tenants.alice.prompt', { from: 1, to: 5, median: 3 }, 'must be one of'],
    ['tenants.alice.prompt', { from: 9, to: 5 }, 'has from above to'],
    ['tenants.alice.prompt', { from: 9 }, 'needs both from and to'],
    ['tenants.alice.prompt', { median: 9, max: 10 }, 'needs all of median, sigma and max'],
    ['tenants.alice.prompt', { median: 90, sigma: 1, max: 10 }, 'has a median above max'],
    ['tenants.alice.key', 'sk-secret', 'must be env:NAME'],
    ['duration', 60, 'a duration from 100ms to 24h with a unit (ms, s, m, h), for example 60s'],
    ['duration', '60', 'with a unit'],
    ['duration', '25h', 'from 100ms to 24h'],
    ['engine', { profile: '9b' }, 'unknown profile 9b; there are quickstart, 8b, 70b, test'],
    ['engine', { set: { maxSeqences: 3 } }, 'did you mean "maxSequences"?'],
    ['engine', { set: { maxSequences: 0 } }, 'maxSequences'],
  ])('%s: %j is answered by what is accepted', (path, value, expected) => {
    const problems = problemsOf(put(minimal(), path, value));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(expected);
  });

  it('refuses two tenants of one name', () => {
    const alice = { arrivals: { perSecond: 1 }, prompt: 1, output: 1 };
    const settings = { name: 'x', tenants: { alice: { ...alice, count: 2 }, 'alice-2': alice } };
    expect(problemsOf(settings)[0]).toContain('makes a tenant "alice-2", which there is already');
  });

  it('refuses more than a thousand tenants', () => {
    const alice = { arrivals: { perSecond: 1 }, prompt: 1, output: 1, count: 600 };
    expect(problemsOf({ name: 'x', tenants: { alice, bob: alice } })[0]).toContain('more than 1000 tenants');
  });

  it('tells all problems at once, each with its line', () => {
    const text = 'name: x\nsed: 3\ntenants:\n  alice: { arrivals: { perSecond: 0 }, prompt: 1 }\n';
    expect(problemsOf(text)).toEqual([
      '/etc/s.yaml:2:1: sed: unknown setting; did you mean "seed"?',
      expect.stringMatching(/^\/etc\/s\.yaml:4:\d+: tenants\.alice\.output: is missing/),
      expect.stringMatching(
        /^\/etc\/s\.yaml:4:\d+: tenants\.alice\.arrivals\.perSecond: must be a number from/,
      ),
    ]);
  });
});

describe('parsing', () => {
  it('throws nothing for any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        const parsed = parse(text);
        expect(parsed.kind === 'ok' || parsed.problems.length > 0).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('throws nothing for any value at any setting', () => {
    fc.assert(
      fc.property(fc.constantFrom(...paths), fc.jsonValue({ maxDepth: 3 }), (path, value) => {
        const parsed = parse(put(full(), path, value), FILES);
        expect(parsed.kind === 'ok' || parsed.problems.length > 0).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('throws nothing for any trace file', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 100 }), (content) => {
        const parsed = parse(full(), { '/etc/trace.txt': content });
        if (parsed.kind === 'bad') {
          expect(parsed.problems[0]).toContain('traceFile');
          return;
        }
        const { arrivals } = parsed.scenario.tenants[4] ?? {};
        expect(arrivals?.kind === 'trace' && arrivals.atMs.every((ms) => ms >= 0)).toBe(true);
      }),
    );
  });
});

describe('fine durations', () => {
  it.each([
    ['0.5ms', 0.5],
    ['12.125ms', 12.125],
    ['3ms', 3],
    ['2s', 2_000],
    ['0.5s', undefined],
    ['.5ms', undefined],
    ['1e3ms', undefined],
  ])('%s is %s', (text, expected) => {
    expect(fineDurationMs(text)).toBe(expected);
  });
});

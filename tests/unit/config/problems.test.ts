import { describe, expect, it } from 'vitest';
import { configOf, full, minimal, parse, problemsOf, put, warningsOf } from './parse.ts';

describe('a problem', () => {
  it('points at line and column, and an unknown setting names the nearest one', () => {
    const text = `pools:
  main:
    endpoints: [http://127.0.0.1:8000]
    concurrencyLimt: 8
tenants:
  alice: { keys: [key-of-alice], limits: { wieght: 2 } }
`;
    expect(problemsOf(text)).toEqual([
      '/etc/f.yaml:4:5: pools.main.concurrencyLimt: unknown setting; did you mean "concurrencyLimit"?',
      '/etc/f.yaml:6:44: tenants.alice.limits.wieght: unknown setting; did you mean "weight"?',
    ]);
  });

  it('lists what is known where nothing is near', () => {
    const [problem] = problemsOf({ ...minimal(), log: { colour: true } });
    expect(problem).toContain('log.colour: unknown setting; known here: level');
  });

  it('about something missing points at what misses it', () => {
    expect(problemsOf('pools:\n  main: {}\ntenants: {}\n')).toEqual([
      '/etc/f.yaml:2:3: pools.main.endpoints: is missing; it must be a list of 1 to 256 URLs',
      '/etc/f.yaml:3:10: tenants: must be a mapping of 1 to 10000 tenants',
    ]);
  });

  it('does not hide another one: all are told at once, in the order of the file', () => {
    const text = `listen: 8080
queue: { maxWait: 30 }
pools:
  main: { endpoints: ["ftp://a:1", env:NOWHERE] }
models:
  x: { pool: mian }
tenants:
  alice: { tier: gold, keys: [file:nope] }
  bob: { keys: [] }
`;
    const places = problemsOf(text).map((problem) => problem.replace(/^\S*?:(\d+):\d+: (\S+): .*$/, '$1 $2'));
    expect(places).toEqual([
      '1 listen',
      '2 queue.maxWait',
      '4 pools.main.endpoints[0]',
      '4 pools.main.endpoints[1]',
      '6 models.x.pool',
      '8 tenants.alice.tier',
      '8 tenants.alice.keys[0]',
      '9 tenants.bob.keys',
    ]);
  });

  it('is one of at most fifty that are shown', () => {
    const many = Object.fromEntries(Array.from({ length: 80 }, (_, i) => [`t${i}`, { keys: [] }]));
    const problems = problemsOf({ ...minimal(), tenants: many });
    expect(problems).toHaveLength(51);
    expect(problems.at(-1)).toBe('/etc/f.yaml: and 30 more');
  });

  it('shows hostile names in quotes, on one line, cut', () => {
    const [problem] = problemsOf({ ...minimal(), [`\u001b[2J\n${'x'.repeat(500)}`]: 1 });
    expect(problem).toMatch(/^[^\p{Cc}]{0,300}$/u);
  });
});

describe('text that is no configuration', () => {
  it.each([
    ['nothing', '', 'is empty'],
    ['comments only', '# todo\n', 'is empty'],
    ['a list', '- a\n', 'is not a mapping'],
    ['a word', 'hello', 'is not a mapping'],
    ['a tab', 'pools:\n\tmain: 1', ':2:1: has a tab'],
    ['an open bracket', 'pools: [1, 2', ':1:'],
    ['an open quote', 'pools: "x', ':1:'],
    ['a bare asterisk', 'pools: *', 'put the value in quotes, for example "*"'],
    ['an unknown alias', 'pools: *main', 'put the value in quotes, for example "*"'],
    ['a second document', 'pools: 1\n---\npools: 2\n', ':2:'],
    ['a tag', 'pools: !js 1', ':1:8: has a tag'],
    ['a mapping as key', '? { a: 1 }\n: 2', 'keys are plain words'],
    ['a key written twice', 'pools: {}\npools: {}', ':2:1: pools: is written twice'],
    ['five MiB', `# ${'x'.repeat(5 * 1024 ** 2)}`, 'is larger than 4 MiB'],
    ['deep nesting', `a: ${'['.repeat(20_000)}`, ':1:'],
    ['binary', '\u0000\u0001\u0002', '/etc/f.yaml'],
    ['a circle', 'pools: &a { main: *a }', 'pools.main'],
  ])('%s is refused with what to do', (_, text, expected) => {
    expect(problemsOf(text).join('\n')).toContain(expected);
  });

  it('is refused before aliases multiply it', () => {
    const level = (i: number) => `l${i}: &l${i} [${Array.from({ length: 20 }, () => `*l${i - 1}`).join()}]`;
    const text = ['l0: &l0 [x]', ...[1, 2, 3, 4, 5, 6, 7, 8].map(level)].join('\n');
    expect(problemsOf(text)).toEqual([
      '/etc/f.yaml:1:1: has too many aliases (*name) of anchors (&name); write the values out',
    ]);
  });
});

describe('names that refer to something', () => {
  it.each([
    ['tenants.alice.tier', 'glod', 'there is no tier "glod"; did you mean "gold"?'],
    ['models.llama.pool', 'mian', 'there is no pool "mian"; did you mean "main"?'],
    ['envoy.fallbackPool', 'other', 'there is no pool "other"; add it under pools'],
    ['tenants.alice.models', ['lama'], 'there is no model "lama"; did you mean "llama"?'],
  ])('%s must exist', (path, value, expected) => {
    const problems = problemsOf(put(full(), path, value));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(expected);
  });

  it('of models may be announced by an engine later', () => {
    const discovering = put(put(full(), 'tenants.alice.models', ['lama']), 'models', {
      llama: { pool: 'main' },
    });
    expect(warningsOf(discovering)).toEqual([expect.stringContaining('only if an engine announces it')]);
    expect(warningsOf(put(put(discovering, 'models', undefined), 'prices', undefined))).toEqual([]);
  });

  it('of models are in quotes when they are "all"', () => {
    expect(problemsOf(put(full(), 'tenants.alice.models', '*'))).toEqual([]);
    expect(problemsOf(put(full(), 'tenants.alice.models', ['*']))).toHaveLength(1);
    expect(problemsOf(put(full(), 'tenants.alice.models', []))).toHaveLength(1);
  });
});

describe('addresses', () => {
  it.each([
    [{ listen: '127.0.0.1:9901' }, 'port 9901 is already taken by listen'],
    [{ listen: '0.0.0.0:9464' }, 'port 9464 is already taken by listen'],
    [{ service: { address: 'localhost:8080' } }, 'port 8080 is already taken by listen'],
    [{ service: { address: '[::1]:9464', metrics: '[::]:9464' } }, 'already taken by service.metrics'],
    [{ listen: '0.0.0.0:8000' }, 'port 8000 is already taken by listen; an endpoint is an engine'],
  ])('clash: %j', (settings, expected) => {
    const problems = problemsOf({ ...minimal(), ...settings });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(expected);
  });

  it('do not clash with the same port of another machine', () => {
    const pools = { main: { endpoints: ['http://10.1.1.1:8080', 'http://engine:8080'] } };
    expect(problemsOf({ ...minimal(), listen: '0.0.0.0:8080', pools })).toEqual([]);
  });

  it('of endpoints are listed once, over all pools', () => {
    const pools = { a: { endpoints: ['http://x:1', 'http://X:1/'] }, b: { endpoints: ['http://x:1'] } };
    const problems = problemsOf({ ...minimal(), pools });
    expect(problems).toHaveLength(2);
    expect(problems[0]).toContain('is already an endpoint of this pool');
    expect(problems[1]).toContain('is already an endpoint of pool "a"');
  });

  it('that are sockets fit into what systems take', () => {
    const settings = put(minimal(), 'envoy.directory', `/${'x'.repeat(110)}`);
    expect(problemsOf(settings)).toEqual([expect.stringContaining('longer than 103 bytes')]);
  });

  it('that are sockets are relative to the directory unless absolute', () => {
    const address = (path: string) => parse(put(minimal(), 'service.address', path));
    expect(address('unix:a.sock')).toMatchObject({
      config: { service: { address: { path: '/run/user/1/fairlane/a.sock' } } },
    });
    expect(address('unix:/x/a.sock')).toMatchObject({
      config: { service: { address: { path: '/x/a.sock' } } },
    });
    const admin = (path: string) => parse(put(minimal(), 'envoy.admin', path));
    expect(admin('unix:a.sock')).toMatchObject({
      config: { envoy: { admin: { path: '/run/user/1/fairlane/a.sock' } } },
    });
    expect(admin('unix:/x/a.sock')).toMatchObject({ config: { envoy: { admin: { path: '/x/a.sock' } } } });
  });

  it('that are sockets are not shared, and not too long', () => {
    const admin = (path: string) => problemsOf(put(minimal(), 'envoy.admin', path));
    expect(admin('unix:ext-proc.sock')).toEqual([
      expect.stringContaining('envoy.admin: is the same socket as service.address; give each its own'),
    ]);
    expect(admin(`unix:/${'x'.repeat(110)}`)).toEqual([expect.stringContaining('longer than 103 bytes')]);
  });
});

describe('the mode', () => {
  it('of a sidecar needs a key for every tenant, that of an endpoint picker none', () => {
    const keyless = put(minimal(), 'tenants.alice.keys', undefined);
    expect(problemsOf(keyless)).toEqual([
      expect.stringContaining('tenants.alice.keys: is missing; must be a list of 1 to 64 keys'),
    ]);
    const onSocket = put(keyless, 'mode', 'endpoint-picker');
    expect(problemsOf(onSocket).join()).toContain(
      'service.address: must be host:port with mode: endpoint-picker',
    );
    const picker = put(onSocket, 'service', { address: '0.0.0.0:9002' });
    expect(configOf(picker).picker).toEqual({ fairnessHeader: 'x-gateway-inference-fairness-id' });
    expect(configOf(minimal()).picker).toBeUndefined();
    expect(problemsOf(put(picker, 'picker', { tenant: 'alize' })).join()).toContain('did you mean "alice"?');
  });
});

describe('a warning', () => {
  it('says that a burst without a rate does nothing', () => {
    const [warning, ...rest] = warningsOf(put(minimal(), 'tenants.alice.limits', { requestBurst: 5 }));
    expect(warning).toContain('tenants.alice.limits.requestBurst: has no effect without requestsPerMinute');
    expect(rest).toEqual([]);
  });

  it('says that a monthly quota needs a place that outlives a restart', () => {
    const limits = put(minimal(), 'tenants.alice.limits', { tokensPerMonth: 5 });
    expect(warningsOf(limits)).toEqual([
      expect.stringContaining('tenants.alice.limits.tokensPerMonth: begins anew at every restart; set redis'),
    ]);
    expect(warningsOf(put(limits, 'redis', { url: 'redis://localhost' }))).toEqual([]);
    expect(warningsOf(put(limits, 'rateLimit', { snapshot: 'levels.json' }))).toEqual([]);
  });

  it('says that a context larger than the bucket is never served', () => {
    const limits = { tokensPerMinute: 1_000, maxContext: 2_000 };
    expect(warningsOf(put(minimal(), 'tenants.alice.limits', limits))).toEqual([
      expect.stringContaining('prompts of more than 1000 tokens are always refused'),
    ]);
  });

  it('is not given for what is right', () => {
    expect(warningsOf(full())).toEqual([]);
    expect(warningsOf(minimal())).toEqual([]);
  });
});

describe('names of models', () => {
  const settings = (more: object) => ({
    ...minimal(),
    models: { large: { pool: 'main' }, small: { pool: 'main' } },
    ...more,
  });

  it('that lead nowhere, in a circle or to themselves are told where they stand', () => {
    const model = { pool: 'main', fallback: ['gone', 'large'], canary: { model: 'large' } };
    const problems = problemsOf(
      settings({ models: { large: model, small: { pool: 'main' } }, aliases: { a: 'b', b: 'a', c: 'gone' } }),
    ).map((problem) => problem.replace(/^\S+ /, ''));
    expect(problems).toEqual([
      expect.stringContaining('models.large.fallback[0]: no pool serves "gone"'),
      expect.stringContaining('models.large.fallback[1]: "large" is the same model'),
      expect.stringContaining('models.large.canary.model: is the model itself'),
      expect.stringContaining('aliases.a: goes in a circle: "a" → "b" → "a"'),
      expect.stringContaining('aliases.b: goes in a circle: "b" → "a" → "b"'),
      expect.stringContaining('aliases.c: no pool serves "gone"'),
    ]);
    expect(problemsOf(settings({ aliases: { large: 'small' } })).join()).toContain("is a model's own name");
    expect(problemsOf(settings({ aliases: { a: 'smal' } })).join()).toContain(
      'no pool serves "smal"; name a model that one does; did you mean "small"?',
    );
  });

  it('may be aliases in a tenant’s list', () => {
    const tenants = { alice: { keys: ['key-of-alice'], models: ['gpt'] } };
    expect(problemsOf(settings({ aliases: { gpt: 'large' }, tenants }))).toEqual([]);
    expect(problemsOf(settings({ aliases: { gptx: 'large' }, tenants })).join()).toContain(
      'did you mean "gptx"',
    );
  });

  it('may be announced by an engine where one is asked', () => {
    expect(problemsOf({ ...minimal(), aliases: { gpt: 'announced' } })).toEqual([]);
  });
});

describe('a drain', () => {
  const drained = (endpoints: readonly string[], drain: readonly string[]) => ({
    ...minimal(),
    pools: { main: { endpoints, drain } },
  });

  it('is of endpoints of its pool, however they are written', () => {
    const settings = drained(['http://a:80', 'http://b:1'], ['http://A', 'http://a:80/']);
    expect(configOf(settings).pools.get('main')?.drain).toEqual(['http://a:80']);
    expect(problemsOf(drained(['http://a:1'], ['http://a:2'])).join()).toContain(
      'pools.main.drain[0]: http://a:2 is no endpoint of pool "main"; did you mean "http://a:1"?',
    );
  });

  it('of all of them is warned of', () => {
    expect(warningsOf(drained(['http://a:1'], ['http://a:1'])).join()).toContain('leaves no endpoint');
    expect(warningsOf(drained(['http://a:1', 'http://b:1'], ['http://a:1']))).toEqual([]);
  });
});

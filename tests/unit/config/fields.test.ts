import { describe, expect, it } from 'vitest';
import { DEFAULT_FORBIDDEN_FIELDS, DEFAULT_TOOLS } from '../../../src/config/forbidden-fields.ts';
import { CALL_SETTINGS } from '../../support/call-settings.ts';
import { configOf, full, minimal, problemsOf, put } from './parse.ts';

/** Paths of everything that can be set, sections included. */
function pathsOf(value: unknown, path = ''): readonly string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [path];
  const inner = Object.entries(value).flatMap(([key, child]) =>
    key.includes('/') ? [] : pathsOf(child, path === '' ? key : `${path}.${key}`),
  );
  return path === '' ? inner : [path, ...inner];
}

const HOSTILE: Readonly<Record<string, unknown>> = {
  nothing: null,
  'a boolean': true,
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

describe('every setting', () => {
  it('is accepted in the full example', () => {
    expect(problemsOf(full())).toEqual([]);
    expect(paths.length).toBeGreaterThan(50);
  });

  it.each(paths)('%s refuses what is hostile, where it stands, in few words', (path) => {
    for (const [what, value] of Object.entries(HOSTILE)) {
      // It is one.
      if (what === 'a boolean' && /\.(insecureSkipVerify|conformance)$/.test(path)) continue;
      const problems = problemsOf(put(full(), path, value));
      const places = problems.map((problem) => problem.replace(/^\/etc\/f\.yaml:\d+:\d+: /, ''));
      expect({ what, path, found: places.some((place) => place.startsWith(path)) }).toMatchObject({
        found: true,
      });
      expect(Math.max(...problems.map(({ length }) => length))).toBeLessThan(500);
    }
  });

  it.each(paths)('%s with a word more is unknown', (path) => {
    expect(problemsOf(put(full(), `${path}Nowhere`, 1)).length).toBeGreaterThan(0);
  });

  it.each(paths)('%s may be absent unless it is required', (path) => {
    const required = [
      'redis.url',
      'cors.origins',
      'listen.address',
      'listen.tls.cert',
      'listen.tls.key',
      'service.tls.cert',
      'service.tls.key',
      'identity.jwt.issuer',
      'identity.jwt.jwks',
      'identity.jwt.tenantClaim',
      'pools',
      'tenants',
      'tenants.alice',
      'models.llama.pool',
      'routes.music.path',
      'adapters.legal.base',
      'service',
      'service.address',
      'models.llama.canary.model',
      ...['memory', 'layers', 'kvHeads', 'headDim'].map((key) => `pools.main.kvCache.${key}`),
      'pools.main.gpuPrice.perHour',
      'telemetry.otlp.endpoint',
    ];
    const tls = ['pools.small.tls.cert', 'pools.small.tls.key'];
    const pair = ['redis.certFile', 'redis.keyFile', ...tls];
    const referredTo = [...pair, 'aliases.best', 'pools.main', 'pools.small', 'tiers', 'tiers.gold'];
    const needed = [...required, ...referredTo, 'pools.main.endpoints', 'pools.small.endpoints'];
    expect(problemsOf(put(full(), path, undefined)).length > 0).toBe(needed.includes(path));
  });
});

describe('units', () => {
  it.each([
    ['queue.maxWait', 30, 'a duration from 100ms to 55m with a unit (ms, s, m, h), for example 30s'],
    ['queue.maxWait', '30', 'for example 30s'],
    ['queue.maxWait', '30 s', 'for example 30s'],
    ['queue.maxWait', '30sec', 'for example 30s'],
    ['queue.maxWait', '-1s', 'for example 30s'],
    ['queue.maxWait', '2h', 'from 100ms to 55m'],
    ['queue.maxWait', '99ms', 'from 100ms to 55m'],
    [
      'envoy.maxBodySize',
      '8MB',
      'a size from 1KiB to 128MiB with a unit (B, KiB, MiB, GiB), for example 32MiB',
    ],
    ['envoy.maxBodySize', 8_388_608, 'for example 32MiB'],
    ['envoy.maxBodySize', '1GiB', 'from 1KiB to 128MiB'],
    ['pools.main.concurrencyLimit', 1e9, 'a whole number from 1 to 10000'],
    ['pools.main.concurrencyLimit', 1.5, 'a whole number'],
    ['pools.main.concurrencyLimit', '32', 'a whole number'],
    ['tiers.gold.requestsPerMinute', '600/m', 'a whole number from 1 to 10000000, or the word unlimited'],
    ['tiers.gold.requestBurst', 0, 'a whole number from 1'],
    ['tiers.gold.requestBurst', 'unlimited', 'a whole number from 1'],
    ['tiers.gold.weight', 0, 'a number from 0.01 to 1000'],
    ['envoy.failureMode', 'opn', 'one of open, closed'],
    ['envoy.directory', 'run/fairlane', 'an absolute path'],
    ['listen', 'localhost:8080', 'an IP address and a port'],
    ['listen', '127.0.0.1', 'an IP address and a port'],
    ['listen', '127.0.0.1:0', 'an IP address and a port'],
    ['listen', '::1:8080', 'or [::1]:8080'],
    ['service.metrics', '127.0.0.1:65536', 'host:port'],
    ['service.dns.refresh', '1ms', 'a duration from 500ms to 10m'],
    ['service.dns.servers', '10.0.0.1', 'a list of at most 8 DNS servers'],
    ['service.metrics', '999.0.0.1:80', 'host:port'],
    ['service.address', 'unix:', 'unix:PATH or host:port'],
    ['envoy.admin', 'unix:', 'an IP address and a port, or unix:PATH'],
    ['envoy.admin', 'localhost:9901', 'an IP address and a port, or unix:PATH'],
    ['envoy.passHeaders', [], 'a list of 1 to 16 header names'],
    ['pools.main.health.path', 'health', 'for example /health'],
  ])('%s: %s is answered by what is accepted', (path, value, expected) => {
    const problems = problemsOf(put(full(), path, value));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(`: ${path}: must be `);
    expect(problems[0]).toContain(expected);
  });

  it.each(['X-Ours', 'x_ours', 'x-fairlane-tenant', 'x-envoy-max-retries', ''])(
    'envoy.passHeaders: %s is no name that may pass',
    (name) => {
      const problems = problemsOf(put(full(), 'envoy.passHeaders', [name]));
      expect(problems.join()).toContain('a header name in lower case, not of x-fairlane-* or x-envoy-*');
    },
  );

  it.each(['dns.example', '10.0.0.1:0', '10.0.0.256', '[fd00::1]', ''])(
    'service.dns.servers: %s is no DNS server',
    (server) => {
      const problems = problemsOf(put(full(), 'service.dns.servers', [server]));
      expect(problems.join()).toContain(
        'service.dns.servers[0]: must be an IP address, with a port or without',
      );
    },
  );

  it('become milliseconds and bytes', () => {
    const { queue, envoy, service, pools } = configOf(full());
    expect([queue.maxWaitMs, service.drainTimeoutMs, envoy.maxBodyBytes]).toEqual([200, 60_000, 65_536]);
    expect(pools.get('main')?.health).toEqual({
      path: '/ready',
      intervalMs: 3_000,
      timeoutMs: 4_000,
      unhealthyAfter: 5,
      healthyAfter: 6,
      slowStartMs: 7_000,
    });
  });
});

describe('defaults', () => {
  it('fill everything but pools and tenants', () => {
    expect(configOf(minimal())).toEqual({
      listen: [{ address: { host: '127.0.0.1', port: 8080 } }],
      refusedTenantFiles: [],
      envoy: {
        admin: { host: '127.0.0.1', port: 9901 },
        directory: '/run/user/1/fairlane',
        failureMode: 'open',
        fallbackPool: 'main',
        maxBodyBytes: 32 * 1024 * 1024,
        maxUnsizedBodyBytes: 8 * 1024 * 1024,
        connectionBufferBytes: 32 * 1024,
        maxHeapBytes: 416 * 1024 * 1024,
        maxConnections: 50_000,
        idleTimeoutMs: 120_000,
        uploads: { minBytesPerSecond: 16 * 1024, graceMs: 10_000 },
      },
      service: {
        address: { kind: 'unix', path: '/run/user/1/fairlane/ext-proc.sock' },
        metrics: { host: '127.0.0.1', port: 9464 },
        console: 'auto',
        drainTimeoutMs: 10_000,
        dns: { refreshMs: 5_000, servers: [] },
      },
      queue: {
        maxWaitMs: 30_000,
        maxQueued: 1_000,
        maxQueuedBytes: 256 * 1024 * 1024,
        quantumTokens: 64,
        lanes: new Map([
          [
            'default',
            { name: 'default', weight: 1, order: 'fcfs', maxAgeMs: 10_000, stalledAfterMs: 10_000 },
          ],
        ]),
      },
      rateLimit: { mergeDomains: false, ...CALL_SETTINGS },
      cost: { prompt: 1, cached: 0.1, output: 2 },
      fields: {
        onForbidden: 'drop',
        forbidden: DEFAULT_FORBIDDEN_FIELDS,
        tools: DEFAULT_TOOLS,
        state: 'refuse',
      },
      media: { urls: 'refuse', hosts: [], tokens: { image: 1_024, audio: 256, video: 2_048, file: 1_024 } },
      pools: new Map([
        [
          'main',
          {
            name: 'main',
            endpoints: [{ url: 'http://127.0.0.1:8000', host: '127.0.0.1', port: 8000, pool: 'main' }],
            drain: [],
            routing: 'least-loaded',
            choice: { weights: {}, slowClients: [], sessionHeader: 'x-session-id', zones: new Map() },
            engine: 'auto',
            concurrencyLimit: 'auto',
            prefillTokens: 2_048,
            headroom: 'auto',
            gauges: { path: '/metrics', intervalMs: 1_000 },
            engineCapabilities: { priority: 'off', cacheSalt: 'off' },
            health: {
              path: '/health',
              intervalMs: 2_000,
              timeoutMs: 5_000,
              unhealthyAfter: 2,
              healthyAfter: 1,
              slowStartMs: 30_000,
            },
            discoverModels: true,
          },
        ],
      ]),
      models: new Map(),
      aliases: new Map(),
      adapters: new Map(),
      tenants: new Map([
        [
          'alice',
          {
            name: 'alice',
            keys: [
              {
                id: expect.stringMatching(/^cfg_[0-9a-f]{12}$/),
                secret: { kind: 'plain', value: 'key-of-alice' },
              },
            ],
            models: '*',
            limits: { weight: 1, maxOutputs: 16, maxQueued: 100, maxHeldBytes: 96 * 1024 * 1024 },
          },
        ],
      ]),
      telemetry: { tenantHistograms: 'auto' },
      log: { level: 'info', format: 'auto' },
    });
  });

  it('take the first pool of the file as fallback, also if another one looks like a number', () => {
    const text = `
pools: { main: { endpoints: ["http://a:1"] }, 1: { endpoints: ["http://b:1"] } }
tenants: { alice: { keys: [key-of-alice] } }`;
    expect(configOf(text).envoy.fallbackPool).toBe('main');
    expect([...configOf(text).pools.keys()]).toEqual(['main', '1']);
  });
});

describe('the rate limit service', () => {
  it('answers as is configured', () => {
    const names = { limit: 'X-Limit', remaining: 'X-Left', reset: 'X-Reset' };
    expect(configOf(full()).rateLimit).toMatchObject({
      shadowMode: true,
      quotaMode: true,
      chargeRefused: false,
      nearLimitRatio: 0.9,
      dynamicMetadata: 'on',
      responseHeaders: names,
      unitHeaders: names,
      requestHeaders: { limit: 'X-Up-Limit', remaining: 'X-Up-Left', reset: 'X-Up-Reset' },
      http: { host: '127.0.0.1', port: 8081 },
    });
    const silent = configOf(put(full(), 'rateLimit.responseHeaders.send', 'off')).rateLimit;
    expect(silent).not.toHaveProperty('responseHeaders');
  });

  it.each(['', 'two words', ':path', 'x_y', 'x\r\ny', 'x'.repeat(65)])('has no header %j', (name) => {
    expect(problemsOf(put(full(), 'rateLimit.responseHeaders.limit', name))[0]).toContain(
      'must be a header name',
    );
  });
});

describe('limits', () => {
  it('of a tenant override those of its tier, and unlimited lifts one', () => {
    expect(configOf(full()).tenants.get('alice')).toEqual({
      name: 'alice',
      tier: 'gold',
      trustGroup: 'friends',
      keys: [
        { id: expect.stringMatching(/^cfg_[0-9a-f]{12}$/), secret: { kind: 'plain', value: 'key-of-alice' } },
      ],
      models: new Set(['llama']),
      limits: {
        weight: 1,
        tokensPerMinute: 90_000,
        tokenBurst: 40_000,
        tokensPerMonth: 1_000_000,
        maxConcurrent: 3,
        maxContext: 1_000,
        maxOutputs: 2,
        maxQueued: 0,
        maxHeldBytes: 16 * 1024 * 1024,
        byModel: expect.any(Map) as unknown,
      },
    });
  });

  it('of the tier stay where the tenant has none', () => {
    const { limits } = configOf(put(full(), 'tenants.alice.limits', undefined)).tenants.get('alice') ?? {};
    const { maxHeldSize: _, modelLimits: __, ...written } = full().tiers.gold;
    expect(limits).toEqual({
      ...written,
      maxHeldBytes: 32 * 1024 * 1024,
      byModel: expect.any(Map) as unknown,
    });
  });
});

describe('endpoints', () => {
  const endpoints = (...urls: readonly string[]) => put(minimal(), 'pools.main.endpoints', urls);

  it.each([
    ['http://127.0.0.1:8000', '127.0.0.1', 8000],
    ['http://[::1]:8000/', '::1', 8000],
    ['http://Engine.example', 'engine.example', 80],
    ['http://engine_1:80', 'engine_1', 80],
  ])('%s is %s, port %d', (url, host, port) => {
    expect(configOf(endpoints(url)).pools.get('main')?.endpoints).toMatchObject([{ host, port }]);
  });

  it.each([
    ['http://engine:8000/v1', 'http://engine:8000', undefined],
    ['http://engine:8000/v1/', 'http://engine:8000', undefined],
    ['http://engine/llm/', 'http://engine:80/llm', '/llm'],
    ['http://engine/llm/v1', 'http://engine:80/llm', '/llm'],
    ['http://engine/v1/v1', 'http://engine:80/v1', '/v1'],
    ['https://engine', 'https://engine:443', undefined],
    ['HTTPS://Engine:8443/LLM/v1', 'https://engine:8443/LLM', '/LLM'],
    ['https://[::1]/a%20b', 'https://[::1]:443/a%20b', '/a%20b'],
  ])('%s is %s, with the prefix %s', (written, url, prefix) => {
    const [endpoint] = configOf(endpoints(written)).pools.get('main')?.endpoints ?? [];
    expect(endpoint?.url).toBe(url);
    expect(endpoint?.prefix).toBe(prefix);
    expect(endpoint?.tls).toEqual(url.startsWith('https:') ? {} : undefined);
  });

  it.each([
    ['http://user:pass@engine:8000', 'credentials'],
    ['http://@engine:8000', 'credentials'],
    ['https://user@engine', 'credentials'],
    ['http://engine:8000/a//b', 'path'],
    ['http://engine:8000/a/../b', 'path'],
    ['http://engine:8000/a/%2e%2e/b', 'path'],
    ['http://engine:8000/a%2Fb', 'path'],
    [`http://engine:8000/${'a'.repeat(300)}`, 'path'],
    ['https://engine:8000/v1?x=1', 'query'],
    ['http://engine:8000/v1?', 'query'],
    ['unix:/run/engine.sock', 'http:// URL'],
    ['http://engine:8000?x=1', 'query'],
    ['http://engine:8000#x', 'fragment'],
    ['http://engine:99999', 'for example http://127.0.0.1:8000'],
    ['http://engine:0', 'port 0'],
    ['http://0.0.0.0:8000', 'address to listen on'],
    ['http://a b:8000', 'http:// URL'],
    ['http://-x-:8000', 'host name'],
    ['engine:8000', 'http:// URL'],
    ['ftp://engine:21', 'http:// URL'],
    ['http:\\\\engine:8000', 'http:// URL'],
    ['', 'http:// URL'],
  ])('%s is refused: %s', (url, expected) => {
    const problems = problemsOf(endpoints(url));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain('pools.main.endpoints[0]: ');
    expect(problems[0]).toContain(expected);
    expect(problems[0]).not.toContain('pass');
  });

  it('come from the environment too', () => {
    const env = { ENGINE_URL: 'http://engine:8000' };
    expect(configOf(endpoints('env:ENGINE_URL'), { env }).pools.get('main')?.endpoints[0]?.host).toBe(
      'engine',
    );
    expect(problemsOf(endpoints('env:ENGINE_URL'))[0]).toContain(
      'environment variable ENGINE_URL is not set',
    );
    const wrong = problemsOf(endpoints('env:ENGINE_URL'), { env: { ENGINE_URL: 'https://u:pass@x' } });
    expect(wrong[0]).toContain('the value of env:ENGINE_URL');
    expect(wrong[0]).not.toContain('pass');
  });
});

describe('names', () => {
  it.each(['', '-x', 'a b', 'é', 'x'.repeat(65), '../x', 'a/b', 'a:b'])(
    'of tenants and pools are not %j',
    (name) => {
      for (const section of ['pools', 'tenants', 'tiers'] as const) {
        const settings = {
          ...full(),
          [section]: { ...full()[section], [name]: Object.values(full()[section])[0] },
        };
        const problems = problemsOf(settings);
        expect(problems.some((problem) => problem.includes('the name must be 1 to 64 letters'))).toBe(true);
      }
    },
  );

  it.each(['*', '', ' x', 'a\nb', 'a\u202eb', 'x'.repeat(257)])('of models are not %j', (name) => {
    const settings = { ...full(), models: { ...full().models, [name]: { pool: 'main' } } };
    expect(problemsOf(settings).join()).toContain('the name must be 1 to 256 printable characters');
  });

  it.each(['constructor', 'toString', 'hasOwnProperty', 'valueOf'])('may be %s', (name) => {
    const config = configOf({
      pools: { [name]: { endpoints: ['http://127.0.0.1:8000'] } },
      models: { [name]: { pool: name } },
      tiers: { [name]: { weight: 3 } },
      tenants: { [name]: { tier: name, keys: ['key-of-someone'], models: [name] } },
    });
    expect(config.tenants.get(name)?.limits.weight).toBe(3);
    expect(config.pools.get(name)?.discoverModels).toBe(false);
  });

  it.each(['constructor', '__proto__', 'toString'])('of what is not there are not found: %s', (name) => {
    expect(problemsOf(put(full(), 'tenants.alice.tier', name)).join()).toMatch(
      /there is no tier|must be 1 to 64/,
    );
    expect(problemsOf(put(full(), 'envoy.fallbackPool', name)).join()).toMatch(
      /there is no pool|must be 1 to 64/,
    );
    expect(problemsOf(put(full(), 'tenants.alice.models', [name])).join()).toContain('there is no model');
  });

  it.each(['pools', 'models', 'tiers', 'tenants'])('of %s are not __proto__', (section) => {
    const text = `${section}: { __proto__: { keys: [key-of-someone] } }`;
    expect(problemsOf(text).join()).toContain(`${section}.__proto__: cannot be used as a name`);
    expect(({} as Record<string, unknown>)['keys']).toBeUndefined();
  });
});

describe('the result', () => {
  it('is frozen to the last value', () => {
    const loose: string[] = [];
    const visit = (value: unknown, path: string): void => {
      if (typeof value !== 'object' || value === null) return;
      if (!Object.isFrozen(value)) loose.push(path);
      const inner = value instanceof Map ? [...value] : Object.entries(value);
      for (const [key, child] of inner) visit(child, `${path}.${String(key)}`);
    };
    visit(configOf(full()), 'config');
    expect(loose).toEqual([]);
  });
});

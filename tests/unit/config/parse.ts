import { readFileSync } from 'node:fs';
import { stringify } from 'yaml';
import type { Config } from '../../../src/config/config.ts';
import { type ParsedConfig, parseConfig } from '../../../src/config/load.ts';

export type Settings = Record<string, unknown>;

export interface Surroundings {
  readonly env?: Record<string, string>;
  readonly files?: Record<string, string>;
  /** Files of the folder of tenants, by name. */
  readonly tenants?: Readonly<Record<string, string>>;
  readonly before?: ReadonlyMap<string, string>;
  readonly nowMs?: number;
  readonly unshowable?: Parameters<typeof parseConfig>[0]['unshowable'];
}

/** Every setting, each with a value that is not its default. */
export const full = () => ({
  mode: 'endpoint-picker',
  picker: { fairnessHeader: 'x-team', tenant: 'alice', unknownModels: 'refuse', conformance: true },
  cors: { origins: ['https://app.example.com'], headers: ['x-ours'], maxAge: '1m' },
  listen: {
    address: '127.0.0.2:8081',
    tls: { cert: 'server.pem', key: 'server.key', clientCa: 'clients.pem' },
  },
  identity: {
    jwt: {
      issuer: 'https://issuer.test/',
      audience: ['fairlane', 'other'],
      jwks: 'https://issuer.test:8443/keys?x=1',
      jwksCa: 'idp-ca.pem',
      tenantClaim: 'org.name',
      tierClaim: 'plan',
      unknownTenants: 'gold',
      maxUnknownTenants: 50,
    },
  },
  envoy: {
    admin: '[::1]:9902',
    directory: '/run/here',
    failureMode: 'closed',
    fallbackPool: 'small',
    maxBodySize: '64KiB',
    maxUnsizedBodySize: '32KiB',
    passHeaders: ['x-ours'],
    connectionBufferSize: '64KiB',
    maxHeapSize: '1GiB',
    maxConnections: 100,
    idleTimeout: '30s',
    uploads: { minRate: '8KiB', grace: '5s' },
  },
  service: {
    address: '127.0.0.1:9000',
    metrics: 'localhost:9465',
    drainTimeout: '1m',
    zone: 'eu-1',
    dns: { refresh: '1s', servers: ['10.96.0.10', '[fd00::53]:5353'] },
    tls: { cert: 'server.pem', key: 'server.key', clientCa: 'clients.pem' },
  },
  queue: { maxWait: '200ms', maxQueued: 7, maxQueuedSize: '16MiB', quantum: 64 },
  pools: {
    main: {
      endpoints: ['http://10.0.0.1:8000', 'http://[fd00::1]:8000'],
      drain: ['http://[fd00::1]:8000'],
      routing: 'class-aware',
      choice: {
        weights: {
          load: 2,
          queue: 3,
          kvRoom: 0,
          prefix: 4.5,
          session: 5,
          adapter: 6,
          slowClients: 7,
          zone: 8,
        },
        largeTokens: 10_000,
        slowClients: ['http://10.0.0.1:8000'],
        sessionHeader: 'x-conversation',
        zones: { 'eu-1': ['http://10.0.0.1:8000'], 'eu-2': ['http://[fd00::1]:8000'] },
      },
      kvCache: { memory: '20GiB', layers: 32, kvHeads: 8, headDim: 128, bytes: 1 },
      gpuPrice: { perHour: '2.50 EUR', per: 'endpoint' },
      engine: 'sglang',
      concurrencyLimit: 4,
      adaptersPerEndpoint: 3,
      prefillTokens: 512,
      headroom: 2,
      gauges: { path: '/stats', interval: '2s' },
      engineCapabilities: { priority: 'auto', cacheSalt: 'auto' },
      health: {
        path: '/ready',
        interval: '3s',
        timeout: '4s',
        unhealthyAfter: 5,
        healthyAfter: 6,
        slowStart: '7s',
      },
    },
    small: {
      endpoints: [
        'http://engine.local:8001',
        {
          url: 'https://engine.local:8443/llm/v1',
          apiKey: 'file:/etc/own-engine-key',
          tls: { ca: 'redis-ca.pem', cert: 'redis.pem', key: 'redis.key', serverName: 'own.example' },
          weight: 2.5,
        },
      ],
      apiKey: 'file:/etc/engine-key',
      tls: {
        ca: 'redis-ca.pem',
        cert: 'redis.pem',
        key: 'redis.key',
        serverName: 'engine.example',
        // The other value is warned of.
        insecureSkipVerify: false,
      },
    },
  },
  cost: { prompt: 2, cachedPrompt: 0, output: 3 },
  prices: {
    models: {
      llama: {
        from: '2026-01-01',
        prompt: '0.50 EUR',
        cachedPrompt: '0.05 EUR',
        completion: '1.50 EUR',
        request: '0.001 EUR',
        image: '0.02 EUR',
      },
    },
    default: [{ prompt: '1 USD' }, { from: '2026-11-01', prompt: '2 USD' }],
    tenants: {
      alice: {
        models: { llama: { prompt: '0.40 EUR', completion: '1.20 EUR' } },
        default: { prompt: '0.10 EUR', request: '0 EUR' },
      },
    },
  },
  lanes: {
    chat: {
      weight: 4,
      when: [{ tiers: ['gold'] }],
      order: 'shortest',
      maxAge: '5s',
      ttft: '200ms',
      itl: '30ms',
      stalledAfter: '3s',
    },
    rest: {},
  },
  routes: {
    music: { path: '/v1/audio/music', method: 'POST', body: 'multipart', metered: 'usage', model: 'llama' },
  },
  models: {
    llama: {
      pool: 'main',
      cost: { prompt: 1, cachedPrompt: 1, output: 4 },
      fallback: ['org/Model 7B'],
      canary: {
        model: 'org/Model 7B',
        weight: 20,
        by: 'session',
        sessionHeader: 'x-conversation',
        salt: 'second try',
      },
    },
    'org/Model 7B': { pool: 'small' },
  },
  aliases: { best: 'llama', default: 'best' },
  adapters: { legal: { base: 'llama', path: '/adapters/legal', tenants: ['alice'] } },
  tiers: {
    gold: {
      weight: 2.5,
      requestsPerMinute: 600,
      requestBurst: 100,
      tokensPerMinute: 100_000,
      tokenBurst: 50_000,
      tokensPerMonth: 100_000_000,
      maxConcurrent: 16,
      maxContext: 32_768,
      maxOutputs: 4,
      maxQueued: 9,
      maxHeldSize: '32MiB',
      modelLimits: {
        llama: {
          requestsPerMinute: 60,
          requestBurst: 10,
          tokensPerMinute: 20_000,
          tokenBurst: 2_000,
          tokensPerMonth: 500_000,
          maxContext: 900,
        },
      },
    },
  },
  tenants: {
    alice: {
      tier: 'gold',
      keys: ['key-of-alice'],
      models: ['llama'],
      trustGroup: 'friends',
      limits: {
        weight: 1,
        requestsPerMinute: 'unlimited',
        tokensPerMinute: 90_000,
        tokenBurst: 40_000,
        tokensPerMonth: 1_000_000,
        maxConcurrent: 3,
        maxContext: 1_000,
        maxOutputs: 2,
        maxQueued: 0,
        maxHeldSize: '16MiB',
      },
      modelLimits: {
        llama: {
          requestsPerMinute: 30,
          requestBurst: 10,
          tokensPerMinute: 10_000,
          tokenBurst: 1_000,
          tokensPerMonth: 400_000,
          maxContext: 800,
        },
      },
    },
  },
  tenantDirectory: 'tenants.d',
  redis: {
    url: 'rediss://user:secret-of-redis@10.0.0.9:6380/2',
    username: 'fairlane',
    password: 'file:redis-password',
    tls: 'on',
    caFile: 'redis-ca.pem',
    certFile: 'redis.pem',
    keyFile: 'redis.key',
    keyPrefix: 'f:',
    maxWait: '20ms',
    failureShare: 0.25,
  },
  ledger: {
    directory: 'state',
    url: 'postgresql://user:secret-of-ledger@10.0.0.9:5433/fairlane',
    keep: '30d',
    maxSpool: '8MiB',
  },
  rateLimit: {
    directory: 'limits',
    snapshot: 'levels.json',
    mergeDomains: 'on',
    shadowMode: 'on',
    quotaMode: 'on',
    chargeRefused: 'off',
    nearLimitRatio: 0.9,
    dynamicMetadata: 'on',
    responseHeaders: { send: 'on', perUnit: 'on', limit: 'X-Limit', remaining: 'X-Left', reset: 'X-Reset' },
    requestHeaders: { send: 'on', limit: 'X-Up-Limit', remaining: 'X-Up-Left', reset: 'X-Up-Reset' },
    http: '127.0.0.1:8081',
  },
  fields: { onForbidden: 'refuse', forbidden: ['priority', 'bootstrap_*'] },
  telemetry: {
    tenantHistograms: 'off',
    otlp: {
      endpoint: 'https://otel.example/base/',
      headers: { authorization: 'Basic secret-of-otlp' },
      sample: 0.5,
    },
  },
  log: { level: 'warn', format: 'json' },
});

const pem = (name: string): string =>
  readFileSync(new URL(`../../fixtures/tls/${name}.pem`, import.meta.url), 'utf8');

/** What `full` names. */
const FILES: Readonly<Record<string, string>> = {
  '/etc/redis-password': 'password-of-redis',
  '/etc/engine-key': 'key-of-the-engines',
  '/etc/own-engine-key': 'key-of-one-engine',
  '/etc/redis-ca.pem': pem('ca'),
  '/etc/redis.pem': pem('client'),
  '/etc/redis.key': pem('key'),
  '/etc/server.pem': pem('server'),
  '/etc/server.key': pem('key'),
  '/etc/clients.pem': pem('ca'),
  '/etc/idp-ca.pem': pem('ca'),
};

export const minimal = () => ({
  pools: { main: { endpoints: ['http://127.0.0.1:8000'] } },
  tenants: { alice: { keys: ['key-of-alice'] } },
});

export function parse(settings: unknown, surroundings: Surroundings = {}): ParsedConfig {
  const { env = {}, files = {}, tenants = {}, before, nowMs, unshowable } = surroundings;
  return parseConfig({
    text: typeof settings === 'string' ? settings : stringify(settings),
    file: '/etc/f.yaml',
    defaults: { directory: '/run/user/1/fairlane' },
    env,
    ...(nowMs !== undefined && { nowMs }),
    ...(before !== undefined && { tenantsBefore: before }),
    readFolder: (path) =>
      Object.entries(tenants)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, text]) => ({ file: `${path}/${name}`, content: { kind: 'ok', text } })),
    authorities: () => 'the authorities of the system',
    ...(unshowable !== undefined && { unshowable }),
    readFile(path) {
      const text = files[path] ?? FILES[path];
      if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      return text;
    },
  });
}

export function configOf(settings: unknown, surroundings?: Surroundings): Config {
  const parsed = parse(settings, surroundings);
  if (parsed.kind === 'bad') throw new Error(parsed.problems.join('\n'));
  return parsed.config;
}

export function warningsOf(settings: unknown, surroundings?: Surroundings): readonly string[] {
  const parsed = parse(settings, surroundings);
  if (parsed.kind === 'bad') throw new Error(parsed.problems.join('\n'));
  return parsed.warnings;
}

/** Empty if there are none. */
export function problemsOf(settings: unknown, surroundings?: Surroundings): readonly string[] {
  const parsed = parse(settings, surroundings);
  return parsed.kind === 'bad' ? parsed.problems : [];
}

/** A copy with the value at `path` replaced, or removed if it is undefined. */
export function put(settings: Settings, path: string, value: unknown): Settings {
  const [first = '', ...rest] = path.split('.');
  const copy = { ...settings };
  const inner = rest.length === 0 ? value : put((copy[first] ?? {}) as Settings, rest.join('.'), value);
  if (inner === undefined) delete copy[first];
  else copy[first] = inner;
  return copy;
}

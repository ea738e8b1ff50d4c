/**
 * What the schema cannot say: names that must exist, keys and addresses that must differ. The checks read the data as
 * written, so that one wrong setting does not hide what is wrong elsewhere.
 */
import type { z } from 'zod';
import { loadAliases } from './aliases.ts';
import type { Config, EndpointConfig, HostPort, Limits } from './config.ts';
import { isKeyOf, lookUpCertificates, lookUpPrivateKey } from './pem.ts';
import { didYouMean, quote, type Report } from './report.ts';
import { knownKeys, type WrittenConfig } from './schema.ts';
import { type Looked, lookUpEnv, lookUpKey, SHORT_KEY, type Sources } from './secrets.ts';
import { endpoint, FILE_PATH, hostPort } from './values.ts';
import type { Path } from './yaml-source.ts';

/** Linux takes 107 bytes, macOS 103. */
const LONGEST_SOCKET_PATH = 103;

export interface Check {
  readonly root: unknown;
  readonly report: Report;
  readonly hide: (text: string) => string;
  readonly env: Sources['env'];
}

type Mapping = Readonly<Record<string, unknown>>;

export const isMapping = (value: unknown): value is Mapping =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export function at(value: unknown, ...path: readonly string[]): unknown {
  let here = value;
  for (const step of path) here = isMapping(here) && Object.hasOwn(here, step) ? here[step] : undefined;
  return here;
}

export const entriesAt = (
  value: unknown,
  ...path: readonly string[]
): readonly (readonly [string, unknown])[] => {
  const found = at(value, ...path);
  return isMapping(found) ? Object.entries(found) : [];
};

export const textsAt = (
  value: unknown,
  ...path: readonly string[]
): readonly (readonly [number, string])[] => {
  const found = at(value, ...path);
  if (!Array.isArray(found)) return [];
  return found.flatMap((item: unknown, i) => (typeof item === 'string' ? [[i, item] as const] : []));
};

export function reportSchema(issues: readonly z.core.$ZodIssue[], { report }: Check): void {
  for (const issue of issues) {
    const path = issue.path.map((step) => (typeof step === 'number' ? step : String(step)));
    if (issue.code === 'unrecognized_keys') {
      const known = knownKeys(path);
      for (const key of issue.keys) {
        const here = [...path, key];
        const near = didYouMean(key, known) || `; known here: ${known.join(', ')}`;
        report.problem(here, `unknown setting${near}`, 'key');
      }
    } else if (issue.code === 'invalid_key') {
      const message = issue.issues[0]?.message ?? 'is no valid name';
      report.problem(path, `the name ${message}`, 'key');
    } else {
      report.problem(path, issue.message);
    }
  }
}

export interface KeyEntry {
  readonly tenant: string;
  readonly path: Path;
  readonly text: string;
  readonly looked: Looked;
}

export function findKeys(value: unknown, sources: Sources): readonly KeyEntry[] {
  return entriesAt(value, 'tenants').flatMap(([tenant, settings]) => {
    const path = ['tenants', tenant, 'keys'];
    const single = at(settings, 'keys');
    const entry = (text: string, where: Path): KeyEntry => ({
      tenant,
      path: where,
      text,
      looked: lookUpKey(text, sources),
    });
    // A lone key instead of a list is the schema's to refuse, but a secret all the same.
    if (typeof single === 'string') return [entry(single, path)];
    return textsAt(settings, 'keys').map(([i, text]) => entry(text, [...path, i]));
  });
}

export function checkKeys(keys: readonly KeyEntry[], { report, hide }: Check): void {
  const owners = new Map<string, string>();
  for (const { tenant, path, looked } of keys) {
    if (looked.kind === 'bad') {
      report.problem(path, looked.problem);
      continue;
    }
    const owner = owners.get(looked.value);
    owners.set(looked.value, tenant);
    if (owner !== undefined) {
      const whose = owner === tenant ? 'this tenant' : `tenant ${quote(hide(owner))}`;
      report.problem(path, `${whose} has the same key already; give each its own`);
    } else if (looked.value.length < SHORT_KEY) {
      report.warning(path, `the key has fewer than ${SHORT_KEY} characters and can be guessed`);
    }
  }
}

/** What stands in these settings of `redis`, looked up. */
export interface RedisSecrets {
  readonly url: Looked | undefined;
  readonly password: Looked | undefined;
  readonly caFile: Looked | undefined;
  readonly certFile: Looked | undefined;
  readonly keyFile: Looked | undefined;
}

export function findRedisSecrets(value: unknown, sources: Sources): RedisSecrets {
  const of = (key: string, lookUp: typeof lookUpKey, pattern = /^/): Looked | undefined => {
    const text = at(value, 'redis', key);
    return typeof text === 'string' && pattern.test(text) ? lookUp(text, sources) : undefined;
  };
  return {
    url: of('url', lookUpKey),
    password: of('password', lookUpKey),
    caFile: of('caFile', lookUpCertificates, FILE_PATH),
    certFile: of('certFile', lookUpCertificates, FILE_PATH),
    keyFile: of('keyFile', lookUpPrivateKey, FILE_PATH),
  };
}

/** For hiding: what was written, and what it stands for. */
export function redisSecretTexts(
  value: unknown,
  { url, password }: Pick<RedisSecrets, 'url' | 'password'>,
): readonly { readonly text: string; readonly looked: Looked }[] {
  return (
    [
      ['url', url],
      ['password', password],
    ] as const
  ).flatMap(([key, looked]) => {
    const text = at(value, 'redis', key);
    return typeof text === 'string' && looked !== undefined ? [{ text, looked }] : [];
  });
}

const REDIS_URL = /^rediss?:\/\/[^\s/?#]+(:\d+)?(\/\d+)?$/;

export const speaksTls = (tls: unknown, { url }: RedisSecrets): boolean =>
  tls === 'on' || (url?.kind === 'ok' && url.value.startsWith('rediss:'));

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

export function checkRedis(secrets: RedisSecrets, { root, report }: Check): void {
  const { url, password } = secrets;
  const redis = at(root, 'redis');
  if (!isMapping(redis)) return;
  const given = ['url', 'sentinels', 'cluster'].filter((key) => redis[key] !== undefined);
  if (given.length !== 1) {
    report.problem(['redis'], 'needs exactly one of url, sentinels and cluster', 'key');
  }
  if (redis['sentinels'] !== undefined && redis['sentinelName'] === undefined) {
    report.problem(['redis', 'sentinels'], 'needs sentinelName: what the sentinels call the primary', 'key');
  }
  if (url?.kind === 'bad') report.problem(['redis', 'url'], url.problem);
  else if (url !== undefined && (!REDIS_URL.test(url.value) || !URL.canParse(url.value))) {
    report.problem(
      ['redis', 'url'],
      'must be redis://[[user][:password]@]host[:port][/database], or rediss:// for TLS',
    );
  } else if (url !== undefined && !isDecodable(url.value)) {
    report.problem(['redis', 'url'], 'has a % that begins no escape; write it as %25');
  }
  if (password?.kind === 'bad') report.problem(['redis', 'password'], password.problem);
  checkRedisTls(secrets, redis, report);
}

function checkRedisTls(secrets: RedisSecrets, redis: Mapping, report: Report): void {
  const speaks = speaksTls(redis['tls'], secrets);
  for (const name of ['caFile', 'certFile', 'keyFile'] as const) {
    const looked = secrets[name];
    if (looked?.kind === 'bad') report.problem(['redis', name], looked.problem);
    else if (looked !== undefined && !speaks) {
      report.problem(['redis', name], 'needs TLS: tls: on, or a url that begins with rediss://', 'key');
    }
  }
  const { certFile, keyFile } = secrets;
  if (certFile !== undefined && redis['keyFile'] === undefined) {
    report.problem(['redis', 'certFile'], 'needs keyFile: the private key of the certificate', 'key');
  }
  if (keyFile !== undefined && redis['certFile'] === undefined) {
    report.problem(['redis', 'keyFile'], 'needs certFile: the certificate that it is the key of', 'key');
  }
  if (certFile?.kind === 'ok' && keyFile?.kind === 'ok' && !isKeyOf(keyFile.value, certFile.value)) {
    report.problem(['redis', 'keyFile'], 'is not the key of the first certificate in certFile');
  }
}

export function checkReferences({ root, report, hide }: Check): void {
  const names = (section: string): readonly string[] => entriesAt(root, section).map(([name]) => name);
  const pools = names('pools');
  const tiers = names('tiers');
  const models = names('models');
  const mustExist = (noun: string, known: readonly string[], path: Path, name: unknown): void => {
    if (typeof name !== 'string' || known.includes(name)) return;
    report.problem(path, missing(noun, known, name, hide));
  };

  mustExist('pool', pools, ['envoy', 'fallbackPool'], at(root, 'envoy', 'fallbackPool'));
  for (const [model, settings] of entriesAt(root, 'models')) {
    mustExist('pool', pools, ['models', model, 'pool'], at(settings, 'pool'));
    const canary = at(settings, 'canary', 'model');
    const path = ['models', model, 'canary', 'model'];
    if (canary === model) report.problem(path, 'is the model itself; name another version');
    else if (typeof canary === 'string' && !models.includes(canary) && names('adapters').includes(canary)) {
      report.problem(path, 'is an adapter, and a canary may not be one; name a model');
    } else mustExist('model', models, path, canary);
    mustExist('pool', pools, ['models', model, 'shadow', 'pool'], at(settings, 'shadow', 'pool'));
  }
  const named = new Set(
    entriesAt(root, 'models').flatMap(([, settings]) => [
      at(settings, 'pool'),
      at(settings, 'shadow', 'pool'),
    ]),
  );
  const discovering = pools.some((pool) => !named.has(pool));
  const adapters = names('adapters');
  checkAliases([...models, ...adapters], discovering, { root, report, hide });
  checkAdapters(models, discovering, mustExist, { root, report, hide });
  const usable = [...models, ...adapters, ...names('aliases')];
  checkLanes(root, mustExist);
  mustExist(
    'tenant',
    entriesAt(root, 'tenants').map(([tenant]) => tenant),
    ['picker', 'tenant'],
    at(root, 'picker', 'tenant'),
  );
  const isPicker = at(root, 'mode') === 'endpoint-picker';
  for (const [tenant, settings] of entriesAt(root, 'tenants')) {
    if (!isPicker && isMapping(settings) && at(settings, 'keys') === undefined) {
      report.problem(['tenants', tenant, 'keys'], 'is missing; must be a list of 1 to 64 keys');
    }
    mustExist('tier', tiers, ['tenants', tenant, 'tier'], at(settings, 'tier'));
    // Without configured models every name comes from an engine, and none can be checked here.
    if (models.length === 0) continue;
    for (const [i, model] of textsAt(settings, 'models')) {
      if (usable.includes(model) || model === '*') continue;
      const path = ['tenants', tenant, 'models', i];
      const near = didYouMean(model, usable);
      if (!discovering) report.problem(path, missing('model', usable, model, hide));
      else {
        const message = `no model ${quote(hide(model))} is configured; it can be used only if an engine announces it`;
        report.warning(path, `${message}${near}`);
      }
    }
  }
}

/** Aliases and fallbacks. While an engine may announce models, a name that is not configured may be one of its. */
function checkAliases(
  models: readonly string[],
  discovering: boolean,
  { root, report, hide }: Pick<Check, 'root' | 'report' | 'hide'>,
): void {
  const known = new Set(models);
  const loaded = loadAliases(
    {
      aliases: new Map(
        entriesAt(root, 'aliases').flatMap(([alias, to]) => (typeof to === 'string' ? [[alias, to]] : [])),
      ),
      fallbacks: new Map(
        entriesAt(root, 'models').map(([model, settings]) => [
          model,
          textsAt(settings, 'fallback').map(([, name]) => name),
        ]),
      ),
    },
    (model) => known.has(model) || (discovering ? undefined : false),
  );
  if (loaded.kind === 'ok') return;
  for (const { path, message, unknown = '' } of loaded.problems) {
    report.problem(path, hide(`${message}${unknown === '' ? '' : didYouMean(unknown, models)}`));
  }
}

type MustExist = (noun: string, known: readonly string[], path: Path, name: unknown) => void;

/** A base that is not configured may be one that an engine announces, as long as a pool is asked. */
function checkAdapters(
  models: readonly string[],
  discovering: boolean,
  mustExist: MustExist,
  { root, report, hide }: Pick<Check, 'root' | 'report' | 'hide'>,
): void {
  const tenants = entriesAt(root, 'tenants').map(([tenant]) => tenant);
  for (const [adapter, settings] of entriesAt(root, 'adapters')) {
    const path = ['adapters', adapter];
    if (models.includes(adapter)) {
      report.problem(path, "is a model's own name; choose another for the adapter", 'key');
    }
    for (const [i, tenant] of textsAt(settings, 'tenants')) {
      mustExist('tenant', tenants, [...path, 'tenants', i], tenant);
    }
    const base = at(settings, 'base');
    if (typeof base !== 'string' || models.includes(base)) continue;
    const where = [...path, 'base'];
    const of = (message: string): void => report.problem(where, message);
    if (at(root, 'adapters', base) !== undefined) of('is an adapter itself; name the model under both');
    else if (at(root, 'aliases', base) !== undefined) of('is an alias; name the model that it stands for');
    else if (!discovering) of(missing('model', models, base, hide));
    else if (models.length > 0) {
      const message = `no model ${quote(hide(base))} is configured; the adapter can be used only if an engine announces it`;
      report.warning(where, `${message}${didYouMean(base, models)}`);
    }
  }
}

/** Tenants and tiers that lanes name. Their models may come from an engine. */
function checkLanes(root: unknown, mustExist: MustExist): void {
  for (const [lane, settings] of entriesAt(root, 'lanes')) {
    const conditions = at(settings, 'when');
    if (!Array.isArray(conditions)) continue;
    conditions.forEach((condition: unknown, i) => {
      for (const [key, noun] of [
        ['tenants', 'tenant'],
        ['tiers', 'tier'],
      ] as const) {
        const known = entriesAt(root, key).map(([name]) => name);
        for (const [k, name] of textsAt(condition, key)) {
          mustExist(noun, known, ['lanes', lane, 'when', i, key, k], name);
        }
      }
    });
  }
}

function missing(
  noun: string,
  known: readonly string[],
  name: string,
  hide: (text: string) => string,
): string {
  const near = didYouMean(name, known) || `; add it under ${noun}s, or name one that is there`;
  return `there is no ${noun} ${quote(hide(name))}${near}`;
}

/** The endpoints of each pool, as far as they are right. */
export type Endpoints = ReadonlyMap<string, readonly (EndpointConfig & { readonly path: Path })[]>;

export function checkEndpoints({ root, report, hide, env }: Check): Endpoints {
  const owners = new Map<string, string>();
  const found = new Map<string, (EndpointConfig & { readonly path: Path })[]>();
  for (const [pool, settings] of entriesAt(root, 'pools')) {
    const list: (EndpointConfig & { readonly path: Path })[] = [];
    found.set(pool, list);
    for (const [i, text] of textsAt(settings, 'endpoints')) {
      const path = ['pools', pool, 'endpoints', i];
      const problem = (message: string): void => {
        report.problem(path, message);
      };
      const looked = lookUpEnv(text, env);
      const result = looked.kind === 'ok' ? endpoint(looked.value.trim()) : looked;
      if (result.kind === 'bad') {
        problem(
          looked.kind === 'ok' && text.startsWith('env:')
            ? `the value of ${text} ${result.problem}`
            : result.problem,
        );
        continue;
      }
      const owner = owners.get(result.endpoint.url);
      owners.set(result.endpoint.url, pool);
      if (owner !== undefined) {
        const where = owner === pool ? 'this pool' : `pool ${quote(hide(owner))}`;
        // Two windows on one engine would let twice as many requests in as it can run.
        problem(`${result.endpoint.url} is already an endpoint of ${where}; list it once`);
      } else list.push({ ...result.endpoint, path });
    }
  }
  return found;
}

/** The URLs of each pool's endpoints that are to be drained. */
export function checkDrains(
  endpoints: Endpoints,
  { root, report, hide, env }: Check,
): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, readonly string[]>();
  for (const [pool, settings] of entriesAt(root, 'pools')) {
    const own = (endpoints.get(pool) ?? []).map(({ url }) => url);
    const urls = new Set<string>();
    for (const [i, text] of textsAt(settings, 'drain')) {
      const looked = lookUpEnv(text, env);
      const result = looked.kind === 'ok' ? endpoint(looked.value.trim()) : looked;
      const path = ['pools', pool, 'drain', i];
      if (result.kind === 'bad') report.problem(path, result.problem);
      else if (own.includes(result.endpoint.url)) urls.add(result.endpoint.url);
      else {
        const near = didYouMean(result.endpoint.url, own);
        report.problem(path, `${result.endpoint.url} is no endpoint of pool ${quote(hide(pool))}${near}`);
      }
    }
    if (own.length > 0 && urls.size === own.length) {
      report.warning(['pools', pool, 'drain'], 'leaves no endpoint: every request gets a 503', 'key');
    }
    found.set(pool, [...urls]);
  }
  return found;
}

const LISTENERS: readonly (readonly [path: readonly [string, ...string[]], standard: string])[] = [
  [['listen'], '127.0.0.1:8080'],
  [['envoy', 'admin'], '127.0.0.1:9901'],
  [['service', 'metrics'], '127.0.0.1:9464'],
  [['service', 'address'], 'unix:'],
];

/** No two listeners share an address, and no endpoint is Envoy's own listener: that would be a loop. */
export function checkAddresses(endpoints: Endpoints, { root, report }: Check): void {
  const taken: { path: Path; address: HostPort }[] = [];
  const clash = (path: Path, other: Path, address: HostPort, remedy: string): void => {
    report.problem(path, `port ${address.port} is already taken by ${other.join('.')}; ${remedy}`);
  };
  for (const [path, standard] of LISTENERS) {
    const written = at(root, ...path) ?? standard;
    // A `unix:` address is no host and port either.
    const address = typeof written === 'string' ? hostPort(written, 'any') : undefined;
    if (address === undefined) continue;
    const other = taken.find((earlier) => overlap(earlier.address, address));
    if (other !== undefined) clash(path, other.path, address, 'give each its own');
    taken.push({ path, address });
  }
  for (const { path, ...address } of [...endpoints.values()].flat()) {
    const other = taken.find((listening) => reaches(address, listening.address));
    if (other !== undefined) clash(path, other.path, address, 'an endpoint is an engine, give its address');
  }
}

const IPV4 = /^\d+\.\d+\.\d+\.\d+$/;
const isAnyAddress = (host: string): boolean => host === '0.0.0.0' || host === '::';
const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || host.startsWith('127.');

/** Whether a connection to `target` reaches `listening`, as far as the addresses tell. */
function reaches(target: HostPort, listening: HostPort): boolean {
  if (target.port !== listening.port) return false;
  const [to, on] = [target.host.toLowerCase(), listening.host.toLowerCase()];
  if (to === on) return true;
  return isLoopback(to) && (isAnyAddress(on) || (isLoopback(on) && [to, on].includes('localhost')));
}

/** Whether one machine cannot listen on both. */
function overlap(a: HostPort, b: HostPort): boolean {
  if (a.port !== b.port) return false;
  if (isAnyAddress(a.host)) return isAnyAddress(b.host) || IPV4.test(b.host) || isLoopback(b.host);
  return isAnyAddress(b.host) ? overlap(b, a) : reaches(a, b);
}

const BURSTS = [
  ['requestBurst', 'requestsPerMinute'],
  ['tokenBurst', 'tokensPerMinute'],
] as const;

type WrittenLimits = WrittenConfig['tiers'][string];

/** What only the merged configuration shows. */
export function checkBuilt(config: Config, written: WrittenConfig, { report }: Check): void {
  const { address } = config.service;
  if (config.picker !== undefined && address.kind === 'unix') {
    report.problem(
      ['service', 'address'],
      'must be host:port with mode: endpoint-picker, for example 0.0.0.0:9002; a gateway connects over TCP',
    );
  }
  const { admin } = config.envoy;
  const sockets: readonly (readonly [Path, string | undefined])[] = [
    [['service', 'address'], address.kind === 'unix' ? address.path : undefined],
    [['envoy', 'admin'], 'path' in admin ? admin.path : undefined],
  ];
  for (const [path, socket] of sockets) {
    if (socket === undefined || Buffer.byteLength(socket) <= LONGEST_SOCKET_PATH) continue;
    report.problem(
      path,
      `the socket's path is longer than ${LONGEST_SOCKET_PATH} bytes, more than systems take; shorten it or envoy.directory`,
    );
  }
  if ('path' in admin && address.kind === 'unix' && admin.path === address.path) {
    report.problem(['envoy', 'admin'], 'is the same socket as service.address; give each its own');
  }
  const isForgetful = config.redis === undefined && config.rateLimit.snapshot === undefined;
  /** `limits`: what stands at `path`, alone or merged with the tier's. */
  const checkLimits = (path: Path, own: WrittenLimits, limits: WrittenLimits | Limits): void => {
    for (const [burst, rate] of BURSTS) {
      if (own[burst] === undefined || typeof limits[rate] === 'number') continue;
      report.warning([...path, burst], `has no effect without ${rate}`, 'key');
    }
    if (typeof own.tokensPerMonth === 'number' && isForgetful) {
      report.warning(
        [...path, 'tokensPerMonth'],
        'begins anew at every restart; set redis, or rateLimit.snapshot to a file that stays',
        'key',
      );
    }
    const { tokensPerMinute, tokenBurst = tokensPerMinute, maxContext } = limits;
    const says = own.tokensPerMinute ?? own.tokenBurst ?? own.maxContext;
    if (says === undefined || typeof tokenBurst !== 'number' || typeof maxContext !== 'number') return;
    if (typeof tokensPerMinute !== 'number' || maxContext <= tokenBurst) return;
    report.warning(
      path,
      `prompts of more than ${tokenBurst} tokens are always refused although maxContext is ${maxContext}; raise tokenBurst or lower maxContext`,
      'key',
    );
  };
  const lanes = Object.entries(written.lanes);
  const catchAll = lanes.findIndex(([, { when }]) => when === undefined);
  lanes.forEach(([name, { ttft, itl }], i) => {
    if (catchAll >= 0 && i > catchAll) {
      const before = lanes[catchAll]?.[0] ?? '';
      report.warning(
        ['lanes', name],
        `is never reached: ${before}, before it, has no when and takes every request`,
        'key',
      );
    }
    if (ttft === undefined && itl === undefined) return;
    const fixed = [...config.pools.values()].filter(
      ({ concurrencyLimit: windowPerEndpoint }) => windowPerEndpoint !== 'auto',
    );
    if (fixed.length < config.pools.size) return;
    report.warning(
      ['lanes', name],
      'ttft and itl have no effect: no pool has windowPerEndpoint: auto',
      'key',
    );
  });
  checkAdapterPlaces(config, report);
  for (const [name, tier] of Object.entries(written.tiers)) checkLimits(['tiers', name], tier, tier);
  for (const [name, { limits: own }] of Object.entries(written.tenants)) {
    const merged = config.tenants.get(name)?.limits;
    if (merged !== undefined) checkLimits(['tenants', name, 'limits'], own, merged);
  }
}

/** Adapters that are to be loaded and have no place, and places that nothing is loaded into. */
function checkAdapterPlaces({ adapters, models, pools, tenants }: Config, report: Report): void {
  const loadable = new Set<string>();
  for (const { name, base, path, tenants: owners } of adapters.values()) {
    for (const tenant of tenants.values()) {
      if (owners === undefined || owners.has(tenant.name)) continue;
      if (tenant.models === '*' || !tenant.models.has(name)) continue;
      report.warning(
        ['tenants', tenant.name, 'models'],
        `names the adapter ${quote(name)}, which is for other tenants; add this one to adapters.${name}.tenants`,
        'key',
      );
    }
    if (path === undefined) continue;
    const model = models.get(base);
    const possible = [...pools.values()].filter((pool) =>
      model === undefined ? pool.discoverModels : pool.name === model.pool,
    );
    for (const pool of possible) loadable.add(pool.name);
    if (possible.some(({ adaptersPerEndpoint }) => adaptersPerEndpoint !== undefined)) continue;
    const [first] = possible;
    const where = model === undefined || first === undefined ? "its base's pool" : `pools.${first.name}`;
    report.warning(
      ['adapters', name, 'path'],
      `is never loaded: ${where} has no adaptersPerEndpoint; set it, or the adapter serves only where an engine has it already`,
      'key',
    );
  }
  for (const { name, adaptersPerEndpoint } of pools.values()) {
    if (adaptersPerEndpoint === undefined || loadable.has(name)) continue;
    report.warning(
      ['pools', name, 'adaptersPerEndpoint'],
      'has no effect: no adapter with a path has a base in this pool',
      'key',
    );
  }
}

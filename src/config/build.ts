/** The configuration as the program uses it, from one that has been checked. */
import { isAbsolute, join } from 'node:path';
import type { CostWeights } from '../domain/cost.ts';
import { type Endpoints, type KeyEntry, type RedisSecrets, speaksTls } from './checks.ts';
import type { ChosenEndpoints } from './choice-checks.ts';
import {
  type Config,
  DEFAULT_LANE,
  type EndpointChoice,
  type LaneCondition,
  type LaneConfig,
  type Limits,
  type MirrorConfig,
  type RedisConfig,
  type TenantConfig,
} from './config.ts';
import { heapFor } from './memory-bound.ts';
import type { WrittenConfig } from './schema.ts';
import type { Looked } from './secrets.ts';

const DEFAULT_MAX_QUEUED = 100;
const DEFAULT_MAX_OUTPUTS = 16;
/** Uploads at once of a client that does not say how long they are. */
const HELD_BODIES = 6;
const DEFAULT_MAX_HELD_BYTES = 48 * 1024 ** 2;

interface Parts {
  /** Used where the configuration names none. */
  readonly directory: string;
  /** Of a path that is relative to the configuration's folder. */
  readonly locate: (path: string) => string;
  readonly keys: readonly KeyEntry[];
  readonly redis: RedisSecrets;
  readonly endpoints: Endpoints;
  /** URLs, by pool. */
  readonly drains: ReadonlyMap<string, readonly string[]>;
  readonly chosen: ChosenEndpoints;
  readonly poolNames: readonly string[];
}

export function buildConfig(
  written: WrittenConfig,
  { directory: standard, locate, keys, redis, endpoints, drains, chosen, poolNames }: Parts,
): Config {
  const directory = written.envoy.directory ?? standard;
  const { address } = written.service;
  const mirrorPools = new Set(Object.values(written.models).flatMap(({ shadow }) => shadow?.pool ?? []));
  const modelPools = new Set([...mirrorPools, ...Object.values(written.models).map(({ pool }) => pool)]);
  const keysOf = byTenant(keys);
  const { fairnessHeader, tenant: unnamed } = written.picker;
  const config: Config = {
    ...(written.mode === 'endpoint-picker' && {
      picker: { fairnessHeader, ...(unnamed !== undefined && { tenant: unnamed }) },
    }),
    listen: written.listen,
    envoy: {
      admin:
        'path' in written.envoy.admin && !isAbsolute(written.envoy.admin.path)
          ? { path: join(directory, written.envoy.admin.path) }
          : written.envoy.admin,
      directory,
      failureMode: written.envoy.failureMode,
      fallbackPool: written.envoy.fallbackPool ?? poolNames.find((name) => !mirrorPools.has(name)) ?? '',
      maxBodyBytes: written.envoy.maxBodySize,
      ...(written.envoy.passHeaders !== undefined && { passHeaders: written.envoy.passHeaders }),
      ...envoyMemoryOf(written.envoy),
    },
    service: {
      address:
        address.kind === 'unix' && !isAbsolute(address.path)
          ? { kind: 'unix', path: join(directory, address.path) }
          : address,
      metrics: written.service.metrics,
      drainTimeoutMs: written.service.drainTimeout,
      ...(written.service.zone !== undefined && { zone: written.service.zone }),
    },
    queue: {
      maxWaitMs: written.queue.maxWait,
      maxQueued: written.queue.maxQueued,
      maxQueuedBytes: written.queue.maxQueuedSize,
      quantumTokens: written.queue.quantum,
      lanes: lanesOf(written),
    },
    ...(written.redis !== undefined && { redis: redisOf(written.redis, redis) }),
    rateLimit: {
      mergeDomains: written.rateLimit.mergeDomains === 'on',
      shadow: written.rateLimit.shadow === 'on',
      ...(written.rateLimit.snapshot !== undefined && {
        snapshot: locate(written.rateLimit.snapshot),
      }),
      ...(written.rateLimit.directory !== undefined && {
        directory: locate(written.rateLimit.directory),
      }),
    },
    cost: weightsOf(written.cost),
    fields: written.fields,
    media: written.media,
    pools: new Map(
      poolNames.flatMap((name) => {
        const pool = written.pools[name];
        if (pool === undefined) return [];
        const { path, interval, timeout, unhealthyAfter, healthyAfter, slowStart } = pool.health;
        return [
          [
            name,
            {
              name,
              endpoints: (endpoints.get(name) ?? []).map(({ url, host, port }) => ({ url, host, port })),
              drain: drains.get(name) ?? [],
              routing: pool.routing,
              choice: choiceOf(pool.choice, chosen.get(name)),
              ...(pool.kvCache !== undefined && { kvCache: kvCacheOf(pool.kvCache) }),
              engine: pool.engine,
              concurrencyLimit: pool.windowPerEndpoint,
              ...(pool.adaptersPerEndpoint !== undefined && {
                adaptersPerEndpoint: pool.adaptersPerEndpoint,
              }),
              prefillTokens: pool.prefillTokens,
              headroom: pool.reserve,
              gauges: { path: pool.gauges.path, intervalMs: pool.gauges.interval },
              engineCapabilities: pool.engineHelp,
              health: {
                path,
                intervalMs: interval,
                timeoutMs: timeout,
                unhealthyAfter,
                healthyAfter,
                slowStartMs: slowStart,
              },
              discoverModels: !modelPools.has(name),
            },
          ],
        ];
      }),
    ),
    models: new Map(
      Object.entries(written.models).map(([name, { pool, cost, fallback = [], canary, shadow }]) => [
        name,
        {
          name,
          pool,
          cost: weightsOf(cost ?? written.cost),
          fallback,
          ...(canary !== undefined && {
            canary: { ...canary, weight: canary.weight / 100, salt: canary.salt ?? '' },
          }),
          ...(shadow !== undefined && { mirror: mirrorOf(shadow) }),
        },
      ]),
    ),
    aliases: new Map(Object.entries(written.aliases)),
    adapters: new Map(
      Object.entries(written.adapters).map(([name, { base, path, tenants }]) => [
        name,
        {
          name,
          base,
          ...(path !== undefined && { path }),
          ...(tenants !== undefined && { tenants: new Set(tenants) }),
        },
      ]),
    ),
    tenants: new Map(
      Object.entries(written.tenants).map(([name, tenant]): [string, TenantConfig] => {
        const { tier, trustGroup } = tenant;
        const own = (keysOf.get(name) ?? []).flatMap(({ looked }) =>
          looked.kind === 'ok' ? [looked.value] : [],
        );
        return [
          name,
          {
            name,
            ...(tier === undefined ? {} : { tier }),
            ...(trustGroup === undefined ? {} : { trustGroup }),
            keys: own,
            models: tenant.models === '*' ? '*' : new Set(tenant.models),
            limits: merge(
              tier === undefined ? {} : (written.tiers[tier] ?? {}),
              tenant.limits,
              written.envoy.maxBodySize,
            ),
          },
        ];
      }),
    ),
    log: written.log,
  };
  return freeze(withHeap(config));
}

const withHeap = (config: Config): Config =>
  config.envoy.maxHeapBytes > 0
    ? config
    : { ...config, envoy: { ...config.envoy, maxHeapBytes: heapFor(config) } };

type WrittenMirror = NonNullable<WrittenConfig['models'][string]['shadow']>;

function redisOf(written: NonNullable<WrittenConfig['redis']>, secrets: RedisSecrets): RedisConfig {
  const { sentinels, sentinelName = '', cluster, username, keyPrefix, maxWait, failureShare } = written;
  const of = (looked: Looked | undefined): string | undefined =>
    looked?.kind === 'ok' ? looked.value : undefined;
  const password = of(secrets.password);
  const pem = { ca: of(secrets.caFile), cert: of(secrets.certFile), key: of(secrets.keyFile) };
  return {
    target:
      sentinels !== undefined
        ? { kind: 'sentinel', sentinels, name: sentinelName }
        : cluster !== undefined
          ? { kind: 'cluster', nodes: cluster }
          : { kind: 'url', url: withCredentials(of(secrets.url) ?? '', username, password) },
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(speaksTls(written.tls, secrets) && {
      tls: {
        ...(pem.ca !== undefined && { ca: pem.ca }),
        ...(pem.cert !== undefined && { cert: pem.cert }),
        ...(pem.key !== undefined && { key: pem.key }),
      },
    }),
    keyPrefix,
    maxWaitMs: maxWait,
    failureShare,
  };
}

const mirrorOf = ({ pool, percent, maxConcurrent, perSecond, maxDuration }: WrittenMirror): MirrorConfig => ({
  pool,
  fraction: percent / 100,
  maxConcurrent,
  perSecond,
  maxDurationMs: maxDuration,
});

/** What the URL says of them comes first. */
function withCredentials(url: string, username = '', password = ''): string {
  const whole = new URL(url);
  if (whole.username === '') whole.username = encodeURIComponent(username);
  if (whole.password === '') whole.password = encodeURIComponent(password);
  return whole.href;
}

type WrittenPool = WrittenConfig['pools'][string];

function choiceOf(
  { weights = {}, largeTokens, sessionHeader }: WrittenPool['choice'],
  chosen: ReturnType<ChosenEndpoints['get']>,
): EndpointChoice {
  return {
    weights: Object.fromEntries(Object.entries(weights).filter(([, weight]) => weight !== undefined)),
    ...(largeTokens !== undefined && { largeTokens }),
    slowClients: chosen?.slowClients ?? [],
    sessionHeader,
    zones: chosen?.zones ?? new Map(),
  };
}

const kvCacheOf = ({ memory, ...shape }: NonNullable<WrittenPool['kvCache']>) => ({
  memoryBytes: memory,
  shape,
});

const weightsOf = ({ prompt, cachedPrompt, output }: WrittenConfig['cost']): CostWeights => ({
  prompt,
  cached: cachedPrompt,
  output,
});

function lanesOf({ lanes }: WrittenConfig): ReadonlyMap<string, LaneConfig> {
  const entries = Object.entries(lanes);
  if (entries.length === 0) return new Map([[DEFAULT_LANE.name, DEFAULT_LANE]]);
  return new Map(
    entries.map(([name, { share: weight, order, maxAge, ttft, itl, stalledAfter, when }]) => [
      name,
      {
        name,
        weight,
        order,
        maxAgeMs: maxAge,
        stalledAfterMs: stalledAfter,
        ...(ttft !== undefined && { ttftMs: ttft }),
        ...(itl !== undefined && { itlMs: itl }),
        ...(when !== undefined && { when: when.map(withoutAbsent) }),
      },
    ]),
  );
}

/** What was not written is absent, not undefined. */
const withoutAbsent = (condition: object): LaneCondition =>
  Object.fromEntries(Object.entries(condition).filter(([, value]) => value !== undefined));

function byTenant(keys: readonly KeyEntry[]): ReadonlyMap<string, readonly KeyEntry[]> {
  const owned = new Map<string, KeyEntry[]>();
  for (const entry of keys) {
    const list = owned.get(entry.tenant);
    if (list === undefined) owned.set(entry.tenant, [entry]);
    else list.push(entry);
  }
  return owned;
}

/** @returns without a bound on the heap where none is written: it follows from the rest. */
const envoyMemoryOf = ({
  connectionBufferSize,
  maxHeapSize = 0,
  maxConnections,
  idleTimeout,
  uploads,
}: WrittenConfig['envoy']) => ({
  connectionBufferBytes: connectionBufferSize,
  maxHeapBytes: maxHeapSize,
  maxConnections,
  idleTimeoutMs: idleTimeout,
  uploads: { minBytesPerSecond: uploads.minRate, graceMs: uploads.grace },
});

type WrittenLimits = WrittenConfig['tiers'][string];

/** The tenant's own limits over its tier's. A burst without a rate means nothing and is left out. */
function merge(tier: WrittenLimits, own: WrittenLimits, maxBodyBytes: number): Limits {
  const {
    weight = 1,
    maxOutputs = DEFAULT_MAX_OUTPUTS,
    maxQueued = DEFAULT_MAX_QUEUED,
    maxHeldSize = Math.max(DEFAULT_MAX_HELD_BYTES, HELD_BODIES * maxBodyBytes),
    ...rest
  } = { ...tier, ...own };
  const limits: Record<string, number> = {};
  for (const [key, value] of Object.entries(rest)) if (typeof value === 'number') limits[key] = value;
  if (limits['requestsPerMinute'] === undefined) delete limits['requestBurst'];
  if (limits['tokensPerMinute'] === undefined) delete limits['tokenBurst'];
  return { ...limits, weight, maxOutputs, maxQueued, maxHeldBytes: maxHeldSize };
}

/** Maps and sets keep their methods: their types are what protects them. */
function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  const inner = value instanceof Map || value instanceof Set ? value.values() : Object.values(value);
  for (const part of inner) freeze(part);
  return Object.freeze(value);
}

/** The configuration as the program uses it, from one that has been checked. */
import { isAbsolute, join } from 'node:path';
import type { CostWeights } from '../domain/cost.ts';
import { API_ALONE } from '../domain/engine-kinds.ts';
import type { CustomRoute } from '../domain/routes.ts';
import { maxBodyBytesOf, maxUnsizedBodyBytesOf } from './body-limit.ts';
import { adminOf } from './build-admin.ts';
import { ledgerOf } from './build-ledger.ts';
import { pricesOf } from './build-prices.ts';
import { rateLimitOf } from './build-rate-limit.ts';
import { redisOf } from './build-redis.ts';
import { jwtOf, tenantsOf } from './build-tenants.ts';
import type { FoundAdmin } from './checks/admin.ts';
import type { ChosenEndpoints } from './checks/choice.ts';
import type { Endpoints } from './checks/endpoints.ts';
import type { FoundJwt } from './checks/identity.ts';
import type { KeyEntry } from './checks/keys.ts';
import { type FoundListener, listenersOf } from './checks/listeners.ts';
import { type FoundOtlpHeader, otlpOf } from './checks/otlp.ts';
import type { RedisSecrets } from './checks/redis.ts';
import { type FoundWebhook, webhooksOf } from './checks/webhooks.ts';
import {
  type Config,
  DEFAULT_LANE,
  type EndpointChoice,
  type LaneCondition,
  type LaneConfig,
  type MirrorConfig,
  type PoolConfig,
  type RefusedTenantFile,
} from './config.ts';
import { DEFAULT_FORBIDDEN_FIELDS, DEFAULT_TOOLS, namesOf } from './forbidden-fields.ts';
import { heapFor } from './memory-bound.ts';
import type { WrittenConfig } from './schema/schema.ts';
import type { Looked } from './secrets.ts';

interface Parts {
  readonly admin: FoundAdmin;
  /** Used where the configuration names none. */
  readonly directory: string;
  /** Of a path that is relative to the configuration's folder. */
  readonly locate: (path: string) => string;
  readonly listeners: readonly FoundListener[];
  readonly serviceTls: Config['service']['tls'];
  readonly jwt: FoundJwt;
  readonly keys: readonly KeyEntry[];
  readonly refusedTenantFiles: readonly RefusedTenantFile[];
  readonly redis: RedisSecrets;
  readonly ledgerUrl: Looked | undefined;
  readonly otlpHeaders: readonly FoundOtlpHeader[];
  readonly webhooks: readonly FoundWebhook[];
  readonly endpoints: Endpoints;
  /** URLs, by pool. */
  readonly drains: ReadonlyMap<string, readonly string[]>;
  readonly chosen: ChosenEndpoints;
  readonly poolNames: readonly string[];
}

export function buildConfig(written: WrittenConfig, parts: Parts): Config {
  const config: Config = {
    ...(written.mode === 'endpoint-picker' && { picker: pickerOf(written) }),
    listen: listenersOf(parts.listeners),
    ...(written.cors !== undefined && { cors: corsOf(written.cors) }),
    ...jwtOf(written, parts.jwt),
    ...adminOf(written, parts.admin),
    envoy: envoyOf(written, parts),
    service: serviceOf(
      written.service,
      written.envoy.directory ?? parts.directory,
      serviceTlsOf(written, parts),
    ),
    queue: queueOf(written),
    ...attributionOf(written),
    ...(written.redis !== undefined && { redis: redisOf(written.redis, parts.redis) }),
    ...(written.ledger !== undefined && {
      ledger: ledgerOf(
        written.ledger,
        parts.ledgerUrl,
        written.envoy.directory ?? parts.directory,
        parts.locate,
      ),
    }),
    ...webhooksOf(parts.webhooks),
    rateLimit: rateLimitOf(written.rateLimit, parts.locate),
    cost: weightsOf(written.cost),
    fields: {
      ...written.fields,
      forbidden: namesOf(written.fields.forbidden, DEFAULT_FORBIDDEN_FIELDS),
      tools: namesOf(written.fields.tools, DEFAULT_TOOLS),
    },
    media: written.media,
    ...routesOf(written),
    pools: poolsOf(written, parts),
    models: modelsOf(written),
    aliases: new Map(Object.entries(written.aliases)),
    adapters: adaptersOf(written),
    ...pricesOf(written),
    tenants: tenantsOf(written, parts.keys),
    refusedTenantFiles: parts.refusedTenantFiles,
    telemetry: telemetryOf(written, parts.otlpHeaders),
    log: written.log,
  };
  return freeze(withHeap(config));
}

function telemetryOf(
  { telemetry: { otlp, ...telemetry } }: WrittenConfig,
  headers: readonly FoundOtlpHeader[],
): Config['telemetry'] {
  return otlp === undefined ? telemetry : { ...telemetry, otlp: otlpOf(otlp, headers) };
}

const withHeap = (config: Config): Config =>
  config.envoy.maxHeapBytes > 0
    ? config
    : { ...config, envoy: { ...config.envoy, maxHeapBytes: heapFor(config) } };

const pickerOf = ({
  picker: { fairnessHeader, tenant, unknownModels, conformance },
}: WrittenConfig): NonNullable<Config['picker']> => ({
  fairnessHeader,
  ...(unknownModels === 'refuse' && { refusesUnknownModels: true }),
  ...(conformance && { conformance }),
  ...(tenant !== undefined && { tenant }),
});

function attributionOf({ attribution }: WrittenConfig): Pick<Config, 'attribution'> {
  if (attribution === undefined) return {};
  const { by, header = '', most } = attribution;
  return { attribution: by === 'user' ? { by, most } : { by, header, most } };
}

const corsOf = ({
  origins,
  headers,
  maxAge,
}: NonNullable<WrittenConfig['cors']>): NonNullable<Config['cors']> => ({
  origins,
  headers,
  maxAgeMs: maxAge,
});

/** Pools for copies: they answer no client. */
const mirrorPoolsOf = ({ models }: WrittenConfig): ReadonlySet<string> =>
  new Set(Object.values(models).flatMap(({ mirror }) => mirror?.pool ?? []));

/** Without a bound on the heap where none is written: it follows from the rest. */
function envoyOf(written: WrittenConfig, { directory: standard, poolNames }: Parts): Config['envoy'] {
  const { envoy } = written;
  const { directory = standard, admin, uploads } = envoy;
  const mirrorPools = mirrorPoolsOf(written);
  return {
    admin: 'path' in admin && !isAbsolute(admin.path) ? { path: join(directory, admin.path) } : admin,
    directory,
    failureMode: envoy.failureMode,
    fallbackPool: envoy.fallbackPool ?? poolNames.find((name) => !mirrorPools.has(name)) ?? '',
    maxBodyBytes: maxBodyBytesOf(written),
    maxUnsizedBodyBytes: maxUnsizedBodyBytesOf(written),
    ...(envoy.passHeaders !== undefined && { passHeaders: envoy.passHeaders }),
    connectionBufferBytes: envoy.connectionBufferSize,
    maxHeapBytes: envoy.maxHeapSize ?? 0,
    maxConnections: envoy.maxConnections,
    idleTimeoutMs: envoy.idleTimeout,
    uploads: { minBytesPerSecond: uploads.minRate, graceMs: uploads.grace },
  };
}

/** The Envoy of a sidecar has no certificate to show. */
function serviceTlsOf({ mode }: WrittenConfig, { serviceTls: tls }: Parts): Config['service']['tls'] {
  return tls === undefined || mode === 'endpoint-picker' ? tls : { cert: tls.cert, key: tls.key };
}

const serviceOf = (
  { address, metrics, console, drainTimeout, zone, dns }: WrittenConfig['service'],
  directory: string,
  tls: Config['service']['tls'],
): Config['service'] => ({
  address:
    address.kind === 'unix' && !isAbsolute(address.path)
      ? { kind: 'unix', path: join(directory, address.path) }
      : address,
  metrics,
  console,
  drainTimeoutMs: drainTimeout,
  ...(zone !== undefined && { zone }),
  dns: { refreshMs: dns.refresh, servers: dns.servers },
  ...(tls !== undefined && { tls }),
});

const queueOf = ({ queue, lanes }: WrittenConfig): Config['queue'] => ({
  maxWaitMs: queue.maxWait,
  maxQueued: queue.maxQueued,
  maxQueuedBytes: queue.maxQueuedSize,
  quantumTokens: queue.quantum,
  lanes: lanesOf(lanes),
});

function routesOf({ routes }: WrittenConfig): Pick<Config, 'routes'> {
  const entries = Object.entries(routes).map(([name, { model, ...route }]): [string, CustomRoute] => [
    name,
    { name, ...route, ...(model !== undefined && { model }) },
  ]);
  return entries.length === 0 ? {} : { routes: new Map(entries) };
}

/** In the order of the file. */
function poolsOf(written: WrittenConfig, parts: Parts): Config['pools'] {
  const modelPools = new Set([
    ...mirrorPoolsOf(written),
    ...Object.values(written.models).map(({ pool }) => pool),
  ]);
  return new Map(
    parts.poolNames.flatMap((name): readonly (readonly [string, PoolConfig])[] => {
      const pool = written.pools[name];
      return pool === undefined ? [] : [[name, poolOf(name, pool, !modelPools.has(name), parts)]];
    }),
  );
}

function poolOf(
  name: string,
  pool: WrittenPool,
  discoverModels: boolean,
  { endpoints, drains, chosen }: Parts,
): PoolConfig {
  const { interval, timeout, unhealthyAfter, healthyAfter, slowStart } = pool.health;
  return {
    name,
    endpoints: (endpoints.get(name) ?? []).map(({ config }) => config),
    drain: drains.get(name) ?? [],
    routing: pool.routing,
    choice: choiceOf(pool.choice, chosen.get(name)),
    ...(pool.kvCache !== undefined && { kvCache: kvCacheOf(pool.kvCache) }),
    ...(pool.gpuPrice !== undefined && { gpuPrice: pool.gpuPrice }),
    engine: pool.engine,
    concurrencyLimit: pool.concurrencyLimit,
    ...(pool.adaptersPerEndpoint !== undefined && { adaptersPerEndpoint: pool.adaptersPerEndpoint }),
    prefillTokens: pool.prefillTokens,
    headroom: pool.headroom,
    gauges: { path: pool.gauges.path, intervalMs: pool.gauges.interval },
    engineCapabilities: pool.engineCapabilities,
    health: {
      path: pool.health.path ?? (pool.engine === API_ALONE ? '/v1/models' : '/health'),
      intervalMs: interval,
      timeoutMs: timeout,
      unhealthyAfter,
      healthyAfter,
      slowStartMs: slowStart,
    },
    discoverModels,
  };
}

const modelsOf = (written: WrittenConfig): Config['models'] =>
  new Map(
    Object.entries(written.models).map(([name, { pool, cost, fallback = [], canary, mirror }]) => [
      name,
      {
        name,
        pool,
        cost: weightsOf(cost ?? written.cost),
        fallback,
        ...(canary !== undefined && {
          canary: { ...canary, weight: canary.weight / 100, salt: canary.salt ?? '' },
        }),
        ...(mirror !== undefined && { mirror: mirrorOf(mirror) }),
      },
    ]),
  );

const adaptersOf = (written: WrittenConfig): Config['adapters'] =>
  new Map(
    Object.entries(written.adapters).map(([name, { base, path, tenants }]) => [
      name,
      {
        name,
        base,
        ...(path !== undefined && { path }),
        ...(tenants !== undefined && { tenants: new Set(tenants) }),
      },
    ]),
  );

type WrittenMirror = NonNullable<WrittenConfig['models'][string]['mirror']>;

const mirrorOf = ({ pool, percent, maxConcurrent, perSecond, maxDuration }: WrittenMirror): MirrorConfig => ({
  pool,
  fraction: percent / 100,
  maxConcurrent,
  perSecond,
  maxDurationMs: maxDuration,
});

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

function lanesOf(lanes: WrittenConfig['lanes']): ReadonlyMap<string, LaneConfig> {
  const entries = Object.entries(lanes);
  if (entries.length === 0) return new Map([[DEFAULT_LANE.name, DEFAULT_LANE]]);
  return new Map(
    entries.map(([name, { weight, order, maxAge, ttft, itl, stalledAfter, when }]) => [
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

/** Maps and sets keep their methods: their types are what protects them. */
function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  const inner = value instanceof Map || value instanceof Set ? value.values() : Object.values(value);
  for (const part of inner) freeze(part);
  return Object.freeze(value);
}

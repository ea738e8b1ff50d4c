/**
 * The composition root: joins the features to their I/O. One running service is one value.
 */
import { randomFillSync } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import {
  type DrainAnswer,
  type HealthReport,
  type PoolHealth,
  startMetricsServer,
} from '../admin/http-admin-server.ts';
import { errorResponse } from '../admission/answers.ts';
import { BodyQueue } from '../admission/body-queue.ts';
import type { Edge } from '../admission/edge.ts';
import { explainRequest, questionOf } from '../admission/explain.ts';
import { Holdings } from '../admission/holdings.ts';
import { Quarantine } from '../admission/quarantine.ts';
import { noEndpointReady } from '../admission/refusals.ts';
import { createRequestLifecycle, type RoutingInputs } from '../admission/request-lifecycle.ts';
import { createSlowReaders, type SlowReaders } from '../admission/slow-readers.ts';
import { restartNeeded } from '../config/changes.ts';
import type {
  Config,
  EndpointConfig,
  LoraAdapterConfig,
  PoolConfig,
  RedisConfig,
  ServiceAddress,
} from '../config/config.ts';
import { kvTokensIn } from '../domain/kv-size.ts';
import { isolatesSlowClients } from '../domain/routing-profiles.ts';
import { commonCapabilities, type EngineCapabilities, NO_CAPABILITIES } from '../engine/capabilities.ts';
import { type Capacities, createCapacities, factsOf, NO_FACTS } from '../engine/capacity.ts';
import type { EngineKind } from '../engine/driver.ts';
import { DRIVERS } from '../engine/drivers.ts';
import { probeCapabilities } from '../engine/http-capabilities.ts';
import { type GaugeMonitor, startGaugeMonitor } from '../engine/http-gauge-monitor.ts';
import { type HealthMonitor, startHealthMonitor } from '../engine/http-health-monitor.ts';
import { askServerInfo } from '../engine/http-identify.ts';
import { createEndpointResolver } from '../envoy/dns-endpoints.ts';
import { dynamicFilesOf } from '../envoy/dynamic-files.ts';
import { writeDynamicFiles } from '../envoy/fs-dynamic-files.ts';
import { createEndpointPickerService } from '../ext-proc/grpc-endpoint-picker.ts';
import { createExtProcService, textOf } from '../ext-proc/grpc-ext-proc.ts';
import { restoreSnapshot, saveSnapshot } from '../limit/fs-snapshot.ts';
import { createMemoryStore } from '../limit/memory-store.ts';
import { createRedisAllotments } from '../limit/redis-allotments.ts';
import { startRedisLearned } from '../limit/redis-learned.ts';
import { createRedisLeaseStore, type RedisLeaseStore } from '../limit/redis-lease-store.ts';
import type { RedisTarget } from '../limit/redis-servers.ts';
import type { LimitStore } from '../limit/store.ts';
import { type AdapterMonitor, startAdapterMonitor } from '../lora/http-loader.ts';
import { createPoolAdapters, type PoolAdapters } from '../lora/pool-adapters.ts';
import { bodyTooLarge, draining as drainingError } from '../openai/error-body.ts';
import { adaptiveLimit } from '../pool/concurrency-limit/adaptive.ts';
import { type Gauges } from '../pool/concurrency-limit/concurrency-limit.ts';
import type { RotationChange } from '../pool/health/rotation.ts';
import { createPoolEndpoints } from '../pool/pool-endpoints.ts';
import { type PoolEndpoints, type SharedLimits } from '../pool/types.ts';
import { createDispatcher } from '../queue/dispatcher.ts';
import { createTenantCaps } from '../queue/tenant-caps.ts';
import { decide } from '../rate-limit-service/decide.ts';
import { type LimitsWatcher, readLimits, watchLimits } from '../rate-limit-service/fs-limits.ts';
import { createRateLimitGrpcService } from '../rate-limit-service/grpc-rate-limit.ts';
import type { Domains } from '../rate-limit-service/limits-config.ts';
import { createDrains, type Drains } from '../rollout/drain.ts';
import { createMirrors, type MirrorPoolView, type Mirrors } from '../rollout/mirrors.ts';
import { createRollouts, type Rollouts } from '../rollout/rollouts.ts';
import { createCatalog } from '../routing/model-catalog.ts';
import { createPromptHasher, type PromptSource } from '../routing/prompt-hash.ts';
import type { Log } from '../telemetry/pino-log.ts';
import { createMetrics } from '../telemetry/prom-metrics.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';
import { createTenantDirectory } from '../tenant/directory.ts';
import { Paces } from '../usage/abandoned.ts';
import { createOccupancy } from '../usage/occupancy.ts';
import { createPredictor, createSharedPredictor, DECAY } from '../usage/predictor.ts';
import type { UsageRecord } from '../usage/usage-record.ts';
import { startGrpcServer } from './grpc-server.ts';

export interface Service {
  readonly address: ServiceAddress;
  readonly metricsPort: number;
  /** Takes over a new configuration; what runs goes on. */
  reload(config: Config, warnings: readonly string[]): Promise<void>;
  /** Says why a new configuration was not taken over. */
  refuseReload(problems: readonly string[]): void;
  /** Resolves when no request is open, or after the configured drain time. */
  idle(): Promise<void>;
  /**
   * Takes no new streams, lets the open ones finish, and ends within the configured deadline: what still waits then is
   * refused with 503, and what still streams goes on in Envoy without us.
   */
  drain(): Promise<void>;
}

/** How often waiting requests are looked at for maxWait: the precision of a 503, never of a release. */
const EXPIRY_CHECK_MS = 50;
/** How often streams are looked at whose client may have stopped reading. */
const STALL_CHECK_MS = 500;
/** What a crash may lose of the levels. */
const SNAPSHOT_MS = 10_000;
/** No engine runs more sequences at once. */
const MAX_WINDOW = 4_096;
/** Whoever starts it waits this long for the first probes; rate limits are served meanwhile, and requests queue. */
const FIRST_PROBES_MS = 2_000;
/** A Redis that is there answers sooner. */
const FIRST_REDIS_MS = 250;
const FIRST_REDIS_LOOK_MS = 5;
/** What a probe says of a process that is gone; one that is slow may be busy. */
const DIED = /ECONNREFUSED|ECONNRESET|EPIPE|hang up|refused|reset/i;
const DRAIN_CHECK_MS = 20;
/** A request as text in JSON is up to so many times as long. */
const QUESTION_FACTOR = 2;
/** Time for the last answers to leave after the deadline. */
const LAST_ANSWERS_MS = 500;

interface RunningPool {
  config: PoolConfig;
  readonly endpoints: PoolEndpoints;
  readonly drains: Drains;
  /** As the endpoints have been told. */
  drained: ReadonlySet<string>;
  monitor: HealthMonitor | undefined;
  gauges: GaugeMonitor | undefined;
  /** Why an endpoint's gauges cannot be used, by its URL. */
  readonly unusable: Map<string, string>;
  /** By endpoint, while it says: as its engine said last. */
  readonly gaugesNow: Map<string, Gauges>;
  /** By endpoint, while it is healthy and known. */
  readonly engines: Map<string, EngineKind>;
  /** By endpoint, once asked. */
  readonly helps: Map<string, EngineCapabilities>;
  help: EngineCapabilities;
  readonly capacities: Capacities;
  /** Where endpoints are chosen by more than load. */
  choosing: RoutingInputs | undefined;
  readonly adapters: PoolAdapters;
  /** Only where the pool has adapters. */
  adapterMonitor: AdapterMonitor | undefined;
  /** The last complaint of each endpoint about adapters. */
  readonly adapterTrouble: Map<string, string>;
  /** What its endpoints were when one was identified last. */
  lastEngine: EngineKind | undefined;
}

export function openRedis(
  { target, username, password, tls, keyPrefix, maxWaitMs, failureShare }: RedisConfig,
  now: () => number,
  tell: (event: ServiceEvent) => void,
): RedisLeaseStore {
  const options = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(tls !== undefined && { tls }),
  };
  const redis: RedisTarget =
    target.kind === 'url'
      ? { url: target.url, options }
      : target.kind === 'sentinel'
        ? { options: { ...options, sentinels: [...target.sentinels], name: target.name } }
        : { nodes: target.nodes, options: { redisOptions: options } };
  return createRedisLeaseStore({
    redis,
    keyPrefix,
    waitMs: maxWaitMs,
    failureShare,
    now,
    onEvent: (event) =>
      tell({
        kind: 'redis',
        connected: event.kind === 'connected',
        ...(event.kind === 'lost' && { reason: event.reason }),
      }),
  });
}

/** Which engine it is, and what is wrong with its gauges. */
const engineDetails = (
  engine: EngineKind | undefined,
  gauges: string | undefined,
): { readonly engine?: string; readonly gauges?: string } => ({
  ...(engine !== undefined && { engine }),
  ...(gauges !== undefined && { gauges }),
});

/** Nothing where no model has a canary. */
function canaryHealth(rollouts: Rollouts): Pick<HealthReport, 'canaries'> {
  const entries = rollouts.list().map(({ model, canary, weight, rolledBack }) => {
    const why = rolledBack && { gate: rolledBack.gate, detail: rolledBack.detail };
    return [model, { model: canary, weight, ...(why !== undefined && { rolledBack: why }) }] as const;
  });
  return entries.length === 0 ? {} : { canaries: Object.fromEntries(entries) };
}

/** Nothing where no model has a shadow. */
function shadowHealth(shadows: Mirrors, nowMs: number): Pick<HealthReport, 'shadows'> {
  const entries = shadows
    .list(nowMs)
    .map(({ model, pool, fraction, running }) => [model, { pool, fraction, running }] as const);
  return entries.length === 0 ? {} : { shadows: Object.fromEntries(entries) };
}

/** What probes depend on: a drain, places for adapters, or another choice of endpoints, are no reason to begin them anew. */
const probedOf = (pool: PoolConfig) => ({
  ...pool,
  drain: [],
  routing: undefined,
  choice: undefined,
  kvCache: undefined,
  adaptersPerEndpoint: 0,
});

/** What its requests are chosen by; undefined: load alone, or there is nothing to choose. */
function choosingOf(
  { routing, endpoints, choice }: PoolConfig,
  zone: string | undefined,
  readers: SlowReaders,
): RoutingInputs | undefined {
  if (routing === 'least-loaded' || endpoints.length < 2) return undefined;
  const isolates = isolatesSlowClients(routing) || (choice.weights.slowClients ?? 0) > 0;
  return {
    sessionHeader: choice.sessionHeader,
    zone: choice.zones.size > 0 ? zone : undefined,
    readers: isolates ? readers : undefined,
  };
}

/** An endpoint as its pool's routing knows it. */
function placeOf({ choice: { slowClients, zones } }: PoolConfig, url: string) {
  const [zone] = [...zones].find(([, urls]) => urls.includes(url)) ?? [];
  return { isolated: slowClients.includes(url), ...(zone !== undefined && { zone }) };
}

/** Names that `/health` shows of one endpoint. */
const SHOWN_ADAPTERS = 100;

/** Nothing where the pool has no adapters. */
function adapterHealth(adapters: PoolAdapters, url: string): Pick<PoolHealth['windows'][string], 'adapters'> {
  const place = adapters.isUsed() ? adapters.list().find(({ endpoint }) => endpoint === url) : undefined;
  if (place === undefined) return {};
  const loaded = place.loaded.slice(0, SHOWN_ADAPTERS).map(({ adapter }) => adapter);
  return { adapters: { loaded, ...(place.loading.length > 0 && { loading: place.loading }) } };
}

export async function startService(initial: Config, log: Log): Promise<Service> {
  let config = initial;
  let draining = false;
  const now = (): number => performance.now();

  const memory = createMemoryStore();
  /** As at the start: a new Redis is for a restart. */
  const redisStore =
    initial.redis === undefined ? undefined : openRedis(initial.redis, now, (event) => tell(event));
  const limitStore: LimitStore = redisStore ?? memory;
  const tenants = createTenantDirectory(config, limitStore, Date.now);
  const catalog = createCatalog(config);
  const shares =
    redisStore === undefined || initial.redis === undefined
      ? undefined
      : createRedisAllotments({
          scripts: redisStore.scripts,
          isUp: (redisKey) => redisStore.isUp(redisKey),
          keyPrefix: initial.redis.keyPrefix,
          maxWaitMs: initial.redis.maxWaitMs,
          failureShare: initial.redis.failureShare,
          now,
        });
  const caps =
    shares &&
    createTenantCaps({
      shares,
      keyOf: (name) => shares.keyOfTenant(name),
      maxConcurrentOf: (name) => tenants.get(name)?.config.limits.maxConcurrent ?? 0,
      inFlightOf: (name) => dispatcher.inFlightOfTenant(name),
      queuedOf: (name) => dispatcher.queuedOfTenant(name),
      changed: (name, nowMs) => dispatcher.capChanged(name, nowMs),
    });
  const quarantine = new Quarantine(({ tenant, limited, endpoints, untilWell }, nowMs) => {
    const detail = limited
      ? `engines died while they had its requests (${endpoints.join(', ')}); one at a time until ${untilWell} end well`
      : 'its requests end well';
    tell({ kind: 'tenant-limited', tenant, limited, detail });
    dispatcher.capChanged(tenant, nowMs);
  });
  const dispatcher = createDispatcher(
    config.queue,
    (name) => tenants.get(name)?.config.limits,
    caps,
    (name) => quarantine.mostInFlight(name),
  );
  /** How replicas share the windows of a pool. */
  const sharedWindows = (pool: string): SharedLimits | undefined =>
    shares && {
      hold: (url, owner) =>
        shares.hold(shares.keyOfEndpoint(pool, url), 'window', {
          ...owner,
          changed: (nowMs) => dispatcher.roomChanged(pool, nowMs),
        }),
      waiting: (nowMs) => ({
        queued: dispatcher.queuedOf(pool),
        reserve: dispatcher.reserveOf(pool, nowMs),
      }),
    };
  const sharedPredictor = redisStore === undefined ? undefined : createSharedPredictor();
  const predictor = sharedPredictor ?? createPredictor();
  const learned =
    redisStore === undefined || sharedPredictor === undefined || initial.redis === undefined
      ? undefined
      : startRedisLearned({
          scripts: redisStore.scripts,
          isUp: (redisKey) => redisStore.isUp(redisKey),
          keyPrefix: initial.redis.keyPrefix,
          rows: sharedPredictor,
          decay: DECAY,
        });
  const hasher = createPromptHasher(randomFillSync(new Uint32Array(6)));
  const slowReaders = createSlowReaders();
  const occupancy = createOccupancy();
  const paces = new Paces();
  const pools = new Map<string, RunningPool>();
  /** `ip:port` of every endpoint's URL. */
  let resolved: ReadonlyMap<string, string> = new Map();

  const metrics = createMetrics({
    occupancy: () => occupancy.rows(),
    *pools() {
      for (const [pool, { endpoints }] of pools) {
        yield {
          pool,
          queued: dispatcher.queuedOf(pool),
          inFlight: endpoints.inFlight(),
          window: endpoints.concurrencyLimit(now()),
          reserve: dispatcher.reserveOf(pool, now()),
          lanes: dispatcher.lanesOf(pool),
          endpoints: endpoints.list(now()),
        };
      }
    },
    *adapters() {
      for (const [pool, { adapters, config: own }] of pools) {
        if (!adapters.isUsed()) continue;
        for (const { endpoint: url, loaded, loading } of adapters.list()) {
          const endpoint = own.endpoints.find((one) => one.url === url);
          if (endpoint === undefined) continue;
          yield { pool, endpoint: addressOf(endpoint), loaded: loaded.length, loading: loading.length };
        }
      }
    },
    openStreams: () => extProc.open(),
    rollouts: () => rollouts.list(),
  });
  const tell = (event: ServiceEvent): void => {
    log.event(event);
    metrics.event(event);
  };
  const rollouts = createRollouts(config.models.values(), (rollout, { gate, detail }) =>
    tell({ kind: 'canary-rolled-back', ...rollout, gate, detail }),
  );
  const shadowPool = (name: string): MirrorPoolView | undefined => {
    const pool = pools.get(name);
    if (pool === undefined) return undefined;
    const { endpoints, gaugesNow, drained, config: own } = pool;
    return {
      endpoints: endpoints.list(now()).map(({ url, healthy, ejected }) => ({
        open: healthy && !ejected && !drained.has(url),
        gauges: gaugesNow.get(url),
      })),
      windowPerEndpoint: own.concurrencyLimit,
    };
  };
  const shadows = createMirrors(config.models.values(), {
    poolOf: shadowPool,
    onDrawn: metrics.shadowDrawn,
  });
  const record = (usage: UsageRecord): void => {
    log.requestEnded(usage);
    metrics.requestEnded(usage);
    if (usage.model !== undefined && usage.outcome === 'completed') {
      shadows.learn(usage.model, usage.durationMs - usage.queueMs, usage.completionTokens);
    }
  };

  const context = {
    config: () => config,
    tenants,
    catalog,
    rollouts,
    dispatcher,
    predictor,
    bodies: new BodyQueue({
      now,
      later: setImmediate,
      onBug: (error) => tell({ kind: 'stream-failed', detail: textOf(error) }),
    }),
    occupancy,
    holdings: new Holdings((error) => tell({ kind: 'stream-failed', detail: textOf(error) })),
    paces,
    quarantine,
    capabilitiesOf: (pool: string) => pools.get(pool)?.help ?? NO_CAPABILITIES,
    routingInputsOf: (pool: string) => pools.get(pool)?.choosing,
    hashPrompt: (_pool: string, source: PromptSource) => hasher.hash(source),
    mirrorTo: (model: string, outputTokens: number, nowMs: number) =>
      shadows.poolFor(model, Math.random, outputTokens, nowMs),
    adapterName(pool: string, { base, name }: LoraAdapterConfig) {
      const kind = pools.get(pool)?.lastEngine;
      return kind === undefined ? undefined : DRIVERS[kind].lora.modelOf?.(base, name);
    },
    startedS: Math.floor(Date.now() / 1_000),
    record,
    now,
    onBug: (detail: string) => tell({ kind: 'stream-failed', detail }),
  };
  const edgeOptions = {
    createLife: (edge: Edge) => createRequestLifecycle(context, edge),
    now,
    draining: () => draining,
    onMisconfigured: (detail: string) => tell({ kind: 'filter-misconfigured', detail }),
    onStreamError: (detail: string) => tell({ kind: 'stream-failed', detail }),
  };
  /** As at the start: who asks is wired by hand. */
  const { picker } = initial;
  const extProc =
    picker === undefined
      ? createExtProcService(edgeOptions)
      : createEndpointPickerService({
          ...edgeOptions,
          fairnessHeader: picker.fairnessHeader,
          tenantOf: (id) => (tenants.get(id) === undefined ? (picker.tenant ?? id) : id),
          pickAny: (subset) => [...pools.values()].flatMap(({ endpoints }) => endpoints.addresses(subset)),
          maxBodyBytes: initial.envoy.maxBodyBytes,
          later: setImmediate,
          answers: {
            noEndpoint: errorResponse(undefined, noEndpointReady(), []),
            draining: errorResponse(undefined, drainingError(), []),
            bodyTooLarge: errorResponse(undefined, bodyTooLarge(initial.envoy.maxBodyBytes), []),
          },
        });

  const addressOf = (endpoint: EndpointConfig): string => {
    const address = resolved.get(endpoint.url) ?? endpoint.host;
    return `${address.includes(':') ? `[${address}]` : address}:${endpoint.port}`;
  };

  /** Tells once when an endpoint's gauges cannot be used any more, and once when they can again. */
  const noteGauges = (pool: RunningPool, endpoint: EndpointConfig, detail: string | undefined): void => {
    const before = pool.unusable.get(endpoint.url);
    if (before === detail) return;
    if (detail === undefined) pool.unusable.delete(endpoint.url);
    else pool.unusable.set(endpoint.url, detail);
    if (before !== undefined && detail !== undefined) return;
    tell({
      kind: 'engine-gauges',
      pool: pool.config.name,
      endpoint: endpoint.url,
      usable: detail === undefined,
      detail: detail ?? 'the window goes by them again',
    });
  };

  const noteRotation = (pool: string, change: RotationChange): void => {
    const { url: endpoint } = change;
    if (change.kind === 'model') {
      tell({ kind: 'model-broken', pool, endpoint, model: change.model, broken: change.open });
    } else {
      tell({
        kind: 'endpoint-ejected',
        pool,
        endpoint,
        ejected: change.kind === 'ejected',
        detail:
          change.kind === 'ejected'
            ? `${change.reason}; tried again in ${change.forMs / 1_000} s`
            : 'requests succeed there again',
      });
    }
  };

  const tellCapacity = ({ endpoints, capacities }: RunningPool, url: string): void => {
    const kv = capacities.kvOf(url);
    endpoints.setCapacity(url, kv?.tokens, kv?.isDivided);
  };

  const watchGauges = (pool: RunningPool): GaugeMonitor => {
    const { endpoints } = pool;
    return startGaugeMonitor({
      pool: pool.config,
      isEager: ({ url }) => endpoints.list(now()).some((one) => one.url === url && one.eager),
      onReport(endpoint, { kind, gauges, kvCapacityTokens }) {
        pool.capacities.saidGauges(endpoint.url, kvCapacityTokens);
        tellCapacity(pool, endpoint.url);
        endpoints.gauges(endpoint.url, gauges, now());
        pool.gaugesNow.set(endpoint.url, gauges);
        dispatcher.dispatch(now());
        const distrusted =
          pool.config.concurrencyLimit === 'auto' &&
          endpoints
            .list(now())
            .some(({ url, windowSource }) => url === endpoint.url && windowSource === 'ttft');
        noteGauges(pool, endpoint, distrusted ? 'they do not move with the requests' : undefined);
        if (!pool.helps.has(endpoint.url)) void askHelp(pool, endpoint, kind);
      },
      onUnusable(endpoint, detail) {
        endpoints.gauges(endpoint.url, 'unusable', now());
        pool.gaugesNow.delete(endpoint.url);
        noteGauges(pool, endpoint, detail);
        const kind = pool.engines.get(endpoint.url);
        if (kind !== undefined && !pool.helps.has(endpoint.url)) void askHelp(pool, endpoint, kind);
      },
    });
  };

  const askHelp = async (pool: RunningPool, endpoint: EndpointConfig, kind: EngineKind): Promise<void> => {
    const { priority, cacheSalt } = pool.config.engineCapabilities;
    if (priority === 'off' && cacheSalt === 'off') return;
    const model = catalog.modelOfPool(pool.config.name);
    if (model === undefined) return;
    pool.helps.set(endpoint.url, NO_CAPABILITIES);
    pool.helps.set(
      endpoint.url,
      await probeCapabilities(endpoint, kind, model, pool.config.engineCapabilities),
    );
    const helps = pool.config.endpoints.map(({ url }) => pool.helps.get(url) ?? NO_CAPABILITIES);
    pool.help = commonCapabilities(helps);
    tell({
      kind: 'engine-help',
      pool: pool.config.name,
      priority: pool.help.priority !== undefined,
      cacheSalt: pool.help.cacheSalt,
    });
  };

  /** What its own page says, asked once each time that it is identified. */
  const askCapacity = async (
    running: RunningPool,
    endpoint: EndpointConfig,
    kind: EngineKind | undefined,
  ): Promise<void> => {
    const {
      config: { health },
      endpoints,
      capacities,
      engines,
    } = running;
    const adapter = kind && DRIVERS[kind];
    const facts =
      adapter === undefined
        ? NO_FACTS
        : factsOf(adapter, await askServerInfo(endpoint, adapter, health.timeoutMs));
    // Meanwhile it may have gone, and another may have come.
    if (engines.get(endpoint.url) !== kind) return;
    capacities.saidPage(endpoint.url, facts);
    tellCapacity(running, endpoint.url);
    endpoints.setMaxSequences(endpoint.url, facts.maxSequences);
  };

  /** One kind for all: a request is written before its endpoint is known, and kinds name adapters differently. */
  const kindForAdapters = ({ engines }: RunningPool, url: string): EngineKind | undefined => {
    const kind = engines.get(url);
    return new Set(engines.values()).size === 1 ? kind : undefined;
  };

  const watchAdapters = (pool: RunningPool): AdapterMonitor => {
    const { adapters, adapterTrouble } = pool;
    const { name } = pool.config;
    const changed = (adapter?: string): void => dispatcher.adaptersChanged(name, adapter, now());
    const failed = (endpoint: string, adapter: string, action: 'load' | 'unload', detail: string): void => {
      const event = { kind: 'adapter-failed', pool: name, endpoint, adapter, action, detail } as const;
      metrics.event(event);
      // What is wrong with the engine itself is said once.
      if (adapterTrouble.get(endpoint) !== detail) log.event(event);
      adapterTrouble.set(endpoint, detail);
    };
    return startAdapterMonitor({
      endpoints: pool.config.endpoints,
      engineOf: (url) => kindForAdapters(pool, url),
      isWanted: (url, adapter) => adapters.isLoading(url, adapter),
      surplus: () => adapters.surplus(now()),
      onListed({ url }, listed) {
        adapters.reported(url, listed, now());
        changed();
      },
      onLoaded({ url }, adapter) {
        adapterTrouble.delete(url);
        adapters.loaded(url, adapter, now());
        tell({ kind: 'adapter-loaded', pool: name, endpoint: url, adapter });
        changed(adapter);
      },
      onFailed({ url }, adapter, detail) {
        adapters.loadFailed(url, adapter, now());
        failed(url, adapter, 'load', detail);
        changed(adapter);
      },
      onUnloaded: ({ url }, adapter) =>
        tell({ kind: 'adapter-unloaded', pool: name, endpoint: url, adapter }),
      onKept: ({ url }, adapter, detail) => failed(url, adapter, 'unload', detail),
    });
  };

  const stopAdapters = (pool: RunningPool): void => {
    if (pool.adapterMonitor === undefined) return;
    pool.adapterMonitor.stop();
    pool.adapterMonitor = undefined;
    // Nobody will say how these went; who waits for one may have it loaded anew.
    for (const { endpoint, loading } of pool.adapters.list()) {
      for (const adapter of loading) pool.adapters.givenUp(endpoint, adapter);
    }
  };

  /** @param isNew the endpoints are other ones. */
  const applyAdapters = (pool: RunningPool, isNew: boolean): void => {
    const { name, endpoints, adaptersPerEndpoint } = pool.config;
    const own = new Map([...config.adapters].filter(([adapter]) => catalog.poolOf(adapter) === name));
    if (isNew || own.size === 0) stopAdapters(pool);
    pool.adapters.reconfigure(
      endpoints.map(({ url }) => url),
      adaptersPerEndpoint,
      own,
    );
    if (own.size === 0 || pool.adapterMonitor !== undefined) return;
    pool.adapterMonitor = watchAdapters(pool);
    for (const { url } of endpoints) pool.adapterMonitor.ask(url);
  };

  const watchHealth = (running: RunningPool): HealthMonitor => {
    const { config: pool, endpoints, engines, helps } = running;
    return startHealthMonitor({
      pool,
      now,
      onLoaded: ({ url }) => endpoints.loaded(url),
      onHealth(endpoint, healthy, detail) {
        endpoints.setHealthy(endpoint.url, healthy, now());
        if (!healthy && DIED.test(detail)) quarantine.died(addressOf(endpoint), now());
        // What comes back may be another engine.
        if (!healthy) {
          helps.delete(endpoint.url);
          engines.delete(endpoint.url);
        }
        tell({ kind: 'endpoint-health', pool: pool.name, endpoint: endpoint.url, healthy, detail });
        if (healthy) running.adapterMonitor?.ask(endpoint.url);
        else running.adapterTrouble.delete(endpoint.url);
        if (healthy) dispatcher.dispatch(now());
      },
      onModels(models) {
        if (catalog.discovered(pool.name, models)) {
          tell({ kind: 'models-discovered', pool: pool.name, models });
          // A base that was not known may be there now.
          for (const one of pools.values()) applyAdapters(one, false);
        }
      },
      onEngine(endpoint, { engine, by }) {
        if (engine !== undefined) {
          engines.set(endpoint.url, engine);
          running.lastEngine = engine;
          running.adapterMonitor?.ask(endpoint.url);
        } else engines.delete(endpoint.url);
        void askCapacity(running, endpoint, engine);
        tell({
          kind: 'engine-identified',
          pool: pool.name,
          endpoint: endpoint.url,
          ...(engine !== undefined && { engine }),
          by,
        });
      },
    });
  };

  const tellDrain = (
    { config: { name, endpoints }, drained }: RunningPool,
    endpoint: string,
    state: 'draining' | 'empty' | 'over',
  ): void => {
    const last = state === 'draining' && endpoints.every(({ url }) => drained.has(url));
    tell({ kind: 'endpoint-drain', pool: name, endpoint, state, last });
  };

  /** Tells the endpoints which of them are drained, and everybody else what is new. */
  const applyDrains = (pool: RunningPool): void => {
    const before = pool.drained;
    const urls = pool.config.endpoints.map(({ url }) => url);
    pool.drained = new Set(urls.filter((url) => !pool.drains.takesRequests(url)));
    for (const url of urls) {
      const isDrained = pool.drained.has(url);
      pool.endpoints.setDrained(url, isDrained);
      if (isDrained !== before.has(url)) tellDrain(pool, url, isDrained ? 'draining' : 'over');
    }
  };

  const sweepDrains = (): void => {
    for (const pool of pools.values()) {
      if (pool.drained.size === 0) continue;
      const inFlight = inFlightByUrl(pool.endpoints);
      for (const { url } of pool.drains.sweep((one) => inFlight.get(one) ?? 0, now())) {
        tellDrain(pool, url, 'empty');
      }
    }
  };

  const inFlightByUrl = (endpoints: PoolEndpoints): ReadonlyMap<string, number> =>
    new Map(endpoints.list(now()).map(({ url, inFlight }) => [url, inFlight]));

  const commandDrain = (endpoint: string, undo: boolean): DrainAnswer => {
    for (const pool of pools.values()) {
      const answer = undo ? pool.drains.undo(endpoint) : pool.drains.drain(endpoint, now());
      if (answer.kind === 'unknown') continue;
      applyDrains(pool);
      dispatcher.dispatch(now());
      sweepDrains();
      return answer;
    }
    return { kind: 'unknown' };
  };

  const commandExplain = (asked: unknown): { readonly status: number; readonly answer: unknown } => {
    const read = questionOf(asked);
    if (read.kind === 'bad') return { status: 400, answer: { error: read.problem } };
    return { status: 200, answer: explainRequest(context, read.question, now()) };
  };

  const drainHealth = ({ drained, endpoints }: RunningPool): Pick<PoolHealth, 'draining'> => {
    if (drained.size === 0) return {};
    const inFlight = inFlightByUrl(endpoints);
    const rows = [...drained].map((url) => {
      const count = inFlight.get(url) ?? 0;
      return [url, { empty: count === 0, inFlight: count }] as const;
    });
    return { draining: Object.fromEntries(rows) };
  };

  /** Brings the pools in line with the configuration and the resolved addresses. */
  const applyPools = (): void => {
    for (const [name, pool] of pools) {
      if (config.pools.has(name)) continue;
      pool.monitor?.stop();
      pool.gauges?.stop();
      stopAdapters(pool);
      pools.delete(name);
      dispatcher.removePool(name, now());
    }
    for (const [name, next] of config.pools) {
      let pool = pools.get(name);
      const changed =
        pool === undefined || JSON.stringify(probedOf(pool.config)) !== JSON.stringify(probedOf(next));
      if (pool === undefined) {
        const adapters: PoolAdapters = createPoolAdapters({
          load(url, adapter, evict) {
            const monitor = pools.get(name)?.adapterMonitor;
            if (monitor === undefined) adapters.loadFailed(url, adapter.name, now());
            else monitor.load(url, adapter, evict);
          },
          suspect: (url) => pools.get(name)?.adapterMonitor?.ask(url),
        });
        pool = {
          config: next,
          endpoints: createPoolEndpoints(
            (size) => adaptiveLimit({ initial: size, most: MAX_WINDOW }),
            sharedWindows(name),
            {
              changed: (change) => noteRotation(name, change),
              suspect: (url) => pools.get(name)?.monitor?.hurry(url),
            },
            adapters,
          ),
          drains: createDrains(),
          drained: new Set(),
          monitor: undefined,
          gauges: undefined,
          unusable: new Map(),
          gaugesNow: new Map(),
          engines: new Map(),
          helps: new Map(),
          help: NO_CAPABILITIES,
          capacities: createCapacities(),
          choosing: undefined,
          adapters,
          adapterMonitor: undefined,
          adapterTrouble: new Map(),
          lastEngine: undefined,
        };
        pools.set(name, pool);
      }
      const isSameEngine = pool.config.engine === next.engine;
      pool.config = next;
      pool.endpoints.reconfigure(
        next.endpoints.map((endpoint) => ({
          url: endpoint.url,
          address: addressOf(endpoint),
          ...placeOf(next, endpoint.url),
        })),
        {
          concurrencyLimit: next.concurrencyLimit,
          prefillTokens: next.prefillTokens,
          headroom: next.headroom,
          slowStartMs: next.health.slowStartMs,
          ...(next.routing !== 'least-loaded' && { routing: { ...next.choice, profile: next.routing } }),
        },
      );
      pool.choosing = choosingOf(next, config.service.zone, slowReaders);
      const { kvCache } = next;
      pool.capacities.configured(kvCache && kvTokensIn(kvCache.memoryBytes, kvCache.shape));
      pool.capacities.keep(next.endpoints.map(({ url }) => url));
      for (const { url } of next.endpoints) tellCapacity(pool, url);
      pool.drains.reconfigure(
        next.endpoints.map(({ url }) => url),
        new Set(next.drain),
        now(),
      );
      applyDrains(pool);
      dispatcher.addPool(name, pool.endpoints);
      if (changed) {
        pool.monitor?.stop();
        pool.gauges?.stop();
        pool.unusable.clear();
        pool.gaugesNow.clear();
        // An endpoint that stays has the same engine until somebody says otherwise: an adapter may have to be loaded now.
        for (const url of pool.engines.keys()) {
          if (!isSameEngine || next.endpoints.every((one) => one.url !== url)) pool.engines.delete(url);
        }
        pool.helps.clear();
        pool.help = NO_CAPABILITIES;
        pool.monitor = watchHealth(pool);
        pool.gauges = watchGauges(pool);
      }
      applyAdapters(pool, changed);
    }
    dispatcher.dispatch(now());
  };

  /** Envoy watches the folder that it was started with. */
  const { directory } = initial.envoy;
  const writeFiles = (next: Config, addresses: ReadonlyMap<string, string>): void => {
    // A gateway has its own.
    if (picker !== undefined) return;
    writeDynamicFiles(directory, dynamicFilesOf({ ...next, envoy: { ...next.envoy, directory } }, addresses));
  };

  const resolver = createEndpointResolver({
    onProblem: (detail) => tell({ kind: 'dns-failed', detail }),
    onChange(addresses) {
      resolved = addresses;
      paces.keep(new Set([...config.pools.values()].flatMap((pool) => pool.endpoints.map(addressOf))));
      writeFiles(config, addresses);
      applyPools();
    },
  });
  resolved = await resolver.resolve(config);
  writeFiles(config, resolved);
  applyPools();
  if (redisStore !== undefined) metrics.watchRedis(() => redisStore.status());
  if (shares !== undefined) metrics.watchShares((kind) => shares.totals(kind, now()));
  let domains: Domains = new Map();
  let limitsWatcher: LimitsWatcher | undefined;
  const takeLimits = (next: Domains): void => {
    domains = next;
    tell({ kind: 'limits-loaded', domains: [...next.keys()] });
  };
  const refuseLimits = (problem: string): void => tell({ kind: 'limits-refused', problem });
  /** @throws at the start, when the files are bad: later the old ones stay. */
  const openLimits = ({ directory: folder, mergeDomains }: Config['rateLimit'], isStart: boolean): void => {
    limitsWatcher?.close();
    limitsWatcher = undefined;
    if (folder === undefined) {
      domains = new Map();
      return;
    }
    const loaded = readLimits({ directory: folder, mergeDomains });
    if (loaded.kind === 'ok') takeLimits(loaded.domains);
    else if (isStart) throw new Error(`rateLimit.directory: ${loaded.problem}`);
    else refuseLimits(loaded.problem);
    limitsWatcher = watchLimits({ directory: folder, mergeDomains }, takeLimits, refuseLimits);
  };
  openLimits(config.rateLimit, true);
  /** As it was at the start; Redis needs none. */
  const snapshotPath = redisStore === undefined ? initial.rateLimit.snapshot : undefined;
  let snapshotFails = false;
  const keepLevels = (): void => {
    if (snapshotPath === undefined) return;
    try {
      saveSnapshot(snapshotPath, memory, now(), Date.now());
      snapshotFails = false;
    } catch (error) {
      if (snapshotFails) return;
      snapshotFails = true;
      tell({ kind: 'snapshot-failed', problem: error instanceof Error ? error.message : String(error) });
    }
  };
  if (snapshotPath !== undefined) {
    const restored = restoreSnapshot(snapshotPath, memory, now(), Date.now());
    if (restored.kind === 'bad') tell({ kind: 'snapshot-failed', problem: restored.problem });
  }
  const snapshots = setInterval(keepLevels, SNAPSHOT_MS);
  const rateLimit = createRateLimitGrpcService({
    decide: (call) =>
      decide(
        call,
        { domains, store: limitStore, shadow: config.rateLimit.shadow, onHit: metrics.rateLimitHit },
        now(),
      ),
    onError: (detail) => tell({ kind: 'stream-failed', detail }),
  });

  // A moment for Redis: who begins without it grants its share of every limit beside what others hold.
  const giveUpMs = now() + FIRST_REDIS_MS;
  while (redisStore?.status().connected === false && now() < giveUpMs) {
    await new Promise((resolve) => setTimeout(resolve, FIRST_REDIS_LOOK_MS));
  }
  const grpcServer = await startGrpcServer(
    config.service.address,
    [extProc, rateLimit],
    config.envoy.maxBodyBytes,
  );
  const health = (): HealthReport => ({
    status: draining ? 'draining' : 'ok',
    ...(redisStore !== undefined && { redis: redisStore.status().connected ? 'connected' : 'away' }),
    pools: Object.fromEntries(
      [...pools].map(([name, pool]) => [
        name,
        {
          healthy: pool.endpoints.healthyCount(),
          endpoints: pool.config.endpoints.length,
          ...drainHealth(pool),
          windows: Object.fromEntries(
            pool.endpoints.list(now()).map(({ url, window, windowSource, ejected, broken }) => [
              url,
              {
                window,
                by: windowSource,
                state: pool.monitor?.describe(url) ?? '',
                ...(ejected && { ejected }),
                ...(broken.length > 0 && { broken }),
                ...engineDetails(pool.engines.get(url), pool.unusable.get(url)),
                ...adapterHealth(pool.adapters, url),
              },
            ]),
          ),
        },
      ]),
    ),
    ...canaryHealth(rollouts),
    ...shadowHealth(shadows, now()),
  });
  const metricsServer = await startMetricsServer(config.service.metrics, metrics.registry, health, {
    drain: commandDrain,
    explain: commandExplain,
    maxBodyBytes: QUESTION_FACTOR * initial.envoy.maxBodyBytes,
  });
  const expiry = setInterval(() => dispatcher.tick(now()), EXPIRY_CHECK_MS);
  const stalls = setInterval(() => {
    extProc.tick(now());
    sweepDrains();
  }, STALL_CHECK_MS);
  await Promise.race([
    Promise.all([...pools.values()].flatMap(({ monitor }) => monitor?.firstRound ?? [])),
    new Promise((resolve) => setTimeout(resolve, FIRST_PROBES_MS)),
  ]);

  const untilIdle = async (): Promise<void> => {
    const deadlineMs = now() + config.service.drainTimeoutMs;
    while (extProc.open() > 0 && now() < deadlineMs) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_CHECK_MS));
    }
  };

  const takeOver = async (next: Config, warnings: readonly string[]): Promise<void> => {
    const addresses = await resolver.resolve(next);
    try {
      // First: it is what can fail, and Envoy learns of an endpoint before it is probed, and so before it is picked.
      writeFiles(next, addresses);
    } catch (error) {
      tell({ kind: 'config-refused', problems: [error instanceof Error ? error.message : String(error)] });
      return;
    }
    const restart = restartNeeded(initial, next);
    const limitsChanged = JSON.stringify(config.rateLimit) !== JSON.stringify(next.rateLimit);
    config = next;
    resolved = addresses;
    tenants.reconfigure(next);
    catalog.reconfigure(next);
    rollouts.reconfigure(next.models.values());
    shadows.reconfigure(next.models.values());
    dispatcher.reconfigure(next.queue, now());
    log.setLevel(next.log.level);
    if (limitsChanged) openLimits(next.rateLimit, false);
    applyPools();
    tell({ kind: 'config-reloaded', warnings, restart });
  };

  /** Reloads one after another: each sees what the one before it left. */
  let reloading: Promise<void> = Promise.resolve();

  return {
    address: grpcServer.address,
    metricsPort: metricsServer.port,
    reload(next, warnings) {
      reloading = reloading.then(() => takeOver(next, warnings));
      return reloading;
    },
    refuseReload(problems) {
      tell({ kind: 'config-refused', problems });
    },
    idle: untilIdle,
    async drain() {
      if (draining) return;
      draining = true;
      grpcServer.setServing(false);
      tell({ kind: 'draining', deadlineMs: config.service.drainTimeoutMs });
      await untilIdle();
      const unfinished = extProc.open();
      dispatcher.flush(now());
      extProc.endAll();
      await grpcServer.close(LAST_ANSWERS_MS);
      clearInterval(expiry);
      clearInterval(stalls);
      resolver.stop();
      limitsWatcher?.close();
      clearInterval(snapshots);
      keepLevels();
      await Promise.all([shares?.close(), learned?.close()]);
      await limitStore.close();
      for (const { monitor, gauges, adapterMonitor } of pools.values()) {
        monitor?.stop();
        gauges?.stop();
        adapterMonitor?.stop();
      }
      await metricsServer.close();
      tell({ kind: 'drained', unfinished });
    },
  };
}

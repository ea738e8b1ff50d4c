/** One pool as it runs: probes its endpoints, tells them what the configuration and their engines say, and everybody of changes. */
import type { DrainAnswer } from '../admin/commands.ts';
import type { RoutingInputs } from '../admission/lifecycle-context.ts';
import type { SlowReaders } from '../admission/slow-readers.ts';
import type { Config, EndpointConfig, PoolConfig } from '../config/config.ts';
import type { EngineKind } from '../domain/engine-kinds.ts';
import { isolatesSlowClients } from '../domain/routing-profiles.ts';
import { type HealthMonitor, startHealthMonitor } from '../engine/http-health-monitor.ts';
import type { Identity } from '../engine/http-identify.ts';
import type { AdapterPlace } from '../lora/placement.ts';
import { adaptiveLimit } from '../pool/concurrency-limit/adaptive.ts';
import type { Gauges } from '../pool/concurrency-limit/concurrency-limit.ts';
import type { RotationChange } from '../pool/health/rotation.ts';
import { createPoolEndpoints } from '../pool/pool-endpoints.ts';
import type { PoolEndpoints } from '../pool/types.ts';
import type { MirrorPoolView } from '../rollout/mirrors.ts';
import { type AddressedPool, addressOf } from './addressed-pools.ts';
import type { PoolFacts } from './health-report.ts';
import { PoolCapabilities } from './pool-capabilities.ts';
import type { PoolContext } from './pool-context.ts';
import { PoolDrains } from './pool-drains.ts';
import { PoolEngines } from './pool-engines.ts';
import { PoolGauges } from './pool-gauges.ts';
import { PoolLora } from './pool-lora.ts';

/** No engine runs more sequences at once. */
const MAX_CONCURRENCY = 4_096;
/** What a probe says of a process that is gone; one that is slow may be busy. */
const DIED = /ECONNREFUSED|ECONNRESET|EPIPE|hang up|refused|reset/i;

export class PoolRuntime {
  readonly name: string;
  readonly endpoints: PoolEndpoints;
  readonly drains: PoolDrains;
  readonly engines: PoolEngines;
  readonly capabilities: PoolCapabilities;
  readonly lora: PoolLora;
  readonly #gauges: PoolGauges;
  readonly #context: PoolContext;
  #config: PoolConfig;
  /** Where endpoints are chosen by more than load. */
  #routingInputs: RoutingInputs | undefined;
  /** From the first `apply` to `stop`. */
  #health: HealthMonitor | undefined;
  /** Of the probes that run, and of what they ask beside. */
  #probing = new AbortController();

  /** What its endpoints are called, and which are configured as one. */
  #addressed: Pick<AddressedPool, 'labels' | 'configured'> = { labels: new Map(), configured: new Map() };
  /** Its endpoints' URLs, by address. */
  #urls: ReadonlyMap<string, string> = new Map();
  /** Endpoints, as they are configured, that a command drains: also at addresses that are yet to come. */
  readonly #drained = new Set<string>();

  /** Nothing is probed before the first `apply`. */
  constructor(config: PoolConfig, outer: PoolContext) {
    const { name } = config;
    this.name = name;
    this.#config = config;
    const context: PoolContext = {
      ...outer,
      tell: (event, isNews) =>
        outer.tell('endpoint' in event ? { ...event, endpoint: this.nameOf(event.endpoint) } : event, isNews),
    };
    this.#context = context;
    this.lora = new PoolLora(name, context);
    this.endpoints = createPoolEndpoints(
      (size) => adaptiveLimit({ initial: size, most: MAX_CONCURRENCY }),
      context.sharedLimitsOf(name),
      {
        changed: (change) => this.#rotationChanged(change),
        suspect: (url) => this.#health?.hurry(url),
      },
      this.lora.adapters,
    );
    this.drains = new PoolDrains(name, context, this.endpoints);
    this.engines = new PoolEngines(this.endpoints);
    this.capabilities = new PoolCapabilities(context);
    this.#gauges = new PoolGauges(context, this.endpoints, this.engines, this.capabilities);
  }

  get config(): PoolConfig {
    return this.#config;
  }

  get routingInputs(): RoutingInputs | undefined {
    return this.#routingInputs;
  }

  /** Resolves when every endpoint has been probed once. */
  async firstRound(): Promise<void> {
    await this.#health?.firstRound;
  }

  /** Brings everything in line with the configuration, and with the addresses as they are now. */
  apply(config: Config, addressed: AddressedPool, readers: SlowReaders): void {
    const { config: next } = addressed;
    const urls = next.endpoints.map(({ url }) => url);
    const before = this.#config;
    const isNew =
      this.#health === undefined || JSON.stringify(probedOf(before)) !== JSON.stringify(probedOf(next));
    this.#config = next;
    this.#addressed = addressed;
    this.#urls = new Map(next.endpoints.map((endpoint) => [addressOf(endpoint), endpoint.url]));
    this.#reconfigureEndpoints(next);
    this.#routingInputs = routingInputsOf(next, config.service.zone, readers);
    this.engines.reconfigure(next);
    this.#reconfigureDrains(urls, next.drain);
    this.#context.dispatcher.addPool(next.name, this.endpoints);
    this.engines.keep(before.engine === next.engine ? urls : []);
    if (isNew) this.#probeAnew();
    else {
      this.#health?.follow(next.endpoints);
      this.#gauges.follow(next);
      this.capabilities.follow(next);
    }
    this.applyAdapters(config, isNew);
  }

  /** By a command. @param endpoint as configured: all of its addresses, or one. @param undo takes an earlier one back. */
  drain(endpoint: string, undo: boolean): DrainAnswer {
    const { labels, configured } = this.#addressed;
    const all = [...configured].filter(([, urls]) => urls.includes(endpoint)).map(([url]) => url);
    const keys = all.length > 0 ? all : [...labels.keys()].filter((url) => url === endpoint);
    if (all.length > 0 && undo) this.#drained.delete(endpoint);
    else if (all.length > 0) this.#drained.add(endpoint);
    const answers = keys.map((url) => this.drains.command(url, undo));
    return answers.find(({ kind }) => kind === 'still') ?? answers.at(-1) ?? { kind: 'unknown' };
  }

  /** @param isNew the endpoints are other ones. */
  applyAdapters(config: Config, isNew: boolean): void {
    this.lora.reconfigure(this.#config, config, this.engines, isNew);
  }

  /** Probes and asks nothing any more. */
  stop(): void {
    this.#probing.abort();
    this.#health?.stop();
    this.#health = undefined;
    this.#gauges.stop();
    this.lora.stop();
  }

  /**
   * Tokens that a prompt and an output have room for on an endpoint, `ip:port`. What one engine says bounds no other's
   * answers. Undefined: it does not say.
   */
  contextAt(address: string): number | undefined {
    const url = this.#urls.get(address);
    return url === undefined ? undefined : this.engines.contextOf(url);
  }

  /** What an endpoint, `ip:port`, runs; undefined: that is not known. */
  engineAt(address: string): EngineKind | undefined {
    const url = this.#urls.get(address);
    return url === undefined ? undefined : this.engines.kindOf(url);
  }

  /** What the endpoint at an address, `ip:port`, is called; undefined: none of this pool is there. */
  nameAt(address: string): string | undefined {
    const url = this.#urls.get(address);
    return url === undefined ? undefined : this.nameOf(url);
  }

  /** What an endpoint is called, by its URL here: everywhere by this one name. */
  nameOf(url: string): string {
    return this.#addressed.labels.get(url) ?? url;
  }

  /** What a mirror may count on. */
  mirrorView(): MirrorPoolView {
    return {
      endpoints: this.endpoints.list(this.#context.now()).map(({ url, healthy, ejected }) => ({
        open: healthy && !ejected && !this.drains.isDrained(url),
        gauges: this.#gauges.latestOf(url),
      })),
      concurrencyLimit: this.#config.concurrencyLimit,
    };
  }

  /** Where adapters are, and may be, by what its endpoints are called. */
  adapterPlaces(): readonly AdapterPlace[] {
    if (!this.lora.adapters.isUsed()) return [];
    return this.lora.adapters.list().map((one) => ({ ...one, endpoint: this.nameOf(one.endpoint) }));
  }

  /** What the endpoint's engine said last. */
  gaugesOf(url: string): Gauges | undefined {
    return this.#gauges.latestOf(url);
  }

  facts(): PoolFacts {
    const adapters = this.lora.adapters.isUsed() ? this.lora.adapters.list() : [];
    return {
      name: this.name,
      healthy: this.endpoints.healthyCount(),
      serving: this.endpoints.servingCount(),
      configured: this.#config.endpoints.length,
      drained: this.drains.list().map((one) => ({ ...one, url: this.nameOf(one.url) })),
      endpoints: this.endpoints
        .list(this.#context.now())
        .map(({ url, address, concurrencyLimit, limitSource, ejected, broken }) => ({
          url: this.nameOf(url),
          // One that is configured by its address shows it already.
          address: this.#addressed.configured.get(url)?.includes(url) === true ? undefined : address,
          limit: concurrencyLimit,
          limitSource,
          ejected,
          broken,
          readiness: this.#health?.describe(url) ?? '',
          engine: this.engines.kindOf(url),
          gaugesProblem: this.#gauges.problemOf(url),
          gauges: this.#gauges.latestOf(url),
          adapters: adapters.find(({ endpoint }) => endpoint === url),
        })),
    };
  }

  #reconfigureEndpoints(next: PoolConfig): void {
    this.endpoints.reconfigure(
      next.endpoints.map((endpoint) => ({
        url: endpoint.url,
        address: addressOf(endpoint),
        ...(endpoint.weight !== undefined && { weight: endpoint.weight }),
        ...placementOf(next, endpoint.url),
      })),
      {
        concurrencyLimit: next.concurrencyLimit,
        prefillTokens: next.prefillTokens,
        headroom: next.headroom,
        slowStartMs: next.health.slowStartMs,
        ...(next.routing !== 'least-loaded' && { routing: { ...next.choice, profile: next.routing } }),
      },
    );
  }

  #reconfigureDrains(urls: readonly string[], drained: readonly string[]): void {
    const { configured } = this.#addressed;
    const known = new Set([...configured.values()].flat());
    for (const url of this.#drained) if (!known.has(url)) this.#drained.delete(url);
    this.drains.reconfigure(urls, new Set(drained));
    for (const [url, names] of configured) {
      if (names.some((name) => this.#drained.has(name))) this.drains.command(url, false);
    }
  }

  #probeAnew(): void {
    this.#probing.abort();
    this.#health?.stop();
    this.#probing = new AbortController();
    this.capabilities.forget();
    const { signal } = this.#probing;
    const { timeoutMs } = this.#config.health;
    this.#health = startHealthMonitor({
      pool: this.#config,
      now: this.#context.now,
      onLoaded: ({ url }) => this.endpoints.engineLoaded(url),
      onHealth: (endpoint, healthy, detail) => this.#healthChanged(endpoint, healthy, detail),
      onRefused: ({ url }, detail) => this.#refused(url, detail),
      onModels: (models) => this.#modelsListed(models),
      onEngine: (endpoint, identity) => this.#identified(endpoint, identity, timeoutMs, signal),
    });
    this.#gauges.start(this.#config, signal);
  }

  #healthChanged(endpoint: EndpointConfig, healthy: boolean, detail: string): void {
    const { now, tell, dispatcher, quarantine } = this.#context;
    const { url } = endpoint;
    this.endpoints.setHealthy(url, healthy, now());
    if (!healthy) {
      if (DIED.test(detail)) quarantine.died(addressOf(endpoint), now());
      this.capabilities.gone(url);
      this.engines.gone(url);
    }
    tell({ kind: 'endpoint-health', pool: this.name, endpoint: url, healthy, detail });
    if (healthy) {
      this.lora.ask(url);
      dispatcher.dispatch(now());
    } else this.lora.gone(url);
  }

  #refused(endpoint: string, said: string | undefined): void {
    const detail = said ?? 'it refuses nothing any more';
    this.#context.tell({
      kind: 'engine-refuses',
      pool: this.name,
      endpoint,
      refuses: said !== undefined,
      detail,
    });
  }

  #modelsListed(models: readonly string[]): void {
    if (!this.#context.catalog.discovered(this.name, models)) return;
    this.#context.tell({ kind: 'models-discovered', pool: this.name, models });
    this.#context.onModels();
  }

  #identified(
    endpoint: EndpointConfig,
    { engine, by }: Identity,
    timeoutMs: number,
    stopped: AbortSignal,
  ): void {
    this.engines.identified(endpoint, engine, timeoutMs, stopped);
    if (engine !== undefined) this.lora.ask(endpoint.url);
    this.#context.tell({
      kind: 'engine-identified',
      pool: this.name,
      endpoint: endpoint.url,
      ...(engine !== undefined && { engine }),
      by,
    });
  }

  #rotationChanged(change: RotationChange): void {
    const { url: endpoint } = change;
    const pool = this.name;
    if (change.kind === 'model') {
      this.#context.tell({ kind: 'model-broken', pool, endpoint, model: change.model, broken: change.open });
      return;
    }
    const detail =
      change.kind === 'ejected'
        ? `${change.reason}; tried again in ${change.forMs / 1_000} s`
        : 'requests succeed there again';
    const ejected = change.kind === 'ejected';
    this.#context.tell({ kind: 'endpoint-ejected', pool, endpoint, ejected, detail });
  }
}

/** What probes depend on: a drain, places for adapters, or another choice of endpoints, are no reason to begin them anew. */
const probedOf = (pool: PoolConfig) => ({
  ...pool,
  // They are followed.
  endpoints: [],
  drain: [],
  routing: undefined,
  choice: undefined,
  kvCache: undefined,
  gpuPrice: undefined,
  adaptersPerEndpoint: 0,
});

/** What its endpoints are chosen by; undefined: by load alone, or there is nothing to choose. */
function routingInputsOf(
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
function placementOf({ choice: { slowClients, zones } }: PoolConfig, url: string) {
  const [zone] = [...zones].find(([, urls]) => urls.includes(url)) ?? [];
  return { isolated: slowClients.includes(url), ...(zone !== undefined && { zone }) };
}

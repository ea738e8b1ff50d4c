/** The gauges of a pool's engines: read at an interval, passed on to its endpoints, and told of when they cannot be used. */
import type { EndpointConfig, PoolConfig } from '../config/config.ts';
import { API_ALONE } from '../domain/engine-kinds.ts';
import type { EngineReport } from '../engine/gauges.ts';
import { type GaugeMonitor, startGaugeMonitor } from '../engine/http-gauge-monitor.ts';
import type { Gauges } from '../pool/concurrency-limit/concurrency-limit.ts';
import type { PoolEndpoints } from '../pool/types.ts';
import type { PoolCapabilities } from './pool-capabilities.ts';
import type { PoolContext } from './pool-context.ts';
import type { PoolEngines } from './pool-engines.ts';

export class PoolGauges {
  readonly #context: Pick<PoolContext, 'now' | 'tell' | 'dispatcher'>;
  readonly #endpoints: PoolEndpoints;
  readonly #engines: PoolEngines;
  readonly #capabilities: PoolCapabilities;
  #monitor: GaugeMonitor | undefined;
  /** As it is now: its endpoints come and go. */
  #pool: PoolConfig | undefined;
  /** By endpoint, while it says: as its engine said last. */
  readonly #latest = new Map<string, Gauges>();
  /** Why an endpoint's gauges cannot be used, by its URL. */
  readonly #problems = new Map<string, string>();

  constructor(
    context: Pick<PoolContext, 'now' | 'tell' | 'dispatcher'>,
    endpoints: PoolEndpoints,
    engines: PoolEngines,
    capabilities: PoolCapabilities,
  ) {
    this.#context = context;
    this.#endpoints = endpoints;
    this.#engines = engines;
    this.#capabilities = capabilities;
  }

  /** Undefined: it does not say. */
  latestOf(url: string): Gauges | undefined {
    return this.#latest.get(url);
  }

  /** Why they cannot be used, if they cannot. */
  problemOf(url: string): string | undefined {
    return this.#problems.get(url);
  }

  /** Begins anew. @param stopped for what is asked beside the gauges. */
  start(pool: PoolConfig, stopped: AbortSignal): void {
    this.stop();
    this.#latest.clear();
    this.#problems.clear();
    this.#pool = pool;
    // Nothing is expected of them, so nothing is missed.
    if (pool.engine === API_ALONE) return;
    this.#monitor = startGaugeMonitor({
      pool,
      isEager: ({ url }) => this.#endpoints.stateOf(url, this.#context.now())?.isEager === true,
      onReport: (endpoint, report) => this.#reported(this.#pool ?? pool, endpoint, report, stopped),
      onUnusable: (endpoint, detail) => this.#unusable(this.#pool ?? pool, endpoint, detail, stopped),
    });
  }

  /** Its endpoints are other ones; the settings are the same. */
  follow(pool: PoolConfig): void {
    this.#pool = pool;
    this.#monitor?.follow(pool.endpoints);
    const urls = new Set(pool.endpoints.map(({ url }) => url));
    for (const known of [this.#latest, this.#problems]) {
      for (const url of known.keys()) if (!urls.has(url)) known.delete(url);
    }
  }

  stop(): void {
    this.#monitor?.stop();
    this.#monitor = undefined;
  }

  #reported(
    pool: PoolConfig,
    endpoint: EndpointConfig,
    { kind, gauges, kvCapacityTokens }: EngineReport,
    stopped: AbortSignal,
  ): void {
    const { now, dispatcher } = this.#context;
    const { url } = endpoint;
    this.#engines.saidByGauges(url, kvCapacityTokens);
    this.#endpoints.gauges(url, gauges, now());
    this.#latest.set(url, gauges);
    dispatcher.dispatch(now());
    const isDistrusted =
      pool.concurrencyLimit === 'auto' && this.#endpoints.stateOf(url, now())?.limitSource === 'ttft';
    this.#note(pool.name, url, isDistrusted ? 'they do not move with the requests' : undefined);
    void this.#capabilities.ask(pool, endpoint, kind, stopped);
  }

  #unusable(pool: PoolConfig, endpoint: EndpointConfig, detail: string, stopped: AbortSignal): void {
    const { url } = endpoint;
    this.#endpoints.gauges(url, 'unusable', this.#context.now());
    this.#latest.delete(url);
    this.#note(pool.name, url, detail);
    const kind = this.#engines.kindOf(url);
    if (kind !== undefined) void this.#capabilities.ask(pool, endpoint, kind, stopped);
  }

  /** Tells once when an endpoint's gauges cannot be used any more, and once when they can again. */
  #note(pool: string, endpoint: string, problem: string | undefined): void {
    const before = this.#problems.get(endpoint);
    if (before === problem) return;
    if (problem === undefined) this.#problems.delete(endpoint);
    else this.#problems.set(endpoint, problem);
    if (before !== undefined && problem !== undefined) return;
    this.#context.tell({
      kind: 'engine-gauges',
      pool,
      endpoint,
      usable: problem === undefined,
      detail: problem ?? 'the concurrency limit goes by them again',
    });
  }
}

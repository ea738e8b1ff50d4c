/** Which engine runs on each endpoint of a pool, and how much each of them holds. */
import type { EndpointConfig, PoolConfig } from '../config/config.ts';
import type { EngineKind } from '../domain/engine-kinds.ts';
import { kvTokensIn } from '../domain/kv-size.ts';
import { createCapacities, factsOf, NO_FACTS } from '../engine/capacity.ts';
import { contextIn } from '../engine/context.ts';
import { DRIVERS } from '../engine/drivers.ts';
import { askListing, askServerInfo } from '../engine/http-identify.ts';
import { type ListedModel, listedModels } from '../engine/listed-models.ts';
import type { PoolEndpoints } from '../pool/types.ts';

export class PoolEngines {
  readonly #endpoints: PoolEndpoints;
  /** By endpoint, while it is healthy and known. */
  readonly #kinds = new Map<string, EngineKind>();
  readonly #capacities = createCapacities();
  /** By endpoint; those that do not say are not there. */
  readonly #contexts = new Map<string, number>();
  /** What each endpoint says of its models; kept while it is away. */
  readonly #listed = new Map<string, ReadonlyMap<string, ListedModel>>();
  /** What its endpoints were when one was identified last. */
  #lastKind: EngineKind | undefined;

  constructor(endpoints: PoolEndpoints) {
    this.#endpoints = endpoints;
  }

  get lastKind(): EngineKind | undefined {
    return this.#lastKind;
  }

  kindOf(url: string): EngineKind | undefined {
    return this.#kinds.get(url);
  }

  /** One kind for all: a request is written before its endpoint is known, and kinds name adapters differently. */
  kindForAdapters(url: string): EngineKind | undefined {
    const kind = this.#kinds.get(url);
    return kind === this.onlyKind() ? kind : undefined;
  }

  /** The kind of all that are healthy and known; undefined: there are several, or none. */
  onlyKind(): EngineKind | undefined {
    let only: EngineKind | undefined;
    for (const kind of this.#kinds.values()) {
      if (only !== undefined && kind !== only) return undefined;
      only = kind;
    }
    return only;
  }

  /** Tokens that a prompt and an output have room for there; undefined: its engine does not say. */
  contextOf(url: string): number | undefined {
    return this.#contexts.get(url);
  }

  /** What the endpoints say of a model: the shortest context of all, and the rest as one of them says it. */
  listedModel(model: string): ListedModel | undefined {
    let found: ListedModel | undefined;
    for (const listed of this.#listed.values()) {
      const one = listed.get(model);
      if (one === undefined) continue;
      const most = Math.min(
        found?.maxTokens ?? Number.POSITIVE_INFINITY,
        one.maxTokens ?? Number.POSITIVE_INFINITY,
      );
      found = { facts: found?.facts ?? one.facts, maxTokens: Number.isFinite(most) ? most : undefined };
    }
    return found;
  }

  /** Takes over how large the KV cache is where no engine says so. Endpoints that are gone are forgotten. */
  reconfigure({ endpoints, kvCache }: PoolConfig): void {
    const urls = endpoints.map(({ url }) => url);
    this.#capacities.configured(kvCache && kvTokensIn(kvCache.memoryBytes, kvCache.shape));
    this.#capacities.keep(urls);
    for (const known of [this.#contexts, this.#listed]) {
      for (const url of known.keys()) if (!urls.includes(url)) known.delete(url);
    }
    for (const url of urls) this.#passOn(url);
  }

  /** An endpoint that stays has the same engine until somebody says otherwise: an adapter may have to be loaded now. */
  keep(urls: readonly string[]): void {
    for (const url of this.#kinds.keys()) if (!urls.includes(url)) this.#kinds.delete(url);
  }

  /**
   * Notes what an endpoint is, and asks its own page for its size.
   *
   * @param kind undefined: none that is known.
   * @param timeoutMs for the page.
   */
  identified(
    endpoint: EndpointConfig,
    kind: EngineKind | undefined,
    timeoutMs: number,
    stopped: AbortSignal,
  ): void {
    if (kind === undefined) this.#kinds.delete(endpoint.url);
    else {
      this.#kinds.set(endpoint.url, kind);
      this.#lastKind = kind;
    }
    void this.#askSize(endpoint, kind, timeoutMs, stopped);
    void this.#askListing(endpoint, kind, timeoutMs, stopped);
  }

  /** What comes back there may be another engine. */
  gone(url: string): void {
    this.#kinds.delete(url);
  }

  /** @param kvTokens that the engine's gauges say it holds; undefined: they do not say. */
  saidByGauges(url: string, kvTokens: number | undefined): void {
    this.#capacities.saidGauges(url, kvTokens);
    this.#passOn(url);
  }

  async #askSize(
    endpoint: EndpointConfig,
    kind: EngineKind | undefined,
    timeoutMs: number,
    stopped: AbortSignal,
  ): Promise<void> {
    const driver = kind && DRIVERS[kind];
    const facts =
      driver === undefined
        ? NO_FACTS
        : factsOf(driver, await askServerInfo(endpoint, driver, timeoutMs, stopped));
    // Meanwhile it may have gone, and another may have come.
    if (stopped.aborted || this.#kinds.get(endpoint.url) !== kind) return;
    this.#capacities.saidPage(endpoint.url, facts);
    this.#passOn(endpoint.url);
    this.#endpoints.setMaxSequences(endpoint.url, facts.maxSequences);
  }

  async #askListing(
    endpoint: EndpointConfig,
    kind: EngineKind | undefined,
    timeoutMs: number,
    stopped: AbortSignal,
  ): Promise<void> {
    const { url } = endpoint;
    const answer = await askListing(endpoint, timeoutMs, stopped);
    if (stopped.aborted || this.#kinds.get(url) !== kind) return;
    const tokens = contextIn(answer);
    if (answer !== undefined) this.#listed.set(url, listedModels(answer));
    if (tokens === undefined) this.#contexts.delete(url);
    else this.#contexts.set(url, tokens);
  }

  #passOn(url: string): void {
    const kv = this.#capacities.kvOf(url);
    this.#endpoints.setCapacity(url, kv?.tokens, kv?.isDivided);
  }
}

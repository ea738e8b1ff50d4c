/** What the engines of a pool can do themselves: each endpoint is asked once it is there, and again when it has been away. */
import type { EndpointConfig, PoolConfig } from '../config/config.ts';
import type { EngineKind } from '../domain/engine-kinds.ts';
import { commonCapabilities, type EngineCapabilities, NO_CAPABILITIES } from '../engine/capabilities.ts';
import { probeCapabilities } from '../engine/http-capabilities.ts';
import type { PoolContext } from './pool-context.ts';

export class PoolCapabilities {
  readonly #context: Pick<PoolContext, 'catalog' | 'tell'>;
  /** By endpoint, from the moment that it is asked. */
  readonly #byUrl = new Map<string, EngineCapabilities>();
  #common = NO_CAPABILITIES;

  constructor(context: Pick<PoolContext, 'catalog' | 'tell'>) {
    this.#context = context;
  }

  /** What all endpoints can do, as far as they have answered. */
  get common(): EngineCapabilities {
    return this.#common;
  }

  forget(): void {
    this.#byUrl.clear();
    this.#common = NO_CAPABILITIES;
  }

  /** Its endpoints are other ones. */
  follow(pool: PoolConfig): void {
    const urls = new Set(pool.endpoints.map(({ url }) => url));
    const gone = [...this.#byUrl.keys()].filter((url) => !urls.has(url));
    if (gone.length === 0) return;
    for (const url of gone) this.#byUrl.delete(url);
    if (this.#byUrl.size > 0) this.#common = this.#commonOf(pool);
  }

  /** What comes back there may be another engine. */
  gone(url: string): void {
    this.#byUrl.delete(url);
  }

  /** Asks an endpoint that has not been asked, where the configuration wants to know and a model is there to ask with. */
  async ask(
    pool: PoolConfig,
    endpoint: EndpointConfig,
    kind: EngineKind,
    stopped: AbortSignal,
  ): Promise<void> {
    if (this.#byUrl.has(endpoint.url)) return;
    const { priority, cacheSalt } = pool.engineCapabilities;
    if (priority === 'off' && cacheSalt === 'off') return;
    const model = this.#context.catalog.modelOfPool(pool.name);
    if (model === undefined) return;
    const asking = { ...NO_CAPABILITIES };
    this.#byUrl.set(endpoint.url, asking);
    const found = await probeCapabilities(endpoint, kind, model, pool.engineCapabilities, stopped);
    // Meanwhile it may have gone, and another may have come.
    if (stopped.aborted || this.#byUrl.get(endpoint.url) !== asking) return;
    this.#byUrl.set(endpoint.url, found);
    this.#common = this.#commonOf(pool);
    this.#context.tell({
      kind: 'engine-help',
      pool: pool.name,
      priority: this.#common.priority !== undefined,
      cacheSalt: this.#common.cacheSalt,
    });
  }

  #commonOf({ endpoints }: PoolConfig): EngineCapabilities {
    return commonCapabilities(endpoints.map(({ url }) => this.#byUrl.get(url) ?? NO_CAPABILITIES));
  }
}

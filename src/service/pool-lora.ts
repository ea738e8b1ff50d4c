/** The LoRA adapters of one pool: what is to be loaded where, and the talk with its engines about them. */
import type { Config, EndpointConfig, LoraAdapterConfig, PoolConfig } from '../config/config.ts';
import { type AdapterMonitor, startAdapterMonitor } from '../lora/http-loader.ts';
import { createPoolAdapters, type PoolAdapters } from '../lora/pool-adapters.ts';
import type { PoolContext } from './pool-context.ts';
import type { PoolEngines } from './pool-engines.ts';

type LoraContext = Pick<PoolContext, 'now' | 'tell' | 'dispatcher' | 'catalog'>;

export class PoolLora {
  readonly #name: string;
  readonly #context: LoraContext;
  readonly adapters: PoolAdapters;
  /** Only where the pool has adapters. */
  #monitor: AdapterMonitor | undefined;
  /** The last complaint of each endpoint about adapters. */
  readonly #complaints = new Map<string, string>();

  constructor(name: string, context: LoraContext) {
    this.#name = name;
    this.#context = context;
    this.adapters = createPoolAdapters({
      load: (url, adapter, evict) => this.#load(url, adapter, evict),
      suspect: (url) => this.ask(url),
    });
  }

  /** @param isNew the endpoints are other ones: what they were told is not waited for. */
  reconfigure(
    { endpoints, adaptersPerEndpoint }: PoolConfig,
    config: Config,
    engines: PoolEngines,
    isNew: boolean,
  ): void {
    const { catalog } = this.#context;
    const own = new Map([...config.adapters].filter(([adapter]) => catalog.poolOf(adapter) === this.#name));
    if (isNew || own.size === 0) this.stop();
    const urls = endpoints.map(({ url }) => url);
    this.#giveUp((url) => !urls.includes(url));
    this.adapters.reconfigure(urls, adaptersPerEndpoint, own);
    this.#monitor?.follow(endpoints);
    if (own.size === 0 || this.#monitor !== undefined) return;
    this.#monitor = this.#watch(endpoints, engines);
    for (const { url } of endpoints) this.#monitor.ask(url);
  }

  /** Asks soon which adapters the endpoint has. */
  ask(url: string): void {
    this.#monitor?.ask(url);
  }

  /** What is wrong with its engine is told again when it is back. */
  gone(url: string): void {
    this.#complaints.delete(url);
  }

  stop(): void {
    if (this.#monitor === undefined) return;
    this.#monitor.stop();
    this.#monitor = undefined;
    this.#giveUp(() => true);
  }

  /** Nobody will say how these loads went; who waits for one may have it loaded anew. */
  #giveUp(isOf: (url: string) => boolean): void {
    for (const { endpoint, loading } of this.adapters.list()) {
      if (isOf(endpoint)) for (const adapter of loading) this.adapters.givenUp(endpoint, adapter);
    }
  }

  #load(url: string, adapter: LoraAdapterConfig, evict: string | undefined): void {
    if (this.#monitor === undefined) this.adapters.loadFailed(url, adapter.name, this.#context.now());
    else this.#monitor.load(url, adapter, evict);
  }

  #watch(endpoints: readonly EndpointConfig[], engines: PoolEngines): AdapterMonitor {
    const { adapters } = this;
    const { now, tell } = this.#context;
    const pool = this.#name;
    return startAdapterMonitor({
      endpoints,
      engineOf: (url) => engines.kindForAdapters(url),
      isWanted: (url, adapter) => adapters.isLoading(url, adapter),
      surplus: () => adapters.takeSurplus(now()),
      onListed: ({ url }, listed) => {
        adapters.reported(url, listed, now());
        this.#changed();
      },
      onLoaded: ({ url }, adapter) => {
        this.#complaints.delete(url);
        adapters.loaded(url, adapter, now());
        tell({ kind: 'adapter-loaded', pool, endpoint: url, adapter });
        this.#changed(adapter);
      },
      onFailed: ({ url }, adapter, detail) => {
        adapters.loadFailed(url, adapter, now());
        this.#failed(url, adapter, 'load', detail);
        this.#changed(adapter);
      },
      onUnloaded: ({ url }, adapter) => tell({ kind: 'adapter-unloaded', pool, endpoint: url, adapter }),
      onKept: ({ url }, adapter, detail) => this.#failed(url, adapter, 'unload', detail),
    });
  }

  #changed(adapter?: string): void {
    this.#context.dispatcher.adaptersChanged(this.#name, adapter, this.#context.now());
  }

  #failed(endpoint: string, adapter: string, action: 'load' | 'unload', detail: string): void {
    // What is wrong with the engine itself is said once, and counted each time.
    const isNews = this.#complaints.get(endpoint) !== detail;
    this.#complaints.set(endpoint, detail);
    this.#context.tell(
      { kind: 'adapter-failed', pool: this.#name, endpoint, adapter, action, detail },
      isNews,
    );
  }
}

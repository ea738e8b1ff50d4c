/** All pools: as the configuration names them, at the addresses that their endpoints' names stand for. */
import type { DrainAnswer } from '../admin/commands.ts';
import type { SlowReaders } from '../admission/slow-readers.ts';
import type { Config, EndpointConfig } from '../config/config.ts';
import type { createEndpointResolver } from '../envoy/dns-endpoints.ts';
import type { MirrorPoolView } from '../rollout/mirrors.ts';
import type { PoolFacts } from './health-report.ts';
import type { PoolContext } from './pool-context.ts';
import { PoolRuntime } from './pool-runtime.ts';

/** IP address of each endpoint's URL; endpoints whose name has never been resolved are absent. */
export type ResolvedAddresses = ReadonlyMap<string, string>;

export interface PoolSetOptions extends Omit<PoolContext, 'addressOf' | 'onModels'> {
  /** In use now. */
  readonly config: () => Config;
  /** How names are looked up. */
  readonly watchNames: typeof createEndpointResolver;
  /** Tells Envoy. It is told of an endpoint before that is probed, and so before it is picked. */
  readonly writeFiles: (config: Config, addresses: ResolvedAddresses) => void;
  /** Told of the address of every endpoint that there is, when some have changed. */
  readonly onAddresses: (addresses: ReadonlySet<string>) => void;
  readonly slowReaders: SlowReaders;
}

export class PoolSet {
  readonly #options: PoolSetOptions;
  readonly #context: PoolContext;
  readonly #resolver: ReturnType<typeof createEndpointResolver>;
  readonly #pools = new Map<string, PoolRuntime>();
  #addresses: ResolvedAddresses = new Map();
  /** Names of a configuration are being looked up that is not in use yet. */
  #isResolving = false;

  constructor(options: PoolSetOptions) {
    this.#options = options;
    this.#context = {
      now: options.now,
      tell: options.tell,
      dispatcher: options.dispatcher,
      catalog: options.catalog,
      quarantine: options.quarantine,
      sharedLimitsOf: options.sharedLimitsOf,
      addressOf: (endpoint) => this.addressOf(endpoint),
      onModels: () => this.#modelsChanged(),
    };
    this.#resolver = options.watchNames({
      inUse: () => this.#addresses,
      onProblem: (detail) => options.tell({ kind: 'dns-failed', detail }),
      onChange: (addresses) => this.#addressesChanged(addresses),
    });
  }

  get(name: string): PoolRuntime | undefined {
    return this.#pools.get(name);
  }

  all(): Iterable<PoolRuntime> {
    return this.#pools.values();
  }

  /** `ip:port`, as Envoy knows the endpoint. */
  addressOf({ url, host, port }: EndpointConfig): string {
    const address = this.#addresses.get(url) ?? host;
    return `${address.includes(':') ? `[${address}]` : address}:${port}`;
  }

  /** Looks up the endpoints' names of a configuration, and watches those from now on. Never rejects. */
  async resolve(config: Config): Promise<ResolvedAddresses> {
    this.#isResolving = true;
    try {
      return await this.#resolver.resolve(config);
    } finally {
      this.#isResolving = false;
    }
  }

  /** Brings the pools in line with a configuration and the addresses of its endpoints. */
  apply(config: Config, addresses: ResolvedAddresses): void {
    const { dispatcher, now, slowReaders } = this.#options;
    this.#addresses = addresses;
    for (const [name, pool] of this.#pools) {
      if (config.pools.has(name)) continue;
      pool.stop();
      this.#pools.delete(name);
      dispatcher.removePool(name, now());
    }
    for (const [name, next] of config.pools) {
      let pool = this.#pools.get(name);
      if (pool === undefined) {
        pool = new PoolRuntime(next, this.#context);
        this.#pools.set(name, pool);
      }
      pool.apply(config, next, slowReaders);
    }
    dispatcher.dispatch(now());
  }

  /** Resolves when every endpoint has been probed once. */
  async firstRound(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.firstRound()));
  }

  /** By a command. @param undo takes an earlier one back. */
  drain(endpoint: string, undo: boolean): DrainAnswer {
    for (const pool of this.#pools.values()) {
      const answer = pool.drains.command(endpoint, undo);
      if (answer.kind === 'unknown') continue;
      this.#options.dispatcher.dispatch(this.#options.now());
      this.sweepDrains();
      return answer;
    }
    return { kind: 'unknown' };
  }

  /** Tells of endpoints that have become empty. */
  sweepDrains(): void {
    for (const pool of this.#pools.values()) pool.drains.sweep();
  }

  mirrorView(name: string): MirrorPoolView | undefined {
    return this.#pools.get(name)?.mirrorView();
  }

  facts(): readonly PoolFacts[] {
    return [...this.#pools.values()].map((pool) => pool.facts());
  }

  /** Probes nothing and looks up nothing any more. */
  stop(): void {
    this.#resolver.stop();
    for (const pool of this.#pools.values()) pool.stop();
  }

  #addressesChanged(addresses: ResolvedAddresses): void {
    // They are of endpoints that may not be there yet; whoever looks them up learns of the change too.
    if (this.#isResolving) return;
    const { writeFiles, onAddresses, tell } = this.#options;
    const config = this.#options.config();
    try {
      writeFiles(config, addresses);
    } catch (error) {
      // Envoy knows the old ones only. The next look tries again.
      const reason = error instanceof Error ? error.message : String(error);
      tell({ kind: 'dns-failed', detail: `new addresses of endpoints are not used: ${reason}` });
      return;
    }
    this.apply(config, addresses);
    const endpoints = [...config.pools.values()].flatMap((pool) => pool.endpoints);
    onAddresses(new Set(endpoints.map((endpoint) => this.addressOf(endpoint))));
  }

  /** The base of an adapter may be known now that was not before. */
  #modelsChanged(): void {
    for (const pool of this.#pools.values()) pool.applyAdapters(this.#options.config(), false);
  }
}

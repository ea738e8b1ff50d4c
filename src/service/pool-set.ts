/** All pools: as the configuration names them, at the addresses that their endpoints' names stand for. */
import { isDeepStrictEqual } from 'node:util';
import type { DrainAnswer } from '../admin/commands.ts';
import type { SlowReaders } from '../admission/slow-readers.ts';
import type { Config } from '../config/config.ts';
import { messageOf } from '../domain/text-of.ts';
import type { createEndpointResolver, NameAddresses } from '../envoy/dns-endpoints.ts';
import type { MirrorPoolView } from '../rollout/mirrors.ts';
import {
  type AddressedPool,
  type AddressUses,
  addressedPool,
  addressOf,
  followAddresses,
  MOST_ADDRESSES,
} from './addressed-pools.ts';
import type { PoolFacts } from './health-report.ts';
import type { PoolContext } from './pool-context.ts';
import { PoolRuntime } from './pool-runtime.ts';

export interface PoolSetOptions extends Omit<PoolContext, 'onModels'> {
  /** In use now. */
  readonly config: () => Config;
  /** How names are looked up. */
  readonly watchNames: typeof createEndpointResolver;
  /** Tells Envoy. It is told of an endpoint before that is probed, and so before it is picked. */
  readonly writeFiles: (config: Config, addresses: ReadonlyMap<string, string>) => void;
  /** Told of the address of every endpoint that there is, when some have changed. */
  readonly onAddresses: (addresses: ReadonlySet<string>) => void;
  readonly slowReaders: SlowReaders;
}

/** Pools with their addresses, and what becomes of each. */
interface Placed {
  readonly pools: ReadonlyMap<string, AddressedPool>;
  /** By the configured URL of an endpoint that has a name. */
  readonly uses: ReadonlyMap<string, AddressUses>;
}

export class PoolSet {
  readonly #options: PoolSetOptions;
  readonly #context: PoolContext;
  readonly #resolver: ReturnType<typeof createEndpointResolver>;
  readonly #pools = new Map<string, PoolRuntime>();
  #placed: Placed = { pools: new Map(), uses: new Map() };
  /** Names that stand for more than is used. */
  readonly #large = new Set<string>();
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
      onModels: () => this.#modelsChanged(),
    };
    this.#resolver = options.watchNames({
      onProblem: (detail) => options.tell({ kind: 'dns-failed', detail }),
      onLook: (names) => this.#looked(names),
    });
  }

  get(name: string): PoolRuntime | undefined {
    return this.#pools.get(name);
  }

  all(): Iterable<PoolRuntime> {
    return this.#pools.values();
  }

  /** Looks up the endpoints' names of a configuration, and watches those from now on. Never rejects. */
  async resolve(config: Config): Promise<NameAddresses> {
    this.#isResolving = true;
    try {
      return await this.#resolver.resolve(config);
    } finally {
      this.#isResolving = false;
    }
  }

  /** Tells Envoy what a configuration and the addresses of its names come to. @throws when it cannot be told. */
  announce(config: Config, names: NameAddresses): void {
    this.#write(config, this.#place(config, names));
  }

  /** Tells Envoy of tenants that changed; endpoints are as they were. @throws when it cannot be told. */
  announceTenants(config: Config): void {
    this.#write(config, this.#placed);
  }

  /** Brings the pools in line with a configuration and the addresses of its names. */
  apply(config: Config, names: NameAddresses): void {
    this.#apply(config, this.#place(config, names));
  }

  /** What the endpoint at an address, `ip:port`, is called: by the address where no pool has one there. */
  nameAt(address: string): string {
    for (const pool of this.#pools.values()) {
      const name = pool.nameAt(address);
      if (name !== undefined) return name;
    }
    return address;
  }

  /** Resolves when every endpoint has been probed once. */
  async firstRound(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.firstRound()));
  }

  /** By a command. @param endpoint as configured: all of its addresses, or one. @param undo takes an earlier one back. */
  drain(endpoint: string, undo: boolean): DrainAnswer {
    for (const pool of this.#pools.values()) {
      const answer = pool.drain(endpoint, undo);
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

  #place(config: Config, names: NameAddresses): Placed {
    const uses = new Map<string, AddressUses>();
    const pools = new Map<string, AddressedPool>();
    const nowMs = this.#options.now();
    for (const pool of config.pools.values()) {
      const states = new Map(
        this.#pools
          .get(pool.name)
          ?.endpoints.list(nowMs)
          .map((one) => [one.address, one]),
      );
      for (const endpoint of pool.endpoints) {
        const listed = names.get(endpoint.host);
        if (listed === undefined) continue;
        this.#noteSize(endpoint.host, listed.length);
        const known = this.#placed.uses.get(endpoint.url) ?? new Map();
        uses.set(
          endpoint.url,
          followAddresses(known, listed, (address) => states.get(addressOf({ ...endpoint, address }))),
        );
      }
      pools.set(
        pool.name,
        addressedPool(pool, (url) => uses.get(url)),
      );
    }
    return { pools, uses };
  }

  #noteSize(host: string, count: number): void {
    if (count <= MOST_ADDRESSES) this.#large.delete(host);
    else if (!this.#large.has(host)) {
      this.#large.add(host);
      const detail = `endpoint host ${host} stands for ${count} addresses; ${MOST_ADDRESSES} of them are used`;
      this.#options.tell({ kind: 'dns-failed', detail });
    }
  }

  #write(config: Config, placed: Placed): void {
    const pools = new Map([...placed.pools].map(([name, pool]) => [name, pool.config]));
    const addresses = new Map<string, string>();
    for (const { endpoints } of pools.values()) {
      for (const { url, address } of endpoints) if (address !== undefined) addresses.set(url, address);
    }
    this.#options.writeFiles({ ...config, pools }, addresses);
  }

  #apply(config: Config, placed: Placed): void {
    const { dispatcher, now, slowReaders } = this.#options;
    this.#placed = placed;
    for (const [name, pool] of this.#pools) {
      if (placed.pools.has(name)) continue;
      pool.stop();
      this.#pools.delete(name);
      dispatcher.removePool(name, now());
    }
    for (const [name, next] of placed.pools) {
      let pool = this.#pools.get(name);
      if (pool === undefined) {
        pool = new PoolRuntime(next.config, this.#context);
        this.#pools.set(name, pool);
      }
      pool.apply(config, next, slowReaders);
    }
    dispatcher.dispatch(now());
  }

  #looked(names: NameAddresses): void {
    // They are of endpoints that may not be there yet; whoever looks them up learns of the change too.
    if (this.#isResolving) return;
    const { onAddresses, tell } = this.#options;
    const config = this.#options.config();
    const placed = this.#place(config, names);
    if (isDeepStrictEqual(placed.uses, this.#placed.uses)) return;
    try {
      this.#write(config, placed);
    } catch (error) {
      // Envoy knows the old ones only. The next look tries again.
      const reason = messageOf(error);
      tell({ kind: 'dns-failed', detail: `new addresses of endpoints are not used: ${reason}` });
      return;
    }
    this.#apply(config, placed);
    const endpoints = [...placed.pools.values()].flatMap((pool) => pool.config.endpoints);
    onAddresses(new Set(endpoints.map(addressOf)));
  }

  /** The base of an adapter may be known now that was not before. */
  #modelsChanged(): void {
    for (const pool of this.#pools.values()) pool.applyAdapters(this.#options.config(), false);
  }
}

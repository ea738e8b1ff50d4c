/** Which model a name means, who may use it, and which pool serves it: configured, or discovered from a pool's endpoints. */

import { type Aliases, loadAliases, type ModelChoice, type UnavailableReason } from '../config/aliases.ts';
import type { Config, LoraAdapterConfig, TenantConfig } from '../config/config.ts';
import type { CostWeights } from '../domain/cost.ts';

/** Most models that one pool's endpoints may announce: they become metric labels. */
const MAX_DISCOVERED_MODELS = 256;

/** By its own name, or by the alias that was asked for: a tenant that has only the alias has the model by no other name. */
const mayUseModel = (tenant: TenantConfig, model: string, name: string): boolean =>
  tenant.models === '*' || tenant.models.has(model) || tenant.models.has(name);

/**
 * `*` in a tenant's models is every model and every adapter that is nobody's in particular.
 *
 * @param asked the adapter's name, or the alias that was asked for.
 */
export function mayUseAdapter(
  { name, models }: TenantConfig,
  adapter: LoraAdapterConfig,
  asked = adapter.name,
): boolean {
  if (adapter.tenants !== undefined) return adapter.tenants.has(name);
  return models === '*' || models.has(adapter.name) || models.has(asked);
}

function aliasesOf(config: Config): Aliases {
  const fallbacks = new Map([...config.models.values()].map(({ name, fallback }) => [name, fallback]));
  const loaded = loadAliases({ aliases: config.aliases, fallbacks }, () => undefined);
  // The configuration has been checked.
  if (loaded.kind === 'bad') throw new Error(loaded.problems.map(({ message }) => message).join('; '));
  return loaded.aliases;
}

export class ModelCatalog {
  #config: Config;
  #aliases: Aliases;
  /** What endpoints of discovering pools announced. */
  readonly #announced = new Map<string, readonly string[]>();
  /** By model: who serves it. */
  #pools: ReadonlyMap<string, string> = new Map();

  constructor(config: Config) {
    this.#config = config;
    this.#aliases = aliasesOf(config);
    this.#rebuild();
  }

  reconfigure(config: Config): void {
    this.#config = config;
    this.#aliases = aliasesOf(config);
    for (const pool of this.#announced.keys()) if (!config.pools.has(pool)) this.#announced.delete(pool);
    this.#rebuild();
  }

  /** Hears what an endpoint of a discovering pool announced. True if anything changed. */
  discovered(pool: string, models: readonly string[]): boolean {
    const next = [...new Set(models)].slice(0, MAX_DISCOVERED_MODELS);
    const before = this.#announced.get(pool);
    if (before?.length === next.length && before.every((name, i) => name === next[i])) return false;
    this.#announced.set(pool, next);
    this.#rebuild();
    return true;
  }

  /** True while a pool's models have been asked for and no endpoint has answered yet. */
  isDiscovering(): boolean {
    return [...this.#config.pools.values()].some(
      ({ discoverModels, name }) => discoverModels && !this.#announced.has(name),
    );
  }

  /** The pool that serves the model, or undefined. */
  poolOf(model: string): string | undefined {
    return this.#pools.get(model);
  }

  /**
   * Pools that may have a model that nothing names, in their order; none where something does, or may before long. An engine may know
   * an adapter by its path, and behind a colon: those names are its own.
   */
  poolsForUnlisted(name: string): readonly string[] {
    const { adapters, models, pools } = this.#config;
    const isNamed = this.#pools.has(name) || this.#aliases.modelOf(name) !== name;
    if (isNamed || this.isDiscovering()) return [];
    const parts = new Set([name, ...name.split(':')]);
    for (const adapter of adapters.values()) {
      const { path = adapter.name } = adapter;
      if (parts.has(adapter.name) || name === path || name.endsWith(`:${path}`)) return [];
    }
    const mirrors = new Set([...models.values()].map(({ mirror }) => mirror?.pool));
    return [...pools.keys()].filter((pool) => !mirrors.has(pool));
  }

  /** Every model and adapter that something serves, with its pool. */
  served(): Iterable<readonly [model: string, pool: string]> {
    return this.#pools;
  }

  /** The configured adapter of that name: a model that has to be loaded where it is asked for. */
  adapterOf(model: string): LoraAdapterConfig | undefined {
    return this.#config.adapters.get(model);
  }

  /** A model that the pool serves, or undefined; an adapter only where it has nothing else. */
  modelOfPool(name: string): string | undefined {
    for (const [model, pool] of this.#pools) if (pool === name) return model;
    return undefined;
  }

  /** How its tokens weigh. */
  costOf(model: string): CostWeights {
    const { adapters, models, cost } = this.#config;
    return models.get(adapters.get(model)?.base ?? model)?.cost ?? cost;
  }

  /**
   * Chooses the model that is to serve who asks for a name: the one that it means, or a fallback that the tenant may use too.
   *
   * @param reasonOf why a model of that pool cannot serve now, if it cannot.
   */
  choose(
    tenant: TenantConfig,
    asked: string,
    reasonOf: (model: string, pool: string) => UnavailableReason | undefined,
  ): ModelChoice {
    return this.#aliases.choose(asked, (model, name) => {
      const pool = this.#mayUse(tenant, model, name) ? this.#pools.get(model) : undefined;
      if (pool === undefined) return { kind: 'denied' };
      const by = reasonOf(model, pool);
      return by === undefined ? { kind: 'ok' } : { kind: 'hindered', by };
    });
  }

  /** Names that the tenant may use, of models and aliases, sorted. */
  modelsOf(tenant: TenantConfig): readonly string[] {
    const names = new Set([...this.#pools.keys(), ...this.#aliases.names()]);
    return [...names]
      .filter((name) => {
        const model = this.#aliases.modelOf(name);
        return this.#pools.has(model) && this.#mayUse(tenant, model, name);
      })
      .sort();
  }

  #mayUse(tenant: TenantConfig, model: string, name: string): boolean {
    const { keyModels } = tenant;
    if (keyModels !== undefined && !keyModels.has(model) && !keyModels.has(name)) return false;
    const adapter = this.#config.adapters.get(model);
    return adapter === undefined ? mayUseModel(tenant, model, name) : mayUseAdapter(tenant, adapter, name);
  }

  /** A configured model wins over an announced one of the same name, an earlier pool over a later one. */
  #rebuild(): void {
    const { models, pools: configured, adapters } = this.#config;
    const pools = new Map<string, string>();
    for (const model of models.values()) pools.set(model.name, model.pool);
    for (const [name, pool] of configured) {
      if (!pool.discoverModels) continue;
      for (const model of this.#announced.get(name) ?? []) {
        // An adapter of the configuration is served as that alone, to whom it is given.
        if (!pools.has(model) && !adapters.has(model)) pools.set(model, name);
      }
    }
    const bases = new Map(pools);
    for (const { name, base } of adapters.values()) {
      const pool = bases.get(base);
      if (pool !== undefined) pools.set(name, pool);
    }
    this.#pools = pools;
  }
}

/** What others see of it. */
export type Catalog = Pick<ModelCatalog, keyof ModelCatalog>;

export const createCatalog = (config: Config): ModelCatalog => new ModelCatalog(config);

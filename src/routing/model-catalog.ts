/** Which model a name means, who may use it, and which pool serves it: configured, or discovered from a pool's endpoints. */

import { type Aliases, loadAliases, type ModelChoice, type UnavailableReason } from '../config/aliases.ts';
import type { Config, LoraAdapterConfig, TenantConfig } from '../config/config.ts';
import type { CostWeights } from '../domain/cost.ts';

/** Most models that one pool's endpoints may announce: they become metric labels. */
const MAX_DISCOVERED_MODELS = 256;

export interface Catalog {
  /** The pool that serves the model, or undefined. */
  poolOf(model: string): string | undefined;
  /** The configured adapter of that name: a model that has to be loaded where it is asked for. */
  adapterOf(model: string): LoraAdapterConfig | undefined;
  /** A model that the pool serves, or undefined; an adapter only where it has nothing else. */
  modelOfPool(pool: string): string | undefined;
  /** How its tokens weigh. */
  costOf(model: string): CostWeights;
  /**
   * The model that is to serve who asks for a name: the one that it means, or a fallback that the tenant may use too.
   *
   * @param hindranceOf why a model of that pool cannot serve now, if it cannot.
   */
  choose(
    tenant: TenantConfig,
    asked: string,
    hindranceOf: (model: string, pool: string) => UnavailableReason | undefined,
  ): ModelChoice;
  /** What an endpoint of a discovering pool announced. True if anything changed. */
  discovered(pool: string, models: readonly string[]): boolean;
  /** True while a pool's models have been asked for and no endpoint has answered yet. */
  isDiscovering(): boolean;
  /** Names that the tenant may use, of models and aliases, sorted. */
  modelsOf(tenant: TenantConfig): readonly string[];
  reconfigure(config: Config): void;
}

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

export function createCatalog(initial: Config): Catalog {
  let config = initial;
  let aliases = aliasesOf(initial);
  const announced = new Map<string, readonly string[]>();
  let pools = new Map<string, string>();

  const rebuild = (): void => {
    pools = new Map();
    // A configured model wins over an announced one of the same name, an earlier pool over a later one.
    for (const model of config.models.values()) pools.set(model.name, model.pool);
    for (const [name, pool] of config.pools) {
      if (!pool.discoverModels) continue;
      for (const model of announced.get(name) ?? []) {
        // An adapter of the configuration is served as that alone, to whom it is given.
        if (!pools.has(model) && !config.adapters.has(model)) pools.set(model, name);
      }
    }
    const bases = new Map(pools);
    for (const { name, base } of config.adapters.values()) {
      const pool = bases.get(base);
      if (pool !== undefined) pools.set(name, pool);
    }
  };
  rebuild();

  const mayUse = (tenant: TenantConfig, model: string, name: string): boolean => {
    const adapter = config.adapters.get(model);
    return adapter === undefined ? mayUseModel(tenant, model, name) : mayUseAdapter(tenant, adapter, name);
  };

  return {
    poolOf: (model) => pools.get(model),
    adapterOf: (model) => config.adapters.get(model),
    modelOfPool: (name) => [...pools].find(([, pool]) => pool === name)?.[0],
    costOf: (model) => config.models.get(config.adapters.get(model)?.base ?? model)?.cost ?? config.cost,
    choose: (tenant, asked, hindranceOf) =>
      aliases.choose(asked, (model, name) => {
        const pool = mayUse(tenant, model, name) ? pools.get(model) : undefined;
        if (pool === undefined) return { kind: 'denied' };
        const by = hindranceOf(model, pool);
        return by === undefined ? { kind: 'ok' } : { kind: 'hindered', by };
      }),
    discovered(pool, models) {
      const next = [...new Set(models)].slice(0, MAX_DISCOVERED_MODELS);
      const before = announced.get(pool);
      if (before?.length === next.length && before.every((name, i) => name === next[i])) return false;
      announced.set(pool, next);
      rebuild();
      return true;
    },
    isDiscovering: () =>
      [...config.pools.values()].some((pool) => pool.discoverModels && !announced.has(pool.name)),
    modelsOf(tenant) {
      const names = new Set([...pools.keys(), ...aliases.names()]);
      return [...names]
        .filter((name) => {
          const model = aliases.modelOf(name);
          return pools.has(model) && mayUse(tenant, model, name);
        })
        .sort();
    },
    reconfigure(next) {
      config = next;
      aliases = aliasesOf(next);
      for (const pool of announced.keys()) if (!next.pools.has(pool)) announced.delete(pool);
      rebuild();
    },
  };
}

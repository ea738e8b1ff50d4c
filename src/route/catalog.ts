/** Which pool serves which model: configured, or discovered from a pool's endpoints. */
import type { Config, TenantConfig } from '../config/config.ts';
import type { CostWeights } from '../domain/cost.ts';

/** Most models that one pool's endpoints may announce: they become metric labels. */
const MAX_DISCOVERED_MODELS = 256;

export interface Catalog {
  /** The pool that serves the model, or undefined. */
  poolOf(model: string): string | undefined;
  /** A model that the pool serves, or undefined. */
  modelOfPool(pool: string): string | undefined;
  /** How its tokens weigh. */
  costOf(model: string): CostWeights;
  /** What an endpoint of a discovering pool announced. True if anything changed. */
  discovered(pool: string, models: readonly string[]): boolean;
  /** True while a pool's models have been asked for and no endpoint has answered yet. */
  isDiscovering(): boolean;
  /** Models that the tenant may use, sorted. */
  modelsOf(tenant: TenantConfig): readonly string[];
  reconfigure(config: Config): void;
}

export const mayUse = (tenant: TenantConfig, model: string): boolean =>
  tenant.models === '*' || tenant.models.has(model);

export function createCatalog(initial: Config): Catalog {
  let config = initial;
  const announced = new Map<string, readonly string[]>();
  let pools = new Map<string, string>();

  const rebuild = (): void => {
    pools = new Map();
    // A configured model wins over an announced one of the same name, an earlier pool over a later one.
    for (const model of config.models.values()) pools.set(model.name, model.pool);
    for (const [name, pool] of config.pools) {
      if (!pool.discoverModels) continue;
      for (const model of announced.get(name) ?? []) if (!pools.has(model)) pools.set(model, name);
    }
  };
  rebuild();

  return {
    poolOf: (model) => pools.get(model),
    modelOfPool: (name) => [...pools].find(([, pool]) => pool === name)?.[0],
    costOf: (model) => config.models.get(model)?.cost ?? config.cost,
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
    modelsOf: (tenant) => [...pools.keys()].filter((model) => mayUse(tenant, model)).sort(),
    reconfigure(next) {
      config = next;
      for (const pool of announced.keys()) if (!next.pools.has(pool)) announced.delete(pool);
      rebuild();
    },
  };
}

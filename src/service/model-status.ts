/** What `/status` shows of models: configured, discovered, and LoRA adapters. Pure. */
import type { ModelStatus } from '../admin/status.ts';
import type { Config } from '../config/config.ts';
import type { AdapterPlace } from '../lora/placement.ts';
import type { HealthFacts } from './health-report.ts';

export interface ModelFacts {
  readonly config: Pick<Config, 'models' | 'aliases' | 'adapters'>;
  /** Every model and adapter that something serves, with its pool. */
  readonly served: Iterable<readonly [model: string, pool: string]>;
  readonly canaries: HealthFacts['canaries'];
  readonly mirrors: HealthFacts['mirrors'];
  /** Tokens that fit, as the pool's engines say; undefined: they do not. */
  readonly contextOf: (pool: string, model: string) => number | undefined;
  /** Places for adapters, by the names of their endpoints. */
  readonly places: Iterable<AdapterPlace>;
}

const MOST_MODELS = 10_000;
/** A name leads to another one so often at most: none leads in a circle. */
const MOST_STEPS = 64;

/** Sorted by name. */
export function modelStatuses(facts: ModelFacts): readonly ModelStatus[] {
  const { config, served } = facts;
  const pools = new Map(served);
  const names = new Set([...config.models.keys(), ...config.adapters.keys(), ...pools.keys()]);
  const aliases = aliasesByModel(config.aliases);
  const loaded = loadedByAdapter(facts.places, config.adapters);
  return [...names]
    .sort()
    .slice(0, MOST_MODELS)
    .map((name) =>
      modelStatus(name, pools.get(name), aliases.get(name) ?? [], loaded.get(name) ?? [], facts),
    );
}

function modelStatus(
  name: string,
  pool: string | undefined,
  aliases: readonly string[],
  loaded: NonNullable<ModelStatus['loaded']>,
  { config, canaries, mirrors, contextOf }: ModelFacts,
): ModelStatus {
  const adapter = config.adapters.get(name);
  const configured = config.models.get(name);
  const contextTokens = pool === undefined ? undefined : contextOf(pool, adapter?.base ?? name);
  const canary = canaries.find(({ model }) => model === name);
  const mirror = mirrors.find(({ model }) => model === name);
  return {
    name,
    kind: adapter !== undefined ? 'adapter' : configured !== undefined ? 'configured' : 'discovered',
    ...(pool !== undefined && { pool }),
    aliases,
    ...(contextTokens !== undefined && { contextTokens }),
    fallback: configured?.fallback ?? [],
    ...(canary !== undefined && {
      canary: {
        model: canary.canary,
        weight: canary.weight,
        ...(canary.rolledBack !== undefined && { rolledBack: canary.rolledBack.detail }),
      },
    }),
    ...(mirror !== undefined && {
      mirror: { pool: mirror.pool, fraction: mirror.fraction, running: mirror.running },
    }),
    ...(adapter !== undefined && { base: adapter.base, loaded }),
  };
}

function aliasesByModel(aliases: ReadonlyMap<string, string>): ReadonlyMap<string, readonly string[]> {
  const by = new Map<string, string[]>();
  for (const alias of aliases.keys()) {
    let model = alias;
    for (let step = 0; step < MOST_STEPS; step += 1) {
      const next = aliases.get(model);
      if (next === undefined) break;
      model = next;
    }
    by.set(model, [...(by.get(model) ?? []), alias]);
  }
  return by;
}

function loadedByAdapter(
  places: Iterable<AdapterPlace>,
  adapters: ReadonlyMap<string, unknown>,
): ReadonlyMap<string, NonNullable<ModelStatus['loaded']>> {
  const by = new Map<string, { readonly endpoint: string; readonly inFlight: number }[]>();
  for (const { endpoint, loaded } of places) {
    for (const { adapter, inFlight } of loaded) {
      if (!adapters.has(adapter)) continue;
      const list = by.get(adapter);
      if (list === undefined) by.set(adapter, [{ endpoint, inFlight }]);
      else list.push({ endpoint, inFlight });
    }
  }
  return by;
}

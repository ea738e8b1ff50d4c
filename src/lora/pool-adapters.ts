/**
 * The LoRA adapters of one pool: joins the plan (adapters.ts) to the pool's endpoints and to whoever talks to the engines.
 *
 * An adapter without a path, or in a pool without places, is never loaded from here: it is used where an engine lists it.
 */
import type { LoraAdapterConfig } from '../config/config.ts';
import type { LoraPlacement } from '../pool/lora-placement.ts';
import {
  type AdapterPlace,
  type AdapterPlanConfig,
  createAdapterPlan,
  DEFAULT_ADAPTER_PLAN,
} from './placement.ts';

export interface AdapterOrders {
  /** Unload `evict` there if it is given, then load; then say loaded() or loadFailed(). */
  load(endpoint: string, adapter: LoraAdapterConfig, evict: string | undefined): void;
  /** An engine does not know an adapter that it should have: ask it what it has. */
  suspect(endpoint: string): void;
}

/** Endpoints are URLs. */
export interface PoolAdapters extends LoraPlacement {
  /** @param max places on each endpoint; undefined: nothing is loaded. */
  reconfigure(
    endpoints: readonly string[],
    max: number | undefined,
    adapters: ReadonlyMap<string, LoraAdapterConfig>,
  ): void;
  /** The pool has configured adapters: without any nobody needs to ask its engines. */
  isUsed(): boolean;
  /** It has been ordered and not been given up. */
  isLoading(endpoint: string, adapter: string): boolean;
  loaded(endpoint: string, adapter: string, nowMs: number): void;
  loadFailed(endpoint: string, adapter: string, nowMs: number): void;
  /** Nobody will say how its load went. */
  givenUp(endpoint: string, adapter: string): void;
  reported(endpoint: string, adapters: readonly string[], nowMs: number): void;
  /** What is to be unloaded because there is more than its max. Each is told once. */
  surplus(nowMs: number): readonly { readonly endpoint: string; readonly adapter: string }[];
  list(): readonly AdapterPlace[];
}

const RETRY_MS = 50;

/**
 * Whoever is asked to load always says how it went, and what waits in a queue is cancelled by its owner: the plan's own
 * times for both only end what was lost.
 */
const PLAN: AdapterPlanConfig = { ...DEFAULT_ADAPTER_PLAN, loadTimeoutMs: 600_000, forgetMs: 10_000 };

export function createPoolAdapters(orders: AdapterOrders, config: AdapterPlanConfig = PLAN): PoolAdapters {
  let adapters: ReadonlyMap<string, LoraAdapterConfig> = new Map();
  let places: number | undefined;
  const isLoadable = (adapter: string): boolean =>
    places !== undefined && adapters.get(adapter)?.path !== undefined;
  const plan = createAdapterPlan(config, isLoadable);

  return {
    ...plan,
    reconfigure(endpoints, max, next) {
      adapters = next;
      places = max;
      plan.reconfigure(new Map(endpoints.map((endpoint) => [endpoint, max ?? 0])));
    },
    isUsed: () => adapters.size > 0,
    mayHave: (endpoint, adapter) =>
      plan.isLoaded(endpoint, adapter) || (isLoadable(adapter) && (plan.placeOf(endpoint)?.max ?? 0) > 0),
    ensure(name, candidates, nowMs) {
      const adapter = adapters.get(name);
      if (adapter === undefined || !isLoadable(name)) {
        const endpoint = candidates.find((one) => plan.isLoaded(one, name));
        if (endpoint !== undefined) return { kind: 'use', endpoint };
        return plan.isAnywhere(name)
          ? { kind: 'wait', retryMs: RETRY_MS }
          : { kind: 'refuse', reason: 'no-endpoint', retryMs: config.backoffMs };
      }
      const next = plan.ensure(name, candidates, nowMs);
      if (next.kind !== 'load') return next;
      orders.load(next.endpoint, adapter, next.evict);
      return { kind: 'wait', retryMs: RETRY_MS };
    },
    describe(candidate, endpoint, adapter) {
      const place = plan.placeOf(endpoint);
      if (place === undefined) return;
      candidate.adapters = place.loaded;
      candidate.adaptersLoading = place.loading;
      candidate.adaptersMax = isLoadable(adapter) ? place.max : 0;
      candidate.adaptersIdle = place.idle;
    },
    suspect: (endpoint) => orders.suspect(endpoint),
    surplus: (nowMs) => (places === undefined ? [] : plan.surplus(nowMs)),
  };
}

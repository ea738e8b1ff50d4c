/**
 * The LoRA adapters of one pool: joins the plan (placement.ts) to the pool's endpoints and to whoever talks to the engines
 * (http-loader.ts).
 *
 * An adapter without a path, or in a pool without places, is never loaded from here: it is used where an engine lists it.
 */
import type { LoraAdapterConfig } from '../config/config.ts';
import type { AdapterReadiness, LoraPlacement } from '../pool/lora-placement.ts';
import type { CandidateState } from '../routing/candidate.ts';
import { type AdapterPlace, AdapterPlan, type AdapterPlanConfig, DEFAULT_ADAPTER_PLAN } from './placement.ts';

export interface AdapterOrders {
  /** Unload `evict` there if it is given, then load; then say loaded() or loadFailed(). */
  load(endpoint: string, adapter: LoraAdapterConfig, evict: string | undefined): void;
  /** An engine does not know an adapter that it should have: ask it what it has. */
  suspect(endpoint: string): void;
}

const RETRY_MS = 50;

/**
 * Whoever is asked to load always says how it went, and what waits in a queue is cancelled by its owner: the plan's own
 * times for both only end what was lost.
 */
const PLAN: AdapterPlanConfig = { ...DEFAULT_ADAPTER_PLAN, loadTimeoutMs: 600_000, forgetMs: 10_000 };

/** Endpoints are URLs. */
export class PoolAdapters implements LoraPlacement {
  readonly #orders: AdapterOrders;
  readonly #config: AdapterPlanConfig;
  readonly #plan: AdapterPlan;
  #adapters: ReadonlyMap<string, LoraAdapterConfig> = new Map();
  /** On each endpoint; undefined: nothing is loaded. */
  #places: number | undefined;

  constructor(orders: AdapterOrders, config: AdapterPlanConfig) {
    this.#orders = orders;
    this.#config = config;
    this.#plan = new AdapterPlan(config, (adapter) => this.#isLoadable(adapter));
  }

  /** @param max places on each endpoint; undefined: nothing is loaded. */
  reconfigure(
    endpoints: readonly string[],
    max: number | undefined,
    adapters: ReadonlyMap<string, LoraAdapterConfig>,
  ): void {
    this.#adapters = adapters;
    this.#places = max;
    this.#plan.reconfigure(new Map(endpoints.map((endpoint) => [endpoint, max ?? 0])));
  }

  /** The pool has configured adapters: without any nobody needs to ask its engines. */
  isUsed(): boolean {
    return this.#adapters.size > 0;
  }

  // Requests.

  ensure(name: string, candidates: readonly string[], nowMs: number): AdapterReadiness {
    const adapter = this.#adapters.get(name);
    if (adapter === undefined || !this.#isLoadable(name)) {
      const endpoint = this.usable(name, candidates, nowMs);
      if (endpoint !== undefined) return { kind: 'use', endpoint };
      return this.#plan.isAnywhere(name)
        ? { kind: 'wait', retryMs: RETRY_MS }
        : { kind: 'refuse', reason: 'no-endpoint', retryMs: this.#config.backoffMs };
    }
    const next = this.#plan.ensure(name, candidates, nowMs);
    if (next.kind !== 'load') return next;
    this.#orders.load(next.endpoint, adapter, next.evict);
    return { kind: 'wait', retryMs: RETRY_MS };
  }

  usable(name: string, candidates: readonly string[], nowMs: number): string | undefined {
    return this.#isLoadable(name)
      ? this.#plan.usable(name, candidates, nowMs)
      : candidates.find((endpoint) => this.#plan.isLoaded(endpoint, name));
  }

  began(endpoint: string, adapter: string, nowMs: number): (nowMs: number) => void {
    return this.#plan.began(endpoint, adapter, nowMs);
  }

  cancelled(adapter: string): void {
    this.#plan.cancelled(adapter);
  }

  suspect(endpoint: string): void {
    this.#orders.suspect(endpoint);
  }

  // What engines did.

  loaded(endpoint: string, adapter: string, nowMs: number): void {
    this.#plan.loaded(endpoint, adapter, nowMs);
  }

  loadFailed(endpoint: string, adapter: string, nowMs: number): void {
    this.#plan.loadFailed(endpoint, adapter, nowMs);
  }

  /** Nobody will say how its load went. */
  givenUp(endpoint: string, adapter: string): void {
    this.#plan.givenUp(endpoint, adapter);
  }

  /** Hears what an engine lists. */
  reported(endpoint: string, adapters: readonly string[], nowMs: number): void {
    this.#plan.reported(endpoint, adapters, nowMs);
  }

  crashed(endpoint: string): void {
    this.#plan.crashed(endpoint);
  }

  /** Takes what is to be unloaded because there is more than its max. Each is told once. */
  takeSurplus(nowMs: number): readonly { readonly endpoint: string; readonly adapter: string }[] {
    return this.#places === undefined ? [] : this.#plan.takeSurplus(nowMs);
  }

  // What is where.

  isLoaded(endpoint: string, adapter: string): boolean {
    return this.#plan.isLoaded(endpoint, adapter);
  }

  /** Its load has been ordered and not been given up. */
  isLoading(endpoint: string, adapter: string): boolean {
    return this.#plan.isLoading(endpoint, adapter);
  }

  mayHave(endpoint: string, adapter: string): boolean {
    if (this.#plan.isLoaded(endpoint, adapter)) return true;
    return this.#isLoadable(adapter) && (this.#plan.placeOf(endpoint)?.max ?? 0) > 0;
  }

  loadedOn(endpoint: string): Iterable<string> {
    return this.#plan.loadedOn(endpoint);
  }

  describe(candidate: CandidateState, endpoint: string, adapter: string): void {
    const place = this.#plan.placeOf(endpoint);
    if (place === undefined) return;
    candidate.adapters = place.loaded;
    candidate.adaptersLoading = place.loading;
    candidate.adaptersMax = this.#isLoadable(adapter) ? place.max : 0;
    candidate.adaptersIdle = place.idle;
  }

  list(): readonly AdapterPlace[] {
    return this.#plan.list();
  }

  #isLoadable(adapter: string): boolean {
    return this.#places !== undefined && this.#adapters.get(adapter)?.path !== undefined;
  }
}

export const createPoolAdapters = (orders: AdapterOrders, config: AdapterPlanConfig = PLAN): PoolAdapters =>
  new PoolAdapters(orders, config);

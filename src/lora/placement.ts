/**
 * Plans which of a pool's endpoints loads a LoRA adapter when it is needed. One plan for each pool.
 *
 * A request names its adapter through `model` and in no other way. The plan says what to do next; somebody else asks the
 * engines for it, and reports how it went.
 *
 * Invariants, for each endpoint:
 * - loaded + loading ≤ max, but for what others loaded or a lower max left over (takeSurplus()). What is to be unloaded leaves the
 *   count as its place is given to another; it has to be unloaded before that one is loaded.
 * - Only what isOurs names is ever unloaded; what others loaded takes places and stays.
 * - An adapter with a request in flight is never unloaded, nor one that was loaded less than `residencyMs` ago: a swap costs more
 *   than a request. One that has served nobody yet stays for `holdMs`.
 * - Whoever waits longest for a place gets the next one: while somebody has waited for `patienceMs`, the adapters that are
 *   loaded for longer than `residencyMs` take no new requests, so that one of them comes free. So adapters that take turns
 *   all go on.
 * - What is remembered is bounded: places and waiting adapters by `max` and `maxWaiting`, failures by the places times `max`.
 */
import type { AdapterReadiness } from '../pool/lora-placement.ts';
import { type AdapterTimes, EndpointAdapters, type LoadedAdapter } from './endpoint-adapters.ts';

export interface AdapterPlanConfig extends AdapterTimes {
  /** Who has waited so long for a place is made room for. */
  readonly patienceMs: number;
  /** Who has not asked for so long does not wait any more. */
  readonly forgetMs: number;
  /** Adapters that may wait for a place at one time. */
  readonly maxWaiting: number;
}

export const DEFAULT_ADAPTER_PLAN: AdapterPlanConfig = {
  loadTimeoutMs: 60_000,
  holdMs: 5_000,
  residencyMs: 1_000,
  patienceMs: 500,
  forgetMs: 1_000,
  backoffMs: 1_000,
  maxBackoffMs: 60_000,
  maxWaiting: 1_024,
};

export type Ensure =
  | AdapterReadiness
  /** Unload `evict` there if it is given, then load, then report. The place is taken. */
  | { readonly kind: 'load'; readonly endpoint: string; readonly evict?: string };

type Names = Pick<ReadonlySet<string>, 'has' | 'size'>;

interface PlaceView {
  readonly max: number;
  readonly loaded: Names;
  readonly loading: Names;
  /** Loaded ones without a request in flight. */
  readonly idle: number;
}

export interface AdapterPlace {
  readonly endpoint: string;
  readonly max: number;
  readonly loaded: readonly { readonly adapter: string; readonly inFlight: number }[];
  readonly loading: readonly string[];
}

/** An adapter that waits for a place. */
interface Waiting {
  readonly sinceMs: number;
  askedMs: number;
  /** Where it could go when it asked last. */
  candidates: readonly string[];
}

const RETRY_MS = 50;

export class AdapterPlan {
  readonly #config: AdapterPlanConfig;
  /** It may be unloaded, because it can be loaded again. */
  readonly #isOurs: (adapter: string) => boolean;
  readonly #endpoints = new Map<string, EndpointAdapters>();
  /** In the order in which they began to wait. */
  readonly #waiting = new Map<string, Waiting>();

  constructor(config: AdapterPlanConfig, isOurs: (adapter: string) => boolean = () => true) {
    this.#config = config;
    this.#isOurs = isOurs;
  }

  /** Replaces the endpoints and how many adapters each may have loaded. Those that stay keep their state. */
  reconfigure(endpoints: ReadonlyMap<string, number>): void {
    for (const endpoint of this.#endpoints.keys()) {
      if (!endpoints.has(endpoint)) this.#endpoints.delete(endpoint);
    }
    for (const [endpoint, max] of endpoints) {
      const known = this.#endpoints.get(endpoint);
      if (known === undefined) {
        this.#endpoints.set(endpoint, new EndpointAdapters(endpoint, max, this.#config));
      } else known.max = max;
    }
  }

  // Requests.

  /** @param candidates endpoints that could take the request now, the best first. */
  ensure(adapter: string, candidates: readonly string[], nowMs: number): Ensure {
    this.#expire(nowMs);
    const could = this.#withPlaces(candidates);
    if (could.length === 0) {
      return { kind: 'refuse', reason: 'no-endpoint', retryMs: this.#config.backoffMs };
    }
    const usable = this.#usableOf(could, adapter, nowMs);
    if (usable !== undefined) {
      this.#waiting.delete(adapter);
      return { kind: 'use', endpoint: usable.endpoint };
    }
    if (could.some(({ loading }) => loading.has(adapter))) return { kind: 'wait', retryMs: RETRY_MS };

    const able = could.filter((one) => !one.isBackingOff(adapter, nowMs));
    if (able.length === 0) {
      const untilMs = Math.min(...could.map((one) => one.retryAtMs(adapter) ?? nowMs));
      this.#waiting.delete(adapter);
      return { kind: 'refuse', reason: 'failed', retryMs: Math.max(1, untilMs - nowMs) };
    }
    if (!this.#wait(adapter, candidates, nowMs)) {
      return { kind: 'refuse', reason: 'busy', retryMs: this.#config.patienceMs };
    }
    const absent = able.filter(({ loaded }) => !loaded.has(adapter));
    return this.#load(adapter, absent, nowMs) ?? { kind: 'wait', retryMs: RETRY_MS };
  }

  /** Gives the endpoint that ensure() would answer `use` with; undefined: it would not. Changes nothing. */
  usable(adapter: string, candidates: readonly string[], nowMs: number): string | undefined {
    return this.#usableOf(this.#withPlaces(candidates), adapter, nowMs)?.endpoint;
  }

  /** A request has gone there. The answer's first call says that it has ended. */
  began(endpoint: string, adapter: string, nowMs: number): (nowMs: number) => void {
    const entry = this.#endpoints.get(endpoint)?.loaded.get(adapter);
    if (entry === undefined) return () => undefined;
    entry.inFlight += 1;
    entry.isUsed = true;
    entry.lastUsedMs = nowMs;
    let isOpen = true;
    return (endMs) => {
      if (!isOpen) return;
      isOpen = false;
      entry.inFlight -= 1;
      entry.lastUsedMs = endMs;
    };
  }

  /** Nobody waits for it any more. */
  cancelled(adapter: string): void {
    this.#waiting.delete(adapter);
  }

  // What engines did.

  loaded(endpoint: string, adapter: string, nowMs: number): void {
    this.#endpoints.get(endpoint)?.endLoad(adapter, nowMs);
  }

  loadFailed(endpoint: string, adapter: string, nowMs: number): void {
    this.#endpoints.get(endpoint)?.failLoad(adapter, nowMs);
  }

  /** Nobody will say how its load went: it may be loaded anew. */
  givenUp(endpoint: string, adapter: string): void {
    this.#endpoints.get(endpoint)?.forgetLoad(adapter);
  }

  /** Hears what the engine itself lists. It is right: adapters come and go by others' hands too. */
  reported(endpoint: string, adapters: readonly string[], nowMs: number): void {
    this.#endpoints.get(endpoint)?.replace(adapters, nowMs);
  }

  /** It went down: nothing is loaded there, nothing in flight, and what failed there may work now. */
  crashed(endpoint: string): void {
    this.#endpoints.get(endpoint)?.clear();
  }

  /** Takes what is to be unloaded because an endpoint has more than its max, as far as it is idle. Each is told once. */
  takeSurplus(nowMs: number): readonly { readonly endpoint: string; readonly adapter: string }[] {
    const found: { readonly endpoint: string; readonly adapter: string }[] = [];
    for (const one of this.#endpoints.values()) {
      while (one.count() > one.max) {
        const adapter = one.evictable(this.#isOurs, nowMs);
        if (adapter === undefined) break;
        one.leave(adapter);
        found.push({ endpoint: one.endpoint, adapter });
      }
    }
    return found;
  }

  // What is where.

  isLoaded(endpoint: string, adapter: string): boolean {
    return this.#endpoints.get(endpoint)?.loaded.has(adapter) === true;
  }

  isLoading(endpoint: string, adapter: string): boolean {
    return this.#endpoints.get(endpoint)?.loading.has(adapter) === true;
  }

  loadedOn(endpoint: string): Iterable<string> {
    return this.#endpoints.get(endpoint)?.loaded.keys() ?? [];
  }

  /** Some endpoint has it. */
  isAnywhere(adapter: string): boolean {
    for (const { loaded } of this.#endpoints.values()) if (loaded.has(adapter)) return true;
    return false;
  }

  /** What the endpoint has, as it is now: to be read, not kept. */
  placeOf(endpoint: string): PlaceView | undefined {
    const one = this.#endpoints.get(endpoint);
    return one && { max: one.max, loaded: one.loaded, loading: one.loading, idle: one.idleCount() };
  }

  list(): readonly AdapterPlace[] {
    return [...this.#endpoints.values()].map(({ endpoint, max, loaded, loading }) => ({
      endpoint,
      max,
      loaded: [...loaded].map(([adapter, { inFlight }]) => ({ adapter, inFlight })),
      loading: [...loading.keys()],
    }));
  }

  /** Ends what waited or loaded for too long. */
  #expire(nowMs: number): void {
    for (const [adapter, waiting] of this.#waiting) {
      if (this.#isForgotten(waiting, nowMs)) this.#waiting.delete(adapter);
    }
    for (const one of this.#endpoints.values()) one.expireLoads(nowMs);
  }

  #isForgotten({ askedMs }: Waiting, nowMs: number): boolean {
    return nowMs - askedMs >= this.#config.forgetMs;
  }

  #withPlaces(candidates: readonly string[]): readonly EndpointAdapters[] {
    return candidates.flatMap((endpoint) => {
      const one = this.#endpoints.get(endpoint);
      return one === undefined || one.max <= 0 ? [] : [one];
    });
  }

  #usableOf(
    candidates: readonly EndpointAdapters[],
    adapter: string,
    nowMs: number,
  ): EndpointAdapters | undefined {
    return candidates.find((one) => {
      const entry = one.loaded.get(adapter);
      return entry !== undefined && this.#mayUse(one, adapter, entry, nowMs);
    });
  }

  /** The first request is what it was loaded for; and who has waited too gets its turn. */
  #mayUse(one: EndpointAdapters, adapter: string, entry: LoadedAdapter, nowMs: number): boolean {
    const mayStay = !entry.isUsed || nowMs - entry.sinceMs < this.#config.residencyMs;
    return mayStay || one.hasFree() || !this.#mustMakeRoom(one, adapter, nowMs);
  }

  /** Another adapter has waited for long for a place there. */
  #mustMakeRoom(one: EndpointAdapters, adapter: string, nowMs: number): boolean {
    for (const [other, waiting] of this.#waiting) {
      if (other === adapter || this.#isForgotten(waiting, nowMs)) continue;
      if (this.#wouldTake(one, other, waiting, nowMs)) {
        return nowMs - waiting.sinceMs >= this.#config.patienceMs;
      }
    }
    return false;
  }

  /** It waits, and would take a place there. */
  #wouldTake(one: EndpointAdapters, adapter: string, { candidates }: Waiting, nowMs: number): boolean {
    return candidates.includes(one.endpoint) && one.couldLoad(adapter, nowMs);
  }

  /** Nobody who came before could take a place there. */
  #isNext(one: EndpointAdapters, adapter: string, nowMs: number): boolean {
    for (const [other, waiting] of this.#waiting) {
      if (other === adapter) return true;
      if (this.#wouldTake(one, other, waiting, nowMs)) return false;
    }
    return true;
  }

  /** False: too many wait. */
  #wait(adapter: string, candidates: readonly string[], nowMs: number): boolean {
    const known = this.#waiting.get(adapter);
    if (known !== undefined) {
      known.askedMs = nowMs;
      known.candidates = candidates;
      return true;
    }
    if (this.#waiting.size >= this.#config.maxWaiting) return false;
    this.#waiting.set(adapter, { sinceMs: nowMs, askedMs: nowMs, candidates });
    return true;
  }

  /** Takes a free place for it, or one that can be made free. */
  #load(adapter: string, absent: readonly EndpointAdapters[], nowMs: number): Ensure | undefined {
    const free = absent.find((one) => one.hasFree() && this.#isNext(one, adapter, nowMs));
    if (free !== undefined) {
      this.#beginLoad(free, adapter, nowMs);
      return { kind: 'load', endpoint: free.endpoint };
    }
    for (const one of absent) {
      if (one.count() > one.max || !this.#isNext(one, adapter, nowMs)) continue;
      const evict = one.evictable(this.#isOurs, nowMs);
      if (evict === undefined) continue;
      one.leave(evict);
      this.#beginLoad(one, adapter, nowMs);
      return { kind: 'load', endpoint: one.endpoint, evict };
    }
    return undefined;
  }

  #beginLoad(one: EndpointAdapters, adapter: string, nowMs: number): void {
    one.beginLoad(adapter, nowMs);
    this.#waiting.delete(adapter);
  }
}

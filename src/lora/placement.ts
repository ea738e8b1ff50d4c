/**
 * LoRA adapters: where one of a pool's endpoints loads it when it is needed. One plan for each pool.
 *
 * A request names its adapter through `model` and in no other way. The plan says what to do next; somebody else asks the
 * engines for it, and reports how it went.
 *
 * Invariants, for each endpoint:
 * - loaded + loading ≤ max, but for what others loaded or a lower max left over (surplus()). What is to be unloaded leaves the
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

export interface AdapterPlanConfig {
  /** A load that says nothing for so long has failed. */
  readonly loadTimeoutMs: number;
  /** After a load an adapter is kept for its first request. */
  readonly holdMs: number;
  /** An adapter stays for at least so long before it makes room. */
  readonly residencyMs: number;
  /** Who has waited so long for a place is made room for. */
  readonly patienceMs: number;
  /** Who has not asked for so long does not wait any more. */
  readonly forgetMs: number;
  /** Before a load that failed is tried again on that endpoint; twice as long each time. */
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
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

export interface AdapterPlan {
  /** Endpoints and how many adapters each may have loaded. Those that stay keep their state. */
  reconfigure(endpoints: ReadonlyMap<string, number>): void;
  /** @param candidates endpoints that could take the request now, the best first. */
  ensure(adapter: string, candidates: readonly string[], nowMs: number): Ensure;
  /** A request has gone there. The answer's first call says that it has ended. */
  began(endpoint: string, adapter: string, nowMs: number): (nowMs: number) => void;
  loaded(endpoint: string, adapter: string, nowMs: number): void;
  loadFailed(endpoint: string, adapter: string, nowMs: number): void;
  /** Nobody will say how its load went: it may be loaded anew. */
  givenUp(endpoint: string, adapter: string): void;
  /** What the engine itself lists. It is right: adapters come and go by others' hands too. */
  reported(endpoint: string, adapters: readonly string[], nowMs: number): void;
  /** It went down: nothing is loaded there, nothing in flight, and what failed there may work now. */
  crashed(endpoint: string): void;
  /** Nobody waits for it any more. */
  cancelled(adapter: string): void;
  /** What is to be unloaded because an endpoint has more than its max, as far as it is idle. Each is told once. */
  surplus(nowMs: number): readonly { readonly endpoint: string; readonly adapter: string }[];
  isLoaded(endpoint: string, adapter: string): boolean;
  isLoading(endpoint: string, adapter: string): boolean;
  loadedOn(endpoint: string): Iterable<string>;
  /** Some endpoint has it. */
  isAnywhere(adapter: string): boolean;
  /** What the endpoint has, as it is now: to be read, not kept. */
  placeOf(endpoint: string): PlaceView | undefined;
  list(): readonly AdapterPlace[];
}

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

interface Loaded {
  inFlight: number;
  lastUsedMs: number;
  readonly sinceMs: number;
  /** It has served somebody. */
  used: boolean;
}

interface Place {
  readonly endpoint: string;
  max: number;
  readonly loaded: Map<string, Loaded>;
  /** Until when. */
  readonly loading: Map<string, number>;
  readonly failures: Map<string, { readonly times: number; readonly untilMs: number }>;
}

interface Want {
  readonly sinceMs: number;
  askedMs: number;
  /** Where it could go when it asked last. */
  candidates: readonly string[];
}

const MAX_DOUBLINGS = 30;
/** Failures that are remembered for each place. */
const FAILURES_PER_PLACE = 16;
const RETRY_MS = 50;

/** @param isOurs may be unloaded, because it can be loaded again. */
export function createAdapterPlan(
  config: AdapterPlanConfig,
  isOurs: (adapter: string) => boolean = () => true,
): AdapterPlan {
  const places = new Map<string, Place>();
  /** In the order in which they began to wait. */
  const wants = new Map<string, Want>();

  const forgetOld = (nowMs: number): void => {
    for (const [adapter, { askedMs }] of wants) if (nowMs - askedMs >= config.forgetMs) wants.delete(adapter);
    for (const { loading, endpoint } of places.values()) {
      for (const [adapter, untilMs] of loading) if (nowMs >= untilMs) failed(endpoint, adapter, nowMs);
    }
  };

  const failed = (endpoint: string, adapter: string, nowMs: number): void => {
    const place = places.get(endpoint);
    if (place === undefined || !place.loading.delete(adapter)) return;
    const times = place.failures.get(adapter)?.times ?? 0;
    const forMs = Math.min(config.maxBackoffMs, config.backoffMs * 2 ** Math.min(MAX_DOUBLINGS, times));
    place.failures.delete(adapter);
    place.failures.set(adapter, { times: times + 1, untilMs: nowMs + forMs });
    for (const oldest of place.failures.keys()) {
      if (place.failures.size <= FAILURES_PER_PLACE * place.max) break;
      place.failures.delete(oldest);
    }
  };

  const isBackingOff = ({ failures }: Place, adapter: string, nowMs: number): boolean =>
    nowMs < (failures.get(adapter)?.untilMs ?? nowMs);

  /** It waits, and would take a place here. */
  const wouldTake = (place: Place, adapter: string, want: Want, nowMs: number): boolean =>
    want.candidates.includes(place.endpoint) &&
    !place.loaded.has(adapter) &&
    !place.loading.has(adapter) &&
    !isBackingOff(place, adapter, nowMs);

  /** Somebody else has waited for long. */
  const isPressed = (place: Place, adapter: string, nowMs: number): boolean => {
    for (const [other, want] of wants) {
      if (other === adapter || !wouldTake(place, other, want, nowMs)) continue;
      return nowMs - want.sinceMs >= config.patienceMs;
    }
    return false;
  };

  const hasFree = ({ loaded, loading, max }: Place): boolean => loaded.size + loading.size < max;

  const isIdle = ({ inFlight, used, sinceMs }: Loaded, nowMs: number): boolean =>
    inFlight === 0 && nowMs - sinceMs >= (used ? config.residencyMs : config.holdMs);

  /** The least recently used one that is idle. */
  const evictable = ({ loaded }: Place, nowMs: number): string | undefined => {
    let oldest: string | undefined;
    let oldestMs = Number.POSITIVE_INFINITY;
    for (const [adapter, entry] of loaded) {
      if (!isIdle(entry, nowMs) || entry.lastUsedMs >= oldestMs || !isOurs(adapter)) continue;
      oldest = adapter;
      oldestMs = entry.lastUsedMs;
    }
    return oldest;
  };

  /** Nobody who came before could take a place here. */
  const isNext = (place: Place, adapter: string, nowMs: number): boolean => {
    for (const [other, want] of wants) {
      if (other === adapter) return true;
      if (wouldTake(place, other, want, nowMs)) return false;
    }
    return true;
  };

  const load = (place: Place, adapter: string, evict: string | undefined, nowMs: number): Ensure => {
    if (evict !== undefined) place.loaded.delete(evict);
    place.loading.set(adapter, nowMs + config.loadTimeoutMs);
    wants.delete(adapter);
    const { endpoint } = place;
    return evict === undefined ? { kind: 'load', endpoint } : { kind: 'load', endpoint, evict };
  };

  const enter = (place: Place, adapter: string, nowMs: number): void => {
    place.failures.delete(adapter);
    place.loaded.set(adapter, { inFlight: 0, lastUsedMs: nowMs, sinceMs: nowMs, used: false });
  };

  return {
    reconfigure(endpoints) {
      for (const endpoint of places.keys()) if (!endpoints.has(endpoint)) places.delete(endpoint);
      for (const [endpoint, max] of endpoints) {
        const known = places.get(endpoint);
        if (known === undefined) {
          places.set(endpoint, {
            endpoint,
            max,
            loaded: new Map(),
            loading: new Map(),
            failures: new Map(),
          });
        } else known.max = max;
      }
    },
    ensure(adapter, candidates, nowMs) {
      forgetOld(nowMs);
      const could = candidates.flatMap((endpoint) => {
        const place = places.get(endpoint);
        return place === undefined || place.max <= 0 ? [] : [place];
      });
      if (could.length === 0) return { kind: 'refuse', reason: 'no-endpoint', retryMs: config.backoffMs };

      for (const place of could) {
        const entry = place.loaded.get(adapter);
        if (entry === undefined) continue;
        // The first request is what it was loaded for; and who has waited too gets its turn.
        const mayStay = !entry.used || nowMs - entry.sinceMs < config.residencyMs;
        if (mayStay || hasFree(place) || !isPressed(place, adapter, nowMs)) {
          wants.delete(adapter);
          return { kind: 'use', endpoint: place.endpoint };
        }
      }
      if (could.some(({ loading }) => loading.has(adapter))) return { kind: 'wait', retryMs: RETRY_MS };

      const able = could.filter((place) => !isBackingOff(place, adapter, nowMs));
      if (able.length === 0) {
        const untilMs = Math.min(...could.map(({ failures }) => failures.get(adapter)?.untilMs ?? nowMs));
        wants.delete(adapter);
        return { kind: 'refuse', reason: 'failed', retryMs: Math.max(1, untilMs - nowMs) };
      }
      const want = wants.get(adapter);
      if (want !== undefined) {
        want.askedMs = nowMs;
        want.candidates = candidates;
      } else if (wants.size < config.maxWaiting) {
        wants.set(adapter, { sinceMs: nowMs, askedMs: nowMs, candidates });
      } else return { kind: 'refuse', reason: 'busy', retryMs: config.patienceMs };

      const absent = able.filter(({ loaded }) => !loaded.has(adapter));
      for (const place of absent) {
        if (hasFree(place) && isNext(place, adapter, nowMs)) return load(place, adapter, undefined, nowMs);
      }
      for (const place of absent) {
        if (place.loaded.size + place.loading.size > place.max) continue;
        const evict = isNext(place, adapter, nowMs) ? evictable(place, nowMs) : undefined;
        if (evict !== undefined) return load(place, adapter, evict, nowMs);
      }
      return { kind: 'wait', retryMs: RETRY_MS };
    },
    began(endpoint, adapter, nowMs) {
      const entry = places.get(endpoint)?.loaded.get(adapter);
      if (entry === undefined) return () => undefined;
      entry.inFlight += 1;
      entry.used = true;
      entry.lastUsedMs = nowMs;
      let open = true;
      return (endMs) => {
        if (!open) return;
        open = false;
        entry.inFlight -= 1;
        entry.lastUsedMs = endMs;
      };
    },
    loaded(endpoint, adapter, nowMs) {
      const place = places.get(endpoint);
      // After its timeout the place may be another's: the engine's own list will say.
      if (place?.loading.delete(adapter) === true) enter(place, adapter, nowMs);
    },
    loadFailed: failed,
    givenUp: (endpoint, adapter) => void places.get(endpoint)?.loading.delete(adapter),
    reported(endpoint, adapters, nowMs) {
      const place = places.get(endpoint);
      if (place === undefined) return;
      const listed = new Set(adapters);
      // What runs with it there ends as it ends; a new request would find nothing.
      for (const adapter of place.loaded.keys()) if (!listed.has(adapter)) place.loaded.delete(adapter);
      for (const adapter of listed) {
        if (place.loaded.has(adapter) || place.loading.has(adapter)) continue;
        // Nobody asked for it: it may go as soon as its place is needed.
        place.loaded.set(adapter, { inFlight: 0, lastUsedMs: nowMs, sinceMs: nowMs, used: true });
      }
    },
    crashed(endpoint) {
      const place = places.get(endpoint);
      place?.loaded.clear();
      place?.loading.clear();
      place?.failures.clear();
    },
    cancelled(adapter) {
      wants.delete(adapter);
    },
    surplus(nowMs) {
      const found: { readonly endpoint: string; readonly adapter: string }[] = [];
      for (const place of places.values()) {
        while (place.loaded.size + place.loading.size > place.max) {
          const adapter = evictable(place, nowMs);
          if (adapter === undefined) break;
          place.loaded.delete(adapter);
          found.push({ endpoint: place.endpoint, adapter });
        }
      }
      return found;
    },
    isLoaded: (endpoint, adapter) => places.get(endpoint)?.loaded.has(adapter) === true,
    isLoading: (endpoint, adapter) => places.get(endpoint)?.loading.has(adapter) === true,
    loadedOn: (endpoint) => places.get(endpoint)?.loaded.keys() ?? [],
    isAnywhere(adapter) {
      for (const { loaded } of places.values()) if (loaded.has(adapter)) return true;
      return false;
    },
    placeOf(endpoint) {
      const place = places.get(endpoint);
      if (place === undefined) return undefined;
      let idle = 0;
      for (const { inFlight } of place.loaded.values()) if (inFlight === 0) idle += 1;
      const { max, loaded, loading } = place;
      return { max, loaded, loading, idle };
    },
    list: () =>
      [...places.values()].map(({ endpoint, max, loaded, loading }) => ({
        endpoint,
        max,
        loaded: [...loaded].map(([adapter, { inFlight }]) => ({ adapter, inFlight })),
        loading: [...loading.keys()],
      })),
  };
}

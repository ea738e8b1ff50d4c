/**
 * The LoRA adapters of one endpoint: which are loaded, which are being loaded, and which failed to.
 *
 * Invariant: loaded + loading ≤ max, but for what others loaded or a lower max left over.
 */
export interface AdapterTimes {
  /** A load that says nothing for so long has failed. */
  readonly loadTimeoutMs: number;
  /** After a load an adapter is kept for its first request. */
  readonly holdMs: number;
  /** An adapter stays for at least so long before it makes room. */
  readonly residencyMs: number;
  /** Before a load that failed is tried again on that endpoint; twice as long each time. */
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
}

/** An adapter that is loaded. */
export interface LoadedAdapter {
  inFlight: number;
  lastUsedMs: number;
  readonly sinceMs: number;
  /** It has served somebody. */
  isUsed: boolean;
}

interface Failure {
  readonly times: number;
  /** Until then it is not tried again. */
  readonly untilMs: number;
}

const MAX_DOUBLINGS = 30;
/** Failures that are remembered for each place. */
const FAILURES_PER_PLACE = 16;

export class EndpointAdapters {
  readonly endpoint: string;
  /** How many it may have. */
  max: number;
  readonly #times: AdapterTimes;
  readonly #loaded = new Map<string, LoadedAdapter>();
  /** Until when. */
  readonly #loading = new Map<string, number>();
  readonly #failures = new Map<string, Failure>();

  constructor(endpoint: string, max: number, times: AdapterTimes) {
    this.endpoint = endpoint;
    this.max = max;
    this.#times = times;
  }

  get loaded(): ReadonlyMap<string, LoadedAdapter> {
    return this.#loaded;
  }

  get loading(): ReadonlyMap<string, number> {
    return this.#loading;
  }

  /** Loaded and being loaded. */
  count(): number {
    return this.#loaded.size + this.#loading.size;
  }

  hasFree(): boolean {
    return this.count() < this.max;
  }

  /** Loaded ones without a request in flight. */
  idleCount(): number {
    let idle = 0;
    for (const { inFlight } of this.#loaded.values()) if (inFlight === 0) idle += 1;
    return idle;
  }

  /** It is neither here nor on its way, and may be tried. */
  couldLoad(adapter: string, nowMs: number): boolean {
    return !this.#loaded.has(adapter) && !this.#loading.has(adapter) && !this.isBackingOff(adapter, nowMs);
  }

  isBackingOff(adapter: string, nowMs: number): boolean {
    return nowMs < (this.retryAtMs(adapter) ?? nowMs);
  }

  /** When a load that failed may be tried again; undefined: none did. */
  retryAtMs(adapter: string): number | undefined {
    return this.#failures.get(adapter)?.untilMs;
  }

  /** The least recently used adapter that is idle for long enough. @param mayUnload it can be loaded again. */
  evictable(mayUnload: (adapter: string) => boolean, nowMs: number): string | undefined {
    let oldest: string | undefined;
    let oldestMs = Number.POSITIVE_INFINITY;
    for (const [adapter, entry] of this.#loaded) {
      if (!this.#isIdle(entry, nowMs) || entry.lastUsedMs >= oldestMs || !mayUnload(adapter)) continue;
      oldest = adapter;
      oldestMs = entry.lastUsedMs;
    }
    return oldest;
  }

  /** It is being unloaded: it has no place any more. */
  leave(adapter: string): void {
    this.#loaded.delete(adapter);
  }

  /** A load begins. */
  beginLoad(adapter: string, nowMs: number): void {
    this.#loading.set(adapter, nowMs + this.#times.loadTimeoutMs);
  }

  /** A load is done. After its timeout the place may be another's: the engine's own list will say. */
  endLoad(adapter: string, nowMs: number): void {
    if (!this.#loading.delete(adapter)) return;
    this.#failures.delete(adapter);
    this.#loaded.set(adapter, { inFlight: 0, lastUsedMs: nowMs, sinceMs: nowMs, isUsed: false });
  }

  failLoad(adapter: string, nowMs: number): void {
    if (!this.#loading.delete(adapter)) return;
    const { backoffMs, maxBackoffMs } = this.#times;
    const times = this.#failures.get(adapter)?.times ?? 0;
    const forMs = Math.min(maxBackoffMs, backoffMs * 2 ** Math.min(MAX_DOUBLINGS, times));
    this.#failures.delete(adapter);
    this.#failures.set(adapter, { times: times + 1, untilMs: nowMs + forMs });
    for (const oldest of this.#failures.keys()) {
      if (this.#failures.size <= FAILURES_PER_PLACE * this.max) break;
      this.#failures.delete(oldest);
    }
  }

  /** Nobody will say how its load went. */
  forgetLoad(adapter: string): void {
    this.#loading.delete(adapter);
  }

  /** Fails the loads that said nothing for too long. */
  expireLoads(nowMs: number): void {
    for (const [adapter, untilMs] of this.#loading) if (nowMs >= untilMs) this.failLoad(adapter, nowMs);
  }

  /** Takes over what the engine lists. */
  replace(adapters: readonly string[], nowMs: number): void {
    const listed = new Set(adapters);
    // What runs with it there ends as it ends; a new request would find nothing.
    for (const adapter of this.#loaded.keys()) if (!listed.has(adapter)) this.#loaded.delete(adapter);
    for (const adapter of listed) {
      if (this.#loaded.has(adapter) || this.#loading.has(adapter)) continue;
      // Nobody asked for it: it may go as soon as its place is needed.
      this.#loaded.set(adapter, { inFlight: 0, lastUsedMs: nowMs, sinceMs: nowMs, isUsed: true });
    }
  }

  /** The engine went down. */
  clear(): void {
    this.#loaded.clear();
    this.#loading.clear();
    this.#failures.clear();
  }

  #isIdle({ inFlight, isUsed, sinceMs }: LoadedAdapter, nowMs: number): boolean {
    const { residencyMs, holdMs } = this.#times;
    return inFlight === 0 && nowMs - sinceMs >= (isUsed ? residencyMs : holdMs);
  }
}

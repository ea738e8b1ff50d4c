/**
 * This replica's part of an endpoint's concurrency limit, where replicas share the engines (limit/allotments.ts):
 *
 *   limit here = min(concurrency limit, what the other replicas leave)
 *
 * What it asks for is what it has in flight, its part of what waits for the pool, and some to spare, as more takes a moment to
 * come from the others. An ejected endpoint keeps room for a half-open probe. A pool without requests for IDLE_MS gives its
 * allotments back.
 */
import type { Allotment } from '../limit/allotments.ts';
import type { GpuClock } from '../usage/gpu-seconds.ts';
import type { ConcurrencyLimit } from './concurrency-limit/concurrency-limit.ts';
import type { SharedLimits } from './types.ts';

/** The endpoint that is shared. */
export interface AllottedEndpoint {
  readonly url: string;
  /** In flight, of this replica. */
  readonly sequences: number;
  /** The same, and those that keep their room while others serve them: no other replica is to send more there in their place. */
  readonly taken: number;
  readonly concurrency: ConcurrencyLimit;
  readonly gpu: GpuClock;
  heardOfOthers(nowMs: number): void;
  /** It is in the pool and is given requests. */
  isInUse(): boolean;
  /** It is in the pool and may be given a half-open probe, though no other requests. */
  mayBeProbed(): boolean;
}

/** The pool that the endpoint is of. */
export interface AllottedPool {
  /** When a request asked last. */
  readonly latestRequestMs: number;
  /** Endpoints that are given requests. */
  servingCount(): number;
}

const IDLE_MS = 30_000;
/** Slots that a replica keeps free for its next requests. */
const SPARE = 2;
/** Of a smaller limit one. */
export const SPARE_LIMIT = 32;
/** The most that a replica keeps free as headroom. */
const RESERVED_PART = 1 / 16;

/** Half-open requests at once. */
const PROBES = 1;

const spareOf = (size: number): number => (size < SPARE_LIMIT ? 1 : SPARE);

export class LimitAllotment {
  readonly #endpoint: AllottedEndpoint;
  readonly #pool: AllottedPool;
  readonly #shared: SharedLimits;
  /** Undefined while it is made. */
  #held: Allotment | undefined;

  constructor(endpoint: AllottedEndpoint, pool: AllottedPool, shared: SharedLimits) {
    this.#endpoint = endpoint;
    this.#pool = pool;
    this.#shared = shared;
    this.#held = shared.hold(endpoint.url, {
      capacity: (nowMs) => this.#capacity(nowMs),
      inUse: () => endpoint.sequences,
      engine: (nowMs) => endpoint.gpu.use(nowMs),
      heard: (nowMs) => endpoint.heardOfOthers(nowMs),
      claimed: (nowMs) => this.#claimed(nowMs),
      want: (nowMs) => this.#wanted(nowMs),
    });
  }

  limit(nowMs: number): number {
    return this.#held?.limit(nowMs) ?? Number.POSITIVE_INFINITY;
  }

  /** Other replicas that use the endpoint; undefined while that is not known. */
  others(nowMs: number): number | undefined {
    return this.#held?.others(nowMs)?.count;
  }

  /** Tells the clock what other replicas have in the engine. False: that is not known. */
  tellOthers(clock: GpuClock, nowMs: number): boolean {
    const held = this.#held;
    const others = held?.others(nowMs);
    const engine = others?.engine;
    clock.heard(engine, others?.count ?? 0, held?.heardMs() ?? nowMs, nowMs);
    return engine !== undefined;
  }

  /** What may be added to the limit here within moments. */
  coming(nowMs: number): number {
    const held = this.#held;
    return held === undefined ? 0 : Math.max(0, held.coming(nowMs) - (held.others(nowMs)?.count ?? 0));
  }

  /** What all replicas have in flight; undefined while that is not known. */
  inFlight(nowMs: number): number | undefined {
    return this.#held?.inUse(nowMs);
  }

  /** What is used or wanted here has changed. */
  moved(nowMs: number): void {
    this.#held?.usageChanged(nowMs);
  }

  /** The endpoint is the pool's no more. */
  left(): void {
    this.#held?.left();
  }

  /**
   * A request found no room for `more` sequences. That is a reason for a larger limit when this replica's fair part does not
   * cover it either.
   */
  foundFull(more: number, nowMs: number): void {
    const held = this.#held;
    if (held === undefined) return;
    const { concurrency, sequences } = this.#endpoint;
    const others = held.others(nowMs);
    if (others === undefined) {
      if (held.inUse(nowMs) !== undefined) concurrency.saturated();
    } else if (
      sequences + more + others.held > concurrency.limit(nowMs) &&
      (others.count === 0 || sequences + more > held.fair())
    ) {
      concurrency.saturated();
    }
    held.usageChanged(nowMs);
  }

  /** A larger limit is probed over what others keep free, or it would never be full. */
  #capacity(nowMs: number): number {
    const { concurrency } = this.#endpoint;
    const size = concurrency.limit(nowMs);
    const others = concurrency.isProbing() ? this.#held?.others(nowMs) : undefined;
    if (others === undefined) return size;
    const most = others.count * Math.max(spareOf(size), Math.floor(size * RESERVED_PART));
    return size + Math.min(Math.max(0, others.held - others.inUse), most);
  }

  /** What this replica has in the engine or keeps room for there, and its part of what waits for the pool. */
  #claimed(nowMs: number): number {
    const { sequences, taken } = this.#endpoint;
    if (!this.#endpoint.isInUse()) return sequences;
    const queued = this.#partOf(this.#shared.waiting(nowMs).queued);
    return Math.max(sequences, Math.min(this.#capacity(nowMs), taken + queued));
  }

  #wanted(nowMs: number): number {
    const { sequences } = this.#endpoint;
    if (nowMs - this.#pool.latestRequestMs >= IDLE_MS) return sequences;
    if (!this.#endpoint.isInUse()) return Math.max(sequences, this.#endpoint.mayBeProbed() ? PROBES : 0);
    const most = this.#capacity(nowMs);
    const headroom = this.#partOf(this.#shared.waiting(nowMs).headroom);
    const spare = Math.max(spareOf(Math.max(most, this.#held?.capacity() ?? 0)), headroom);
    return Math.max(sequences, Math.min(most, this.#claimed(nowMs) + spare));
  }

  /** The part of one of the pool's endpoints. */
  #partOf(count: number): number {
    return Math.ceil(count / Math.max(1, this.#pool.servingCount()));
  }
}

/**
 * Moves the limit by the engine's own gauges: what runs in its batch, and what waits before it.
 *
 *   waiting > 0 at a full batch, twice in a row:  limit ← what runs
 *   nobody waits:                                 a larger limit may be probed (limit-search.ts)
 *
 * A request may also wait because a long prompt takes whole steps. So a batch counts as full only if it is as large as the
 * largest of late, and a request as waiting for a place only if first tokens are later than prompts explain (vegas.ts).
 */
import type { Gauges } from './concurrency-limit.ts';
import { GROWTH, type LimitSearch } from './limit-search.ts';

/** Gauges that do not move for so many scrapes, while requests come and go, are frozen. */
const FROZEN_AFTER = 8;
/** Gauges that know of fewer requests than half of ours for so many scrapes are wrong. */
const WRONG_AFTER = 4;
const KV_FULL = 0.9;
/** The largest batch counts for so long, and up to twice as long. */
const PEAK_MS = 30_000;
/** As long as the longest prompt takes, about. */
const STEADY_LOOKS = 8;
/** Part of a full batch that may be between two requests. */
const BATCH_NOISE = 1 / 16;
/** One sample may catch requests on their way into the batch. */
const WAITED_LOOKS = 2;
/** Requests that waited for so many samples and are not late do not wait for a place. */
const NOT_LATE_LOOKS = 8;
/** An engine with more requests is none. */
const MOST_REQUESTS = 1_000_000;

const isCount = (value: number): boolean => value >= 0 && value <= MOST_REQUESTS;

/** Gives what of a sample can be true; `unusable` if its counts cannot. */
export function plausibleGauges(sample: Gauges | 'unusable'): Gauges | 'unusable' {
  if (sample === 'unusable' || !isCount(sample.running) || !isCount(sample.waiting)) return 'unusable';
  const { running, waiting, kvUsage } = sample;
  return kvUsage === undefined || (kvUsage >= 0 && kvUsage <= 1) ? sample : { running, waiting };
}

/** The largest of what was added in the last PEAK_MS, and up to as long before. */
class Peak {
  #current = 0;
  #previous = 0;
  #sinceMs = Number.NEGATIVE_INFINITY;

  before(nowMs: number): number {
    if (nowMs - this.#sinceMs >= 2 * PEAK_MS) return 0;
    return nowMs - this.#sinceMs >= PEAK_MS ? this.#current : Math.max(this.#current, this.#previous);
  }

  add(value: number, nowMs: number): void {
    if (nowMs - this.#sinceMs >= PEAK_MS) {
      this.#previous = nowMs - this.#sinceMs >= 2 * PEAK_MS ? 0 : this.#current;
      this.#current = 0;
      this.#sinceMs = nowMs;
    }
    this.#current = Math.max(this.#current, value);
  }
}

export interface GaugeReading {
  readonly sample: Gauges;
  /** Our own count. */
  readonly inFlight: number;
  /** What of it was in the engine for sure. */
  readonly certain: number;
  /** A request found no room. */
  readonly isSaturated: boolean;
  /** First tokens are later than prompts explain; undefined: none was seen of late. */
  readonly areLate: boolean | undefined;
}

export class GaugeRule {
  readonly #search: LimitSearch;

  // Whether the gauges are believed.
  #latest: Gauges | undefined;
  /** Scrapes in a row at which they did not move. */
  #unmoved = 0;
  /** Our own count has moved meanwhile. */
  #weMoved = false;
  /** Scrapes in a row at which they were too low. */
  #tooLow = 0;

  // Whether the batch is full.
  readonly #peak = new Peak();
  /** Looks in which the batch was as large, while requests waited. */
  #steadyRunning = 0;
  #steadyLooks = 0;
  /** Samples in a row in which requests waited beside a full batch. */
  #waited = 0;

  constructor(search: LimitSearch) {
    this.#search = search;
  }

  /** Requests wait at a full batch. */
  isWaiting(): boolean {
    return this.#waited > 0;
  }

  /**
   * Hears a sample. True if it can be believed.
   *
   * @param before our own count at the sample before.
   */
  judge(sample: Gauges, inFlight: number, before: number): boolean {
    const latest = this.#latest;
    const moved =
      latest === undefined ||
      latest.running !== sample.running ||
      latest.waiting !== sample.waiting ||
      latest.kvUsage !== sample.kvUsage;
    this.#latest = sample;
    this.#unmoved = moved ? 0 : this.#unmoved + 1;
    this.#weMoved = !moved && (this.#weMoved || inFlight !== before);
    const isFrozen = this.#unmoved >= FROZEN_AFTER && this.#weMoved;
    this.#tooLow = sample.running + sample.waiting < inFlight / 2 - 1 ? this.#tooLow + 1 : 0;
    return !isFrozen && this.#tooLow < WRONG_AFTER;
  }

  /** Moves the limit by a sample that is believed. */
  apply({ sample, inFlight, certain, isSaturated, areLate }: GaugeReading, nowMs: number): void {
    const isKvFull = (sample.kvUsage ?? 0) > KV_FULL;
    const isFull = isKvFull || this.#isBatchFull(sample, nowMs);
    this.#waited = sample.waiting > 0 && isFull ? this.#waited + 1 : 0;
    // What is beyond the largest batch of late, and a step more, would wait with any limit: no reason for a larger one.
    const isCrowded =
      sample.waiting > 0 && sample.running + sample.waiting > GROWTH * this.#peak.before(nowMs);
    if (this.#waited === 0) this.#search.raise(certain, isSaturated && !isCrowded, nowMs);
    if (this.#waited < WAITED_LOOKS) return;
    if (isKvFull || areLate !== false) {
      // Ours alone: others may use the engine too.
      const ours = Math.min(sample.running, Math.max(1, inFlight - sample.waiting));
      this.#search.lower(ours, isKvFull, nowMs);
    } else if (this.#waited >= NOT_LATE_LOOKS) this.#search.giveUpProbe(nowMs);
  }

  /**
   * A batch that was larger of late, or grows while requests wait, has places: what waits, waits for the computation of
   * prompts. One that stays as it is for long has none, whatever it had before.
   */
  #isBatchFull({ running, waiting }: Gauges, nowMs: number): boolean {
    const noise = Math.max(1, running * BATCH_NOISE);
    const before = this.#peak.before(nowMs);
    this.#peak.add(running, nowMs);
    if (waiting === 0 || Math.abs(running - this.#steadyRunning) > noise) {
      this.#steadyRunning = running;
      this.#steadyLooks = 0;
    } else this.#steadyLooks += 1;
    const grows = running > before && this.#waited > 0;
    return this.#steadyLooks >= STEADY_LOOKS || (running + noise >= before && !grows);
  }
}

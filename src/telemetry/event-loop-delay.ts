/**
 * How late the event loop is. Over spans that a scrape does not end: where two scrape, none takes from the other what it saw,
 * as it is with prom-client's own.
 */
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';

/** Of the timer that is looked at. It is part of each time that the histogram has. */
const RESOLUTION_MS = 10;
const SPAN_MS = 10_000;
const STATS = {
  p50: (seen) => seen.percentile(50),
  p99: (seen) => seen.percentile(99),
  max: (seen) => seen.max,
} as const satisfies Record<string, (seen: IntervalHistogram) => number>;
const ENTRIES = Object.entries(STATS);

type Rows = readonly (readonly [{ readonly stat: string }, number])[];

export class EventLoopDelay {
  readonly #seen = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #sinceMs: number | undefined;
  #last: Rows = [];

  constructor() {
    this.#seen.enable();
  }

  /** Of the last whole span, in seconds; of the first one, so far. */
  rows(nowMs: number): Rows {
    const since = this.#sinceMs;
    if (since === undefined) {
      this.#sinceMs = nowMs;
      return this.#look();
    }
    if (this.#last.length > 0 && nowMs - since < SPAN_MS) return this.#last;
    this.#last = this.#look();
    if (nowMs - since >= SPAN_MS) {
      this.#seen.reset();
      this.#sinceMs = nowMs;
    }
    return this.#last;
  }

  #look(): Rows {
    if (this.#seen.count === 0) return ENTRIES.map(([stat]) => [{ stat }, 0] as const);
    return ENTRIES.map(([stat, of]) => [{ stat }, Math.max(0, of(this.#seen) / 1e6 - RESOLUTION_MS) / 1_000]);
  }
}

/**
 * How long this process was kept from running. What a test measures includes what a busy machine adds; that is measured beside
 * it, by a timer that should come every few milliseconds, and is taken off. A wait for something else leaves the timer on time.
 */
const EVERY_MS = 5;
/** Longer than any measurement. */
const KEPT_MS = 60_000;

interface Stall {
  readonly endMs: number;
  readonly ms: number;
}

export class Stalls {
  readonly #timer: NodeJS.Timeout;
  #stalls: Stall[] = [];
  #lastMs = performance.now();

  constructor() {
    this.#timer = setInterval(() => this.#tick(), EVERY_MS).unref();
  }

  /** Milliseconds since a time of `performance.now()`, without those in which this process did not run. */
  sinceMs(startMs: number): number {
    const now = performance.now();
    // One that has not ended is seen by its timer only when this turn of the event loop is over.
    const current = Math.max(0, now - Math.max(this.#lastMs, startMs) - EVERY_MS);
    const stalledMs = this.#stalls.reduce(
      (sum, { endMs, ms }) => (endMs < startMs ? sum : sum + Math.min(ms, endMs - startMs)),
      current,
    );
    return now - startMs - stalledMs;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const now = performance.now();
    const ms = now - this.#lastMs - EVERY_MS;
    // A millisecond is the grain of timers.
    if (ms > 1) this.#stalls.push({ endMs: now, ms });
    if ((this.#stalls[0]?.endMs ?? now) < now - KEPT_MS) {
      this.#stalls = this.#stalls.filter(({ endMs }) => endMs >= now - KEPT_MS);
    }
    this.#lastMs = now;
  }
}

/**
 * A sum that forgets: what was added counts half after HALF_LIFE_MS (an exponentially weighted sum).
 *
 *     sum(t) = Σ xᵢ · 2^((tᵢ − t) / HALF_LIFE_MS),  never below 0
 *
 * Invariant: reading changes nothing.
 */

/** Half-life of what is remembered of service and of rates. */
export const HALF_LIFE_MS = 10_000;

export class FadingSum {
  /** As of `atMs`. */
  private value = 0;
  private atMs: number;

  constructor(sinceMs: number) {
    this.atMs = sinceMs;
  }

  /** Reads the sum. A clock that goes back fades nothing. */
  at(nowMs: number): number {
    return nowMs <= this.atMs ? this.value : this.value * 2 ** ((this.atMs - nowMs) / HALF_LIFE_MS);
  }

  /** @param amount negative: takes back. */
  add(amount: number, nowMs: number): void {
    this.value = Math.max(0, this.at(nowMs) + amount);
    this.atMs = Math.max(this.atMs, nowMs);
  }
}

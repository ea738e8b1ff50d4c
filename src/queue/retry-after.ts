/**
 * When a place in a pool's queue may be free, for Retry-After.
 *
 *     estimate = requests that wait · smoothed time between two releases,  within 1 s and 60 s
 *
 * The time is smoothed exponentially, over releases while requests wait: an idle pool says nothing of how fast it is.
 */

export const MIN_RETRY_AFTER_MS = 1_000;
export const MAX_RETRY_AFTER_MS = 60_000;
const SMOOTHING = 0.1;

/** A time as clients are told it: whole milliseconds, neither so short nor so long that it does harm. */
export const clampRetryAfterMs = (ms: number): number =>
  Math.min(MAX_RETRY_AFTER_MS, Math.max(MIN_RETRY_AFTER_MS, Math.ceil(ms)));

/** The time between two releases of one pool. */
export class ReleaseInterval {
  private smoothedMs = 0;
  /** Undefined: nothing waited after the last release. */
  private lastMs: number | undefined = undefined;

  /** @param queued requests that wait after this release. */
  released(queued: number, nowMs: number): void {
    if (this.lastMs !== undefined) {
      this.smoothedMs += SMOOTHING * (Math.max(0, nowMs - this.lastMs) - this.smoothedMs);
    }
    this.lastMs = queued > 0 ? nowMs : undefined;
  }

  /** The last one that waited has left by itself: until the next one waits, no time counts. */
  emptied(): void {
    this.lastMs = undefined;
  }

  /**
   * How long who joins now waits for those before it, in ms. A queue that stands still is no shorter for what it was: the time
   * since the last release counts where that is longer.
   *
   * @param queued requests that wait for a slot. @param oldestMs since when the first of them does.
   */
  predictedWaitMs(queued: number, oldestMs: number, nowMs: number): number {
    if (queued === 0) return 0;
    const sinceLast = this.lastMs === undefined ? 0 : nowMs - Math.max(this.lastMs, oldestMs);
    return queued * Math.max(this.smoothedMs, sinceLast);
  }

  retryAfterMs(queued: number): number {
    return clampRetryAfterMs(queued * this.smoothedMs);
  }
}

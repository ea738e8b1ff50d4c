/**
 * Which requests are copied to a mirror pool. A decision only: Envoy sends the copy, drops its answer and tells nobody of its
 * end. So a copy counts as running until it could have ended: when the caller knows, or after `maxDurationMs` at the latest, which
 * Envoy's cluster must enforce (`max_stream_duration`).
 *
 * Invariants: at most `maxConcurrent` copies run, at most `burst + perSecond · t` begin in any time t, and none begins while the
 * mirror pool is unwell, unknown or has requests waiting. Memory: one number for each copy that runs.
 */
export interface MirrorLimits {
  /** Part of the requests, 0 to 1. */
  readonly fraction: number;
  readonly maxConcurrent: number;
  readonly perSecond: number;
  readonly burst: number;
  readonly maxDurationMs: number;
}

/** The mirror pool as its endpoints report it. */
export interface MirrorPool {
  readonly healthy: number;
  /** Sequences that its endpoints run, as their gauges say; undefined: they do not say. */
  readonly running: number | undefined;
  readonly waiting: number | undefined;
  /** Sequences that it may run. */
  readonly concurrencyLimit: number;
}

export type MirrorDecision =
  | { readonly kind: 'copy' }
  | {
      readonly kind: 'skip';
      readonly reason: 'not-drawn' | 'unhealthy' | 'unknown' | 'behind' | 'too-many' | 'too-fast';
    };

export interface Mirror {
  /**
   * A `copy` is counted as begun.
   *
   * @param draw random, 0 ≤ draw < 1.
   * @param poolNow asked only of a request that is drawn.
   * @param expectedMs how long the copy is likely to run; more than maxDurationMs counts as that.
   */
  decide(draw: number, poolNow: () => MirrorPool, expectedMs: number, nowMs: number): MirrorDecision;
  running(nowMs: number): number;
  reconfigure(config: MirrorLimits): void;
}

/** Answers take longer than expected: so many times as long. */
const PATIENCE = 2;

type SkipReason = Extract<MirrorDecision, { kind: 'skip' }>['reason'];
const COPY: MirrorDecision = { kind: 'copy' };
const skip = (reason: SkipReason): MirrorDecision => ({ kind: 'skip', reason });

class BoundedMirror implements Mirror {
  private config: MirrorLimits;

  // A token bucket of copies that may begin.
  private tokens: number;
  /** Undefined: never yet. */
  private filledMs: number | undefined = undefined;

  /** When each copy that runs counts as ended. */
  private endsMs: number[] = [];

  constructor(config: MirrorLimits) {
    this.config = config;
    this.tokens = config.burst;
  }

  decide(draw: number, poolNow: () => MirrorPool, expectedMs: number, nowMs: number): MirrorDecision {
    const { fraction, maxConcurrent, maxDurationMs } = this.config;
    if (draw >= fraction) return skip('not-drawn');
    const pool = poolNow();
    if (pool.healthy <= 0) return skip('unhealthy');
    if (pool.running === undefined || pool.waiting === undefined) return skip('unknown');
    const count = this.running(nowMs);
    // Its gauges are a moment old: what has begun since is not in them.
    if (pool.waiting > 0 || Math.max(pool.running, count) >= pool.concurrencyLimit) return skip('behind');
    if (count >= maxConcurrent) return skip('too-many');
    this.fill(nowMs);
    if (this.tokens < 1) return skip('too-fast');
    this.tokens -= 1;
    this.endsMs.push(nowMs + Math.min(maxDurationMs, Math.max(0, PATIENCE * expectedMs)));
    return COPY;
  }

  running(nowMs: number): number {
    this.endsMs = this.endsMs.filter((endMs) => endMs > nowMs);
    return this.endsMs.length;
  }

  reconfigure(config: MirrorLimits): void {
    this.config = config;
    this.tokens = Math.min(this.tokens, config.burst);
  }

  private fill(nowMs: number): void {
    const { perSecond, burst } = this.config;
    const { filledMs } = this;
    if (filledMs !== undefined && nowMs <= filledMs) return;
    const more = filledMs === undefined ? 0 : ((nowMs - filledMs) / 1_000) * perSecond;
    this.tokens = Math.min(burst, this.tokens + more);
    this.filledMs = nowMs;
  }
}

export const createMirror = (config: MirrorLimits): Mirror => new BoundedMirror(config);

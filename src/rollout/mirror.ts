/**
 * Which requests are copied to a shadow pool. A decision only: Envoy sends the copy, drops its answer and tells nobody of its
 * end. So a copy counts as running until it could have ended: when the caller knows, or after `maxDurationMs` at the latest, which
 * Envoy's cluster must enforce (`max_stream_duration`).
 *
 * Invariants: at most `maxConcurrent` copies run, at most `burst + perSecond · t` begin in any time t, and none begins while the
 * shadow pool is unwell, unknown or has requests waiting. Memory: one number for each copy that runs.
 */
export interface MirrorLimits {
  /** Part of the requests, 0 to 1. */
  readonly fraction: number;
  readonly maxConcurrent: number;
  readonly perSecond: number;
  readonly burst: number;
  readonly maxDurationMs: number;
}

/** The shadow pool as its endpoints report it. */
export interface MirrorPool {
  readonly healthy: number;
  /** Sequences that its endpoints run, as their gauges say; undefined: they do not say. */
  readonly running: number | undefined;
  readonly waiting: number | undefined;
  /** Sequences that it may run. */
  readonly window: number;
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

export function createMirror(initial: MirrorLimits): Mirror {
  let config = initial;
  let tokens = config.burst;
  let filledMs = Number.NEGATIVE_INFINITY;
  let endsMs: number[] = [];

  const fill = (nowMs: number): void => {
    if (nowMs <= filledMs) return;
    const more = filledMs === Number.NEGATIVE_INFINITY ? 0 : ((nowMs - filledMs) / 1_000) * config.perSecond;
    tokens = Math.min(config.burst, tokens + more);
    filledMs = nowMs;
  };
  const running = (nowMs: number): number => {
    endsMs = endsMs.filter((endMs) => endMs > nowMs);
    return endsMs.length;
  };
  const skip = (reason: Extract<MirrorDecision, { kind: 'skip' }>['reason']): MirrorDecision => ({
    kind: 'skip',
    reason,
  });

  return {
    decide(draw, poolNow, expectedMs, nowMs) {
      if (draw >= config.fraction) return skip('not-drawn');
      const pool = poolNow();
      if (pool.healthy <= 0) return skip('unhealthy');
      if (pool.running === undefined || pool.waiting === undefined) return skip('unknown');
      const count = running(nowMs);
      // Its gauges are a moment old: what has begun since is not in them.
      if (pool.waiting > 0 || Math.max(pool.running, count) >= pool.window) return skip('behind');
      if (count >= config.maxConcurrent) return skip('too-many');
      fill(nowMs);
      if (tokens < 1) return skip('too-fast');
      tokens -= 1;
      endsMs.push(nowMs + Math.min(config.maxDurationMs, Math.max(0, PATIENCE * expectedMs)));
      return { kind: 'copy' };
    },
    running,
    reconfigure(next) {
      config = next;
      tokens = Math.min(tokens, next.burst);
    },
  };
}

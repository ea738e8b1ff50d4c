/**
 * How much of its load an endpoint takes that has just come back: its caches are cold, and its first requests are its slowest.
 * The ramp is the one of Envoy's slow start mode: weight = max(floor, (time served / ramp) ^ (1 / aggression)).
 */
export interface SlowStartConfig {
  /** Time until the full weight; 0: at once. */
  readonly rampMs: number;
  /** Weight at the beginning, over 0 and up to 1. */
  readonly floor: number;
  /** 1: in proportion to the time; more: faster at the beginning. > 0. */
  readonly aggression: number;
}

export const DEFAULT_SLOW_START: SlowStartConfig = { rampMs: 30_000, floor: 0.1, aggression: 1 };

/**
 * From `floor` to 1, never less than before as time goes on.
 *
 * @param sinceMs when it came back; undefined: it was never away.
 */
export function slowStartWeight(
  sinceMs: number | undefined,
  { rampMs, floor, aggression }: SlowStartConfig,
  nowMs: number,
): number {
  if (sinceMs === undefined || rampMs <= 0) return 1;
  const part = Math.max(0, nowMs - sinceMs) / rampMs;
  if (part >= 1) return 1;
  return Math.max(floor, part ** (1 / aggression));
}

/** The part of its concurrency limit that it may use: whole sequences, at least one while it has any. */
export const rampedLimit = (limit: number, weight: number): number =>
  limit <= 0 ? 0 : Math.max(1, Math.floor(limit * weight));

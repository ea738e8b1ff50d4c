/**
 * Hits near a limit: those that came when more than a part of it was used, up to the limit.
 * Source: envoyproxy/ratelimit, src/limiter/base_limiter.go, checkNearLimitThreshold and checkOverLimitThreshold, with its
 * threshold in 32 bits.
 *
 * @param used of the limit, these hits included. @param hits that were charged, more than 0.
 * @returns how many of them lie between the threshold and the limit.
 */
export function nearHits(amount: number, ratio: number, used: number, hits: number): number {
  const threshold = Math.floor(Math.fround(Math.fround(amount) * Math.fround(ratio)));
  // A bucket fills between hits: what is used is no whole number.
  const now = Math.round(used);
  if (now <= threshold) return 0;
  return Math.max(0, Math.min(now, amount) - Math.max(threshold, now - hits));
}

/**
 * The arithmetic of a bucket, of which `used` is kept: what is missing until it is full, so that
 *
 *     left = amount − used
 *
 * for whatever the amount is now. `used` falls by amount / unit, the rate of now, and never below 0. A changed limit
 * changes neither `used` nor what it is owed for: it applies at once, in both directions, and left is negative where more
 * was used than the new amount. redis-lease-script.ts has the same in Lua.
 *
 * A limit with a bounded debt can find more used than amount + maxDebt only when it was lowered. What is beyond that halves
 * about every 0.7 units (by e a unit), so that a lowered limit does not refuse for as long as the old one would have lasted.
 */
import type { StoredLimit, TakeMode, Taken } from './store.ts';

/** Uses and levels are products of floats. */
export const TOLERANCE = 1e-6;

/** What a bucket that was used so far is used `ms` later, in tokens. A clock that goes back changes nothing. */
export function usedAfter(
  used: number,
  { amount, unitMs, maxDebt = amount }: StoredLimit,
  ms: number,
): number {
  if (ms <= 0) return used;
  const most = amount + maxDebt;
  if (used <= most) return Math.max(0, used - (ms * amount) / unitMs);
  const fadeMs = unitMs * Math.log(used / most);
  if (ms < fadeMs) return used * Math.exp(-ms / unitMs);
  return Math.max(0, most - ((ms - fadeMs) * amount) / unitMs);
}

/** What is used with `hits` more: as far as the debt may go, and never less than before. Less than 0 gives back. */
export function usedWith(used: number, hits: number, { amount, maxDebt = amount }: StoredLimit): number {
  return Math.max(Math.min(used, used + hits), Math.min(amount + maxDebt, used + hits));
}

/** Applies `hits` to a bucket that is up to date. */
export function apply(bucket: { used: number }, limit: StoredLimit, hits: number, mode: TakeMode): Taken {
  const { amount, unitMs } = limit;
  let granted: boolean;
  if (hits > 0) {
    granted = amount - bucket.used + TOLERANCE >= hits;
    if (granted) bucket.used += hits;
    else if (mode !== 'take') bucket.used = usedWith(bucket.used, hits, limit);
  } else {
    bucket.used = Math.max(0, bucket.used + hits);
    granted = amount - bucket.used + TOLERANCE >= 1;
  }
  const level = amount - bucket.used;
  return {
    granted,
    level,
    used: bucket.used,
    remaining: Math.max(0, Math.floor(level + TOLERANCE)),
    resetMs: Math.ceil((bucket.used * unitMs) / Math.max(1, amount)),
  };
}

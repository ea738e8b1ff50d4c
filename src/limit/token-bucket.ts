/**
 * A token bucket with continuous refill.
 *
 * Invariant: over any interval, taken − given back ≤ burst + rate · time. `settle` may leave the bucket in debt when
 * a request used more than was reserved; the debt is paid from the refill before anything else is granted.
 */
export interface BucketLimit {
  readonly perMinute: number;
  /** Capacity. */
  readonly burst: number;
}

export type Take =
  | { readonly kind: 'taken' }
  | { readonly kind: 'short'; readonly retryAfterMs: number }
  /** More than the bucket ever holds: waiting does not help. */
  | { readonly kind: 'never' };

export interface TokenBucket {
  take(amount: number, nowMs: number): Take;
  /** Corrects an earlier take of `reserved` to `used`. */
  settle(reserved: number, used: number, nowMs: number): void;
  /** What can be taken now; negative while in debt. */
  available(nowMs: number): number;
  /** Time until the bucket is full again. */
  msUntilFull(nowMs: number): number;
  limit(): BucketLimit;
  /** A new limit keeps the level, cut to the new burst: a reload is no gift. */
  reconfigure(limit: BucketLimit, nowMs: number): void;
}

const MS_PER_MINUTE = 60_000;

export function createTokenBucket(initial: BucketLimit, nowMs: number): TokenBucket {
  let limit = initial;
  let level = initial.burst;
  let atMs = nowMs;

  /** A clock that goes backwards refills nothing and loses nothing. */
  const refill = (now: number): void => {
    if (now <= atMs) return;
    level = Math.min(limit.burst, level + ((now - atMs) * limit.perMinute) / MS_PER_MINUTE);
    atMs = now;
  };
  const msFor = (amount: number): number => (amount <= 0 ? 0 : (amount * MS_PER_MINUTE) / limit.perMinute);

  return {
    take(amount, now) {
      refill(now);
      if (amount > limit.burst) return { kind: 'never' };
      // The refill is a product of floats: without the tolerance a client that comes back exactly after
      // Retry-After could miss by the last bit.
      if (amount > level + 1e-6) return { kind: 'short', retryAfterMs: Math.ceil(msFor(amount - level)) };
      level -= amount;
      return { kind: 'taken' };
    },
    settle(reserved, used, now) {
      refill(now);
      level = Math.min(limit.burst, level + reserved - used);
    },
    available(now) {
      refill(now);
      return level;
    },
    msUntilFull(now) {
      refill(now);
      return Math.ceil(msFor(limit.burst - level));
    },
    limit: () => limit,
    reconfigure(next, now) {
      refill(now);
      limit = next;
      level = Math.min(next.burst, level);
    },
  };
}

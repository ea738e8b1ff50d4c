/**
 * A tenant's contract: its request and token buckets, and the reservations that are not settled yet.
 *
 * Invariants: every reservation is settled exactly once (a second settle is a no-op); outstanding ≥ 0, and it is 0
 * when nothing is in flight.
 */
import type { Limits } from '../config/config.ts';
import { createTokenBucket, type Take, type TokenBucket } from './token-bucket.ts';

export interface Reservation {
  /** Tokens reserved. */
  readonly tokens: number;
  /** Takes more, at once, when more has been used than is reserved. */
  charge(usedTokens: number, nowMs: number): void;
  /** Replaces what was reserved by what was used. The first call counts. */
  settle(usedTokens: number, nowMs: number): void;
}

type Reserve =
  | { readonly kind: 'reserved'; readonly reservation: Reservation }
  | { readonly kind: 'short'; readonly retryAfterMs: number; readonly limit: number }
  | { readonly kind: 'never'; readonly limit: number };

/** The state of one bucket, as response headers show it. */
export interface BucketView {
  readonly limit: number;
  readonly remaining: number;
  readonly resetMs: number;
}

export interface TenantLimits {
  /** One request from the request bucket. */
  takeRequest(nowMs: number): Take;
  reserveTokens(tokens: number, nowMs: number): Reserve;
  /** Tokens reserved and not settled. */
  outstanding(): number;
  requests(nowMs: number): BucketView | undefined;
  tokens(nowMs: number): BucketView | undefined;
  reconfigure(limits: Limits, nowMs: number): void;
}

export function createTenantLimits(initial: Limits, nowMs: number): TenantLimits {
  let requestBucket: TokenBucket | undefined;
  let tokenBucket: TokenBucket | undefined;
  let outstanding = 0;

  const configure = (
    bucket: TokenBucket | undefined,
    perMinute: number | undefined,
    burst: number | undefined,
    now: number,
  ): TokenBucket | undefined => {
    if (perMinute === undefined) return undefined;
    const limit = { perMinute, burst: burst ?? perMinute };
    if (bucket === undefined) return createTokenBucket(limit, now);
    bucket.reconfigure(limit, now);
    return bucket;
  };
  const apply = (limits: Limits, now: number): void => {
    requestBucket = configure(requestBucket, limits.requestsPerMinute, limits.requestBurst, now);
    tokenBucket = configure(tokenBucket, limits.tokensPerMinute, limits.tokenBurst, now);
  };
  apply(initial, nowMs);

  const view = (bucket: TokenBucket | undefined, now: number): BucketView | undefined =>
    bucket && {
      limit: bucket.limit().perMinute,
      remaining: Math.max(0, Math.floor(bucket.available(now) + 1e-6)),
      resetMs: bucket.msUntilFull(now),
    };

  return {
    takeRequest: (now) => requestBucket?.take(1, now) ?? { kind: 'taken' },
    reserveTokens(tokens, now) {
      const bucket = tokenBucket;
      const take = bucket?.take(tokens, now) ?? { kind: 'taken' };
      if (bucket !== undefined && take.kind === 'short') {
        return { kind: 'short', retryAfterMs: take.retryAfterMs, limit: bucket.limit().perMinute };
      }
      if (bucket !== undefined && take.kind === 'never')
        return { kind: 'never', limit: bucket.limit().burst };
      outstanding += tokens;
      let open = true;
      let held = tokens;
      // A reload may have put another bucket in place, or none: what was never taken there is not given back.
      const correct = (used: number, at: number): void => {
        if (bucket !== undefined && bucket === tokenBucket) bucket.settle(held, used, at);
      };
      return {
        kind: 'reserved',
        reservation: {
          tokens,
          charge(used, at) {
            if (!open || used <= held) return;
            correct(used, at);
            outstanding += used - held;
            held = used;
          },
          settle(used, at) {
            if (!open) return;
            open = false;
            outstanding -= held;
            correct(used, at);
          },
        },
      };
    },
    outstanding: () => outstanding,
    requests: (now) => view(requestBucket, now),
    tokens: (now) => view(tokenBucket, now),
    reconfigure: apply,
  };
}

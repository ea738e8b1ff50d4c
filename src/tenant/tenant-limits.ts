/**
 * A tenant's contract: its request and token buckets and its monthly quota, and the reservations that are not settled yet.
 * The levels are in a store, which other replicas may share.
 *
 * Invariants: every reservation is settled exactly once (a second settle is a no-op); outstanding ≥ 0, and it is 0
 * when nothing is in flight. What was used beyond its reservation is a debt, paid from the refill before anything else
 * is granted.
 */
import type { Limits } from '../config/config.ts';
import type { BucketRequest, LimitStore, Taken } from '../limit/store.ts';
import { Bucket, type BucketView } from './bucket.ts';

export interface Reservation {
  /** Tokens reserved. */
  readonly tokens: number;
  /** Takes more, at once, when more has been used than is reserved. */
  charge(usedTokens: number, nowMs: number): void;
  /** Replaces what was reserved by what was used. The first call counts. */
  settle(usedTokens: number, nowMs: number): void;
}

type TakeRequest =
  | { readonly kind: 'taken' }
  | { readonly kind: 'short'; readonly retryAfterMs: number; readonly limit: number };

export type ReservationResult =
  | { readonly kind: 'reserved'; readonly reservation: Reservation }
  | { readonly kind: 'short'; readonly retryAfterMs: number; readonly limit: number }
  /** More than the bucket ever holds: waiting does not help. */
  | { readonly kind: 'never'; readonly limit: number }
  /** The month's tokens are used up. */
  | { readonly kind: 'spent'; readonly retryAfterMs: number; readonly limit: number };

export interface TenantLimits {
  /** One request from the request bucket. A promise only when the store has to ask others; it never rejects. */
  takeRequest(nowMs: number): TakeRequest | Promise<TakeRequest>;
  reserveTokens(tokens: number, nowMs: number): ReservationResult | Promise<ReservationResult>;
  /** Tokens reserved and not settled. */
  outstanding(): number;
  /** As this replica last saw it, refilled since; undefined where nothing is configured. */
  requests(nowMs: number): BucketView | undefined;
  tokens(nowMs: number): BucketView | undefined;
  month(nowMs: number): BucketView | undefined;
  reconfigure(limits: Limits): void;
}

export interface TenantLimitsOptions {
  readonly tenant: string;
  readonly limits: Limits;
  readonly store: LimitStore;
  /** Unix time: months are the calendar's, in UTC. */
  readonly unixMs: () => number;
}

/** Tokens that a request has reserved. Life: open, then settled, once. */
class TokenReservation implements Reservation {
  readonly tokens: number;
  private readonly limits: StoredTenantLimits;
  private readonly buckets: readonly Bucket[];
  private isOpen = true;
  /** Tokens taken so far. */
  private held: number;

  constructor(limits: StoredTenantLimits, buckets: readonly Bucket[], tokens: number) {
    this.limits = limits;
    this.buckets = buckets;
    this.tokens = tokens;
    this.held = tokens;
    limits.reserved(tokens);
  }

  charge(usedTokens: number, nowMs: number): void {
    if (!this.isOpen || usedTokens <= this.held) return;
    this.limits.correct(this.buckets, usedTokens - this.held, nowMs);
    this.limits.reserved(usedTokens - this.held);
    this.held = usedTokens;
  }

  settle(usedTokens: number, nowMs: number): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.limits.reserved(-this.held);
    this.limits.correct(this.buckets, usedTokens - this.held, nowMs);
  }
}

class StoredTenantLimits implements TenantLimits {
  private readonly tenant: string;
  private readonly store: LimitStore;
  private readonly unixMs: () => number;

  // What is configured.
  private requestBucket: Bucket | undefined = undefined;
  private tokenBucket: Bucket | undefined = undefined;
  private tokensPerMonth: number | undefined = undefined;
  /** Of the month that was looked at last. */
  private monthBucket: Bucket | undefined = undefined;

  /** Tokens reserved and not settled. */
  private open = 0;

  constructor({ tenant, limits, store, unixMs }: TenantLimitsOptions) {
    this.tenant = tenant;
    this.store = store;
    this.unixMs = unixMs;
    this.reconfigure(limits);
  }

  takeRequest(nowMs: number): TakeRequest | Promise<TakeRequest> {
    const bucket = this.requestBucket;
    if (bucket === undefined) return { kind: 'taken' };
    const taken = this.takeFrom([bucket], 1, 'take', nowMs);
    const outcome = ([one]: readonly Taken[]): TakeRequest =>
      one?.granted === true
        ? { kind: 'taken' }
        : { kind: 'short', retryAfterMs: bucket.msUntil(1, one?.level ?? 0), limit: bucket.shown };
    return 'then' in taken ? taken.then(outcome) : outcome(taken);
  }

  reserveTokens(tokens: number, nowMs: number): ReservationResult | Promise<ReservationResult> {
    const { tokenBucket } = this;
    if (tokenBucket !== undefined && tokens > tokenBucket.stored.amount) {
      return { kind: 'never', limit: tokenBucket.stored.amount };
    }
    const buckets = [tokenBucket, this.monthNow()].filter((bucket) => bucket !== undefined);
    if (tokens === 0 || buckets.length === 0) {
      return { kind: 'reserved', reservation: new TokenReservation(this, buckets, tokens) };
    }
    const taken = this.takeFrom(buckets, tokens, 'take', nowMs);
    return 'then' in taken
      ? taken.then((all) => this.outcomeOf(buckets, all, tokens, nowMs))
      : this.outcomeOf(buckets, taken, tokens, nowMs);
  }

  outstanding(): number {
    return this.open;
  }

  requests(nowMs: number): BucketView | undefined {
    return this.view(this.requestBucket, nowMs);
  }

  tokens(nowMs: number): BucketView | undefined {
    return this.view(this.tokenBucket, nowMs);
  }

  month(nowMs: number): BucketView | undefined {
    return this.view(this.monthNow(), nowMs);
  }

  reconfigure(next: Limits): void {
    const { requestsPerMinute, requestBurst, tokensPerMinute, tokenBurst, tokensPerMonth } = next;
    this.requestBucket = this.configured(this.requestBucket, 'requests', requestsPerMinute, requestBurst);
    this.tokenBucket = this.configured(this.tokenBucket, 'tokens', tokensPerMinute, tokenBurst);
    if (tokensPerMonth !== this.tokensPerMonth && this.monthBucket !== undefined) {
      this.monthBucket.isGone = tokensPerMonth === undefined;
      this.monthBucket = undefined;
    }
    this.tokensPerMonth = tokensPerMonth;
  }

  // ---- For its reservations.

  /** Counts what is outstanding. */
  reserved(more: number): void {
    this.open += more;
  }

  /** Takes what was used more (or, negative, gives back what was used less) than was taken. Nobody waits for it. */
  correct(buckets: readonly Bucket[], tokens: number, nowMs: number): void {
    const known = buckets.filter(({ isGone }) => !isGone);
    if (tokens !== 0 && known.length > 0) void this.takeFrom(known, tokens, 'report', nowMs);
  }

  // ---- Buckets.

  private configured(
    bucket: Bucket | undefined,
    name: string,
    perMinute: number | undefined,
    burst: number | undefined,
  ): Bucket | undefined {
    if (perMinute === undefined) {
      if (bucket !== undefined) bucket.isGone = true;
      return undefined;
    }
    if (bucket === undefined) return Bucket.perMinute(`tenant:${this.tenant}:${name}`, perMinute, burst);
    bucket.reconfigure(perMinute, burst);
    return bucket;
  }

  private monthNow(): Bucket | undefined {
    if (this.tokensPerMonth === undefined) return undefined;
    const unixMs = this.unixMs();
    if (this.monthBucket?.endsMs === undefined || unixMs >= this.monthBucket.endsMs) {
      this.monthBucket = Bucket.ofMonth(`tenant:${this.tenant}:tokens`, this.tokensPerMonth, unixMs);
    }
    return this.monthBucket;
  }

  private takeFrom(
    buckets: readonly Bucket[],
    hits: number,
    mode: NonNullable<BucketRequest['mode']>,
    nowMs: number,
  ): readonly Taken[] | Promise<readonly Taken[]> {
    const taken = this.store.take(
      buckets.map(({ key, stored }) => ({ key, limit: stored, hits, mode })),
      nowMs,
    );
    const note = (all: readonly Taken[]): readonly Taken[] => {
      all.forEach((one, i) => buckets[i]?.note(one, nowMs));
      return all;
    };
    return 'then' in taken ? taken.then(note) : note(taken);
  }

  /** Of several buckets, all or none: what the others gave is given back when one refuses. */
  private outcomeOf(
    buckets: readonly Bucket[],
    taken: readonly Taken[],
    tokens: number,
    nowMs: number,
  ): ReservationResult {
    const refusing = buckets.findIndex((_, i) => taken[i]?.granted !== true);
    const bucket = buckets[refusing];
    if (bucket === undefined) {
      return { kind: 'reserved', reservation: new TokenReservation(this, buckets, tokens) };
    }
    const granted = buckets.filter((_, i) => taken[i]?.granted === true);
    this.correct(granted, -tokens, nowMs);
    const { shown, endsMs } = bucket;
    if (endsMs !== undefined) {
      return { kind: 'spent', retryAfterMs: Math.max(0, endsMs - this.unixMs()), limit: shown };
    }
    const level = taken[refusing]?.level ?? 0;
    return { kind: 'short', retryAfterMs: bucket.msUntil(tokens, level), limit: shown };
  }

  /** What this replica has not seen yet is asked for; an answer that takes its time is for the next look. */
  private view(bucket: Bucket | undefined, nowMs: number): BucketView | undefined {
    if (bucket === undefined) return undefined;
    if (!bucket.isKnown()) void this.takeFrom([bucket], 0, 'take', nowMs);
    return bucket.view(nowMs, this.unixMs());
  }
}

export const createTenantLimits = (options: TenantLimitsOptions): TenantLimits =>
  new StoredTenantLimits(options);

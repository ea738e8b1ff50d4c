/**
 * A tenant's contract: its request and token buckets and its monthly quota, and the reservations that are not settled yet.
 * The levels are in a store, which other replicas may share.
 *
 * Invariants: every reservation is settled exactly once (a second settle is a no-op); outstanding ≥ 0, and it is 0
 * when nothing is in flight. What was used beyond its reservation is a debt, paid from the refill before anything else
 * is granted.
 */
import type { Limits } from '../config/config.ts';
import type { BucketRequest, LimitStore, StoredLimit, Taken } from '../limit/store.ts';

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

/** The state of one bucket, as response headers show it. */
export interface BucketView {
  readonly limit: number;
  readonly remaining: number;
  readonly resetMs: number;
}

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

interface Bucket {
  readonly key: string;
  /** As clients are told. */
  shown: number;
  stored: StoredLimit;
  /** When a month ends, in Unix time. */
  readonly endsMs?: number;
  seen: { readonly level: number; readonly atMs: number } | undefined;
  /** Not configured any more: what was taken from it is nobody's. */
  isGone: boolean;
}

const MS_PER_MINUTE = 60_000;
/** Whatever is used is paid for. */
const MAX_DEBT = Number.MAX_SAFE_INTEGER;
/** A month's tokens do not come back: less than 0.0001 % of them in a month. */
const NO_REFILL_MS = Number.MAX_SAFE_INTEGER;
/** A month and some. */
const KEEP_MONTH_MS = 40 * 24 * 3_600_000;
const TOLERANCE = 1e-6;

/** Time until `level` has become `wanted`. */
const msUntil = (wanted: number, level: number, { amount, unitMs }: StoredLimit): number =>
  Math.max(0, Math.ceil(((wanted - level) * unitMs) / amount));

const levelAt = ({ seen, stored }: Bucket, nowMs: number): number =>
  seen === undefined
    ? stored.amount
    : Math.min(stored.amount, seen.level + (Math.max(0, nowMs - seen.atMs) * stored.amount) / stored.unitMs);

export function createTenantLimits({ tenant, limits, store, unixMs }: TenantLimitsOptions): TenantLimits {
  let requestBucket: Bucket | undefined;
  let tokenBucket: Bucket | undefined;
  let monthBucket: Bucket | undefined;
  let tokensPerMonth: number | undefined;
  let outstanding = 0;

  const configure = (
    bucket: Bucket | undefined,
    name: string,
    perMinute: number | undefined,
    burst: number | undefined,
  ): Bucket | undefined => {
    if (perMinute === undefined) {
      if (bucket !== undefined) bucket.isGone = true;
      return undefined;
    }
    const amount = burst ?? perMinute;
    const stored = { amount, unitMs: (amount * MS_PER_MINUTE) / perMinute, maxDebt: MAX_DEBT };
    if (bucket === undefined) {
      return { key: `tenant:${tenant}:${name}`, shown: perMinute, stored, seen: undefined, isGone: false };
    }
    if (bucket.stored.amount !== amount || bucket.shown !== perMinute) bucket.seen = undefined;
    bucket.shown = perMinute;
    bucket.stored = stored;
    return bucket;
  };
  const apply = (next: Limits): void => {
    requestBucket = configure(requestBucket, 'requests', next.requestsPerMinute, next.requestBurst);
    tokenBucket = configure(tokenBucket, 'tokens', next.tokensPerMinute, next.tokenBurst);
    if (next.tokensPerMonth !== tokensPerMonth && monthBucket !== undefined) {
      monthBucket.isGone = next.tokensPerMonth === undefined;
      monthBucket = undefined;
    }
    ({ tokensPerMonth } = next);
  };
  apply(limits);

  const monthNow = (): Bucket | undefined => {
    if (tokensPerMonth === undefined) return undefined;
    const now = unixMs();
    if (monthBucket?.endsMs !== undefined && now < monthBucket.endsMs) return monthBucket;
    const date = new Date(now);
    const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
    monthBucket = {
      key: `tenant:${tenant}:tokens:${year}-${month + 1}`,
      shown: tokensPerMonth,
      stored: { amount: tokensPerMonth, unitMs: NO_REFILL_MS, maxDebt: MAX_DEBT, keepMs: KEEP_MONTH_MS },
      endsMs: Date.UTC(year, month + 1),
      seen: undefined,
      isGone: false,
    };
    return monthBucket;
  };

  const note = (buckets: readonly Bucket[], taken: readonly Taken[], nowMs: number): readonly Taken[] => {
    buckets.forEach((bucket, i) => {
      const one = taken[i];
      if (one !== undefined) bucket.seen = { level: one.level, atMs: nowMs };
    });
    return taken;
  };
  const takeFrom = (
    buckets: readonly Bucket[],
    hits: number,
    mode: NonNullable<BucketRequest['mode']>,
    nowMs: number,
  ): readonly Taken[] | Promise<readonly Taken[]> => {
    const taken = store.take(
      buckets.map(({ key, stored }) => ({ key, limit: stored, hits, mode })),
      nowMs,
    );
    return 'then' in taken ? taken.then((all) => note(buckets, all, nowMs)) : note(buckets, taken, nowMs);
  };
  /** What was used more (or, negative, less) than was taken. Nobody waits for it. */
  const correct = (buckets: readonly Bucket[], tokens: number, nowMs: number): void => {
    const known = buckets.filter(({ isGone }) => !isGone);
    if (tokens !== 0 && known.length > 0) void takeFrom(known, tokens, 'report', nowMs);
  };

  const reservationOf = (buckets: readonly Bucket[], tokens: number): Reservation => {
    outstanding += tokens;
    let open = true;
    let held = tokens;
    return {
      tokens,
      charge(used, at) {
        if (!open || used <= held) return;
        correct(buckets, used - held, at);
        outstanding += used - held;
        held = used;
      },
      settle(used, at) {
        if (!open) return;
        open = false;
        outstanding -= held;
        correct(buckets, used - held, at);
      },
    };
  };

  const reserved = (
    buckets: readonly Bucket[],
    taken: readonly Taken[],
    tokens: number,
    nowMs: number,
  ): ReservationResult => {
    const refusing = buckets.findIndex((_, i) => taken[i]?.granted !== true);
    const bucket = buckets[refusing];
    if (bucket === undefined) return { kind: 'reserved', reservation: reservationOf(buckets, tokens) };
    correct(
      buckets.filter((_, i) => taken[i]?.granted === true),
      -tokens,
      nowMs,
    );
    const { shown, stored, endsMs } = bucket;
    if (endsMs !== undefined) {
      return { kind: 'spent', retryAfterMs: Math.max(0, endsMs - unixMs()), limit: shown };
    }
    return {
      kind: 'short',
      retryAfterMs: msUntil(tokens, taken[refusing]?.level ?? 0, stored),
      limit: shown,
    };
  };

  /** What this replica has not seen yet is asked for; an answer that takes its time is for the next look. */
  const view = (bucket: Bucket | undefined, now: number): BucketView | undefined => {
    if (bucket === undefined) return undefined;
    if (bucket.seen === undefined) void takeFrom([bucket], 0, 'take', now);
    const level = levelAt(bucket, now);
    return {
      limit: bucket.shown,
      remaining: Math.max(0, Math.floor(level + TOLERANCE)),
      resetMs:
        bucket.endsMs === undefined
          ? msUntil(bucket.stored.amount, level, bucket.stored)
          : Math.max(0, bucket.endsMs - unixMs()),
    };
  };

  return {
    takeRequest(now) {
      const bucket = requestBucket;
      if (bucket === undefined) return { kind: 'taken' };
      const taken = takeFrom([bucket], 1, 'take', now);
      const outcome = ([one]: readonly Taken[]): TakeRequest =>
        one?.granted === true
          ? { kind: 'taken' }
          : { kind: 'short', retryAfterMs: msUntil(1, one?.level ?? 0, bucket.stored), limit: bucket.shown };
      return 'then' in taken ? taken.then(outcome) : outcome(taken);
    },
    reserveTokens(tokens, now) {
      if (tokenBucket !== undefined && tokens > tokenBucket.stored.amount) {
        return { kind: 'never', limit: tokenBucket.stored.amount };
      }
      const buckets = [tokenBucket, monthNow()].filter((bucket) => bucket !== undefined);
      if (tokens === 0 || buckets.length === 0) {
        return { kind: 'reserved', reservation: reservationOf(buckets, tokens) };
      }
      const taken = takeFrom(buckets, tokens, 'take', now);
      return 'then' in taken
        ? taken.then((all) => reserved(buckets, all, tokens, now))
        : reserved(buckets, taken, tokens, now);
    },
    outstanding: () => outstanding,
    requests: (now) => view(requestBucket, now),
    tokens: (now) => view(tokenBucket, now),
    month: (now) => view(monthNow(), now),
    reconfigure: apply,
  };
}

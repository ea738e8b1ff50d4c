/**
 * A tenant's contract: its request and token buckets and its monthly quota, and the reservations that are not settled yet.
 * The levels are in a store, which other replicas may share.
 *
 * Invariants: every reservation is settled exactly once (a second settle is a no-op); outstanding ≥ 0, and it is 0
 * when nothing is in flight. What was used beyond its reservation is a debt, paid from the refill before anything else
 * is granted.
 */
import type { Limits } from '../config/config.ts';
import type { LimitScope } from '../domain/limit-scope.ts';
import type { StoredBucket } from '../limit/memory-store.ts';
import type { BucketRequest, LimitStore, Taken } from '../limit/store.ts';
import { TOLERANCE } from '../limit/used.ts';
import { Bucket, type BucketView } from './bucket.ts';

export interface Reservation {
  /** Tokens reserved. */
  readonly tokens: number;
  /** Takes more, at once, when more has been used than is reserved. */
  charge(usedTokens: number, nowMs: number): void;
  /** Replaces what was reserved by what was used. The first call counts. */
  settle(usedTokens: number, nowMs: number): void;
}

/** Whose limit refuses; absent: the tenant's own. */
interface Scoped {
  readonly scope?: LimitScope;
}

export type TakeRequest =
  | { readonly kind: 'taken' }
  | ({ readonly kind: 'short'; readonly retryAfterMs: number; readonly limit: number } & Scoped);

export type ReservationResult =
  | { readonly kind: 'reserved'; readonly reservation: Reservation }
  | ({ readonly kind: 'short'; readonly retryAfterMs: number; readonly limit: number } & Scoped)
  /** More than the bucket ever holds: waiting does not help. */
  | ({ readonly kind: 'never'; readonly limit: number } & Scoped)
  /** The month's tokens are used up. */
  | ({ readonly kind: 'spent'; readonly retryAfterMs: number; readonly limit: number } & Scoped);

export type WouldReserve = { readonly kind: 'fits' } | Exclude<ReservationResult, { kind: 'reserved' }>;

/** The limits that a request is within: a tenant's, and with them those of its key and of its model (limit-chain.ts). */
export interface RequestLimits {
  /** One request from the request bucket. A promise only when the store has to ask others; it never rejects. */
  takeRequest(nowMs: number): TakeRequest | Promise<TakeRequest>;
  /** Gives one back that was taken: another limit has refused it. */
  returnRequest(nowMs: number): void;
  reserveTokens(tokens: number, nowMs: number): ReservationResult | Promise<ReservationResult>;
  /** As this replica last saw it, refilled since; undefined where nothing is configured. */
  requests(nowMs: number): BucketView | undefined;
  tokens(nowMs: number): BucketView | undefined;
  month(nowMs: number): BucketView | undefined;
  /** What would become of a request, by what was last seen: of one bucket, and of a reservation. */
  wouldTakeRequest(nowMs: number): TakeRequest;
  wouldReserve(tokens: number, nowMs: number): WouldReserve;
  /** The tenant's, with those of a key and of a model; the tenant's own where those have none. */
  within(keyId: string | undefined, model: string | undefined): RequestLimits;
  /** Those of a model alone; undefined: it has none. */
  ofModel(model: string): RequestLimits | undefined;
}

export interface TenantLimits extends RequestLimits {
  /** Tokens reserved and not settled. */
  outstanding(): number;
  /** Asks the store what is left of each bucket, also of keys and models, and takes nothing. A promise only when it has to ask others. */
  look(nowMs: number): void | Promise<void>;
  reconfigure(limits: Limits): void;
  /** Itself, and those of keys and models that were used so far. */
  parts(): Iterable<TenantLimits>;
  /** What this replica knows to be used of the month, for a restart without the store; undefined: nothing. */
  monthUsed(): StoredBucket | undefined;
  /** Takes that over where this month is among what was stored, by key; also of keys and models. */
  restoreMonth(stored: ReadonlyMap<string, StoredBucket>): void;
}

/** The limits of a tenant's keys and models (limit-scopes.ts). */
export interface Scopes {
  reconfigure(limits: Limits): void;
  /** What a request is within; undefined: within the tenant's own alone. */
  chain(own: RequestLimits, keyId: string | undefined, model: string | undefined): RequestLimits | undefined;
  ofModel(model: string): RequestLimits | undefined;
  /** Those that were asked for so far. */
  made(): Iterable<TenantLimits>;
  look(nowMs: number): Promise<unknown> | undefined;
  restoreMonths(stored: ReadonlyMap<string, StoredBucket>): void;
}

/** Makes the limits of one; `scope` names its buckets. */
export type CreateScope = (scope: string, limits: Limits) => TenantLimits;

export interface TenantLimitsOptions {
  readonly tenant: string;
  readonly limits: Limits;
  readonly store: LimitStore;
  /** Unix time: months are the calendar's, in UTC. */
  readonly unixMs: () => number;
  /** Absent: keys and models have none of their own. */
  readonly scopes?: (create: CreateScope) => Scopes;
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
    const used = possible(usedTokens, this.held);
    if (!this.isOpen || used <= this.held) return;
    this.limits.correct(this.buckets, used - this.held, nowMs);
    this.limits.reserved(used - this.held);
    this.held = used;
  }

  settle(usedTokens: number, nowMs: number): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.limits.reserved(-this.held);
    this.limits.correct(this.buckets, possible(usedTokens, this.held) - this.held, nowMs);
  }
}

/** A count of tokens that can be none moves nothing: one that is no number would stay in the bucket for ever. */
const possible = (tokens: number, held: number): number =>
  Number.isFinite(tokens) ? Math.max(0, tokens) : held;

/** Of buckets that are not configured at the moment, none. */
const inForce = (bucket: Bucket | undefined): Bucket | undefined =>
  bucket?.isGone === true ? undefined : bucket;

const shortOf = (bucket: Bucket, hits: number, level: number): Extract<TakeRequest, { kind: 'short' }> => ({
  kind: 'short',
  retryAfterMs: bucket.msUntil(hits, level),
  limit: bucket.shown,
});

class StoredTenantLimits implements TenantLimits {
  private readonly tenant: string;
  private readonly store: LimitStore;
  private readonly unixMs: () => number;
  private readonly newScopes: (() => Scopes) | undefined;

  // What is configured.
  private requestBucket: Bucket | undefined = undefined;
  private tokenBucket: Bucket | undefined = undefined;
  private tokensPerMonth: number | undefined = undefined;
  /** Of the month that was looked at last. */
  private monthBucket: Bucket | undefined = undefined;

  /** Of keys and models; undefined: none were ever configured. */
  private scopes: Scopes | undefined = undefined;

  /** Tokens reserved and not settled. */
  private open = 0;

  constructor({ tenant, limits, store, unixMs, scopes }: TenantLimitsOptions) {
    this.tenant = tenant;
    this.store = store;
    this.unixMs = unixMs;
    const create: CreateScope = (scope, of) =>
      createTenantLimits({ tenant: `${tenant}:${scope}`, limits: of, store, unixMs });
    this.newScopes = scopes && (() => scopes(create));
    this.reconfigure(limits);
  }

  takeRequest(nowMs: number): TakeRequest | Promise<TakeRequest> {
    const bucket = inForce(this.requestBucket);
    if (bucket === undefined) return { kind: 'taken' };
    const taken = this.takeFrom([bucket], 1, 'take', nowMs);
    const outcome = ([one]: readonly Taken[]): TakeRequest =>
      one?.granted === true ? { kind: 'taken' } : shortOf(bucket, 1, one?.level ?? 0);
    return 'then' in taken ? taken.then(outcome) : outcome(taken);
  }

  returnRequest(nowMs: number): void {
    const bucket = inForce(this.requestBucket);
    if (bucket !== undefined) this.correct([bucket], -1, nowMs);
  }

  within(keyId: string | undefined, model: string | undefined): RequestLimits {
    return this.scopes?.chain(this, keyId, model) ?? this;
  }

  ofModel(model: string): RequestLimits | undefined {
    return this.scopes?.ofModel(model);
  }

  reserveTokens(tokens: number, nowMs: number): ReservationResult | Promise<ReservationResult> {
    const never = this.neverFits(tokens);
    if (never !== undefined) return never;
    const buckets = this.tokenBuckets();
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
    return this.view(inForce(this.requestBucket), nowMs);
  }

  tokens(nowMs: number): BucketView | undefined {
    return this.view(inForce(this.tokenBucket), nowMs);
  }

  month(nowMs: number): BucketView | undefined {
    return this.view(this.monthNow(), nowMs);
  }

  look(nowMs: number): void | Promise<void> {
    const buckets = [inForce(this.requestBucket), ...this.tokenBuckets()].filter((one) => one !== undefined);
    const taken = buckets.length === 0 ? [] : this.takeFrom(buckets, 0, 'take', nowMs);
    const others = this.scopes?.look(nowMs);
    if ('then' in taken || others !== undefined) return Promise.all([taken, others]).then(() => undefined);
  }

  wouldTakeRequest(nowMs: number): TakeRequest {
    const bucket = inForce(this.requestBucket);
    const level = bucket?.levelAt(nowMs) ?? 1;
    return bucket === undefined || level + TOLERANCE >= 1 ? { kind: 'taken' } : shortOf(bucket, 1, level);
  }

  wouldReserve(tokens: number, nowMs: number): WouldReserve {
    const never = this.neverFits(tokens);
    if (never !== undefined) return never;
    const short = this.tokenBuckets().find((bucket) => bucket.levelAt(nowMs) + TOLERANCE < tokens);
    if (short === undefined || tokens === 0) return { kind: 'fits' };
    return this.shortage(short, tokens, short.levelAt(nowMs));
  }

  reconfigure(next: Limits): void {
    const { requestsPerMinute, requestBurst, tokensPerMinute, tokenBurst, tokensPerMonth } = next;
    this.requestBucket = this.configured(this.requestBucket, 'requests', requestsPerMinute, requestBurst);
    this.tokenBucket = this.configured(this.tokenBucket, 'tokens', tokensPerMinute, tokenBurst);
    this.tokensPerMonth = tokensPerMonth;
    if (tokensPerMonth !== undefined) this.monthBucket?.reconfigureMonth(tokensPerMonth);
    if (next.byKey !== undefined || next.byModel !== undefined) this.scopes ??= this.newScopes?.();
    this.scopes?.reconfigure(next);
  }

  *parts(): Iterable<TenantLimits> {
    yield this;
    yield* this.scopes?.made() ?? [];
  }

  monthUsed(): StoredBucket | undefined {
    const bucket = this.monthNow();
    if (bucket?.knownUsed === undefined) return undefined;
    const { amount, unitMs, keepMs } = bucket.stored;
    const stored = [bucket.key, amount, unitMs, amount - bucket.knownUsed] as const;
    return keepMs === undefined ? stored : [...stored, keepMs];
  }

  restoreMonth(stored: ReadonlyMap<string, StoredBucket>): void {
    const bucket = this.monthNow();
    const [, amount, , level] = stored.get(bucket?.key ?? '') ?? [];
    if (amount !== undefined && level !== undefined) bucket?.restore(amount - level);
    this.scopes?.restoreMonths(stored);
  }

  // ---- For its reservations.

  /** Counts what is outstanding. */
  reserved(more: number): void {
    this.open += more;
  }

  /** Takes what was used more (or, negative, gives back what was used less) than was taken. Nobody waits for it. */
  correct(buckets: readonly Bucket[], tokens: number, nowMs: number): void {
    if (tokens !== 0 && buckets.length > 0) void this.takeFrom(buckets, tokens, 'report', nowMs);
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
      return bucket;
    }
    if (bucket === undefined) return Bucket.perMinute(`tenant:${this.tenant}:${name}`, perMinute, burst);
    bucket.reconfigure(perMinute, burst);
    return bucket;
  }

  /** What tokens are taken from. */
  private tokenBuckets(): readonly Bucket[] {
    return [inForce(this.tokenBucket), this.monthNow()].filter((bucket) => bucket !== undefined);
  }

  /** The month of the clock, whichever way that goes: each month has what was used of it. */
  private monthNow(): Bucket | undefined {
    if (this.tokensPerMonth === undefined) return undefined;
    const unixMs = this.unixMs();
    if (this.monthBucket === undefined || this.monthBucket.isOver(unixMs)) {
      this.monthBucket = Bucket.ofMonth(`tenant:${this.tenant}:tokens`, this.tokensPerMonth, unixMs);
    }
    return this.monthBucket;
  }

  private neverFits(tokens: number): Extract<ReservationResult, { kind: 'never' }> | undefined {
    const bucket = inForce(this.tokenBucket);
    return bucket === undefined || tokens <= bucket.stored.amount
      ? undefined
      : { kind: 'never', limit: bucket.stored.amount };
  }

  private takeFrom(
    buckets: readonly Bucket[],
    hits: number,
    mode: NonNullable<BucketRequest['mode']>,
    nowMs: number,
  ): readonly Taken[] | Promise<readonly Taken[]> {
    const requests = buckets.map(
      ({ key, stored, knownUsed }): BucketRequest =>
        knownUsed === undefined
          ? { key, limit: stored, hits, mode }
          : { key, limit: stored, hits, mode, knownUsed },
    );
    const taken = this.store.take(requests, nowMs);
    const note = (all: readonly Taken[]): readonly Taken[] => {
      all.forEach((one, i) => buckets[i]?.note(one, requests[i]?.limit.amount ?? 0, nowMs));
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
    return this.shortage(bucket, tokens, taken[refusing]?.level ?? 0);
  }

  private shortage(
    bucket: Bucket,
    tokens: number,
    level: number,
  ): Extract<ReservationResult, { kind: 'short' | 'spent' }> {
    const { shown, month } = bucket;
    if (month === undefined) return shortOf(bucket, tokens, level);
    return { kind: 'spent', retryAfterMs: Math.max(0, month.endsMs - this.unixMs()), limit: shown };
  }

  /** What this replica has not seen yet is asked for; an answer that takes its time is for the next look. */
  private view(bucket: Bucket | undefined, nowMs: number): BucketView | undefined {
    if (bucket === undefined) return undefined;
    if (!bucket.isKnown) void this.takeFrom([bucket], 0, 'take', nowMs);
    return bucket.view(nowMs, this.unixMs());
  }
}

export const createTenantLimits = (options: TenantLimitsOptions): TenantLimits =>
  new StoredTenantLimits(options);

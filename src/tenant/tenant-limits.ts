/**
 * A tenant's contract: its request and token buckets, its tokens and its budget of a month, and the reservations that are
 * not settled yet.
 * The levels are in a store, which other replicas may share.
 *
 * Invariants: every reservation is settled exactly once (a second settle is a no-op); outstanding ≥ 0, and it is 0
 * when nothing is in flight. What was used beyond its reservation is a debt, paid from the refill before anything else
 * is granted.
 */
import type { Limits } from '../config/config.ts';
import type { Amount } from '../domain/amount.ts';
import type { StoredBucket } from '../limit/memory-store.ts';
import type { BucketRequest, LimitStore, Taken } from '../limit/store.ts';
import { TOLERANCE } from '../limit/used.ts';
import { Bucket, type BucketView } from './bucket.ts';
import { type MonthUse, monthUseOf, storedOf } from './month-use.ts';
import type {
  BudgetView,
  RequestLimits,
  ReservationResult,
  TakeRequest,
  WouldReserve,
} from './request-limits.ts';
import { hitsOf, nanoFor, OpenReservation, type PriceOf, type Use } from './reservation.ts';

export type {
  BudgetView,
  RequestLimits,
  ReservationResult,
  TakeRequest,
} from './request-limits.ts';
export type { PriceOf, Reservation } from './reservation.ts';

/** A part of what a tenant does: what is asked with a key, by what its buckets are called, or of a model. */
export interface PartName {
  readonly kind: 'key' | 'model';
  readonly name: string;
}

export interface TenantLimits extends RequestLimits {
  /** Whose they are; absent: the tenant's own. */
  readonly part?: PartName;
  /** Per cent at which is warned of them, where that is configured. */
  readonly budgetAlerts: readonly number[] | undefined;
  /** Tokens reserved and not settled. */
  outstanding(): number;
  /** What is used of the month's tokens and budget, as far as this replica knows. */
  monthUses(): readonly MonthUse[];
  /** Asks the store what is left of each bucket, also of keys and models, and takes nothing. A promise only when it has to ask others. */
  look(nowMs: number): void | Promise<void>;
  reconfigure(limits: Limits): void;
  /** Itself, and those of keys and models that were used so far. */
  parts(): Iterable<TenantLimits>;
  /** What this replica knows to be used of the month, for a restart without the store; undefined: nothing. */
  monthUsed(): StoredBucket | undefined;
  budgetUsed(): StoredBucket | undefined;
  /** Takes those over where this month is among what was stored, by key; also of keys and models. @returns whether it was, of its own. */
  restoreMonth(stored: ReadonlyMap<string, StoredBucket>): boolean;
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

/** Makes the limits of one. */
export type CreateScope = (part: PartName, limits: Limits) => TenantLimits;

export interface TenantLimitsOptions {
  readonly tenant: string;
  readonly limits: Limits;
  readonly store: LimitStore;
  /** Unix time: months are the calendar's, in UTC. */
  readonly unixMs: () => number;
  /** Absent: keys and models have none of their own. */
  readonly scopes?: (create: CreateScope) => Scopes;
  /** Absent: they are the tenant's own. */
  readonly part?: PartName;
}

/** Of buckets that are not configured at the moment, none. */
const inForce = (bucket: Bucket | undefined): Bucket | undefined =>
  bucket?.isGone === true ? undefined : bucket;

const shortOf = (bucket: Bucket, hits: number, level: number): Extract<TakeRequest, { kind: 'short' }> => ({
  kind: 'short',
  retryAfterMs: bucket.msUntil(hits, level),
  limit: bucket.shown,
});

/** One request. */
const ONE: Use = { tokens: 1, nano: 0 };
const NOTHING: Use = { tokens: 0, nano: 0 };
const ONE_BACK: Use = { tokens: -1, nano: 0 };

class StoredTenantLimits implements TenantLimits {
  readonly part?: PartName;
  budgetAlerts: readonly number[] | undefined = undefined;
  private readonly tenant: string;
  private readonly store: LimitStore;
  private readonly unixMs: () => number;
  private readonly newScopes: (() => Scopes) | undefined;

  // What is configured.
  private requestBucket: Bucket | undefined = undefined;
  private tokenBucket: Bucket | undefined = undefined;
  private tokensPerMonth: number | undefined = undefined;
  private budgetPerMonth: Amount | undefined = undefined;
  private isBudgetSoft = false;
  // Of the month that was looked at last.
  private monthBucket: Bucket | undefined = undefined;
  private budgetBucket: Bucket | undefined = undefined;

  /** Of keys and models; undefined: none were ever configured. */
  private scopes: Scopes | undefined = undefined;

  /** Tokens reserved and not settled. */
  private open = 0;

  constructor({ tenant, limits, store, unixMs, scopes, part }: TenantLimitsOptions) {
    this.tenant = part === undefined ? tenant : `${tenant}:${part.kind}:${part.name}`;
    if (part !== undefined) this.part = part;
    this.store = store;
    this.unixMs = unixMs;
    const create: CreateScope = (of, limited) =>
      createTenantLimits({ tenant, limits: limited, store, unixMs, part: of });
    this.newScopes = scopes && (() => scopes(create));
    this.reconfigure(limits);
  }

  takeRequest(nowMs: number): TakeRequest | Promise<TakeRequest> {
    const bucket = inForce(this.requestBucket);
    if (bucket === undefined) return { kind: 'taken' };
    const taken = this.takeFrom([bucket], ONE, 'take', nowMs);
    const outcome = ([one]: readonly Taken[]): TakeRequest =>
      one?.granted === true ? { kind: 'taken' } : shortOf(bucket, 1, one?.level ?? 0);
    return 'then' in taken ? taken.then(outcome) : outcome(taken);
  }

  returnRequest(nowMs: number): void {
    const bucket = inForce(this.requestBucket);
    if (bucket !== undefined) this.correct([bucket], ONE_BACK, nowMs);
  }

  within(keyId: string | undefined, model: string | undefined): RequestLimits {
    return this.scopes?.chain(this, keyId, model) ?? this;
  }

  ofModel(model: string): RequestLimits | undefined {
    return this.scopes?.ofModel(model);
  }

  reserveTokens(
    tokens: number,
    nowMs: number,
    price?: PriceOf,
  ): ReservationResult | Promise<ReservationResult> {
    const never = this.neverFits(tokens);
    if (never !== undefined) return never;
    const use = { tokens, nano: this.nanoOf(price) };
    const buckets = this.usedBuckets();
    const asked = buckets.filter((bucket) => hitsOf(bucket, use) > 0);
    if (asked.length === 0) return this.reservation(buckets, use);
    const taken = this.takeFrom(asked, use, 'take', nowMs);
    const outcome = (all: readonly Taken[]): ReservationResult =>
      this.refusalOf(asked, all, use, nowMs) ?? this.reservation(buckets, use);
    return 'then' in taken ? taken.then(outcome) : outcome(taken);
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

  budget(nowMs: number): BudgetView | undefined {
    const bucket = this.budgetNow();
    const view = this.view(bucket, nowMs);
    return view && { ...view, currency: bucket?.currency ?? '', isSoft: this.isBudgetSoft };
  }

  monthUses(): readonly MonthUse[] {
    const buckets = [this.monthNow(), this.budgetNow()];
    return buckets.flatMap((bucket) => (bucket === undefined ? [] : monthUseOf(bucket)));
  }

  look(nowMs: number): void | Promise<void> {
    const buckets = [inForce(this.requestBucket), ...this.usedBuckets()].filter((one) => one !== undefined);
    const taken = buckets.length === 0 ? [] : this.takeFrom(buckets, NOTHING, 'take', nowMs);
    const others = this.scopes?.look(nowMs);
    if ('then' in taken || others !== undefined) return Promise.all([taken, others]).then(() => undefined);
  }

  wouldTakeRequest(nowMs: number): TakeRequest {
    const bucket = inForce(this.requestBucket);
    const level = bucket?.levelAt(nowMs) ?? 1;
    return bucket === undefined || level + TOLERANCE >= 1 ? { kind: 'taken' } : shortOf(bucket, 1, level);
  }

  wouldReserve(tokens: number, nowMs: number, price?: PriceOf): WouldReserve {
    const never = this.neverFits(tokens);
    if (never !== undefined) return never;
    const use = { tokens, nano: this.nanoOf(price) };
    const short = this.usedBuckets().find((bucket) => {
      const hits = hitsOf(bucket, use);
      return hits > 0 && !bucket.isSoft && bucket.levelAt(nowMs) + TOLERANCE < hits;
    });
    return short === undefined ? { kind: 'fits' } : this.shortage(short, use, short.levelAt(nowMs));
  }

  reconfigure(next: Limits): void {
    const { requestsPerMinute, requestBurst, tokensPerMinute, tokenBurst, tokensPerMonth } = next;
    this.requestBucket = this.configured(this.requestBucket, 'requests', requestsPerMinute, requestBurst);
    this.tokenBucket = this.configured(this.tokenBucket, 'tokens', tokensPerMinute, tokenBurst);
    this.tokensPerMonth = tokensPerMonth;
    if (tokensPerMonth !== undefined) this.monthBucket?.reconfigureMonth(tokensPerMonth);
    this.budgetPerMonth = next.budgetPerMonth;
    this.isBudgetSoft = next.onBudgetSpent === 'warn';
    this.budgetAlerts = next.budgetAlerts;
    if (next.byKey !== undefined || next.byModel !== undefined) this.scopes ??= this.newScopes?.();
    this.scopes?.reconfigure(next);
  }

  *parts(): Iterable<TenantLimits> {
    yield this;
    yield* this.scopes?.made() ?? [];
  }

  monthUsed(): StoredBucket | undefined {
    return storedOf(this.monthNow());
  }

  budgetUsed(): StoredBucket | undefined {
    return storedOf(this.budgetNow());
  }

  restoreMonth(stored: ReadonlyMap<string, StoredBucket>): boolean {
    let isStored = false;
    for (const bucket of [this.monthNow(), this.budgetNow()]) {
      const [, amount, , level] = stored.get(bucket?.key ?? '') ?? [];
      if (amount === undefined || level === undefined) continue;
      isStored = true;
      bucket?.restore(amount - level);
    }
    this.scopes?.restoreMonths(stored);
    return isStored;
  }

  // ---- For its reservations.

  /** Counts what is outstanding. */
  reserved(more: number): void {
    this.open += more;
  }

  /** Takes what was used more (or, negative, gives back what was used less) than was taken. Nobody waits for it. */
  correct(buckets: readonly Bucket[], more: Use, nowMs: number): void {
    const changed = buckets.filter((bucket) => hitsOf(bucket, more) !== 0);
    if (changed.length > 0) void this.takeFrom(changed, more, 'report', nowMs);
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

  /** What the use of a request is taken from. */
  private usedBuckets(): readonly Bucket[] {
    const all = [inForce(this.tokenBucket), this.monthNow(), this.budgetNow()];
    return all.filter((bucket) => bucket !== undefined);
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

  /** The same of its budget. One of another currency begins anew: nobody says what a unit is worth in the other. */
  private budgetNow(): Bucket | undefined {
    if (this.budgetPerMonth === undefined) return undefined;
    const { currency, nano } = this.budgetPerMonth;
    const unixMs = this.unixMs();
    let bucket = this.budgetBucket;
    if (bucket === undefined || bucket.currency !== currency || bucket.isOver(unixMs)) {
      bucket = Bucket.ofMonth(`tenant:${this.tenant}:budget:${currency}`, nano, unixMs, currency);
      this.budgetBucket = bucket;
    } else if (bucket.shown !== nano) bucket.reconfigureMonth(nano);
    bucket.isSoft = this.isBudgetSoft;
    return bucket;
  }

  private neverFits(tokens: number): Extract<ReservationResult, { kind: 'never' }> | undefined {
    const bucket = inForce(this.tokenBucket);
    return bucket === undefined || tokens <= bucket.stored.amount
      ? undefined
      : { kind: 'never', limit: bucket.stored.amount };
  }

  private takeFrom(
    buckets: readonly Bucket[],
    use: Use,
    asked: NonNullable<BucketRequest['mode']>,
    nowMs: number,
  ): readonly Taken[] | Promise<readonly Taken[]> {
    const requests = buckets.map((bucket): BucketRequest => {
      const { key, stored: limit, knownUsed } = bucket;
      const hits = hitsOf(bucket, use);
      const mode = bucket.isSoft ? 'report' : asked;
      return knownUsed === undefined ? { key, limit, hits, mode } : { key, limit, hits, mode, knownUsed };
    });
    const taken = this.store.take(requests, nowMs);
    const note = (all: readonly Taken[]): readonly Taken[] => {
      all.forEach((one, i) => buckets[i]?.note(one, requests[i]?.limit.amount ?? 0, nowMs));
      return all;
    };
    return 'then' in taken ? taken.then(note) : note(taken);
  }

  private reservation(buckets: readonly Bucket[], use: Use): ReservationResult {
    return { kind: 'reserved', reservation: new OpenReservation(this, buckets, use) };
  }

  private nanoOf(price: PriceOf | undefined): number {
    const budget = this.budgetNow();
    return budget === undefined ? 0 : nanoFor(budget, price?.());
  }

  /** Of several buckets, all or none: what the others gave is given back when one refuses. */
  private refusalOf(
    buckets: readonly Bucket[],
    taken: readonly Taken[],
    use: Use,
    nowMs: number,
  ): ReservationResult | undefined {
    const isGranted = ({ isSoft }: Bucket, i: number): boolean => isSoft || taken[i]?.granted === true;
    const refusing = buckets.findIndex((one, i) => !isGranted(one, i));
    const bucket = buckets[refusing];
    if (bucket === undefined) return undefined;
    bucket.hasRefused = true;
    this.correct(buckets.filter(isGranted), { tokens: -use.tokens, nano: -use.nano }, nowMs);
    return this.shortage(bucket, use, taken[refusing]?.level ?? 0);
  }

  private shortage(
    bucket: Bucket,
    use: Use,
    level: number,
  ): Extract<ReservationResult, { kind: 'short' | 'spent' }> {
    const { shown, month, currency } = bucket;
    if (month === undefined) return shortOf(bucket, hitsOf(bucket, use), level);
    const retryAfterMs = Math.max(0, month.endsMs - this.unixMs());
    const spent = { kind: 'spent', retryAfterMs, limit: shown } as const;
    return currency === undefined ? spent : { ...spent, currency };
  }

  /** What this replica has not seen yet is asked for; an answer that takes its time is for the next look. */
  private view(bucket: Bucket | undefined, nowMs: number): BucketView | undefined {
    if (bucket === undefined) return undefined;
    if (!bucket.isKnown) void this.takeFrom([bucket], NOTHING, 'take', nowMs);
    return bucket.view(nowMs, this.unixMs());
  }
}

export const createTenantLimits = (options: TenantLimitsOptions): TenantLimits =>
  new StoredTenantLimits(options);

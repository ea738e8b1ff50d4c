/** What a request asks of the limits that it is within: a tenant's, and with them those of its key and of its model. */
import type { LimitScope } from '../domain/limit-scope.ts';
import type { BucketView } from './bucket.ts';
import type { PriceOf, Reservation } from './reservation.ts';

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
  /** The month's tokens are used up, or its budget. */
  | ({
      readonly kind: 'spent';
      readonly retryAfterMs: number;
      readonly limit: number;
      /** Of a budget: `limit` is its amount. Absent: tokens. */
      readonly currency?: string;
    } & Scoped);

export type WouldReserve = { readonly kind: 'fits' } | Exclude<ReservationResult, { kind: 'reserved' }>;

export interface BudgetView extends BucketView {
  readonly currency: string;
  /** It refuses nobody. */
  readonly isSoft: boolean;
}

export interface RequestLimits {
  /** One request from the request bucket. A promise only when the store has to ask others; it never rejects. */
  takeRequest(nowMs: number): TakeRequest | Promise<TakeRequest>;
  /** Gives one back that was taken: another limit has refused it. */
  returnRequest(nowMs: number): void;
  /** @param price what they will cost, as predicted: asked for only where there is a budget. Absent: nothing. */
  reserveTokens(
    tokens: number,
    nowMs: number,
    price?: PriceOf,
  ): ReservationResult | Promise<ReservationResult>;
  /** As this replica last saw it, refilled since; undefined where nothing is configured. */
  requests(nowMs: number): BucketView | undefined;
  tokens(nowMs: number): BucketView | undefined;
  month(nowMs: number): BucketView | undefined;
  /** In 10^-9 of the currency's unit. */
  budget(nowMs: number): BudgetView | undefined;
  /** What would become of a request, by what was last seen: of one bucket, and of a reservation. */
  wouldTakeRequest(nowMs: number): TakeRequest;
  wouldReserve(tokens: number, nowMs: number, price?: PriceOf): WouldReserve;
  /** The tenant's, with those of a key and of a model; the tenant's own where those have none. */
  within(keyId: string | undefined, model: string | undefined): RequestLimits;
  /** Those of a model alone; undefined: it has none. */
  ofModel(model: string): RequestLimits | undefined;
}

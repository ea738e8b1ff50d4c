/** What a request has reserved of its tenant's buckets, until it is known what it used. */
import { type Amount, amountOf } from '../domain/amount.ts';
import type { Money } from '../domain/money.ts';
import type { Bucket } from './bucket.ts';

/** What a request will cost, as predicted; undefined: nothing has a price. */
export type PriceOf = () => Amount | undefined;

export interface Reservation {
  /** Tokens reserved. */
  readonly tokens: number;
  /**
   * Takes more, at once, when more has been used than is reserved.
   *
   * @param usedNano what that costs, in the currency of the price that was reserved; absent: no more than that.
   */
  charge(usedTokens: number, nowMs: number, usedNano?: number): void;
  /** Replaces what was reserved by what was used. The first call counts. @param price absent: nothing is charged. */
  settle(usedTokens: number, nowMs: number, price?: Money): void;
}

/** Where reservations are kept. */
interface Accounts {
  /** Counts tokens that are outstanding. */
  reserved(more: number): void;
  /** Takes what was used more (or, negative, gives back what was used less) than was taken. Nobody waits for it. */
  correct(buckets: readonly Bucket[], more: Use, nowMs: number): void;
}

/** What a request uses: tokens, and money. */
export interface Use {
  readonly tokens: number;
  readonly nano: number;
}

/** What that is in the unit of a bucket. */
export const hitsOf = ({ currency }: Bucket, { tokens, nano }: Use): number =>
  currency === undefined ? tokens : nano;

/** Tokens and money that a request has reserved. Life: open, then settled, once. */
export class OpenReservation implements Reservation {
  readonly tokens: number;
  private readonly limits: Accounts;
  private readonly buckets: readonly Bucket[];
  private isOpen = true;
  // Taken so far.
  private heldTokens = 0;
  private heldNano = 0;

  constructor(limits: Accounts, buckets: readonly Bucket[], use: Use) {
    this.limits = limits;
    this.buckets = buckets;
    this.tokens = use.tokens;
    this.hold(use);
  }

  charge(usedTokens: number, nowMs: number, usedNano?: number): void {
    if (!this.isOpen) return;
    const { heldTokens, heldNano } = this;
    const more = {
      tokens: Math.max(0, possible(usedTokens, heldTokens) - heldTokens),
      // Where nothing was reserved, the price is of another currency, or there is none.
      nano: heldNano === 0 ? 0 : Math.max(0, possible(usedNano ?? 0, heldNano) - heldNano),
    };
    if (more.tokens === 0 && more.nano === 0) return;
    this.limits.correct(this.buckets, more, nowMs);
    this.hold(more);
  }

  settle(usedTokens: number, nowMs: number, price?: Money): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    const { heldTokens, heldNano } = this;
    const budget = this.buckets.find(({ currency }) => currency !== undefined);
    this.hold({ tokens: -heldTokens, nano: -heldNano });
    const more = {
      tokens: possible(usedTokens, heldTokens) - heldTokens,
      nano: possible(chargedOf(budget, price), heldNano) - heldNano,
    };
    this.limits.correct(this.buckets, more, nowMs);
  }

  private hold(more: Use): void {
    this.heldTokens += more.tokens;
    this.heldNano += more.nano;
    this.limits.reserved(more.tokens);
    for (const bucket of this.buckets) bucket.open += hitsOf(bucket, more);
  }
}

/** A price in the unit of a budget; of another currency, none. */
export const nanoFor = (budget: Bucket, price: Amount | undefined): number =>
  price !== undefined && price.currency === budget.currency ? price.nano : 0;

/** The same, of what is charged. */
const chargedOf = (budget: Bucket | undefined, price: Money | undefined): number =>
  budget === undefined || price === undefined ? 0 : nanoFor(budget, amountOf(price));

/** A count of tokens that can be none moves nothing: one that is no number would stay in the bucket for ever. */
const possible = (tokens: number, held: number): number =>
  Number.isFinite(tokens) ? Math.max(0, tokens) : held;

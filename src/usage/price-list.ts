/**
 * What a request is charged by price lists. Pure, exact: whole numbers of 10^-12 of a currency's unit, and what is rounded is
 * rounded once, at the end.
 *
 * The first list that has an entry at that time counts, and that entry alone: the tenant's own for the adapter, for the model,
 * for the rest; then the general ones.
 */
import type { PriceEntries, PriceEntry, PriceLists, PricesConfig } from '../config/prices.ts';
import { type Money, partOf } from '../domain/money.ts';
import type { PriceBook, PricedUse } from './price-book.ts';

/** Prices are for so many tokens. */
const TOKENS = 1_000_000n;
/** A million units: tables keep amounts, and their sums, as signed 64-bit numbers. */
const MOST_PICO = 10n ** 18n;

export class PriceList implements PriceBook {
  readonly #prices: PricesConfig;

  constructor(prices: PricesConfig) {
    this.#prices = prices;
  }

  /** @param unixMs an entry is valid from its time on, and at the time of the next one no more. */
  priceOf(use: PricedUse, unixMs: number): Money | undefined {
    const own = this.#prices.tenants.get(use.tenant);
    const entry =
      (own === undefined ? undefined : entryIn(own, use, unixMs)) ?? entryIn(this.#prices, use, unixMs);
    return entry === undefined ? undefined : { currency: entry.currency, pico: picoOf(entry, use) };
  }
}

function entryIn({ models, others }: PriceLists, { adapter, model }: PricedUse, unixMs: number) {
  return (
    (adapter === undefined ? undefined : validAt(models.get(adapter), unixMs)) ??
    validAt(models.get(model), unixMs) ??
    validAt(others, unixMs)
  );
}

function validAt(entries: PriceEntries | undefined, unixMs: number): PriceEntry | undefined {
  return entries?.findLast(({ fromMs }) => fromMs <= unixMs);
}

function picoOf(entry: PriceEntry, use: PricedUse): bigint {
  const prompt = countOf(use.promptTokens);
  const counted = countOf(use.cachedTokens);
  const cached = counted < prompt ? counted : prompt;
  const perMillion =
    (prompt - cached) * entry.prompt +
    cached * entry.cachedPrompt +
    countOf(use.completionTokens) * entry.completion;
  const pico = partOf(perMillion, 1n, TOKENS) + entry.request + countOf(use.images ?? 0) * entry.image;
  return pico < MOST_PICO ? pico : MOST_PICO;
}

/** What is no count is nothing. */
const countOf = (count: number): bigint => (Number.isSafeInteger(count) && count > 0 ? BigInt(count) : 0n);

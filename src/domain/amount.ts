/**
 * Amounts of money as buckets count them: whole numbers of 10^-9 of the currency's unit, in doubles. They are exact up to
 * 2^53, which is 9,007,199 units. money.ts has the exact amounts that are charged; here each is rounded once.
 */
import type { Money } from './money.ts';

export interface Amount {
  /** ISO 4217, three capital letters. */
  readonly currency: string;
  /** 10^-9 of the currency's unit, a whole number. */
  readonly nano: number;
}

const NANO = 1_000_000_000;
const PICO_PER_NANO = 1_000n;
const DECIMALS = 9;

/** The largest budget, in units: what is used of it stays exact. */
export const LARGEST_UNITS = 9_000_000;
export const LARGEST_NANO = LARGEST_UNITS * NANO;

/** Rounds half up. Less than nothing is nothing, and what is more than a bucket can count is the most that it can. */
export function amountOf({ currency, pico }: Money): Amount {
  const nano = Number((pico + PICO_PER_NANO / 2n) / PICO_PER_NANO);
  return { currency, nano: Math.min(Math.max(0, nano), Number.MAX_SAFE_INTEGER) };
}

/** Writes `2.50`: as many decimals as it takes, two at least. Below 0 is 0. */
export function nanoText(nano: number): string {
  const size = Math.max(0, Math.floor(nano));
  const fraction = String(size % NANO)
    .padStart(DECIMALS, '0')
    .replace(/0{1,7}$/, '');
  return `${Math.floor(size / NANO)}.${fraction}`;
}

/** Writes `2.50 EUR`. */
export const amountText = ({ currency, nano }: Amount): string => `${nanoText(nano)} ${currency}`;

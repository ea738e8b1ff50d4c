/** Currencies, as their users write amounts. */

const DEFAULT_DIGITS = 2;

/** By currency: to ask takes longer than to print a line. There are 26³ at most. */
const known = new Map<string, number>();

/** Decimals of a currency's smallest coin (ISO 4217): 2 of EUR, 0 of JPY, 3 of KWD; 2 of one that nobody knows. */
export function coinDigits(currency: string): number {
  const before = known.get(currency);
  if (before !== undefined) return before;
  const { maximumFractionDigits = DEFAULT_DIGITS } = new Intl.NumberFormat('en', {
    style: 'currency',
    currency,
  }).resolvedOptions();
  known.set(currency, maximumFractionDigits);
  return maximumFractionDigits;
}

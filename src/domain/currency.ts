/** Currencies, as their users write amounts. */

const DEFAULT_DIGITS = 2;

/** Decimals of a currency's smallest coin (ISO 4217): 2 of EUR, 0 of JPY, 3 of KWD; 2 of one that nobody knows. */
export function coinDigits(currency: string): number {
  const { maximumFractionDigits = DEFAULT_DIGITS } = new Intl.NumberFormat('en', {
    style: 'currency',
    currency,
  }).resolvedOptions();
  return maximumFractionDigits;
}

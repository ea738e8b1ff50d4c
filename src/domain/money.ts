/**
 * Amounts of money, exact: whole numbers of 10^-12 of a currency's unit, as bigints. A price of up to six decimals for a million
 * tokens is then a whole number for one token. Never a float.
 */

export interface Money {
  /** ISO 4217, three capital letters. */
  readonly currency: string;
  /** 10^-12 of the currency's unit. May be negative. */
  readonly pico: bigint;
}

const DECIMALS = 12;
const PICO = 10n ** BigInt(DECIMALS);

export const CURRENCY = /^[A-Z]{3}$/;
const DECIMAL = /^(\d{1,12})(?:\.(\d{1,12}))?$/;
const MONEY = /^(\S+) +([A-Z]{3})$/;

/** Reads a decimal number that is not negative, for example `2.50`; undefined: it is none, or has more than twelve digits on a side. */
export function picoOf(text: string): bigint | undefined {
  const [, whole, fraction = ''] = DECIMAL.exec(text) ?? [];
  if (whole === undefined) return undefined;
  return BigInt(whole) * PICO + BigInt(fraction.padEnd(DECIMALS, '0'));
}

/** Reads `2.50 EUR`; undefined: it is none. */
export function moneyOf(text: string): Money | undefined {
  const [, amount = '', currency] = MONEY.exec(text) ?? [];
  const pico = picoOf(amount);
  return pico === undefined || currency === undefined ? undefined : { currency, pico };
}

/**
 * Writes an amount as a decimal number, without the currency.
 *
 * @param decimals digits after the point, rounded half away from zero; undefined: as many as it takes, two at least.
 */
export function decimalOf(pico: bigint, decimals?: number): string {
  const sign = pico < 0n ? '-' : '';
  const size = pico < 0n ? -pico : pico;
  const unit = 10n ** BigInt(DECIMALS - (decimals ?? DECIMALS));
  const rounded = ((size + unit / 2n) / unit) * unit;
  const whole = (rounded / PICO).toString();
  const all = (rounded % PICO).toString().padStart(DECIMALS, '0');
  const fraction = decimals === undefined ? all.replace(/0{1,10}$/, '') : all.slice(0, decimals);
  return `${rounded === 0n ? '' : sign}${whole}${fraction === '' ? '' : `.${fraction}`}`;
}

/** Writes `2.50 EUR`. */
export const moneyText = ({ currency, pico }: Money, decimals?: number): string =>
  `${decimalOf(pico, decimals)} ${currency}`;

/** Multiplies by a count that is not negative, and divides, rounding half up: `per` of a unit cost `pico`. */
export const partOf = (pico: bigint, count: bigint, per: bigint): bigint => (pico * count + per / 2n) / per;

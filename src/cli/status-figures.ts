/** How figures of the status are written. Pure. */

const LARGE: readonly (readonly [least: number, unit: string])[] = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e5, 'k'],
];

/** Whole, with commas; from 100,000 on three digits and a unit. */
export function whole(value: number): string {
  const [, unit] = LARGE.find(([least]) => Math.abs(value) >= least) ?? [];
  if (unit === undefined) return Math.round(value).toLocaleString('en-US');
  const scale = unit === 'k' ? 1e3 : (LARGE.find(([, name]) => name === unit)?.[0] ?? 1);
  return `${Number((value / scale).toPrecision(3)).toString()}${unit}`;
}

/** A rate: with a tenth below 10. */
export const rate = (value: number): string => (value >= 10 || value === 0 ? whole(value) : value.toFixed(1));

/** Undefined: nothing is known, or configured. */
export const orDash = (value: number | undefined, write: (value: number) => string = whole): string =>
  value === undefined ? '-' : write(value);

const AMOUNT = /^(\d+)\.(\d*) ([A-Z]{3})$/;
const CENTS = 2;
const DIGITS_BELOW_ONE = 3;

/** What is left of a budget, cut to cents; below one unit to three digits that say something, so that little is not nothing. */
export function amountLeft(text: string): string {
  const [, units = '', fraction = '', currency = ''] = AMOUNT.exec(text) ?? [];
  if (currency === '') return text;
  const zeros = /^0*/.exec(fraction)?.[0].length ?? 0;
  const isLittle = Number(units) === 0 && zeros < fraction.length;
  const digits = isLittle ? fraction.slice(0, zeros + DIGITS_BELOW_ONE) : fraction.slice(0, CENTS);
  const shown = digits.replace(/0+$/, '').padEnd(CENTS, '0');
  return `${Number(units).toLocaleString('en-US')}.${shown} ${currency}`;
}

/** Of 0 to 1, in per cent. */
export const percent = (part: number): string => `${Math.round(100 * part)}`;

const UNITS: readonly (readonly [ms: number, name: string])[] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1_000, 's'],
];

/** A time that has gone by: its largest unit, and the next one below 10. */
export function span(ms: number): string {
  const at = UNITS.findIndex(([unitMs]) => ms >= unitMs);
  const [unitMs, name] = UNITS[at] ?? [1_000, 's'];
  const many = Math.floor(Math.max(0, ms) / unitMs);
  const [nextMs, next] = (at < 0 ? undefined : UNITS[at + 1]) ?? [];
  const rest = nextMs === undefined ? 0 : Math.floor((ms - many * unitMs) / nextMs);
  return many < 10 && rest > 0 && next !== undefined ? `${many} ${name} ${rest} ${next}` : `${many} ${name}`;
}

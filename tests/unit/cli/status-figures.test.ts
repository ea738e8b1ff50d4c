import { expect, it } from 'vitest';
import { amountLeft, orDash, percent, rate, span, whole } from '../../../src/cli/status-figures.ts';

it.each([
  [0, '0'],
  [999.6, '1,000'],
  [99_999, '99,999'],
  [123_456, '123k'],
  [1_234_567, '1.23M'],
  [5e9, '5G'],
  [7.25e13, '72.5T'],
  [-123_456, '-123k'],
])('%d is written %s', (value, text) => {
  expect(whole(value)).toBe(text);
});

it('rates below 10 have a tenth', () => {
  expect([0, 0.25, 9.94, 10.6, 12_345].map(rate)).toEqual(['0', '0.3', '9.9', '11', '12,345']);
});

it.each([
  [-5, '0 s'],
  [0, '0 s'],
  [59_999, '59 s'],
  [61_000, '1 min 1 s'],
  [720_000, '12 min'],
  [11_520_000, '3 h 12 min'],
  [40 * 86_400_000, '40 d'],
])('%d ms are %s', (ms, text) => {
  expect(span(ms)).toBe(text);
});

it.each([
  ['0.01 EUR', '0.01 EUR'],
  ['0.0042 EUR', '0.0042 EUR'],
  ['0.004217899 EUR', '0.00421 EUR'],
  ['0.000000001 EUR', '0.000000001 EUR'],
  ['0.00 EUR', '0.00 EUR'],
  ['0.50 USD', '0.50 USD'],
  ['0.999999999 USD', '0.999 USD'],
  // Never more than there is.
  ['12.999999999 USD', '12.99 USD'],
  ['1.000000001 USD', '1.00 USD'],
  ['9000000.00 USD', '9,000,000.00 USD'],
  ['what another version says', 'what another version says'],
])('of a budget %s is written %s', (left, text) => {
  expect(amountLeft(left)).toBe(text);
});

it('what is not known is a dash', () => {
  expect([orDash(undefined), orDash(0), percent(0.756)]).toEqual(['-', '0', '76']);
});

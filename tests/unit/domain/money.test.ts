/** Money is exact: what is written is read, sums are sums, and nothing is a float. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decimalOf, moneyOf, moneyText, partOf, picoOf } from '../../../src/domain/money.ts';

const pico = fc.bigInt(0n, 10n ** 24n - 1n);

describe('money', () => {
  it('is read as it is written', () => {
    expect(moneyOf('2.50 EUR')).toEqual({ currency: 'EUR', pico: 2_500_000_000_000n });
    expect(moneyOf('0 USD')).toEqual({ currency: 'USD', pico: 0n });
    expect(picoOf('0.0375')).toBe(37_500_000_000n);
    expect(picoOf('0.000000000001')).toBe(1n);
  });

  it.each([
    '',
    '2.50',
    'EUR',
    '2.50EUR',
    '2,50 EUR',
    '-1 EUR',
    '1e3 EUR',
    '1. EUR',
    '.5 EUR',
    '2.50 eur',
    '2.50 EURO',
    ' 1 EUR',
    '1 EUR ',
    '0x1 EUR',
    '1.0000000000001 EUR',
    '1234567890123 EUR',
    'NaN EUR',
    'Infinity EUR',
    '1 EUR\n',
  ])('%j is none', (text) => {
    expect(moneyOf(text)).toBeUndefined();
  });

  it('is written as decimals, rounded only where that is asked for', () => {
    expect(moneyText({ currency: 'EUR', pico: 2_500_000_000_000n })).toBe('2.50 EUR');
    expect(decimalOf(1n)).toBe('0.000000000001');
    expect(decimalOf(-1_500_000_000_000n)).toBe('-1.50');
    expect(decimalOf(1_005_000_000_000n, 2)).toBe('1.01');
    expect(decimalOf(-4_000_000_000n, 2)).toBe('0.00');
    expect(decimalOf(999_500_000_000n, 0)).toBe('1');
  });

  it('what is written is read again, to the last digit', () => {
    fc.assert(
      fc.property(pico, (amount) => {
        expect(picoOf(decimalOf(amount))).toBe(amount);
      }),
    );
  });

  it('a part is rounded by half of the last digit at most', () => {
    fc.assert(
      fc.property(pico, fc.bigInt(0n, 10n ** 9n), fc.bigInt(1n, 10n ** 9n), (amount, count, per) => {
        const twice = 2n * (partOf(amount, count, per) * per - amount * count);
        expect(twice <= per && twice >= -per).toBe(true);
      }),
    );
  });
});

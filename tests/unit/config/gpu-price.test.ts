/** `pools.NAME.gpuPrice`: exact, with a currency, or refused with the right form. */
import { describe, expect, it } from 'vitest';
import { configOf, minimal, problemsOf } from './parse.ts';

const pool = (gpuPrice: unknown) => ({
  ...minimal(),
  pools: { main: { endpoints: ['http://127.0.0.1:8000'], gpuPrice } },
});

describe('the price of an endpoint’s hour', () => {
  it.each([
    ['2.50 EUR', { currency: 'EUR', pico: 2_500_000_000_000n }],
    ['0.1 USD', { currency: 'USD', pico: 100_000_000_000n }],
    ['0 EUR', { currency: 'EUR', pico: 0n }],
    ['123456789012.000000000001 JPY', { currency: 'JPY', pico: 123_456_789_012_000_000_000_001n }],
  ])('is exact: %s', (perHour, expected) => {
    const gpuPrice = { perHour: expected, per: 'endpoint' };
    expect(configOf(pool({ perHour })).pools.get('main')?.gpuPrice).toEqual(gpuPrice);
    expect(configOf(pool({ perHour, per: 'endpoint' })).pools.get('main')?.gpuPrice).toEqual(gpuPrice);
  });

  it('is absent unless it is said', () => {
    expect(configOf(minimal()).pools.get('main')).not.toHaveProperty('gpuPrice');
  });

  it.each([
    [{ perHour: 2.5 }, 'gpuPrice.perHour: must be an amount and its currency, for example 2.50 EUR'],
    [{ perHour: '2.50' }, 'gpuPrice.perHour: must be an amount and its currency'],
    [{ perHour: '2,50 EUR' }, 'gpuPrice.perHour: must be an amount and its currency'],
    [{ perHour: '-2.50 EUR' }, 'gpuPrice.perHour: must be an amount and its currency'],
    [{ perHour: '2.50 eur' }, 'gpuPrice.perHour: must be an amount and its currency'],
    [{ perHour: '€2.50' }, 'gpuPrice.perHour: must be an amount and its currency'],
    [{ perHour: '1e3 EUR' }, 'gpuPrice.perHour: must be an amount and its currency'],
    [{ perHour: '2.50 EUR\n' }, 'gpuPrice.perHour: must be an amount and its currency'],
    [{ perHour: '0.0000000000001 EUR' }, 'gpuPrice.perHour: must be an amount and its currency'],
    [{ perHour: `${'9'.repeat(10_000)} EUR` }, 'gpuPrice.perHour: must be an amount and its currency'],
    [{ perHour: ['2.50 EUR'] }, 'gpuPrice.perHour: must be an amount and its currency'],
    [{ per: 'endpoint' }, 'gpuPrice.perHour: is missing'],
    [{ perHour: '2.50 EUR', per: 'gpu' }, 'gpuPrice.per: must be one of endpoint'],
    [{ perHour: '2.50 EUR', perhour: '2.50 EUR' }, 'did you mean "perHour"?'],
    ['2.50 EUR', 'gpuPrice: must be a mapping'],
    [null, 'gpuPrice'],
  ])('refuses %j: %s', (gpuPrice, expected) => {
    expect(problemsOf(pool(gpuPrice)).join()).toContain(expected);
  });
});

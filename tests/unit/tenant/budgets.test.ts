import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Limits } from '../../../src/config/config.ts';
import { type Amount, amountOf, amountText, LARGEST_NANO, nanoText } from '../../../src/domain/amount.ts';
import { type Money, moneyOf } from '../../../src/domain/money.ts';
import { createMemoryStore } from '../../../src/limit/memory-store.ts';
import type { LimitStore } from '../../../src/limit/store.ts';
import {
  createTenantLimits,
  type Reservation,
  type ReservationResult,
  type TenantLimits,
} from '../../../src/tenant/tenant-limits.ts';

const NOVEMBER_28 = Date.UTC(2026, 10, 28);
const DAY = 24 * 3_600_000;
const NANO = 1_000_000_000;
const BASE = { weight: 1, maxOutputs: 16, maxQueued: 10 };

const money = (text: string): Money => {
  const read = moneyOf(text);
  if (read === undefined) throw new Error(text);
  return read;
};
const amount = (text: string): Amount => amountOf(money(text));
const limited = (budget: string, more: Partial<Limits> = {}): Limits => ({
  ...BASE,
  budgetPerMonth: amount(budget),
  ...more,
});
const tenantWith = (
  limits: Limits,
  {
    store = createMemoryStore(),
    unixMs = () => NOVEMBER_28,
  }: { store?: LimitStore; unixMs?: () => number } = {},
): TenantLimits => createTenantLimits({ tenant: 'a', limits, store, unixMs });

function reserve(tenant: TenantLimits, price: string | undefined, tokens = 1, nowMs = 0): ReservationResult {
  const reserved = tenant.reserveTokens(tokens, nowMs, () =>
    price === undefined ? undefined : amount(price),
  );
  if (reserved instanceof Promise) throw new Error('asked others');
  return reserved;
}
function reservation(tenant: TenantLimits, price: string | undefined, tokens = 1): Reservation {
  const reserved = reserve(tenant, price, tokens);
  if (reserved.kind !== 'reserved') throw new Error(reserved.kind);
  return reserved.reservation;
}
const left = (tenant: TenantLimits): number | undefined => tenant.budget(0)?.remaining;

describe('a budget', () => {
  it('is refused when it is used up, until the month ends, and says so in its currency', () => {
    const tenant = tenantWith(limited('1.00 EUR'));
    reservation(tenant, '0.60 EUR').settle(10, 0, money('0.75 EUR'));
    expect(left(tenant)).toBe(0.25 * NANO);
    expect(reserve(tenant, '0.26 EUR')).toEqual({
      kind: 'spent',
      retryAfterMs: 3 * DAY,
      limit: NANO,
      currency: 'EUR',
    });
    expect(reserve(tenant, '0.25 EUR').kind).toBe('reserved');
    expect(tenant.budget(0)).toMatchObject({ limit: NANO, remaining: 0, resetMs: 3 * DAY, currency: 'EUR' });
  });

  it('reserves what is predicted, charges what streams, and settles to what is charged', () => {
    const tenant = tenantWith(limited('10 EUR'));
    const one = reservation(tenant, '1 EUR');
    expect(left(tenant)).toBe(9 * NANO);
    one.charge(100, 0, 0.5 * NANO);
    expect(left(tenant)).toBe(9 * NANO);
    one.charge(100, 0, 3 * NANO);
    expect(left(tenant)).toBe(7 * NANO);
    one.settle(100, 0, money('2.000000000001 EUR'));
    expect(left(tenant)).toBe(8 * NANO);
    one.settle(100, 0, money('9 EUR'));
    one.charge(100, 0, 9 * NANO);
    expect(left(tenant)).toBe(8 * NANO);
  });

  it('gives all back where nothing is charged', () => {
    const tenant = tenantWith(limited('10 EUR'));
    reservation(tenant, '4 EUR').settle(0, 0);
    expect(left(tenant)).toBe(10 * NANO);
  });

  it('counts what had no predicted price, and asks for no price where there is none', () => {
    const tenant = tenantWith(limited('1 EUR'));
    const one = reservation(tenant, undefined);
    one.charge(1_000, 0, 5 * NANO);
    expect(left(tenant)).toBe(NANO);
    one.settle(1_000, 0, money('0.4 EUR'));
    expect(left(tenant)).toBe(0.6 * NANO);
    const asked: number[] = [];
    const free = tenantWith(BASE);
    void free.reserveTokens(1, 0, () => {
      asked.push(1);
      return amount('1 EUR');
    });
    expect(asked).toEqual([]);
    expect(free.budget(0)).toBeUndefined();
  });

  it('that is spent lets what costs nothing pass', () => {
    const tenant = tenantWith(limited('1 EUR'));
    reservation(tenant, '1 EUR').settle(1, 0, money('2 EUR'));
    expect(reserve(tenant, '0.000000001 EUR').kind).toBe('spent');
    expect(reserve(tenant, undefined).kind).toBe('reserved');
    expect(reserve(tenant, '0.00 EUR').kind).toBe('reserved');
  });

  it('that only warns refuses nobody, and counts on', () => {
    const tenant = tenantWith(limited('1 EUR', { onBudgetSpent: 'warn' }));
    for (let i = 0; i < 3; i += 1) reservation(tenant, '1 EUR').settle(1, 0, money('1 EUR'));
    expect(tenant.monthUses()).toMatchObject([{ used: 3 * NANO, limit: NANO, hasRefused: false }]);
    expect(tenant.wouldReserve(1, 0, () => amount('1 EUR'))).toEqual({ kind: 'fits' });
    tenant.reconfigure(limited('1 EUR'));
    expect(reserve(tenant, '0.1 EUR').kind).toBe('spent');
  });

  it('is left as budget − used, at once, when a reload changes it', () => {
    const tenant = tenantWith(limited('5 EUR'));
    reservation(tenant, '4 EUR').settle(1, 0, money('4 EUR'));
    tenant.reconfigure(limited('8 EUR'));
    expect(left(tenant)).toBe(4 * NANO);
    tenant.reconfigure(limited('3 EUR'));
    expect(left(tenant)).toBe(0);
    expect(reserve(tenant, '0.01 EUR').kind).toBe('spent');
    tenant.reconfigure(BASE);
    expect(tenant.budget(0)).toBeUndefined();
    expect(reserve(tenant, '100 EUR').kind).toBe('reserved');
    tenant.reconfigure(limited('5 EUR'));
    expect(left(tenant)).toBe(NANO);
  });

  it('begins anew in another currency, and finds what was used when it is back', () => {
    const tenant = tenantWith(limited('5 EUR'));
    const open = reservation(tenant, '1 EUR');
    reservation(tenant, '3 EUR').settle(1, 0, money('3 EUR'));
    tenant.reconfigure(limited('5 USD'));
    expect(tenant.budget(0)).toMatchObject({ remaining: 5 * NANO, currency: 'USD' });
    // What is charged in another currency is none of this budget's.
    reservation(tenant, '1 EUR').settle(1, 0, money('1 EUR'));
    expect(left(tenant)).toBe(5 * NANO);
    open.settle(1, 0, money('2 EUR'));
    tenant.reconfigure(limited('6 EUR'));
    expect(left(tenant)).toBe(NANO);
  });

  it('begins anew with the month; what began before is of the month before', () => {
    let unix = NOVEMBER_28;
    const tenant = tenantWith(limited('5 EUR'), { unixMs: () => unix });
    const before = reservation(tenant, '4 EUR');
    unix = Date.UTC(2026, 11, 1);
    expect(left(tenant)).toBe(5 * NANO);
    before.settle(1, 0, money('5 EUR'));
    expect(left(tenant)).toBe(5 * NANO);
  });

  it('is refused together with tokens: all or none', () => {
    const tenant = tenantWith(limited('1 EUR', { tokensPerMinute: 1_000, tokensPerMonth: 10_000 }));
    expect(reserve(tenant, '2 EUR', 500).kind).toBe('spent');
    expect(tenant.tokens(0)?.remaining).toBe(1_000);
    expect(tenant.month(0)?.remaining).toBe(10_000);
    reservation(tenant, '0.1 EUR', 900);
    expect(reserve(tenant, '0.1 EUR', 200).kind).toBe('short');
    expect(left(tenant)).toBe(0.9 * NANO);
    expect(tenant.outstanding()).toBe(900);
  });

  it('of numbers that are none moves by nothing', () => {
    const tenant = tenantWith(limited('5 EUR'));
    const one = reservation(tenant, '1 EUR');
    one.charge(1, 0, Number.NaN);
    one.charge(1, 0, Number.POSITIVE_INFINITY);
    expect(left(tenant)).toBe(4 * NANO);
  });

  it('is exact: what is left is the budget less what was charged, over any sequence', () => {
    const arbStep = fc.record({
      predicted: fc.integer({ min: 0, max: 10 ** 12 }),
      charged: fc.integer({ min: 0, max: 10 ** 12 }),
      streamed: fc.integer({ min: 0, max: 10 ** 12 }),
      ms: fc.nat(DAY),
    });
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 40 }), (steps) => {
        const tenant = tenantWith({ ...BASE, budgetPerMonth: { currency: 'EUR', nano: LARGEST_NANO } });
        let [used, nowMs] = [0, 0];
        for (const { predicted, charged, streamed, ms } of steps) {
          nowMs += ms;
          const reserved = tenant.reserveTokens(1, nowMs, () => ({ currency: 'EUR', nano: predicted }));
          if (reserved instanceof Promise || reserved.kind !== 'reserved') throw new Error('refused');
          reserved.reservation.charge(1, nowMs, streamed);
          reserved.reservation.settle(1, nowMs, { currency: 'EUR', pico: BigInt(charged) * 1_000n });
          used += charged;
          expect(tenant.budget(nowMs)?.remaining).toBe(LARGEST_NANO - used);
        }
      }),
    );
  });
});

describe('an amount', () => {
  it('is rounded once, to 10^-9, and written with two decimals at least', () => {
    expect(amountOf({ currency: 'EUR', pico: 1_499n }).nano).toBe(1);
    expect(amountOf({ currency: 'EUR', pico: 1_500n }).nano).toBe(2);
    expect(amountOf({ currency: 'EUR', pico: -5_000n }).nano).toBe(0);
    expect(amountOf({ currency: 'EUR', pico: 10n ** 40n }).nano).toBe(Number.MAX_SAFE_INTEGER);
    expect(amountOf(money('8999999.999999999 EUR')).nano).toBe(LARGEST_NANO - 1);
    expect([0, 5, 10_000_000, 1_500_000_000, 123_456_789_012].map(nanoText)).toEqual([
      '0.00',
      '0.000000005',
      '0.01',
      '1.50',
      '123.456789012',
    ]);
    expect(amountText(amount('500 EUR'))).toBe('500.00 EUR');
  });
});

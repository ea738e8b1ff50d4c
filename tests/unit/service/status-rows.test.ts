import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { STATUS_SORTS } from '../../../src/admin/status.ts';
import {
  activities,
  queueOf,
  restOf,
  sorted,
  type TenantActivity,
} from '../../../src/service/status-rows.ts';
import { NO_RATES } from '../../../src/telemetry/recent-usage.ts';

const activity = (name: string, change: Partial<TenantActivity> = {}): TenantActivity => ({
  name,
  inFlight: 0,
  waiting: 0,
  lastMs: undefined,
  rates: NO_RATES,
  ...change,
});

const anyActivity = fc
  .record({
    name: fc.string({ maxLength: 5 }),
    inFlight: fc.nat(5),
    waiting: fc.nat(5),
    requestsPerSecond: fc.nat(5),
    refusalsPerSecond: fc.nat(5),
    tokensPerSecond: fc.nat(5),
    ttftP99Ms: fc.option(fc.nat(5), { nil: undefined }),
  })
  .map(({ name, inFlight, waiting, ...rates }) =>
    activity(name, { inFlight, waiting, rates: { ...NO_RATES, ...rates } }),
  );
const anyTenants = fc.uniqueArray(anyActivity, { selector: ({ name }) => name, maxLength: 30 });

describe('rows of tenants', () => {
  it('join what runs, what waits and what ended, also of tenants that share a name', () => {
    const rows = activities(
      [
        { tenant: 'a', model: 'm', queued: 1, inFlight: 2 },
        { tenant: 'a', model: 'n', queued: 3, inFlight: 0 },
        { tenant: 'visitor-1', model: 'm', queued: 0, inFlight: 1 },
        { tenant: 'visitor-2', model: 'm', queued: 5, inFlight: 1 },
      ],
      (tenant) => (tenant.startsWith('visitor') ? '(visitors)' : tenant),
      [{ tenant: 'b', lastMs: 7, rates: { ...NO_RATES, requestsPerSecond: 2 } }],
    );
    expect([...rows.values()]).toEqual([
      activity('b', { lastMs: 7, rates: { ...NO_RATES, requestsPerSecond: 2 } }),
      activity('a', { waiting: 4, inFlight: 2 }),
      activity('(visitors)', { waiting: 5, inFlight: 2 }),
    ]);
  });

  it('come in one order, whatever order they were found in', () => {
    fc.assert(
      fc.property(anyTenants, fc.constantFrom(...STATUS_SORTS), (tenants, sort) => {
        expect(sorted(tenants.toReversed(), sort)).toEqual(sorted(tenants, sort));
      }),
    );
  });

  it('and the sum of the others are all there is', () => {
    fc.assert(
      fc.property(anyTenants, fc.nat(30), (tenants, most) => {
        const inOrder = sorted(tenants, 'waiting');
        const rest = restOf(inOrder.slice(most));
        const sumOf = (of: (one: TenantActivity) => number): number =>
          inOrder.slice(0, most).reduce((sum, one) => sum + of(one), 0);
        const all = (of: (one: TenantActivity) => number): number =>
          tenants.reduce((sum, one) => sum + of(one), 0);
        expect(rest.waiting + sumOf(({ waiting }) => waiting)).toBe(all(({ waiting }) => waiting));
        expect(rest.inFlight + sumOf(({ inFlight }) => inFlight)).toBe(all(({ inFlight }) => inFlight));
        expect(rest.tokensPerSecond + sumOf((one) => one.rates.tokensPerSecond)).toBe(
          all((one) => one.rates.tokensPerSecond),
        );
        expect(rest.tenants).toBe(Math.max(0, tenants.length - most));
      }),
    );
  });
});

it('rows of the queue are joined by what tenants are called, the longest first', () => {
  const row = { pool: 'main', lane: 'default', tenant: 'x', label: 'x', waiting: 1, oldestMs: 5 };
  const rows = [
    row,
    { ...row, tenant: 'y', label: 'v', waiting: 2 },
    { ...row, tenant: 'z', label: 'v', oldestMs: 9 },
  ];
  expect(queueOf(rows, 1)).toEqual({
    rows: [{ pool: 'main', lane: 'default', tenant: 'v', waiting: 3, oldestMs: 9 }],
    rest: { rows: 1, waiting: 1 },
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Limits } from '../../../src/config/config.ts';
import { createMemoryStore } from '../../../src/limit/memory-store.ts';
import type { LimitStore } from '../../../src/limit/store.ts';
import {
  createTenantLimits,
  type Reservation,
  type ReservationResult,
  type TenantLimits,
} from '../../../src/tenant/tenant-limits.ts';

const limits = {
  weight: 1,
  maxOutputs: 16,
  maxQueued: 10,
  requestsPerMinute: 600,
  tokensPerMinute: 60_000,
  tokenBurst: 10_000,
};

const AUGUST_30 = Date.UTC(2026, 7, 30);
const DAY = 24 * 3_600_000;

function tenantWith(
  own: Limits,
  { store = createMemoryStore(), unixMs = () => 0 }: { store?: LimitStore; unixMs?: () => number } = {},
): TenantLimits {
  return createTenantLimits({ tenant: 'a', limits: own, store, unixMs });
}
/** What the store in memory says, it says at once. */
function reserve(tenant: TenantLimits, tokens: number, nowMs: number): ReservationResult {
  const reserved = tenant.reserveTokens(tokens, nowMs);
  if (reserved instanceof Promise) throw new Error('asked others');
  return reserved;
}
function reservation(tenant: TenantLimits, tokens: number, nowMs: number): Reservation {
  const reserved = reserve(tenant, tokens, nowMs);
  if (reserved.kind !== 'reserved') throw new Error(reserved.kind);
  return reserved.reservation;
}

describe("a tenant's limits", () => {
  it('settle every reservation once: outstanding is never negative and returns to zero', () => {
    const arbSteps = fc.array(
      fc.record({
        reserve: fc.integer({ min: 0, max: 5_000 }),
        settle: fc.nat(),
        used: fc.nat(9_000),
        ms: fc.nat(5_000),
      }),
      { maxLength: 50 },
    );
    fc.assert(
      fc.property(arbSteps, (steps) => {
        const tenant = tenantWith(limits);
        const open: Reservation[] = [];
        const closed: Reservation[] = [];
        let now = 0;
        for (const step of steps) {
          now += step.ms;
          const reserved = reserve(tenant, step.reserve, now);
          if (reserved.kind === 'reserved') open.push(reserved.reservation);
          if (step.settle % 2 === 0 && open.length > 0) {
            const [one] = open.splice(step.settle % open.length, 1);
            one?.settle(step.used, now);
            if (one) closed.push(one);
          }
          // A second settle changes nothing.
          const before = tenant.tokens(now)?.remaining;
          closed[0]?.settle(0, now);
          expect(tenant.tokens(now)?.remaining).toBe(before);
          expect(tenant.outstanding()).toBe(open.reduce((sum, one) => sum + one.tokens, 0));
        }
        for (const one of open) one.settle(0, now);
        expect(tenant.outstanding()).toBe(0);
      }),
    );
  });

  it('say what is left and when it is full again', () => {
    const tenant = tenantWith(limits);
    expect(tenant.requests(0)).toEqual({ limit: 600, remaining: 600, resetMs: 0 });
    expect(tenant.takeRequest(0)).toEqual({ kind: 'taken' });
    reservation(tenant, 1_000, 0);
    expect(tenant.requests(0)).toEqual({ limit: 600, remaining: 599, resetMs: 100 });
    expect(tenant.tokens(0)).toEqual({ limit: 60_000, remaining: 9_000, resetMs: 1_000 });
  });

  it('never show a negative remainder, even in debt', () => {
    const tenant = tenantWith(limits);
    reservation(tenant, 10_000, 0).settle(50_000, 0);
    expect(tenant.tokens(0)?.remaining).toBe(0);
  });

  it('are absent where nothing is configured', () => {
    const tenant = tenantWith({ weight: 1, maxOutputs: 16, maxQueued: 1 });
    expect(tenant.requests(0)).toBeUndefined();
    expect(tenant.tokens(0)).toBeUndefined();
    expect(tenant.takeRequest(0)).toEqual({ kind: 'taken' });
    expect(reserve(tenant, 1e9, 0).kind).toBe('reserved');
  });

  it('give nothing back to a bucket that a reload put in place', () => {
    const tenant = tenantWith({ weight: 1, maxOutputs: 16, maxQueued: 1 });
    const before = reservation(tenant, 500, 0);
    tenant.reconfigure(limits);
    reservation(tenant, 1_000, 0);
    before.settle(0, 0);
    expect(tenant.tokens(0)?.remaining).toBe(9_000);
  });

  it('grant after retryAfterMs what they refused', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.integer({ min: 1, max: 100_000 }),
        fc.integer({ min: 1, max: 100_000 }),
        fc.nat(200_000),
        (tokensPerMinute, tokenBurst, amount, used) => {
          const tenant = tenantWith({ ...limits, tokensPerMinute, tokenBurst });
          reservation(tenant, tokenBurst, 0).settle(tokenBurst + used, 0);
          const refused = reserve(tenant, amount, 0);
          if (amount > tokenBurst) expect(refused).toEqual({ kind: 'never', limit: tokenBurst });
          else if (refused.kind !== 'short') expect(refused.kind).toBe('short');
          else expect(reserve(tenant, amount, refused.retryAfterMs).kind).toBe('reserved');
        },
      ),
    );
  });

  it('count what was used, not what was reserved, and have every debt paid before they grant again', () => {
    const tenant = tenantWith(limits);
    const one = reservation(tenant, 1_000, 0);
    one.charge(500, 0);
    expect(tenant.tokens(0)?.remaining).toBe(9_000);
    one.charge(3_000, 0);
    expect(tenant.tokens(0)?.remaining).toBe(7_000);
    one.settle(100_000, 0);
    expect(reserve(tenant, 1, 0)).toEqual({ kind: 'short', retryAfterMs: 90_001, limit: 60_000 });
    expect(reserve(tenant, 1, 90_001).kind).toBe('reserved');
  });

  it('take no request that the bucket has no place for, and say when it has', () => {
    const tenant = tenantWith({ ...limits, requestsPerMinute: 60, requestBurst: 2 });
    expect([tenant.takeRequest(0), tenant.takeRequest(0)]).toEqual([{ kind: 'taken' }, { kind: 'taken' }]);
    expect(tenant.takeRequest(0)).toEqual({ kind: 'short', retryAfterMs: 1_000, limit: 60 });
    expect(tenant.takeRequest(1_000)).toEqual({ kind: 'taken' });
  });

  it('keep what was used over a reload: another burst applies at once, and less is a debt', () => {
    const tenant = tenantWith(limits);
    reservation(tenant, 4_000, 0);
    tenant.reconfigure({ ...limits, tokenBurst: 50_000 });
    expect(tenant.tokens(0)?.remaining).toBe(46_000);
    tenant.reconfigure({ ...limits, tokenBurst: 1_000 });
    expect(tenant.tokens(0)?.remaining).toBe(0);
    // 3,000 of debt and 1 more, at 1,000 a second.
    expect(reserve(tenant, 1, 0)).toMatchObject({ kind: 'short', retryAfterMs: 3_001 });
    tenant.reconfigure({ ...limits, tokensPerMinute: 600_000, tokenBurst: 1_000 });
    expect(reserve(tenant, 1, 0)).toMatchObject({ kind: 'short', retryAfterMs: 301 });
    tenant.reconfigure(limits);
    expect(tenant.tokens(0)?.remaining).toBe(6_000);
  });

  it('keep the month that is used over a reload, in both directions', () => {
    const monthly = { weight: 1, maxOutputs: 16, maxQueued: 1, tokensPerMonth: 1_000 };
    const tenant = tenantWith(monthly, { unixMs: () => AUGUST_30 });
    const one = reservation(tenant, 1_000, 0);
    expect(reserve(tenant, 1, 0).kind).toBe('spent');
    tenant.reconfigure({ ...monthly, tokensPerMonth: 1_500 });
    expect(tenant.month(0)).toMatchObject({ limit: 1_500, remaining: 500 });
    expect(reserve(tenant, 500, 0).kind).toBe('reserved');
    tenant.reconfigure({ ...monthly, tokensPerMonth: 100 });
    expect(tenant.month(0)).toMatchObject({ limit: 100, remaining: 0 });
    expect(reserve(tenant, 1, 0).kind).toBe('spent');
    one.settle(10, 0);
    tenant.reconfigure({ ...monthly, tokensPerMonth: 511 });
    expect(tenant.month(0)).toMatchObject({ limit: 511, remaining: 1 });
  });

  it('know what was used when a limit is taken away and set again', () => {
    const monthly = { weight: 1, maxOutputs: 16, maxQueued: 1, tokensPerMonth: 1_000 };
    const tenant = tenantWith(monthly, { unixMs: () => AUGUST_30 });
    const one = reservation(tenant, 600, 0);
    const { tokensPerMonth: _, ...without } = monthly;
    tenant.reconfigure(without);
    expect(tenant.month(0)).toBeUndefined();
    one.settle(700, 0);
    tenant.reconfigure({ ...monthly, tokensPerMonth: 2_000 });
    expect(tenant.month(0)?.remaining).toBe(1_300);
  });

  it('are moved by no use that is none', () => {
    const tenant = tenantWith({ ...limits, tokensPerMonth: 100_000 }, { unixMs: () => AUGUST_30 });
    for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const one = reservation(tenant, 100, 0);
      one.charge(odd, 0);
      one.settle(odd, 0);
    }
    expect(tenant.month(0)?.remaining).toBe(99_700);
    reservation(tenant, 100, 0).settle(-1e9, 0);
    expect(tenant.month(0)?.remaining).toBe(99_700);
    expect(tenant.outstanding()).toBe(0);
  });

  it('have the month of the clock, whichever way it goes', () => {
    let unix = AUGUST_30;
    const monthly = { weight: 1, maxOutputs: 16, maxQueued: 1, tokensPerMonth: 1_000 };
    const tenant = tenantWith(monthly, { unixMs: () => unix });
    reservation(tenant, 1_000, 0);
    unix = Date.UTC(2035, 1, 1);
    expect(reserve(tenant, 1_000, 0).kind).toBe('reserved');
    unix = AUGUST_30 + DAY;
    expect(reserve(tenant, 1, 0)).toMatchObject({ kind: 'spent', retryAfterMs: DAY });
    unix = Date.UTC(2026, 8, 1);
    expect(tenant.month(0)?.remaining).toBe(1_000);
  });

  it('hold a month to its tokens, and begin anew with the next one', () => {
    let unix = AUGUST_30;
    const monthly = { weight: 1, maxOutputs: 16, maxQueued: 1, tokensPerMonth: 1_000 };
    const tenant = tenantWith(monthly, { unixMs: () => unix });
    const one = reservation(tenant, 700, 0);
    expect(reserve(tenant, 400, 0)).toEqual({ kind: 'spent', retryAfterMs: 2 * DAY, limit: 1_000 });
    one.settle(900, 0);
    expect(tenant.month(0)).toEqual({ limit: 1_000, remaining: 100, resetMs: 2 * DAY });
    expect(reserve(tenant, 101, 10 * DAY).kind).toBe('spent');
    const late = reservation(tenant, 100, 0);
    unix = Date.UTC(2026, 8, 1);
    expect(tenant.month(0)).toEqual({ limit: 1_000, remaining: 1_000, resetMs: 30 * DAY });
    // What began in August is August's.
    late.settle(500, 0);
    expect(tenant.month(0)?.remaining).toBe(1_000);
    expect(reserve(tenant, 1_000, 0).kind).toBe('reserved');
  });

  it('give back what one limit granted when the other refuses', () => {
    const tenant = tenantWith({ ...limits, tokensPerMonth: 100 }, { unixMs: () => AUGUST_30 });
    expect(reserve(tenant, 5_000, 0).kind).toBe('spent');
    expect(tenant.tokens(0)?.remaining).toBe(10_000);
    expect(tenant.outstanding()).toBe(0);
  });

  it('go on where an earlier run on the same store has left them', () => {
    const store = createMemoryStore();
    reservation(tenantWith(limits, { store }), 4_000, 0);
    const after = tenantWith(limits, { store });
    expect(after.tokens(0)?.remaining).toBe(6_000);
  });
});

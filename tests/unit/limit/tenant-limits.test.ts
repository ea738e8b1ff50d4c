import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createTenantLimits, type Reservation } from '../../../src/limit/tenant-limits.ts';

const limits = {
  weight: 1,
  maxOutputs: 16,
  maxQueued: 10,
  requestsPerMinute: 600,
  tokensPerMinute: 60_000,
  tokenBurst: 10_000,
};

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
        const tenant = createTenantLimits(limits, 0);
        const open: Reservation[] = [];
        const closed: Reservation[] = [];
        let now = 0;
        for (const step of steps) {
          now += step.ms;
          const reserved = tenant.reserveTokens(step.reserve, now);
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
    const tenant = createTenantLimits(limits, 0);
    expect(tenant.requests(0)).toEqual({ limit: 600, remaining: 600, resetMs: 0 });
    tenant.takeRequest(0);
    tenant.reserveTokens(1_000, 0);
    expect(tenant.requests(0)).toEqual({ limit: 600, remaining: 599, resetMs: 100 });
    expect(tenant.tokens(0)).toEqual({ limit: 60_000, remaining: 9_000, resetMs: 1_000 });
  });

  it('never show a negative remainder, even in debt', () => {
    const tenant = createTenantLimits(limits, 0);
    const reserved = tenant.reserveTokens(10_000, 0);
    if (reserved.kind === 'reserved') reserved.reservation.settle(50_000, 0);
    expect(tenant.tokens(0)?.remaining).toBe(0);
  });

  it('are absent where nothing is configured', () => {
    const tenant = createTenantLimits({ weight: 1, maxOutputs: 16, maxQueued: 1 }, 0);
    expect(tenant.requests(0)).toBeUndefined();
    expect(tenant.tokens(0)).toBeUndefined();
    expect(tenant.takeRequest(0).kind).toBe('taken');
    expect(tenant.reserveTokens(1e9, 0).kind).toBe('reserved');
  });

  it('give nothing back to a bucket that a reload put in place', () => {
    const tenant = createTenantLimits({ weight: 1, maxOutputs: 16, maxQueued: 1 }, 0);
    const reserved = tenant.reserveTokens(500, 0);
    tenant.reconfigure(limits, 0);
    tenant.reserveTokens(1_000, 0);
    if (reserved.kind === 'reserved') reserved.reservation.settle(0, 0);
    expect(tenant.tokens(0)?.remaining).toBe(9_000);
  });
});

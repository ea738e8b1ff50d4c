import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Ask,
  answered,
  ask,
  askAgainMs,
  createHolding,
  decideAlone as decideAloneBy,
  decide as decideBy,
  type Holding,
  isForgettable,
  isLow,
  LEASE_MS,
  leaseSize,
  partOfLimit,
  REPORT_MS,
} from '../../../src/limit/lease.ts';
import type { StoredLimit, TakeMode } from '../../../src/limit/store.ts';

const limit = { amount: 1_000, unitMs: 1_000_000 };

const modeOf = (hits: number): TakeMode => (hits > 1 ? 'charge' : 'take');
const decide = (holding: Holding, stored: StoredLimit, hits: number, nowMs: number) =>
  decideBy(holding, stored, hits, modeOf(hits), nowMs);
const decideAlone = (holding: Holding, part: number, hits: number, nowMs: number) =>
  decideAloneBy(holding, part, hits, modeOf(hits), nowMs);

/** A server with one bucket that is never refilled, and one lease. */
function serve(
  holding: Holding,
  sent: Ask,
  server: { level: number; lease: number; used: number },
  nowMs: number,
) {
  server.level += server.lease - (sent.used - server.used);
  server.lease = Math.max(sent.inUse, Math.min(sent.want, Math.floor(server.level)), 0);
  server.level -= server.lease;
  server.used = sent.used;
  const answer = { ...server, heldByOthers: 0, atMs: nowMs };
  answered(holding, sent, answer, { charged: 0, granted: [] }, nowMs);
}

/** A holding that leases 20 of 1000, at time 0. */
function leasing(): Holding {
  const holding = createHolding(limit, 0);
  holding.recent = 100;
  serve(holding, ask(holding, true, 0), { level: 1_000, lease: 0, used: 0 }, 0);
  return holding;
}

describe('the size of a lease', () => {
  it('is what was used lately, at most 2 % of the bucket, and none for hardly any use', () => {
    expect(leaseSize(7.9, 1_000)).toBe(7);
    expect(leaseSize(500, 1_000)).toBe(20);
    expect(leaseSize(0.9, 1_000)).toBe(0);
    expect(leaseSize(500, 49)).toBe(0);
    expect(leaseSize(500, 0)).toBe(0);
  });

  it('does not go by hits that no lease would cover', () => {
    const holding = createHolding(limit, 0);
    decideAlone(holding, 1, 21, 0);
    expect(holding.recent).toBe(0);
    decideAlone(holding, 1, 20, 0);
    expect(holding.recent).toBe(20);
  });

  it('settles at the use of the report time, whatever the rate', () => {
    for (const perMs of [0.002, 0.1, 1]) {
      const holding = createHolding(limit, 0);
      for (let t = 0; t <= 2_000; t += 10) decideAlone(holding, 1, 10 * perMs, t);
      const expected = perMs * REPORT_MS;
      expect(holding.recent).toBeGreaterThan(0.9 * expected);
      expect(holding.recent).toBeLessThan(1.1 * expected);
    }
  });
});

describe('a bucket found empty', () => {
  it('is asked again when a token is there, neither at once nor never', () => {
    expect(askAgainMs(0, { amount: 10, unitMs: 1_000 })).toBe(100);
    expect(askAgainMs(0.5, { amount: 2, unitMs: 1_000 })).toBe(250);
    expect(askAgainMs(0, { amount: 1e6, unitMs: 1_000 })).toBe(100);
    expect(askAgainMs(-10, { amount: 1, unitMs: 1e9 })).toBe(500);
    expect(askAgainMs(0, { amount: 0, unitMs: 1_000 })).toBe(500);
    expect(askAgainMs(1, { amount: 0, unitMs: 1_000 })).toBe(500);
  });

  it('refuses without asking until then, and charges what was used all the same', () => {
    const holding = createHolding(limit, 0);
    serve(holding, ask(holding, true, 0), { level: 0, lease: 0, used: 0 }, 0);
    expect(decide(holding, limit, 1, 499)).toMatchObject({ granted: false, remaining: 0 });
    expect(holding.used).toBe(0);
    expect(decide(holding, limit, 30, 499)?.granted).toBe(false);
    expect(holding.used).toBe(30);
    expect(decide(holding, limit, 1, 1_001)).toBeUndefined();
  });

  it('is asked at once when something was given back', () => {
    const holding = createHolding(limit, 0);
    serve(holding, ask(holding, true, 0), { level: 0, lease: 0, used: 0 }, 0);
    expect(decide(holding, limit, -5, 10)).toMatchObject({ granted: true, remaining: 5 });
    expect(decide(holding, limit, 3, 11)).toBeUndefined();
  });
});

describe('a lease', () => {
  it('grants what it covers, and asks for the rest', () => {
    const holding = leasing();
    expect(decide(holding, limit, 15, 1)).toMatchObject({ granted: true, remaining: 985 });
    expect(decide(holding, limit, 6, 1)).toBeUndefined();
    expect(decide(holding, limit, 5, 1)?.granted).toBe(true);
    expect(decide(holding, limit, 1, 1)).toBeUndefined();
  });

  it('is over a lease time after it was asked for, however late the answer came', () => {
    const holding = leasing();
    const sent = ask(holding, false, 100);
    serve(holding, sent, { level: 980, lease: 20, used: 0 }, 700);
    expect(decide(holding, limit, 1, 100 + LEASE_MS - 1)?.granted).toBe(true);
    expect(decide(holding, limit, 1, 100 + LEASE_MS)).toBeUndefined();
    expect(holding.left).toBe(0);
  });

  it('is renewed ahead when it is low, and not while the bucket is empty', () => {
    const holding = leasing();
    expect(isLow(holding, 1)).toBe(false);
    decide(holding, limit, 16, 1);
    expect(isLow(holding, 1)).toBe(true);
    holding.askAtMs = 50;
    expect(isLow(holding, 49)).toBe(false);
  });

  it('ends with a change of the limit', () => {
    const holding = leasing();
    expect(decide(holding, { amount: 500, unitMs: 1_000_000 }, 1, 1)).toBeUndefined();
    expect(holding.left).toBe(0);
  });

  it('grants nothing while demands are decided on all there is', () => {
    const holding = leasing();
    ask(holding, true, 1);
    expect(decide(holding, limit, 1, 1)).toBeUndefined();
  });

  it('covers what is granted, whatever is asked and answered meanwhile', () => {
    const arbStep = fc.record({
      hits: fc.integer({ min: -5, max: 12 }),
      ms: fc.integer({ min: 0, max: 300 }),
      does: fc.constantFrom('take', 'take', 'take', 'ask', 'answer', 'lose'),
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 50, max: 2_000 }),
        fc.array(arbStep, { maxLength: 150 }),
        (amount, steps) => {
          const still = { amount, unitMs: 1e15 };
          const holding = createHolding(still, 0);
          const server = { level: amount, lease: 0, used: 0 };
          let sent: Ask | undefined;
          let now = 0;
          let granted = 0;
          for (const { hits, ms, does } of steps) {
            now += ms;
            if (does === 'take') {
              const taken = decide(holding, still, hits, now);
              if (hits < 0 && taken) granted += hits;
              else if (hits > 0 && taken?.granted) granted += hits;
            } else if (does === 'ask') sent ??= ask(holding, false, now);
            else if (sent !== undefined) {
              // A lost answer leaves the server with what it was told.
              if (does === 'answer') serve(holding, sent, server, now);
              sent = undefined;
            }
            expect(granted).toBeLessThanOrEqual(amount + 1e-6);
            expect(holding.left).toBeGreaterThanOrEqual(0);
            if (now < holding.leaseEndsMs) expect(holding.left).toBeLessThanOrEqual(server.lease);
          }
          serve(holding, ask(holding, true, now), server, now);
          expect(holding.used).toBe(holding.reported);
        },
      ),
    );
  });
});

describe('a replica without the server', () => {
  it('has its part of the rate, and at least one token', () => {
    expect(partOfLimit({ amount: 100, unitMs: 1_000 }, 0.25)).toEqual({ amount: 25, unitMs: 1_000 });
    expect(partOfLimit({ amount: 2, unitMs: 1_000 }, 0.25)).toEqual({ amount: 1, unitMs: 2_000 });
    expect(partOfLimit({ amount: 0, unitMs: 1_000 }, 0.25)).toEqual({ amount: 0, unitMs: 1_000 });
  });

  it('grants at most its part of amount + rate · time, through any number of outages', () => {
    const arbStep = fc.record({
      hits: fc.integer({ min: 0, max: 40 }),
      ms: fc.integer({ min: -500, max: 5_000 }),
      isBack: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 500 }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        fc.array(arbStep, { maxLength: 80 }),
        (amount, part, steps) => {
          const of = { amount, unitMs: 60_000 };
          const holding = createHolding(of, 0);
          let now = 0;
          let latest = 0;
          let granted = 0;
          for (const { hits, ms, isBack } of steps) {
            now += ms;
            latest = Math.max(latest, now);
            if (isBack)
              serve(holding, ask(holding, true, now), { level: amount, lease: 0, used: holding.used }, now);
            if (decideAlone(holding, part, hits, now).granted) granted += hits;
            const most = Math.max(1, part * amount) + (part * amount * latest) / of.unitMs;
            expect(granted).toBeLessThanOrEqual(most + 1e-3);
          }
        },
      ),
    );
  });

  it('begins with its part of what was left', () => {
    const holding = createHolding(limit, 0);
    serve(holding, ask(holding, true, 0), { level: 100, lease: 0, used: 0 }, 0);
    expect(decideAlone(holding, 0.5, 51, 0).granted).toBe(false);
    const debtor = createHolding(limit, 0);
    serve(debtor, ask(debtor, true, 0), { level: -100, lease: 0, used: 0 }, 0);
    expect(decideAlone(debtor, 0.5, 1, 0).granted).toBe(false);
  });
});

describe('a holding', () => {
  it('is forgotten when it is idle and all is reported, not before', () => {
    const holding = leasing();
    decide(holding, limit, 1, 1);
    expect(isForgettable(holding, 500)).toBe(false);
    expect(isForgettable(holding, 5_000)).toBe(false);
    serve(holding, ask(holding, true, 5_000), { level: 980, lease: 20, used: 0 }, 5_000);
    expect(isForgettable(holding, 5_001)).toBe(true);
  });

  it('is forgotten unreported once the refill has made up for it', () => {
    const holding = createHolding(limit, 0);
    decideAlone(holding, 0.5, 100, 0);
    expect(isForgettable(holding, limit.unitMs)).toBe(false);
    expect(isForgettable(holding, 2 * limit.unitMs)).toBe(true);
  });
});

/** What is used of a limit is exact, whatever is taken, given back and reconfigured: against plain models. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Ask, answered, ask, createHolding, decide, decideAlone } from '../../../src/limit/lease.ts';
import { createMemoryStore } from '../../../src/limit/memory-store.ts';
import type { StoredLimit, TakeMode } from '../../../src/limit/store.ts';
import { usedAfter, usedWith } from '../../../src/limit/used.ts';
import { LeaseServer } from '../../support/lease-server.ts';

const NO_REFILL_MS = Number.MAX_SAFE_INTEGER;
const DEEP = Number.MAX_SAFE_INTEGER;
const month = (amount: number): StoredLimit => ({ amount, unitMs: NO_REFILL_MS, maxDebt: DEEP });

const arbAmount = fc.oneof(fc.integer({ min: 1, max: 1_000 }), fc.constantFrom(1, 10_000, 1_000_000));
const arbMode = fc.constantFrom<TakeMode>('take', 'charge', 'report');

describe('what is used', () => {
  it('falls by the rate, and never below nothing', () => {
    const limit = { amount: 100, unitMs: 1_000 };
    expect(usedAfter(50, limit, 100)).toBe(40);
    expect(usedAfter(50, limit, 10_000)).toBe(0);
    expect(usedAfter(50, limit, -5)).toBe(50);
    expect(usedAfter(150, limit, 1_000)).toBe(50);
    expect(usedAfter(1_000, { ...limit, maxDebt: DEEP }, 1_000)).toBe(900);
    expect(usedAfter(5, { amount: 0, unitMs: 1_000, maxDebt: 0 }, 1_000)).toBeCloseTo(5 / Math.E);
    expect(usedAfter(0, { amount: 0, unitMs: 1_000 }, 1_000)).toBe(0);
  });

  it('beyond the debt of a lowered limit fades in a few units, and is continuous', () => {
    const limit = { amount: 1, unitMs: 1_000 };
    expect(usedAfter(1_000, limit, 9_000)).toBe(0);
    fc.assert(
      fc.property(fc.nat(10_000), fc.nat(10_000), fc.nat(10_000), (used, a, b) => {
        const once = usedAfter(used, limit, a + b);
        expect(once).toBeCloseTo(usedAfter(usedAfter(used, limit, a), limit, b), 6);
        expect(once).toBeLessThanOrEqual(used);
      }),
    );
  });

  it('is charged as far as the debt may go, and never lowered by a charge', () => {
    fc.assert(
      fc.property(fc.nat(1_000), fc.integer({ min: -500, max: 500 }), fc.nat(300), (used, hits, amount) => {
        const after = usedWith(used, hits, { amount, unitMs: 1 });
        if (hits <= 0) expect(after).toBe(used + hits);
        else expect(after).toBe(Math.max(used, Math.min(2 * amount, used + hits)));
      }),
    );
  });
});

describe('the store in memory', () => {
  const arbStep = fc.record({
    key: fc.constantFrom('a', 'b'),
    hits: fc.integer({ min: -200, max: 600 }),
    mode: arbMode,
    ms: fc.integer({ min: -1_000, max: 30_000 }),
    amount: fc.option(fc.nat(1_000), { nil: undefined }),
    unitMs: fc.constantFrom(1_000, 60_000, NO_REFILL_MS),
    maxDebt: fc.constantFrom(undefined, 50, DEEP),
    restart: fc.boolean(),
  });

  it('does what a plain model does, through any reconfigurations and restarts', () => {
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 60 }), (steps) => {
        let store = createMemoryStore();
        const model = new Map<string, { used: number; atMs: number; limit: StoredLimit }>();
        let now = 0;
        let latest = Number.NEGATIVE_INFINITY;
        let amount = 500;
        for (const step of steps) {
          now += step.ms;
          latest = Math.max(latest, now);
          amount = step.amount ?? amount;
          const { key, hits, mode, unitMs, maxDebt } = step;
          const limit = { amount, unitMs, ...(maxDebt !== undefined && { maxDebt }) };
          const one = model.get(key) ?? { used: 0, atMs: latest, limit };
          one.used = usedAfter(one.used, one.limit, latest - one.atMs);
          const isGranted = hits > 0 && amount - one.used + 1e-6 >= hits;
          if (hits <= 0) one.used = Math.max(0, one.used + hits);
          else if (isGranted) one.used += hits;
          else if (mode !== 'take') one.used = usedWith(one.used, hits, limit);
          model.set(key, { used: one.used, atMs: latest, limit });

          const [taken] = store.take([{ key, limit, hits, mode }], now);
          if (hits > 0) expect(taken?.granted).toBe(isGranted);
          expect(taken?.used).toBeCloseTo(one.used, 3);
          expect(taken?.level).toBeCloseTo(amount - one.used, 3);
          // What is restored may be in any debt: nobody says how deep it may be until it is used.
          if (step.restart && [...model.values()].every((each) => each.used <= each.limit.amount)) {
            const saved = [...store.buckets(latest)];
            store = createMemoryStore();
            store.restore(saved, latest, 0);
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('replicas that share a month through leases', () => {
  const arbStep = fc.record({
    replica: fc.nat(2),
    does: fc.constantFrom('take', 'take', 'take', 'ask', 'answer', 'lose', 'reconfigure', 'alone'),
    hits: fc.integer({ min: -50, max: 300 }),
    mode: arbMode,
    amount: arbAmount,
    ms: fc.integer({ min: -20, max: 700 }),
  });

  it('tell the server each token, and once while answers come, though some have another limit than others', () => {
    fc.assert(
      fc.property(arbAmount, fc.array(arbStep, { maxLength: 120 }), (first, steps) => {
        const server = new LeaseServer();
        const replicas = [0, 1, 2].map((i) => ({
          name: `${i}`,
          limit: month(first),
          holding: createHolding(month(first), 0),
          sent: undefined as Ask | undefined,
        }));
        let now = 0;
        /** What counts: all that was granted, charged and given back. */
        let used = 0;
        /** Of that, what was not asked for, or granted alone. */
        let forced = 0;
        let mostAllowed = first;
        /** Told in calls of which the answer was lost: charged, or given back, twice if the account is forgotten. */
        const lost = { charged: 0, givenBack: 0 };
        const exchange = (one: (typeof replicas)[number], hits: number, isLost: boolean): void => {
          const sent = one.sent ?? ask(one.holding, hits !== 0, now);
          one.sent = undefined;
          const { answer, granted } = server.call(one.name, sent, DEEP, hits === 0 ? [] : [hits], now);
          if (isLost) {
            const told = sent.used - sent.reported;
            lost.charged += Math.max(0, told);
            lost.givenBack += Math.max(0, -told);
            return;
          }
          const isGranted = granted[0] === true;
          if (isGranted) used += hits;
          const charged = isGranted ? hits : 0;
          answered(one.holding, sent, answer, { charged, granted: isGranted ? [hits] : [] }, now);
        };
        for (const { replica, does, hits, mode, amount, ms } of steps) {
          now += Math.max(0, ms);
          const one = replicas[replica];
          if (one === undefined) continue;
          if (does === 'reconfigure') {
            one.limit = month(amount);
            mostAllowed = Math.max(mostAllowed, amount);
          } else if (does === 'ask') one.sent ??= ask(one.holding, false, now);
          else if (does === 'answer' || does === 'lose') exchange(one, 0, does === 'lose');
          else {
            // A replica gives back what it took itself.
            const few = Math.max(hits, -Math.floor(one.holding.used));
            const taken =
              does === 'alone'
                ? decideAlone(one.holding, 0.5, few, mode, now)
                : decide(one.holding, one.limit, few, mode, now);
            if (taken === undefined) {
              if (one.sent === undefined && few > 0) exchange(one, few, false);
            } else if (few < 0 || taken.granted || mode !== 'take') {
              used += few;
              if (does === 'alone' || !taken.granted || mode === 'report') forced += Math.max(0, few);
            }
            expect(used).toBeLessThanOrEqual(mostAllowed + forced + lost.givenBack + 0.01);
          }
        }
        now += 5_000;
        for (const one of replicas) {
          one.sent = undefined;
          exchange(one, 0, false);
        }
        for (const one of replicas) {
          expect(one.holding.used).toBe(one.holding.reported);
          now += 5_000;
          // With whatever limit it is asked for.
          const { answer } = server.call(
            'new',
            { ...ask(one.holding, true, now), used: 0, reported: 0, want: 0 },
            DEEP,
            [],
            now,
          );
          const counted = one.holding.amount - answer.level - answer.lease - answer.heldByOthers;
          expect(counted).toBeGreaterThan(used - lost.givenBack - 0.01);
          expect(counted).toBeLessThan(used + lost.charged + 0.01);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

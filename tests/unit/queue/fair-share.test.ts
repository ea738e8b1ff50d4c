import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FairShare } from '../../../src/queue/fair-share.ts';

describe('the fair share', () => {
  it('of slots follows the weights of the tenants that are active', () => {
    const fairShare = new FairShare();
    fairShare.arrived('a', 1, 0);
    expect(fairShare.isBelow('a', 1, 1, 64, 0)).toBe(false);
    fairShare.arrived('b', 3, 0);
    expect([fairShare.isBelow('a', 1, 16, 64, 0), fairShare.isBelow('a', 1, 17, 64, 0)]).toEqual([
      true,
      false,
    ]);
    expect(fairShare.isBelow('b', 3, 48, 64, 0)).toBe(true);
    // 30 s without b: its weight counts no more.
    fairShare.arrived('a', 1, 31_000);
    fairShare.arrived('c', 1, 31_000);
    expect([fairShare.isBelow('a', 1, 32, 64, 31_000), fairShare.isBelow('a', 1, 33, 64, 31_000)]).toEqual([
      true,
      false,
    ]);
  });

  it('of service is lost by who has lately been served more than its part, and regained', () => {
    const fairShare = new FairShare();
    for (const tenant of ['a', 'b']) fairShare.arrived(tenant, 1, 0);
    fairShare.served('a', 900, 0);
    fairShare.served('b', 100, 0);
    expect([fairShare.isBelow('a', 1, 1, 64, 0), fairShare.isBelow('b', 1, 1, 64, 0)]).toEqual([false, true]);
    fairShare.served('a', -850, 0);
    expect(fairShare.isBelow('a', 1, 1, 64, 0)).toBe(true);
    fairShare.served('a', 950, 0);
    for (let s = 1; s <= 60; s += 1) {
      for (const tenant of ['a', 'b']) fairShare.arrived(tenant, 1, s * 1_000);
      fairShare.served('b', 50, s * 1_000);
    }
    expect(fairShare.isBelow('a', 1, 1, 64, 60_000)).toBe(true);
  });

  it('is nobody’s who never asked', () => {
    expect(new FairShare().isBelow('a', 1, 1, 64, 0)).toBe(false);
  });

  it('lets every tenant have one slot, however many there are', () => {
    const fairShare = new FairShare();
    for (let i = 0; i < 1_000; i += 1) fairShare.arrived(`t${i}`, 1, 0);
    expect(fairShare.isBelow('t5', 1, 1, 8, 0)).toBe(true);
    expect(fairShare.isBelow('t5', 1, 2, 8, 0)).toBe(false);
  });

  it('is the same for a request before it is noted as after it, however often it is asked', () => {
    const arbStep = fc.record({
      tenant: fc.constantFrom('a', 'b', 'c'),
      weight: fc.integer({ min: 1, max: 4 }),
      waitMs: fc.constantFrom(0, 10, 3_000, 29_999, 30_000),
      cost: fc.integer({ min: -500, max: 2_000 }),
      asks: fc.nat(2),
    });
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 60 }), (steps) => {
        const fairShare = new FairShare();
        const unasked = new FairShare();
        let nowMs = 0;
        for (const { tenant, weight, waitMs, cost, asks } of steps) {
          nowMs += waitMs;
          const isBelow = (one: FairShare): boolean => one.isBelow(tenant, weight, 1, 8, nowMs);
          for (let i = 0; i < asks; i += 1) isBelow(fairShare);
          const before = isBelow(fairShare);
          for (const one of [fairShare, unasked]) one.arrived(tenant, weight, nowMs);
          expect([isBelow(fairShare), isBelow(unasked)]).toEqual([before, before]);
          for (const one of [fairShare, unasked]) one.served(tenant, cost, nowMs);
        }
      }),
    );
  });
});

import { describe, expect, it } from 'vitest';
import { createFairShare } from '../../../src/queue/fair-share.ts';

describe('the fair share', () => {
  it('of slots follows the weights of the tenants that are active', () => {
    const share = createFairShare();
    share.arrived('a', 1, 0);
    expect(share.isBelow('a', 1, 64, 0)).toBe(false);
    share.arrived('b', 3, 0);
    expect([share.isBelow('a', 16, 64, 0), share.isBelow('a', 17, 64, 0)]).toEqual([true, false]);
    expect(share.isBelow('b', 48, 64, 0)).toBe(true);
    // 30 s without b: its weight counts no more.
    share.arrived('a', 1, 31_000);
    share.arrived('c', 1, 31_000);
    expect([share.isBelow('a', 32, 64, 31_000), share.isBelow('a', 33, 64, 31_000)]).toEqual([true, false]);
  });

  it('of service is lost by who has lately been served more than its part, and regained', () => {
    const share = createFairShare();
    for (const tenant of ['a', 'b']) share.arrived(tenant, 1, 0);
    share.served('a', 900, 0);
    share.served('b', 100, 0);
    expect([share.isBelow('a', 1, 64, 0), share.isBelow('b', 1, 64, 0)]).toEqual([false, true]);
    share.served('a', -850, 0);
    expect(share.isBelow('a', 1, 64, 0)).toBe(true);
    share.served('a', 950, 0);
    for (let s = 1; s <= 60; s += 1) {
      for (const tenant of ['a', 'b']) share.arrived(tenant, 1, s * 1_000);
      share.served('b', 50, s * 1_000);
    }
    expect(share.isBelow('a', 1, 64, 60_000)).toBe(true);
  });

  it('is nobody’s who never asked', () => {
    expect(createFairShare().isBelow('a', 1, 64, 0)).toBe(false);
  });

  it('lets every tenant have one slot, however many there are', () => {
    const share = createFairShare();
    for (let i = 0; i < 1_000; i += 1) share.arrived(`t${i}`, 1, 0);
    expect(share.isBelow('t5', 1, 8, 0)).toBe(true);
    expect(share.isBelow('t5', 2, 8, 0)).toBe(false);
  });
});

describe('the reserve', () => {
  const steady = (quietPerSecond: number, endsPerSecond: number) => {
    const share = createFairShare();
    share.arrived('quiet', 1, 0);
    for (let ms = 0; ms < 60_000; ms += 1) {
      if (ms % (1_000 / endsPerSecond) < 1) share.slotFreed(ms);
      if (ms % (1_000 / quietPerSecond) < 1) {
        share.arrived('quiet', 1, ms);
        share.quietArrived('quiet', ms);
      }
    }
    return share;
  };

  it('grows with the quiet requests that come while a slot comes free, up to a sixteenth of the window', () => {
    expect(steady(1, 100).reserve(256, 'auto', 60_000)).toBe(1);
    expect(steady(1, 20).reserve(256, 'auto', 60_000)).toBe(2);
    expect(steady(10, 20).reserve(256, 'auto', 60_000)).toBe(7);
    expect(steady(10, 20).reserve(64, 'auto', 60_000)).toBe(4);
    expect(steady(20, 10).reserve(64, 'auto', 60_000)).toBe(4);
    expect(steady(10, 20).reserve(16, 'auto', 60_000)).toBe(1);
    expect(steady(10, 20).reserve(3, 'auto', 60_000)).toBe(0);
  });

  it('is what is configured while anybody quiet is active, and leaves a slot to the others', () => {
    const share = steady(1, 20);
    expect([0, 5, 64].map((configured) => share.reserve(64, configured, 60_000))).toEqual([0, 5, 63]);
    expect(share.reserve(64, 5, 95_000)).toBe(0);
  });

  it('is never idle for ever: nobody quiet for half a minute, no reserve', () => {
    const share = steady(1, 20);
    expect(share.reserve(64, 'auto', 88_000)).toBe(2);
    expect(share.reserve(64, 'auto', 95_000)).toBe(0);
  });

  it('is nothing for a tenant that has requests waiting for their turn', () => {
    const share = steady(1, 20);
    share.backlogged('quiet');
    expect(share.reserve(64, 'auto', 60_000)).toBe(0);
  });
});

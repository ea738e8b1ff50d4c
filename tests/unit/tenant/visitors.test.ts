import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Limits, VisitorPolicy } from '../../../src/config/config.ts';
import { createMemoryStore } from '../../../src/limit/memory-store.ts';
import { createTenantLimits } from '../../../src/tenant/tenant-limits.ts';
import { Visitors } from '../../../src/tenant/visitors.ts';

const HOUR = 3_600_000;
const limits = (requestsPerMinute: number): Limits => ({
  weight: 1,
  maxOutputs: 1,
  maxQueued: 1,
  requestsPerMinute,
});
const policy = (most: number): VisitorPolicy => ({
  tier: 'free',
  limits: new Map([
    ['free', limits(60)],
    ['paid', limits(600)],
  ]),
  most,
});

function visitorsOf(most: number): Visitors {
  const store = createMemoryStore();
  return new Visitors(policy(most), (config) =>
    createTenantLimits({ tenant: config.name, limits: config.limits, store, unixMs: () => 0 }),
  );
}
const tierOf = (visit: ReturnType<Visitors['visit']>) =>
  typeof visit === 'string' ? visit : visit.config.tier;

describe('a visitor', () => {
  it('has the tier of its token, or the one of all', () => {
    const visitors = visitorsOf(3);
    expect(tierOf(visitors.visit('a', '', 0))).toBe('free');
    expect(tierOf(visitors.visit('b', 'paid', 0))).toBe('paid');
    expect(tierOf(visitors.visit('b', 'gold', 0))).toBe('free');
    expect(visitors.get('b')?.config.limits.requestsPerMinute).toBe(60);
    expect(tierOf(visitors.visit('c', '__proto__', 0))).toBe('free');
  });

  it.each(['', ' ', 'a b', 'a:b', 'a/b', '-a', '.a', 'a\n', 'ä', 'x'.repeat(129)])(
    'is not called %j',
    (name) => {
      expect(visitorsOf(3).visit(name, '', 0)).toBe('bad-name');
    },
  );

  it('is forgotten after an hour, or after a minute where there is no room, but not with a request', async () => {
    const visitors = visitorsOf(2);
    const busy = visitors.visit('busy', '', 0);
    if (typeof busy === 'string') throw new Error(busy);
    const reserved = await busy.limits.reserveTokens(10, 0);
    visitors.visit('idle', '', 1);
    expect(visitors.visit('new', '', 2)).toBe('full');
    expect(tierOf(visitors.visit('new', '', 61_000))).toBe('free');
    expect([visitors.get('idle'), visitors.get('busy')]).toEqual([undefined, busy]);
    expect(tierOf(visitors.visit('later', '', 2 * HOUR))).toBe('free');
    expect(visitors.get('busy')).toBe(busy);
    if (reserved.kind === 'reserved') reserved.reservation.settle(0, 2 * HOUR);
    visitors.visit('last', '', 4 * HOUR);
    expect(visitors.size).toBe(1);
  });

  it('that comes again has spent what it had spent', async () => {
    const visitors = visitorsOf(1);
    const first = visitors.visit('a', '', 0);
    if (typeof first === 'string') throw new Error(first);
    for (let i = 0; i < 60; i += 1) await first.limits.takeRequest(0);
    visitors.visit('b', '', 60_000);
    expect(visitors.get('a')).toBeUndefined();
    const again = visitors.visit('a', '', 120_000);
    expect(typeof again).toBe('object');
    expect(again).not.toBe(first);
  });

  it('goes when it is configured, and all go when none are taken', () => {
    const visitors = visitorsOf(3);
    for (const name of ['a', 'b']) visitors.visit(name, 'paid', 0);
    visitors.reconfigure({ ...policy(3), limits: new Map([['free', limits(7)]]) }, (name) => name === 'a');
    expect(visitors.get('a')).toBeUndefined();
    expect(visitors.get('b')?.config).toMatchObject({ tier: 'free', limits: { requestsPerMinute: 7 } });
    visitors.reconfigure(undefined, () => false);
    expect(visitors.size).toBe(0);
    expect(visitors.visit('b', '', 0)).toBe('bad-name');
  });

  it('is one of a bounded number, whatever comes', () => {
    const visits = fc.array(fc.tuple(fc.nat(40), fc.nat(200_000), fc.boolean()), { maxLength: 300 });
    fc.assert(
      fc.property(visits, (all) => {
        const visitors = visitorsOf(5);
        let nowMs = 0;
        for (const [name, laterMs, paid] of all) {
          nowMs += laterMs;
          const visit = visitors.visit(`t${name}`, paid ? 'paid' : '', nowMs);
          expect(visitors.size).toBeLessThanOrEqual(5);
          expect(visit === 'full' || visitors.get(`t${name}`) === visit).toBe(true);
        }
      }),
      { seed: 14 },
    );
  });
});

/** Endpoints that would not serve what they were sent, while Envoy has others serve it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AllotmentOwner } from '../../../src/limit/allotments.ts';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';
import { PassedOn } from '../../../src/pool/passed-on.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import type { Demand, PoolEndpoints, SharedLimits, Slot } from '../../../src/pool/types.ts';
import { lonelyAllotment } from '../../support/allotment.ts';

const REFUSES = '10.0.0.1:8000';
const SERVES = '10.0.0.2:8000';
const URL_OF_REFUSING = 'http://e1:8000';
const demand: Demand = { sequences: 1, promptTokens: 10, totalTokens: 20, streamed: true };

function poolOf(concurrencyLimit: number, shared?: SharedLimits): PoolEndpoints {
  const endpoints = createPoolEndpoints(fixedLimit, shared);
  const all = [
    { url: URL_OF_REFUSING, address: REFUSES },
    { url: 'http://e2:8000', address: SERVES },
  ];
  endpoints.reconfigure(all, { concurrencyLimit, prefillTokens: 1_000, headroom: 'auto' });
  for (const { url } of all) endpoints.setHealthy(url, true, 0);
  return endpoints;
}

function acquire(endpoints: PoolEndpoints, nowMs = 0, tenant = 'a'): Slot | undefined {
  const got = endpoints.acquire(demand, { belowFairShare: false, headroom: 0, tenant }, nowMs);
  return got?.kind === 'slot' ? got : undefined;
}

/** All that have room now. */
function acquireAll(endpoints: PoolEndpoints, nowMs = 0): readonly Slot[] {
  const slots: Slot[] = [];
  for (let slot = acquire(endpoints, nowMs); slot !== undefined; slot = acquire(endpoints, nowMs)) {
    slots.push(slot);
  }
  return slots;
}

const refuse = (slot: Slot | undefined, nowMs = 0): void => slot?.moveTo(SERVES, nowMs);

/** All room of the refusing endpoint is that of what the other serves. */
function fullOfPassedOn(concurrencyLimit: number, shared?: SharedLimits) {
  const endpoints = poolOf(concurrencyLimit, shared);
  // Another tenant uses the pool: one alone ejects nothing.
  const other = acquire(endpoints, 0, 'other');
  other?.ended({ status: 200 }, 0);
  other?.free(0);
  const slots = acquireAll(endpoints);
  const moved = slots.filter(({ address }) => address === REFUSES);
  for (const slot of moved) refuse(slot);
  return { endpoints, slots, moved };
}

describe('an endpoint whose room others use', () => {
  /** Two of two that it has passed on, with the two that were sent to the other at once. */
  const twoAndTwo = () => {
    const { endpoints, slots, moved } = fullOfPassedOn(2);
    for (const slot of moved) slot.ended({ status: 200 }, 0);
    const [first, second] = moved as [Slot, Slot];
    const others = slots.filter((slot) => !moved.includes(slot)) as [Slot, Slot];
    return { endpoints, first, second, others };
  };

  it('has no room for more in their place, until those have ended', () => {
    const { endpoints, first, others } = twoAndTwo();
    expect(endpoints.list(0).map(({ sequences }) => sequences)).toEqual([0, 4]);
    expect(acquire(endpoints)).toBeUndefined();
    // The second one is still beyond its limit.
    others[0].free(0);
    expect(acquire(endpoints)).toBeUndefined();
    first.free(0);
    first.free(0);
    expect(acquire(endpoints)?.address).toBe(REFUSES);
    expect(acquire(endpoints)).toBeUndefined();
  });

  it('has all of its room when it answers again, and loses none of it later', () => {
    const { endpoints, first, second, others } = twoAndTwo();
    first.free(0);
    const next = acquire(endpoints);
    expect(next?.address).toBe(REFUSES);
    next?.ended({ status: 200 }, 0);
    const more = acquire(endpoints);
    expect(more?.address).toBe(REFUSES);
    for (const slot of [second, ...others, next, more]) slot?.free(0);
    const all = [1, 2, 3, 4, 5].map(() => acquire(endpoints)?.address);
    expect(all.filter((address) => address === REFUSES)).toHaveLength(2);
    expect(all[4]).toBeUndefined();
  });

  it('is tried by one request, as seldom again as it has refused for', () => {
    const { endpoints } = fullOfPassedOn(2);
    const triedAt: number[] = [];
    for (let nowMs = 0; nowMs <= 100_000; nowMs += 500) {
      const slots = acquireAll(endpoints, nowMs);
      if (slots.length > 0) triedAt.push(nowMs);
      expect(slots.length).toBeLessThanOrEqual(1);
      for (const slot of slots) {
        expect(slot.address).toBe(REFUSES);
        refuse(slot, nowMs);
      }
    }
    expect(triedAt).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 62_000, 92_000]);
    expect(endpoints.list(0)[0]?.ejected).toBe(false);
  });

  it('has all of it when it answers who tries it', () => {
    const { endpoints } = fullOfPassedOn(2);
    acquire(endpoints, 1_000)?.ended({ status: 200 }, 1_100);
    expect(acquireAll(endpoints, 1_100).map(({ address }) => address)).toEqual([REFUSES]);
  });

  it('is not tried beyond its limit, nor by one after another while none was answered', () => {
    const { endpoints } = fullOfPassedOn(2);
    expect(acquireAll(endpoints, 1_000)).toHaveLength(1);
    expect(acquireAll(endpoints, 1_999)).toHaveLength(0);
    expect(acquireAll(endpoints, 10_000)).toHaveLength(1);
    expect(acquireAll(endpoints, 100_000)).toHaveLength(0);
  });

  it.each([
    [
      'was away',
      (endpoints: PoolEndpoints) => {
        endpoints.setHealthy(URL_OF_REFUSING, false, 0);
        endpoints.setHealthy(URL_OF_REFUSING, true, 0);
      },
    ],
    ['has loaded its model', (endpoints: PoolEndpoints) => endpoints.engineLoaded(URL_OF_REFUSING)],
  ])('has all of it at once when it %s', (_, comeBack) => {
    const { endpoints, moved } = fullOfPassedOn(2);
    comeBack(endpoints);
    // Where it comes back slowly, that is of its limit alone.
    const nowMs = 60_000;
    const limit = endpoints.list(nowMs)[0]?.concurrencyLimit;
    expect(acquireAll(endpoints, nowMs)).toHaveLength(2);
    expect(limit).toBe(2);
    for (const slot of moved) slot.free(nowMs);
    expect(acquireAll(endpoints, nowMs)).toHaveLength(0);
  });

  it('says so where a request is explained', () => {
    const { endpoints } = fullOfPassedOn(2);
    const { endpoints: rows } = endpoints.explain(
      demand,
      { belowFairShare: false, headroom: 0, tenant: 'a' },
      0,
    );
    expect(new Map(rows.map(({ address, refusedBy }) => [address, refusedBy]))).toEqual(
      new Map([
        [REFUSES, ['its room is kept by what it would not serve, and others do']],
        [SERVES, ['at its concurrency limit']],
      ]),
    );
  });

  it('keeps it from other replicas too, and they are told when it is free', () => {
    const owners = new Map<string, Omit<AllotmentOwner, 'changed'>>();
    const told: string[] = [];
    const shared: SharedLimits = {
      waiting: () => ({ queued: 0, headroom: 0 }),
      hold: (url, owner) => {
        owners.set(url, owner);
        return lonelyAllotment(owner, {
          limit: () => 8,
          fair: () => 8,
          capacity: () => 8,
          usageChanged: () => void told.push(url),
        });
      },
    };
    const { moved } = fullOfPassedOn(8, shared);
    const owner = owners.get(URL_OF_REFUSING);
    expect([owner?.inUse(), owner?.claimed(0), owner?.want(0)]).toEqual([0, 8, 8]);
    told.length = 0;
    for (const slot of moved.slice(0, 5)) slot.free(0);
    expect([owner?.inUse(), owner?.claimed(0), owner?.want(0)]).toEqual([0, 3, 4]);
    expect(told.filter((url) => url === URL_OF_REFUSING)).toHaveLength(5);
  });
});

it('what is passed on is the sum of what began since it was forgotten, and has not ended', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('begin' as const), sequences: fc.nat(4) }),
    fc.record({ kind: fc.constant('end' as const), which: fc.nat() }),
    fc.record({ kind: fc.constant('forget' as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const passedOn = new PassedOn();
      const open: { readonly sequences: number; readonly since: number; forgotten: boolean }[] = [];
      steps.forEach((one, nowMs) => {
        if (one.kind === 'begin') {
          const { sequences } = one;
          open.push({ sequences, since: passedOn.begin(sequences, nowMs), forgotten: false });
        } else if (one.kind === 'forget') {
          passedOn.forget();
          for (const each of open) each.forgotten = true;
        } else if (open.length > 0) {
          const [ended] = open.splice(one.which % open.length, 1);
          if (ended !== undefined) passedOn.end(ended.sequences, ended.since);
        }
        const expected = open.reduce((sum, each) => sum + (each.forgotten ? 0 : each.sequences), 0);
        expect(passedOn.sequences).toBe(expected);
      });
    }),
  );
});

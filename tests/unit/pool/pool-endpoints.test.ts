import { describe, expect, it } from 'vitest';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';
import type { AttemptResult } from '../../../src/pool/health/outcome.ts';
import type { RotationChange } from '../../../src/pool/health/rotation.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import type {
  Claim,
  Demand,
  PoolEndpoints,
  PoolLimits,
  SharedLimits,
  Slot,
} from '../../../src/pool/types.ts';
import { lonelyAllotment } from '../../support/allotment.ts';

const at = (n: number) => ({ url: `http://e${n}:8000`, address: `10.0.0.${n}:8000` });

const config = (window: number): PoolLimits => ({
  concurrencyLimit: window,
  prefillTokens: 1_000,
  headroom: 'auto',
});
const demand: Demand = { sequences: 1, promptTokens: 10, totalTokens: 20, streamed: true };
const acquire = (
  endpoints: PoolEndpoints,
  more: Partial<Demand> = {},
  claim: Partial<Claim> = {},
  nowMs = 0,
): Slot | undefined => {
  const asked = { belowFairShare: false, headroom: 0, tenant: 'a', ...claim };
  const got = endpoints.acquire({ ...demand, ...more }, asked, nowMs);
  return got?.kind === 'slot' ? got : undefined;
};

describe("a pool's endpoints", () => {
  it('are not in the rotation until they are known to be healthy', () => {
    const endpoints = createPoolEndpoints(fixedLimit);
    endpoints.reconfigure([at(1)], config(4));
    expect(acquire(endpoints)).toBeUndefined();
    endpoints.setHealthy(at(1).url, true, 0);
    expect(acquire(endpoints)?.address).toBe('10.0.0.1:8000');
    expect(endpoints.concurrencyLimit(0)).toBe(4);
  });
  it('move the slot to where Envoy served the request, and free it there', () => {
    const endpoints = createPoolEndpoints(fixedLimit);
    endpoints.reconfigure([at(1), at(2)], config(4));
    endpoints.setHealthy(at(1).url, true, 0);
    endpoints.setHealthy(at(2).url, true, 0);
    const slot = acquire(endpoints);
    slot?.moveTo('10.0.0.2:8000', 0);
    slot?.moveTo('10.9.9.9:1', 0);
    expect(endpoints.list(0).map(({ inFlight }) => inFlight)).toEqual([0, 1]);
    slot?.free(0);
    slot?.moveTo('10.0.0.1:8000', 0);
    slot?.free(0);
    expect(endpoints.list(0).map(({ inFlight }) => inFlight)).toEqual([0, 0]);
    expect(endpoints.inFlight()).toBe(0);
  });
  it('get nothing new while they are drained, not even as a fallback, and end what they have', () => {
    const endpoints = createPoolEndpoints(fixedLimit);
    endpoints.reconfigure([at(1), at(2)], config(4));
    endpoints.setHealthy(at(1).url, true, 0);
    endpoints.setHealthy(at(2).url, true, 0);
    const slot = acquire(endpoints);
    endpoints.setDrained(at(1).url, true);
    expect(endpoints.concurrencyLimit(0)).toBe(4);
    expect(Array.from({ length: 4 }, () => acquire(endpoints)?.addresses)).toEqual(
      Array.from({ length: 4 }, () => ['10.0.0.2:8000']),
    );
    expect(acquire(endpoints)).toBeUndefined();
    expect(endpoints.addresses(undefined)).toEqual(['10.0.0.2:8000']);
    slot?.free(0);
    expect(endpoints.list(0).map(({ inFlight }) => inFlight)).toEqual([0, 4]);
    endpoints.setDrained(at(2).url, true);
    expect([endpoints.canServe(undefined), endpoints.healthyCount()]).toEqual([false, 2]);
    endpoints.setDrained(at(1).url, false);
    expect(acquire(endpoints)?.address).toBe('10.0.0.1:8000');
  });
  it('keep the state of those that stay over a reconfiguration, and count what a removed one still serves', () => {
    const endpoints = createPoolEndpoints(fixedLimit);
    endpoints.reconfigure([at(1), at(2)], config(1));
    endpoints.setHealthy(at(1).url, true, 0);
    const slot = acquire(endpoints);
    endpoints.reconfigure([{ url: at(2).url, address: '10.0.0.22:8000' }, at(3)], config(1));
    expect(endpoints.inFlight()).toBe(1);
    slot?.free(0);
    expect(endpoints.inFlight()).toBe(0);
    endpoints.setHealthy(at(2).url, true, 0);
    expect(acquire(endpoints)?.address).toBe('10.0.0.22:8000');
  });

  const healthy = (window: number): PoolEndpoints => {
    const endpoints = createPoolEndpoints(fixedLimit);
    endpoints.reconfigure([at(1)], config(window));
    endpoints.setHealthy(at(1).url, true, 0);
    return endpoints;
  };

  it('hold no more tokens than the KV cache has room for, and keep a tenth for quiet tenants', () => {
    const endpoints = healthy(100);
    endpoints.setCapacity(at(1).url, 1_000);
    const long = { promptTokens: 1, totalTokens: 400 };
    expect(acquire(endpoints, long)).toBeDefined();
    expect(acquire(endpoints, long)).toBeDefined();
    expect(acquire(endpoints, { promptTokens: 1, totalTokens: 150 })).toBeUndefined();
    const quiet = acquire(endpoints, { promptTokens: 1, totalTokens: 150 }, { belowFairShare: true });
    expect(quiet).toBeDefined();
    quiet?.free(0);
    expect(acquire(endpoints, { promptTokens: 1, totalTokens: 100 })).toBeDefined();
    expect(endpoints.list(0)[0]).toMatchObject({ kvTokens: 900, kvCapacityTokens: 1_000 });
  });

  it('take a request that is larger than their KV cache, when they have nothing else', () => {
    const endpoints = healthy(4);
    endpoints.setCapacity(at(1).url, 1_000);
    const slot = acquire(endpoints, { totalTokens: 5_000 });
    expect(slot).toBeDefined();
    expect(acquire(endpoints)).toBeUndefined();
    slot?.free(0);
    expect(acquire(endpoints)).toBeDefined();
  });

  it('while quiet tenants are active compute a few prompts at a time, or one long one alone', () => {
    const endpoints = healthy(100);
    const claim = { headroom: 1 };
    const first = acquire(endpoints, { promptTokens: 600 }, claim);
    expect(acquire(endpoints, { promptTokens: 500 }, claim)).toBeUndefined();
    expect(endpoints.list(0)[0]?.isHolding).toBe(true);
    expect(acquire(endpoints, { promptTokens: 300 }, claim)).toBeDefined();
    expect(acquire(endpoints, { promptTokens: 500 }, { belowFairShare: true })).toBeDefined();
    first?.firstToken(10);
    // The quiet one is being computed.
    expect(acquire(endpoints, { promptTokens: 1 }, claim)).toBeUndefined();
    // First tokens that nobody sees are not waited for.
    expect(acquire(endpoints, { promptTokens: 9_000 }, claim, 5_000)).toBeDefined();
    expect(acquire(endpoints, { promptTokens: 1 }, claim, 5_000)).toBeUndefined();
  });

  it('do not count a prompt that must be computed by now, also for a tenant below its fair share', () => {
    const endpoints = createPoolEndpoints(fixedLimit);
    endpoints.reconfigure([at(1)], config(4));
    endpoints.setHealthy(at(1).url, true, 0);
    const claim = { belowFairShare: true };
    acquire(endpoints, { promptTokens: 900, streamed: false }, claim, 0);
    expect(acquire(endpoints, {}, claim, 1)?.prefillTokens).toBe(910);
    expect(acquire(endpoints, {}, claim, 60_000)?.prefillTokens).toBe(10);
  });
  it('know nothing of endpoints that are not theirs, and free a slot once', () => {
    const endpoints = healthy(2);
    endpoints.gauges('http://elsewhere', { running: 1, waiting: 9 }, 0);
    endpoints.setCapacity('http://elsewhere', 5);
    const slot = acquire(endpoints);
    slot?.firstToken(1);
    slot?.firstToken(2);
    slot?.free(0);
    slot?.free(0);
    expect(endpoints.list(0)[0]).toMatchObject({ inFlight: 0, kvTokens: 0, isHolding: false });
  });
});

describe('endpoints where requests fail', () => {
  const changes: RotationChange[] = [];
  const suspects: string[] = [];
  const pool = (count: number, window = 100, shared?: SharedLimits): PoolEndpoints => {
    changes.length = 0;
    suspects.length = 0;
    const endpoints = createPoolEndpoints(fixedLimit, shared, {
      changed: (change) => changes.push(change),
      suspect: (url) => suspects.push(url),
    });
    const all = Array.from({ length: count }, (_, i) => at(i + 1));
    endpoints.reconfigure(all, config(window));
    for (const { url } of all) endpoints.setHealthy(url, true, 0);
    return endpoints;
  };
  const go = (
    endpoints: PoolEndpoints,
    ending: (address: string) => AttemptResult,
    { tenant = 'a', model = 'm', nowMs = 0, quiet = false } = {},
  ): string | undefined => {
    const slot = acquire(endpoints, { model }, { tenant, belowFairShare: quiet }, nowMs);
    slot?.ended(ending(slot.address), nowMs);
    slot?.free(nowMs);
    return slot?.address;
  };
  const rounds = (count: number, once: (i: number) => void): void => {
    for (let i = 0; i < count; i += 1) once(i);
  };
  const firstFails = (address: string): AttemptResult => ({
    status: address === '10.0.0.1:8000' ? 500 : 200,
  });
  const ejected = (shared?: SharedLimits): PoolEndpoints => {
    const endpoints = pool(4, 100, shared);
    // Models of their own: the endpoint is to blame, not one of them.
    rounds(40, (i) => go(endpoints, firstFails, { tenant: i % 8 < 4 ? 'a' : 'b', model: `m${i}` }));
    return endpoints;
  };

  it('are left out when several tenants fail there, and their slots are none of the pool', () => {
    const endpoints = ejected();
    expect(changes).toMatchObject([{ kind: 'ejected', url: at(1).url }]);
    expect(endpoints.list(0).map((one) => one.ejected)).toEqual([true, false, false, false]);
    expect(endpoints.concurrencyLimit(0)).toBe(300);
    expect(endpoints.healthyCount()).toBe(4);
    expect(endpoints.addresses(undefined)).not.toContain('10.0.0.1:8000');
    const slot = acquire(endpoints);
    expect(slot?.addresses).toHaveLength(3);
    expect(slot?.addresses).not.toContain('10.0.0.1:8000');
    expect(suspects).toContain(at(1).url);
  });

  it('are tried again one request at a time, a quiet one only when there is no other, and return slowly', () => {
    const endpoints = ejected();
    const fine = (): AttemptResult => ({ status: 200 });
    const where = (quiet: boolean, nowMs: number) => go(endpoints, fine, { quiet, nowMs });
    expect(where(true, 5_000)).not.toBe('10.0.0.1:8000');
    const trial = acquire(endpoints, {}, {}, 5_000);
    expect(trial?.address).toBe('10.0.0.1:8000');
    rounds(8, () => expect(where(false, 5_001)).not.toBe('10.0.0.1:8000'));
    trial?.ended(fine(), 5_002);
    trial?.free(5_002);
    expect(where(false, 5_003)).toBe('10.0.0.1:8000');
    expect(changes.at(-1)).toEqual({ kind: 'returned', url: at(1).url });
    const window = (nowMs: number) => endpoints.list(nowMs)[0]?.concurrencyLimit;
    expect([5_003, 20_003, 35_003].map(window)).toEqual([10, 50, 100]);
    expect(endpoints.concurrencyLimit(35_003)).toBe(400);
  });

  it('are tried by a quiet request when none of others comes', () => {
    const endpoints = ejected();
    const where = (nowMs: number) => go(endpoints, () => ({ status: 200 }), { quiet: true, nowMs });
    rounds(8, () => expect(where(5_000)).not.toBe('10.0.0.1:8000'));
    expect(where(10_000)).toBe('10.0.0.1:8000');
  });

  it('return also where replicas divide their limits, and this one gets what it asks for', () => {
    const grants: SharedLimits = {
      waiting: () => ({ queued: 4, headroom: 0 }),
      hold: (_, owner) =>
        lonelyAllotment(owner, {
          limit: (nowMs) => owner.want(nowMs),
          fair: () => 0,
          capacity: () => 100,
        }),
    };
    const endpoints = ejected(grants);
    const where = (nowMs: number) => go(endpoints, () => ({ status: 200 }), { nowMs });
    expect(endpoints.list(0)[0]?.ejected).toBe(true);
    rounds(2, () => expect(where(5_000)).toBe('10.0.0.1:8000'));
    expect(endpoints.list(5_000)[0]?.ejected).toBe(false);
    // Without requests all goes back, and nothing is kept for a probe.
    expect(endpoints.list(40_000).map((one) => one.concurrencyLimit)).toEqual([0, 0, 0, 0]);
  });

  it('serve others whatever one tenant does', () => {
    const endpoints = pool(2);
    rounds(50, (i) => {
      go(endpoints, () => ({ status: 500 }), { tenant: 'bad', nowMs: i });
      go(endpoints, () => ({ status: 200 }), { tenant: 'good', nowMs: i });
    });
    expect(changes).toEqual([]);
    expect(endpoints.brokenMs({ ...demand, model: 'm' }, 'good', 50)).toBeUndefined();
    expect(endpoints.concurrencyLimit(50)).toBe(200);
  });

  it('stay, when the only one who fails is alone there but not in the pool, also long after the others asked', () => {
    const endpoints = pool(2);
    go(endpoints, () => ({ status: 200 }), { tenant: 'good' });
    rounds(50, (i) => go(endpoints, () => ({ status: 500 }), { tenant: 'bad', nowMs: 60_000 + i }));
    expect(changes).toEqual([]);
    // It is kept out itself.
    expect(acquire(endpoints, { model: 'm' }, { tenant: 'bad' }, 60_100)).toBeUndefined();
    expect(acquire(endpoints, { model: 'm' }, { tenant: 'good' }, 60_100)).toBeDefined();
  });

  it('are left out by the failures of the only tenant that there is', () => {
    const endpoints = pool(2);
    rounds(20, () => go(endpoints, firstFails));
    expect(changes).toMatchObject([{ kind: 'ejected', url: at(1).url }]);
  });

  it('one always serves: the last is not left out', () => {
    const endpoints = pool(2);
    rounds(100, (i) => go(endpoints, () => ({ status: 500 }), { tenant: `t${i % 3}`, model: `m${i}` }));
    expect(endpoints.list(0).filter((one) => !one.ejected)).toHaveLength(1);
    expect(acquire(endpoints)).toBeDefined();
  });

  it('give no slot to a model that is broken everywhere, say when to ask again, and try then', () => {
    const endpoints = pool(1);
    rounds(6, (i) => go(endpoints, () => ({ status: 500 }), { tenant: i % 2 === 0 ? 'a' : 'b' }));
    expect(changes).toEqual([{ kind: 'model', url: at(1).url, model: 'm', open: true }]);
    expect(endpoints.list(0)[0]?.broken).toEqual(['m']);
    expect(acquire(endpoints, { model: 'm' }, { tenant: 'c' }, 10)).toBeUndefined();
    expect(endpoints.brokenMs({ ...demand, model: 'm' }, 'c', 10)).toBe(4_990);
    expect(acquire(endpoints, { model: 'other' }, { tenant: 'c' }, 10)).toBeDefined();
    expect(endpoints.brokenMs({ ...demand, model: 'm' }, 'c', 5_000)).toBeUndefined();
    expect(go(endpoints, () => ({ status: 200 }), { tenant: 'c', nowMs: 5_000 })).toBe('10.0.0.1:8000');
    expect(changes.at(-1)).toEqual({ kind: 'model', url: at(1).url, model: 'm', open: false });
  });

  it('that Envoy passed over are the ones that failed', () => {
    const endpoints = pool(3);
    const slot = acquire(endpoints);
    const [first = '', second = '', third = ''] = slot?.addresses ?? [];
    const passed = [first, second].map((address) => at(Number(address.slice(7, 8))).url);
    slot?.moveTo(third, 0);
    // Long before the answer ends, and once.
    expect(suspects).toEqual(passed);
    slot?.moveTo(third, 0);
    slot?.ended({ status: 200 }, 0);
    slot?.ended({ status: 500 }, 0);
    expect(suspects).toEqual(passed);
  });

  it('that Envoy passed over are ejected while the answers of others still come', () => {
    const endpoints = pool(2);
    let moved = 0;
    rounds(20, (i) => {
      const slot = acquire(endpoints, {}, { tenant: i % 4 < 2 ? 'a' : 'b' });
      const [first, second = ''] = slot?.addresses ?? [];
      if (first !== '10.0.0.1:8000') return;
      slot?.moveTo(second, 0);
      moved += 1;
    });
    expect(endpoints.list(0).map(({ ejected: isEjected }) => isEjected)).toEqual([true, false]);
    expect(moved).toBe(5);
  });

  it('that have been dead return slowly while others serve, and at once when nobody does', () => {
    const endpoints = pool(2);
    const windows = (nowMs: number) => endpoints.list(nowMs).map(({ concurrencyLimit: window }) => window);
    endpoints.setHealthy(at(1).url, false, 1_000);
    endpoints.setHealthy(at(1).url, true, 2_000);
    expect(windows(2_000)).toEqual([10, 100]);
    expect(windows(17_000)).toEqual([50, 100]);
    endpoints.setHealthy(at(2).url, false, 18_000);
    expect(windows(18_000)[0]).toBe(100);
    endpoints.setHealthy(at(1).url, false, 19_000);
    endpoints.setHealthy(at(1).url, true, 20_000);
    expect(windows(20_000)[0]).toBe(100);
  });

  it('start without a ramp, and without a record when they have loaded', () => {
    expect(pool(2).concurrencyLimit(0)).toBe(200);
    const endpoints = ejected();
    endpoints.setHealthy(at(1).url, false, 0);
    endpoints.engineLoaded(at(1).url);
    endpoints.setHealthy(at(1).url, true, 1_000);
    expect(endpoints.list(1_000)[0]?.ejected).toBe(false);
  });
});

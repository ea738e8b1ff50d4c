/** What the dispatcher does with caps and windows that it shares with other replicas. */
import { describe, expect, it } from 'vitest';
import { DEFAULT_LANE as LANE, type Limits } from '../../../src/config/config.ts';
import { createAllotments } from '../../../src/limit/allotments.ts';
import { createVirtualAllotments } from '../../../src/loadtest/virtual-allotments.ts';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import { createDispatcher } from '../../../src/queue/dispatcher.ts';
import { createTenantCaps } from '../../../src/queue/tenant-caps.ts';
import type { Offer, Release } from '../../../src/queue/types.ts';

const HOP_MS = 1;
const URL = 'http://10.0.0.1:8000';

/** Replicas in front of one engine, over one account of shares. */
function createSetup({
  window = 8,
  limits = {},
}: {
  readonly window?: number;
  readonly limits?: Partial<Limits>;
} = {}) {
  const account = createVirtualAllotments();
  const later: { atMs: number; run: (nowMs: number) => void }[] = [];
  let nowMs = 0;
  const ticks: ((nowMs: number) => void)[] = [];

  const replica = () => {
    const name = `replica-${ticks.length}`;
    const own = { isUp: true, calls: 0 };
    const shares = createAllotments({
      failureShare: 0.5,
      maxWaitMs: 10,
      isUp: () => own.isUp,
      send(key, kind, sent, done) {
        own.calls += 1;
        later.push({
          atMs: nowMs + HOP_MS,
          run(atMs) {
            const answer = account.call(key, kind, name, sent, atMs);
            later.push({ atMs: atMs + HOP_MS, run: (doneMs) => done(answer, doneMs) });
          },
        });
      },
      onActive: () => undefined,
    });
    const caps = createTenantCaps({
      allotments: shares,
      keyOf: (tenant) => `c:${tenant}`,
      maxConcurrentOf: () => limits.maxConcurrent ?? 0,
      inFlightOf: (tenant) => dispatcher.inFlightOfTenant(tenant),
      queuedOf: (tenant) => dispatcher.queuedOfTenant(tenant),
      changed: (tenant, atMs) => dispatcher.capChanged(tenant, atMs),
    });
    const dispatcher = createDispatcher(
      { maxWaitMs: 5_000, maxQueued: 100, quantumTokens: 100, lanes: new Map([[LANE.name, LANE]]) },
      () => ({ weight: 1, maxOutputs: 16, maxQueued: 3, ...limits }),
      caps,
    );
    const endpoints = createPoolEndpoints(fixedLimit, {
      hold: (url, owner) =>
        shares.hold(`w:${url}`, 'concurrency-limit', {
          ...owner,
          changed: (atMs) => dispatcher.roomChanged('main', atMs),
        }),
      waiting: (atMs) => ({
        queued: dispatcher.queuedOf('main'),
        headroom: dispatcher.headroomOf('main', atMs),
      }),
    });
    endpoints.reconfigure([{ url: URL, address: '10.0.0.1:8000' }], {
      concurrencyLimit: window,
      prefillTokens: 100_000,
      headroom: 0,
    });
    endpoints.setHealthy(URL, true, 0);
    dispatcher.addPool('main', endpoints);
    const released: { readonly release: Release; readonly atMs: number }[] = [];
    const expired: string[] = [];
    ticks.push((atMs) => {
      shares.tick(atMs);
      dispatcher.tick(atMs);
    });
    return {
      own,
      shares,
      dispatcher,
      endpoints,
      released,
      expired,
      offer: (tenant = 'a', sequences = 1): Offer =>
        dispatcher.offer(
          {
            tenant,
            pool: 'main',
            lane: LANE.name,
            cost: 10,
            demand: { sequences, promptTokens: 1, totalTokens: 2, streamed: true },
            onRelease: (release, atMs) => {
              released.push({ release, atMs });
              release.firstToken(atMs);
            },
            onExpire: (reason) => expired.push(reason),
          },
          nowMs,
        ),
      freeOne(): void {
        released.shift()?.release.free(nowMs);
      },
    };
  };
  return {
    replica,
    nowMs: () => nowMs,
    run(ms: number): void {
      for (const endMs = nowMs + ms; nowMs < endMs; ) {
        nowMs += 1;
        for (const one of later.splice(0)) {
          if (one.atMs <= nowMs) one.run(nowMs);
          else later.push(one);
        }
        if (nowMs % 10 === 0) for (const tick of ticks) tick(nowMs);
      }
    },
  };
}

describe('maxConcurrent of a tenant over replicas', () => {
  it('lets the first request go as soon as its share is known, and holds all replicas to the limit', () => {
    const at = createSetup({ limits: { maxConcurrent: 2 } });
    const [one, other] = [at.replica(), at.replica()];
    expect(one.offer().kind).toBe('queued');
    expect(other.offer().kind).toBe('queued');
    at.run(5);
    expect([one.released.length, other.released.length]).toEqual([1, 1]);
    for (const { offer } of [one, other, one, other]) offer();
    at.run(500);
    expect([one.released.length, other.released.length]).toEqual([1, 1]);
    one.freeOne();
    at.run(500);
    expect(one.released.length + other.released.length).toBe(2);
  });

  it('gives a lone replica all of it, and one that begins what another has given back, at once', () => {
    const at = createSetup({ limits: { maxConcurrent: 2 } });
    const [one, other] = [at.replica(), at.replica()];
    one.offer();
    one.offer();
    at.run(10);
    expect(one.released).toHaveLength(2);
    one.freeOne();
    one.freeOne();
    at.run(25);
    other.offer();
    other.offer();
    at.run(10);
    expect(other.released).toHaveLength(2);
  });

  it('does not refuse a tenant without a queue because of the wait for an answer', () => {
    const at = createSetup({ limits: { maxConcurrent: 2, maxQueued: 0 } });
    const [one, other] = [at.replica(), at.replica()];
    expect(one.offer().kind).toBe('queued');
    expect(one.offer().kind).toBe('queued');
    // No more can be allowed than there is.
    expect(one.offer()).toMatchObject({ kind: 'refused', reason: 'tenant-queue-full' });
    at.run(5);
    expect(one.released).toHaveLength(2);
    expect(one.offer().kind).toBe('refused');
    // The other does not know yet, asks, and refuses as soon as it does.
    expect(other.offer().kind).toBe('queued');
    at.run(30);
    expect(other.expired).toEqual(['queue-full']);
    expect(other.dispatcher.queued()).toBe(0);
    // What one replica does not use any more is found by the other.
    one.freeOne();
    at.run(600);
    expect(other.offer().kind).toBe('queued');
    at.run(300);
    expect(other.released).toHaveLength(1);
    expect(other.expired).toHaveLength(1);
  });

  it('does not count what waits for an answer against the queue of a tenant', () => {
    const at = createSetup({ limits: { maxConcurrent: 6, maxQueued: 1 } });
    const one = at.replica();
    const kinds = Array.from({ length: 8 }, () => one.offer().kind);
    expect(kinds.filter((kind) => kind === 'queued')).toHaveLength(7);
    at.run(10);
    expect(one.released).toHaveLength(6);
    expect(one.dispatcher.queuedOfTenant('a')).toBe(1);
    expect(one.expired).toEqual([]);
  });

  it('applies as a part of the limit at once while the account is away', () => {
    const at = createSetup({ limits: { maxConcurrent: 5, maxQueued: 0 } });
    const one = at.replica();
    one.own.isUp = false;
    const kinds = Array.from({ length: 4 }, () => one.offer().kind);
    expect(kinds).toEqual(['released', 'released', 'refused', 'refused']);
  });

  it('costs nothing for tenants without a limit, or without requests', () => {
    const free = createSetup();
    const one = free.replica();
    one.offer('b');
    free.run(10);
    expect(one.shares.totals('concurrency', free.nowMs())).toEqual({ capacity: 0, held: 0 });
    const at = createSetup({ limits: { maxConcurrent: 5 } });
    const limited = at.replica();
    limited.offer();
    at.run(10);
    limited.freeOne();
    at.run(31_000);
    const { calls } = limited.own;
    at.run(60_000);
    expect(limited.own.calls).toBe(calls);
    expect(limited.shares.active()).toBe(0);
  });
});

describe('the window of an endpoint over replicas', () => {
  const inEngine = (...all: readonly { endpoints: { inFlight(): number } }[]): number =>
    all.reduce((sum, { endpoints }) => sum + endpoints.inFlight(), 0);

  it('is all of a lone replica’s, and never exceeded by several', () => {
    const at = createSetup({ window: 6, limits: { maxQueued: 50 } });
    const [one, other] = [at.replica(), at.replica()];
    for (let i = 0; i < 40; i += 1) one.offer();
    at.run(10);
    expect(one.released).toHaveLength(6);
    for (let i = 0; i < 40; i += 1) other.offer();
    for (let i = 0; i < 60; i += 1) {
      at.run(10);
      if (i % 5 === 0) one.freeOne();
      expect(inEngine(one, other)).toBeLessThanOrEqual(6);
    }
    expect(other.released.length).toBe(3);
    expect(inEngine(one, other)).toBe(6);
  });

  it('keeps a slot free for the next request of a replica that is used now and then', () => {
    const at = createSetup({ window: 6, limits: { maxQueued: 50 } });
    const [busy, quiet] = [at.replica(), at.replica()];
    quiet.offer('quiet');
    at.run(5);
    quiet.freeOne();
    for (let i = 0; i < 20; i += 1) busy.offer();
    at.run(1_000);
    expect(busy.released).toHaveLength(5);
    expect(quiet.offer('quiet').kind).toBe('released');
    quiet.freeOne();
    // Nobody has used it for half a minute: the busy one has the engine for itself.
    at.run(31_000);
    for (let i = 0; i < 20; i += 1) busy.offer();
    at.run(50);
    expect(busy.endpoints.inFlight()).toBe(6);
  });

  it('lets a request that is larger than a replica’s part go when it is alone there', () => {
    const at = createSetup({ window: 8, limits: { maxQueued: 50 } });
    const [one, other] = [at.replica(), at.replica()];
    for (let i = 0; i < 8; i += 1) one.offer();
    other.offer('b', 7);
    at.run(10);
    for (let i = 0; i < 8; i += 1) {
      one.freeOne();
      at.run(50);
    }
    at.run(300);
    expect(other.released).toHaveLength(1);
  });

  it('moves with an endpoint that leaves the configuration and comes back', () => {
    const at = createSetup({ window: 4 });
    const one = at.replica();
    one.offer();
    at.run(10);
    const config = { concurrencyLimit: 4, prefillTokens: 100, headroom: 0 };
    one.endpoints.reconfigure([], config);
    at.run(500);
    expect(one.shares.active()).toBe(1);
    one.endpoints.reconfigure([{ url: URL, address: '10.0.0.1:8000' }], config);
    one.endpoints.setHealthy(URL, true, 0);
    one.freeOne();
    at.run(500);
    one.offer();
    at.run(10);
    expect(one.released).toHaveLength(1);
    expect(inEngine(one)).toBe(1);
  });
});

describe('an explanation where replicas share', () => {
  it('does not take what it has not asked for as an end of the cap or of the window, and asks for nothing', () => {
    const at = createSetup({ window: 2, limits: { maxConcurrent: 2 } });
    const [one, other] = [at.replica(), at.replica()];
    const demand = { sequences: 1, promptTokens: 1, totalTokens: 2, streamed: true };
    const explain = () => one.dispatcher.explain({ tenant: 'a', pool: 'main', demand }, at.nowMs());
    expect(explain()).toMatchObject({ atCap: false, choice: { chosen: '10.0.0.1:8000' } });
    at.run(50);
    expect([one.own.calls, one.shares.active()]).toEqual([0, 0]);
    other.offer();
    other.offer();
    at.run(50);
    one.offer();
    at.run(50);
    expect(explain()).toMatchObject({ atCap: true });
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Limits } from '../../../src/config/config.ts';
import { createDispatcher, type Offer, type Release, type Ticket } from '../../../src/queue/dispatcher.ts';
import { createPoolEndpoints } from '../../../src/route/endpoints.ts';

const settings = { maxWaitMs: 1_000, maxQueued: 5, quantumTokens: 100 };

function setup(
  options: { window?: number; endpoints?: number; limits?: Record<string, Partial<Limits>> } = {},
) {
  const endpoints = createPoolEndpoints();
  const names = Array.from({ length: options.endpoints ?? 1 }, (_, i) => `10.0.0.${i + 1}:8000`);
  endpoints.reconfigure(
    names.map((address) => ({ url: `http://${address}`, address })),
    options.window ?? 2,
  );
  for (const address of names) endpoints.setHealthy(`http://${address}`, true);
  const limitsOf = (tenant: string): Limits => ({ weight: 1, maxQueued: 3, ...options.limits?.[tenant] });
  const dispatcher = createDispatcher(settings, limitsOf);
  dispatcher.addPool('main', endpoints);
  const released: { tenant: string; release: Release; at: number }[] = [];
  const expired: { tenant: string; reason: string; waitedMs: number }[] = [];
  const offer = (tenant: string, nowMs: number, cost = 100): Offer =>
    dispatcher.offer(
      {
        tenant,
        pool: 'main',
        cost,
        onRelease: (release, at) => released.push({ tenant, release, at }),
        onExpire: (reason, waitedMs) => expired.push({ tenant, reason, waitedMs }),
      },
      nowMs,
    );
  return { dispatcher, endpoints, released, expired, offer };
}

describe('the dispatcher', () => {
  it('releases at once while a slot is free, then queues, then refuses', () => {
    const { offer, released } = setup();
    expect(offer('a', 0).kind).toBe('released');
    expect(offer('a', 0).kind).toBe('released');
    expect(offer('a', 0).kind).toBe('queued');
    expect(offer('a', 0).kind).toBe('queued');
    expect(offer('a', 0).kind).toBe('queued');
    expect(offer('a', 0)).toMatchObject({ kind: 'refused', reason: 'tenant-queue-full' });
    expect(offer('b', 0).kind).toBe('queued');
    expect(offer('b', 0).kind).toBe('queued');
    expect(offer('c', 0)).toMatchObject({ kind: 'refused', reason: 'queue-full', retryAfterMs: 1_000 });
    expect(released).toHaveLength(2);
  });

  it('releases the next one in the moment a slot comes free, and says how long it waited', () => {
    const { offer, released } = setup({ window: 1 });
    offer('a', 0);
    offer('b', 10);
    released[0]?.release.free(250);
    expect(released[1]).toMatchObject({ tenant: 'b', at: 250, release: { waitedMs: 240 } });
  });

  it('lets a quiet tenant pass a queue of a noisy one', () => {
    const { offer, released } = setup({ window: 1 });
    offer('noisy', 0);
    offer('noisy', 0);
    offer('noisy', 0);
    offer('noisy', 0);
    offer('quiet', 1);
    released[0]?.release.free(10);
    released[1]?.release.free(20);
    expect(released.slice(1).map(({ tenant }) => tenant)).toContain('quiet');
  });

  it('holds a tenant at maxConcurrent without holding the others', () => {
    const { offer, released, dispatcher } = setup({ window: 3, limits: { a: { maxConcurrent: 1 } } });
    offer('a', 0);
    expect(offer('a', 0).kind).toBe('queued');
    expect(offer('b', 0).kind).toBe('released');
    expect(dispatcher.inFlightOfTenant('a')).toBe(1);
    released[0]?.release.free(5);
    expect(released.map(({ tenant }) => tenant)).toEqual(['a', 'b', 'a']);
  });

  it('frees a slot once, however often it is told', () => {
    const { offer, released, endpoints } = setup();
    offer('a', 0);
    released[0]?.release.free(1);
    released[0]?.release.free(2);
    expect(endpoints.inFlight()).toBe(0);
  });

  it('refuses what no endpoint can serve, and keeps what waits for one to return', () => {
    const { offer, released, endpoints, dispatcher } = setup({ window: 1 });
    offer('a', 0);
    offer('a', 0);
    endpoints.setHealthy('http://10.0.0.1:8000', false);
    expect(offer('b', 0)).toMatchObject({ kind: 'refused', reason: 'no-endpoint' });
    released[0]?.release.free(10);
    expect(released).toHaveLength(1);
    endpoints.setHealthy('http://10.0.0.1:8000', true);
    dispatcher.dispatch(20);
    expect(released).toHaveLength(2);
  });

  it('expires what waited for maxWaitMs, and nothing sooner', () => {
    const { offer, expired, dispatcher } = setup({ window: 1 });
    offer('a', 0);
    offer('a', 100);
    offer('b', 200);
    dispatcher.expire(1_099);
    expect(expired).toEqual([]);
    dispatcher.expire(1_100);
    expect(expired).toEqual([{ tenant: 'a', reason: 'timeout', waitedMs: 1_000 }]);
    dispatcher.flush(1_150);
    expect(expired[1]).toEqual({ tenant: 'b', reason: 'draining', waitedMs: 950 });
  });

  it('knows before the body is read that a tenant could not wait anywhere', () => {
    const { offer, dispatcher } = setup({ window: 1, limits: { a: { maxQueued: 1 }, b: { maxQueued: 0 } } });
    offer('a', 0);
    expect(dispatcher.isFullFor('a')).toBe(false);
    offer('a', 0);
    expect(dispatcher.isFullFor('a')).toBe(true);
    // Without a queue of its own a tenant may still go at once.
    expect(dispatcher.isFullFor('b')).toBe(false);
  });

  it('spreads over endpoints by load and names the others as fallbacks', () => {
    const { offer, released } = setup({ window: 2, endpoints: 3 });
    for (let i = 0; i < 6; i += 1) offer('a', 0);
    expect(released.map(({ release }) => release.slot.address).sort()).toEqual([
      '10.0.0.1:8000',
      '10.0.0.1:8000',
      '10.0.0.2:8000',
      '10.0.0.2:8000',
      '10.0.0.3:8000',
      '10.0.0.3:8000',
    ]);
    expect(new Set(released[0]?.release.slot.addresses).size).toBe(3);
  });

  it('keeps its queue over a new quantum', () => {
    const { offer, released, dispatcher } = setup({ window: 1 });
    offer('a', 0);
    offer('a', 0);
    offer('b', 0);
    dispatcher.reconfigure({ ...settings, quantumTokens: 7 });
    released[0]?.release.free(1);
    released[1]?.release.free(2);
    expect(released).toHaveLength(3);
    expect(dispatcher.queued()).toBe(0);
  });

  it('conserves work and slots under any order of events', () => {
    const arbStep = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          kind: fc.constant('offer' as const),
          tenant: fc.nat(3),
          cost: fc.integer({ min: 1, max: 900 }),
        }),
      },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('free' as const), index: fc.nat() }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('cancel' as const), index: fc.nat() }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('expire' as const) }) },
      {
        weight: 1,
        arbitrary: fc.record({
          kind: fc.constant('health' as const),
          endpoint: fc.integer({ min: 1, max: 2 }),
          on: fc.boolean(),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('settle' as const), index: fc.nat(), cost: fc.nat(5_000) }),
      },
    );
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 150 }), (steps) => {
        const { offer, released, expired, endpoints, dispatcher } = setup({
          window: 2,
          endpoints: 2,
          limits: { t1: { maxConcurrent: 1 } },
        });
        let now = 0;
        const tickets: Ticket[] = [];
        const running = (): Release[] =>
          released.map(({ release }) => release).filter((release) => !freed.has(release));
        const freed = new Set<Release>();
        let accepted = 0;
        let cancelled = 0;
        for (const step of steps) {
          now += 50;
          if (step.kind === 'offer') {
            const result = offer(`t${step.tenant}`, now, step.cost);
            if (result.kind === 'queued') tickets.push(result.ticket);
            if (result.kind !== 'refused') accepted += 1;
          } else if (step.kind === 'free') {
            const all = running();
            const one = all[step.index % Math.max(1, all.length)];
            if (one === undefined) continue;
            freed.add(one);
            one.free(now);
          } else if (step.kind === 'settle') {
            released[step.index % Math.max(1, released.length)]?.release.settle(step.cost);
          } else if (step.kind === 'cancel') {
            if (tickets[step.index % Math.max(1, tickets.length)]?.cancel()) cancelled += 1;
          } else if (step.kind === 'expire') dispatcher.expire(now);
          else {
            endpoints.setHealthy(`http://10.0.0.${step.endpoint}:8000`, step.on);
            if (step.on) dispatcher.dispatch(now);
          }
          expect(endpoints.inFlight()).toBe(running().length);
          expect(dispatcher.inFlightOfTenant('t1')).toBeLessThanOrEqual(1);
          expect(accepted).toBe(released.length + expired.length + cancelled + dispatcher.queued());
          // Work conserving: whoever waits is at its cap, or there is no room.
          const room = endpoints.list().some((one) => one.healthy && one.inFlight < 2);
          if (room) {
            const others = dispatcher.queued() - dispatcher.queuedOfTenant('t1');
            expect(others).toBe(0);
            if (dispatcher.queuedOfTenant('t1') > 0) expect(dispatcher.inFlightOfTenant('t1')).toBe(1);
          }
        }
        endpoints.setHealthy('http://10.0.0.1:8000', true);
        dispatcher.dispatch(now);
        while (running().length > 0) {
          const one = running()[0] as Release;
          freed.add(one);
          one.free(now);
        }
        expect(endpoints.inFlight()).toBe(0);
        expect(dispatcher.queued()).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});

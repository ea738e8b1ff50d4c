import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_LANE as LANE, type LaneConfig, type Limits } from '../../../src/config/config.ts';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import type { Demand } from '../../../src/pool/types.ts';
import { createDispatcher } from '../../../src/queue/dispatcher.ts';
import type { Offer, Release, Ticket } from '../../../src/queue/types.ts';

const settings = {
  maxWaitMs: 1_000,
  maxQueued: 5,
  quantumTokens: 100,
  lanes: new Map([[LANE.name, LANE]]),
};

function setup(
  options: {
    window?: number;
    endpoints?: number;
    headroom?: number | 'auto';
    /** First tokens come at once, or when the test says. */
    prefillsEnd?: 'later';
    queue?: Partial<typeof settings>;
    limits?: Record<string, Partial<Limits>>;
  } = {},
) {
  const endpoints = createPoolEndpoints(fixedLimit);
  const names = Array.from({ length: options.endpoints ?? 1 }, (_, i) => `10.0.0.${i + 1}:8000`);
  endpoints.reconfigure(
    names.map((address) => ({ url: `http://${address}`, address })),
    {
      concurrencyLimit: options.window ?? 2,
      prefillTokens: 1_000,
      headroom: options.headroom ?? 0,
      slowStartMs: 0,
    },
  );
  for (const address of names) endpoints.setHealthy(`http://${address}`, true, 0);
  const limitsOf = (tenant: string): Limits => ({
    weight: 1,
    maxOutputs: 16,
    maxQueued: 3,
    ...options.limits?.[tenant],
  });
  const dispatcher = createDispatcher({ ...settings, ...options.queue }, limitsOf);
  dispatcher.addPool('main', endpoints);
  const released: { tenant: string; release: Release; at: number }[] = [];
  const expired: { tenant: string; reason: string; waitedMs: number }[] = [];
  const offer = (
    tenant: string,
    nowMs: number,
    cost = 100,
    more: { lane?: string; demand?: Partial<Demand> } = {},
  ): Offer =>
    dispatcher.offer(
      {
        tenant,
        pool: 'main',
        lane: more.lane ?? 'default',
        cost,
        demand: { sequences: 1, promptTokens: 1, totalTokens: 2, streamed: true, ...more.demand },
        onRelease(release, at) {
          released.push({ tenant, release, at });
          if (options.prefillsEnd !== 'later') release.firstToken(at);
        },
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

  it('queues what comes before the first probe has been answered', () => {
    const { offer, released, endpoints, dispatcher } = setup({ window: 1 });
    endpoints.reconfigure([{ url: 'http://10.0.0.9:8000', address: '10.0.0.9:8000' }], {
      concurrencyLimit: 1,
      prefillTokens: 1_000,
      headroom: 'auto',
    });
    expect(offer('a', 0).kind).toBe('queued');
    endpoints.setHealthy('http://10.0.0.9:8000', true, 0);
    dispatcher.dispatch(20);
    expect(released).toHaveLength(1);
  });

  it('refuses what no endpoint can serve, and keeps what waits for one to return', () => {
    const { offer, released, endpoints, dispatcher } = setup({ window: 1 });
    offer('a', 0);
    offer('a', 0);
    endpoints.setHealthy('http://10.0.0.1:8000', false, 0);
    expect(offer('b', 0)).toMatchObject({ kind: 'refused', reason: 'no-endpoint' });
    released[0]?.release.free(10);
    expect(released).toHaveLength(1);
    endpoints.setHealthy('http://10.0.0.1:8000', true, 0);
    dispatcher.dispatch(20);
    expect(released).toHaveLength(2);
  });

  it('expires what waited for maxWaitMs, and nothing sooner', () => {
    const { offer, expired, dispatcher } = setup({ window: 1 });
    offer('a', 0);
    offer('a', 100);
    offer('b', 200);
    dispatcher.tick(1_099);
    expect(expired).toEqual([]);
    dispatcher.tick(1_100);
    expect(expired).toEqual([{ tenant: 'a', reason: 'timeout', waitedMs: 1_000 }]);
    dispatcher.flush(1_150);
    expect(expired[1]).toEqual({ tenant: 'b', reason: 'draining', waitedMs: 950 });
  });

  it('knows before the body is read that a tenant could not wait anywhere', () => {
    const { offer, dispatcher } = setup({ window: 1, limits: { a: { maxQueued: 1 }, b: { maxQueued: 0 } } });
    offer('a', 0);
    expect(dispatcher.isFullFor('a', 0)).toBe(false);
    offer('a', 0);
    expect(dispatcher.isFullFor('a', 0)).toBe(true);
    // Without a queue of its own a tenant may still go at once.
    expect(dispatcher.isFullFor('b', 0)).toBe(false);
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
    dispatcher.reconfigure({ ...settings, quantumTokens: 7 }, 0);
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
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constant('end' as const),
          index: fc.nat(),
          status: fc.constantFrom(200, 500, 500, 500),
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
          } else if (step.kind === 'end') {
            released[step.index % Math.max(1, released.length)]?.release.slot.ended(
              { status: step.status },
              now,
            );
          } else if (step.kind === 'settle') {
            released[step.index % Math.max(1, released.length)]?.release.settle(step.cost, now);
          } else if (step.kind === 'cancel') {
            if (tickets[step.index % Math.max(1, tickets.length)]?.cancel(now)) cancelled += 1;
          } else if (step.kind === 'expire') dispatcher.tick(now);
          else {
            endpoints.setHealthy(`http://10.0.0.${step.endpoint}:8000`, step.on, 0);
            if (step.on) dispatcher.dispatch(now);
          }
          expect(endpoints.inFlight()).toBe(running().length);
          expect(dispatcher.inFlightOfTenant('t1')).toBeLessThanOrEqual(1);
          expect(accepted).toBe(released.length + expired.length + cancelled + dispatcher.queued());
          // Work conserving: whoever waits is at its cap, or there is no room.
          const room = endpoints.list(now).some((one) => one.healthy && !one.ejected && one.inFlight < 2);
          if (room) {
            const others = dispatcher.queued() - dispatcher.queuedOfTenant('t1');
            expect(others).toBe(0);
            if (dispatcher.queuedOfTenant('t1') > 0) expect(dispatcher.inFlightOfTenant('t1')).toBe(1);
          }
        }
        endpoints.setHealthy('http://10.0.0.1:8000', true, 0);
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

  it('lets a quiet request pass the queue into the slot that is kept for it, and refills the headroom first', () => {
    const { offer, released, dispatcher } = setup({ window: 4, headroom: 1, queue: { maxQueued: 100 } });
    const names = (): string[] => released.map(({ tenant }) => tenant);
    offer('noisy', 0, 1_000);
    released.pop()?.release.free(0);
    offer('quiet', 0);
    for (let i = 0; i < 8; i += 1) offer('noisy', i, 1_000);
    expect(names()).toEqual(['quiet', 'noisy', 'noisy']);
    expect(dispatcher.headroomOf('main', 10)).toBe(1);
    expect(offer('quiet', 20).kind).toBe('released');
    // Full: the next end puts the headroom back, the one after that is for whoever waits.
    released[1]?.release.free(30);
    expect(names()).toEqual(['quiet', 'noisy', 'noisy', 'quiet']);
    released[2]?.release.free(40);
    expect(names()).toEqual(['quiet', 'noisy', 'noisy', 'quiet', 'noisy']);
  });

  it('keeps nothing free for tenants that have gone, or that have a queue of their own', () => {
    const { offer, released, dispatcher } = setup({ window: 8, headroom: 2 });
    offer('quiet', 0);
    for (let i = 0; i < 3; i += 1) offer('noisy', 1);
    expect(dispatcher.headroomOf('main', 1_000)).toBe(2);
    expect(dispatcher.headroomOf('main', 31_000)).toBe(0);
    for (const { release } of released) release.free(31_000);
    const both = setup({ window: 4, headroom: 1, queue: { maxQueued: 100 } });
    for (let i = 0; i < 7; i += 1) {
      both.offer('a', 0);
      both.offer('b', 0);
    }
    expect(both.dispatcher.headroomOf('main', 0)).toBe(0);
    expect(both.released).toHaveLength(4);
  });

  it('sends nobody else where a quiet prompt is being computed, and goes on at its first token or in time', () => {
    const { offer, released, dispatcher } = setup({ window: 4, prefillsEnd: 'later' });
    for (let i = 0; i < 4; i += 1) offer('noisy', 0);
    for (const { release } of released) release.firstToken(10);
    offer('noisy', 20);
    released[0]?.release.free(30);
    released[1]?.release.free(30);
    const before = released.length;
    released[2]?.release.free(40);
    expect(offer('quiet', 50).kind).toBe('released');
    released[3]?.release.free(60);
    offer('noisy', 60);
    const held = released.length;
    released.find(({ tenant }) => tenant === 'quiet')?.release.firstToken(70);
    expect([before, held, released.length]).toEqual([5, 6, 7]);
    released.find(({ tenant }) => tenant === 'noisy')?.release.free(75);
    for (const { release } of released.slice(4)) release.free(75);
    expect(offer('quiet', 80).kind).toBe('released');
    expect(offer('noisy', 90).kind).toBe('queued');
    dispatcher.tick(100);
    expect(released).toHaveLength(8);
    dispatcher.tick(300);
    expect(released).toHaveLength(9);
  });

  it('counts each output of a request as a sequence, and lets one that is larger than the window go alone', () => {
    const { offer, released, endpoints } = setup({ window: 4 });
    offer('a', 0, 100, { demand: { sequences: 3 } });
    expect(offer('b', 0, 100, { demand: { sequences: 2 } }).kind).toBe('queued');
    released[0]?.release.free(10);
    expect(released).toHaveLength(2);
    expect(offer('c', 20, 100, { demand: { sequences: 100 } }).kind).toBe('queued');
    released[1]?.release.free(30);
    expect(released).toHaveLength(3);
    expect(endpoints.inFlight()).toBe(1);
    expect(offer('d', 40).kind).toBe('queued');
  });

  const lanes = (...list: Partial<LaneConfig>[]): { queue: Partial<typeof settings> } => ({
    queue: {
      maxQueued: 1_000,
      lanes: new Map(list.map((lane) => [lane.name ?? '', { ...LANE, ...lane }])),
    },
  });

  it('gives lanes their shares of the window, lends idle ones and takes them back at the next release', () => {
    const { offer, released, dispatcher } = setup({
      window: 8,
      ...lanes({ name: 'chat', weight: 3 }, { name: 'batch', weight: 1 }),
      limits: { a: { maxQueued: 100 }, b: { maxQueued: 100 } },
    });
    const inFlight = (): Record<string, number> =>
      Object.fromEntries([...dispatcher.lanesOf('main')].map(({ lane, inFlight: n }) => [lane, n]));
    for (let i = 0; i < 30; i += 1) offer('b', 0, 100, { lane: 'batch' });
    expect(inFlight()).toEqual({ chat: 0, batch: 8 });
    for (let i = 0; i < 30; i += 1) offer('a', 10, 100, { lane: 'chat' });
    for (let i = 0; i < 6; i += 1) released[i]?.release.free(20 + i);
    expect(inFlight()).toEqual({ chat: 6, batch: 2 });
    for (let i = 6; i < 30; i += 1) {
      released[i]?.release.free(100 + i);
      expect(inFlight()).toEqual({ chat: 6, batch: 2 });
    }
  });

  it('puts requests of a lane that is gone into the first, and knows what it has in flight', () => {
    const { offer, released, dispatcher } = setup({
      window: 1,
      ...lanes({ name: 'chat' }, { name: 'batch' }),
    });
    offer('a', 0, 100, { lane: 'batch' });
    offer('a', 0, 100, { lane: 'batch' });
    dispatcher.reconfigure({ ...settings, lanes: new Map([['chat', { ...LANE, name: 'chat' }]]) }, 5);
    expect([...dispatcher.lanesOf('main')]).toEqual([{ lane: 'chat', queued: 1, inFlight: 0 }]);
    released[0]?.release.free(10);
    expect([...dispatcher.lanesOf('main')]).toEqual([{ lane: 'chat', queued: 0, inFlight: 1 }]);
    released[1]?.release.free(20);
    expect([...dispatcher.lanesOf('main')]).toEqual([{ lane: 'chat', queued: 0, inFlight: 0 }]);
  });

  it('charges a flow for what streams beyond its prediction before the stream ends', () => {
    const { offer, released } = setup({ window: 1, queue: { maxQueued: 100 } });
    offer('liar', 0, 10);
    for (let i = 0; i < 3; i += 1) {
      offer('liar', 0, 10);
      offer('honest', 0, 10);
    }
    // The first went at once; the first honest one passes the queue; of the others, a liar's goes in turn.
    let at = 0;
    while (at === 0 || released[at]?.tenant !== 'liar') {
      released[at]?.release.free(1);
      at += 1;
    }
    const honestLeft = 3 - released.filter(({ tenant }) => tenant === 'honest').length;
    released[at]?.release.charge(5_000, 2);
    for (let i = at; i < at + honestLeft; i += 1) released[i]?.release.free(3);
    expect(honestLeft).toBeGreaterThan(0);
    expect(released.slice(at + 1, at + 1 + honestLeft).every(({ tenant }) => tenant === 'honest')).toBe(true);
  });
});

describe('what engines are added by', () => {
  it('does not count those whose tenant has as many in flight as it may', () => {
    const { offer, released, dispatcher } = setup({ window: 2, limits: { a: { maxConcurrent: 1 } } });
    for (const at of [0, 1, 2]) offer('a', at);
    expect([dispatcher.queuedOf('main'), dispatcher.slotWaitOf('main', 10).requests]).toEqual([2, 0]);
    released[0]?.release.free(100);
    expect(dispatcher.slotWaitOf('main', 900).predictedMs).toBe(0);
    // Others wait for a slot, and a's requests do not make their wait longer.
    offer('b', 800);
    offer('b', 850);
    expect([dispatcher.queuedOf('main'), dispatcher.slotWaitOf('main', 900).requests]).toEqual([2, 1]);
    expect(dispatcher.slotWaitOf('main', 900).predictedMs).toBe(50);
  });

  it('counts no time from a queue that went away by itself', () => {
    const { offer, released, dispatcher } = setup({ window: 1 });
    offer('a', 0);
    offer('b', 0);
    const given = offer('c', 0);
    released[0]?.release.free(100);
    if (given.kind !== 'queued') throw new Error(given.kind);
    given.ticket.cancel(200);
    const HOUR_MS = 3_600_000;
    offer('c', HOUR_MS);
    expect(dispatcher.slotWaitOf('main', HOUR_MS + 10).predictedMs).toBeLessThan(1_000);
    released[1]?.release.free(HOUR_MS + 20);
    for (let at = 0; at < 3; at += 1) offer('a', HOUR_MS + 30);
    expect(dispatcher.retryAfterMs('main')).toBe(1_000);
  });
});

describe('a model that is broken on every endpoint', () => {
  const demand = { model: 'broken' };
  const breakIt = (world: ReturnType<typeof setup>): void => {
    for (const tenant of ['a', 'b', 'a', 'b', 'a', 'b']) {
      world.offer(tenant, 0, 100, { demand });
      const { release } = world.released.at(-1) ?? {};
      release?.slot.ended({ status: 500 }, 0);
      release?.free(0);
    }
  };
  it('is refused at once with the time to ask again, while others go; then it is tried', () => {
    const world = setup();
    breakIt(world);
    expect(world.offer('c', 1_000, 100, { demand })).toEqual({
      kind: 'refused',
      reason: 'no-endpoint',
      retryAfterMs: 4_000,
    });
    expect(world.offer('c', 1_000, 100, { demand: { model: 'fine' } }).kind).toBe('released');
    expect(world.offer('c', 5_000, 100, { demand }).kind).toBe('released');
  });
  it('does not keep others waiting behind what was queued for it', () => {
    const world = setup({ window: 6, queue: { maxQueued: 10 } });
    const offers = ['a', 'b', 'a', 'b', 'a', 'b'].map((tenant) => world.offer(tenant, 0, 100, { demand }));
    expect(offers.every(({ kind }) => kind === 'released')).toBe(true);
    expect(world.offer('c', 0, 100, { demand }).kind).toBe('queued');
    expect(world.offer('d', 0, 100, { demand: { model: 'fine' } }).kind).toBe('queued');
    const [first] = world.released;
    for (const { release } of world.released) release.slot.ended({ status: 500 }, 10);
    first?.release.free(10);
    expect(world.expired).toEqual([{ tenant: 'c', reason: 'no-endpoint', waitedMs: 10 }]);
    expect(world.released.at(-1)?.tenant).toBe('d');
  });
});

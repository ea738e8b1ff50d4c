/** Requests whose adapter is not where there is room: the dispatcher, the endpoints and the plan together, without engines. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_LANE as LANE, type Limits, type LoraAdapterConfig } from '../../../src/config/config.ts';
import { createPoolAdapters } from '../../../src/lora/pool-adapters.ts';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import type { Demand } from '../../../src/pool/types.ts';
import { createDispatcher } from '../../../src/queue/dispatcher.ts';
import type { Offer, Release } from '../../../src/queue/types.ts';

const ADAPTERS = ['x', 'y', 'z'];
const urlOf = (n: number): string => `http://10.0.0.${n}:8000`;

interface Options {
  readonly window?: number;
  readonly endpoints?: number;
  readonly places?: number;
  readonly queue?: { readonly maxWaitMs?: number; readonly maxQueued?: number };
  readonly limits?: Partial<Limits>;
}

interface Asked {
  readonly id: number;
  readonly tenant: string;
  readonly adapter: string | undefined;
}

function setup(options: Options = {}) {
  const loads: { readonly endpoint: string; readonly adapter: string }[] = [];
  const adapters = createPoolAdapters({
    load: (endpoint, { name }) => loads.push({ endpoint, adapter: name }),
    suspect: () => undefined,
  });
  const endpoints = createPoolEndpoints(fixedLimit, undefined, undefined, adapters);
  const numbers = Array.from({ length: options.endpoints ?? 1 }, (_, i) => i + 1);
  endpoints.reconfigure(
    numbers.map((n) => ({ url: urlOf(n), address: `10.0.0.${n}:8000` })),
    { concurrencyLimit: options.window ?? 4, prefillTokens: 1_000_000, headroom: 0, slowStartMs: 0 },
  );
  adapters.reconfigure(
    numbers.map(urlOf),
    options.places ?? 2,
    new Map<string, LoraAdapterConfig>([
      ...ADAPTERS.map((name) => [name, { name, base: 'm', path: `/${name}` }] as const),
      ['given', { name: 'given', base: 'm' }],
    ]),
  );
  for (const n of numbers) endpoints.setHealthy(urlOf(n), true, 0);
  const lanes = new Map([[LANE.name, LANE]]);
  const dispatcher = createDispatcher(
    { maxWaitMs: 10_000, maxQueued: 1_000, quantumTokens: 100, lanes, ...options.queue },
    () => ({ weight: 1, maxOutputs: 16, maxQueued: 100, ...options.limits }),
  );
  dispatcher.addPool('main', endpoints);
  const released: (Asked & { readonly release: Release; readonly at: number })[] = [];
  const expired: (Asked & { readonly reason: string })[] = [];
  let next = 0;
  const offer = (
    tenant: string,
    nowMs: number,
    adapter?: string,
    more: { readonly cost?: number; readonly demand?: Partial<Demand> } = {},
  ): Offer & { readonly id: number } => {
    next += 1;
    const asked = { id: next, tenant, adapter };
    const result = dispatcher.offer(
      {
        tenant,
        pool: 'main',
        lane: 'default',
        cost: more.cost ?? 100,
        demand: {
          sequences: 1,
          promptTokens: 1,
          totalTokens: 2,
          streamed: true,
          model: adapter ?? 'm',
          ...(adapter !== undefined && { adapter }),
          ...more.demand,
        },
        onRelease(release, at) {
          released.push({ ...asked, release, at });
          release.firstToken(at);
        },
        onExpire: (reason) => expired.push({ ...asked, reason }),
      },
      nowMs,
    );
    return { ...result, id: asked.id };
  };
  const load = (adapter: string, nowMs: number, n = 1): void => {
    adapters.loaded(urlOf(n), adapter, nowMs);
    dispatcher.adaptersChanged('main', adapter, nowMs);
  };
  const fail = (adapter: string, nowMs: number, n = 1): void => {
    adapters.loadFailed(urlOf(n), adapter, nowMs);
    dispatcher.adaptersChanged('main', adapter, nowMs);
  };
  const ids = (): readonly number[] => released.map(({ id }) => id);
  return { adapters, endpoints, dispatcher, loads, released, expired, offer, load, fail, ids };
}

describe('a request whose adapter is not loaded', () => {
  it('takes no turn from its tenant’s next request, and that is what is explained', () => {
    const { offer, dispatcher, released } = setup({ window: 8 });
    expect(offer('a', 0, 'x').kind).toBe('queued');
    expect(offer('b', 0).kind).toBe('released');
    const demand = { sequences: 1, promptTokens: 1, totalTokens: 2, streamed: true, model: 'm' };
    const explained = dispatcher.explain({ tenant: 'a', pool: 'main', demand }, 1);
    expect(offer('a', 1).kind).toBe('released');
    expect(released.at(-1)?.release.belowFairShare).toBe(true);
    expect(explained?.belowFairShare).toBe(true);
  });

  it('asks for it once, waits, and goes when it is there, with those behind it', () => {
    const { offer, load, loads, released, dispatcher } = setup();
    expect(offer('a', 0, 'x').kind).toBe('queued');
    expect(offer('b', 0, 'x').kind).toBe('queued');
    expect(loads).toEqual([{ endpoint: urlOf(1), adapter: 'x' }]);
    for (let now = 50; now < 500; now += 50) dispatcher.tick(now);
    expect(loads).toHaveLength(1);
    expect(dispatcher.queued()).toBe(2);
    load('x', 500);
    // `b` came while another tenant was there, and is quiet.
    expect(released.map(({ tenant, at }) => [tenant, at])).toEqual([
      ['b', 500],
      ['a', 500],
    ]);
    expect(released[0]?.release.waitedMs).toBe(500);
    expect(dispatcher.queued()).toBe(0);
  });

  it('keeps neither its tenant’s requests waiting nor others’', () => {
    const { offer, released } = setup({ window: 2 });
    expect(offer('a', 0, 'x').kind).toBe('queued');
    expect(offer('a', 0).kind).toBe('released');
    expect(offer('b', 0).kind).toBe('released');
    expect(offer('a', 1).kind).toBe('queued');
    expect(offer('b', 1, 'x').kind).toBe('queued');
    expect(offer('b', 1).kind).toBe('queued');
    for (const { release } of [...released]) release.free(10);
    expect(released.slice(2).map(({ adapter }) => adapter)).toEqual([undefined, undefined]);
  });

  it('does not make its tenant’s next one less quiet', () => {
    const { offer, released, dispatcher } = setup({ window: 6 });
    for (let i = 0; i < 12; i += 1) offer('noisy', 0, undefined, { cost: 1_000 });
    offer('quiet', 0, 'x');
    released[0]?.release.free(5);
    expect(released.at(-1)?.tenant).toBe('noisy');
    offer('quiet', 10);
    released[1]?.release.free(20);
    const last = released.at(-1);
    expect([last?.tenant, last?.release.belowFairShare]).toEqual(['quiet', true]);
    expect(dispatcher.queuedOfTenant('quiet')).toBe(1);
  });

  it('returns before what its tenant sent later, in the order of arrival', () => {
    const { offer, load, released, ids } = setup({ window: 1 });
    offer('other', 0, undefined, { cost: 10 });
    const first = offer('a', 1, 'x');
    const second = offer('a', 2, 'x');
    const later = [offer('a', 3), offer('a', 4)];
    // Its turn comes, its adapter is not there, and it is passed.
    released[0]?.release.free(10);
    expect(ids()).toEqual([1, later[0]?.id]);
    load('x', 20);
    for (let i = 1; i < 4; i += 1) released[i]?.release.free(30 + i);
    expect(ids()).toEqual([1, later[0]?.id, first.id, second.id, later[1]?.id]);
  });

  it('goes although another tenant that waits for the same is at its limit', () => {
    const { offer, load, released } = setup({ limits: { maxConcurrent: 1 } });
    offer('a', 0);
    for (let i = 0; i < 5; i += 1) expect(offer('a', 1, 'x').kind).toBe('queued');
    const other = offer('b', 2, 'x');
    offer('b', 3, 'x');
    load('x', 100);
    expect(released.map(({ tenant, id }) => [tenant, id]).slice(1)).toEqual([['b', other.id]]);
    released[0]?.release.free(200);
    expect(released.at(-1)?.tenant).toBe('a');
  });

  it('is asked about in turn when very many wait, and each is served', () => {
    const names = Array.from({ length: 200 }, (_, i) => `n${i}`);
    const { adapters, offer, dispatcher, loads, released } = setup({
      window: 300,
      queue: { maxWaitMs: 1_000_000 },
      limits: { maxQueued: 500 },
    });
    adapters.reconfigure(
      [urlOf(1)],
      2,
      new Map(names.map((name) => [name, { name, base: 'm', path: '/p' }])),
    );
    for (const name of names) offer('a', 0, name);
    let now = 0;
    // A load takes a tick, a request none, and an adapter stays for a second.
    while (dispatcher.queued() > 0 && now < 200_000) {
      now += 50;
      for (const one of loads.splice(0)) {
        adapters.loaded(one.endpoint, one.adapter, now);
        dispatcher.adaptersChanged('main', one.adapter, now);
      }
      for (const { release } of released) release.free(now);
      dispatcher.tick(now);
    }
    expect(released).toHaveLength(names.length);
    // Two at a time, each for a second and some ticks.
    expect(now).toBeLessThan(150_000);
  });

  it('is passed at no charge', () => {
    const { offer, load, released } = setup({ window: 1 });
    offer('other', 0, undefined, { cost: 1 });
    offer('a', 0, 'x', { cost: 5_000 });
    for (let i = 0; i < 6; i += 1) {
      offer('a', 1);
      offer('b', 1);
    }
    for (let i = 0; i < 9; i += 1) released[i]?.release.free(10 + i);
    const served = (tenant: string) => released.slice(1).filter((one) => one.tenant === tenant).length;
    expect(Math.abs(served('a') - served('b'))).toBeLessThanOrEqual(2);
    load('x', 50);
    expect(released.filter(({ adapter }) => adapter === 'x')).toHaveLength(0);
  });

  it('waits no longer than maxWait, counts against maxQueued, and can be cancelled', () => {
    const { offer, expired, dispatcher, adapters, load, released } = setup({
      queue: { maxWaitMs: 1_000 },
      limits: { maxQueued: 2 },
      window: 1,
    });
    offer('z', 0, undefined);
    const cancelled = offer('a', 0, 'x');
    expect(offer('a', 0, 'x').kind).toBe('queued');
    expect(offer('a', 0, 'x')).toMatchObject({ kind: 'refused', reason: 'tenant-queue-full' });
    if (cancelled.kind !== 'queued') throw new Error('not queued');
    expect(cancelled.ticket.cancel(0)).toBe(true);
    expect(cancelled.ticket.cancel(0)).toBe(false);
    expect(dispatcher.queuedOfTenant('a')).toBe(1);
    released[0]?.release.free(10);
    dispatcher.tick(999);
    expect(expired).toEqual([]);
    dispatcher.tick(1_000);
    expect(expired.map(({ tenant, reason }) => [tenant, reason])).toEqual([['a', 'timeout']]);
    load('x', 1_100);
    expect(released).toHaveLength(1);
    expect(adapters.list()[0]?.loaded).toEqual([{ adapter: 'x', inFlight: 0 }]);
  });

  it('that is cancelled leaves its place among the waiting adapters to the next', () => {
    const { offer, load, dispatcher, loads, released } = setup({ places: 1 });
    offer('a', 0, 'x');
    load('x', 0);
    released[0]?.release.free(10);
    const first = offer('a', 100, 'y');
    offer('a', 300, 'z');
    if (first.kind === 'queued') first.ticket.cancel(300);
    dispatcher.tick(950);
    expect(loads.map(({ adapter }) => adapter)).toEqual(['x']);
    dispatcher.tick(1_050);
    expect(loads.map(({ adapter }) => adapter)).toEqual(['x', 'z']);
  });

  it('that is cancelled leaves nothing behind that its tenant’s next one would wait for', () => {
    const limits = { maxQueued: 5 };
    const { offer } = setup({ limits });
    offer('a', 0);
    const waiting = offer('a', 0, 'x');
    if (waiting.kind === 'queued') waiting.ticket.cancel(0);
    limits.maxQueued = 0;
    expect(offer('a', 1).kind).toBe('released');
  });

  it('for whose subset others waited lets them go when it is cancelled', () => {
    const { offer, endpoints, released } = setup({ endpoints: 2, window: 1 });
    const demand = { within: new Set(['10.0.0.1:8000']) };
    expect(offer('z', 0, undefined, { demand }).kind).toBe('released');
    const subset = offer('a', 0, undefined, { demand });
    expect([subset.kind, offer('b', 10).kind]).toEqual(['queued', 'queued']);
    if (subset.kind === 'queued') subset.ticket.cancel(20);
    expect(released.map(({ tenant, at }) => [tenant, at])).toEqual([
      ['z', 0],
      ['b', 20],
    ]);
    expect(endpoints.inFlight()).toBe(2);
  });

  it('and that waited in turn leaves its tenant quiet when the rest of it has ended', () => {
    const { offer, released, dispatcher } = setup({ window: 2 });
    offer('noisy', 0, undefined, { cost: 1_000 });
    offer('other', 0);
    for (let i = 0; i < 9; i += 1) offer('noisy', 1, undefined, { cost: 1_000 });
    offer('other', 2, 'x');
    released[0]?.release.free(10);
    released[2]?.release.free(20);
    expect(dispatcher.queuedOfTenant('other')).toBe(1);
    released[1]?.release.free(30);
    expect(offer('other', 40).kind).toBe('queued');
    released[3]?.release.free(50);
    expect([released.at(-1)?.tenant, released.at(-1)?.release.belowFairShare]).toEqual(['other', true]);
  });

  it('is refused with all that wait for it when it cannot be loaded, and at once until it is tried again', () => {
    const { offer, fail, expired, loads } = setup();
    offer('a', 0, 'x');
    offer('b', 0, 'x');
    fail('x', 100);
    expect(expired.map(({ tenant, reason }) => [tenant, reason])).toEqual([
      ['b', 'adapter-failed'],
      ['a', 'adapter-failed'],
    ]);
    expect(offer('c', 200, 'x')).toMatchObject({
      kind: 'refused',
      reason: 'adapter-failed',
      retryAfterMs: 1_000,
    });
    expect(offer('c', 1_200, 'x').kind).toBe('queued');
    expect(loads).toHaveLength(2);
  });

  it('and that Fairlane never loads is refused, or waits for the endpoint that has it', () => {
    const { offer, adapters, endpoints, released } = setup({ endpoints: 2, window: 1 });
    expect(offer('a', 0, 'given')).toMatchObject({ kind: 'refused', reason: 'no-endpoint' });
    adapters.reported(urlOf(2), ['given'], 0);
    expect(offer('a', 0, 'given').kind).toBe('released');
    expect(released[0]?.release.slot.addresses).toEqual(['10.0.0.2:8000']);
    // The other endpoint is free and keeps nobody waiting.
    expect(offer('a', 1, 'given').kind).toBe('queued');
    expect(offer('b', 1).kind).toBe('released');
    released[0]?.release.free(10);
    expect(released.at(-1)).toMatchObject({ adapter: 'given', at: 10 });
    expect(endpoints.inFlight()).toBe(2);
  });

  it('that nobody can have is explained as it is offered: refused at once, or queued until its turn', () => {
    const { offer, dispatcher, released, expired } = setup({ window: 1 });
    const demand = { sequences: 1, promptTokens: 1, totalTokens: 2, streamed: true, model: 'given' };
    const explain = () =>
      dispatcher.explain({ tenant: 'a', pool: 'main', demand: { ...demand, adapter: 'given' } }, 1)?.refusal;
    expect(explain()).toBe('no-endpoint');
    expect(offer('a', 1, 'given')).toMatchObject({ kind: 'refused', reason: 'no-endpoint' });
    expect([offer('a', 1).kind, offer('a', 1).kind]).toEqual(['released', 'queued']);
    expect(explain()).toBeUndefined();
    expect(offer('a', 1, 'given').kind).toBe('queued');
    released[0]?.release.free(2);
    released[1]?.release.free(3);
    expect(expired.map(({ adapter, reason }) => [adapter, reason])).toEqual([['given', 'no-endpoint']]);
  });

  it('leaves the queue with its pool, with a flush, and outlives a new configuration', () => {
    const { offer, dispatcher, expired, load, released } = setup();
    offer('a', 0, 'x');
    const lanes = new Map([['other', { ...LANE, name: 'other' }]]);
    dispatcher.reconfigure({ maxWaitMs: 10_000, maxQueued: 1_000, quantumTokens: 100, lanes }, 10);
    load('x', 20);
    expect(released).toHaveLength(1);
    offer('a', 30, 'y');
    dispatcher.flush(40);
    offer('a', 50, 'z');
    dispatcher.removePool('main', 60);
    expect(expired.map(({ adapter, reason }) => [adapter, reason])).toEqual([
      ['y', 'draining'],
      ['z', 'draining'],
    ]);
    expect(dispatcher.queued()).toBe(0);
  });

  it('has fallbacks only where its adapter is', () => {
    const { offer, load, released, adapters } = setup({ endpoints: 3 });
    offer('a', 0, 'x');
    adapters.reported(urlOf(3), ['x'], 0);
    load('x', 10);
    expect(released[0]?.release.slot.addresses).toEqual(['10.0.0.1:8000', '10.0.0.3:8000']);
    const inFlight = () => adapters.list().map(({ loaded }) => loaded.map((one) => one.inFlight));
    expect(inFlight()).toEqual([[1], [], [0]]);
    released[0]?.release.slot.moveTo('10.0.0.3:8000', 0);
    expect(inFlight()).toEqual([[0], [], [1]]);
    released[0]?.release.free(20);
    released[0]?.release.free(20);
    expect(inFlight()).toEqual([[0], [], [0]]);
    expect(offer('b', 30).kind).toBe('released');
    expect(released[1]?.release.slot.addresses).toHaveLength(3);
  });

  it('waits anew when its endpoint goes down before it was loaded', () => {
    const { offer, load, loads, endpoints, dispatcher, released } = setup({ endpoints: 2 });
    offer('a', 0, 'x');
    const [first] = loads;
    endpoints.setHealthy(first?.endpoint ?? '', false, 10);
    dispatcher.tick(50);
    expect(loads).toHaveLength(2);
    expect(loads[1]?.endpoint).not.toBe(first?.endpoint);
    load('x', 60, first?.endpoint === urlOf(1) ? 2 : 1);
    expect(released).toHaveLength(1);
  });
});

describe('whatever happens', () => {
  const arbStep = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('offer' as const),
        tenant: fc.nat(3),
        adapter: fc.constantFrom(undefined, undefined, ...ADAPTERS, 'given'),
        cost: fc.integer({ min: 1, max: 900 }),
        isSubset: fc.constantFrom(false, false, false, true),
      }),
    },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('free' as const), index: fc.nat() }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('loaded' as const), index: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('failed' as const), index: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('cancel' as const), index: fc.nat() }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('tick' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('reconfigure' as const) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('listed' as const),
        endpoint: fc.integer({ min: 1, max: 2 }),
        names: fc.subarray([...ADAPTERS, 'given', 'foreign']),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('health' as const),
        endpoint: fc.integer({ min: 1, max: 2 }),
        isHealthy: fc.boolean(),
      }),
    },
  );

  it('every request ends exactly once, nothing is lost, and who needs no adapter waits for none', () => {
    fc.assert(
      fc.property(
        fc.array(arbStep, { maxLength: 200 }),
        fc.constantFrom('fcfs' as const, 'shortest' as const),
        (steps, order) => {
          const lanes = new Map([[LANE.name, { ...LANE, order }]]);
          const world = setup({ endpoints: 2, window: 2, places: 1, limits: { maxQueued: 5 } });
          const { dispatcher, endpoints, adapters, loads, released, expired, offer } = world;
          const settings = { maxWaitMs: 5_000, maxQueued: 15, quantumTokens: 100, lanes };
          dispatcher.reconfigure(settings, 0);
          const ended = new Map<number, string>();
          const end = (id: number, how: string): void => {
            expect(ended.get(id)).toBeUndefined();
            ended.set(id, how);
          };
          const tickets = new Map<number, () => boolean>();
          const freed = new Set<Release>();
          const running = () => released.filter(({ release }) => !freed.has(release));
          let accepted = 0;
          let cancelled = 0;
          let now = 0;
          let [seenReleased, seenExpired] = [0, 0];
          const check = (): void => {
            for (const one of released.slice(seenReleased)) end(one.id, 'released');
            for (const one of expired.slice(seenExpired)) end(one.id, 'expired');
            [seenReleased, seenExpired] = [released.length, expired.length];
            expect(endpoints.inFlight()).toBe(running().length);
            expect(accepted).toBe(released.length + expired.length + cancelled + dispatcher.queued());
            for (const one of released) {
              if (one.adapter === undefined || freed.has(one.release)) continue;
              expect(one.release.slot.addresses.length).toBeGreaterThan(0);
            }
            for (const place of adapters.list()) {
              const ours = place.loaded.filter(({ adapter }) => ADAPTERS.includes(adapter));
              expect(place.loading.length).toBeLessThanOrEqual(1);
              expect(ours.length).toBeLessThanOrEqual(ADAPTERS.length);
            }
            const room = endpoints.list(now).some(({ healthy, inFlight }) => healthy && inFlight < 2);
            if (!room) return;
            // What waits although there is room waits for an adapter, or for an endpoint that its gateway allows.
            const plain = [...waiting.values()].filter(
              ({ id, adapter, isSubset }) => !ended.has(id) && adapter === undefined && !isSubset,
            );
            const isBlocked = [...waiting.values()].some(({ id, isSubset }) => !ended.has(id) && isSubset);
            if (!isBlocked) expect(plain).toEqual([]);
          };
          const waiting = new Map<number, { id: number; adapter: string | undefined; isSubset: boolean }>();
          const pick = <T>(list: readonly T[], index: number): T | undefined =>
            list[index % Math.max(1, list.length)];
          for (const step of steps) {
            now += 50;
            if (step.kind === 'offer') {
              const { adapter, cost, isSubset } = step;
              const within = isSubset ? { within: new Set(['10.0.0.1:8000']) } : {};
              const result = offer(`t${step.tenant}`, now, adapter, { cost, demand: within });
              if (result.kind !== 'refused') accepted += 1;
              if (result.kind === 'queued') {
                tickets.set(result.id, () => result.ticket.cancel(now));
                waiting.set(result.id, { id: result.id, adapter, isSubset });
              }
            } else if (step.kind === 'free') {
              const one = pick(running(), step.index);
              if (one !== undefined) {
                freed.add(one.release);
                one.release.free(now);
              }
            } else if (step.kind === 'loaded' || step.kind === 'failed') {
              const one = pick(loads, step.index);
              if (one !== undefined) {
                loads.splice(loads.indexOf(one), 1);
                if (step.kind === 'loaded') adapters.loaded(one.endpoint, one.adapter, now);
                else adapters.loadFailed(one.endpoint, one.adapter, now);
                dispatcher.adaptersChanged('main', one.adapter, now);
              }
            } else if (step.kind === 'cancel') {
              const [id, cancel] = pick([...tickets], step.index) ?? [];
              if (id !== undefined && cancel?.() === true) {
                cancelled += 1;
                end(id, 'cancelled');
              }
            } else if (step.kind === 'tick') dispatcher.tick(now);
            else if (step.kind === 'reconfigure') dispatcher.reconfigure(settings, now);
            else if (step.kind === 'listed') {
              adapters.reported(urlOf(step.endpoint), step.names, now);
              dispatcher.adaptersChanged('main', undefined, now);
            } else {
              endpoints.setHealthy(urlOf(step.endpoint), step.isHealthy, now);
              if (step.isHealthy) dispatcher.dispatch(now);
            }
            check();
          }
          // Everything goes when engines answer: nobody is forgotten.
          for (const n of [1, 2]) {
            endpoints.setHealthy(urlOf(n), true, now);
            adapters.reported(urlOf(n), n === 1 ? ['given'] : [], now);
          }
          for (let i = 0; i < 400 && dispatcher.queued() > 0; i += 1) {
            now += 50;
            for (const one of loads.splice(0)) adapters.loaded(one.endpoint, one.adapter, now);
            for (const one of running()) {
              freed.add(one.release);
              one.release.free(now);
            }
            dispatcher.tick(now);
            check();
          }
          expect(dispatcher.queued()).toBe(0);
          for (const one of running()) {
            freed.add(one.release);
            one.release.free(now);
          }
          expect(endpoints.inFlight()).toBe(0);
          for (const { loaded } of adapters.list()) {
            for (const { inFlight } of loaded) expect(inFlight).toBe(0);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('two tenants that always have requests get the same, to within a request, whatever of theirs waits for an adapter', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ adapter: fc.constantFrom(undefined, ...ADAPTERS), wait: fc.nat(3) }), {
          minLength: 20,
          maxLength: 60,
        }),
        (script) => {
          const { offer, released, dispatcher, loads, adapters } = setup({ window: 1, places: 1 });
          const most = 300;
          offer('first', 0, undefined, { cost: 1 });
          // Both keep a backlog of plain requests; `a` has adapters of its script besides.
          for (let i = 0; i < 90; i += 1)
            for (const tenant of ['a', 'b']) offer(tenant, 1, undefined, { cost: most });
          let now = 1;
          let served = 0;
          for (const { adapter, wait } of script) {
            now += 50;
            if (adapter !== undefined) offer('a', now, adapter, { cost: most });
            if (wait === 0) {
              for (const one of loads.splice(0)) adapters.loaded(one.endpoint, one.adapter, now);
              dispatcher.adaptersChanged('main', undefined, now);
            }
            dispatcher.tick(now);
            released[served]?.release.free(now);
            served += 1;
          }
          const costOf = (tenant: string) =>
            released.slice(1).filter((one) => one.tenant === tenant).length * most;
          expect(Math.abs(costOf('a') - costOf('b'))).toBeLessThanOrEqual(100 + 2 * most);
        },
      ),
      { numRuns: 100 },
    );
  });
});

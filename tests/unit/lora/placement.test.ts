import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AdapterPlan, DEFAULT_ADAPTER_PLAN, type Ensure } from '../../../src/lora/placement.ts';

const plan = (max: number, endpoints: readonly string[] = ['e0']): AdapterPlan => {
  const made = new AdapterPlan(DEFAULT_ADAPTER_PLAN);
  made.reconfigure(new Map(endpoints.map((endpoint) => [endpoint, max])));
  return made;
};
/** Loaded, and used once at that time. */
const loadAndUse = (made: AdapterPlan, adapter: string, nowMs: number, endpoint = 'e0'): void => {
  expect(made.ensure(adapter, [endpoint], nowMs)).toMatchObject({ kind: 'load', endpoint });
  made.loaded(endpoint, adapter, nowMs);
  made.began(endpoint, adapter, nowMs)(nowMs);
};
const loadedOn = (made: AdapterPlan, endpoint: string) =>
  made
    .list()
    .find((place) => place.endpoint === endpoint)
    ?.loaded.map(({ adapter }) => adapter);

describe('an adapter', () => {
  it('is loaded on the best endpoint with a free place, waited for, and used', () => {
    const made = plan(2, ['e0', 'e1']);
    expect(made.ensure('a', ['e1', 'e0'], 0)).toEqual({ kind: 'load', endpoint: 'e1' });
    expect(made.ensure('a', ['e1', 'e0'], 1)).toMatchObject({ kind: 'wait' });
    made.loaded('e1', 'a', 2);
    expect(made.ensure('a', ['e0', 'e1'], 3)).toEqual({ kind: 'use', endpoint: 'e1' });
    expect(made.ensure('a', ['e0'], 4)).toEqual({ kind: 'load', endpoint: 'e0' });
  });
  it('takes the place of the idle one that was used least lately', () => {
    const made = plan(2);
    loadAndUse(made, 'a', 0);
    loadAndUse(made, 'b', 1);
    made.began('e0', 'a', 2)(3);
    expect(made.ensure('c', ['e0'], 999).kind).toBe('wait');
    expect(made.ensure('c', ['e0'], 1_001)).toEqual({ kind: 'load', endpoint: 'e0', evict: 'b' });
  });
  it('is never unloaded while it is in use, or before it served the request that it was loaded for', () => {
    const made = plan(1);
    expect(made.ensure('a', ['e0'], 0).kind).toBe('load');
    made.loaded('e0', 'a', 0);
    expect(made.ensure('b', ['e0'], 1).kind).toBe('wait');
    const end = made.began('e0', 'a', 2);
    for (let i = 0; i < 20; i += 1) expect(made.ensure('b', ['e0'], 3 + 500 * i).kind).toBe('wait');
    end(10_000);
    expect(made.ensure('b', ['e0'], 10_001)).toEqual({ kind: 'load', endpoint: 'e0', evict: 'a' });
  });
  it('that nobody came for goes after a time', () => {
    const made = plan(1);
    made.ensure('a', ['e0'], 0);
    made.loaded('e0', 'a', 0);
    expect(made.ensure('b', ['e0'], DEFAULT_ADAPTER_PLAN.holdMs - 1).kind).toBe('wait');
    expect(made.ensure('b', ['e0'], DEFAULT_ADAPTER_PLAN.holdMs)).toMatchObject({ evict: 'a' });
  });
  it('that is always busy makes room for one that has waited', () => {
    const made = plan(1);
    loadAndUse(made, 'busy', 0);
    const end = made.began('e0', 'busy', 1_900);
    made.ensure('b', ['e0'], 1_900);
    expect(made.ensure('busy', ['e0'], 2_000)).toMatchObject({ kind: 'use' });
    made.ensure('b', ['e0'], 2_400);
    expect(made.ensure('busy', ['e0'], 2_400)).toMatchObject({ kind: 'wait' });
    end(2_500);
    expect(made.ensure('b', ['e0'], 2_500)).toEqual({ kind: 'load', endpoint: 'e0', evict: 'busy' });
  });
  it('is not tried again on an endpoint where it failed before a time that doubles', () => {
    const made = plan(1, ['e0', 'e1']);
    made.ensure('a', ['e0'], 0);
    made.loadFailed('e0', 'a', 0);
    expect(made.ensure('a', ['e0'], 1)).toEqual({ kind: 'refuse', reason: 'failed', retryMs: 999 });
    expect(made.ensure('a', ['e0', 'e1'], 1)).toEqual({ kind: 'load', endpoint: 'e1' });
    made.loadFailed('e1', 'a', 1);
    expect(made.ensure('a', ['e0'], 1_000)).toEqual({ kind: 'load', endpoint: 'e0' });
    made.loadFailed('e0', 'a', 1_000);
    expect(made.ensure('a', ['e0'], 2_999)).toMatchObject({ kind: 'refuse', retryMs: 1 });
    expect(made.ensure('a', ['e0'], 3_000)).toEqual({ kind: 'load', endpoint: 'e0' });
  });
  it('whose load says nothing has failed after a time', () => {
    const made = plan(1);
    made.ensure('a', ['e0'], 0);
    expect(made.ensure('b', ['e0'], DEFAULT_ADAPTER_PLAN.loadTimeoutMs)).toEqual({
      kind: 'load',
      endpoint: 'e0',
    });
    made.loaded('e0', 'a', DEFAULT_ADAPTER_PLAN.loadTimeoutMs + 1);
    expect(loadedOn(made, 'e0')).toEqual([]);
  });
  it('is refused where no endpoint takes adapters, and when too many wait', () => {
    expect(plan(0).ensure('a', ['e0'], 0)).toMatchObject({ kind: 'refuse', reason: 'no-endpoint' });
    expect(plan(1).ensure('a', ['elsewhere'], 0)).toMatchObject({ kind: 'refuse', reason: 'no-endpoint' });
    const made = new AdapterPlan({ ...DEFAULT_ADAPTER_PLAN, maxWaiting: 2 });
    made.reconfigure(new Map([['e0', 1]]));
    const kinds = ['a', 'b', 'c', 'd'].map((adapter) => made.ensure(adapter, ['e0'], 0).kind);
    expect(kinds).toEqual(['load', 'wait', 'wait', 'refuse']);
    made.cancelled('b');
    expect(made.ensure('d', ['e0'], 0).kind).toBe('wait');
  });
});

describe('an endpoint', () => {
  it('that crashed has nothing loaded, and the ends of what it had change nothing', () => {
    const made = plan(1);
    loadAndUse(made, 'a', 0);
    const end = made.began('e0', 'a', 1);
    made.crashed('e0');
    loadAndUse(made, 'a', 2);
    end(3);
    end(4);
    expect(made.list()[0]?.loaded).toEqual([{ adapter: 'a', inFlight: 0 }]);
  });
  it('is believed about what it has loaded', () => {
    const made = plan(2);
    loadAndUse(made, 'a', 0);
    const end = made.began('e0', 'a', 1);
    made.reported('e0', ['b'], 1);
    expect(loadedOn(made, 'e0')).toEqual(['b']);
    end(2);
    expect(made.list()[0]?.loaded).toEqual([{ adapter: 'b', inFlight: 0 }]);
    expect(made.ensure('b', ['e0'], 2)).toEqual({ kind: 'use', endpoint: 'e0' });
  });
  it('with more than its max unloads what is idle, and loads nothing before', () => {
    const made = plan(3);
    for (const adapter of ['a', 'b', 'c']) loadAndUse(made, adapter, 0);
    const end = made.began('e0', 'b', 1);
    made.reconfigure(new Map([['e0', 1]]));
    expect(made.ensure('d', ['e0'], 2).kind).toBe('wait');
    expect(made.takeSurplus(1_000).map(({ adapter }) => adapter)).toEqual(['a', 'c']);
    expect(made.takeSurplus(1_001)).toEqual([]);
    end(1_002);
    expect(made.ensure('d', ['e0'], 1_003)).toMatchObject({ kind: 'load', evict: 'b' });
  });
});

describe('whatever happens', () => {
  const ENDPOINTS = ['e0', 'e1'];
  const arbStep = fc.record({
    kind: fc.constantFrom('ensure', 'ensure', 'ensure', 'begin', 'end', 'loaded', 'failed', 'crashed'),
    adapter: fc.constantFrom('a', 'b', 'c', 'd'),
    endpoint: fc.constantFrom(...ENDPOINTS),
    candidates: fc.subarray(ENDPOINTS),
    index: fc.nat(),
    afterMs: fc.integer({ min: 0, max: 3_000 }),
  });

  it('an endpoint never has more than its max, and nothing in use is unloaded', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3 }), fc.array(arbStep, { maxLength: 200 }), (max, steps) => {
        const made = plan(max, ENDPOINTS);
        const open: {
          readonly endpoint: string;
          readonly adapter: string;
          readonly end: (nowMs: number) => void;
        }[] = [];
        let nowMs = 0;
        for (const { kind, adapter, endpoint, candidates, index, afterMs } of steps) {
          nowMs += afterMs;
          const isLoaded = loadedOn(made, endpoint)?.includes(adapter) === true;
          if (kind === 'ensure') {
            const next: Ensure = made.ensure(adapter, candidates, nowMs);
            if (next.kind === 'load' && next.evict !== undefined) {
              const { endpoint: at, evict } = next;
              expect(open.some((one) => one.endpoint === at && one.adapter === evict)).toBe(false);
            }
            if (next.kind === 'use') expect(loadedOn(made, next.endpoint)).toContain(adapter);
          } else if (kind === 'begin' && isLoaded) {
            open.push({ endpoint, adapter, end: made.began(endpoint, adapter, nowMs) });
          } else if (kind === 'end' && open.length > 0) open.splice(index % open.length, 1)[0]?.end(nowMs);
          else if (kind === 'loaded') made.loaded(endpoint, adapter, nowMs);
          else if (kind === 'failed') made.loadFailed(endpoint, adapter, nowMs);
          else if (kind === 'crashed') {
            made.crashed(endpoint);
            for (const one of [...open]) if (one.endpoint === endpoint) open.splice(open.indexOf(one), 1);
          }
          for (const place of made.list()) {
            expect(place.loaded.length + place.loading.length).toBeLessThanOrEqual(max);
            for (const { adapter: name, inFlight } of place.loaded) {
              const real = open.filter((one) => one.endpoint === place.endpoint && one.adapter === name);
              expect(inFlight).toBe(real.length);
            }
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  /** Closed-loop clients of some adapters on one endpoint. @returns requests served, by adapter, in that time. */
  function serve(
    { adapters, max, clients, loadMs, requestMs }: Load,
    untilMs: number,
  ): { readonly served: readonly number[]; readonly longestWaitMs: number } {
    const made = plan(max);
    const served = Array.from({ length: adapters }, () => 0);
    const busy: { adapter: number; endMs: number; end: (nowMs: number) => void }[] = [];
    const loads: { adapter: number; endMs: number }[] = [];
    const waiting = Array.from({ length: adapters * clients }, (_, i) => ({
      adapter: i % adapters,
      sinceMs: 0,
    }));
    let longestWaitMs = 0;
    for (let nowMs = 0; nowMs < untilMs; nowMs += 20) {
      for (const load of loads.filter(({ endMs }) => endMs <= nowMs)) {
        loads.splice(loads.indexOf(load), 1);
        made.loaded('e0', `adapter ${load.adapter}`, nowMs);
      }
      for (const one of busy.filter(({ endMs }) => endMs <= nowMs)) {
        busy.splice(busy.indexOf(one), 1);
        one.end(nowMs);
        served[one.adapter] = (served[one.adapter] ?? 0) + 1;
        waiting.push({ adapter: one.adapter, sinceMs: nowMs });
      }
      for (const one of [...waiting]) {
        const name = `adapter ${one.adapter}`;
        const next = made.ensure(name, ['e0'], nowMs);
        if (next.kind === 'load') loads.push({ adapter: one.adapter, endMs: nowMs + loadMs });
        if (next.kind !== 'use') continue;
        waiting.splice(waiting.indexOf(one), 1);
        longestWaitMs = Math.max(longestWaitMs, nowMs - one.sinceMs);
        busy.push({ adapter: one.adapter, endMs: nowMs + requestMs, end: made.began('e0', name, nowMs) });
      }
    }
    return { served, longestWaitMs };
  }
  interface Load {
    readonly adapters: number;
    readonly max: number;
    /** Of each adapter. */
    readonly clients: number;
    readonly loadMs: number;
    readonly requestMs: number;
  }

  it('two adapters that take turns in one place both go on, and are not swapped for every request', () => {
    const { served } = serve({ adapters: 2, max: 1, clients: 1, loadMs: 200, requestMs: 50 }, 60_000);
    for (const count of served) expect(count).toBeGreaterThan(200);
  });
  it('every adapter is served however many want the places and however busy they are', () => {
    fc.assert(
      fc.property(
        fc.record({
          adapters: fc.integer({ min: 1, max: 6 }),
          max: fc.integer({ min: 1, max: 3 }),
          clients: fc.integer({ min: 1, max: 4 }),
          loadMs: fc.integer({ min: 10, max: 1_000 }),
          requestMs: fc.integer({ min: 10, max: 2_000 }),
        }),
        (load) => {
          const { served, longestWaitMs } = serve(load, 90_000);
          for (const count of served) expect(count).toBeGreaterThan(1);
          // Each of the others in turn: it stays, is emptied, and the next one is loaded.
          const turnMs =
            DEFAULT_ADAPTER_PLAN.residencyMs + DEFAULT_ADAPTER_PLAN.patienceMs + 2 * load.requestMs;
          const rounds = Math.ceil(load.adapters / load.max) + 1;
          expect(longestWaitMs).toBeLessThanOrEqual(rounds * (turnMs + load.loadMs + 100));
        },
      ),
      { numRuns: 25 },
    );
  });
  it('memory is bounded by the places and by who may wait', () => {
    const made = plan(2);
    for (let i = 0; i < 10_000; i += 1) {
      made.ensure(`adapter ${i}`, ['e0'], i * 10);
      made.loadFailed('e0', `adapter ${i}`, i * 10);
    }
    expect(made.list()[0]?.loading.length).toBeLessThanOrEqual(2);
    made.reconfigure(new Map());
    expect(made.list()).toEqual([]);
  });
});

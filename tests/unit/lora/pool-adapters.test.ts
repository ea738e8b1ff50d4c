import { describe, expect, it } from 'vitest';
import type { LoraAdapterConfig } from '../../../src/config/config.ts';
import { createPoolAdapters, type PoolAdapters } from '../../../src/lora/pool-adapters.ts';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import { newCandidate } from '../../../src/routing/candidate.ts';

const E1 = 'http://e1:8000';
const E2 = 'http://e2:8000';
const named = (
  names: readonly string[],
  pathless: readonly string[] = [],
): ReadonlyMap<string, LoraAdapterConfig> =>
  new Map(
    [...names, ...pathless].map((name) => [
      name,
      { name, base: 'm', ...(!pathless.includes(name) && { path: `/${name}` }) },
    ]),
  );

function setup(places: number | 'none' = 1, adapters = named(['a', 'b', 'c'], ['given'])) {
  const orders: string[] = [];
  const suspects: string[] = [];
  const pool: PoolAdapters = createPoolAdapters({
    load: (endpoint, { name, path }, evict) => orders.push(`${endpoint} +${name} ${path} -${evict ?? ''}`),
    suspect: (endpoint) => suspects.push(endpoint),
  });
  pool.reconfigure([E1, E2], places === 'none' ? undefined : places, adapters);
  return { pool, orders, suspects };
}
const loadAndUse = (pool: PoolAdapters, adapter: string, nowMs: number): void => {
  pool.ensure(adapter, [E1], nowMs);
  pool.loaded(E1, adapter, nowMs);
  pool.began(E1, adapter, nowMs)(nowMs);
};

describe('the adapters of a pool', () => {
  it('are ordered once, with their path and what makes room, and waited for', () => {
    const { pool, orders } = setup();
    expect(pool.ensure('a', [E1], 0)).toMatchObject({ kind: 'wait' });
    expect(pool.ensure('a', [E1], 10)).toMatchObject({ kind: 'wait' });
    pool.loaded(E1, 'a', 20);
    expect(pool.ensure('a', [E1], 20)).toEqual({ kind: 'use', endpoint: E1 });
    pool.began(E1, 'a', 20)(30);
    pool.ensure('b', [E1], 2_000);
    expect(orders).toEqual([`${E1} +a /a -`, `${E1} +b /b -a`]);
  });

  it('whose load was given up are ordered again at once, as a load that did not fail', () => {
    const { pool, orders } = setup();
    pool.ensure('a', [E1], 0);
    pool.givenUp(E1, 'a');
    pool.givenUp(E1, 'never ordered');
    pool.givenUp('http://nowhere:8000', 'a');
    expect(pool.ensure('a', [E1], 1)).toMatchObject({ kind: 'wait' });
    expect(orders).toEqual([`${E1} +a /a -`, `${E1} +a /a -`]);
  });

  it('that others loaded, or that have no path, take places and are never unloaded', () => {
    for (const name of ['foreign', 'given']) {
      const { pool, orders } = setup();
      pool.reported(E1, [name], 0);
      for (let now = 0; now < 60_000; now += 500) {
        expect(pool.ensure('a', [E1], now)).toMatchObject({ kind: 'wait' });
      }
      pool.reconfigure([E1, E2], 1, named(['a']));
      expect(pool.takeSurplus(60_000)).toEqual([]);
      expect(orders).toEqual([]);
      expect(pool.list()[0]?.loaded).toEqual([{ adapter: name, inFlight: 0 }]);
    }
  });

  it('are not loaded or unloaded at all where the pool has no places', () => {
    const { pool, orders } = setup('none');
    expect(pool.ensure('a', [E1], 0)).toMatchObject({ kind: 'refuse', reason: 'no-endpoint' });
    pool.reported(E1, ['a', 'b', 'c'], 0);
    expect(pool.ensure('a', [E1, E2], 5_000)).toEqual({ kind: 'use', endpoint: E1 });
    expect(pool.takeSurplus(60_000)).toEqual([]);
    expect(orders).toEqual([]);
  });

  it('over a lower number of places are unloaded when they are idle, each told once', () => {
    const { pool } = setup(2);
    loadAndUse(pool, 'a', 0);
    loadAndUse(pool, 'b', 1);
    pool.reconfigure([E1, E2], 1, named(['a', 'b', 'c']));
    expect(pool.takeSurplus(5_000)).toEqual([{ endpoint: E1, adapter: 'a' }]);
    expect(pool.takeSurplus(5_000)).toEqual([]);
  });

  it('are tried again at once on an endpoint that has restarted', () => {
    const { pool, orders } = setup();
    pool.ensure('a', [E1], 0);
    pool.loadFailed(E1, 'a', 0);
    expect(pool.ensure('a', [E1], 1)).toMatchObject({ kind: 'refuse', reason: 'failed' });
    pool.crashed(E1);
    expect(pool.ensure('a', [E1], 2)).toMatchObject({ kind: 'wait' });
    expect(orders).toHaveLength(2);
  });

  it('that are not configured any more are used where they are, and asked for nowhere', () => {
    const { pool, orders } = setup();
    loadAndUse(pool, 'a', 0);
    pool.reconfigure([E1, E2], 1, new Map());
    expect(pool.isUsed()).toBe(false);
    expect(pool.ensure('a', [E2, E1], 10)).toEqual({ kind: 'use', endpoint: E1 });
    expect(pool.ensure('b', [E1], 10)).toMatchObject({ kind: 'refuse', reason: 'no-endpoint' });
    expect(orders).toHaveLength(1);
  });

  it('are shown to the choice of an endpoint as they are at that moment', () => {
    const { pool } = setup(3);
    const candidate = newCandidate(0, '10.0.0.1:8000');
    pool.describe(candidate, 'http://nowhere:1', 'a');
    expect(candidate.adaptersMax).toBe(0);
    loadAndUse(pool, 'a', 0);
    pool.ensure('b', [E1], 0);
    pool.describe(candidate, E1, 'a');
    expect([candidate.adaptersMax, candidate.adaptersIdle]).toEqual([3, 1]);
    expect([candidate.adapters.has('a'), candidate.adaptersLoading.has('b')]).toEqual([true, true]);
    pool.began(E1, 'a', 1);
    pool.describe(candidate, E1, 'given');
    expect([candidate.adaptersMax, candidate.adaptersIdle]).toEqual([0, 0]);
  });
});

describe('endpoints with adapters', () => {
  const address = (n: number) => `10.0.0.${n}:8000`;
  function endpointsOf(routing?: 'balanced') {
    const { pool, orders, suspects } = setup(1);
    const endpoints = createPoolEndpoints(fixedLimit, undefined, undefined, pool);
    endpoints.reconfigure(
      [
        { url: E1, address: address(1) },
        { url: E2, address: address(2) },
      ],
      {
        concurrencyLimit: 2,
        prefillTokens: 1_000,
        headroom: 0,
        ...(routing !== undefined && { routing: { profile: routing } }),
      },
    );
    endpoints.setHealthy(E1, true, 0);
    endpoints.setHealthy(E2, true, 0);
    const acquire = (adapter: string | undefined, nowMs = 0) =>
      endpoints.acquire(
        {
          sequences: 1,
          promptTokens: 10,
          totalTokens: 20,
          streamed: false,
          model: adapter ?? 'm',
          ...(adapter !== undefined && { adapter }),
          ...(routing !== undefined && {
            choice: {
              ...(adapter !== undefined && { adapter }),
              prompt: undefined,
              promptBytes: 40,
              promptTokens: 10,
              totalTokens: 20,
              stream: false,
              slow: false,
            },
          }),
        },
        { belowFairShare: false, headroom: 0, tenant: 't' },
        nowMs,
      );
    return { pool, orders, suspects, endpoints, acquire };
  }

  it.each([undefined, 'balanced' as const])(
    '(routing: %s) send a request where its adapter is',
    (routing) => {
      const { pool, acquire, endpoints, orders } = endpointsOf(routing);
      pool.reported(E2, ['a'], 0);
      for (let i = 0; i < 2; i += 1)
        expect(acquire('a')).toMatchObject({ kind: 'slot', address: address(2) });
      // There is no room where it is: it is loaded where there is.
      expect(acquire('a')).toMatchObject({ kind: 'later' });
      expect(orders).toEqual([`${E1} +a /a -`]);
      expect(acquire(undefined)).toMatchObject({ kind: 'slot', address: address(1) });
      expect(acquire(undefined)).toMatchObject({ kind: 'slot', address: address(1) });
      expect(acquire('a')).toBeUndefined();
      expect([...endpoints.adaptersOn(address(2))]).toEqual(['a']);
      expect([...endpoints.adaptersOn('nowhere')]).toEqual([]);
    },
  );

  it.each([undefined, 'balanced' as const])(
    '(routing: %s) refuse what only another loads and nobody has, and wait where it is',
    (routing) => {
      const { pool, acquire } = endpointsOf(routing);
      expect(acquire('given')).toMatchObject({ kind: 'refused', reason: 'no-endpoint' });
      pool.reported(E1, ['given'], 0);
      for (let i = 0; i < 2; i += 1) expect(acquire('given')).toMatchObject({ address: address(1) });
      expect(acquire('given')).toMatchObject({ kind: 'later' });
    },
  );

  it('ask an engine what it has when it does not know an adapter', () => {
    const { pool, acquire, suspects } = endpointsOf();
    pool.reported(E1, ['a'], 0);
    const slot = acquire('a');
    const plain = acquire(undefined);
    if (slot?.kind !== 'slot' || plain?.kind !== 'slot') throw new Error('no slot');
    plain.ended({ status: 404 }, 1);
    expect(suspects).toEqual([]);
    slot.ended({ status: 404 }, 1);
    slot.ended({ status: 404 }, 1);
    expect(suspects).toEqual([E1]);
  });

  it('that go down have nothing loaded any more', () => {
    const { pool, endpoints, acquire } = endpointsOf();
    pool.reported(E1, ['a'], 0);
    const slot = acquire('a');
    endpoints.setHealthy(E1, false, 1);
    expect(pool.isLoaded(E1, 'a')).toBe(false);
    pool.reported(E1, ['a'], 2);
    if (slot?.kind === 'slot') slot.free(3);
    expect(pool.list()[0]?.loaded).toEqual([{ adapter: 'a', inFlight: 0 }]);
  });
});

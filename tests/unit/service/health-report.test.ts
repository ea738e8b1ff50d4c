import { describe, expect, it } from 'vitest';
import { type HealthFacts, healthReport, type PoolFacts } from '../../../src/service/health-report.ts';

const URL = 'http://10.0.0.1:8000';
const endpoint: PoolFacts['endpoints'][number] = {
  url: URL,
  limit: 8,
  limitSource: 'gauges',
  ejected: false,
  broken: [],
  readiness: 'ready for 3 s',
  engine: undefined,
  gaugesProblem: undefined,
  adapters: undefined,
};
const pool: PoolFacts = { name: 'main', healthy: 1, configured: 1, drained: [], endpoints: [endpoint] };
const facts: HealthFacts = {
  isDraining: false,
  isRedisConnected: undefined,
  pools: [pool],
  canaries: [],
  mirrors: [],
};
const shown = { window: 8, by: 'gauges', state: 'ready for 3 s' };

describe('the health report', () => {
  it('leaves out what is not there', () => {
    expect(healthReport(facts)).toEqual({
      status: 'ok',
      pools: { main: { healthy: 1, endpoints: 1, windows: { [URL]: shown } } },
    });
  });

  it.each([
    [{ isDraining: true }, { status: 'draining' }],
    [{ isRedisConnected: true }, { redis: 'connected' }],
    [{ isRedisConnected: false }, { redis: 'away' }],
  ])('says of %o: %o', (change, expected) => {
    expect(healthReport({ ...facts, ...change })).toMatchObject(expected);
  });

  it('says what is wrong with an endpoint, and which engine it is', () => {
    const ill = { ...endpoint, ejected: true, broken: ['demo'], engine: 'vllm', gaugesProblem: 'no answer' };
    const { pools } = healthReport({ ...facts, pools: [{ ...pool, endpoints: [ill] }] });
    expect(pools['main']?.windows[URL]).toEqual({
      ...shown,
      ejected: true,
      broken: ['demo'],
      engine: 'vllm',
      gauges: 'no answer',
    });
  });

  it('says what drained endpoints still have', () => {
    const drained = [
      { url: URL, inFlight: 2 },
      { url: 'b', inFlight: 0 },
    ];
    expect(healthReport({ ...facts, pools: [{ ...pool, drained }] }).pools['main']?.draining).toEqual({
      [URL]: { empty: false, inFlight: 2 },
      b: { empty: true, inFlight: 0 },
    });
  });

  it('shows a hundred adapters of an endpoint, and those that are loading', () => {
    const loaded = Array.from({ length: 101 }, (_, i) => ({ adapter: `a${i}`, inFlight: 0 }));
    const adapters = { loaded, loading: ['next'] };
    const { pools } = healthReport({
      ...facts,
      pools: [{ ...pool, endpoints: [{ ...endpoint, adapters }] }],
    });
    const shownAdapters = pools['main']?.windows[URL]?.adapters;
    expect(shownAdapters?.loaded).toHaveLength(100);
    expect(shownAdapters?.loaded[0]).toBe('a0');
    expect(shownAdapters?.loading).toEqual(['next']);
  });

  it('names canaries and mirrors by their models', () => {
    const rolledBack = { gate: 'failures', detail: '5 of 10', atMs: 17 };
    const report = healthReport({
      ...facts,
      canaries: [
        { model: 'a', canary: 'a2', weight: 0.1, rolledBack: undefined },
        { model: 'b', canary: 'b2', weight: 0, rolledBack },
      ],
      mirrors: [{ model: 'a', pool: 'next', fraction: 0.1, running: 3 }],
    });
    expect(report.canaries).toEqual({
      a: { model: 'a2', weight: 0.1 },
      b: { model: 'b2', weight: 0, rolledBack: { gate: 'failures', detail: '5 of 10' } },
    });
    expect(report.shadows).toEqual({ a: { pool: 'next', fraction: 0.1, running: 3 } });
  });
});

it('names the files of tenants that are refused, and only where there are any', () => {
  const facts = { isDraining: false, isRedisConnected: undefined, pools: [], canaries: [], mirrors: [] };
  const refusedTenantFiles = {
    'tenants.d/bob.yaml': { since: '2026-11-28T20:00:00.000Z', problem: 'is empty', kept: true },
  };
  expect(healthReport({ ...facts, refusedTenantFiles })).toMatchObject({ status: 'ok', refusedTenantFiles });
  expect(healthReport({ ...facts, refusedTenantFiles: {} })).not.toHaveProperty('refusedTenantFiles');
});

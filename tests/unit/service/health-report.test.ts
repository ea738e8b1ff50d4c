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
const pool: PoolFacts = {
  name: 'main',
  healthy: 1,
  serving: 1,
  configured: 1,
  drained: [],
  endpoints: [endpoint],
};
const facts: HealthFacts = {
  isDraining: false,
  isRedisConnected: undefined,
  pools: [pool],
  canaries: [],
  mirrors: [],
  refused: [],
  mirrorPools: new Set(),
};
const shown = { window: 8, by: 'gauges', state: 'ready for 3 s' };

describe('the health report', () => {
  it('leaves out what is not there', () => {
    expect(healthReport(facts)).toEqual({
      status: 'ok',
      ready: true,
      pools: { main: { healthy: 1, endpoints: 1, windows: { [URL]: shown } } },
    });
  });

  it.each([
    [{ isDraining: true }, { status: 'draining' }],
    [{ isRedisConnected: true }, { redis: 'connected' }],
    [{ isRedisConnected: false }, { redis: 'away', status: 'degraded', ready: true }],
  ])('says of %o: %o', (change, expected) => {
    expect(healthReport({ ...facts, ...change })).toMatchObject(expected);
  });

  it.each([
    [
      'nothing serves',
      { ...pool, healthy: 0, serving: 0 },
      false,
      ['pool main: none of 1 endpoints takes requests'],
    ],
    ['one of two serves', { ...pool, configured: 2 }, true, undefined],
    ['all are drained', { ...pool, serving: 0 }, false, ['pool main: none of 1 endpoints takes requests']],
  ])('is degraded, and not ready, while no pool serves: %s', (_, one, ready, reasons) => {
    const report = healthReport({ ...facts, pools: [one] });
    expect(report).toMatchObject({ status: reasons === undefined ? 'ok' : 'degraded', ready });
    expect(report.reasons).toEqual(reasons);
  });

  it('is ready while one pool serves; a pool for copies does not count', () => {
    const silent = { ...pool, name: 'other', serving: 0 };
    expect(healthReport({ ...facts, pools: [pool, silent] })).toMatchObject({
      status: 'degraded',
      ready: true,
      reasons: ['pool other: none of 1 endpoints takes requests'],
    });
    const mirrorPools = new Set(['other']);
    expect(healthReport({ ...facts, pools: [pool, silent], mirrorPools }).status).toBe('ok');
    const onlyMirror = { ...facts, pools: [silent, { ...pool, serving: 0 }], mirrorPools };
    expect(healthReport(onlyMirror).ready).toBe(false);
    expect(healthReport({ ...facts, isDraining: true })).toMatchObject({ status: 'draining', ready: false });
  });

  it('tells files that were refused, since when and why, in bounds', () => {
    const problems = ['f.yaml:1:1: poools: unknown', ...Array.from({ length: 9 }, () => 'x'.repeat(5_000))];
    const report = healthReport({ ...facts, refused: [{ file: 'f.yaml', sinceMs: 1_000, problems }] });
    expect(report).toMatchObject({
      status: 'degraded',
      ready: true,
      reasons: ['f.yaml: not taken over since 1970-01-01T00:00:01.000Z'],
    });
    expect(report.refused?.[0]?.problems[0]).toBe('f.yaml:1:1: poools: unknown');
    expect(JSON.stringify(report).length).toBeLessThan(3_000);
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

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { adapterFindings, healthFindings, listenerFindings } from '../../../src/cli/doctor-findings.ts';
import type { LoraAdapterConfig } from '../../../src/config/config.ts';

const of = (health: unknown): readonly string[] =>
  [...healthFindings(health)].map(({ level, text }) => `${level} ${text}`);
const healthy = { state: 'healthy for 3 s: GET /health: 200', window: 8, by: 'gauges', engine: 'vllm' };
const A = 'http://10.0.0.1:8000';
const B = 'http://10.0.0.2:8000';

describe('what doctor says of a running service', () => {
  it('is the endpoints that take requests, and each one’s concurrency limit', () => {
    expect(of({ pools: { main: { healthy: 1, endpoints: 1, windows: { [A]: healthy } } } })).toEqual([
      'ok pool main: endpoints that take requests: 1 of 1',
      `ok pool main, ${A}: vllm, concurrency limit 8 by gauges`,
    ]);
  });

  it('names endpoints that are dead, ejected, without gauges, or broken for a model', () => {
    const dead = { ...healthy, state: 'dead for 4 s: GET /health: 500' };
    const bad = { ...healthy, ejected: true, broken: ['legal'], gauges: 'GET /metrics: 404', by: 'ttft' };
    expect(of({ pools: { main: { healthy: 1, endpoints: 2, windows: { [A]: dead, [B]: bad } } } })).toEqual([
      'problem pool main: endpoints that take requests: 1 of 2',
      `problem pool main, ${A}: dead for 4 s: GET /health: 500`,
      `ok pool main, ${A}: vllm, concurrency limit 8 by gauges`,
      `warning pool main, ${B}: kept out, because requests failed there`,
      `warning pool main, ${B}: legal is broken there: requests of several tenants failed`,
      `warning pool main, ${B}: vllm, concurrency limit 8 by ttft (gauges: GET /metrics: 404)`,
    ]);
  });

  it('does not count drained endpoints, says how far they are, and that a pool with nothing else is a problem', () => {
    const drained = (draining: object) =>
      of({
        pools: { main: { healthy: 2, endpoints: 2, draining, windows: { [A]: healthy, [B]: healthy } } },
      });
    const some = drained({ [B]: { empty: false, inFlight: 3 } });
    expect(some[0]).toBe('ok pool main: endpoints that take requests: 1 of 2, 1 drained');
    expect(some[1]).toMatch(/^warning .*10\.0\.0\.2:8000: drained, 3 requests left; .*--undo/);
    const all = drained({ [A]: { empty: true, inFlight: 0 }, [B]: { empty: true, inFlight: 0 } });
    expect(all[0]).toBe('problem pool main: endpoints that take requests: 0 of 2, 2 drained');
    expect(all[1]).toContain('drained, empty');
  });

  it('has the adapters of each endpoint', () => {
    const withAdapters = (adapters: object) =>
      of({ pools: { main: { healthy: 1, endpoints: 1, windows: { [A]: { ...healthy, adapters } } } } }).at(
        -1,
      );
    expect(withAdapters({ loaded: [] })).toBe(`ok pool main, ${A}: adapters loaded: none`);
    expect(withAdapters({ loaded: ['x', 'y'], loading: ['z'] })).toBe(
      `ok pool main, ${A}: adapters loaded: x, y; loading: z`,
    );
  });

  it('has canaries, with why one was rolled back, and mirrors', () => {
    expect(
      of({
        canaries: {
          one: { model: 'one-v2', weight: 0.05 },
          two: { model: 'two-v2', weight: 0, rolledBack: { gate: 'errors', detail: '5 of 9 failed' } },
        },
        shadows: { one: { pool: 'next', fraction: 0.1, running: 2 } },
      }),
    ).toEqual([
      'ok model one, canary one-v2: has 5 % of the requests',
      'warning model two, canary two-v2: rolled back (5 of 9 failed); a change of the canary, its salt for example, tries it again',
      'ok model one, mirror in pool next: copies 10 % of the requests, 2 copies running',
    ]);
  });

  it('passes over what is missing or of another type', () => {
    for (const odd of [null, 7, 'text', [], {}, { pools: [] }, { pools: 7, canaries: 'x', shadows: null }]) {
      expect(of(odd)).toEqual([]);
    }
    for (const windows of [
      undefined,
      null,
      7,
      [],
      { [A]: null },
      { [A]: { state: 7, broken: 'x', adapters: [] } },
    ]) {
      const draining = { [A]: null };
      expect(of({ pools: { main: { healthy: 'x', endpoints: {}, draining, windows } } })[0]).toMatch(
        /pool main/,
      );
    }
    expect(of({ canaries: { m: null }, shadows: { m: 7 } })).toHaveLength(2);
  });
});

describe('what doctor says of adapters', () => {
  const adapters = new Map<string, LoraAdapterConfig>([
    ['loadable', { name: 'loadable', base: 'big', path: '/x' }],
    ['by-hand', { name: 'by-hand', base: 'big' }],
    ['elsewhere', { name: 'elsewhere', base: 'other' }],
  ]);
  const models = new Map(
    ['big', 'other'].map((name) => [name, { name, pool: name, cost: undefined, fallback: [] } as never]),
  );
  const say = (places: number | undefined, served: readonly (readonly string[] | undefined)[]) =>
    adapterFindings(
      { adapters, models },
      { name: 'big', ...(places !== undefined && { adaptersPerEndpoint: places }) },
      served,
    ).map(({ text }) => text);

  it('are those that nobody has and nobody may load, and what to do', () => {
    expect(say(2, [['big'], ['big', 'by-hand']])).toEqual([]);
    expect(say(2, [['big'], ['big']])).toEqual([
      'pool big: no endpoint has the adapter by-hand, and Fairlane may not load it: requests for it get a 503. Load it, or set adapters.by-hand.path',
    ]);
    const [first, second] = say(undefined, [['big']]);
    expect(first).toMatch(/adapter loadable, .* set pools\.big\.adaptersPerEndpoint$/);
    expect(second).toMatch(/set adapters\.by-hand\.path and pools\.big\.adaptersPerEndpoint$/);
  });

  it('is nothing while an endpoint does not say what it has', () => {
    expect(say(2, [['big'], undefined])).toEqual([]);
  });
});

describe('what doctor says of listeners', () => {
  const cert = readFileSync(new URL('../../fixtures/tls/expired.pem', import.meta.url), 'utf8');
  const plain = { address: { host: '::1', port: 8080 } };
  const secure = { address: { host: '0.0.0.0', port: 8443 }, tls: { cert, key: '' } };
  const at = (year: number, month: number, day: number) =>
    listenerFindings({ listen: [plain, secure] }, Date.UTC(year, month, day));

  it('is where clients connect, and how long certificates are good', () => {
    expect(at(2020, 0, 1)).toEqual([
      { level: 'ok', text: 'clients: http://[::1]:8080' },
      { level: 'ok', text: 'clients: https://0.0.0.0:8443, the certificate is good for 366 days' },
    ]);
    expect(at(2020, 11, 31)[1]).toEqual({
      level: 'warning',
      text: 'clients: https://0.0.0.0:8443, the certificate is good for 1 day',
    });
    expect(at(2022, 0, 1)[1]?.level).toBe('problem');
    const mutual = { ...secure, tls: { ...secure.tls, clientCa: 'x' } };
    expect(listenerFindings({ listen: [mutual] }, 0)[0]?.text).toContain('clients need a certificate');
  });
});

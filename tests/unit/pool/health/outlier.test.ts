import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EndpointSign } from '../../../../src/pool/health/outcome.ts';
import { DEFAULT_OUTLIER, type OutlierConfig, Outliers } from '../../../../src/pool/health/outlier.ts';

const URLS = ['e0', 'e1', 'e2', 'e3'];
const pool = (config: Partial<OutlierConfig> = {}, urls: readonly string[] = URLS): Outliers => {
  const outliers = new Outliers();
  outliers.reconfigure(urls, { ...DEFAULT_OUTLIER, ...config });
  for (const url of urls) outliers.setHealthy(url, true);
  return outliers;
};
const times = (
  count: number,
  outliers: Outliers,
  url: string,
  sign: EndpointSign,
  tenant: string,
  nowMs: number,
) =>
  Array.from({ length: count }, () => outliers.observed(url, sign, tenant, nowMs)).find((change) => change);
/** So that it leaves, at that time. */
const fail = (outliers: Outliers, url: string, nowMs: number) =>
  times(DEFAULT_OUTLIER.consecutive, outliers, url, 'connect-failure', 'a', nowMs);

describe('an endpoint', () => {
  it('leaves after so many failed connections in a row, and not after one less', () => {
    const outliers = pool();
    expect(times(4, outliers, 'e0', 'connect-failure', 'a', 0)).toBeUndefined();
    outliers.observed('e0', 'success', 'a', 0);
    expect(times(4, outliers, 'e0', 'connect-failure', 'a', 0)).toBeUndefined();
    expect(outliers.observed('e0', 'connect-failure', 'a', 0)).toMatchObject({
      kind: 'ejected',
      forMs: 5_000,
    });
    expect(outliers.admits('e0', 'a', 4_999)).toBe('no');
    expect(outliers.admits('e1', 'a', 0)).toBe('yes');
  });
  it('leaves when half of its requests fail in two tenants, once there are enough of them', () => {
    const outliers = pool({ consecutive: 100 });
    const seen = Array.from({ length: 20 }, (_, i) =>
      outliers.observed(
        'e0',
        i % 4 === 1 || i % 4 === 2 ? 'success' : 'server-error',
        i % 4 < 2 ? 'a' : 'b',
        i,
      ),
    );
    expect(seen.slice(0, 19).every((change) => change === undefined)).toBe(true);
    expect(seen[19]).toMatchObject({ kind: 'ejected', reason: '10 of 20 requests failed' });
  });
  it('stays when one tenant fails and another one does not', () => {
    const outliers = pool();
    outliers.observed('e0', 'success', 'quiet', 0);
    expect(times(1_000, outliers, 'e0', 'server-error', 'flooder', 1)).toBeUndefined();
    expect(times(1_000, outliers, 'e0', 'reset', 'flooder', 2)).toBeUndefined();
  });
  it('returns by one half-open probe at a time, and serves again after two that succeed', () => {
    const outliers = pool();
    fail(outliers, 'e0', 0);
    expect(outliers.admits('e0', 'a', 5_000)).toBe('half-open');
    outliers.began('e0', 'a', 5_000);
    expect(outliers.admits('e0', 'b', 5_001)).toBe('no');
    expect(outliers.observed('e0', 'success', 'a', 5_100)).toBeUndefined();
    expect(outliers.admits('e0', 'b', 5_100)).toBe('half-open');
    outliers.began('e0', 'b', 5_100);
    expect(outliers.observed('e0', 'success', 'b', 5_200)).toEqual({ kind: 'returned', url: 'e0' });
    expect(outliers.admits('e0', 'a', 5_200)).toBe('yes');
  });
  it('stays away twice as long each time, up to a maximum, and is forgiven with time', () => {
    const outliers = pool({ maxEjectionMs: 30_000 });
    let nowMs = 0;
    const lasted: number[] = [];
    for (let i = 0; i < 5; i += 1) {
      const change =
        i === 0 ? fail(outliers, 'e0', nowMs) : outliers.observed('e0', 'connect-failure', 'a', nowMs);
      const forMs = change?.kind === 'ejected' ? change.forMs : 0;
      lasted.push(forMs);
      nowMs += forMs;
    }
    expect(lasted).toEqual([5_000, 10_000, 20_000, 30_000, 30_000]);
    outliers.observed('e0', 'success', 'a', nowMs);
    outliers.observed('e0', 'success', 'a', nowMs);
    outliers.observed('e0', 'success', 'a', nowMs + 120_000);
    expect(fail(outliers, 'e0', nowMs + 120_000)).toMatchObject({ forMs: 10_000 });
  });
  it('is tried by others when the half-open probe of one tenant failed, said nothing or never ended', () => {
    const outliers = pool();
    fail(outliers, 'e0', 0);
    outliers.began('e0', 'hostile', 5_000);
    outliers.observed('e0', 'server-error', 'hostile', 5_100);
    expect(outliers.admits('e0', 'hostile', 5_200)).toBe('no');
    expect(outliers.admits('e0', 'other', 5_200)).toBe('half-open');
    expect(outliers.observed('e0', 'server-error', 'other', 5_300)).toMatchObject({ kind: 'ejected' });

    const second = pool();
    fail(second, 'e0', 0);
    second.began('e0', 'hostile', 5_000);
    second.observed('e0', undefined, 'hostile', 5_100);
    expect(second.admits('e0', 'hostile', 5_200)).toBe('no');
    expect(second.admits('e0', 'other', 5_200)).toBe('half-open');

    const third = pool();
    fail(third, 'e0', 0);
    third.began('e0', 'hostile', 5_000);
    expect(third.admits('e0', 'hostile', 15_001)).toBe('no');
    expect(third.admits('e0', 'other', 15_001)).toBe('half-open');
  });
  it('begins anew after it was loading', () => {
    const outliers = pool();
    fail(outliers, 'e0', 0);
    outliers.forgive('e0');
    expect(outliers.list(0)[0]).toEqual({ url: 'e0', state: 'serving', repeats: 0 });
  });
});

describe('a pool', () => {
  it('never loses its last healthy endpoint, nor more than the share', () => {
    const outliers = pool();
    expect(URLS.map((url) => fail(outliers, url, 0)?.kind)).toEqual([
      'ejected',
      'ejected',
      undefined,
      undefined,
    ]);
    const pair = pool({ maxEjectedShare: 1 }, ['e0', 'e1']);
    pair.setHealthy('e1', false);
    expect(fail(pair, 'e0', 0)).toBeUndefined();
  });
  it('does not hear of ejections while nobody else is healthy', () => {
    const outliers = pool({}, ['e0', 'e1']);
    fail(outliers, 'e0', 0);
    expect(outliers.admits('e0', 'a', 1)).toBe('no');
    outliers.setHealthy('e1', false);
    expect(outliers.admits('e0', 'a', 1)).toBe('yes');
  });
  it('keeps the state of endpoints that stay, and forgets the others', () => {
    const outliers = pool();
    fail(outliers, 'e0', 0);
    outliers.reconfigure(['e0', 'new'], { ...DEFAULT_OUTLIER, consecutive: 2 });
    expect(outliers.list(0).map(({ url, state }) => [url, state])).toEqual([
      ['e0', 'ejected'],
      ['new', 'serving'],
    ]);
    expect(outliers.admits('e1', 'a', 0)).toBe('no');
  });

  const arbStep = fc.record({
    url: fc.constantFrom(...URLS),
    tenant: fc.constantFrom('hostile', 'good'),
    kind: fc.constantFrom('observe', 'begin', 'health'),
    sign: fc.constantFrom<(EndpointSign | undefined)[]>(
      'success',
      'reset',
      'server-error',
      'timeout',
      'connect-failure',
      undefined,
    ),
    healthy: fc.boolean(),
    afterMs: fc.integer({ min: 0, max: 4_000 }),
  });

  it('serves from at least one endpoint as long as one is healthy, and ejects no more than its share, whatever happens', () => {
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 300 }), (steps) => {
        const outliers = pool({ consecutive: 2, minRequests: 4 });
        const healthy = new Set(URLS);
        let nowMs = 0;
        for (const { url, tenant, kind, sign, healthy: up, afterMs } of steps) {
          nowMs += afterMs;
          if (kind === 'observe') outliers.observed(url, sign, tenant, nowMs);
          else if (kind === 'begin') outliers.began(url, tenant, nowMs);
          else {
            outliers.setHealthy(url, up);
            if (up) healthy.add(url);
            else healthy.delete(url);
          }
          const out = outliers.list(nowMs).filter(({ state }) => state !== 'serving');
          expect(out.length).toBeLessThanOrEqual(2);
          if (healthy.size > 0) {
            expect(
              URLS.some((one) => healthy.has(one) && outliers.admits(one, tenant, nowMs) === 'yes'),
            ).toBe(true);
          }
        }
      }),
      { numRuns: 100 },
    );
  });
  it('never ejects an endpoint by one tenant whose requests fail there while another tenant succeeds there', () => {
    const arbAttack = fc.record({
      sign: fc.constantFrom<(EndpointSign | undefined)[]>(
        'success',
        'reset',
        'server-error',
        'timeout',
        undefined,
      ),
      afterMs: fc.integer({ min: 0, max: 300 }),
      goodToo: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(arbAttack, { maxLength: 300 }), (steps) => {
        const outliers = pool({ consecutive: 2, minRequests: 4 });
        let nowMs = 0;
        let goodMs = 0;
        outliers.observed('e0', 'success', 'good', nowMs);
        for (const { sign, afterMs, goodToo } of steps) {
          nowMs += afterMs;
          if (goodToo || nowMs - goodMs > 5_000) {
            outliers.observed('e0', 'success', 'good', nowMs);
            goodMs = nowMs;
          }
          expect(outliers.observed('e0', sign, 'hostile', nowMs)).toBeUndefined();
        }
      }),
      { numRuns: 100 },
    );
  });
});

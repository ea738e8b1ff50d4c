import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Breaker, type BreakerKey, DEFAULT_BREAKER } from '../../../../src/pool/health/breaker.ts';
import type { ModelSign } from '../../../../src/pool/health/outcome.ts';

const KEY: BreakerKey = { endpoint: 'e0', model: 'large' };
const make = (): Breaker => new Breaker(DEFAULT_BREAKER);
const fail = (
  breaker: Breaker,
  tenant: string,
  count: number,
  nowMs: number,
  sign: ModelSign = 'fault',
): void => {
  for (let i = 0; i < count; i += 1) breaker.observed(KEY, tenant, sign, nowMs);
};
/** Open for everybody, from 0 to 5 s. */
const opened = (): Breaker => {
  const breaker = make();
  fail(breaker, 'a', 2, 0);
  fail(breaker, 'b', 1, 0);
  return breaker;
};

describe('a model on an endpoint', () => {
  it('is closed to everybody when two tenants fail there, also by what a request might have caused', () => {
    const breaker = make();
    fail(breaker, 'a', 2, 0, 'doubtful');
    expect(breaker.permits(KEY, 'c', 0)).toEqual({ kind: 'pass' });
    fail(breaker, 'b', 1, 0, 'doubtful');
    expect(breaker.stateOf(KEY, 0)).toBe('open');
    expect(breaker.permits(KEY, 'c', 0)).toEqual({ kind: 'refuse', retryMs: 5_000 });
    expect(breaker.permits({ ...KEY, model: 'other' }, 'c', 0)).toEqual({ kind: 'pass' });
    expect(breaker.permits({ ...KEY, endpoint: 'e1' }, 'c', 0)).toEqual({ kind: 'pass' });
  });
  it('is closed to a tenant alone that fails by what no request can cause, and to nobody else', () => {
    const breaker = make();
    fail(breaker, 'a', 3, 0, 'doubtful');
    expect(breaker.permits(KEY, 'a', 0)).toEqual({ kind: 'pass' });
    fail(breaker, 'a', 3, 0);
    expect(breaker.permits(KEY, 'a', 0)).toMatchObject({ kind: 'refuse' });
    expect(breaker.permits(KEY, 'b', 0)).toEqual({ kind: 'pass' });
    expect(breaker.permits(KEY, 'a', 5_000)).toEqual({ kind: 'pass' });
  });
  it('stays open to who succeeded there last, until it fails too', () => {
    const breaker = make();
    breaker.observed(KEY, 'good', 'success', 0);
    fail(breaker, 'a', 2, 1);
    fail(breaker, 'b', 2, 1);
    expect(breaker.stateOf(KEY, 1)).toBe('open');
    expect(breaker.permits(KEY, 'good', 1)).toEqual({ kind: 'pass' });
    breaker.observed(KEY, 'good', 'doubtful', 2);
    expect(breaker.permits(KEY, 'good', 2)).toMatchObject({ kind: 'refuse' });
  });
  it('is tried by one request at a time, and is back after one that succeeds', () => {
    const breaker = opened();
    const permission = breaker.permits(KEY, 'a', 5_000);
    expect(permission).toEqual({ kind: 'probe' });
    expect(breaker.permits(KEY, 'b', 5_000)).toEqual({ kind: 'probe' });
    breaker.began(KEY, 'a', permission, 5_000);
    expect(breaker.permits(KEY, 'b', 5_001)).toMatchObject({ kind: 'refuse' });
    breaker.observed(KEY, 'a', 'success', 5_100);
    expect(breaker.stateOf(KEY, 5_100)).toBe('closed');
    expect(breaker.permits(KEY, 'b', 5_100)).toEqual({ kind: 'pass' });
  });
  it('leaves nothing to ask when it is closed and keeps nobody out', () => {
    const breaker = opened();
    expect([make().permitsEverything(), breaker.permitsEverything()]).toEqual([true, false]);
    breaker.observed(KEY, 'a', 'success', 5_100);
    expect(breaker.permitsEverything()).toBe(true);
    fail(breaker, 'c', 3, 30_000);
    expect(breaker.permitsEverything()).toBe(false);
    breaker.forget('e0');
    expect(breaker.permitsEverything()).toBe(true);
  });
  it('opens again, for twice as long, when the probes of two tenants fail; one alone is only barred', () => {
    const breaker = opened();
    breaker.began(KEY, 'a', { kind: 'probe' }, 5_000);
    breaker.observed(KEY, 'a', 'fault', 5_100);
    expect(breaker.stateOf(KEY, 5_100)).toBe('half-open');
    expect(breaker.permits(KEY, 'a', 5_200)).toMatchObject({ kind: 'refuse' });
    expect(breaker.permits(KEY, 'b', 5_200)).toEqual({ kind: 'probe' });
    breaker.began(KEY, 'b', { kind: 'probe' }, 5_200);
    breaker.observed(KEY, 'b', 'doubtful', 5_300);
    expect(breaker.permits(KEY, 'c', 5_300)).toEqual({ kind: 'refuse', retryMs: 10_000 });
  });
  it('lets others try when a probe says nothing or never ends', () => {
    const breaker = opened();
    breaker.began(KEY, 'a', { kind: 'probe' }, 5_000);
    breaker.observed(KEY, 'a', undefined, 5_100);
    expect(breaker.permits(KEY, 'a', 5_200)).toMatchObject({ kind: 'refuse' });
    expect(breaker.permits(KEY, 'b', 5_200)).toEqual({ kind: 'probe' });
    breaker.began(KEY, 'b', { kind: 'probe' }, 5_200);
    expect(breaker.permits(KEY, 'c', 15_199)).toMatchObject({ kind: 'refuse' });
    expect(breaker.permits(KEY, 'c', 15_200)).toEqual({ kind: 'probe' });
    expect(breaker.permits(KEY, 'b', 15_200)).toMatchObject({ kind: 'refuse' });
  });
  it('is forgotten with its endpoint, and listed while it is not closed', () => {
    const breaker = opened();
    expect(breaker.open(0)).toEqual([{ ...KEY, state: 'open' }]);
    expect(breaker.open(5_000)).toEqual([{ ...KEY, state: 'half-open' }]);
    breaker.forget('e0');
    expect(breaker.open(0)).toEqual([]);
    expect(breaker.permits(KEY, 'c', 0)).toEqual({ kind: 'pass' });
  });
});

describe('whatever tenants send', () => {
  const arbSign = fc.constantFrom<(ModelSign | undefined)[]>('success', 'fault', 'doubtful', undefined);
  const arbStep = fc.record({
    who: fc.nat(4),
    sign: arbSign,
    asks: fc.boolean(),
    afterMs: fc.integer({ min: 0, max: 2_000 }),
  });
  /** A request as its tenant would send it: asked for, begun, ended. */
  const send = (
    breaker: Breaker,
    tenant: string,
    sign: ModelSign | undefined,
    asks: boolean,
    nowMs: number,
  ): void => {
    if (asks) {
      const permission = breaker.permits(KEY, tenant, nowMs);
      if (permission.kind === 'refuse') return;
      breaker.began(KEY, tenant, permission, nowMs);
    }
    breaker.observed(KEY, tenant, sign, nowMs);
  };

  it('one of them alone never keeps another one out', () => {
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 300 }), (steps) => {
        const breaker = make();
        let nowMs = 0;
        for (const { sign, asks, afterMs, who } of steps) {
          nowMs += afterMs;
          send(breaker, 'hostile', sign, asks, nowMs);
          expect(breaker.permits(KEY, 'good', nowMs)).toEqual({ kind: 'pass' });
          // It may come often, or hardly ever.
          if (who === 0) breaker.observed(KEY, 'good', 'success', nowMs);
        }
      }),
      { numRuns: 200 },
    );
  });
  it('all of them together never keep out one that succeeded within the window', () => {
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 300 }), (steps) => {
        const breaker = make();
        let nowMs = 0;
        let succeededMs = 0;
        breaker.observed(KEY, 'good', 'success', nowMs);
        for (const { who, sign, asks, afterMs } of steps) {
          nowMs += afterMs;
          send(breaker, `hostile ${who}`, sign, asks, nowMs);
          if (nowMs - succeededMs >= DEFAULT_BREAKER.windowMs) {
            breaker.observed(KEY, 'good', 'success', nowMs);
            succeededMs = nowMs;
          }
          expect(breaker.permits(KEY, 'good', nowMs)).toEqual({ kind: 'pass' });
        }
      }),
      { numRuns: 200 },
    );
  });
  it('a model that works again is used again: some tenant gets a probe after every waiting time', () => {
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 200 }), (steps) => {
        const breaker = make();
        let nowMs = 0;
        for (const { who, sign, asks, afterMs } of steps) {
          nowMs += afterMs;
          send(breaker, `hostile ${who}`, sign, asks, nowMs);
        }
        nowMs += DEFAULT_BREAKER.maxOpenMs + 2 * DEFAULT_BREAKER.probeTimeoutMs;
        expect(breaker.permits(KEY, 'newcomer', nowMs).kind).not.toBe('refuse');
        send(breaker, 'newcomer', 'success', true, nowMs);
        expect(breaker.stateOf(KEY, nowMs)).toBe('closed');
      }),
      { numRuns: 200 },
    );
  });
  it('memory is bounded', () => {
    const breaker = new Breaker({ ...DEFAULT_BREAKER, maxKeys: 10, maxTenants: 2 });
    for (let i = 0; i < 1_000; i += 1) {
      breaker.observed({ endpoint: `e${i % 7}`, model: `m${i}` }, `t${i % 50}`, 'fault', i);
    }
    expect(breaker.size()).toBe(10);
    breaker.permits({ endpoint: 'asked', model: 'only' }, 't', 0);
    expect(breaker.size()).toBe(10);
  });
});

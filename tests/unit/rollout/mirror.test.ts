import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createMirror, type MirrorLimits, type MirrorPool } from '../../../src/rollout/mirror.ts';

const config: MirrorLimits = {
  fraction: 0.5,
  maxConcurrent: 2,
  perSecond: 10,
  burst: 5,
  maxDurationMs: 60_000,
};
const idle: MirrorPool = { healthy: 1, running: 0, waiting: 0, concurrencyLimit: 8 };
const pool = () => idle;

describe('a request', () => {
  it('is copied when it is drawn', () => {
    const mirror = createMirror(config);
    expect(mirror.decide(0.49, pool, 100, 0)).toEqual({ kind: 'copy' });
    expect(mirror.decide(0.5, pool, 100, 0)).toEqual({ kind: 'skip', reason: 'not-drawn' });
  });
  it.each<[string, Partial<MirrorPool>]>([
    ['unhealthy', { healthy: 0 }],
    ['unknown', { running: undefined }],
    ['unknown', { waiting: undefined }],
    ['behind', { waiting: 1 }],
    ['behind', { running: 8 }],
  ])('is not copied to a pool that is %s', (reason, state) => {
    expect(createMirror(config).decide(0, () => ({ ...idle, ...state }), 100, 0)).toEqual({
      kind: 'skip',
      reason,
    });
  });
  it('that is not drawn costs no look at the pool', () => {
    const look = (): MirrorPool => {
      throw new Error('looked');
    };
    expect(createMirror(config).decide(0.9, look, 100, 0)).toEqual({ kind: 'skip', reason: 'not-drawn' });
  });
  it('is not copied while as many run as may, until they could have ended', () => {
    const mirror = createMirror(config);
    mirror.decide(0, pool, 1_000, 0);
    mirror.decide(0, pool, 1e9, 0);
    expect(mirror.decide(0, pool, 100, 1_999)).toEqual({ kind: 'skip', reason: 'too-many' });
    expect(mirror.decide(0, pool, 1e9, 2_000)).toEqual({ kind: 'copy' });
    expect(mirror.running(60_000)).toBe(1);
    expect(mirror.running(62_000)).toBe(0);
  });
});

it('never more copies than may run or begin, whatever comes', () => {
  const arbStep = fc.record({
    draw: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    expectedMs: fc.integer({ min: 0, max: 100_000 }),
    afterMs: fc.integer({ min: 0, max: 200 }),
  });
  fc.assert(
    fc.property(
      fc.array(arbStep, { maxLength: 300 }),
      fc.integer({ min: 1, max: 50 }),
      (steps, maxConcurrent) => {
        const mirror = createMirror({ ...config, maxConcurrent });
        const begun: number[] = [];
        let nowMs = 0;
        for (const { draw, expectedMs, afterMs } of steps) {
          nowMs += afterMs;
          if (
            mirror.decide(draw, () => ({ ...idle, concurrencyLimit: 100 }), expectedMs, nowMs).kind === 'copy'
          )
            begun.push(nowMs);
          expect(mirror.running(nowMs)).toBeLessThanOrEqual(maxConcurrent);
        }
        for (const [i, from] of begun.entries()) {
          for (const [j, to] of begun.entries()) {
            if (j < i) continue;
            expect(j - i + 1).toBeLessThanOrEqual(
              config.burst + (config.perSecond * (to - from)) / 1_000 + 1e-6,
            );
          }
        }
      },
    ),
    { numRuns: 60 },
  );
});

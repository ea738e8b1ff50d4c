import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { adaptiveLimit } from '../../../src/pool/concurrency-limit/adaptive.ts';
import type { ConcurrencyLimit, Gauges } from '../../../src/pool/concurrency-limit/concurrency-limit.ts';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';

const INTERVAL_MS = 200;

/** An engine of `capacity` sequences with more work than it can do, scraped `scrapes` times. Gives the new time. */
function overload(
  window: ConcurrencyLimit,
  capacity: number,
  scrapes: number,
  fromMs = 0,
  told: (real: Gauges) => Gauges | 'unusable' = (real) => real,
): number {
  let nowMs = fromMs;
  for (let i = 0; i < scrapes; i += 1) {
    nowMs += INTERVAL_MS;
    const inFlight = window.limit(nowMs);
    window.saturated();
    const real = {
      running: Math.min(capacity, inFlight),
      waiting: Math.max(0, inFlight - capacity),
      kvUsage: 0.3 + (i % 7) / 100,
    };
    window.gauges(told(real), inFlight, nowMs);
  }
  return nowMs;
}

describe('an adaptive window', () => {
  it.each([4, 16, 64, 256, 1_000])('finds an engine of %i sequences within twenty seconds', (capacity) => {
    const window = adaptiveLimit({ initial: 8, most: 4_096 });
    const nowMs = overload(window, capacity, 100);
    expect(window.limit(nowMs)).toBe(capacity);
    expect(window.source()).toBe('gauges');
  });

  it('follows an engine that became smaller within seconds, and one that became larger in minutes', () => {
    const window = adaptiveLimit({ initial: 8, most: 4_096 });
    let nowMs = overload(window, 64, 60);
    nowMs = overload(window, 24, 12, nowMs);
    expect(window.limit(nowMs)).toBe(24);
    nowMs = overload(window, 48, 1_200, nowMs);
    expect(window.limit(nowMs)).toBe(48);
  });

  it('does not run away while requests wait and the batch goes up and down', () => {
    // Room for 10 to 22, as the requests are: the engine is full, and no two samples show the same.
    const window = adaptiveLimit({ initial: 8, most: 4_096 });
    let largest = 0;
    for (let i = 1; i < 1_500; i += 1) {
      const inFlight = window.limit(i * INTERVAL_MS);
      const running = Math.min(inFlight, 10 + ((i * 7) % 13));
      window.saturated();
      window.gauges({ running, waiting: inFlight - running }, inFlight, i * INTERVAL_MS);
      largest = Math.max(largest, inFlight);
    }
    expect(largest).toBeLessThanOrEqual(40);
    expect(largest).toBeGreaterThanOrEqual(10);
  });

  it('is never larger than what the engine itself says that it runs, and no guess then', () => {
    const window = adaptiveLimit({ initial: 8, most: 4_096 });
    window.atMost(12);
    let nowMs = overload(window, 64, 100);
    expect([window.limit(nowMs), window.isProbing(), window.isUnconfirmed()]).toEqual([12, false, false]);
    window.atMost(4);
    expect(window.limit(nowMs)).toBe(4);
    window.atMost(undefined);
    nowMs = overload(window, 64, 200, nowMs);
    expect(window.limit(nowMs)).toBe(64);
  });

  it('drops a trial that is larger than what the engine says', () => {
    const window = adaptiveLimit({ initial: 8, most: 4_096 });
    window.saturated();
    window.gauges({ running: 8, waiting: 0 }, 8, INTERVAL_MS);
    expect([window.isProbing(), window.limit(300)]).toEqual([true, 11]);
    window.atMost(9);
    expect([window.isProbing(), window.limit(300)]).toEqual([false, 8]);
  });

  it('stays where it is while nobody wants more', () => {
    const window = adaptiveLimit({ initial: 8, most: 4_096 });
    for (let i = 1; i < 100; i += 1) window.gauges({ running: 3, waiting: 0 }, 3, i * INTERVAL_MS);
    expect(window.limit(20_000)).toBe(8);
    expect(window.isProbing()).toBe(false);
  });

  it('leaves room to others who use the engine past it', () => {
    const window = adaptiveLimit({ initial: 64, most: 4_096 });
    for (let i = 1; i < 10; i += 1) {
      // 64 sequences: 24 are somebody else's, and 24 of our 64 wait.
      window.gauges({ running: 64, waiting: 24, kvUsage: i / 100 }, 64, i * INTERVAL_MS);
    }
    expect(window.limit(2_000)).toBe(40);
  });

  it.each<[string, Gauges | 'unusable']>([
    ['are absent', 'unusable'],
    ['are always 0', { running: 0, waiting: 0, kvUsage: 0 }],
    ['are frozen', { running: 40, waiting: 0, kvUsage: 0.4 }],
    ['know of fewer requests than we have there', { running: 2, waiting: 0, kvUsage: 0.1 }],
  ])('goes by times to first token while the gauges %s, and by the gauges when they return', (_, wrong) => {
    const window = adaptiveLimit({ initial: 64, most: 4_096 });
    let nowMs = 0;
    for (let i = 0; i < 40; i += 1) {
      nowMs += INTERVAL_MS;
      window.gauges(wrong, 60 + (i % 5), nowMs);
    }
    expect(window.source()).toBe('ttft');
    nowMs = overload(window, 64, 3, nowMs);
    expect(window.source()).toBe('gauges');
  });

  it('without gauges shrinks when first tokens come late, and grows again when they are in time', () => {
    const window = adaptiveLimit({ initial: 64, most: 4_096 });
    let nowMs = 0;
    const firstTokens = (count: number, ttftMs: number): void => {
      for (let i = 0; i < count; i += 1) {
        nowMs += 20;
        window.saturated();
        window.firstToken(ttftMs, 100, window.limit(nowMs), nowMs);
      }
    };
    for (let i = 0; i < 50; i += 1) window.interToken(10);
    firstTokens(100, 30);
    const before = window.limit(nowMs);
    firstTokens(60, 400);
    const during = window.limit(nowMs);
    expect(during).toBeLessThan(before);
    firstTokens(2_000, 30);
    expect(window.limit(nowMs)).toBeGreaterThan(during);
  });

  it('keeps to the limits of a lane, and lets go when the lane is idle', () => {
    const window = adaptiveLimit({ initial: 100, most: 4_096 });
    let nowMs = 0;
    for (let i = 0; i < 3_000; i += 1) {
      nowMs += 20;
      window.saturated();
      // The engine is too slow for the limit from 50 sequences on.
      window.slo(window.limit(nowMs) / 50, nowMs);
    }
    expect(window.limit(nowMs)).toBeGreaterThanOrEqual(40);
    expect(window.limit(nowMs)).toBeLessThanOrEqual(52);
    expect(window.limit(nowMs + 11_000)).toBe(100);
  });

  it('is a number after it was told what is none', () => {
    const window = adaptiveLimit({ initial: 8, most: 500 });
    for (let i = 1; i < 60; i += 1) {
      window.gauges({ running: Number.NaN, waiting: 3 }, i % 2 === 0 ? Number.NaN : 8, i * 300);
      window.slo(Number.NaN, i * 300);
      window.saturated();
      expect(window.limit(i * 300)).toBeGreaterThanOrEqual(1);
    }
  });

  it('is not moved by samples that cannot be true', () => {
    const kinds = ['gauges', 'times'] as const;
    const bad = [Number.NaN, -1, -1e9, Number.POSITIVE_INFINITY, 1e300];
    for (const kind of kinds) {
      const [told, other] = [0, 1].map(() => adaptiveLimit({ initial: 32, most: 500 }));
      if (told === undefined || other === undefined) throw new Error('no limit');
      for (let i = 1; i < 200; i += 1) {
        const nowMs = i * 300;
        for (const limit of [told, other]) {
          limit.interToken(20);
          for (let n = 0; n < 6; n += 1) limit.firstToken(150, 500, 30, nowMs);
          if (kind === 'gauges') limit.gauges({ running: 30, waiting: i % 3 === 0 ? 2 : 0 }, 32, nowMs);
          for (let n = 0; n < 25; n += 1) limit.slo(i % 50 < 25 ? 0.5 : 1.5, nowMs);
          limit.saturated();
        }
        for (const value of bad) {
          // Beside a good one: what is unusable for long is another matter.
          if (kind === 'gauges') {
            told.gauges({ running: value, waiting: 0 }, 32, nowMs);
            told.gauges({ running: 30, waiting: value }, 32, nowMs);
            told.gauges({ running: 30, waiting: i % 3 === 0 ? 2 : 0 }, 32, nowMs);
            other.gauges({ running: 30, waiting: i % 3 === 0 ? 2 : 0 }, 32, nowMs);
          }
          told.firstToken(value, 500, 30, nowMs);
          told.firstToken(150, value === 1e300 ? Number.NaN : value, Number.NaN, nowMs);
          told.interToken(value);
          if (value !== 1e300) told.slo(value, nowMs);
        }
        expect(told.limit(nowMs)).toBe(other.limit(nowMs));
      }
      expect(told.source()).toBe(kind === 'gauges' ? 'gauges' : 'ttft');
    }
  });

  it('hardly moves for one sample that is possible and wrong', () => {
    const limitAfter = (late: readonly number[]): number => {
      const limit = adaptiveLimit({ initial: 32, most: 32 });
      limit.interToken(20);
      for (let i = 1; i < 100; i += 1) limit.firstToken(150, 500, 30, i * 60);
      for (const ms of late) limit.firstToken(ms, 500, 30, 6_000);
      limit.interToken(late[0] ?? 20);
      // Requests wait in the engine from now on: two seconds each.
      for (let i = 1; i < 200; i += 1) limit.firstToken(2_000, 500, 30, 6_000 + i * 60);
      return limit.limit(18_000);
    };
    const without = limitAfter([]);
    expect(without).toBeLessThan(16);
    expect(limitAfter([600_000])).toBeLessThan(16);
  });

  it('is between 1 and its most, whatever it is told', () => {
    const number = fc.oneof(fc.nat(5_000), fc.constantFrom(0, 1e9, Number.MAX_SAFE_INTEGER), fc.double());
    const arbStep = fc.oneof(
      fc.record({ kind: fc.constant('gauges' as const), running: number, waiting: number, inFlight: number }),
      fc.record({ kind: fc.constant('unusable' as const) }),
      fc.record({ kind: fc.constant('token' as const), ttft: number, tokens: number }),
      fc.record({ kind: fc.constant('itl' as const), ms: number }),
      fc.record({ kind: fc.constant('slo' as const), ratio: number }),
      fc.record({ kind: fc.constant('pressed' as const) }),
    );
    fc.assert(
      fc.property(
        fc.array(arbStep, { maxLength: 200 }),
        fc.integer({ min: 1, max: 64 }),
        (steps, initial) => {
          const window = adaptiveLimit({ initial, most: 500 });
          let nowMs = 0;
          for (const step of steps) {
            nowMs += 300;
            if (step.kind === 'gauges') window.gauges(step, step.inFlight, nowMs);
            else if (step.kind === 'unusable') window.gauges('unusable', 3, nowMs);
            else if (step.kind === 'token') window.firstToken(step.ttft, step.tokens, 5, nowMs);
            else if (step.kind === 'itl') window.interToken(step.ms);
            else if (step.kind === 'slo') window.slo(step.ratio, nowMs);
            else window.saturated();
            const limit = window.limit(nowMs);
            expect(Number.isInteger(limit) && limit >= 1 && limit <= 500).toBe(true);
          }
        },
      ),
    );
  });
});

it('a fixed window is what it is', () => {
  const window = fixedLimit(7);
  window.gauges({ running: 1, waiting: 100 }, 100, 0);
  window.slo(100, 0);
  expect([window.limit(0), window.source(), window.isProbing()]).toEqual([7, 'fixed', false]);
});

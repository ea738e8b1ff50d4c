import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type EndedRequest, RecentUsage } from '../../../src/telemetry/recent-usage.ts';

const ended = (change: Partial<EndedRequest> = {}): EndedRequest => ({
  outcome: 'completed',
  promptTokens: 10,
  completionTokens: 5,
  ...change,
});
const at = (second: number): number => second * 1_000 + 500;
const rowOf = (usage: RecentUsage, tenant: string, nowMs: number) =>
  [...usage.rows(nowMs)].find((row) => row.tenant === tenant);

describe('rates of the last moments', () => {
  it('are means of the last ten whole seconds', () => {
    const usage = new RecentUsage();
    usage.ended('a', ended(), at(100));
    expect(usage.total(at(100))).toMatchObject({ requestsPerSecond: 0, tokensPerSecond: 0 });
    expect(usage.total(at(101))).toMatchObject({ requestsPerSecond: 0.1, tokensPerSecond: 1.5 });
    expect(usage.total(at(110)).requestsPerSecond).toBe(0.1);
    expect(usage.total(at(111)).requestsPerSecond).toBe(0);
  });

  it('are those of a list of all that ended', () => {
    const event = fc.record({
      gapMs: fc.integer({ min: 0, max: 4_000 }),
      tenant: fc.constantFrom('a', 'b', 'c'),
      refused: fc.boolean(),
      tokens: fc.integer({ min: 0, max: 1_000_000 }),
    });
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 80 }),
        fc.integer({ min: 0, max: 20_000 }),
        (events, laterMs) => {
          const usage = new RecentUsage();
          let nowMs = 5_000;
          const all = events.map(({ gapMs, tenant, refused, tokens }) => {
            nowMs += gapMs;
            const outcome = refused ? 'refused' : 'completed';
            usage.ended(tenant, ended({ outcome, promptTokens: tokens, completionTokens: 0 }), nowMs);
            return { second: Math.floor(nowMs / 1_000), tenant, refused, tokens };
          });
          const end = nowMs + laterMs;
          const now = Math.floor(end / 1_000);
          const counted = all.filter(({ second }) => second < now && second >= now - 10);
          const of = (some: typeof counted) => ({
            requestsPerSecond: some.length / 10,
            refusalsPerSecond: some.filter(({ refused }) => refused).length / 10,
            tokensPerSecond: some.reduce((sum, { tokens }) => sum + tokens, 0) / 10,
          });
          expect(usage.total(end)).toMatchObject(of(counted));
          for (const row of usage.rows(end)) {
            expect(row.rates).toMatchObject(of(counted.filter(({ tenant }) => tenant === row.tenant)));
          }
        },
      ),
    );
  });

  it('are not moved by figures that can be none', () => {
    const usage = new RecentUsage();
    usage.ended('a', ended({ promptTokens: Number.NaN, ttftMs: Number.NaN }), at(1));
    usage.ended('a', ended({ promptTokens: -5, completionTokens: 0, ttftMs: -1 }), at(1));
    expect(usage.total(at(2))).toEqual({
      requestsPerSecond: 0.2,
      refusalsPerSecond: 0,
      tokensPerSecond: 0,
      ttftP50Ms: undefined,
      ttftP99Ms: undefined,
    });
  });
});

describe('times to first token of the last minute', () => {
  it('have percentiles within 10 %', () => {
    const time = fc.integer({ min: 1, max: 900_000 });
    fc.assert(
      fc.property(fc.array(time, { minLength: 1, maxLength: 200 }), (times) => {
        const usage = new RecentUsage();
        for (const ttftMs of times) usage.ended('a', ended({ ttftMs }), at(7));
        const sorted = times.toSorted((a, b) => a - b);
        const { ttftP50Ms = 0, ttftP99Ms = 0 } = usage.total(at(8));
        for (const [shown, part] of [
          [ttftP50Ms, 0.5],
          [ttftP99Ms, 0.99],
        ] as const) {
          const real = sorted[Math.ceil(part * sorted.length) - 1] ?? 0;
          expect(shown / real).toBeGreaterThan(0.9);
          // Of 1 ms the bucket's middle is shown.
          expect(shown / real).toBeLessThan(1.1);
        }
      }),
    );
  });

  it('are forgotten after a minute', () => {
    const usage = new RecentUsage();
    usage.ended('a', ended({ ttftMs: 100 }), at(0));
    expect(usage.total(at(55)).ttftP50Ms).toBeGreaterThan(90);
    expect(usage.total(at(75)).ttftP50Ms).toBeUndefined();
  });
});

describe('tenants that are kept', () => {
  it('are those of the last minute', () => {
    const usage = new RecentUsage();
    for (let i = 0; i < 1_000; i += 1) usage.ended(`tenant-${i}`, ended(), at(0));
    usage.ended('late', ended(), at(61));
    expect(usage.size).toBe(1);
    expect(rowOf(usage, 'late', at(62))).toMatchObject({ lastMs: at(61), rates: { requestsPerSecond: 0.1 } });
  });

  it('are bounded; the sum has the others too', () => {
    const usage = new RecentUsage(3);
    for (let i = 0; i < 10; i += 1) usage.ended(`tenant-${i}`, ended(), at(0));
    expect(usage.size).toBe(3);
    expect(usage.total(at(1)).requestsPerSecond).toBe(1);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Abandoned, abandonedTokens, mostOutput, Paces } from '../../../src/usage/abandoned.ts';

const NOTHING: Abandoned = {
  events: 0,
  contentTokens: 0,
  unseenMs: 0,
  prefillMs: 0,
  seenMs: 0,
  streamedMs: 0,
  msPerToken: 20,
  outputs: 1,
  most: 1_000,
};
const any = fc.record({
  events: fc.nat(5_000),
  contentTokens: fc.nat(20_000),
  unseenMs: fc.nat(600_000),
  prefillMs: fc.nat(60_000),
  seenMs: fc.nat(600_000),
  streamedMs: fc.nat(600_000),
  msPerToken: fc.double({ min: 0, max: 1_000, noNaN: true }),
  outputs: fc.integer({ min: 1, max: 128 }),
  most: fc.nat(100_000),
});

describe('what a request has used whose end was not seen', () => {
  it('is the largest of events, text and time', () => {
    expect(abandonedTokens({ ...NOTHING, events: 30 })).toBe(30);
    expect(abandonedTokens({ ...NOTHING, events: 30, contentTokens: 90 })).toBe(90);
    expect(abandonedTokens({ ...NOTHING, unseenMs: 1_500 })).toBe(75);
    expect(abandonedTokens({ ...NOTHING, unseenMs: 1_500, outputs: 16 })).toBe(1_000);
    expect(abandonedTokens({ ...NOTHING, unseenMs: 1_500, outputs: 16, most: 16_000 })).toBe(1_200);
  });
  it('is nothing while the prompt is read', () => {
    expect(abandonedTokens({ ...NOTHING, unseenMs: 400, prefillMs: 200 })).toBe(0);
    expect(abandonedTokens({ ...NOTHING, unseenMs: 1_400, prefillMs: 200 })).toBe(50);
  });
  it('is about its events where a stream shows all of them, and counts on while nobody reads', () => {
    const shown = { ...NOTHING, events: 101, streamedMs: 3_000, seenMs: 3_000 };
    expect(abandonedTokens(shown)).toBe(101);
    expect(abandonedTokens({ ...shown, seenMs: 6_000 })).toBe(200);
  });
  it('is never fewer than the events, and never more than the request could get', () => {
    fc.assert(
      fc.property(any, (seen) => {
        const tokens = abandonedTokens(seen);
        expect(Number.isInteger(tokens)).toBe(true);
        expect(tokens).toBeGreaterThanOrEqual(seen.events);
        expect(tokens).toBeLessThanOrEqual(Math.max(seen.events, seen.most));
      }),
    );
  });
  it('never falls when more was seen, or more time went by', () => {
    fc.assert(
      fc.property(any, fc.nat(10_000), (seen, more) => {
        const before = abandonedTokens(seen);
        for (const key of ['contentTokens', 'unseenMs', 'seenMs', 'most'] as const) {
          expect(abandonedTokens({ ...seen, [key]: seen[key] + more })).toBeGreaterThanOrEqual(before);
        }
      }),
    );
  });
  it('goes by the cap of all outputs, else by what is usual', () => {
    expect(mostOutput(64, 10, 4)).toBe(64);
    expect(mostOutput(0, 10, 4)).toBe(0);
    expect(mostOutput(undefined, 500, 1)).toBe(4_000);
    expect(mostOutput(undefined, 1, 2)).toBe(2_048);
  });
});

describe('the paces of endpoints', () => {
  it('are learned within some streams', () => {
    const paces = new Paces();
    expect(paces.msPerToken('a')).toBe(25);
    for (let i = 0; i < 60; i += 1) paces.streamed('a', 1_000, 100);
    expect(paces.msPerToken('a')).toBeCloseTo(10, 0);
    expect(paces.msPerToken('b')).toBe(25);
    paces.keep(new Set(['b']));
    expect(paces.msPerToken('a')).toBe(25);
  });
  it('are not made slow by clients that read slowly, while others do not', () => {
    const paces = new Paces();
    for (let i = 0; i < 2_000; i += 1) paces.streamed('a', i % 2 === 0 ? 1_000 : 100_000, 100);
    expect(paces.msPerToken('a')).toBeLessThan(12);
  });
  it('tell how long a prompt takes, also where some streams hide what they think', () => {
    const paces = new Paces();
    expect(paces.prefillMs('a', 1_000)).toBe(250);
    for (let i = 0; i < 2_000; i += 1) paces.firstToken('a', i % 2 === 0 ? 100 : 30_000, 1_000);
    expect(paces.prefillMs('a', 1_000)).toBeLessThan(120);
    expect(paces.prefillMs('a', 1)).toBeLessThan(10);
  });
  it('stay possible, whatever is said', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.double(), fc.double()), { maxLength: 50 }), (samples) => {
        const paces = new Paces();
        for (const [ms, tokens] of samples) paces.streamed('a', ms, tokens);
        expect(paces.msPerToken('a')).toBeGreaterThanOrEqual(2);
        expect(paces.msPerToken('a')).toBeLessThanOrEqual(200);
        for (const [ms, tokens] of samples) paces.firstToken('a', ms, tokens);
        expect(paces.prefillMs('a', 1_000)).toBeGreaterThanOrEqual(10);
        expect(paces.prefillMs('a', 1_000)).toBeLessThanOrEqual(2_000);
      }),
    );
  });
});

import { describe, expect, it } from 'vitest';
import { Prefills } from '../../../src/pool/prefills.ts';

describe('the prompts that an endpoint computes', () => {
  it('end with their first token, or after the time that they are expected to take', () => {
    const prefills = new Prefills();
    const seen = prefills.begin(1_000, true, true, 0);
    prefills.begin(1_000, false, false, 0);
    expect([prefills.tokens, prefills.belowFairShare]).toEqual([2_000, 1]);
    prefills.end(seen);
    prefills.end(seen);
    expect([prefills.tokens, prefills.belowFairShare]).toEqual([1_000, 0]);
    // 2,000 tokens at 0.2 ms, and 100 ms.
    prefills.expire(499);
    expect(prefills.tokens).toBe(1_000);
    prefills.expire(500);
    expect(prefills.tokens).toBe(0);
  });

  it('expire each in its time, in whatever order they began', () => {
    const prefills = new Prefills();
    prefills.begin(10_000, false, true, 0);
    prefills.begin(10, false, false, 0);
    prefills.expire(3_000);
    expect(prefills.tokens).toBe(10_000);
    prefills.expire(60_000);
    expect(prefills.tokens).toBe(0);
  });

  it('are expected to take what first tokens have shown', () => {
    const prefills = new Prefills();
    for (let i = 0; i < 100; i += 1) prefills.learn(500, 1_000);
    expect(prefills.msPerToken).toBeCloseTo(0.5, 3);
    for (let i = 0; i < 100; i += 1) prefills.learn(100, 1_000);
    expect(prefills.msPerToken).toBeCloseTo(0.1, 3);
  });

  it('are not expected to take twice as long because of one first token, however late', () => {
    const prefills = new Prefills();
    const before = prefills.msPerToken;
    prefills.learn(600_000, 100);
    expect(prefills.msPerToken).toBeLessThanOrEqual(2 * before + 1e-9);
    for (let i = 0; i < 10; i += 1) prefills.learn(20, 100);
    expect(prefills.msPerToken).toBeLessThan(1.4 * before);
  });

  it('never take longer than a slow CPU needs, and no time that is none counts', () => {
    const prefills = new Prefills();
    for (let i = 0; i < 1_000; i += 1) prefills.learn(1e12, 64);
    expect(prefills.msPerToken).toBe(50);
    for (const ms of [Number.NaN, -5, Number.NEGATIVE_INFINITY]) prefills.learn(ms, 64);
    expect(prefills.msPerToken).toBe(50);
  });
});

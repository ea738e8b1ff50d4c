import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createEngine } from '../../../src/simulator/engine.ts';
import { parseProfile } from '../../../src/simulator/profile.ts';
import type { Engine } from '../../../src/simulator/step.ts';

const profile = (overrides: Record<string, number | string> = {}) =>
  parseProfile('test', { maxSequences: 4, kvBlocks: 20, tokensPerStep: 64, ...overrides });
const request = (
  id: string,
  promptTokens: number,
  outputTokens: number,
  prefixHashes: readonly string[] = [],
) => ({
  id,
  promptTokens,
  outputTokens,
  prefixHashes,
});
/** Runs until nothing is left; gives the ids in order of their first and of their last token. */
function drain(engine: Engine): {
  first: string[];
  last: string[];
  tokens: Map<string, number>;
  steps: number;
} {
  const first: string[] = [];
  const last: string[] = [];
  const tokens = new Map<string, number>();
  let steps = 0;
  while (engine.planStep() !== undefined) {
    steps += 1;
    if (steps > 100_000) throw new Error('does not end');
    for (const event of engine.finishStep()) {
      if (event.index === 0) first.push(event.id);
      if (event.last) last.push(event.id);
      tokens.set(event.id, (tokens.get(event.id) ?? 0) + 1);
    }
  }
  return { first, last, tokens, steps };
}

describe('the simulated engine', () => {
  it('finishes every request with its tokens, gives back every block, and keeps to its limits at every step', () => {
    const arbRequest = fc.record({
      promptTokens: fc.integer({ min: 1, max: 200 }),
      outputTokens: fc.integer({ min: 1, max: 60 }),
      prefix: fc.nat(3),
      abortAfter: fc.option(fc.nat(30), { nil: undefined }),
    });
    fc.assert(
      fc.property(
        fc.array(arbRequest, { minLength: 1, maxLength: 12 }),
        fc.boolean(),
        (requests, priority) => {
          const engine = createEngine(profile(priority ? { scheduling: 'priority' } : {}));
          const tokens = new Map<string, number>();
          requests.forEach(({ promptTokens, outputTokens, prefix }, i) => {
            const hashes = Array.from(
              { length: Math.floor(promptTokens / 16) },
              (_, block) => `${prefix}-${block}`,
            );
            engine.add({ ...request(`r${i}`, promptTokens, outputTokens, hashes), priority: i % 3 });
          });
          for (let step = 0; ; step += 1) {
            const plan = engine.planStep();
            if (plan === undefined) break;
            if (step > 20_000) throw new Error('does not end');
            expect(plan.prefillTokens + plan.decodeSequences).toBeLessThanOrEqual(64);
            const { running, kvUsage } = engine.gauges();
            expect(running).toBeLessThanOrEqual(4);
            expect(kvUsage).toBeGreaterThanOrEqual(0);
            expect(kvUsage).toBeLessThanOrEqual(1);
            for (const event of engine.finishStep()) {
              expect(event.index).toBe(tokens.get(event.id) ?? 0);
              tokens.set(event.id, event.index + 1);
            }
            requests.forEach(({ abortAfter }, i) => {
              if (abortAfter === step) engine.abort(`r${i}`);
            });
          }
          requests.forEach(({ outputTokens, abortAfter }, i) => {
            if (abortAfter === undefined) expect(tokens.get(`r${i}`)).toBe(outputTokens);
          });
          expect(engine.gauges()).toMatchObject({ running: 0, waiting: 0, kvUsage: 0 });
        },
      ),
      { numRuns: 150 },
    );
  });

  it('admits in the order of arrival, or by priority', () => {
    const fcfs = createEngine(profile({ maxSequences: 1 }));
    const byPriority = createEngine(profile({ maxSequences: 1, scheduling: 'priority' }));
    for (const engine of [fcfs, byPriority]) {
      ['a', 'b', 'c'].forEach((id, i) => engine.add({ ...request(id, 10, 2), priority: -i }));
    }
    expect(drain(fcfs).first).toEqual(['a', 'b', 'c']);
    expect(drain(byPriority).first).toEqual(['c', 'b', 'a']);
  });

  it('splits a long prompt over steps, and decodes others meanwhile', () => {
    const engine = createEngine(profile());
    engine.add(request('short', 4, 20));
    engine.planStep();
    engine.finishStep();
    engine.add(request('long', 200, 1));
    const { tokens, steps } = drain(engine);
    expect(tokens.get('long')).toBe(1);
    expect(steps).toBeGreaterThanOrEqual(4);
    expect(tokens.get('short')).toBe(19);
  });

  it('finds the blocks of an answer again, where their hashes are told', () => {
    const engine = createEngine(profile());
    const hashes = ['a', 'b', 'c', 'd'];
    engine.add(request('first', 32, 40, hashes));
    expect(engine.cachedTokens(hashes)).toBe(0);
    drain(engine);
    // The last token of the answer was never put in: 71 tokens are 4 blocks.
    expect(engine.cachedTokens(hashes)).toBe(64);
    engine.add(request('next', 80, 1, hashes));
    engine.planStep();
    expect(engine.finishStep()[0]?.cachedTokens).toBe(64);
  });

  it('tells what is cached without using it', () => {
    const engine = createEngine(profile({ kvBlocks: 4 }));
    for (const id of ['old', 'new']) {
      engine.add(request(id, 32, 1, [`${id}-0`, `${id}-1`]));
      drain(engine);
    }
    const gauges = engine.gauges();
    expect(engine.cachedTokens(['old-0', 'old-1'])).toBe(32);
    expect(engine.cachedTokens(['old-0', 'else', 'old-1'])).toBe(16);
    expect(engine.gauges()).toEqual(gauges);
    engine.add(request('third', 16, 1, ['third-0']));
    drain(engine);
    expect(engine.cachedTokens(['old-0', 'old-1'])).toBe(16);
    expect(engine.cachedTokens(['new-0', 'new-1'])).toBe(32);
  });

  it('finds a prompt prefix that another request has computed, but not under another chain', () => {
    const engine = createEngine(profile());
    engine.add(request('one', 40, 1, ['a', 'ab']));
    drain(engine);
    engine.add(request('two', 40, 1, ['a', 'ab']));
    engine.add(request('three', 40, 1, ['x', 'xy']));
    drain(engine);
    expect(engine.gauges().prefixHits).toBe(32);
    expect(engine.gauges().prefixQueries).toBe(120);
  });

  it('preempts when blocks run out, and still finishes everybody', () => {
    const engine = createEngine(profile({ kvBlocks: 8 }));
    for (const id of ['a', 'b', 'c']) engine.add(request(id, 30, 60));
    const { tokens } = drain(engine);
    expect([...tokens.values()]).toEqual([60, 60, 60]);
    expect(engine.gauges().preemptions).toBeGreaterThan(0);
  });

  it('takes longer for more work in a step', () => {
    const engine = createEngine(profile({ stepBaseMs: 10, msPerPrefillToken: 0.5, msPerDecodeSequence: 1 }));
    engine.add(request('a', 20, 2));
    expect(engine.planStep()?.durationMs).toBe(10 + 20 * 0.5);
    engine.finishStep();
    expect(engine.planStep()?.durationMs).toBe(10 + 1);
  });
});

describe('a profile', () => {
  it.each([
    ['nothing', {}, /unknown profile/],
    ['test', { stepBaseMs: 0 }, /stepBaseMs/],
    ['test', { maxSequences: 'many' }, /maxSequences/],
    ['test', { speed: 3 }, /speed/],
  ])('%s with %j is refused with a reason', (name, overrides, reason) => {
    expect(() => parseProfile(name, overrides)).toThrow(reason);
  });
});

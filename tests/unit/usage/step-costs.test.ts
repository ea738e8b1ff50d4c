/** What an engine's steps cost, from windows of its streams. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StepCosts } from '../../../src/usage/step-costs.ts';

const BASE_MS = 17;
const SEQUENCE_MS = 0.07;
const TOKEN_MS = 0.175;

/** Windows of 32 steps, of an engine that these figures are true of. */
function learned(windows: number, sequencesOf: (i: number) => number, factor = 1): StepCosts {
  const costs = new StepCosts();
  for (let i = 0; i < windows; i += 1) {
    const steps = 32;
    const sequences = sequencesOf(i);
    const promptTokens = (i % 4) * 300;
    const ms = factor * (steps * (BASE_MS + SEQUENCE_MS * sequences) + TOKEN_MS * promptTokens);
    costs.learn({ ms, steps, sequences, promptTokens });
  }
  return costs;
}

describe('what steps cost', () => {
  it('is found though prompts of others are in them', () => {
    const costs = learned(400, (i) => 1 + ((i * 7) % 60));
    expect(costs.msPerPromptToken / TOKEN_MS).toBeCloseTo(1, 1);
    for (const sequences of [1, 20, 60]) {
      expect(costs.stepMs(sequences) / (BASE_MS + SEQUENCE_MS * sequences)).toBeCloseTo(1, 1);
    }
  });

  it('is found for the sequences that there are, where their number never changes', () => {
    const costs = learned(400, () => 16);
    expect(costs.stepMs(16) / (BASE_MS + SEQUENCE_MS * 16)).toBeCloseTo(1, 1);
    expect(costs.msPerPromptToken / TOKEN_MS).toBeCloseTo(1, 1);
  });

  it('follows an engine that is another one, a hundred times as slow, or ten times as fast', () => {
    for (const factor of [100, 0.1]) {
      const costs = learned(1_500, (i) => 1 + (i % 30), factor);
      expect(costs.stepMs(10) / (factor * (BASE_MS + SEQUENCE_MS * 10))).toBeCloseTo(1, 1);
    }
  });

  it('is moved little by a client that reads slowly', () => {
    const costs = learned(400, (i) => 1 + (i % 30));
    const before = costs.stepMs(10);
    costs.learn({ ms: 3_600_000, steps: 32, sequences: 10, promptTokens: 0 });
    expect(costs.stepMs(10) / before).toBeLessThan(1.1);
  });

  it('is over zero and a number, whatever is learned', () => {
    const arb = fc.oneof(
      fc.double({ min: 0, max: 1e9, noNaN: true }),
      fc.constantFrom(0, -1, 1e-300, 1e300, Number.NaN, Number.POSITIVE_INFINITY),
    );
    const arbWindow = fc.record({ ms: arb, steps: arb, sequences: arb, promptTokens: arb });
    fc.assert(
      fc.property(fc.array(arbWindow, { maxLength: 50 }), (windows) => {
        const costs = new StepCosts();
        for (const window of windows) costs.learn(window);
        for (const ms of [costs.msPerPromptToken, costs.stepMs(1), costs.stepMs(1_000)]) {
          expect(ms).toBeGreaterThan(0);
          expect(Number.isFinite(ms)).toBe(true);
        }
      }),
    );
  });
});

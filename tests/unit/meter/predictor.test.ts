import { describe, expect, it } from 'vitest';
import { createPredictor } from '../../../src/meter/predictor.ts';

describe('the predictor', () => {
  it('learns bytes per token of a model from the engine', () => {
    const predictor = createPredictor();
    expect(predictor.promptTokens('m', 400)).toBe(100);
    for (let i = 0; i < 200; i += 1) {
      predictor.learn('a', 'm', { promptBytes: 1_000, promptTokens: 500, cachedTokens: 0, outputTokens: 10 });
    }
    expect(predictor.promptTokens('m', 400)).toBe(200);
    expect(predictor.promptTokens('other', 400)).toBe(100);
  });
  it('learns what a tenant usually takes, and never predicts more than the request allows', () => {
    const predictor = createPredictor();
    for (let i = 0; i < 200; i += 1) {
      predictor.learn('a', 'm', { promptBytes: 10, promptTokens: 3, cachedTokens: 0, outputTokens: 40 });
    }
    expect(predictor.outputTokens('a', 'm', undefined)).toBe(40);
    expect(predictor.outputTokens('a', 'm', 4_096)).toBe(40);
    expect(predictor.outputTokens('a', 'm', 8)).toBe(8);
    expect(predictor.outputTokens('b', 'm', undefined)).toBe(256);
  });
  it('does not let one odd answer make prompts free or priceless', () => {
    const predictor = createPredictor();
    predictor.learn('a', 'm', { promptBytes: 1, promptTokens: 1_000_000, cachedTokens: 0, outputTokens: 0 });
    expect(predictor.promptTokens('m', 100)).toBe(200);
    predictor.learn('a', 'n', { promptBytes: 1e9, promptTokens: 1, cachedTokens: 0, outputTokens: 0 });
    expect(predictor.promptTokens('n', 160)).toBe(10);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createPredictor,
  createSharedPredictor,
  DECAY,
  type LearnedChange,
  type SharedPredictor,
} from '../../../src/meter/predictor.ts';

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

describe('a predictor that others share', () => {
  const usage = (outputTokens: number) => ({
    promptBytes: 300,
    promptTokens: 100,
    cachedTokens: 20,
    outputTokens,
  });
  /** What all know, by row. */
  const tell = (
    predictor: SharedPredictor,
    known: Map<string, readonly number[]>,
    changes: readonly LearnedChange[] = predictor.takeChanges(1_000),
  ): void => {
    for (const change of changes) {
      const before = known.get(change.key) ?? change.sums.map(() => 0);
      const sums = before.map((sum, i) => sum * DECAY ** change.samples + (change.sums[i] ?? 0));
      known.set(change.key, sums);
      predictor.merge(change, sums);
    }
  };

  it('predicts as it would alone, when nobody else learns', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ tokens: fc.nat(500), tell: fc.boolean(), isLost: fc.boolean() }), {
          maxLength: 80,
        }),
        (steps) => {
          const alone = createPredictor();
          const shared = createSharedPredictor();
          const known = new Map<string, readonly number[]>();
          for (const { tokens, tell: tells, isLost } of steps) {
            alone.learn('a', 'm', usage(tokens));
            shared.learn('a', 'm', usage(tokens));
            if (tells && isLost) for (const change of shared.takeChanges(10)) shared.restore(change);
            else if (tells) tell(shared, known);
          }
          // Sums of floats in another order, and rounded after that.
          const differences = [
            shared.outputTokens('a', 'm', undefined) - alone.outputTokens('a', 'm', undefined),
            shared.promptTokens('m', 900) - alone.promptTokens('m', 900),
            shared.cachedTokens('a', 'm', 50) - alone.cachedTokens('a', 'm', 50),
          ];
          for (const difference of differences) expect(Math.abs(difference)).toBeLessThanOrEqual(1);
        },
      ),
    );
  });

  it('asks for a row at its first use, and predicts like an old one when it is answered', () => {
    const known = new Map<string, readonly number[]>();
    const old = createSharedPredictor();
    for (let i = 0; i < 300; i += 1) old.learn('a', 'm', usage(40));
    tell(old, known);
    const started = createSharedPredictor();
    expect(started.outputTokens('a', 'm', undefined)).toBe(256);
    expect(started.promptTokens('m', 300)).toBe(75);
    expect(started.takeChanges(1)).toMatchObject([{ key: 'u:a\nm', samples: 0 }]);
    started.restore({ key: 'u:a\nm', samples: 0, sums: [0, 0, 0, 0] });
    // What is learned meanwhile counts too.
    started.learn('a', 'm', usage(60));
    tell(started, known);
    expect(started.outputTokens('a', 'm', undefined)).toBe(40);
    expect(started.promptTokens('m', 300) / 100).toBeCloseTo(1, 1);
    expect(started.changes()).toBe(0);
  });

  it('knows what two have learned, each sample once', () => {
    const known = new Map<string, readonly number[]>();
    const [one, other] = [createSharedPredictor(), createSharedPredictor()];
    for (let i = 0; i < 100; i += 1) {
      one.learn('a', 'm', usage(100));
      other.learn('a', 'm', usage(200));
      tell(one, known);
      tell(other, known);
    }
    for (const predictor of [one, other]) {
      const usual = predictor.outputTokens('a', 'm', undefined);
      expect(usual).toBeGreaterThan(145);
      expect(usual).toBeLessThan(155);
    }
    expect(known.get('u:a\nm')?.[3]).toBeLessThanOrEqual(1 / (1 - DECAY));
  });

  it('learns while a change is told, and ignores answers that no requests can have', () => {
    const predictor = createSharedPredictor();
    predictor.learn('a', 'm', usage(40));
    const changes = predictor.takeChanges(10);
    predictor.learn('a', 'm', usage(40));
    for (const sums of [
      [Number.NaN, 1, 1, 1],
      [Number.POSITIVE_INFINITY, 1, 1, 1],
      [-5, 1, 1, 1],
      [1e300, 1, 1, 1],
      [40, 1, 1, 1e6],
      [40],
      [],
    ]) {
      for (const change of changes) predictor.merge(change, sums);
    }
    predictor.merge({ key: 'u:nobody\nm', samples: 1, sums: [] }, [1, 1, 1, 1]);
    expect(predictor.outputTokens('a', 'm', undefined)).toBe(40);
    expect(predictor.takeChanges(10).map(({ samples }) => samples)).toEqual([1, 1]);
  });

  it('gives out no more rows than are asked for, in turn, and keeps one change for each', () => {
    const predictor = createSharedPredictor();
    for (let round = 0; round < 50; round += 1) {
      for (let i = 0; i < 20; i += 1) predictor.learn(`tenant-${i}`, 'm', usage(10));
      for (const change of predictor.takeChanges(5)) predictor.restore(change);
    }
    expect(predictor.changes()).toBe(21);
    const keys = [1, 2, 3].flatMap(() => predictor.takeChanges(7).map(({ key }) => key));
    expect(new Set(keys).size).toBe(21);
    expect(predictor.takeChanges(7)).toEqual([]);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { believe, type UsageFacts } from '../../../src/usage/believed-usage.ts';
import { MAX_INFLUENCE } from '../../../src/usage/bytes-per-token.ts';
import {
  createPredictor,
  createSharedPredictor,
  DECAY,
  type LearnedChange,
  type Predictor,
  type SharedPredictor,
} from '../../../src/usage/predictor.ts';

describe('the predictor', () => {
  it('learns bytes per token of a model from the engine', () => {
    const predictor = createPredictor();
    expect(predictor.promptTokens('a', 'm', 400)).toBe(100);
    for (let i = 0; i < 200; i += 1) {
      predictor.learn('a', 'm', { promptBytes: 1_000, promptTokens: 500, cachedTokens: 0, outputTokens: 10 });
    }
    expect(predictor.promptTokens('a', 'm', 400)).toBe(200);
    expect(predictor.promptTokens('a', 'other', 400)).toBe(100);
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
    // It cannot be.
    expect(predictor.promptTokens('a', 'm', 100)).toBe(25);
    predictor.learn('a', 'n', { promptBytes: 1e9, promptTokens: 1, cachedTokens: 0, outputTokens: 0 });
    expect(predictor.promptTokens('a', 'n', 160)).toBeGreaterThanOrEqual(10);
    predictor.learn('a', 'o', { promptBytes: 100, promptTokens: 2_000, cachedTokens: 0, outputTokens: 0 });
    expect(predictor.promptTokens('a', 'o', 100)).toBeLessThanOrEqual(100);
  });
});

const honest = (promptBytes: number, bytesPerToken: number) => ({
  promptBytes,
  promptTokens: Math.max(1, Math.round(promptBytes / bytesPerToken)),
  cachedTokens: 0,
  outputTokens: 40,
});
/** Whatever an engine may say of whatever a tenant may send. */
const anything = fc.record({
  promptBytes: fc.oneof(fc.nat(50), fc.nat(1_000_000), fc.nat(1e9)),
  promptTokens: fc.oneof(fc.nat(50), fc.nat(1_000_000), fc.nat(2 ** 31 - 1)),
  cachedTokens: fc.nat(2 ** 31 - 1),
  outputTokens: fc.nat(2 ** 31 - 1),
  contentBytes: fc.nat(1_000_000),
  hasMedia: fc.boolean(),
});

describe('what one tenant can do to the predictions', () => {
  const others = fc.array(fc.double({ min: 0.6, max: 12, noNaN: true }), { maxLength: 12 });
  const sizes = fc.array(fc.integer({ min: 1, max: 200_000 }), { maxLength: 20 });

  it('of another: MAX_INFLUENCE at most, whatever was learned before, between and after', () => {
    fc.assert(
      fc.property(
        others,
        fc.array(anything, { minLength: 1, maxLength: 30 }),
        sizes,
        fc.boolean(),
        (ratios, odd, own, isFirst) => {
          const make = createPredictor;
          const [with_, without] = [make(), make()];
          const attack = () => {
            for (const sample of odd) with_.learn('odd', 'm', sample);
          };
          if (isFirst) attack();
          for (const predictor of [with_, without]) {
            ratios.forEach((ratio, i) => {
              for (let k = 0; k < 3; k += 1) predictor.learn(`other-${i}`, 'm', honest(4_096, ratio));
            });
          }
          if (!isFirst) attack();
          for (const [i, bytes] of own.entries()) {
            for (const predictor of [with_, without]) predictor.learn('a', 'm', honest(bytes, 3));
            if (i % 3 === 0) attack();
          }
          for (const ask of ['promptTokens', 'contentTokens'] as const) {
            const [one, other] = [with_[ask]('a', 'm', 1e6), without[ask]('a', 'm', 1e6)];
            expect(Math.max(one, other) - 1).toBeLessThanOrEqual(Math.min(one, other) * MAX_INFLUENCE);
          }
          expect(with_.outputTokens('a', 'm', undefined)).toBe(without.outputTokens('a', 'm', undefined));
          expect(with_.cachedTokens('a', 'm', 100)).toBe(without.cachedTokens('a', 'm', 100));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('of its own: within what tokenizers do', () => {
    fc.assert(
      fc.property(fc.array(anything, { maxLength: 60 }), (odd) => {
        const predictor = createPredictor();
        for (const sample of odd) predictor.learn('a', 'm', sample);
        const tokens = predictor.promptTokens('a', 'm', 16_000);
        expect(tokens).toBeGreaterThanOrEqual(1_000);
        expect(tokens).toBeLessThanOrEqual(32_000);
        expect(predictor.outputTokens('a', 'm', undefined)).toBeLessThanOrEqual(1e7);
      }),
    );
  });

  it('many small odd prompts do not win over few of size, and one huge one does not either', () => {
    const predictor = createPredictor();
    for (let i = 0; i < 10; i += 1) predictor.learn('a', 'm', honest(100_000, 4));
    for (let i = 0; i < 500; i += 1) predictor.learn('a', 'm', honest(16, 1));
    expect(predictor.promptTokens('a', 'm', 4_000)).toBeLessThan(1_500);
    const other = createPredictor();
    for (let i = 0; i < 10; i += 1) other.learn('a', 'm', honest(4_096, 4));
    other.learn('a', 'm', honest(100_000_000, 1));
    expect(other.promptTokens('a', 'm', 4_000)).toBeLessThan(1_200);
  });

  it('honest ones converge within a few requests, whoever they are', () => {
    for (const ratio of [1.2, 2.5, 3, 4.5, 6]) {
      const predictor = createPredictor();
      for (let i = 0; i < 100; i += 1) predictor.learn('odd', 'm', honest(8_192, 16));
      for (let i = 0; i < 4; i += 1) predictor.learn('a', 'm', honest(2_000, ratio));
      expect(predictor.promptTokens('a', 'm', 10_000) / (10_000 / ratio)).toBeCloseTo(1, 1);
    }
  });

  it('a new tenant begins where many others are', () => {
    const predictor = createPredictor();
    for (let i = 0; i < 12; i += 1) {
      for (let k = 0; k < 3; k += 1) predictor.learn(`tenant-${i}`, 'm', honest(4_096, 2.5));
    }
    expect(predictor.promptTokens('new', 'm', 2_500) / 1_000).toBeCloseTo(1, 1);
    expect(predictor.promptTokens('new', 'other', 2_500)).toBe(625);
  });

  it('prompts with media teach no ratio, and reports that cannot be teach nothing', () => {
    const predictor = createPredictor();
    const seen = { promptBytes: 4_000, promptTokens: 2_000, cachedTokens: 0, outputTokens: 50 };
    predictor.learn('a', 'm', { ...seen, hasMedia: true });
    expect(predictor.promptTokens('a', 'm', 400)).toBe(100);
    expect(predictor.outputTokens('a', 'm', undefined)).toBe(50);
    predictor.learn('b', 'm', { ...seen, promptTokens: 1_000_000 });
    predictor.learn('b', 'm', { ...seen, outputTokens: 500, outputCap: 100 });
    expect(predictor.promptTokens('b', 'm', 400)).toBe(100);
    expect(predictor.outputTokens('b', 'm', undefined)).toBe(256);
  });

  it('what a replica says is bounded as what an engine says', () => {
    fc.assert(
      fc.property(fc.array(fc.array(fc.double(), { maxLength: 5 }), { maxLength: 10 }), (answers) => {
        const predictor = createSharedPredictor();
        predictor.promptTokens('odd', 'm', 1);
        for (const sums of answers) predictor.merge({ key: 'p:odd\nm', samples: 0, sums: [0, 0] }, sums);
        expect(predictor.promptTokens('a', 'm', 400)).toBeLessThanOrEqual(100 * MAX_INFLUENCE);
        expect(predictor.promptTokens('a', 'm', 400)).toBeGreaterThanOrEqual(100 / MAX_INFLUENCE);
        const own = predictor.promptTokens('odd', 'm', 16_000);
        expect(own).toBeGreaterThanOrEqual(1_000);
        expect(own).toBeLessThanOrEqual(32_000);
      }),
    );
  });

  it('what a replica says of usual outputs is bounded, however little it weighs', () => {
    const said = [
      fc.double(),
      fc.double({ min: 0, max: 1e9, noNaN: true }),
      fc.double({ min: 0, max: 1e-9 }),
    ];
    const sums = fc.array(fc.oneof(...said), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(fc.array(sums, { maxLength: 10 }), (answers) => {
        const predictor = createSharedPredictor();
        predictor.outputTokens('odd', 'm', undefined);
        for (const one of answers) predictor.merge({ key: 'u:odd\nm', samples: 0, sums: [0, 0, 0, 0] }, one);
        const usual = predictor.outputTokens('odd', 'm', undefined);
        expect(usual).toBeGreaterThanOrEqual(0);
        expect(usual).toBeLessThanOrEqual(1e7 + 1);
        const cached = predictor.cachedTokens('odd', 'm', 1_000);
        expect(cached).toBeGreaterThanOrEqual(0);
        expect(cached).toBeLessThanOrEqual(1_000);
        expect(predictor.outputTokens('a', 'm', undefined)).toBe(256);
      }),
      { numRuns: 500 },
    );
    const predictor = createSharedPredictor();
    predictor.outputTokens('odd', 'm', undefined);
    predictor.merge({ key: 'u:odd\nm', samples: 0, sums: [0, 0, 0, 0] }, [1e8, 1, 1, 1e-300]);
    expect(predictor.outputTokens('odd', 'm', undefined)).toBe(256);
  });

  it('keeps a bounded number of rows', () => {
    const predictor = createSharedPredictor();
    for (let i = 0; i < 120_000; i += 1) predictor.promptTokens(`tenant-${i}`, 'm', 100);
    expect(predictor.changes()).toBe(100_000);
  });
});

/** What a hostile engine may report to a request of a hostile tenant. */
const hostile = fc.record({
  bodyBytes: fc.oneof(fc.integer({ min: 40, max: 200 }), fc.integer({ min: 40, max: 1_000_000 })),
  part: fc.double({ min: 0, max: 1, noNaN: true }),
  cap: fc.option(fc.nat(8_192), { nil: undefined }),
  events: fc.nat(2_000),
  contentBytes: fc.nat(100_000),
  promptTokens: fc.oneof(fc.nat(10), fc.nat(3_000), fc.nat(2 ** 31 - 1)),
  completionTokens: fc.oneof(fc.nat(10), fc.nat(3_000), fc.nat(2 ** 31 - 1)),
  cachedTokens: fc.oneof(fc.nat(10), fc.nat(2 ** 31 - 1)),
});
type Hostile = typeof hostile extends fc.Arbitrary<infer T> ? T : never;

/** Learns as a request does: nothing of what is not believed. */
function learn(predictor: Predictor, tenant: string, one: Hostile): void {
  const { bodyBytes, part, cap, events, contentBytes, ...reported } = one;
  const promptBytes = Math.floor(part * bodyBytes);
  const facts: UsageFacts = {
    route: 'chat.completions',
    bodyBytes,
    promptBytes,
    hasMedia: false,
    storedTokens: 0,
    outputs: 1,
    outputLimit: cap,
    contextTokens: undefined,
  };
  const seen = { events, streamed: true, isFinal: true };
  const estimate = {
    promptTokens: predictor.promptTokens(tenant, 'm', promptBytes),
    completionTokens: events,
  };
  const { usage, odd } = believe(reported, false, facts, seen, estimate);
  if (odd.length > 0) return;
  const { promptTokens, cachedTokens, completionTokens } = usage;
  const outputCap = cap === undefined ? {} : { outputCap: cap };
  predictor.learn(tenant, 'm', {
    promptBytes,
    promptTokens,
    cachedTokens,
    outputTokens: completionTokens,
    contentBytes,
    ...outputCap,
  });
}

/** Goes by what would do most harm next: the same extreme again and again. */
const relentless = fc
  .tuple(hostile, fc.integer({ min: 1, max: 200 }))
  .map(([one, times]) => Array.from({ length: times }, () => one));

describe('a hostile tenant with a hostile engine', () => {
  it('moves what is predicted for others by MAX_INFLUENCE at most, through Redis too', () => {
    const ratios = fc.array(fc.double({ min: 0.6, max: 12, noNaN: true }), { maxLength: 8 });
    const injected = fc.array(
      fc.tuple(fc.constantFrom('p', 'o', 'u'), fc.array(fc.double(), { maxLength: 4 })),
      { maxLength: 6 },
    );
    const attacks = fc.oneof(fc.array(hostile, { maxLength: 40 }), relentless);
    fc.assert(
      fc.property(ratios, attacks, injected, fc.boolean(), (others, attack, odd, isFirst) => {
        const worlds = [true, false].map((isAttacked) => {
          const known = new Map<string, readonly number[]>();
          const replicas = [createSharedPredictor(), createSharedPredictor()] as const;
          const round = () => {
            for (const replica of [...replicas, ...replicas]) tell(replica, known);
          };
          const strike = () => {
            for (const one of attack) learn(replicas[0], 'odd', one);
            // Whoever can write to Redis says anything of the hostile tenant's rows.
            for (const [kind, sums] of odd) known.set(`${kind}:odd\nm`, sums);
          };
          if (isAttacked && isFirst) strike();
          others.forEach((ratio, i) => {
            for (let k = 0; k < 3; k += 1)
              replicas[i % 2 === 0 ? 0 : 1].learn(`other-${i}`, 'm', honest(4_096, ratio));
          });
          for (const replica of replicas) replica.promptTokens('odd', 'm', 1);
          round();
          if (isAttacked && !isFirst) strike();
          for (let k = 0; k < 2; k += 1) replicas[1].learn('a', 'm', honest(300, 3));
          round();
          return replicas[1];
        });
        const [attacked, quiet] = worlds;
        if (attacked === undefined || quiet === undefined) throw new Error('there are two');
        for (const ask of ['promptTokens', 'contentTokens'] as const) {
          for (const tenant of ['a', 'new']) {
            const [one, other] = [attacked[ask](tenant, 'm', 1e6), quiet[ask](tenant, 'm', 1e6)];
            expect(Math.max(one, other) - 1).toBeLessThanOrEqual(Math.min(one, other) * MAX_INFLUENCE);
          }
        }
        for (const tenant of ['a', 'new']) {
          expect(attacked.outputTokens(tenant, 'm', undefined)).toBe(
            quiet.outputTokens(tenant, 'm', undefined),
          );
          expect(attacked.cachedTokens(tenant, 'm', 1_000)).toBe(quiet.cachedTokens(tenant, 'm', 1_000));
        }
      }),
      { numRuns: 200 },
    );
  });

  it('cannot make its own tokens cheaper than tokenizers do, nor its output what no engine writes', () => {
    fc.assert(
      fc.property(fc.oneof(fc.array(hostile, { maxLength: 60 }), relentless), (attack) => {
        const predictor = createPredictor();
        for (const one of attack) learn(predictor, 'odd', one);
        const tokens = predictor.promptTokens('odd', 'm', 16_000);
        expect(tokens).toBeGreaterThanOrEqual(1_000);
        expect(tokens).toBeLessThanOrEqual(32_000);
        expect(predictor.outputTokens('odd', 'm', undefined)).toBeLessThanOrEqual(1e7);
      }),
      { numRuns: 200 },
    );
  });
});

/** What all know, by row. */
function tell(
  predictor: SharedPredictor,
  known: Map<string, readonly number[]>,
  changes: readonly LearnedChange[] = predictor.takeChanges(1_000),
): void {
  for (const change of changes) {
    const before = known.get(change.key) ?? change.sums.map(() => 0);
    const sums = change.sums.map((sum, i) => (before[i] ?? 0) * DECAY ** change.samples + sum);
    known.set(change.key, sums);
    predictor.merge(change, sums);
  }
}

describe('a predictor that others share', () => {
  const usage = (outputTokens: number) => ({
    promptBytes: 300,
    promptTokens: 100,
    cachedTokens: 20,
    outputTokens,
  });
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
            shared.promptTokens('a', 'm', 900) - alone.promptTokens('a', 'm', 900),
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
    expect(started.promptTokens('a', 'm', 300)).toBe(75);
    expect(started.takeChanges(1)).toMatchObject([{ key: 'u:a\nm', samples: 0 }]);
    started.restore({ key: 'u:a\nm', samples: 0, sums: [0, 0, 0, 0] });
    // What is learned meanwhile counts too.
    started.learn('a', 'm', usage(60));
    tell(started, known);
    expect(started.outputTokens('a', 'm', undefined)).toBe(40);
    expect(started.promptTokens('a', 'm', 300) / 100).toBeCloseTo(1, 1);
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
    expect(predictor.takeChanges(10)).toMatchObject([
      { key: 'p:a\nm', samples: 300 / 4_096 },
      { key: 'u:a\nm', samples: 1 },
    ]);
  });

  it('gives out no more rows than are asked for, in turn, and keeps one change for each', () => {
    const predictor = createSharedPredictor();
    for (let round = 0; round < 50; round += 1) {
      for (let i = 0; i < 20; i += 1) predictor.learn(`tenant-${i}`, 'm', usage(10));
      for (const change of predictor.takeChanges(5)) predictor.restore(change);
    }
    // Two of each tenant.
    expect(predictor.changes()).toBe(40);
    const keys = [1, 2, 3, 4, 5, 6].flatMap(() => predictor.takeChanges(7).map(({ key }) => key));
    expect(new Set(keys).size).toBe(40);
    expect(predictor.takeChanges(7)).toEqual([]);
  });
});

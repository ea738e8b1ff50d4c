import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type AnswerSeen,
  believe,
  mostCompletion,
  mostPrompt,
  ODD_USAGE,
  type TokenCounts,
  type UsageFacts,
} from '../../../src/usage/believed-usage.ts';

const HI: UsageFacts = {
  route: 'chat.completions',
  bodyBytes: 90,
  promptBytes: 2,
  hasMedia: false,
  storedTokens: 0,
  outputs: 1,
  outputLimit: 5,
  contextTokens: undefined,
};
const WHOLE: AnswerSeen = { events: 0, streamed: false, isFinal: true };
const streamed = (events: number): AnswerSeen => ({ events, streamed: true, isFinal: true });
const ESTIMATE = { promptTokens: 1, completionTokens: 4 };
const counts = (promptTokens: number, completionTokens: number, cachedTokens = 0): TokenCounts => ({
  promptTokens,
  completionTokens,
  cachedTokens,
});
const of = (reported: TokenCounts | undefined, facts: Partial<UsageFacts> = {}, seen = WHOLE) =>
  believe(reported, false, { ...HI, ...facts }, seen, ESTIMATE);

describe('usage that an engine reports', () => {
  it('is believed when it is possible', () => {
    expect(of(counts(12, 5, 8))).toEqual({
      usage: counts(12, 5, 8),
      promptSource: 'engine',
      completionSource: 'engine',
      odd: [],
    });
  });

  it.each<[string, TokenCounts, Partial<UsageFacts>, AnswerSeen, TokenCounts, readonly string[]]>([
    [
      '2,000,000,000 of both',
      counts(2e9, 2e9),
      {},
      WHOLE,
      counts(1, 4),
      ['prompt-too-large', 'completion-too-large'],
    ],
    [
      'a prompt of more than bytes and a template',
      counts(2_139, 5),
      {},
      WHOLE,
      counts(1, 5),
      ['prompt-too-large'],
    ],
    ['as much as bytes and a template', counts(2_138, 5), {}, WHOLE, counts(2_138, 5), []],
    ['an output over the cap', counts(12, 22), {}, WHOLE, counts(12, 4), ['completion-too-large']],
    ['an output a step over the cap', counts(12, 21), {}, WHOLE, counts(12, 21), []],
    ['all choices', counts(12, 20), { outputs: 4, outputLimit: 20 }, WHOLE, counts(12, 20), []],
    ['zeros in one piece', counts(0, 0), {}, WHOLE, counts(1, 4), ['zero-prompt', 'zero-completion']],
    ['no output in a stream with content', counts(9, 0), {}, streamed(3), counts(9, 4), ['zero-completion']],
    ['no output in a stream without content', counts(9, 0), {}, streamed(0), counts(9, 0), []],
    ['no output where none was asked for', counts(9, 0), { outputLimit: 0 }, WHOLE, counts(9, 0), []],
    [
      'a token after 500 events',
      counts(40, 1),
      { outputLimit: undefined },
      streamed(500),
      counts(40, 4),
      ['completion-too-small'],
    ],
    ['no prompt where there is none', counts(0, 5), { promptBytes: 0 }, WHOLE, counts(0, 5), []],
    ['a prompt that is all cached', counts(9, 5, 9), {}, WHOLE, counts(9, 5, 8), ['cached-too-large']],
    ['more cached than prompt', counts(9, 5, 900), {}, WHOLE, counts(9, 5, 8), ['cached-too-large']],
    [
      'cached tokens of a prompt that cannot be',
      counts(2e9, 5, 2e9 - 1),
      {},
      WHOLE,
      counts(1, 5),
      ['prompt-too-large'],
    ],
    [
      'more than the context, without a cap',
      counts(9, 8_193),
      { outputLimit: undefined, contextTokens: 8_192 },
      WHOLE,
      counts(9, 4),
      ['completion-too-large'],
    ],
    [
      'a prompt of more than the context',
      counts(8_193, 5),
      { bodyBytes: 100_000, promptBytes: 99_000, contextTokens: 8_192 },
      WHOLE,
      counts(1, 5),
      ['prompt-too-large'],
    ],
    [
      'a batch of texts to embed, each within the context',
      counts(60_000, 0),
      { route: 'embeddings', bodyBytes: 250_000, promptBytes: 240_000, outputLimit: 0, contextTokens: 8_192 },
      WHOLE,
      counts(60_000, 0),
      [],
    ],
    [
      'an output of embeddings',
      counts(9, 7),
      { route: 'embeddings', outputLimit: 0 },
      WHOLE,
      counts(9, 0),
      ['completion-too-large'],
    ],
    ['a stored conversation', counts(9_000, 5), { storedTokens: 9_000 }, WHOLE, counts(9_000, 5), []],
    [
      'more than a stored conversation',
      counts(12_000, 5),
      { storedTokens: 9_000 },
      WHOLE,
      counts(1, 5),
      ['prompt-too-large'],
    ],
    [
      'a conversation that nobody knows, up to the context',
      counts(30_000, 5),
      { storedTokens: 'unknown', contextTokens: 32_768 },
      WHOLE,
      counts(30_000, 5),
      [],
    ],
    [
      'an image by its address',
      counts(5_000, 5),
      { bodyBytes: 300, promptBytes: 4_100, hasMedia: true },
      WHOLE,
      counts(5_000, 5),
      [],
    ],
  ])('%s', (_, reported, facts, seen, usage, odd) => {
    expect(of(reported, facts, seen)).toMatchObject({ usage, odd });
  });

  it('is estimated where it is none, and it is said', () => {
    expect(believe(undefined, true, HI, WHOLE, ESTIMATE)).toEqual({
      usage: counts(1, 4),
      promptSource: 'estimate',
      completionSource: 'estimate',
      odd: ['not-a-number'],
    });
    expect(of(undefined)).toMatchObject({ usage: counts(1, 4), odd: [] });
  });

  it('of an answer that goes on is a beginning: its prompt is believed, its output is what was seen since', () => {
    const early = { ...streamed(500), isFinal: false };
    const facts = { ...HI, outputLimit: undefined };
    expect(believe(counts(40, 1), false, facts, early, { promptTokens: 1, completionTokens: 500 })).toEqual({
      usage: counts(40, 500),
      promptSource: 'engine',
      completionSource: 'estimate',
      odd: [],
    });
    expect(of(counts(40, 5), {}, early).usage.completionTokens).toBe(5);
  });
});

const routes = fc.constantFrom(
  'chat.completions' as const,
  'completions' as const,
  'embeddings' as const,
  'responses' as const,
  'messages' as const,
);
const anyFacts: fc.Arbitrary<UsageFacts> = fc
  .record({
    route: routes,
    bodyBytes: fc.oneof(fc.integer({ min: 40, max: 400 }), fc.integer({ min: 40, max: 20_000_000 })),
    part: fc.double({ min: 0, max: 1, noNaN: true }),
    hasMedia: fc.boolean(),
    storedTokens: fc.oneof(fc.constant(0), fc.nat(200_000), fc.constant('unknown' as const)),
    outputs: fc.integer({ min: 1, max: 128 }),
    cap: fc.option(fc.nat(200_000), { nil: undefined }),
    contextTokens: fc.option(fc.integer({ min: 64, max: 2_000_000 }), { nil: undefined }),
  })
  .map(({ part, cap, ...facts }) => ({
    ...facts,
    promptBytes: Math.floor(facts.bodyBytes * part),
    outputLimit: facts.route === 'embeddings' ? 0 : cap === undefined ? undefined : cap * facts.outputs,
  }));
const anyCount = fc.oneof(
  fc.constant(0),
  fc.nat(50),
  fc.nat(100_000),
  fc.nat(2 ** 31 - 1),
  fc.constantFrom(Number.NaN, Infinity, -Infinity, -1, 0.5, 1e308),
);
const anyCounts = fc.record({ promptTokens: anyCount, completionTokens: anyCount, cachedTokens: anyCount });
const anySeen = fc.record({ events: fc.nat(5_000), streamed: fc.boolean(), isFinal: fc.boolean() });
const anyEstimate = fc.record({ promptTokens: fc.nat(1e7), completionTokens: fc.nat(1e7) });
const any = fc
  .tuple(anyFacts, fc.option(anyCounts, { nil: undefined }), fc.boolean(), anySeen, anyEstimate)
  .map(([facts, reported, hasNonsense, seen, estimate]) => ({
    facts,
    reported,
    hasNonsense,
    seen: seen.streamed ? seen : { ...seen, events: 0 },
    // It is never less than the events that were seen.
    estimate: {
      ...estimate,
      completionTokens: Math.max(estimate.completionTokens, seen.streamed ? seen.events : 0),
    },
  }));

/** The bounds, said again in the plainest words. */
function isPossible(reported: TokenCounts, facts: UsageFacts, { events, streamed: isStream }: AnswerSeen) {
  const { promptTokens, completionTokens, cachedTokens } = reported;
  const most = { prompt: mostPrompt(facts), completion: mostCompletion(facts) };
  const isEmpty = facts.route === 'embeddings' || (isStream ? events === 0 : facts.outputLimit === 0);
  const isNumber = (tokens: number) => Number.isInteger(tokens) && tokens >= 0;
  return {
    prompt:
      isNumber(promptTokens) &&
      isNumber(cachedTokens) &&
      promptTokens <= most.prompt &&
      (promptTokens > 0 || facts.promptBytes === 0),
    cached: cachedTokens <= Math.max(0, promptTokens - 1),
    completion:
      isNumber(completionTokens) &&
      completionTokens <= most.completion &&
      (completionTokens > 0 ? facts.route === 'embeddings' || events <= 8 * completionTokens : isEmpty),
  };
}

describe('whatever is reported of whatever request', () => {
  const runs = { numRuns: 2_000 };

  it('what is believed is within the bounds', () => {
    fc.assert(
      fc.property(any, ({ facts, reported, hasNonsense, seen, estimate }) => {
        const { usage, odd } = believe(reported, hasNonsense, facts, seen, estimate);
        expect(usage.promptTokens).toBeLessThanOrEqual(mostPrompt(facts));
        const events = facts.route === 'embeddings' ? 0 : seen.events;
        expect(usage.completionTokens).toBeLessThanOrEqual(Math.max(mostCompletion(facts), events));
        expect(usage.cachedTokens).toBeLessThanOrEqual(Math.max(0, usage.promptTokens - 1));
        for (const count of Object.values(usage)) expect(Number.isInteger(count) && count >= 0).toBe(true);
        for (const one of odd) expect(ODD_USAGE).toContain(one);
        expect(new Set(odd).size).toBe(odd.length);
      }),
      runs,
    );
  });

  it('a bound is never above the context, the cap or the bytes', () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        const { route, contextTokens = 1e7, outputs, outputLimit, bodyBytes, promptBytes } = facts;
        const stored = facts.storedTokens === 'unknown' ? 1e7 : facts.storedTokens;
        const prompts = route === 'embeddings' ? Infinity : route === 'completions' ? outputs : 1;
        expect(mostPrompt(facts)).toBeLessThanOrEqual(contextTokens * prompts);
        expect(mostPrompt(facts)).toBeLessThanOrEqual(
          bodyBytes + (facts.hasMedia ? promptBytes : 0) + 2_048 + stored,
        );
        expect(mostCompletion(facts)).toBeLessThanOrEqual(contextTokens * outputs);
        if (outputLimit !== undefined) {
          expect(mostCompletion(facts)).toBeLessThanOrEqual(outputLimit + 15 + outputs);
        }
      }),
      runs,
    );
  });

  it('the report itself is believed, half by half, exactly where that is possible', () => {
    fc.assert(
      fc.property(any, anyCounts, ({ facts, seen, estimate }, reported) => {
        const final = { ...seen, isFinal: true };
        const possible = isPossible(reported, facts, final);
        const { usage, promptSource, completionSource, odd } = believe(
          reported,
          false,
          facts,
          final,
          estimate,
        );
        expect(promptSource === 'engine').toBe(possible.prompt);
        expect(completionSource === 'engine').toBe(possible.completion);
        const isAllPossible = possible.prompt && possible.completion && possible.cached;
        expect(odd.length === 0).toBe(isAllPossible);
        if (possible.prompt) expect(usage.promptTokens).toBe(reported.promptTokens);
        if (possible.prompt && possible.cached) expect(usage.cachedTokens).toBe(reported.cachedTokens);
        if (possible.completion) expect(usage.completionTokens).toBe(reported.completionTokens);
        // Neither half says anything of the other.
        const other = believe({ ...reported, completionTokens: 0 }, false, facts, final, estimate);
        expect(other.usage.promptTokens).toBe(usage.promptTokens);
        expect(other.usage.cachedTokens).toBe(usage.cachedTokens);
      }),
      runs,
    );
  });

  it('what was believed is believed again', () => {
    fc.assert(
      fc.property(any, ({ facts, reported, hasNonsense, seen, estimate }) => {
        const final = { ...seen, isFinal: true };
        const { usage } = believe(reported, hasNonsense, facts, final, estimate);
        expect(believe(usage, false, facts, final, usage).usage).toEqual(usage);
      }),
      runs,
    );
  });

  it('a larger request, cap or context never makes a bound smaller, nor a larger estimate what is believed', () => {
    fc.assert(
      fc.property(any, fc.nat(100_000), ({ facts, reported, hasNonsense, seen, estimate }, more) => {
        const larger: UsageFacts[] = [
          { ...facts, bodyBytes: facts.bodyBytes + more },
          { ...facts, promptBytes: facts.promptBytes + more, bodyBytes: facts.bodyBytes + more },
          ...(facts.storedTokens === 'unknown'
            ? []
            : [{ ...facts, storedTokens: facts.storedTokens + more }]),
          ...(facts.outputLimit === undefined ? [] : [{ ...facts, outputLimit: facts.outputLimit + more }]),
          ...(facts.contextTokens === undefined
            ? []
            : [{ ...facts, contextTokens: facts.contextTokens + more }]),
        ];
        for (const one of larger) {
          expect(mostPrompt(one)).toBeGreaterThanOrEqual(mostPrompt(facts));
          expect(mostCompletion(one)).toBeGreaterThanOrEqual(mostCompletion(facts));
        }
        const before = believe(reported, hasNonsense, facts, seen, estimate).usage;
        const after = believe(reported, hasNonsense, facts, seen, {
          promptTokens: estimate.promptTokens + more,
          completionTokens: estimate.completionTokens + more,
        }).usage;
        expect(after.promptTokens).toBeGreaterThanOrEqual(before.promptTokens);
        expect(after.completionTokens).toBeGreaterThanOrEqual(before.completionTokens);
      }),
      runs,
    );
  });
});

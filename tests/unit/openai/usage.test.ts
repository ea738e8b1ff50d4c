import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { usageOf, usageReport } from '../../../src/openai/usage.ts';

const usage = (promptTokens: number, completionTokens: number, cachedTokens = 0) => ({
  promptTokens,
  completionTokens,
  cachedTokens,
});

describe('usage is read from', () => {
  it.each([
    ['chat', { usage: { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 } }, usage(5, 2)],
    ['embeddings', { usage: { prompt_tokens: 5, total_tokens: 5 } }, usage(5, 0)],
    [
      'details that are null',
      { usage: { prompt_tokens: 5, completion_tokens: 2, prompt_tokens_details: null } },
      usage(5, 2),
    ],
    [
      'cached tokens',
      { usage: { prompt_tokens: 5, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 4 } } },
      usage(5, 2, 4),
    ],
    [
      'Responses',
      { usage: { input_tokens: 5, output_tokens: 2, input_tokens_details: { cached_tokens: 3 } } },
      usage(5, 2, 3),
    ],
    ['a Responses event', { response: { usage: { input_tokens: 5, output_tokens: 2 } } }, usage(5, 2)],
    [
      'Anthropic, whose input leaves out the cache',
      {
        usage: {
          input_tokens: 5,
          output_tokens: 2,
          cache_read_input_tokens: 90,
          cache_creation_input_tokens: 10,
        },
      },
      { ...usage(105, 2, 90), cacheCreationTokens: 10 },
    ],
    ['message_start', { message: { usage: { input_tokens: 5, output_tokens: 0 } } }, usage(5, 0)],
    ['message_delta', { usage: { output_tokens: 7 } }, usage(0, 7)],
    [
      'llama.cpp, whose cache is in timings',
      { usage: { prompt_tokens: 5, completion_tokens: 2 }, timings: { cache_n: 3 } },
      usage(5, 2, 3),
    ],
    ['llama.cpp timings alone', { timings: { cache_n: 3, prompt_n: 2, predicted_n: 4 } }, usage(5, 4, 3)],
    [
      'llama.cpp, which counts one choice of several',
      {
        choices: [{}, {}, {}],
        usage: { prompt_tokens: 5, completion_tokens: 2 },
        timings: { cache_n: 3, predicted_n: 2 },
      },
      usage(5, 6, 3),
    ],
    [
      'llama.cpp, should it count all choices',
      {
        choices: [{}, {}],
        usage: { prompt_tokens: 5, completion_tokens: 4 },
        timings: { cache_n: 3, predicted_n: 2 },
      },
      usage(5, 4, 3),
    ],
    [
      'an engine that counts all choices',
      { choices: [{}, {}], usage: { prompt_tokens: 5, completion_tokens: 4 } },
      usage(5, 4),
    ],
    [
      'more cached than prompt',
      { usage: { prompt_tokens: 5, prompt_tokens_details: { cached_tokens: 9 } } },
      usage(5, 0, 5),
    ],
  ])('%s', (_, value, expected) => {
    expect(usageOf(value)).toEqual(expected);
  });
});

describe('usage is not believed when', () => {
  it.each([-1, Number.NaN, Infinity, 1e300, 1.5, '5', true, [], {}, 2 ** 31])('a count is %s', (hostile) => {
    expect(usageOf({ usage: { prompt_tokens: hostile, completion_tokens: 1 } })).toBeUndefined();
    expect(usageOf({ usage: { prompt_tokens: 1, completion_tokens: hostile } })).toBeUndefined();
    expect(usageOf({ usage: { input_tokens: hostile, output_tokens: 1 } })).toBeUndefined();
    expect(usageOf({ usage: { input_tokens: 1, cache_read_input_tokens: hostile } })).toBeUndefined();
    expect(usageOf({ timings: { prompt_n: 1, predicted_n: hostile } })).toBeUndefined();
  });

  it.each([
    undefined,
    null,
    1,
    'x',
    [],
    {},
    { usage: null },
    { usage: [] },
    { usage: {} },
    { response: null },
  ])('the value is %j', (value) => {
    expect(usageOf(value)).toBeUndefined();
  });

  it('never throws and never gives a number that is no count', () => {
    const keys = fc.constantFrom(
      'usage',
      'response',
      'message',
      'timings',
      'prompt_tokens',
      'input_tokens',
      'cache_n',
    );
    fc.assert(
      fc.property(
        fc.dictionary(keys, fc.oneof(fc.jsonValue(), fc.dictionary(keys, fc.anything()))),
        (value) => {
          for (const count of Object.values(usageOf(value) ?? {})) {
            expect(Number.isSafeInteger(count) && count >= 0).toBe(true);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('what is odd', () => {
  it.each([
    { usage: [] },
    { usage: 5 },
    { usage: 'x' },
    { usage: { tokens: 5 } },
    { usage: { prompt_tokens: '5', completion_tokens: 1 } },
    { usage: { prompt_tokens: 1, completion_tokens: 1.5 } },
    { usage: { input_tokens: 2 ** 31 - 1, cache_read_input_tokens: 1 } },
  ])('%j is no usage', (value) => {
    expect(usageReport(value)).toEqual({ usage: undefined, odd: true });
  });

  it('a part alone costs the rest nothing', () => {
    const counts = { prompt_tokens: 5, completion_tokens: 2 };
    for (const part of [
      { prompt_tokens_details: { cached_tokens: '4' } },
      { completion_tokens_details: { reasoning_tokens: -1 } },
      { reasoning_tokens: 1.5 },
    ]) {
      expect(usageReport({ usage: { ...counts, ...part } })).toEqual({ usage: usage(5, 2), odd: true });
    }
  });

  it.each([{ usage: null }, { usage: {} }, { usage: { prompt_tokens: null } }, {}])(
    '%j says nothing',
    (value) => {
      expect(usageReport(value)).toEqual({ usage: undefined, odd: false });
    },
  );
});

describe('reasoning', () => {
  it.each([
    { prompt_tokens: 5, completion_tokens: 9, completion_tokens_details: { reasoning_tokens: 4 } },
    { prompt_tokens: 5, completion_tokens: 9, reasoning_tokens: 4 },
    { input_tokens: 5, output_tokens: 9, output_tokens_details: { reasoning_tokens: 4 } },
  ])('is a part of the output: %j', (value) => {
    expect(usageOf({ usage: value })).toEqual({ ...usage(5, 9), reasoningTokens: 4 });
  });
});

/** What answers of each API are charged, as they come and as engines err, and what is learned of them. */
import { describe, expect, it } from 'vitest';
import type { RequestHead } from '../../../src/admission/edge.ts';
import { chatHead, createWorld, type World } from '../../support/lifecycle.ts';

type Api = 'chat' | 'completions' | 'responses' | 'messages' | 'embeddings';

const PROMPT = 'x'.repeat(400);
/** As predicted: four bytes a token; a role is text too. */
const predicted = (api: Api): number => (api === 'chat' || api === 'messages' ? 101 : 100);

interface Shape {
  readonly path: string;
  readonly body: object;
  /** Of a stream. */
  readonly begin: readonly object[];
  readonly token: (text: string) => object;
  readonly end: (usage: object) => readonly (object | string)[];
  readonly usage: (prompt: unknown, completion: unknown) => object;
  readonly whole: (usage: object | undefined) => object;
  readonly error: object;
}

const message = { role: 'user', content: PROMPT };
const prompts = (prompt: unknown, completion: unknown) => ({
  prompt_tokens: prompt,
  completion_tokens: completion,
});
const inputs = (prompt: unknown, completion: unknown) => ({
  input_tokens: prompt,
  output_tokens: completion,
});

const SHAPES: Readonly<Record<Api, Shape>> = {
  chat: {
    path: '/v1/chat/completions',
    body: { messages: [message], max_tokens: 100 },
    begin: [{ choices: [{ index: 0, delta: { role: 'assistant', content: '' } }] }],
    token: (content) => ({ choices: [{ index: 0, delta: { content }, finish_reason: null }] }),
    end: (usage) => [
      { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] },
      { choices: [], usage },
      '[DONE]',
    ],
    usage: prompts,
    whole: (usage) => ({ choices: [{ index: 0, message: { content: 'hello' } }], ...(usage && { usage }) }),
    error: { error: { message: 'no', type: 'InternalServerError', code: 500 } },
  },
  completions: {
    path: '/v1/completions',
    body: { prompt: PROMPT, max_tokens: 100 },
    begin: [],
    token: (text) => ({ choices: [{ index: 0, text, finish_reason: null }] }),
    end: (usage) => [
      { choices: [{ index: 0, text: '', finish_reason: 'stop' }] },
      { choices: [], usage },
      '[DONE]',
    ],
    usage: prompts,
    whole: (usage) => ({ choices: [{ index: 0, text: 'hello' }], ...(usage && { usage }) }),
    error: { object: 'error', message: 'no', code: 500 },
  },
  responses: {
    path: '/v1/responses',
    body: { input: PROMPT, max_output_tokens: 100 },
    begin: [{ type: 'response.created', response: { id: 'r', status: 'in_progress', usage: null } }],
    token: (delta) => ({ type: 'response.output_text.delta', delta }),
    end: (usage) => [{ type: 'response.completed', response: { id: 'r', status: 'completed', usage } }],
    usage: inputs,
    whole: (usage) => ({ object: 'response', status: 'completed', error: null, ...(usage && { usage }) }),
    error: { type: 'response.failed', response: { id: 'r', status: 'failed', error: { message: 'no' } } },
  },
  messages: {
    path: '/v1/messages',
    body: { messages: [message], max_tokens: 100 },
    begin: [{ type: 'message_start', message: { id: 'm', usage: { input_tokens: 90, output_tokens: 1 } } }],
    token: (text) => ({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } }),
    end: (usage) => [
      { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage },
      { type: 'message_stop' },
    ],
    usage: inputs,
    whole: (usage) => ({
      type: 'message',
      content: [{ type: 'text', text: 'hello' }],
      ...(usage && { usage }),
    }),
    error: { type: 'error', error: { type: 'api_error', message: 'no' } },
  },
  embeddings: {
    path: '/v1/embeddings',
    body: { input: PROMPT },
    begin: [],
    token: () => ({}),
    end: () => [],
    usage: (prompt) => ({ prompt_tokens: prompt, total_tokens: prompt }),
    whole: (usage) => ({ object: 'list', data: [{ embedding: [0.5] }], ...(usage && { usage }) }),
    error: { error: { message: 'no', type: 'BadRequestError', code: 400 } },
  },
};
const WRITING: readonly Api[] = ['chat', 'completions', 'responses', 'messages'];
const ALL: readonly Api[] = [...WRITING, 'embeddings'];

const sse = (data: object | string): Buffer =>
  Buffer.from(
    typeof data === 'string'
      ? `data: ${data}\n\n`
      : `${'type' in data ? `event: ${String(data.type)}\n` : ''}data: ${JSON.stringify(data)}\n\n`,
  );

function send(world: World, api: Api, fields: object = {}, head: Partial<RequestHead> = {}) {
  const { path, body } = SHAPES[api];
  const { request, said } = world.open();
  request.headers(chatHead({ path, ...head }), 0);
  request.body(Buffer.from(JSON.stringify({ model: 'small', ...body, ...fields })), 0);
  return { request, said };
}

const headOf = (contentType: string) => ({
  status: 200,
  contentType,
  contentEncoding: '',
  upstream: '10.0.0.1:8000',
  endOfStream: false,
});

/** Streams events in the order given, a millisecond apart. @param how it ends: by itself, or its client leaves. */
function stream(
  world: World,
  api: Api,
  events: readonly (object | string)[],
  { leaves = false, fields = {} }: { readonly leaves?: boolean; readonly fields?: object } = {},
) {
  const { request, said } = send(world, api, { stream: true, ...fields });
  request.responseHeaders(headOf('text/event-stream'), 10);
  events.forEach((one, i) => request.responseChunk(sse(one), false, 20 + i));
  if (!leaves) request.responseChunk(Buffer.alloc(0), true, 20 + events.length);
  request.streamEnded(20 + events.length);
  return { record: world.records.at(-1), said };
}

function whole(world: World, api: Api, answer: object, fields: object = {}) {
  const { request } = send(world, api, fields);
  request.responseHeaders(headOf('application/json'), 10);
  request.responseChunk(Buffer.from(JSON.stringify(answer)), true, 30);
  request.streamEnded(40);
  return world.records.at(-1);
}

const tokens = (api: Api, count: number): readonly object[] =>
  Array.from({ length: count }, () => SHAPES[api].token('word'));
const predictions = (world: World) => {
  const { predictor } = world.context;
  return [
    predictor.promptTokens('a', 'small', 4_000),
    predictor.contentTokens('a', 'small', 4_000),
    predictor.outputTokens('a', 'small', undefined),
    predictor.cachedTokens('a', 'small', 4_000),
  ];
};
const FIRST = predictions(createWorld());

describe.each(WRITING)('a stream of %s', (api) => {
  const { begin, end, usage, error } = SHAPES[api];

  it('is charged what its engine says, and teaches it', () => {
    const world = createWorld();
    const { record } = stream(world, api, [...begin, ...tokens(api, 30), ...end(usage(120, 30))]);
    expect(record).toMatchObject({
      outcome: 'completed',
      promptTokens: 120,
      completionTokens: 30,
      usageSource: 'engine',
    });
    expect(record).not.toHaveProperty('oddUsage');
    expect(world.context.predictor.outputTokens('a', 'small', undefined)).toBe(30);
    expect(world.context.predictor.promptTokens('a', 'small', 4_000)).not.toBe(FIRST[0]);
  });

  it('that says zeros after content is estimated, and teaches nothing', () => {
    const world = createWorld();
    const { record } = stream(world, api, [
      ...begin.slice(0, api === 'messages' ? 0 : 1),
      ...tokens(api, 30),
      ...end(usage(0, 0)),
    ]);
    expect(record).toMatchObject({
      promptTokens: predicted(api),
      completionTokens: 30,
      usageSource: 'estimate',
      oddUsage: ['zero-prompt', 'zero-completion'],
    });
    expect(predictions(world)).toEqual(FIRST);
  });

  it('of which one half is impossible is charged the other', () => {
    const world = createWorld();
    const events = [...tokens(api, 30), ...end(usage(2_000_000_000, 31))];
    expect(stream(world, api, events).record).toMatchObject({
      promptTokens: predicted(api),
      completionTokens: 31,
      usageSource: 'estimate',
      estimated: 'prompt',
      oddUsage: ['prompt-too-large'],
    });
    expect(stream(world, api, [...tokens(api, 30), ...end(usage(120, 2_000_000_000))]).record).toMatchObject({
      promptTokens: 120,
      completionTokens: 30,
      usageSource: 'estimate',
      estimated: 'completion',
      oddUsage: ['completion-too-large'],
    });
    expect(predictions(world)).toEqual(FIRST);
  });

  it('that its client leaves is estimated by what was seen, and teaches nothing', () => {
    const world = createWorld();
    const { record } = stream(world, api, [...begin, ...tokens(api, 60)], { leaves: true });
    expect(record).toMatchObject({ outcome: 'aborted', completionTokens: 60, usageSource: 'estimate' });
    expect(record?.promptTokens).toBe(api === 'messages' ? 90 : predicted(api));
    expect(predictions(world)).toEqual(FIRST);
  });

  it('that is an error and nothing else is charged nothing, whether or not its client waits for the end', () => {
    const world = createWorld({ limits: { tokensPerMinute: 1_000, tokenBurst: 1_000 } });
    for (const leaves of [true, false]) {
      const { record } = stream(world, api, [...begin, error], { leaves });
      expect(record).toMatchObject({ promptTokens: 0, completionTokens: 0, usageSource: 'none' });
      expect(record?.outcome).toBe(leaves ? 'aborted' : 'failed');
    }
    expect(world.tenants.get('a')?.limits.tokens(100)?.remaining).toBe(1_000);
    expect(predictions(world)).toEqual(FIRST);
  });

  it('with an error after tokens is charged those tokens, and teaches nothing', () => {
    const world = createWorld();
    const { record } = stream(world, api, [...begin, ...tokens(api, 25), error]);
    expect(record).toMatchObject({ outcome: 'failed', completionTokens: 25, usageSource: 'estimate' });
    const prompt = api === 'messages' ? 90 : predicted(api);
    expect(record?.promptTokens).toBe(prompt);
    expect(predictions(world)).toEqual(FIRST);
  });

  it('with an error after tokens and a usage is charged that usage, and teaches nothing', () => {
    const world = createWorld();
    const { record } = stream(world, api, [...tokens(api, 25), error, ...end(usage(120, 26))]);
    expect(record).toMatchObject({ outcome: 'failed', promptTokens: 120, completionTokens: 26 });
    expect(predictions(world)).toEqual(FIRST);
  });
});

describe.each(ALL)('an answer in one piece of %s', (api) => {
  const { usage, whole: answer, error } = SHAPES[api];
  const output = (count: number): number => (api === 'embeddings' ? 0 : count);

  it('is charged what its engine says', () => {
    expect(whole(createWorld(), api, answer(usage(120, 5)))).toMatchObject({
      promptTokens: 120,
      completionTokens: output(5),
      usageSource: 'engine',
    });
  });

  it('of two thousand million tokens is estimated, and teaches nothing', () => {
    const world = createWorld();
    const record = whole(world, api, answer(usage(2_000_000_000, 2_000_000_000)));
    expect(record).toMatchObject({
      promptTokens: predicted(api),
      usageSource: 'estimate',
      oddUsage: api === 'embeddings' ? ['prompt-too-large'] : ['prompt-too-large', 'completion-too-large'],
    });
    expect(record?.completionTokens).toBeLessThanOrEqual(output(100));
    expect(predictions(world)).toEqual(FIRST);
  });

  it('of zeros is estimated, and teaches nothing', () => {
    const world = createWorld();
    const record = whole(world, api, answer(usage(0, 0)));
    expect(record).toMatchObject({
      promptTokens: predicted(api),
      usageSource: 'estimate',
      oddUsage: api === 'embeddings' ? ['zero-prompt'] : ['zero-prompt', 'zero-completion'],
    });
    if (api !== 'embeddings') expect(record?.completionTokens).toBeGreaterThan(0);
    expect(predictions(world)).toEqual(FIRST);
  });

  it('without usage is estimated, and teaches nothing', () => {
    const world = createWorld();
    expect(whole(world, api, answer(undefined))).toMatchObject({
      promptTokens: predicted(api),
      usageSource: 'estimate',
    });
    expect(predictions(world)).toEqual(FIRST);
  });

  // The flat error of SGLang and that inside of a Responses event are none of one piece.
  const failure =
    api === 'completions' ? SHAPES.chat.error : api === 'responses' ? { error: { message: 'no' } } : error;
  it('that is an error is charged nothing', () => {
    const world = createWorld({ limits: { tokensPerMinute: 1_000, tokenBurst: 1_000 } });
    expect(whole(world, api, failure)).toMatchObject({
      outcome: 'failed',
      promptTokens: 0,
      completionTokens: 0,
      usageSource: 'none',
    });
    expect(world.tenants.get('a')?.limits.tokens(100)?.remaining).toBe(1_000);
    expect(predictions(world)).toEqual(FIRST);
  });
});

describe('hang-ups after 500 deltas of an Anthropic stream', () => {
  it('use up a rate of 2,000 tokens a minute, and do not make the next ones look short', () => {
    const world = createWorld({ limits: { tokensPerMinute: 2_000 } });
    const events = [...SHAPES.messages.begin, ...tokens('messages', 500)];
    const outcomes = Array.from({ length: 8 }, () => {
      const { record } = stream(world, 'messages', events, { leaves: true, fields: { max_tokens: 4_096 } });
      return record?.outcome === 'aborted' ? record.completionTokens : record?.outcome;
    });
    // 590 tokens each, and 257 are predicted.
    expect(outcomes).toEqual([500, 500, 500, ...Array.from({ length: 5 }, () => 'refused')]);
    expect(world.context.predictor.outputTokens('a', 'small', undefined)).toBe(256);
  });
});

describe('what bounds a report', () => {
  it('is the context that the engine says', () => {
    const world = createWorld();
    world.context.contextAt = (pool, address) =>
      pool === 'main' && address === '10.0.0.1:8000' ? 4_096 : undefined;
    const fields = { max_tokens: undefined, messages: [{ role: 'user', content: 'y'.repeat(40_000) }] };
    const report = (prompt: number, completion: number) =>
      whole(world, 'chat', SHAPES.chat.whole(prompts(prompt, completion)), fields);
    expect(report(4_000, 4_096)).toMatchObject({
      promptTokens: 4_000,
      completionTokens: 4_096,
      usageSource: 'engine',
    });
    const record = report(4_097, 4_097);
    expect(record).toMatchObject({
      // Ten thousand are predicted, and there is no room for them.
      promptTokens: 4_096,
      usageSource: 'estimate',
      oddUsage: ['prompt-too-large', 'completion-too-large'],
    });
    expect(record?.completionTokens).toBeLessThanOrEqual(4_096);
  });

  it('is the bytes of the body: many short messages have more template than text', () => {
    const messages = Array.from({ length: 1_000 }, () => ({ role: 'user', content: 'x' }));
    const report = (prompt: number) =>
      whole(createWorld(), 'chat', SHAPES.chat.whole(prompts(prompt, 5)), { messages });
    expect(report(9_000)).toMatchObject({ promptTokens: 9_000, usageSource: 'engine' });
    expect(report(90_000)).toMatchObject({ usageSource: 'estimate', oddUsage: ['prompt-too-large'] });
  });

  it('is the context alone where a request may go on with what is stored', () => {
    const world = createWorld({ fields: { state: 'allow' } });
    world.context.contextAt = () => 32_768;
    const report = (prompt: number) =>
      whole(world, 'responses', SHAPES.responses.whole(inputs(prompt, 5)), {
        conversation: 'conv_1',
      });
    expect(report(32_000)).toMatchObject({ promptTokens: 32_000, usageSource: 'engine' });
    expect(report(33_000)).toMatchObject({ usageSource: 'estimate', oddUsage: ['prompt-too-large'] });
  });

  it.each([
    ['twice what a conversation that is gone on with came to', 1_000, 4_400, 4_900],
    ['the context, where that is not known', 0, 32_000, 33_000],
  ])('is besides its own body %s', (_, held, possible, odd) => {
    const world = createWorld();
    world.context.contextAt = () => 32_768;
    world.context.owners?.remember(
      'resp_1',
      {
        tenant: 'a',
        pool: 'main',
        endpoint: '10.0.0.1:8000',
        model: 'small',
        asked: 'small',
        tokens: held,
      },
      0,
    );
    const report = (prompt: number) =>
      whole(world, 'responses', SHAPES.responses.whole(inputs(prompt, 5)), {
        previous_response_id: 'resp_1',
      });
    expect(report(possible)).toMatchObject({ promptTokens: possible, usageSource: 'engine' });
    expect(report(odd)).toMatchObject({ usageSource: 'estimate', oddUsage: ['prompt-too-large'] });
  });

  it('may be no output where none was asked for, and is not where some was', () => {
    const world = createWorld();
    world.context.engineKindOf = () => 'llamacpp';
    const nothing = SHAPES.chat.whole(prompts(120, 0));
    const none = whole(world, 'chat', nothing, { max_tokens: 0 });
    expect(none).toMatchObject({ completionTokens: 0, usageSource: 'engine' });
    expect(none).not.toHaveProperty('oddUsage');
    expect(whole(world, 'chat', nothing, { max_tokens: 1 })).toMatchObject({ oddUsage: ['zero-completion'] });
    expect(whole(world, 'chat', nothing, { max_tokens: -1 })).toMatchObject({
      oddUsage: ['zero-completion'],
    });
  });

  it('is all choices, and a prompt that was computed in part at least', () => {
    const world = createWorld();
    const usage = { ...prompts(120, 400), prompt_tokens_details: { cached_tokens: 120 } };
    expect(whole(world, 'chat', SHAPES.chat.whole(usage), { n: 4 })).toMatchObject({
      promptTokens: 120,
      cachedTokens: 119,
      completionTokens: 400,
      usageSource: 'engine',
      oddUsage: ['cached-too-large'],
    });
    expect(predictions(world)).toEqual(FIRST);
  });
});

describe('usage of so far, in every chunk', () => {
  const chunk = (completion: number) => ({ ...SHAPES.chat.token('word'), usage: prompts(120, completion) });

  it('is that of all when the stream has come to its end', () => {
    const events = [
      chunk(1),
      chunk(2),
      chunk(3),
      { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], usage: prompts(120, 4) },
      '[DONE]',
    ];
    expect(stream(createWorld(), 'chat', events).record).toMatchObject({
      promptTokens: 120,
      completionTokens: 4,
      usageSource: 'engine',
    });
  });

  it('is a beginning when its client leaves', () => {
    const world = createWorld();
    const { request } = send(world, 'chat', { stream: true });
    request.responseHeaders(headOf('text/event-stream'), 10);
    for (let i = 0; i < 20; i += 1) request.responseChunk(sse(chunk(i + 1)), false, 100 * i);
    // It writes on while nobody reads.
    request.streamEnded(4_000);
    expect(world.records).toMatchObject([
      { outcome: 'aborted', promptTokens: 120, usageSource: 'estimate', estimated: 'completion' },
    ]);
    expect(world.records[0]?.completionTokens).toBeGreaterThan(30);
    expect(predictions(world)).toEqual(FIRST);
  });
});

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EngineRoute } from '../../../src/domain/routes.ts';
import { createStreamMeter, KEPT_EVENT_BYTES } from '../../../src/openai/stream-meter.ts';
import { cutAt, meter, streams } from './sse-streams.ts';

const ROUTES: EngineRoute[] = ['chat.completions', 'completions', 'responses', 'messages'];
const cuts = fc.array(fc.nat(), { maxLength: 12 });
const cutEvery = (stream: Buffer, size: number): Buffer[] =>
  Array.from({ length: Math.ceil(stream.length / size) }, (_, i) =>
    stream.subarray(i * size, (i + 1) * size),
  );
const every = (stream: Buffer): Buffer[] => Array.from(stream, (byte) => Buffer.from([byte]));

const event = (json: unknown): string => `data: ${JSON.stringify(json)}\n\n`;
const chat = (delta: object, finish: string | null = null, index = 0, rest: object = {}): string =>
  event({ id: 'x', choices: [{ index, delta, finish_reason: finish }], ...rest });
const usageEvent = (prompt: number, completion: number, rest: object = {}): string =>
  event({ id: 'x', choices: [], usage: { prompt_tokens: prompt, completion_tokens: completion, ...rest } });
const ROLE = chat({ role: 'assistant', content: '' });
const DONE = 'data: [DONE]\n\n';

const read = (text: string, route: EngineRoute = 'chat.completions') =>
  meter([Buffer.from(text)], { route }).result;

describe('a stream cut anywhere', () => {
  it.each(ROUTES)('%s: passes unchanged when nothing is to be removed', (route) => {
    fc.assert(
      fc.property(streams(route), cuts, (stream, at) => {
        expect(meter(cutAt(stream.bytes, at), { route }).output.equals(stream.bytes)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it('loses exactly the usage event when that is to be removed', () => {
    let removed = 0;
    fc.assert(
      fc.property(streams('chat.completions'), cuts, (stream, at) => {
        const { output } = meter(cutAt(stream.bytes, at), { remove: true });
        expect(output.toString('latin1')).toBe(stream.withoutUsage.toString('latin1'));
        if (stream.withoutUsage.length < stream.bytes.length) removed++;
      }),
      { numRuns: 1000 },
    );
    expect(removed).toBeGreaterThan(100);
  });

  it('loses exactly the usage event also byte by byte', () => {
    fc.assert(
      fc.property(streams('chat.completions'), (stream) => {
        const { output } = meter(every(stream.bytes), { remove: true });
        expect(output.toString('latin1')).toBe(stream.withoutUsage.toString('latin1'));
      }),
      { numRuns: 50 },
    );
  });

  it.each(ROUTES)('%s: gives the same result as in one piece', (route) => {
    fc.assert(
      fc.property(streams(route), cuts, fc.boolean(), (stream, at, remove) => {
        const whole = meter([stream.bytes], { route, remove }).result;
        expect(meter(cutAt(stream.bytes, at), { route, remove }).result).toEqual(whole);
      }),
      { numRuns: 300 },
    );
  });

  it('gives the usage that the engine sent, whatever the text pretends', () => {
    fc.assert(
      fc.property(streams('chat.completions'), cuts, (stream, at) => {
        const { usage, tokenEvents, errorFrame } = meter(cutAt(stream.bytes, at)).result;
        const sent = stream.events.find(({ removable }) => removable)?.json as
          | { usage: { prompt_tokens: number } }
          | undefined;
        expect(usage?.promptTokens).toBe(sent?.usage.prompt_tokens);
        expect(errorFrame).toBe(false);
        const tokens = stream.events.filter(({ json }) =>
          /"(content":"[^"]|reasoning|tool_calls":)/.test(JSON.stringify(json) ?? ''),
        );
        expect(tokenEvents).toBe(tokens.length);
      }),
      { numRuns: 500 },
    );
  });

  it('never throws on arbitrary bytes, and passes them on', () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 20 }),
      fc
        .constantFrom('data: ', '\n\n', '\r', '{"choices":[', '"usage":{', '"finish_reason":"x"', '[DONE]')
        .map((s) => Buffer.from(s)),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), fc.constantFrom(...ROUTES), (pieces, route) => {
        expect(meter(pieces, { route }).output.equals(Buffer.concat(pieces))).toBe(true);
        meter(pieces, { route, remove: true });
      }),
      { numRuns: 1000 },
    );
  });
});

describe('tokens', () => {
  it('begin with the first content, not with the role', () => {
    const pieces = [
      ROLE,
      ': ping\n\n',
      chat({ content: 'a' }),
      chat({ content: 'b' }),
      chat({}, 'stop'),
      DONE,
    ];
    const { result } = meter(
      pieces.map((p) => Buffer.from(p)),
      { times: [10, 20, 30, 45, 50, 60] },
    );
    expect(result).toMatchObject({ firstTokenMs: 30, lastTokenMs: 45, tokenEvents: 2, finished: true });
    expect(result.itl).toEqual({ count: 1, sumMs: 15, maxMs: 15 });
  });

  it.each([
    { reasoning_content: 'hm' },
    { reasoning: 'hm' },
    { tool_calls: [{ index: 0, function: { name: 'f' } }] },
    { content: null, refusal: 'no' },
    { function_call: { name: 'f' } },
  ])('are text, reasoning, tool calls and refusals: %j', (delta) => {
    expect(read(ROLE + chat(delta)).tokenEvents).toBe(1);
  });

  it('are counted in an event with a finish reason only if it has content', () => {
    expect(read(chat({ content: 'a' }) + chat({ content: 'b' }, 'stop')).tokenEvents).toBe(2);
    expect(read(chat({ content: 'a' }) + chat({ content: '' }, 'stop')).tokenEvents).toBe(1);
  });

  it('are not counted in the role of a choice that begins later', () => {
    const first = chat({ content: 'a' });
    expect(read(first + chat({ role: 'assistant', content: null }, null, 1)).tokenEvents).toBe(1);
    expect(read(first + chat({ content: null, reasoning_content: 'hm' }, null, 1)).tokenEvents).toBe(2);
  });

  it('are counted in completions by their text', () => {
    const text = (t: string, finish: string | null = null) =>
      event({ choices: [{ index: 0, text: t, finish_reason: finish }] });
    expect(read(text('') + text('a') + text('b') + text('', 'stop'), 'completions').tokenEvents).toBe(2);
  });

  it('are not counted in events without a choice', () => {
    const empty =
      event({ choices: [], usage: null }) +
      event({ choices: [], prompt_filter_results: [] }) +
      event({ ping: 1 });
    expect(read(chat({ content: 'a' }) + empty).tokenEvents).toBe(1);
  });

  it('are absent from a stream without content', () => {
    const result = read(ROLE + chat({}, 'stop') + DONE);
    expect(result.tokenEvents).toBe(0);
    expect(result).not.toHaveProperty('firstTokenMs');
  });
});

describe('bytes of text', () => {
  const text = fc.string({
    unit: fc.constantFrom('a', ' ', '"', '\\', '\n', 'é', '語', '😀', 'data: ', '"content":"'),
  });
  const shapes: readonly (readonly [EngineRoute, (text: string) => string])[] = [
    ['chat.completions', (content) => chat({ content })],
    ['chat.completions', (content) => chat({ role: 'assistant', reasoning_content: content, content: null })],
    ['chat.completions', (content) => chat({ reasoning: content })],
    ['chat.completions', (content) => chat({ tool_calls: [{ function: { arguments: content } }] })],
    ['completions', (content) => event({ id: 'cmpl-1', choices: [{ index: 0, text: content }] })],
    ['responses', (delta) => event({ type: 'response.output_text.delta', item_id: 'text', delta })],
    [
      'messages',
      (text_) => event({ type: 'content_block_delta', delta: { type: 'text_delta', text: text_ } }),
    ],
    ['messages', (json) => event({ type: 'content_block_delta', delta: { partial_json: json } })],
    ['messages', (thinking) => event({ type: 'content_block_delta', delta: { thinking } })],
  ];

  it('are those of the strings that hold it, wherever the stream is cut', () => {
    fc.assert(
      fc.property(fc.constantFrom(...shapes), fc.array(text), cuts, ([route, shape], texts, at) => {
        const stream = createStreamMeter({ route, removeUsageChunk: false });
        const bytes = Buffer.from(texts.map(shape).join(''));
        for (const part of cutAt(bytes, at)) stream.push(part, 0);
        expect(stream.contentBytes()).toBe(Buffer.byteLength(texts.join('')));
      }),
      { numRuns: 500 },
    );
  });

  it('count an escaped character as what it stands for', () => {
    const stream = createStreamMeter({ route: 'chat.completions', removeUsageChunk: false });
    stream.push(Buffer.from('data: {"choices":[{"delta":{"content":"\\u8a9e\\n\\u8a9e"}}]}\n\n'), 0);
    expect(stream.contentBytes()).toBe(7);
  });

  it('are those of an event that is too large to be kept, also before its end', () => {
    const size = 2 * KEPT_EVENT_BYTES;
    for (const delta of [
      { content: 'x'.repeat(size) },
      { tool_calls: [{ index: 0, function: { name: 'f', arguments: 'x'.repeat(size) } }] },
    ]) {
      const stream = createStreamMeter({ route: 'chat.completions', removeUsageChunk: false });
      const huge = Buffer.from(event({ padding: 'y'.repeat(size), choices: [{ delta }] }));
      const half = huge.length - size / 2;
      for (let at = 0; at < half; at += 1000) stream.push(huge.subarray(at, Math.min(half, at + 1000)), 0);
      expect(stream.contentBytes()).toBeGreaterThan(size / 2 - 200);
      expect(stream.contentBytes()).toBeLessThan(size / 2 + 20);
      stream.push(huge.subarray(half), 0);
      expect(stream.contentBytes()).toBeGreaterThanOrEqual(size);
      expect(stream.contentBytes()).toBeLessThan(size + 20);
    }
  });
});

describe('usage', () => {
  it('is the last one of a single choice, when every chunk carries it', () => {
    const continuous = [1, 2, 3].map((n) =>
      chat({ content: 'a' }, null, 0, { usage: { prompt_tokens: 5, completion_tokens: n } }),
    );
    expect(read(continuous.join('')).usage).toEqual({
      promptTokens: 5,
      completionTokens: 3,
      cachedTokens: 0,
    });
  });

  it('is the sum of the latest of each choice after a cut, and the total when that came', () => {
    const of = (index: number, n: number) =>
      chat({ content: 'a' }, null, index, { usage: { prompt_tokens: 5, completion_tokens: n } });
    const cut = of(0, 1) + of(1, 1) + of(0, 2) + of(1, 3);
    expect(read(cut).usage).toMatchObject({ promptTokens: 5, completionTokens: 5 });
    const ends = chat({}, 'stop', 0) + chat({}, 'stop', 1);
    expect(read(cut + ends + usageEvent(5, 6)).usage).toMatchObject({ promptTokens: 5, completionTokens: 6 });
  });

  it('is the sum where an engine sends one for each choice', () => {
    const tokens = chat({ content: 'a' }, null, 0) + chat({ content: 'b' }, null, 1);
    const ends = chat({}, 'stop', 0) + usageEvent(5, 7) + chat({}, 'stop', 1) + usageEvent(5, 9);
    expect(read(tokens + ends + DONE).usage).toEqual({
      promptTokens: 5,
      completionTokens: 16,
      cachedTokens: 0,
    });
  });

  it('is not less than the tokens seen, where an engine counts one choice of several', () => {
    const tokens = [0, 1, 2]
      .map((i) => chat({ content: 'a' }, null, i) + chat({ content: 'b' }, 'stop', i))
      .join('');
    expect(read(tokens + usageEvent(5, 2)).usage?.completionTokens).toBe(6);
  });

  it('comes on the last content chunk from some engines, and is not removed from there', () => {
    const last = event({
      choices: [{ index: 0, text: 'z', finish_reason: 'length' }],
      usage: { prompt_tokens: 3, completion_tokens: 2 },
    });
    const { output, result } = meter([Buffer.from(last + DONE)], { route: 'completions', remove: true });
    expect(output.toString()).toBe(last + DONE);
    expect(result.usage).toMatchObject({ promptTokens: 3, completionTokens: 2 });
  });

  it('is read from an event whose data is spread over several lines', () => {
    const spread =
      'data: {"choices":[{"delta":{"content":"b"}}],"usage":\ndata: {"prompt_tokens":5,\ndata: "completion_tokens":2}}\n\n';
    expect(read(chat({ content: 'a' }) + spread).usage).toMatchObject({
      promptTokens: 5,
      completionTokens: 2,
    });
  });

  it('tells cached tokens', () => {
    const details = { prompt_tokens_details: { cached_tokens: 4 } };
    expect(read(usageEvent(5, 2, details)).usage?.cachedTokens).toBe(4);
  });

  it('is put together from the two ends of an Anthropic stream', () => {
    const text =
      event({
        type: 'message_start',
        message: { usage: { input_tokens: 10, cache_read_input_tokens: 90, output_tokens: 1 } },
      }) +
      event({ type: 'content_block_delta', delta: { type: 'text_delta', text: 'a' } }) +
      event({ type: 'message_delta', delta: {}, usage: { output_tokens: 7 } });
    expect(read(text, 'messages')).toMatchObject({
      usage: { promptTokens: 100, completionTokens: 7, cachedTokens: 90 },
      finished: false,
      tokenEvents: 1,
    });
    expect(read(text + event({ type: 'message_stop' }), 'messages').finished).toBe(true);
  });

  it('comes at the end of a Responses stream', () => {
    const usage = { input_tokens: 10, output_tokens: 3, input_tokens_details: { cached_tokens: 8 } };
    const text =
      event({ type: 'response.created', response: { usage: null, error: null } }) +
      event({ delta: 'a', type: 'response.output_text.delta' }) +
      event({ delta: 'b', type: 'response.output_text.delta' });
    const end = (type: string) => event({ type, response: { usage } });
    for (const type of ['response.completed', 'response.incomplete']) {
      expect(read(text + end(type), 'responses')).toMatchObject({
        usage: { promptTokens: 10, completionTokens: 3, cachedTokens: 8 },
        tokenEvents: 2,
        finished: true,
        errorFrame: false,
      });
    }
    const bare = event({ type: 'response.completed', response: { usage: null, error: null } });
    expect(read(text + bare, 'responses')).toMatchObject({ finished: true, tokenEvents: 2 });
    expect(read(text + end('response.failed'), 'responses')).toMatchObject({
      finished: false,
      errorFrame: true,
    });
  });
});

describe('usage without choices', () => {
  const usage = { prompt_tokens: 5, completion_tokens: 2 };
  const start = chat({ content: 'a' }) + chat({}, 'stop');

  it.each([{ usage }, { choices: null, usage }, { choices: [], usage }])(
    'is counted and taken out: %j',
    (last) => {
      const text = Buffer.from(start + event(last) + DONE);
      for (const pieces of [[text], every(text)]) {
        const { output, result } = meter(pieces, { remove: true });
        expect(output.toString()).toBe(start + DONE);
        expect(result.usage).toMatchObject({ promptTokens: 5, completionTokens: 2 });
      }
    },
  );

  it('stays where the event says more', () => {
    for (const more of [
      { choices: [{ index: 0, delta: { content: 'z' } }] },
      { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] },
      { error: { message: 'x' } },
      { message: { content: 'z' } },
    ]) {
      const text = start + event({ ...more, usage }) + DONE;
      expect(meter([Buffer.from(text)], { remove: true }).output.toString()).toBe(text);
    }
  });

  it('is early where text came after it, and while its choice has not finished', () => {
    const soFar = { usage: { prompt_tokens: 5, completion_tokens: 1 } };
    const first = chat({ content: 'a' }, 'stop', 0, soFar);
    expect(read(first)).not.toHaveProperty('isUsageEarly');
    expect(read(first + chat({ content: 'b' })).isUsageEarly).toBe(true);
    expect(read(chat({ content: 'a' }, null, 0, soFar)).isUsageEarly).toBe(true);
  });

  it('is told as odd where it is none', () => {
    for (const odd of [{ ...usage, prompt_tokens: '5' }, [usage], 'x', 5, { usage }]) {
      const result = read(chat({ content: 'a' }) + event({ choices: [], usage: odd }));
      expect(result.oddUsage).toBe(true);
      expect(result.usage).toBeUndefined();
    }
    expect(read(start + event({ choices: [], usage }))).not.toHaveProperty('oddUsage');
  });
});

describe('lines without blank ones between them', () => {
  const lines = (start: string, eol: string): Buffer =>
    Buffer.from(
      start +
        (ROLE + chat({ content: 'a' }) + chat({ content: 'b' }, 'stop') + usageEvent(5, 2) + DONE).replaceAll(
          '\n\n',
          eol,
        ),
    );

  it.each(['\n', '\r\n', '\r'])('are events: %j', (eol) => {
    for (const start of ['', '\uFEFF', ': ping\n', 'event: x\n']) {
      const text = lines(start, eol);
      for (const pieces of [[text], every(text), cutEvery(text, 50)]) {
        const { output, result } = meter(pieces, { remove: true });
        expect(output.toString()).toBe(text.toString().replace(usageEvent(5, 2).trim() + eol, ''));
        expect(result).toMatchObject({ tokenEvents: 2, finished: true, usage: { promptTokens: 5 } });
      }
    }
  });

  it('are timed as they come, and the end is known at once', () => {
    const subject = createStreamMeter({ route: 'chat.completions', removeUsageChunk: false });
    const pieces = lines('', '\n')
      .toString()
      .split(/(?<=\n)/);
    for (const [i, piece] of pieces.entries()) subject.push(Buffer.from(piece), i);
    expect(subject.finished()).toBe(true);
    expect(subject.result()).toMatchObject({ firstTokenMs: 1, lastTokenMs: 2 });
  });
});

describe('an error frame', () => {
  it.each([
    event({ error: { message: 'overloaded', type: 'x', param: null, code: 503 } }),
    event({ object: 'error', message: 'x', type: 'y', param: null, code: 400 }),
    event({ error: 'Input validation error', error_type: 'validation' }),
    'error: {"code":500,"message":"x","type":"server_error"}\n\n',
    'event: error\ndata: {"error":{"message":"x"}}\n\n',
    'event: error\ndata: it broke\n\n',
    event({ choices: [], '\\u0065rror': 1 }).replace('\\\\', '\\'),
  ])('is an error even before any token, and whatever follows: %s', (frame) => {
    expect(read(frame).errorFrame).toBe(true);
    expect(read(ROLE + chat({ content: 'a' }) + frame + DONE)).toMatchObject({
      errorFrame: true,
      finished: true,
    });
  });

  it('is told by its type on typed routes', () => {
    const frame = event({ type: 'error', error: { type: 'overloaded_error', message: 'x' } });
    expect(
      read(event({ type: 'content_block_delta', delta: { text: 'a' } }) + frame, 'messages').errorFrame,
    ).toBe(true);
    expect(read(event({ type: 'error', message: 'x' }), 'responses').errorFrame).toBe(true);
  });

  it('is not a null', () => {
    expect(read(chat({ content: 'a' }) + chat({ content: 'b' }, null, 0, { error: null })).errorFrame).toBe(
      false,
    );
  });
});

describe('the end', () => {
  it('needs [DONE], or a finish reason and an orderly end', () => {
    const finished = (text: string) => read(text).finished;
    expect(finished(chat({ content: 'a' }))).toBe(false);
    expect(finished(chat({ content: 'a' }, 'stop'))).toBe(true);
    expect(finished(chat({ content: 'a' }) + DONE)).toBe(true);
    expect(finished(`${chat({ content: 'a' })}data: [DONE]`)).toBe(true);
    const cut = createStreamMeter({ route: 'chat.completions', removeUsageChunk: false });
    cut.push(Buffer.from(chat({ content: 'a' }, 'stop')), 1);
    expect(cut.result().finished).toBe(false);
  });

  it('reads an event whose blank line is missing, and removes it too', () => {
    const start = chat({ content: 'a' }, 'stop');
    const usage = usageEvent(5, 2).trimEnd();
    const { output, result } = meter([Buffer.from(start + usage)], { remove: true });
    expect(result.usage?.promptTokens).toBe(5);
    expect(output.toString()).toBe(start);
  });

  it('gives back what was held of an event that was cut off', () => {
    const text = chat({ content: 'a' }, 'stop') + usageEvent(5, 2).slice(0, 30);
    expect(meter([Buffer.from(text)], { remove: true }).output.toString()).toBe(text);
  });

  it('may come twice', () => {
    const subject = createStreamMeter({ route: 'chat.completions', removeUsageChunk: true });
    subject.push(Buffer.from(`${chat({}, 'stop')}data: x`), 1);
    expect(subject.end()?.toString()).toBe('data: x');
    expect(subject.end()).toBeUndefined();
  });
});

describe('holding back', () => {
  it('takes out both halves of a CRLF that was cut', () => {
    const start = Buffer.from(chat({ content: 'a' }, 'stop'));
    const usage = usageEvent(5, 2).replaceAll('\n', '\r\n');
    for (const cut of [1, 2, 3, 4]) {
      const pieces = [start, Buffer.from(usage.slice(0, -cut)), Buffer.from(usage.slice(-cut) + DONE)];
      expect(meter(pieces, { remove: true }).output.toString()).toBe(start.toString() + DONE);
    }
  });

  it('never delays bytes before a choice has finished', () => {
    const subject = createStreamMeter({ route: 'chat.completions', removeUsageChunk: true });
    const text = Buffer.from(ROLE + chat({ content: 'a' }) + chat({ content: 'b' }, 'stop'));
    for (const byte of every(text)) expect(subject.push(byte, 1)).toBeUndefined();
  });

  it('never happens without removal', () => {
    const subject = createStreamMeter({ route: 'chat.completions', removeUsageChunk: false });
    for (const byte of every(Buffer.from(chat({}, 'stop') + usageEvent(1, 1) + DONE))) {
      expect(subject.push(byte, 1)).toBeUndefined();
    }
  });

  it('leaves choices without usage, and usage: null, where they are', () => {
    const text = `${event({ choices: [], prompt_filter_results: [] })}${chat({ content: 'a' }, null, 0, { usage: null })}${chat({}, 'stop')}${event({ choices: [], usage: null })}${DONE}`;
    expect(meter([Buffer.from(text)], { remove: true }).output.toString()).toBe(text);
  });
});

describe('an event that is too large to be kept', () => {
  const padding = 'x'.repeat(1_200_000);
  const huge = chat({ content: padding });
  const hugeUsage = usageEvent(9, 9, { padding });

  it.each([1000, 65_536, 1_000_000, 10_000_000])(
    'passes in pieces of %i bytes as it is, and is read',
    (size) => {
      const text = Buffer.from(ROLE + huge + chat({ content: 'a' }, 'stop') + hugeUsage + DONE);
      const both = Buffer.concat([text, Buffer.from(usageEvent(5, 2))]);
      for (const remove of [false, true]) {
        const { output, result } = meter(cutEvery(both, size), { remove });
        expect(output.equals(remove ? text : both)).toBe(true);
        expect(result).toMatchObject({ tokenEvents: 2, finished: true, usage: { promptTokens: 5 } });
      }
      const { usage } = meter(cutEvery(text, size)).result;
      expect(usage).toEqual({ promptTokens: 9, completionTokens: 9, cachedTokens: 0 });
    },
  );

  it('gives its usage wherever that stands', () => {
    const usage = { prompt_tokens: 700, completion_tokens: 3 };
    const tokens = Array.from({ length: 200_000 }, (_, i) => i % 1000);
    const events: readonly (readonly [EngineRoute, object])[] = [
      ['chat.completions', { usage, choices: [], prompt_token_ids: tokens }],
      ['chat.completions', { prompt_token_ids: tokens, choices: [], usage }],
      ['chat.completions', { prompt_token_ids: tokens, usage, tools: [{ usage: 1 }], padding }],
      ['completions', { choices: [{ text: '', logprobs: tokens, finish_reason: 'stop' }], usage, padding }],
      [
        'responses',
        {
          type: 'response.completed',
          response: { output: [padding], usage: { input_tokens: 700, output_tokens: 3 }, tools: [padding] },
        },
      ],
      [
        'responses',
        {
          response: { tools: [{ usage }, padding], usage: { input_tokens: 700, output_tokens: 3 } },
          type: 'response.completed',
        },
      ],
      [
        'messages',
        {
          type: 'message_delta',
          delta: { stop_reason: padding },
          usage: { input_tokens: 700, output_tokens: 3 },
        },
      ],
    ];
    for (const [route, json] of events) {
      for (const eol of ['\n', '\r\n', '\r']) {
        const text = Buffer.from(event(json).replaceAll('\n', eol));
        for (const size of [999, 65_536, 10_000_000]) {
          const { usage: read_, errorFrame } = meter(cutEvery(text, size), { route }).result;
          expect(read_).toEqual({ promptTokens: 700, completionTokens: 3, cachedTokens: 0 });
          expect(errorFrame).toBe(false);
        }
      }
    }
  });

  it('may be an error, or spread over lines, or followed by a line that is an event', () => {
    const failed = event({ padding, error: { message: 'x' } });
    expect(meter(cutEvery(Buffer.from(failed), 999)).result.errorFrame).toBe(true);
    const spread = hugeUsage.replace(',', ',\ndata:');
    expect(meter(cutEvery(Buffer.from(spread), 999)).result.usage).toMatchObject({ promptTokens: 9 });
    const lines = `${hugeUsage.trim()}\n${hugeUsage.trim().replaceAll('9', '8')}\ndata: [DONE]\n`;
    for (const size of [999, 65_536, 10_000_000]) {
      const { usage, finished } = meter(cutEvery(Buffer.from(lines), size)).result;
      expect(usage).toMatchObject({ promptTokens: 8 });
      expect(finished).toBe(true);
    }
  });
});

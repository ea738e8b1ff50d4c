import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_FORBIDDEN_FIELDS } from '../../../src/config/forbidden-fields.ts';
import type { CommonRoute } from '../../../src/domain/routes.ts';
import type { ParsedRequest } from '../../../src/openai/parsed-request.ts';
import { parseRequest, serialiseRequest } from '../../../src/openai/request.ts';
import { policyWith } from '../../support/documents.ts';

const DROP = policyWith();
const REFUSE = policyWith({ onForbidden: 'refuse' });

const BASE: Record<CommonRoute, Record<string, unknown>> = {
  'chat.completions': { model: 'm', messages: [{ role: 'user', content: 'hi' }] },
  completions: { model: 'm', prompt: 'hi' },
  embeddings: { model: 'm', input: 'hi' },
  responses: { model: 'm', input: 'hi' },
  messages: { model: 'm', max_tokens: 5, messages: [{ role: 'user', content: 'hi' }] },
};
const ROUTES = Object.keys(BASE) as CommonRoute[];

const bytes = (body: unknown) => Buffer.from(JSON.stringify(body));
const parse = (route: CommonRoute, extra: Record<string, unknown>, policy = DROP) =>
  parseRequest(route, bytes({ ...BASE[route], ...extra }), policy);

function accepted(route: CommonRoute, extra: Record<string, unknown> = {}): ParsedRequest {
  const result = parse(route, extra);
  if (result.kind === 'bad') throw new Error(`refused: ${result.error.message}`);
  return result.request;
}

function refusal(route: CommonRoute, extra: Record<string, unknown>, policy = DROP) {
  const result = parse(route, extra, policy);
  if (result.kind === 'ok') throw new Error(`accepted ${JSON.stringify(extra)}`);
  return result.error;
}

const sent = (request: ParsedRequest, changes: { maxOutputTokens?: number; includeUsage?: boolean } = {}) =>
  JSON.parse(
    Buffer.concat(serialiseRequest(request, { includeUsage: false, ...changes })).toString(),
  ) as Record<string, unknown>;

describe('a request is read strictly', () => {
  it.each(ROUTES)('%s: the least body is accepted and sent on as it is', (route) => {
    const request = accepted(route);
    expect(request).toMatchObject({ route, model: 'm', stream: false, outputs: 1, dropped: [] });
    expect(sent(request)).toEqual(BASE[route]);
  });

  it.each(ROUTES)('%s: a model that names nothing is refused', (route) => {
    for (const model of [undefined, null, '', 1, ['m'], {}, 'x'.repeat(257), 'a\nb', 'a\u0000', 'a\u009f']) {
      expect(refusal(route, { model })).toMatchObject({ status: 400, param: 'model' });
    }
    expect(refusal(route, { model: '\ud800' })).toMatchObject({ status: 400, code: 'invalid_json' });
    expect(accepted(route, { model: 'meta-llama/Llama-3.1-8B' }).model).toBe('meta-llama/Llama-3.1-8B');
  });

  it.each([
    ['stream', ['yes', 'true', 1, 0, {}, []]],
    ['n', ['2', 0, -1, 1.5, 129, 1e300, true, [], {}]],
    ['best_of', ['2', 0, 129]],
    ['max_tokens', ['10', 0.5, -0.5, 1.5, 2 ** 31 + 1, -(2 ** 31) - 1, true, {}]],
    ['max_completion_tokens', ['10', -1.5, 1.5, 2 ** 31 + 1, -(2 ** 31) - 1, true, []]],
    ['max_output_tokens', ['10', '-1', 1e300]],
    ['stream_options', ['x', 1, true, []]],
  ])('%s of another type or out of range is refused and named', (field, values) => {
    for (const value of values) {
      for (const route of ROUTES) {
        expect(refusal(route, { [field]: value })).toMatchObject({ status: 400, param: field });
      }
    }
  });

  it('takes null for an optional field as absent', () => {
    for (const field of ['stream', 'n', 'best_of', 'max_completion_tokens', 'stream_options', 'stop']) {
      expect(accepted('chat.completions', { [field]: null })).toMatchObject({ stream: false, outputs: 1 });
    }
    expect(accepted('chat.completions', { max_tokens: null }).maxOutputTokens).toBeUndefined();
    expect(accepted('chat.completions', { stream_options: { include_usage: null } }).wantsUsage).toBe(false);
  });

  it('checks what is inside stream_options', () => {
    expect(refusal('chat.completions', { stream_options: { include_usage: 'yes' } }).param).toBe(
      'stream_options.include_usage',
    );
    expect(refusal('completions', { stream_options: { continuous_usage_stats: 1 } }).param).toBe(
      'stream_options.continuous_usage_stats',
    );
  });

  it.each([
    ['chat.completions', 'messages', [undefined, null, 'hi', [], ['hi'], {}, 1]],
    ['messages', 'messages', [undefined, null, 'hi', [], [null]]],
    [
      'completions',
      'prompt',
      [undefined, null, 1, {}, [], ['a', 1], [1, 'a'], [1.5], [-1], [[]], [[1], 'a'], [{}]],
    ],
    ['embeddings', 'input', [undefined, null, 1, {}, [], ['a', 1], [[1], [null]], [true]]],
    ['responses', 'input', [undefined, null, 1, {}, ['hi']]],
  ] as const)('%s: %s must be a prompt', (route, field, values) => {
    for (const value of values) {
      expect(refusal(route, { [field]: value })).toMatchObject({ status: 400, param: field });
    }
  });

  it('embeds conversations and parts as well as text', () => {
    expect(
      accepted('embeddings', { input: undefined, messages: [{ role: 'user', content: 'hi' }] }).model,
    ).toBe('m');
    expect(accepted('embeddings', { input: [{ text: 'hi' }] }).promptBytes).toBe(2);
  });

  it('tells malformed JSON from a wrong field', () => {
    const result = parseRequest('completions', Buffer.from('{"model":'), DROP);
    expect(result).toMatchObject({ kind: 'bad', error: { status: 400, code: 'invalid_json' } });
  });

  it('never throws, whatever JSON the fields hold', () => {
    const fieldNames = fc.constantFrom(
      ...'model messages prompt input stream n max_tokens stream_options tools system'.split(' '),
    );
    fc.assert(
      fc.property(fc.constantFrom(...ROUTES), fc.dictionary(fieldNames, fc.jsonValue()), (route, extra) => {
        const result = parse(route, extra);
        if (result.kind === 'bad') return;
        const { request } = result;
        expect(Number.isSafeInteger(request.promptBytes) && request.promptBytes >= 0).toBe(true);
        expect(request.outputs).toBeGreaterThanOrEqual(1);
        sent(request, { maxOutputTokens: 7, includeUsage: true });
      }),
      { numRuns: 1000 },
    );
  });

  it('never throws on arbitrary bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 50 }), (body) => {
        expect(parseRequest('chat.completions', body, DROP).kind).toBe('bad');
      }),
    );
  });
});

describe('the output that a request may take', () => {
  it('is the cap under the name that the API reads', () => {
    expect(accepted('chat.completions', { max_tokens: 100, max_completion_tokens: 10 }).maxOutputTokens).toBe(
      10,
    );
    expect(accepted('chat.completions', { max_tokens: 100 }).maxOutputTokens).toBe(100);
    expect(accepted('completions', { max_completion_tokens: 10 }).maxOutputTokens).toBeUndefined();
    expect(accepted('responses', { max_output_tokens: 9, max_tokens: 10 }).maxOutputTokens).toBe(9);
    expect(accepted('messages').maxOutputTokens).toBe(5);
    expect(accepted('messages', { max_tokens: undefined }).maxOutputTokens).toBeUndefined();
    expect(accepted('embeddings', { max_tokens: 10 }).maxOutputTokens).toBe(0);
  });

  it('is left open by a number below one: its meaning is the engine’s', () => {
    expect(accepted('chat.completions', { max_tokens: -1 })).toMatchObject({ belowOne: [-1] });
    expect(accepted('completions', { max_tokens: 0, max_completion_tokens: -1 }).belowOne).toEqual([-1, 0]);
    expect(accepted('chat.completions', { max_tokens: -1, max_completion_tokens: 4 })).toMatchObject({
      maxOutputTokens: 4,
      belowOne: undefined,
    });
    expect(accepted('chat.completions', { max_tokens: null }).belowOne).toBeUndefined();
    expect(accepted('embeddings', { max_tokens: -1 }).belowOne).toBeUndefined();
  });

  it('is nothing for completions that only score the given text', () => {
    expect(accepted('completions', { echo: true, max_tokens: 0 }).maxOutputTokens).toBe(0);
    expect(accepted('completions', { max_tokens: 0 }).maxOutputTokens).toBeUndefined();
  });

  it('multiplies choices by prompts', () => {
    expect(accepted('chat.completions', { n: 3 }).outputs).toBe(3);
    expect(accepted('completions', { n: 2, best_of: 5 }).outputs).toBe(5);
    expect(accepted('completions', { prompt: ['a', 'b', 'c'], n: 2 }).outputs).toBe(6);
    expect(accepted('completions', { prompt: [[1, 2], [3]] }).outputs).toBe(2);
    expect(accepted('completions', { prompt: [1, 2, 3] }).outputs).toBe(1);
    expect(accepted('embeddings', { input: ['a', 'b'] }).outputs).toBe(1);
  });
});

describe('the size of a prompt', () => {
  it('counts UTF-8 bytes of text and no scaffolding', () => {
    expect(accepted('completions', { prompt: 'Grüße 🙂' }).promptBytes).toBe(Buffer.byteLength('Grüße 🙂'));
    expect(accepted('completions', { prompt: ['ab', 'c'] }).promptBytes).toBe(3);
    const chat = [{ role: 'user', content: [{ type: 'text', text: 'x'.repeat(1000) }] }];
    expect(accepted('chat.completions', { messages: chat }).promptBytes).toBe(1000 + 'user'.length);
    expect(accepted('messages', { system: 'abc' }).promptBytes - accepted('messages').promptBytes).toBe(3);
  });

  it('counts tools with their keys, since templates render them as JSON', () => {
    const tools = [
      { type: 'function', function: { name: 'f', parameters: { properties: { long_property_name: {} } } } },
    ];
    const more =
      accepted('chat.completions', { tools }).promptBytes - accepted('chat.completions').promptBytes;
    expect(more).toBeGreaterThan(50);
    expect(more).toBeLessThanOrEqual(JSON.stringify(tools).length);
  });

  it('does not take an image for text', () => {
    const data = 'A'.repeat(1_000_000);
    const parts = [
      { type: 'image_url', image_url: { url: `data:image/png;base64,${data}` } },
      { type: 'image', source: { type: 'base64', media_type: 'image/png', data } },
      { type: 'input_image', image_url: `data:image/png;base64,${data}` },
      { type: 'input_audio', input_audio: { data, format: 'wav' } },
      { type: 'document', source: { type: 'base64', data } },
    ];
    for (const part of parts) {
      const { promptBytes } = accepted('chat.completions', { messages: [{ role: 'user', content: [part] }] });
      expect(promptBytes).toBeGreaterThan(1000);
      expect(promptBytes).toBeLessThan(20_000);
    }
    const document = { type: 'document', source: { type: 'text', data: 'x'.repeat(500) } };
    expect(
      accepted('messages', { messages: [{ role: 'user', content: [document] }] }).promptBytes,
    ).toBeGreaterThanOrEqual(500);
  });

  it('counts token ids by their number', () => {
    expect(accepted('completions', { prompt: [1, 2, 3] }).promptBytes).toBe(12);
  });
});

describe('forbidden fields', () => {
  it('are dropped and listed, or refused and named', () => {
    const extra = { priority: -5, bootstrap_host: '10.0.0.1', temperature: 0.5 };
    const request = accepted('chat.completions', extra);
    expect(request.dropped.toSorted()).toEqual(['bootstrap_host', 'priority']);
    expect(sent(request)).toEqual({ ...BASE['chat.completions'], temperature: 0.5 });
    expect(refusal('chat.completions', { cache_salt: 'x' }, REFUSE)).toMatchObject({
      status: 400,
      code: 'forbidden_field',
      param: 'cache_salt',
    });
  });

  it('hold for every default field on every route, and in every spelling of its name', () => {
    for (const field of DEFAULT_FORBIDDEN_FIELDS.filter((name) => !name.includes('.'))) {
      const name = field.replace('*', 'x');
      for (const route of ROUTES) expect(sent(accepted(route, { [name]: 1 }))).not.toHaveProperty(name);
    }
    const escaped = Buffer.from('{"model":"m","prompt":"hi","\\u0070riority":1}');
    expect(parseRequest('completions', escaped, REFUSE)).toMatchObject({ error: { param: 'priority' } });
  });

  it('leave alone what ordinary clients send', () => {
    const ordinary = {
      temperature: 0.2,
      top_p: 0.9,
      seed: 7,
      stop: ['x'],
      tools: [],
      tool_choice: 'auto',
      response_format: { type: 'json_object' },
      logprobs: true,
      top_logprobs: 5,
      guided_json: {},
      structured_outputs: {},
      chat_template_kwargs: { enable_thinking: false },
      reasoning_effort: 'low',
      user: 'u',
      metadata: {},
    };
    expect(accepted('chat.completions', ordinary).dropped).toEqual([]);
    expect(parse('chat.completions', ordinary, REFUSE).kind).toBe('ok');
  });

  it('do not reach into nested objects', () => {
    expect(accepted('chat.completions', { metadata: { priority: 'high' } }).dropped).toEqual([]);
  });
});

describe('a request as it is sent on', () => {
  it('carries the cap: injected when absent, lowered when above, kept when below', () => {
    expect(sent(accepted('chat.completions'), { maxOutputTokens: 50 })['max_tokens']).toBe(50);
    expect(sent(accepted('completions', { max_tokens: 100 }), { maxOutputTokens: 50 })['max_tokens']).toBe(
      50,
    );
    expect(sent(accepted('completions', { max_tokens: 10 }), { maxOutputTokens: 50 })['max_tokens']).toBe(10);
    expect(sent(accepted('responses'), { maxOutputTokens: 50 })['max_output_tokens']).toBe(50);
    expect(sent(accepted('embeddings'), { maxOutputTokens: 50 })).toEqual(BASE.embeddings);
  });

  it('says the same cap under every name that an engine might read', () => {
    const request = accepted('chat.completions', { max_tokens: 1000, max_completion_tokens: 10 });
    expect(sent(request)).toMatchObject({ max_tokens: 10, max_completion_tokens: 10 });
    const lowered = sent(accepted('chat.completions', { max_completion_tokens: 100 }), {
      maxOutputTokens: 50,
    });
    expect(lowered).toMatchObject({ max_tokens: 50, max_completion_tokens: 50 });
  });

  it('asks for usage only in streams of the APIs that need to be asked', () => {
    const asked = { includeUsage: true };
    for (const route of ['chat.completions', 'completions'] as const) {
      expect(sent(accepted(route, { stream: true }), asked)['stream_options']).toEqual({
        include_usage: true,
      });
      expect(sent(accepted(route), asked)).not.toHaveProperty('stream_options');
    }
    for (const route of ['responses', 'messages', 'embeddings'] as const) {
      expect(accepted(route, { stream: true }).wantsUsage).toBe(true);
      expect(sent(accepted(route, { stream: true }), asked)).not.toHaveProperty('stream_options');
    }
  });

  it('keeps the other stream options', () => {
    const options = { continuous_usage_stats: true, include_usage: false };
    const request = accepted('chat.completions', { stream: true, stream_options: options });
    expect(request.wantsUsage).toBe(false);
    expect(sent(request, { includeUsage: true })['stream_options']).toEqual({
      ...options,
      include_usage: true,
    });
    expect(
      accepted('chat.completions', { stream: true, stream_options: { include_usage: true } }).wantsUsage,
    ).toBe(true);
  });

  it('is understood the same when it is read again', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...ROUTES),
        fc.record({
          stream: fc.boolean(),
          n: fc.integer({ min: 1, max: 128 }),
          max_tokens: fc.integer({ min: 1, max: 5000 }),
          user: fc.string({ unit: 'binary' }),
        }),
        (route, extra) => {
          const request = accepted(route, extra);
          const again = parseRequest(
            route,
            Buffer.concat(serialiseRequest(request, { includeUsage: false })),
            DROP,
          );
          expect(again).toEqual({ kind: 'ok', request });
        },
      ),
    );
  });
});

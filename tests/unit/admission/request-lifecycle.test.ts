import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RequestLifecycle } from '../../../src/admission/request-lifecycle.ts';
import { type Config, DEFAULT_LANE, type LaneConfig } from '../../../src/config/config.ts';
import { createMemoryStore } from '../../../src/limit/memory-store.ts';
import type { LimitStore } from '../../../src/limit/store.ts';
import type { AttemptResult } from '../../../src/pool/health/outcome.ts';
import { askModels, chatHead, createWorld, type Said, type World } from '../../support/lifecycle.ts';

const chat = (fields: object = {}): Buffer =>
  Buffer.from(
    JSON.stringify({ model: 'small', messages: [{ role: 'user', content: 'hello there' }], ...fields }),
  );
const answer = (fields: object = {}) => ({
  status: 200,
  contentType: 'application/json',
  contentEncoding: '',
  upstream: '10.0.0.1:8000',
  endOfStream: false,
  ...fields,
});
const usage = (prompt: number, completion: number): Buffer =>
  Buffer.from(
    JSON.stringify({ choices: [], usage: { prompt_tokens: prompt, completion_tokens: completion } }),
  );
const event = (data: object | string): Buffer =>
  Buffer.from(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`);
const token = (content: string): Buffer =>
  event({ choices: [{ index: 0, delta: { content }, finish_reason: null }] });

const refusal = (said: readonly Said[]) => {
  const last = said.at(-1);
  if (last?.kind !== 'respond') throw new Error(`expected a refusal, got ${last?.kind}`);
  return {
    status: last.response.status,
    error: (
      JSON.parse(last.response.body) as { error: { code: string; param: string | null; message: string } }
    ).error,
    headers: Object.fromEntries(last.response.headers),
    details: last.response.details,
  };
};
const sent = (said: readonly Said[]) => {
  const one = said.find((entry) => entry.kind === 'send-on');
  if (one?.kind !== 'send-on') throw new Error('not sent on');
  if (one.request.body === undefined) throw new Error('sent on as it came');
  const body = Buffer.concat(one.request.body);
  return { ...one.request, body, json: JSON.parse(body.toString()) as Record<string, unknown> };
};
const run = (world: World, fields: object = {}, headFields: object = {}, nowMs = 0) => {
  const { request, said } = world.open();
  request.headers(chatHead(headFields), nowMs);
  request.body(chat(fields), nowMs);
  return { request, said };
};

describe('a request', () => {
  it('stays as it came where nothing is changed, if the proxy has it and engines can know its length', () => {
    const bodyOf = (keepsBody: boolean, fields: object, contentLength: number | undefined) => {
      const { request, said } = createWorld().open(keepsBody);
      request.headers(chatHead({ contentLength }), 0);
      request.body(chat(fields), 0);
      const last = said.at(-1);
      if (last?.kind !== 'send-on') throw new Error('not sent on');
      return last.request.body;
    };
    expect(bodyOf(true, {}, 90)).toBeUndefined();
    expect(bodyOf(true, { stream: true, stream_options: { include_usage: true } }, 90)).toBeUndefined();
    expect(bodyOf(true, {}, undefined)).toBeDefined();
    expect(bodyOf(true, { stream: true }, 90)).toBeDefined();
    expect(bodyOf(true, { priority: 1 }, 90)).toBeDefined();
    expect(bodyOf(false, {}, 90)).toBeDefined();
  });

  it('passes, is sent on and metered by what the engine says', () => {
    const world = createWorld();
    const { request, said } = run(world);
    expect(said.map(({ kind }) => kind)).toEqual(['pass-headers', 'send-on']);
    expect(sent(said)).toMatchObject({ pool: 'main', addresses: ['10.0.0.1:8000'] });
    request.responseHeaders(answer(), 10);
    request.responseChunk(usage(7, 5), true, 30);
    expect(world.records).toEqual([
      expect.objectContaining({
        tenant: 'a',
        model: 'small',
        outcome: 'completed',
        status: 200,
        promptTokens: 7,
        completionTokens: 5,
        usageSource: 'engine',
        endpoint: 'http://10.0.0.1:8000',
        address: '10.0.0.1:8000',
        durationMs: 30,
      }),
    ]);
    expect(world.endpoints.inFlight()).toBe(0);
  });

  it('that streams asks the engine for usage, times the first token and ends at [DONE]', () => {
    const world = createWorld();
    const { request, said } = run(world, { stream: true });
    expect(sent(said).json['stream_options']).toEqual({ include_usage: true });
    request.responseHeaders(answer({ contentType: 'text/event-stream' }), 5);
    request.responseChunk(event({ choices: [{ delta: { role: 'assistant', content: '' } }] }), false, 6);
    request.responseChunk(token('a'), false, 20);
    request.responseChunk(token('b'), false, 30);
    request.responseChunk(event({ choices: [{ delta: {}, finish_reason: 'stop' }] }), false, 31);
    request.responseChunk(
      usage(4, 2).length > 0 ? event(usage(4, 2).toString()) : Buffer.alloc(0),
      false,
      32,
    );
    expect(world.endpoints.inFlight()).toBe(1);
    request.responseChunk(event('[DONE]'), false, 33);
    expect(world.endpoints.inFlight()).toBe(0);
    request.responseChunk(Buffer.alloc(0), true, 40);
    request.streamEnded(50);
    expect(world.records).toHaveLength(1);
    expect(world.records[0]).toMatchObject({
      outcome: 'completed',
      ttftMs: 20,
      itlMeanMs: 10,
      promptTokens: 4,
      completionTokens: 2,
    });
  });

  it('that is cut in mid-stream is charged for what went by, and says that this is an estimate', () => {
    const world = createWorld();
    const { request } = run(world, { stream: true });
    request.responseHeaders(answer({ contentType: 'text/event-stream' }), 5);
    request.responseChunk(token('a'), false, 20);
    request.responseChunk(token('b'), false, 30);
    request.streamEnded(31);
    expect(world.records[0]).toMatchObject({
      outcome: 'aborted',
      reason: 'streaming',
      completionTokens: 2,
      usageSource: 'estimate',
    });
    expect(world.endpoints.inFlight()).toBe(0);
  });

  it.each([
    ['no tenant', { tenant: '' }, 401, 'invalid_api_key'],
    ['a tenant that is not configured', { tenant: 'nobody' }, 401, 'invalid_api_key'],
    ['a tenant named like a prototype key', { tenant: '__proto__' }, 401, 'invalid_api_key'],
    ['another route', { path: '/v1/load_lora_adapter' }, 404, 'unknown_url'],
    ['another method', { method: 'GET' }, 404, 'unknown_url'],
    ['a route with a trailing slash', { path: '/v1/chat/completions/' }, 404, 'unknown_url'],
    ['no body', { endOfStream: true }, 400, 'invalid_request'],
    ['a body that says it is too large', { contentLength: 1_000_001 }, 413, 'body_too_large'],
  ])('with %s is refused before its body is read', (_, fields, status, code) => {
    const world = createWorld();
    const { request, said } = world.open();
    request.headers(chatHead(fields), 0);
    expect(refusal(said)).toMatchObject({ status, error: { code }, details: code });
    expect(request.ended()).toBe(true);
  });

  it.each([
    ['an unknown model', { model: 'nope' }],
    ['a model that it may not use', { model: 'secret' }],
  ])('for %s gets the same 404', (_, fields) => {
    const world = createWorld({ models: new Set(['small']) });
    const { said } = run(world, fields);
    const { model } = fields;
    expect(refusal(said)).toMatchObject({
      status: 404,
      error: {
        code: 'model_not_found',
        message: `The model \`${model}\` does not exist or you do not have access to it.`,
      },
    });
  });

  it('for a model while no engine has said what it serves is told to come back', () => {
    const world = createWorld({ discover: true });
    expect(refusal(run(world).said)).toMatchObject({ status: 503, error: { code: 'models_unknown' } });
    world.catalog.discovered('main', ['small']);
    expect(run(world).said.at(-1)?.kind).toBe('send-on');
  });

  it('over the request rate gets 429 with Retry-After and what is left', () => {
    const world = createWorld({ limits: { requestsPerMinute: 60, requestBurst: 1 } });
    run(world);
    expect(refusal(run(world).said)).toMatchObject({
      status: 429,
      error: { code: 'rate_limit_exceeded', type: 'requests' },
      headers: {
        'retry-after': '1',
        'x-ratelimit-limit-requests': '60',
        'x-ratelimit-remaining-requests': '0',
      },
    });
    expect(world.records.at(-1)).toMatchObject({ outcome: 'refused', reason: 'requests_per_minute' });
  });

  it('over the token rate gets 429, and what it reserved comes back with its end', () => {
    const world = createWorld({ limits: { tokensPerMinute: 600, tokenBurst: 300 } });
    const { request } = run(world, { max_tokens: 200 });
    expect(refusal(run(world, { max_tokens: 200 }).said)).toMatchObject({
      status: 429,
      error: { code: 'rate_limit_exceeded', type: 'tokens' },
    });
    request.responseHeaders(answer({ status: 500 }), 1);
    expect(world.tenants.get('a')?.limits.outstanding()).toBe(0);
    expect(run(world, { max_tokens: 200 }).said.at(-1)?.kind).toBe('send-on');
  });

  it('whose prompt alone is over the burst is refused for good, not put off', () => {
    const world = createWorld({ limits: { tokensPerMinute: 600, tokenBurst: 10 } });
    const { said } = run(world, { messages: [{ role: 'user', content: 'x'.repeat(400) }] });
    expect(refusal(said)).toMatchObject({ status: 400, error: { code: 'prompt_over_token_burst' } });
    expect(refusal(said).headers).not.toHaveProperty('retry-after');
  });

  it('over maxContext is refused; without a cap of its own it gets the room that is left', () => {
    const world = createWorld({ limits: { maxContext: 100 } });
    expect(refusal(run(world, { max_tokens: 100 }).said)).toMatchObject({
      status: 400,
      error: { code: 'context_length_exceeded' },
    });
    const { json } = sent(run(world).said);
    expect(json['max_completion_tokens'] ?? json['max_tokens']).toBeLessThan(100);
    expect(json['max_completion_tokens'] ?? json['max_tokens']).toBeGreaterThan(90);
  });

  it('waits when there is no slot, and Envoy is asked for patience', () => {
    const world = createWorld({ window: 1 });
    const first = run(world);
    const second = run(world, {}, {}, 10);
    expect(second.said.at(-1)).toEqual({ kind: 'hold', forMs: 6_000 });
    first.request.streamEnded(100);
    expect(second.said.at(-1)?.kind).toBe('send-on');
    second.request.streamEnded(200);
    expect(world.records[1]).toMatchObject({ queueMs: 90, outcome: 'aborted', reason: 'before-first-token' });
  });

  it('that leaves the queue takes nothing with it', () => {
    const world = createWorld({ window: 1 });
    const first = run(world);
    const second = run(world, {}, { tenant: 'b' }, 10);
    second.request.streamEnded(50);
    expect(world.records[0]).toMatchObject({
      outcome: 'aborted',
      reason: 'queued',
      queueMs: 40,
      promptTokens: 0,
    });
    expect(world.dispatcher.queued()).toBe(0);
    first.request.streamEnded(60);
    expect(world.endpoints.inFlight()).toBe(0);
  });

  it('that waited too long gets 503 and is sent nowhere', () => {
    const world = createWorld({ window: 1 });
    run(world);
    const second = run(world);
    world.dispatcher.tick(1_000);
    expect(refusal(second.said)).toMatchObject({ status: 503, error: { code: 'queue_timeout' } });
  });

  it('answered by Envoy itself before it was sent on is a refusal', () => {
    const world = createWorld();
    const { request, said } = world.open();
    request.headers(chatHead(), 0);
    request.responseHeaders(answer({ status: 413, upstream: '' }), 1);
    expect(said.at(-1)).toMatchObject({ kind: 'response-headers', mode: 'none' });
    expect(world.records[0]).toMatchObject({ outcome: 'refused', reason: 'envoy-413', status: 413 });
  });

  it('whose answer Envoy made without any request is let pass', () => {
    const { request, said } = createWorld().open();
    request.responseHeaders(answer({ status: 400, upstream: '' }), 0);
    request.responseChunk(Buffer.from('x'), true, 0);
    expect(said.map(({ kind }) => kind)).toEqual(['response-headers', 'chunk']);
  });

  it('to /v1/messages is refused in the shape of that API', () => {
    const world = createWorld();
    const { request, said } = world.open();
    request.headers(chatHead({ path: '/v1/messages' }), 0);
    request.body(chat({ model: 'nope' }), 0);
    const last = said.at(-1);
    expect(last?.kind === 'respond' && JSON.parse(last.response.body)).toMatchObject({
      type: 'error',
      error: { type: 'not_found_error' },
    });
  });

  it('names a few of its dropped fields in its record, not thousands', () => {
    const world = createWorld();
    const many = Object.fromEntries(
      Array.from({ length: 900 }, (_, i) => [`bootstrap_${i}${'x'.repeat(200)}`, 1]),
    );
    run(world, many).request.streamEnded(1);
    expect(world.records[0]?.droppedFields).toHaveLength(16);
    expect(JSON.stringify(world.records).length).toBeLessThan(2_500);
  });

  it('never repeats an invented model in its record', () => {
    const world = createWorld();
    run(world, { model: 'invented-by-a-client' });
    expect(JSON.stringify(world.records)).not.toContain('invented');
  });
});

describe('a stream', () => {
  const lane = (fields: Partial<LaneConfig> = {}): ReadonlyMap<string, LaneConfig> =>
    new Map([['default', { ...DEFAULT_LANE, stalledAfterMs: 1_000, ...fields }]]);
  const begin = (world: World, fields: object = {}, headFields: object = {}) => {
    const started = run(world, { stream: true, ...fields }, headFields);
    started.request.responseHeaders(answer({ contentType: 'text/event-stream' }), 10);
    return started;
  };

  it('pays for its tokens while they come, from its bucket too', () => {
    const world = createWorld({ limits: { tokensPerMinute: 10_000, tokenBurst: 1_000 } });
    const { request } = begin(world, { max_tokens: 10 });
    const left = (): number => world.tenants.get('a')?.limits.tokens(10)?.remaining ?? 0;
    const before = left();
    // It said 10, and its engine does not keep to it.
    for (let i = 0; i < 200; i += 1) request.responseChunk(token('x'), false, 10);
    expect(before - left()).toBeGreaterThan(150);
    request.streamEnded(10);
    expect(world.records[0]).toMatchObject({ outcome: 'aborted', completionTokens: 200 });
    expect(before - left()).toBeGreaterThan(180);
  });

  it('whose engine counts more than it could write pays for what was seen, and teaches nothing', () => {
    const world = createWorld();
    const { request } = run(world, { max_tokens: 10, n: 2 });
    request.responseHeaders(answer({ contentType: 'application/json' }), 10);
    const body = { choices: [], usage: { prompt_tokens: 5, completion_tokens: 1_000_000 } };
    request.responseChunk(Buffer.from(JSON.stringify(body)), true, 20);
    expect(world.records[0]).toMatchObject({
      outcome: 'completed',
      promptTokens: 5,
      // A quarter of its bytes.
      completionTokens: 18,
      usageSource: 'estimate',
      estimated: 'completion',
      oddUsage: ['completion-too-large'],
    });
    expect(world.context.predictor.outputTokens('a', 'small', undefined)).toBe(256);
  });

  it('whose client leaves before anything came pays for its time, and the same everywhere', () => {
    const world = createWorld({ limits: { tokensPerMinute: 1, tokenBurst: 100_000 } });
    const left = (): number => world.tenants.get('a')?.limits.tokens(10)?.remaining ?? 0;
    const before = left();
    for (const stream of [true, false]) {
      const { request } = run(world, { stream, max_tokens: 500, n: 4 });
      request.streamEnded(5_000);
    }
    const { request } = run(world, { stream: false, max_tokens: 100 });
    request.responseHeaders(answer({ contentType: 'application/json' }), 10);
    request.responseChunk(Buffer.from('{"choices":['), false, 4_000);
    request.streamEnded(60_000);
    expect(world.records).toMatchObject([
      { outcome: 'aborted', usageSource: 'estimate' },
      { outcome: 'aborted', usageSource: 'estimate' },
      { outcome: 'aborted', usageSource: 'estimate', completionTokens: 100 },
    ]);
    const [streamed = 0, whole = 0] = world.records.map(({ completionTokens }) => completionTokens);
    expect(streamed).toBeGreaterThan(600);
    expect(streamed).toBeLessThanOrEqual(2_000);
    expect(whole).toBeGreaterThan(600);
    expect(whole).toBeLessThanOrEqual(2_000);
    const used = world.records.reduce((sum, one) => sum + one.promptTokens + one.completionTokens, 0);
    expect(Math.abs(before - left() - used)).toBeLessThanOrEqual(2);
  });

  it('whose client hangs up after every answer pays for every answer', () => {
    const world = createWorld({ limits: { tokensPerMinute: 1_000, tokenBurst: 1_000 } });
    let refused = 0;
    for (let k = 0; k < 20; k += 1) {
      const { request, said } = run(world, { stream: true, max_tokens: 100 });
      if (said.at(-1)?.kind === 'respond') {
        refused += 1;
        continue;
      }
      request.responseHeaders(answer({ contentType: 'text/event-stream' }), 10);
      for (let i = 0; i < 100; i += 1) request.responseChunk(token('x'), false, 10);
      request.streamEnded(10);
    }
    expect(refused).toBeGreaterThan(9);
    const tokens = world.records.reduce((sum, { completionTokens }) => sum + completionTokens, 0);
    expect(tokens).toBeLessThanOrEqual(1_100);
  });

  it('whose client stopped reading gives its slot to others, once its engine must be done, and stays metered', () => {
    const world = createWorld({ window: 1, lanes: lane() });
    const slow = begin(world, { max_tokens: 100 });
    for (let i = 0; i < 10; i += 1) slow.request.responseChunk(token('x'), false, 10 + 20 * i);
    const { said } = run(world, {}, { tenant: 'b' }, 200);
    expect(said.at(-1)?.kind).toBe('hold');
    slow.request.tick(1_100);
    slow.request.tick(1_900);
    expect(said.at(-1)?.kind).toBe('hold');
    // 90 tokens at 18 ms, twice over.
    slow.request.tick(190 + 3_300);
    expect(said.at(-1)?.kind).toBe('send-on');
    slow.request.responseChunk(token('x'), false, 5_000);
    slow.request.responseChunk(event('[DONE]'), true, 5_000);
    expect(world.records[0]).toMatchObject({ outcome: 'completed', stalled: true, completionTokens: 11 });
    expect(world.endpoints.inFlight()).toBe(1);
  });

  it('that flows is never taken for a stalled one', () => {
    const world = createWorld({ lanes: lane() });
    const { request } = begin(world, { max_tokens: 10_000 });
    for (let i = 0; i < 100; i += 1) {
      request.responseChunk(token('x'), false, 10 + 900 * i);
      request.tick(10 + 900 * i + 899);
    }
    request.streamEnded(100_000);
    expect(world.records[0]).toMatchObject({ stalled: false });
  });

  it('is in the lane that its headers and size say', () => {
    const lanes = new Map([
      ...[...lane({ when: [{ header: { name: 'x-class', value: 'tools' } }] })].map(
        ([, one]) => ['tools', { ...one, name: 'tools' }] as const,
      ),
      ...lane(),
    ]);
    const world = createWorld({ lanes });
    const header = (name: string): string => (name === 'x-class' ? 'tools' : '');
    for (const fields of [{ header }, {}]) {
      const { request } = begin(world, {}, fields);
      request.streamEnded(20);
    }
    expect(world.records.map((record) => record.lane)).toEqual(['tools', 'default']);
  });
});

describe('what is asked of an engine', () => {
  const help = { priority: { belowFairShare: 0, other: 10 }, cacheSalt: true };

  it('is a priority and a salt where it takes them, whatever the client wrote', () => {
    const fields = { onForbidden: 'drop', forbidden: [] } as const;
    const world = createWorld({ help, fields });
    const { said } = run(world, { priority: -5, cache_salt: 'mine' });
    const { json, body } = sent(said);
    expect(json['priority']).toBe(10);
    expect(json['cache_salt']).toMatch(/^[0-9a-f]{32}$/);
    expect(body.toString().match(/priority/g)).toHaveLength(1);
  });

  it('puts a tenant below its share first', () => {
    const world = createWorld({ help, window: 8 });
    const noisy = Array.from({ length: 6 }, () => run(world, { max_tokens: 500 }));
    const { said } = run(world, {}, { tenant: 'b' });
    expect(sent(said).json['priority']).toBe(0);
    for (const one of noisy) expect(sent(one.said).json['priority']).toBe(10);
  });

  it('is neither on routes whose engines do not know the fields', () => {
    const world = createWorld({ help });
    const { request, said } = world.open();
    request.headers(chatHead({ path: '/v1/messages' }), 0);
    request.body(chat({ max_tokens: 5 }), 0);
    expect(Object.keys(sent(said).json)).not.toContain('priority');
    expect(Object.keys(sent(said).json)).not.toContain('cache_salt');
  });

  it('is neither where it does not', () => {
    const { json } = sent(run(createWorld()).said);
    expect(Object.keys(json)).not.toEqual(expect.arrayContaining(['priority']));
    expect(Object.keys(json)).not.toEqual(expect.arrayContaining(['cache_salt']));
  });
});

describe('a request for many outputs', () => {
  it.each([17, 100, 128])('of %i is refused with what is allowed', (n) => {
    const { said } = run(createWorld(), { n });
    expect(refusal(said)).toMatchObject({
      status: 400,
      error: { code: 'too_many_outputs', param: 'n', message: expect.stringContaining('at most 16') },
    });
  });

  it('takes a slot for each of them', () => {
    const world = createWorld({ window: 8 });
    run(world, { n: 6 });
    expect(run(world, { n: 3 }).said.at(-1)?.kind).toBe('hold');
  });
});

describe('whatever the order of events', () => {
  const arbEvent = fc.oneof(
    fc.constant('headers' as const),
    fc.constant('body' as const),
    fc.constant('bad-body' as const),
    fc.constant('response-ok' as const),
    fc.constant('response-sse' as const),
    fc.constant('response-error' as const),
    fc.constant('chunk' as const),
    fc.constant('usage' as const),
    fc.constant('done' as const),
    fc.constant('last-chunk' as const),
    fc.constant('trailers' as const),
    fc.constant('stream-ended' as const),
    fc.constant('expire' as const),
    fc.constant('other-ends' as const),
  );
  const apply = (request: RequestLifecycle, name: string, now: number): void => {
    if (name === 'headers') request.headers(chatHead(), now);
    else if (name === 'body') request.body(chat({ stream: true, max_tokens: 10 }), now);
    else if (name === 'bad-body') request.body(Buffer.from('{'), now);
    else if (name === 'response-ok') request.responseHeaders(answer(), now);
    else if (name === 'response-sse')
      request.responseHeaders(answer({ contentType: 'text/event-stream' }), now);
    else if (name === 'response-error') request.responseHeaders(answer({ status: 500 }), now);
    else if (name === 'chunk') request.responseChunk(token('x'), false, now);
    else if (name === 'usage') request.responseChunk(event(usage(3, 1).toString()), false, now);
    else if (name === 'done') request.responseChunk(event('[DONE]'), false, now);
    else if (name === 'last-chunk') request.responseChunk(Buffer.alloc(0), true, now);
    else if (name === 'trailers') request.responseComplete(now);
    else if (name === 'stream-ended') request.streamEnded(now);
  };

  it('every slot and token comes back, one record is written, and nothing follows the end', () => {
    fc.assert(
      fc.property(fc.array(arbEvent, { maxLength: 25 }), fc.boolean(), (events, busy) => {
        const world = createWorld({
          window: 1,
          limits: { tokensPerMinute: 100_000, requestsPerMinute: 1_000 },
        });
        const other = busy ? run(world, {}, { tenant: 'b' }) : undefined;
        const { request, said } = world.open();
        let now = 0;
        for (const name of events) {
          now += 100;
          const ended = request.ended();
          const before = said.length;
          if (name === 'expire') world.dispatcher.tick(now);
          else if (name === 'other-ends') other?.request.streamEnded(now);
          else apply(request, name, now);
          // After the end only the answer's own bytes are still passed on.
          if (ended) {
            for (const { kind } of said.slice(before)) expect(['response-headers', 'chunk']).toContain(kind);
          }
          expect(
            said.filter(({ kind }) => kind === 'respond' || kind === 'send-on').length,
          ).toBeLessThanOrEqual(1);
        }
        request.streamEnded(now + 1);
        other?.request.streamEnded(now + 2);
        expect(world.endpoints.inFlight()).toBe(0);
        expect(world.dispatcher.queued()).toBe(0);
        expect([...world.occupancy.rows()]).toEqual([]);
        for (const { limits } of world.tenants.all()) expect(limits.outstanding()).toBe(0);
        const mine = world.records.filter(({ tenant }) => tenant === 'a');
        expect(mine.length).toBeLessThanOrEqual(1);
        if (
          events.includes('headers') &&
          !events.slice(0, events.indexOf('headers')).includes('stream-ended')
        ) {
          const early = events
            .slice(0, events.indexOf('headers'))
            .some((name) => name.startsWith('response'));
          if (!early) expect(mine).toHaveLength(1);
        }
      }),
      { numRuns: 500 },
    );
  });
});

/** A store that answers when it is told to. */
function slowStore() {
  const memory = createMemoryStore();
  const waiting: (() => void)[] = [];
  const store: LimitStore = {
    take: (demands, nowMs) =>
      demands.every(({ mode }) => mode === 'report')
        ? memory.take(demands, nowMs)
        : new Promise((resolve) => waiting.push(() => resolve(memory.take(demands, nowMs)))),
    close: () => Promise.resolve(),
  };
  return {
    store,
    /** Everything that is asked gets its answer, and what comes of it has come. */
    answer: async (): Promise<void> => {
      for (const one of waiting.splice(0)) one();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

describe('a request whose limits others have to be asked about', () => {
  const limits = { requestsPerMinute: 60, tokensPerMinute: 10_000, tokenBurst: 10_000 };

  it('goes on when they have answered', async () => {
    const { store, answer: reply } = slowStore();
    const world = createWorld({ limits, store });
    const { request, said } = world.open();
    request.headers(chatHead(), 0);
    expect(said).toEqual([]);
    await reply();
    expect(said.map(({ kind }) => kind)).toEqual(['pass-headers']);
    request.body(chat(), 0);
    expect(said).toHaveLength(1);
    await reply();
    expect(said.map(({ kind }) => kind)).toEqual(['pass-headers', 'send-on']);
  });

  it('is refused when they refuse, and has left nothing', async () => {
    const { store, answer: reply } = slowStore();
    const world = createWorld({ limits: { ...limits, tokensPerMinute: 300, tokenBurst: 300 }, store });
    const bodies = [world.open(), world.open()];
    for (const { request } of bodies) request.headers(chatHead(), 0);
    await reply();
    for (const { request } of bodies) request.body(chat(), 0);
    await reply();
    expect(bodies[0]?.said.at(-1)?.kind).toBe('send-on');
    expect(refusal(bodies[1]?.said ?? [])).toMatchObject({
      status: 429,
      error: { code: 'rate_limit_exceeded' },
    });
    bodies[0]?.request.streamEnded(0);
    expect(world.endpoints.inFlight()).toBe(0);
    expect(world.tenants.get('a')?.limits.outstanding()).toBe(0);
  });

  it('gives back what is granted after it has gone', async () => {
    const { store, answer: reply } = slowStore();
    const world = createWorld({ limits, store });
    const { request, said } = world.open();
    request.headers(chatHead(), 0);
    await reply();
    request.body(chat(), 0);
    request.streamEnded(1);
    await reply();
    expect(said.map(({ kind }) => kind)).toEqual(['pass-headers']);
    expect(world.records).toMatchObject([{ outcome: 'aborted', reason: 'upload' }]);
    expect(world.tenants.get('a')?.limits.outstanding()).toBe(0);
    expect(world.tenants.get('a')?.limits.tokens(1)?.remaining).toBe(10_000);
  });
});

describe('a monthly quota', () => {
  it('that is spent refuses with 429 until the next month', () => {
    const world = createWorld({ limits: { tokensPerMonth: 300 }, unixMs: Date.UTC(2026, 10, 30, 12) });
    const first = run(world, { max_tokens: 200 });
    first.request.responseHeaders(answer(), 0);
    first.request.responseChunk(usage(90, 200), true, 0);
    const { said } = run(world, { max_tokens: 200 });
    const { status, error, headers } = refusal(said);
    expect(status).toBe(429);
    expect(error).toMatchObject({ code: 'insufficient_quota', type: 'insufficient_quota' });
    expect(error.message).toContain('300 tokens a month');
    // An SDK would sleep for half a day.
    expect(headers).not.toHaveProperty('retry-after');
    expect(headers).toMatchObject({
      'x-should-retry': 'false',
      'x-ratelimit-limit-tokens-month': '300',
      'x-ratelimit-remaining-tokens-month': '10',
      'x-ratelimit-reset-tokens-month': '720m0s',
    });
  });
});

/** `spare` is a model of a pool of its own, and stands in for `small`. */
const withSpare = (config: Config): Config => {
  const main = config.pools.get('main');
  const small = config.models.get('small');
  if (main === undefined || small === undefined) throw new Error('no pool main, or no model small');
  const endpoints = [{ url: 'http://10.0.0.2:8000', host: '10.0.0.2', port: 8000 }];
  return {
    ...config,
    queue: { ...config.queue, maxQueued: 1 },
    pools: new Map([...config.pools, ['spare', { ...main, name: 'spare', endpoints }]]),
    models: new Map([
      ...config.models,
      ['small', { ...small, fallback: ['backup'] }],
      ['spare', { ...small, name: 'spare', pool: 'spare', fallback: [] }],
    ]),
    aliases: new Map([
      ['gpt', 'best'],
      ['best', 'small'],
      ['backup', 'spare'],
    ]),
  };
};
const modelHeader = (said: readonly Said[]): string | undefined => {
  const headers = said.find((entry) => entry.kind === 'response-headers');
  return headers?.kind === 'response-headers'
    ? headers.add.find(([name]) => name === 'x-fairlane-model')?.[1]
    : undefined;
};

describe('a model by another name', () => {
  it('is asked for by its own, counted under it, and named to the client', () => {
    const world = createWorld({ change: withSpare });
    const { request, said } = run(world, { model: 'gpt', temperature: 0.5 });
    expect(sent(said)).toMatchObject({ pool: 'main', json: { model: 'small', temperature: 0.5 } });
    expect([...world.occupancy.rows()]).toMatchObject([{ model: 'small', inFlight: 1 }]);
    request.responseHeaders(answer(), 1);
    expect(modelHeader(said)).toBe('small');
    request.responseChunk(usage(2, 3), true, 2);
    expect(world.records[0]).toMatchObject({ model: 'small', outcome: 'completed' });
  });

  it('is not named when the client asked for it', () => {
    const { request, said } = run(createWorld({ change: withSpare }));
    request.responseHeaders(answer(), 1);
    expect(modelHeader(said)).toBeUndefined();
  });

  it('is listed and usable for who may use the model, or the alias by its name', () => {
    const listed = (models: readonly string[]) => {
      const { json } = askModels(createWorld({ change: withSpare, models: new Set(models) }));
      return (json as { data: { id: string }[] }).data.map(({ id }) => id);
    };
    expect(listed(['small'])).toEqual(['best', 'gpt', 'small']);
    expect(listed(['gpt'])).toEqual(['gpt']);
    const onlyAlias = createWorld({ change: withSpare, models: new Set(['gpt']) });
    expect(sent(run(onlyAlias, { model: 'gpt' }).said).json['model']).toBe('small');
    for (const model of ['small', 'best', '__proto__', 'constructor']) {
      expect(refusal(run(onlyAlias, { model }).said).error.code).toBe('model_not_found');
    }
  });
});

describe('a fallback', () => {
  it('serves while no endpoint can, and is the model of record', () => {
    const world = createWorld({ change: withSpare });
    world.endpoints.setHealthy('http://10.0.0.1:8000', false, 0);
    const { request, said } = run(world, { model: 'gpt' });
    expect(sent(said)).toMatchObject({ pool: 'spare', json: { model: 'spare' } });
    request.responseHeaders(answer({ upstream: '10.0.0.2:8000' }), 1);
    expect(modelHeader(said)).toBe('spare');
    request.responseChunk(usage(2, 3), true, 2);
    expect(world.records[0]).toMatchObject({ model: 'spare', pool: 'spare' });
  });

  it('serves while the queue is full for everybody, and nothing stays behind of the first attempt', () => {
    const limits = { tokensPerMinute: 10_000 };
    const world = createWorld({ change: withSpare, window: 1, limits });
    run(world);
    run(world);
    expect(world.dispatcher.queuedOf('main')).toBe(1);
    const before = world.tenants.get('b')?.limits.tokens(0)?.remaining ?? 0;
    const { request, said } = run(world, {}, { tenant: 'b' });
    expect(sent(said)).toMatchObject({ pool: 'spare', json: { model: 'spare' } });
    const reserved = before - (world.tenants.get('b')?.limits.tokens(0)?.remaining ?? 0);
    expect(reserved).toBeGreaterThan(0);
    request.responseHeaders(answer(), 1);
    request.responseChunk(usage(2, 1), true, 1);
    expect(world.tenants.get('b')?.limits.tokens(1)?.remaining).toBe(before - 3);
    expect(world.endpoints.inFlight()).toBe(1);
    expect([...world.occupancy.rows()]).toEqual([
      expect.objectContaining({ tenant: 'a', queued: 1, inFlight: 1 }),
    ]);
  });

  it('is no way around the own queue, nor to a model that the tenant may not use', () => {
    const full = createWorld({ change: withSpare, window: 1, limits: { maxQueued: 0 } });
    run(full);
    expect(refusal(run(full).said).error.code).toBe('tenant_queue_full');

    const world = createWorld({ change: withSpare, models: new Set(['gpt']) });
    world.endpoints.setHealthy('http://10.0.0.1:8000', false, 0);
    const { error } = refusal(run(world, { model: 'gpt' }).said);
    expect(error).toMatchObject({
      code: 'no_healthy_endpoint',
      message: expect.stringContaining('`gpt`') as unknown,
    });
    expect(world.records[0]).toMatchObject({ model: 'small', outcome: 'refused' });
  });
});

/** `secret` is the new version of `small`, for the sessions that the draw gives it. */
const withCanary =
  (weight: number) =>
  (config: Config): Config => {
    const small = config.models.get('small');
    if (small === undefined) throw new Error('no model small');
    const canary = {
      model: 'secret',
      weight,
      by: 'session',
      sessionHeader: 'x-session-id',
      salt: '',
    } as const;
    return { ...config, models: new Map([...config.models, ['small', { ...small, canary }]]) };
  };
const session = (id: string) => ({ header: (name: string) => (name === 'x-session-id' ? id : '') });

describe('a model with a canary', () => {
  const askedFor = (world: World, id: string): unknown => {
    const { request, said } = run(world, {}, session(id));
    request.responseHeaders(answer(), 1);
    request.responseChunk(usage(1, 1), true, 2);
    request.streamEnded(2);
    return sent(said).json['model'];
  };

  it('gives it its part of the sessions, each always the same version, also to who may not name it', () => {
    const world = createWorld({ change: withCanary(0.3), models: new Set(['small']) });
    const ids = Array.from({ length: 200 }, (_, i) => `session ${i}`);
    const first = ids.map((id) => askedFor(world, id));
    const part = first.filter((model) => model === 'secret').length;
    expect(part).toBeGreaterThan(40);
    expect(part).toBeLessThan(80);
    expect(ids.map((id) => askedFor(world, id))).toEqual(first);
  });

  it('names the version that served, and counts it under its own name', () => {
    const world = createWorld({ change: withCanary(1) });
    const { request, said } = run(world, {}, session('x'));
    request.responseHeaders(answer(), 1);
    request.responseChunk(usage(1, 1), true, 2);
    expect(modelHeader(said)).toBe('secret');
    expect(world.records[0]).toMatchObject({ model: 'secret' });
  });

  /** Sends 400 requests, half of them to the canary; says whether it was rolled back. */
  const rolledBackBy = (
    finish: (request: RequestLifecycle, isCanary: boolean, nowMs: number) => void,
    fields = {},
  ) => {
    const world = createWorld({ change: withCanary(0.5) });
    for (let i = 0; i < 400; i += 1) {
      const nowMs = i * 1_000;
      const { request, said } = run(world, fields, session(`s${i}`), nowMs);
      finish(request, sent(said).json['model'] === 'secret', nowMs);
      request.streamEnded(nowMs + 999);
    }
    return world.rollouts.list()[0]?.rolledBack?.gate;
  };
  const end = (request: RequestLifecycle, status: number, nowMs: number): void => {
    request.responseHeaders(answer({ status }), nowMs + 1);
    if (status === 200) request.responseChunk(usage(1, 1), true, nowMs + 2);
  };

  it('is rolled back by answers of 500, of Envoy in its place, and by error frames', () => {
    expect(rolledBackBy((request, isCanary, at) => end(request, isCanary ? 500 : 200, at))).toBe('failures');
    expect(
      rolledBackBy((request, isCanary, at) => {
        if (isCanary) request.responseHeaders(answer({ status: 503, upstream: '' }), at + 1);
        else end(request, 200, at);
      }),
    ).toBe('failures');
    expect(
      rolledBackBy(
        (request, isCanary, at) => {
          request.responseHeaders(answer({ contentType: 'text/event-stream' }), at + 1);
          request.responseChunk(token('a'), false, at + 2);
          if (isCanary)
            request.responseChunk(event({ error: { message: 'broken', code: 500 } }), false, at + 3);
          request.responseChunk(event('[DONE]'), true, at + 4);
        },
        { stream: true },
      ),
    ).toBe('failures');
  });

  it('is rolled back when its first tokens are late, and when they never come', () => {
    const stream = (firstMs: (isCanary: boolean) => number | undefined) =>
      rolledBackBy(
        (request, isCanary, at) => {
          request.responseHeaders(answer({ contentType: 'text/event-stream' }), at + 1);
          const ms = firstMs(isCanary);
          if (ms === undefined) {
            request.tick(at + 900);
            request.streamEnded(at + 950);
            return;
          }
          request.responseChunk(token('a'), false, at + ms);
          request.responseChunk(event('[DONE]'), true, at + ms + 1);
        },
        { stream: true },
      );
    expect(stream((isCanary) => (isCanary ? 300 : 20))).toBe('ttft');
    expect(stream((isCanary) => (isCanary ? undefined : 20))).toBe('ttft');
    expect(stream(() => 20)).toBeUndefined();
  });

  it('is not rolled back by what the clients did', () => {
    expect(rolledBackBy((request, isCanary, at) => end(request, isCanary ? 400 : 200, at))).toBeUndefined();
    expect(
      rolledBackBy((request, isCanary, at) =>
        isCanary ? request.streamEnded(at + 1) : end(request, 200, at),
      ),
    ).toBeUndefined();
  });

  it('serves what its canary cannot, which is held against nobody', () => {
    const world = createWorld({
      change: (config) => {
        const next = withCanary(1)(withSpare(config));
        const small = next.models.get('small');
        if (small?.canary === undefined) throw new Error('no canary');
        const canary = { ...small.canary, model: 'spare' };
        return { ...next, models: new Map([...next.models, ['small', { ...small, canary }]]) };
      },
    });
    expect(askedFor(world, 'x')).toBe('spare');
    world.endpointsOf('spare').setHealthy('http://10.0.0.2:8000', false, 0);
    expect(askedFor(world, 'x')).toBe('small');
    expect(world.rollouts.list()[0]?.rolledBack).toBeUndefined();
  });
});

describe('what the end of a request says of the endpoint', () => {
  const endings = (
    act: (request: RequestLifecycle) => void,
    fields: object = {},
  ): readonly AttemptResult[] => {
    const world = createWorld();
    const told: AttemptResult[] = [];
    const acquire = world.endpoints.acquire.bind(world.endpoints);
    Object.assign(world.endpoints, {
      acquire: (...asked: Parameters<typeof acquire>) => {
        const slot = acquire(...asked);
        return slot && Object.assign(slot, { ended: (ending: AttemptResult) => void told.push(ending) });
      },
    });
    act(run(world, fields).request);
    // The first one counts.
    return told.slice(0, 1);
  };
  it.each<[string, (request: RequestLifecycle) => void, AttemptResult]>([
    [
      'an error of the engine',
      (request) => request.responseHeaders(answer({ status: 500 }), 1),
      { status: 500 },
    ],
    [
      'no endpoint that answered',
      (request) => request.responseHeaders(answer({ status: 503, upstream: '' }), 1),
      { broken: 'reset' },
    ],
    [
      'no answer in time',
      (request) => request.responseHeaders(answer({ status: 504, upstream: '' }), 1),
      { broken: 'timeout' },
    ],
    ['a client that left before the answer', (request) => request.streamEnded(1), { broken: 'client' }],
    [
      'an answer that broke off, by whomever',
      (request) => {
        request.responseHeaders(answer(), 1);
        request.streamEnded(2);
      },
      { broken: 'client' },
    ],
    [
      'a whole answer',
      (request) => {
        request.responseHeaders(answer(), 1);
        request.responseChunk(usage(1, 1), true, 2);
      },
      { status: 200 },
    ],
  ])('%s', (_, act, ending) => {
    expect(endings(act)).toEqual([ending]);
  });
  it('a stream says at its first token that it works', () => {
    const said = endings(
      (request) => {
        request.responseHeaders(answer({ contentType: 'text/event-stream' }), 1);
        request.responseChunk(token('a'), false, 2);
      },
      { stream: true },
    );
    expect(said).toEqual([{ status: 200 }]);
  });
  it('a stream with an error in it says nothing: the request may have caused it', () => {
    const said = endings(
      (request) => {
        request.responseHeaders(answer({ contentType: 'text/event-stream' }), 1);
        request.responseChunk(event({ error: { message: 'no', code: 500 } }), true, 2);
      },
      { stream: true },
    );
    expect(said).toEqual([{ broken: 'client' }]);
  });
});

/** One request at a time through the whole: what passes, what is refused and how, and what is written down. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ALL_DRIVERS } from '../../src/engine/drivers.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, eventsOf, send } from '../support/client.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const FORBIDDEN_HEADERS = ALL_DRIVERS.flatMap(({ refused }) => refused.headers);

let engine: Simulator;
let stack: Stack;
const quiet = (options: object = {}) => send(stack.url, { key: KEYS.quiet, body: chatBody(), ...options });

beforeAll(async () => {
  engine = await startSimulator({
    profile: parseProfile('test', {}),
    models: ['demo', 'embedder', 'secret'],
    faults: true,
  });
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['models']['secret'] = { pool: 'main' };
      config['tenants'] = {
        quiet: { keys: [KEYS.quiet], models: ['demo', 'embedder'] },
        noisy: { keys: [KEYS.noisy] },
        metered: {
          keys: ['key-of-the-metered'],
          limits: { requestsPerMinute: 6, requestBurst: 3, tokensPerMinute: 6000 },
        },
        thrifty: { keys: ['key-of-the-thrifty'], limits: { tokensPerMinute: 600, tokenBurst: 100 } },
        short: { keys: ['key-of-the-short'], limits: { maxContext: 50 } },
      };
      config['envoy']['maxBodySize'] = '2MiB';
    },
  });
});
afterAll(async () => {
  await stack.close();
  await engine.close();
});
afterEach(() => engine.setFault(undefined));

describe('a request through Envoy', () => {
  it('is answered by the engine and metered by what the engine says', async () => {
    const answer = await quiet();
    expect(answer.status).toBe(200);
    expect(answer.json.choices[0].message.content).not.toBe('');
    const record = await stack.record((line) => line.requestId !== undefined && line.outcome === 'completed');
    expect(record).toMatchObject({
      tenant: 'quiet',
      model: 'demo',
      stream: false,
      usageSource: 'engine',
      promptTokens: answer.json.usage.prompt_tokens,
      completionTokens: answer.json.usage.completion_tokens,
    });
  });

  it('streams as the engine does, without the usage chunk that the client did not ask for', async () => {
    const answer = await quiet({ body: chatBody({ stream: true }) });
    const events = eventsOf(answer.text);
    expect(events.at(-1)).toBe('[DONE]');
    expect(JSON.parse(events[0] ?? '').choices[0].delta).toMatchObject({ role: 'assistant', content: '' });
    expect(answer.text).not.toContain('"usage":{');
    const record = await stack.record((line) => line.stream === true && line.outcome === 'completed');
    expect(record).toMatchObject({ completionTokens: 5, usageSource: 'engine' });
    expect(record.ttftMs).toBeGreaterThan(0);
    // 0 where a busy machine brings all tokens in one message.
    expect(record.itlMeanMs).toBeGreaterThanOrEqual(0);
  });

  it('keeps the usage chunk for a client that asked for it', async () => {
    const body = chatBody({ stream: true, stream_options: { include_usage: true } });
    const events = eventsOf((await quiet({ body })).text);
    expect(JSON.parse(events.at(-2) ?? '')).toMatchObject({ choices: [], usage: { completion_tokens: 5 } });
  });

  it('is understood whole when its events are split at every byte', async () => {
    engine.setFault({ kind: 'split', bytes: 1 });
    const before = stack.records().length;
    const answer = await quiet({ body: chatBody({ stream: true, max_tokens: 3 }) });
    expect(eventsOf(answer.text).at(-1)).toBe('[DONE]');
    expect(answer.text).not.toContain('"usage":{');
    const record = await stack.record((line) => stack.records().indexOf(line) >= before);
    expect(record).toMatchObject({ outcome: 'completed', completionTokens: 3, usageSource: 'engine' });
  });

  it.each([false, true])('is metered when the engine answers compressed (stream: %s)', async (stream) => {
    engine.setFault({ kind: 'gzip' });
    const before = stack.records().length;
    const answer = await quiet({ body: chatBody({ stream, max_tokens: 4 }) });
    expect(answer.headers['content-encoding']).toBe('gzip');
    const record = await stack.record((line) => stack.records().indexOf(line) >= before);
    expect(record).toMatchObject({ outcome: 'completed', completionTokens: 4, usageSource: 'engine' });
  });

  it('with trailers passes, and so does an answer with trailers', async () => {
    engine.setFault({ kind: 'trailers' });
    const before = stack.records().length;
    const answer = await quiet({ trailers: { 'x-checksum': 'abc' } });
    expect(answer.status).toBe(200);
    expect(await stack.record((line) => stack.records().indexOf(line) >= before)).toMatchObject({
      outcome: 'completed',
    });
  });

  it('reaches the engine re-serialised, without what a tenant must not control, and without its credentials', async () => {
    await quiet({
      body: `{ "model" : "demo", "priority": -5, "cache_salt": "x", "messages": [{"role":"user","content":"é"}], "max_tokens": 2 }`,
      headers: {
        'x-fairlane-tenant': 'noisy',
        'X-Fairlane-Pool': 'pool-other',
        'x-api-key': KEYS.noisy,
        ...Object.fromEntries(FORBIDDEN_HEADERS.map((name) => [name.toUpperCase(), '-7'])),
      },
    });
    const seen = engine.requests().at(-1);
    expect(seen?.body).toEqual({ model: 'demo', messages: [{ role: 'user', content: 'é' }], max_tokens: 2 });
    expect(JSON.stringify(seen?.headers)).not.toMatch(/fairlane|key-of-the/);
    expect(FORBIDDEN_HEADERS.filter((name) => seen?.headers[name] !== undefined)).toEqual([]);
    const record = stack.records().at(-1);
    expect(record).toMatchObject({ tenant: 'quiet', droppedFields: ['priority', 'cache_salt'] });
  });

  it.each(['/v1/completions', '/v1/embeddings', '/v1/responses', '/v1/messages'])(
    'to %s passes and is metered',
    async (path) => {
      const bodies: Record<string, object> = {
        '/v1/completions': { model: 'demo', prompt: 'hello', max_tokens: 3 },
        '/v1/embeddings': { model: 'embedder', input: ['a', 'b'] },
        '/v1/responses': { model: 'demo', input: 'hello', max_output_tokens: 3 },
        '/v1/messages': { model: 'demo', messages: [{ role: 'user', content: 'hello' }], max_tokens: 3 },
      };
      const before = stack.records().length;
      const answer = await quiet({ path, body: JSON.stringify(bodies[path]) });
      expect(answer.status).toBe(200);
      const record = await stack.record((line) => stack.records().indexOf(line) >= before);
      expect(record).toMatchObject({
        outcome: 'completed',
        usageSource: 'engine',
        completionTokens: path === '/v1/embeddings' ? 0 : 3,
      });
      expect(record.promptTokens).toBeGreaterThan(0);
    },
  );

  it.each(['/v1/responses', '/v1/messages'])('streams from %s with first token and usage', async (path) => {
    const body =
      path === '/v1/messages'
        ? { model: 'demo', stream: true, messages: [{ role: 'user', content: 'hello' }], max_tokens: 4 }
        : { model: 'demo', stream: true, input: 'hello', max_output_tokens: 4 };
    const before = stack.records().length;
    const answer = await quiet({ path, body: JSON.stringify(body) });
    expect(answer.status).toBe(200);
    const record = await stack.record((line) => stack.records().indexOf(line) >= before);
    expect(record).toMatchObject({ outcome: 'completed', usageSource: 'engine', completionTokens: 4 });
    expect(record.ttftMs).toBeGreaterThan(0);
  });

  it('of 3 MiB is refused, one of just under the limit passes', async () => {
    const content = (bytes: number) =>
      chatBody({ messages: [{ role: 'user', content: 'x'.repeat(bytes) }], max_tokens: 1 });
    const refused = await quiet({ body: content(3 * 1024 * 1024) });
    expect(refused.status).toBe(413);
    expect(refused.json.error).toMatchObject({ code: 'body_too_large' });
    const chunked = await quiet({
      body: content(3 * 1024 * 1024),
      headers: { 'transfer-encoding': 'chunked' },
    });
    expect(chunked.status).toBe(413);
    expect(chunked.json.error).toMatchObject({ code: 'body_too_large' });
    const passed = await quiet({ body: content(100_000) });
    expect([200, 400]).toContain(passed.status);
    expect(engine.requests().at(-1)?.path).toBe('/v1/chat/completions');
  });
});

describe('a refusal through Envoy', () => {
  it.each([
    ['no key', {}],
    ['a wrong key', { key: 'key-of-nobody' }],
    ['a key of the right length', { key: 'key-of-the-quiet-two' }],
  ])('for %s is a 401 in the shape of the API', async (_, options) => {
    const answer = await send(stack.url, { body: chatBody(), ...options });
    expect(answer.status).toBe(401);
    expect(answer.json.error).toMatchObject({ code: 'invalid_api_key', type: 'invalid_request_error' });
  });

  it.each([
    ['GET', '/v1/chat/completions'],
    ['POST', '/v1/load_lora_adapter'],
    ['POST', '/sleep?level=1'],
    ['POST', '/v1/chat/completions/../../sleep'],
    ['POST', '/v1//chat/completions/x'],
    ['DELETE', '/v1/models'],
    ['GET', '/metrics'],
  ])('of %s %s is a 404 that no engine sees', async (method, path) => {
    const before = engine.requests().length;
    const answer = await send(stack.url, { key: KEYS.quiet, method, path });
    expect(answer.status).toBe(404);
    expect(answer.json.error).toMatchObject({ code: 'unknown_url' });
    expect(engine.requests().length).toBe(before);
  });

  it('of an escaped slash is a 400', async () => {
    const answer = await quiet({ path: '/v1/chat%2Fcompletions' });
    expect(answer.status).toBe(400);
    expect(answer.json.error.type).toBe('invalid_request_error');
  });

  it.each([
    ['no JSON', '{"model":', 'invalid_json', null],
    ['not UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), 'invalid_json', null],
    [
      'duplicate keys',
      '{"model":"demo","model":"secret","messages":[{"role":"user","content":"x"}]}',
      'invalid_json',
      null,
    ],
    ['an array', '[]', 'invalid_json', null],
    ['no model', '{"messages":[{"role":"user","content":"x"}]}', 'invalid_request', 'model'],
    [
      'a model of another type',
      '{"model":5,"messages":[{"role":"user","content":"x"}]}',
      'invalid_request',
      'model',
    ],
    [
      'stream of another type',
      '{"model":"demo","stream":"yes","messages":[{"role":"user","content":"x"}]}',
      'invalid_request',
      'stream',
    ],
    ['an empty body', '', 'invalid_request', null],
  ])('of a body with %s is a 400 that says what is wrong', async (_, body, code, param) => {
    const answer = await quiet({ body });
    expect(answer.status).toBe(400);
    expect(answer.json.error).toMatchObject({ code, param });
    expect(answer.json.error.message.length).toBeGreaterThan(10);
  });

  it('of a model that the tenant may not use looks like that of one that does not exist', async () => {
    const secret = await quiet({ body: chatBody({ model: 'secret' }) });
    const nothing = await quiet({ body: chatBody({ model: 'nothing' }) });
    expect(secret.status).toBe(404);
    expect(secret.text.replaceAll('secret', 'nothing')).toBe(nothing.text);
    const models = await send(stack.url, { key: KEYS.quiet, method: 'GET', path: '/v1/models' });
    expect(models.json.data.map(({ id }: { id: string }) => id)).toEqual(['demo', 'embedder']);
    const all = await send(stack.url, { key: KEYS.noisy, method: 'GET', path: '/v1/models' });
    expect(all.json.data.map(({ id }: { id: string }) => id)).toEqual(['demo', 'embedder', 'secret']);
  });

  it('over the request rate is a 429 with Retry-After and x-ratelimit headers; passed ones carry them too', async () => {
    const metered = () => send(stack.url, { key: 'key-of-the-metered', body: chatBody() });
    const first = await metered();
    expect(first.status).toBe(200);
    expect(first.headers).toMatchObject({
      'x-ratelimit-limit-requests': '6',
      'x-ratelimit-remaining-requests': '2',
      'x-ratelimit-limit-tokens': '6000',
    });
    expect(first.headers['x-ratelimit-reset-requests']).toMatch(/^[\d.]+m?s$/);
    await metered();
    await metered();
    const refused = await metered();
    expect(refused.status).toBe(429);
    expect(refused.json.error).toMatchObject({ type: 'requests', code: 'rate_limit_exceeded' });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(refused.headers['x-ratelimit-remaining-requests']).toBe('0');
    expect(
      await stack.metric('fairlane_refusals_total', { tenant: 'metered', reason: 'requests_per_minute' }),
    ).toBe(1);
  });

  it('over the token rate is a 429 after what was used, not after what was asked for', async () => {
    const thrifty = () => send(stack.url, { key: 'key-of-the-thrifty', body: chatBody({ max_tokens: 20 }) });
    const first = await thrifty();
    expect(first.status).toBe(200);
    let refused = await thrifty();
    for (let i = 0; i < 10 && refused.status === 200; i += 1) refused = await thrifty();
    expect(refused.status).toBe(429);
    expect(refused.json.error).toMatchObject({ type: 'tokens', code: 'rate_limit_exceeded' });
  });

  it('over maxContext is a 400, and a request without a cap gets what room there is', async () => {
    const short = (fields: object) =>
      send(stack.url, { key: 'key-of-the-short', body: chatBody({ max_tokens: undefined, ...fields }) });
    const refused = await short({ max_tokens: 60 });
    expect(refused.status).toBe(400);
    expect(refused.json.error).toMatchObject({ code: 'context_length_exceeded', param: 'messages' });
    expect((await short({})).status).toBe(200);
    const body = engine.requests().at(-1)?.body as Record<string, number>;
    expect(body['max_tokens'] ?? body['max_completion_tokens']).toBeLessThan(50);
  });

  it('on /v1/messages has the shape of that API, whoever refuses', async () => {
    const body = JSON.stringify({
      model: 'nothing',
      messages: [{ role: 'user', content: 'x' }],
      max_tokens: 1,
    });
    const ours = await quiet({ path: '/v1/messages', body });
    expect(ours.json).toMatchObject({ type: 'error', error: { type: 'not_found_error' } });
    const envoys = await send(stack.url, {
      path: '/v1/messages',
      body,
      headers: { 'x-api-key': 'wrong-key' },
    });
    expect(envoys.json).toMatchObject({ type: 'error', error: { type: 'authentication_error' } });
    const passed = await send(stack.url, {
      path: '/v1/messages',
      body: body.replace('nothing', 'demo'),
      headers: { 'x-api-key': KEYS.quiet },
    });
    expect(passed.status).toBe(200);
  });
});

describe('an engine that misbehaves', () => {
  it.each([400, 500])('with status %s is passed on as it is, and costs nothing', async (status) => {
    engine.setFault({ kind: 'status', status, body: '{"error":{"message":"engine says no"}}' });
    const before = stack.records().length;
    const answer = await quiet();
    expect(answer.status).toBe(status);
    expect(answer.text).toContain('engine says no');
    const record = await stack.record((line) => stack.records().indexOf(line) >= before);
    expect(record).toMatchObject({ outcome: 'failed', reason: 'engine', usageSource: 'none' });
  });

  it('with garbage is passed on, and estimated', async () => {
    engine.setFault({ kind: 'garbage' });
    const before = stack.records().length;
    const answer = await quiet();
    expect(answer.text.length).toBeGreaterThan(0);
    const record = await stack.record((line) => stack.records().indexOf(line) >= before);
    expect(record.usageSource).not.toBe('engine');
  });

  it('that reports no usage is counted by its chunks, and the record says so', async () => {
    engine.setFault({ kind: 'no-usage' });
    const before = stack.records().length;
    await quiet({ body: chatBody({ stream: true, max_tokens: 5 }) });
    const record = await stack.record((line) => stack.records().indexOf(line) >= before);
    expect(record).toMatchObject({ outcome: 'completed', usageSource: 'estimate', completionTokens: 5 });
  });

  it('that reports an error inside a stream has failed, whatever its status was', async () => {
    engine.setFault({ kind: 'error-frame' });
    const before = stack.records().length;
    const answer = await quiet({ body: chatBody({ stream: true }) });
    expect(answer.status).toBe(200);
    const record = await stack.record((line) => stack.records().indexOf(line) >= before);
    expect(record).toMatchObject({ outcome: 'failed', reason: 'engine' });
  });

  it('that breaks off in mid-stream cuts the client too, and the slot comes back', async () => {
    // So late that the answer's beginning has been passed on before: what breaks with its headers is another error.
    engine.setFault({ kind: 'die-mid-stream', afterTokens: 300 });
    const before = stack.records().length;
    const body = chatBody({ stream: true, max_tokens: 500, ignore_eos: true });
    await expect(quiet({ body })).rejects.toThrow();
    const record = await stack.record((line) => stack.records().indexOf(line) >= before);
    expect(record).toMatchObject({ outcome: 'aborted', reason: 'streaming', usageSource: 'estimate' });
    expect(await stack.metric('fairlane_pool_in_flight')).toBe(0);
  });

  it('that is slow is waited for', async () => {
    engine.setFault({ kind: 'slow-headers', ms: 1_500 });
    expect((await quiet()).status).toBe(200);
  });
});

describe('what is written down', () => {
  it('holds no prompt, no completion and no key, and neither does Envoy’s admin page', async () => {
    const marker = 'a-very-particular-prompt';
    const answer = await quiet({ body: chatBody({ messages: [{ role: 'user', content: marker }] }) });
    await quiet({ body: `{"model":"${marker}","messages":[{"role":"user","content":"x"}]}` });
    const metrics = await stack.metric('fairlane_requests_total');
    expect(metrics).toBeGreaterThan(0);
    const log = stack.logText();
    expect(log).not.toContain(marker);
    expect(log).not.toContain(answer.json.choices[0].message.content);
    const dump = await (await fetch(`${stack.adminUrl}/config_dump?include_eds`)).text();
    for (const key of Object.values(KEYS)) {
      expect(log).not.toContain(key);
      expect(dump).not.toContain(key);
    }
  });
});

/** Routes beside chat: through a real Envoy, by the official client where it has them, else by the exact bytes. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

let engine: Simulator;
let stack: Stack;
/** An engine with routes that nobody knows. */
const seen: string[] = [];
const odd = createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.on('end', () => {
    if (request.url?.startsWith('/my/') === true) {
      seen.push(`${request.method} ${request.url} ${Buffer.concat(parts).toString()}`);
    }
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end('{"data":[{"id":"odd"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}');
  });
});
const client = () => new OpenAI({ apiKey: KEYS.quiet, baseURL: `${stack.url}/v1`, maxRetries: 0 });
const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(`${stack.url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEYS.quiet}`, 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
const file = () => new File([Buffer.alloc(50_000, 'a\r\n--')], 'speech.wav', { type: 'audio/wav' });
const last = (route: string) => stack.records().findLast((line) => line.route === route);

beforeAll(async () => {
  engine = await startSimulator({ profile: parseProfile('test', {}), models: ['demo'], faults: true });
  await once(odd.listen(0, '127.0.0.1'), 'listening');
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['models'] = { demo: { pool: 'main' } };
      config['pools'].main.engine = 'vllm';
      config['aliases'] = { nickname: 'demo' };
      config['tenants'].quiet.limits = { tokensPerMinute: 100_000 };
      config['tenants'].few = {
        keys: ['key-of-the-few'],
        limits: { requestsPerMinute: 6, requestBurst: 1 },
      };
      config['tenants'].other = { keys: ['key-of-the-other'], models: ['nothing'] };
      config['models'].nothing = { pool: 'main' };
      const { port } = odd.address() as AddressInfo;
      config['pools'].odd = { endpoints: [`http://127.0.0.1:${port}`] };
      config['models'].odd = { pool: 'odd' };
      config['routes'] = {
        ranks: { path: '/my/rank', body: 'json', metered: 'usage' },
        status: { path: '/my/status', method: 'GET', body: 'none', metered: 'none', model: 'odd' },
      };
    },
  });
});
afterAll(async () => {
  await stack.close();
  await engine.close();
  odd.close();
});

describe('the openai client', () => {
  it('transcribes: seconds are in the record', async () => {
    const answer = await client().audio.transcriptions.create({ model: 'demo', file: file() });
    expect(answer.text).toBe('heard speech.wav, 50000 bytes');
    const record = await stack.record(({ route }) => route === 'audio.transcriptions');
    expect(record).toMatchObject({
      model: 'demo',
      audioSeconds: 5,
      completionTokens: 0,
      outcome: 'completed',
    });
    expect(record.promptTokens).toBeGreaterThan(0);
    expect(await stack.metric('fairlane_audio_seconds_total', { tenant: 'quiet' })).toBe(5);
  });

  it('transcribes verbosely, and with a model that stands behind the file', async () => {
    const form = new FormData();
    form.set('file', file());
    form.set('response_format', 'verbose_json');
    form.set('model', 'nickname');
    const answer = await fetch(`${stack.url}/v1/audio/transcriptions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEYS.quiet}` },
      body: form,
    });
    expect(await answer.json()).toMatchObject({ duration: '5.5' });
    await expect.poll(() => last('audio.transcriptions')?.audioSeconds).toBe(5.5);
    // The engine got the model's own name, and the file as it was.
    const sent = engine.requests().at(-1)?.body as string;
    expect(sent).toContain('name="model"\r\n\r\ndemo\r\n--');
    expect(sent).not.toContain('nickname');
    expect(sent).toContain('a\r\n--'.repeat(9_999));
  });

  it('translates', async () => {
    const answer = await client().audio.translations.create({ model: 'demo', file: file() });
    expect(answer.text).toContain('heard');
    await stack.record(({ route }) => route === 'audio.translations');
  });

  it('speaks', async () => {
    const answer = await client().audio.speech.create({
      model: 'demo',
      voice: 'alloy',
      input: 'hello there',
    });
    expect(answer.headers.get('content-type')).toBe('audio/wav');
    expect((await answer.arrayBuffer()).byteLength).toBe(2_048);
    const record = await stack.record(({ route }) => route === 'audio.speech');
    expect(record).toMatchObject({ completionTokens: 0, usageSource: 'estimate', outcome: 'completed' });
  });

  it('draws', async () => {
    const answer = await client().images.generate({ model: 'demo', prompt: 'a lane', n: 2 });
    expect(answer.data).toHaveLength(2);
    expect(await stack.record(({ route }) => route === 'images.generations')).toMatchObject({ images: 2 });
    expect(await stack.metric('fairlane_images_total', { tenant: 'quiet' })).toBe(2);
  });
});

describe('a request', () => {
  const question = { model: 'demo', query: 'what', documents: ['one', 'two'] };
  it.each([
    ['/v1/rerank', 'rerank', question],
    ['/rerank', 'rerank', question],
    ['/v2/rerank', 'rerank', question],
    ['/v1/score', 'score', { model: 'demo', text_1: 'a', text_2: ['b', 'c'] }],
    ['/score', 'score', { model: 'demo', text_1: 'a', text_2: ['b', 'c'] }],
    ['/classify', 'classify', { model: 'demo', input: ['a', 'b'] }],
    ['/pooling', 'pooling', { model: 'demo', input: 'a' }],
  ])('to %s is counted by the prompt that the engine reports', async (path, route, body) => {
    const answer = await post(path, body);
    expect(answer.status).toBe(200);
    const { usage } = (await answer.json()) as { usage: { prompt_tokens: number } };
    await expect
      .poll(() => last(route))
      .toMatchObject({ promptTokens: usage.prompt_tokens, completionTokens: 0, usageSource: 'engine' });
  });

  it.each([
    ['/v1/messages/count_tokens', 'messages.count_tokens', { messages: [{ role: 'user', content: 'hi' }] }],
    ['/tokenize', 'tokenize', { prompt: 'hello' }],
    ['/tokenize', 'tokenize', { messages: [{ role: 'user', content: 'hi' }] }],
    ['/detokenize', 'detokenize', { tokens: [1, 2, 3] }],
  ])('to %s costs no tokens', async (path, route, body) => {
    const before = (await post('/tokenize', { model: 'demo', prompt: 'x' })).headers.get(
      'x-ratelimit-remaining-tokens',
    );
    const answer = await post(path, { model: 'demo', ...body });
    expect(answer.status).toBe(200);
    expect(Number(answer.headers.get('x-ratelimit-remaining-tokens'))).toBeGreaterThanOrEqual(Number(before));
    await expect
      .poll(() => last(route))
      .toMatchObject({ promptTokens: 0, completionTokens: 0, usageSource: 'none', outcome: 'completed' });
  });

  it('counts as a request, whatever it costs', async () => {
    const ask = () =>
      post('/tokenize', { model: 'demo', prompt: 'x' }, { authorization: 'Bearer key-of-the-few' });
    expect((await ask()).status).toBe(200);
    expect((await ask()).status).toBe(429);
  });

  it.each(['/v1/rerank', '/v1/messages/count_tokens', '/tokenize'])(
    'to %s for another tenant’s model is a 404 in the shape of its API',
    async (path) => {
      const body = { ...question, prompt: 'x', messages: [{ role: 'user', content: 'x' }] };
      const answer = await post(path, body, { authorization: 'Bearer key-of-the-other' });
      expect(answer.status).toBe(404);
      const text = await answer.text();
      expect(text).toContain('does not exist');
      expect(text.startsWith('{"type":"error"')).toBe(path.startsWith('/v1/messages'));
    },
  );

  it('to a route that the engine’s kind does not have is a 404 that names what it has', async () => {
    const answer = await post('/v1/tokenize', { model: 'demo', prompt: 'x' });
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({
      error: { code: 'route_not_served', message: expect.stringContaining('POST /tokenize') },
    });
  });

  it('to a route that the engine itself does not have is one too', async () => {
    engine.setFault({ kind: 'status', status: 404, body: '{"detail":"Not Found"}' });
    const answer = await post('/v1/rerank', question);
    engine.setFault(undefined);
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({ error: { code: 'route_not_served' } });
  });

  it('to what is not allowed is a 404 that names all, those of the configuration too', async () => {
    const answer = await post('/v1/load_lora_adapter', {});
    expect(answer.status).toBe(404);
    expect(await answer.text()).toMatch(/POST \/v2\/rerank.*POST \/my\/rank/);
  });

  it('that is no form gets a 415, and one that could be read in two ways a 400', async () => {
    expect((await post('/v1/audio/transcriptions', {})).status).toBe(415);
    const type = 'multipart/form-data; boundary=b1';
    const two =
      '--b1\r\ncontent-disposition: form-data; name="model"\r\n\r\ndemo\r\n--b1\r\ncontent-disposition: form-data; name="model"\r\n\r\nother\r\n--b1--';
    const answer = await post('/v1/audio/transcriptions', two, { 'content-type': type });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: { code: 'ambiguous_field', param: 'model' } });
  });
});

describe('routes of the configuration', () => {
  it('go to the pool of the body’s model, under their name, and count what the engine reports', async () => {
    const answer = await post('/my/rank', { model: 'odd', text: 'some', priority: 7 });
    expect(answer.status).toBe(200);
    expect(seen.at(-1)).toBe('POST /my/rank {"model":"odd","text":"some"}');
    expect(await stack.record(({ route }) => route === 'custom.usage')).toMatchObject({
      customRoute: 'ranks',
      model: 'odd',
      pool: 'odd',
      promptTokens: 7,
      completionTokens: 3,
      usageSource: 'engine',
    });
    expect(await stack.metric('fairlane_requests_total', { route: 'ranks' })).toBe(1);
  });

  it('may have no body, and be for a model of their own', async () => {
    const ask = (key: string) =>
      fetch(`${stack.url}/my/status`, { headers: { authorization: `Bearer ${key}` } });
    expect((await ask(KEYS.quiet)).status).toBe(200);
    expect(seen.at(-1)).toBe('GET /my/status ');
    expect(await stack.record(({ route }) => route === 'custom.none')).toMatchObject({
      customRoute: 'status',
      pool: 'odd',
      outcome: 'completed',
      promptTokens: 0,
    });
    const others = await ask('key-of-the-other');
    expect(await others.json()).toMatchObject({ error: { code: 'model_not_found' } });
  });
});

describe('HEAD /', () => {
  it('says that somebody is there, without a key', async () => {
    const answer = await fetch(`${stack.url}/`, { method: 'HEAD' });
    expect([answer.status, await answer.text()]).toEqual([200, '']);
    expect((await fetch(`${stack.url}/`)).status).toBe(401);
  });
});

describe('while the service is away', () => {
  it('goes on what only asks for work, and nothing else', async () => {
    const form = new FormData();
    form.set('model', 'demo');
    form.set('file', file());
    await stack.service().drain();
    try {
      const rank = await post('/v1/rerank', { model: 'demo', query: 'what', documents: ['one'] });
      expect(rank.status).toBe(200);
      for (const path of [
        '/v1/audio/speech',
        '/v1/images/generations',
        '/pooling',
        '/v1/responses/compact',
        '/my/rank',
      ]) {
        const answer = await post(path, { model: 'demo', input: 'x', prompt: 'x' });
        expect([path, answer.status]).toEqual([path, 503]);
      }
      const heard = await fetch(`${stack.url}/v1/audio/transcriptions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${KEYS.quiet}` },
        body: form,
      });
      expect(heard.status).toBe(200);
    } finally {
      await stack.restartService();
    }
  });
});

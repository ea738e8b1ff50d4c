/** Responses that engines store have an owner: through a real Envoy, with two engines and the official client. */
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

let engines: readonly Simulator[];
let stack: Stack;
const client = (apiKey: string = KEYS.quiet) =>
  new OpenAI({ apiKey, baseURL: `${stack.url}/v1`, maxRetries: 0 });
const ask = (input: string, previous?: string, key: string = KEYS.quiet) =>
  client(key).responses.create({
    model: 'demo',
    input,
    max_output_tokens: 4,
    ...(previous !== undefined && { previous_response_id: previous }),
  });
const call = (method: string, path: string, key: string = KEYS.quiet, body?: string) =>
  fetch(`${stack.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body }),
  });
/** What a client can tell: all but the time and the request. */
const seen = async (response: Response, id: string): Promise<string> =>
  `${response.status} ${response.headers.get('content-type')} ${(await response.text()).replaceAll(id, 'ID')}`;
const unknown = 'resp_00000000000000000000000000000000';
const requestsOf = (engine: Simulator): number => engine.requests().length;

beforeAll(async () => {
  engines = await Promise.all(
    [0, 1].map(() =>
      startSimulator({ profile: parseProfile('test', {}), models: ['demo', 'embedder'], faults: true }),
    ),
  );
  stack = await startStack({ engines: engines.map(({ url }) => url) });
});
afterAll(async () => {
  await stack.close();
  await Promise.all(engines.map((engine) => engine.close()));
});

describe('a follow-up', () => {
  it('goes to the engine that has its conversation, whichever is less loaded', async () => {
    for (let conversation = 0; conversation < 4; conversation += 1) {
      let { id } = await ask(`conversation ${conversation}`);
      for (let turn = 0; turn < 4; turn += 1) {
        const next = await ask(`turn ${turn}`, id);
        expect(next.output_text).toBeTruthy();
        id = next.id;
      }
    }
    expect(engines.every((engine) => requestsOf(engine) > 0)).toBe(true);
  });

  it('of a streamed answer finds it too', async () => {
    const stream = await client().responses.create({
      model: 'demo',
      input: 'hello',
      max_output_tokens: 4,
      stream: true,
    });
    let id = '';
    for await (const event of stream) if (event.type === 'response.created') id = event.response.id;
    for (let turn = 0; turn < 4; turn += 1) id = (await ask('go on', id)).id;
    expect(id).toMatch(/^resp_/);
  });

  it('counts the stored conversation as prompt', async () => {
    const first = await ask('word '.repeat(400));
    const second = await ask('and now?', first.id);
    expect(second.usage?.input_tokens).toBeGreaterThan(first.usage?.input_tokens ?? Infinity);
    const question = { model: 'demo', input: 'and now?', max_output_tokens: 4 };
    const explained = async (body: object) =>
      (await (
        await fetch(`${stack.metricsUrl}/explain`, {
          method: 'POST',
          headers: { 'x-fairlane-command': '1' },
          body: JSON.stringify({ tenant: 'quiet', path: '/v1/responses', body: JSON.stringify(body) }),
        })
      ).json()) as { promptTokens: number; kind: string; status?: number };
    const alone = await explained(question);
    const after = await explained({ ...question, previous_response_id: second.id });
    expect(after.promptTokens).toBeGreaterThan(alone.promptTokens + 400);
    expect(await explained({ ...question, previous_response_id: unknown })).toMatchObject({
      kind: 'refused',
      status: 404,
    });
  });

  it('of a response that was not to be stored is unknown', async () => {
    const { id } = await client().responses.create({
      model: 'demo',
      input: 'hello',
      max_output_tokens: 4,
      store: false,
    });
    await expect(ask('go on', id)).rejects.toMatchObject({
      status: 404,
      code: 'previous_response_not_found',
    });
  });

  it('is the same 404 for what is unknown and for what is another tenant’s, and no engine hears of it', async () => {
    const { id } = await ask('secret');
    const before = engines.map(requestsOf);
    const body = (previous: string) =>
      JSON.stringify({ model: 'demo', input: 'tell me', previous_response_id: previous });
    const foreign = await call('POST', '/v1/responses', KEYS.noisy, body(id));
    const nobodys = await call('POST', '/v1/responses', KEYS.noisy, body(unknown));
    const text = await seen(foreign, id);
    expect(text).toBe(await seen(nobodys, unknown));
    expect(text).toContain('404 application/json');
    expect(text).toContain("Previous response with id 'ID' not found.");
    expect(engines.map(requestsOf)).toEqual(before);
  });

  it.each([
    ['a number', 7, 400],
    ['an object', {}, 400],
    ['an empty one', '', 404],
    ['one with other characters', 'resp_a/../b', 404],
    ['a long one', `resp_${'a'.repeat(100_000)}`, 404],
    ['one in upper case', 'RESP_A', 404],
  ])('refuses %s', async (_, previous, status) => {
    const body = JSON.stringify({ model: 'demo', input: 'hi', previous_response_id: previous });
    expect((await call('POST', '/v1/responses', KEYS.quiet, body)).status).toBe(status);
  });
});

describe('the routes of a stored response', () => {
  it('serve its owner', async () => {
    for (let i = 0; i < 4; i += 1) {
      const { id, output_text: text } = await ask(`number ${i}`);
      const { responses } = client();
      const stored = await responses.retrieve(id);
      expect([stored.id, stored.output_text]).toEqual([id, text]);
      const items = await responses.inputItems.list(id);
      expect(items.data).toEqual([{ role: 'user', content: `number ${i}` }]);
      await expect(responses.cancel(id)).rejects.toMatchObject({ status: 400 });
      await responses.delete(id);
      await expect(responses.retrieve(id)).rejects.toMatchObject({ status: 404, code: 'response_not_found' });
    }
  });

  it('charge no tokens, and count as requests', async () => {
    const { id } = await ask('hello');
    await client().responses.retrieve(id);
    const record = await stack.record(
      ({ route, outcome }) => route === 'responses.retrieve' && outcome === 'completed',
    );
    expect(record).toMatchObject({
      promptTokens: 0,
      completionTokens: 0,
      usageSource: 'none',
      tenant: 'quiet',
    });
    expect(await stack.metric('fairlane_requests_total', { route: 'responses.retrieve' })).toBeGreaterThan(0);
  });

  it.each([
    ['GET', ''],
    ['GET', '?stream=true'],
    ['DELETE', ''],
    ['POST', '/cancel'],
    ['GET', '/input_items'],
  ])('%s …%s are the same 404 for an unknown id and another tenant’s', async (method, tail) => {
    const { id } = await ask('secret');
    const before = engines.map(requestsOf);
    const foreign = await seen(await call(method, `/v1/responses/${id}${tail}`, KEYS.noisy), id);
    expect(foreign).toBe(
      await seen(await call(method, `/v1/responses/${unknown}${tail}`, KEYS.noisy), unknown),
    );
    expect(foreign).toContain("Response with id 'ID' not found.");
    expect(engines.map(requestsOf)).toEqual(before);
    expect((await client().responses.retrieve(id)).id).toBe(id);
  });

  it.each([
    'GET /v1/responses/resp_%2e%2e',
    'GET /v1/responses/resp_a%2f..%2fb',
    'GET /v1/responses/resp_a%00',
    'GET /v1/responses/RESP_a',
    'GET /v1/responses/',
    'GET /v1/responses/msg_a',
    'GET /v1/responses/resp_a/other',
    'GET /v1/responses/resp_a/cancel',
    `GET /v1/responses/resp_${'a'.repeat(5_000)}`,
    'PUT /v1/responses/resp_a',
    'HEAD /v1/responses/resp_a',
    'OPTIONS /v1/responses/resp_a',
    'POST /v1/responses/resp_a',
    'GET /v1/responses',
    'GET /v1//responses/resp_a/../../../health',
  ])('are nothing else: %s', async (line) => {
    const [method = '', path = ''] = line.split(' ');
    const before = engines.map(requestsOf);
    expect([400, 404]).toContain((await call(method, path)).status);
    expect(engines.map(requestsOf)).toEqual(before);
  });

  it('need a key, and take no body', async () => {
    const { id } = await ask('hello');
    expect((await fetch(`${stack.url}/v1/responses/${id}`)).status).toBe(401);
    expect((await call('POST', `/v1/responses/${id}/cancel`, KEYS.quiet, '{}')).status).toBe(400);
  });
});

describe('an engine that has it', () => {
  /** The one that has it, and the other. */
  async function enginesOf(id: string): Promise<readonly [Simulator, Simulator]> {
    const [one, other] = engines as readonly [Simulator, Simulator];
    const { status } = await fetch(`${one.url}/v1/responses/${id}`);
    return status === 200 ? [one, other] : [other, one];
  }

  it('and says 503 is asked again, and not replaced by another', async () => {
    const { id } = await ask('hello');
    const [owner, other] = await enginesOf(id);
    owner.setFault({ kind: 'status', status: 503 });
    const before = [requestsOf(owner), requestsOf(other)];
    expect((await call('GET', `/v1/responses/${id}`)).status).toBe(503);
    await expect(ask('go on', id)).rejects.toMatchObject({ status: 503 });
    expect(requestsOf(owner)).toBeGreaterThan((before[0] ?? 0) + 2);
    expect(requestsOf(other)).toBe(before[1]);
    owner.setFault(undefined);
    expect((await ask('go on', id)).output_text).toBeTruthy();
  });

  it('and is out of the rotation is waited for in vain: the client is told so', async () => {
    const { id } = await ask('hello');
    const [owner, other] = await enginesOf(id);
    owner.setFault({ kind: 'unhealthy' });
    const before = requestsOf(other);
    await expect
      .poll(
        async () =>
          (await (await call('GET', `/v1/responses/${id}`)).text()).includes('response_unavailable'),
        {
          timeout: 5_000,
        },
      )
      .toBe(true);
    await expect(ask('go on', id)).rejects.toMatchObject({ status: 503, code: 'response_unavailable' });
    expect(requestsOf(other)).toBe(before);
    owner.setFault(undefined);
    await expect
      .poll(async () => (await call('GET', `/v1/responses/${id}`)).status, { timeout: 5_000 })
      .toBe(200);
  });
});

describe('without the service', () => {
  it('no engine is asked, though Envoy fails open; after a restart nobody remembers', async () => {
    const { id } = await ask('hello');
    await stack.service().drain();
    const before = engines.map(requestsOf);
    for (const [method, tail] of [
      ['GET', ''],
      ['DELETE', ''],
      ['POST', '/cancel'],
      ['GET', '/input_items'],
    ] as const) {
      expect((await call(method, `/v1/responses/${id}${tail}`)).status).toBe(503);
    }
    expect(engines.map(requestsOf)).toEqual(before);
    await stack.restartService();
    await expect
      .poll(async () => (await call('GET', `/v1/responses/${id}`)).status, { timeout: 10_000 })
      .toBe(404);
  });
});

/** `GET /v1/models` and `/v1/models/{id}` as the official clients ask for them. */
import { request } from 'node:http';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const SLASHED = 'org/with/slashes';
let engine: Simulator;
let stack: Stack;
const openai = (apiKey: string = KEYS.noisy) =>
  new OpenAI({ apiKey, baseURL: `${stack.url}/v1`, maxRetries: 0 });
const anthropic = (apiKey: string = KEYS.noisy) =>
  new Anthropic({ apiKey, baseURL: stack.url, maxRetries: 0 });

function raw(
  method: string,
  path: string,
  key: string = KEYS.noisy,
): Promise<{ readonly status: number; readonly length: string | undefined; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${key}` };
    const outgoing = request(`${stack.url}/`, { method, path, headers, agent: false }, (incoming) => {
      let text = '';
      incoming.on('data', (part: Buffer) => {
        text += part.toString();
      });
      incoming.on('end', () =>
        resolve({ status: incoming.statusCode ?? 0, length: incoming.headers['content-length'], text }),
      );
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

beforeAll(async () => {
  engine = await startSimulator({
    profile: parseProfile('test', {}),
    models: ['demo', SLASHED, 'secret'],
    faults: true,
  });
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['models'] = { demo: { pool: 'main' }, [SLASHED]: { pool: 'main' }, secret: { pool: 'main' } };
      config['aliases'] = { best: SLASHED };
      config['tenants']['quiet'].models = ['demo', 'best'];
    },
  });
  await eventually(
    async () => (await send(stack.url, { key: KEYS.noisy, method: 'GET', path: '/v1/models/demo' })).json,
    (json) => json.max_model_len !== undefined,
  );
});
afterAll(async () => {
  await stack.close();
  await engine.close();
});

describe('the openai client', () => {
  it('lists models, with what the engine says of them', async () => {
    const { data } = await openai().models.list();
    expect(data.map(({ id }) => id)).toEqual(['best', 'demo', SLASHED, 'secret']);
    expect(data[1]).toMatchObject({
      id: 'demo',
      object: 'model',
      owned_by: 'fairlane',
      max_model_len: expect.any(Number) as unknown,
      root: 'demo',
      parent: null,
    });
    const own = await openai(KEYS.quiet).models.list();
    expect(own.data.map(({ id }) => id)).toEqual(['best', 'demo']);
  });

  it('retrieves a model, also one whose name has slashes, and an alias', async () => {
    for (const id of ['demo', SLASHED, 'best']) {
      expect(await openai().models.retrieve(id)).toMatchObject({
        id,
        max_model_len: expect.any(Number) as unknown,
      });
    }
    expect(await raw('GET', `/v1/models/${SLASHED}`)).toMatchObject({ status: 200 });
  });

  it.each(['nope', 'secret', SLASHED, 'a/b', '../chat/completions', '%2F'])(
    'gets a 404 for %s, which its tenant has not',
    async (id) => {
      const error: unknown = await openai(KEYS.quiet)
        .models.retrieve(id)
        .catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(OpenAI.NotFoundError);
    },
  );
});

describe('the anthropic client', () => {
  it('lists models in pages', async () => {
    const page = await anthropic().models.list({ limit: 3 });
    expect(page.data.map(({ id, type }) => [id, type])).toEqual(
      ['best', 'demo', SLASHED].map((id) => [id, 'model']),
    );
    expect(page).toMatchObject({ has_more: true, first_id: 'best', last_id: SLASHED });
    const all: string[] = [];
    for await (const { id } of anthropic().models.list({ limit: 1 })) all.push(id);
    expect(all).toEqual(['best', 'demo', SLASHED, 'secret']);
  });

  it('retrieves a model, and is told in its own shape that there is none', async () => {
    expect(await anthropic().models.retrieve(SLASHED)).toMatchObject({
      type: 'model',
      id: SLASHED,
      display_name: SLASHED,
    });
    const error: unknown = await anthropic(KEYS.quiet)
      .models.retrieve('secret')
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Anthropic.NotFoundError);
    expect((error as InstanceType<typeof Anthropic.NotFoundError>).error).toMatchObject({
      type: 'error',
      error: { type: 'not_found_error' },
    });
  });
});

describe('a path', () => {
  it.each([
    ['/v1/models', 200],
    [`/v1/models/${encodeURIComponent(SLASHED)}`, 200],
    ['/v1/models/nope', 404],
  ])('HEAD %s has the status and the length, and no body', async (path, status) => {
    const head = await raw('HEAD', path);
    const get = await raw('GET', path);
    expect(head).toEqual({ status, length: get.length, text: '' });
  });

  it.each([
    '/v1%2Fmodels',
    '/v1/chat%2Fcompletions',
    '/v1/models%2F..%2Fchat%2Fcompletions',
    '/v1/responses/resp_1%2fcancel',
    '/%5c',
  ])('%s with an escaped slash is a 400 that no engine sees', async (path) => {
    const before = engine.requests().length;
    const answer = await raw('GET', path);
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.text)).toMatchObject({ error: { type: 'invalid_request_error' } });
    expect((await raw('POST', path)).status).toBe(400);
    expect(engine.requests().length).toBe(before);
  });

  it.each([
    '/v1/models/..%2Fchat%2Fcompletions',
    '/v1/models/%2e%2e%2fsleep',
    '/v1/models/x%2F..%2F..%2Fmetrics',
  ])('%s is the name of a model that is not there', async (path) => {
    const before = engine.requests().length;
    expect((await raw('GET', path)).status).toBe(404);
    // No other method has names with slashes.
    expect((await raw('POST', path)).status).toBe(400);
    expect(engine.requests().length).toBe(before);
  });

  it('without a key is a 401', async () => {
    expect((await raw('GET', '/v1/models/demo', 'no-key-of-anybody')).status).toBe(401);
  });
});

it('while the service is away the list is the engine’s, and one model is a 503 that no engine sees', async () => {
  await stack.service().drain();
  const list = await raw('GET', '/v1/models');
  expect([list.status, list.text.includes('"owned_by":"vllm"')]).toEqual([200, true]);
  for (const path of ['/v1/models/demo', '/v1/models/..%2F..%2Fmetrics']) {
    const answer = await raw('GET', path);
    expect(answer.status).toBe(503);
    expect(JSON.parse(answer.text)).toMatchObject({ error: { code: 'engine_unavailable' } });
  }
});

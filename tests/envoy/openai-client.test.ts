/** The official openai client, unchanged. */
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

let engine: Simulator;
let stack: Stack;
const client = (apiKey: string = KEYS.quiet) =>
  new OpenAI({ apiKey, baseURL: `${stack.url}/v1`, maxRetries: 0 });
const messages = [{ role: 'user' as const, content: 'hello' }];

beforeAll(async () => {
  engine = await startSimulator({ profile: parseProfile('test', {}), models: ['demo', 'embedder'] });
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['tenants']['limited'] = {
        keys: ['key-of-the-limited'],
        limits: { requestsPerMinute: 20, requestBurst: 1 },
      };
    },
  });
});
afterAll(async () => {
  await stack.close();
  await engine.close();
});

describe('the openai client', () => {
  it('chats', async () => {
    const answer = await client().chat.completions.create({ model: 'demo', messages, max_tokens: 4 });
    expect(answer.choices[0]?.message.content).toBeTruthy();
    expect(answer.usage?.completion_tokens).toBe(4);
  });

  it('streams, and finds a choice in every chunk', async () => {
    const stream = await client().chat.completions.create({
      model: 'demo',
      messages,
      max_tokens: 4,
      stream: true,
    });
    let text = '';
    for await (const chunk of stream) {
      expect(chunk.choices).toHaveLength(1);
      text += chunk.choices[0]?.delta.content ?? '';
    }
    expect(text.split(' ')).toHaveLength(4);
  });

  it('streams with usage when it asks for it', async () => {
    const stream = await client().chat.completions.create({
      model: 'demo',
      messages,
      max_tokens: 4,
      stream: true,
      stream_options: { include_usage: true },
    });
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of stream) usage = chunk.usage ?? usage;
    expect(usage?.completion_tokens).toBe(4);
  });

  it('completes', async () => {
    const answer = await client().completions.create({ model: 'demo', prompt: 'hello', max_tokens: 3 });
    expect(answer.choices[0]?.text).toBeTruthy();
  });

  it('uses the Responses API', async () => {
    const answer = await client().responses.create({ model: 'demo', input: 'hello', max_output_tokens: 3 });
    expect(answer.output_text).toBeTruthy();
  });

  it('embeds', async () => {
    const answer = await client().embeddings.create({
      model: 'embedder',
      input: ['a', 'b'],
      encoding_format: 'float',
    });
    expect(answer.data).toHaveLength(2);
  });

  it('lists the models', async () => {
    const names: string[] = [];
    for await (const model of client().models.list()) names.push(model.id);
    expect(names).toEqual(['demo', 'embedder']);
  });

  it('gets its typed errors', async () => {
    const chat = (key: string, model: string) =>
      client(key).chat.completions.create({ model, messages, max_tokens: 1 });
    await expect(chat('key-of-nobody', 'demo')).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
    await expect(chat(KEYS.quiet, 'nothing')).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    await expect(chat(KEYS.quiet, 'nothing')).rejects.toMatchObject({
      code: 'model_not_found',
      param: 'model',
    });
    await expect(
      client().chat.completions.create({ model: 'demo', messages, max_tokens: -1 }),
    ).rejects.toBeInstanceOf(OpenAI.BadRequestError);
    await chat('key-of-the-limited', 'demo');
    await expect(chat('key-of-the-limited', 'demo')).rejects.toBeInstanceOf(OpenAI.RateLimitError);
  });

  it('obeys Retry-After and gets through', async () => {
    const patient = new OpenAI({ apiKey: 'key-of-the-limited', baseURL: `${stack.url}/v1`, maxRetries: 3 });
    const answer = await patient.chat.completions.create({ model: 'demo', messages, max_tokens: 1 });
    expect(answer.choices).toHaveLength(1);
  });
});

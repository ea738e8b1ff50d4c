/** The official clients of Node.js: the snippets of docs/clients.md as they stand there, tools, files, and how they try again. */
import Anthropic from '@anthropic-ai/sdk';
import OpenAI, { AzureOpenAI, toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { send } from '../support/client.ts';
import { DEMO_KEY, run, runNode, snippet } from '../support/clients/page.ts';
import { type ClientStack, hastyKey, SPENT_KEY, startClientStack } from '../support/clients/stack.ts';
import { TOOL_MODEL } from '../support/clients/tool-engine.ts';

let clients: ClientStack;
let url = '';
beforeAll(async () => {
  clients = await startClientStack();
  ({ url } = clients.stack);
});
afterAll(() => clients.close());

const openai = (apiKey: string = DEMO_KEY): OpenAI => new OpenAI({ apiKey, baseURL: `${url}/v1` });
const anthropic = (apiKey: string = DEMO_KEY): Anthropic => new Anthropic({ apiKey, baseURL: url });
const messages = [{ role: 'user' as const, content: 'What is the weather in Paris?' }];
/** Of the simulator. */
const SPOKEN = /the engine says one word/;

describe('the snippets of docs/clients.md', () => {
  it('curl', async () => {
    const { code, stdout, stderr } = await run('sh', ['-ec', snippet('curl', url)]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(SPOKEN);
    expect(stdout).toContain('data: [DONE]');
    expect(stdout).toContain('"object":"list"');
  });

  it.each(['openai-node', 'azure-node', 'anthropic-node'])('%s', async (name) => {
    const { code, stdout, stderr } = await runNode(name, url);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(SPOKEN);
    if (name !== 'azure-node') expect(stdout).toMatch(/\n\d+ tokens\n/);
  });
});

describe('openai', () => {
  const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
  const tools = [{ type: 'function' as const, function: { name: 'weather', parameters } }];

  it('lets a model call a tool and sends what it found', async () => {
    const runner = openai().chat.completions.runTools({
      model: TOOL_MODEL,
      messages,
      tools: [
        {
          type: 'function',
          function: {
            name: 'weather',
            description: 'of a city',
            parameters,
            parse: JSON.parse,
            function: ({ city }: { city: string }) => `sunny in ${city}`,
          },
        },
      ],
    });
    expect(await runner.finalContent()).toBe('It is sunny.');
  });

  it('puts a streamed tool call together', async () => {
    const stream = openai().chat.completions.stream({ model: TOOL_MODEL, messages, tools });
    const { tool_calls: calls } = await stream.finalMessage();
    expect(calls?.map((call) => call.type === 'function' && call.function)).toMatchObject([
      { name: 'weather', arguments: '{"city": "Paris"}' },
    ]);
    expect((await stream.totalUsage()).completion_tokens).toBe(0);
  });

  it('does the same over Responses, whole and streamed', async () => {
    const tool = { type: 'function' as const, name: 'weather', parameters, strict: false };
    const request = { model: TOOL_MODEL, input: messages, tools: [tool] };
    const { output } = await openai().responses.create(request);
    const result = { type: 'function_call_output' as const, call_id: 'call_1', output: 'sunny' };
    const stream = openai().responses.stream(request);
    expect((await stream.finalResponse()).output).toMatchObject([{ type: 'function_call', name: 'weather' }]);
    const next = await openai().responses.create({
      ...request,
      input: [...messages, ...(output as OpenAI.Responses.ResponseFunctionToolCall[]), result],
    });
    expect(next.output_text).toBe('It is sunny.');
  });

  it('retrieves, continues and deletes a stored response', async () => {
    const { id } = await openai().responses.create({ model: 'demo', input: 'hello', max_output_tokens: 2 });
    expect((await openai().responses.retrieve(id)).id).toBe(id);
    expect((await openai().responses.inputItems.list(id)).data).toHaveLength(1);
    const next = { model: 'demo', input: 'more', previous_response_id: id, max_output_tokens: 2 };
    expect((await openai().responses.create(next)).output_text).toBeTruthy();
    await openai().responses.delete(id);
    await expect(openai().responses.retrieve(id)).rejects.toMatchObject({ code: 'response_not_found' });
  });

  it('embeds, lists and retrieves, also a name with a slash', async () => {
    const { data } = await openai().embeddings.create({ model: 'demo', input: ['a', 'b'] });
    expect(data).toHaveLength(2);
    expect((await openai().models.retrieve('org/name')).id).toBe('org/name');
    expect((await openai().models.list()).data.map(({ id }) => id)).toEqual(['demo', 'org/name', TOOL_MODEL]);
  });

  it('has speech heard and said, and pictures made', async () => {
    const file = await toFile(Buffer.alloc(20_000, 7), 'speech.wav');
    const { audio, images } = openai();
    expect(await audio.transcriptions.create({ model: 'demo', file })).toMatchObject({
      text: 'heard speech.wav, 20000 bytes',
      usage: { type: 'duration', seconds: 2 },
    });
    const verbose = { model: 'demo', file, response_format: 'verbose_json' as const };
    expect(await audio.transcriptions.create(verbose)).toMatchObject({ language: 'en', segments: [] });
    expect((await audio.translations.create({ model: 'demo', file })).text).toContain('speech.wav');
    const said = await audio.speech.create({ model: 'demo', input: 'hello', voice: 'alloy' });
    expect((await said.arrayBuffer()).byteLength).toBe(2_048);
    const made = await images.generate({ model: 'demo', prompt: 'a lane', n: 2 });
    expect(made.data?.map(({ b64_json }) => b64_json)).toEqual(['aW1hZ2U=', 'aW1hZ2U=']);
  });

  it('tells the id of a request, of an answer and of an error', async () => {
    const answer = await openai().chat.completions.create({ model: 'demo', messages, max_tokens: 1 });
    expect(await clients.stack.record(({ requestId }) => requestId === answer._request_id)).toBeDefined();
    const error = await openai('nobody')
      .models.list()
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      status: 401,
      code: 'invalid_api_key',
      requestID: expect.stringMatching(/-/),
    });
  });

  it('sends an Azure client’s requests to the model that they name', async () => {
    const azure = (options: object): AzureOpenAI =>
      new AzureOpenAI({ endpoint: url, apiKey: DEMO_KEY, apiVersion: '2024-10-21', ...options });
    const streamed = await azure({}).chat.completions.create({
      model: 'demo',
      messages,
      max_tokens: 3,
      stream: true,
    });
    let chunks = 0;
    for await (const { choices } of streamed) chunks += choices.length;
    expect(chunks).toBeGreaterThan(3);
    expect((await azure({}).embeddings.create({ model: 'demo', input: 'a' })).data).toHaveLength(1);
    const file = await toFile(Buffer.alloc(100, 7), 'speech.wav');
    expect((await azure({}).audio.transcriptions.create({ model: 'demo', file })).text).toContain(
      '100 bytes',
    );
    const slashed = await azure({}).chat.completions.create({ model: 'org/name', messages, max_tokens: 1 });
    expect(slashed.model).toBe('org/name');
    expect((await azure({}).responses.create({ model: 'demo', input: 'a' })).output_text).toBeTruthy();
    expect((await azure({}).models.list()).data).toHaveLength(3);
    await expect(
      azure({ deployment: 'demo' }).chat.completions.create({ model: 'nothing', messages }),
    ).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  });
});

describe('Azure’s paths', () => {
  const body = JSON.stringify({ model: 'demo', messages, max_tokens: 1 });

  it.each([
    '/openai/v1/chat/completions',
    '/openai/chat/completions?api-version=2024-10-21',
    '/openai/deployments/any/chat/completions?api-version=2024-10-21',
    '/openai/deployments/an%2Fother/name/chat/completions',
    '/openai/deployments/chat/completions/chat/completions',
    '/openai//deployments/./any/x/../chat/completions',
  ])('%s is a chat', async (path) => {
    const { status, headers } = await send(url, { key: DEMO_KEY, path, body });
    expect(status).toBe(200);
    const record = await clients.stack.record(({ requestId }) => requestId === headers['x-request-id']);
    expect(record).toMatchObject({ route: 'chat.completions', tenant: 'quiet', outcome: 'completed' });
    expect(clients.engine.requests().at(-1)?.path).toBe('/v1/chat/completions');
  });

  it.each([
    ['/openai/', 404],
    ['/openai/v1', 404],
    ['/openai/deployments/any', 404],
    ['/openai/deployments/an%2Fother', 404],
    ['/openai/deployments/any/files', 404],
    ['/openai/v1/load_lora_adapter', 404],
    ['/openai/v1%2Fchat/completions', 400],
    ['/openai/models/x%2Fy', 400],
    ['/openai/v1/models/..%2F..%2Fmetrics', 400],
    ['/openai/deployments/any/%2E%2E/%2e%2e/metrics', 404],
    ['/openai/deployments/any/chat/completions%3F', 404],
    ['/openai/deployments/any/chat/completions;x', 404],
    ['/openai/deployments/a%5Cb/chat/completions', 400],
    ['/openai/openai/v1/chat/completions', 404],
    ['/openai/v1/v1/chat/completions', 404],
    ['/OPENAI/v1/chat/completions', 404],
    ['/v1/openai/v1/chat/completions', 404],
    ['/metrics?/openai/v1/chat/completions', 404],
    ['/openai?/v1/chat/completions', 404],
    ['/openai/deployments/any/..%2Fload_lora_adapter', 404],
    ['/openai/../metrics', 404],
    ['/openaiv1/chat/completions', 404],
  ])('%s is nothing, and reaches no engine', async (path, status) => {
    const before = clients.engine.requests().length;
    expect((await send(url, { key: DEMO_KEY, path, body })).status).toBe(status);
    expect(clients.engine.requests().length).toBe(before);
  });

  it.each([
    '/openai/v1/chat/completions',
    '/openai/deployments/a%2Fb/chat/completions',
    '/openai/deployments/any/files',
    '/openai/deployments/../../openai/v1/chat/completions',
  ])('%s wants a key, as all others', async (path) => {
    const { status, json } = await send(url, { path: `${path}?api-key=${DEMO_KEY}`, body });
    expect([status, json.error.code]).toEqual([401, 'invalid_api_key']);
  });

  it.each(['/openai/models/org%2Fname', '/openai/v1/models/org%2Fname', '/openai/models/org/name'])(
    '%s is a model whose name has a slash',
    async (path) => {
      const { status, json } = await send(url, { key: DEMO_KEY, method: 'GET', path });
      expect([status, json.id]).toEqual([200, 'org/name']);
    },
  );

  it('have a query of any length and kind, which chooses nothing', async () => {
    const query = `?api-version=..%2F..%2Fmetrics&x=/openai/v1/files?${'y'.repeat(4_000)}`;
    const path = `/openai/deployments/any/chat/completions${query}`;
    expect((await send(url, { key: DEMO_KEY, path, body })).status).toBe(200);
    expect(clients.engine.requests().at(-1)?.path.split('?')[0]).toBe('/v1/chat/completions');
  });
});

describe('anthropic', () => {
  const tools = [{ name: 'weather', input_schema: { type: 'object' as const } }];
  const request = { model: TOOL_MODEL, messages, tools, max_tokens: 64 };

  it('lets a model call a tool and sends what it found', async () => {
    const { content, stop_reason: reason } = await anthropic().messages.create(request);
    expect(reason).toBe('tool_use');
    expect(content).toMatchObject([{ type: 'tool_use', name: 'weather', input: { city: 'Paris' } }]);
    const result = { type: 'tool_result' as const, tool_use_id: 'toolu_1', content: 'sunny' };
    const next = await anthropic().messages.create({
      ...request,
      messages: [...messages, { role: 'assistant', content }, { role: 'user', content: [result] }],
    });
    expect(next.content).toMatchObject([{ type: 'text', text: 'It is sunny.' }]);
  });

  it('puts a streamed tool call together', async () => {
    const message = await anthropic().messages.stream(request).finalMessage();
    expect(message.content).toMatchObject([{ type: 'tool_use', input: { city: 'Paris' } }]);
    expect(message.usage.output_tokens).toBe(9);
  });

  it('counts tokens, lists models, and takes what betas send', async () => {
    expect(
      (await anthropic().messages.countTokens({ model: 'demo', messages })).input_tokens,
    ).toBeGreaterThan(1);
    const { data } = await anthropic().models.list();
    expect(data.map(({ id }) => id)).toEqual(['demo', 'org/name', TOOL_MODEL]);
    const token = new Anthropic({ authToken: DEMO_KEY, apiKey: null, baseURL: url });
    const answer = await token.beta.messages.create({
      model: 'demo',
      max_tokens: 2,
      betas: ['interleaved-thinking-2025-05-14'],
      system: [{ type: 'text', text: 'Be short.', cache_control: { type: 'ephemeral' } }],
      metadata: { user_id: 'somebody' },
      messages,
    });
    expect(answer.content[0]).toMatchObject({ type: 'text' });
  });
});

describe('trying again', () => {
  /** How long it took, and what came of it. */
  async function timed(
    call: () => Promise<unknown>,
  ): Promise<{ readonly ms: number; readonly result: unknown }> {
    const begun = performance.now();
    const result: unknown = await call().catch((reason: unknown) => reason);
    return { ms: performance.now() - begun, result };
  }
  /** What a client that tries on its own sleeps at least before its first try again. */
  const FIRST_BACKOFF_MS = 370;

  const chat = (key: string) => () =>
    openai(key).chat.completions.create({ model: 'demo', messages, max_tokens: 1 });
  const message = (key: string) => () =>
    anthropic(key).messages.create({ model: 'demo', messages, max_tokens: 1 });
  const sentBy = (tenant: string): number =>
    clients.stack.records().filter((record) => record.tenant === tenant).length;

  it.each([
    ['openai', chat, OpenAI.RateLimitError],
    ['anthropic', message, Anthropic.RateLimitError],
  ] as const)('%s raises a spent month at once: it asks one time', async (_, call, type) => {
    const before = sentBy('spent');
    const { result } = await timed(call(SPENT_KEY));
    expect(result).toBeInstanceOf(type);
    expect((result as { headers: Headers }).headers.get('x-should-retry')).toBe('false');
    expect(sentBy('spent')).toBe(before + 1);
  });

  it.each([
    ['openai', chat],
    ['anthropic', message],
  ] as const)('%s waits as long as it is told, and gets through', async (name, call) => {
    await call(hastyKey(name))();
    const { ms, result } = await timed(call(hastyKey(name)));
    expect(result).not.toBeInstanceOf(Error);
    // The bucket has room again after three seconds: one that did not obey would come too early twice, and fail.
    expect(ms).toBeGreaterThan(FIRST_BACKOFF_MS);
    const records = clients.stack.records().filter(({ tenant }) => tenant === `hasty-${name}`);
    expect(records.map(({ outcome }) => outcome)).toEqual(['completed', 'refused', 'completed']);
  });
});

/** Engines that count nonsense: what is charged for it, what is said of it, and what it changes for another tenant. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Answer, chatBody, openStream, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

type Api = 'chat' | 'completions' | 'responses' | 'messages' | 'embeddings';

interface Shape {
  readonly path: string;
  readonly prompt: (text: string) => object;
  /** Names of the halves in usage; undefined: there is no such half. */
  readonly halves: readonly [string, string | undefined];
  readonly whole: (usage: object) => object;
  readonly begin: readonly object[];
  readonly token: (text: string) => object;
  readonly end: (usage: object) => readonly (object | string)[];
  readonly error: object;
}

const OPENAI = ['prompt_tokens', 'completion_tokens'] as const;
const INPUT = ['input_tokens', 'output_tokens'] as const;
const messagesOf = (content: string) => ({ messages: [{ role: 'user', content }], max_tokens: 5 });
const NO = { message: 'no', type: 'InternalServerError', code: 500 };

const SHAPES: Readonly<Record<Api, Shape>> = {
  chat: {
    path: '/v1/chat/completions',
    prompt: messagesOf,
    halves: OPENAI,
    whole: (usage) => ({ choices: [{ index: 0, message: { content: 'hello' } }], usage }),
    begin: [{ choices: [{ index: 0, delta: { role: 'assistant', content: '' } }] }],
    token: (content) => ({ choices: [{ index: 0, delta: { content }, finish_reason: null }] }),
    end: (usage) => [
      { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] },
      { choices: [], usage },
      '[DONE]',
    ],
    error: { error: NO },
  },
  completions: {
    path: '/v1/completions',
    prompt: (prompt) => ({ prompt, max_tokens: 5 }),
    halves: OPENAI,
    whole: (usage) => ({ choices: [{ index: 0, text: 'hello' }], usage }),
    begin: [],
    token: (text) => ({ choices: [{ index: 0, text, finish_reason: null }] }),
    end: (usage) => [
      { choices: [{ index: 0, text: '', finish_reason: 'stop' }] },
      { choices: [], usage },
      '[DONE]',
    ],
    error: { error: NO },
  },
  responses: {
    path: '/v1/responses',
    prompt: (input) => ({ input, max_output_tokens: 5 }),
    halves: INPUT,
    whole: (usage) => ({
      id: 'resp_1',
      object: 'response',
      status: 'completed',
      error: null,
      output: [],
      usage,
    }),
    begin: [{ type: 'response.created', response: { id: 'resp_1', status: 'in_progress', usage: null } }],
    token: (delta) => ({ type: 'response.output_text.delta', delta }),
    end: (usage) => [{ type: 'response.completed', response: { id: 'resp_1', status: 'completed', usage } }],
    error: { type: 'response.failed', response: { id: 'resp_1', status: 'failed', error: NO } },
  },
  messages: {
    path: '/v1/messages',
    prompt: messagesOf,
    halves: INPUT,
    whole: (usage) => ({ type: 'message', content: [{ type: 'text', text: 'hello' }], usage }),
    begin: [{ type: 'message_start', message: { id: 'm', usage: { input_tokens: 9, output_tokens: 1 } } }],
    token: (text) => ({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } }),
    end: (usage) => [
      { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage },
      { type: 'message_stop' },
    ],
    error: { type: 'error', error: { type: 'api_error', message: 'no' } },
  },
  embeddings: {
    path: '/v1/embeddings',
    prompt: (input) => ({ input }),
    halves: ['prompt_tokens', undefined],
    whole: (usage) => ({
      object: 'list',
      data: [{ object: 'embedding', index: 0, embedding: [0.5] }],
      usage,
    }),
    begin: [],
    token: () => ({}),
    end: () => [],
    error: { error: NO },
  },
};
const WRITING = ['chat', 'completions', 'responses', 'messages'] as const;
const ALL = [...WRITING, 'embeddings'] as const;

const hastyKey = (api: Api): string => `key-of-who-hangs-up-on-${api}`;

let engine: Server;
let stack: Stack;
/** What the engine answers next. */
let answer: (response: ServerResponse, body: string) => void;

/** Prompt tokens that it reports: what the prompt says, else a token for four bytes. */
function said(response: ServerResponse, body: string): void {
  const tokens = /tokens=(\d+)/.exec(body)?.[1];
  const content = /"content":"([^"]*)"/.exec(body)?.[1] ?? '';
  const usage = {
    prompt_tokens: tokens === undefined ? Math.ceil(content.length / 4) : Number(tokens),
    completion_tokens: 1,
  };
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ choices: [], usage }));
}

beforeAll(async () => {
  engine = createServer((request, response) => {
    let body = '';
    request.on('data', (part: Buffer) => {
      body += part.toString();
    });
    request.on('end', () => {
      if (request.method === 'POST') answer(response, body);
      else if (request.url === '/v1/models') {
        const data = [{ id: 'demo', object: 'model', owned_by: 'unknown', max_model_len: 32_768 }];
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ data }));
      } else response.writeHead(request.url === '/health' ? 200 : 404).end();
    });
  });
  await new Promise<void>((resolve) => engine.listen(0, '127.0.0.1', resolve));
  stack = await startStack({
    engines: [`http://127.0.0.1:${(engine.address() as AddressInfo).port}`],
    change(config) {
      config['tenants']['quiet']['limits'] = { maxContext: 1_000 };
      // Nothing comes back within a test: what is left tells what was charged.
      config['tenants']['noisy']['limits'] = { tokensPerMinute: 1, tokenBurst: 10_000_000 };
      for (const api of WRITING) {
        config['tenants'][`hasty-${api}`] = { keys: [hastyKey(api)], limits: { tokensPerMinute: 2_000 } };
      }
    },
  });
});
afterAll(async () => {
  await stack.close();
  engine.closeAllConnections();
  engine.close();
});
beforeEach(() => {
  answer = said;
});

const ask = async (key: string, content: string): Promise<number> => {
  const messages = [{ role: 'user', content }];
  return (await send(stack.url, { key, body: chatBody({ messages, max_tokens: 1 }) })).status;
};
/** Whether a prompt of so many tokens, at four bytes each, is within the quiet tenant's context. */
const fits = async (tokens: number): Promise<boolean> =>
  (await ask(KEYS.quiet, 'word'.repeat(tokens))) === 200;

const left = ({ headers }: Answer): number => Number(headers['x-ratelimit-remaining-tokens']);
const oddOf = (reason: string): Promise<number> =>
  stack.metric('fairlane_engine_usage_odd_total', { pool: 'main', reason });
const sse = (data: object | string): string =>
  typeof data === 'string'
    ? `data: ${data}\n\n`
    : `${'type' in data ? `event: ${String(data.type)}\n` : ''}data: ${JSON.stringify(data)}\n\n`;

function usageOf(api: Api, prompt: number, completion: number): object {
  const [first, second] = SHAPES[api].halves;
  return { [first]: prompt, ...(second !== undefined && { [second]: completion }) };
}
const streamOf = (api: Api, tokens: number, usage: object, begins = true): readonly (object | string)[] => [
  ...(begins ? SHAPES[api].begin : []),
  ...Array.from({ length: tokens }, () => SHAPES[api].token('word')),
  ...SHAPES[api].end(usage),
];

/** Asks, and gives the record, and what the bucket lost by it. */
async function charged(
  api: Api,
  events: readonly (object | string)[] | undefined,
  whole: object = {},
  text = 'hi',
) {
  const { path, prompt } = SHAPES[api];
  answer = (response) => {
    if (events === undefined) {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(whole));
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const event of events) response.write(sse(event));
    response.end();
  };
  const records = stack.records().length;
  const body = JSON.stringify({
    model: 'demo',
    ...prompt(text),
    ...(events !== undefined && { stream: true }),
  });
  const got = await send(stack.url, { key: KEYS.noisy, path, body });
  expect(got.status).toBe(200);
  const record = await stack.record((line) => stack.records().indexOf(line) >= records);
  answer = said;
  return { record, ...(await bucket(record)) };
}

/** The bucket as it is, read from the headers of a request that costs nothing. */
let before = 0;
async function bucket(record: { readonly promptTokens?: number; readonly completionTokens?: number }) {
  const now = await remaining();
  const lost = before - now;
  before = now;
  return { lost, used: (record.promptTokens ?? 0) + (record.completionTokens ?? 0) };
}
const remaining = async (): Promise<number> =>
  left(await send(stack.url, { key: KEYS.noisy, path: '/v1/models', method: 'GET' }));
beforeEach(async () => {
  before = await remaining();
});

describe.each(WRITING)('a stream of %s', (api) => {
  it('is charged what its engine says where that can be', async () => {
    const { record, lost, used } = await charged(api, streamOf(api, 5, usageOf(api, 9, 6)));
    expect(record).toMatchObject({ promptTokens: 9, completionTokens: 6, usageSource: 'engine' });
    expect(lost).toBe(used);
  });

  it('of 2,000,000,000 tokens for "hi" is estimated, in the bucket too', async () => {
    const count = await oddOf('prompt-too-large');
    const { record, lost, used } = await charged(api, streamOf(api, 5, usageOf(api, 2e9, 2e9)));
    expect(record).toMatchObject({
      completionTokens: 5,
      usageSource: 'estimate',
      oddUsage: ['prompt-too-large', 'completion-too-large'],
    });
    expect(record.promptTokens).toBeLessThan(20);
    expect(lost).toBe(used);
    expect(await oddOf('prompt-too-large')).toBe(count + 1);
  });

  it('of zeros after content is estimated', async () => {
    const { record, lost, used } = await charged(api, streamOf(api, 5, usageOf(api, 0, 0), false));
    expect(record).toMatchObject({
      completionTokens: 5,
      usageSource: 'estimate',
      oddUsage: ['zero-prompt', 'zero-completion'],
    });
    expect(record.promptTokens).toBeGreaterThan(0);
    expect(lost).toBe(used);
  });

  it('of no prompt is estimated by that half', async () => {
    const { record } = await charged(api, streamOf(api, 5, usageOf(api, 0, 6), false));
    expect(record).toMatchObject({
      completionTokens: 6,
      usageSource: 'estimate',
      estimated: 'prompt',
      oddUsage: ['zero-prompt'],
    });
    expect(record.promptTokens).toBeGreaterThan(0);
  });

  it('that is an error and nothing else is charged nothing', async () => {
    const { record, lost } = await charged(api, [...SHAPES[api].begin, SHAPES[api].error]);
    expect(record).toMatchObject({
      outcome: 'failed',
      promptTokens: 0,
      completionTokens: 0,
      usageSource: 'none',
    });
    expect(lost).toBe(0);
  });

  it('with an error after tokens is charged those', async () => {
    const events = [...streamOf(api, 4, {}).slice(0, SHAPES[api].begin.length + 4), SHAPES[api].error];
    const { record, lost, used } = await charged(api, events);
    expect(record).toMatchObject({ outcome: 'failed', usageSource: 'estimate' });
    // By their number, or by their bytes: up to its cap.
    expect(record.completionTokens).toBeGreaterThanOrEqual(4);
    expect(record.completionTokens).toBeLessThanOrEqual(5);
    expect(lost).toBe(used);
  });

  it('whose client hangs up is charged what it saw, until its rate is used up', async () => {
    const { path, begin, token, prompt } = SHAPES[api];
    answer = (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const event of begin) response.write(sse(event));
      for (let i = 0; i < 500; i += 1) response.write(sse(token('word')));
    };
    const cap = {
      max_tokens: 4_096,
      ...(api === 'responses' && { max_output_tokens: 4_096, max_tokens: undefined }),
    };
    const body = JSON.stringify({ model: 'demo', ...prompt('hi'), ...cap, stream: true });
    const records = stack.records().length;
    const open = { key: hastyKey(api), path, body };
    let opened = 0;
    for (let i = 0; i < 8; i += 1) {
      const stream = await openStream(stack.url, open);
      if (stream.status === 429) break;
      expect(stream.status).toBe(200);
      await eventually(
        () => stream.text().split('word').length > 500,
        (isThere) => isThere,
      );
      stream.hangUp();
      opened += 1;
      await eventually(
        () => stack.records().length,
        (count) => count >= records + opened,
      );
    }
    // Of a minute's 2,000, and what comes back meanwhile.
    expect(opened).toBeGreaterThanOrEqual(3);
    expect(opened).toBeLessThanOrEqual(5);
    for (const record of stack.records().slice(records, records + opened)) {
      expect(record).toMatchObject({ outcome: 'aborted', usageSource: 'estimate' });
      expect(record.completionTokens).toBeGreaterThanOrEqual(500);
    }
  });
});

describe.each(ALL)('an answer in one piece of %s', (api) => {
  const zero = api === 'embeddings' ? ['zero-prompt'] : ['zero-prompt', 'zero-completion'];
  const large = api === 'embeddings' ? ['prompt-too-large'] : ['prompt-too-large', 'completion-too-large'];

  it('is charged what its engine says where that can be, and else an estimate', async () => {
    const well = await charged(api, undefined, SHAPES[api].whole(usageOf(api, 9, 5)));
    expect(well.record).toMatchObject({
      promptTokens: 9,
      completionTokens: api === 'embeddings' ? 0 : 5,
      usageSource: 'engine',
    });
    expect(well.lost).toBe(well.used);

    for (const [prompt, completion, oddUsage] of [
      [2e9, 2e9, large],
      [0, 0, zero],
    ] as const) {
      const odd = await charged(api, undefined, SHAPES[api].whole(usageOf(api, prompt, completion)));
      expect(odd.record).toMatchObject({ usageSource: 'estimate', oddUsage });
      expect(odd.record.promptTokens).toBeGreaterThan(0);
      expect(odd.record.promptTokens).toBeLessThan(20);
      expect(odd.record.completionTokens).toBeLessThanOrEqual(5);
      expect(odd.lost).toBe(odd.used);
    }
  });

  it('that is an error is charged nothing', async () => {
    const { record, lost } = await charged(api, undefined, { error: NO });
    expect(record).toMatchObject({
      outcome: 'failed',
      promptTokens: 0,
      completionTokens: 0,
      usageSource: 'none',
    });
    expect(lost).toBe(0);
  });
});

describe('what the engine says of its context', () => {
  it('bounds a prompt of many bytes', async () => {
    const text = 'x'.repeat(100_000);
    const possible = await charged('chat', undefined, SHAPES.chat.whole(usageOf('chat', 32_000, 5)), text);
    expect(possible.record).toMatchObject({ promptTokens: 32_000, usageSource: 'engine' });
    const odd = await charged('chat', undefined, SHAPES.chat.whole(usageOf('chat', 32_769, 5)), text);
    expect(odd.record).toMatchObject({ usageSource: 'estimate', oddUsage: ['prompt-too-large'] });
    expect(odd.record.promptTokens).toBeLessThanOrEqual(32_768);
  });
});

describe('odd counts of one tenant', () => {
  it.each([
    ['two thousand million for "hi"', 'tokens=2000000000 hi'],
    ['too many to be true', 'tokens=1000000 hello'],
    ['as many as bytes', `tokens=9000 ${'x'.repeat(9_000)}`],
    ['hardly any', `tokens=1 ${'x'.repeat(60_000)}`],
    ['none', `tokens=0 ${'x'.repeat(60_000)}`],
  ])("%s: change what fits into another tenant's context by a tenth at most", async (_, content) => {
    for (let i = 0; i < 30; i += 1) expect(await ask(KEYS.noisy, content)).toBe(200);
    expect(await fits(890)).toBe(true);
    expect(await fits(1_110)).toBe(false);
  });

  it('are told of in the log once a minute for each reason, without contents', () => {
    const lines = stack
      .logText()
      .split('\n')
      .filter((line) => line.includes('engine-usage-odd'));
    expect(lines.length).toBeGreaterThan(2);
    const keys = lines.map((line) => {
      const { endpoint, reason } = JSON.parse(line) as { readonly endpoint: string; readonly reason: string };
      return `${endpoint} ${reason}`;
    });
    // A run of these tests may take two minutes.
    for (const key of keys) expect(keys.filter((one) => one === key).length).toBeLessThanOrEqual(3);
    expect(lines.join('')).not.toMatch(/hello|xxxx|word/);
  });
});

/** A body that was cut or grown has its right length at the engine, told once: also at the next endpoint, and in copies. */
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { type RawEngine, type RawRequest, startRawEngine, valuesOf } from '../support/raw-engine.ts';
import { sendOverHttp2 } from '../support/ready-engine.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

/** Heads of POST requests that still meet a connection that breaks. */
let deaths = 0;
const dies = (): boolean => {
  if (deaths === 0) return false;
  deaths -= 1;
  return true;
};

let engines: readonly RawEngine[];
let copies: RawEngine;
let stack: Stack;

beforeAll(async () => {
  engines = [await startRawEngine(['demo'], dies), await startRawEngine(['demo'], dies)];
  copies = await startRawEngine(['copy']);
  stack = await startStack({
    engines: engines.map(({ url }) => url),
    change(config) {
      config['pools'].copies = {
        endpoints: [copies.url],
        health: { interval: '200ms', timeout: '5s' },
        gauges: { interval: '100ms' },
      };
      config['models'] = {
        demo: {
          pool: 'main',
          mirror: { pool: 'copies', percent: 100, maxConcurrent: 1_000, perSecond: 10_000 },
        },
        'a-much-longer-name-of-a-model': { pool: 'main' },
      };
      config['aliases'] = { short: 'a-much-longer-name-of-a-model' };
      config['tenants'].noisy.limits = { maxContext: 10_000 };
    },
  });
  await eventually(
    () => send(stack.url, { key: KEYS.quiet, body: chatBody() }),
    ({ status }) => status === 200,
  );
});
afterAll(async () => {
  await stack.close();
  await Promise.all([...engines, copies].map((engine) => engine.close()));
});

const received = (): readonly RawRequest[] => engines.flatMap((engine) => engine.received());

function expectRightLength(request: RawRequest | undefined): void {
  expect(request).toBeDefined();
  if (request === undefined) return;
  expect(valuesOf(request, 'content-length')).toEqual([String(request.body.length)]);
  expect(valuesOf(request, 'transfer-encoding')).toEqual([]);
  expect(valuesOf(request, 'content-encoding')).toEqual([]);
  expect(valuesOf(request, 'trailer')).toEqual([]);
}

const ways: Readonly<Record<string, (body: string, key: string) => Promise<number>>> = {
  'HTTP/1.1 with its length': async (body, key) => (await send(stack.url, { key, body })).status,
  'HTTP/1.1 in chunks': async (body, key) =>
    (await send(stack.url, { key, body, headers: { 'transfer-encoding': 'chunked' } })).status,
  'HTTP/1.1 with trailers': async (body, key) =>
    (await send(stack.url, { key, body, trailers: { 'x-after': '1' } })).status,
  'HTTP/2 with its length': (body, key) =>
    sendOverHttp2(stack.url, body, {
      headers: { authorization: `Bearer ${key}`, 'content-length': String(Buffer.byteLength(body)) },
    }),
  'HTTP/2 without its length': (body, key) =>
    sendOverHttp2(stack.url, body, { headers: { authorization: `Bearer ${key}` } }),
};

const long = 'héllo "wörld" \u{1f600}\n'.repeat(8_000);
const messages = [{ role: 'user', content: long }];
const bodies: readonly (readonly [string, string, string, string])[] = [
  ['as it came', KEYS.quiet, chatBody(), chatBody()],
  [
    'cut: a forbidden field is left out',
    KEYS.quiet,
    `{"model":"demo","priority":${'9'.repeat(12)},"messages":[{"role":"user","content":"hi"}],"cache_salt":"xxxxxxxxxxxx"}`,
    '{"model":"demo","messages":[{"role":"user","content":"hi"}]}',
  ],
  [
    'grown: usage is asked for',
    KEYS.quiet,
    '{"model":"demo","stream":true,"messages":[{"role":"user","content":"hi"}]}',
    '{"stream_options":{"include_usage":true},"model":"demo","stream":true,"messages":[{"role":"user","content":"hi"}]}',
  ],
  [
    'grown: the model has another name',
    KEYS.quiet,
    '{"model":"short","messages":[{"role":"user","content":"hi"}]}',
    '{"model":"a-much-longer-name-of-a-model","messages":[{"role":"user","content":"hi"}]}',
  ],
  ['long, and as it came', KEYS.quiet, chatBody({ messages }), chatBody({ messages })],
  ['long, and cut', KEYS.quiet, chatBody({ messages, priority: 1 }), chatBody({ messages })],
];

describe.each(Object.entries(ways))('over %s', (_, sendBody) => {
  it.each(bodies)('a body is whole: %s', async (_name, key, body, expected) => {
    const before = received().length;
    expect(await sendBody(body, key)).toBe(200);
    const all = engines.flatMap((engine) => engine.received().slice(-1));
    expect(received()).toHaveLength(before + 1);
    const one = all.find(({ body: bytes }) => bytes.toString() === expected);
    expectRightLength(one);
  });

  it('a body is whole where a cap of ours is added', async () => {
    const before = new Set(received());
    expect(await sendBody('{"model":"demo","messages":[{"role":"user","content":"hi"}]}', KEYS.noisy)).toBe(
      200,
    );
    const [one] = received().filter((request) => !before.has(request));
    expectRightLength(one);
    expect(one?.body.toString()).toMatch(/^\{"max_tokens":\d+,"model":"demo",/);
  });

  it.each(bodies.filter(([name]) => !name.includes('model')))(
    'one is whole at the next endpoint, when the first breaks after the head: %s',
    async (_name, key, body, expected) => {
      const before = new Set(received());
      deaths = 1;
      expect(await sendBody(body, key)).toBe(200);
      expect(deaths).toBe(0);
      const added = received().filter((request) => !before.has(request));
      expect(added.map((request) => request.body.toString())).toEqual([expected]);
      expectRightLength(added[0]);
    },
  );
});

it('a copy is what the engine got, with its length', async () => {
  const [, , sent = '', grown = ''] = bodies[2] ?? [];
  const asked = async (): Promise<boolean> => {
    await send(stack.url, { key: KEYS.quiet, body: sent });
    return copies.received().some(({ body }) => body.toString() === grown);
  };
  // The first ones come before the pool of copies is known to be well.
  expect(await eventually(asked, (isThere) => isThere)).toBe(true);
  for (const copy of copies.received()) expectRightLength(copy);
});

it('a copy of what came encoded is plain too', async () => {
  const mark = chatBody({ user: 'encoded' });
  const asked = async (): Promise<boolean> => {
    await send(stack.url, {
      key: KEYS.quiet,
      body: gzipSync(mark),
      headers: { 'content-encoding': 'gzip' },
    });
    return copies.received().some(({ body }) => body.toString() === mark);
  };
  expect(await eventually(asked, (isThere) => isThere)).toBe(true);
  for (const copy of copies.received()) expectRightLength(copy);
});

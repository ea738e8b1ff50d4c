/** Bodies with a content-encoding, through a real Envoy: what the engine gets is plain, whole and has its length. */
import { connect } from 'node:net';
import { brotliCompressSync, constants, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { type RawEngine, startRawEngine, valuesOf } from '../support/raw-engine.ts';
import { sendOverHttp2 } from '../support/ready-engine.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';
import { zstdOfOneByte, zstdStored } from '../support/zstd.ts';

const MAX_BODY = 1_048_576;
const CODINGS: readonly (readonly [string, (bytes: Uint8Array) => Buffer])[] = [
  ['gzip', gzipSync],
  ['x-gzip', gzipSync],
  ['GZIP', gzipSync],
  ['br', brotliCompressSync],
  ['zstd', zstdStored],
  ['deflate', deflateSync],
  ['deflate', deflateRawSync],
];

let deaths = 0;
let engines: readonly RawEngine[];
let stack: Stack;

beforeAll(async () => {
  const dies = (): boolean => {
    if (deaths === 0) return false;
    deaths -= 1;
    return true;
  };
  engines = [await startRawEngine(['demo'], dies), await startRawEngine(['demo'], dies)];
  stack = await startStack({
    engines: engines.map(({ url }) => url),
    change(config) {
      config['envoy'].maxBodySize = '1MiB';
      config['envoy'].uploads = { grace: '1s', minRate: '1MiB' };
      config['tenants'].noisy.limits = { maxHeldSize: '4MiB', maxConcurrent: 200 };
    },
  });
  await eventually(
    () => send(stack.url, { key: KEYS.quiet, body: chatBody() }),
    ({ status }) => status === 200,
  );
});
afterAll(async () => {
  await stack.close();
  await Promise.all(engines.map((engine) => engine.close()));
});

const received = () => engines.flatMap((engine) => engine.received());
interface Way {
  readonly headers?: Readonly<Record<string, string>>;
  readonly path?: string;
  readonly key?: string;
}
const post = (coding: string, body: Buffer, { headers, path, key = KEYS.quiet }: Way = {}): Promise<Answer> =>
  send(stack.url, {
    key,
    body,
    headers: { 'content-encoding': coding, 'content-length': String(body.length), ...headers },
    ...(path !== undefined && { path }),
  });

/** The body that came while it acted: of exactly one request, which is plain. */
async function plainOf(act: () => Promise<number>): Promise<string | undefined> {
  const before = new Set(received());
  expect(await act()).toBe(200);
  const came = received().filter((request) => !before.has(request));
  expect(came).toHaveLength(1);
  const [one] = came;
  if (one === undefined) return undefined;
  expect(valuesOf(one, 'content-encoding')).toEqual([]);
  expect(valuesOf(one, 'transfer-encoding')).toEqual([]);
  expect(valuesOf(one, 'content-length')).toEqual([String(one.body.length)]);
  return one.body.toString();
}

const long = Array.from({ length: 20_000 }, (_, i) => `wörd${(i * 7_919) % 9_973}`).join(' ');
const odd =
  '{ "zeta":1.10 , "10":[9223372036854775807],"model":"demo","messages":[{"role":"user","content":"é"}]}';
const TEXTS: readonly (readonly [string, string, string])[] = [
  ['a short one', chatBody(), chatBody()],
  ['one of odd spelling', odd, odd],
  ['a long one', chatBody({ messages: [{ role: 'user', content: long }] }), ''],
  [
    'one that is changed',
    '{"model":"demo","priority":5,"stream":true,"messages":[]}'.replace(
      '[]',
      '[{"role":"user","content":"x"}]',
    ),
    '{"stream_options":{"include_usage":true},"model":"demo","stream":true,"messages":[{"role":"user","content":"x"}]}',
  ],
];

describe.each(CODINGS)('%s', (coding, encode) => {
  it.each(TEXTS)('is decoded: %s', async (_, text, changed) => {
    const expected = changed === '' ? text : changed;
    const body = encode(Buffer.from(text));
    expect(await plainOf(async () => (await post(coding, body)).status)).toBe(expected);
    const inChunks = await plainOf(
      async () =>
        (
          await send(stack.url, {
            key: KEYS.quiet,
            body,
            headers: { 'content-encoding': coding, 'transfer-encoding': 'chunked' },
          })
        ).status,
    );
    expect(inChunks).toBe(expected);
    for (const length of [{}, { 'content-length': String(body.length) }]) {
      const overHttp2 = await plainOf(() =>
        sendOverHttp2(stack.url, body, { headers: { 'content-encoding': coding.toLowerCase(), ...length } }),
      );
      expect(overHttp2).toBe(expected);
    }
  });

  it('is decoded for the next endpoint too, when the first breaks', async () => {
    deaths = 1;
    const body = encode(Buffer.from(chatBody()));
    expect(await plainOf(async () => (await post(coding, body)).status)).toBe(chatBody());
    expect(deaths).toBe(0);
  });

  it('that is broken is a 400 in the shape of the API', async () => {
    const before = received().length;
    const whole = encode(Buffer.from(chatBody()));
    for (const bad of [
      Buffer.from(chatBody()),
      whole.subarray(0, -2),
      Buffer.concat([whole, Buffer.from(chatBody())]),
    ]) {
      const openai = await post(coding, bad);
      expect(openai.status).toBe(400);
      expect(openai.json).toMatchObject({
        error: { type: 'invalid_request_error', code: 'invalid_content_encoding', param: null },
      });
      const anthropic = await post(coding, bad, { path: '/v1/messages' });
      expect(anthropic.status).toBe(400);
      expect(anthropic.json).toMatchObject({ type: 'error', error: { type: 'invalid_request_error' } });
    }
    expect(received().length).toBe(before);
  });
});

describe('what is not decoded', () => {
  it.each(['compress', 'gzip, br', 'identity, gzip', 'x-unknown', 'gzip;q=1', 'dcb'])(
    'is a 415 that names what is: %s',
    async (coding) => {
      const before = received().length;
      const answer = await post(coding, gzipSync(chatBody()));
      expect(answer.status).toBe(415);
      expect(answer.json).toMatchObject({ error: { code: 'unsupported_content_encoding' } });
      expect(answer.text).toContain('gzip, br, zstd, deflate');
      const anthropic = await post(coding, gzipSync(chatBody()), { path: '/v1/messages' });
      expect(anthropic.status).toBe(415);
      expect(anthropic.json).toMatchObject({ type: 'error' });
      expect(received().length).toBe(before);
    },
  );

  it('is not looked at where there is nothing to decode: identity', async () => {
    const body = Buffer.from(chatBody());
    expect(await plainOf(async () => (await post('identity', body)).status)).toBe(chatBody());
  });
});

/** A body that is JSON once it is decoded, mostly zeros' kind of text. */
const bombs: readonly (readonly [string, string, () => Buffer])[] = [
  ['gzip, 10 MB', 'gzip', () => gzipSync(Buffer.alloc(10_000_000))],
  ['deflate, 10 MB', 'deflate', () => deflateSync(Buffer.alloc(10_000_000))],
  [
    'Brotli, 100 MB',
    'br',
    () => brotliCompressSync(Buffer.alloc(100_000_000), { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }),
  ],
  ['Zstandard, 4 GB', 'zstd', () => zstdOfOneByte(0, 4_000_000_000)],
  ['Zstandard that does not say so, 1 GB', 'zstd', () => zstdOfOneByte(0x20, 1_000_000_000, false)],
  [
    'JSON of one letter',
    'gzip',
    () => gzipSync(chatBody({ messages: [{ role: 'user', content: 'x'.repeat(900_000) }] })),
  ],
];

describe('a bomb', () => {
  it.each(bombs)('is a 413: %s', async (_, coding, make) => {
    const before = received().length;
    const answer = await post(coding, make());
    expect(answer.status).toBe(413);
    expect(answer.json.error.code).toMatch(/^body_(too_large|grows_too_much)$/);
    const anthropic = await post(coding, make(), { path: '/v1/messages' });
    expect(anthropic.json).toMatchObject({ type: 'error', error: { type: 'request_too_large' } });
    expect(received().length).toBe(before);
  });

  it('names the setting, where that is what it is over', async () => {
    const text = Array.from({ length: 250_000 }, (_, i) => (i * 7_919) % 90_001).join(' ');
    const body = gzipSync(chatBody({ messages: [{ role: 'user', content: text }] }));
    expect(body.length).toBeLessThan(MAX_BODY);
    const answer = await post('gzip', body);
    expect(answer.status).toBe(413);
    expect(answer.json.error.message).toContain('envoy.maxBodySize');
  });

  it('forty times at once lets others be served meanwhile', async () => {
    const bomb = gzipSync(chatBody({ messages: [{ role: 'user', content: 'x y '.repeat(250_000) }] }));
    const all = Array.from({ length: 40 }, () => post('gzip', bomb, { key: KEYS.noisy }));
    const begunMs = performance.now();
    expect((await send(stack.url, { key: KEYS.quiet, body: chatBody() })).status).toBe(200);
    expect(performance.now() - begunMs).toBeLessThan(3_000);
    for (const { status } of await Promise.all(all)) expect([413, 429]).toContain(status);
  });
});

it('a slow drip of encoded bytes is an upload that is too slow, whatever it may become', async () => {
  const body = gzipSync(chatBody());
  const answer = await new Promise<number>((resolve, reject) => {
    const { hostname, port } = new URL(stack.url);
    const socket = connect(Number(port), hostname);
    let at = 0;
    const drip = setInterval(() => {
      if (at < 20) socket.write(body.subarray(at, at + 1));
      at += 1;
    }, 200);
    let text = '';
    socket.on('error', reject);
    socket.on('close', () => clearInterval(drip));
    socket.on('data', (part) => {
      text += part.toString('latin1');
      const status = /^HTTP\/1\.1 (\d+)/.exec(text)?.[1];
      if (status === undefined) return;
      socket.destroy();
      resolve(Number(status));
    });
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${KEYS.quiet}\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: ${body.length}\r\n\r\n`,
    );
  });
  expect(answer).toBe(408);
});

it('the openai client that compresses its requests is served', async () => {
  const client = new OpenAI({
    apiKey: KEYS.quiet,
    baseURL: `${stack.url}/v1`,
    maxRetries: 0,
    fetch: (url, init) => {
      const headers = new Headers(init?.headers);
      headers.set('content-encoding', 'gzip');
      headers.delete('content-length');
      return fetch(url, { ...init, headers, body: gzipSync(init?.body as string) });
    },
  });
  const before = received().length;
  const answer = await client.chat.completions.create({
    model: 'demo',
    messages: [{ role: 'user', content: 'Grüße' }],
  });
  expect(answer.choices[0]?.message.content).toBe('hello');
  expect(received().length).toBe(before + 1);
});

describe.each(['open', 'closed'] as const)('while the service is away, failing %s', (failureMode) => {
  it('passes as it came with its header, or is a 503', async () => {
    const alone = await startStack({
      engines: engines.map(({ url }) => url),
      change(config) {
        config['envoy'].failureMode = failureMode;
      },
    });
    try {
      await alone.service().drain();
      const before = new Set(received());
      const body = gzipSync(chatBody());
      const { status } = await send(alone.url, {
        key: KEYS.quiet,
        body,
        headers: { 'content-encoding': 'gzip', 'content-length': String(body.length) },
      });
      const came = received().filter((request) => !before.has(request));
      if (failureMode === 'closed') {
        expect(status).toBe(503);
        expect(came).toEqual([]);
        return;
      }
      expect(status).toBe(200);
      expect(came).toHaveLength(1);
      const [one] = came;
      expect(one !== undefined && valuesOf(one, 'content-encoding')).toEqual(['gzip']);
      expect(one?.body.equals(body)).toBe(true);
    } finally {
      await alone.close();
    }
  });
});

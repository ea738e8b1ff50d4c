/** What clients meet before any engine: Envoy's own answers, ids, credentials, waits, browsers. The exact bytes, and real clients. */
import { request as httpRequest } from 'node:http';
import OpenAI from 'openai';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { sendHttp1, sendHttp2 } from '../support/raw-http.ts';
import { type RecordingEngine, startRecordingEngine } from '../support/recording-engine.ts';
import { KEYS, type Stack, startStack, untilServed } from '../support/stack.ts';

const ORIGIN = 'https://app.example.com';
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;
const SPENT = 'key-of-the-spent';

let engine: RecordingEngine;
let stack: Stack;
let port = 0;

beforeAll(async () => {
  engine = await startRecordingEngine(['demo']);
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      delete config['models'];
      config['cors'] = { origins: [ORIGIN] };
      config['envoy']['maxBodySize'] = '1MiB';
      config['envoy']['passHeaders'] = ['cookie', 'authorization', 'x-ours'];
      config['tenants']['spent'] = { keys: [SPENT], limits: { tokensPerMonth: 1 } };
      config['tenants']['slow'] = {
        keys: ['key-of-the-slow'],
        limits: { requestsPerMinute: 6, requestBurst: 1 },
      };
    },
  });
  port = Number(new URL(stack.url).port);
  await untilServed(stack.url);
});
afterAll(async () => {
  await stack.close();
  await engine.close();
});
beforeEach(() => engine.forget());

const head = (lines: readonly string[], first = 'GET /v1/models HTTP/1.1'): string =>
  `${[first, 'host: x', ...lines].join('\r\n')}\r\n\r\n`;
const post = (lines: readonly string[], version = '1.1', body = chatBody()): string =>
  head(
    [
      `authorization: Bearer ${KEYS.quiet}`,
      'content-type: application/json',
      `content-length: ${body.length}`,
      ...lines,
    ],
    `POST /v1/chat/completions HTTP/${version}`,
  ) + body;
const headerOf = (text: string, name: string): string | undefined =>
  new RegExp(`^${name}: (.*)\\r$`, 'im').exec(text.slice(0, text.indexOf('\r\n\r\n') + 2))?.[1];
const bodyOf = (text: string): { error: { code: string; message: string } } =>
  JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4)) as { error: { code: string; message: string } };

describe('what Envoy refuses by itself', () => {
  const key = `authorization: Bearer ${KEYS.quiet}`;
  it.each([
    [
      'a WebSocket',
      head([key, 'connection: Upgrade', 'upgrade: websocket', 'sec-websocket-version: 13']),
      426,
      'upgrade_refused',
    ],
    ['headers of 90 KB', head([key, `x-big: ${'a'.repeat(90_000)}`]), 431, 'headers_too_large'],
    ['headers of 70 KB', head([key, `x-big: ${'a'.repeat(70_000)}`]), 431, 'headers_too_large'],
    [
      'a transfer-encoding',
      head([key, 'transfer-encoding: gzip'], 'POST /v1/chat/completions HTTP/1.1'),
      501,
      'transfer_encoding_not_supported',
    ],
    [
      'chunks that are none',
      `${head([key, 'transfer-encoding: chunked'], 'POST /v1/chat/completions HTTP/1.1')}zz\r\n`,
      400,
      'invalid_request',
    ],
    ['a method', head([key], 'BREW /v1/models HTTP/1.1'), 400, 'invalid_request'],
    ['no HTTP', 'hello\r\n\r\n', 400, 'invalid_request'],
    ['no host', 'GET /v1/models HTTP/1.1\r\n\r\n', 400, 'invalid_request'],
    [
      'a length',
      head([key, 'content-length: abc'], 'POST /v1/chat/completions HTTP/1.1'),
      400,
      'invalid_request',
    ],
    ['no key', head([]), 401, 'invalid_api_key'],
    ['a path', head([key], 'GET /nowhere HTTP/1.1'), 404, 'unknown_url'],
  ] as readonly [string, string, number, string][])(
    '%s: its answer arrives over HTTP/1.1, in the shape of the API, with an id',
    async (_, bytes, status, code) => {
      const answer = await sendHttp1(port, [bytes]);
      expect(answer.status).toBe(status);
      expect(bodyOf(answer.text).error.code).toBe(code);
      expect(headerOf(answer.text, 'content-type')).toBe('application/json');
      expect(headerOf(answer.text, 'x-request-id')).toMatch(UUID);
    },
  );

  it.each([
    ['an unknown method', ':method', 'BREW', 'unknown_url'],
    ['no key', 'authorization', 'Bearer none', 'invalid_api_key'],
    ['too large headers', 'x-big', 'a'.repeat(70_000), 'headers_too_large'],
  ])('%s: it arrives over HTTP/2 too', async (_, name, value, code) => {
    const fields = new Map([
      [':method', 'GET'],
      [':path', '/v1/models'],
      [':scheme', 'http'],
      [':authority', 'x'],
      ['authorization', `Bearer ${KEYS.quiet}`],
      [name, value],
    ]);
    // A frame has at most 16 KiB: what is larger takes several, which this client does not send.
    if (value.length > 16_000) {
      const answer = await new Promise<string>((resolve, reject) => {
        import('node:http2').then(({ connect }) => {
          const session = connect(stack.url, { maxSendHeaderBlockLength: 200_000 });
          session.on('error', reject);
          const stream = session.request({
            ':path': '/v1/models',
            authorization: `Bearer ${KEYS.quiet}`,
            [name]: value,
          });
          let text = '';
          stream.setEncoding('utf8');
          stream.on('data', (part: string) => {
            text += part;
          });
          stream.on('error', reject);
          stream.on('end', () => {
            session.close();
            resolve(text);
          });
        }, reject);
      });
      expect(answer).toContain(`"code":"${code}"`);
      return;
    }
    const answer = await sendHttp2(port, [{ kind: 'headers', headers: [...fields], end: true }]);
    expect(answer.ended).toBe('answer');
    expect(JSON.parse(answer.text)).toMatchObject({ error: { code } });
  });

  it('speaks to clients of Anthropic in their shape', async () => {
    const { text } = await sendHttp1(port, [head([], 'POST /v1/messages HTTP/1.1')]);
    expect(bodyOf(text)).toMatchObject({ type: 'error', error: { type: 'authentication_error' } });
  });

  it('is counted by reason and told in the log, without a stream to the service for each', async () => {
    const streams = async (): Promise<number> => {
      const page = await (await fetch(`${stack.adminUrl}/stats?filter=ext_proc.streams_started`)).text();
      return Number(/streams_started: (\d+)/.exec(page)?.[1]);
    };
    const labels = { tenant: '', reason: 'invalid_api_key' };
    const [before, startedBefore] = [await stack.metric('fairlane_refusals_total', labels), await streams()];
    for (let i = 0; i < 20; i += 1) expect((await send(stack.url, { body: chatBody() })).status).toBe(401);
    await eventually(
      () => stack.metric('fairlane_refusals_total', labels),
      (now) => now >= before + 20,
      15_000,
    );
    expect(await streams()).toBe(startedBefore);
    const lines = stack
      .logText()
      .split('\n')
      .filter((line) => line.includes('"envoy-refused"'));
    expect(lines.some((line) => line.includes('"reason":"invalid_api_key"'))).toBe(true);
    // Some for each reason and flush, however many were refused.
    expect(lines.length).toBeLessThan(60);
  }, 30_000);
});

describe('older clients', () => {
  it('HTTP/1.0 is served, and without a host', async () => {
    for (const bytes of [post([], '1.0'), post([], '1.0').replace('host: x\r\n', '')]) {
      const { status, text } = await sendHttp1(port, [bytes]);
      expect(status).toBe(200);
      expect(text).toContain('hello');
    }
  });

  it.each([
    [
      'h2c',
      ['connection: Upgrade, HTTP2-Settings', 'upgrade: h2c', 'http2-settings: AAMAAABkAAQCAAAAAAIAAAAA'],
    ],
    ['TLS/1.2', ['connection: Upgrade', 'upgrade: TLS/1.2']],
  ])('an offer to go on with %s is passed over, and the request served', async (_, lines) => {
    expect((await sendHttp1(port, [post(lines)])).status).toBe(200);
  });
});

describe('the ids of a request', () => {
  it('are in the answer, the record and at the engine, and the client’s own comes back', async () => {
    const { text } = await sendHttp1(port, [
      post(['x-request-id: mine', 'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01']),
    ]);
    const id = headerOf(text, 'x-request-id');
    expect(id).toMatch(UUID);
    expect(headerOf(text, 'x-client-request-id')).toBe('mine');
    const record = await stack.record(({ requestId }) => requestId === id);
    expect(record.clientRequestId).toBe('mine');
    expect(engine.received()[0]?.headers).toMatchObject({
      'x-request-id': id,
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    });
  });

  it('an engine’s own id does not replace it, and x-client-request-id is preferred', async () => {
    engine.answerWith({ 'x-request-id': 'the-engines', 'request-id': 'the-engines' });
    const { text } = await sendHttp1(port, [
      post(['x-request-id: theirs', 'request-id: theirs', 'x-client-request-id: mine']),
    ]);
    engine.answerWith({});
    expect(headerOf(text, 'x-request-id')).toMatch(UUID);
    expect(headerOf(text, 'request-id')).toBe(headerOf(text, 'x-request-id'));
    expect(text).not.toMatch(/the-engines|theirs/);
    expect(headerOf(text, 'x-client-request-id')).toBe('mine');
  });

  it('a long one, or one of odd bytes, is cut and made harmless in the record', async () => {
    const { text } = await sendHttp1(port, [post([`x-request-id: \xff${'a'.repeat(5_000)}`])]);
    const id = headerOf(text, 'x-request-id');
    expect(headerOf(text, 'x-client-request-id')?.length).toBeLessThanOrEqual(128);
    const { clientRequestId = '' } = await stack.record(({ requestId }) => requestId === id);
    expect(clientRequestId).toMatch(/^\?+a+$/);
    expect(clientRequestId.length).toBeLessThanOrEqual(128);
  });

  it('are on what the service refuses, too', async () => {
    const { text, status } = await sendHttp1(port, [post(['x-request-id: mine'], '1.1', '{}')]);
    expect(status).toBe(400);
    const id = headerOf(text, 'x-request-id');
    expect(headerOf(text, 'x-client-request-id')).toBe('mine');
    expect((await stack.record(({ requestId }) => requestId === id)).outcome).toBe('refused');
  });
});

describe('credentials', () => {
  const k = KEYS.quiet;
  const taken: readonly (readonly string[])[] = [
    [`authorization: Bearer ${k}`],
    [`authorization: bearer ${k}`],
    [`authorization: BEARER   ${k}`],
    [`authorization: ${k}`],
    [`x-api-key: ${k}`],
    [`x-api-key: bearer ${k}`],
    [`api-key: ${k}`],
    [`authorization: Bearer foreign`, `x-api-key: ${k}`],
    [`authorization: Basic Zm9vOmJhcg==`, `api-key: ${k}`],
    [`authorization: Bearer ${k}`, 'x-api-key: foreign', 'api-key: other'],
    ['x-api-key: foreign', `api-key: ${k}`],
    ['authorization:', `x-api-key: ${k}`],
  ];
  it.each(taken)('the valid one counts, and no engine sees any: %s', async (...lines) => {
    const body = chatBody();
    const { status } = await sendHttp1(port, [
      head(
        [
          ...lines,
          'cookie: a=b',
          'proxy-authorization: Basic abc',
          'x-ours: passes',
          'content-type: application/json',
          `content-length: ${body.length}`,
        ],
        'POST /v1/chat/completions HTTP/1.1',
      ) + body,
    ]);
    expect(status).toBe(200);
    const headers = engine.received()[0]?.headers ?? {};
    expect(headers['x-ours']).toBe('passes');
    for (const name of ['authorization', 'x-api-key', 'api-key', 'cookie', 'proxy-authorization']) {
      expect(headers[name]).toBeUndefined();
    }
  });

  it.each([
    [['authorization: Bearer foreign']],
    [['authorization: Bearer foreign', 'x-api-key: other', 'api-key: third']],
    [['authorization: Bearer', 'x-api-key:']],
    [[`authorization: Bearer ${KEYS.quiet}x`, 'x-fairlane-tenant: quiet']],
    [[`authorization: bearer ${'x'.repeat(20_000)}`]],
  ])('none that is valid is a 401: %s', async (lines) => {
    expect((await sendHttp1(port, [head(lines)])).status).toBe(401);
  });
});

describe('waits', () => {
  it('a spent month: the client is not told to sleep for days, and does not try again', async () => {
    let answers = 0;
    const client = new OpenAI({
      apiKey: SPENT,
      baseURL: `${stack.url}/v1`,
      maxRetries: 3,
      fetch: async (...args) => {
        answers += 1;
        return await fetch(...args);
      },
    });
    const startedMs = performance.now();
    const error = (await client.chat.completions
      .create({ model: 'demo', messages: [{ role: 'user', content: 'hello' }] })
      .catch((caught: unknown) => caught)) as InstanceType<typeof OpenAI.APIError>;
    expect(error.status).toBe(429);
    expect(error.code).toBe('insufficient_quota');
    expect(error.headers?.get('retry-after')).toBeNull();
    expect(error.headers?.get('x-should-retry')).toBe('false');
    expect(answers).toBe(1);
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  });

  it('a short one is told in seconds and in milliseconds', async () => {
    const ask = () => send(stack.url, { key: 'key-of-the-slow', body: chatBody() });
    await ask();
    const { status, headers } = await ask();
    expect(status).toBe(429);
    const ms = Number(headers['retry-after-ms']);
    expect(ms).toBeGreaterThan(0);
    expect(Number(headers['retry-after'])).toBe(Math.ceil(ms / 1_000));
  });
});

describe('bodies over the limit', () => {
  const huge = 3 * 1024 * 1024;
  it('the openai client reads the 413, which names the setting and both sizes', async () => {
    const client = new OpenAI({ apiKey: KEYS.quiet, baseURL: `${stack.url}/v1`, maxRetries: 0 });
    const error = (await client.chat.completions
      .create({ model: 'demo', messages: [{ role: 'user', content: 'a'.repeat(huge) }] })
      .catch((caught: unknown) => caught)) as Error & { status: number };
    expect(error.status).toBe(413);
    expect(error.message).toMatch(/larger than 1048576 bytes \(`envoy.maxBodySize`\): it has 3\d{6}/);
  });

  it('in chunks it arrives, too', async () => {
    const status = await new Promise<string>((resolve, reject) => {
      const request = httpRequest(
        `${stack.url}/v1/chat/completions`,
        {
          method: 'POST',
          headers: { authorization: `Bearer ${KEYS.quiet}`, 'content-type': 'application/json' },
        },
        (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (part: string) => {
            text += part;
          });
          response.on('end', () => resolve(`${response.statusCode} ${text}`));
        },
      );
      request.on('error', (error: NodeJS.ErrnoException) => {
        // The answer is there: what is left of the upload is not read.
        if (error.code !== 'EPIPE' && error.code !== 'ECONNRESET') reject(error);
      });
      for (let sent = 0; sent < huge; sent += 65_536) request.write('a'.repeat(65_536));
      request.end();
    });
    expect(status).toMatch(/^413 /);
    expect(status).toContain('larger than 1048576 bytes (`envoy.maxBodySize`)');
  });

  it('over HTTP/2 a client that writes all before it reads gets it', async () => {
    const { text, ended } = await sendHttp2(port, [
      {
        kind: 'headers',
        headers: [
          [':method', 'POST'],
          [':path', '/v1/chat/completions'],
          [':scheme', 'http'],
          [':authority', 'x'],
          ['authorization', `Bearer ${KEYS.quiet}`],
          ['content-type', 'application/json'],
          ['content-length', String(huge)],
        ],
      },
      { kind: 'data', text: 'a'.repeat(16_000) },
    ]);
    expect(ended).toBe('answer');
    expect(text).toContain('body_too_large');
  });
});

describe('browsers', () => {
  const preflight = (origin: string) =>
    sendHttp1(port, [
      head(
        [
          `origin: ${origin}`,
          'access-control-request-method: POST',
          'access-control-request-headers: authorization',
        ],
        'OPTIONS /v1/chat/completions HTTP/1.1',
      ),
    ]);

  it('a preflight needs no key', async () => {
    const { status, text } = await preflight(ORIGIN);
    expect(status).toBe(200);
    expect(headerOf(text, 'access-control-allow-origin')).toBe(ORIGIN);
    expect(headerOf(text, 'access-control-allow-headers')).toBe('authorization, *');
    expect(headerOf(text, 'access-control-allow-methods')).toContain('POST');
    expect(headerOf(text, 'access-control-max-age')).toBe('600');
    expect(headerOf(text, 'access-control-allow-credentials')).toBeUndefined();
  });

  it.each([
    'https://evil.example.com',
    `${ORIGIN}.evil.com`,
    'null',
    'http://app.example.com',
    ORIGIN.slice(0, -1),
    `x${ORIGIN}`,
    `${ORIGIN}:8443`,
    `${ORIGIN}/`,
    ORIGIN.toUpperCase(),
    `${ORIGIN}, https://evil.example.com`,
    `https://evil.example.com ${ORIGIN}`,
    'https://appxexample.com',
    '*',
  ])('another origin is not told that it may, before it asks or after: %s', async (origin) => {
    const told = /access-control-(allow-origin|allow-credentials|expose-headers)/i;
    expect((await preflight(origin)).text).not.toMatch(told);
    engine.answerWith({ 'access-control-allow-origin': '*', 'access-control-allow-credentials': 'true' });
    const asked = await sendHttp1(port, [post([`origin: ${origin}`])]);
    engine.answerWith({});
    expect(asked.status).toBe(200);
    expect(asked.text).not.toMatch(told);
  });

  it('a preflight of Azure’s paths needs no key either', async () => {
    const { status, text } = await sendHttp1(port, [
      head(
        [`origin: ${ORIGIN}`, 'access-control-request-method: POST'],
        'OPTIONS /openai/deployments/a%2Fb/chat/completions HTTP/1.1',
      ),
    ]);
    expect(status).toBe(200);
    expect(headerOf(text, 'access-control-allow-origin')).toBe(ORIGIN);
  });

  it('answers, refusals and Envoy’s own replies may be read, and what engines say of origins never passes', async () => {
    engine.answerWith({ 'access-control-allow-origin': '*', 'access-control-allow-credentials': 'true' });
    const good = await sendHttp1(port, [post([`origin: ${ORIGIN}`])]);
    engine.answerWith({});
    const refused = await sendHttp1(port, [post([`origin: ${ORIGIN}`], '1.1', '{}')]);
    const noKey = await sendHttp1(port, [head([`origin: ${ORIGIN}`])]);
    const nowhere = await sendHttp1(port, [
      head([`origin: ${ORIGIN}`, `authorization: Bearer ${KEYS.quiet}`], 'GET /nowhere HTTP/1.1'),
    ]);
    expect([good, refused, noKey, nowhere].map(({ status }) => status)).toEqual([200, 400, 401, 404]);
    for (const { text } of [good, refused, noKey, nowhere]) {
      expect(headerOf(text, 'access-control-allow-origin')).toBe(ORIGIN);
      expect(headerOf(text, 'access-control-allow-credentials')).toBeUndefined();
      expect(headerOf(text, 'access-control-expose-headers')).toContain('x-request-id');
    }
  });
});

describe('while the service is away', () => {
  it('failing open, keys count wherever they are, and no engine sees one', async () => {
    await stack.service().drain();
    await eventually(
      async () => (await sendHttp1(port, [post([])])).status,
      (status) => status === 200,
    );
    engine.forget();
    const body = chatBody();
    const { status } = await sendHttp1(port, [
      head(
        [
          'authorization: Bearer foreign',
          `api-key: ${KEYS.quiet}`,
          'cookie: a=b',
          'content-type: application/json',
          `content-length: ${body.length}`,
        ],
        'POST /v1/chat/completions HTTP/1.1',
      ) + body,
    ]);
    expect(status).toBe(200);
    const headers = engine.received()[0]?.headers ?? {};
    for (const name of ['authorization', 'x-api-key', 'api-key', 'cookie']) {
      expect(headers[name]).toBeUndefined();
    }
  });
});

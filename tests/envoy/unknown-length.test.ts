/** Bodies that do not say how long they are: many at once, and a bound of their own. */
import { connect as connectTcp, type Socket } from 'node:net';
import { buffer as bytesOf } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import {
  answerChat,
  envoyStat,
  type ReadyStack,
  sendOverHttp2,
  startReadyStack,
} from '../support/ready-engine.ts';
import { KEYS } from '../support/stack.ts';

const KiB = 1024;
const MAX = 2048 * KiB;
const UNSIZED = 256 * KiB;
/** 4 MiB of these. */
const AT_ONCE = 16;

let ready: ReadyStack;
/** Lengths of the bodies that came. */
const got: number[] = [];
const open: Socket[] = [];

beforeAll(async () => {
  ready = await startReadyStack(
    (request, response) => {
      void bytesOf(request)
        .then((body) => {
          if (request.method === 'POST') got.push(body.length);
          answerChat(response);
        })
        .catch(() => undefined);
    },
    (config) => {
      config['envoy'].maxBodySize = '2MiB';
      config['envoy'].maxUnsizedBodySize = '256KiB';
      config['envoy'].uploads = { grace: '1m' };
      config['tenants'].quiet.limits = { maxHeldSize: '4MiB', maxConcurrent: 40 };
    },
  );
});
afterAll(() => ready.close());
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy();
});

const chunked = { 'transfer-encoding': 'chunked' };
const post = (body: string, headers: Readonly<Record<string, string>> = chunked, path?: string) =>
  send(ready.stack.url, { key: KEYS.quiet, body, headers, ...(path !== undefined && { path }) });
/** Of exactly so many bytes. */
function bodyOf(bytes: number): string {
  const content = 'a'.repeat(bytes - chatBody({ messages: [{ role: 'user', content: '' }] }).length);
  return chatBody({ messages: [{ role: 'user', content }] });
}

/** Begins uploads in chunks that do not end. */
async function beginUploads(
  count: number,
  path = '/v1/chat/completions',
  more = '',
): Promise<readonly Socket[]> {
  const { hostname, port } = new URL(ready.stack.url);
  for (let i = 0; i < count; i += 1) {
    const socket = connectTcp(Number(port), hostname);
    socket.on('error', () => undefined);
    open.push(socket);
    socket.write(
      `POST ${path} HTTP/1.1\r\nhost: x\r\n${more}authorization: Bearer ${KEYS.quiet}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n`,
    );
  }
  // They have their room before what comes next.
  await new Promise((resolve) => setTimeout(resolve, 200));
  return open.slice(-count);
}

describe('a body without a length', () => {
  it('passes up to its bound, over both versions of HTTP, and with a length up to the larger one', async () => {
    expect((await post(bodyOf(UNSIZED))).status).toBe(200);
    expect(got.at(-1)).toBe(UNSIZED);
    expect(await sendOverHttp2(ready.stack.url, bodyOf(UNSIZED))).toBe(200);
    expect((await post(bodyOf(MAX), {})).status).toBe(200);
    expect(got.at(-1)).toBe(MAX);
  });

  it.each([1, 64 * KiB, MAX])(
    'that is %d bytes larger gets 413, the setting, and what to do',
    async (more) => {
      const before = got.length;
      const body = bodyOf(UNSIZED + more);
      const { status, json } = await post(body);
      expect(status).toBe(413);
      expect(json.error).toMatchObject({
        type: 'invalid_request_error',
        code: 'body_too_large',
        message: `The request body has no content-length, and is larger than ${UNSIZED} bytes (\`envoy.maxUnsizedBodySize\`). Send it with a content-length: then it may have ${MAX} bytes.`,
      });
      expect(await sendOverHttp2(ready.stack.url, body, { mayBreak: true })).toBe(413);
      expect(got).toHaveLength(before);
    },
  );

  it('gets it in the shape of Anthropic’s API too', async () => {
    const { status, json } = await post(bodyOf(4 * UNSIZED), chunked, '/v1/messages');
    expect(status).toBe(413);
    expect(json).toMatchObject({ type: 'error', error: { type: 'request_too_large' } });
  });

  it.each(['/openai/deployments/any/chat/completions', '/openai/deployments/a%2Fb/chat/completions'])(
    'has the same bounds at Azure’s path %s',
    async (path) => {
      expect((await post(bodyOf(MAX), {}, path)).status).toBe(200);
      expect((await post(bodyOf(UNSIZED), chunked, path)).status).toBe(200);
      expect(got.at(-1)).toBe(UNSIZED);
      const { status, json } = await post(bodyOf(UNSIZED + 64 * KiB), chunked, path);
      expect(status).toBe(413);
      expect(json.error.message).toContain('envoy.maxUnsizedBodySize');
    },
  );

  it.each([
    ['at the usual path', '/v1/chat/completions', ''],
    ['with a header that is the service’s own', '/v1/chat/completions', 'x-fairlane-pool: engines\r\n'],
    ['at Azure’s path', '/openai/deployments/any/chat/completions', ''],
    ['at Azure’s path with an escaped slash', '/openai/deployments/a%2Fb/chat/completions', ''],
  ])('is read by Envoy no further %s', async (_, path, more) => {
    const before = await envoyStat(ready.stack, 'http.fairlane.downstream_rq_too_large');
    const [socket] = await beginUploads(1, path, more);
    let answer = '';
    socket?.on('data', (part: Buffer) => {
      answer += part.toString('latin1');
    });
    const chunk = `10000\r\n${'a'.repeat(64 * KiB)}\r\n`;
    for (let i = 0; i < 5; i += 1) socket?.write(chunk);
    await eventually(
      () => answer,
      (text) => /^HTTP\/1\.1 413 [^]*envoy\.maxUnsizedBodySize/.test(text),
    );
    expect(await envoyStat(ready.stack, 'http.fairlane.downstream_rq_too_large')).toBe(before + 1);
  });

  it('is read by Envoy no further, whether it ends or not', async () => {
    const before = await envoyStat(ready.stack, 'http.fairlane.downstream_rq_too_large');
    const [socket] = await beginUploads(1);
    let answer = '';
    socket?.on('data', (part: Buffer) => {
      answer += part.toString('latin1');
    });
    const chunk = `10000\r\n${'a'.repeat(64 * KiB)}\r\n`;
    for (let i = 0; i < 8; i += 1) socket?.write(chunk);
    await eventually(
      () => answer,
      (text) => /^HTTP\/1\.1 413 [^]*envoy\.maxUnsizedBodySize/.test(text),
    );
    expect(await envoyStat(ready.stack, 'http.fairlane.downstream_rq_too_large')).toBe(before + 1);
  });

  it('counts as its bound until it is there: so many are uploaded at once, and more wait or get 429', async () => {
    await beginUploads(AT_ONCE - 1);
    const answers = await Promise.all(Array.from({ length: 8 }, () => post(chatBody())));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    // One has the last room, 2 MiB wait for it, and then there is none.
    await beginUploads(1 + 8);
    // They wait once the service has heard of them: until then one more overtakes them.
    const refused = await eventually(
      () => post(chatBody()),
      ({ status }) => status === 429,
    );
    expect(refused.json.error).toMatchObject({ code: 'too_many_bytes_held' });
    for (const socket of open.splice(0)) socket.destroy();
    await eventually(
      () => post(bodyOf(UNSIZED)),
      ({ status }) => status === 200,
    );
  });
});

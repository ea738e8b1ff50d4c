/** What an engine gets of a body, however it was sent: what was understood, and nothing else. */
import type { IncomingHttpHeaders } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chatBody, send } from '../support/client.ts';
import { answerChat, type ReadyStack, sendOverHttp2, startReadyStack } from '../support/ready-engine.ts';
import { KEYS, type Stack } from '../support/stack.ts';

const got: { readonly body: string; readonly headers: IncomingHttpHeaders }[] = [];
let ready: ReadyStack;
let stack: Stack;

beforeAll(async () => {
  ready = await startReadyStack((request, response) => {
    void textOf(request).then((body) => {
      if (request.method === 'POST') got.push({ body, headers: request.headers });
      answerChat(response);
    });
  });
  stack = ready.stack;
});
afterAll(() => ready.close());

/** As it is on the wire. Gives the status, 0 when the connection was closed without one. */
function raw(head: string, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(stack.url);
    const socket = connectTcp(Number(port), hostname);
    let answer = '';
    socket.on('error', reject);
    socket.on('data', (part: Buffer) => {
      answer += part.toString('latin1');
      if (answer.includes('\r\n\r\n')) socket.destroy();
    });
    socket.on('close', () => resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0)));
    const line = 'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n';
    socket.write(`${line}authorization: Bearer ${KEYS.quiet}\r\n${head}\r\n\r\n${body}`);
  });
}

const ways: Readonly<Record<string, (body: string) => Promise<number>>> = {
  'with its length': async (body) => (await send(stack.url, { key: KEYS.quiet, body })).status,
  'in chunks': async (body) =>
    (await send(stack.url, { key: KEYS.quiet, body, headers: { 'transfer-encoding': 'chunked' } })).status,
  'with trailers': async (body) =>
    (await send(stack.url, { key: KEYS.quiet, body, trailers: { 'x-after': '1' } })).status,
  'over HTTP/2 with its length': (body) =>
    sendOverHttp2(stack.url, body, {
      headers: { 'content-length': String(Buffer.byteLength(body)) },
    }),
  'over HTTP/2 without its length': (body) => sendOverHttp2(stack.url, body),
};

const content = 'héllo "wörld" \u{1f600}\n'.repeat(8_000);
const messages = [{ role: 'user', content }];

describe.each(Object.entries(ways))('a body that is sent %s', (_, sendBody) => {
  it.each([
    ['short and as it came', {}, {}],
    ['long and as it came', { messages }, {}],
    ['long and changed', { messages, stream: true }, { stream_options: { include_usage: true } }],
  ])('arrives as it was understood, once, with its length: %s', async (_name, fields, added) => {
    const body = chatBody(fields);
    const before = got.length;
    expect(await sendBody(body)).toBe(200);
    expect(got.length).toBe(before + 1);
    const arrived = got[before];
    expect(JSON.parse(arrived?.body ?? '')).toEqual({ ...(JSON.parse(body) as object), ...added });
    expect(arrived?.headers['content-length']).toBe(String(Buffer.byteLength(arrived?.body ?? '')));
    expect(arrived?.headers['transfer-encoding']).toBeUndefined();
  });

  it('is refused when it could be understood in two ways', async () => {
    const before = got.length;
    const good = chatBody({ messages });
    for (const bad of [
      `${good}${good}`,
      `\ufeff${good}`,
      good.replace('{', '{"model":"other",'),
      `${good}x`,
    ]) {
      expect(await sendBody(bad)).toBe(400);
    }
    expect(got.length).toBe(before);
  });
});

describe('a body whose length is told in two ways', () => {
  const body = chatBody();
  const chunked = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
  it.each([
    ['two lengths', `content-length: ${body.length}\r\ncontent-length: ${body.length + 1}`, body],
    ['a length and chunks', `content-length: ${body.length}\r\ntransfer-encoding: chunked`, chunked],
    ['a length that is no number', 'content-length: 0x10', body],
    ['a negative length', 'content-length: -1', body],
  ])('reaches no engine: %s', async (_, head, sent) => {
    const before = got.length;
    expect(await raw(head, sent)).not.toBe(200);
    expect(got.length).toBe(before);
  });
});

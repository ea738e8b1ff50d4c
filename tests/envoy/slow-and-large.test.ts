/** Bodies up to the limit through small buffers, and uploads that do not come. */
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { buffer as bytesOf } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import {
  answerChat,
  envoyStat,
  type ReadyStack,
  sendOverHttp2,
  startReadyStack,
} from '../support/ready-engine.ts';
import { KEYS, type Stack } from '../support/stack.ts';

const MAX = 2 * 1024 ** 2;
/** An upload may take so long: longer than a busy machine needs for the largest. */
const GRACE_MS = 3_000;
const LATE_MS = 15_000;

/** Lengths of the bodies that came. */
const got: number[] = [];
/** So many times it breaks off before it answers. */
let breakOff = 0;
let ready: ReadyStack;
let stack: Stack;

beforeAll(async () => {
  ready = await startReadyStack(
    (request, response) => {
      void bytesOf(request)
        .then((body) => {
          if (request.method === 'POST') got.push(body.length);
          if (request.method === 'POST' && breakOff > 0) {
            breakOff -= 1;
            response.socket?.destroy();
          } else answerChat(response);
        })
        .catch(() => undefined);
    },
    (config) => {
      config['envoy'].maxBodySize = '2MiB';
      config['envoy'].connectionBufferSize = '64KiB';
      config['envoy'].uploads = { minRate: '1GiB', grace: `${GRACE_MS}ms` };
      config['queue'].maxWait = '1s';
      config['tenants'].noisy.limits = { maxHeldSize: '4MiB', maxConcurrent: 2, maxQueued: 3 };
    },
  );
  stack = ready.stack;
});
afterAll(() => ready.close());

/** Of exactly so many bytes. */
function bodyOf(bytes: number, more: object = {}): string {
  const empty = chatBody({ ...more, messages: [{ role: 'user', content: '' }] });
  return chatBody({ ...more, messages: [{ role: 'user', content: 'a'.repeat(bytes - empty.length) }] });
}

const viaHttp2 = (body: string, headers: Readonly<Record<string, string>> = {}): Promise<number> =>
  sendOverHttp2(stack.url, body, { headers, mayBreak: true });

const chunked = { 'transfer-encoding': 'chunked' };
const ways: Readonly<Record<string, (body: string) => Promise<number>>> = {
  'HTTP/1.1, with its length': async (body) => (await send(stack.url, { key: KEYS.quiet, body })).status,
  'HTTP/1.1, in chunks': async (body) =>
    (await send(stack.url, { key: KEYS.quiet, body, headers: chunked })).status,
  'HTTP/2, with its length': (body) => viaHttp2(body, { 'content-length': String(Buffer.byteLength(body)) }),
  'HTTP/2, without': (body) => viaHttp2(body),
};

describe.each(Object.entries(ways))('a body far larger than the connection’s buffer: %s', (_, sendBody) => {
  it('passes up to the limit', async () => {
    expect(await sendBody(bodyOf(MAX))).toBe(200);
    expect(got.at(-1)).toBe(MAX);
  });
  it('passes when the service makes it longer', async () => {
    expect(await sendBody(bodyOf(MAX, { stream: true }))).toBe(200);
    expect(got.at(-1)).toBeGreaterThan(MAX);
  });
  it('is refused above it', async () => {
    const before = got.length;
    expect(await sendBody(bodyOf(MAX + 1))).toBe(413);
    expect(got.length).toBe(before);
  });
  it('is sent again whole when the engine broke off', async () => {
    breakOff = 1;
    const before = got.length;
    expect(await sendBody(bodyOf(MAX))).toBe(200);
    expect(got.slice(before)).toEqual([MAX, MAX]);
  });
});

const slow = { 'content-length': String(100_000) };

/** Sends the head and a part of the body over HTTP/1.1. */
function startUpload(
  key: string,
  head: Readonly<Record<string, string>> = slow,
): { socket: Socket; answer: () => string } {
  const { hostname, port } = new URL(stack.url);
  const socket = connectTcp(Number(port), hostname);
  let text = '';
  socket.on('data', (part: Buffer) => {
    text += part.toString('latin1');
  });
  socket.on('error', () => undefined);
  const lines = Object.entries({
    host: 'x',
    authorization: `Bearer ${key}`,
    'content-type': 'application/json',
    ...head,
  });
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n{"model"`,
  );
  return { socket, answer: () => text };
}

describe('an upload that does not come', () => {
  it('gets 408 in the shape of the API over HTTP/1.1, and its connection is closed', async () => {
    const { socket, answer } = startUpload(KEYS.quiet);
    const text = await eventually(answer, (now) => now.includes('}'), LATE_MS);
    expect(text).toMatch(/^HTTP\/1\.1 408/);
    expect(text).toContain('"code":"request_timeout"');
    await eventually(
      () => socket.readableEnded,
      (ended) => ended,
    );
  });

  it('gets 408 over HTTP/2, and others on its connection are served', async () => {
    const session: ClientHttp2Session = connectHttp2(stack.url);
    const open = (body: string, end: boolean): Promise<number> =>
      new Promise((resolve) => {
        const stream = session.request({
          ':method': 'POST',
          ':path': '/v1/chat/completions',
          authorization: `Bearer ${KEYS.quiet}`,
          'content-type': 'application/json',
        });
        stream.on('response', (headers) => resolve(headers[':status'] ?? 0));
        stream.on('error', () => resolve(0));
        stream.resume();
        if (end) stream.end(body);
        else stream.write(body);
      });
    const late = open('{"model"', false);
    expect(await open(chatBody(), true)).toBe(200);
    expect(await late).toBe(408);
    expect(await open(chatBody(), true)).toBe(200);
    session.close();
  });
});

describe('without the service', () => {
  it('an upload that does not come is ended by Envoy', async () => {
    await stack.service().drain();
    const { answer } = startUpload(KEYS.quiet);
    const text = await eventually(answer, (now) => now.includes('}'), LATE_MS);
    expect(text).toMatch(/^HTTP\/1\.1 408/);
    expect(text).toContain('"code":"request_timeout"');
    await stack.restartService();
  });
});

describe('an upload for which its tenant has no room', () => {
  /** Of a body of unknown length, which takes half of what the tenant may hold. Its end is sent later. */
  const begun = (): { readonly socket: Socket; readonly answer: () => string } => {
    const { port, hostname } = new URL(stack.url);
    const socket = connectTcp(Number(port), hostname);
    let answer = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      answer += text;
    });
    socket.on('error', () => undefined);
    const body = chatBody();
    socket.write(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${KEYS.noisy}\r\ncontent-type: application/json\r\n` +
        `transfer-encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n`,
    );
    return { socket, answer: () => answer };
  };
  const end = (one: { readonly socket: Socket }): boolean => one.socket.write('0\r\n\r\n');

  it('begins when there is room, and is not let past meanwhile', async () => {
    const before = got.length;
    const streams = () => envoyStat(stack, 'http.fairlane.ext_proc.streams_started');
    const streamsBefore = await streams();
    const held = [begun(), begun()];
    // The service hears of them in this order, and of the third one after them.
    await eventually(streams, (count) => count === streamsBefore + 2);
    const waiting = begun();
    end(waiting);
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(got.length).toBe(before);
    for (const one of held) end(one);
    await eventually(
      () => [...held, waiting].map((one) => one.answer().slice(0, 15)),
      (answers) => answers.every((text) => text === 'HTTP/1.1 200 OK'),
    );
    for (const one of [...held, waiting]) one.socket.destroy();
  });
});

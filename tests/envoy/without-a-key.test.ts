/** What those cost who have no key, or send nothing but trouble: what Envoy itself bounds. Others are served meanwhile. */
import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { answerChat, envoyStat, type ReadyStack, startReadyStack } from '../support/ready-engine.ts';
import { KEYS, type Stack } from '../support/stack.ts';

const MAX_CONNECTIONS = 100;

let ready: ReadyStack;
let stack: Stack;

beforeAll(async () => {
  ready = await startReadyStack(
    (request, response) => {
      request.resume();
      answerChat(response);
    },
    (config) => {
      config['envoy'].maxConnections = MAX_CONNECTIONS;
      config['envoy'].idleTimeout = '1s';
      config['envoy'].failureMode = 'closed';
    },
  );
  stack = ready.stack;
});
afterAll(() => ready.close());

const stat = (name: string): Promise<number> => envoyStat(stack, name);
const streams = (): Promise<number> => stat('http.fairlane.ext_proc.streams_started');

const served = (): Promise<number> =>
  send(stack.url, { key: KEYS.quiet, body: chatBody(), headers: { connection: 'close' } }).then(
    ({ status }) => status,
    () => 0,
  );

const open = (text = ''): { socket: Socket; answer: () => string; closed: () => boolean } => {
  const socket = connectTcp(Number(new URL(stack.url).port), '127.0.0.1');
  let answer = '';
  socket.on('data', (part: Buffer) => {
    answer += part.toString('latin1');
  });
  socket.on('error', () => undefined);
  if (text !== '') socket.write(text);
  return { socket, answer: () => answer, closed: () => socket.readableEnded || socket.destroyed };
};

it('a refused key opens no stream to the service, over both versions of HTTP', async () => {
  const before = await streams();
  for (const key of [undefined, 'wrong', 'x'.repeat(4_000)]) {
    const answer = await send(stack.url, { key, body: chatBody() });
    expect(answer.status).toBe(401);
    expect(answer.json.error.code).toBe('invalid_api_key');
  }
  const session = connectHttp2(stack.url);
  const statuses = await Promise.all(
    Array.from(
      { length: 100 },
      () =>
        new Promise<number>((resolve, reject) => {
          const stream = session.request({ ':method': 'POST', ':path': '/v1/chat/completions' });
          stream.on('response', (headers) => resolve(headers[':status'] ?? 0));
          stream.on('error', reject);
          stream.resume();
          stream.end(chatBody());
        }),
    ),
  );
  session.close();
  expect(new Set(statuses)).toEqual(new Set([401]));
  expect(await streams()).toBe(before);
  expect(await served()).toBe(200);
  expect(await streams()).toBe(before + 1);
});

it('an upload without a key is refused by its headers', async () => {
  const { answer, socket } = open(
    'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{',
  );
  expect(await eventually(answer, (text) => text.includes('\r\n\r\n'))).toMatch(/^HTTP\/1\.1 401/);
  socket.destroy();
});

it('headers that do not come get 10 s, and others are served meanwhile', async () => {
  const slow = Array.from({ length: 30 }, () =>
    open('POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-a: '),
  );
  const startMs = Date.now();
  const drip = setInterval(() => {
    for (const { socket } of slow) if (!socket.destroyed) socket.write('a');
  }, 500);
  while (!slow.every(({ closed }) => closed()) && Date.now() < startMs + 20_000) {
    expect(await served()).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  clearInterval(drip);
  const tookMs = Date.now() - startMs;
  expect(slow.every(({ closed }) => closed())).toBe(true);
  expect(tookMs).toBeGreaterThan(9_000);
  expect(slow.map(({ answer }) => answer().slice(0, 12))).toEqual(slow.map(() => 'HTTP/1.1 408'));
});

/** Resolves when the other side has read all that was sent, or is gone. */
const isRead = (session: ClientHttp2Session): Promise<void> =>
  new Promise((resolve) => {
    if (session.destroyed || !session.ping(() => resolve())) resolve();
  });

/** Opens streams on one connection and resets each at once, until it is closed or enough. */
async function rapidResets(
  key: string | undefined,
): Promise<{ readonly count: number; readonly closed: boolean }> {
  const session = connectHttp2(stack.url);
  session.on('error', () => undefined);
  await once(session, 'connect');
  const isClosed = (): boolean => session.closed || session.destroyed;
  let count = 0;
  for (; count < 2_000 && !isClosed(); count += 1) {
    const stream = session.request({
      ':method': 'POST',
      ':path': '/v1/chat/completions',
      ...(key !== undefined && { authorization: `Bearer ${key}` }),
    });
    stream.on('error', () => undefined);
    stream.close(constants.NGHTTP2_CANCEL);
    // Envoy counts what it reads: it is not to be outrun.
    if (count % 20 === 0) await isRead(session);
  }
  const closed = isClosed();
  session.destroy();
  return { count, closed };
}

it('streams that are reset at once end their connection, and others are served meanwhile', async () => {
  const before = await stat('http.fairlane.downstream_rq_too_many_premature_resets');
  const rapid = rapidResets(KEYS.noisy);
  for (let i = 0; i < 5; i += 1) expect(await served()).toBe(200);
  const { count, closed } = await rapid;
  expect(closed).toBe(true);
  expect(count).toBeLessThan(2_000);
  expect(await stat('http.fairlane.downstream_rq_too_many_premature_resets')).toBeGreaterThan(before);
});

it('those without a key open no stream to the service, and others are served meanwhile', async () => {
  const before = await streams();
  const rapid = rapidResets(undefined);
  for (let i = 0; i < 5; i += 1) expect(await served()).toBe(200);
  await rapid;
  expect(await streams()).toBe(before + 5);
});

it('connections beyond the bound are closed, those of nobody go after a while, and others are served then', async () => {
  const flood = Array.from({ length: 3 * MAX_CONNECTIONS }, () => open());
  await eventually(
    () => flood.filter(({ closed }) => closed()).length,
    (closed) => closed >= 2 * MAX_CONNECTIONS,
  );
  expect(await eventually(served, (status) => status === 200)).toBe(200);
  for (const { socket } of flood) socket.destroy();
});

it('a refused key is a 401 while the service is away, failing closed: nobody has to be asked', async () => {
  await stack.service().drain();
  expect((await send(stack.url, { key: 'wrong', body: chatBody() })).status).toBe(401);
  expect(await served()).toBe(503);
  await stack.restartService();
});

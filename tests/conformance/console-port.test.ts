/** The console on the metrics' port: who may read it, how many, and what is no file. */
import { Agent, type IncomingMessage, request } from 'node:http';
import { Registry } from 'prom-client';
import { afterEach, expect, test } from 'vitest';
import { ConsoleHistory } from '../../src/admin/console-history.ts';
import { type AdminServer, startAdminServer } from '../../src/admin/http-admin-server.ts';

let server: AdminServer | undefined;
let made = 0;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

const start = async (host = '127.0.0.1', mode: 'auto' | 'on' | 'off' = 'auto'): Promise<number> => {
  made = 0;
  server = await startAdminServer(
    { host, port: 0 },
    new Registry(),
    () => ({ status: 'ok', ready: true }) as never,
    {
      drain: () => ({ kind: 'unknown' as const }),
      explain: () => ({ status: 200, answer: {} }),
      maxBodyBytes: 10,
    },
    () => {
      made += 1;
      return '{}';
    },
    { history: new ConsoleHistory(0, String), mode },
  );
  return server.port;
};

const open = (
  port: number,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  method = 'GET',
): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    const agent = new Agent({ maxSockets: 1 });
    request({ port, host: '127.0.0.1', path, method, headers, agent }, resolve).on('error', reject).end();
  });

const statusOf = async (...args: Parameters<typeof open>): Promise<number> => {
  const answer = await open(...args);
  answer.resume();
  return answer.statusCode ?? 0;
};

test('events come at once, in one stream, and end with the server', async () => {
  const port = await start();
  const stream = await open(port, '/console/events');
  expect(stream.headers['content-type']).toBe('text/event-stream');
  let text = '';
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  const ended = new Promise((resolve) => stream.on('close', resolve).on('error', () => undefined));
  await expect.poll(() => text).toContain('event: usage');
  expect(text).toContain('event: requests');
  expect(text).toContain('event: status');
  await server?.close();
  await ended;
});

test('sixteen streams are served, and the other endpoints go on', async () => {
  const port = await start();
  expect(made).toBe(0);
  const codes = [];
  for (let at = 0; at < 100; at += 1) codes.push(await statusOf(port, '/console/events'));
  expect(codes.filter((code) => code === 200)).toHaveLength(16);
  expect(codes.filter((code) => code === 503)).toHaveLength(84);
  expect(await statusOf(port, '/live')).toBe(200);
  expect(await statusOf(port, '/metrics')).toBe(200);
});

test.each([
  [{ host: 'evil.example' }],
  [{ origin: 'http://evil.example' }],
  [{ 'sec-fetch-site': 'cross-site' }],
])('a page of another site reads nothing: %j', async (headers) => {
  const port = await start();
  for (const path of ['/console/events', '/console/requests', '/console/about']) {
    expect(await statusOf(port, path, headers)).toBe(403);
  }
});

test.each([
  '/console/assets/../../package.json',
  '/console/assets/%2e%2e/%2e%2e/package.json',
  '/console/assets/..%2f..%2fpackage.json',
  '/console/__proto__',
])('no file: %s', async (path) => {
  expect(await statusOf(await start(), path)).toBe(404);
});

test('the page has its rules, and HEAD has them too', async () => {
  const port = await start();
  for (const method of ['GET', 'HEAD']) {
    const answer = await open(port, '/', {}, method);
    answer.resume();
    expect(answer.statusCode).toBe(200);
    expect(answer.headers['content-security-policy']).toContain("default-src 'none'");
    expect(answer.headers['cache-control']).toBe('no-store');
  }
  expect(await statusOf(port, '/console/requests', {}, 'POST')).toBe(405);
});

test('where others are listened to it is off unless it is on', async () => {
  expect(await statusOf(await start('0.0.0.0'), '/console/requests')).toBe(404);
  await server?.close();
  expect(await statusOf(await start('0.0.0.0', 'on'), '/console/requests')).toBe(200);
});

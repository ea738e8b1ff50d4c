/** The console on the metrics' port: who may read it, how many, and what is no file. */
import { Agent, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { Registry } from 'prom-client';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { ConsoleHistory } from '../../src/admin/console-history.ts';
import { type AdminServer, startAdminServer } from '../../src/admin/http-admin-server.ts';
import type { ConsoleOptions } from '../../src/admin/http-console.ts';
import { TenantApi } from '../../src/admin/http-tenant-api.ts';
import { madeWorld, READ_TOKEN, TOKEN } from '../support/made-tenants.ts';
import { configOf, minimal } from '../unit/config/parse.ts';

let server: AdminServer | undefined;
let made = 0;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

/** What a status says: it may be large. */
let status = '{}';

const start = async (
  host = '127.0.0.1',
  mode: 'auto' | 'on' | 'off' = 'auto',
  more: Partial<ConsoleOptions> = {},
): Promise<number> => {
  made = 0;
  status = '{}';
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
      return status;
    },
    { history: new ConsoleHistory(0, String), mode, ...more },
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
  for (const event of ['usage', 'requests', 'status']) {
    await expect.poll(() => text, { timeout: 5_000 }).toContain(`event: ${event}`);
  }
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

test('a thousand streams at once: sixteen are served, and metrics and probes go on', async () => {
  const port = await start();
  const asked = Array.from({ length: 1_000 }, () => statusOf(port, '/console/events').catch(() => 0));
  const codes = await Promise.all(asked);
  // Beyond the connections that a server takes they are cut, without an answer.
  expect(codes.filter((code) => code === 200)).toHaveLength(16);
  expect(codes.filter((code) => ![200, 503, 0].includes(code))).toEqual([]);
  expect(await statusOf(port, '/live')).toBe(200);
  expect(await statusOf(port, '/metrics')).toBe(200);
});

test('who does not read loses its place, and who reads keeps it', async () => {
  const port = await start();
  const reader = await open(port, '/console/events');
  let isCut = false;
  reader.resume().on('close', () => {
    isCut = true;
  });
  const slow = connect(port, '127.0.0.1');
  slow.write('GET /console/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n');
  slow.pause();
  slow.on('error', () => undefined);
  for (let at = 0; at < 14; at += 1) (await open(port, '/console/events')).resume();
  expect(await statusOf(port, '/console/events')).toBe(503);
  // More than the kernel holds for it, soon.
  status = JSON.stringify('x'.repeat(4_000_000));
  await expect.poll(() => statusOf(port, '/console/events'), { timeout: 9_000, interval: 250 }).toBe(200);
  expect(isCut).toBe(false);
  slow.destroy();
}, 15_000);

const RAW_GET = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`;

/** What a connection that says this gets until its end. */
const saidTo = (port: number, text: string): Promise<string> =>
  new Promise((resolve) => {
    let said = '';
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    socket.on('data', (part: Buffer) => {
      said += part.toString('latin1');
    });
    socket.on('close', () => resolve(said));
    socket.write(text);
  });

test.each(['/status', '/console/requests', '/metrics', '/live'])(
  'a thousand times %s in one packet are not a thousand answers',
  async (path) => {
    const said = await saidTo(await start(), RAW_GET(path).repeat(1_000));
    // The second says that there will be no more on this connection.
    expect(said.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 503']);
    expect(made).toBe(path === '/status' ? 1 : 0);
  },
);

test('the lines of requests are made once in 200 ms, for all who ask', async () => {
  const history = new ConsoleHistory(0, String);
  const lines = vi.spyOn(history, 'requests');
  const port = await start('127.0.0.1', 'auto', { history });
  const sinceMs = performance.now();
  for (let at = 0; at < 50; at += 1) expect(await statusOf(port, '/console/requests')).toBe(200);
  expect(lines.mock.calls.length).toBeLessThanOrEqual(1 + (performance.now() - sinceMs) / 200);
  await expect
    .poll(async () => (await statusOf(port, '/console/requests')) && lines.mock.calls.length)
    .toBeGreaterThan(1);
});

test.each([
  ['fairlane.evil.example', 403],
  ['127.0.0.1', 200],
  ['[::1]:9464', 200],
  ['10.1.2.3:9464', 200],
  ['localhost:9464', 200],
  ['fairlane:9464', 200],
  ['gpu1.local', 200],
  ['local.evil.example', 403],
  ['10.evil.example:9464', 403],
])('where others are listened to, Host %j of request lines gets %i', async (host, code) => {
  const port = await start('0.0.0.0', 'on');
  expect(await statusOf(port, '/console/requests', { host })).toBe(code);
  const evil = { host: '127.0.0.1', origin: 'http://evil.example' };
  expect(await statusOf(port, '/console/events', evil)).toBe(403);
});

test('about says what is served and what may be done', async () => {
  const about = async (...args: Parameters<typeof start>): Promise<unknown> => {
    const port = await start(...args);
    const answer = await fetch(`http://127.0.0.1:${port}/console/about`);
    await server?.close();
    return answer.json();
  };
  expect(await about()).toEqual({ actions: true, admin: false });
  const build = { version: '1.2.3', commit: 'abcdef0' };
  expect(await about('0.0.0.0', 'on', { build })).toEqual({ ...build, actions: false, admin: false });
  const apiUrl = 'http://127.0.0.1:8080';
  expect(await about('127.0.0.1', 'on', { apiUrl })).toEqual({ actions: true, admin: false, api: apiUrl });
});

describe('the admin API under /console/admin', () => {
  const api = async () => {
    const admin = { address: '127.0.0.1:1', token: 'env:A', readToken: 'env:R', directory: '/s' };
    const config = configOf({ ...minimal(), admin }, { env: { A: TOKEN, R: READ_TOKEN } });
    const world = await madeWorld(config);
    const refused: number[] = [];
    const tenants = new TenantApi({
      made: world.made,
      admin: () => config.admin as NonNullable<typeof config.admin>,
      unixMs: () => world.clock.ms,
      onRefused: (requests) => refused.push(requests),
      onAnswered: () => undefined,
    });
    return { tenants, world, refused };
  };
  const ask = (port: number, method: string, path: string, headers = {}, body?: unknown) =>
    fetch(`http://127.0.0.1:${port}/console/admin${path}`, {
      method,
      headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json', ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });

  test('is asked by the own page with its token, and by no other', async () => {
    const { tenants, world, refused } = await api();
    const port = await start('127.0.0.1', 'auto', { api: tenants });
    const own = { origin: `http://127.0.0.1:${port}`, 'sec-fetch-site': 'same-origin' };
    const name = '/v1/tenants/fresh';
    expect((await ask(port, 'POST', '/v1/tenants', own, { name: 'fresh' })).status).toBe(201);
    expect((await ask(port, 'PATCH', name, own, { disabled: true })).status).toBe(200);
    expect(await (await ask(port, 'GET', name, own)).json()).toMatchObject({ disabled: true });
    expect((await ask(port, 'PATCH', name, own, { disabled: false })).status).toBe(200);
    expect((await ask(port, 'DELETE', name, own)).status).toBe(200);
    const reader = { ...own, authorization: `Bearer ${READ_TOKEN}` };
    expect((await ask(port, 'GET', name, reader)).status).toBe(200);
    expect((await ask(port, 'DELETE', name, reader)).status).toBe(403);
    expect((await ask(port, 'GET', `${name}?token=${TOKEN}`, own)).status).toBe(400);
    for (const foreign of [{ origin: 'http://evil.example' }, { 'sec-fetch-site': 'same-site' }]) {
      expect((await ask(port, 'GET', name, foreign)).status).toBe(403);
    }
    const rebound = { host: 'evil.example', authorization: `Bearer ${TOKEN}` };
    expect(await statusOf(port, `/console/admin${name}`, rebound)).toBe(403);
    const sinceMs = performance.now();
    expect((await ask(port, 'GET', name, { ...own, authorization: 'Bearer wrong' })).status).toBe(401);
    expect(performance.now() - sinceMs).toBeGreaterThan(400);
    expect(refused).toEqual([1]);
    await world.made.close();
  });

  test('is not there where tokens would come over the network, nor where it is not configured', async () => {
    const { tenants, world } = await api();
    expect((await ask(await start('0.0.0.0', 'on', { api: tenants }), 'GET', '/v1/tenants')).status).toBe(
      404,
    );
    await server?.close();
    expect((await ask(await start(), 'GET', '/v1/tenants')).status).toBe(404);
    await world.made.close();
  });
});

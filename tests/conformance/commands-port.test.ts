/** The port of metrics and commands, asked by what should and by what should not command. */
import { once } from 'node:events';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { HealthReport } from '../../src/admin/health.ts';
import { type AdminServer, startAdminServer } from '../../src/admin/http-admin-server.ts';

let server: AdminServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

let report: HealthReport;
beforeEach(() => {
  report = { status: 'ok', ready: true, pools: {} };
});

const start = async (
  explain: (question: unknown) => { status: number; answer: unknown },
): Promise<number> => {
  const health = () => report;
  const commands = { drain: () => ({ kind: 'unknown' as const }), explain, maxBodyBytes: 1_000 };
  server = await startAdminServer(
    { host: '127.0.0.1', port: 0 },
    new Registry(),
    health,
    commands,
    () => '{}',
  );
  return server.port;
};

const post = (
  port: number,
  body: string | undefined,
  headers: Readonly<Record<string, string>> = { 'x-fairlane-command': 'on' },
  path = '/explain',
  method = 'POST',
): Promise<{ readonly status: number; readonly text: string; readonly allow: string | undefined }> =>
  new Promise((resolve, reject) => {
    const sent = request({ port, host: '127.0.0.1', path, method, headers }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text, allow: answer.headers.allow }));
    });
    sent.on('error', reject);
    sent.end(body);
  });

describe('a question to the service', () => {
  it('that finds a bug is answered, and the service goes on', async () => {
    const port = await start(() => {
      throw new Error('a bug');
    });
    for (let i = 0; i < 2; i += 1) {
      expect(await post(port, '{}')).toMatchObject({ status: 500, text: expect.stringContaining('a bug') });
    }
  });

  it('that is too large or no JSON is refused', async () => {
    const port = await start(() => ({ status: 200, answer: {} }));
    expect((await post(port, 'x'.repeat(5_000_000))).status).toBe(413);
    expect((await post(port, 'x')).status).toBe(400);
    expect((await post(port, '{}')).status).toBe(200);
  });

  it('is not taken from a web page, or under a name that was bound to this address', async () => {
    let asked = 0;
    const port = await start(() => {
      asked += 1;
      return { status: 200, answer: {} };
    });
    expect((await post(port, '{}', {})).status).toBe(403);
    for (const host of [
      'evil.test',
      '127.0.0.1.evil.test',
      'localhost.evil.test:80',
      '127.0.0.1@evil.test',
    ]) {
      expect((await post(port, '{}', { host, 'x-fairlane-command': 'on' })).status).toBe(403);
    }
    expect(asked).toBe(0);
  });

  it.each([
    ['another origin', { origin: 'https://evil.test' }],
    ['a page in a file or a sandbox', { origin: 'null' }],
    ['another service of this machine', { origin: 'http://127.0.0.1:3000' }],
    ['the same address by another name', { origin: 'http://localhost:HERE' }],
    ['the same address by TLS', { origin: 'https://127.0.0.1:HERE' }],
    ['another site, without its origin', { 'sec-fetch-site': 'cross-site' }],
    ['another service, without its origin', { 'sec-fetch-site': 'same-site' }],
    ['a name of a site that leads here', { host: 'rebound.test:HERE', origin: 'http://rebound.test:HERE' }],
    ['a number that leads here', { host: '2130706433:HERE' }],
    ['an address of a network', { host: '192.168.0.1:HERE' }],
  ])('is not taken from %s, though it has the header', async (_, headers) => {
    let asked = 0;
    const port = await start(() => {
      asked += 1;
      return { status: 200, answer: {} };
    });
    const here = Object.entries(headers).map(([name, value]) => [name, value.replace('HERE', `${port}`)]);
    const sent = { 'x-fairlane-command': 'on', ...(Object.fromEntries(here) as Record<string, string>) };
    for (const path of ['/explain', '/drain']) {
      const answer = await post(port, '{}', sent, path);
      expect(answer.status).toBe(403);
      expect(answer.text).toMatch(/^Commands are taken from this machine only: .+\.\n$/);
    }
    expect(asked).toBe(0);
  });

  it('is taken from a page of this port, and under each name of this machine', async () => {
    const port = await start(() => ({ status: 200, answer: {} }));
    for (const host of [
      `127.0.0.1:${port}`,
      `localhost:${port}`,
      `[::1]:${port}`,
      `127.1.2.3:${port}`,
      'localhost',
    ]) {
      const command = { host, 'x-fairlane-command': 'on' };
      expect((await post(port, '{}', command)).status).toBe(200);
      expect((await post(port, '{}', { ...command, origin: `http://${host}` })).status).toBe(200);
      expect((await post(port, '{}', { ...command, 'sec-fetch-site': 'same-origin' })).status).toBe(200);
    }
  });
});

describe('metrics and health', () => {
  it('are told under any name, to any page: Prometheus and probes come as they like', async () => {
    const port = await start(() => ({ status: 200, answer: {} }));
    const headers = {
      host: 'fairlane.monitoring.svc',
      origin: 'https://evil.test',
      'sec-fetch-site': 'cross-site',
    };
    for (const path of ['/metrics', '/health']) {
      expect((await post(port, undefined, headers, path, 'GET')).status).toBe(200);
      expect((await post(port, undefined, headers, path, 'HEAD')).status).toBe(200);
    }
  });

  it.each([
    ['all is well', { status: 'ok', ready: true }, { '/live': 200, '/ready': 200, '/health': 200 }],
    ['no engine', { status: 'degraded', ready: false }, { '/live': 200, '/ready': 503, '/health': 200 }],
    ['its end', { status: 'draining', ready: false }, { '/live': 200, '/ready': 503, '/health': 503 }],
  ] as const)('answer probes: %s', async (_, state, expected) => {
    const port = await start(() => ({ status: 200, answer: {} }));
    report = { ...report, ...state, reasons: ['why'] };
    for (const [path, status] of Object.entries(expected)) {
      const answer = await post(port, undefined, {}, path, 'GET');
      expect([path, answer.status]).toEqual([path, status]);
      if (path === '/ready') expect(JSON.parse(answer.text)).toEqual({ ...state, reasons: ['why'] });
      expect((await post(port, undefined, {}, path, 'HEAD')).status).toBe(status);
    }
  });

  it.each([
    ['POST', '/metrics', 405, 'GET, HEAD'],
    ['DELETE', '/health', 405, 'GET, HEAD'],
    ['POST', '/ready', 405, 'GET, HEAD'],
    ['POST', '/live', 405, 'GET, HEAD'],
    ['GET', '/drain', 405, 'POST'],
    ['OPTIONS', '/explain', 405, 'POST'],
    ['PUT', '/explain', 405, 'POST'],
    ['GET', '/', 404, undefined],
    ['POST', '/drain/', 404, undefined],
    ['POST', 'http://evil.test/drain', 404, undefined],
    ['GET', '/constructor', 404, undefined],
  ])('%s %s gets %i', async (method, path, status, allow) => {
    const port = await start(() => ({ status: 200, answer: {} }));
    const answer = await post(port, undefined, { 'x-fairlane-command': 'on' }, path, method);
    expect([answer.status, answer.allow]).toEqual([status, allow]);
  });

  it('go on while others say nothing, speak slowly or do not read', async () => {
    const port = await start(() => ({ status: 200, answer: {} }));
    const closed: Promise<unknown>[] = [];
    const open = (begin: string): Socket => {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write(begin);
      closed.push(once(socket, 'close'));
      return socket;
    };
    open('').resume();
    open('GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ').resume();
    open(
      `POST /explain HTTP/1.1\r\nHost: localhost\r\nx-fairlane-command: on\r\ncontent-length: 900\r\n\r\n{`,
    ).resume();
    expect((await post(port, undefined, {}, '/health', 'GET')).status).toBe(200);
    // Each is closed by a bound of its own: 5 s without headers, 10 s of silence.
    await Promise.all(closed.map((one) => one));
    expect((await post(port, undefined, {}, '/health', 'GET')).status).toBe(200);
  }, 30_000);
});

describe('the status', () => {
  const get = (port: number, path: string, headers: Readonly<Record<string, string>> = {}) =>
    post(port, undefined, headers, path, 'GET');

  it('is what the service says, by what was asked', async () => {
    const port = await start(() => ({ status: 200, answer: {} }));
    expect(await get(port, '/status')).toMatchObject({ status: 200, text: '{}\n' });
    expect(await get(port, '/status?tenants=5&sort=name')).toMatchObject({ status: 200 });
    expect(await get(port, '/status?sort=luck')).toMatchObject({
      status: 400,
      text: expect.stringContaining('sort is one of'),
    });
    expect(await post(port, '', {}, '/status')).toMatchObject({ status: 405, allow: 'GET, HEAD' });
  });

  it('is not for pages of other sites, nor under foreign names', async () => {
    const port = await start(() => ({ status: 200, answer: {} }));
    for (const headers of [
      { host: 'evil.example' },
      { origin: 'https://evil.example' },
      { 'sec-fetch-site': 'cross-site' },
    ]) {
      expect(await get(port, '/status', headers)).toMatchObject({ status: 403 });
      expect(await get(port, '/metrics', headers)).toMatchObject({ status: 200 });
    }
    const host = `127.0.0.1:${port}`;
    expect(await get(port, '/status', { host, origin: `http://${host}` })).toMatchObject({ status: 200 });
  });
});

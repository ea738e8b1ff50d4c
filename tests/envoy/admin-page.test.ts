/** Envoy's admin page as the generated bootstrap has it: what it says, what it refuses, and how listeners are drained without it. */
import { statSync } from 'node:fs';
import { request } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ADMIN_PATHS } from '../../src/envoy/admin.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, eventsOf, openStream, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const slow = parseProfile('test', { stepBaseMs: 20 });
let engine: Simulator;
beforeAll(async () => {
  engine = await startSimulator({ profile: slow, models: ['demo'] });
});
afterAll(() => engine.close());

interface Said {
  readonly status: number;
  readonly text: string;
  readonly headers: Readonly<Record<string, unknown>>;
}

const asked = (
  where: { readonly socketPath: string } | { readonly port: number },
  path: string,
  method = 'GET',
  headers: Readonly<Record<string, string>> = {},
): Promise<Said> =>
  new Promise((resolve, reject) => {
    const outgoing = request(
      { host: '127.0.0.1', ...where, path, method, headers, agent: false },
      (incoming) => {
        let text = '';
        incoming.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
        incoming.on('end', () =>
          resolve({ status: incoming.statusCode ?? 0, text, headers: incoming.headers }),
        );
      },
    );
    outgoing.on('error', reject);
    outgoing.end();
  });

const CHANGES = [
  '/quitquitquit',
  '/logging?level=trace',
  '/logging?paths=http:trace',
  '/drain_listeners',
  '/drain_listeners?graceful',
  '/healthcheck/fail',
  '/healthcheck/ok',
  '/runtime_modify?a=b',
  '/reset_counters',
  '/reopen_logs',
  '/cpuprofiler?enable=y',
  '/heapprofiler?enable=y',
  '/heap_dump',
  '/allocprofiler?enable=true',
  '/contention',
  '/tap',
  '/stats/recentlookups/enable',
  '/stats/recentlookups/clear',
  '/nothing',
] as const;

describe('Envoy’s admin page', () => {
  let stack: Stack;
  let port: number;
  beforeAll(async () => {
    stack = await startStack({ engines: [engine.url] });
    port = Number(new URL(stack.adminUrl).port);
    expect((await send(stack.url, { key: KEYS.quiet, body: chatBody() })).status).toBe(200);
  });
  afterAll(() => stack.close());

  it.each(ADMIN_PATHS)('says what %s says, and no key', async (path) => {
    for (const query of ['', '?format=json', '?include_eds', '?usedonly']) {
      const { status, text } = await asked({ port }, path + query);
      // Some take no query, and say so.
      if (query === '') expect(status).toBe(200);
      expect(status).not.toBe(403);
      for (const key of Object.values(KEYS)) expect(text).not.toContain(key);
    }
  });

  it('redacts the keys in every part of its configuration', async () => {
    const resources = [
      'bootstrap',
      'ecds_filters',
      'dynamic_active_clusters',
      'dynamic_listeners',
      'static_clusters',
      'dynamic_endpoint_configs',
    ];
    let seen = '';
    for (const resource of resources) {
      seen += (await asked({ port }, `/config_dump?include_eds&resource=${resource}`)).text;
    }
    seen += (await asked({ port }, '/config_dump')).text;
    expect(seen).toContain('api_key_auth');
    expect(seen).toContain('[redacted]');
    for (const key of Object.values(KEYS)) expect(seen).not.toContain(key);
  });

  it.each(CHANGES)('refuses %s, whoever asks and how', async (path) => {
    for (const method of ['POST', 'GET', 'PUT']) {
      expect((await asked({ port }, path, method)).status).toBe(403);
      const foreign = { origin: 'http://evil.example', host: 'evil.example' };
      expect((await asked({ port }, path, method, foreign)).status).toBe(403);
    }
    // Envoy is as it was.
    expect((await asked({ port }, '/ready')).status).toBe(200);
  });

  it.each([
    '/stats/../quitquitquit',
    '/ready/../quitquitquit',
    '//quitquitquit',
    '/%71uitquitquit',
    '/stats#/quitquitquit',
  ])('is not led on by %s', async (path) => {
    expect((await asked({ port }, path, 'POST')).status).not.toBe(200);
    expect((await asked({ port }, '/ready')).status).toBe(200);
  });

  it('says that what Envoy refuses itself opens no stream to the service', async () => {
    const streams = async (): Promise<string> =>
      (await asked({ port }, '/stats?filter=ext_proc.streams_started')).text;
    const before = await streams();
    expect(before).toMatch(/streams_started: [1-9]/);
    expect((await send(stack.url, { body: chatBody() })).status).toBe(401);
    expect((await send(stack.url, { key: 'key-of-nobody', body: chatBody() })).status).toBe(401);
    expect((await send(stack.url, { key: KEYS.quiet, path: '/nothing' })).status).toBe(404);
    const headers = Object.fromEntries(Array.from({ length: 1_200 }, (_, i) => [`x-h${i}`, '1']));
    expect((await send(stack.url, { key: KEYS.quiet, body: chatBody(), headers })).status).toBe(431);
    expect(await streams()).toBe(before);
  });

  it('answers a foreign Host with what anybody may read, and lets no page of another origin read it', async () => {
    const { status, headers } = await asked({ port }, '/stats', 'GET', {
      host: 'evil.example',
      origin: 'http://evil.example',
    });
    expect(status).toBe(200);
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control-'))).toEqual([]);
    expect(headers['x-content-type-options']).toBe('nosniff');
  });
});

describe('on a Unix socket', () => {
  it('is for its owner only, with the same bounds, and on no port', async () => {
    const stack = await startStack({
      engines: [engine.url],
      change(config) {
        config['envoy']['admin'] = 'unix:admin.sock';
      },
    });
    const socketPath = join(stack.config.envoy.directory, 'admin.sock');
    expect(stack.config.envoy.admin).toEqual({ path: socketPath });
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
    expect((await asked({ socketPath }, '/ready')).status).toBe(200);
    expect((await asked({ socketPath }, '/quitquitquit', 'POST')).status).toBe(403);
    await expect(fetch(`${stack.adminUrl}/ready`)).rejects.toThrow();
    expect((await send(stack.url, { key: KEYS.quiet, body: chatBody() })).status).toBe(200);
    await stack.close();
  });
});

describe('a drain of the listeners', () => {
  /** Streams last longer than a busy Envoy needs to close its listeners. */
  const TOKENS = 240;
  const long = chatBody({ stream: true, max_tokens: TOKENS, ignore_eos: true });

  it('refuses new connections, cuts nothing of what is open, and needs no admin page', async () => {
    const stack = await startStack({ engines: [engine.url] });
    const overHttp1 = await openStream(stack.url, { key: KEYS.quiet, body: long });
    const session = connectHttp2(stack.url);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/v1/chat/completions',
      authorization: `Bearer ${KEYS.noisy}`,
      'content-type': 'application/json',
    });
    let overHttp2 = '';
    const http2Done = new Promise<void>((resolve, reject) => {
      stream.setEncoding('utf8').on('data', (part: string) => {
        overHttp2 += part;
      });
      stream.on('end', resolve);
      stream.on('error', reject);
    });
    stream.end(long);
    await eventually(
      () => [eventsOf(overHttp1.text()).length, eventsOf(overHttp2).length],
      ([a = 0, b = 0]) => a > 3 && b > 3,
    );

    await stack.envoy.drainListeners();
    const isRefused = () =>
      new Promise<boolean>((resolve) => {
        const socket = connect(Number(new URL(stack.url).port), '127.0.0.1');
        socket.on('connect', () => {
          socket.destroy();
          resolve(false);
        });
        socket.on('error', () => resolve(true));
      });
    // Its threads close their listeners one by one.
    await eventually(isRefused, (refused) => refused);
    expect(eventsOf(overHttp1.text())).not.toContain('[DONE]');
    expect(eventsOf(overHttp2)).not.toContain('[DONE]');

    expect(eventsOf(await overHttp1.done).at(-1)).toBe('[DONE]');
    await http2Done;
    expect(eventsOf(overHttp2).at(-1)).toBe('[DONE]');
    for (const text of [overHttp1.text(), overHttp2]) {
      const tokens = eventsOf(text).filter(
        (event) => event.includes('"content":"') && !event.includes('"role"'),
      );
      expect(tokens).toHaveLength(TOKENS);
    }
    session.destroy();
    await stack.close();
  });
});

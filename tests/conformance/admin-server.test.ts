/** The admin API's server on the wire: every route against what is wrong with a request, TLS, slow clients, many of them, and its end. */
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AdminApiServer, startTenantApi, TenantApi } from '../../src/admin/http-tenant-api.ts';
import { ADMIN_ROUTES, type AdminRoute, mayChange } from '../../src/admin/tenant-routes.ts';
import { createAuthority } from '../support/certificates.ts';
import { eventually } from '../support/eventually.ts';
import { madeWorld, READ_TOKEN, TOKEN } from '../support/made-tenants.ts';
import { freePorts } from '../support/ports.ts';
import { configOf, minimal } from '../unit/config/parse.ts';

const authority = createAuthority();
const { cert, key } = authority.issue(['localhost']);

let world: Awaited<ReturnType<typeof madeWorld>>;
let server: AdminApiServer;
let keyId: string;
const answered: number[] = [];

async function start(tls?: { readonly cert: string; readonly key: string }): Promise<void> {
  const [port = 0] = await freePorts(1);
  const section = {
    address: `127.0.0.1:${port}`,
    token: 'env:ADMIN',
    readToken: 'env:READER',
    directory: '/s',
  };
  const config = configOf({ ...minimal(), admin: section }, { env: { ADMIN: TOKEN, READER: READ_TOKEN } });
  world = await madeWorld(config);
  const admin = config.admin;
  if (admin === undefined) throw new Error('no admin section');
  server = await startTenantApi(
    new TenantApi({
      made: world.made,
      admin: () => ({ ...admin, ...(tls !== undefined && { tls }) }),
      unixMs: () => world.clock.ms,
      onRefused: () => undefined,
      onAnswered: (status) => answered.push(status),
    }),
  );
  await world.call({ method: 'POST', url: '/v1/tenants', body: { name: 'acme' } });
  const made = await world.call({ method: 'POST', url: '/v1/tenants/acme/keys' });
  keyId = (made.body as { readonly id: string }).id;
}

beforeEach(() => start());
afterEach(async () => {
  answered.length = 0;
  await Promise.all([server.close(), world.made.close()]);
});

interface Sent {
  readonly method?: string;
  readonly path?: string;
  readonly token?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

const pathOf = ({ path }: AdminRoute): string => path.replace('{name}', 'acme').replace('{id}', keyId);

/** Status and code; every answer is JSON of the one shape, and none is kept. */
function send({
  method = 'GET',
  path = '/v1/tenants',
  token = TOKEN,
  headers = {},
  body,
}: Sent): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      {
        port: server.port,
        host: '127.0.0.1',
        method,
        path,
        headers: {
          ...(token !== '' && { authorization: `Bearer ${token}` }),
          ...(body !== undefined && {
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(body),
          }),
          ...headers,
        },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part: string) => (text += part));
        response.on('end', () => {
          const { statusCode = 0 } = response;
          if (method === 'HEAD') return resolve(`${statusCode}`);
          expect(response.headers).toMatchObject({
            'content-type': 'application/json',
            'x-content-type-options': 'nosniff',
            'cache-control': 'no-store',
          });
          for (const secret of [TOKEN, READ_TOKEN]) expect(text).not.toContain(secret);
          const { error } = JSON.parse(text) as { error?: { code: string; message: string; hint: string } };
          if (statusCode >= 400)
            expect([error?.message, error?.hint].map((one) => typeof one)).toEqual(['string', 'string']);
          resolve(`${statusCode} ${error?.code ?? 'ok'}`);
        });
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

const DEEP = `${'{"limits":'.repeat(40)}1${'}'.repeat(40)}`;
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE'];
const BODIES: readonly (readonly [string, Sent, string])[] = [
  ['too large', { body: `{"a":"${'x'.repeat(70_000)}"}` }, '413 too_large'],
  ['too deep', { body: DEEP }, '400 invalid_request'],
  ['no JSON', { body: '{' }, '400 invalid_request'],
  ['a list', { body: '[1]' }, '400 invalid_request'],
  ['a text', { body: '"x"' }, '400 invalid_request'],
  ['null', { body: 'null' }, '400 invalid_request'],
  [
    'a form',
    { body: 'a=1', headers: { 'content-type': 'application/x-www-form-urlencoded' } },
    '415 not_json',
  ],
  ['of no type', { body: '{}', headers: { 'content-type': '' } }, '415 not_json'],
  ['an unknown setting', { body: '{"nothing":1}' }, '400'],
  ['the prototype', { body: '{"__proto__":{"tier":"x"}}' }, '400'],
];

describe.each(ADMIN_ROUTES.map((route) => [`${route.method} ${route.path}`, route] as const))(
  '%s',
  (_, route) => {
    it('is refused what is wrong with a request, and changes nothing', async () => {
      const { method, body } = route;
      const before = world.store.state;
      const call: Sent = { method, path: pathOf(route), ...(body !== undefined && { body: '{}' }) };
      const refused = await Promise.all([
        send({ ...call, token: '' }),
        send({ ...call, token: `${TOKEN}x` }),
        send({ ...call, token: 'x'.repeat(4_000) }),
        send({ ...call, token: TOKEN.toUpperCase() }),
        send({ ...call, token: `${TOKEN} ${TOKEN}` }),
      ]);
      expect(new Set(refused)).toEqual(new Set(['401 unauthorized']));
      expect(await send({ ...call, path: `${call.path}?token=${TOKEN}` })).toBe('400 token_in_query');
      expect(await send({ ...call, path: `${call.path}?token=${TOKEN}`, token: '' })).toBe(
        '400 token_in_query',
      );
      expect(await send({ ...call, path: `${call.path}?nothing=1` })).toBe('400 invalid_request');
      expect(await send({ ...call, headers: { host: 'tenants.example:80' } })).toBe('403 host_refused');
      expect(await send({ ...call, headers: { origin: 'null' } })).toBe('403 origin_refused');
      expect(await send({ ...call, headers: { 'sec-fetch-site': 'same-site' } })).toBe('403 origin_refused');
      if (mayChange(route)) expect(await send({ ...call, token: READ_TOKEN })).toBe('403 read_only');
      const there = ADMIN_ROUTES.filter(({ path }) => path === route.path).map((one) => one.method as string);
      for (const other of METHODS.filter((one) => !there.includes(one))) {
        const status = await send({ ...call, method: other, headers: {} });
        expect([other, status.slice(0, 3)]).toEqual([other, '405']);
      }
      if (body !== undefined) {
        for (const [what, sent, code] of BODIES) {
          expect([what, await send({ ...call, ...sent })]).toEqual([what, expect.stringContaining(code)]);
        }
      }
      expect(world.store.state).toBe(before);
    });
  },
);

describe('what is hostile', () => {
  it('in names and ids is refused, and no log nor audit has it raw', async () => {
    const names = ['a\nb', 'a\0b', '__proto__', 'constructor\n', '🛣️', ' ', 'x'.repeat(60_000), '..', '-'];
    for (const name of names) {
      expect(await send({ method: 'POST', body: JSON.stringify({ name }) })).toBe('400 invalid_settings');
    }
    for (const name of [
      '__proto__',
      'constructor',
      'toString',
      '%00',
      '%F0%9F%9B%A3',
      '..',
      'a%2Fb',
      '%0A',
    ]) {
      expect(await send({ path: `/v1/tenants/${name}` })).toBe('404 tenant_unknown');
      expect(await send({ path: `/v1/tenants/acme/keys/${name}`, method: 'DELETE' })).toBe('404 key_unknown');
    }
    expect(await send({ method: 'POST', body: JSON.stringify({ name: 'constructor' }) })).toBe('201 ok');
    expect(await send({ path: '/v1/tenants/constructor' })).toBe('200 ok');
    const told = JSON.stringify([world.events, world.store.entries]);
    expect(told).not.toMatch(/\\n|\\u0000|🛣/u);
  });

  it('in a body of 10 MB is refused before it is read', async () => {
    const socket = await open();
    socket.write(
      `POST /v1/tenants HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${TOKEN}\r\ncontent-type: application/json\r\ncontent-length: 10000000\r\n\r\n`,
    );
    socket.write('x'.repeat(200_000));
    expect(await textUntilEnd(socket)).toMatch(/^HTTP\/1\.1 413 [\s\S]*connection: close/i);
  });
});

const open = async (): Promise<Socket> => {
  const socket = connect(server.port, '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
};
async function textUntilEnd(socket: Socket): Promise<string> {
  let text = '';
  socket.setEncoding('utf8').on('data', (part: string) => (text += part));
  // One that is reset has also ended.
  await new Promise((resolve) => socket.once('close', resolve));
  return text;
}

describe('clients that are slow or many', () => {
  it('a head or a body that trickles in is given up, and others are served meanwhile', async () => {
    const head = await open();
    head.write('GET /v1/tenants HTTP/1.1\r\nhost: 127.0.0.1\r\n');
    const body = await open();
    body.write(
      `POST /v1/tenants HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${TOKEN}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{`,
    );
    const trickle = setInterval(() => {
      head.write('x-a: b\r\n');
      body.write(' ');
    }, 500);
    const began = performance.now();
    const ends = Promise.all([textUntilEnd(head), textUntilEnd(body)]);
    expect(await send({})).toBe('200 ok');
    const [ofHead] = await ends;
    clearInterval(trickle);
    expect(ofHead).toContain('408');
    expect(performance.now() - began).toBeLessThan(20_000);
    expect(await send({})).toBe('200 ok');
  }, 60_000);

  it('64 connections are held, more are closed, and when they go others come', async () => {
    const held = await Promise.all(Array.from({ length: 64 }, open));
    const more = await Promise.all(Array.from({ length: 8 }, open));
    await Promise.all(more.map((socket) => textUntilEnd(socket)));
    for (const socket of held) socket.destroy();
    expect(
      await eventually(
        () => send({}).catch(String),
        (said) => said === '200 ok',
      ),
    ).toBe('200 ok');
  });

  it('its end does not wait for one that holds a connection', async () => {
    const idle = await open();
    const half = await open();
    half.write('GET /v1/tenants HTTP/1.1\r\n');
    const began = performance.now();
    const ends = Promise.all([textUntilEnd(idle), textUntilEnd(half)]);
    await server.close();
    await ends;
    expect(performance.now() - began).toBeLessThan(1_000);
  });
});

describe('TLS', () => {
  const secure = (more: object): Promise<number> =>
    new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${TOKEN}`, host: 'localhost' };
      const options = { host: '127.0.0.1', port: server.port, path: '/v1/tenants', headers, ...more };
      httpsRequest(options, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      })
        .on('error', reject)
        .end();
    });

  it('is spoken from 1.2 on, with the certificate of the configuration, also after it changed', async () => {
    await server.close();
    await start({ cert, key });
    const trusted = { ca: authority.ca, servername: 'localhost', agent: false };
    expect(await secure(trusted)).toBe(200);
    await expect(secure({ servername: 'localhost', agent: false })).rejects.toThrow();
    await expect(secure({ ...trusted, maxVersion: 'TLSv1.1', minVersion: 'TLSv1.1' })).rejects.toThrow();
    await expect(send({})).rejects.toThrow();
    const other = createAuthority();
    const admin = configOf(
      { ...minimal(), admin: { token: 'env:ADMIN', directory: '/s' } },
      { env: { ADMIN: TOKEN } },
    ).admin;
    if (admin === undefined) throw new Error('no admin section');
    server.reconfigure({ ...admin, tls: other.issue(['localhost']) });
    expect(await secure({ ...trusted, ca: other.ca })).toBe(200);
    await expect(secure(trusted)).rejects.toThrow();
  });
});

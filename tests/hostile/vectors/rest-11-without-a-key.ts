/** Row 11: who has no key reaches nothing, and keeps nobody from being served. */
import { expect } from 'vitest';
import { openH1 } from '../support/h1.ts';
import { type Field, FLAG, FRAME, openH2 } from '../support/h2.ts';
import { CHAT, EVERY, type Group, h2Fields, type Tools, UP, type Vector } from '../support/vectors.ts';
import { watchVictim } from '../support/victim.ts';
import type { World } from '../support/world.ts';
import { ask } from './rest-03-admin.ts';

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const BODY = JSON.stringify(CHAT);

const KEYS: readonly (readonly [string, readonly Field[]])[] = [
  ['no key', []],
  ['a key that is none', [['authorization', 'Bearer nonsense']]],
  ['an empty key', [['authorization', 'Bearer ']]],
  ['an empty header', [['authorization', '']]],
  ['a key in another scheme', [['authorization', 'Basic a2V5LW9mLXRoZS12aWN0aW06']]],
  ['half of a key', [['authorization', 'Bearer key-of-the-vict']]],
  ['more than a key', [['authorization', 'Bearer key-of-the-victimx']]],
  ['a key in capitals', [['authorization', 'Bearer KEY-OF-THE-VICTIM']]],
  ['two keys in one', [['authorization', 'Bearer nonsense, Bearer key-of-the-victim']]],
  ['a key in the wrong header', [['x-fairlane-tenant', 'victim']]],
  ['a key in x-auth', [['x-auth', 'key-of-the-victim']]],
  ['a key of 50 KB', [['authorization', `Bearer ${'k'.repeat(50_000)}`]]],
  ['a key as a cookie', [['cookie', 'authorization=Bearer key-of-the-victim']]],
  ['proxy-authorization', [['proxy-authorization', 'Bearer key-of-the-victim']]],
];

const refused: readonly Vector[] = [
  ...KEYS.map(
    ([name, headers], i): Vector => ({
      name,
      modes: i < 2 ? EVERY : [...UP, 'open-killed'],
      over: ['h1', 'h2'],
      send: { as: null, headers },
      expect: { status: (status) => status === 0 || status === 401 || status === 431, engine: 'nothing' },
    }),
  ),
  ...['/v1/models', '/v1/completions', '/v1/embeddings', '/v1/responses', '/v1/messages'].map(
    (path): Vector => ({
      name: `no key on ${path}`,
      modes: ['open', 'open-killed'],
      over: ['h1', 'h2'],
      send: { as: null, path, method: path === '/v1/models' ? 'GET' : 'POST' },
      expect: { status: (status) => status === 0 || status === 401, engine: 'nothing' },
    }),
  ),
  {
    name: 'a key in the query',
    modes: UP,
    send: { as: null, path: '/v1/chat/completions?api_key=key-of-the-victim&key=key-of-the-victim' },
    expect: { status: 401, engine: 'nothing' },
  },
  {
    name: 'trailers without DATA and without a key',
    modes: [...UP, 'open-killed'],
    async send({ port, from }) {
      const connection = await openH2({ port, from });
      connection.headers(1, h2Fields({ as: null }));
      connection.headers(1, [['x', 'y']], FLAG.endHeaders | FLAG.endStream);
      const answer = await connection.answer(1, 7_000);
      connection.close();
      return answer;
    },
    expect: { engine: 'nothing' },
  },
  {
    name: 'a key in the trailers',
    modes: UP,
    async send({ port, from }) {
      const connection = await openH2({ port, from });
      connection.headers(1, h2Fields({ as: null }));
      connection.data(1, BODY);
      connection.headers(
        1,
        [['authorization', 'Bearer key-of-the-victim']],
        FLAG.endHeaders | FLAG.endStream,
      );
      const answer = await connection.answer(1, 7_000);
      connection.close();
      return answer;
    },
    expect: { status: 401, engine: 'nothing' },
  },
];

async function streamsToTheService(world: World): Promise<number> {
  const { body } = await ask(world.adminPort.open, 'GET', '/stats?filter=ext_proc.streams_started');
  return Number(/streams_started: (\d+)/.exec(body.toString('utf8'))?.[1] ?? Number.NaN);
}

/** Others are served meanwhile, and by the service. */
const beside = (name: string, attack: (tools: Tools) => Promise<() => void>, slowestMs = 1_500): Vector => ({
  name: `others are served beside ${name}`,
  async send(tools) {
    const watching = watchVictim(tools.world, 'open', 40);
    const stop = await attack(tools);
    await sleep(300);
    const witness = await watching.stop();
    stop();
    expect(witness).toMatchObject({ failed: 0, past: 0 });
    expect(witness.slowestMs).toBeLessThan(slowestMs);
    return [];
  },
  expect: { engine: 'nothing' },
});

const COUNT = 300;
const connections = (tools: Tools, text: string | Buffer) => async (): Promise<() => void> => {
  const all = await Promise.all(
    Array.from({ length: COUNT }, async () => {
      const connection = await openH1({ port: tools.port, from: tools.from });
      await connection.write(text);
      return connection;
    }),
  );
  return () => {
    for (const one of all) one.close();
  };
};

const floods: readonly Vector[] = [
  {
    name: 'a refused key opens no stream to the service',
    async send({ world, send }) {
      const before = await streamsToTheService(world);
      for (let i = 0; i < 20; i += 1) {
        expect((await send({ as: null }, i % 2 === 0 ? 'h1' : 'h2')).status).toBe(401);
      }
      expect((await streamsToTheService(world)) - before).toBe(0);
      return [];
    },
    expect: { engine: 'nothing' },
  },
  beside('open connections that say nothing', (tools) => connections(tools, '')()),
  beside('headers that never end', (tools) =>
    connections(tools, 'POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-')(),
  ),
  beside('uploads without a key', (tools) =>
    connections(tools, `POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n`)(),
  ),
  beside('a flood of 401s', async ({ send }) => {
    await Promise.all(Array.from({ length: COUNT }, (_, i) => send({ as: null }, i % 2 === 0 ? 'h1' : 'h2')));
    return () => undefined;
  }),
  beside('a flood of 401s on one connection', async ({ port, from }) => {
    const connection = await openH2({ port, from });
    const ids = Array.from({ length: COUNT }, (_, i) => 2 * i + 1);
    for (const id of ids)
      connection.headers(
        id,
        h2Fields({ as: null, method: 'GET', path: '/v1/models' }),
        FLAG.endHeaders | FLAG.endStream,
      );
    await Promise.all(ids.map((id) => connection.answer(id, 2_000)));
    return () => connection.close();
  }),
  beside('rapid resets', async ({ port, from }) => {
    const connection = await openH2({ port, from });
    for (let i = 0; i < 2_000; i += 1) {
      connection.headers(2 * i + 1, h2Fields({ as: null }));
      connection.reset(2 * i + 1);
    }
    await sleep(200);
    return () => connection.close();
  }),
  beside('rapid resets with a key', async ({ port, from }) => {
    const connection = await openH2({ port, from });
    for (let i = 0; i < 2_000; i += 1) {
      connection.headers(2 * i + 1, h2Fields({ as: 'attacker' }));
      connection.reset(2 * i + 1);
    }
    await sleep(200);
    return () => connection.close();
  }),
  beside('a flood of SETTINGS', async ({ port, from }) => {
    const connection = await openH2({ port, from });
    for (let i = 0; i < 5_000; i += 1) connection.frame(FRAME.settings, 0, 0);
    await sleep(200);
    return () => connection.close();
  }),
  beside('a flood of PINGs', async ({ port, from }) => {
    const connection = await openH2({ port, from });
    for (let i = 0; i < 5_000; i += 1) connection.frame(FRAME.ping, 0, 0, Buffer.alloc(8));
    await sleep(200);
    return () => connection.close();
  }),
  beside('a flood of PRIORITY', async ({ port, from }) => {
    const connection = await openH2({ port, from });
    for (let i = 0; i < 5_000; i += 1) connection.frame(FRAME.priority, 0, 2 * i + 1, Buffer.alloc(5));
    await sleep(200);
    return () => connection.close();
  }),
  beside('CONTINUATION without end', async ({ port, from }) => {
    const connection = await openH2({ port, from });
    connection.frame(FRAME.headers, 0, 1, Buffer.alloc(0));
    for (let i = 0; i < 2_000; i += 1)
      connection.frame(
        FRAME.continuation,
        0,
        1,
        Buffer.concat([Buffer.from([0x10, 3]), Buffer.from('x-a'), Buffer.from([1, 0x62])]),
      );
    await sleep(200);
    return () => connection.close();
  }),
  beside('connections that come and go', async ({ port, from }) => {
    for (let i = 0; i < COUNT; i += 1) {
      const connection = await openH1({ port, from });
      connection.close();
    }
    return () => undefined;
  }),
  beside('garbage', (tools) => connections(tools, Buffer.alloc(10_000, 0xff))()),
  beside('TLS', (tools) => connections(tools, Buffer.from('1603010200010001fc0303', 'hex'))()),
];

export const REST_11: Group = { name: 'rest 11: without a key', vectors: [...refused, ...floods] };

/** Row 5: an upload is a request: those of one tenant are bounded in number and in bytes. */
import { expect } from 'vitest';
import { loadConfig } from '../../../src/config/fs-config.ts';
import { eventually } from '../../support/eventually.ts';
import { peakResidentOf } from '../../support/greedy.ts';
import { type Answer, type Connection, openH1 } from '../support/h1.ts';
import { FLAG, openH2 } from '../support/h2.ts';
import { asking, CHAT, type Group, h1Bytes, h2Fields, type Tools, type Vector } from '../support/vectors.ts';
import { watchVictim } from '../support/victim.ts';
import { KEY, type World } from '../support/world.ts';

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
/** Four requests at once and eight that wait: more than twelve uploads are more than it may have. */
const UPLOADS = 60;
const MOST_OPEN = 20;
const LARGE = 7_500_000;
/** Of Envoy with nothing to do. */
const ENVOY_NO_HEAP = 58 * 1024 ** 2;
const BODY = JSON.stringify(CHAT);

const head = (...lines: readonly string[]): string =>
  [
    'POST /v1/chat/completions HTTP/1.1',
    'host: a',
    'user-agent: %FROM%',
    `authorization: Bearer ${KEY.narrow}`,
    'content-type: application/json',
    ...lines,
    '',
    '',
  ].join('\r\n');

/** A busy machine may not have refused all a second later. */
const fewAreOpen = (refused: () => number): Promise<unknown> =>
  eventually(
    () => UPLOADS - refused(),
    (open) => open <= MOST_OPEN,
  );

/** Opens uploads that never end; what is refused is refused soon, and others are served. */
const uploads = (
  name: string,
  begin: (tools: Tools) => Promise<{ status(): number; close(): void }>,
): Vector => ({
  name,
  async send(tools) {
    const watching = watchVictim(tools.world, 'open', 100);
    const all = await Promise.all(Array.from({ length: UPLOADS }, () => begin(tools)));
    await sleep(1_000);
    await fewAreOpen(() => all.filter((one) => one.status() === 429).length);
    const witness = await watching.stop();
    for (const one of all) one.close();
    expect(witness).toMatchObject({ failures: [], failed: 0, past: 0 });
    return [];
  },
  expect: { engine: 'nothing' },
});

/** Once the service has heard of the ends. */
const servedSoon = (send: Tools['send']): Promise<Answer> =>
  eventually(
    () => send({ as: 'narrow' }),
    ({ status }) => status === 200,
  );

async function overH1(
  { port, from }: Tools,
  text: string | Buffer,
): Promise<{ status(): number; close(): void }> {
  const connection = await openH1({ port, from });
  await connection.write(typeof text === 'string' ? text.replaceAll('%FROM%', from) : text);
  return { status: () => connection.answers()[0]?.status ?? 0, close: () => connection.close() };
}

const many: readonly Vector[] = [
  uploads('headers with a length, and nothing more', (tools) =>
    overH1(tools, head(`content-length: ${LARGE}`)),
  ),
  uploads('headers with a small length', (tools) => overH1(tools, head('content-length: 500'))),
  uploads('headers with chunks', (tools) => overH1(tools, head('transfer-encoding: chunked'))),
  uploads('half of a small body', (tools) =>
    overH1(tools, `${head(`content-length: ${BODY.length}`)}${BODY.slice(0, 20)}`),
  ),
  uploads('a megabyte of seven', (tools) =>
    overH1(
      tools,
      Buffer.concat([
        Buffer.from(head(`content-length: ${LARGE}`).replaceAll('%FROM%', tools.from)),
        Buffer.alloc(1_000_000, 0x20),
      ]),
    ),
  ),
  uploads('Expect: 100-continue', (tools) =>
    overH1(tools, head(`content-length: ${LARGE}`, 'expect: 100-continue')),
  ),
  uploads('HTTP/2 without DATA, a connection each', async ({ port, from }) => {
    const connection = await openH2({ port, from });
    connection.headers(1, h2Fields({ as: 'narrow', body: BODY }));
    let status = 0;
    void connection.answer(1, 5_000).then((answer) => {
      ({ status } = answer);
      return undefined;
    });
    return { status: () => status, close: () => connection.close() };
  }),
  {
    name: 'HTTP/2 without DATA, on one connection',
    async send({ port, from, world }) {
      const watching = watchVictim(world, 'open', 100);
      const connection = await openH2({ port, from });
      const ids = Array.from({ length: UPLOADS }, (_, i) => 2 * i + 1);
      for (const id of ids) connection.headers(id, h2Fields({ as: 'narrow', body: BODY }));
      let refused = 0;
      for (const id of ids) {
        void connection.answer(id).then(({ status }) => {
          if (status === 429) refused += 1;
          return undefined;
        });
      }
      await sleep(1_000);
      await fewAreOpen(() => refused);
      const witness = await watching.stop();
      connection.close();
      expect(witness).toMatchObject({ failures: [], failed: 0, past: 0 });
      return [];
    },
    expect: { engine: 'nothing' },
  },
  {
    name: 'uploads that were reset are not counted any more',
    async send({ port, from, send }) {
      for (let round = 0; round < 5; round += 1) {
        const connection = await openH2({ port, from });
        for (let i = 0; i < 10; i += 1) {
          connection.headers(2 * i + 1, h2Fields({ as: 'narrow', body: BODY }));
          connection.data(2 * i + 1, BODY.slice(0, 10));
          connection.reset(2 * i + 1);
        }
        await sleep(30);
        connection.close();
      }
      return servedSoon(send);
    },
    expect: { status: 200, engine: 'once' },
  },
  {
    name: 'uploads that were dropped are not counted any more',
    async send({ port, from, send }) {
      for (let i = 0; i < 30; i += 1) {
        const connection = await openH1({ port, from });
        await connection.write(head('content-length: 500'));
        connection.close();
      }
      return servedSoon(send);
    },
    expect: { status: 200, engine: 'once' },
  },
];

function heapOf({ configPath }: World): number {
  const loaded = loadConfig(configPath, process.env);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  return loaded.config.envoy.maxHeapBytes;
}

/** One is served at a time, and a hundred may wait: in number, not in bytes. */
const queued = (name: string, atOnce: number): Vector => ({
  name,
  async send({ port, from, world }) {
    const watching = watchVictim(world, 'open', 100);
    const body = Buffer.from(JSON.stringify(asking('@@delay=4000@@', { x: 'a'.repeat(LARGE) })));
    const bytes = h1Bytes({ as: 'single', body }, from);
    const connections: Connection[] = [];
    for (let i = 0; i < 40; i += 1) {
      const connection = await openH1({ port, from });
      connections.push(connection);
      void connection.write(bytes);
      if (i % atOnce === atOnce - 1) await sleep(60);
    }
    // Some wait for room first.
    await sleep(4_500);
    const refused = connections.filter((one) =>
      [413, 429, 503].includes(one.answers()[0]?.status ?? 0),
    ).length;
    const witness = await watching.stop();
    for (const one of connections) one.close();
    expect(witness).toMatchObject({ failures: [], failed: 0, past: 0 });
    expect(refused, 'of 300 MB, some is refused').toBeGreaterThan(0);
    // Envoy has not come near to where it keeps others out, also where they would only have waited for it.
    const peak = peakResidentOf(world.envoys.open.pid);
    expect(peak).toBeLessThan(0.85 * heapOf(world) + ENVOY_NO_HEAP);
    return [];
  },
  expect: {},
});

const trickle: Vector = {
  name: 'a byte at a time is an upload like others, and keeps nobody out',
  async send({ port, from, world }) {
    const connection = await openH1({ port, from });
    await connection.write(h1Bytes({ as: 'narrow', body: CHAT }, from).subarray(0, -40));
    const watching = watchVictim(world, 'open', 50);
    for (let i = 0; i < 20; i += 1) {
      await connection.write(' ');
      await sleep(20);
    }
    connection.close();
    expect(await watching.stop()).toMatchObject({ failed: 0, past: 0 });
    return [];
  },
  expect: { engine: 'nothing' },
};

/** DATA frames and a last one, of which each is nothing. */
const emptyFrames: Vector = {
  name: 'ten thousand empty DATA frames',
  async send({ port, from, world }) {
    const watching = watchVictim(world, 'open', 50);
    const connection = await openH2({ port, from });
    connection.headers(
      1,
      h2Fields({ as: 'narrow', body: BODY }).filter(([name]) => name !== 'content-length'),
    );
    for (let i = 0; i < 10_000; i += 1) connection.data(1, '');
    connection.data(1, BODY, FLAG.endStream);
    await connection.answer(1, 3_000);
    connection.close();
    expect(await watching.stop()).toMatchObject({ failed: 0, past: 0 });
    return [];
  },
  expect: { engine: (seen) => expect(seen.length).toBeLessThanOrEqual(1) },
};

export const REST_5: Group = { name: 'rest 5: uploads', vectors: [...many, trickle, emptyFrames] };
export const LARGE_UPLOADS: Group = {
  name: 'rest 5: large uploads',
  vectors: [queued('forty requests of 7.5 MB do not all wait', 5), queued('forty at once do not either', 40)],
};

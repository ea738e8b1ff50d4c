/** Row 4: who asks and does not read holds little, and holds up nobody. */
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { openH1 } from '../support/h1.ts';
import { FLAG, type H2Connection, openH2 } from '../support/h2.ts';
import {
  asking,
  type Group,
  h1Bytes,
  h2Fields,
  type Request,
  type Tools,
  type Vector,
} from '../support/vectors.ts';
import { watchVictim } from '../support/victim.ts';

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const ANSWERS = 60;
const ANSWER_BYTES = 6_000_000;
/** Of sixty answers of 6 MB, so much may be in Envoy: a bound on what a tenant with four requests at once may hold. */
const MOST_BYTES = 128 * 1024 * 1024;
/** An engine that is not done with an answer after so long has been stopped by who carries it. */
const ENDED_MS = 150;
/** Whoever has so many that do not end has no more at once. */
const STUCK = 8;
const WATCHED_MS = 700;

const memoryOf = (pid: number): number =>
  1_024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);

/**
 * What Envoy has more at the most, while somebody else is served. Answers are asked for one after another, each once the engine
 * is done with the one before: then they are no concurrent requests any more.
 */
async function held({ world, send, seen }: Tools, begin: (i: number) => Promise<() => void>): Promise<void> {
  // Warm: the first requests of an Envoy cost it memory that it keeps.
  for (let i = 0; i < 20; i += 1) await send({ as: 'victim' });
  const asked = seen().length;
  const { pid } = world.envoys.open;
  const before = memoryOf(pid);
  const watching = watchVictim(world, 'open', 100);
  const closings: (() => void)[] = [];
  let stuck = 0;
  let most = 0;
  const ended = (): number =>
    seen()
      .slice(asked)
      .filter(({ endedMs }) => endedMs !== undefined).length;
  for (let i = 0; i < ANSWERS && stuck < STUCK; i += 1) {
    const done = ended();
    closings.push(await begin(i));
    const untilMs = performance.now() + ENDED_MS;
    while (ended() === done && performance.now() < untilMs) await sleep(5);
    if (ended() === done) stuck += 1;
    most = Math.max(most, memoryOf(pid) - before);
  }
  const endMs = performance.now() + WATCHED_MS;
  while (performance.now() < endMs) {
    await sleep(50);
    most = Math.max(most, memoryOf(pid) - before);
  }
  const witness = await watching.stop();
  for (const close of closings) close();
  expect(witness).toMatchObject({ failed: 0, past: 0 });
  expect(most, 'more memory of Envoy').toBeLessThan(MOST_BYTES);
}

const request = (fields: object, marks: string): Request => ({
  as: 'narrow',
  body: asking(`@@huge=${ANSWER_BYTES}@@${marks}`, fields),
});

const overH1 = (name: string, wanted: Request): Vector => ({
  name,
  async send(tools) {
    await held(tools, async () => {
      const connection = await openH1({ port: tools.port, from: tools.from, deaf: true });
      await connection.write(h1Bytes(wanted, tools.from));
      return () => connection.close();
    });
    return [];
  },
  expect: {},
});

const overH2 = (name: string, wanted: Request, streams: number, window: number): Vector => ({
  name,
  async send(tools) {
    let connection: H2Connection | undefined;
    await held(tools, async (i) => {
      const turn = i % streams;
      if (turn === 0 || connection === undefined) {
        connection = await openH2({ port: tools.port, from: tools.from, window });
      }
      const own = connection;
      const id = 2 * turn + 1;
      if (wanted.method === 'GET') own.headers(id, h2Fields(wanted), FLAG.endHeaders | FLAG.endStream);
      else {
        own.headers(id, h2Fields(wanted));
        own.data(
          id,
          typeof wanted.body === 'string' ? wanted.body : JSON.stringify(wanted.body),
          FLAG.endStream,
        );
      }
      return () => own.close();
    });
    return [];
  },
  expect: {},
});

const EVENTS = '@@count=600@@@@bytes=10000@@';
export const REST_4: Group = {
  name: 'rest 4: unread answers',
  vectors: [
    overH1('sixty answers in one piece over HTTP/1.1', request({}, '')),
    overH1('sixty streams over HTTP/1.1', request({ stream: true }, EVENTS)),
    overH2('sixty streams of one connection without a window', request({}, ''), 60, 0),
    overH2('sixty connections without a window', request({}, ''), 1, 0),
    overH2('sixty streams of events without a window', request({ stream: true }, EVENTS), 60, 0),
    overH2('sixty answers with a window of a byte', request({}, ''), 20, 1),
    overH2('sixty errors without a window', { as: 'narrow', body: '{}' }, 60, 0),
    overH2(
      'sixty lists of models without a window',
      { as: 'narrow', method: 'GET', path: '/v1/models' },
      60,
      0,
    ),
  ],
};

/** Row 2: who hangs up pays for what the engine did until then, whether it was seen or not. */
import { expect } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { openH1 } from '../support/h1.ts';
import {
  asking,
  chat,
  type Group,
  h1Bytes,
  type Request,
  type Tools,
  type Vector,
} from '../support/vectors.ts';
import { remainingTokens } from '../support/victim.ts';

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const HANG_UP_MS = 1_500;
const PROMPT_TOKENS = 200;
/** Refill of the bucket, with room for what counts seconds as it likes. */
const REFILL_PER_S = 10;

const LESSON_TOKENS = 40;
const TOKEN_MS = 10;
/** How many times as long a token took at most, on a machine that is busy: so much less is thought of an engine here. */
let slowness = 1;

/** Streams that show what a token takes here: ten milliseconds. */
async function teach({ send }: Tools): Promise<void> {
  const marks = `@@count=${LESSON_TOKENS}@@@@every=${TOKEN_MS}@@@@usage=20,${LESSON_TOKENS}@@`;
  const lesson = {
    as: 'metered',
    body: asking(marks, { stream: true, max_tokens: LESSON_TOKENS }),
  } as const;
  const answers = await Promise.all([send(lesson), send(lesson), send(lesson)]);
  slowness = Math.max(slowness, ...answers.map(({ ms }) => ms / (LESSON_TOKENS * TOKEN_MS)));
}

/** Of the charge: what does not go by the pace of the engine, and what does. */
interface Least {
  readonly fixed: number;
  readonly byPace: number;
  /** That the client has seen before it goes. */
  readonly words?: number;
}

/** What the bucket has lost for a request that is dropped so long after the engine has it, and the client has so many words. */
async function chargedFor(tools: Tools, request: Request, words: number, afterMs: number): Promise<number> {
  const { world, port, from, seen } = tools;
  await teach(tools);
  const asked = seen().length;
  const before = await remainingTokens(world, 'metered');
  const startMs = performance.now();
  const connection = await openH1({ port, from });
  await connection.write(h1Bytes({ as: 'metered', ...request }, from));
  await eventually(
    () => seen().length,
    (count) => count > asked,
  );
  await eventually(
    () => (connection.answers()[0]?.body.toString() ?? '').split('word ').length - 1,
    (seenWords) => seenWords >= words,
  );
  await sleep(afterMs);
  connection.close();
  // Settled once the bucket is still.
  let last = Number.NaN;
  await sleep(150);
  for (let i = 0; i < 40; i += 1) {
    const now = await remainingTokens(world, 'metered');
    if (Math.abs(now - last) <= 3) {
      last = now;
      break;
    }
    last = now;
    await sleep(50);
  }
  return before - last + ((performance.now() - startMs) / 1_000) * REFILL_PER_S;
}

const hangUp = (
  name: string,
  request: Request,
  { fixed, byPace, words = 0 }: Least,
  afterMs = HANG_UP_MS,
): Vector => ({
  name,
  async send(tools) {
    const charged = await chargedFor(tools, request, words, afterMs);
    expect(charged, 'tokens charged').toBeGreaterThan(fixed + byPace / slowness);
    // No more than was asked for, whatever is thought of the engine.
    expect(charged, 'tokens charged').toBeLessThan(16 * 400 + PROMPT_TOKENS);
    return [];
  },
  expect: {},
});

/** An engine that answers in one piece, later than the client stays. */
const silent = (marks: string, fields: object = {}): Request => ({
  body: asking(`@@delay=3000@@${marks}`, { max_tokens: 300, ...fields }),
});
const streamed = (marks: string, fields: object = {}): Request => ({
  body: asking(`@@then=silence@@${marks}`, { stream: true, max_tokens: 390, ...fields }),
});
/** At ten to thirty milliseconds a token, and a prompt of some dozens. */
const ONE: Least = { fixed: 30, byPace: 60 };
/** Seen, and counted as seen. */
const seenOf = (tokens: number, words: number): Least => ({ fixed: tokens, byPace: 0, words });
const SEEN = seenOf(300, 400);
const WORDS_2000 = '@@count=1@@@@bytes=2000@@';

export const REST_2: Group = {
  name: 'rest 2: hang-ups',
  vectors: [
    hangUp('an answer in one piece is dropped after 1.5 s', silent(''), ONE),
    hangUp('… with sixteen outputs', silent('', { n: 16 }), { fixed: 0, byPace: 16 * 40 }),
    hangUp(
      '… of completions',
      { path: '/v1/completions', body: { model: 'demo', prompt: 'x @@delay=3000@@', max_tokens: 300 } },
      ONE,
    ),
    hangUp('… of messages', { path: '/v1/messages', ...silent('') }, ONE),
    hangUp(
      '… of responses',
      { path: '/v1/responses', body: { model: 'demo', input: 'x @@delay=3000@@', max_output_tokens: 300 } },
      ONE,
    ),
    hangUp('… without a cap', silent('', { max_tokens: undefined }), ONE),
    hangUp('a stream whose first token is late is dropped before it', silent('', { stream: true }), ONE),
    hangUp('2,000 bytes in one event count as their bytes', streamed(WORDS_2000), SEEN, 300),
    hangUp(
      '2,000 bytes in one event of completions',
      {
        path: '/v1/completions',
        body: { model: 'demo', stream: true, prompt: `x @@then=silence@@${WORDS_2000}`, max_tokens: 390 },
      },
      SEEN,
      300,
    ),
    hangUp(
      '2,000 bytes in one event of messages',
      { path: '/v1/messages', ...streamed(WORDS_2000) },
      SEEN,
      300,
    ),
    hangUp(
      '2,000 bytes in one event of responses',
      {
        path: '/v1/responses',
        body: {
          model: 'demo',
          stream: true,
          input: `x @@then=silence@@${WORDS_2000}`,
          max_output_tokens: 390,
        },
      },
      SEEN,
      300,
    ),
    hangUp('reasoning of 2,000 bytes', streamed(`@@events=reasoning@@${WORDS_2000}`), SEEN, 300),
    hangUp('arguments of a tool of 2,000 bytes', streamed(`@@events=tools@@${WORDS_2000}`), SEEN, 300),
    hangUp(
      'thoughts of Anthropic of 2,000 bytes',
      { path: '/v1/messages', ...streamed(`@@events=reasoning@@${WORDS_2000}`) },
      SEEN,
      300,
    ),
    hangUp(
      'a tool’s input of Anthropic of 2,000 bytes',
      { path: '/v1/messages', ...streamed(`@@events=tools@@${WORDS_2000}`) },
      SEEN,
      300,
    ),
    hangUp(
      'reasoning of responses of 2,000 bytes',
      {
        path: '/v1/responses',
        body: {
          model: 'demo',
          stream: true,
          input: `x @@events=reasoning@@@@then=silence@@${WORDS_2000}`,
          max_output_tokens: 390,
        },
      },
      SEEN,
      300,
    ),
    hangUp(
      'a stream that shows nothing for 1.5 s of computing',
      streamed('@@events=hidden@@@@count=1@@'),
      ONE,
    ),
    hangUp(
      'forty events are forty tokens at least',
      streamed('@@count=40@@@@bytes=1@@'),
      seenOf(35, 40),
      300,
    ),
    {
      name: 'what is read to its end costs what the engine says',
      async send(tools) {
        const { world, send } = tools;
        const before = await remainingTokens(world, 'metered');
        const answer = await send({ as: 'metered', body: asking('@@usage=100,50@@', { max_tokens: 50 }) });
        const after = await remainingTokens(world, 'metered');
        expect(before - after).toBeGreaterThan(120);
        expect(before - after).toBeLessThan(160);
        return answer;
      },
      expect: { status: 200 },
    },
    {
      name: 'a request that is dropped before it is whole costs no tokens',
      async send({ world, port, from }) {
        const before = await remainingTokens(world, 'metered');
        const connection = await openH1({ port, from });
        const bytes = h1Bytes({ as: 'metered', body: chat() }, from);
        await connection.write(bytes.subarray(0, bytes.length - 10));
        await sleep(50);
        connection.close();
        await sleep(50);
        expect(before - (await remainingTokens(world, 'metered'))).toBeLessThan(10);
        return [];
      },
      expect: { engine: 'nothing' },
    },
  ],
};

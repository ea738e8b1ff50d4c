/** Row 8: what kills an engine is sent to at most one more, and then its tenant goes carefully. */
import { expect } from 'vitest';
import { asking, type Group, type Request, type Tools, type Vector } from '../support/vectors.ts';

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
/** Endpoints that were shut out are back in rotation. */
const REST_MS = 700;
/** … all of them, and a request of this tenant has ended well. */
async function recovered({ send }: Tools): Promise<void> {
  await sleep(REST_MS);
  for (let i = 0; i < 30; i += 1) {
    if ((await send({})).status === 200) return;
    await sleep(100);
  }
}
const failed = (status: number): boolean => status === 0 || status >= 429;

const deadly = (
  name: string,
  request: Request,
  most = 2,
  modes: Vector['modes'] = ['open'],
  wires: Vector['over'] = ['h1'],
): Vector => ({
  name,
  modes,
  async send(tools: Tools) {
    const answers = [];
    for (const wire of wires) {
      if (modes === undefined || !modes.includes('open-killed')) await recovered(tools);
      answers.push(await tools.send(request, wire));
    }
    return answers;
  },
  expect: {
    status: failed,
    engine(seen) {
      const arrived = seen.filter(({ body }) => body.includes('@@die='));
      expect(arrived.length).toBeGreaterThan(0);
      expect(arrived.length, 'engines that got it').toBeLessThanOrEqual(most * wires.length);
    },
  },
});

const dies = (how: string, fields: object = {}): Request => ({ body: asking(`@@die=${how}@@`, fields) });

/** Engines that died while this tenant's request was there; then slow requests, several at once. */
const careful = (name: string, tenant: 'attacker' | 'victim', least: number, most: number): Vector => ({
  name,
  async send({ send, seen }) {
    for (let i = 0; i < 2; i += 1) {
      await send({ as: 'attacker', body: asking('@@die=late@@@@delay=100@@') });
      await sleep(REST_MS);
    }
    const before = seen().length;
    const answers = await Promise.all(
      Array.from({ length: 4 }, () => send({ as: tenant, body: asking('@@delay=1000@@') })),
    );
    const own = seen().slice(before);
    const firstEndedMs = Math.min(...own.map(({ endedMs }) => endedMs ?? Number.POSITIVE_INFINITY));
    // Once one has ended well, the others go together again.
    const together = own.filter(({ atMs }) => atMs < firstEndedMs).length;
    expect(together, 'requests at once').toBeLessThanOrEqual(most);
    expect(together, 'requests at once').toBeGreaterThanOrEqual(least);
    return answers;
  },
  expect: {},
});

export const REST_8: Group = {
  name: 'rest 8: query of death',
  isOrdered: true,
  vectors: [
    deadly('an engine that is reset at once', dies('at-once'), 2, ['open', 'closed'], ['h1', 'h2']),
    deadly('an engine that closes', dies('close')),
    deadly('an engine that dies in its headers', dies('head')),
    deadly(
      'an engine that dies after 300 ms',
      dies('late', { messages: [{ role: 'user', content: '@@die=late@@@@delay=300@@' }] }),
    ),
    deadly('a stream', dies('at-once', { stream: true })),
    deadly('sixteen outputs', dies('at-once', { n: 16 })),
    deadly('completions', {
      path: '/v1/completions',
      body: { model: 'demo', prompt: '@@die=at-once@@', max_tokens: 5 },
    }),
    deadly('embeddings', { path: '/v1/embeddings', body: { model: 'embedder', input: '@@die=at-once@@' } }),
    deadly('messages', { path: '/v1/messages', ...dies('at-once') }),
    deadly('responses', { path: '/v1/responses', body: { model: 'demo', input: '@@die=at-once@@' } }),
    deadly('a large one', { body: asking(`@@die=at-once@@${'a'.repeat(200_000)}`) }),
    deadly('retries that the client asks for', {
      ...dies('at-once'),
      headers: [
        ['x-envoy-max-retries', '10'],
        ['x-envoy-retry-on', '5xx,reset,connect-failure,retriable-4xx'],
        ['x-envoy-hedge-on-per-try-timeout', 'true'],
        ['x-envoy-upstream-rq-per-try-timeout-ms', '10'],
      ],
    }),
    {
      name: 'an answer that breaks off is not asked for again',
      send: { body: asking('@@die=body@@@@huge=100000@@') },
      expect: { engine: (seen) => expect(seen).toHaveLength(1) },
    },
    {
      name: 'a stream that breaks off is not asked for again',
      send: { body: asking('@@then=reset@@@@count=3@@@@every=40@@', { stream: true }) },
      expect: { engine: (seen) => expect(seen).toHaveLength(1) },
    },
    {
      name: 'a failure of the engine’s own is not asked for again',
      send: { body: asking('@@status=500@@') },
      expect: { engine: (seen) => expect(seen).toHaveLength(1) },
    },
    {
      name: 'an engine that is overloaded is one; the next may not be',
      send: { body: asking('@@status=503@@') },
      // It has not begun: others may be asked.
      expect: {
        engine(seen) {
          expect(seen.length).toBeGreaterThan(0);
          expect(seen.length).toBeLessThanOrEqual(4);
        },
      },
    },
    careful('others are not made to go one at a time', 'victim', 2, 4),
    careful('after deaths of engines, one at a time', 'attacker', 1, 1),
    deadly('the service is gone: an engine that is reset at once', dies('at-once'), 2, ['open-killed']),
    deadly('the service is gone: an engine that closes', dies('close'), 2, ['open-killed']),
    deadly(
      'the service is gone: an engine that dies after 300 ms',
      dies('late', { messages: [{ role: 'user', content: '@@die=late@@@@delay=300@@' }] }),
      2,
      ['open-killed'],
    ),
  ],
};

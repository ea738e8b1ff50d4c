/** What a request does where its model is mirrored: it names the pool of the copy, and knows nothing else of it. */
import { describe, expect, it } from 'vitest';
import type { SendOn } from '../../../src/admission/edge.ts';
import type { Config } from '../../../src/config/config.ts';
import {
  askModels,
  chatHead,
  createWorld,
  type Said,
  type World,
  type WorldOptions,
} from '../../support/lifecycle.ts';

const body = (fields: object = {}): Buffer =>
  Buffer.from(JSON.stringify({ model: 'small', messages: [{ role: 'user', content: 'hello' }], ...fields }));
const sentOf = (said: readonly Said[]): SendOn | undefined =>
  said.flatMap((one) => (one.kind === 'send-on' ? [one.request] : []))[0];

function run(world: World, fields: object = {}, headFields: object = {}) {
  const { request, said } = world.open();
  request.headers(chatHead(headFields), 0);
  request.body(body(fields), 0);
  const finish = (nowMs: number): void => {
    request.responseHeaders(
      {
        status: 200,
        contentType: 'application/json',
        contentEncoding: '',
        upstream: '10.0.0.1:8000',
        endOfStream: false,
      },
      nowMs,
    );
    const usage = { prompt_tokens: 7, completion_tokens: 5 };
    request.responseChunk(Buffer.from(JSON.stringify({ choices: [], usage })), true, nowMs);
  };
  return { request, said, finish };
}

/** Every request is copied; what was asked is kept. */
function copying(options: WorldOptions = {}) {
  const asked: (readonly [model: string, outputTokens: number, nowMs: number])[] = [];
  const world = createWorld({
    ...options,
    mirrorTo: (...ask) => {
      asked.push(ask);
      return 'next';
    },
  });
  return { world, asked };
}

describe('a copy', () => {
  it('is of the body that goes to the engine, and goes where the shadow of the model is', () => {
    const { world, asked } = copying();
    const { said } = run(world, { priority: 1, max_tokens: 9 });
    expect(sentOf(said)).toMatchObject({ pool: 'main', mirrorTo: 'next' });
    expect(JSON.parse(String(sentOf(said)?.body))).not.toHaveProperty('priority');
    expect(asked).toEqual([['small', 9, 0]]);
  });

  it('is asked for once, at the release, however long the request waits', () => {
    const { world, asked } = copying({ window: 1 });
    const first = run(world);
    const second = run(world);
    expect([asked.length, sentOf(second.said)]).toEqual([1, undefined]);
    first.finish(500);
    expect(sentOf(second.said)).toMatchObject({ mirrorTo: 'next' });
    second.finish(600);
    expect(asked.map(([, , nowMs]) => nowMs)).toEqual([0, 500]);
  });

  it.each([
    ['/v1/completions', 'next'],
    ['/v1/embeddings', 'next'],
    ['/v1/messages', 'next'],
    ['/v1/rerank', 'next'],
    ['/v1/score', 'next'],
    ['/v1/classify', 'next'],
    ['/pooling', 'next'],
    ['/v1/responses', 'next'],
    ['/v1/messages/count_tokens', undefined],
    ['/tokenize', undefined],
    ['/detokenize', undefined],
    ['/v1/images/generations', undefined],
    ['/v1/audio/speech', undefined],
  ])('is made of routes that engines compute: %s', (path, to) => {
    const { world, asked } = copying();
    const fields = {
      prompt: 'hello',
      input: 'hello',
      query: 'hello',
      documents: ['x'],
      text_1: 'a',
      text_2: 'b',
      tokens: [1],
      messages: [{ role: 'user', content: 'x' }],
      max_tokens: 5,
      store: false,
    };
    const { said } = run(world, fields, { path });
    expect(sentOf(said)).toBeDefined();
    expect([sentOf(said)?.mirrorTo, asked.length]).toEqual([to, to === undefined ? 0 : 1]);
  });

  it('is not made of what is to be stored: the mirror would keep it, and nobody asks for it there', () => {
    for (const store of [{}, { store: true }]) {
      const { world, asked } = copying();
      const { said } = run(world, { input: 'hello', ...store }, { path: '/v1/responses' });
      expect([sentOf(said)?.pool, sentOf(said)?.mirrorTo, asked]).toEqual(['main', undefined, []]);
    }
  });

  it('is not made of what goes on with a stored response: no other engine has that', () => {
    const { world, asked } = copying();
    const upstream = '10.0.0.1:8000';
    world.context.owners?.remember(
      'resp_1',
      { tenant: 'a', pool: 'main', endpoint: upstream, model: 'small', asked: 'small', tokens: 9 },
      0,
    );
    const { said } = run(
      world,
      { input: 'and then?', previous_response_id: 'resp_1' },
      { path: '/v1/responses' },
    );
    expect([sentOf(said)?.addresses[0], sentOf(said)?.mirrorTo, asked]).toEqual([upstream, undefined, []]);
  });

  it('is not made of what reaches no engine: refused, gone while it waits, or answered here', () => {
    const { world, asked } = copying({ window: 1 });
    run(world);
    run(world).request.streamEnded(1);
    run(world, { model: 'unknown' });
    run(world, {}, { tenant: 'nobody' });
    askModels(world);
    expect(asked).toHaveLength(1);
  });

  it('is a matter of the model that serves: a canary has its own shadow', () => {
    const change = (config: Config): Config => {
      const small = config.models.get('small');
      if (small === undefined) throw new Error('no model small');
      const canary = { model: 'secret', weight: 1, by: 'tenant', sessionHeader: 'x', salt: '' } as const;
      return { ...config, models: new Map([...config.models, ['small', { ...small, canary }]]) };
    };
    const { world, asked } = copying({ change });
    run(world);
    expect(asked.map(([model]) => model)).toEqual(['secret']);
  });

  it('leaves no trace: the same record, slots and reservation as without', () => {
    const traceOf = (world: World): unknown => {
      const { said, finish } = run(world);
      const during = [
        world.endpoints.inFlight(),
        [...world.occupancy.rows()],
        world.dispatcher.inFlightOfTenant('a'),
      ];
      finish(20);
      const { mirrorTo: _, ...sent } = sentOf(said) ?? {};
      return [during, sent, world.records, world.endpoints.inFlight(), [...world.occupancy.rows()]];
    };
    const limits = { tokensPerMinute: 1_000, maxConcurrent: 1 };
    const withCopy = traceOf(copying({ limits }).world);
    expect(withCopy).toEqual(traceOf(createWorld({ limits })));
  });

  it('is not mentioned to the edge where there is none', () => {
    const { said } = run(createWorld({ mirrorTo: () => undefined }));
    expect(sentOf(said)).not.toHaveProperty('mirrorTo');
  });
});

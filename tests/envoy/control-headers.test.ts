/** What a client's headers cannot do: choose a pool, an engine or a tenant, or give an engine orders; whatever the service does. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ALL_DRIVERS } from '../../src/engine/drivers.ts';
import { chatBody, send } from '../support/client.ts';
import {
  type EdgeWorld,
  type FailureMode,
  type ServiceState,
  startEdgeWorld,
} from '../support/edge-world.ts';
import { eventually } from '../support/eventually.ts';
import { type Http2Part, sendHttp1, sendHttp2 } from '../support/raw-http.ts';
import { KEYS } from '../support/stack.ts';

const PATH = '/v1/chat/completions';
const BODY = chatBody();

const http1 = (headers: readonly string[], body = BODY): string[] => [
  [
    `POST ${PATH} HTTP/1.1`,
    'host: x',
    `authorization: Bearer ${KEYS.quiet}`,
    'content-type: application/json',
    `content-length: ${body.length}`,
    ...headers,
    '',
    body,
  ].join('\r\n'),
];
const http2 = (headers: readonly (readonly [string, string])[], body = BODY): Http2Part[] => [
  {
    kind: 'headers',
    headers: [
      [':method', 'POST'],
      [':path', PATH],
      [':scheme', 'http'],
      [':authority', 'x'],
      ['authorization', `Bearer ${KEYS.quiet}`],
      ['content-type', 'application/json'],
      ['content-length', String(body.length)],
      ...headers,
    ],
  },
  { kind: 'data', text: body, end: true },
];

/** By which a client might want to be sent elsewhere, or to be another. `refused`: over either protocol. */
const ATTEMPTS: readonly (readonly [name: string, value: string, refused?: 'refused'])[] = [
  [':fairlane-pool', 'pool-other', 'refused'],
  [':fairlane-shadow', 'pool-other', 'refused'],
  [':Fairlane-Pool', 'pool-other', 'refused'],
  // No name is of bytes beyond ASCII: the patterns of the lists know none.
  ['x-vllm-\xe9', '1', 'refused'],
  ['\xff', '1', 'refused'],
  ['fairlane-pool', 'pool-other'],
  ['x-fairlane-pool', 'pool-other'],
  ['x-fairlane-shadow', 'pool-other'],
  ['x-fairlane-tenant', 'noisy'],
  ['x-fairlane-anything', 'pool-other'],
  ['x_fairlane_pool', 'pool-other'],
  ['x-fairlane_tenant', 'noisy'],
  ['_fairlane-pool', 'pool-other'],
  ['x-envoy-original-dst-host', 'OTHER'],
  ['x-envoy-upstream-alt-stat-name', 'pool-other'],
  ['x-envoy-original-path', '/sleep'],
  ['x-envoy-decorator-operation', 'pool-other'],
  ['x-gateway-destination-endpoint', 'OTHER'],
  ['x-gateway-inference-fairness-id', 'noisy'],
  ['x-forwarded-host', 'OTHER'],
  ['x-original-url', '/sleep'],
  ['x-rewrite-url', '/sleep'],
  ['x-http-method-override', 'DELETE'],
  ['forwarded', 'host=OTHER'],
];

const MODES: readonly FailureMode[] = ['open', 'closed'];
const STATES: readonly ServiceState[] = ['up', 'stopped', 'dead'];

/** While the service hangs each request takes five seconds: what does not depend on how it is away is tried with the others. */
const unlessStopped = (state: ServiceState) => (state === 'stopped' ? () => undefined : it);

describe.each(MODES)('failing %s', (mode) => {
  let world: EdgeWorld;
  beforeAll(async () => {
    world = await startEdgeWorld(mode);
  });
  afterAll(() => world.close());

  describe.each(STATES)('the service is %s', (state) => {
    const passes = state === 'up' || mode === 'open';
    beforeAll(() => world.become(state), 30_000);
    beforeEach(() => {
      world.engine.forget();
      world.other.forget();
    });

    it('no header leads to another pool, or makes a client somebody else', async () => {
      const elsewhere = world.other.url.slice('http://'.length);
      // All at once: each takes five seconds while the service hangs.
      const answers = await Promise.all(
        ATTEMPTS.flatMap(([name, text, refused]) => {
          const value = text.replace('OTHER', elsewhere);
          const body = chatBody({ messages: [{ role: 'user', content: name }] });
          return [
            sendHttp1(world.port, http1([`${name}: ${value}`], body)).then(({ status }) => ({
              name,
              refused,
              passed: status === 200,
            })),
            sendHttp2(world.port, http2([[name, value]], body)).then(({ text: answer }) => ({
              name,
              refused,
              passed: answer.includes('"finish_reason"'),
            })),
          ];
        }),
      );
      expect(world.other.received()).toEqual([]);
      for (const { name, refused, passed } of answers) {
        expect([name, passed]).toEqual([name, passes && refused === undefined]);
      }
      expect(world.engine.received()).toHaveLength(answers.filter(({ passed }) => passed).length);
      const seen = world.engine.received().flatMap(({ headers }) => Object.keys(headers));
      expect(
        seen.filter((name) => /fairlane|envoy|gateway|forwarded|original|rewrite|override|_/.test(name)),
      ).toEqual([]);
    }, 30_000);

    unlessStopped(state)(
      'a model of another pool is not reached by naming that pool',
      async () => {
        const body = chatBody({ model: 'secret' });
        const answer = await sendHttp1(
          world.port,
          http1(['x-fairlane-tenant: noisy', 'x-fairlane-pool: pool-other'], body),
        );
        expect(world.other.received()).toEqual([]);
        if (state === 'up') expect(answer.status).toBe(404);
        else expect(answer.status === 200).toBe(passes);
      },
      30_000,
    );

    it('engines get what is on the list, and nothing else', async () => {
      const orders = [
        ...ALL_DRIVERS.flatMap(({ refused }) => refused.headers),
        'x-prefiller-host-port',
        'x-vllm-anything',
        'x-sglang-anything',
        'x-override-anything',
        'x-smg-anything',
        'cookie',
        'accept-encoding',
        'proxy-authorization',
        'te',
        'keep-alive',
        'x-custom',
      ];
      const harmless = {
        accept: 'application/json',
        'user-agent': 'a-client/1',
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        tracestate: 'a=b',
        b3: '1-2-3',
        'x-b3-traceid': '1',
        'anthropic-version': '2023-06-01',
        'anthropic-beta': 'a',
        'openai-organization': 'o',
        'x-ours': 'by the configuration',
      };
      await sendHttp1(
        world.port,
        http1([
          ...orders.map((name) => `${name}: 1`),
          ...Object.entries(harmless).map(([name, value]) => `${name}: ${value}`),
        ]),
      );
      expect(world.engine.received()).toHaveLength(passes ? 1 : 0);
      for (const { headers } of world.engine.received()) {
        const { 'x-ours': _, ...expected } = harmless;
        expect(headers).toMatchObject({ ...expected, 'content-type': 'application/json' });
        const known = [
          ...Object.keys(expected),
          'host',
          'content-type',
          'content-length',
          'transfer-encoding',
        ];
        expect(Object.keys(headers).filter((name) => !known.includes(name))).toEqual(['x-request-id']);
      }
    }, 30_000);

    unlessStopped(state)(
      'trailers of a request do not reach the engine',
      async () => {
        const chunk = `${BODY.length.toString(16)}\r\n${BODY}\r\n`;
        const head = `POST ${PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${KEYS.quiet}\r\ncontent-type: application/json\r\n`;
        await Promise.all([
          sendHttp1(world.port, [
            `${head}transfer-encoding: chunked\r\n\r\n${chunk}0\r\nx-vllm-priority: -5\r\nx-fairlane-pool: pool-other\r\n\r\n`,
          ]),
          sendHttp2(world.port, [
            ...http2([]).slice(0, 1),
            { kind: 'data', text: BODY },
            { kind: 'headers', headers: [['x-vllm-priority', '-5']], end: true },
          ]),
        ]);
        expect(world.engine.received()).toHaveLength(passes ? 2 : 0);
        for (const { trailers, headers } of world.engine.received()) {
          expect(trailers).toEqual({});
          expect(headers['x-vllm-priority']).toBeUndefined();
        }
        expect(world.other.received()).toEqual([]);
      },
      30_000,
    );

    unlessStopped(state)(
      'an engine does not speak for the origin',
      async () => {
        world.engine.answerWith({
          server: 'uvicorn',
          'set-cookie': ['a=b', 'c=d'],
          location: 'http://evil.example',
          'x-fairlane-model': 'another',
          'x-fairlane-anything': '1',
          'x-envoy-upstream-service-time': '5',
          'alt-svc': 'h3=":443"',
          'strict-transport-security': 'max-age=1',
          'clear-site-data': '"*"',
          'x-ratelimit-limit-tokens': '1',
          'proxy-authenticate': 'Basic',
          'keep-alive': 'timeout=5',
          'openai-processing-ms': '7',
          'retry-after': '3',
        });
        const answer = await send(world.url, { key: KEYS.quiet, body: BODY });
        world.engine.answerWith({});
        if (passes) {
          expect(answer.status).toBe(200);
          expect(answer.headers).toMatchObject({ 'openai-processing-ms': '7', 'retry-after': '3' });
          const names = Object.keys(answer.headers).filter((name) => name !== 'connection');
          expect(names.sort()).toEqual(
            [
              'content-type',
              'date',
              'openai-processing-ms',
              'retry-after',
              'transfer-encoding',
              // Envoy's own.
              'request-id',
              'x-request-id',
            ].sort(),
          );
        } else expect(answer.status).toBeGreaterThanOrEqual(500);
      },
      30_000,
    );

    unlessStopped(state)(
      'a client does not choose how often its request is tried',
      async () => {
        world.engine.answerWith({}, 503);
        const tried = async (headers: readonly string[]): Promise<number> => {
          world.engine.forget();
          await sendHttp1(world.port, http1(headers));
          return world.engine.received().length;
        };
        const usual = await tried([]);
        const asked = await tried([
          'x-envoy-retry-on: 5xx,gateway-error,retriable-status-codes',
          'x-envoy-retriable-status-codes: 503',
          'x-envoy-max-retries: 50',
        ]);
        world.engine.answerWith({});
        expect(usual).toBeLessThanOrEqual(3);
        expect(asked).toBe(usual);
      },
      30_000,
    );
  });

  it('serves again', async () => {
    await world.become('up');
    expect((await send(world.url, { key: KEYS.quiet, body: BODY })).status).toBe(200);
  }, 30_000);
});

describe('headers that the operator names', () => {
  let world: EdgeWorld;
  // The longest, the widest: Envoy takes only patterns of a certain size.
  const longest = `x-${'a'.repeat(62)}`;
  const wide = Array.from('bcdefghijklmn', (letter) => `x-${letter}${letter}-z`);
  beforeAll(async () => {
    world = await startEdgeWorld('open', (config) => {
      config['envoy']['passHeaders'] = ['x-ours', longest, ...wide];
      config['lanes'] = {
        urgent: { weight: 4, when: [{ header: { name: 'x-class', value: 'urgent' } }] },
        usual: { weight: 1 },
      };
    });
  });
  afterAll(() => world.close());

  it('pass, and those that the service reads are seen by it and go no further', async () => {
    const names = ['x-ours', longest, ...wide];
    await sendHttp1(
      world.port,
      http1([...names.map((name) => `${name}: 1`), 'x-class: urgent', 'x-other: 1']),
    );
    const [seen] = world.engine.received();
    expect(names.filter((name) => seen?.headers[name] !== '1')).toEqual([]);
    expect(seen?.headers['x-class']).toBeUndefined();
    expect(seen?.headers['x-other']).toBeUndefined();
    await eventually(
      () => world.log(),
      (log) => log.includes('"lane":"urgent"'),
    );
  });
});

describe('too many headers', () => {
  let world: EdgeWorld;
  beforeAll(async () => {
    world = await startEdgeWorld('open');
  });
  afterAll(() => world.close());
  const many = (count: number): string[] => Array.from({ length: count }, (_, i) => `x-h${i}: 1`);

  it.each([1, 60, 80, 88])('%i more pass, and no engine sees them', async (count) => {
    world.engine.forget();
    expect((await sendHttp1(world.port, http1(many(count)))).status).toBe(200);
    const answer = await sendHttp2(
      world.port,
      http2(many(count).map((line) => line.split(': ') as [string, string])),
    );
    expect(answer.text).toContain('"finish_reason"');
    expect(world.engine.received()).toHaveLength(2);
    for (const { headers } of world.engine.received()) expect(Object.keys(headers).length).toBeLessThan(10);
  });

  it.each([96, 100, 120, 160, 500, 980, 1_100])(
    '%i more are a 431 in the shape of the API',
    async (count) => {
      world.engine.forget();
      const answer = await sendHttp1(world.port, http1(many(count)));
      expect(answer.status).toBe(431);
      expect(answer.text).toContain('"code":"headers_too_large"');
      const overHttp2 = await sendHttp2(
        world.port,
        http2(many(count).map((line) => line.split(': ') as [string, string])),
      );
      // Beyond what Envoy itself takes there is no answer over HTTP/2: the stream is reset.
      if (overHttp2.ended === 'answer') expect(overHttp2.text).toContain('"code":"headers_too_large"');
      else expect(count).toBeGreaterThanOrEqual(980);
      expect(world.engine.received()).toEqual([]);
    },
  );

  it.each([61_500, 70_000, 90_000, 200_000])('%i bytes of them are one too', async (bytes) => {
    const answer = await sendHttp1(world.port, http1([`x-long: ${'a'.repeat(bytes)}`]));
    expect(answer.status).toBe(431);
    expect(answer.text).toContain('"code":"headers_too_large"');
  });

  it('on /v1/messages they have the shape of that API', async () => {
    const [text = ''] = http1(many(120));
    const answer = await sendHttp1(world.port, [text.replace(PATH, '/v1/messages')]);
    expect(answer.status).toBe(431);
    expect(answer.text).toContain('{"type":"error","error":{"type":"invalid_request_error"');
  });
});

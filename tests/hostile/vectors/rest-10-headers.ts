/** Row 10, headers: engines take no orders from tenants, and say nothing to them beyond the answer. */
import { expect } from 'vitest';
import type { Field } from '../support/h2.ts';
import { asking, type Group, UP, type Vector, withoutHeader } from '../support/vectors.ts';
import { KEY } from '../support/world.ts';

const servedOrRefused = (status: number): boolean => status === 200 || (status >= 400 && status < 500);

const CONTROL: readonly Field[] = [
  ['x-prefiller-host-port', '169.254.169.254:80'],
  ['x-prefiller-url', 'http://169.254.169.254'],
  ['x-encoder-hosts-ports', '169.254.169.254:80'],
  ['x-data-parallel-host-port', '169.254.169.254:80'],
  ['x-data-parallel-rank', '1'],
  ['x-override-priority', '1'],
  ['x-override-model', 'secret'],
  ['x-override-of-tomorrow', '1'],
  ['x-override-bootstrap-host', '169.254.169.254'],
  ['x-vllm-priority', '-1'],
  ['x-vllm-of-tomorrow', '1'],
  ['x-sglang-of-tomorrow', '1'],
  ['x-smg-routing-key', 'x'],
  ['x-smg-target-worker', '1'],
  ['x-session-id', 'x'],
  ['x_session_id', 'x'],
  ['x_vllm_priority', '-1'],
  ['x-vllm_priority', '-1'],
  ['X_Override_Priority', '1'],
  ['x_prefiller_host_port', '169.254.169.254:80'],
  ['x_fairlane_tenant', 'victim'],
  ['content_length', '0'],
  ['transfer_encoding', 'chunked'],
  ['x_forwarded_for', '169.254.169.254'],
  ['x-conversation-id', 'x'],
  ['x-custom-labels', 'a=b'],
  ['x-amzn-sagemaker-adapter-identifier', 'x'],
  ['x-routed-dp-rank', '1'],
  ['x-worker-id', '1'],
  ['x-gateway-destination-endpoint', '127.0.0.1:1'],
  ['x-gateway-model-name', 'secret'],
  ['x-llm-d-of-tomorrow', '1'],
  ['cookie', 'session=of-somebody'],
  ['proxy-authorization', `Bearer ${KEY.attacker}`],
  ['x-http-method-override', 'GET'],
  ['x-accel-redirect', '/v1/load_lora_adapter'],
];

const control: readonly Vector[] = CONTROL.map(([name, value]) => ({
  name: `${name} does not reach an engine`,
  modes: ['open', 'closed', 'open-killed'],
  over: name.includes('_') ? ['h1', 'h2'] : ['h1'],
  send: { headers: [[name, value]] },
  expect: { status: servedOrRefused, engine: withoutHeader(name) },
}));

const manyOf = (count: number, size = 1): readonly Field[] =>
  Array.from({ length: count }, (_, i): Field => [`x-extra-${i}`, 'y'.repeat(size)]);

const tooMany: readonly Vector[] = [
  ...[96, 97, 99, 100, 150, 500].map(
    (count): Vector => ({
      name: `${count} more headers`,
      modes: UP,
      over: ['h1', 'h2'],
      send: { headers: manyOf(count) },
      expect: {
        status: count < 100 ? [200, 431] : 431,
        engine: (seen) => expect(seen.length).toBeLessThanOrEqual(1),
      },
    }),
  ),
  ...[10, 50, 90].map(
    (count): Vector => ({
      name: `${count} more headers are served`,
      send: { headers: manyOf(count) },
      expect: {
        status: count < 60 ? 200 : [200, 431],
        engine: (seen) => expect(seen.length).toBeLessThanOrEqual(1),
      },
    }),
  ),
  {
    name: 'a header of 100 KB',
    modes: UP,
    over: ['h1'],
    send: { headers: [['x-large', 'y'.repeat(100_000)]] },
    expect: { status: 431, engine: 'nothing' },
  },
  {
    name: 'a path of 100 KB',
    send: { path: `/v1/chat/completions?${'y'.repeat(100_000)}` },
    expect: { status: [414, 431], engine: 'nothing' },
  },
];

const TOLD_NOTHING = [
  'server',
  'x-powered-by',
  'set-cookie',
  'x-fairlane-model',
  'x-fairlane-pool',
  'x-envoy-upstream-service-time',
  'alt-svc',
  'strict-transport-security',
];
const answers: readonly Vector[] = (
  [
    ['an answer', asking('@@answer-headers=hostile@@')],
    ['a stream', asking('@@answer-headers=hostile@@', { stream: true })],
    ['an error of the engine', asking('@@answer-headers=hostile@@@@status=400@@')],
    ['a failure of the engine', asking('@@answer-headers=hostile@@@@status=500@@')],
  ] as const
).flatMap(([name, body]) =>
  TOLD_NOTHING.map(
    (header): Vector => ({
      name: `${header} of an engine is not in ${name}`,
      modes: header === 'set-cookie' || header === 'server' ? ['open', 'closed', 'open-killed'] : ['open'],
      send: { body },
      expect: {
        answer({ status, headers }) {
          expect(status).toBeGreaterThan(0);
          const said = headers.filter(([own]) => own.toLowerCase() === header).map(([, value]) => value);
          // A proxy may name itself; never the engine, nor what the engine made up.
          expect(said.filter((value) => !(header === 'server' && value === 'envoy'))).toEqual([]);
        },
      },
    }),
  ),
);

const rates: Vector = {
  name: 'what an engine says of rates is not what the client is told',
  send: { as: 'metered', body: asking('@@answer-headers=hostile@@') },
  expect: {
    status: 200,
    answer({ headers }) {
      const said = headers.filter(([name]) => name.toLowerCase() === 'x-ratelimit-remaining-tokens');
      expect(said).toHaveLength(1);
      expect(said[0]?.[1]).not.toBe('1');
    },
  },
};

export const REST_10_HEADERS: Group = {
  name: 'rest 10: headers',
  vectors: [...control, ...tooMany, ...answers, rates],
};

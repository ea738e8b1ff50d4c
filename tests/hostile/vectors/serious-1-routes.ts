/** Serious 1: no header of a client decides who serves it, or who it is. */
import { expect } from 'vitest';
import { loadConfig } from '../../../src/config/fs-config.ts';
import { bootstrapOf } from '../../../src/envoy/bootstrap.ts';
import { type Field, FLAG, openH2 } from '../support/h2.ts';
import {
  type Act,
  AWAY,
  both,
  chat,
  EVERY,
  type Group,
  h1Bytes,
  h2Fields,
  patience,
  UP,
  type Vector,
  withoutHeader,
} from '../support/vectors.ts';
import { FOREIGN_CLUSTER, KEY } from '../support/world.ts';

/** Served, or refused for what it is: no error of a cluster that it should never have reached. */
const servedOrRefused = (status: number): boolean => status === 200 || (status >= 400 && status < 500);
const anyStatus = (): boolean => true;

/** The one fault is being elsewhere; the runner holds that for every attack. */
const stays = (name: string, field: Field, modes = EVERY): Vector => ({
  name,
  modes: modes.filter((mode) => mode !== 'closed-stopped' && mode !== 'closed-killed'),
  over: ['h1', 'h2'],
  send: { headers: [field] },
  expect: { status: servedOrRefused, engine: withoutHeader(field[0]) },
});

const CLUSTERS = [
  'pool-private',
  FOREIGN_CLUSTER,
  'fairlane',
  'private',
  'pool-none',
  'fairlane-shadow-private',
];

const poolHeader: readonly Vector[] = [
  ...CLUSTERS.map((cluster) => stays(`x-fairlane-pool: ${cluster}`, ['x-fairlane-pool', cluster])),
  ...['X-FAIRLANE-POOL', 'x_fairlane_pool', 'x-fairlane_pool', 'X-Fairlane-Pool', 'x-fairlane-pool-'].map(
    (name) => stays(`${name}, spelled so`, [name, 'pool-private']),
  ),
  {
    name: 'x-fairlane-pool twice',
    modes: EVERY,
    send: {
      headers: [
        ['x-fairlane-pool', 'pool-main'],
        ['x-fairlane-pool', 'pool-private'],
      ],
    },
    expect: { engine: withoutHeader('x-fairlane-pool') },
  },
  {
    name: 'x-fairlane-pool, nominated by Connection',
    modes: EVERY,
    send: {
      headers: [
        ['connection', 'x-fairlane-pool'],
        ['x-fairlane-pool', 'pool-private'],
      ],
    },
    expect: { engine: withoutHeader('x-fairlane-pool') },
  },
  {
    name: 'x-fairlane-pool with a value that is empty',
    modes: EVERY,
    send: { headers: [['x-fairlane-pool', '']] },
    expect: { engine: withoutHeader('x-fairlane-pool') },
  },
  {
    name: 'x-fairlane-pool on a model list',
    modes: AWAY,
    send: { method: 'GET', path: '/v1/models', headers: [['x-fairlane-pool', 'pool-private']] },
    expect: { engine: withoutHeader('x-fairlane-pool') },
  },
  ...['/v1/completions', '/v1/embeddings', '/v1/responses', '/v1/messages'].map(
    (path): Vector => ({
      name: `x-fairlane-pool on ${path}`,
      modes: ['open-killed', 'closed-killed', 'open'],
      send: {
        path,
        headers: [['x-fairlane-pool', 'pool-private']],
        body: {
          model: 'demo',
          prompt: 'x',
          input: 'x',
          messages: [{ role: 'user', content: 'x' }],
          max_tokens: 5,
        },
      },
      expect: { engine: withoutHeader('x-fairlane-pool') },
    }),
  ),
];

const OTHER_HEADERS: readonly Field[] = [
  ['x-fairlane-tenant', 'victim'],
  ['x_fairlane_tenant', 'victim'],
  ['x-fairlane-endpoint', '127.0.0.1:1'],
  ['x-fairlane-endpoints', '127.0.0.1:1'],
  ['x-fairlane-cluster', 'pool-private'],
  ['x-fairlane-shadow', 'pool-private'],
  ['x-fairlane-model', 'secret'],
  ['x-fairlane-command', 'drain'],
  ['x-fairlane-', 'x'],
  ['x-gateway-destination-endpoint', '127.0.0.1:1'],
  ['x-gateway-destination-endpoint-subset', '127.0.0.1:1'],
  ['x-gateway-inference-fairness-id', 'victim'],
  ['x-envoy-original-dst-host', '127.0.0.1:1'],
  ['x-envoy-upstream-alt-stat-name', 'x'],
  ['x-envoy-original-path', '/v1/load_lora_adapter'],
  ['x-original-url', '/v1/load_lora_adapter'],
  ['x-rewrite-url', '/v1/load_lora_adapter'],
];

const others: readonly Vector[] = OTHER_HEADERS.map(([name, value]) => ({
  name: `${name}: ${value}`,
  modes: ['open', 'closed', 'open-killed'],
  over: ['h1', 'h2'],
  send: { headers: [[name, value]] },
  expect: { status: servedOrRefused, engine: withoutHeader(name) },
}));

const identity: readonly Vector[] = [
  {
    name: "the victim's name does not give the victim's models",
    modes: UP,
    over: ['h1', 'h2'],
    send: { headers: [['x-fairlane-tenant', 'victim']], body: chat({ model: 'secret' }) },
    expect: { status: 404, engine: 'nothing' },
  },
  {
    name: "the victim's name without a key is nobody",
    modes: EVERY,
    over: ['h1', 'h2'],
    send: { as: null, headers: [['x-fairlane-tenant', 'victim']] },
    expect: { status: (status) => status === 401 || status === 0, engine: 'nothing' },
  },
  {
    name: 'a tenant twice, before and after the key',
    modes: UP,
    send: {
      as: null,
      headers: [
        ['x-fairlane-tenant', 'victim'],
        ['authorization', `Bearer ${KEY.attacker}`],
        ['x-fairlane-tenant', 'victim'],
      ],
      body: chat({ model: 'secret' }),
    },
    expect: { status: (status) => status >= 400 && status < 500, engine: 'nothing' },
  },
  {
    name: 'the key twice over',
    modes: ['open', 'closed', 'open-killed'],
    send: {
      headers: [
        ['authorization', `Bearer ${KEY.attacker}`],
        ['authorization', `Bearer ${KEY.attacker}`],
      ],
    },
    expect: { status: servedOrRefused, engine: withoutHeader('authorization') },
  },
  {
    name: 'a key that is none after the one that is',
    modes: ['open', 'closed', 'open-killed'],
    send: {
      headers: [
        ['authorization', `Bearer ${KEY.attacker}`],
        ['authorization', 'Bearer nonsense'],
      ],
    },
    expect: { status: servedOrRefused, engine: withoutHeader('authorization') },
  },
  {
    name: 'the key as Authorization and as x-api-key',
    modes: ['open', 'closed', 'open-killed'],
    over: ['h1', 'h2'],
    send: { headers: [['x-api-key', KEY.attacker]] },
    expect: { status: servedOrRefused, engine: withoutHeader('authorization', 'x-api-key') },
  },
  {
    name: 'x-api-key with nonsense beside the key',
    modes: ['open', 'closed', 'open-killed'],
    send: { headers: [['x-api-key', 'nonsense']] },
    expect: { status: servedOrRefused, engine: withoutHeader('authorization', 'x-api-key') },
  },
  {
    name: 'x-api-key in capitals',
    modes: ['open', 'closed', 'open-killed'],
    send: { as: null, headers: [['X-API-KEY', KEY.attacker]] },
    expect: { status: servedOrRefused, engine: withoutHeader('x-api-key') },
  },
  {
    name: 'Authorization and key nominated by Connection',
    modes: UP,
    send: { headers: [['connection', 'authorization, x-fairlane-tenant']] },
    expect: { status: servedOrRefused, engine: withoutHeader('authorization', 'x-fairlane-tenant') },
  },
  ...['bearer', 'BEARER', 'Basic', 'Bearer  ', ''].map(
    (scheme): Vector => ({
      name: `Authorization as ${JSON.stringify(scheme)}`,
      modes: ['open'],
      send: { as: null, headers: [['authorization', `${scheme} ${KEY.attacker}`]] },
      expect: { status: [200, 400, 401], engine: withoutHeader('authorization') },
    }),
  ),
];

/** A header block over HTTP/2 that no library sends. */
const block =
  (change: (fields: readonly Field[]) => readonly Field[]): Act =>
  async ({ port, from, mode }) => {
    const body = JSON.stringify(chat());
    const connection = await openH2({ port, from });
    connection.headers(1, change(h2Fields({ body })));
    connection.data(1, body, FLAG.endStream);
    const answer = await connection.answer(1, patience(mode));
    connection.close();
    return answer;
  };

const PSEUDO: readonly (readonly [string, (fields: readonly Field[]) => readonly Field[]])[] = [
  [':fairlane-pool', (fields) => [[':fairlane-pool', 'pool-private'], ...fields]],
  [':fairlane-shadow', (fields) => [[':fairlane-shadow', 'pool-private'], ...fields]],
  [':fairlane-shadow after the others', (fields) => [...fields, [':fairlane-shadow', 'pool-private']]],
  [':fairlane-endpoints', (fields) => [[':fairlane-endpoints', '127.0.0.1:1'], ...fields]],
  [':cluster', (fields) => [[':cluster', 'pool-private'], ...fields]],
  [':status', (fields) => [[':status', '200'], ...fields]],
  [
    ':path twice',
    (fields) => [...fields.slice(0, 4), [':path', '/v1/load_lora_adapter'], ...fields.slice(4)],
  ],
  [':method twice', (fields) => [[':method', 'GET'], ...fields]],
  [':authority twice', (fields) => [[':authority', 'pool-private'], ...fields]],
  [
    ':path after a header',
    (fields) => [...fields.filter(([name]) => name !== ':path'), [':path', '/v1/chat/completions']],
  ],
  ['a name in capitals', (fields) => [...fields, ['X-Fairlane-Pool', 'pool-private']]],
  ['a name with a colon inside', (fields) => [...fields, ['x:fairlane-pool', 'pool-private']]],
  ['a name with a line feed', (fields) => [...fields, ['x-a\nx-fairlane-pool', 'pool-private']]],
  ['a value with CR LF', (fields) => [...fields, ['x-a', 'b\r\nx-fairlane-pool: pool-private']]],
  ['a value with NUL', (fields) => [...fields, ['x-a', 'b\0c']]],
  [
    'connection and transfer-encoding',
    (fields) => [...fields, ['connection', 'x'], ['transfer-encoding', 'chunked']],
  ],
  ['te: trailers, gzip', (fields) => [...fields, ['te', 'gzip']]],
  ['host beside :authority', (fields) => [...fields, ['host', 'pool-private']]],
  ['no :path', (fields) => fields.filter(([name]) => name !== ':path')],
  ['no :method', (fields) => fields.filter(([name]) => name !== ':method')],
  [':protocol: websocket', (fields) => [[':protocol', 'websocket'], ...fields]],
  [
    ':scheme: file',
    (fields) => fields.map(([name, value]): Field => [name, name === ':scheme' ? 'file' : value]),
  ],
];

const pseudo: readonly Vector[] = PSEUDO.map(([name, change]) => ({
  name: `HTTP/2: ${name}`,
  modes: ['open', 'open-killed'],
  send: block(change),
  expect: {
    status: anyStatus,
    engine: both(
      withoutHeader('x-fairlane-pool', ':fairlane-pool', ':fairlane-shadow', ':cluster'),
      (seen) => {
        for (const one of seen) expect(one.url).toBe('/v1/chat/completions');
      },
    ),
  },
}));

const h1Pseudo: readonly Vector[] = [
  ':fairlane-pool',
  ':fairlane-shadow',
  ':path',
  ':authority',
  ':method',
].map((name) => ({
  name: `HTTP/1.1: a header named ${name}`,
  modes: ['open', 'open-killed'],
  send: { raw: h1Bytes({ headers: [[name, 'pool-private']], body: chat() }) },
  expect: { engine: withoutHeader(name) },
}));

const trailers: readonly Vector[] = [
  {
    name: 'x-fairlane-pool as a trailer over HTTP/2',
    modes: ['open', 'closed', 'open-killed'],
    async send({ port, from }) {
      const body = JSON.stringify(chat());
      const connection = await openH2({ port, from });
      connection.headers(1, h2Fields({ body }));
      connection.data(1, body);
      connection.headers(
        1,
        [
          ['x-fairlane-pool', 'pool-private'],
          ['x-fairlane-tenant', 'victim'],
        ],
        FLAG.endHeaders | FLAG.endStream,
      );
      const answer = await connection.answer(1);
      connection.close();
      return answer;
    },
    expect: { status: servedOrRefused, engine: withoutHeader('x-fairlane-pool', 'x-fairlane-tenant') },
  },
  {
    name: 'x-fairlane-pool as a trailer over HTTP/1.1',
    modes: ['open', 'closed', 'open-killed'],
    send: {
      raw: `POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nuser-agent: %FROM%\r\nauthorization: Bearer ${KEY.attacker}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n${JSON.stringify(chat()).length.toString(16)}\r\n${JSON.stringify(chat())}\r\n0\r\nx-fairlane-pool: pool-private\r\n\r\n`,
    },
    expect: { status: servedOrRefused, engine: withoutHeader('x-fairlane-pool') },
  },
];

/** Every header that something in Envoy's configuration goes by. */
function headersGoneBy(value: unknown): readonly string[] {
  if (Array.isArray(value)) return value.flatMap(headersGoneBy);
  if (typeof value !== 'object' || value === null) return [];
  // It looks at credentials, which prove who a client is, and changes nothing else.
  if ('name' in value && value.name === 'fairlane.choose_credentials') return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    if (key === 'cluster_header' && typeof inner === 'string') return [inner];
    if (key === 'match' && typeof inner === 'object' && inner !== null && 'headers' in inner) {
      return (inner.headers as readonly { name: string }[]).map(({ name }) => name);
    }
    if (key === 'header_name' && typeof inner === 'string') return [inner];
    return headersGoneBy(inner);
  });
}

interface AnyRoute {
  readonly match: { readonly path?: string; readonly headers?: readonly { readonly name: string }[] };
  readonly request_body_buffer_limit?: number;
}

/** All routes, wherever they stand. */
function routesIn(value: unknown): readonly AnyRoute[] {
  if (Array.isArray(value)) return value.flatMap(routesIn);
  if (typeof value !== 'object' || value === null) return [];
  if ('match' in value && 'request_body_buffer_limit' in value) return [value as AnyRoute];
  return Object.values(value).flatMap(routesIn);
}

/** Whether there is a length is the client's to say: such a route is as the one without that condition, but for its bound. */
function differByMoreThanBounds(bootstrap: unknown): readonly string[] {
  const routes = routesIn(bootstrap);
  const plain = ({ match, ...route }: AnyRoute): string =>
    JSON.stringify({
      ...route,
      request_body_buffer_limit: undefined,
      match: { ...match, headers: withoutLength(match.headers) },
    });
  return routes
    .filter(({ match }) => match.headers?.some(({ name }) => name === 'content-length'))
    .filter((one) => routes.filter((other) => plain(other) === plain(one)).length !== 2)
    .map(({ match }) => match.path ?? '');
}

const withoutLength = (headers: AnyRoute['match']['headers'] = []): readonly { readonly name: string }[] =>
  headers.filter(({ name }) => name !== 'content-length');

const table: readonly Vector[] = (['fallbackPool', 'failureMode'] as const).map((key) => ({
  name: `every header that our routes go by is one that no client can send (${key})`,
  send: async ({ world }) => {
    const loaded = loadConfig(world.configPath, process.env);
    if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
    const bootstrap = bootstrapOf(
      key === 'failureMode'
        ? { ...loaded.config, envoy: { ...loaded.config.envoy, failureMode: 'closed' } }
        : loaded.config,
    );
    const sendable = headersGoneBy(bootstrap).filter((name) => !name.startsWith(':'));
    expect(new Set(sendable)).toEqual(new Set(['content-length']));
    expect(differByMoreThanBounds(bootstrap)).toEqual([]);
    return [];
  },
  expect: {},
}));

export const SERIOUS_1: Group = {
  name: 'serious 1: routes',
  vectors: [...poolHeader, ...others, ...identity, ...pseudo, ...h1Pseudo, ...trailers, ...table],
};

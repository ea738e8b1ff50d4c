/** Row 10, the wire: what one reader takes for one request, no other takes for two, nor for another. */
import { expect } from 'vitest';
import { FLAG, openH2 } from '../support/h2.ts';
import type { Seen } from '../support/recording-engine.ts';
import {
  CHAT,
  chat,
  type Group,
  h1Bytes,
  h2Fields,
  jsonOf,
  patience,
  UP,
  type Vector,
} from '../support/vectors.ts';
import { KEY } from '../support/world.ts';

const BODY = JSON.stringify(CHAT);
const PATHS = new Set(['/v1/chat/completions']);
const SMUGGLED =
  'POST /v1/load_lora_adapter HTTP/1.1\r\nhost: a\r\nuser-agent: %FROM%\r\ncontent-length: 2\r\n\r\n{}';
const head = (first: string, ...lines: readonly string[]): string =>
  [
    first,
    'host: a',
    'user-agent: %FROM%',
    `authorization: Bearer ${KEY.attacker}`,
    'content-type: application/json',
    ...lines,
    '',
    '',
  ].join('\r\n');
const POST = 'POST /v1/chat/completions HTTP/1.1';
const chunks = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`;

/** At most so many requests, each of them the one that the service read. */
const atMost =
  (count: number) =>
  (seen: readonly Seen[]): void => {
    expect(seen.length).toBeLessThanOrEqual(count);
    for (const one of seen) {
      expect(PATHS.has(one.url.split('?', 1)[0] ?? ''), `${one.method} ${one.url}`).toBe(true);
      expect(one.method).toBe('POST');
      expect(jsonOf(one)).toMatchObject({ model: 'demo' });
      const lengths = one.headers.filter(([name]) => /^(content-length|transfer-encoding)$/i.test(name));
      expect(lengths, 'one way to tell its length').toHaveLength(1);
    }
  };

const raw = (name: string, text: string, count: number, status?: Vector['expect']['status']): Vector => ({
  name,
  modes: ['open', 'closed', 'open-killed'],
  send: { raw: text },
  expect: { engine: count === 0 ? 'nothing' : atMost(count), ...(status !== undefined && { status }) },
});
const bad = (status: number): boolean => status === 0 || (status >= 400 && status < 500);

const lengths: readonly Vector[] = [
  raw(
    'a length and chunks',
    `${head(POST, `content-length: ${BODY.length}`, 'transfer-encoding: chunked')}${chunks(BODY)}${SMUGGLED}`,
    1,
  ),
  raw(
    'chunks and a length',
    `${head(POST, 'transfer-encoding: chunked', 'content-length: 4')}${chunks(BODY)}${SMUGGLED}`,
    1,
  ),
  raw(
    'two lengths',
    `${head(POST, `content-length: ${BODY.length}`, 'content-length: 4')}${BODY}${SMUGGLED}`,
    0,
    bad,
  ),
  raw('two lengths in one', `${head(POST, `content-length: ${BODY.length}, 4`)}${BODY}`, 0, bad),
  raw(
    'the same length twice',
    `${head(POST, `content-length: ${BODY.length}`, `content-length: ${BODY.length}`)}${BODY}`,
    1,
  ),
  raw('a length with a sign', `${head(POST, `content-length: +${BODY.length}`)}${BODY}`, 0, bad),
  raw('a length below zero', `${head(POST, 'content-length: -1')}${BODY}`, 0, bad),
  raw(
    'a length that is hexadecimal',
    `${head(POST, `content-length: 0x${BODY.length.toString(16)}`)}${BODY}`,
    0,
    bad,
  ),
  raw(
    'a length that overflows',
    `${head(POST, `content-length: 1844674407370955161${BODY.length}`)}${BODY}`,
    0,
    bad,
  ),
  raw('a length with a space inside', `${head(POST, `content-length: ${BODY.length} 4`)}${BODY}`, 0, bad),
  raw('a length with a vertical tab', `${head(POST, `content-length: \x0b${BODY.length}`)}${BODY}`, 0, bad),
];

const ENCODINGS = [
  'xchunked',
  'chunked, identity',
  'identity, chunked',
  'gzip, chunked',
  'chunked, chunked',
  '"chunked"',
  'chunked;q=1',
  ' chunked',
  'Chunked',
  '\x0bchunked',
  'chunked\x00',
  'identity',
];
const encodings: readonly Vector[] = [
  ...ENCODINGS.map((value) =>
    raw(
      `transfer-encoding ${JSON.stringify(value)}`,
      `${head(POST, `transfer-encoding: ${value}`)}${chunks(BODY)}${SMUGGLED}`,
      1,
    ),
  ),
  raw(
    'transfer-encoding with a space before its colon',
    `${head(POST, 'transfer-encoding : chunked', `content-length: ${BODY.length}`)}${BODY}${SMUGGLED}`,
    1,
  ),
  raw(
    'transfer-encoding with a tab before its colon',
    `${head(POST, 'transfer-encoding\t: chunked', `content-length: ${BODY.length}`)}${BODY}${SMUGGLED}`,
    1,
  ),
  raw(
    'transfer_encoding',
    `${head(POST, 'transfer_encoding: chunked', `content-length: ${BODY.length}`)}${BODY}${SMUGGLED}`,
    1,
  ),
  raw(
    'transfer-encoding on a folded line',
    `${head(POST, 'transfer-encoding:', ' chunked', `content-length: ${BODY.length}`)}${BODY}${SMUGGLED}`,
    1,
  ),
  raw(
    'a folded line',
    `${head(POST, 'x-a: b', ' transfer-encoding: chunked', `content-length: ${BODY.length}`)}${BODY}${SMUGGLED}`,
    1,
  ),
  raw(
    'transfer-encoding twice',
    `${head(POST, 'transfer-encoding: chunked', 'transfer-encoding: identity')}${chunks(BODY)}${SMUGGLED}`,
    1,
  ),
  raw(
    'transfer-encoding over HTTP/1.0',
    `${head('POST /v1/chat/completions HTTP/1.0', 'transfer-encoding: chunked')}${chunks(BODY)}${SMUGGLED}`,
    1,
  ),
  raw('a chunk with a sign', `${head(POST, 'transfer-encoding: chunked')}+${chunks(BODY)}`, 0, bad),
  raw(
    'a chunk whose size overflows',
    `${head(POST, 'transfer-encoding: chunked')}1000000000000000${chunks(BODY)}`,
    0,
  ),
  raw(
    'a chunk with an extension',
    `${head(POST, 'transfer-encoding: chunked')}${BODY.length.toString(16)};a="\r\n${BODY}\r\n0\r\n\r\n`,
    1,
  ),
  raw(
    'a chunk that ends with a line feed',
    `${head(POST, 'transfer-encoding: chunked')}${BODY.length.toString(16)}\n${BODY}\n0\n\n${SMUGGLED}`,
    1,
  ),
  raw(
    'a chunk without its end',
    `${head(POST, 'transfer-encoding: chunked')}${BODY.length.toString(16)}\r\n${BODY}0\r\n\r\n${SMUGGLED}`,
    0,
  ),
];

const lines: readonly Vector[] = [
  raw(
    'line feeds alone',
    `${head(POST, `content-length: ${BODY.length}`).replaceAll('\r\n', '\n')}${BODY}${SMUGGLED.replaceAll('\r\n', '\n')}`,
    1,
  ),
  raw(
    'a header that a line feed ends',
    `${head(POST, `x-a: b\nx-fairlane-pool: pool-private`, `content-length: ${BODY.length}`)}${BODY}`,
    1,
  ),
  raw(
    'a header with a carriage return',
    `${head(POST, `x-a: b\rx-fairlane-pool: pool-private`, `content-length: ${BODY.length}`)}${BODY}`,
    1,
  ),
  raw('a header with NUL', `${head(POST, 'x-a: b\0c', `content-length: ${BODY.length}`)}${BODY}`, 1),
  raw('a header without a name', `${head(POST, ': x', `content-length: ${BODY.length}`)}${BODY}`, 1),
  raw('a header without a colon', `${head(POST, 'x-a', `content-length: ${BODY.length}`)}${BODY}`, 1),
  raw(
    'a space before the first header',
    `${head(POST, `content-length: ${BODY.length}`).replace('host: a', ' host: a')}${BODY}`,
    1,
  ),
  raw('two hosts', `${head(POST, 'host: b', `content-length: ${BODY.length}`)}${BODY}`, 1),
  raw('no host', `${head(POST, `content-length: ${BODY.length}`).replace('host: a\r\n', '')}${BODY}`, 1),
  raw('lines before the first', `\r\n\r\n${head(POST, `content-length: ${BODY.length}`)}${BODY}`, 1),
  raw(
    'two requests behind one another',
    `${head(POST, `content-length: ${BODY.length}`)}${BODY}${head(POST, `content-length: ${BODY.length}`)}${BODY}`,
    2,
  ),
  raw('another behind one without a key', `${h1Bytes({ as: null }).toString('latin1')}${SMUGGLED}`, 0),
  raw('HTTP/0.9', 'GET /v1/models\r\n\r\n', 0),
  raw(
    // Envoy that serves HTTP/1.0 takes every other version for it: one request, and the connection is closed.
    'HTTP/2.0 in words',
    `${head('POST /v1/chat/completions HTTP/2.0', `content-length: ${BODY.length}`)}${BODY}`,
    1,
  ),
  raw(
    'HTTP/1.9',
    `${head('POST /v1/chat/completions HTTP/1.9', `content-length: ${BODY.length}`)}${BODY}`,
    1,
  ),
  raw(
    'a version that is none',
    `${head('POST /v1/chat/completions HTTX/1.1', `content-length: ${BODY.length}`)}${BODY}`,
    0,
  ),
  raw(
    'spaces in the first line',
    `${head('POST  /v1/chat/completions  HTTP/1.1', `content-length: ${BODY.length}`)}${BODY}`,
    1,
  ),
  raw(
    'a tab in the first line',
    `${head('POST\t/v1/chat/completions\tHTTP/1.1', `content-length: ${BODY.length}`)}${BODY}`,
    1,
  ),
  raw(
    'an upgrade to h2c',
    `${head(POST, 'connection: upgrade, http2-settings', 'upgrade: h2c', 'http2-settings: AAMAAABkAAQAAP__', `content-length: ${BODY.length}`)}${BODY}`,
    1,
  ),
  raw(
    'an upgrade to a WebSocket',
    head(
      'GET /v1/chat/completions HTTP/1.1',
      'connection: upgrade',
      'upgrade: websocket',
      'sec-websocket-version: 13',
      'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==',
    ),
    0,
  ),
  raw('CONNECT', head('CONNECT 127.0.0.1:22 HTTP/1.1'), 0),
  raw('CONNECT to a path', head('CONNECT /v1/chat/completions HTTP/1.1'), 0),
  raw(
    'an Expect that nobody knows',
    `${head(POST, 'expect: 200-ok', `content-length: ${BODY.length}`)}${BODY}`,
    1,
  ),
  raw(
    'Expect: 100-continue, and the body with it',
    `${head(POST, 'expect: 100-continue', `content-length: ${BODY.length}`)}${BODY}`,
    1,
    200,
  ),
];

/** What is no route, however it is written. */
const FOREIGN_PATHS = [
  '/',
  '/v1',
  '/v1/',
  '/metrics',
  '/health',
  '/v1/load_lora_adapter',
  '/v1/unload_lora_adapter',
  '/sleep',
  '/wake_up',
  '/reset_prefix_cache',
  '/tokenizer_info',
  '/tokenize/',
  '/pause',
  '/server_info',
  '/collective_rpc',
  '/v1/files',
  '/v1/batches',
  '/v1/responses/resp_1',
  '/v1/responses/resp_1/other',
  '/v1/chat/completions/',
  '/v1/chat/completions/../../load_lora_adapter',
  '/v1/chat/completions/..%2f..%2fload_lora_adapter',
  '/v1/chat/completions%2f..%2f..%2fload_lora_adapter',
  '/v1/chat/completions;/../../load_lora_adapter',
  '/v1/chat/completions;x',
  '/v1/chat%2fcompletions',
  '/v1/chat%5ccompletions',
  '/v1/chat/completions%00',
  '/v1/chat/completions%0d%0a',
  '/V1/CHAT/COMPLETIONS',
  '/v1/chat/completions%3f',
  '/v1/chat/completions%23',
  '/x/../metrics',
  '/%2e%2e/metrics',
  '/./metrics',
  '/..;/metrics',
  '//evil.example/v1/chat/completions',
  '/invocations',
  '/generate',
  '/v1/rerank/',
];
/** The same route after it was made normal: served as that, or refused. */
const SAME_PATHS = [
  '/v1/chat\\completions',
  '//v1/chat/completions',
  '/v1//chat/completions',
  '/v1/./chat/completions',
  '/v1/x/../chat/completions',
  '/v1/chat/%63ompletions',
  '/v1/chat/completions?',
  '/v1/chat/completions?a=b',
  '/v1/chat/completions?/../../load_lora_adapter',
  '/v1/chat/completions?x=/v1/models',
  '/v1/chat/completions#/../../load_lora_adapter',
  '/v1/chat/completions?%0d%0ax: y',
  'http://a/v1/chat/completions',
  'http://evil.example/v1/chat/completions',
  'https://a/v1/chat/completions',
  '/v1/chat/completions?a b',
];

const paths: readonly Vector[] = [
  ...FOREIGN_PATHS.map(
    (path): Vector => ({
      name: `no route: ${path}`,
      modes: ['open', 'closed', 'open-killed'],
      over: ['h1', 'h2'],
      send: { path },
      expect: { status: (status) => status === 0 || (status >= 300 && status < 500), engine: 'nothing' },
    }),
  ),
  ...SAME_PATHS.map(
    (path): Vector => ({
      name: `one route, another spelling: ${path}`,
      modes: ['open', 'open-killed'],
      send: { path },
      expect: { engine: atMost(1) },
    }),
  ),
  ...['/metrics', '/v1/load_lora_adapter', '/health'].map(
    (path): Vector => ({
      name: `GET ${path} of an engine`,
      modes: ['open', 'closed', 'open-killed'],
      over: ['h1', 'h2'],
      send: { method: 'GET', path },
      expect: { status: 404, engine: 'nothing' },
    }),
  ),
];

/** Nobody's id. */
const stored: readonly Vector[] = (
  [
    ['GET', '/v1/responses/resp_1'],
    ['GET', '/v1/responses/resp_1?stream=true&include[]=x'],
    ['DELETE', '/v1/responses/resp_1'],
    ['POST', '/v1/responses/resp_1/cancel'],
    ['GET', '/v1/responses/resp_1/input_items'],
    ['GET', '/v1/responses/resp_1%2fcancel'],
    ['GET', '/v1/responses/resp_..%2f..%2fhealth'],
    ['GET', '/v1/responses/%72esp_1'],
    ['GET', '/v1/%72esponses/resp_1'],
    ['GET', '/v1/responses/resp_1/../../../health'],
    ['GET', '/v1/responses/resp_1;x'],
    ['GET', '/v1/responses/resp_1%00'],
    ['GET', `/v1/responses/resp_${'a'.repeat(8_000)}`],
  ] as const
).flatMap(([method, path]): readonly Vector[] =>
  (['open', 'closed', 'open-killed'] as const).map(
    (mode): Vector => ({
      name: `a stored response in ${mode}: ${method} ${path.slice(0, 60)}`,
      modes: [mode],
      over: ['h1', 'h2'],
      send: { method, path },
      expect: {
        // A body is refused before the id is looked at.
        status: (status) => [0, 400, 404, ...(mode === 'open-killed' ? [503] : [])].includes(status),
        engine: 'nothing',
      },
    }),
  ),
);

const methods: readonly Vector[] = [
  'GET',
  'HEAD',
  'PUT',
  'DELETE',
  'PATCH',
  'OPTIONS',
  'TRACE',
  'post',
  'POSTX',
  'PROPFIND',
  'PRI',
  'QUERY',
].map((method) => ({
  name: `${method} on a route that is POST's`,
  modes: ['open', 'closed', 'open-killed'],
  over: method === 'PRI' ? ['h1'] : ['h1', 'h2'],
  send: { method },
  expect: { status: (status) => status === 0 || (status >= 400 && status < 500), engine: 'nothing' },
}));

const http2: readonly Vector[] = [
  {
    name: 'HTTP/2: a header that becomes two over HTTP/1.1',
    modes: UP,
    async send({ port, from, mode }) {
      const connection = await openH2({ port, from });
      connection.headers(1, [...h2Fields({ body: BODY }), ['x-a', `b\r\n\r\n${SMUGGLED}`]]);
      connection.data(1, BODY, FLAG.endStream);
      const answer = await connection.answer(1, patience(mode));
      connection.close();
      return answer;
    },
    expect: { engine: 'nothing' },
  },
  {
    name: 'HTTP/2: a path that becomes two lines over HTTP/1.1',
    modes: UP,
    async send({ port, from, mode }) {
      const connection = await openH2({ port, from });
      connection.headers(
        1,
        h2Fields({ path: `/v1/chat/completions HTTP/1.1\r\n\r\n${SMUGGLED}`, body: BODY }),
      );
      connection.data(1, BODY, FLAG.endStream);
      const answer = await connection.answer(1, patience(mode));
      connection.close();
      return answer;
    },
    expect: { engine: 'nothing' },
  },
  {
    name: 'HTTP/2: a body that holds another request',
    modes: UP,
    over: ['h2'],
    send: { body: SMUGGLED },
    expect: { status: 400, engine: 'nothing' },
  },
  {
    name: 'HTTP/2: a body longer than its declared length',
    modes: UP,
    async send({ port, from, mode }) {
      const connection = await openH2({ port, from });
      connection.headers(1, [...h2Fields({ body: BODY })]);
      connection.data(1, `${BODY}${SMUGGLED}`, FLAG.endStream);
      const answer = await connection.answer(1, patience(mode));
      connection.close();
      return answer;
    },
    expect: { engine: 'nothing' },
  },
];

export const REST_10_SMUGGLING: Group = {
  name: 'rest 10: smuggling and routes',
  vectors: [
    ...lengths,
    ...encodings,
    ...lines,
    ...paths,
    ...stored,
    ...methods,
    ...http2,
    {
      name: 'a chat is served once, over HTTP/1.1 and HTTP/2',
      modes: UP,
      over: ['h1', 'h2'],
      send: { body: chat() },
      expect: { status: 200, engine: 'once' },
    },
  ],
};

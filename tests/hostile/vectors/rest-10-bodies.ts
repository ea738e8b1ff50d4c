/** Row 10, bodies: what every engine reads the same way is served, and all else is refused. */
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { expect } from 'vitest';
import { zstdOfOneByte, zstdStored } from '../../support/zstd.ts';
import { CHAT, chat, type Group, jsonOf, UP, type Vector, without } from '../support/vectors.ts';

const BODY = JSON.stringify(CHAT);
const refused = (status: number): boolean => status >= 400 && status < 500;
const member = (text: string): string =>
  `{"model":"demo","max_tokens":5,"messages":[{"role":"user","content":"hello"}],${text}}`;
const said = (text: string): string =>
  `{"model":"demo","max_tokens":5,"messages":[{"role":"user","content":"${text}"}]}`;

const refusal = (name: string, body: string | Buffer, modes: Vector['modes'] = ['open']): Vector => ({
  name,
  modes,
  over: modes === UP ? ['h1', 'h2'] : ['h1'],
  send: { body },
  expect: { status: refused, engine: 'nothing' },
});

const NOT_JSON: readonly (readonly [string, string | Buffer])[] = [
  ['an empty body', ''],
  ['white space', ' \n '],
  ['an array', `[${BODY}]`],
  ['a string', '"x"'],
  ['a number', '1'],
  ['null', 'null'],
  ['two values', `${BODY}${BODY}`],
  ['garbage after it', `${BODY} x`],
  ['a comment', `/* */${BODY}`],
  ['a comment inside', member('"a":1 // x\n')],
  ['a comma at the end', member('"a":1,')],
  ['single quotes', BODY.replaceAll('"', "'")],
  ['names without quotes', '{model:"demo",messages:[{"role":"user","content":"x"}]}'],
  ['a byte order mark', Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(BODY)])],
  ['UTF-16', Buffer.from(BODY, 'utf16le')],
  ['UTF-16 with its mark', Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(BODY, 'utf16le')])],
  ['UTF-32', Buffer.from(BODY.split('').flatMap((letter) => [letter.charCodeAt(0), 0, 0, 0]))],
  [
    'bytes that are no UTF-8',
    Buffer.concat([Buffer.from(BODY.slice(0, -20)), Buffer.from([0xc3, 0x28]), Buffer.from(BODY.slice(-20))]),
  ],
  [
    'an overlong byte',
    Buffer.concat([
      Buffer.from('{"model":"demo","messages":[{"role":"user","content":"'),
      Buffer.from([0xc0, 0xaf]),
      Buffer.from('"}]}'),
    ]),
  ],
  [
    'a surrogate in UTF-8',
    Buffer.concat([
      Buffer.from('{"model":"demo","messages":[{"role":"user","content":"'),
      Buffer.from([0xed, 0xa0, 0x80]),
      Buffer.from('"}]}'),
    ]),
  ],
  ['NUL after it', `${BODY}\0`],
  ['NaN', member('"temperature":NaN')],
  ['Infinity', member('"temperature":Infinity')],
  ['-Infinity', member('"temperature":-Infinity')],
  ['1e999 outputs', member('"n":1e999')],
  ['-1e999 tokens', member('"max_completion_tokens":-1e999')],
  ['a plus sign', member('"seed":+1')],
  ['a leading zero', member('"seed":01')],
  ['a point without digits', member('"seed":1.')],
  ['a hexadecimal number', member('"seed":0x10')],
  ['an underscore in a number', member('"seed":1_000')],
  ['a line feed in a string', said('a\nb')],
  ['a tab in a string', said('a\tb')],
  ['NUL in a string', said('a\0b')],
  ['an escape that is none', said('\\x41')],
  ['an escape that is short', said('\\u12')],
  ['nesting of 10,000', member(`"x":${'['.repeat(10_000)}${']'.repeat(10_000)}`)],
  ['nesting of 200', member(`"x":${'['.repeat(200)}${']'.repeat(200)}`)],
  ['__proto__', member('"__proto__":{"priority":1}')],
  ['__proto__, escaped', member('"__pr\\u006fto__":{"priority":1}')],
  ['__proto__ inside', member('"x":{"__proto__":[]}')],
  ['a name twice', member('"model":"secret"')],
  ['a name twice, one escaped', member('"mod\\u0065l":"secret"')],
  ['a name twice inside', member('"x":{"a":1,"a":2}')],
  ['max_tokens twice', member('"max_tokens":100000')],
  ['messages twice', member('"messages":[{"role":"user","content":"other"}]')],
  ['an empty name twice', member('"":1,"":2')],
];

/** Half of a pair: pydantic, orjson and nlohmann refuse it. */
const SURROGATES: readonly (readonly [string, string])[] = [
  ['a high surrogate alone', said('\\ud800')],
  ['a low surrogate alone', said('\\udc00')],
  ['a pair the wrong way round', said('\\udc00\\ud800')],
  ['a high surrogate before a letter', said('\\ud83dx')],
  ['a high surrogate before another', said('\\ud83d\\ud83d\\ude00')],
  ['a surrogate in capitals', said('\\uD800')],
  ['a surrogate in a name', member('"\\ud800":1')],
  ['a surrogate in a name inside', member('"x":{"a\\udfff":1}')],
  ['a surrogate in a long text', said(`${'a'.repeat(20_000)}\\ud800${'b'.repeat(20_000)}`)],
  [
    'a surrogate in a tool',
    member('"tools":[{"type":"function","function":{"name":"f","description":"\\ud800"}}]'),
  ],
  ['a surrogate in an unknown field', member('"x":"\\ud800"')],
];

/** A Go engine reads each as the field, Python’s as none. */
const CASES: readonly (readonly [string, string])[] = [
  ['MODEL', '"secret"'],
  ['Model', '"secret"'],
  ['Messages', '[{"role":"user","content":"other"}]'],
  ['MAX_TOKENS', '100000'],
  ['Max_Tokens', '100000'],
  ['Max_Completion_Tokens', '100000'],
  ['N', '100'],
  ['Stream', 'true'],
  ['Best_Of', '100'],
  ['Prompt', '"other"'],
  ['\u017ftream', 'true'],
  ['max_to\u212aens', '100000'],
];

const TYPES: readonly (readonly [string, string, boolean])[] = [
  ['text/plain', 'text/plain', false],
  ['text/plain that says UTF-8', 'text/plain; charset=utf-8', false],
  ['text/json', 'text/json', false],
  ['application/json; charset=utf-7', 'application/json; charset=utf-7', false],
  ['application/json; charset=utf-16', 'application/json; charset=utf-16', false],
  ['application/json; charset="utf-16le"', 'application/json; charset="utf-16le"', false],
  ['application/json; charset=iso-8859-1', 'application/json; charset=iso-8859-1', false],
  ['application/x-www-form-urlencoded', 'application/x-www-form-urlencoded', false],
  ['multipart/form-data', 'multipart/form-data; boundary=x', false],
  ['application/xml', 'application/xml', false],
  ['application/octet-stream', 'application/octet-stream', false],
  ['application/jsonp', 'application/jsonp', false],
  ['application/json-seq', 'application/json-seq', false],
  ['application/x-ndjson', 'application/x-ndjson', false],
  ['two in one', 'application/json, text/plain', false],
  ['application/json', 'application/json', true],
  ['Application/JSON', 'Application/JSON', true],
  ['application/json; charset=utf-8', 'application/json; charset=utf-8', true],
  ['application/json;charset=UTF-8', 'application/json;charset=UTF-8', true],
];

const ZEROS_OF_GZIP = gzipSync(Buffer.alloc(7_900_000, ' '));

const ENCODED: readonly (readonly [string, string, Buffer, number])[] = [
  ['a plain one', 'gzip', gzipSync(BODY), 200],
  ['a plain one', 'br', brotliCompressSync(BODY), 200],
  ['a plain one', 'zstd', zstdStored(Buffer.from(BODY)), 200],
  ['a plain one', 'deflate', deflateSync(BODY), 200],
  ['two bodies, one behind the other', 'deflate', Buffer.concat([deflateSync(BODY), deflateSync(BODY)]), 400],
  ['two bodies, one behind the other', 'gzip', gzipSync(`${BODY}${BODY}`), 400],
  ['a plain body behind it', 'br', Buffer.concat([brotliCompressSync(BODY), Buffer.from(BODY)]), 400],
  ['cut off', 'gzip', gzipSync(BODY).subarray(0, -1), 400],
  ['cut off', 'br', brotliCompressSync(BODY).subarray(0, -1), 400],
  ['cut off', 'zstd', zstdStored(Buffer.from(BODY)).subarray(0, -1), 400],
  ['of nothing', 'gzip', gzipSync(''), 400],
  ['of another coding', 'br', gzipSync(BODY), 400],
  ['8 MB of blanks', 'gzip', ZEROS_OF_GZIP, 413],
  ['8 MB of blanks', 'br', brotliCompressSync(Buffer.alloc(7_900_000, ' ')), 413],
  ['a window of 2 GB', 'zstd', Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8, 0x09, 0, 0, 0x7b]), 400],
  [
    'a size of 2 ** 63',
    'zstd',
    Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0]),
    413,
  ],
  ['4 GB', 'zstd', zstdOfOneByte(0x20, 4_000_000_000), 413],
  [
    'blocks of nothing',
    'zstd',
    Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x50]), Buffer.alloc(900_000)]),
    400,
  ],
];

const types: readonly Vector[] = [
  ...TYPES.map(
    ([name, value, isServed]): Vector => ({
      name: `content-type ${name}`,
      modes: ['open', 'closed'],
      send: { headers: [['content-type', value]] },
      expect: isServed ? { status: 200, engine: 'once' } : { status: refused, engine: 'nothing' },
    }),
  ),
  {
    name: 'content-type twice, and different',
    modes: UP,
    send: {
      headers: [
        ['content-type', 'application/json'],
        ['content-type', 'text/plain'],
      ],
    },
    expect: { status: refused, engine: 'nothing' },
  },
  {
    name: 'content-type twice over HTTP/2, and different',
    over: ['h2'],
    send: {
      headers: [
        ['content-type', 'text/plain'],
        ['content-type', 'application/json'],
      ],
    },
    expect: { status: refused, engine: 'nothing' },
  },
  ...['gzip', 'br', 'deflate', 'zstd', 'compress', 'identity, gzip', 'x-unknown'].map(
    (coding): Vector => ({
      name: `content-encoding ${coding} of what is not read as such`,
      send: {
        headers: [['content-encoding', coding]],
        body: Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]),
      },
      expect: { status: refused, engine: 'nothing' },
    }),
  ),
  {
    name: 'content-encoding gzip over plain JSON',
    modes: UP,
    send: { headers: [['content-encoding', 'gzip']] },
    // Served without the lie, or refused: an engine must not be told to unpack what was read as it came.
    expect: {
      engine(seen) {
        for (const one of seen) {
          expect(one.headers.filter(([name]) => name.toLowerCase() === 'content-encoding')).toEqual([]);
        }
      },
    },
  },
  ...ENCODED.map(
    ([name, coding, body, status]): Vector => ({
      name: `content-encoding ${coding}: ${name}`,
      over: ['h1', 'h2'],
      send: { headers: [['content-encoding', coding]], body },
      expect: { status, engine: status === 200 ? 'once' : 'nothing', within: 5_000 },
    }),
  ),
  {
    name: 'content-encoding twice',
    modes: UP,
    send: {
      headers: [
        ['content-encoding', 'gzip'],
        ['content-encoding', 'gzip'],
      ],
      body: gzipSync(gzipSync(BODY)),
    },
    expect: { status: 415, engine: 'nothing' },
  },
  {
    name: 'content-encoding by another name',
    modes: UP,
    send: { headers: [['content_encoding', 'gzip']], body: gzipSync(BODY) },
    expect: { status: refused, engine: 'nothing' },
  },
  {
    name: 'a forbidden field in an encoded body',
    modes: UP,
    send: { headers: [['content-encoding', 'gzip']], body: gzipSync(member('"priority":-100')) },
    expect: { status: 200, engine: without('priority') },
  },
  {
    name: 'forty bombs at once, and another tenant',
    send: async ({ send }) => {
      const bombs = Array.from({ length: 40 }, () =>
        send({ headers: [['content-encoding', 'gzip']], body: ZEROS_OF_GZIP }),
      );
      const victim = await send({ as: 'victim' });
      return [victim, ...(await Promise.all(bombs))];
    },
    expect: {
      status: 200,
      answer: (_, all) => {
        for (const { status } of all.slice(1)) expect([413, 429]).toContain(status);
      },
      within: 10_000,
    },
  },
];

const limits: readonly Vector[] = [
  {
    name: 'more than the limit, declared',
    send: {
      raw: `POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nuser-agent: %FROM%\r\nauthorization: Bearer key-of-the-attacker\r\ncontent-type: application/json\r\ncontent-length: 9000000000\r\n\r\n{`,
    },
    expect: { status: [400, 413], engine: 'nothing' },
  },
  {
    name: 'a thousand outputs',
    send: { body: chat({ n: 1_000 }) },
    expect: { status: refused, engine: 'nothing' },
  },
  {
    name: 'outputs by another name: n as text',
    send: { body: chat({ n: '16' }) },
    expect: { status: refused, engine: 'nothing' },
  },
  {
    name: 'a model with a control character',
    send: { body: chat({ model: 'de\u0000mo' }) },
    expect: { status: refused, engine: 'nothing' },
  },
  {
    name: 'a model that exists elsewhere',
    modes: UP,
    over: ['h1', 'h2'],
    send: { body: chat({ model: 'secret' }) },
    expect: { status: 404, engine: 'nothing' },
  },
];

/** Of no field that is read here: what a double cannot hold is the engine's matter, as it was said. */
const UNREAD: readonly string[] = [
  '"temperature":1e999',
  '"x":[-1e999]',
  '"seed":9223372036854775807',
  '"x":-0',
  '"x":0.1000000000000000055511151231257827',
];

const kept: readonly Vector[] = [
  ...UNREAD.map(
    (text): Vector => ({
      name: `${text} arrives as it was said`,
      send: { body: member(text) },
      expect: {
        status: 200,
        engine: (seen) => expect(seen.map(({ body }) => body.toString())).toEqual([member(text)]),
      },
    }),
  ),
  {
    name: 'what is understood arrives as it was said',
    send: {
      body: chat({
        messages: [{ role: 'user', content: 'ä€😀 \u2028 \u0000 \ud83d\ude00' }],
        seed: 9_007_199_254_740_991,
        temperature: 0.1,
      }),
    },
    expect: {
      status: 200,
      engine: (seen) =>
        expect(jsonOf(seen[0])).toMatchObject({
          messages: [{ content: 'ä€😀 \u2028 \u0000 \ud83d\ude00' }],
          seed: 9_007_199_254_740_991,
          temperature: 0.1,
        }),
    },
  },
  ...['constructor', 'toString', 'hasOwnProperty', 'prototype', '__defineGetter__'].map(
    (name): Vector => ({
      name: `a member named ${name} is a member`,
      send: { body: member(`"${name}":"x"`) },
      expect: { status: 200, engine: (seen) => expect(Object.keys(jsonOf(seen[0]))).toContain(name) },
    }),
  ),
];

export const REST_10_BODIES: Group = {
  name: 'rest 10: bodies',
  vectors: [
    ...NOT_JSON.map(([name, body], i) => refusal(name, body, i < 3 ? UP : ['open'])),
    ...SURROGATES.map(([name, body]) => refusal(name, body)),
    ...CASES.map(
      ([name, value]): Vector => ({
        name: `a member ${JSON.stringify(name)}`,
        send: { body: member(`"${name}":${value}`) },
        expect: { status: (status) => status === 200 || refused(status), engine: without(`"${name}"`) },
      }),
    ),
    ...types,
    ...limits,
    ...kept,
  ],
};

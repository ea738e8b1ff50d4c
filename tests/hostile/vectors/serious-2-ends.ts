/** Serious 2: however a request ends, it passes the same gate. */
import { expect } from 'vitest';
import { openH1 } from '../support/h1.ts';
import { type Field, FLAG, FRAME, type H2Connection, hpack, openH2 } from '../support/h2.ts';
import {
  type Act,
  CHAT,
  chat,
  EVERY,
  type Group,
  h1Bytes,
  h2Fields,
  jsonOf,
  type Mode,
  UP,
  type Vector,
} from '../support/vectors.ts';
import { KEY } from '../support/world.ts';

const BODY = JSON.stringify(CHAT);
const END = FLAG.endHeaders | FLAG.endStream;
const TRAILER: readonly Field[] = [['x-last', 'word']];
/** Without a declared length. */
const open = (fields: readonly Field[] = h2Fields({ body: BODY })): readonly Field[] =>
  fields.filter(([name]) => name !== 'content-length');

const over2 =
  (script: (connection: H2Connection) => void | Promise<void>, withinMs = 7_000): Act =>
  async ({ port, from }) => {
    const connection = await openH2({ port, from });
    await script(connection);
    const answer = await connection.answer(1, withinMs);
    connection.close();
    return answer;
  };

const CLOSED_AWAY: readonly Mode[] = ['closed-stopped', 'closed-killed'];
const refused = (status: number): boolean => status >= 400 && status < 500;
/** There is no body: the service says so, and no engine hears of it. While it is away, failing closed, none does either. */
const empty = (
  name: string,
  script: (connection: H2Connection) => void | Promise<void>,
): readonly Vector[] => [
  { name: `HTTP/2: ${name}`, modes: UP, send: over2(script), expect: { status: refused, engine: 'nothing' } },
  {
    name: `HTTP/2, nobody there: ${name}`,
    modes: CLOSED_AWAY,
    send: over2(script),
    expect: { status: (status) => status === 0 || status >= 400, engine: 'nothing' },
  },
];

/** The request never ends, so nobody may have begun to serve it. */
const unfinished = (name: string, script: (connection: H2Connection) => void | Promise<void>): Vector => ({
  name: `HTTP/2: ${name}`,
  modes: ['open', 'closed', 'open-killed', 'closed-killed'],
  send: over2(script, 400),
  expect: { engine: 'nothing' },
});

/**
 * All bytes that were declared, and no end. Failing open without the service nobody gathers the body: Envoy sends it on as it
 * comes, and an HTTP/1.1 engine takes a request for ended at its declared length. Whether the reset is there before is chance.
 * To gather it then would let everybody fill Envoy, since nobody counts. So it may be what the client could have sent with an
 * end: that one request, once, as it was.
 */
const wholeButUnfinished = (
  name: string,
  script: (connection: H2Connection) => void | Promise<void>,
): readonly Vector[] => {
  const never = unfinished(name, script);
  return [
    { ...never, modes: ['open', 'closed', 'open-stopped', 'closed-stopped', 'closed-killed'] },
    {
      ...never,
      modes: ['open-killed'],
      expect: {
        engine(seen) {
          expect(seen.length).toBeLessThanOrEqual(1);
          for (const one of seen) {
            expect(one.engine).toBe('main');
            expect([one.method, one.url]).toEqual(['POST', '/v1/chat/completions']);
            expect(BODY.startsWith(one.body.toString())).toBe(true);
            expect(one.whole).toBe(one.body.length === BODY.length);
          }
        },
      },
    },
  ];
};

const whole = (name: string, script: (connection: H2Connection) => void | Promise<void>): Vector => ({
  name: `HTTP/2: ${name}`,
  modes: UP,
  send: over2(script),
  expect: {
    status: 200,
    engine(seen) {
      expect(seen).toHaveLength(1);
      expect(jsonOf(seen[0])).toMatchObject({ model: 'demo', messages: CHAT.messages });
    },
  },
});

const http2: readonly Vector[] = [
  ...empty('END_STREAM on the headers', (connection) => connection.headers(1, open(), END)),
  ...empty('trailers without DATA', (connection) => {
    connection.headers(1, open());
    connection.headers(1, TRAILER, END);
  }),
  ...empty('empty trailers without DATA', (connection) => {
    connection.headers(1, open());
    connection.headers(1, [], END);
  }),
  ...empty('trailers in two frames without DATA', (connection) => {
    connection.headers(1, open());
    connection.frame(FRAME.headers, FLAG.endStream, 1, hpack(TRAILER));
    connection.frame(FRAME.continuation, FLAG.endHeaders, 1, hpack([['y', 'z']]));
  }),
  ...empty('trailers long after the headers, without DATA', async (connection) => {
    connection.headers(1, open());
    await new Promise((resolve) => setTimeout(resolve, 100));
    connection.headers(1, TRAILER, END);
  }),
  ...empty('empty DATA with END_STREAM', (connection) => {
    connection.headers(1, open());
    connection.data(1, '', FLAG.endStream);
  }),
  ...empty('empty DATA, then trailers', (connection) => {
    connection.headers(1, open());
    connection.data(1, '');
    connection.headers(1, TRAILER, END);
  }),
  ...empty('DATA that is all padding, then trailers', (connection) => {
    connection.headers(1, open());
    connection.frame(FRAME.data, FLAG.padded, 1, Buffer.from([3, 0, 0, 0]));
    connection.headers(1, TRAILER, END);
  }),
  ...empty('content-length: 0 and trailers', (connection) => {
    connection.headers(1, [...open(), ['content-length', '0']]);
    connection.headers(1, TRAILER, END);
  }),
  unfinished('a declared length and trailers instead', (connection) => {
    connection.headers(1, h2Fields({ body: BODY }));
    connection.headers(1, TRAILER, END);
  }),
  unfinished('a request of the headers alone that says END_STREAM and a length', (connection) =>
    connection.headers(1, h2Fields({ body: BODY }), END),
  ),
  ...empty('headers with a CONTINUATION, then trailers', (connection) => {
    const block = hpack(open());
    connection.frame(FRAME.headers, 0, 1, block.subarray(0, 20));
    connection.frame(FRAME.continuation, FLAG.endHeaders, 1, block.subarray(20));
    connection.headers(1, TRAILER, END);
  }),
  unfinished('a reset after the headers', (connection) => {
    connection.headers(1, open());
    connection.reset(1);
  }),
  unfinished('a reset after half of the body', (connection) => {
    connection.headers(1, h2Fields({ body: BODY }));
    connection.data(1, BODY.slice(0, 20));
    connection.reset(1);
  }),
  ...wholeButUnfinished('a reset before END_STREAM, the body being whole', (connection) => {
    connection.headers(1, h2Fields({ body: BODY }));
    connection.data(1, BODY);
    connection.reset(1);
  }),
  ...wholeButUnfinished('the connection is closed before END_STREAM, the body being whole', (connection) => {
    connection.headers(1, h2Fields({ body: BODY }));
    connection.data(1, BODY);
    connection.socket.end();
  }),
  unfinished('the connection is closed after half of the body', (connection) => {
    connection.headers(1, h2Fields({ body: BODY }));
    connection.data(1, BODY.slice(0, 20));
    connection.socket.end();
  }),
  unfinished('less DATA than was declared', (connection) => {
    connection.headers(1, h2Fields({ body: BODY }));
    connection.data(1, BODY.slice(0, 20), FLAG.endStream);
  }),
  unfinished('more DATA than was declared', (connection) => {
    connection.headers(1, h2Fields({ body: BODY }));
    connection.data(1, `${BODY}${BODY}`, FLAG.endStream);
  }),
  unfinished('two headers blocks without END_STREAM', (connection) => {
    connection.headers(1, open());
    connection.headers(1, TRAILER);
    connection.data(1, BODY, FLAG.endStream);
  }),
  unfinished('pseudo-headers in the trailers', (connection) => {
    connection.headers(1, open());
    connection.data(1, BODY);
    connection.headers(1, [[':path', '/v1/models']], END);
  }),
  unfinished('headers that never end', (connection) => {
    connection.frame(FRAME.headers, FLAG.endStream, 1, hpack(open()));
  }),
  whole('DATA, then trailers', (connection) => {
    connection.headers(1, open());
    connection.data(1, BODY);
    connection.headers(1, TRAILER, END);
  }),
  whole('DATA, empty DATA, then trailers', (connection) => {
    connection.headers(1, open());
    connection.data(1, BODY);
    connection.data(1, '');
    connection.headers(1, TRAILER, END);
  }),
  whole('DATA, then empty DATA with END_STREAM', (connection) => {
    connection.headers(1, open());
    connection.data(1, BODY);
    connection.data(1, '', FLAG.endStream);
  }),
  whole('a byte a frame', (connection) => {
    connection.headers(1, open());
    for (const letter of BODY) connection.data(1, letter);
    connection.data(1, '', FLAG.endStream);
  }),
  whole('padded DATA', (connection) => {
    connection.headers(1, open());
    connection.frame(
      FRAME.data,
      FLAG.padded | FLAG.endStream,
      1,
      Buffer.concat([Buffer.from([4]), Buffer.from(BODY), Buffer.alloc(4)]),
    );
  }),
];

/** What the gate is: models, fields and limits hold although the request ends with trailers. */
const gate: readonly Vector[] = [
  {
    name: 'HTTP/2: a forbidden model with trailers',
    modes: UP,
    send: over2((connection) => {
      connection.headers(1, open());
      connection.data(1, JSON.stringify(chat({ model: 'secret' })));
      connection.headers(1, TRAILER, END);
    }),
    expect: { status: 404, engine: 'nothing' },
  },
  {
    name: 'HTTP/2: a forbidden field with trailers',
    modes: UP,
    send: over2((connection) => {
      connection.headers(1, open());
      connection.data(1, JSON.stringify(chat({ priority: 1 })));
      connection.headers(1, TRAILER, END);
    }),
    expect: {
      engine: (seen) => expect(seen.filter((one) => jsonOf(one)?.priority !== undefined)).toEqual([]),
    },
  },
  {
    name: 'HTTP/2: a list of models asked for with trailers is answered by the service',
    modes: UP,
    send: over2((connection) => {
      connection.headers(1, h2Fields({ method: 'GET', path: '/v1/models' }));
      connection.headers(1, TRAILER, END);
    }),
    expect: { status: 200, engine: 'nothing' },
  },
  {
    name: 'HTTP/2: a list of models asked for with a body is answered by the service',
    modes: UP,
    send: over2((connection) => {
      connection.headers(1, h2Fields({ method: 'GET', path: '/v1/models' }));
      connection.data(1, BODY, FLAG.endStream);
    }),
    expect: { status: 200, engine: 'nothing' },
  },
  ...['/v1/completions', '/v1/embeddings', '/v1/responses', '/v1/messages'].map(
    (path): Vector => ({
      name: `HTTP/2: trailers without DATA on ${path}`,
      modes: UP,
      send: over2((connection) => {
        connection.headers(1, open(h2Fields({ path })));
        connection.headers(1, TRAILER, END);
      }),
      expect: { status: refused, engine: 'nothing' },
    }),
  ),
  {
    name: 'HTTP/2: forty of them at once on one connection',
    modes: UP,
    async send({ port, from }) {
      const connection = await openH2({ port, from });
      const ids = Array.from({ length: 40 }, (_, i) => 2 * i + 1);
      for (const id of ids) {
        connection.headers(id, open());
        connection.headers(id, TRAILER, END);
      }
      const answers = await Promise.all(ids.map((id) => connection.answer(id, 7_000)));
      connection.close();
      return answers;
    },
    expect: {
      engine: 'nothing',
      answer: (_, all) => expect(all.filter(({ status }) => !refused(status))).toEqual([]),
    },
  },
];

const head = (...lines: readonly string[]): string =>
  [
    `POST /v1/chat/completions HTTP/1.1`,
    'host: a',
    'user-agent: %FROM%',
    `authorization: Bearer ${KEY.attacker}`,
    'content-type: application/json',
    ...lines,
    '',
    '',
  ].join('\r\n');

const http1: readonly Vector[] = [
  ...(
    [
      ['neither length nor chunks', head()],
      ['content-length: 0', head('content-length: 0')],
      ['no chunk but the last', `${head('transfer-encoding: chunked')}0\r\n\r\n`],
      ['no chunk, and trailers', `${head('transfer-encoding: chunked')}0\r\nx-last: word\r\n\r\n`],
      [
        'no chunk, and trailers announced',
        `${head('transfer-encoding: chunked', 'trailer: x-last')}0\r\nx-last: word\r\n\r\n`,
      ],
      [
        'no chunk, an extension, and trailers',
        `${head('transfer-encoding: chunked')}0;a=b\r\nx-last: word\r\n\r\n`,
      ],
    ] as const
  ).map(
    ([name, raw]): Vector => ({
      name: `HTTP/1.1: ${name}`,
      modes: [...UP, ...CLOSED_AWAY],
      send: { raw },
      expect: { status: (status) => status === 0 || status >= 400, engine: 'nothing' },
    }),
  ),
  ...(
    [
      [
        'a length, and half of it',
        [`${head(`content-length: ${BODY.length}`)}${BODY.slice(0, 20)}`, 100, 'half-close'],
      ],
      [
        'a length, half of it, and a reset',
        [`${head(`content-length: ${BODY.length}`)}${BODY.slice(0, 20)}`, 100, 'reset'],
      ],
      [
        'half of a chunk',
        [
          `${head('transfer-encoding: chunked')}${BODY.length.toString(16)}\r\n${BODY.slice(0, 20)}`,
          100,
          'half-close',
        ],
      ],
      [
        'a chunk, and no last one',
        [
          `${head('transfer-encoding: chunked')}${BODY.length.toString(16)}\r\n${BODY}\r\n`,
          100,
          'half-close',
        ],
      ],
      [
        'a chunk, and a last one that does not end',
        [
          `${head('transfer-encoding: chunked')}${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n`,
          100,
          'half-close',
        ],
      ],
      ['headers that do not end', [head().slice(0, -2), 100, 'half-close']],
    ] as const
  ).map(
    ([name, raw]): Vector => ({
      name: `HTTP/1.1: ${name}`,
      modes: ['open', 'closed', 'open-killed', 'closed-killed'],
      send: { raw },
      expect: { engine: 'nothing' },
    }),
  ),
  ...(
    [
      ['a length, then half-closed', [h1Bytes({}), 'half-close']],
      [
        'chunks, with trailers',
        [
          `${head('transfer-encoding: chunked')}${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\nx-last: word\r\n\r\n`,
        ],
      ],
      [
        'a byte a chunk',
        [
          `${head('transfer-encoding: chunked')}${BODY.split('')
            .map((letter) => `1\r\n${letter}\r\n`)
            .join('')}0\r\n\r\n`,
        ],
      ],
    ] as const
  ).map(
    ([name, raw]): Vector => ({
      name: `HTTP/1.1: ${name}`,
      modes: ['closed'],
      send: async ({ port, from }) => {
        const connection = await openH1({ port, from });
        for (const piece of raw) {
          if (piece === 'half-close') connection.socket.end();
          else await connection.write(piece);
        }
        const answers = await connection.until(1, 3_000);
        connection.close();
        return answers;
      },
      expect: {
        // A client that half-closes may be served or left: both are HTTP. What is forwarded is forwarded whole.
        status: [200, 0],
        engine(seen) {
          expect(seen.length).toBeLessThanOrEqual(1);
          for (const one of seen) expect(jsonOf(one)).toMatchObject({ model: 'demo' });
        },
      },
    }),
  ),
  {
    name: 'HTTP/1.1: Expect: 100-continue, and no body',
    modes: EVERY,
    send: { raw: [head(`content-length: ${BODY.length}`, 'expect: 100-continue'), 200, 'half-close'] },
    expect: { engine: 'nothing' },
  },
  {
    name: 'HTTP/1.1: a list of models asked for with a body is answered by the service',
    modes: UP,
    send: {
      raw: `GET /v1/models HTTP/1.1\r\nhost: a\r\nuser-agent: %FROM%\r\nauthorization: Bearer ${KEY.attacker}\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`,
    },
    expect: { status: 200, engine: 'nothing' },
  },
];

export const SERIOUS_2: Group = {
  name: 'serious 2: ends of a request',
  vectors: [...http2, ...gate, ...http1],
};

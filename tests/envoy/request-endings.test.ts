/**
 * Every way in which a request may end, or be cut, over HTTP/1.1 and HTTP/2: which of them reach an engine, and with what body. While the
 * service is up none does that was not admitted.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chatBody } from '../support/client.ts';
import {
  type EdgeWorld,
  type FailureMode,
  type ServiceState,
  startEdgeWorld,
} from '../support/edge-world.ts';
import { type Http2Part, sendHttp1, sendHttp2 } from '../support/raw-http.ts';
import { KEYS } from '../support/stack.ts';

const PATH = '/v1/chat/completions';
const BODY = chatBody();

/**
 * What becomes of it: `served`: admitted by its body. `empty`: refused for want of one; an engine sees it only where nobody is there to
 * refuse. `refused`: by Envoy, whatever the service does. `cut`: it never ended, and reaches nobody. A client that closes its side when it
 * has said all may be taken for gone: then it is `served?` or `empty?`, by what is first.
 */
type Fate = 'served' | 'served?' | 'empty' | 'empty?' | 'refused' | 'cut';

interface Ending {
  readonly name: string;
  readonly fate: Fate;
  /** @returns the answer's text. */
  readonly send: (port: number, marker: string) => Promise<string>;
}

const line = (method: string, path: string, version = '1.1') => `${method} ${path} HTTP/${version}\r\n`;
const HEAD = `host: x\r\nauthorization: Bearer ${KEYS.quiet}\r\ncontent-type: application/json\r\n`;
const LENGTH = `content-length: ${BODY.length}\r\n`;
const CHUNKED = 'transfer-encoding: chunked\r\n';
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;

const overHttp1 = (
  name: string,
  fate: Fate,
  writes: readonly string[],
  { atEnd, first = line('POST', PATH) }: { atEnd?: 'half-close' | 'reset'; first?: string } = {},
): Ending => ({
  name: `HTTP/1.1: ${name}`,
  fate,
  send: async (port, marker) => {
    const [head = '', ...rest] = writes;
    const whole = [`${first}${HEAD}user-agent: ${marker}\r\n${head}`, ...rest];
    return (await sendHttp1(port, whole, atEnd)).text;
  },
});

const overHttp2 = (
  name: string,
  fate: Fate,
  extra: readonly (readonly [string, string])[],
  parts: readonly Http2Part[],
  { end, method = 'POST', path = PATH }: { end?: true; method?: string; path?: string } = {},
): Ending => ({
  name: `HTTP/2: ${name}`,
  fate,
  send: async (port, marker) => {
    const headers: readonly (readonly [string, string])[] = [
      [':method', method],
      [':path', path],
      [':scheme', 'http'],
      [':authority', 'x'],
      ['authorization', `Bearer ${KEYS.quiet}`],
      ['content-type', 'application/json'],
      ['user-agent', marker],
      ...extra,
    ];
    const head: Http2Part = { kind: 'headers', headers, ...(end === true && { end }) };
    return (await sendHttp2(port, [head, ...parts])).text;
  },
});

const trailers: Http2Part = { kind: 'headers', headers: [['x-checksum', '1']], end: true };
const data = (text: string, end?: true): Http2Part => ({ kind: 'data', text, ...(end === true && { end }) });
const cut = Math.floor(BODY.length / 2);

const ENDINGS: readonly Ending[] = [
  overHttp1('content-length', 'served', [`${LENGTH}\r\n${BODY}`]),
  overHttp1('content-length, in parts', 'served', [`${LENGTH}\r\n`, BODY.slice(0, cut), BODY.slice(cut)]),
  overHttp1('chunks', 'served', [
    `${CHUNKED}\r\n${chunk(BODY.slice(0, cut))}${chunk(BODY.slice(cut))}0\r\n\r\n`,
  ]),
  overHttp1('chunks and trailers', 'served', [`${CHUNKED}\r\n${chunk(BODY)}0\r\nx-checksum: 1\r\n\r\n`]),
  overHttp1('content-length, then half-closed', 'served?', [`${LENGTH}\r\n${BODY}`], { atEnd: 'half-close' }),
  overHttp1('Expect: 100-continue', 'served', [`${LENGTH}expect: 100-continue\r\n\r\n`, BODY]),
  overHttp1('Upgrade: h2c beside a body', 'served', [
    `${LENGTH}connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n${BODY}`,
  ]),
  overHttp1('HTTP/1.0', 'served', [`${LENGTH}\r\n${BODY}`], { first: line('POST', PATH, '1.0') }),
  overHttp1('no body header', 'empty', ['\r\n']),
  overHttp1('content-length: 0', 'empty', ['content-length: 0\r\n\r\n']),
  overHttp1('the last chunk alone', 'empty', [`${CHUNKED}\r\n0\r\n\r\n`]),
  overHttp1('the last chunk alone, later', 'empty', [`${CHUNKED}\r\n`, '0\r\n\r\n']),
  overHttp1('the last chunk and trailers', 'empty', [`${CHUNKED}\r\n0\r\nx-checksum: 1\r\n\r\n`]),
  overHttp1('no body header, half-closed', 'empty?', ['\r\n'], { atEnd: 'half-close' }),
  overHttp1('no end, half-closed', 'cut', [`${CHUNKED}\r\n`], { atEnd: 'half-close' }),
  overHttp1('half of the length, half-closed', 'cut', [`${LENGTH}\r\n${BODY.slice(0, cut)}`], {
    atEnd: 'half-close',
  }),
  overHttp1('a chunk and no last one, half-closed', 'cut', [`${CHUNKED}\r\n${chunk(BODY)}`], {
    atEnd: 'half-close',
  }),
  overHttp1('reset before a body', 'cut', [`${LENGTH}\r\n`], { atEnd: 'reset' }),
  overHttp1('reset within the body', 'cut', [`${CHUNKED}\r\n`, chunk(BODY)], { atEnd: 'reset' }),
  overHttp1('both lengths', 'refused', [`${CHUNKED}${LENGTH}\r\n${chunk(BODY)}0\r\n\r\n`]),
  overHttp1('two lengths', 'refused', [`${LENGTH}content-length: 5\r\n\r\n${BODY}`]),
  overHttp1('a negative length', 'refused', ['content-length: -1\r\n\r\n']),
  overHttp1('an unknown coding', 'refused', [
    `transfer-encoding: chunked, identity\r\n\r\n${chunk(BODY)}0\r\n\r\n`,
  ]),
  overHttp1('a malformed chunk', 'cut', [`${CHUNKED}\r\nzz\r\n${BODY}\r\n0\r\n\r\n`]),
  overHttp1('Upgrade: websocket', 'refused', ['connection: upgrade\r\nupgrade: websocket\r\n\r\n']),
  overHttp1('CONNECT', 'refused', ['\r\n'], { first: line('CONNECT', 'x:80') }),
  overHttp1('GET with a body', 'refused', [`${LENGTH}\r\n${BODY}`], { first: line('GET', PATH) }),
  overHttp1('PUT', 'refused', [`${LENGTH}\r\n${BODY}`], { first: line('PUT', PATH) }),
  overHttp1('a method in lower case', 'refused', [`${LENGTH}\r\n${BODY}`], { first: line('post', PATH) }),
  ...[
    `${PATH}/`,
    `${PATH};a=b`,
    `${PATH}%00`,
    `${PATH}%2e%2e`,
    `${PATH}/%2e%2e/%2e%2e/x`,
    '/V1/chat/completions',
    '/v1/chat%2fcompletions',
    '/v1\\chat\\completions/..',
    '*',
  ].map((path) =>
    overHttp1(`the path ${path}`, 'refused', [`${LENGTH}\r\n${BODY}`], { first: line('POST', path) }),
  ),
  ...[
    `${PATH}?a=b`,
    `/${PATH}`,
    `/./v1/./chat/completions`,
    '/v1/x/../chat/completions',
    '/%76%31/chat/completions',
    `http://x${PATH}`,
  ].map((path) =>
    overHttp1(`the path ${path}`, 'served', [`${LENGTH}\r\n${BODY}`], { first: line('POST', path) }),
  ),

  overHttp2('data', 'served', [], [data(BODY, true)]),
  overHttp2(
    'data in parts, then none',
    'served',
    [],
    [data(BODY.slice(0, cut)), data(BODY.slice(cut)), data('', true)],
  ),
  overHttp2('data and trailers', 'served', [], [data(BODY), trailers]),
  overHttp2('the end with the headers', 'empty', [], [], { end: true }),
  overHttp2('data of no bytes', 'empty', [], [data('', true)]),
  overHttp2('trailers without data', 'empty', [], [trailers]),
  overHttp2('data of no bytes, then trailers', 'empty', [], [data(''), trailers]),
  overHttp2('content-length: 0 and trailers', 'empty', [['content-length', '0']], [trailers]),
  overHttp2('another length and trailers', 'cut', [['content-length', '5']], [trailers]),
  overHttp2('another length and the end', 'refused', [['content-length', '5']], [], { end: true }),
  overHttp2('reset after the headers', 'cut', [], [{ kind: 'reset' }]),
  overHttp2('reset after data', 'cut', [], [data(BODY), { kind: 'reset' }]),
  overHttp2('trailers that do not end it', 'cut', [], [{ kind: 'headers', headers: [['x-checksum', '1']] }]),
  overHttp2(
    'trailers with a pseudo-header',
    'cut',
    [],
    [data(BODY), { kind: 'headers', headers: [[':fairlane-pool', 'pool-other']], end: true }],
  ),
  overHttp2('CONNECT with :protocol', 'refused', [[':protocol', 'websocket']], [data(BODY, true)], {
    method: 'CONNECT',
  }),
  overHttp2('GET with data', 'refused', [], [data(BODY, true)], { method: 'GET' }),
  overHttp2('a fragment', 'refused', [], [data(BODY, true)], { path: `${PATH}#x` }),
];

const MODES: readonly FailureMode[] = ['open', 'closed'];
const STATES: readonly ServiceState[] = ['up', 'stopped', 'dead'];
const SETTLE_MS = 300;

describe.each(MODES)('failing %s', (mode) => {
  let world: EdgeWorld;
  beforeAll(async () => {
    world = await startEdgeWorld(mode);
  });
  afterAll(() => world.close());

  describe.each(STATES)('the service is %s', (state) => {
    /** By the request's mark: what the engine received, and what the client got. */
    const received = new Map<string, string>();
    const answers = new Map<string, string>();
    beforeAll(async () => {
      await world.become(state);
      world.engine.forget();
      // All at once: each takes five seconds while the service hangs.
      await Promise.all(
        ENDINGS.map(async ({ send }, i) => {
          answers.set(`mark-${i}`, await send(world.port, `mark-${i}`));
        }),
      );
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      for (const { headers, body } of world.engine.received()) {
        const mark = String(headers['user-agent']);
        // Never twice.
        expect(received.has(mark)).toBe(false);
        received.set(mark, body);
      }
      expect(world.other.received()).toEqual([]);
    }, 60_000);

    it.each(ENDINGS.map(({ name, fate }, i) => [name, fate, `mark-${i}`] as const))(
      '%s: %s',
      (_name, fate, mark) => {
        const body = received.get(mark);
        const answer = answers.get(mark) ?? '';
        const unread = state !== 'up' && mode === 'open';
        if (fate === 'served' && (state === 'up' || unread)) {
          expect(body).toBe(BODY);
          expect(answer).toContain('"finish_reason"');
        } else if (fate === 'empty' && unread) expect(body).toBe('');
        else if (fate === 'served?' && (state === 'up' || unread)) expect([undefined, BODY]).toContain(body);
        else if (fate === 'empty?' && unread) expect([undefined, '']).toContain(body);
        else {
          expect(body).toBeUndefined();
          expect(answer).not.toContain('"finish_reason"');
          if (fate === 'empty' && state === 'up') expect(answer).toMatch(/"invalid_(request|json)"/);
        }
      },
    );
  });
});

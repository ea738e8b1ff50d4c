/**
 * Attacks as data, and the runner that makes tests of them. What an attack did is judged by what the engines received; the
 * client's status is secondary. Each attack has a client address of its own, by which the engines' records are told apart.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, FROM, marked, NO_ANSWER, openH1 } from './h1.ts';
import { type Field, FLAG, openH2 } from './h2.ts';
import type { Seen } from './recording-engine.ts';
import { type FailureMode, KEY, startWorld, type Tenant, type World, type WorldOptions } from './world.ts';

/** The service: up, stopped (it hangs) or killed. */
export type Mode = FailureMode | `${FailureMode}-stopped` | `${FailureMode}-killed`;
export const UP: readonly Mode[] = ['open', 'closed'];
export const AWAY: readonly Mode[] = ['open-stopped', 'closed-stopped', 'open-killed', 'closed-killed'];
export const EVERY: readonly Mode[] = [...UP, ...AWAY];
type Wire = 'h1' | 'h2';

export interface Request {
  /** Undefined: the attacker; null: nobody. */
  readonly as?: Tenant | null;
  readonly method?: string;
  readonly path?: string;
  /** After the usual ones; of the usual ones, those named here are left out. */
  readonly headers?: readonly Field[];
  /** Objects are written as JSON. */
  readonly body?: string | Buffer | object;
}

/** HTTP/1.1 as it is written, in pieces with pauses; the pieces `half-close` and `reset` are done to the connection. */
interface Raw {
  readonly raw: string | Buffer | readonly (string | Buffer | number)[];
}

export interface Tools {
  readonly world: World;
  readonly mode: Mode;
  readonly port: number;
  /** This attack's own address. */
  readonly from: string;
  readonly send: (request: Request, wire?: Wire) => Promise<Answer>;
  /** What the engines have received from this address, now. */
  readonly seen: () => readonly Seen[];
}

export type Act = (tools: Tools) => Promise<Answer | readonly Answer[]>;

interface Expectation {
  /** Of the first answer. */
  readonly status?: number | readonly number[] | ((status: number) => boolean);
  readonly answer?: (answer: Answer, all: readonly Answer[]) => void;
  /** `nothing`: no engine heard of it. `once`: one request, whole, at `main`. */
  readonly engine?: 'nothing' | 'once' | ((seen: readonly Seen[]) => void);
  /** Milliseconds until the answer. */
  readonly within?: number;
  readonly also?: (tools: Tools) => void | Promise<void>;
}

export interface Vector {
  readonly name: string;
  /** Default: open, with the service up. */
  readonly modes?: readonly Mode[];
  /** Of a plain request. Default: h1. */
  readonly over?: readonly Wire[];
  readonly send: Request | Raw | Act;
  readonly expect: Expectation;
}

export const CHAT = { model: 'demo', messages: [{ role: 'user', content: 'hello' }], max_tokens: 5 };
/** A chat with other fields. */
export const chat = (fields: object = {}): object => ({ ...CHAT, ...fields });
/** A chat whose text says what the engine is to do. */
export const asking = (marks: string, fields: object = {}): object =>
  chat({ messages: [{ role: 'user', content: `hello ${marks}` }], ...fields });

const bytesOf = (body: Request['body']): Buffer =>
  Buffer.isBuffer(body) ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body ?? CHAT));

function usualHeaders(request: Request, length: number): readonly Field[] {
  const { as = 'attacker', headers = [], method = 'POST' } = request;
  const own = new Set(headers.map(([name]) => name.toLowerCase()));
  const hasBody = method !== 'GET' && method !== 'HEAD';
  const usual: Field[] = [
    ['user-agent', FROM],
    ...(as === null ? [] : [['authorization', `Bearer ${KEY[as]}`] as const]),
    ...(hasBody
      ? [['content-type', 'application/json'] as const, ['content-length', String(length)] as const]
      : []),
  ];
  return usual.filter(([name]) => !own.has(name));
}

/** The bytes of a request over HTTP/1.1. Without `from`, they hold what stands for it. */
export function h1Bytes(request: Request, from: string = FROM): Buffer {
  const { method = 'POST', path = '/v1/chat/completions', headers = [] } = request;
  const body = method === 'GET' || method === 'HEAD' ? Buffer.alloc(0) : bytesOf(request.body);
  const all: readonly Field[] = [
    ...(headers.some(([name]) => name.toLowerCase() === 'host') ? [] : [['host', 'api.test'] as const]),
    ...usualHeaders(request, body.length),
    ...headers,
  ];
  const head = `${method} ${path} HTTP/1.1\r\n${all.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
  return Buffer.concat([Buffer.from(marked(head, from), 'latin1'), body]);
}

/** The header block of a request over HTTP/2. */
export function h2Fields(request: Request): readonly Field[] {
  const { method = 'POST', path = '/v1/chat/completions', headers = [] } = request;
  const length = method === 'GET' || method === 'HEAD' ? 0 : bytesOf(request.body).length;
  return [
    [':method', method],
    [':scheme', 'http'],
    [':authority', 'api.test'],
    [':path', path],
    ...usualHeaders(request, length),
    ...headers.map(([name, value]): Field => [name.toLowerCase(), value]),
  ];
}

const STILL_MS = 120;
/** For what is answered. */
const ANSWER_MS = 15_000;

async function sendH1(port: number, from: string, request: Request, withinMs = ANSWER_MS): Promise<Answer> {
  const connection = await openH1({ port, from });
  await connection.write(h1Bytes(request, from));
  // What answers HEAD says the length of a body that does not follow.
  const [answer = NO_ANSWER] =
    request.method === 'HEAD'
      ? await connection.rest(STILL_MS, withinMs)
      : await connection.until(1, withinMs);
  connection.close();
  return answer;
}

async function sendH2(port: number, from: string, request: Request, withinMs = ANSWER_MS): Promise<Answer> {
  const connection = await openH2({ port, from });
  const { method = 'POST' } = request;
  if (method === 'GET' || method === 'HEAD') {
    connection.headers(1, h2Fields(request), FLAG.endHeaders | FLAG.endStream);
  } else {
    connection.headers(1, h2Fields(request));
    connection.data(1, bytesOf(request.body), FLAG.endStream);
  }
  const answer = await connection.answer(1, withinMs);
  connection.close();
  return answer;
}

/**
 * What never comes is waited for so long: an answer to what is broken comes at once, or the connection is closed a second later.
 * A service that hangs is waited for by Envoy.
 */
export const patience = (mode: Mode): number => (mode.endsWith('stopped') ? 7_000 : 500);

async function sendRaw({ port, from }: Tools, { raw }: Raw, withinMs: number): Promise<readonly Answer[]> {
  const connection = await openH1({ port, from });
  for (const piece of typeof raw === 'string' || Buffer.isBuffer(raw) ? [raw] : raw) {
    if (typeof piece === 'number') await new Promise((resolve) => setTimeout(resolve, piece));
    else if (piece === 'half-close') connection.socket.end();
    else if (piece === 'reset') connection.socket.resetAndDestroy();
    else if (typeof piece === 'string') await connection.write(piece);
    else await connection.write(Buffer.from(marked(piece.toString('latin1'), from), 'latin1'));
  }
  const answers = connection.closed() ? connection.answers() : await connection.rest(STILL_MS, withinMs);
  connection.close();
  return answers;
}

/** Whether an answer is due: it is waited for, however busy the machine is. */
function isAnswered({ status }: Expectation): boolean {
  if (typeof status === 'function') return !status(0);
  return typeof status === 'number' ? status > 0 : status?.includes(0) === false;
}

let addresses = 0;
/** An address that nobody else has used. */
export function ownAddress(): string {
  addresses += 1;
  return `127.${1 + (process.pid % 199)}.${Math.floor(addresses / 250)}.${1 + (addresses % 250)}`;
}

function toolsFor(world: World, mode: Mode): Tools {
  const from = ownAddress();
  const failure = mode.startsWith('open') ? 'open' : 'closed';
  const port = world.apiPort[failure];
  return {
    world,
    mode,
    port,
    from,
    send: (request, wire = 'h1') => (wire === 'h1' ? sendH1 : sendH2)(port, from, request),
    seen: () => world.engine.seen().filter(({ client }) => client === from),
  };
}

interface Outcome {
  readonly answers: readonly Answer[];
  readonly tools: Tools;
  /** What had reached the engines from its address when all was over. */
  readonly seen: readonly Seen[];
  readonly error?: unknown;
}

const isRaw = (send: Vector['send']): send is Raw => typeof send === 'object' && 'raw' in send;

/** What was forwarded has arrived after this. */
const ARRIVAL_MS = 15;
/** Attacks at once. */
const TOGETHER = 8;

async function attack(
  world: World,
  mode: Mode,
  wire: Wire,
  { send, expect: wanted }: Vector,
): Promise<Outcome> {
  const tools = toolsFor(world, mode);
  try {
    const answers =
      typeof send === 'function'
        ? await send(tools)
        : isRaw(send)
          ? await sendRaw(tools, send, isAnswered(wanted) ? ANSWER_MS : patience(mode))
          : await tools.send(send, wire);
    await new Promise((resolve) => setTimeout(resolve, ARRIVAL_MS));
    const list = Array.isArray(answers) ? (answers as readonly Answer[]) : [answers as Answer];
    return { answers: list, tools, seen: tools.seen() };
  } catch (error) {
    return { answers: [], tools, error, seen: tools.seen() };
  }
}

/** Attacks that are told apart by their address, several at a time. What comes late is seen too: all are looked at in the end. */
async function attackTogether(
  world: World,
  cases: readonly Case[],
  atOnce: number,
): Promise<ReadonlyMap<Case, Outcome>> {
  const outcomes = new Map<Case, Outcome>();
  const left = cases.values();
  const worker = async (): Promise<void> => {
    for (const one of left) outcomes.set(one, await attack(world, one.mode, one.wire, one.vector));
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  await new Promise((resolve) => setTimeout(resolve, 5 * ARRIVAL_MS));
  return new Map([...outcomes].map(([one, outcome]) => [one, { ...outcome, seen: outcome.tools.seen() }]));
}

const KEYS = Object.values(KEY);

async function judge({ answers, tools, error, seen }: Outcome, wanted: Expectation): Promise<void> {
  if (error !== undefined) throw error;
  const [answer = NO_ANSWER] = answers;
  const { engine, status } = wanted;
  if (engine === 'nothing') {
    expect(
      seen.map((one) => `${one.engine}: ${one.method} ${one.url} ${one.body.toString('latin1', 0, 200)}`),
      'no engine hears of it',
    ).toEqual([]);
  } else if (engine === 'once') {
    expect(
      seen.map((one) => one.engine),
      'it is served once',
    ).toEqual(['main']);
    expect(seen[0]?.whole).toBe(true);
  } else engine?.(seen);
  // Whatever is attacked: nobody but the pool of the tenant serves it, and no engine is told a key or a tenant's name.
  expect(
    seen.filter((one) => !one.engine.startsWith('main')).map((one) => one.engine),
    'only engines of the pool',
  ).toEqual([]);
  for (const one of seen) {
    const head = one.headers.map(([name, value]) => `${name}: ${value}`).join('\n');
    expect(
      KEYS.filter((key) => head.includes(key)),
      'an engine was told a key',
    ).toEqual([]);
  }
  if (typeof status === 'number') expect(answer.status).toBe(status);
  else if (typeof status === 'function') expect(status(answer.status), `status ${answer.status}`).toBe(true);
  else if (status !== undefined) expect(status).toContain(answer.status);
  wanted.answer?.(answer, answers);
  if (wanted.within !== undefined) expect(answer.ms).toBeLessThan(wanted.within);
  await wanted.also?.(tools);
}

export interface Group {
  readonly name: string;
  readonly vectors: readonly Vector[];
  /** One attack after another, since each leaves something behind. */
  readonly isOrdered?: boolean;
  /** A change of the running configuration, for this group alone. */
  readonly reconfigure?: (world: World) => Promise<void>;
}

interface Case {
  readonly vector: Vector;
  readonly mode: Mode;
  readonly wire: Wire;
}

const casesOf = (vectors: readonly Vector[], wanted: (mode: Mode) => boolean): readonly Case[] =>
  vectors.flatMap((vector) =>
    (vector.modes ?? ['open']).filter(wanted).flatMap((mode) => {
      const isPlain = typeof vector.send === 'object' && !isRaw(vector.send);
      return (isPlain ? (vector.over ?? ['h1']) : ['h1' as const]).map((wire) => ({ vector, mode, wire }));
    }),
  );

const titleOf = ({ vector, mode, wire }: Case): string =>
  `${vector.name} [${mode}${typeof vector.send === 'function' || isRaw(vector.send) ? '' : `, ${wire}`}]`;

/** Attacks that are sent together while the service hangs or is gone. */
function awayTests(world: () => World, state: 'stopped' | 'killed', groups: readonly Group[]): void {
  const all = groups.flatMap((group) =>
    casesOf(group.vectors, (mode) => mode.endsWith(state)).map((one) => ({ group, one })),
  );
  if (all.length === 0) return;
  describe(`the service is ${state}`, () => {
    let outcomes: ReadonlyMap<Case, Outcome> = new Map();
    beforeAll(async () => {
      if (state === 'stopped') world().pause();
      else await world().kill();
      world().engine.clear();
      const cases = all.map(({ one }) => one);
      outcomes = await attackTogether(world(), cases, state === 'stopped' ? cases.length : TOGETHER);
    });
    afterAll(async () => {
      if (state === 'stopped') world().resume();
      else await world().revive();
    });
    for (const group of groups) {
      const own = all.filter((entry) => entry.group === group);
      if (own.length === 0) continue;
      describe(group.name, () => {
        for (const { one } of own) {
          it(titleOf(one), async () => {
            const outcome = outcomes.get(one) as Outcome;
            // Nobody gathers bodies while the service is away: an engine may see the beginning of what has no end.
            const isLetPast = one.mode.startsWith('open') && one.vector.expect.engine === 'nothing';
            await judge(
              isLetPast ? { ...outcome, seen: outcome.seen.filter(({ whole }) => whole) } : outcome,
              one.vector.expect,
            );
          });
        }
      });
    }
  });
}

/** A test for each attack of each group, over one world. */
export function attackTests(groups: readonly Group[], options: WorldOptions = {}): void {
  let running: World | undefined;
  const world = (): World => {
    if (running === undefined) throw new Error('the world has not started');
    return running;
  };
  beforeAll(async () => {
    running = await startWorld(options);
  });
  afterAll(() => running?.close());

  for (const group of groups) {
    const cases = casesOf(group.vectors, (mode) => mode === 'open' || mode === 'closed');
    if (cases.length === 0) continue;
    describe(group.name, () => {
      const { reconfigure } = group;
      if (reconfigure !== undefined) {
        beforeAll(() => reconfigure(world()));
        afterAll(() => world().reconfigure(() => undefined));
      }
      const together =
        group.isOrdered === true ? [] : cases.filter(({ vector }) => typeof vector.send !== 'function');
      let outcomes: ReadonlyMap<Case, Outcome> = new Map();
      let nobodys: readonly Seen[] = [];
      if (together.length > 0) {
        beforeAll(async () => {
          world().engine.clear();
          outcomes = await attackTogether(world(), together, TOGETHER);
          nobodys = world()
            .engine.seen()
            .filter(({ client }) => client === undefined);
        });
        it('the engines heard of nothing that no attack has sent', () => {
          expect(nobodys.map(({ method, url }) => `${method} ${url}`)).toEqual([]);
        });
      }
      for (const one of cases) {
        it(titleOf(one), async () => {
          let outcome = outcomes.get(one);
          if (outcome === undefined) {
            world().engine.clear();
            outcome = await attack(world(), one.mode, one.wire, one.vector);
          }
          await judge(outcome, one.vector.expect);
        });
      }
    });
  }
  awayTests(world, 'stopped', groups);
  awayTests(world, 'killed', groups);
}

// --- what engines may have received

/** No text of any request has it. */
export const without =
  (...texts: readonly string[]) =>
  (seen: readonly Seen[]): void => {
    for (const one of seen) {
      const all = `${one.url}\n${one.headers.map((pair) => pair.join(': ')).join('\n')}\n\n${one.body.toString('utf8')}`;
      for (const text of texts) {
        expect(all.includes(text), `the engine received ${JSON.stringify(text.slice(0, 60))}`).toBe(false);
      }
    }
  };

/** What a proxy writes itself: another spelling is not that. */
const OWN: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding', 'x-forwarded-for']);

/** No header of that name, by whatever spelling that a server may fold into it. */
export const withoutHeader =
  (...names: readonly string[]) =>
  (seen: readonly Seen[]): void => {
    const fold = (name: string): string => name.toLowerCase().replaceAll('_', '-');
    const wanted = new Set(names.map(fold));
    for (const one of seen) {
      const found = one.headers.filter(
        ([name]) =>
          wanted.has(fold(name)) && !(OWN.has(name.toLowerCase()) && !names.includes(name.toLowerCase())),
      );
      expect(found).toEqual([]);
    }
  };

/** The JSON that arrived. Undefined when that is none. */
// oxlint-disable-next-line no-explicit-any -- bodies have many shapes, and an assertion follows every look
export function jsonOf(seen: Seen | undefined): any {
  try {
    return JSON.parse(seen?.body.toString('utf8') ?? '') as unknown;
  } catch {
    return undefined;
  }
}

/** No object anywhere in a body has that key. */
export const withoutKey =
  (...keys: readonly string[]) =>
  (seen: readonly Seen[]): void => {
    const walk = (value: unknown): readonly string[] =>
      typeof value === 'object' && value !== null
        ? [...(Array.isArray(value) ? [] : Object.keys(value)), ...Object.values(value).flatMap(walk)]
        : [];
    for (const one of seen) {
      expect(walk(jsonOf(one)).filter((key) => keys.includes(key))).toEqual([]);
    }
  };

export const both =
  (...checks: readonly ((seen: readonly Seen[]) => void)[]) =>
  (seen: readonly Seen[]): void => {
    for (const check of checks) check(seen);
  };

/** At least one request arrived at the tenant's pool. */
export const served = (seen: readonly Seen[]): void => {
  expect(seen.map(({ engine }) => engine)).toContain('main');
};

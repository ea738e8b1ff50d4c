/**
 * Answers by chance: those of tests/fixtures (as engines send them), changed and written in any way that JSON and
 * server-sent events allow, and hostile ones.
 */
import { readFileSync } from 'node:fs';
import type { EngineRoute } from '../../src/domain/routes.ts';
import { eventTexts } from './answer-reference.ts';
import { fixtureFolders, readFixture } from './engine-answers.ts';

export type Random = () => number;

/** xorshift32 (Marsaglia 2003, "Xorshift RNGs"). */
export function createRandom(seed: number): Random {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}

export interface Answer {
  readonly route: EngineRoute;
  readonly isStream: boolean;
  readonly bytes: Buffer;
  /** Nothing in it is broken, so tokens can be counted. */
  readonly isClean: boolean;
}

export interface RebuiltAnswer {
  readonly name: string;
  readonly engine: string;
  readonly route: EngineRoute;
  readonly source: string;
  readonly lines?: readonly string[];
  readonly json?: unknown;
  readonly expected: Readonly<Record<string, unknown>>;
}

export const REBUILT: readonly RebuiltAnswer[] = (
  JSON.parse(readFileSync(new URL('../fixtures/answers/answers.json', import.meta.url), 'utf8')) as {
    answers: readonly RebuiltAnswer[];
  }
).answers;

/** An event as its JSON, or a text that is none. */
type Seed = { readonly route: EngineRoute; readonly events: readonly (object | string)[] };

const eventsOf = (text: string): readonly (object | string)[] =>
  eventTexts(Buffer.from(text)).texts.map((event) => {
    try {
      return JSON.parse(event) as object;
    } catch {
      return event;
    }
  });

const STREAMS: Seed[] = [];
const BODIES: Seed[] = [];
for (const { route, lines, json } of REBUILT) {
  if (lines !== undefined) STREAMS.push({ route, events: eventsOf(lines.join('\n')) });
  else BODIES.push({ route, events: [json as object] });
}
for (const engine of fixtureFolders()) {
  for (const { question, status, type, body } of readFixture(engine).answers.values()) {
    const route = question.path.endsWith('/chat/completions')
      ? 'chat.completions'
      : question.path.endsWith('/completions')
        ? 'completions'
        : undefined;
    if (route === undefined || status !== 200) continue;
    if (type.startsWith('text/event-stream')) STREAMS.push({ route, events: eventsOf(body) });
    else BODIES.push({ route, events: [JSON.parse(body) as object] });
  }
}

// --- JSON, in any way that it can be written

/** Written as it is: a number that no double holds. */
class Raw {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

const pick = <T>(random: Random, items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
const chance = (random: Random, part: number): boolean => random() < part;
const whole = (random: Random, below: number): number => Math.floor(random() * below);

const ODD: readonly unknown[] = [
  '5',
  'NaN',
  -1,
  1.5,
  new Raw('1e400'),
  new Raw('-0'),
  new Raw('7e0'),
  [],
  [5],
  {},
  true,
  false,
  null,
  2 ** 31,
  2 ** 31 - 1,
  0,
  { prompt_tokens: 1 },
];
const USAGE_KEYS: readonly string[] = [
  'prompt_tokens',
  'completion_tokens',
  'input_tokens',
  'output_tokens',
  'cache_read_input_tokens',
  'cache_creation_input_tokens',
  'total_tokens',
  'prompt_tokens_details',
  'completion_tokens_details',
  'input_tokens_details',
  'output_tokens_details',
];
const HOSTILE_TEXT: readonly string[] = [
  '"usage":{"prompt_tokens":9}',
  '\n\ndata: [DONE]\n\n',
  '"error":{}',
  '\\',
  '"',
  '\\"',
  '{"usage":{"prompt_tokens":9',
  'é🙂\u2028',
  '}]}',
  '\r',
  '',
];
/** Keys that may be written with escapes: those that hints look for. */
const ESCAPABLE = new Set(['usage', 'error', 'finish_reason', ...USAGE_KEYS]);

const countsByChance = (random: Random): object =>
  chance(random, 0.5)
    ? { prompt_tokens: whole(random, 1e5), completion_tokens: whole(random, 1e4) }
    : { input_tokens: whole(random, 1e5), output_tokens: whole(random, 1e4) };

function anything(random: Random, depth = 0): unknown {
  const kind = whole(random, depth > 3 ? 4 : 7);
  switch (kind) {
    case 0:
      return pick(random, HOSTILE_TEXT);
    case 1:
      return pick(random, ODD);
    case 2:
      return random() * 10 ** whole(random, 20);
    case 3:
      return null;
    case 4:
      return Array.from({ length: whole(random, 4) }, () => anything(random, depth + 1));
    case 5:
      return { usage: countsByChance(random), error: anything(random, depth + 1) };
    default:
      return Object.fromEntries(
        Array.from({ length: whole(random, 4) }, () => [
          pick(random, ['a', 'usage', 'choices', 'response', 'message', '*', 'prompt_tokens', '__proto']),
          anything(random, depth + 1),
        ]),
      );
  }
}

/** Members as they are written: a key may come twice. */
type Member = readonly [key: string, value: unknown];

function changedUsage(random: Random, usage: unknown): unknown {
  if (typeof usage !== 'object' || usage === null || Array.isArray(usage)) {
    return chance(random, 0.1) ? pick(random, ODD) : usage;
  }
  const members = Object.entries(usage).map(([key, value]): Member => {
    if (chance(random, 0.06)) return [key, pick(random, ODD)];
    return [key, typeof value === 'number' && chance(random, 0.5) ? whole(random, 1e5) : value];
  });
  if (chance(random, 0.1)) members.push([pick(random, USAGE_KEYS), pick(random, ODD)]);
  if (chance(random, 0.05)) members.splice(whole(random, members.length + 1), 1);
  return Object.fromEntries(members);
}

/** The members of the root, changed, in any order, with others between them. */
function changed(random: Random, json: object, padding: number): readonly Member[] {
  let members = Object.entries(json).map(([key, value]): Member => {
    if (key === 'usage') return [key, changedUsage(random, value)];
    if ((key === 'response' || key === 'message') && typeof value === 'object' && value !== null) {
      return [key, { ...value, usage: changedUsage(random, (value as { usage?: unknown }).usage) }];
    }
    return [key, value];
  });
  if (chance(random, 0.1)) members = members.filter(([key]) => key !== 'choices' || chance(random, 0.5));
  if (chance(random, 0.05)) members.push(['usage', anything(random)]);
  if (chance(random, 0.05)) members.unshift(['usage', countsByChance(random)]);
  if (chance(random, 0.05)) members.push(['error', chance(random, 0.5) ? null : anything(random)]);
  if (chance(random, 0.3)) members.push([pick(random, ['tools', 'metadata', 'x']), anything(random)]);
  if (padding > 0) {
    members.push([
      'padding',
      chance(random, 0.5)
        ? pick(random, ['x', 'é', '\\"', '"usage":{']).repeat(padding)
        : Array.from({ length: padding / 4 }, (_, i) => i % 997),
    ]);
  }
  if (chance(random, 0.3)) {
    for (let i = members.length - 1; i > 0; i -= 1) {
      const other = whole(random, i + 1);
      [members[i], members[other]] = [members[other] as Member, members[i] as Member];
    }
  }
  return members;
}

const SPACES = ['', '', '', ' ', '  ', '\t'];

/** @param space what may stand between tokens; line breaks only where the text may have some. */
function write(random: Random, value: unknown, spaces: readonly string[]): string {
  const gap = (): string => pick(random, spaces);
  if (value instanceof Raw) return value.text;
  if (Array.isArray(value)) {
    return `[${gap()}${value.map((one) => write(random, one, spaces)).join(`${gap()},${gap()}`)}${gap()}]`;
  }
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  return writeMembers(random, Object.entries(value), spaces);
}

function writeMembers(random: Random, members: readonly Member[], spaces: readonly string[]): string {
  const gap = (): string => pick(random, spaces);
  const texts = members.map(([key, value]) => {
    const name =
      ESCAPABLE.has(key) && chance(random, 0.05)
        ? `"${Array.from(key, (letter) => (chance(random, 0.5) ? `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}` : letter)).join('')}"`
        : JSON.stringify(key);
    return `${name}${gap()}:${gap()}${write(random, value, spaces)}`;
  });
  return `{${gap()}${texts.join(`${gap()},${gap()}`)}${gap()}}`;
}

// --- streams and bodies

const NOISE = [': keep-alive', 'id: 7', 'retry: 5', 'event: x', 'data', 'data:', 'foo', 'dat: {"usage":{}}'];
const GARBAGE = [
  'data: {"usage":{',
  'data: ]',
  'event: error',
  'error: {"code":500}',
  '\0\0',
  'data: [',
  '{"error":1}',
];

function streamOf(random: Random): Answer {
  const seed = pick(random, STREAMS);
  const spaces = chance(random, 0.7) ? [''] : SPACES;
  const hasBlank = chance(random, 0.8) ? 1 : chance(random, 0.5) ? 0 : 0.5;
  const eols = chance(random, 0.7) ? [pick(random, ['\n', '\r\n', '\r'])] : ['\n', '\r\n', '\r'];
  // Without blank lines nobody knows which lines belong together; and a CR and a LF are one end of a line.
  const isSpread = hasBlank === 1 && eols.length === 1 && chance(random, 0.2);
  const isHostile = chance(random, 0.2);
  let events = [...seed.events];
  if (chance(random, 0.1)) events = events.filter(() => chance(random, 0.8));
  if (isHostile && chance(random, 0.3)) events = [...events, ...pick(random, STREAMS).events];
  const parts: string[] = chance(random, 0.1) ? ['\uFEFF'] : [];
  const eol = (): string => pick(random, eols);
  for (const event of events) {
    if (chance(random, 0.1))
      parts.push(pick(random, NOISE), eol(), ...(chance(random, hasBlank) ? [eol()] : []));
    if (isHostile && chance(random, 0.1)) {
      parts.push(pick(random, GARBAGE), eol(), ...(chance(random, 0.7) ? [eol()] : []));
    }
    if (chance(random, 0.3)) parts.push('event: message', eol());
    const padding = chance(random, 0.004) ? 70_000 : chance(random, 0.02) ? 2_000 : 0;
    const text =
      typeof event === 'string'
        ? event
        : writeMembers(
            random,
            changed(random, event, padding),
            isSpread && padding === 0 ? [...spaces, '\n'] : spaces,
          );
    const space = pick(random, [' ', ' ', '']);
    for (const line of text.split('\n')) parts.push(`data:${space}${line}`, eol());
    if (chance(random, hasBlank)) parts.push(eol());
  }
  let bytes = Buffer.from(parts.join(''));
  if (isHostile && chance(random, 0.3)) bytes = bytes.subarray(0, whole(random, bytes.length + 1));
  return { route: seed.route, isStream: true, bytes, isClean: !isHostile };
}

function bodyOf(random: Random): Answer {
  const seed = pick(random, BODIES);
  const padding = pick(random, [0, 0, 0, 0, 0, 0, 300, 40_000]);
  const members = changed(random, (seed.events[0] ?? {}) as object, padding);
  const text = writeMembers(random, members, chance(random, 0.5) ? [''] : [...SPACES, '\n', '\r\n']);
  const whole_ = Buffer.from((chance(random, 0.05) ? '\uFEFF' : '') + text);
  const bytes = chance(random, 0.05) ? whole_.subarray(0, whole(random, whole_.length)) : whole_;
  return { route: seed.route, isStream: false, bytes, isClean: true };
}

export const answerByChance = (random: Random): Answer =>
  chance(random, 0.75) ? streamOf(random) : bodyOf(random);

/** Cut anywhere; now and then into single bytes. */
export function cutByChance(random: Random, bytes: Buffer): readonly Buffer[] {
  if (bytes.length < 2_000 && chance(random, 0.05)) return Array.from(bytes, (byte) => Buffer.from([byte]));
  const cuts = Array.from({ length: whole(random, 12) }, () => whole(random, bytes.length + 1)).sort(
    (a, b) => a - b,
  );
  return [0, ...cuts].map((from, i) => bytes.subarray(from, cuts[i] ?? bytes.length));
}

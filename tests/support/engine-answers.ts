/** What engines are asked for tests/fixtures/engines, and their answers. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { send } from './client.ts';

export interface Question {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** Sent as it is. */
  readonly body?: string;
}

export interface EngineAnswer {
  readonly question: Question;
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/** Answers by the question's name. */
export type Answers = ReadonlyMap<string, EngineAnswer>;

export interface Fixture {
  readonly about: {
    readonly engine: string;
    readonly version: string;
    /** False: written by hand from what `sources` say. */
    readonly recorded: boolean;
    readonly command?: string;
    readonly sources?: readonly string[];
  };
  readonly answers: Answers;
}

export const MODEL = 'tiny';
/** Tokens of the longest context that a live engine is started with; its tokens are bytes. */
export const LIVE_CONTEXT = 2_048;
const CACHED_PROMPT = 'a long prompt that comes again. '.repeat(8);
const SALT = '0123456789abcdef0123456789abcdef';

const get = (path: string): Question => ({ method: 'GET', path });
const post = (path: string, body: object | string): Question => ({
  method: 'POST',
  path,
  body: typeof body === 'string' ? body : JSON.stringify(body),
});
const messages = [{ role: 'user', content: 'Say something.' }];
const chat = (fields: object = {}): Question =>
  post('/v1/chat/completions', { model: MODEL, messages, max_tokens: 3, ignore_eos: true, ...fields });
const complete = (fields: object = {}): Question =>
  post('/v1/completions', { model: MODEL, prompt: 'hello', max_tokens: 3, ignore_eos: true, ...fields });
const withUsage = { stream: true, stream_options: { include_usage: true } };

/** In this order: `cached` is the same prompt as `before-cached`. */
export const QUESTIONS: Readonly<Record<string, Question>> = {
  health: get('/health'),
  metrics: get('/metrics'),
  models: get('/v1/models'),
  chat: chat(),
  'chat-stream': chat(withUsage),
  'chat-stream-without-usage': chat({ stream: true }),
  'chat-stream-continuous': chat({
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
  }),
  'chat-two': chat({ n: 2 }),
  'chat-two-stream': chat({ n: 2, ...withUsage }),
  completion: complete(),
  'completion-stream': complete(withUsage),
  'both-caps': chat({ max_tokens: 2, max_completion_tokens: 4 }),
  'cap-of-its-own': chat({ max_tokens: 2, n_predict: 4 }),
  'without-cap': post('/v1/completions', { model: MODEL, prompt: 'hello', ignore_eos: true }),
  'before-cached': complete({ prompt: CACHED_PROMPT, max_tokens: 1 }),
  cached: complete({ prompt: CACHED_PROMPT, max_tokens: 1 }),
  'cached-by-another': complete({ prompt: CACHED_PROMPT, max_tokens: 1, cache_salt: SALT }),
  salt: complete({ cache_salt: SALT }),
  'salt-with-slash': complete({ cache_salt: 'a/b' }),
  'salt-too-long': complete({ cache_salt: 'a'.repeat(129) }),
  priority: complete({ priority: 1 }),
  'bad-json': post('/v1/chat/completions', '{"model": "tiny", "messages": ['),
  'wrong-type': chat({ max_tokens: 'many' }),
  'too-long': complete({ prompt: 'x'.repeat(LIVE_CONTEXT + 100) }),
  'too-long-chat-stream': chat({
    messages: [{ role: 'user', content: 'x'.repeat(LIVE_CONTEXT + 100) }],
    stream: true,
  }),
  'cap-over-context': complete({ max_tokens: 1_000_000 }),
  'unknown-model': chat({ model: 'nobody' }),
  'unknown-route': get('/nowhere'),
};

export async function ask(url: string, question: Question): Promise<EngineAnswer> {
  const { method, path, body } = question;
  // llama.cpp closes a connection after an error without saying so.
  const { status, headers, text } = await send(url, { method, path, body, headers: { connection: 'close' } });
  return { question, status, type: String(headers['content-type'] ?? ''), body: text };
}

export async function askAll(
  url: string,
  questions: Readonly<Record<string, Question>>,
): Promise<Map<string, EngineAnswer>> {
  const answers = new Map<string, EngineAnswer>();
  for (const [name, question] of Object.entries(questions)) answers.set(name, await ask(url, question));
  return answers;
}

const FOLDER = fileURLToPath(new URL('../fixtures/engines/', import.meta.url));

interface Stored {
  readonly question: string;
  readonly body?: string;
  readonly status: number;
  readonly type: string;
  readonly json?: unknown;
  readonly lines?: readonly string[];
  /** A file beside. */
  readonly file?: string;
}

const LONG = 2_000;

export function fixtureText(about: Fixture['about'], answers: Answers): string {
  const stored = Object.fromEntries(
    [...answers].map(([name, { question, status, type, body }]): [string, Stored] => {
      const sent = question.body;
      const head = {
        question: `${question.method} ${question.path}`,
        ...(sent !== undefined && { body: sent.length > LONG ? `${sent.slice(0, 80)}…` : sent }),
        status,
        type,
      };
      if (name.startsWith('metrics')) return [name, { ...head, file: `${name}.txt` }];
      try {
        return [name, { ...head, json: JSON.parse(body) as unknown }];
      } catch {
        return [name, { ...head, lines: body.split('\n') }];
      }
    }),
  );
  return `${JSON.stringify({ about, answers: stored }, null, 2)}\n`;
}

/** Without the buckets of histograms, which are most of it. The first line says what wrote it. */
export const metricsText = ({ engine, version, command }: Fixture['about'], body: string): string =>
  [
    `## ${engine} ${version}: ${command ?? ''}; histograms' buckets left out`,
    ...body.split('\n').filter((line) => !/^\w+(?::\w+)?_bucket\{/.test(line)),
  ].join('\n');

/** @param engine a folder of tests/fixtures/engines. */
export function readFixture(engine: string): Fixture {
  const folder = `${FOLDER}${engine}/`;
  const { about, answers } = JSON.parse(readFileSync(`${folder}answers.json`, 'utf8')) as {
    readonly about: Fixture['about'];
    readonly answers: Readonly<Record<string, Stored>>;
  };
  return {
    about,
    answers: new Map(
      Object.entries(answers).map(([name, { question, body: sent, status, type, json, lines, file }]) => {
        const [method = '', path = ''] = question.split(' ');
        const body =
          file !== undefined
            ? readFileSync(folder + file, 'utf8')
            : json === undefined
              ? (lines ?? []).join('\n')
              : JSON.stringify(json);
        return [
          name,
          {
            question: {
              method: method as Question['method'],
              path,
              ...(sent !== undefined && { body: sent }),
            },
            status,
            type,
            body,
          },
        ];
      }),
    ),
  };
}

export const fixtureFolders = (): readonly string[] => readdirSync(FOLDER).sort();

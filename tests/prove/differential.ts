/**
 * What Fairlane accepts, others read the same way: accepted bodies, before and after they are edited, compared with Python's json,
 * pydantic, orjson, nlohmann::json and Go's encoding/json.
 *
 * node --import tsx tests/prove/differential.ts [--mutations N] [--seed S]
 */
import { fileURLToPath } from 'node:url';
import { DEFAULT_FORBIDDEN_FIELDS } from '../../src/config/forbidden-fields.ts';
import type { CommonRoute } from '../../src/domain/routes.ts';
import { type JsonDocument, STRIDE } from '../../src/openai/json/document.ts';
import { readJson } from '../../src/openai/json/reader.ts';
import { cutMembers, splice } from '../../src/openai/json/splice.ts';
import { KNOWN_NAMES } from '../../src/openai/names.ts';
import type { ParsedRequest, RequestChanges } from '../../src/openai/parsed-request.ts';
import { namesOf } from '../../src/openai/policy-names.ts';
import { serialiseRequest, understand, withPriority } from '../../src/openai/request.ts';
import { CLIENT_BODIES } from '../support/client-bodies.ts';
import { policyWith } from '../support/documents.ts';
import { BodyWriter } from './differential/bodies.ts';
import {
  findPython,
  goReader,
  nlohmannReader,
  PYTHON_READERS,
  pythonWithReaders,
} from './differential/install.ts';
import { mutated } from './differential/mutations.ts';
import { framed, Oracle } from './differential/oracles.ts';
import { Random } from './differential/random.ts';
import { difference, hasOverflow, isOverflow, tokensOf } from './differential/tokens.ts';

export interface DifferentialOptions {
  /** Accepted ones: as many more are tried as it takes. */
  readonly mutations?: number;
  readonly seed?: number;
  /** `python`: its json alone, which needs nothing installed. */
  readonly readers?: 'all' | 'python';
}

export interface Difference {
  readonly reader: string;
  readonly what: string;
  readonly ours: string;
  readonly theirs: string;
  readonly route: CommonRoute;
  /** As small as was found. */
  readonly body: Buffer;
}

export interface DifferentialResult {
  /** Mutations that were made. */
  readonly tried: number;
  /** Of these: the reader took them, and they were compared. */
  readonly accepted: number;
  /** Of these: they were requests, and what was understood and sent on was compared too. */
  readonly requests: number;
  /** Of the accepted ones: orjson read them only when it had more memory than it gives itself. */
  readonly noRoom: number;
  /** Of the accepted ones: they have a number that no double holds, and a reader refused them for it. */
  readonly tooLarge: number;
  readonly differences: readonly Difference[];
  /** By reader. */
  readonly versions: Readonly<Record<string, string>>;
  readonly seconds: number;
}

const POLICY = policyWith();
const NAMES = namesOf(POLICY.fields);
/** Fields that Go finds by their names in any case: at the top, and in messages and their parts. */
const GO_NAMES = [
  ...new Set([...KNOWN_NAMES, ...DEFAULT_FORBIDDEN_FIELDS.filter((name) => !/[.*]/.test(name))]),
];
const NESTED = ['content', 'output', 'summary', 'thinking'];
const LOOKED_INTO: Readonly<Record<CommonRoute, readonly string[]>> = {
  'chat.completions': ['messages', 'stream_options', 'tools'],
  completions: ['stream_options', 'tools'],
  embeddings: ['input', 'messages', 'content', 'stream_options', 'tools'],
  responses: ['input', 'stream_options', 'tools'],
  messages: ['messages', 'system', 'stream_options', 'tools'],
};
const BATCH = 256;
const MOST_DIFFERENCES = 20;
const MOST_SMALLER = 400;

type Changes = RequestChanges & { readonly priority?: number };

/** A body that was accepted, and what it is asked about. */
interface Case {
  readonly route: CommonRoute;
  readonly bytes: Buffer;
  readonly document: JsonDocument;
  /** Undefined: JSON, but no request. */
  readonly request: ParsedRequest | undefined;
  readonly changes: Changes;
}

interface PythonAnswer {
  readonly noRoom: boolean;
  readonly body: Readonly<Record<string, string>>;
  readonly understood?: unknown;
  readonly spliced?: Readonly<Record<string, string>>;
  readonly edited?: string;
}

function changesBy(random: Random): Changes {
  const priority = random.chance(0.5) ? random.below(2_000) - 1_000 : undefined;
  return {
    includeUsage: random.chance(0.6),
    ...(random.chance(0.5) ? { model: random.pick(['n', 'org/"other" é\\', '😀']) } : {}),
    ...(random.chance(0.6) ? { maxOutputTokens: 1 + random.below(2 ** random.below(31)) } : {}),
    ...(random.chance(0.5) ? { cacheSalt: random.pick(['s', 'sält"']) } : {}),
    ...(priority === undefined ? {} : { priorityFollows: true, priority }),
  };
}

function caseOf(route: CommonRoute, bytes: Buffer, changes: Changes): Case | undefined {
  const reading = readJson(bytes, NAMES);
  if (reading.kind === 'bad') return undefined;
  const understood = understand(route, reading, POLICY);
  const request = understood.kind === 'ok' ? understood.request : undefined;
  return { route, bytes, document: reading.document, request, changes };
}

function editedBy({ priority, ...changes }: Changes, request: ParsedRequest): Buffer {
  const parts = serialiseRequest(request, changes);
  return Buffer.concat(priority === undefined ? parts : withPriority(parts, priority));
}

const understoodOf = (request: ParsedRequest): string => {
  const {
    model,
    stream,
    promptBytes,
    hasMedia,
    maxOutputTokens = null,
    belowOne = null,
    outputs,
    wantsUsage,
    dropped,
  } = request;
  return JSON.stringify({
    model,
    stream,
    promptBytes,
    hasMedia,
    maxOutputTokens,
    belowOne,
    outputs,
    wantsUsage,
    dropped,
    // Nothing that is refused is found in it.
    wrong: [],
  });
};

/** As Go's structs have them, but found by their exact names. */
function fieldsOf(document: JsonDocument, at: number, path: string, into: readonly string[]): string {
  const end = document.next(at);
  let found = '';
  if (document.isArray(at)) {
    let place = 0;
    for (let item = document.first(at); item < end; item = document.next(item)) {
      found += fieldsOf(document, item, `${path}${place}.`, into);
      place += document.isNumber(item) ? document.more(item) : 1;
    }
    return found;
  }
  if (!document.isObject(at)) return found;
  const values = new Map<string, number>();
  for (let key = document.first(at); key < end; key = document.next(key + STRIDE)) {
    values.set(document.text(key), key + STRIDE);
  }
  for (const name of GO_NAMES) {
    const value = values.get(name);
    if (value === undefined) continue;
    const quote = document.isString(value) ? 1 : 0;
    const raw = document.bytes.subarray(document.start(value) - quote, document.end(value) + quote);
    found += `${path}${name} ${raw.toString('hex')}\n`;
    if (into.includes(name))
      found += fieldsOf(document, value, `${path}${name}.`, name === 'tools' ? ['tools'] : NESTED);
  }
  return found;
}

/** All readers, and what they say. A class: the processes live as long as the comparison. */
class Readers {
  private readonly python: Oracle;
  private readonly nlohmann: Oracle | undefined;
  private readonly go: Oracle | undefined;
  /** Bodies that orjson had no room for. */
  noRoom = 0;
  /** Bodies that a reader refused for a number that no double holds: it has no view of them. */
  tooLarge = 0;

  constructor(all: boolean) {
    this.python = all
      ? new Oracle('of Python', pythonWithReaders(), [PYTHON_READERS, '--all'])
      : new Oracle('of Python', findPython(), [PYTHON_READERS]);
    this.nlohmann = all ? new Oracle('of nlohmann::json', nlohmannReader(), []) : undefined;
    const go = all ? goReader() : undefined;
    this.go = go === undefined ? undefined : new Oracle('of Go', go, [GO_NAMES.join(','), NESTED.join(',')]);
  }

  async versions(): Promise<Readonly<Record<string, string>>> {
    const { forbidden, tools } = POLICY.fields;
    const names = [...KNOWN_NAMES, ...forbidden.flatMap((path) => path.split('.'))];
    const policy = JSON.stringify({ forbidden, tools, names, tokens: POLICY.media.tokens });
    const versions = JSON.parse((await this.python.ask(framed(policy))).toString()) as Record<string, string>;
    if (this.nlohmann !== undefined) versions['nlohmann'] = (await this.nlohmann.ask()).toString();
    if (this.go !== undefined) versions['go'] = (await this.go.ask()).toString();
    return versions;
  }

  /** The first difference of a case. */
  async compare(one: Case): Promise<Difference | undefined> {
    const { route, bytes, document, request, changes } = one;
    const differ = (reader: string, what: string, ours: string, theirs: string): Difference => {
      return { reader, what, ours, theirs, route, body: bytes };
    };
    const spliced = request === undefined ? undefined : editedBy(changes, request);
    const header = JSON.stringify(request === undefined ? {} : { route, changes });
    const [python, nlohmann, nlohmannSpliced, go] = await Promise.all([
      this.python.ask(framed(header), framed(bytes), framed(spliced ?? '')),
      this.nlohmann?.ask(framed(bytes)),
      spliced === undefined ? undefined : this.nlohmann?.ask(framed(spliced)),
      request === undefined
        ? undefined
        : this.go?.ask(
            framed(Buffer.concat([Buffer.from(`${LOOKED_INTO[route].join(',')}\n`), spliced ?? bytes])),
          ),
    ]);
    const answer = JSON.parse(python.toString()) as PythonAnswer;
    if (answer.noRoom) this.noRoom += 1;

    const ours = tokensOf(document);
    const body = { ...answer.body, ...(nlohmann === undefined ? {} : { nlohmann: nlohmann.toString() }) };
    const overflows = hasOverflow(ours);
    if (overflows && Object.values(body).some(isOverflow)) this.tooLarge += 1;
    for (const [reader, theirs] of Object.entries(body)) {
      if (overflows && isOverflow(theirs)) continue;
      const found = difference(ours, theirs);
      if (found !== undefined) return differ(reader, 'the body', ...found);
    }
    if (request === undefined || spliced === undefined) return undefined;

    const [understood, theirs] = [understoodOf(request), JSON.stringify(answer.understood)];
    if (understood !== theirs) return differ('json', 'what was understood', understood, theirs);
    const reading = readJson(spliced, NAMES);
    if (reading.kind === 'bad') return differ('ours', 'the edited body', reading.message, spliced.toString());
    // What is forbidden in another spelling is left out: engines that find it get the edited body.
    if (go !== undefined) {
      const fields = fieldsOf(reading.document, 0, '', LOOKED_INTO[route]);
      if (fields !== go.toString()) return differ('go', 'fields', ...firstLine(fields, go.toString()));
    }
    const sent = tokensOf(reading.document);
    const edited = {
      'json, edited': answer.edited ?? '!no answer',
      ...answer.spliced,
      ...(nlohmannSpliced === undefined ? {} : { nlohmann: nlohmannSpliced.toString() }),
    };
    for (const [reader, tokens] of Object.entries(edited)) {
      if (overflows && isOverflow(tokens)) continue;
      const found = difference(sent, tokens);
      if (found !== undefined) return differ(reader, `the edited body: ${JSON.stringify(changes)}`, ...found);
    }
    return undefined;
  }

  close(): void {
    for (const oracle of [this.python, this.nlohmann, this.go]) oracle?.close();
  }
}

function firstLine(ours: string, theirs: string): readonly [string, string] {
  const [a, b] = [ours.split('\n'), theirs.split('\n')];
  const place = a.findIndex((line, i) => line !== b[i]);
  return [a[place] ?? '', b[place] ?? ''];
}

/** The same difference in less: members, then pieces of the text, are left out as long as it stays. */
async function smaller(readers: Readers, found: Difference, changes: Changes): Promise<Difference> {
  let least = found;
  let tries = 0;
  const isSame = async (body: Buffer): Promise<boolean> => {
    const one = body.length === 0 || tries >= MOST_SMALLER ? undefined : caseOf(found.route, body, changes);
    if (one === undefined) return false;
    tries += 1;
    const again = await readers.compare(one);
    if (again?.reader !== found.reader || again.what !== found.what) return false;
    least = again;
    return true;
  };
  for (let left = true; left; ) {
    left = false;
    for (const body of withoutMembers(least.body)) {
      left = await isSame(body);
      if (left) break;
    }
  }
  for (let size = Math.ceil(least.body.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < least.body.length; ) {
      const { body } = least;
      const shorter = Buffer.concat([body.subarray(0, from), body.subarray(from + size)]);
      if (!(await isSame(shorter))) from += size;
    }
  }
  return least;
}

/** Each body that has one member less. */
function* withoutMembers(body: Buffer): Generator<Buffer> {
  const reading = readJson(body, NAMES);
  if (reading.kind === 'bad') return;
  const { document } = reading;
  for (let object = 0; object < document.tape.length; object += STRIDE) {
    if (!document.isObject(object)) continue;
    const end = document.next(object);
    for (let key = document.first(object); key < end; key = document.next(key + STRIDE)) {
      yield Buffer.concat(splice(body, cutMembers(document, object, [key])));
    }
  }
}

export async function run(options: DifferentialOptions = {}): Promise<DifferentialResult> {
  const { mutations = 50_000, seed = 1, readers: which = 'all' } = options;
  const begun = performance.now();
  const readers = new Readers(which === 'all');
  const random = new Random(seed);
  /** Accepted ones, which are changed again. */
  const pool: { readonly route: CommonRoute; readonly bytes: Buffer }[] = [];
  const written = (): (typeof pool)[number] => {
    if (random.chance(0.15)) return random.pick(CLIENT_BODIES);
    const { route, text } = new BodyWriter(random).body();
    return { route, bytes: Buffer.from(text) };
  };
  const differences: Difference[] = [];
  let [tried, accepted, requests] = [0, 0, 0];
  try {
    const versions = await readers.versions();
    while (accepted < mutations && differences.length < MOST_DIFFERENCES) {
      const cases: Case[] = [];
      while (cases.length < Math.min(BATCH, mutations - accepted)) {
        const { route, bytes } = pool.length > BATCH && random.chance(0.4) ? random.pick(pool) : written();
        const body = mutated(bytes, random, written().bytes);
        if (body.equals(bytes) || body.length === 0) continue;
        tried += 1;
        const one = caseOf(route, body, changesBy(random));
        if (one === undefined) continue;
        cases.push(one);
        if (one.request !== undefined) requests += 1;
        const place = pool.length < 4 * BATCH ? pool.length : random.below(pool.length);
        if (body.length < 4_096) pool[place] = { route, bytes: body };
      }
      accepted += cases.length;
      const results = await Promise.all(cases.map((one) => readers.compare(one)));
      for (const [i, found] of results.entries()) {
        if (found === undefined || differences.length >= MOST_DIFFERENCES) continue;
        differences.push(await smaller(readers, found, (cases[i] as Case).changes));
      }
    }
    const seconds = (performance.now() - begun) / 1_000;
    const { noRoom, tooLarge } = readers;
    return { tried, accepted, requests, noRoom, tooLarge, differences, versions, seconds };
  } finally {
    readers.close();
  }
}

/** For people: one difference a paragraph. */
export const told = ({ reader, what, route, body, ours, theirs }: Difference): string =>
  [
    `${reader}: ${what} (${route})`,
    `  body   ${JSON.stringify(body.toString('latin1').slice(0, 2_000))}`,
    `  ours   ${ours.slice(0, 500)}`,
    `  theirs ${theirs.slice(0, 500)}`,
  ].join('\n');

function numberArgument(name: string): number | undefined {
  const place = process.argv.indexOf(name);
  if (place < 0) return undefined;
  const value = Number(process.argv[place + 1]);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} takes a whole number`);
  return value;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [mutations, seed] = [numberArgument('--mutations'), numberArgument('--seed')];
  const { differences, versions, ...counts } = await run({
    ...(mutations === undefined ? {} : { mutations }),
    ...(seed === undefined ? {} : { seed }),
  });
  const readers = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  process.stdout.write(
    [
      ...differences.map(told),
      `readers: ${readers.join(', ')}${'go' in versions ? '' : ' (no Go on PATH: left out)'}`,
      `${counts.accepted} accepted mutations of ${counts.tried} compared, ${counts.requests} of them requests, in ${counts.seconds.toFixed(0)} s`,
      `${counts.noRoom} of them had too little memory for orjson at first`,
      `${counts.tooLarge} of them had a number beyond a double, and were refused for it by nlohmann::json or orjson`,
      `${differences.length} differences`,
      '',
    ].join('\n'),
  );
  process.exitCode = differences.length === 0 ? 0 : 1;
}

/**
 * CPU and memory of a request in the service, without Envoy and without a wire: ext_proc messages in, answers out,
 * over the real admission, queue and limits. `--against PATH` compares with another checkout in the same run, in turn.
 *
 *   npm run bench:lifecycle -- --against ../fairlane-before [--rounds 7] [--service]
 *
 * `--service` also runs both whole, as compiled by `npm run build` in each: `fairlane serve` behind gRPC, as from an
 * Envoy.
 *
 * `ratio` is this checkout over the other one, the median of the rounds' ratios; below 1 is less than before. `least`
 * is the least of all rounds over the least of the other's: read that where the machine is busy. Both are compiled
 * first, and each runs in a process of its own.
 */
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { referenceCodec } from '../tests/support/reference-codec.ts';
import { answerBody, headersOf, requestBody } from './ext-proc-client.ts';
import { type ExtProcService, startExtProcService } from './ext-proc-service.ts';
import { queuedMemory } from './fairness/queued-memory.ts';

/** Of the tests' world. */
const MODEL = 'small';
const HERE = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({
  options: {
    against: { type: 'string' },
    rounds: { type: 'string', default: '7' },
    service: { type: 'boolean', default: false },
  },
});
const rounds = Number(values.rounds);

const codec = referenceCodec(
  'envoy/service/ext_proc/v3/external_processor.proto',
  'envoy.service.ext_proc.v3.ExternalProcessor',
  'Process',
);
const encode = (messages: readonly object[]): readonly Buffer[] =>
  messages.map((message) => Buffer.from(codec.encodeRequest(message)));
function requestOf(fields: object, contentBytes: number): readonly object[] {
  const body = JSON.stringify({
    model: MODEL,
    ...fields,
    messages: [{ role: 'user', content: 'word '.repeat(contentBytes / 5) }],
  });
  const headers = {
    ':method': 'POST',
    ':path': '/v1/chat/completions',
    ':authority': 'fairlane.example',
    ':scheme': 'http',
    accept: 'application/json',
    'content-type': 'application/json',
    'content-length': String(body.length),
    'user-agent': 'OpenAI/Python 2.8.0',
    'x-stainless-lang': 'python',
    'x-stainless-package-version': '2.8.0',
    'x-forwarded-proto': 'http',
    'x-request-id': '0b7cbb0e-6ba2-4cbf-8d3e-3d8f0c6d2a5e',
    'x-fairlane-tenant': 'a',
  };
  return [{ request_headers: headersOf(headers) }, requestBody(body)];
}

const answerOf = (contentType: string, chunks: readonly string[]): readonly object[] => [
  {
    response_headers: headersOf({ ':status': '200', 'content-type': contentType, server: 'uvicorn' }),
    attributes: {
      'envoy.filters.http.ext_proc': {
        fields: { 'upstream.address': { stringValue: '10.0.0.1:8000' } },
      },
    },
  },
  ...chunks.map((chunk, i) => answerBody(chunk, i === chunks.length - 1)),
];

const usage = { prompt_tokens: 500, completion_tokens: 20, total_tokens: 520 };
const whole = answerOf('application/json', [
  JSON.stringify({
    id: 'x',
    choices: [{ message: { role: 'assistant', content: 'word '.repeat(20) } }],
    usage,
  }),
]);
const event = (data: object): string => `data: ${JSON.stringify({ id: 'chatcmpl-0f3b1c5e', ...data })}\n\n`;
const TOKENS = 20;
const streamed = answerOf('text/event-stream', [
  ...Array.from({ length: TOKENS }, () =>
    event({ choices: [{ index: 0, delta: { content: ' word' }, finish_reason: null }] }),
  ),
  event({ choices: [], usage }),
  'data: [DONE]\n\n',
]);

interface Load {
  readonly name: string;
  readonly what: 'once' | 'queued' | 'memory';
  readonly messages: readonly Buffer[];
  readonly count: number;
}
const loads: readonly Load[] = [
  {
    name: 'µs a request of 500 B, whole answer',
    what: 'once',
    messages: encode([...requestOf({}, 500), ...whole]),
    count: 6_000,
  },
  {
    name: `µs a request of 2 KB, ${TOKENS} streamed tokens`,
    what: 'once',
    messages: encode([...requestOf({ stream: true }, 2_000), ...streamed]),
    count: 2_000,
  },
  {
    name: 'µs a request of 2 KB that was queued',
    what: 'queued',
    messages: encode([...requestOf({ stream: true }, 2_000), ...whole]),
    count: 4_000,
  },
  {
    name: 'bytes a queued request of 2 KB',
    what: 'memory',
    messages: encode(requestOf({ stream: true }, 2_000)),
    count: 10_000,
  },
];

/** Compiles what the worker needs of a checkout, into a folder of it that is removed in the end. */
function compile(root: string): string {
  mkdirSync(join(root, 'dist'), { recursive: true });
  const folder = mkdtempSync(join(root, 'dist', 'bench-'));
  const support = join(root, 'tests', 'support');
  const world = readdirSync(support).find((file) =>
    readFileSync(join(support, file), 'utf8').includes('export function createWorld('),
  );
  if (world === undefined) throw new Error(`${support} has no createWorld`);
  const config = {
    extends: '../../tsconfig.json',
    compilerOptions: { noEmit: false, noCheck: true, outDir: '.', rootDir: '../..' },
    include: [],
    files: [`../../tests/support/${world}`, '../../src/ext-proc/grpc-ext-proc.ts'],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder], {
    stdio: 'inherit',
  });
  return folder;
}

interface Version {
  readonly folder: string;
  measure(load: Load): Promise<number>;
  stop(): void;
}

async function start(root: string): Promise<Version> {
  const folder = compile(root);
  const child = fork(join(HERE, 'bench/lifecycle/worker.mjs'), [folder], {
    execArgv: ['--expose-gc'],
    serialization: 'advanced',
  });
  const next = async (): Promise<unknown> => {
    const ended = new AbortController();
    const exit = once(child, 'exit', { signal: ended.signal }).then(() => {
      throw new Error(`the worker of ${root} has ended`);
    });
    const message = once(child, 'message').then(([value]: unknown[]) => value);
    const value = await Promise.race([message, exit]);
    exit.catch(() => undefined);
    ended.abort();
    return value;
  };
  await next();
  return {
    folder,
    async measure({ what, messages, count }) {
      const result = next();
      child.send({ what, messages, count });
      return (await result) as number;
    },
    stop() {
      child.kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const median = (sorted: readonly number[]): number => {
  const ordered = sorted.toSorted((a, b) => a - b);
  return ordered[ordered.length >> 1] ?? Number.NaN;
};

const against = values.against === undefined ? undefined : resolve(values.against);
if (against !== undefined && !existsSync(join(against, 'node_modules'))) {
  throw new Error(`${against} has no node_modules: run npm ci there`);
}

/** A measurement of this checkout and of the other one. */
type Pair = readonly [here: () => Promise<number>, other: (() => Promise<number>) | undefined];

async function compare(name: string, [mine, theirs]: Pair, times: number): Promise<void> {
  const here: number[] = [];
  const other: number[] = [];
  for (let i = 0; i < times; i += 1) {
    here.push(await mine());
    other.push((await theirs?.()) ?? Number.NaN);
  }
  const ratio = median(here.map((value, i) => value / (other[i] ?? Number.NaN)));
  const least = Math.min(...here) / Math.min(...other);
  const cells = [
    median(here).toFixed(1).padStart(10),
    median(other).toFixed(1).padStart(10),
    ratio.toFixed(2).padStart(8),
    least.toFixed(2).padStart(8),
  ];
  console.log(`${name.padEnd(50)}${cells.join('')}`);
}

async function compareParts(): Promise<void> {
  const here = await start(HERE);
  const other = against === undefined ? undefined : await start(against);
  try {
    for (const load of loads) {
      const pair: Pair = [() => here.measure(load), other && (() => other.measure(load))];
      // Twice to warm up.
      for (let i = 0; i < 2; i += 1) for (const one of pair) await one?.();
      await compare(load.name, pair, rounds);
    }
  } finally {
    here.stop();
    other?.stop();
  }
}

const programOf = (root: string): string => join(root, 'dist/cli/index.js');
const SERVICE_REQUESTS = 2_000;
const SERVICE_CLIENTS = 16;

/** µs of CPU of a request behind gRPC. */
async function cpuOf(service: ExtProcService): Promise<number> {
  const messages = [...requestOf({}, 500), ...whole];
  const before = service.cpuMs();
  let left = SERVICE_REQUESTS;
  await Promise.all(
    Array.from({ length: SERVICE_CLIENTS }, async () => {
      while (left > 0) {
        left -= 1;
        await service.exchange(messages, messages.length, true);
      }
    }),
  );
  return ((service.cpuMs() - before) * 1_000) / SERVICE_REQUESTS;
}

async function compareServices(): Promise<void> {
  const options = { slots: 1_000, maxQueued: 1_000 };
  const here = await startExtProcService({ ...options, program: programOf(HERE) });
  const other =
    against === undefined
      ? undefined
      : await startExtProcService({ ...options, program: programOf(against) });
  try {
    const pair: Pair = [() => cpuOf(here), other && (() => cpuOf(other))];
    for (const one of pair) await one?.();
    await compare('µs a request of 500 B behind gRPC', pair, rounds);
  } finally {
    await here.close();
    await other?.close();
  }
  const memoryOf = async (root: string): Promise<number> => (await queuedMemory(10_000, programOf(root))).mb;
  const pair: Pair = [() => memoryOf(HERE), against === undefined ? undefined : () => memoryOf(against)];
  await compare('MB of 10,000 queued requests of 2 KB behind gRPC', pair, Math.min(rounds, 3));
}

const TITLES = ['here', 'other', 'ratio', 'least'];
const widths = [10, 10, 8, 8];
console.log(''.padEnd(50) + TITLES.map((title, i) => title.padStart(widths[i] ?? 0)).join(''));
await compareParts();
if (values.service) await compareServices();

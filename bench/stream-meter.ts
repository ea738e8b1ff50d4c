/**
 * CPU per streamed chunk and per request body in src/openai. Run: node --import tsx bench/stream-meter.ts
 * Read the ratio: a chunk against one JSON.parse of its data, a body against one JSON.parse of its text, both measured
 * in the same run. Below 1 a chunk costs less than parsing it would.
 */

import { readJson } from '../src/openai/json/reader.ts';
import { NAMES } from '../src/openai/names.ts';
import { parseRequest, serialiseRequest } from '../src/openai/request.ts';
import { createStreamMeter } from '../src/openai/stream-meter.ts';
import { policyWith } from '../tests/support/documents.ts';

const CHUNK_ROUNDS = 300_000;

function cpuMicros(run: () => void): number {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** The median of five runs after one that warms up, in µs for one of `times`. */
function perCall(times: number, call: () => void): number {
  const runs: number[] = [];
  for (let run = 0; run < 6; run++) {
    runs.push(
      cpuMicros(() => {
        for (let i = 0; i < times; i++) call();
      }) / times,
    );
  }
  return runs.slice(1).sort((a, b) => a - b)[2] as number;
}

const print = (what: string, micros: number, baseline: number): void =>
  console.log(
    `${what.padEnd(44)} ${micros.toFixed(3).padStart(9)} µs   ratio ${(micros / baseline).toFixed(2)}`,
  );

const chunkOf = (choice: object, rest: object = {}): string =>
  JSON.stringify({
    id: 'chatcmpl-0f3b1c5e8d7a4b6c9e2f1a0b3c4d5e6f',
    object: 'chat.completion.chunk',
    created: 1_770_000_000,
    model: 'meta-llama/Llama-3.1-8B-Instruct',
    choices: [{ index: 0, logprobs: null, finish_reason: null, ...choice }],
    ...rest,
  });

const token = chunkOf({ delta: { content: ' world' } });
const chunk = Buffer.from(`data: ${token}\n\n`);
const half = chunk.length >> 1;
const [left, right] = [chunk.subarray(0, half), chunk.subarray(half)];
const usage = chunkOf(
  { delta: { content: ' world' } },
  { usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 } },
);
const withUsage = Buffer.from(`data: ${usage}\n\n`);
const typed = Buffer.from(
  `event: content_block_delta\ndata: ${JSON.stringify({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: ' world' } })}\n\n`,
);

const parseChunk = perCall(CHUNK_ROUNDS, () => JSON.parse(chunk.toString('utf8', 6, chunk.length - 2)));
print(`JSON.parse of a ${chunk.length}-byte token chunk`, parseChunk, parseChunk);
let now = 0;
const meter = createStreamMeter({ route: 'chat.completions', removeUsageChunk: true });
print(
  'token chunk',
  perCall(CHUNK_ROUNDS, () => void meter.push(chunk, now++)),
  parseChunk,
);
print(
  'token chunk in two pieces',
  perCall(CHUNK_ROUNDS, () => {
    meter.push(left, now);
    meter.push(right, now++);
  }),
  parseChunk,
);
print(
  'token chunk with usage',
  perCall(CHUNK_ROUNDS, () => void meter.push(withUsage, now++)),
  parseChunk,
);
const messages = createStreamMeter({ route: 'messages', removeUsageChunk: false });
print(
  'Anthropic text delta',
  perCall(CHUNK_ROUNDS, () => void messages.push(typed, now++)),
  parseChunk,
);

const fields = { onForbidden: 'drop', forbidden: ['priority', 'cache_salt', 'bootstrap_*'] } as const;
const bodyOf = (content: string): Buffer =>
  Buffer.from(
    JSON.stringify({
      model: 'llama',
      stream: true,
      max_tokens: 100,
      temperature: 0.7,
      messages: [
        { role: 'system', content: 'You are helpful.' },
        { role: 'user', content },
      ],
    }),
  );
const policy = policyWith(fields);
const source = 'if (x === "a") {\n  return y["b"]; // a comment of some length\n}\n';
for (const [what, body, rounds] of [
  ['1 KB body', bodyOf('word '.repeat(170)), 20_000],
  ['220 KB body of prose', bodyOf('word '.repeat(44_000)), 200],
  ['220 KB body of source code', bodyOf(source.repeat(3_000)), 200],
] as const) {
  const parse = perCall(rounds, () => JSON.parse(body.toString('utf8')));
  print(`JSON.parse of a ${what}`, parse, parse);
  print(
    `readJson of a ${what}`,
    perCall(rounds, () => void readJson(body, NAMES)),
    parse,
  );
  print(
    `parse, serialise a ${what}`,
    perCall(rounds, () => {
      const parsed = parseRequest('chat.completions', body, policy);
      if (parsed.kind === 'ok') serialiseRequest(parsed.request, { includeUsage: true, maxOutputTokens: 50 });
    }),
    parse,
  );
}

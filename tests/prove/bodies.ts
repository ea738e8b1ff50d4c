/**
 * What the worst body costs: the CPU time of one turn of the event loop, for any body, accepted or refused.
 *
 *   npm run prove -- bodies [--tries 10000] [--seed 1]
 *
 * A search: bodies are made of fragments that are repeated, and mutated towards what costs most. A turn is what runs without giving
 * way to others: a message of Envoy as it arrives, a step of reading, what is made of a body that has been read (what is
 * forbidden, the prompt's size and hashes, the queue, the edited text). The time is CPU time: it does not count when others have
 * the core. The worst are measured again, because the first run of any code is slow; the least of
 * these counts.
 */
import { parseArgs } from 'node:util';
import { BodyQueue } from '../../src/admission/body-queue.ts';
import { DEFAULT_FORBIDDEN_FIELDS } from '../../src/config/forbidden-fields.ts';
import type { CommonRoute } from '../../src/domain/routes.ts';
import { ROUTES } from '../../src/domain/routes.ts';
import { type FrameReader, readFrames } from '../../src/grpc/frames.ts';
import { CLIENT_BODIES } from '../support/client-bodies.ts';
import { chatHead, createWorld } from '../support/lifecycle.ts';
import { placesOf } from './unaltered/oracle.ts';

export const DEFAULT_LIMIT = 8 * 1024 * 1024;
export const LARGEST_LIMIT = 128 * 1024 * 1024;

interface NewerProcess {
  /** Since Node.js 23.9. */
  threadCpuUsage?(): NodeJS.CpuUsage;
}

/** In ms. Where Node.js does not know the time of a thread it is that of all, with those that compile and collect garbage. */
function threadCpuMs(): number {
  const { user, system } = (process as NewerProcess).threadCpuUsage?.() ?? process.cpuUsage();
  return (user + system) / 1_000;
}

type Random = () => number;

/** xorshift32 (Marsaglia 2003, "Xorshift RNGs"): the seeds that docs/explanation/proofs.md names are seeds of it. */
function createRandom(seed: number): Random {
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

/** A body: what comes before, fragments with how often each is repeated, and what comes behind. */
export interface Plan {
  readonly route: CommonRoute;
  /** Index of a frame: where in the body the fragments stand. */
  readonly frame: number;
  readonly parts: readonly { readonly text: string; readonly times: number }[];
  readonly bytes: number;
}

const FRAMES: readonly (readonly [CommonRoute, before: string, after: string])[] = [
  ['chat.completions', '{"model":"small","stream":true,"messages":[{"role":"user","content":"', '"}]}'],
  ['chat.completions', '{"model":"small","stream":true,"messages":[', '{"role":"user","content":"x"}]}'],
  ['chat.completions', '{"model":"small","messages":[{"role":"user","content":[', '{"type":"text"}]}]}'],
  ['chat.completions', '{"model":"small","messages":[{"role":"user","content":"x",', '"name":"x"}]}'],
  ['chat.completions', '{"model":"small","messages":[{"role":"user","content":"x"}],"tools":[', '{}]}'],
  [
    'chat.completions',
    '{"model":"small","messages":[{"role":"user","content":"x"}],"chat_template_kwargs":{',
    '"x":0}}',
  ],
  ['chat.completions', '{"model":"small","messages":[{"role":"user","content":"x"}],', '"x":0}'],
  ['chat.completions', '{"model":"small","messages":[{"role":"user","content":"x"}],"a":[', '0]}'],
  ['chat.completions', '{"model":"small","messages":[{"role":"user","content":"x"}],"a":{', '"x":0}}'],
  ['chat.completions', '{"model":"small","messages":[{"role":"user","content":"x"}],"a":"', '"}'],
  ['completions', '{"model":"small","stream":true,"prompt":[', '1]}'],
  ['completions', '{"model":"small","prompt":[', '""]}'],
  ['responses', '{"model":"small","input":[', '{"role":"user","content":"x"}]}'],
  [
    'messages',
    '{"model":"small","max_tokens":5,"messages":[{"role":"user","content":[',
    '{"type":"text"}]}]}',
  ],
  ['embeddings', '{"model":"small","input":[', '"x"]}'],
  ['completions', '', ''],
];

const FRAGMENTS: readonly string[] = [
  'x',
  'word ',
  '漢',
  '😀',
  '\\n',
  '\\u00e9',
  '\\ud83d\\ude00',
  '\\/',
  '\\"',
  '"',
  ',',
  ':',
  ' ',
  '\n',
  '0',
  '1,',
  '-1.5e3,',
  '1e9,',
  '12345,',
  '0.1234567890123456789,',
  '[],',
  '{},',
  '[',
  ']',
  '{',
  '}',
  '[[[[[[[[]]]]]]]],',
  '"",',
  '"a",',
  'true,',
  'null,',
  '"k#":0,',
  '"k#":"v",',
  '"K#":0,',
  '"\\u006b#":0,',
  '"é#":{},',
  '{"a":0},',
  '{"role":"user","content":"hi"},',
  '{"role":"user","content":[{"type":"text","text":"hi"}]},',
  '{"type":"text","text":"hi"},',
  '{"type":"text","text":"hi","uuid":"a"},',
  '{"type":"image_url","image_url":{"url":"data:,"}},',
  '{"image":"data:,"},',
  '{"role":"user","Contents":"x"},',
  '{"type":"function","function":{"name":"f#","parameters":{"a":{"b":1}}}},',
  '{"type":"namespace","tools":[{}]},',
  '"bootstrap_#":0,',
  '"priority#":0,',
  '"messageſ#":0,',
  '{"type":"tool_result","content":[{"type":"text","text":"x"}]},',
  `"${'k'.repeat(4_000)}#":0,`,
  `"${'\\u006b'.repeat(2_000)}#":0,`,
  `"${'y'.repeat(600)}",`,
  `${'9'.repeat(300)},`,
];

/** Messages, items and tools of clients, as they stand. */
const CLIENT_FRAGMENTS: readonly string[] = [
  ...new Set(
    CLIENT_BODIES.flatMap(({ bytes }) => {
      const text = bytes.toString();
      const lists = placesOf(text).members.filter(({ value }) => value.items[0]?.kind === 'object');
      return lists.flatMap(({ value }) =>
        value.items.map(({ start, end }) => `${text.slice(start, end).replaceAll('#', '')},`),
      );
    }),
  ),
];

export function textOf({ frame, parts, bytes }: Plan): Buffer {
  const [, before, after] = FRAMES[frame] ?? ['', '', ''];
  const pieces: string[] = [before];
  let size = before.length + after.length;
  let number = 0;
  for (const { text, times } of parts) {
    const isNumbered = text.includes('#');
    const length = Buffer.byteLength(text) + (isNumbered ? 6 : 0);
    const most = Math.min(times, Math.max(0, Math.floor((bytes - size) / Math.max(1, length))));
    if (!isNumbered) pieces.push(text.repeat(most));
    else for (let i = 0; i < most; i += 1, number += 1) pieces.push(text.replace('#', String(number)));
    size += most * length;
  }
  pieces.push(after);
  return Buffer.from(pieces.join('')).subarray(0, bytes);
}

const pick = <T>(random: Random, items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
const fragmentOf = (random: Random): string => pick(random, random() < 0.15 ? CLIENT_FRAGMENTS : FRAGMENTS);
/** Of all sizes alike. */
const timesOf = (random: Random): number => Math.floor(2 ** (random() * 23));

function planOf(random: Random, bytes: number): Plan {
  const frame = Math.floor(random() * FRAMES.length);
  const parts = Array.from({ length: 1 + Math.floor(random() * 3) }, () => ({
    text: fragmentOf(random),
    times: timesOf(random),
  }));
  return { route: FRAMES[frame]?.[0] ?? 'completions', frame, parts, bytes };
}

function mutated(random: Random, plan: Plan): Plan {
  const parts = [...plan.parts];
  const at = Math.floor(random() * parts.length);
  const part = parts[at] ?? { text: 'x', times: 1 };
  switch (Math.floor(random() * 6)) {
    case 0:
      parts[at] = { ...part, times: timesOf(random) };
      break;
    case 1:
      parts[at] = { ...part, text: fragmentOf(random) };
      break;
    case 2:
      parts.splice(at, 0, { text: fragmentOf(random), times: timesOf(random) });
      break;
    case 3:
      parts[at] = { ...part, text: part.text + fragmentOf(random) };
      break;
    case 4: {
      // A byte of the fragment becomes another: what is nearly right costs as much as what is right.
      const place = Math.floor(random() * part.text.length);
      parts[at] = {
        ...part,
        text:
          part.text.slice(0, place) + pick(random, Array.from('"\\,:{}[]0e-é#')) + part.text.slice(place + 1),
      };
      break;
    }
    default: {
      const frame = Math.floor(random() * FRAMES.length);
      return { ...plan, frame, route: FRAMES[frame]?.[0] ?? 'completions' };
    }
  }
  return { ...plan, parts: parts.filter(({ text }) => text !== '').slice(0, 6) };
}

export interface Cost {
  /** Of the most expensive turn, in ms. */
  readonly worstMs: number;
  readonly turns: number;
  readonly totalMs: number;
  /** 0: it was sent on. */
  readonly status: number;
}

/** One body through a request's life cycle, with everything on that works on bodies. */
export function costOf(route: CommonRoute, body: Buffer): Cost {
  const turns: (() => void)[] = [];
  const queue = new BodyQueue({
    now: () => performance.now(),
    later: (callback) => turns.push(callback),
    onBug: (error) => {
      throw error;
    },
  });
  const world = createWorld({
    window: 64,
    limits: { maxContext: 10_000_000, maxOutputs: 128, maxQueued: 10_000 },
    fields: { forbidden: DEFAULT_FORBIDDEN_FIELDS },
    change: (config) => ({ ...config, envoy: { ...config.envoy, maxBodyBytes: LARGEST_LIMIT } }),
    choosing: { sessionHeader: 'x-session-id', zone: undefined, readers: undefined },
    help: { cacheSalt: true, priority: { belowFairShare: -1, other: 1 } },
  });
  world.context.bodies = queue;
  const { request, said } = world.open(true);
  request.headers(chatHead({ path: ROUTES[route].path, contentLength: body.length }), 0);
  let worstMs = 0;
  let totalMs = 0;
  let count = 0;
  const turn = (work: () => void): void => {
    const before = threadCpuMs();
    work();
    const ms = threadCpuMs() - before;
    worstMs = Math.max(worstMs, ms);
    totalMs += ms;
    count += 1;
  };
  turn(() => request.body(body, 0));
  while (turns.length > 0) {
    for (const callback of turns.splice(0)) turn(callback);
  }
  const last = said.at(-1);
  const status = last?.kind === 'respond' ? last.response.status : 0;
  request.streamEnded(1);
  return { worstMs, turns: count, totalMs, status };
}

/** The worst turn of taking a message of that size out of the chunks that it comes in. */
export function assemblyMs(bytes: number): number {
  const chunk = Buffer.alloc(65_536, 'x');
  const reader: FrameReader = { part: undefined };
  const first = Buffer.from(chunk);
  first[0] = 0;
  first.writeUInt32BE(bytes, 1);
  let worstMs = 0;
  for (let sent = 0; sent < bytes + 5; sent += chunk.length) {
    const next = sent === 0 ? first : chunk.subarray(0, Math.min(chunk.length, bytes + 5 - sent));
    const before = threadCpuMs();
    readFrames(reader, next, bytes, () => undefined);
    worstMs = Math.max(worstMs, threadCpuMs() - before);
  }
  return worstMs;
}

export interface Found {
  readonly plan: Plan;
  readonly cost: Cost;
}

/** Of a turn. */
export const MOST_MS = 20;
const KEPT = 32;

/** @param onFound told of each new worst. */
export function search(
  { tries, seed, limit }: { readonly tries: number; readonly seed: number; readonly limit: number },
  onFound: (found: Found, attempt: number) => void = () => undefined,
): readonly Found[] {
  const random = createRandom(seed);
  const best: Found[] = [];
  for (let attempt = 0; attempt < tries; attempt += 1) {
    // What is bounded in number is small; the whole size every tenth time.
    const bytes = attempt % 10 === 0 ? limit : Math.min(limit, 2 ** (14 + Math.floor(random() * 8)));
    const plan =
      best.length < KEPT || random() < 0.3
        ? planOf(random, bytes)
        : { ...mutated(random, pick(random, best).plan), bytes };
    const text = textOf(plan);
    let cost = costOf(plan.route, text);
    const least = best.at(-1)?.cost.worstMs ?? 0;
    if (best.length === KEPT && cost.worstMs <= least) continue;
    // Compiling and collecting garbage are no cost of the body: what it costs is the least of some runs.
    for (let again = 0; again < 2; again += 1) {
      const next = costOf(plan.route, text);
      if (next.worstMs < cost.worstMs) cost = next;
    }
    if (best.length === KEPT && cost.worstMs <= least) continue;
    const found = { plan, cost };
    if (cost.worstMs > (best[0]?.cost.worstMs ?? 0)) onFound(found, attempt);
    best.push(found);
    best.sort((a, b) => b.cost.worstMs - a.cost.worstMs);
    best.length = Math.min(best.length, KEPT);
  }
  return best;
}

const shown = ({ plan, cost }: Found): string => {
  const parts = plan.parts.map(({ text, times }) => `${times} × ${JSON.stringify(text.slice(0, 60))}`);
  return `${cost.worstMs.toFixed(2)} ms, ${cost.turns} turns, ${cost.totalMs.toFixed(0)} ms in all, status ${cost.status}: frame ${plan.frame}, ${parts.join(' + ')}`;
};

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { tries: { type: 'string', default: '10000' }, seed: { type: 'string', default: '1' } },
  });
  const tries = Number(values.tries);
  const seed = Number(values.seed);
  console.log(`bodies: ${tries} tries at ${DEFAULT_LIMIT} bytes, seed ${seed}`);
  const best = search({ tries, seed, limit: DEFAULT_LIMIT }, (found, attempt) =>
    console.log(`  ${String(attempt).padStart(6)}  ${shown(found)}`),
  );
  const [worst] = best;
  console.log(`worst turn at the default limit: ${worst?.cost.worstMs.toFixed(2)} ms`);
  let largest = 0;
  for (const { plan } of best) {
    const stretched = {
      ...plan,
      bytes: LARGEST_LIMIT,
      parts: plan.parts.map((part) => ({ ...part, times: 64 * part.times })),
    };
    const text = textOf(stretched);
    const costs = [costOf(plan.route, text), costOf(plan.route, text)].toSorted(
      (a, b) => a.worstMs - b.worstMs,
    );
    largest = Math.max(largest, costs[0]?.worstMs ?? 0);
  }
  for (const [frame, [route]] of FRAMES.entries()) {
    for (const fragment of FRAGMENTS) {
      if (frame % 3 !== fragment.length % 3) continue;
      const text = textOf({
        route,
        frame,
        parts: [{ text: fragment, times: 2 ** 27 }],
        bytes: LARGEST_LIMIT / 4,
      });
      let cost = costOf(route, text);
      // As in the search: the least of some runs.
      for (let again = 0; again < 2 && cost.worstMs > MOST_MS / 2; again += 1) {
        const next = costOf(route, text);
        if (next.worstMs < cost.worstMs) cost = next;
      }
      if (cost.worstMs > largest)
        console.log(
          `  frame ${frame}, ${JSON.stringify(fragment.slice(0, 40))}: ${cost.worstMs.toFixed(2)} ms`,
        );
      largest = Math.max(largest, cost.worstMs);
    }
  }
  console.log(`worst turn at the largest limit: ${largest.toFixed(2)} ms`);
  const assembly = assemblyMs(LARGEST_LIMIT);
  console.log(
    `worst turn of taking a message of ${LARGEST_LIMIT} bytes from its chunks: ${assembly.toFixed(2)} ms`,
  );
  const most = Math.max(worst?.cost.worstMs ?? 0, largest, assembly);
  if (most > MOST_MS) {
    console.error(`A turn took ${most.toFixed(2)} ms; it must take at most ${MOST_MS}.`);
    process.exitCode = 1;
  }
}

if (process.argv[1]?.endsWith('bodies.ts') === true) await run(process.argv.slice(2));

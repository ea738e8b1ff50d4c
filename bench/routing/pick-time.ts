/** CPU time of a decision, by the number of endpoints, and of reading a prompt. */

import { createRandom } from '../../src/loadtest/load.ts';
import type { CandidateState, ChoiceRequest } from '../../src/routing/candidate.ts';
import { createPoolRouter } from '../../src/routing/pool-router.ts';
import { resolveProfile } from '../../src/routing/profiles.ts';
import { createPromptHasher, type PromptHashes } from '../../src/routing/prompt-hash.ts';
import { jsonDocumentOf } from '../../tests/support/documents.ts';

const SEED = Uint32Array.from([1, 2, 3, 4, 0x9e3779b9, 0x85ebca77]);
const ROUNDS = 5;
const DECISIONS = 4_000;
const DOCUMENTS = 400;
const LIMIT = 64;
const PROMPT_BYTES = 20_000;

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** Microseconds of CPU for one turn. */
function cpuUs(turns: number, turn: (i: number) => void): number {
  const before = process.cpuUsage();
  for (let i = 0; i < turns; i += 1) turn(i);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / turns;
}

const textOf = (random: () => number, bytes: number): string => {
  let text = '';
  while (text.length < bytes) text += Math.floor(random() * 2 ** 30).toString(36);
  return Buffer.from(text.slice(0, bytes)).toString();
};

const bodyOf = (text: string) => jsonDocumentOf({ model: 'm', messages: [{ role: 'user', content: text }] });

export interface PickTime {
  readonly endpoints: number;
  /** Lookup of the prefix and choice, without and with an adapter. */
  readonly pickUs: number;
  readonly pickAdapterUs: number;
  /** Telling the index of a release and of an end. */
  readonly rememberUs: number;
}

/**
 * A pool in use: every endpoint has some sequences, a third has slow clients, each document is cached at up to ten
 * endpoints and the system prompt at all of them; each decision finds other counts than the one before.
 */
export function pickTime(endpoints: number): PickTime {
  const random = createRandom(endpoints);
  const router = createPoolRouter(resolveProfile({ profile: 'balanced' }));
  const candidates: CandidateState[] = Array.from({ length: endpoints }, (_, i) => {
    const candidate = router.join(`10.0.${i >> 8}.${i & 255}:8000`);
    candidate.flags = 0;
    candidate.concurrencyLimit = LIMIT;
    candidate.sequences = Math.floor(random() * LIMIT);
    candidate.kvCapacityTokens = 432_000;
    candidate.kvTokens = Math.floor(random() * 300_000);
    candidate.prefillTokens = Math.floor(random() * 4_000);
    candidate.slowClients = i % 3;
    candidate.adaptersMax = 8;
    candidate.adapters = new Set([`adapter-${i % 8}`, `adapter-${(i + 3) % 8}`]);
    router.setCacheBytes(candidate, 1_700_000);
    return candidate;
  });
  const hasher = createPromptHasher(SEED);
  const system = textOf(random, 2_000);
  const requests: ChoiceRequest[] = Array.from({ length: DOCUMENTS }, () => {
    const document = bodyOf(system + textOf(random, PROMPT_BYTES - 2_000));
    const prompt = hasher.hash({ route: 'chat.completions', document, scope: 't', model: 'm' });
    return {
      prompt,
      promptBytes: PROMPT_BYTES,
      promptTokens: PROMPT_BYTES / 4,
      totalTokens: PROMPT_BYTES / 4 + 200,
      stream: true,
      slow: false,
    };
  });
  for (const request of requests) {
    for (let i = 0; i < 10; i += 1) {
      const candidate = candidates[Math.floor(random() * endpoints)];
      if (candidate !== undefined) router.released(request, candidate, 0);
    }
  }
  for (const candidate of candidates) {
    const first = requests[candidate.candidateIndex % DOCUMENTS];
    if (first !== undefined) router.released(first, candidate, 0);
  }
  const withAdapter = requests.map((request) => ({ ...request, adapter: 'adapter-3' }));
  const asks = {
    room: (candidate: { readonly sequences: number }) => candidate.sequences < LIMIT,
    permits: () => true,
  };
  const pickOf = (list: readonly ChoiceRequest[]) => (i: number) => {
    const candidate = candidates[i % endpoints];
    if (candidate !== undefined) candidate.sequences = (i * 7) % LIMIT;
    const request = list[i % DOCUMENTS];
    if (request !== undefined) router.choose(request, asks, i);
  };
  const remember = (i: number): void => {
    const candidate = candidates[(i * 13) % endpoints];
    const request = requests[i % DOCUMENTS];
    if (candidate === undefined || request === undefined) return;
    router.released(request, candidate, i);
    router.ended(request, candidate);
  };
  const rounds = Array.from({ length: ROUNDS + 1 }, () => ({
    pickUs: cpuUs(DECISIONS, pickOf(requests)),
    pickAdapterUs: cpuUs(DECISIONS, pickOf(withAdapter)),
    rememberUs: cpuUs(DECISIONS, remember),
  })).slice(1);
  return {
    endpoints,
    pickUs: median(rounds.map(({ pickUs }) => pickUs)),
    pickAdapterUs: median(rounds.map(({ pickAdapterUs }) => pickAdapterUs)),
    rememberUs: median(rounds.map(({ rememberUs }) => rememberUs)),
  };
}

/** Microseconds of CPU to hash a chat prompt of so many bytes, all in one line. */
export function hashTime(bytes: number): number {
  const hasher = createPromptHasher(SEED);
  const document = bodyOf(textOf(createRandom(1), bytes));
  const turns = Math.max(20, Math.min(5_000, Math.floor(2e7 / bytes)));
  let prompt: PromptHashes | undefined;
  const turn = (): void => {
    prompt = hasher.hash({ route: 'chat.completions', document, scope: 't', model: 'm' });
  };
  const rounds = Array.from({ length: ROUNDS + 1 }, () => cpuUs(turns, turn)).slice(1);
  if (prompt === undefined) throw new Error('nothing was hashed');
  return median(rounds);
}

/** A million prompts of which no two begin alike: entries and bytes that are kept. */
export function distinctPrefixes(count: number): { readonly entries: number; readonly memoryMb: number } {
  const router = createPoolRouter(resolveProfile({ profile: 'balanced' }));
  const candidates = Array.from({ length: 8 }, (_, i) => router.join(`e${i}`));
  const random = createRandom(1);
  const word = (): number => Math.floor(random() * 2 ** 32);
  for (const candidate of candidates) router.setCacheBytes(candidate, 1e12);
  for (let i = 0; i < count; i += 1) {
    const candidate = candidates[i % candidates.length];
    const blocks = Uint32Array.from([word(), word(), word(), word()]);
    const prompt = { blocks, bytes: 512, session: word(), continues: false };
    const request = {
      prompt,
      promptBytes: 512,
      promptTokens: 128,
      totalTokens: 200,
      stream: true,
      slow: false,
    };
    if (candidate !== undefined) router.released(request, candidate, i);
  }
  const { entries, memoryBytes } = router.sizes();
  return { entries, memoryMb: memoryBytes / 2 ** 20 };
}

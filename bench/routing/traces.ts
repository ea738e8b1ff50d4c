/**
 * What is asked in the routing benchmarks: retrieval (RAG) and agent loops, of several tenants. The same seed asks the same.
 *
 * Texts are random characters, four to a token, as the simulated engine counts. What the engine caches goes by the text of a
 * chat template, block by block; what Fairlane sees is the request's JSON.
 */
import { createRandom, drawLength, type Length } from '../../src/loadtest/load.ts';
import type { JsonDocument } from '../../src/openai/json/document.ts';
import { jsonDocumentOf } from '../../tests/support/documents.ts';
import { createBlockChain } from './block-chain.ts';

export const BYTES_PER_TOKEN = 4;

/** One request, ready to be sent. */
export interface Ask {
  /** Tenant or trust group: caches are apart. */
  readonly scope: string;
  readonly document: JsonDocument;
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** Of prompt and output, as the engine finds blocks again. */
  readonly blockHashes: readonly string[];
  /** Full blocks of the prompt alone. */
  readonly promptBlocks: number;
}

export interface Conversation {
  readonly atMs: number;
  /** The next request, and how long after the latest answer it comes. Undefined: it is over. */
  next(): { readonly ask: Ask; readonly thinkMs: number } | undefined;
}

export interface TraceOptions {
  readonly seed: number;
  readonly durationMs: number;
  /** Prompt tokens a second, of all requests. */
  readonly promptTokensPerSecond: number;
  readonly blockTokens: number;
}

export interface Trace {
  readonly conversations: readonly Conversation[];
}

type Random = () => number;

const pick = (random: Random, least: number, most: number): number =>
  least + Math.floor(random() * (most - least + 1));

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.';
function textOf(random: Random, tokens: number): string {
  let text = '';
  for (let i = 0; i < tokens * BYTES_PER_TOKEN; i += 1) text += ALPHABET[Math.floor(random() * 64)] ?? '';
  return Buffer.from(text).toString();
}

/** Places 0 to count - 1; place k is asked for in proportion to 1 / (k + 1) ^ exponent. */
function zipf(count: number, exponent: number): (random: Random) => number {
  const sums: number[] = [];
  let sum = 0;
  for (let k = 0; k < count; k += 1) {
    sum += 1 / (k + 1) ** exponent;
    sums.push(sum);
  }
  return (random) => {
    const at = random() * sum;
    const found = sums.findIndex((upTo) => at < upTo);
    return found === -1 ? count - 1 : found;
  };
}

interface Message {
  readonly role: string;
  readonly content: string;
}

/** A conversation's text as the engine's template writes it; it only grows. */
function createTranscript(scope: string, blockTokens: number, tools: string) {
  const chain = createBlockChain(scope, blockTokens * BYTES_PER_TOKEN);
  const messages: Message[] = [];
  const add = (message: Message): void => {
    messages.push(message);
    chain.append(`<|${message.role}|>\n${message.content}\n`);
    if (message.role === 'system') chain.append(tools);
  };
  return {
    add,
    /** Ends with the marks before an answer; then the answer follows. */
    ask(outputTokens: number, output: string): Ask {
      chain.append('<|assistant|>\n');
      const promptTokens = Math.ceil(chain.length() / BYTES_PER_TOKEN);
      const promptBlocks = chain.hashes().length;
      const document = jsonDocumentOf({
        model: 'model',
        stream: true,
        ...(tools !== '' && {
          tools: [{ type: 'function', function: { name: 'tool', description: tools } }],
        }),
        messages: messages.map(({ role, content }) => ({ role, content })),
      });
      chain.append(output);
      messages.push({ role: 'assistant', content: output });
      const blockHashes = [...chain.hashes()];
      chain.append('\n');
      return { scope, document, promptTokens, outputTokens, blockHashes, promptBlocks };
    },
  };
}

/** Arrivals of a Poisson process. */
function arrivals(random: Random, perSecond: number, durationMs: number): number[] {
  const times: number[] = [];
  for (let atMs = 0; ; ) {
    atMs -= (Math.log(1 - random()) * 1_000) / perSecond;
    if (atMs >= durationMs) return times;
    times.push(atMs);
  }
}

/** Two tenants are one trust group: five scopes for six tenants. */
const SCOPES = ['tenant a', 'tenant b', 'tenant c', 'tenant d', 'group e', 'group e'];
const TENANT_EXPONENT = 0.6;

const RAG = {
  systemTokens: { least: 300, most: 800 },
  documentsPerScope: 60,
  document: { kind: 'lognormal', median: 4_000, sigma: 0.5, max: 12_000 } as Length,
  documentExponent: 0.9,
  question: { kind: 'uniform', from: 30, to: 150 } as Length,
  output: { kind: 'lognormal', median: 150, sigma: 0.6, max: 800 } as Length,
  /** About, by the figures above: without documents, and for each. */
  meanTokens: { rest: 650, document: 4_900 },
};

/** Parts of the requests with one, two and more documents. */
export type DocumentCounts = readonly number[];
/** Questions about one document. */
export const ONE_DOCUMENT: DocumentCounts = [1];
/** What follows a first document is rarely the same: it is computed wherever the request goes. */
export const SEVERAL_DOCUMENTS: DocumentCounts = [0.6, 0.3, 0.1];

/** A system prompt for each tenant, documents by Zipf's law in the order of the retrieval, a question. One request each. */
export function ragTrace(
  counts: DocumentCounts,
  { seed, durationMs, promptTokensPerSecond, blockTokens }: TraceOptions,
): Trace {
  const random = createRandom(seed);
  const corpora = new Map(
    [...new Set(SCOPES)].map((scope) => [
      scope,
      Array.from({ length: RAG.documentsPerScope }, () => textOf(random, drawLength(RAG.document, random))),
    ]),
  );
  const systems = SCOPES.map(() =>
    textOf(random, pick(random, RAG.systemTokens.least, RAG.systemTokens.most)),
  );
  const tenantOf = zipf(SCOPES.length, TENANT_EXPONENT);
  const documentOf = zipf(RAG.documentsPerScope, RAG.documentExponent);
  const countOf = (): number => {
    let left = random();
    const more = counts.findIndex((part) => {
      left -= part;
      return left < 0;
    });
    return more === -1 ? counts.length : more + 1;
  };
  const meanCount = counts.reduce((sum, part, i) => sum + part * (i + 1), 0);
  const { rest, document } = RAG.meanTokens;
  const perSecond = promptTokensPerSecond / (rest + meanCount * document);
  const conversations = arrivals(random, perSecond, durationMs).map((atMs): Conversation => {
    const tenant = tenantOf(random);
    const scope = SCOPES[tenant] ?? '';
    const found = new Set<number>();
    for (const count = countOf(); found.size < count; ) found.add(documentOf(random));
    const question = textOf(random, drawLength(RAG.question, random));
    const outputTokens = drawLength(RAG.output, random);
    const answerSeed = pick(random, 0, 2 ** 30);
    let asked = false;
    return {
      atMs,
      next() {
        if (asked) return undefined;
        asked = true;
        const transcript = createTranscript(scope, blockTokens, '');
        transcript.add({ role: 'system', content: systems[tenant] ?? '' });
        const documents = [...found].map((place) => corpora.get(scope)?.[place] ?? '');
        transcript.add({ role: 'user', content: `${documents.join('\n\n')}\n\n${question}` });
        const output = textOf(createRandom(answerSeed), outputTokens);
        return { ask: transcript.ask(outputTokens, output), thinkMs: 0 };
      },
    };
  });
  return { conversations };
}

const AGENT = {
  systemTokens: 800,
  toolTokens: { least: 1_500, most: 3_500 },
  task: { kind: 'lognormal', median: 300, sigma: 0.8, max: 4_000 } as Length,
  meanSteps: 12,
  mostSteps: 40,
  output: { kind: 'lognormal', median: 120, sigma: 0.7, max: 1_000 } as Length,
  toolResult: { kind: 'lognormal', median: 400, sigma: 1.2, max: 8_000 } as Length,
  /** A tool runs for so long in the mean; one step in ten waits for a person. */
  toolMs: 2_000,
  personMs: 30_000,
  personPart: 0.1,
  /** Of a whole session: about, by the figures above. */
  promptTokensPerSession: 135_000,
};

/** Tools and a system prompt for each tenant; each step sends the whole past, with the answer and a tool's result. */
export function agentTrace({ seed, durationMs, promptTokensPerSecond, blockTokens }: TraceOptions): Trace {
  const random = createRandom(seed);
  const tools = SCOPES.map(() => textOf(random, pick(random, AGENT.toolTokens.least, AGENT.toolTokens.most)));
  const systems = SCOPES.map(() => textOf(random, AGENT.systemTokens));
  const tenantOf = zipf(SCOPES.length, TENANT_EXPONENT);
  const perSecond = promptTokensPerSecond / AGENT.promptTokensPerSession;
  const conversations = arrivals(random, perSecond, durationMs).map((atMs): Conversation => {
    const tenant = tenantOf(random);
    const own = createRandom(pick(random, 0, 2 ** 30));
    const transcript = createTranscript(SCOPES[tenant] ?? '', blockTokens, tools[tenant] ?? '');
    let step = 0;
    return {
      atMs,
      next() {
        const isOver = step > 0 && own() < 1 / AGENT.meanSteps;
        if (isOver || step >= AGENT.mostSteps) return undefined;
        if (step === 0) {
          transcript.add({ role: 'system', content: systems[tenant] ?? '' });
          transcript.add({ role: 'user', content: textOf(own, drawLength(AGENT.task, own)) });
        } else {
          transcript.add({ role: 'tool', content: textOf(own, drawLength(AGENT.toolResult, own)) });
        }
        const meanMs = own() < AGENT.personPart ? AGENT.personMs : AGENT.toolMs;
        const thinkMs = step === 0 ? 0 : -Math.log(1 - own()) * meanMs;
        step += 1;
        const outputTokens = drawLength(AGENT.output, own);
        return { ask: transcript.ask(outputTokens, textOf(own, outputTokens)), thinkMs };
      },
    };
  });
  return { conversations };
}

/**
 * A prompt as the hashes of its beginnings, without a tokenizer: what engines cache by the hash of token blocks is looked for by
 * the hash of byte blocks (chain-hash.ts, prompt-blocks.ts).
 *
 * The scope, the model and the adapter come before the first byte: what one scope has sent is never found by another.
 */
import type { EngineRoute } from '../domain/routes.ts';
import { type JsonDocument, KIND, NO_DOCUMENT, STRIDE } from '../openai/json/document.ts';
import { type KnownName, NAME } from '../openai/names.ts';
import { ChainHash } from './chain-hash.ts';

export interface PromptHashes {
  /** Two words for each full block, from the prompt's beginning. */
  readonly blocks: Uint32Array;
  /** That were hashed, with names and marks of structure. */
  readonly bytes: number;
  /** Names the session: by the id that was given, or by all up to the first message of the user. */
  readonly session: number | undefined;
  /** It is not the session's first request, as far as can be seen. */
  readonly continues: boolean;
}

export interface PromptSource {
  readonly route: EngineRoute;
  readonly document: JsonDocument;
  /** Whose cache it may use: the tenant, or its trust group. Must tell one from the other. */
  readonly scope: string;
  readonly model: string;
  readonly adapter?: string;
  /** What the client calls its session. */
  readonly sessionId?: string;
}

/** Longer data of images and files is hashed by samples: it is compressed, so a part tells it apart. */
const SAMPLED_BYTES = 1_024;
const LONGEST_ROLE = 16;
/** In bytes of text; 80,000 token ids are hashed at most. */
const NUMBER_WORK = 13;

const FIELD = 0x1f;
const RECORD = 0x1e;

/** Fields that become prompt, in the order of the usual templates: tools and system first. */
const PROMPT_FIELDS: Readonly<Partial<Record<EngineRoute, readonly KnownName[]>>> = {
  'chat.completions': ['tools', 'functions', 'documents', 'messages'],
  completions: ['prompt'],
  responses: ['tools', 'instructions', 'input'],
  messages: ['tools', 'system', 'messages'],
};
/** Marks that clients move from one message to the next between turns. */
const SKIPPED: number = NAME.cache_control;
const MEDIA: ReadonlySet<number> = new Set([
  NAME.url,
  NAME.image_url,
  NAME.data,
  NAME.file_data,
  NAME.b64_json,
]);

/** Between the numbers of an array. */
const isDelimiter = (byte: number): boolean => byte <= 0x20 || byte === 0x2c;

export class PromptHasher {
  readonly #chain: ChainHash;
  /** That is being read. */
  #document: JsonDocument = NO_DOCUMENT;

  constructor(seed: Uint32Array) {
    this.#chain = new ChainHash(seed);
  }

  /** Undefined where nothing is cached by prefix: all that writes nothing. */
  hash(source: PromptSource): PromptHashes | undefined {
    const { route, document, scope, model, adapter = '', sessionId } = source;
    const fields = PROMPT_FIELDS[route];
    if (fields === undefined) return undefined;
    const chain = this.#chain;
    let named: number | undefined;
    if (sessionId !== undefined && sessionId !== '') {
      chain.begin(scope, model, adapter, sessionId);
      named = chain.sum();
    }
    chain.begin(scope, model, adapter);
    this.#document = document;
    let session: number | undefined;
    let continues = false;
    for (const field of fields) {
      const value = document.get(0, NAME[field]);
      if (document.isNothing(value)) continue;
      if (document.isArray(value) && (field === 'messages' || field === 'input')) {
        ({ session, continues } = this.#walkMessages(value));
      } else this.#walk(value, NAME[field]);
    }
    this.#document = NO_DOCUMENT;
    const { blocks, bytes } = chain.end();
    return { blocks, bytes, session: named ?? session, continues: named !== undefined || continues };
  }

  /** Feeds messages one by one: what is up to the first one of the user names the session. */
  #walkMessages(messages: number): { readonly session: number | undefined; readonly continues: boolean } {
    const document = this.#document;
    let session: number | undefined;
    let continues = false;
    const end = document.next(messages);
    for (let message = document.first(messages); message < end; message = document.next(message)) {
      if (this.#chain.isFull()) break;
      this.#walk(message, 0);
      const role = this.#roleOf(message);
      if (role === 'assistant') continues = true;
      if (session === undefined && !this.#chain.isFull() && role === 'user') session = this.#chain.sum();
    }
    return { session, continues };
  }

  /** @param object a message. */
  #roleOf(object: number): string {
    const document = this.#document;
    if (!document.isObject(object)) return '';
    const role = document.get(object, NAME.role);
    return document.isString(role) && document.more(role) <= LONGEST_ROLE ? document.text(role) : '';
  }

  /** Feeds text, and the structure that tells one text from two. Recursion is bounded by the reader's LIMITS.depth. */
  #walk(at: number, name: number): void {
    const chain = this.#chain;
    const document = this.#document;
    if (chain.isFull()) return;
    const kind = document.kind(at);
    if (kind === KIND.string) {
      this.#feedString(at, MEDIA.has(name));
      chain.mark(FIELD);
    } else if (kind === KIND.number) this.#feedNumbers(at);
    else if (kind === KIND.array) {
      const end = document.next(at);
      for (let item = document.first(at); item < end; item = document.next(item)) this.#walk(item, name);
      chain.mark(RECORD);
    } else if (kind === KIND.object) {
      const end = document.next(at);
      for (let key = document.first(at); key < end; key = document.next(key + STRIDE)) {
        if (document.name(key) === SKIPPED) continue;
        this.#feedString(key, false);
        chain.mark(FIELD);
        this.#walk(key + STRIDE, document.name(key));
      }
      chain.mark(RECORD);
    } else {
      chain.feedBytes(document.bytes, document.start(at), document.end(at), false);
      chain.mark(FIELD);
    }
  }

  #feedString(at: number, isMedia: boolean): void {
    const document = this.#document;
    const start = document.start(at);
    const end = document.end(at);
    if (isMedia && end - start > SAMPLED_BYTES) this.#chain.feedSampled(document.bytes, start, end);
    else this.#chain.feedBytes(document.bytes, start, end, document.isEscaped(at));
  }

  /** Feeds numbers one by one; what is written in another way is another number here. */
  #feedNumbers(at: number): void {
    const chain = this.#chain;
    const { bytes: source } = this.#document;
    const end = this.#document.end(at);
    let from = this.#document.start(at);
    while (from < end && !chain.isFull()) {
      let to = from;
      let value = 0;
      let isWord = true;
      for (; to < end; to += 1) {
        const digit = (source[to] as number) - 0x30;
        if (digit >= 0 && digit <= 9) value = 10 * value + digit;
        else if (isDelimiter(source[to] as number)) break;
        else isWord = false;
      }
      if (isWord && value >>> 0 === value) chain.feedWord(value);
      else chain.feedBytes(source, from, to, false);
      chain.mark(FIELD);
      // A short number takes as long as many bytes of text.
      chain.work(NUMBER_WORK);
      from = to;
      while (from < end && isDelimiter(source[from] as number)) from += 1;
    }
  }
}

/** @param seed six words, secret and random, new ones for each process. */
export const createPromptHasher = (seed: Uint32Array): PromptHasher => new PromptHasher(seed);

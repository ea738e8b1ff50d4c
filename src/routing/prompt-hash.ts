/**
 * A prompt as the hashes of its beginnings, without a tokenizer: what engines cache by the hash of token blocks is looked for by
 * the hash of byte blocks.
 *
 * Where a block ends depends on its place alone, so two prompts with the same first bytes have the same first hashes. Blocks
 * grow with their place, to 1/16 of what is before them: a match is known to a sixteenth, and a megabyte takes a hundred
 * blocks. Beyond HASHED_BYTES a prompt is not read: what follows is known by its beginning.
 *
 * The hash is two chains of 64 bits over alternate words, mixed into one of 64 at each block's end. It is no cryptographic one,
 * but starts from a secret seed with secret multipliers, and the scope, the model and the adapter come before the first
 * byte: nobody can aim at a collision, and two scopes have no hash in common.
 *
 * This is the hot path: the text is encoded in pieces into one buffer and read by words. `npm run bench:routing` has the time.
 */
import type { EngineRoute } from '../domain/routes.ts';
import { type JsonDocument, KIND, NO_DOCUMENT, STRIDE } from '../openai/json/document.ts';
import { decodeInto } from '../openai/json/text.ts';
import { type KnownName, NAME } from '../openai/names.ts';

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

export interface PromptHasher {
  /** Undefined where nothing is cached by prefix: embeddings. */
  hash(source: PromptSource): PromptHashes | undefined;
}

const FIRST_BLOCK = 256;
/** A block has this part of the bytes before it. */
const GROWTH = 16;
const WORD_PAIR = 8;
const HASHED_BYTES = 2 ** 20;
/** Where each block ends, in bytes from the prompt's beginning. */
const ENDS: readonly number[] = (() => {
  const ends: number[] = [];
  for (let end = FIRST_BLOCK; end <= HASHED_BYTES; ) {
    ends.push(end);
    end += Math.max(FIRST_BLOCK, Math.floor(end / GROWTH / WORD_PAIR) * WORD_PAIR);
  }
  return ends;
})();
export const MOST_BLOCKS = ENDS.length;
const HASHED_END = ENDS[MOST_BLOCKS - 1] ?? 0;

/** Where the block ends, in bytes. */
export const endOfBlock = (index: number): number => ENDS[index] ?? HASHED_END;

const BUFFER_BYTES = 65_536;
/** UTF-8 of a UTF-16 unit. */
const MOST_UNIT_BYTES = 3;
/** Room below which the buffer is emptied first: no piece is so short that cutting costs more than hashing. */
const LEAST_ROOM = 4_096;
/** Shorter ASCII text is copied unit by unit: a call costs more. */
const SHORT_UNITS = 24;
/** Longer data of images and files is hashed by samples: it is compressed, so a part tells it apart. */
const SAMPLED_BYTES = 1_024;
const SAMPLES = 256;

const LONGEST_ROLE = 16;
/** In bytes of text; 80,000 token ids are hashed at most. */
const NUMBER_WORK = 13;

const FIELD = 0x1f;
const RECORD = 0x1e;

/** Fields that become prompt, in the order of the usual templates: tools and system first. */
const PROMPT_FIELDS: Readonly<Record<EngineRoute, readonly KnownName[]>> = {
  'chat.completions': ['tools', 'functions', 'documents', 'messages'],
  completions: ['prompt'],
  embeddings: [],
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

/** The finalizer of MurmurHash3 (A. Appleby), on 32 bits. */
function mix(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

const rotate = (word: number, by: number): number => (word << by) | (word >>> (32 - by));

/** @param seed six words, secret and random, new ones for each process. */
export function createPromptHasher(seed: Uint32Array): PromptHasher {
  const [seedA = 0, seedB = 0, seedC = 0, seedD = 0, firstFactor = 0, secondFactor = 0] = seed;
  /** Odd, or bits would be lost; with high bits, or they would spread slowly. */
  const factorA = firstFactor | 0x80000001;
  const factorB = secondFactor | 0x40000001;
  const bytes = Buffer.from(new ArrayBuffer(BUFFER_BYTES));
  const words = new Int32Array(bytes.buffer);
  const blocks = new Uint32Array(2 * MOST_BLOCKS);
  /** Bytes in the buffer that are not hashed. */
  let fill = 0;
  /** Bytes hashed since the header. */
  let position = 0;
  let blockCount = 0;
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  let high = 0;
  let low = 0;
  /** Work beyond the bytes that are hashed, in bytes: of escapes, which are longer than what they say, and of numbers. */
  let escapedBytes = 0;
  /** That is being read. */
  let document: JsonDocument = NO_DOCUMENT;

  const finish = (length: number): void => {
    high = mix((a ^ rotate(c, 17)) + length);
    low = mix((b + rotate(d, 11)) ^ length);
  };

  /** Hashes what is in the buffer, to the last full pair of words; the rest moves to the front. */
  const consume = (): void => {
    const all = fill >>> 3;
    let pair = 0;
    while (pair < all && blockCount < MOST_BLOCKS) {
      const stop = Math.min(all, pair + ((endOfBlock(blockCount) - position) >>> 3));
      position += (stop - pair) * WORD_PAIR;
      // Locals that V8 knows to be 32-bit integers: four times as fast.
      const fa = factorA;
      const fb = factorB;
      const from = words;
      let la = a | 0;
      let lb = b | 0;
      let lc = c | 0;
      let ld = d | 0;
      for (; pair < stop; pair += 1) {
        const even = from[2 * pair] as number;
        const odd = from[2 * pair + 1] as number;
        la = Math.imul(la ^ even, fa);
        la ^= la >>> 15;
        lb = Math.imul((lb + even) | 0, fb);
        lb ^= lb >>> 13;
        lc = Math.imul(lc ^ odd, fa);
        lc ^= lc >>> 15;
        ld = Math.imul((ld + odd) | 0, fb);
        ld ^= ld >>> 13;
      }
      a = la;
      b = lb;
      c = lc;
      d = ld;
      if (position === endOfBlock(blockCount)) {
        finish(position);
        blocks[2 * blockCount] = high;
        blocks[2 * blockCount + 1] = low;
        blockCount += 1;
      }
    }
    const done = all * WORD_PAIR;
    bytes.copyWithin(0, done, fill);
    fill -= done;
  };

  const isFull = (): boolean => blockCount === MOST_BLOCKS || escapedBytes > HASHED_BYTES;

  const mark = (byte: number): void => {
    if (fill === BUFFER_BYTES) consume();
    bytes[fill] = byte;
    fill += 1;
  };

  /** True if it was short and ASCII, and is in the buffer. */
  const feedShort = (text: string): boolean => {
    const { length } = text;
    if (length > SHORT_UNITS || BUFFER_BYTES - fill < SHORT_UNITS) return false;
    for (let i = 0; i < length; i += 1) {
      const unit = text.charCodeAt(i);
      // What was written so far is overwritten by the call.
      if (unit >= 0x80) return false;
      bytes[fill + i] = unit;
    }
    fill += length;
    return true;
  };

  /** A piece never ends within a surrogate pair, so the bytes do not depend on where pieces end. */
  const feed = (text: string): void => {
    if (feedShort(text)) return;
    let at = 0;
    while (at < text.length && !isFull()) {
      const room = BUFFER_BYTES - fill;
      const left = text.length - at;
      if (left * MOST_UNIT_BYTES <= room) {
        fill += bytes.write(at === 0 ? text : text.slice(at), fill, 'utf8');
        return;
      }
      if (room < LEAST_ROOM) {
        consume();
        continue;
      }
      let end = at + Math.min(left, Math.floor(room / MOST_UNIT_BYTES));
      const lastUnit = text.charCodeAt(end - 1);
      if (end < text.length && lastUnit >= 0xd800 && lastUnit < 0xdc00) end -= 1;
      fill += bytes.write(text.slice(at, end), fill, 'utf8');
      at = end;
    }
  };

  /** Text of the document, from `start` to `end`: the same bytes however it is written. */
  const feedBytes = (start: number, end: number, isEscaped: boolean): void => {
    const { bytes: source } = document;
    let from = start;
    if (end - start <= SHORT_UNITS && !isEscaped && BUFFER_BYTES - fill >= SHORT_UNITS) {
      for (; from < end; from += 1, fill += 1) bytes[fill] = source[from] as number;
      return;
    }
    while (from < end && !isFull()) {
      if (BUFFER_BYTES - fill < LEAST_ROOM) consume();
      if (isEscaped) {
        const before = from - fill;
        ({ from, at: fill } = decodeInto(bytes, fill, source, from, end));
        escapedBytes += from - fill - before;
      } else {
        const copied = source.copy(bytes, fill, from, end);
        fill += copied;
        from += copied;
      }
    }
  };

  const feedString = (at: number): void =>
    feedBytes(document.start(at), document.end(at), document.isEscaped(at));

  /** Prompts of token ids have tens of thousands. @param value of 32 bits, not negative. */
  const feedNumber = (value: number): void => {
    if (BUFFER_BYTES - fill < 4) consume();
    bytes[fill] = value & 0xff;
    bytes[fill + 1] = (value >>> 8) & 0xff;
    bytes[fill + 2] = (value >>> 16) & 0xff;
    bytes[fill + 3] = value >>> 24;
    fill += 4;
  };

  /** Numbers one by one; what is written in another way is another number here. */
  const feedNumbers = (at: number): void => {
    const { bytes: source } = document;
    const end = document.end(at);
    let from = document.start(at);
    while (from < end && !isFull()) {
      let to = from;
      let value = 0;
      let isWord = true;
      for (; to < end; to += 1) {
        const digit = (source[to] as number) - 0x30;
        if (digit >= 0 && digit <= 9) value = 10 * value + digit;
        else if (isDelimiter(source[to] as number)) break;
        else isWord = false;
      }
      if (isWord && value >>> 0 === value) feedNumber(value);
      else feedBytes(from, to, false);
      mark(FIELD);
      // A short number takes as long as many bytes of text.
      escapedBytes += NUMBER_WORK;
      from = to;
      while (from < end && isDelimiter(source[from] as number)) from += 1;
    }
  };

  const feedSampled = (at: number): void => {
    const { bytes: source } = document;
    const [start, end] = [document.start(at), document.end(at)];
    const step = (end - start) / SAMPLES;
    feed(`${end - start}:`);
    if (BUFFER_BYTES - fill < LEAST_ROOM) consume();
    for (let i = 0; i < SAMPLES; i += 1, fill += 1) {
      bytes[fill] = source[start + Math.floor(i * step)] as number;
    }
    feedBytes(end - SAMPLES, end, false);
  };

  /** Text, and the structure that tells one text from two. Recursion is bounded by the reader's LIMITS.depth. */
  const walk = (at: number, name: number): void => {
    if (isFull()) return;
    const kind = document.kind(at);
    if (kind === KIND.string) {
      if (MEDIA.has(name) && document.end(at) - document.start(at) > SAMPLED_BYTES) feedSampled(at);
      else feedString(at);
      mark(FIELD);
    } else if (kind === KIND.number) feedNumbers(at);
    else if (kind === KIND.array) {
      const end = document.next(at);
      for (let item = document.first(at); item < end; item = document.next(item)) walk(item, name);
      mark(RECORD);
    } else if (kind === KIND.object) {
      const end = document.next(at);
      for (let key = document.first(at); key < end; key = document.next(key + STRIDE)) {
        if (document.name(key) === SKIPPED) continue;
        feedString(key);
        mark(FIELD);
        walk(key + STRIDE, document.name(key));
      }
      mark(RECORD);
    } else {
      feedBytes(document.start(at), document.end(at), false);
      mark(FIELD);
    }
  };

  /** 53 bits of all that was fed so far. */
  const sumNow = (): number => {
    consume();
    let rest = 0;
    for (let i = 0; i < fill; i += 1) rest = Math.imul(rest ^ (bytes[i] as number), 0x01000193);
    finish(position + fill);
    return (mix(high ^ rest) & 0x1fffff) * 2 ** 32 + mix(low ^ rest);
  };

  const begin = (scope: string, model: string, adapter: string, more: string): void => {
    fill = 0;
    position = 0;
    blockCount = 0;
    escapedBytes = 0;
    a = seedA;
    b = seedB;
    c = seedC;
    d = seedD;
    // Lengths first: no two headers are the same bytes.
    feed(`${scope.length},${model.length},${adapter.length};`);
    feed(scope);
    feed(model);
    feed(adapter);
    feed(more);
    while (fill % WORD_PAIR !== 0) mark(RECORD);
    consume();
    position = 0;
    blockCount = 0;
  };

  /** @param object a message. */
  const roleOf = (object: number): string => {
    if (!document.isObject(object)) return '';
    const role = document.get(object, NAME.role);
    return document.isString(role) && document.more(role) <= LONGEST_ROLE ? document.text(role) : '';
  };

  /** Messages one by one: what is up to the first one of the user names the session. */
  const walkMessages = (
    messages: number,
  ): { readonly session: number | undefined; readonly continues: boolean } => {
    let session: number | undefined;
    let continues = false;
    const end = document.next(messages);
    for (let message = document.first(messages); message < end; message = document.next(message)) {
      if (isFull()) break;
      walk(message, 0);
      const role = roleOf(message);
      if (role === 'assistant') continues = true;
      if (session === undefined && !isFull() && role === 'user') session = sumNow();
    }
    return { session, continues };
  };

  return {
    hash({ route, document: source, scope, model, adapter = '', sessionId }) {
      if (route === 'embeddings') return undefined;
      document = source;
      let named: number | undefined;
      if (sessionId !== undefined && sessionId !== '') {
        begin(scope, model, adapter, sessionId);
        named = sumNow();
      }
      begin(scope, model, adapter, '');
      let session: number | undefined;
      let continues = false;
      for (const field of PROMPT_FIELDS[route]) {
        const value = document.get(0, NAME[field]);
        if (document.isNothing(value)) continue;
        if (document.isArray(value) && (field === 'messages' || field === 'input')) {
          ({ session, continues } = walkMessages(value));
        } else walk(value, NAME[field]);
      }
      consume();
      document = NO_DOCUMENT;
      return {
        blocks: blocks.slice(0, 2 * blockCount),
        bytes: blockCount === MOST_BLOCKS ? HASHED_END : position + fill,
        session: named ?? session,
        continues: named !== undefined || continues,
      };
    },
  };
}

/** Between the numbers of an array. */
const isDelimiter = (byte: number): boolean => byte <= 0x20 || byte === 0x2c;

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
import type { EngineRoute } from '../../domain/routes.ts';
import { decodeInto, type LongText, type LongTexts, NO_LONG_TEXTS, textOf } from '../../openai/long-texts.ts';
import type { JsonObject, JsonValue } from '../../openai/strict-json.ts';

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
  readonly body: JsonObject;
  /** What long strings of it stand for. */
  readonly long?: LongTexts;
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
const SAMPLED_UNITS = 1_024;
const SAMPLES = 256;

const FIELD = 0x1f;
const RECORD = 0x1e;

/** Fields that become prompt, in the order of the usual templates: tools and system first. */
const PROMPT_FIELDS: Readonly<Record<EngineRoute, readonly string[]>> = {
  'chat.completions': ['tools', 'functions', 'documents', 'messages'],
  completions: ['prompt'],
  embeddings: [],
  responses: ['tools', 'instructions', 'input'],
  messages: ['tools', 'system', 'messages'],
};
/** Marks that clients move from one message to the next between turns. */
const SKIPPED: ReadonlySet<string> = new Set(['cache_control']);
const MEDIA: ReadonlySet<string> = new Set(['url', 'image_url', 'data', 'file_data', 'b64_json']);

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
  /** Of the prompt that is being read. */
  let long: LongTexts = NO_LONG_TEXTS;

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

  const isFull = (): boolean => blockCount === MOST_BLOCKS;

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

  /** The same bytes as of the text as a string. */
  const feedLong = ({ raw, isEscaped }: LongText): void => {
    let from = 0;
    while (from < raw.length && !isFull()) {
      if (BUFFER_BYTES - fill < LEAST_ROOM) consume();
      if (isEscaped) {
        ({ from, at: fill } = decodeInto(bytes, fill, raw, from));
      } else {
        const copied = raw.copy(bytes, fill, from);
        fill += copied;
        from += copied;
      }
    }
  };

  /** Prompts of token ids have tens of thousands. */
  const feedNumber = (value: number): void => {
    if (value >>> 0 !== value) {
      feed(String(value));
      return;
    }
    if (BUFFER_BYTES - fill < 4) consume();
    bytes[fill] = value & 0xff;
    bytes[fill + 1] = (value >>> 8) & 0xff;
    bytes[fill + 2] = (value >>> 16) & 0xff;
    bytes[fill + 3] = value >>> 24;
    fill += 4;
  };

  const feedSampled = (text: string): void => {
    const step = text.length / SAMPLES;
    let sample = `${text.length}:`;
    for (let i = 0; i < SAMPLES; i += 1) sample += text.charAt(Math.floor(i * step));
    feed(sample + text.slice(-SAMPLES));
  };

  const feedText = (text: string, key: string): void => {
    if (text.length > SAMPLED_UNITS && MEDIA.has(key)) feedSampled(text);
    else feed(text);
  };

  /** Text, and the structure that tells one text from two. Recursion is bounded by the reader's MAX_DEPTH. */
  const walk = (value: JsonValue | undefined, key: string): void => {
    if (isFull()) return;
    if (typeof value === 'string') {
      const text = long.of(value);
      if (text === undefined) feedText(value, key);
      else if (MEDIA.has(key)) feedText(textOf(text), key);
      else feedLong(text);
      mark(FIELD);
    } else if (typeof value !== 'object' || value === null) {
      if (typeof value === 'number') feedNumber(value);
      else feed(String(value));
      mark(FIELD);
    } else if (Array.isArray(value)) {
      for (const item of value as readonly JsonValue[]) walk(item, key);
      mark(RECORD);
    } else {
      const object = value as JsonObject;
      for (const name of Object.keys(object)) {
        if (SKIPPED.has(name)) continue;
        feed(name);
        mark(FIELD);
        walk(object[name], name);
      }
      mark(RECORD);
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

  const isFrom = (item: JsonValue, role: string): boolean =>
    typeof item === 'object' &&
    item !== null &&
    !Array.isArray(item) &&
    (item as JsonObject)['role'] === role;

  /** Messages one by one: what is up to the first one of the user names the session. */
  const walkMessages = (
    messages: readonly JsonValue[],
  ): { readonly session: number | undefined; readonly continues: boolean } => {
    let session: number | undefined;
    let continues = false;
    for (const message of messages) {
      if (isFull()) break;
      walk(message, '');
      if (isFrom(message, 'assistant')) continues = true;
      if (session === undefined && !isFull() && isFrom(message, 'user')) session = sumNow();
    }
    return { session, continues };
  };

  return {
    hash({ route, body, long: set = NO_LONG_TEXTS, scope, model, adapter = '', sessionId }) {
      if (route === 'embeddings') return undefined;
      long = set;
      let named: number | undefined;
      if (sessionId !== undefined && sessionId !== '') {
        begin(scope, model, adapter, sessionId);
        named = sumNow();
      }
      begin(scope, model, adapter, '');
      let session: number | undefined;
      let continues = false;
      for (const field of PROMPT_FIELDS[route]) {
        const value = body[field];
        if (value === undefined || value === null) continue;
        if (Array.isArray(value) && (field === 'messages' || field === 'input')) {
          ({ session, continues } = walkMessages(value as readonly JsonValue[]));
        } else walk(value, field);
      }
      consume();
      long = NO_LONG_TEXTS;
      return {
        blocks: blocks.slice(0, 2 * blockCount),
        bytes: isFull() ? HASHED_END : position + fill,
        session: named ?? session,
        continues: named !== undefined || continues,
      };
    },
  };
}

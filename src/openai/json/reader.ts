/**
 * A JSON reader that accepts only what every engine reads the same way, in one pass over the bytes.
 *
 * Engines disagree on duplicate keys, other encodings and halves of surrogate pairs; a body that could mean two things is refused.
 * What is accepted is never written again: it is edited by splicing (splice.ts). Numbers are text, of any size and precision;
 * whoever reads a field says what it may hold (field-checks.ts).
 *
 * The work is bounded, whatever the bytes are: a pass can stop after any number of bytes and go on later, so that no body holds up
 * others; what grows with the number of values has a bound (LIMITS). Nothing is allocated for a value but its place on the tape.
 *
 * This is the hot path, written for the machine: `npm run prove -- bodies` has its time for the worst bodies that a search finds.
 * It has more than 400 lines because every step reads and writes the same state, which no call passes on.
 */
import { isUtf8 } from 'node:buffer';
import { FLAG_NOT_DIGITS, FLAG_UNUSUAL, JsonDocument, KIND, NAME_SHIFT, STRIDE } from './document.ts';
import { grown, KEY, KeyIndex } from './key-index.ts';
import { hashOf, type NameTable } from './names.ts';
import { BACKSLASH, decodeInto, isLow, LOWER_U, lowAt, plainEnd, QUOTE, unitAt } from './text.ts';

/** What a body may have, beside its size. Each is far above what real requests have, and keeps the work after the pass small. */
export const LIMITS = {
  /** Of objects and arrays in one another; whoever walks a document relies on it. */
  depth: 128,
  /** Of the body itself. */
  topLevelMembers: 1_000,
  /** Of all objects together. */
  members: 32_768,
  /** Objects and arrays. */
  containers: 32_768,
  /** Strings, true, false and null, but for keys, and runs of numbers. */
  scalars: 65_536,
  /** Runs of numbers are cheap: prompts of token ids have many. */
  numbers: 4_194_304,
  keyBytes: 16_384,
  numberBytes: 1_000,
} as const;

export type Reading =
  | { readonly kind: 'ok'; readonly document: JsonDocument }
  | { readonly kind: 'bad'; readonly message: string };

/** Bytes of one step: between two steps the caller may stop. */
export const STEP_BYTES = 16_384;

/** What comes next. */
const WANT = {
  value: 0,
  firstItem: 1,
  firstKey: 2,
  key: 3,
  colon: 4,
  comma: 5,
  nothing: 6,
  /** The rest of a string that began before. */
  stringRest: 7,
} as const;

const COLON = 0x3a;
const COMMA = 0x2c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;

const SPACE = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d ? 1 : 0,
);
/** What may follow a backslash, but for `u`. */
const ESCAPED = new Uint8Array(256);
for (const byte of Buffer.from('"\\/bfnrt')) ESCAPED[byte] = 1;
/** 1 for what usual keys are made of. */
const USUAL = new Uint8Array(256);
for (const byte of Buffer.from('abcdefghijklmnopqrstuvwxyz0123456789_')) USUAL[byte] = 1;

const PROTO = Buffer.from('__proto__');
const LITERALS = {
  true: Buffer.from('true'),
  false: Buffer.from('false'),
  null: Buffer.from('null'),
} as const;

/** Decoded keys, one at a time. */
const scratch = Buffer.allocUnsafeSlow(LIMITS.keyBytes + 3);
const FIRST_TAPE = 1_024;
/** In place of what a reader that is done has let go. */
const NOTHING = new Int32Array(0);
const NO_KEYS = new KeyIndex();

/** What a pass writes on. Used again by the next body, unless it has grown: making it costs more than reading a small body. */
interface Workspace {
  readonly tape: Int32Array;
  readonly open: Int32Array;
  readonly keys: KeyIndex;
}

const MOST_SPARE = 4;
const spare: Workspace[] = [];

const takeWorkspace = (): Workspace =>
  spare.pop() ?? {
    tape: new Int32Array(FIRST_TAPE),
    open: new Int32Array(LIMITS.depth),
    keys: new KeyIndex(),
  };

/** One body being read. A class: a pass stops and goes on, and everything it knows is here. */
export class JsonReader {
  private readonly bytes: Buffer;
  /** The same, to be read by words. */
  private readonly view: DataView;
  private readonly names: NameTable;
  private done: Reading | undefined;

  // Where the pass is.
  private at = 0;
  private want: number = WANT.value;
  /** Bytes up to here are valid UTF-8. */
  private checked = 0;

  // The values so far.
  private tape: Int32Array;
  private used = 0;
  private containers = 0;
  private scalars = 0;
  private numbers = 0;
  private members = 0;
  /** Index of the latest number: another one right behind it belongs to its run. -1: none, or its array is closed. */
  private run = -1;
  /** Of the latest number. */
  private isPlain = false;

  // Open containers, from the outermost.
  private readonly open: Int32Array;
  private depth = 0;
  private topLevelMembers = 0;

  // The string that is being read.
  private stringIsKey = false;
  private stringStart = 0;
  /** Bytes that its text has less than what is written. */
  private saved = 0;

  /** Finds what an object repeats. */
  private keys: KeyIndex;

  /** @param bytes that nobody changes while they are read, or while the document is used. */
  constructor(bytes: Uint8Array, names: NameTable) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.names = names;
    ({ tape: this.tape, open: this.open, keys: this.keys } = takeWorkspace());
    if (bytes.length === 0) this.done = bad('The request body is empty; it must be a JSON object.');
    else if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
      this.done = bad('The request body starts with a byte order mark; send plain UTF-8.');
    }
  }

  /** Reads about STEP_BYTES more. Undefined: there is more to read. */
  step(): Reading | undefined {
    if (this.done !== undefined) return this.done;
    const { length } = this.bytes;
    const stop = this.checkUtf8(Math.min(length, this.at + STEP_BYTES));
    if (stop < 0) this.done = bad('The request body is not valid UTF-8.');
    else {
      this.scan(stop);
      if (this.done === undefined && this.at >= length) {
        this.done =
          this.want === WANT.nothing
            ? { kind: 'ok', document: new JsonDocument(this.bytes, this.tape.slice(0, this.used)) }
            : this.notJson(length);
      }
    }
    if (this.done !== undefined) this.letGo();
    return this.done;
  }

  private letGo(): void {
    const { tape, open, keys } = this;
    if (tape.length === FIRST_TAPE && keys.isSmall() && spare.length < MOST_SPARE) {
      keys.clear();
      spare.push({ tape, open, keys });
    }
    this.tape = NOTHING;
    this.keys = NO_KEYS;
  }

  /** Reads all of it. */
  finish(): Reading {
    for (;;) {
      const result = this.step();
      if (result !== undefined) return result;
    }
  }

  /** @returns where to stop, at most `stop` and not within a character; -1 for bytes that are no UTF-8. */
  private checkUtf8(stop: number): number {
    const { bytes, checked } = this;
    if (stop <= checked) return stop;
    let end = stop;
    if (end < bytes.length) {
      while (end > checked && ((bytes[end] as number) & 0xc0) === 0x80) end -= 1;
      // A character has four bytes.
      if (stop - end > 3) return -1;
    }
    if (!isUtf8(bytes.subarray(checked, end))) return -1;
    this.checked = end;
    return end;
  }

  private scan(stop: number): void {
    const { bytes } = this;
    let at = this.at;
    while (at < stop) {
      if (this.want === WANT.stringRest) {
        at = this.stringRest(at, stop);
        if (at < 0) return;
        continue;
      }
      const byte = bytes[at] as number;
      if (SPACE[byte] === 1) {
        at += 1;
        continue;
      }
      switch (this.want) {
        case WANT.comma:
          at = this.afterValue(byte, at);
          break;
        case WANT.colon:
          if (byte !== COLON) {
            this.done = this.notJson(at);
            return;
          }
          this.want = WANT.value;
          at += 1;
          break;
        case WANT.firstKey:
          if (byte === CLOSE_BRACE) {
            at = this.close(at);
            break;
          }
          at = this.beginKey(byte, at);
          break;
        case WANT.key:
          at = this.beginKey(byte, at);
          break;
        case WANT.firstItem:
          if (byte === CLOSE_BRACKET) {
            at = this.close(at);
            break;
          }
          at = this.beginValue(byte, at);
          break;
        case WANT.value:
          at = this.beginValue(byte, at);
          break;
        default:
          this.done = this.notJson(at);
          return;
      }
      if (at < 0) return;
    }
    this.at = at;
  }

  // --- each of these goes on from `at` and gives where it came to, or sets `done` and gives -1

  private afterValue(byte: number, at: number): number {
    const container = this.open[this.depth - 1] as number;
    const isObject = (this.tape[container] as number) === KIND.object;
    if (byte === COMMA) {
      this.want = isObject ? WANT.key : WANT.value;
      return at + 1;
    }
    if (byte !== (isObject ? CLOSE_BRACE : CLOSE_BRACKET)) return this.fail(this.notJson(at));
    return this.close(at);
  }

  private close(at: number): number {
    this.depth -= 1;
    this.run = -1;
    const container = this.open[this.depth] as number;
    this.tape[container + 2] = at + 1;
    this.tape[container + 3] = this.used;
    this.want = this.depth === 0 ? WANT.nothing : WANT.comma;
    return at + 1;
  }

  private beginKey(byte: number, at: number): number {
    if (byte !== QUOTE) return this.fail(this.notJson(at));
    this.members += 1;
    if (this.members > LIMITS.members) return this.fail(tooMany(LIMITS.members, 'members of objects'));
    if (this.depth === 1) {
      this.topLevelMembers += 1;
      if (this.topLevelMembers > LIMITS.topLevelMembers) {
        return this.fail(tooMany(LIMITS.topLevelMembers, 'fields'));
      }
    }
    this.beginString(true, at + 1);
    return at + 1;
  }

  private beginValue(byte: number, at: number): number {
    if (byte === QUOTE) {
      this.scalars += 1;
      if (this.depth === 0) return this.fail(NO_OBJECT);
      if (this.scalars > LIMITS.scalars) return this.fail(tooMany(LIMITS.scalars, 'strings and literals'));
      this.beginString(false, at + 1);
      return at + 1;
    }
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) return this.openContainer(byte === OPEN_BRACE, at);
    if (byte === MINUS || (byte >= ZERO && byte <= NINE)) return this.number(byte, at);
    if (byte === 0x74) return this.literal(LITERALS.true, KIND.true, at);
    if (byte === 0x66) return this.literal(LITERALS.false, KIND.false, at);
    if (byte === 0x6e) return this.literal(LITERALS.null, KIND.null, at);
    return this.fail(this.notJson(at));
  }

  private openContainer(isObject: boolean, at: number): number {
    if (this.depth === 0 && !isObject) return this.fail(NO_OBJECT);
    if (this.depth === LIMITS.depth) {
      return this.fail(bad(`The request body is nested deeper than ${LIMITS.depth} levels.`));
    }
    this.containers += 1;
    if (this.containers > LIMITS.containers) {
      return this.fail(tooMany(LIMITS.containers, 'objects and arrays'));
    }
    this.open[this.depth] = this.used;
    this.depth += 1;
    this.put(isObject ? KIND.object : KIND.array, at, 0, 0);
    this.want = isObject ? WANT.firstKey : WANT.firstItem;
    return at + 1;
  }

  private literal(text: Buffer, kind: number, at: number): number {
    const { bytes } = this;
    for (let i = 1; i < text.length; i += 1) {
      if (bytes[at + i] !== text[i]) return this.fail(this.notJson(at + i));
    }
    if (this.depth === 0) return this.fail(NO_OBJECT);
    this.scalars += 1;
    if (this.scalars > LIMITS.scalars) return this.fail(tooMany(LIMITS.scalars, 'strings and literals'));
    this.put(kind, at, at + text.length, 0);
    this.want = WANT.comma;
    return at + text.length;
  }

  private number(first: number, from: number): number {
    let at = this.skipNumber(first, from);
    if (at < 0) return -1;
    if (this.depth === 0) return this.fail(NO_OBJECT);
    let isPlain = this.isPlain;
    let count = 1;
    // Prompts of token ids: short numbers with a comma between them.
    const { bytes } = this;
    const isArray = this.tape[this.open[this.depth - 1] as number] === KIND.array;
    const stop = from + STEP_BYTES;
    while (isArray && at < stop && bytes[at] === COMMA) {
      const byte = bytes[at + 1] as number;
      if (!(byte >= ZERO && byte <= NINE) && byte !== MINUS) break;
      at = this.skipNumber(byte, at + 1);
      if (at < 0) return -1;
      isPlain &&= this.isPlain;
      count += 1;
    }
    this.numbers += count;
    if (this.numbers > LIMITS.numbers) return this.fail(tooMany(LIMITS.numbers, 'numbers'));
    const { tape, run } = this;
    if (run >= 0 && run === this.used - STRIDE) {
      tape[run + 2] = at;
      tape[run + 3] = (tape[run + 3] as number) + count;
      if (!isPlain) tape[run] = KIND.number | FLAG_NOT_DIGITS;
    } else {
      this.scalars += 1;
      if (this.scalars > LIMITS.scalars) return this.fail(tooMany(LIMITS.scalars, 'strings and literals'));
      this.run = this.used;
      this.put(KIND.number | (isPlain ? 0 : FLAG_NOT_DIGITS), from, at, count);
    }
    this.want = WANT.comma;
    return at;
  }

  /** RFC 8259: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? Leaves in `isPlain` whether it is digits only. */
  private skipNumber(first: number, from: number): number {
    const { bytes } = this;
    const digits = first === MINUS ? from + 1 : from;
    let at = bytes[digits] === ZERO ? digits + 1 : skipDigits(bytes, digits);
    if (at === digits) return this.fail(this.notJson(at));
    this.isPlain = first !== MINUS;
    if (bytes[at] === 0x2e) {
      const start = at + 1;
      at = skipDigits(bytes, start);
      if (at === start) return this.fail(this.notJson(at));
      this.isPlain = false;
    }
    if (((bytes[at] as number) | 0x20) === 0x65) {
      let start = at + 1;
      if (bytes[start] === 0x2b || bytes[start] === MINUS) start += 1;
      at = skipDigits(bytes, start);
      if (at === start) return this.fail(this.notJson(at));
      this.isPlain = false;
    }
    if (at - from > LIMITS.numberBytes) {
      return this.fail(
        bad(`The request body contains a number of more than ${LIMITS.numberBytes} characters.`),
      );
    }
    return at;
  }

  private beginString(isKey: boolean, start: number): void {
    this.stringIsKey = isKey;
    this.stringStart = start;
    this.saved = 0;
    this.want = WANT.stringRest;
  }

  private stringRest(from: number, stop: number): number {
    const { bytes, view } = this;
    let { saved } = this;
    let at = from;
    for (;;) {
      at = plainEnd(bytes, view, at, stop);
      if (at >= stop) {
        if (this.stringIsKey && at - this.stringStart > LIMITS.keyBytes) return this.fail(KEY_TOO_LONG);
        this.saved = saved;
        return at;
      }
      const byte = bytes[at] as number;
      if (byte === QUOTE) break;
      if (byte !== BACKSLASH) return this.fail(this.notJson(at));
      const next = bytes[at + 1] as number;
      if (ESCAPED[next] === 1) {
        saved += 1;
        at += 2;
        continue;
      }
      const unit = next === LOWER_U ? unitAt(bytes, at + 2) : -1;
      if (unit < 0) return this.fail(this.notJson(at));
      if (unit < 0xd800 || unit > 0xdfff) {
        saved += 6 - (unit < 0x80 ? 1 : unit < 0x800 ? 2 : 3);
        at += 6;
        continue;
      }
      if (isLow(unit) || lowAt(bytes, at + 6) < 0) return this.fail(this.halfPair(at));
      saved += 12 - 4;
      at += 12;
    }
    this.saved = saved;
    const start = this.stringStart;
    if (this.stringIsKey) return this.endKey(start, at);
    this.put(KIND.string, start, at, at - start - this.saved);
    this.want = WANT.comma;
    return at + 1;
  }

  private endKey(start: number, end: number): number {
    if (end - start > LIMITS.keyBytes) return this.fail(KEY_TOO_LONG);
    const { bytes } = this;
    let text: Buffer = bytes;
    let from = start;
    let to = end;
    let unusual = 0;
    if (this.saved > 0) {
      text = scratch;
      from = 0;
      to = decodeInto(scratch, 0, bytes, start, end).at;
      unusual = FLAG_UNUSUAL;
    } else {
      for (let i = start; i < end; i += 1) {
        if (USUAL[bytes[i] as number] === 0) {
          unusual = FLAG_UNUSUAL;
          break;
        }
      }
    }
    if (to - from === PROTO.length && PROTO.compare(text, from, to) === 0) {
      return this.fail(bad('The key "__proto__" is not allowed.'));
    }
    const hash = hashOf(text, from, to);
    const name = this.names.find(hash, text, from, to);
    const key = this.used;
    this.put(KIND.key | unusual | (name << NAME_SHIFT), start, end, to - from);
    const object = this.open[this.depth - 1] as number;
    const result = this.keys.add(this.members, object, key, hash, this.tape, bytes, text, from, to);
    if (result === KEY.repeated) {
      const shown = text.toString('utf8', from, Math.min(to, from + 256)).slice(0, 64);
      return this.fail(bad(`Duplicate key "${shown.replace(/[\p{C}"]/gu, '')}" in the request body.`));
    }
    if (result === KEY.costly) {
      return this.fail(bad('The request body has keys that are costly to tell apart.'));
    }
    this.want = WANT.colon;
    return end + 1;
  }

  private put(kind: number, start: number, end: number, more: number): void {
    const at = this.used;
    if (at === this.tape.length) this.tape = grown(this.tape);
    const { tape } = this;
    tape[at] = kind;
    tape[at + 1] = start;
    tape[at + 2] = end;
    tape[at + 3] = more;
    this.used = at + STRIDE;
  }

  private fail(result: Reading): -1 {
    this.done = result;
    return -1;
  }

  private notJson(at: number): Reading {
    return bad(`The request body is not valid JSON (at position ${this.characters(at)}).`);
  }

  private halfPair(at: number): Reading {
    return bad(`The request body contains half of a surrogate pair (at position ${this.characters(at)}).`);
  }

  /** As an editor counts, as far as that costs nothing: of a large body it is the byte. */
  private characters(at: number): number {
    return at > STEP_BYTES ? at : this.bytes.toString('utf8', 0, at).length;
  }
}

const bad = (message: string): Reading => ({ kind: 'bad', message });

const NO_OBJECT = bad('The request body must be a JSON object.');
const KEY_TOO_LONG = bad(`The request body has a key of more than ${LIMITS.keyBytes} bytes.`);
const tooMany = (most: number, what: string): Reading =>
  bad(`The request body has more than ${most} ${what}. Send less in one request.`);

function skipDigits(bytes: Buffer, from: number): number {
  let at = from;
  // A number that is longer than allowed is refused: how much longer need not be known.
  const most = from + LIMITS.numberBytes + 1;
  while (at < most) {
    const byte = bytes[at];
    if (byte === undefined || byte < ZERO || byte > NINE) break;
    at += 1;
  }
  return at;
}

/** Reads a body at once: for bodies that are small, and for whoever has the time. */
export const readJson = (bytes: Uint8Array, names: NameTable): Reading =>
  new JsonReader(bytes, names).finish();

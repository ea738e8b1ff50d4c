/**
 * A JSON reader that accepts only what every engine reads the same way. Engines disagree on duplicate keys, other
 * encodings and large numbers; a body that could mean two things is refused, so what was understood is what is sent on.
 */
import { isUtf8 } from 'node:buffer';
import { type LongRange, type LongTexts, NO_LONG_TEXTS, StringMeasure, setAside } from './long-texts.ts';

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** Deepest nesting accepted; the recursions below and in request.ts rely on it. */
export const MAX_DEPTH = 128;

export type StrictJson =
  | {
      readonly kind: 'ok';
      readonly value: JsonObject /** What is not in it as text. */;
      readonly long: LongTexts;
    }
  | { readonly kind: 'bad'; readonly message: string };

const QUOTE = 0x22;
/** Space, comma and closing brackets. */
const LITERAL_END: readonly number[] = [0x20, 0x09, 0x0a, 0x0d, 0x2c, 0x5d, 0x7d];
const BACKSLASH = 0x5c;
/**
 * Bytes of a string that are looked at one by one before indexOf is called: below this the call costs more than
 * the loop, above it indexOf is many times faster.
 */
const SHORT_STRING = 48;
/** Strings from so many bytes on are set aside, in bodies from so many bytes on: below that it costs more than it saves. */
const LONG_STRING = 512;
const LONG_BODY = 8_192;
/** Members of the body itself whose text is prompt. What is short by nature is checked, and so it is read, however long it is. */
const LONG_MEMBERS: ReadonlySet<string> = new Set(['prompt', 'suffix', 'input', 'system', 'instructions']);

/**
 * Reads a request body. The root must be an object; refused are: invalid UTF-8, a byte order mark, duplicate keys,
 * `__proto__` keys, nesting deeper than MAX_DEPTH, and numbers that would change when written again.
 * Long strings are set aside (long-texts.ts). The message never quotes a value.
 */
export function parseStrict(body: Uint8Array): StrictJson {
  if (body.length === 0) return bad('The request body is empty; it must be a JSON object.');
  if (!isUtf8(body)) return bad('The request body is not valid UTF-8.');
  if (body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf) {
    return bad('The request body starts with a byte order mark; send plain UTF-8.');
  }
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
  // Before anything recursive, and before JSON.parse.
  const { members, escapedKeys, ranges } = scan(bytes);
  if (members < 0) return bad(`The request body is nested deeper than ${MAX_DEPTH} levels.`);
  const { json, long } = ranges.length > 0 ? setAside(bytes, ranges) : { json: bytes, long: NO_LONG_TEXTS };

  let value: unknown;
  try {
    value = JSON.parse(json.toString('utf8'));
  } catch (error) {
    // V8's own message quotes the text around the error, which may be a prompt.
    const position = / in JSON at position (\d+)/.exec(
      ranges.length > 0 ? errorOf(bytes) : String(error),
    )?.[1];
    return bad(
      `The request body is not valid JSON${position === undefined ? '' : ` (at position ${position})`}.`,
    );
  }
  // V8 13.6 (seen in Node.js 24.21) now and then reads an escaped key of one character as a backslash.
  if (escapedKeys) value = readAgain(json);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return bad('The request body must be a JSON object.');
  }

  const tree: Tree = { members: 0, proto: false, infinite: false, large: false };
  inspect(value, tree);
  if (tree.proto) return bad('The key "__proto__" is not allowed.');
  if (tree.infinite) return bad('The request body contains a number too large to represent.');
  if (tree.members !== members) return bad(`Duplicate key "${duplicateKey(bytes)}" in the request body.`);
  if (tree.large && hasLossyInteger(json)) {
    return bad('The request body contains an integer beyond 2^53, which cannot be represented exactly.');
  }
  return { kind: 'ok', value: value as JsonObject, long };
}

const bad = (message: string): StrictJson => ({ kind: 'bad', message });

/** Of the text as it came: with stand-ins, places are others. */
function errorOf(bytes: Buffer): string {
  try {
    JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    return String(error);
  }
  return '';
}

interface Scan {
  /** Object members in the text, or -1 if it is nested too deep. On text that is not JSON the number means nothing. */
  readonly members: number;
  /** Some key is written with a backslash. */
  readonly escapedKeys: boolean;
  /** Long strings that are to be set aside, in their order. */
  readonly ranges: readonly LongRange[];
}

const measure = new StringMeasure();

function scan(bytes: Buffer): Scan {
  const end = bytes.length;
  const ranges: LongRange[] = [];
  const setsAside = end >= LONG_BODY;
  let members = 0;
  let depth = 0;
  let escapedKeys = false;
  let stringStart = 0;
  let stringEnd = 0;
  /** Of the body's own member that is being read. */
  let member = '';
  for (let i = 0; i < end; i++) {
    const byte = bytes[i] as number;
    if (byte === QUOTE) {
      stringStart = i;
      if (setsAside && (depth > 1 || LONG_MEMBERS.has(member))) {
        measure.read(bytes, i + 1);
        const { end: to, byteLength } = measure;
        i = to;
        if (to - stringStart > LONG_STRING && byteLength >= 0 && !isKey(bytes, to)) {
          ranges.push({ from: stringStart + 1, to, byteLength });
        }
      } else i = closingQuote(bytes, i + 1);
      stringEnd = i;
    } else if (byte === 0x3a /* : */) {
      members++;
      for (let at = stringStart; at < stringEnd && !escapedKeys; at++) escapedKeys = bytes[at] === BACKSLASH;
      if (setsAside && depth === 1) {
        const isShort = stringEnd - stringStart <= LONG_STRING;
        member = isShort ? bytes.toString('latin1', stringStart + 1, stringEnd) : '';
      }
      // A key has one colon. Text that has more is no JSON, and must not have it read again for each.
      stringStart = stringEnd;
    } else if (byte === 0x7b /* { */ || byte === 0x5b /* [ */) {
      if (++depth > MAX_DEPTH) return { members: -1, escapedKeys, ranges };
    } else if (byte === 0x7d || byte === 0x5d) depth--;
  }
  return { members, escapedKeys, ranges };
}

/** @param quote where a string ends. */
function isKey(bytes: Buffer, quote: number): boolean {
  let next = quote + 1;
  while (next < bytes.length && (bytes[next] as number) <= 0x20) next++;
  return bytes[next] === 0x3a;
}

/** Reads text that JSON.parse has accepted, strings and numbers by JSON.parse, objects and arrays by itself. */
function readAgain(bytes: Buffer): unknown {
  let at = 0;
  const skipSpace = (): void => {
    while ((bytes[at] as number) <= 0x20) at++;
  };
  const readString = (): string => {
    const start = at;
    at = closingQuote(bytes, at + 1) + 1;
    return JSON.parse(bytes.toString('utf8', start, at)) as string;
  };
  const readValue = (): unknown => {
    skipSpace();
    const byte = bytes[at];
    if (byte === QUOTE) return readString();
    if (byte === 0x7b) {
      const object: Record<string, unknown> = {};
      for (at++, skipSpace(); bytes[at] !== 0x7d; skipSpace()) {
        if (bytes[at] === 0x2c /* , */) {
          at++;
          skipSpace();
        }
        const key = readString();
        skipSpace();
        at++;
        // Like JSON.parse, and unlike an assignment, for `__proto__`.
        Object.defineProperty(object, key, {
          value: readValue(),
          writable: true,
          enumerable: true,
          configurable: true,
        });
      }
      at++;
      return object;
    }
    if (byte === 0x5b) {
      const array: unknown[] = [];
      for (at++, skipSpace(); bytes[at] !== 0x5d; skipSpace()) {
        if (bytes[at] === 0x2c) at++;
        array.push(readValue());
      }
      at++;
      return array;
    }
    const start = at;
    while (at < bytes.length && !LITERAL_END.includes(bytes[at] as number)) at++;
    return JSON.parse(bytes.toString('latin1', start, at));
  };
  return readValue();
}

/** Index of the quote that ends the string whose text begins at `from`; the length of the text if there is none. */
export function closingQuote(bytes: Buffer, from: number): number {
  const end = bytes.length;
  let i = from;
  for (;;) {
    const near = Math.min(end, i + SHORT_STRING);
    while (i < near) {
      const byte = bytes[i] as number;
      if (byte === QUOTE) return i;
      // The byte after a backslash is part of the escape, whatever it is.
      i += byte === BACKSLASH ? 2 : 1;
    }
    if (i >= end) return end;
    const quote = bytes.indexOf(QUOTE, i);
    if (quote < 0) return end;
    let before = quote;
    while (before > i && bytes[before - 1] === BACKSLASH) before--;
    // An odd number of backslashes escapes the quote. `i` is never inside an escape, so counting from it is right.
    if (((quote - before) & 1) === 0) return quote;
    i = quote + 1;
  }
}

interface Tree {
  members: number;
  proto: boolean;
  infinite: boolean;
  /** A number whose integer text, if it was one, has been rounded. */
  large: boolean;
}

function inspect(value: unknown, tree: Tree): void {
  if (typeof value === 'number') {
    if (value > Number.MAX_SAFE_INTEGER || value < -Number.MAX_SAFE_INTEGER) {
      tree.large = true;
      if (!Number.isFinite(value)) tree.infinite = true;
    }
  } else if (Array.isArray(value)) {
    for (const item of value) {
      // Token arrays hold many thousands of plain integers: no call for those.
      if (typeof item !== 'number' || !Number.isSafeInteger(item)) inspect(item, tree);
    }
  } else if (typeof value === 'object' && value !== null) {
    const keys = Object.keys(value);
    tree.members += keys.length;
    for (const key of keys) {
      if (key === '__proto__') {
        tree.proto = true;
        continue;
      }
      const member = (value as Record<string, unknown>)[key];
      if (typeof member !== 'string') inspect(member, tree);
    }
  }
}

/** Name of the first key that an object repeats, shortened for a message. Only for text that JSON.parse accepted. */
function duplicateKey(bytes: Buffer): string {
  const seen: Set<string>[] = [];
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    // An array gets a set too: it stays empty, and brackets and braces then pop alike.
    if (byte === 0x7b || byte === 0x5b) seen.push(new Set());
    else if (byte === 0x7d || byte === 0x5d) seen.pop();
    else if (byte === QUOTE) {
      const close = closingQuote(bytes, i + 1);
      let next = close + 1;
      while (next < bytes.length && (bytes[next] as number) <= 0x20) next++;
      if (bytes[next] === 0x3a) {
        const key = JSON.parse(bytes.toString('utf8', i, close + 1)) as string;
        const keys = seen.at(-1);
        if (keys?.has(key)) return key.slice(0, 64).replace(/[\p{C}"]/gu, '');
        keys?.add(key);
      }
      i = close;
    }
  }
  return '?';
}

/** True if the text has a plain integer that a double does not hold exactly. `1e300` is not one: it survives. */
function hasLossyInteger(bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    if (byte === QUOTE) {
      i = closingQuote(bytes, i + 1);
    } else if (byte >= 0x30 && byte <= 0x39) {
      const start = i;
      // Digits, and the rest of a number's alphabet: + - . e E
      while (i < bytes.length && /[\d+\-.eE]/.test(String.fromCharCode(bytes[i] as number))) i++;
      const text = bytes.toString('latin1', start, i);
      if (/^\d+$/.test(text) && !Number.isSafeInteger(Number(text))) return true;
      i--;
    }
  }
  return false;
}

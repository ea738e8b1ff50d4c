/**
 * Long strings of a request body, kept as the bytes that they came as. A prompt is most of a body, and nobody here reads it as
 * text: to decode it, parse it and write it again costs several times what everything else of the request does.
 *
 * In the parsed body a short stand-in takes the place of such a string. It begins with a random word of this process, so that no
 * client can write one; whoever looks at a string's length or contents asks for the text behind it.
 */
import { randomBytes } from 'node:crypto';

export interface LongText {
  /** As in the body, without the quotes: well-formed, escapes and all. */
  readonly raw: Buffer;
  /** UTF-8 bytes of the string that it stands for. */
  readonly byteLength: number;
  readonly isEscaped: boolean;
}

export interface LongTexts {
  /** The text that this string stands in for; undefined: it stands for itself. */
  of(value: string): LongText | undefined;
  /** JSON with stand-ins, as bytes with what they stand for, in parts. */
  restore(json: string): readonly Buffer[];
}

/** Where in the body, without the quotes. */
export interface LongRange {
  readonly from: number;
  readonly to: number;
  readonly byteLength: number;
}

const WORD = randomBytes(18).toString('base64url');
const DIGITS = 8;
const STAND_IN_LENGTH = WORD.length + DIGITS;
const STAND_IN = new RegExp(`"${WORD}(\\d{${DIGITS}})"`, 'g');
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const LOWER_U = 0x75;
/** What may follow a backslash, but for `u`. */
const ESCAPED = new Uint8Array(256);
for (const byte of Buffer.from('"\\/bfnrt')) ESCAPED[byte] = 1;

/** Bytes that nobody shares: a request that waits would keep 8 KiB of Node's pool, with what others have long let go. */
function ownBytes(text: string): Buffer {
  const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(text));
  bytes.write(text);
  return bytes;
}

/** Shorter parts are copied: each one that is sent has a price of its own. */
export const COPIED_BYTES = 16_384;

const joined = (parts: readonly Buffer[]): Buffer => {
  const bytes = Buffer.allocUnsafeSlow(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) at += part.copy(bytes, at);
  return bytes;
};

export const NO_LONG_TEXTS: LongTexts = { of: () => undefined, restore: (json) => [ownBytes(json)] };

/** UTF-16 unit of the four hex digits at `at`; -1 if they are none. */
function unitAt(bytes: Uint8Array, at: number): number {
  let unit = 0;
  for (let i = at; i < at + 4; i += 1) {
    const byte = bytes[i] ?? 0;
    const digit =
      byte >= 0x30 && byte <= 0x39
        ? byte - 0x30
        : (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66
          ? (byte | 0x20) - 0x57
          : -1;
    if (digit < 0) return -1;
    unit = 16 * unit + digit;
  }
  return unit;
}

const isHigh = (unit: number): boolean => unit >= 0xd800 && unit < 0xdc00;
const isLow = (unit: number): boolean => unit >= 0xdc00 && unit < 0xe000;

/** The low surrogate whose escape begins at `at`; -1 if there is none. */
function lowAt(bytes: Uint8Array, at: number): number {
  if (bytes[at] !== BACKSLASH || bytes[at + 1] !== LOWER_U) return -1;
  const unit = unitAt(bytes, at + 2);
  return isLow(unit) ? unit : -1;
}

/** 1 for each byte that is not simply itself in a JSON string: control characters, the quote, the backslash. */
const SPECIAL = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte < 0x20 || byte === QUOTE || byte === BACKSLASH ? 1 : 0,
);

/** Where a string ends, and its length in UTF-8. A class, so that nothing is allocated for each string of a body. */
export class StringMeasure {
  /** Index of the quote that ends it, or the length of the text if there is none. */
  end = 0;
  /** UTF-8 bytes of the string; -1 if the text is not that of a string. UTF-8 itself has been checked. */
  byteLength = 0;

  /** @param from behind the quote that begins it. */
  read(bytes: Uint8Array, from: number): void {
    const to = bytes.length;
    /** Bytes that the string has less than its text. */
    let saved = 0;
    let isString = true;
    let i = from;
    for (;;) {
      while (i < to && SPECIAL[bytes[i] as number] === 0) i += 1;
      if (i >= to) {
        this.end = to;
        this.byteLength = -1;
        return;
      }
      const byte = bytes[i];
      if (byte === QUOTE) break;
      if (byte !== BACKSLASH) {
        isString = false;
        i += 1;
        continue;
      }
      // The byte after a backslash is part of the escape, whatever it is.
      const next = bytes[i + 1];
      i += 2;
      if (next !== LOWER_U) {
        if (next === undefined || ESCAPED[next] !== 1) isString = false;
        saved += 1;
        continue;
      }
      const unit = unitAt(bytes, i);
      if (unit < 0) {
        isString = false;
        continue;
      }
      i += 4;
      if (isHigh(unit) && lowAt(bytes, i) >= 0) {
        i += 6;
        saved += 12 - 4;
      } else saved += 6 - (unit < 0x80 ? 1 : unit < 0x800 ? 2 : 3);
    }
    this.end = i;
    this.byteLength = isString ? i - from - saved : -1;
  }
}

const CONTROL: Readonly<Record<number, number>> = { 0x62: 8, 0x66: 12, 0x6e: 10, 0x72: 13, 0x74: 9 };
/** Of a lone surrogate, as Node.js writes one. */
const REPLACEMENT = 0xfffd;

function putCodePoint(target: Uint8Array, at: number, code: number): number {
  if (code < 0x80) {
    target[at] = code;
    return at + 1;
  }
  if (code < 0x800) {
    target[at] = 0xc0 | (code >> 6);
    target[at + 1] = 0x80 | (code & 0x3f);
    return at + 2;
  }
  if (code < 0x10000) {
    target[at] = 0xe0 | (code >> 12);
    target[at + 1] = 0x80 | ((code >> 6) & 0x3f);
    target[at + 2] = 0x80 | (code & 0x3f);
    return at + 3;
  }
  target[at] = 0xf0 | (code >> 18);
  target[at + 1] = 0x80 | ((code >> 12) & 0x3f);
  target[at + 2] = 0x80 | ((code >> 6) & 0x3f);
  target[at + 3] = 0x80 | (code & 0x3f);
  return at + 4;
}

export interface Decoded {
  /** Where the text goes on. */
  readonly from: number;
  /** Where the target is full to. */
  readonly at: number;
}

/**
 * Decodes as much of a well-formed text as there is room for; the last three bytes of the target may stay free.
 *
 * @param from where in `raw`, not within an escape.
 * @param at where in the target.
 */
export function decodeInto(target: Uint8Array, at: number, raw: Uint8Array, from: number): Decoded {
  const most = target.length - 3;
  let to = at;
  let i = from;
  while (i < raw.length && to < most) {
    const byte = raw[i] as number;
    if (byte !== BACKSLASH) {
      target[to] = byte;
      to += 1;
      i += 1;
      continue;
    }
    const next = raw[i + 1] as number;
    if (next !== LOWER_U) {
      target[to] = CONTROL[next] ?? next;
      to += 1;
      i += 2;
      continue;
    }
    const unit = unitAt(raw, i + 2);
    i += 6;
    const low = isHigh(unit) ? lowAt(raw, i) : -1;
    if (low >= 0) i += 6;
    const code =
      low >= 0
        ? 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
        : isHigh(unit) || isLow(unit)
          ? REPLACEMENT
          : unit;
    to = putCodePoint(target, to, code);
  }
  return { from: i, at: to };
}

/** The whole text as a string. */
export function textOf({ raw, isEscaped }: LongText): string {
  return isEscaped ? (JSON.parse(`"${raw.toString('utf8')}"`) as string) : raw.toString('utf8');
}

/** The body with stand-ins, and what they stand for. */
export function setAside(
  body: Buffer,
  ranges: readonly LongRange[],
): { readonly json: Buffer; readonly long: LongTexts } {
  const texts = ranges.map(({ from, to, byteLength }): LongText => {
    const raw = body.subarray(from, to);
    return { raw, byteLength, isEscaped: byteLength !== raw.length };
  });
  const parts: Buffer[] = [];
  let done = 0;
  for (const [i, { from, to }] of ranges.entries()) {
    parts.push(body.subarray(done, from), Buffer.from(WORD + String(i).padStart(DIGITS, '0')));
    done = to;
  }
  parts.push(body.subarray(done));
  const of = (value: string): LongText | undefined =>
    value.length === STAND_IN_LENGTH && value.startsWith(WORD)
      ? texts[Number(value.slice(WORD.length))]
      : undefined;
  return {
    json: Buffer.concat(parts),
    long: {
      of,
      restore(json) {
        const found = [...json.matchAll(STAND_IN)].flatMap(({ index, 1: digits }) => {
          const text = texts[Number(digits)];
          return text === undefined ? [] : [{ from: index + 1, raw: text.raw }];
        });
        // A part that is not copied keeps the whole body, with what else was in it.
        const large = found.reduce((sum, { raw }) => sum + (raw.length < COPIED_BYTES ? 0 : raw.length), 0);
        const copiedBytes = 2 * large < body.length ? Number.POSITIVE_INFINITY : COPIED_BYTES;
        const whole: Buffer[] = [];
        let copied: Buffer[] = [];
        let from = 0;
        for (const { from: start, raw } of found) {
          copied.push(Buffer.from(json.slice(from, start)));
          from = start + STAND_IN_LENGTH;
          if (raw.length < copiedBytes) copied.push(raw);
          else {
            whole.push(joined(copied), raw);
            copied = [];
          }
        }
        copied.push(Buffer.from(json.slice(from)));
        return [...whole, joined(copied)];
      },
    },
  };
}

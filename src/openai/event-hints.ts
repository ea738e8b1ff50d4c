/**
 * Tells by the strings in a line of an event whether it is worth parsing, and counts its text. Hot: runs at every string
 * of every response, and allocates nothing.
 */

/** The event has to be parsed: it may hold usage, an error or a finish. */
export const HINT_PARSE = 1;
/** The event carries content. */
export const HINT_CONTENT = 2;

/** What the strings of a line have told. */
export interface LineHints {
  /** Hints of the current line: they count if it is a `data` line. */
  lineHints: number;
  /** Bytes of the strings that hold text of an answer, an escape as what it stands for. */
  textBytes: number;
}

const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);
const USAGE = ascii('usage"');
const ERROR = ascii('error"');
const FINISH_REASON = ascii('finish_reason"');
const CHOICES = ascii('choices"');
const CONTENT = ascii('content"');
const TIMINGS = ascii('timings"');
const TEXT = ascii('text"');
const THINKING = ascii('thinking"');
const REASONING = ascii('reasoning"');
const REASONING_CONTENT = ascii('reasoning_content"');
const REFUSAL = ascii('refusal"');
const ARGUMENTS = ascii('arguments"');
const DELTA_KEY = ascii('delta"');
const PARTIAL_JSON = ascii('partial_json"');
const TYPE = ascii('type"');
const RESPONSE = ascii('response.');
const DELTA = ascii('.delta');
const CONTENT_BLOCK_DELTA = ascii('content_block_delta"');
const MESSAGE = ascii('message_');
const RESPONSE_ENDS = [
  ascii('response.completed"'),
  ascii('response.incomplete"'),
  ascii('response.failed"'),
];

const NO = 0;
const YES = 1;
const ESCAPED = 2;

/**
 * Looks at the string, or the end of one, whose quote is just before `i`: the first letters decide, and nearly every key and
 * value is left behind right here. Sets hints of the line. Gives the offset to go on from.
 *
 * This one is for chat and completions, the next for events that tell what they are in `"type"`.
 */
export function choicesString(data: Uint8Array, i: number, to: number, scan: LineHints): number {
  switch (data[i] as number) {
    case 0x5c /* backslash */:
      if (isEscapedLetter(data, i, to)) scan.lineHints |= HINT_PARSE;
      return i;
    case 0x75 /* u */:
      if (isUsage(data, i, to)) scan.lineHints |= HINT_PARSE;
      return i;
    case 0x65 /* e */:
      if (isError(data, i, to)) scan.lineHints |= HINT_PARSE;
      return i;
    case 0x66 /* f */:
      if (isFinish(data, i, to)) scan.lineHints |= HINT_PARSE;
      return i;
    case 0x63 /* c */:
      {
        // "chatcmpl-…", "created", "content" and "choices" are in every chunk: the third letter tells them apart.
        const third = i + 2 < to ? data[i + 2] : 0;
        if (third === 0x6f) {
          if (hasChoices(data, i, to)) scan.lineHints |= HINT_CONTENT;
        } else if (third === 0x6e) {
          if (!isNullContent(data, i, to)) return passText(data, i, to, CONTENT, scan);
          scan.lineHints |= HINT_PARSE;
        }
        return i;
      }
    case 0x74 /* t */:
      if (data[i + 1] === 0x69 && matches(data, i, to, TIMINGS)) scan.lineHints |= HINT_PARSE;
      return data[i + 1] === 0x65 ? passText(data, i, to, TEXT, scan) : i;
    case 0x72 /* r */:
      {
        // "role" is in every chunk.
        if (data[i + 1] !== 0x65) return i;
        const at = passText(data, i, to, REASONING_CONTENT, scan);
        return at > i ? at : passText(data, i, to, data[i + 2] === 0x66 ? REFUSAL : REASONING, scan);
      }
    case 0x61 /* a */:
      return passText(data, i, to, ARGUMENTS, scan);
    default:
      return i;
  }
}

export function typedString(data: Uint8Array, i: number, to: number, scan: LineHints): number {
  switch (data[i] as number) {
    case 0x5c /* backslash */:
      if (isEscapedLetter(data, i, to)) scan.lineHints |= HINT_PARSE;
      return i;
    case 0x75 /* u */:
      if (isUsage(data, i, to)) scan.lineHints |= HINT_PARSE;
      return i;
    case 0x65 /* e */:
      if (isError(data, i, to)) scan.lineHints |= HINT_PARSE;
      return i;
    case 0x74 /* t */:
      scan.lineHints |= typeHint(data, i, to);
      if (data[i + 1] === 0x69 && matches(data, i, to, TIMINGS)) scan.lineHints |= HINT_PARSE;
      if (data[i + 1] === 0x68) return passText(data, i, to, THINKING, scan);
      return data[i + 1] === 0x65 ? passText(data, i, to, TEXT, scan) : i;
    case 0x64 /* d */:
      return passText(data, i, to, DELTA_KEY, scan);
    case 0x70 /* p */:
      return passText(data, i, to, PARTIAL_JSON, scan);
    default:
      return i;
  }
}

export function matches(data: Uint8Array, at: number, to: number, word: Uint8Array): boolean {
  if (at + word.length > to) return false;
  for (let i = 0; i < word.length; i++) if (data[at + i] !== word[i]) return false;
  return true;
}

/** Offset of the first byte of the value of the key whose closing quote is just before `at`; -1 if it is no key. */
function valueAt(data: Uint8Array, at: number, to: number): number {
  let i = at;
  while (i < to && (data[i] as number) <= 0x20) i++;
  if (i >= to || data[i] !== 0x3a) return -1;
  i++;
  while (i < to && (data[i] as number) <= 0x20) i++;
  return i < to ? i : -1;
}

/** Whether the string at `at` is the word; also if an escape in it may make it so. */
function isWord(data: Uint8Array, at: number, to: number, word: Uint8Array): number {
  if (at + word.length > to) return NO;
  for (let i = 0; i < word.length; i++) {
    if (data[at + i] !== word[i]) return data[at + i] === BACKSLASH ? ESCAPED : NO;
  }
  return YES;
}

/** The escape of an ASCII letter at the beginning of a string: it may be a key. */
function isEscapedLetter(data: Uint8Array, at: number, to: number): boolean {
  return at + 3 < to && data[at + 1] === 0x75 && data[at + 2] === 0x30 && data[at + 3] === 0x30;
}

/** A key `usage` that is not null. */
function isUsage(data: Uint8Array, at: number, to: number): boolean {
  const word = isWord(data, at, to, USAGE);
  if (word !== YES) return word === ESCAPED;
  const value = valueAt(data, at + USAGE.length, to);
  return value >= 0 && data[value] !== 0x6e;
}

/** A key `error` that is not null, or a value: `"object":"error"`, `"type":"error"`. */
function isError(data: Uint8Array, at: number, to: number): boolean {
  const word = isWord(data, at, to, ERROR);
  if (word !== YES) return word === ESCAPED;
  const value = valueAt(data, at + ERROR.length, to);
  return value < 0 || data[value] !== 0x6e;
}

/** A reason that is not null and, as some servers have it while a choice goes on, not empty. */
function isFinish(data: Uint8Array, at: number, to: number): boolean {
  const word = isWord(data, at, to, FINISH_REASON);
  if (word !== YES) return word === ESCAPED;
  const value = valueAt(data, at + FINISH_REASON.length, to);
  return value >= 0 && data[value] === QUOTE && value + 1 < to && data[value + 1] !== QUOTE;
}

/** Nothing is said here: the first chunk of a choice (llama.cpp), or another field says it. */
function isNullContent(data: Uint8Array, at: number, to: number): boolean {
  if (!matches(data, at, to, CONTENT)) return false;
  const value = valueAt(data, at + CONTENT.length, to);
  return value >= 0 && data[value] === 0x6e;
}

/** A code point of one UTF-16 unit takes at most so many bytes. */
const UNICODE_BYTES = 3;

/** Counts the string of the key at `at`, if it is that key and holds one. Gives the offset after it, or `at`. */
function passText(data: Uint8Array, at: number, to: number, key: Uint8Array, scan: LineHints): number {
  if (!matches(data, at, to, key)) return at;
  const value = valueAt(data, at + key.length, to);
  if (value < 0 || data[value] !== QUOTE) return at;
  let bytes = 0;
  let i = value + 1;
  while (i < to) {
    const byte = data[i] as number;
    if (byte === QUOTE) {
      i++;
      break;
    }
    // No string goes over the end of a line.
    if (byte === LF || byte === CR) break;
    if (byte === 0x5c && i + 1 < to && data[i + 1] !== LF && data[i + 1] !== CR) {
      const isUnicode = data[i + 1] === 0x75 && i + 5 < to;
      bytes += isUnicode ? UNICODE_BYTES : 1;
      i += isUnicode ? 6 : 2;
    } else {
      bytes++;
      i++;
    }
  }
  scan.textBytes += bytes;
  return i;
}

/** A list of choices with something in it. */
function hasChoices(data: Uint8Array, at: number, to: number): boolean {
  if (!matches(data, at, to, CHOICES)) return false;
  const value = valueAt(data, at + CHOICES.length, to);
  if (value < 0 || data[value] !== 0x5b) return false;
  let first = value + 1;
  while (first < to && (data[first] as number) <= 0x20) first++;
  return first < to && data[first] !== 0x5d;
}

function typeHint(data: Uint8Array, at: number, to: number): number {
  if (!matches(data, at, to, TYPE)) return 0;
  const value = valueAt(data, at + TYPE.length, to);
  if (value < 0 || data[value] !== QUOTE) return 0;
  const name = value + 1;
  if (matches(data, name, to, RESPONSE)) {
    for (const word of RESPONSE_ENDS) if (matches(data, name, to, word)) return HINT_PARSE;
    let close = name;
    while (close < to && data[close] !== QUOTE) close++;
    return matches(data, close - DELTA.length, close, DELTA) ? HINT_CONTENT : 0;
  }
  if (matches(data, name, to, CONTENT_BLOCK_DELTA)) return HINT_CONTENT;
  return matches(data, name, to, MESSAGE) ? HINT_PARSE : 0;
}

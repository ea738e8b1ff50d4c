/**
 * Finds the events of a server-sent event stream in raw bytes, and tells which of them are worth parsing.
 * Hot: runs over every byte of every response. One pass, no allocation, numbers instead of objects.
 * Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
 */

/** The event has to be parsed: it may hold usage, an error or a finish. */
export const HINT_PARSE = 1;
/** The event carries content. */
export const HINT_CONTENT = 2;

/** What a scan found; reused from one to the next. */
export interface EventScan {
  /** Bytes of the event before the blank line that ends it. */
  size: number;
  /** Number of `data` lines; where the value of the last one is. */
  dataLines: number;
  dataStart: number;
  dataEnd: number;
  hints: number;
  /** Hints of the current line: they count if it is a `data` line. */
  lineHints: number;
  /** Bytes of the strings that hold text of an answer, an escape as what it stands for. */
  textBytes: number;
  /** The field `error` instead of `data`: how old llama.cpp servers report one. */
  errorLine: boolean;
  /** The event ended with a CR that was the last byte: an LF that comes next belongs to it. */
  endedByCr: boolean;
  /** After an incomplete scan: whether the current line is empty so far, and whether a CR came just before. */
  lineEmpty: boolean;
  afterCr: boolean;
}

export function createEventScan(): EventScan {
  return {
    size: 0,
    dataLines: 0,
    dataStart: 0,
    dataEnd: 0,
    hints: 0,
    lineHints: 0,
    textBytes: 0,
    errorLine: false,
    endedByCr: false,
    lineEmpty: true,
    afterCr: false,
  };
}

const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;

/**
 * Scans the event that begins at `from`. Gives the offset after its blank line, or -1 if the bytes end before it.
 *
 * `typed`: events tell what they are in `"type"` (Responses, Anthropic) rather than in `"choices"`.
 *
 * Why raw bytes can be trusted: a quote inside a JSON string is escaped, so `"usage"` followed by a colon is always a
 * key. A key elsewhere in the event than expected costs a parse, and the parse decides.
 */
export function scanEvent(
  data: Uint8Array,
  from: number,
  to: number,
  typed: boolean,
  scan: EventScan,
): number {
  let lineStart = from;
  let hints = 0;
  let dataLines = 0;
  let i = from;
  scan.errorLine = false;
  scan.afterCr = false;
  scan.textBytes = 0;
  scan.lineHints = 0;

  while (i < to) {
    const byte = data[i] as number;
    if (byte === QUOTE) {
      if (++i === to) break;
      i = typed ? typedString(data, i, to, scan) : choicesString(data, i, to, scan);
      continue;
    }
    if (byte > CR || (byte !== LF && byte !== CR)) {
      i++;
      continue;
    }

    let next = i + 1;
    if (byte === CR && next < to && data[next] === LF) next++;
    if (i === lineStart) {
      scan.size = i - from;
      scan.dataLines = dataLines;
      scan.hints = hints;
      scan.endedByCr = byte === CR && next === i + 1 && next === to;
      return next;
    }
    if (isData(data, lineStart, i)) {
      dataLines++;
      hints |= scan.lineHints;
      let start = Math.min(lineStart + 5, i);
      if (start < i && data[start] === 0x20) start++;
      scan.dataStart = start;
      scan.dataEnd = i;
    } else if (data[lineStart] === 0x65 && matches(data, lineStart, i, ERROR_FIELD)) {
      scan.errorLine = true;
    }
    scan.lineHints = 0;
    scan.afterCr = byte === CR && next === to;
    lineStart = next;
    i = next;
  }
  scan.lineEmpty = lineStart >= to;
  return -1;
}

/**
 * Looks at the string, or the end of one, whose quote is just before `i`: the first letters decide, and nearly every key and
 * value is left behind right here. Sets hints of the line. Gives the offset to go on from.
 *
 * This one is for chat and completions, the next for events that tell what they are in `"type"`.
 */
function choicesString(data: Uint8Array, i: number, to: number, scan: EventScan): number {
  switch (data[i] as number) {
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

function typedString(data: Uint8Array, i: number, to: number, scan: EventScan): number {
  switch (data[i] as number) {
    case 0x75 /* u */:
      if (isUsage(data, i, to)) scan.lineHints |= HINT_PARSE;
      return i;
    case 0x65 /* e */:
      if (isError(data, i, to)) scan.lineHints |= HINT_PARSE;
      return i;
    case 0x74 /* t */:
      scan.lineHints |= typeHint(data, i, to);
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

/**
 * Goes on looking for the end of an event that a scan, or this function, found incomplete; `from` is the first byte
 * that was not seen. Gives the offset after the blank line, or -1. `scan.size`: bytes from `from` to the blank line.
 */
export function findEventEnd(data: Uint8Array, from: number, to: number, scan: EventScan): number {
  let { lineEmpty, afterCr } = scan;
  for (let i = from; i < to; i++) {
    const byte = data[i] as number;
    if (byte !== LF && byte !== CR) {
      lineEmpty = false;
      afterCr = false;
    } else if (byte === LF && afterCr) {
      afterCr = false;
    } else if (lineEmpty) {
      scan.size = i - from;
      return byte === CR && i + 1 < to && data[i + 1] === LF ? i + 2 : i + 1;
    } else {
      lineEmpty = true;
      afterCr = byte === CR;
    }
  }
  scan.lineEmpty = lineEmpty;
  scan.afterCr = afterCr;
  return -1;
}

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);
const ERROR_FIELD = ascii('error:');
const DATA_FIELD = ascii('data');
const USAGE = ascii('usage"');
const ERROR = ascii('error"');
const FINISH_REASON = ascii('finish_reason"');
const CHOICES = ascii('choices"');
const CONTENT = ascii('content"');
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

function matches(data: Uint8Array, at: number, to: number, word: Uint8Array): boolean {
  if (at + word.length > to) return false;
  for (let i = 0; i < word.length; i++) if (data[at + i] !== word[i]) return false;
  return true;
}

/** `data` alone is a field too: with an empty value. */
function isData(data: Uint8Array, from: number, to: number): boolean {
  return matches(data, from, to, DATA_FIELD) && (from + 4 === to || data[from + 4] === 0x3a);
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

function isUsage(data: Uint8Array, at: number, to: number): boolean {
  if (!matches(data, at, to, USAGE)) return false;
  const value = valueAt(data, at + USAGE.length, to);
  return value >= 0 && data[value] === 0x7b;
}

/** A key `error` that is not null, or a value: `"object":"error"`, `"type":"error"`. */
function isError(data: Uint8Array, at: number, to: number): boolean {
  if (!matches(data, at, to, ERROR)) return false;
  const value = valueAt(data, at + ERROR.length, to);
  return value < 0 || data[value] !== 0x6e;
}

/** A reason that is not null and, as some servers have it while a choice goes on, not empty. */
function isFinish(data: Uint8Array, at: number, to: number): boolean {
  if (!matches(data, at, to, FINISH_REASON)) return false;
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
function passText(data: Uint8Array, at: number, to: number, key: Uint8Array, scan: EventScan): number {
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

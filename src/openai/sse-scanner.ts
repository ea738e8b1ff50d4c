/**
 * Finds the events of a server-sent event stream in raw bytes, and tells which of them are worth parsing.
 * Hot: runs over every byte of every response. One pass, no allocation, numbers instead of objects.
 * Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
 */

import { choicesString, type LineHints, matches, typedString } from './event-hints.ts';

/** What a scan found; reused from one to the next. */
export interface EventScan extends LineHints {
  /** Bytes of the event before the blank line that ends it. */
  size: number;
  /** Number of `data` lines; where the value of the last one is. */
  dataLines: number;
  dataStart: number;
  dataEnd: number;
  hints: number;
  /** A field `error` instead of `data`, as old llama.cpp servers report one, or an event that is called so. */
  errorLine: boolean;
  /** The event ended with a CR that was the last byte: an LF that comes next belongs to it. */
  endedByCr: boolean;
  /** Events end at each line, not at a blank one. Set where a data line that is whole has another behind it. */
  byLine: boolean;
  /** Looking for the end of an event, stop where a line begins that may be another event; whether it stopped there. */
  seeksLine: boolean;
  atLine: boolean;
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
    byLine: false,
    seeksLine: true,
    atLine: false,
    lineEmpty: true,
    afterCr: false,
  };
}

const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;
const LETTER_D = 0x64;
const LETTER_E = 0x65;

/**
 * Scans the event that begins at `from`. Gives the offset after its blank line, or -1 if the bytes end before it.
 *
 * Some servers leave the blank lines out. So a data line that holds a whole JSON object, or the end mark, is an event
 * of its own where another data line follows at once; from there on each line is one, until a blank line comes.
 *
 * `typed`: events tell what they are in `"type"` (Responses, Anthropic) rather than in `"choices"`.
 *
 * Why raw bytes can be trusted: a quote inside a JSON string is escaped, so `"usage"` followed by a colon is always a
 * key. A key elsewhere in the event than expected costs a parse, and the parse decides. So does an escape in what may be
 * such a key.
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
    let byte = data[i] as number;
    // Nearly all bytes: above all that ends a line, and no quote.
    while (byte > QUOTE && ++i < to) byte = data[i] as number;
    if (i >= to) break;
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
      scan.byLine = false;
      return endOfEvent(scan, i - from, dataLines, hints, byte === CR && next === i + 1 && next === to, next);
    }
    if (isData(data, lineStart, i)) {
      dataLines++;
      hints |= scan.lineHints;
      let start = Math.min(lineStart + 5, i);
      if (start < i && data[start] === 0x20) start++;
      scan.dataStart = start;
      scan.dataEnd = i;
    } else if (data[lineStart] === LETTER_E && isErrorLine(data, lineStart, i)) {
      scan.errorLine = true;
    }
    if (
      scan.byLine ||
      // Nearly always a line feed is there instead.
      (next < to && data[next] === LETTER_D && dataLines === 1 && isWholeData(data, next, to, scan))
    ) {
      return endOfEvent(scan, i - from, dataLines, hints, byte === CR && next === i + 1 && next === to, next);
    }
    scan.lineHints = 0;
    scan.afterCr = byte === CR && next === i + 1 && next === to;
    lineStart = next;
    i = next;
  }
  scan.lineEmpty = lineStart >= to;
  return endOfEvent(scan, to - from, dataLines, hints, false, -1);
}

function endOfEvent(
  scan: EventScan,
  size: number,
  dataLines: number,
  hints: number,
  endedByCr: boolean,
  next: number,
): number {
  scan.size = size;
  scan.dataLines = dataLines;
  scan.hints = hints;
  scan.endedByCr = endedByCr;
  return next;
}

/**
 * Whether the one data line that `scan` has seen is an event of its own, since another data line begins at `next`.
 * Says from then on that lines are events.
 */
export function isWholeData(data: Uint8Array, next: number, to: number, scan: EventScan): boolean {
  const { dataStart, dataEnd } = scan;
  if (!isDataField(data, next, to)) return false;
  const text = Buffer.from(data.buffer, data.byteOffset + dataStart, dataEnd - dataStart)
    .toString('utf8')
    .trim();
  if (text !== '[DONE]') {
    if (!text.startsWith('{') || !text.endsWith('}')) return false;
    try {
      JSON.parse(text);
    } catch {
      return false;
    }
  }
  scan.byLine = true;
  return true;
}

/** The bytes may end within the field's name. */
function isDataField(data: Uint8Array, from: number, to: number): boolean {
  for (let i = 0; i < DATA_FIELD.length && from + i < to; i++) {
    if (data[from + i] !== DATA_FIELD[i]) return false;
  }
  return true;
}

/** Also `event: error`, whatever its data are. */
function isErrorLine(data: Uint8Array, from: number, to: number): boolean {
  if (data[from + 1] === 0x72) return matches(data, from, to, ERROR_FIELD);
  const size = to - from;
  // Most lines of other events are told by their length.
  if (
    size !== EVENT_FIELD.length + ERROR_NAME.length &&
    size !== EVENT_FIELD.length + ERROR_NAME.length + 1
  ) {
    return false;
  }
  if (!matches(data, from, to, EVENT_FIELD)) return false;
  const name = from + EVENT_FIELD.length;
  return matches(data, data[name] === 0x20 ? name + 1 : name, to, ERROR_NAME);
}

/**
 * Goes on looking for the end of an event that a scan, or this function, found incomplete; `from` is the first byte
 * that was not seen. Gives the offset after the blank line, or -1. `scan.size`: bytes from `from` to the blank line.
 * With `scan.seeksLine` it also stops where a line begins that may be another event.
 */
export function findEventEnd(data: Uint8Array, from: number, to: number, scan: EventScan): number {
  let { lineEmpty, afterCr } = scan;
  scan.atLine = false;
  for (let i = from; i < to; i++) {
    const byte = data[i] as number;
    if (byte !== LF && byte !== CR) {
      if (lineEmpty && byte === LETTER_D && scan.seeksLine) {
        scan.atLine = true;
        scan.lineEmpty = false;
        scan.afterCr = false;
        scan.size = i - from;
        return i;
      }
      lineEmpty = false;
      afterCr = false;
    } else if (byte === LF && afterCr) {
      afterCr = false;
    } else if (lineEmpty || scan.byLine) {
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
const EVENT_FIELD = ascii('event:');
const ERROR_NAME = ascii('error');
const DATA_FIELD = ascii('data');
/** `data` alone is a field too: with an empty value. */
function isData(data: Uint8Array, from: number, to: number): boolean {
  return matches(data, from, to, DATA_FIELD) && (from + 4 === to || data[from + 4] === 0x3a);
}

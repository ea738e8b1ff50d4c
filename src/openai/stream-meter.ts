/**
 * Meters a server-sent event stream as it passes: times the tokens, reads usage, errors and the end, and takes out the
 * usage event that the service asked for and the client did not.
 */
import type { EngineRoute } from '../domain/routes.ts';
import { createEventReader, isTypedRoute } from './event-reader.ts';
import type { MeterResult, ResponseMeter } from './response-meter.ts';
import { createEventScan, findEventEnd, HINT_CONTENT, HINT_PARSE, scanEvent } from './sse-scanner.ts';

/** Larger events pass unread. */
export const MAX_EVENT_BYTES = 1024 * 1024;
/** A buffer for incomplete events is let go after use when it is larger than this. */
const KEPT_BUFFER_BYTES = 16 * 1024;

const EMPTY = Buffer.alloc(0);
const BLANK_LINE = Buffer.from('\n\n');
const LF = 0x0a;

/**
 * `removeUsageChunk`: take out events with usage and an empty list of choices. To be able to, bytes of an incomplete
 * event are held back, but only once a choice has finished: token events always pass at once.
 */
export function createStreamMeter(options: {
  readonly route: EngineRoute;
  readonly removeUsageChunk: boolean;
}): ResponseMeter {
  const typed = isTypedRoute(options.route);
  const removing = options.removeUsageChunk && !typed;
  const reader = createEventReader(options.route);
  const scan = createEventScan();

  let bytes = 0;
  let nowMs = 0;
  let firstTokenMs = 0;
  let lastTokenMs = 0;
  let tokenEvents = 0;
  let contentBytes = 0;
  let itlSumMs = 0;
  let itlMaxMs = 0;
  let done = false;
  let ended = false;
  let errorLine = false;

  // The incomplete event at the end of the last chunk. `held`: its bytes have not been sent on.
  let carry: Buffer = EMPTY;
  let carried = 0;
  let held = false;
  /** The event that is passing is too large to be kept: only its end is looked for. */
  let skipping = false;
  /** An event that was removed ended with a CR: a LF that comes next belongs to it. */
  let removeLineFeed = false;

  // Output of the push that is running: pieces, then chunk[keepFrom…]. No pieces: the chunk as it is.
  let pieces: Uint8Array[] | undefined;
  let keepFrom = 0;

  function token(): void {
    if (tokenEvents === 0) firstTokenMs = nowMs;
    else {
      const gap = nowMs - lastTokenMs;
      itlSumMs += gap;
      if (gap > itlMaxMs) itlMaxMs = gap;
    }
    lastTokenMs = nowMs;
    tokenEvents++;
    contentBytes += scan.textBytes;
  }

  /** Takes the event that `scan` describes. True if it is to be removed. */
  function takeEvent(data: Uint8Array, from: number, end: number, parse: boolean): boolean {
    if (scan.errorLine) errorLine = true;
    if (scan.dataLines === 0) return false;
    // Keys could be split over several data lines: hints are for one.
    if (!parse && tokenEvents > 0 && scan.dataLines === 1 && (scan.hints & HINT_PARSE) === 0) {
      if ((scan.hints & HINT_CONTENT) !== 0) {
        token();
        return false;
      }
      if (data[scan.dataStart] !== 0x5b) return false;
    }
    const text =
      scan.dataLines === 1 ? decode(data, scan.dataStart, scan.dataEnd) : joinData(decode(data, from, end));
    if (text.startsWith('[')) {
      if (text.trimEnd() === '[DONE]') done = true;
      return false;
    }
    let event: unknown;
    try {
      event = JSON.parse(text);
    } catch {
      return false;
    }
    const { content, usageOnly } = reader.read(event);
    if (content) token();
    return usageOnly && removing;
  }

  /** Keeps chunk[from, to) behind what is carried. */
  function append(chunk: Uint8Array, from: number, to: number): void {
    const size = carried + to - from;
    if (size > carry.length) {
      const larger = Buffer.allocUnsafe(Math.max(1024, 2 ** Math.ceil(Math.log2(size))));
      larger.set(carry.subarray(0, carried));
      carry = larger;
    }
    carry.set(from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to), carried);
    carried = size;
  }

  function dropCarry(): void {
    carried = 0;
    held = false;
    if (carry.length > KEPT_BUFFER_BYTES) carry = EMPTY;
  }

  /** Goes on with the event that began in an earlier chunk. Gives the offset after it, or the chunk's length. */
  function resume(chunk: Uint8Array): number {
    const end = findEventEnd(chunk, 0, chunk.length, scan);
    const complete = end >= 0;
    const tooLarge = skipping || carried + (complete ? scan.size : chunk.length) > MAX_EVENT_BYTES;
    if (tooLarge) {
      if (held) pieces = [Buffer.from(carry.subarray(0, carried))];
      // Nothing but text is as large.
      contentBytes += skipping ? (complete ? end : chunk.length) : carried + (complete ? end : chunk.length);
      dropCarry();
      skipping = !complete;
      return complete ? end : chunk.length;
    }
    const before = carried;
    append(chunk, 0, complete ? end : chunk.length);
    if (!complete) {
      if (held) {
        pieces = [];
        keepFrom = chunk.length;
      }
      return chunk.length;
    }
    scanEvent(carry, 0, carried, typed, scan);
    const remove = takeEvent(carry, 0, carried, false) && held;
    if (remove) {
      pieces = [];
      keepFrom = end;
      removeLineFeed = scan.endedByCr && end === chunk.length;
    } else if (held) pieces = [Buffer.from(carry.subarray(0, before))];
    dropCarry();
    return end;
  }

  function cut(chunk: Uint8Array, from: number, to: number): void {
    pieces ??= [];
    if (from > keepFrom) pieces.push(chunk.subarray(keepFrom, from));
    keepFrom = to;
  }

  /** The bytes from `from` on are the beginning of an event. */
  function keepTail(chunk: Uint8Array, from: number): void {
    if (chunk.length - from > MAX_EVENT_BYTES) {
      contentBytes += chunk.length - from;
      skipping = true;
      return;
    }
    append(chunk, from, chunk.length);
    held = removing && reader.finishSeen();
    if (held) cut(chunk, from, chunk.length);
  }

  return {
    push(chunk, atMs) {
      const { length } = chunk;
      if (length === 0) return undefined;
      bytes += length;
      nowMs = atMs;
      pieces = undefined;
      keepFrom = 0;
      let at = 0;
      if (removeLineFeed && chunk[0] === LF) {
        cut(chunk, 0, 1);
        at = 1;
      }
      removeLineFeed = false;
      if (carried > 0 || skipping) at = resume(chunk);
      while (at < length) {
        const end = scanEvent(chunk, at, length, typed, scan);
        if (end < 0) {
          keepTail(chunk, at);
          break;
        }
        const isTooLarge = scan.size > MAX_EVENT_BYTES;
        if (isTooLarge) contentBytes += scan.size;
        const remove = !isTooLarge && takeEvent(chunk, at, end, false);
        if (remove) {
          cut(chunk, at, end);
          removeLineFeed = scan.endedByCr;
        }
        at = end;
      }
      if (pieces === undefined) return undefined;
      return joined(pieces, keepFrom < length ? chunk.subarray(keepFrom) : EMPTY);
    },

    end() {
      if (ended) return undefined;
      ended = true;
      if (carried === 0) return undefined;
      // Some servers leave out the last blank line. What is not whole JSON is passed over.
      const size = carried;
      append(BLANK_LINE, 0, BLANK_LINE.length);
      const end = scanEvent(carry, 0, carried, typed, scan);
      const remove = takeEvent(carry, 0, end, true);
      const rest = held && !remove ? Buffer.from(carry.subarray(0, size)) : undefined;
      dropCarry();
      return rest;
    },

    finished: () => done || reader.finished(),
    tokenEvents: () => tokenEvents,
    contentBytes: () => contentBytes,

    result(): MeterResult {
      const usage = reader.usage(tokenEvents);
      return {
        ...(tokenEvents > 0 && { firstTokenMs, lastTokenMs }),
        tokenEvents,
        ...(usage !== undefined && { usage }),
        ...(usage !== undefined && reader.isUsageEarly() && { isUsageEarly: true as const }),
        // Some servers send no [DONE]: then a finish reason and an orderly end have to do.
        finished: done || reader.finished() || (ended && reader.finishSeen()),
        errorFrame: errorLine || reader.errorFrame(),
        itl: { count: Math.max(0, tokenEvents - 1), sumMs: itlSumMs, maxMs: itlMaxMs },
        bytes,
      };
    },
  };
}

function decode(data: Uint8Array, from: number, to: number): string {
  return Buffer.from(data.buffer, data.byteOffset + from, to - from).toString('utf8');
}

/** The value of an event's `data` lines together. */
function joinData(event: string): string {
  return event
    .split(/\r\n|\n|\r/)
    .filter((line) => line === 'data' || line.startsWith('data:'))
    .map((line) => line.slice(5).replace(/^ /, ''))
    .join('\n');
}

function joined(pieces: readonly Uint8Array[], rest: Uint8Array): Uint8Array {
  const parts = rest.length > 0 ? [...pieces, rest] : pieces;
  if (parts.length > 1) return Buffer.concat(parts);
  return parts[0] ?? EMPTY;
}

/**
 * Meters a server-sent event stream as it passes: times the tokens, reads usage, errors and the end, and takes out the
 * usage event that the service asked for and the client did not.
 */
import type { EngineRoute } from '../domain/routes.ts';
import { createEventReader, type EventReader, isTypedRoute } from './event-reader.ts';
import type { MeterResult, ResponseMeter } from './response-meter.ts';
import {
  createEventScan,
  type EventScan,
  findEventEnd,
  HINT_CONTENT,
  HINT_PARSE,
  scanEvent,
} from './sse-scanner.ts';

/** Larger events pass unread. */
export const MAX_EVENT_BYTES = 1024 * 1024;
/** A buffer for incomplete events is let go after use when it is larger than this. */
const KEPT_BUFFER_BYTES = 16 * 1024;

const EMPTY = Buffer.alloc(0);
const BLANK_LINE = Buffer.from('\n\n');
const LF = 0x0a;

export interface StreamMeterOptions {
  readonly route: EngineRoute;
  /**
   * Takes out events with usage and an empty list of choices. To be able to, bytes of an incomplete event are held
   * back, but only once a choice has finished: token events always pass at once.
   */
  readonly removeUsageChunk: boolean;
}

export const createStreamMeter = (options: StreamMeterOptions): ResponseMeter => new StreamMeter(options);

class StreamMeter implements ResponseMeter {
  private readonly typed: boolean;
  private readonly removing: boolean;
  private readonly reader: EventReader;
  private readonly scan: EventScan = createEventScan();

  // What the stream has told.
  private bytes = 0;
  private done = false;
  private ended = false;
  private errorLine = false;

  // Its tokens. `nowMs`: the time of the push that is running.
  private nowMs = 0;
  private firstTokenMs = 0;
  private lastTokenMs = 0;
  private tokens = 0;
  private textBytes = 0;
  private itlSumMs = 0;
  private itlMaxMs = 0;

  // The incomplete event at the end of the last chunk. `held`: its bytes have not been sent on.
  private carry: Buffer = EMPTY;
  private carried = 0;
  private held = false;
  /** The event that is passing is too large to be kept: only its end is looked for. */
  private skipping = false;
  /** An event that was removed ended with a CR: a LF that comes next belongs to it. */
  private removeLineFeed = false;

  // Output of the push that is running: pieces, then chunk[keepFrom…]. No pieces: the chunk as it is.
  private pieces: Uint8Array[] | undefined;
  private keepFrom = 0;

  constructor({ route, removeUsageChunk }: StreamMeterOptions) {
    this.typed = isTypedRoute(route);
    this.removing = removeUsageChunk && !this.typed;
    this.reader = createEventReader(route);
  }

  push(chunk: Uint8Array, atMs: number): Uint8Array | undefined {
    const { length } = chunk;
    if (length === 0) return undefined;
    this.bytes += length;
    this.nowMs = atMs;
    this.pieces = undefined;
    this.keepFrom = 0;
    let at = 0;
    if (this.removeLineFeed && chunk[0] === LF) {
      this.cut(chunk, 0, 1);
      at = 1;
    }
    this.removeLineFeed = false;
    if (this.carried > 0 || this.skipping) at = this.resume(chunk);
    const { scan } = this;
    while (at < length) {
      const end = scanEvent(chunk, at, length, this.typed, scan);
      if (end < 0) {
        this.keepTail(chunk, at);
        break;
      }
      const isTooLarge = scan.size > MAX_EVENT_BYTES;
      if (isTooLarge) this.textBytes += scan.size;
      else if (this.takeEvent(chunk, at, end, false)) {
        this.cut(chunk, at, end);
        this.removeLineFeed = scan.endedByCr;
      }
      at = end;
    }
    // Read again: `cut` sets it.
    const pieces = this.pieces as Uint8Array[] | undefined;
    if (pieces === undefined) return undefined;
    return joined(pieces, this.keepFrom < length ? chunk.subarray(this.keepFrom) : EMPTY);
  }

  end(): Uint8Array | undefined {
    if (this.ended) return undefined;
    this.ended = true;
    if (this.carried === 0) return undefined;
    // Some servers leave out the last blank line. What is not whole JSON is passed over.
    const size = this.carried;
    this.append(BLANK_LINE, 0, BLANK_LINE.length);
    const end = scanEvent(this.carry, 0, this.carried, this.typed, this.scan);
    const remove = this.takeEvent(this.carry, 0, end, true);
    const rest = this.held && !remove ? Buffer.from(this.carry.subarray(0, size)) : undefined;
    this.dropCarry();
    return rest;
  }

  finished(): boolean {
    return this.done || this.reader.finished();
  }

  tokenEvents(): number {
    return this.tokens;
  }

  contentBytes(): number {
    return this.textBytes;
  }

  result(): MeterResult {
    const { reader, tokens } = this;
    const usage = reader.usage(tokens);
    return {
      ...(tokens > 0 && { firstTokenMs: this.firstTokenMs, lastTokenMs: this.lastTokenMs }),
      tokenEvents: tokens,
      ...(usage !== undefined && { usage }),
      ...(usage !== undefined && reader.isUsageEarly() && { isUsageEarly: true as const }),
      // Some servers send no [DONE]: then a finish reason and an orderly end have to do.
      finished: this.done || reader.finished() || (this.ended && reader.finishSeen()),
      errorFrame: this.errorLine || reader.errorFrame(),
      itl: { count: Math.max(0, tokens - 1), sumMs: this.itlSumMs, maxMs: this.itlMaxMs },
      bytes: this.bytes,
    };
  }

  // --- events

  private token(): void {
    if (this.tokens === 0) this.firstTokenMs = this.nowMs;
    else {
      const gap = this.nowMs - this.lastTokenMs;
      this.itlSumMs += gap;
      if (gap > this.itlMaxMs) this.itlMaxMs = gap;
    }
    this.lastTokenMs = this.nowMs;
    this.tokens++;
    this.textBytes += this.scan.textBytes;
  }

  /** Takes the event that `scan` describes. True if it is to be removed. */
  private takeEvent(data: Uint8Array, from: number, end: number, parse: boolean): boolean {
    const { scan } = this;
    if (scan.errorLine) this.errorLine = true;
    if (scan.dataLines === 0) return false;
    // Keys could be split over several data lines: hints are for one.
    if (!parse && this.tokens > 0 && scan.dataLines === 1 && (scan.hints & HINT_PARSE) === 0) {
      if ((scan.hints & HINT_CONTENT) !== 0) {
        this.token();
        return false;
      }
      if (data[scan.dataStart] !== 0x5b) return false;
    }
    const text =
      scan.dataLines === 1 ? decode(data, scan.dataStart, scan.dataEnd) : joinData(decode(data, from, end));
    if (text.startsWith('[')) {
      if (text.trimEnd() === '[DONE]') this.done = true;
      return false;
    }
    let event: unknown;
    try {
      event = JSON.parse(text);
    } catch {
      return false;
    }
    const { content, usageOnly } = this.reader.read(event);
    if (content) this.token();
    return usageOnly && this.removing;
  }

  // --- the event that is not complete

  /** Keeps chunk[from, to) behind what is carried. */
  private append(chunk: Uint8Array, from: number, to: number): void {
    const { carried } = this;
    const size = carried + to - from;
    if (size > this.carry.length) {
      const larger = Buffer.allocUnsafe(Math.max(1024, 2 ** Math.ceil(Math.log2(size))));
      larger.set(this.carry.subarray(0, carried));
      this.carry = larger;
    }
    this.carry.set(from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to), carried);
    this.carried = size;
  }

  private dropCarry(): void {
    this.carried = 0;
    this.held = false;
    if (this.carry.length > KEPT_BUFFER_BYTES) this.carry = EMPTY;
  }

  /** Goes on with the event that began in an earlier chunk. Gives the offset after it, or the chunk's length. */
  private resume(chunk: Uint8Array): number {
    const { scan, carried: before, held } = this;
    const end = findEventEnd(chunk, 0, chunk.length, scan);
    const complete = end >= 0;
    const next = complete ? end : chunk.length;
    if (this.skipping || before + (complete ? scan.size : next) > MAX_EVENT_BYTES) {
      if (held) this.pieces = [Buffer.from(this.carry.subarray(0, before))];
      // Nothing but text is as large.
      this.textBytes += this.skipping ? next : before + next;
      this.dropCarry();
      this.skipping = !complete;
      return next;
    }
    this.append(chunk, 0, next);
    if (!complete) {
      if (held) {
        this.pieces = [];
        this.keepFrom = next;
      }
      return next;
    }
    const { carry, carried } = this;
    scanEvent(carry, 0, carried, this.typed, scan);
    const remove = this.takeEvent(carry, 0, carried, false) && held;
    if (remove) {
      this.pieces = [];
      this.keepFrom = end;
      this.removeLineFeed = scan.endedByCr && end === chunk.length;
    } else if (held) this.pieces = [Buffer.from(carry.subarray(0, before))];
    this.dropCarry();
    return end;
  }

  /** The bytes from `from` on are the beginning of an event. */
  private keepTail(chunk: Uint8Array, from: number): void {
    const { length } = chunk;
    if (length - from > MAX_EVENT_BYTES) {
      this.textBytes += length - from;
      this.skipping = true;
      return;
    }
    this.append(chunk, from, length);
    this.held = this.removing && this.reader.finishSeen();
    if (this.held) this.cut(chunk, from, length);
  }

  // --- what is sent on

  private cut(chunk: Uint8Array, from: number, to: number): void {
    this.pieces ??= [];
    if (from > this.keepFrom) this.pieces.push(chunk.subarray(this.keepFrom, from));
    this.keepFrom = to;
  }
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

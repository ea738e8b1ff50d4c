/**
 * Meters a server-sent event stream as it passes: times the tokens, reads usage, errors and the end, and takes out the
 * usage event that the service asked for and the client did not.
 */
import type { Mutable } from '../domain/mutable.ts';
import type { EngineRoute } from '../domain/routes.ts';
import { HINT_CONTENT, HINT_PARSE } from './event-hints.ts';
import {
  CONTENT,
  createEventReader,
  type EventReader,
  isTypedRoute,
  USAGE,
  USAGE_ONLY,
} from './event-reader.ts';
import { LongEvent } from './long-event.ts';
import type { MeterResult, ResponseMeter } from './response-meter.ts';
import { createEventScan, type EventScan, findEventEnd, isWholeData, scanEvent } from './sse-scanner.ts';
import { bomBytes, bufferOf, dataLines, parse, textOf } from './sse-text.ts';

/** Larger events are not kept: they are read as they pass, and neither held back nor taken out. */
export const KEPT_EVENT_BYTES = 64 * 1024;
/** Times that an event which comes in pieces is looked at for another one in its next line. */
const MOST_LOOKS = 4;
/** A buffer for incomplete events is let go after use when it is larger than this. */
const KEPT_BUFFER_BYTES = 16 * 1024;

const EMPTY = Buffer.alloc(0);
const BLANK_LINE = Buffer.from('\n\n');
const LF = 0x0a;

export interface StreamMeterOptions {
  readonly route: EngineRoute;
  /**
   * Takes out events with usage and without choices (none, null or an empty list). To be able to, bytes of an incomplete event are held
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
  /** No event has ended: a byte order mark may come first. */
  private isFirst = true;

  // Its tokens. `nowMs`: the time of the push that is running.
  private nowMs = 0;
  private firstTokenMs = 0;
  private lastTokenMs = 0;
  private tokens = 0;
  /** Of them those that had come with, or before, the latest usage. */
  private tokensAtUsage = 0;
  private textBytes = 0;
  private itlSumMs = 0;
  private itlMaxMs = 0;

  // The incomplete event at the end of the last chunk. `held`: its bytes have not been sent on.
  private carry: Buffer = EMPTY;
  private carried = 0;
  private held = false;
  /** The event that is passing, if it is too large to be kept. */
  private long: LongEvent | undefined = undefined;
  private looks = 0;
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
    if (this.carried > 0 || this.long !== undefined) at = this.resume(chunk);
    const { scan } = this;
    while (at < length) {
      const from = this.isFirst ? at + bomBytes(chunk, at, length) : at;
      const end = scanEvent(chunk, from, length, this.typed, scan);
      if (end < 0) {
        this.keepTail(chunk, at, from);
        break;
      }
      this.isFirst = false;
      if (scan.size > KEPT_EVENT_BYTES) this.takeLong(chunk, from, end);
      else if (this.takeEvent(chunk, from, end, false)) {
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
    this.endLong();
    const { carried: size, scan } = this;
    if (size === 0) return undefined;
    // Some servers leave out the last blank line. What is not whole JSON is passed over.
    this.append(BLANK_LINE, 0, BLANK_LINE.length);
    const { carry, held } = this;
    const kept: Uint8Array[] = [];
    let at = this.isFirst ? bomBytes(carry, 0, size) : 0;
    let from = 0;
    while (at < size) {
      const end = scanEvent(carry, at, this.carried, this.typed, scan);
      if (end < 0) break;
      if (!this.takeEvent(carry, at, end, true)) kept.push(carry.subarray(from, Math.min(end, size)));
      at = end;
      from = end;
    }
    const rest = held && kept.length > 0 ? Buffer.concat(kept) : undefined;
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
    return this.textBytes + (this.long?.textBytes() ?? 0);
  }

  result(): MeterResult {
    const { reader, tokens } = this;
    const usage = reader.usage(tokens);
    const result: Mutable<MeterResult> = {
      tokenEvents: tokens,
      // Some servers send no [DONE]: then a finish reason and an orderly end have to do.
      finished: this.done || reader.finished() || (this.ended && reader.finishSeen()),
      errorFrame: this.errorLine || reader.errorFrame(),
      itl: { count: Math.max(0, tokens - 1), sumMs: this.itlSumMs, maxMs: this.itlMaxMs },
      bytes: this.bytes,
    };
    if (tokens > 0) {
      result.firstTokenMs = this.firstTokenMs;
      result.lastTokenMs = this.lastTokenMs;
    }
    if (usage !== undefined) {
      result.usage = usage;
      if (reader.isUsageEarly() || this.tokensAtUsage < tokens) result.isUsageEarly = true;
    }
    if (reader.oddUsage()) result.oddUsage = true;
    return result;
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
  private takeEvent(data: Uint8Array, from: number, end: number, isLast: boolean): boolean {
    const { scan } = this;
    if (scan.errorLine) this.errorLine = true;
    if (scan.dataLines === 0) return false;
    // Keys could be split over several data lines: hints are for one.
    if (!isLast && this.tokens > 0 && scan.dataLines === 1 && (scan.hints & HINT_PARSE) === 0) {
      if ((scan.hints & HINT_CONTENT) !== 0) {
        this.token();
        return false;
      }
      if (data[scan.dataStart] !== 0x5b) return false;
    }
    if (scan.dataLines === 1) return this.takeText(textOf(data, scan.dataStart, scan.dataEnd));
    const lines = dataLines(textOf(data, from, end));
    const event = parse(lines.join('\n'));
    if (event !== undefined) return this.takeParsed(event);
    // Not JSON that is spread over lines, then: lines of their own.
    for (const line of lines) this.takeText(line);
    return false;
  }

  private takeText(text: string): boolean {
    if (text.startsWith('[')) {
      if (text.trimEnd() === '[DONE]') this.done = true;
      return false;
    }
    const event = parse(text);
    return event !== undefined && this.takeParsed(event);
  }

  private takeParsed(event: unknown): boolean {
    const has = this.reader.read(event);
    if ((has & CONTENT) !== 0) this.token();
    if ((has & USAGE) !== 0) this.tokensAtUsage = this.tokens;
    return (has & USAGE_ONLY) !== 0 && this.removing;
  }

  // --- an event that is too large to be kept

  private beginLong(): LongEvent {
    const { scan } = this;
    if (scan.errorLine) this.errorLine = true;
    this.long = new LongEvent((event) => {
      // Its text is counted as it passes.
      scan.textBytes = 0;
      this.takeParsed(event);
    });
    return this.long;
  }

  private endLong(): void {
    const { long } = this;
    if (long === undefined) return;
    long.end();
    this.textBytes += long.textBytes();
    this.long = undefined;
  }

  private takeLong(chunk: Uint8Array, from: number, end: number): void {
    this.beginLong().push(bufferOf(chunk, from, end));
    this.endLong();
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
    const { length } = chunk;
    let at = 0;
    for (;;) {
      const end = findEventEnd(chunk, at, length, scan);
      const next = end < 0 ? length : end;
      if (this.long !== undefined || this.carried + (end < 0 ? next - at : scan.size) > KEPT_EVENT_BYTES) {
        return this.resumeLong(chunk, at, end, before);
      }
      this.append(chunk, at, next);
      at = next;
      if (end < 0) {
        if (held) {
          this.pieces = [];
          this.keepFrom = next;
        }
        return next;
      }
      if (!scan.atLine || this.endsAtLine()) break;
    }
    const from = this.isFirst ? bomBytes(this.carry, 0, this.carried) : 0;
    if (!scan.atLine) scanEvent(this.carry, from, this.carried, this.typed, scan);
    this.isFirst = false;
    const remove = this.takeEvent(this.carry, from, this.carried, false) && held;
    if (remove) {
      this.pieces = [];
      this.keepFrom = at;
      this.removeLineFeed = scan.endedByCr && at === length;
    } else if (held) this.pieces = [Buffer.from(this.carry.subarray(0, before))];
    this.dropCarry();
    return at;
  }

  /** Whether the event that is carried is whole, now that a line begins that may be another one. */
  private endsAtLine(): boolean {
    const { scan, carry, carried } = this;
    this.looks += 1;
    const from = this.isFirst ? bomBytes(carry, 0, carried) : 0;
    const end = scanEvent(carry, from, carried, this.typed, scan);
    const isWhole = end < 0 && scan.dataLines === 1 && isWholeData(carry, carried, carried, scan);
    scan.seeksLine = !isWhole && scan.dataLines === 0 && this.looks < MOST_LOOKS;
    scan.atLine = isWhole;
    scan.lineEmpty = false;
    scan.afterCr = false;
    return isWhole;
  }

  private resumeLong(chunk: Uint8Array, from: number, firstEnd: number, before: number): number {
    const { scan, carry, carried } = this;
    if (this.long === undefined) {
      if (this.held) this.pieces = [Buffer.from(carry.subarray(0, before))];
      const bom = this.isFirst ? bomBytes(carry, 0, carried) : 0;
      this.isFirst = false;
      this.beginLong().push(carry.subarray(bom, carried));
      this.dropCarry();
    }
    const { length } = chunk;
    let at = from;
    let end = firstEnd;
    for (;;) {
      this.long?.push(bufferOf(chunk, at, end < 0 ? length : end));
      if (end < 0) return length;
      if (!scan.atLine) break;
      if (this.long?.isWhole() === true) {
        scan.byLine = true;
        break;
      }
      at = end;
      scan.lineEmpty = false;
      // From behind the letter at which it stopped.
      end = findEventEnd(chunk, end + 1, length, scan);
    }
    this.endLong();
    return end;
  }

  /** The bytes from `at` on are the beginning of an event; `from`: without a byte order mark. */
  private keepTail(chunk: Uint8Array, at: number, from: number): void {
    const { scan } = this;
    const { length } = chunk;
    this.looks = 0;
    scan.seeksLine = !scan.byLine;
    if (length - at > KEPT_EVENT_BYTES) {
      this.isFirst = false;
      this.beginLong().push(bufferOf(chunk, from, length));
      return;
    }
    this.append(chunk, at, length);
    this.held = this.removing && this.reader.finishSeen();
    if (this.held) this.cut(chunk, at, length);
  }

  // --- what is sent on

  private cut(chunk: Uint8Array, from: number, to: number): void {
    this.pieces ??= [];
    if (from > this.keepFrom) this.pieces.push(chunk.subarray(this.keepFrom, from));
    this.keepFrom = to;
  }
}

function joined(pieces: readonly Uint8Array[], rest: Uint8Array): Uint8Array {
  const parts = rest.length > 0 ? [...pieces, rest] : pieces;
  if (parts.length > 1) return Buffer.concat(parts);
  return parts[0] ?? EMPTY;
}

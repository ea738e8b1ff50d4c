/** Meters a JSON response as it passes, in bounded memory. */
import type { EngineRoute } from '../domain/routes.ts';
import { closingQuote } from './json/text.ts';
import { type MeterResult, NO_ITL, type ResponseMeter } from './response-meter.ts';
import { isObject, type Usage, usageOf } from './usage.ts';

/** A body up to this size is parsed whole. */
const WHOLE_BYTES = 32 * 1024;
/** Of a larger one its two ends are searched for usage. */
const END_BYTES = 16 * 1024;
/** Longest text of a usage object. */
const USAGE_BYTES = 4096;

const EMPTY = Buffer.alloc(0);
const USAGE_KEY = Buffer.from('"usage"');

class BodyMeter implements ResponseMeter {
  private readonly route: EngineRoute;
  private bytes = 0;
  private firstTokenMs = 0;
  private lastTokenMs = 0;

  // Until the end
  /** The whole body; once it is too large, its tail and a little before. */
  private kept: Buffer = EMPTY;
  private keptBytes = 0;
  /** Of a body that is too large. */
  private head: Buffer | undefined = undefined;

  // From the end on
  private hasEnded = false;
  private errorFrame = false;
  private usage: Usage | undefined = undefined;

  constructor(route: EngineRoute) {
    this.route = route;
  }

  push(chunk: Uint8Array, nowMs: number): undefined {
    if (chunk.length === 0) return undefined;
    if (this.bytes === 0) this.firstTokenMs = nowMs;
    this.lastTokenMs = nowMs;
    this.bytes += chunk.length;
    if (this.bytes <= WHOLE_BYTES) this.keep(chunk);
    else this.keepEnds(chunk);
    return undefined;
  }

  end(): undefined {
    if (this.hasEnded) return undefined;
    this.hasEnded = true;
    const { head, keptBytes } = this;
    const text = this.kept.subarray(0, keptBytes);
    let usage: Usage | undefined;
    if (head === undefined) {
      const body = parse(text);
      usage = usageOf(body);
      this.errorFrame = isObject(body) && (body['error'] ?? null) !== null;
    } else {
      usage = usageInTail(text.subarray(Math.max(0, keptBytes - END_BYTES))) ?? usageInHead(head);
    }
    this.usage =
      usage !== undefined && this.route === 'embeddings' ? { ...usage, completionTokens: 0 } : usage;
    this.kept = EMPTY;
    this.head = undefined;
    return undefined;
  }

  /** Only its end says that a body is complete. */
  finished(): boolean {
    return false;
  }

  tokenEvents(): number {
    return 0;
  }

  contentBytes(): number {
    return this.bytes;
  }

  result(): MeterResult {
    const { bytes, usage } = this;
    const known = {
      tokenEvents: 0,
      finished: this.hasEnded,
      errorFrame: this.errorFrame,
      itl: NO_ITL,
      bytes,
    };
    if (bytes === 0) return known;
    const { firstTokenMs, lastTokenMs } = this;
    return usage === undefined
      ? { ...known, firstTokenMs, lastTokenMs }
      : { ...known, firstTokenMs, lastTokenMs, usage };
  }

  private keep(chunk: Uint8Array): void {
    const { kept, keptBytes } = this;
    const size = keptBytes + chunk.length;
    if (size > kept.length) {
      const larger = Buffer.allocUnsafe(
        Math.max(2048, Math.min(WHOLE_BYTES, 2 ** Math.ceil(Math.log2(size)))),
      );
      larger.set(kept.subarray(0, keptBytes));
      this.kept = larger;
    }
    this.kept.set(chunk, keptBytes);
    this.keptBytes = size;
  }

  private keepEnds(chunk: Uint8Array): void {
    if (this.head === undefined) {
      this.head = Buffer.allocUnsafe(END_BYTES);
      const copied = this.kept.copy(this.head, 0, 0, Math.min(this.keptBytes, END_BYTES));
      this.head.set(chunk.subarray(0, END_BYTES - copied), copied);
    }
    if (chunk.length >= END_BYTES) {
      this.keptBytes = 0;
      this.keep(chunk.subarray(chunk.length - END_BYTES));
      return;
    }
    // Room for a tail and a chunk, and moved only when it is used up: a byte is copied a bounded number of times.
    if (this.keptBytes + chunk.length > WHOLE_BYTES) {
      this.kept.copyWithin(0, this.keptBytes - END_BYTES, this.keptBytes);
      this.keptBytes = END_BYTES;
    }
    this.keep(chunk);
  }
}

/** @param route that the response answers; a list of embeddings reports no output. */
export const createBodyMeter = (route: EngineRoute): ResponseMeter => new BodyMeter(route);

function parse(text: Buffer): unknown {
  try {
    return JSON.parse(text.toString('utf8'));
  } catch {
    return undefined;
  }
}

/**
 * Usage in the last bytes of a body. A quote inside a JSON string is escaped, so `"usage"` with a colon is always a
 * key, and what follows it is outside strings. It counts only as a member of the root object (Responses echoes the
 * client's tools, which may have such a key too): after it exactly one level is left to close.
 */
function usageInTail(tail: Buffer): Usage | undefined {
  for (let at = tail.indexOf(USAGE_KEY); at >= 0; at = tail.indexOf(USAGE_KEY, at + 1)) {
    if (usageValueAt(tail, at) < 0) continue;
    const { keys, opened } = usageKeys(tail, at);
    return readUsage(tail, keys.findLast((key) => key.opened - opened === 1)?.at);
  }
  return undefined;
}

/** Usage in the first bytes of a body, as a member of its root object. */
function usageInHead(head: Buffer): Usage | undefined {
  return readUsage(head, usageKeys(head, 0).keys.findLast((key) => key.opened === 1)?.at);
}

interface UsageKey {
  readonly at: number;
  /** Levels opened, less those closed, from the start of the search to here. */
  readonly opened: number;
}

/** Keys `usage` that hold an object, in one pass from `from`, which is outside strings. `opened`: at the end. */
function usageKeys(
  text: Buffer,
  from: number,
): { readonly keys: readonly UsageKey[]; readonly opened: number } {
  const keys: UsageKey[] = [];
  let opened = 0;
  for (let i = from; i < text.length; i++) {
    const byte = text[i];
    if (byte === 0x22) {
      const close = closingQuote(text, i + 1);
      if (close - i === USAGE_KEY.length - 1 && usageValueAt(text, i) >= 0) keys.push({ at: i, opened });
      i = close;
    } else if (byte === 0x7b || byte === 0x5b) opened++;
    else if (byte === 0x7d || byte === 0x5d) opened--;
  }
  return { keys, opened };
}

/** Offset of the brace that opens the value of a key `"usage"` at `at`; -1 if that is not there. */
function usageValueAt(text: Buffer, at: number): number {
  if (text.compare(USAGE_KEY, 0, USAGE_KEY.length, at, Math.min(text.length, at + USAGE_KEY.length)) !== 0)
    return -1;
  const colon = afterSpace(text, at + USAGE_KEY.length);
  if (text[colon] !== 0x3a) return -1;
  const value = afterSpace(text, colon + 1);
  return text[value] === 0x7b ? value : -1;
}

function afterSpace(text: Buffer, from: number): number {
  let i = from;
  while (i < text.length && (text[i] as number) <= 0x20) i++;
  return i;
}

function readUsage(text: Buffer, at: number | undefined): Usage | undefined {
  if (at === undefined) return undefined;
  const start = usageValueAt(text, at);
  const most = Math.min(text.length, start + USAGE_BYTES);
  let depth = 0;
  for (let i = start; i < most; i++) {
    const byte = text[i];
    if (byte === 0x22) i = closingQuote(text, i + 1);
    else if (byte === 0x7b) depth++;
    else if (byte === 0x7d && --depth === 0) return usageOf({ usage: parse(text.subarray(start, i + 1)) });
  }
  return undefined;
}

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

/** @param route that the response answers; a list of embeddings reports no output. */
export function createBodyMeter(route: EngineRoute): ResponseMeter {
  let bytes = 0;
  let firstTokenMs = 0;
  let lastTokenMs = 0;
  /** The whole body; once it is too large, its tail and a little before. */
  let kept: Buffer = EMPTY;
  let keptBytes = 0;
  let head: Buffer | undefined;
  let finished = false;
  let errorFrame = false;
  let usage: Usage | undefined;

  function keep(chunk: Uint8Array): void {
    const size = keptBytes + chunk.length;
    if (size > kept.length) {
      const larger = Buffer.allocUnsafe(
        Math.max(2048, Math.min(WHOLE_BYTES, 2 ** Math.ceil(Math.log2(size)))),
      );
      larger.set(kept.subarray(0, keptBytes));
      kept = larger;
    }
    kept.set(chunk, keptBytes);
    keptBytes = size;
  }

  function keepEnds(chunk: Uint8Array): void {
    if (head === undefined) {
      head = Buffer.allocUnsafe(END_BYTES);
      const copied = kept.copy(head, 0, 0, Math.min(keptBytes, END_BYTES));
      head.set(chunk.subarray(0, END_BYTES - copied), copied);
    }
    if (chunk.length >= END_BYTES) {
      keptBytes = 0;
      keep(chunk.subarray(chunk.length - END_BYTES));
      return;
    }
    // Room for a tail and a chunk, and moved only when it is used up: a byte is copied a bounded number of times.
    if (keptBytes + chunk.length > WHOLE_BYTES) {
      kept.copyWithin(0, keptBytes - END_BYTES, keptBytes);
      keptBytes = END_BYTES;
    }
    keep(chunk);
  }

  return {
    push(chunk, nowMs) {
      if (chunk.length === 0) return undefined;
      if (bytes === 0) firstTokenMs = nowMs;
      lastTokenMs = nowMs;
      bytes += chunk.length;
      if (bytes <= WHOLE_BYTES) keep(chunk);
      else keepEnds(chunk);
      return undefined;
    },
    end() {
      if (finished) return undefined;
      finished = true;
      const text = kept.subarray(0, keptBytes);
      if (head === undefined) {
        const body = parse(text);
        usage = usageOf(body);
        errorFrame = isObject(body) && (body['error'] ?? null) !== null;
      } else {
        usage = usageInTail(text.subarray(Math.max(0, keptBytes - END_BYTES))) ?? usageInHead(head);
      }
      if (usage !== undefined && route === 'embeddings') usage = { ...usage, completionTokens: 0 };
      kept = EMPTY;
      head = undefined;
      return undefined;
    },
    // Only its end says that a body is complete.
    finished: () => false,
    tokenEvents: () => 0,
    contentBytes: () => bytes,

    result(): MeterResult {
      return {
        ...(bytes > 0 && { firstTokenMs, lastTokenMs }),
        tokenEvents: 0,
        ...(usage !== undefined && { usage }),
        finished,
        errorFrame,
        itl: NO_ITL,
        bytes,
      };
    },
  };
}

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

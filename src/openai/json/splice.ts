/**
 * A body edited by its bytes: what is not changed on purpose leaves as it came, byte for byte, in its place.
 *
 * Parts that are long are not copied; they keep the whole body, so where little of it is sent on, up to some megabytes, all of that
 * is copied.
 */
import { ABSENT, type JsonDocument, STRIDE } from './document.ts';

/** `bytes[from, to)` becomes `text`. */
export interface Edit {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/** More is not copied in one go: it would take longer than a turn of the event loop may. */
const MOST_COPIED_BYTES = 4 * 1024 * 1024;
/** Shorter parts are copied: each one that is sent has a price of its own. */
export const COPIED_BYTES = 16_384;

const joined = (parts: readonly Buffer[]): Buffer => {
  // Bytes that nobody shares: a request that waits would keep 8 KiB of Node's pool, with what others have long let go.
  const bytes = Buffer.allocUnsafeSlow(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) at += part.copy(bytes, at);
  return bytes;
};

const byPlace = (a: Edit, b: Edit): number => a.from - b.from || a.to - b.to;

/** @param edits in any order; those that overlap cut what either cuts, and what they put in comes at their beginning. */
export function splice(bytes: Buffer, edits: readonly Edit[]): readonly Buffer[] {
  const pieces: Buffer[] = [];
  let done = 0;
  for (const { from, to, text } of edits.toSorted(byPlace)) {
    if (from > done) pieces.push(bytes.subarray(done, from));
    if (text !== '') pieces.push(Buffer.from(text));
    done = Math.max(done, to);
  }
  if (done < bytes.length) pieces.push(bytes.subarray(done));
  const size = pieces.reduce((sum, { length }) => sum + length, 0);
  const large = pieces.reduce((sum, { length }) => sum + (length < COPIED_BYTES ? 0 : length), 0);
  if (size < COPIED_BYTES || (2 * large < bytes.length && size < MOST_COPIED_BYTES)) return [joined(pieces)];
  const parts: Buffer[] = [];
  let copied: Buffer[] = [];
  for (const piece of pieces) {
    if (piece.length < COPIED_BYTES) copied.push(piece);
    else {
      if (copied.length > 0) parts.push(joined(copied));
      copied = [];
      parts.push(piece);
    }
  }
  if (copied.length > 0) parts.push(joined(copied));
  return parts;
}

/** Where a member begins: at the quote of its key. */
const memberStart = (document: JsonDocument, key: number): number => document.start(key) - 1;

/** Where its value ends, quote included. */
function memberEnd(document: JsonDocument, key: number): number {
  const value = key + STRIDE;
  return document.end(value) + (document.isString(value) ? 1 : 0);
}

/** Takes members out of an object, with a comma each. @param keys of it, in their order. */
export function cutMembers(document: JsonDocument, object: number, keys: readonly number[]): readonly Edit[] {
  const cut = new Set(keys);
  const edits: Edit[] = [];
  const end = document.next(object);
  /** The latest member that stays. */
  let kept = ABSENT;
  for (let key = document.first(object); key < end; ) {
    const next = document.next(key + STRIDE);
    if (!cut.has(key)) kept = key;
    else if (next < end) {
      edits.push({ from: memberStart(document, key), to: memberStart(document, next), text: '' });
    } else {
      const from = kept === ABSENT ? memberStart(document, key) : memberEnd(document, kept);
      edits.push({ from, to: memberEnd(document, key), text: '' });
    }
    key = next;
  }
  return edits;
}

/** Takes values out of an array, with a comma each. @param values of it, objects or arrays, in their order. Others must stay. */
export function cutValues(document: JsonDocument, array: number, values: readonly number[]): readonly Edit[] {
  const cut = new Set(values);
  const edits: Edit[] = [];
  const end = document.next(array);
  let keptEnd = ABSENT;
  for (let at = document.first(array); at < end; ) {
    const next = document.next(at);
    const quote = document.isString(at) ? 1 : 0;
    if (!cut.has(at)) keptEnd = document.end(at) + quote;
    else if (keptEnd !== ABSENT) edits.push({ from: keptEnd, to: document.end(at), text: '' });
    else {
      // What is behind it stays, or is cut by its own edit.
      const behind = document.start(next) - (document.isString(next) ? 1 : 0);
      edits.push({ from: document.start(at), to: behind, text: '' });
    }
    at = next;
  }
  return edits;
}

/** Puts members at the beginning of an object. @param members as text, without a comma at either end. */
export function addMembers(
  document: JsonDocument,
  object: number,
  members: string,
  staysEmpty: boolean,
): Edit {
  const at = document.start(object) + 1;
  return { from: at, to: at, text: staysEmpty ? members : `${members},` };
}

/** @param value of a member or array. */
export function replaceValue(document: JsonDocument, value: number, text: string): Edit {
  const quote = document.isString(value) ? 1 : 0;
  return { from: document.start(value) - quote, to: document.end(value) + quote, text };
}

/**
 * Reads a JSON answer of any size as it passes, and keeps of it only what is asked of answers: usage, errors, types,
 * choices. What it gives is what JSON.parse would give of the whole text, less all other members. Memory is bounded by
 * the shape, whatever comes. One pass, no search, no guess from length: what stands where decides.
 *
 * It is generous in what it does not keep: a NaN among log probabilities, as Python writes it, does not cost the usage.
 */
import { hasContent, REST, type Shape } from './answer-shapes.ts';
import { parse } from './sse-text.ts';
import type { Fields } from './usage.ts';

/** Elements of a list that are kept; the others only count. */
const MAX_ELEMENTS = 256;
/** Bytes of a key, a number or a string that are kept: the longest key with all its letters escaped. */
const MAX_TOKEN_BYTES = 160;
/** Bytes of a string that are looked at one by one before indexOf is called. */
const SHORT_STRING = 48;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
/** The bit in which brackets and braces differ. */
const SPACE = 0x20;

// What comes next.
const VALUE = 0;
/** A value, or the end of the list that has just begun. */
const FIRST_VALUE = 1;
const KEY = 2;
const AFTER_KEY = 3;
const AFTER_VALUE = 4;
/** The rest of a key, a string, a number or a literal. */
const IN_KEY = 5;
const IN_STRING = 6;
const IN_ATOM = 7;
/** The rest of a value that is not kept, outside its strings and in one. */
const SKIPPED = 8;
const SKIPPED_STRING = 9;
/** White space. */
const NOTHING = 10;
const BROKEN = 11;

/** An object or a list that is kept and not yet closed. */
interface Frame {
  readonly shape: Shape;
  readonly value: Record<string, unknown> | unknown[];
  /** Elements of a list. */
  count: number;
}

export class AnswerScan {
  private readonly root: Shape;
  private next = VALUE;
  private readonly frames: Frame[] = [];
  private answer: Fields | undefined = undefined;

  // The member that is being read: its name, and what is kept of it.
  private key = '';
  private shape: Shape | undefined = undefined;

  /** The beginning of a key, a number or a string. */
  private readonly token = Buffer.allocUnsafe(MAX_TOKEN_BYTES);
  private tokenBytes = 0;
  /** The last byte was a backslash within a string. */
  private isEscaped = false;

  // The value that is not kept: levels that are open, whether it is a list of which nothing has come, its last string.
  private skippedLevels = 0;
  private isNewList = false;
  private stringBytes = 0;

  private passedText = 0;

  constructor(root: Shape) {
    this.root = root;
  }

  /** @param data the next bytes, in order; not kept. */
  push(data: Buffer): void {
    const to = data.length;
    let i = 0;
    while (i < to) {
      switch (this.next) {
        case SKIPPED:
          i = this.skip(data, i);
          break;
        case SKIPPED_STRING:
        case IN_KEY:
        case IN_STRING:
          i = this.string(data, i);
          break;
        case IN_ATOM:
          i = this.atom(data, i);
          break;
        case BROKEN:
          return;
        default: {
          const byte = data[i] as number;
          i += 1;
          if (byte > 0x20) this.structure(byte);
        }
      }
    }
  }

  /** The root is an object, and closed. */
  isWhole(): boolean {
    return this.next === NOTHING;
  }

  isBroken(): boolean {
    return this.next === BROKEN;
  }

  /** Bytes of strings that are text of an answer, about: an escape counts as it is written. */
  textBytes(): number {
    const isInText = this.next === SKIPPED_STRING && this.shape?.isText === true;
    return this.passedText + (isInText ? this.stringBytes : 0);
  }

  /** Nothing has come but white space. */
  isEmpty(): boolean {
    return this.next === VALUE && this.frames.length === 0;
  }

  /** What is kept; undefined unless all of it has come. */
  value(): Fields | undefined {
    return this.next === NOTHING ? this.answer : undefined;
  }

  // --- between tokens

  private structure(byte: number): void {
    switch (this.next) {
      case FIRST_VALUE:
        if (byte === CLOSE_LIST) this.close(byte);
        else this.begin(byte);
        return;
      case VALUE:
        this.begin(byte);
        return;
      case KEY:
        if (byte === QUOTE) {
          this.next = IN_KEY;
          this.tokenBytes = 0;
        } else if (byte === CLOSE_OBJECT) this.close(byte);
        else this.next = BROKEN;
        return;
      case AFTER_KEY:
        this.next = byte === COLON ? VALUE : BROKEN;
        return;
      case AFTER_VALUE:
        if (byte !== COMMA) this.close(byte);
        else if (Array.isArray(this.frames.at(-1)?.value)) this.next = VALUE;
        else this.next = KEY;
        return;
      default:
        this.next = BROKEN;
    }
  }

  private begin(byte: number): void {
    const frame = this.frames.at(-1);
    if (frame === undefined) {
      // A byte order mark may come first.
      if (byte === 0xef || byte === 0xbb || byte === 0xbf) return;
      if (byte !== OPEN_OBJECT) this.next = BROKEN;
      else this.open(this.root, {});
      return;
    }
    if (Array.isArray(frame.value)) {
      frame.count += 1;
      this.shape = frame.count <= MAX_ELEMENTS ? frame.shape.elements : undefined;
    }
    const { shape } = this;
    if (byte === QUOTE) {
      this.next = IN_STRING;
      this.tokenBytes = 0;
    } else if (byte === OPEN_OBJECT && shape?.members !== undefined) this.open(shape, {});
    else if (byte === OPEN_LIST && shape?.isList === true) this.open(shape, []);
    else if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
      this.isNewList = byte === OPEN_LIST;
      if (!this.isNewList) this.assign({});
      this.skippedLevels = 1;
      this.stringBytes = 0;
      this.next = SKIPPED;
    } else if (byte === COMMA || byte === COLON || byte === CLOSE_OBJECT || byte === CLOSE_LIST) {
      this.next = BROKEN;
    } else {
      this.token[0] = byte;
      this.tokenBytes = 1;
      this.next = IN_ATOM;
    }
  }

  private open(shape: Shape, value: Record<string, unknown> | unknown[]): void {
    if (this.frames.length === 0) this.answer = value as Record<string, unknown>;
    else this.assign(value);
    this.frames.push({ shape, value, count: 0 });
    this.next = Array.isArray(value) ? FIRST_VALUE : KEY;
  }

  private close(byte: number): void {
    const frame = this.frames.pop();
    if (frame === undefined || byte !== (Array.isArray(frame.value) ? CLOSE_LIST : CLOSE_OBJECT)) {
      this.next = BROKEN;
      return;
    }
    if (Array.isArray(frame.value)) frame.value.length = frame.count;
    this.next = this.frames.length === 0 ? NOTHING : AFTER_VALUE;
  }

  /** Keeps a value where it belongs. A name that comes again replaces, as parsers have it. */
  private assign(value: unknown): void {
    if (this.shape === undefined) return;
    const target = this.frames.at(-1)?.value;
    if (target === undefined) return;
    if (Array.isArray(target)) target.push(value);
    else if (this.key !== REST || hasContent(value) || (target[REST] ?? null) === null) {
      target[this.key] = value;
    }
  }

  // --- tokens

  private string(data: Buffer, from: number): number {
    const quote = this.closing(data, from);
    const end = quote < 0 ? data.length : quote;
    if (this.next === SKIPPED_STRING) {
      this.stringBytes += end - from;
      if (quote < 0) return end;
      this.endSkippedString();
      return quote + 1;
    }
    const isKey = this.next === IN_KEY;
    if (isKey || this.shape !== undefined) this.keep(data, from, end);
    if (!isKey && this.shape?.isText === true) this.passedText += end - from;
    if (quote < 0) return end;
    if (isKey) this.endKey();
    else {
      if (this.shape !== undefined) this.assign(this.text());
      this.next = AFTER_VALUE;
    }
    return quote + 1;
  }

  private endKey(): void {
    const frame = this.frames.at(-1);
    const shape = frame?.shape;
    const key = this.text();
    const kept = shape?.members?.get(key);
    this.key = kept === undefined ? REST : key;
    this.shape = kept ?? shape?.rest;
    this.next = AFTER_KEY;
  }

  private atom(data: Buffer, from: number): number {
    let i = from;
    while (i < data.length) {
      const byte = data[i] as number;
      if (byte <= 0x20 || byte === COMMA || byte === CLOSE_OBJECT || byte === CLOSE_LIST) {
        this.keep(data, from, i);
        if (this.shape !== undefined) this.assign(this.number());
        this.next = AFTER_VALUE;
        return i;
      }
      i += 1;
    }
    this.keep(data, from, i);
    return i;
  }

  private keep(data: Buffer, from: number, to: number): void {
    const { token, tokenBytes } = this;
    const most = Math.min(to, from + token.length - tokenBytes);
    if (most <= from) return;
    data.copy(token, tokenBytes, from, most);
    this.tokenBytes = tokenBytes + most - from;
  }

  private text(): string {
    const raw = this.token.toString('utf8', 0, this.tokenBytes);
    if (!raw.includes('\\')) return raw;
    const parsed = parse(`"${raw}"`);
    // An escape may have been cut.
    return typeof parsed === 'string' ? parsed : raw;
  }

  /** Also NaN, for what is no JSON. */
  private number(): unknown {
    return parse(this.token.toString('latin1', 0, this.tokenBytes)) ?? this.nothing();
  }

  private nothing(): null | number {
    return this.tokenBytes === 4 && this.token.toString('latin1', 0, 4) === 'null' ? null : Number.NaN;
  }

  // --- what is not kept

  private skip(data: Buffer, from: number): number {
    const to = data.length;
    let levels = this.skippedLevels;
    let i = from;
    if (this.isNewList) {
      while (i < to && (data[i] as number) <= 0x20) i += 1;
      if (i === to) return i;
      this.isNewList = false;
      this.assign(data[i] === CLOSE_LIST ? [] : [null]);
    }
    const isText = this.shape?.isText === true;
    for (; i < to; i += 1) {
      let byte = data[i] as number;
      // Nearly all bytes outside of strings: digits, commas, spaces.
      while (byte < COLON && byte !== QUOTE && ++i < to) byte = data[i] as number;
      if (i >= to) break;
      if (byte === QUOTE) {
        const quote = this.closingNear(data, i + 1);
        if (quote < 0) {
          this.stringBytes = to - i - 1;
          this.skippedLevels = levels;
          this.next = SKIPPED_STRING;
          return to;
        }
        if (isText) {
          this.stringBytes = quote - i - 1;
          this.endSkippedString();
        }
        i = quote;
      } else if (byte === COLON) {
        // It was a key.
        if (isText) this.passedText -= this.stringBytes;
      } else if ((byte | SPACE) === OPEN_OBJECT) levels += 1;
      else if ((byte | SPACE) === CLOSE_OBJECT) {
        levels -= 1;
        if (levels === 0) {
          this.next = AFTER_VALUE;
          return i + 1;
        }
      }
    }
    this.skippedLevels = levels;
    return i;
  }

  private endSkippedString(): void {
    if (this.shape?.isText === true) this.passedText += this.stringBytes;
    this.next = SKIPPED;
  }

  /** As `closing`, at the beginning of a string; most are short, and have no escape. */
  private closingNear(data: Buffer, from: number): number {
    const near = Math.min(data.length, from + SHORT_STRING);
    let i = from;
    while (i < near) {
      const byte = data[i];
      if (byte === QUOTE) return i;
      if (byte === BACKSLASH) break;
      i += 1;
    }
    return this.closing(data, i);
  }

  /** Index of the quote that ends the string whose next byte is at `from`; -1 if it has not come. */
  private closing(data: Buffer, from: number): number {
    const to = data.length;
    let i = from;
    if (this.isEscaped && i < to) {
      this.isEscaped = false;
      i += 1;
    }
    while (i < to) {
      const near = Math.min(to, i + SHORT_STRING);
      while (i < near) {
        const byte = data[i] as number;
        if (byte === QUOTE) return i;
        i += byte === BACKSLASH ? 2 : 1;
      }
      if (i >= to) break;
      const quote = data.indexOf(QUOTE, i);
      const end = quote < 0 ? to : quote;
      let before = end;
      while (before > i && data[before - 1] === BACKSLASH) before -= 1;
      const isEscaped = ((end - before) & 1) === 1;
      if (quote < 0) {
        this.isEscaped = isEscaped;
        return -1;
      }
      if (!isEscaped) return quote;
      i = quote + 1;
    }
    // One byte further: the text ends behind a backslash.
    if (i > to) this.isEscaped = true;
    return -1;
  }
}

/**
 * A JSON text and where its values are: what the reader (reader.ts) makes of a body. No object is made for a body; whoever wants
 * a value asks for it by its index.
 *
 *   tape, four numbers a value, in the order of the text:
 *     [kind | flags | name << 8, start, end, more]
 *
 *   object, array   start of the bracket, end behind the other one; more: index of what follows it on the tape
 *   string, key     the text between the quotes; more: its length in UTF-8, which is less than end - start where it has escapes
 *   number          one number, or a run of numbers in an array; more: how many
 *   true, false, null
 *
 * A key is followed by its value. Names are those of a NameTable.
 */
import { decoded, decodeInto } from './text.ts';

export const KIND = {
  object: 0,
  array: 1,
  string: 2,
  key: 3,
  number: 4,
  true: 5,
  false: 6,
  null: 7,
} as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

const KIND_MASK = 7;
/** Of numbers: some are not plain digits. */
export const FLAG_NOT_DIGITS = 8;
/** Of keys: not all of it is lower-case ASCII, digits and underscores, written as they are. */
export const FLAG_UNUSUAL = 16;
export const NAME_SHIFT = 8;
/** Numbers of the tape for each value. */
export const STRIDE = 4;
/** Index of no value. */
export const ABSENT = -1;

export class JsonDocument {
  readonly bytes: Buffer;
  readonly tape: Int32Array;

  constructor(bytes: Buffer, tape: Int32Array) {
    this.bytes = bytes;
    this.tape = tape;
  }

  kind(at: number): Kind {
    return ((this.tape[at] as number) & KIND_MASK) as Kind;
  }

  isObject(at: number): boolean {
    return at >= 0 && this.kind(at) === KIND.object;
  }

  isArray(at: number): boolean {
    return at >= 0 && this.kind(at) === KIND.array;
  }

  isString(at: number): boolean {
    return at >= 0 && this.kind(at) === KIND.string;
  }

  isNumber(at: number): boolean {
    return at >= 0 && this.kind(at) === KIND.number;
  }

  /** Absent or null: the API takes them for the same. */
  isNothing(at: number): boolean {
    return at < 0 || this.kind(at) === KIND.null;
  }

  /** Of a number or a run of numbers: digits only, so that each is a whole number and not negative. */
  isDigits(at: number): boolean {
    return ((this.tape[at] as number) & FLAG_NOT_DIGITS) === 0;
  }

  /** Of a key. */
  isUnusual(at: number): boolean {
    return ((this.tape[at] as number) & FLAG_UNUSUAL) !== 0;
  }

  /** Of a key: its number in the reader's NameTable. */
  name(at: number): number {
    return (this.tape[at] as number) >>> NAME_SHIFT;
  }

  /** In bytes of the text: of the bracket, or behind the quote. */
  start(at: number): number {
    return this.tape[at + 1] as number;
  }

  /** In bytes of the text: behind the bracket, or at the quote. */
  end(at: number): number {
    return this.tape[at + 2] as number;
  }

  /** Of a string or key: UTF-8 bytes of its text. Of numbers: how many. */
  more(at: number): number {
    return this.tape[at + 3] as number;
  }

  /** Index of the value behind this one: of what is in it, nothing. */
  next(at: number): number {
    return this.kind(at) <= KIND.array ? (this.tape[at + 3] as number) : at + STRIDE;
  }

  /** Index of the first value in an object or array; `next(at)` when there is none. */
  first(at: number): number {
    return at + STRIDE;
  }

  isEscaped(at: number): boolean {
    return this.more(at) !== this.end(at) - this.start(at);
  }

  /** The text of a string or key as UTF-8, in bytes that may be the document's. */
  utf8(at: number): Buffer {
    const [start, end] = [this.start(at), this.end(at)];
    return this.isEscaped(at) ? decoded(this.bytes, start, end) : this.bytes.subarray(start, end);
  }

  /** The text of a string or key. */
  text(at: number): string {
    return this.utf8(at).toString('utf8');
  }

  /** Of a string or key: whether this is its text. @param text ASCII. */
  says(at: number, text: string): boolean {
    return this.more(at) === text.length && this.begins(at, text);
  }

  /** Of a string or key: whether its text begins so. No string is made of it. @param text ASCII. */
  begins(at: number, text: string): boolean {
    const { length } = text;
    if (this.more(at) < length) return false;
    if (this.isEscaped(at)) return this.head(at, length).startsWith(text);
    const { bytes } = this;
    const start = this.start(at);
    for (let i = 0; i < length; i += 1) if (bytes[start + i] !== text.charCodeAt(i)) return false;
    return true;
  }

  /** The first so many bytes of the text of a string or key, or all of it: a key may be long, a name that is looked for is not. */
  head(at: number, bytes: number): string {
    if (this.more(at) <= bytes) return this.text(at);
    const target = Buffer.allocUnsafe(bytes + 3);
    return target.toString('utf8', 0, decodeInto(target, 0, this.bytes, this.start(at), this.end(at)).at);
  }

  /** A single number; NaN for anything else, and where a run has several. */
  number(at: number): number {
    return this.isNumber(at) && this.more(at) === 1
      ? Number(this.bytes.toString('latin1', this.start(at), this.end(at)))
      : Number.NaN;
  }

  /** Index of the value of a member of that name; ABSENT when there is none. Looks at each member until it is found. */
  get(object: number, name: number): number {
    const end = this.next(object);
    for (let key = this.first(object); key < end; key = this.next(key + STRIDE)) {
      if (this.name(key) === name) return key + STRIDE;
    }
    return ABSENT;
  }

  /** How many values an array has. */
  length(array: number): number {
    let count = 0;
    const end = this.next(array);
    for (let at = this.first(array); at < end; at = this.next(at)) {
      count += this.kind(at) === KIND.number ? this.more(at) : 1;
    }
    return count;
  }
}

/** In place of a document that is not needed any more. */
export const NO_DOCUMENT = new JsonDocument(Buffer.from('{}'), Int32Array.of(KIND.object, 0, 2, STRIDE));

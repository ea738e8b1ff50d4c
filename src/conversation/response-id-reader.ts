/**
 * Finds the id of a response at the beginning of its answer, byte by byte: `id` of the object of an answer in one piece,
 * `response.id` of the first event of a stream that has one. Nothing is kept but the text of a string that may be it.
 *
 * Engines write it among the first members. An answer that has none in its first MOST_BYTES, or writes it with escapes, has none.
 */

const MOST_BYTES = 16_384;
/** Of names and ids: a longer string is neither. */
const MOST_TEXT = 160;
const DATA = Buffer.from('data:');

const [QUOTE, BACKSLASH, COLON, COMMA] = [0x22, 0x5c, 0x3a, 0x2c];
const [OPEN, CLOSE, OPEN_LIST, CLOSE_LIST] = [0x7b, 0x7d, 0x5b, 0x5d];
const [LINE_FEED, RETURN] = [0x0a, 0x0d];

/** Where a line of a stream is read: its first bytes, its JSON, or what is no data. */
type LineState = 'begins' | 'data' | 'other';

export class ResponseIdReader {
  private readonly isStream: boolean;
  private bytesLeft = MOST_BYTES;
  private isDone = false;

  // Of a stream
  private line: LineState = 'begins';
  private prefix = 0;

  // Of a JSON text
  private depth = 0;
  /** Depth at which `response` of an event was opened; 0: not in it. */
  private within = 0;
  private isString = false;
  private isEscape = false;
  private isName = false;
  /** A string of a kind that may be looked for; undefined: it is passed over. */
  private text: string | undefined = undefined;
  /** The name of the member whose value comes, at a depth that matters. */
  private member = '';

  /** @param isStream server-sent events; else one JSON object. */
  constructor(isStream: boolean) {
    this.isStream = isStream;
  }

  /** There is nothing left to find. */
  get done(): boolean {
    return this.isDone;
  }

  /** Takes the next bytes. @returns the id, once, when it has been read; it is as the engine wrote it. */
  push(bytes: Uint8Array): string | undefined {
    if (this.isDone) return undefined;
    const end = Math.min(bytes.length, this.bytesLeft);
    for (let i = 0; i < end && !this.isDone; i += 1) {
      const byte = bytes[i] as number;
      const id = this.isStream ? this.streamByte(byte) : this.jsonByte(byte);
      if (id === undefined) continue;
      this.isDone = true;
      return id;
    }
    this.bytesLeft -= end;
    this.isDone ||= this.bytesLeft === 0;
    return undefined;
  }

  private streamByte(byte: number): string | undefined {
    if (byte === LINE_FEED || byte === RETURN) {
      this.line = 'begins';
      this.prefix = 0;
      this.beginJson();
      return undefined;
    }
    if (this.line === 'data') return this.jsonByte(byte);
    if (this.line === 'other') return undefined;
    if (byte !== DATA[this.prefix]) this.line = 'other';
    else {
      this.prefix += 1;
      if (this.prefix === DATA.length) this.line = 'data';
    }
    return undefined;
  }

  private beginJson(): void {
    this.depth = 0;
    this.within = 0;
    this.isString = false;
    this.isEscape = false;
    this.isName = false;
    this.text = undefined;
    this.member = '';
  }

  private jsonByte(byte: number): string | undefined {
    if (this.isString) return this.stringByte(byte);
    switch (byte) {
      case QUOTE:
        this.isString = true;
        this.text = this.isName || this.member !== '' ? '' : undefined;
        break;
      case OPEN:
        this.depth += 1;
        if (this.isStream && this.depth === 2 && this.member === 'response') this.within = this.depth;
        this.member = '';
        this.isName = this.depth === 1 || this.depth === this.within;
        break;
      case OPEN_LIST:
        this.depth += 1;
        this.isName = false;
        this.member = '';
        break;
      case CLOSE:
      case CLOSE_LIST:
        if (this.depth === this.within) this.within = 0;
        this.depth -= 1;
        this.isName = false;
        this.member = '';
        // A text of another kind, or the end of an object that had none.
        if (this.depth <= 0 && !this.isStream) this.isDone = true;
        break;
      case COMMA:
        this.isName = this.depth > 0 && (this.depth === 1 || this.depth === this.within);
        this.member = '';
        break;
      case COLON:
        this.isName = false;
        break;
      default:
    }
    return undefined;
  }

  private stringByte(byte: number): string | undefined {
    if (this.isEscape) {
      this.isEscape = false;
      return undefined;
    }
    if (byte === BACKSLASH) {
      this.isEscape = true;
      this.text = undefined;
      return undefined;
    }
    if (byte !== QUOTE) {
      if (this.text !== undefined) {
        this.text = this.text.length < MOST_TEXT ? this.text + String.fromCharCode(byte) : undefined;
      }
      return undefined;
    }
    this.isString = false;
    const { text = '' } = this;
    this.text = undefined;
    if (this.isName) {
      this.member = text;
      return undefined;
    }
    return text !== '' && this.isIdHere() ? text : undefined;
  }

  private isIdHere(): boolean {
    return (
      this.member === 'id' && this.depth === (this.isStream ? 2 : 1) && (!this.isStream || this.within === 2)
    );
  }
}

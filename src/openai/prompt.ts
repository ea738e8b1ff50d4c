/**
 * What of a body becomes prompt: how much it is, and whether it asks the engine to fetch, open or remember something.
 *
 * All text counts, wherever it stands: engines and templates differ in what they render, and what is not counted is a way past the
 * limits. Only media in content parts are not text; each has a price (`media.tokens`). What the policy leaves out is not there.
 */
import type { FieldPolicy, MediaPolicy, MediumKind } from '../config/config.ts';
import type { ApiError } from '../domain/api-error.ts';
import { invalidRequest } from './error-body.ts';
import { type JsonDocument, KIND, STRIDE } from './json/document.ts';
import { mediumRefusal } from './media.ts';
import { NAME } from './names.ts';
import { otherSpelling } from './policy-names.ts';
import {
  BLOBS,
  CONTENT,
  classOf,
  FILE_ID,
  LINKS,
  MEDIA,
  MEDIUM,
  PLACE,
  TENSOR,
  WORD,
} from './prompt-members.ts';
import { misspelled, stateRefused } from './prompt-refusals.ts';
import { isAllowedTool, refusedTool, toolRefused } from './tools.ts';

export interface PromptPolicy {
  readonly fields: FieldPolicy;
  readonly media: MediaPolicy;
}

export interface PromptSize {
  /** UTF-8 bytes of what becomes the prompt; token ids and media by an equivalent. */
  readonly bytes: number;
  /** There are media: the number of tokens says nothing of text. */
  readonly hasMedia: boolean;
}

interface MediumSize {
  /** Bytes of what it is sent as. */
  readonly encoded: number;
  readonly isText: boolean;
}

/** Prompt bytes of a token: a common ratio of English text. */
const TOKEN_BYTES = 4;
/** Base64 bytes of audio, video or a file for one prompt byte; compressed speech: about 10 KB and 25 tokens a second. */
const ENCODED_BYTES_PER_PROMPT_BYTE = 100;
/** Of `type`, `status` and the like: words of the API, which are no prompt, are shorter. */
const WORD_BYTES = 32;
/** In bytes: of a key, what can tell a name. */
const LONGEST_KEY = 256;
const MCP = 'mcp_';
const SMALL_I = 0x69;
const SMALL_M = 0x6d;
const DATA_TEXT = 'data:text/';
/** In bytes, of a file. */
const LONGEST_PATH = 4_096;
const HEAD_BYTES = 64;
/** Keys that are looked at in another spelling: real requests have a few, and each costs as much as a hundred others. */
const MOST_UNUSUAL_KEYS = 1_024;

/** One body. A class: the sums, and the first thing that is wrong. */
export class PromptWalk {
  private readonly document: JsonDocument;
  private readonly policy: PromptPolicy;
  private readonly skipped: ReadonlySet<number>;
  private bytes = 0;
  private hasMedia = false;
  private unusualKeys = 0;
  private error: ApiError | undefined;

  /** @param skipped keys of members that are left out. */
  constructor(document: JsonDocument, policy: PromptPolicy, skipped: ReadonlySet<number>) {
    this.document = document;
    this.policy = policy;
    this.skipped = skipped;
  }

  /** What is wrong with what was walked over, or its size. */
  result(): ApiError | PromptSize {
    return this.error ?? { bytes: this.bytes, hasMedia: this.hasMedia };
  }

  /** A list of messages. A message is no part: what it says of media itself is text. @param at -1: nothing. */
  messages(at: number, path: string): void {
    const { document } = this;
    if (!document.isArray(at)) {
      this.content(at, path);
      return;
    }
    const end = document.next(at);
    for (let item = document.first(at); item < end; item = document.next(item)) {
      if (document.isObject(item)) this.part(item, path, true);
      else this.content(item, path);
    }
  }

  /** Text, token ids, parts or items, or lists of them. @param at -1: nothing. */
  content(at: number, path: string): void {
    const { document } = this;
    // Nobody asks for the size of what is refused.
    if (at < 0 || this.error !== undefined) return;
    if (document.isArray(at)) {
      const end = document.next(at);
      for (let item = document.first(at); item < end; item = document.next(item)) this.content(item, path);
    } else if (document.isObject(at)) this.part(at, path, false);
    else this.text(at);
  }

  /** The same, and how many bytes of prompt it is. */
  sizeOf(at: number, path: string): number {
    const before = this.bytes;
    this.content(at, path);
    return this.bytes - before;
  }

  /** Any value that a template renders as JSON: its keys are prompt too. */
  json(at: number): void {
    const { document } = this;
    if (at < 0) return;
    const end = document.kind(at) <= KIND.array ? document.next(at) : at + STRIDE;
    // In the order of the text: what is in what does not matter.
    for (let value = at; value < end; value += STRIDE) {
      const kind = document.kind(value);
      if (kind === KIND.key && this.skipped.size > 0 && this.skipped.has(value)) {
        value = document.next(value + STRIDE) - STRIDE;
        continue;
      }
      if (kind === KIND.string || kind === KIND.key) this.bytes += document.more(value);
      else if (kind === KIND.number) this.bytes += TOKEN_BYTES * document.more(value);
      else if (kind >= KIND.true) this.bytes += TOKEN_BYTES;
    }
  }

  /** A key that Go's readers take for one that Fairlane reads. */
  key(key: number, path: string): void {
    const { document } = this;
    if (!document.isUnusual(key) || document.name(key) !== 0 || this.error !== undefined) return;
    this.unusualKeys += 1;
    if (this.unusualKeys > MOST_UNUSUAL_KEYS) {
      this.refuse(
        invalidRequest(
          `The request has more than ${MOST_UNUSUAL_KEYS} fields with unusual names. Send less in one request.`,
          path,
        ),
      );
      return;
    }
    const known = otherSpelling(document.head(key, LONGEST_KEY), this.policy.fields);
    if (known !== undefined) this.refuse(misspelled(known, path));
  }

  /** A field beside the prompt that is a medium, or a list of media. @param at -1: nothing. */
  mediumField(at: number, kind: MediumKind, path: string): void {
    if (at >= 0 && !this.document.isNothing(at)) this.medium(at, kind, 0, path);
  }

  private refuse(error: ApiError): void {
    this.error ??= error;
  }

  private text(at: number): void {
    const { document } = this;
    const kind = document.kind(at);
    if (kind === KIND.string) this.bytes += document.more(at);
    else if (kind === KIND.number) this.bytes += TOKEN_BYTES * document.more(at);
  }

  /** A message, an item, or a part of their content. */
  private part(at: number, path: string, isMessage: boolean): void {
    const { document } = this;
    if (this.error !== undefined) return;
    const end = document.next(at);
    let isNamed = false;
    let hasId = false;
    for (let key = document.first(at); key < end; key = document.next(key + STRIDE)) {
      if (this.skipped.has(key)) continue;
      const value = key + STRIDE;
      const name = document.name(key);
      if (name === 0) {
        this.key(key, path);
        this.bytes += document.more(key);
        this.json(value);
        continue;
      }
      if (name === NAME.id) hasId = document.isString(value);
      if (name === NAME.type || name === NAME.role) isNamed ||= !document.isNothing(value);
      if (name === NAME.type) this.itemType(value, path);
      if (name === NAME.tools) this.tools(value);
      this.member(at, value, name, path, isMessage);
    }
    // Such an item of /v1/responses stands for one that the engine remembers, whatever else it has.
    if (path === 'input' && hasId && !isNamed) this.refuseState('item_reference', path);
  }

  private member(part: number, value: number, name: number, path: string, isMessage: boolean): void {
    const { document } = this;
    switch (classOf(name)) {
      case MEDIUM:
        // The source of a search result is its name.
        if (isMessage || (name === NAME.source && document.isString(value))) this.json(value);
        else if (!document.isNothing(value)) this.medium(value, this.kindNamed(part, name), name, path);
        break;
      case TENSOR:
        this.tensor(value, path);
        break;
      case WORD:
        this.word(value);
        break;
      case CONTENT:
        // What a tool has put out may be any object: data, unless it says what it is.
        if (name === NAME.output && document.isObject(value) && document.get(value, NAME.type) < 0)
          this.json(value);
        else this.content(value, path);
        break;
      case FILE_ID:
        if (this.mayBeFile(part)) this.fileId(value, path);
        else this.json(value);
        break;
      case PLACE: {
        const kind = document.isString(value) && !isMessage ? this.kindOf(part) : undefined;
        if (kind === undefined) this.json(value);
        else this.medium(value, kind, name, path);
        break;
      }
      default:
        this.json(value);
    }
  }

  /** Tools that an item brings are tools. */
  private tools(at: number): void {
    const refused = refusedTool(this.document, at, this.policy.fields);
    if (refused !== undefined) this.refuse(refused);
  }

  private itemType(at: number, path: string): void {
    const { document } = this;
    // Nearly every type is left behind here.
    const first = document.bytes[document.start(at)];
    if (first !== SMALL_I && first !== SMALL_M && !(document.isString(at) && document.isEscaped(at))) return;
    if (this.is(at, 'item_reference')) this.refuseState('item_reference', path);
    // What an MCP server was asked or answered, or is allowed to do: its engine may go on with it.
    const isMcp = document.isString(at) && document.more(at) <= WORD_BYTES && document.begins(at, MCP);
    if (!isMcp || isAllowedTool('mcp', this.policy.fields)) return;
    this.refuse(toolRefused('mcp', path));
  }

  private is(at: number, word: string): boolean {
    return this.document.isString(at) && this.document.says(at, word);
  }

  private word(at: number): void {
    const { document } = this;
    if (!document.isString(at)) this.json(at);
    else if (document.more(at) > WORD_BYTES) this.bytes += document.more(at);
  }

  /** A short string; empty for anything else. */
  private wordOf(at: number): string {
    const { document } = this;
    return document.isString(at) && document.more(at) <= WORD_BYTES ? document.text(at) : '';
  }

  /** Of a part whose type says that it is a medium. */
  private kindOf(part: number): MediumKind | undefined {
    const type = this.wordOf(this.document.get(part, NAME.type));
    return /^(?:input_)?(image|audio|video|file)/.exec(type)?.[1] as MediumKind | undefined;
  }

  /** Of a medium by its member's name; of Anthropic's `source` by what its block says. */
  private kindNamed(part: number, name: number): MediumKind {
    if (name !== NAME.source) return MEDIA.get(name) ?? 'file';
    return this.is(this.document.get(part, NAME.type), 'image') ? 'image' : 'file';
  }

  /** A part of another type tells of a file, and asks for none. */
  private mayBeFile(part: number): boolean {
    const type = this.wordOf(this.document.get(part, NAME.type));
    return type === '' || /^(?:input_)?(?:image|audio|video|file)|^document$|^container_upload$/.test(type);
  }

  private medium(at: number, kind: MediumKind, name: number, path: string): void {
    const { document } = this;
    const { tokens } = this.policy.media;
    if (document.isArray(at)) {
      const end = document.next(at);
      for (let item = document.first(at); item < end; item = document.next(item)) {
        this.medium(item, kind, name, path);
      }
      return;
    }
    let size: MediumSize;
    if (document.isString(at)) {
      if (BLOBS.has(name)) this.blob(at, path);
      else this.link(at, path);
      size = { encoded: document.more(at), isText: this.isTextData(at) };
    } else if (document.isObject(at)) {
      const found = this.mediumObject(at, path, name === NAME.source);
      if (found === undefined) return;
      size = found;
    } else {
      this.json(at);
      return;
    }
    this.hasMedia = true;
    // Text in base64 is text, of three quarters of its size.
    const least = size.isText
      ? Math.ceil((3 * size.encoded) / 4)
      : Math.ceil(size.encoded / ENCODED_BYTES_PER_PROMPT_BYTE);
    this.bytes += Math.max(TOKEN_BYTES * tokens[kind], kind === 'image' ? 0 : least);
  }

  /** @returns undefined for a document that is text, which has been counted as such. */
  private mediumObject(at: number, path: string, isSource: boolean): MediumSize | undefined {
    const { document } = this;
    const type = document.get(at, NAME.type);
    const saysText = isSource && (this.is(type, 'text') || this.is(type, 'content'));
    let encoded = 0;
    let isText = this.wordOf(document.get(at, NAME.media_type)).startsWith('text/');
    const end = document.next(at);
    for (let key = document.first(at); key < end; key = document.next(key + STRIDE)) {
      if (this.skipped.has(key)) continue;
      const value = key + STRIDE;
      const name = document.name(key);
      if (name === 0) {
        this.key(key, path);
        this.bytes += document.more(key);
      }
      const isLink = LINKS.has(name);
      if (document.isString(value) && (isLink || (BLOBS.has(name) && !saysText))) {
        encoded += document.more(value);
        isText ||= this.isTextData(value);
        if (isLink) this.link(value, path);
        else this.blob(value, path);
      } else if (classOf(name) === FILE_ID) this.fileId(value, path);
      else if (classOf(name) === TENSOR) this.tensor(value, path);
      else if (classOf(name) === CONTENT) this.content(value, path);
      else if (classOf(name) === WORD) this.word(value);
      else this.json(value);
    }
    return saysText && encoded === 0 ? undefined : { encoded, isText };
  }

  private isTextData(at: number): boolean {
    return this.document.begins(at, DATA_TEXT);
  }

  private link(at: number, path: string): void {
    if (this.error !== undefined) return;
    const refusal = mediumRefusal(this.document, at, this.policy.media, path);
    if (refusal !== undefined) this.refuse(refusal);
  }

  /** Engines take the name of a file, or an address, where they expect base64. What is longer than any name is looked at in part. */
  private blob(at: number, path: string): void {
    const { document } = this;
    const head = document.more(at) <= LONGEST_PATH ? document.text(at) : this.headOf(at);
    // A JPEG begins like a path.
    if (/^[\w+/=-]*$/.test(head) && (!head.startsWith('/') || head.startsWith('/9j/'))) return;
    this.link(at, path);
  }

  /** The first characters of a string, however they are written. */
  private headOf(at: number): string {
    return this.document.head(at, HEAD_BYTES);
  }

  private tensor(at: number, path: string): void {
    if (this.document.isNothing(at)) return;
    this.refuse(
      invalidRequest(
        'Embeddings in place of a medium are not taken. Send the medium itself.',
        path,
        'embeddings_refused',
      ),
    );
  }

  private fileId(at: number, path: string): void {
    if (!this.document.isNothing(at)) this.refuseState('file_id', path);
  }

  private refuseState(what: string, path: string): void {
    if (this.policy.fields.state === 'refuse') this.refuse(stateRefused(what, path));
  }
}

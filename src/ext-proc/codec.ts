/**
 * envoy.service.ext_proc.v3 on the wire, as far as it is used: written by hand, because there are two messages for
 * each request and one for each token. tests/unit/ext-proc/codec.test.ts holds it against proto/.
 *
 * Nothing is copied: bodies and headers are views of the message. Headers are looked up where they lie, as few are
 * asked for.
 */
import type { DirectResponse, HeaderList, ResponseMode } from '../admission/edge.ts';
import type { Frame } from '../grpc/frames.ts';
import {
  beginMessage,
  endMessage,
  fieldOf,
  finishFrame,
  hasMore,
  putBeyond,
  putBytes,
  putNumber,
  putString,
  type Reader,
  readBool,
  readBytes,
  readerOf,
  readLength,
  readMessage,
  readString,
  readTag,
  readUint32,
  skipField,
  startMessage,
  tagOf,
  WIRE,
  type Writer,
  wireOf,
} from '../grpc/protobuf.ts';

const KINDS = [
  'request_headers',
  'response_headers',
  'request_body',
  'response_body',
  'request_trailers',
  'response_trailers',
] as const;
/** Field number of the first of them; the others follow. */
const FIRST_KIND = 2;

/** `ProcessingRequest`. */
export interface ProcessingRequest {
  /** Undefined when there is none, or one of a newer Envoy. */
  readonly kind: (typeof KINDS)[number] | undefined;
  /** Of headers: the encoded header map, for `headerOf`. */
  readonly headers: Buffer;
  /** Of headers: how many there are. */
  readonly headerCount: number;
  /** Of bodies. */
  readonly body: Buffer;
  readonly endOfStream: boolean;
  /** Of response headers: the attribute `upstream.address`, empty without one. */
  readonly upstream: string;
  /** The attribute `response.code_details`, likewise. */
  readonly details: string;
  /** How the filter sends request bodies; undefined when it does not say. */
  readonly requestBodyMode: string | undefined;
}

const REQUEST = { attributes: tagOf(9, WIRE.bytes), protocolConfig: tagOf(11, WIRE.bytes) } as const;
const REQUEST_BODY_MODE = tagOf(1, WIRE.varint);
const BODY_MODES = ['NONE', 'STREAMED', 'BUFFERED', 'BUFFERED_PARTIAL', 'FULL_DUPLEX_STREAMED'] as const;
const HTTP_HEADERS = { headers: tagOf(1, WIRE.bytes), endOfStream: tagOf(3, WIRE.varint) } as const;
const HEADER_MAP = { headers: tagOf(1, WIRE.bytes) } as const;
const HEADER_VALUE = {
  key: tagOf(1, WIRE.bytes),
  value: tagOf(2, WIRE.bytes),
  rawValue: tagOf(3, WIRE.bytes),
} as const;
const HTTP_BODY = { body: tagOf(1, WIRE.bytes), endOfStream: tagOf(2, WIRE.varint) } as const;
const MAP_ENTRY = { key: tagOf(1, WIRE.bytes), value: tagOf(2, WIRE.bytes) } as const;
const STRUCT_FIELDS = tagOf(1, WIRE.bytes);
const STRING_VALUE = tagOf(3, WIRE.bytes);
/** `google.protobuf.Value` is a oneof of the fields up to this one. */
const LAST_VALUE_FIELD = 6;
const ATTRIBUTES = 'envoy.filters.http.ext_proc';
const UPSTREAM = 'upstream.address';
const DETAILS = 'response.code_details';
/** Longer ones name what nobody asks for. */
const MAX_DETAILS = 256;
const NOTHING: Buffer = Buffer.alloc(0);

/** A message that comes twice is merged, and the merger of two messages is their bytes one after the other. */
const merged = (before: Buffer, more: Buffer): Buffer =>
  before.length === 0 ? more : Buffer.concat([before, more]);

function isAscii(reader: Reader, text: string): boolean {
  const length = readLength(reader);
  const from = reader.at;
  reader.at += length;
  if (length !== text.length) return false;
  for (let i = 0; i < length; i += 1) if (reader.bytes[from + i] !== text.charCodeAt(i)) return false;
  return true;
}

/** @returns how many there are. @throws Malformed when a header's bytes are: so that a look-up need not expect it. */
function checkHeaders(headers: Buffer): number {
  let count = 0;
  const map = readerOf(headers);
  while (hasMore(map)) {
    const tag = readTag(map);
    if (tag !== HEADER_MAP.headers) skipField(map, tag);
    else {
      count += 1;
      const header = readMessage(map);
      while (hasMore(header)) skipField(header, readTag(header));
    }
  }
  return count;
}

/**
 * Value of the first header of that name, in lower case; empty when absent. Bytes are taken for latin1, as Node.js has
 * it in its own headers. Envoy sends `raw_value`, or `value` where it is told to.
 */
export function headerOf(headers: Buffer, name: string): string {
  const map = readerOf(headers);
  while (hasMore(map)) {
    const mapTag = readTag(map);
    if (mapTag !== HEADER_MAP.headers) {
      skipField(map, mapTag);
      continue;
    }
    const header = readMessage(map);
    let isIt = false;
    let from = 0;
    let to = 0;
    let isRaw = false;
    while (hasMore(header)) {
      const tag = readTag(header);
      if (tag === HEADER_VALUE.key) {
        isIt = isAscii(header, name);
        // The key is written first: others need not be read.
        if (!isIt) break;
      } else if (tag === HEADER_VALUE.rawValue || (tag === HEADER_VALUE.value && !isRaw)) {
        const length = readLength(header);
        from = header.at;
        header.at += length;
        to = header.at;
        isRaw = tag === HEADER_VALUE.rawValue;
      } else skipField(header, tag);
    }
    if (isIt) return headers.toString('latin1', from, to);
  }
  return '';
}

interface Found {
  value: string;
  details: string;
}

/** google.protobuf.Value: its text, or empty when it is something else. */
function decodeText(value: Reader): string {
  let text = '';
  while (hasMore(value)) {
    const tag = readTag(value);
    if (tag === STRING_VALUE) text = readString(value);
    else {
      // Another member of the oneof takes the place of the text; a field that is none of them does not.
      if (fieldOf(tag) <= LAST_VALUE_FIELD) text = '';
      skipField(value, tag);
    }
  }
  return text;
}

/** Reads an entry of a map whose key is `name`, in the order of the wire: the value is read when the key was it. */
function readEntry(
  entry: Reader,
  name: string,
  readValue: (value: Reader | undefined, found: Found) => void,
  found: Found,
): void {
  let isIt = false;
  let value: Reader | undefined;
  while (hasMore(entry)) {
    const tag = readTag(entry);
    if (tag === MAP_ENTRY.key) isIt = isAscii(entry, name);
    else if (tag === MAP_ENTRY.value) value = readMessage(entry);
    else skipField(entry, tag);
  }
  if (isIt) readValue(value, found);
}

function readUpstream(value: Reader | undefined, found: Found): void {
  found.value = value === undefined ? '' : decodeText(value);
}

function readDetails(value: Reader | undefined, found: Found): void {
  found.details = value === undefined ? '' : decodeText(value).slice(0, MAX_DETAILS);
}

function readAttributes(struct: Reader | undefined, found: Found): void {
  found.value = '';
  found.details = '';
  while (struct !== undefined && hasMore(struct)) {
    const tag = readTag(struct);
    if (tag !== STRUCT_FIELDS) {
      skipField(struct, tag);
      continue;
    }
    const { at } = struct;
    readEntry(readMessage(struct), UPSTREAM, readUpstream, found);
    struct.at = at;
    readEntry(readMessage(struct), DETAILS, readDetails, found);
  }
}

function decodeBodyMode(config: Reader, before: string | undefined): string | undefined {
  let mode = before;
  while (hasMore(config)) {
    const tag = readTag(config);
    if (tag === REQUEST_BODY_MODE) {
      const number = readUint32(config);
      mode = BODY_MODES[number] ?? String(number);
    } else skipField(config, tag);
  }
  return mode;
}

/** ProcessingRequest. The views in it live as long as the message. @throws Malformed */
export function decodeProcessingRequest(bytes: Buffer): ProcessingRequest {
  const reader = readerOf(bytes);
  let kind: ProcessingRequest['kind'];
  let content = NOTHING;
  let requestBodyMode: string | undefined;
  const found: Found = { value: '', details: '' };
  while (hasMore(reader)) {
    const tag = readTag(reader);
    const known = wireOf(tag) === WIRE.bytes ? KINDS[fieldOf(tag) - FIRST_KIND] : undefined;
    if (known !== undefined) {
      const more = readBytes(reader);
      content = known === kind ? merged(content, more) : more;
      kind = known;
    } else if (tag === REQUEST.attributes) readEntry(readMessage(reader), ATTRIBUTES, readAttributes, found);
    else if (tag === REQUEST.protocolConfig) {
      requestBodyMode = decodeBodyMode(readMessage(reader), requestBodyMode);
    } else skipField(reader, tag);
  }
  let headers = NOTHING;
  let headerCount = 0;
  let body = NOTHING;
  let endOfStream = false;
  const inner = readerOf(content);
  if (kind === 'request_headers' || kind === 'response_headers') {
    while (hasMore(inner)) {
      const tag = readTag(inner);
      if (tag === HTTP_HEADERS.headers) headers = merged(headers, readBytes(inner));
      else if (tag === HTTP_HEADERS.endOfStream) endOfStream = readBool(inner);
      else skipField(inner, tag);
    }
    headerCount = checkHeaders(headers);
  } else {
    const isBody = kind === 'request_body' || kind === 'response_body';
    while (hasMore(inner)) {
      const tag = readTag(inner);
      if (isBody && tag === HTTP_BODY.body) body = readBytes(inner);
      else if (isBody && tag === HTTP_BODY.endOfStream) endOfStream = readBool(inner);
      else skipField(inner, tag);
    }
  }
  return {
    kind,
    headers,
    headerCount,
    body,
    endOfStream,
    upstream: found.value,
    details: found.details,
    requestBodyMode,
  };
}

export const RESPONSE = {
  requestHeaders: 1,
  responseHeaders: 2,
  requestBody: 3,
  responseBody: 4,
  requestTrailers: 5,
  responseTrailers: 6,
  immediateResponse: 7,
  dynamicMetadata: 8,
  modeOverride: 9,
  overrideMessageTimeout: 10,
} as const;
/** HeadersResponse, BodyResponse */
export const COMMON_RESPONSE = 1;
export const COMMON = { headerMutation: 2, bodyMutation: 3, clearRouteCache: 5 } as const;
const BODY_MUTATION = { body: 1, clearBody: 2 } as const;
const HEADER_MUTATION = { setHeaders: 1, removeHeaders: 2 } as const;
const HEADER_OPTION = { header: 1, appendAction: 3 } as const;
const HEADER = { key: 1, rawValue: 3 } as const;
const OVERWRITE_IF_EXISTS_OR_ADD = 2;
const IMMEDIATE = { status: 1, headers: 2, body: 3, details: 5 } as const;
const HTTP_STATUS_CODE = 1;
const MODE = {
  responseHeaderMode: 2,
  requestBodyMode: 3,
  responseBodyMode: 4,
  requestTrailerMode: 5,
  responseTrailerMode: 6,
} as const;
const SEND = 1;
const STREAMED = 1;
const BUFFERED = 2;
const NONE = 0;
const DURATION = { seconds: 1, nanos: 2 } as const;
const NANOS_PER_MS = 1_000_000;
const STRUCT = { fields: 1, key: 1, value: 2 } as const;
const VALUE = { stringValue: 3, structValue: 5 } as const;

export function putSetHeaders(writer: Writer, headers: HeaderList): void {
  for (let i = headers.length - 1; i >= 0; i -= 1) {
    const pair = headers[i];
    if (pair === undefined) continue;
    const option = beginMessage(writer);
    putNumber(writer, HEADER_OPTION.appendAction, OVERWRITE_IF_EXISTS_OR_ADD);
    const header = beginMessage(writer);
    putString(writer, HEADER.rawValue, pair[1]);
    putString(writer, HEADER.key, pair[0]);
    endMessage(writer, HEADER_OPTION.header, header);
    endMessage(writer, HEADER_MUTATION.setHeaders, option);
  }
}

/** A response of one field that holds an empty message, or an empty CommonResponse. */
function encodeEmpty(field: number, withCommon: boolean): Frame {
  const writer = startMessage();
  const response = beginMessage(writer);
  if (withCommon) endMessage(writer, COMMON_RESPONSE, beginMessage(writer));
  endMessage(writer, field, response);
  return finishFrame(writer);
}

/** The reply to a request's headers that lets them pass, and asks for all that comes after. */
function encodePassWithAnswer(): Frame {
  const writer = startMessage();
  const override = beginMessage(writer);
  putNumber(writer, MODE.responseTrailerMode, SEND);
  putNumber(writer, MODE.requestTrailerMode, SEND);
  putNumber(writer, MODE.requestBodyMode, BUFFERED);
  putNumber(writer, MODE.responseHeaderMode, SEND);
  endMessage(writer, RESPONSE.modeOverride, override);
  const response = beginMessage(writer);
  endMessage(writer, COMMON_RESPONSE, beginMessage(writer));
  endMessage(writer, RESPONSE.requestHeaders, response);
  return finishFrame(writer);
}

/** The answers that say nothing: go on. */
export const PASS = {
  requestHeaders: encodePassWithAnswer(),
  requestBody: encodeEmpty(RESPONSE.requestBody, true),
  requestTrailers: encodeEmpty(RESPONSE.requestTrailers, false),
  responseBody: encodeEmpty(RESPONSE.responseBody, true),
  responseTrailers: encodeEmpty(RESPONSE.responseTrailers, false),
} as const;

/** Envoy shall wait for up to so many milliseconds. */
export function encodeHold(forMs: number): Frame {
  const writer = startMessage();
  const duration = beginMessage(writer);
  putNumber(writer, DURATION.nanos, (forMs % 1_000) * NANOS_PER_MS);
  putNumber(writer, DURATION.seconds, forMs / 1_000);
  endMessage(writer, RESPONSE.overrideMessageTimeout, duration);
  return finishFrame(writer);
}

export function encodeImmediate({ status, headers, body, details }: DirectResponse): Frame {
  const writer = startMessage();
  const response = beginMessage(writer);
  putString(writer, IMMEDIATE.details, details);
  putString(writer, IMMEDIATE.body, body);
  const mutation = beginMessage(writer);
  putSetHeaders(writer, headers);
  endMessage(writer, IMMEDIATE.headers, mutation);
  const code = beginMessage(writer);
  putNumber(writer, HTTP_STATUS_CODE, status);
  endMessage(writer, IMMEDIATE.status, code);
  endMessage(writer, RESPONSE.immediateResponse, response);
  return finishFrame(writer);
}

/** The reply to a request's body: other bytes, other headers, and a value of dynamic metadata. */
/** Bytes of all parts. */
export const lengthOf = (parts: readonly Uint8Array[]): number =>
  parts.reduce((sum, { length }) => sum + length, 0);

export interface RequestBodyReply {
  /** In parts; absent: it stays as it is. */
  readonly body?: readonly Uint8Array[];
  readonly set: HeaderList;
  readonly remove: readonly string[];
  readonly metadata: { readonly namespace: string; readonly key: string; readonly value: string };
}

/** An entry of a Struct. What is written in `putValue` is the Value. */
function putField(writer: Writer, key: string, putValue: () => void): void {
  const entry = beginMessage(writer);
  const value = beginMessage(writer);
  putValue();
  endMessage(writer, STRUCT.value, value);
  putString(writer, STRUCT.key, key);
  endMessage(writer, STRUCT.fields, entry);
}

/** Dynamic metadata of a reply: one value in one namespace. */
export function putMetadata(writer: Writer, { namespace, key, value }: RequestBodyReply['metadata']): void {
  const struct = beginMessage(writer);
  putField(writer, namespace, () => {
    const inner = beginMessage(writer);
    putField(writer, key, () => putString(writer, VALUE.stringValue, value));
    endMessage(writer, VALUE.structValue, inner);
  });
  endMessage(writer, RESPONSE.dynamicMetadata, struct);
}

export function putRemoveHeaders(writer: Writer, names: readonly string[]): void {
  for (let i = names.length - 1; i >= 0; i -= 1) {
    putString(writer, HEADER_MUTATION.removeHeaders, names[i] ?? '');
  }
}

/** @returns the frame, to be sent with the body's parts behind it. */
export function encodeRequestBody({ body, set, remove, metadata }: RequestBodyReply): Frame {
  const writer = startMessage();
  // The body is written first, which is last of the message: so it need not be copied.
  const response = beginMessage(writer);
  const common = beginMessage(writer);
  if (body !== undefined) {
    const bodyMutation = beginMessage(writer);
    putBeyond(writer, BODY_MUTATION.body, lengthOf(body));
    endMessage(writer, COMMON.bodyMutation, bodyMutation);
  }
  putNumber(writer, COMMON.clearRouteCache, 1);
  const headerMutation = beginMessage(writer);
  putRemoveHeaders(writer, remove);
  putSetHeaders(writer, set);
  endMessage(writer, COMMON.headerMutation, headerMutation);
  endMessage(writer, COMMON_RESPONSE, common);
  endMessage(writer, RESPONSE.requestBody, response);
  putMetadata(writer, metadata);
  return finishFrame(writer);
}

/** The part of a reply to a response's headers that sets some. */
export function putResponseHeaders(writer: Writer, set: HeaderList): void {
  const response = beginMessage(writer);
  const common = beginMessage(writer);
  if (set.length > 0) {
    const mutation = beginMessage(writer);
    putSetHeaders(writer, set);
    endMessage(writer, COMMON.headerMutation, mutation);
  }
  endMessage(writer, COMMON_RESPONSE, common);
  endMessage(writer, RESPONSE.responseHeaders, response);
}

/** The reply to a response's headers: what of its body is to be sent, and headers to set. */
export function encodeResponseHeaders(mode: ResponseMode, set: HeaderList): Frame {
  const writer = startMessage();
  const override = beginMessage(writer);
  putNumber(writer, MODE.responseTrailerMode, SEND);
  putNumber(writer, MODE.responseBodyMode, mode === 'stream' ? STREAMED : NONE);
  putNumber(writer, MODE.responseHeaderMode, SEND);
  endMessage(writer, RESPONSE.modeOverride, override);
  putResponseHeaders(writer, set);
  return finishFrame(writer);
}

/** The reply to a chunk of a response: other bytes in its place, or none. */
export function encodeReplacement(bytes: Uint8Array): Frame {
  const writer = startMessage();
  const response = beginMessage(writer);
  const common = beginMessage(writer);
  const mutation = beginMessage(writer);
  if (bytes.length === 0) putNumber(writer, BODY_MUTATION.clearBody, 1);
  else putBytes(writer, BODY_MUTATION.body, bytes);
  endMessage(writer, COMMON.bodyMutation, mutation);
  endMessage(writer, COMMON_RESPONSE, common);
  endMessage(writer, RESPONSE.responseBody, response);
  return finishFrame(writer);
}

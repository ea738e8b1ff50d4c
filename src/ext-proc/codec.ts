/**
 * Messages of envoy.service.ext_proc.v3, as far as they are used: read by hand, because there are two messages for
 * each request and one for each token. tests/unit/ext-proc/codec.test.ts holds it against proto/.
 *
 * Nothing is copied: bodies and headers are views of the message. Headers are looked up where they lie, as few are
 * asked for.
 */
import {
  fieldOf,
  hasMore,
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
  tagOf,
  WIRE,
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

/** What it has not read; of nothing, nothing. */
const restOf = (reader: Reader | undefined): Buffer =>
  reader === undefined ? NOTHING : reader.bytes.subarray(reader.at, reader.end);

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
  let content: Reader | undefined;
  let requestBodyMode: string | undefined;
  let found: Found | undefined;
  while (hasMore(reader)) {
    const tag = readTag(reader);
    const known = wireOf(tag) === WIRE.bytes ? KINDS[fieldOf(tag) - FIRST_KIND] : undefined;
    if (known !== undefined) {
      const more = readMessage(reader);
      const isMore = content !== undefined && known === kind;
      content = isMore ? readerOf(merged(restOf(content), restOf(more))) : more;
      kind = known;
    } else if (tag === REQUEST.attributes) {
      found ??= { value: '', details: '' };
      readEntry(readMessage(reader), ATTRIBUTES, readAttributes, found);
    } else if (tag === REQUEST.protocolConfig) {
      requestBodyMode = decodeBodyMode(readMessage(reader), requestBodyMode);
    } else skipField(reader, tag);
  }
  let headers = NOTHING;
  let headerCount = 0;
  let body = NOTHING;
  let endOfStream = false;
  const inner = content ?? readerOf(NOTHING);
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
    upstream: found === undefined ? '' : found.value,
    details: found === undefined ? '' : found.details,
    requestBodyMode,
  };
}

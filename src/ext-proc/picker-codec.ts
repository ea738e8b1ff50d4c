/**
 * What the Endpoint Picker Protocol has on the wire beyond codec.ts: the metadata that a gateway sends along, and
 * bodies in FULL_DUPLEX_STREAMED mode.
 */
import type { HeaderList } from '../admission/edge.ts';
import { PICKER } from '../domain/names.ts';
import type { Frame } from '../grpc/frames.ts';
import {
  beginMessage,
  endMessage,
  fieldOf,
  finishFrame,
  hasMore,
  putBytes,
  putNumber,
  type Reader,
  readerOf,
  readMessage,
  readString,
  readTag,
  skipField,
  startMessage,
  tagOf,
  WIRE,
} from '../grpc/protobuf.ts';
import {
  COMMON,
  COMMON_RESPONSE,
  putMetadata,
  putRemoveHeaders,
  putResponseHeaders,
  putSetHeaders,
  RESPONSE,
} from './replies.ts';

export interface GatewayMetadata {
  /**
   * `ip:port` of the endpoints that may be chosen from; undefined: all. What is there but names none (another type, an
   * empty list) is empty.
   */
  readonly subset: ReadonlySet<string> | undefined;
  /** With response headers: the `ip:port` that served the request; empty when the gateway does not say. */
  readonly served: string;
}

const METADATA_CONTEXT = tagOf(8, WIRE.bytes);
const FILTER_METADATA = tagOf(1, WIRE.bytes);
const MAP_ENTRY = { key: tagOf(1, WIRE.bytes), value: tagOf(2, WIRE.bytes) } as const;
const STRUCT_FIELDS = tagOf(1, WIRE.bytes);
const VALUE = { text: tagOf(3, WIRE.bytes), list: tagOf(6, WIRE.bytes) } as const;
/** `google.protobuf.Value` is a oneof of the fields up to this one. */
const LAST_VALUE_FIELD = 6;
const LIST_VALUES = tagOf(1, WIRE.bytes);
/** A pool has not more endpoints; what a subset names beyond is left out. */
const MAX_SUBSET = 10_000;

/** Calls back with each entry of a map field whose tag is `field`. */
function readMap(map: Reader, field: number, onEntry: (key: string, value: Reader) => void): void {
  while (hasMore(map)) {
    const tag = readTag(map);
    if (tag !== field) {
      skipField(map, tag);
      continue;
    }
    const entry = readMessage(map);
    let key = '';
    let value: Reader | undefined;
    while (hasMore(entry)) {
      const entryTag = readTag(entry);
      if (entryTag === MAP_ENTRY.key) key = readString(entry);
      else if (entryTag === MAP_ENTRY.value) value = readMessage(entry);
      else skipField(entry, entryTag);
    }
    if (value !== undefined) onEntry(key, value);
  }
}

/** The texts of a value: itself, or those of its list. */
function textsOf(value: Reader, withLists: boolean): string[] {
  let texts: string[] = [];
  while (hasMore(value)) {
    const tag = readTag(value);
    if (tag === VALUE.text) texts = [readString(value)];
    else if (tag === VALUE.list && withLists) {
      texts = [];
      const list = readMessage(value);
      while (hasMore(list)) {
        const listTag = readTag(list);
        if (listTag !== LIST_VALUES) skipField(list, listTag);
        else if (texts.length < MAX_SUBSET) texts.push(...textsOf(readMessage(list), false));
        else skipField(list, listTag);
      }
    } else {
      if (fieldOf(tag) <= LAST_VALUE_FIELD) texts = [];
      skipField(value, tag);
    }
  }
  return texts;
}

/** `metadata_context` of a ProcessingRequest. @throws Malformed */
export function decodeGatewayMetadata(bytes: Buffer): GatewayMetadata {
  let subset: ReadonlySet<string> | undefined;
  let served = '';
  const request = readerOf(bytes);
  while (hasMore(request)) {
    const tag = readTag(request);
    if (tag !== METADATA_CONTEXT) {
      skipField(request, tag);
      continue;
    }
    readMap(readMessage(request), FILTER_METADATA, (namespace, struct) => {
      if (namespace === PICKER.subsetNamespace) {
        readMap(struct, STRUCT_FIELDS, (key, value) => {
          if (key !== PICKER.subsetKey) return;
          const texts = textsOf(value, true).flatMap((text) => text.split(','));
          subset = new Set(texts.map((text) => text.trim()).filter((text) => text !== ''));
        });
      } else if (namespace === PICKER.metadataNamespace) {
        readMap(struct, STRUCT_FIELDS, (key, value) => {
          if (key === PICKER.servedKey) served = textsOf(value, false)[0] ?? '';
        });
      }
    });
  }
  return { subset, served };
}

const STREAMED_RESPONSE = 3;
const STREAMED = { body: 1, endOfStream: 2 } as const;
/** The most that a gateway takes in one frame. */
const MAX_FRAME_BYTES = 62_000;

/** The reply to a request's headers: the endpoints, in order, as a header and as metadata. */
export function encodeDestination(
  addresses: readonly string[],
  set: HeaderList,
  remove: readonly string[],
): Frame {
  const destination = addresses.join(',');
  const writer = startMessage();
  putMetadata(writer, {
    namespace: PICKER.metadataNamespace,
    key: PICKER.destination,
    value: destination,
  });
  const response = beginMessage(writer);
  const common = beginMessage(writer);
  putNumber(writer, COMMON.clearRouteCache, 1);
  const mutation = beginMessage(writer);
  putRemoveHeaders(writer, remove);
  putSetHeaders(writer, [[PICKER.destination, destination], ...set]);
  endMessage(writer, COMMON.headerMutation, mutation);
  endMessage(writer, COMMON_RESPONSE, common);
  endMessage(writer, RESPONSE.requestHeaders, response);
  return finishFrame(writer);
}

/** The reply to a response's headers. */
export function encodeAnswerHeaders(set: HeaderList): Frame {
  const writer = startMessage();
  putResponseHeaders(writer, set);
  return finishFrame(writer);
}

function encodePart(side: 'request' | 'response', bytes: Uint8Array, endOfStream: boolean): Frame {
  const writer = startMessage();
  const response = beginMessage(writer);
  const common = beginMessage(writer);
  const mutation = beginMessage(writer);
  const streamed = beginMessage(writer);
  putNumber(writer, STREAMED.endOfStream, endOfStream ? 1 : 0);
  if (bytes.length > 0) putBytes(writer, STREAMED.body, bytes);
  endMessage(writer, STREAMED_RESPONSE, streamed);
  endMessage(writer, COMMON.bodyMutation, mutation);
  endMessage(writer, COMMON_RESPONSE, common);
  endMessage(writer, side === 'request' ? RESPONSE.requestBody : RESPONSE.responseBody, response);
  return finishFrame(writer);
}

/** The same of a body in parts. */
export function* encodeBody(
  side: 'request' | 'response',
  parts: readonly Uint8Array[],
  endOfStream: boolean,
): Generator<Frame> {
  for (const [i, part] of parts.entries()) {
    yield* encodeParts(side, part, endOfStream && i === parts.length - 1);
  }
}

/**
 * Bytes of a body as a gateway takes them; at least one frame. The last one ends the body where `endOfStream` says so.
 */
export function* encodeParts(
  side: 'request' | 'response',
  bytes: Uint8Array,
  endOfStream: boolean,
): Generator<Frame> {
  let from = 0;
  do {
    const to = Math.min(bytes.length, from + MAX_FRAME_BYTES);
    yield encodePart(side, bytes.subarray(from, to), endOfStream && to === bytes.length);
    from = to;
  } while (from < bytes.length);
}

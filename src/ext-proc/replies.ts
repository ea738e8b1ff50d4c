/**
 * `ProcessingResponse` of envoy.service.ext_proc.v3: the replies to Envoy's messages, written by hand, as one is for each token.
 * What is long is not copied: a request's body is sent behind its frame.
 */
import type { DirectResponse, HeaderList, ResponseMode } from '../admission/edge.ts';
import type { Frame } from '../grpc/frames.ts';
import {
  beginMessage,
  endMessage,
  finishFrame,
  putBeyond,
  putBytes,
  putNumber,
  putString,
  startMessage,
  type Writer,
} from '../grpc/protobuf.ts';

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

/** Asks for all that comes after a request's headers. */
function putAnswerMode(writer: Writer): void {
  const override = beginMessage(writer);
  putNumber(writer, MODE.responseTrailerMode, SEND);
  putNumber(writer, MODE.requestTrailerMode, SEND);
  putNumber(writer, MODE.requestBodyMode, BUFFERED);
  putNumber(writer, MODE.responseHeaderMode, SEND);
  endMessage(writer, RESPONSE.modeOverride, override);
}

/** The reply to a request's headers that lets them pass. */
function encodePassWithAnswer(): Frame {
  const writer = startMessage();
  putAnswerMode(writer);
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

/** Bytes of all parts. */
export const lengthOf = (parts: readonly Uint8Array[]): number =>
  parts.reduce((sum, { length }) => sum + length, 0);

/** The reply to a request's body: other bytes, other headers, and a value of dynamic metadata. */
export interface RequestBodyReply {
  /** In parts; undefined: it stays as it is. */
  readonly body?: readonly Uint8Array[] | undefined;
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

/** The part of a reply to a request that changes its headers, and with them its route. */
function putRequestChanges(writer: Writer, { set, remove }: Pick<RequestBodyReply, 'set' | 'remove'>): void {
  putNumber(writer, COMMON.clearRouteCache, 1);
  const mutation = beginMessage(writer);
  putRemoveHeaders(writer, remove);
  putSetHeaders(writer, set);
  endMessage(writer, COMMON.headerMutation, mutation);
}

/** @returns the frame, to be sent with the body's parts behind it. */
export function encodeRequestBody(reply: RequestBodyReply): Frame {
  const { body, metadata } = reply;
  const writer = startMessage();
  // The body is written first, which is last of the message: so it need not be copied.
  const response = beginMessage(writer);
  const common = beginMessage(writer);
  if (body !== undefined) {
    const bodyMutation = beginMessage(writer);
    putBeyond(writer, BODY_MUTATION.body, lengthOf(body));
    endMessage(writer, COMMON.bodyMutation, bodyMutation);
  }
  putRequestChanges(writer, reply);
  endMessage(writer, COMMON_RESPONSE, common);
  endMessage(writer, RESPONSE.requestBody, response);
  putMetadata(writer, metadata);
  return finishFrame(writer);
}

/** The reply to the headers of a request that has no body: other headers, and a value of dynamic metadata. */
export function encodeRequestHeaders(reply: Omit<RequestBodyReply, 'body'>): Frame {
  const writer = startMessage();
  putAnswerMode(writer);
  const response = beginMessage(writer);
  const common = beginMessage(writer);
  putRequestChanges(writer, reply);
  endMessage(writer, COMMON_RESPONSE, common);
  endMessage(writer, RESPONSE.requestHeaders, response);
  putMetadata(writer, reply.metadata);
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

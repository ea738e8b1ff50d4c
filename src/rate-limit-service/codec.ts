/**
 * envoy.service.ratelimit.v3 on the wire, as far as it is used: written by hand, because decoding and encoding by description
 * cost several times as much as the decision. tests/unit/rate-limit-service/codec.test.ts holds it against proto/.
 */
import type { Frame } from '../grpc/frames.ts';
import {
  beginMessage,
  endMessage,
  finishFrame,
  hasMore,
  putNumber,
  putString,
  type Reader,
  readBool,
  readerOf,
  readMessage,
  readString,
  readTag,
  readUint32,
  readUint64,
  skipField,
  startMessage,
  tagOf,
  WIRE,
  type Writer,
} from '../grpc/protobuf.ts';
import type { DescriptorStatus, RateLimitAnswer, RateLimitCall } from './decide.ts';
import type { HeaderList } from './limit-headers.ts';
import type { Descriptor } from './match.ts';
import { putStruct } from './struct-codec.ts';

type Entry = Descriptor['entries'][number];

const REQUEST = {
  domain: tagOf(1, WIRE.bytes),
  descriptors: tagOf(2, WIRE.bytes),
  hitsAddend: tagOf(3, WIRE.varint),
} as const;
const DESCRIPTOR = {
  entries: tagOf(1, WIRE.bytes),
  limit: tagOf(2, WIRE.bytes),
  hitsAddend: tagOf(3, WIRE.bytes),
  isNegativeHits: tagOf(4, WIRE.varint),
} as const;
const ENTRY = { key: tagOf(1, WIRE.bytes), value: tagOf(2, WIRE.bytes) } as const;
const OVERRIDE = { requestsPerUnit: tagOf(1, WIRE.varint), unit: tagOf(2, WIRE.varint) } as const;
/** google.protobuf.UInt64Value */
const WRAPPED = tagOf(1, WIRE.varint);

const RESPONSE = {
  overallCode: 1,
  statuses: 2,
  responseHeadersToAdd: 3,
  requestHeadersToAdd: 4,
  dynamicMetadata: 6,
} as const;
const DESCRIPTOR_STATUS = { code: 1, currentLimit: 2, limitRemaining: 3, durationUntilReset: 4 } as const;
const RATE_LIMIT = { requestsPerUnit: 1, unit: 2, name: 3 } as const;
const DURATION = { seconds: 1, nanos: 2 } as const;
const HEADER = { key: 1, value: 2 } as const;
const OK = 1;
const OVER_LIMIT = 2;
const MAX_UINT32 = 4_294_967_295;
const NANOS_PER_MS = 1_000_000;

function decodeEntry(reader: Reader): Entry {
  let key = '';
  let value = '';
  while (hasMore(reader)) {
    const tag = readTag(reader);
    if (tag === ENTRY.key) key = readString(reader);
    else if (tag === ENTRY.value) value = readString(reader);
    else skipField(reader, tag);
  }
  return { key, value };
}

/** A message that comes twice is merged: what came before is what it starts from. */
function decodeOverride(reader: Reader, before: Descriptor['override']): Descriptor['override'] {
  let requestsPerUnit = before?.requestsPerUnit ?? 0;
  let unit = before?.unit ?? 0;
  while (hasMore(reader)) {
    const tag = readTag(reader);
    if (tag === OVERRIDE.requestsPerUnit) requestsPerUnit = readUint32(reader);
    else if (tag === OVERRIDE.unit) unit = readUint32(reader);
    else skipField(reader, tag);
  }
  return { requestsPerUnit, unit };
}

/** Hits above what a double holds exactly are an Envoy's mistake; they are as good as infinite. */
function decodeHits(reader: Reader, before: number): number {
  let hits = before;
  while (hasMore(reader)) {
    const tag = readTag(reader);
    if (tag === WRAPPED) hits = Math.min(readUint64(reader), Number.MAX_SAFE_INTEGER);
    else skipField(reader, tag);
  }
  return hits;
}

function decodeDescriptor(reader: Reader): Descriptor {
  const entries: Entry[] = [];
  let override: Descriptor['override'];
  let hits: number | undefined;
  let negative = false;
  while (hasMore(reader)) {
    const tag = readTag(reader);
    if (tag === DESCRIPTOR.entries) entries.push(decodeEntry(readMessage(reader)));
    else if (tag === DESCRIPTOR.limit) override = decodeOverride(readMessage(reader), override);
    else if (tag === DESCRIPTOR.hitsAddend) hits = decodeHits(readMessage(reader), hits ?? 0);
    else if (tag === DESCRIPTOR.isNegativeHits) negative = readBool(reader);
    else skipField(reader, tag);
  }
  if (override === undefined && hits === undefined) return { entries, negative };
  return {
    entries,
    negative,
    ...(override !== undefined && { override }),
    ...(hits !== undefined && { hits }),
  };
}

/** RateLimitRequest. @throws Malformed */
export function decodeRateLimitRequest(bytes: Buffer): RateLimitCall {
  const reader = readerOf(bytes);
  const descriptors: Descriptor[] = [];
  let domain = '';
  let hits = 0;
  while (hasMore(reader)) {
    const tag = readTag(reader);
    if (tag === REQUEST.domain) domain = readString(reader);
    else if (tag === REQUEST.descriptors) descriptors.push(decodeDescriptor(readMessage(reader)));
    else if (tag === REQUEST.hitsAddend) hits = readUint32(reader);
    else skipField(reader, tag);
  }
  return { domain, descriptors, hits };
}

function putStatus(writer: Writer, status: DescriptorStatus): void {
  const { over, rate, name, remaining, resetMs } = status;
  const message = beginMessage(writer);
  if (resetMs !== undefined) {
    const duration = beginMessage(writer);
    putNumber(writer, DURATION.nanos, (resetMs % 1_000) * NANOS_PER_MS);
    putNumber(writer, DURATION.seconds, resetMs / 1_000);
    endMessage(writer, DESCRIPTOR_STATUS.durationUntilReset, duration);
  }
  putNumber(writer, DESCRIPTOR_STATUS.limitRemaining, Math.min(MAX_UINT32, remaining));
  if (rate !== undefined) {
    const limit = beginMessage(writer);
    if (name !== undefined) putString(writer, RATE_LIMIT.name, name);
    putNumber(writer, RATE_LIMIT.unit, rate.unit);
    putNumber(writer, RATE_LIMIT.requestsPerUnit, rate.requestsPerUnit);
    endMessage(writer, DESCRIPTOR_STATUS.currentLimit, limit);
  }
  putNumber(writer, DESCRIPTOR_STATUS.code, over ? OVER_LIMIT : OK);
  endMessage(writer, RESPONSE.statuses, message);
}

function putHeaders(writer: Writer, field: number, headers: HeaderList): void {
  for (let i = headers.length - 1; i >= 0; i -= 1) {
    const header = headers[i];
    if (header === undefined) continue;
    const message = beginMessage(writer);
    putString(writer, HEADER.value, header[1]);
    putString(writer, HEADER.key, header[0]);
    endMessage(writer, field, message);
  }
}

/** RateLimitResponse. Remaining hits above uint32 are as many as it holds. */
export function encodeRateLimitAnswer(answer: RateLimitAnswer): Frame {
  const { over, statuses, headers, requestHeaders, metadata } = answer;
  const writer = startMessage();
  if (metadata !== undefined) {
    const struct = beginMessage(writer);
    putStruct(writer, metadata);
    endMessage(writer, RESPONSE.dynamicMetadata, struct);
  }
  putHeaders(writer, RESPONSE.requestHeadersToAdd, requestHeaders);
  putHeaders(writer, RESPONSE.responseHeadersToAdd, headers);
  for (let i = statuses.length - 1; i >= 0; i -= 1) {
    const status = statuses[i];
    if (status !== undefined) putStatus(writer, status);
  }
  putNumber(writer, RESPONSE.overallCode, over ? OVER_LIMIT : OK);
  return finishFrame(writer);
}

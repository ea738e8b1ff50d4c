/**
 * Calls and answers of the rate limit service as proto3 JSON.
 * Source: protobuf's JSON mapping, as envoyproxy/ratelimit's `/json` has it (src/server/server_impl.go, protojson): fields by
 * either name, unknown ones refused, numbers as numbers or text, defaults left out.
 */
import type { DescriptorStatus, RateLimitAnswer, RateLimitCall } from './decide.ts';
import type { HeaderList } from './limit-headers.ts';
import type { Descriptor } from './match.ts';
import { jsonOf } from './struct.ts';
import { UNIT_NAMES } from './units.ts';

const MAX_UINT32 = 4_294_967_295;
/** The first double beyond what 64 bits round to. */
const BEYOND_UINT64 = 2 ** 64 + 4_096;
const MAX_INT32 = 2_147_483_647;

/** What is wrong with a call, for the log. */
export class BadCall extends Error {}

type Fields = ReadonlyMap<string, unknown>;

/** Numbers as JSON writes them: text may hold one, without anything around it. */
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
/** JSON can escape halves of characters. */
const HALF_CHARACTER = /\p{Surrogate}/u;

/** An object's fields by their names in camel case. @param names of the message. */
function fieldsOf(value: unknown, names: readonly string[], what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new BadCall(`${what} is no object`);
  }
  const fields = new Map<string, unknown>();
  for (const [key, field] of Object.entries(value)) {
    const name = names.find((known) => known === key || snakeOf(known) === key);
    if (name === undefined) throw new BadCall(`${what} has an unknown field`);
    if (fields.has(name)) throw new BadCall(`${what} has ${name} twice`);
    // null is a field that is not there.
    if (field !== null) fields.set(name, field);
  }
  return fields;
}

const snakeOf = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

function textOf(value: unknown, what: string): string {
  if (value === undefined) return '';
  if (typeof value === 'string' && !HALF_CHARACTER.test(value)) return value;
  throw new BadCall(`${what} is no text`);
}

function listOf(value: unknown, what: string): readonly unknown[] {
  if (value === undefined) return [];
  if (Array.isArray(value)) return value;
  throw new BadCall(`${what} is no list`);
}

/** @param below what it has to be less than. */
function wholeNumberOf(value: unknown, below: number, what: string): number {
  if (value === undefined) return 0;
  const number = typeof value === 'string' && NUMBER.test(value) ? Number(value) : value;
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0 && number < below) return number;
  throw new BadCall(`${what} is no whole number of its size`);
}

function unitOf(value: unknown): number {
  if (typeof value === 'number' || value === undefined) return wholeNumberOf(value, MAX_INT32 + 1, 'unit');
  const unit = (UNIT_NAMES as readonly unknown[]).indexOf(value);
  if (unit >= 0) return unit;
  throw new BadCall('unit is none');
}

function entryOf(value: unknown): Descriptor['entries'][number] {
  const fields = fieldsOf(value, ['key', 'value'], 'an entry');
  return { key: textOf(fields.get('key'), 'key'), value: textOf(fields.get('value'), 'value') };
}

function overrideOf(value: unknown): NonNullable<Descriptor['override']> {
  const fields = fieldsOf(value, ['requestsPerUnit', 'unit'], 'limit');
  return {
    requestsPerUnit: wholeNumberOf(fields.get('requestsPerUnit'), MAX_UINT32 + 1, 'requestsPerUnit'),
    unit: unitOf(fields.get('unit')),
  };
}

const DESCRIPTOR = ['entries', 'limit', 'hitsAddend', 'isNegativeHits'];

function descriptorOf(value: unknown): Descriptor {
  const fields = fieldsOf(value, DESCRIPTOR, 'a descriptor');
  const negative = fields.get('isNegativeHits') ?? false;
  if (typeof negative !== 'boolean') throw new BadCall('isNegativeHits is neither true nor false');
  const limit = fields.get('limit');
  const hits = fields.get('hitsAddend');
  return {
    entries: listOf(fields.get('entries'), 'entries').map(entryOf),
    negative,
    ...(limit !== undefined && { override: overrideOf(limit) }),
    ...(hits !== undefined && {
      hits: Math.min(wholeNumberOf(hits, BEYOND_UINT64, 'hitsAddend'), Number.MAX_SAFE_INTEGER),
    }),
  };
}

/** RateLimitRequest. @throws BadCall */
export function parseCall(text: string): RateLimitCall {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new BadCall('the body is not JSON');
  }
  const fields = fieldsOf(value, ['domain', 'descriptors', 'hitsAddend'], 'the call');
  return {
    domain: textOf(fields.get('domain'), 'domain'),
    descriptors: listOf(fields.get('descriptors'), 'descriptors').map(descriptorOf),
    hits: wholeNumberOf(fields.get('hitsAddend'), MAX_UINT32 + 1, 'hitsAddend'),
  };
}

/** `1.500s`: as many digits as there are, by threes. */
function durationText(ms: number): string {
  const rest = ms % 1_000;
  const seconds = Math.floor(ms / 1_000);
  return rest === 0 ? `${seconds}s` : `${seconds}.${String(rest).padStart(3, '0')}s`;
}

const codeOf = (over: boolean): string => (over ? 'OVER_LIMIT' : 'OK');

function statusJson({ over, rate, name, remaining, resetMs }: DescriptorStatus): object {
  return {
    code: codeOf(over),
    ...(rate !== undefined && {
      currentLimit: {
        ...(name !== undefined && { name }),
        ...(rate.requestsPerUnit > 0 && { requestsPerUnit: rate.requestsPerUnit }),
        unit: UNIT_NAMES[rate.unit] ?? rate.unit,
      },
    }),
    ...(remaining > 0 && { limitRemaining: Math.min(remaining, MAX_UINT32) }),
    ...(resetMs !== undefined && { durationUntilReset: durationText(resetMs) }),
  };
}

const headersJson = (headers: HeaderList): readonly object[] =>
  headers.map(([key, value]) => ({ key, value }));

/** RateLimitResponse. */
export function answerText({ over, statuses, headers, requestHeaders, metadata }: RateLimitAnswer): string {
  return JSON.stringify({
    overallCode: codeOf(over),
    statuses: statuses.map(statusJson),
    ...(headers.length > 0 && { responseHeadersToAdd: headersJson(headers) }),
    ...(requestHeaders.length > 0 && { requestHeadersToAdd: headersJson(requestHeaders) }),
    ...(metadata !== undefined && { dynamicMetadata: jsonOf(metadata) }),
  });
}

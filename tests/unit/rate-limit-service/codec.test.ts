/** The codec by hand against the one from proto/. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isMalformed } from '../../../src/grpc/protobuf.ts';
import { decodeRateLimitRequest, encodeRateLimitAnswer } from '../../../src/rate-limit-service/codec.ts';
import type { RateLimitAnswer, RateLimitCall } from '../../../src/rate-limit-service/decide.ts';
import type { HeaderList } from '../../../src/rate-limit-service/limit-headers.ts';
import type { Rate } from '../../../src/rate-limit-service/limits-config.ts';
import type { Struct, StructValue } from '../../../src/rate-limit-service/struct.ts';
import { type Message, referenceCodec } from '../../support/reference-codec.ts';

const reference = referenceCodec(
  'envoy/service/ratelimit/v3/rls.proto',
  'envoy.service.ratelimit.v3.RateLimitService',
  'ShouldRateLimit',
);

const uint32 = fc.integer({ min: 0, max: 4_294_967_295 });
const text = fc.string({ unit: 'grapheme', maxLength: 60 });
const descriptor = fc.record(
  {
    entries: fc.array(fc.record({ key: text, value: text }), { maxLength: 4 }),
    limit: fc.record({ requests_per_unit: uint32, unit: fc.integer({ min: 0, max: 7 }) }),
    hits_addend: fc.record({ value: fc.maxSafeNat() }),
    is_negative_hits: fc.boolean(),
  },
  { requiredKeys: ['entries'] },
);
const request = fc.record({
  domain: text,
  descriptors: fc.array(descriptor, { maxLength: 5 }),
  hits_addend: uint32,
});
type WireRequest = typeof request extends fc.Arbitrary<infer T> ? T : never;

const meant = ({ domain, descriptors, hits_addend }: WireRequest): RateLimitCall => ({
  domain,
  descriptors: descriptors.map((one) => ({
    entries: one.entries,
    negative: one.is_negative_hits === true,
    ...(one.limit !== undefined && {
      override: { requestsPerUnit: one.limit.requests_per_unit, unit: one.limit.unit },
    }),
    ...(one.hits_addend !== undefined && { hits: one.hits_addend.value }),
  })),
  hits: hits_addend,
});

describe('a request', () => {
  it('says what it was meant to say', () => {
    fc.assert(
      fc.property(request, (wire) => {
        expect(decodeRateLimitRequest(reference.encodeRequest(wire))).toEqual(meant(wire));
      }),
    );
  });

  it('is the same as a part of something larger, with fields that are unknown, and in two halves', () => {
    const unknown = Buffer.from([0xfa, 0x3f, 2, 1, 2, 0x80, 0x40, 5]);
    fc.assert(
      fc.property(request, request, (one, two) => {
        const bytes = Buffer.concat([
          unknown,
          reference.encodeRequest(one),
          unknown,
          reference.encodeRequest(two),
        ]);
        const around = Buffer.concat([Buffer.alloc(7, 0xff), bytes, Buffer.alloc(7, 0xff)]);
        const first = meant(one);
        const second = meant(two);
        expect(decodeRateLimitRequest(around.subarray(7, 7 + bytes.length))).toEqual({
          domain: second.domain,
          descriptors: [...first.descriptors, ...second.descriptors],
          hits: second.hits,
        });
      }),
    );
  });

  it('merges what comes twice in a descriptor', () => {
    // limit {requests_per_unit: 5}, limit {unit: 2}, hits_addend {}, hits_addend {value: 3}
    const bytes = Buffer.from([0x12, 14, 0x12, 2, 0x08, 5, 0x12, 2, 0x10, 2, 0x1a, 0, 0x1a, 2, 0x08, 3]);
    expect(decodeRateLimitRequest(bytes).descriptors).toEqual([
      { entries: [], negative: false, override: { requestsPerUnit: 5, unit: 2 }, hits: 3 },
    ]);
  });

  it('tells a check without hits from one that says nothing, and takes too many hits for very many', () => {
    const hits = (...wrapped: number[]): number | undefined =>
      decodeRateLimitRequest(Buffer.from([0x12, wrapped.length, ...wrapped])).descriptors[0]?.hits;
    expect(hits()).toBeUndefined();
    expect(hits(0x1a, 0)).toBe(0);
    const uint64Max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    expect(hits(0x1a, 11, 0x08, ...uint64Max)).toBe(Number.MAX_SAFE_INTEGER);
  });

  it('of any bytes is decoded or refused, and nothing is read beyond its end', () => {
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 80 }),
      fc.tuple(request, fc.nat(), fc.nat(), fc.nat({ max: 255 })).map(([wire, cut, at, byte]) => {
        const bytes = Buffer.from(reference.encodeRequest(wire));
        const part = bytes.subarray(0, cut % (bytes.length + 1));
        if (part.length > 0) part[at % part.length] = byte;
        return part;
      }),
    );
    const tried = (bytes: Buffer): unknown => {
      try {
        return decodeRateLimitRequest(bytes);
      } catch (error) {
        expect(isMalformed(error)).toBe(true);
        return 'refused';
      }
    };
    fc.assert(
      fc.property(hostile, fc.nat({ max: 255 }), (bytes, behind) => {
        const around = Buffer.concat([bytes, Buffer.alloc(20, behind)]);
        expect(tried(around.subarray(0, bytes.length))).toEqual(tried(Buffer.from(bytes)));
      }),
      { numRuns: 2_000 },
    );
  });
});

/** A Struct as data, from the message that the reference decodes. */
function fieldsOf({ fields }: Message): Struct {
  return new Map(Object.entries(fields ?? {}).map(([key, value]) => [key, valueOf(value)]));
}
function valueOf(value: Message): StructValue {
  switch (value.kind) {
    case 'structValue':
      return fieldsOf(value.structValue);
    case 'listValue':
      return (value.listValue.values ?? []).map(valueOf);
    case 'nullValue':
      return null;
    default:
      return value[value.kind];
  }
}

const { struct } = fc.letrec<{ struct: Struct; value: StructValue }>((tie) => ({
  // The reference decodes into objects, which put numbers first and know a name that is their prototype's.
  struct: fc
    .uniqueArray(
      fc.tuple(
        text.map((key) => `k${key}`),
        tie('value'),
      ),
      { maxLength: 4, selector: ([key]) => key },
    )
    .map((entries) => new Map(entries)),
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constant(null),
    fc.boolean(),
    fc.double({ noNaN: true }),
    text,
    fc.array(tie('value'), { maxLength: 3 }),
    tie('struct'),
  ),
}));

describe('an answer', () => {
  it('says what it was meant to say', () => {
    const rate = fc.record({ requestsPerUnit: uint32, unit: fc.integer({ min: 1, max: 7 }) });
    const status = fc.record(
      {
        over: fc.boolean(),
        rate: rate.map((shown) => shown as Rate),
        name: text,
        remaining: fc.nat({ max: 2 ** 40 }),
        resetMs: fc.nat({ max: 366 * 86_400_000 }),
      },
      { requiredKeys: ['over', 'remaining'] },
    );
    const answer = fc.record({
      over: fc.boolean(),
      statuses: fc.array(status, { maxLength: 5 }),
      headers: fc.array(fc.tuple(text, text), { maxLength: 4 }),
      requestHeaders: fc.array(fc.tuple(text, text), { maxLength: 4 }),
      metadata: fc.option(struct, { nil: undefined }),
    }) as fc.Arbitrary<RateLimitAnswer>;
    fc.assert(
      fc.property(answer, (written) => {
        const { over, statuses, headers, requestHeaders, metadata } = written;
        const code = (isOver: boolean): string => (isOver ? 'OVER_LIMIT' : 'OK');
        const units = ['UNKNOWN', 'SECOND', 'MINUTE', 'HOUR', 'DAY', 'MONTH', 'YEAR', 'WEEK'];
        const decoded = reference.decodeResponse(encodeRateLimitAnswer(written));
        expect(decoded.overall_code).toBe(code(over));
        const listed = (list: HeaderList): readonly object[] =>
          list.map(([key, value]) => ({ ...(key !== '' && { key }), ...(value !== '' && { value }) }));
        expect(decoded.response_headers_to_add ?? []).toMatchObject(listed(headers));
        expect(decoded.request_headers_to_add ?? []).toMatchObject(listed(requestHeaders));
        const shown = decoded.dynamic_metadata;
        expect(shown === undefined || shown === null ? undefined : fieldsOf(shown)).toEqual(metadata);
        expect(decoded.statuses ?? []).toEqual(
          statuses.map((one) => ({
            code: code(one.over),
            ...(one.rate !== undefined && {
              current_limit: {
                ...(one.rate.requestsPerUnit > 0 && { requests_per_unit: one.rate.requestsPerUnit }),
                unit: units[one.rate.unit],
                ...(one.name !== undefined && { name: one.name }),
              },
            }),
            ...(one.remaining > 0 && { limit_remaining: Math.min(one.remaining, 4_294_967_295) }),
            ...(one.resetMs !== undefined && {
              duration_until_reset: {
                ...(one.resetMs >= 1_000 && { seconds: Math.floor(one.resetMs / 1_000) }),
                ...(one.resetMs % 1_000 > 0 && { nanos: (one.resetMs % 1_000) * 1_000_000 }),
              },
            }),
          })),
        );
      }),
    );
  });
});

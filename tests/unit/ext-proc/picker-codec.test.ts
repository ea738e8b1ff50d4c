/** What the Endpoint Picker Protocol adds, against the codec from proto/. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeGatewayMetadata,
  encodeAnswerHeaders,
  encodeDestination,
  encodeParts,
} from '../../../src/ext-proc/picker-codec.ts';
import { isMalformed } from '../../../src/grpc/protobuf.ts';
import { referenceCodec } from '../../support/reference-codec.ts';

const reference = referenceCodec(
  'envoy/service/ext_proc/v3/external_processor.proto',
  'envoy.service.ext_proc.v3.ExternalProcessor',
  'Process',
);
const HINT = 'envoy.lb.subset_hint';
const KEY = 'x-gateway-destination-endpoint-subset';
const SERVED = 'x-gateway-destination-endpoint-served';

const request = (filter_metadata: object): Buffer =>
  reference.encodeRequest({ request_headers: {}, metadata_context: { filter_metadata } });
const list = (...values: object[]): object => ({ listValue: { values } });
const text = (stringValue: string): object => ({ stringValue });
const hint = (value: object): Buffer => request({ [HINT]: { fields: { [KEY]: value } } });
const subsetOf = (bytes: Buffer): string[] | undefined => {
  const { subset } = decodeGatewayMetadata(bytes);
  return subset && [...subset];
};

describe('the metadata of a gateway', () => {
  it('names the endpoints that may be chosen from', () => {
    expect(subsetOf(hint(list(text('10.0.0.1:80'), text('10.0.0.2:81'))))).toEqual([
      '10.0.0.1:80',
      '10.0.0.2:81',
    ]);
    expect(subsetOf(hint(text('10.0.0.1:80, 10.0.0.2:81')))).toEqual(['10.0.0.1:80', '10.0.0.2:81']);
    expect(subsetOf(hint(list(text('a:1,b:2'), text(''))))).toEqual(['a:1', 'b:2']);
  });

  it.each([
    ['an empty list', list()],
    ['an empty text', text('')],
    ['a number', { numberValue: 5 }],
    ['true', { boolValue: true }],
    ['null', { nullValue: 'NULL_VALUE' }],
    ['a mapping', { structValue: { fields: { a: text('b') } } }],
    ['a list of lists', list(list(text('10.0.0.1:80')))],
    ['nothing', {}],
  ])('that has %s there names none, which is not the same as all', (_, value) => {
    expect(subsetOf(hint(value))).toEqual([]);
  });

  it('without a hint leaves all to choose from', () => {
    expect(subsetOf(request({}))).toBeUndefined();
    expect(subsetOf(request({ [HINT]: { fields: { another: text('10.0.0.1:80') } } }))).toBeUndefined();
    expect(subsetOf(request({ 'envoy.lb': { fields: { [KEY]: text('10.0.0.1:80') } } }))).toBeUndefined();
    expect(subsetOf(reference.encodeRequest({ request_headers: {} }))).toBeUndefined();
  });

  it('takes the first ten thousand of a huge hint', () => {
    const huge = list(...Array.from({ length: 20_000 }, (_, i) => text(`10.0.0.1:${i}`)));
    expect(subsetOf(hint(huge))).toHaveLength(10_000);
  });

  it('says who served', () => {
    const served = (value: object): string =>
      decodeGatewayMetadata(request({ 'envoy.lb': { fields: { [SERVED]: value } } })).served;
    expect(served(text('10.0.0.1:80'))).toBe('10.0.0.1:80');
    expect(served({ numberValue: 1 })).toBe('');
    expect(served(list(text('10.0.0.1:80')))).toBe('');
  });

  it('that is cut short or made up is an error or is read, and never more', () => {
    const good = hint(list(text('10.0.0.1:80'), text('10.0.0.2:81')));
    fc.assert(
      fc.property(
        fc.nat(good.length),
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 4 }),
        (length, changes) => {
          const bytes = Buffer.from(good.subarray(0, length));
          for (const [at, byte] of changes) if (at < bytes.length) bytes[at] = byte;
          try {
            decodeGatewayMetadata(bytes);
          } catch (error) {
            expect(isMalformed(error)).toBe(true);
          }
        },
      ),
    );
  });
});

describe('the replies of an endpoint picker', () => {
  it('name the endpoints in a header and in metadata alike', () => {
    const reply = reference.decodeResponse(
      encodeDestination(['10.0.0.1:80', '10.0.0.2:81'], [['content-length', '5']], ['accept-encoding']),
    );
    const { header_mutation, clear_route_cache } = reply.request_headers.response;
    expect(
      header_mutation.set_headers.map(({ header }: { header: { key: string; raw_value: Buffer } }) => [
        header.key,
        String(header.raw_value),
      ]),
    ).toEqual([
      ['x-gateway-destination-endpoint', '10.0.0.1:80,10.0.0.2:81'],
      ['content-length', '5'],
    ]);
    expect(header_mutation.remove_headers).toEqual(['accept-encoding']);
    expect(clear_route_cache).toBe(true);
    expect(
      reply.dynamic_metadata.fields['envoy.lb'].structValue.fields['x-gateway-destination-endpoint']
        .stringValue,
    ).toBe('10.0.0.1:80,10.0.0.2:81');
  });

  it('carry bodies in frames that a gateway takes, and end them once', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('request', 'response'),
        fc.oneof(fc.nat(10), fc.integer({ min: 61_990, max: 62_010 }), fc.nat(200_000)),
        fc.boolean(),
        (side, length, endOfStream) => {
          const body = Buffer.alloc(length, 'abc');
          const frames = [...encodeParts(side, body, endOfStream)].map((frame) => {
            const reply = reference.decodeResponse(frame);
            return reply[`${side}_body`].response.body_mutation.streamed_response;
          });
          expect(frames.length).toBe(Math.max(1, Math.ceil(length / 62_000)));
          expect(Buffer.concat(frames.map(({ body: part }) => part ?? Buffer.alloc(0))).equals(body)).toBe(
            true,
          );
          expect(frames.filter(({ end_of_stream: end }) => end === true)).toHaveLength(endOfStream ? 1 : 0);
          if (endOfStream) expect(frames.at(-1).end_of_stream).toBe(true);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('set headers on answers', () => {
    const reply = reference.decodeResponse(encodeAnswerHeaders([['x-a', 'b']]));
    expect(String(reply.response_headers.response.header_mutation.set_headers[0].header.raw_value)).toBe('b');
    expect(reply.mode_override).toBeFalsy();
    expect(reference.decodeResponse(encodeAnswerHeaders([])).response).toBe('response_headers');
  });
});

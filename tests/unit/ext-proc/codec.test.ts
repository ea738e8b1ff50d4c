/** The codec by hand against the one from proto/. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { HeaderList } from '../../../src/admission/edge.ts';
import { decodeProcessingRequest, headerOf } from '../../../src/ext-proc/codec.ts';
import {
  encodeHold,
  encodeImmediate,
  encodeReplacement,
  encodeRequestBody,
  encodeResponseHeaders,
  PASS,
} from '../../../src/ext-proc/replies.ts';
import { isMalformed } from '../../../src/grpc/protobuf.ts';
import { type Message, referenceCodec } from '../../support/reference-codec.ts';

const reference = referenceCodec(
  'envoy/service/ext_proc/v3/external_processor.proto',
  'envoy.service.ext_proc.v3.ExternalProcessor',
  'Process',
);

const ATTRIBUTES = 'envoy.filters.http.ext_proc';
const NAMES = [':method', ':path', ':status', 'content-type', 'x-request-id', 'x-a', 'x-b'] as const;
const text = fc.string({ unit: 'grapheme', maxLength: 40 });
const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array));
const header = fc.oneof(
  fc.record({ key: fc.constantFrom(...NAMES), raw_value: bytes }),
  fc.record({ key: fc.constantFrom(...NAMES), value: text }),
  fc.record({ key: text, raw_value: bytes }),
);
const headers = fc.record(
  { headers: fc.record({ headers: fc.array(header, { maxLength: 20 }) }), end_of_stream: fc.boolean() },
  { requiredKeys: [] },
);
const body = fc.record({ body: bytes, end_of_stream: fc.boolean() }, { requiredKeys: [] });
const value = fc.oneof(
  text.map((stringValue) => ({ stringValue })),
  fc.double({ noNaN: true }).map((numberValue) => ({ numberValue })),
  fc.boolean().map((boolValue) => ({ boolValue })),
  text.map((name) => ({ structValue: { fields: { [name]: { stringValue: 'nested' } } } })),
);
const struct = fc
  .dictionary(fc.constantFrom('upstream.address', 'response.code_details', 'upstream', 'xds.node'), value)
  .map((fields) => ({ fields }));
const around = fc.record(
  {
    attributes: fc.dictionary(fc.constantFrom(ATTRIBUTES, 'another.filter'), struct),
    protocol_config: fc.record({
      request_body_mode: fc.constantFrom('NONE', 'STREAMED', 'BUFFERED', 'FULL_DUPLEX_STREAMED'),
      response_body_mode: fc.constantFrom('NONE', 'STREAMED'),
    }),
  },
  { requiredKeys: [] },
);
const message: fc.Arbitrary<Message> = fc
  .tuple(
    fc.oneof(
      headers.map((request_headers) => ({ request_headers })),
      headers.map((response_headers) => ({ response_headers })),
      body.map((request_body) => ({ request_body })),
      body.map((response_body) => ({ response_body })),
      fc.constant({ request_trailers: {} }),
      fc.constant({ response_trailers: {} }),
      fc.constant({}),
    ),
    around,
  )
  .map(([request, more]) => ({ ...request, ...more }));

interface SentHeader {
  readonly key: string;
  readonly raw_value?: Buffer;
  readonly value?: string;
}
const textOf = (found: SentHeader | undefined): string =>
  (found?.raw_value ?? Buffer.from(found?.value ?? '')).toString('latin1');

describe('a message of Envoy', () => {
  it('says what it was meant to say', () => {
    fc.assert(
      fc.property(message, (sent) => {
        const encoded = reference.encodeRequest(sent);
        const seen = reference.decodeRequest(encoded);
        const decoded = decodeProcessingRequest(encoded);
        expect(decoded.kind).toBe(seen.request);
        const part = seen.request === undefined ? undefined : sent[seen.request];
        expect(decoded.endOfStream).toBe(part?.end_of_stream === true);
        expect(Buffer.compare(decoded.body, part?.body ?? Buffer.alloc(0))).toBe(0);
        const list: readonly SentHeader[] = part?.headers?.headers ?? [];
        for (const name of [...NAMES, 'x-absent', ...list.map(({ key }) => key).filter(isAscii)]) {
          const found = list.find(({ key }) => key === name);
          expect(headerOf(decoded.headers, name)).toBe(textOf(found));
        }
        expect(decoded.upstream).toBe(
          sent.attributes?.[ATTRIBUTES]?.fields['upstream.address']?.stringValue ?? '',
        );
        expect(decoded.details).toBe(
          sent.attributes?.[ATTRIBUTES]?.fields['response.code_details']?.stringValue ?? '',
        );
        expect(decoded.requestBodyMode).toBe(sent.protocol_config?.request_body_mode);
      }),
    );
  });

  it('is a view: its body is not copied', () => {
    const encoded = reference.encodeRequest({ request_body: { body: Buffer.alloc(1_000, 'x') } });
    expect(decodeProcessingRequest(encoded).body.buffer).toBe(encoded.buffer);
  });

  it('may have fields that we do not know, and kinds', () => {
    const unknown = Buffer.from([0xfa, 0x3f, 2, 1, 2, 0x80, 0x40, 5]);
    const encoded = reference.encodeRequest({ response_body: { body: Buffer.from('x') } });
    const decoded = decodeProcessingRequest(Buffer.concat([unknown, encoded, unknown]));
    expect(decoded).toMatchObject({ kind: 'response_body', body: Buffer.from('x') });
    expect(decodeProcessingRequest(unknown).kind).toBeUndefined();
  });

  it('whose part comes twice is merged; another part takes its place', () => {
    const part = (sent: object): Buffer => reference.encodeRequest(sent);
    const named = (key: string) => ({ headers: { headers: [{ key, raw_value: Buffer.from(key) }] } });
    const merged = decodeProcessingRequest(
      Buffer.concat([
        part({ request_headers: { ...named('a'), end_of_stream: true } }),
        part({ request_headers: named('b') }),
      ]),
    );
    expect(headerOf(merged.headers, 'a') + headerOf(merged.headers, 'b')).toBe('ab');
    expect(merged.endOfStream).toBe(true);
    const replaced = decodeProcessingRequest(
      Buffer.concat([part({ request_headers: named('a') }), part({ request_body: {} })]),
    );
    expect(replaced).toMatchObject({ kind: 'request_body', endOfStream: false });
    expect(headerOf(replaced.headers, 'a')).toBe('');
  });

  it('of any bytes is decoded or refused; headers of what was decoded can be looked up', () => {
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 80 }),
      fc.tuple(message, fc.nat(), fc.nat(), fc.nat({ max: 255 })).map(([sent, cut, at, byte]) => {
        const encoded = Buffer.from(reference.encodeRequest(sent));
        const part = encoded.subarray(0, cut % (encoded.length + 1));
        if (part.length > 0) part[at % part.length] = byte;
        return part;
      }),
    );
    const tried = (part: Buffer): unknown => {
      let decoded: ReturnType<typeof decodeProcessingRequest>;
      try {
        decoded = decodeProcessingRequest(part);
      } catch (error) {
        expect(isMalformed(error)).toBe(true);
        return 'refused';
      }
      return { ...decoded, found: NAMES.map((name) => headerOf(decoded.headers, name)) };
    };
    fc.assert(
      fc.property(hostile, fc.nat({ max: 255 }), (part, behind) => {
        const larger = Buffer.concat([part, Buffer.alloc(20, behind)]);
        expect(tried(larger.subarray(0, part.length))).toEqual(tried(Buffer.from(part)));
      }),
      { numRuns: 2_000 },
    );
  });
});

function isAscii(name: string): boolean {
  return name !== '' && /^[ -~]*$/.test(name);
}

const set = (list: HeaderList) =>
  list.map(([key, set_value]) => ({
    header: { ...(key !== '' && { key }), raw_value: Buffer.from(set_value) },
    append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
  }));
const headerList: fc.Arbitrary<HeaderList> = fc.array(fc.tuple(fc.constantFrom(...NAMES), text), {
  maxLength: 5,
});
/** As plain as what is expected: without prototypes and empty lists. */
const plain = (decoded: Message): Message =>
  JSON.parse(
    JSON.stringify(decoded, (_, part) => (Array.isArray(part) && part.length === 0 ? undefined : part)),
  );
const decode = (frame: Buffer): Message => plain(reference.decodeResponse(frame));

describe('an answer', () => {
  it('that passes something on says nothing else', () => {
    // But for what the service is to be shown from now on.
    expect(decode(PASS.requestHeaders)).toEqual({
      mode_override: {
        request_body_mode: 'BUFFERED',
        request_trailer_mode: 'SEND',
        response_header_mode: 'SEND',
        response_trailer_mode: 'SEND',
      },
      response: 'request_headers',
      request_headers: { response: {} },
    });
    expect(decode(PASS.requestBody)).toEqual({ response: 'request_body', request_body: { response: {} } });
    expect(decode(PASS.responseBody)).toEqual({ response: 'response_body', response_body: { response: {} } });
    expect(decode(PASS.requestTrailers)).toEqual({ response: 'request_trailers', request_trailers: {} });
    expect(decode(PASS.responseTrailers)).toEqual({ response: 'response_trailers', response_trailers: {} });
  });

  it('that holds a request says for how long', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3_600_000 }), (ms) => {
        const { seconds = 0, nanos = 0 } = decode(encodeHold(ms)).override_message_timeout;
        expect(seconds * 1_000 + nanos / 1_000_000).toBe(ms);
      }),
    );
  });

  it('of our own has status, headers, body and details', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 200, max: 599 }),
        headerList,
        text,
        text,
        (status, list, body_, details) => {
          const frame = encodeImmediate({ status, headers: list, body: body_, details });
          expect(decode(frame)).toEqual(
            plain({
              response: 'immediate_response',
              immediate_response: {
                status: { code: status },
                headers: { set_headers: set(list) },
                body: Buffer.from(body_),
                details,
              },
            }),
          );
        },
      ),
    );
  });

  it('to a body replaces it, and says where the request goes', () => {
    const sizes = fc.oneof(
      bytes,
      fc.integer({ min: 10_000, max: 600_000 }).map((size) => Buffer.alloc(size, 'y')),
    );
    fc.assert(
      fc.property(sizes, headerList, fc.array(text, { maxLength: 3 }), text, (sent, list, remove, where) => {
        const parts = [sent.subarray(0, sent.length >> 1), sent.subarray(sent.length >> 1)];
        const frame = encodeRequestBody({
          body: parts,
          set: list,
          remove,
          metadata: { namespace: 'space', key: 'endpoints', value: where },
        });
        const decoded = reference.decodeResponse(Buffer.concat([frame, ...parts]));
        const { body: replaced } = decoded.request_body.response.body_mutation;
        expect(Buffer.compare(replaced, sent)).toBe(0);
        decoded.request_body.response.body_mutation.body = 'seen';
        expect(plain(decoded)).toEqual(
          plain({
            response: 'request_body',
            request_body: {
              response: {
                header_mutation: { set_headers: set(list), remove_headers: remove },
                body_mutation: { mutation: 'body', body: 'seen' },
                clear_route_cache: true,
              },
            },
            dynamic_metadata: {
              fields: {
                space: {
                  kind: 'structValue',
                  structValue: { fields: { endpoints: { kind: 'stringValue', stringValue: where } } },
                },
              },
            },
          }),
        );
      }),
    );
  });

  it('to headers of an answer says what of its body is to come', () => {
    fc.assert(
      fc.property(fc.constantFrom('stream', 'none'), headerList, (mode, list) => {
        expect(decode(encodeResponseHeaders(mode, list))).toEqual(
          plain({
            response: 'response_headers',
            response_headers: {
              response: list.length === 0 ? {} : { header_mutation: { set_headers: set(list) } },
            },
            mode_override: {
              response_header_mode: 'SEND',
              ...(mode === 'stream' && { response_body_mode: 'STREAMED' }),
              response_trailer_mode: 'SEND',
            },
          }),
        );
      }),
    );
  });

  it('to a chunk puts other bytes in its place, or none', () => {
    fc.assert(
      fc.property(bytes, (replacement) => {
        expect(decode(encodeReplacement(replacement))).toEqual(
          plain({
            response: 'response_body',
            response_body: {
              response: {
                body_mutation:
                  replacement.length === 0
                    ? { mutation: 'clear_body', clear_body: true }
                    : { mutation: 'body', body: replacement },
              },
            },
          }),
        );
      }),
    );
  });
});

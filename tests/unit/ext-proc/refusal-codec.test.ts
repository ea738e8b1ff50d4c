import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRefusalService } from '../../../src/ext-proc/grpc-refusals.ts';
import { decodeCounted } from '../../../src/ext-proc/refusal-codec.ts';

const field = (number: number, bytes: Buffer): Buffer => {
  const length = bytes.length < 128 ? [bytes.length] : [(bytes.length % 128) + 128, bytes.length >> 7];
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), bytes]);
};
const text = (number: number, value: string): Buffer => field(number, Buffer.from(value));
const fixed64 = (number: number, value: bigint): Buffer => {
  const bytes = Buffer.alloc(9);
  bytes[0] = (number << 3) | 1;
  bytes.writeBigInt64LE(value, 1);
  return bytes;
};
const point = (key: string, value: string, count: bigint): Buffer =>
  Buffer.concat([
    fixed64(3, 1_700_000_000n),
    fixed64(6, count),
    field(7, Buffer.concat([text(1, key), field(2, text(1, value))])),
  ]);
const metric = (name: string, ...points: readonly Buffer[]): Buffer =>
  Buffer.concat([text(1, name), field(7, Buffer.concat(points.map((one) => field(1, one))))]);
const exported = (...metrics: readonly Buffer[]): Buffer =>
  field(
    1,
    Buffer.concat([field(1, Buffer.alloc(0)), field(2, Buffer.concat(metrics.map((one) => field(2, one))))]),
  );

const countedIn = (bytes: Buffer) => [...decodeCounted(bytes, 'fairlane.refusals', 'status')];

describe('what Envoy counted', () => {
  it('is the points of the one metric, by the one attribute', () => {
    const bytes = exported(
      metric('another', point('status', '401', 9n)),
      metric('fairlane.refusals', point('status', '401', 20n), point('status', '404', 3n)),
      metric('fairlane.refusals', point('other', '401', 1n)),
    );
    expect(countedIn(bytes)).toEqual([
      { value: '401', count: 20 },
      { value: '404', count: 3 },
      { value: '', count: 1 },
    ]);
  });

  it('is nothing of a message without any', () => expect(countedIn(Buffer.alloc(0))).toEqual([]));

  it('whatever the bytes are, it is read or malformed', () => {
    const whole = exported(metric('fairlane.refusals', point('status', '401', 20n)));
    fc.assert(
      fc.property(fc.nat(whole.length), fc.uint8Array({ maxLength: 12 }), (at, noise) => {
        const bytes = Buffer.concat([whole.subarray(0, at), noise, whole.subarray(at + noise.length)]);
        try {
          countedIn(bytes);
        } catch (error) {
          expect(String(error)).toContain('malformed message');
        }
      }),
      { seed: 14, numRuns: 500 },
    );
  });
});

describe('the service that is told', () => {
  it('passes on statuses and codes that can be, and counts above zero', () => {
    const seen: [string, number][] = [];
    const { methods } = createRefusalService({
      onRefused: (status, requests) => seen.push([status, requests]),
      onError: () => undefined,
    });
    const { Export: method } = methods;
    if (method?.kind !== 'unary') throw new Error('no method');
    const points = [
      point('status', '401', 2n),
      point('status', 'gateway_overloaded', 1n),
      point('status', '200', 1n),
      point('status', '404', 0n),
      point('status', '404', -5n),
      point('status', 'A label\nof a client', 1n),
    ];
    expect(method.handle(exported(metric('fairlane.refusals', ...points)))).toBeInstanceOf(Buffer);
    expect(seen).toEqual([
      ['401', 2],
      ['gateway_overloaded', 1],
    ]);
    expect(method.handle(Buffer.from([10, 200]))).toMatchObject({ code: expect.any(Number) });
  });
});

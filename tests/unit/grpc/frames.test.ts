import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type FrameReader, PREFIX_BYTES, readFrames, sealFrame } from '../../../src/grpc/frames.ts';

const LIMIT = 1_000_000;

function frameOf(message: Uint8Array): Buffer {
  return sealFrame(Buffer.concat([Buffer.alloc(PREFIX_BYTES), message]));
}

/** Cuts the bytes at those places, in order. */
function cutAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...sorted, bytes.length].map((end, i) => bytes.subarray(sorted[i - 1] ?? 0, end));
}

function readAll(chunks: readonly Buffer[], limit = LIMIT) {
  const reader: FrameReader = { part: undefined };
  const messages: Buffer[] = [];
  for (const chunk of chunks) {
    const failure = readFrames(reader, chunk, limit, (_, message) => messages.push(Buffer.from(message)));
    if (failure !== undefined) return { messages, failure, reader };
  }
  return { messages, failure: undefined, reader };
}

describe('messages', () => {
  it('come out as they went in, wherever the chunks are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }),
        fc.array(fc.nat()),
        (sent, places) => {
          const { messages, failure, reader } = readAll(cutAt(Buffer.concat(sent.map(frameOf)), places));
          expect(failure).toBeUndefined();
          expect(messages.map((message) => [...message])).toEqual(sent.map((message) => [...message]));
          expect(reader.part).toBeUndefined();
        },
      ),
    );
  });

  it('of megabytes come out whole of small chunks', () => {
    const message = Buffer.alloc(900_001, 'abcdefg');
    const bytes = frameOf(message);
    const chunks = [];
    for (let at = 0; at < bytes.length; at += 16_384) chunks.push(bytes.subarray(at, at + 16_384));
    expect(readAll(chunks).messages[0]?.equals(message)).toBe(true);
  });

  it('that are cut short are not given', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 50 }), fc.nat(), (message, lost) => {
        const bytes = frameOf(message);
        const { messages, reader } = readAll([bytes.subarray(0, 1 + (lost % (bytes.length - 1)))]);
        expect(messages).toEqual([]);
        expect(reader.part).toBeDefined();
      }),
    );
  });

  it('larger than the limit are refused by their prefix, and nothing is set aside for them', () => {
    const prefix = Buffer.from([0, 0xff, 0xff, 0xff, 0xff]);
    for (const chunks of [[prefix], [...prefix].map((byte) => Buffer.from([byte]))]) {
      const { failure, reader } = readAll(chunks);
      expect(failure?.code).toBe(8);
      expect(reader.part?.bytes.length ?? 0).toBeLessThan(10);
    }
    expect(readAll([frameOf(Buffer.alloc(100))], 100).failure).toBeUndefined();
    expect(readAll([frameOf(Buffer.alloc(101))], 100).failure?.code).toBe(8);
  });

  it('take memory for what has arrived, not for what was announced', () => {
    const { reader } = readAll([Buffer.from([0, 0x3f, 0xff, 0xff, 0xff, 1])], 0x7fff_ffff);
    expect(reader.part?.bytes.length).toBeLessThanOrEqual(64 * 1024);
  });

  it('that are compressed are refused, those before them are not', () => {
    const compressed = frameOf(Buffer.from('x'));
    compressed[0] = 1;
    const { messages, failure } = readAll([Buffer.concat([frameOf(Buffer.from('a')), compressed])]);
    expect(messages.map(String)).toEqual(['a']);
    expect(failure?.code).toBe(12);
  });
});

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  beginMessage,
  endMessage,
  finishFrame,
  hasMore,
  isMalformed,
  putBytes,
  putNumber,
  putString,
  readBool,
  readBytes,
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
} from '../../../src/grpc/protobuf.ts';

const written = (write: (writer: Writer) => void): Buffer => {
  const writer = startMessage();
  write(writer);
  return finishFrame(writer).subarray(5);
};
const field = fc.integer({ min: 1, max: 536_870_911 });

describe('what is written is read', () => {
  it('numbers, up to what a double holds exactly', () => {
    fc.assert(
      fc.property(field, fc.maxSafeNat(), (number, value) => {
        const bytes = written((writer) => putNumber(writer, number, value));
        if (value === 0) {
          expect(bytes.length).toBe(0);
          return;
        }
        for (const read of [readUint64, readUint32] as const) {
          const reader = readerOf(bytes);
          expect(readTag(reader)).toBe(tagOf(number, WIRE.varint));
          expect(read(reader)).toBe(read === readUint64 ? value : value % 2 ** 32);
          expect(hasMore(reader)).toBe(false);
        }
      }),
    );
  });

  it('numbers that no message should hold: cut to what it can', () => {
    const read = (value: number): number => {
      const reader = readerOf(written((writer) => putNumber(writer, 1, value)));
      if (!hasMore(reader)) return 0;
      readTag(reader);
      return readUint64(reader);
    };
    expect([-1, Number.NaN, 0.5, 1.9, Number.POSITIVE_INFINITY].map(read)).toEqual([
      0,
      0,
      0,
      1,
      Number.MAX_SAFE_INTEGER,
    ]);
  });

  it('text, bytes and messages in messages, of any length', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 100 }),
        fc.uint8Array({ maxLength: 40_000, size: 'max' }),
        fc.integer({ min: 0, max: 5 }),
        (text, bytes, depth) => {
          const message = written((writer) => {
            const marks = Array.from({ length: depth }, () => beginMessage(writer));
            putBytes(writer, 2, bytes);
            putString(writer, 1, text);
            for (const mark of marks.toReversed()) endMessage(writer, 3, mark);
          });
          let reader = readerOf(message);
          for (let i = 0; i < depth; i += 1) {
            expect(readTag(reader)).toBe(tagOf(3, WIRE.bytes));
            reader = readMessage(reader);
          }
          readTag(reader);
          // A lone surrogate has no UTF-8.
          expect(readString(reader)).toBe(Buffer.from(text).toString());
          readTag(reader);
          expect(Buffer.compare(readBytes(reader), bytes)).toBe(0);
          expect(hasMore(reader)).toBe(false);
        },
      ),
    );
  });
});

describe('reading', () => {
  it('a bool is true when any bit of its number is set', () => {
    const bool = (...bytes: number[]): boolean => readBool(readerOf(Buffer.from(bytes)));
    expect(bool(0)).toBe(false);
    expect(bool(0x80, 0)).toBe(false);
    expect(bool(1)).toBe(true);
    expect(bool(0x80, 0x80, 0x80, 0x80, 0x80, 1)).toBe(true);
  });

  it('skips fields of every type', () => {
    const value = Buffer.from([
      ...[0x08, 0xff, 0xff, 0x01], // varint
      ...[0x11, 1, 2, 3, 4, 5, 6, 7, 8], // fixed64
      ...[0x1a, 3, 1, 2, 3], // bytes
      ...[0x23, 0x08, 1, 0x2b, 0x2c, 0x24], // a group in a group
      ...[0x35, 1, 2, 3, 4], // fixed32
    ]);
    const reader = readerOf(value);
    let count = 0;
    for (; hasMore(reader); count += 1) skipField(reader, readTag(reader));
    expect(count).toBe(5);
    expect(reader.at).toBe(value.length);
  });

  it('refuses what is malformed', () => {
    const skip = (...bytes: number[]) => {
      const reader = readerOf(Buffer.from(bytes));
      while (hasMore(reader)) skipField(reader, readTag(reader));
    };
    for (const bytes of [
      [0x80], // a tag that is cut short
      [0x00, 1], // field 0
      [0x08], // no value
      [0x08, ...Array.from({ length: 11 }, () => 0x80)], // more than ten bytes
      [0x09, 1, 2, 3], // seven bytes of eight
      [0x12, 5, 1], // longer than its message
      [0x12, 0xff, 0xff, 0xff, 0xff, 0x0f], // 4 GB
      [0x15, 1], // three bytes of four
      [0x0b, 0x14], // ends another group
      [0x0b, 0x08, 1], // a group without end
      [0x0c], // an end without group
      [0x0e, 1], // wire type 6
      Array.from({ length: 200 }, () => 0x0b), // groups in groups in groups
    ]) {
      let thrown: unknown;
      try {
        skip(...bytes);
      } catch (error) {
        thrown = error;
      }
      expect([bytes, isMalformed(thrown)]).toEqual([bytes, true]);
    }
    expect(isMalformed(new RangeError('Invalid array length'))).toBe(false);
  });

  it('of any bytes ends, within the bytes, and throws nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat({ max: 20 }), (bytes, behind) => {
        const all = Buffer.concat([bytes, Buffer.alloc(behind, 1)]);
        const reader = readerOf(all, 0, bytes.length);
        try {
          while (hasMore(reader)) skipField(reader, readTag(reader));
          expect(reader.at).toBe(bytes.length);
        } catch (error) {
          expect(isMalformed(error)).toBe(true);
          expect(reader.at).toBeLessThanOrEqual(bytes.length);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

import { readdirSync, readFileSync } from 'node:fs';
import * as zlib from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ZstdDecoder, type ZstdResult } from '../../../../src/admission/zstd/decoder.ts';
import { ZSTD_TEXTS, zstdOfOneByte, zstdStored } from '../../../support/zstd.ts';

const FIXTURES = new URL('../../../fixtures/zstd/', import.meta.url);
const MOST = 4 * 1024 * 1024;
const names = readdirSync(FIXTURES).filter((name) => name.endsWith('.zst'));
const frame = (name: string): Buffer => readFileSync(new URL(name, FIXTURES));

function decode(bytes: Uint8Array, most = MOST): ZstdResult & { readonly steps: number } {
  const subject = new ZstdDecoder(bytes, most);
  for (let steps = 1; ; steps += 1) {
    const result = subject.step();
    if (result !== undefined) return { ...result, steps };
  }
}

const textOf = (result: ZstdResult): Buffer | undefined =>
  result.kind === 'ok' ? Buffer.from(result.bytes) : undefined;

describe('a frame that zstd wrote', () => {
  it.each(names)('is what it was: %s', (name) => {
    const text = ZSTD_TEXTS[name.split('-')[0] ?? ''];
    expect(textOf(decode(frame(name)))?.equals(text ?? Buffer.alloc(0))).toBe(true);
  });

  it('is told by its end: cut off anywhere, and with anything behind it, it is broken', () => {
    const whole = frame('chat-19.zst');
    for (let end = 0; end < whole.length; end += 1) {
      expect(decode(whole.subarray(0, end)).kind).toBe('broken');
    }
    for (const more of ['x', '\0\0\0\0', '{"model":"other"}']) {
      expect(decode(Buffer.concat([whole, Buffer.from(more)])).kind).toBe('broken');
    }
  });

  it('is read a block a step', () => {
    expect(decode(frame('words-1.zst')).steps).toBeGreaterThanOrEqual(
      (ZSTD_TEXTS['words']?.length ?? 0) / 131_072,
    );
  });
});

describe('frames', () => {
  it('are read one after another, and skippable ones are skipped', () => {
    const skipped = Buffer.from([0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    const all = Buffer.concat([
      zstdStored(Buffer.from('ab')),
      skipped,
      zstdOfOneByte(0x63, 3, false),
      frame('chat-1.zst'),
    ]);
    expect(textOf(decode(all))?.toString()).toBe(`abccc${ZSTD_TEXTS['chat']?.toString()}`);
  });

  it.each([
    ['a dictionary', [0x28, 0xb5, 0x2f, 0xfd, 0x21, 1, 1, 9, 0, 0, 0x61]],
    ['a reserved bit', [0x28, 0xb5, 0x2f, 0xfd, 0x28, 1, 9, 0, 0, 0x61]],
    ['a reserved block', [0x28, 0xb5, 0x2f, 0xfd, 0x20, 1, 0x0f, 0, 0, 0x61]],
    ['another length than it says', [0x28, 0xb5, 0x2f, 0xfd, 0x20, 2, 9, 0, 0, 0x61]],
    ['a skippable frame that is short', [0x50, 0x2a, 0x4d, 0x18, 9, 0, 0, 0, 1]],
    ['nothing', []],
    ['another magic', [0x1f, 0x8b, 8, 0]],
  ])('with %s are broken', (_, bytes) => {
    expect(decode(Buffer.from(bytes)).kind).toBe('broken');
  });
});

describe('a bomb', () => {
  const GB = 1_000_000_000;
  it.each([
    ['that says its size', zstdOfOneByte(0, GB)],
    ['that does not', zstdOfOneByte(0, GB, false)],
    ['in many frames', Buffer.concat(Array.from({ length: 100 }, () => zstdOfOneByte(0, 131_072, false)))],
  ])('%s stops at what may come out', (_, bomb) => {
    const result = decode(bomb, MOST);
    expect(result.kind).toBe('too-large');
    expect(result.steps).toBeLessThan(100);
  });

  it('of blocks that hold nothing is not read to its end', () => {
    const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x50]);
    const result = decode(Buffer.concat([head, Buffer.alloc(3_000_000)]));
    expect(result).toMatchObject({ kind: 'broken' });
    expect(result.steps).toBeLessThan(10_000);
  });

  it('may be as large as may come out', () => {
    expect(decode(zstdOfOneByte(0, MOST), MOST).kind).toBe('ok');
    expect(decode(zstdOfOneByte(0, MOST + 1), MOST).kind).toBe('too-large');
    expect(decode(zstdOfOneByte(0, MOST + 1, false), MOST).kind).toBe('too-large');
  });
});

it('ends on whatever bytes there are, and gives no more than it may', () => {
  expect(names).not.toEqual([]);
  const bases = names.map((name) => frame(name).subarray(0, 4_000));
  fc.assert(
    fc.property(
      fc.constantFrom(...bases),
      fc.array(fc.tuple(fc.nat(3_999), fc.nat(255)), { minLength: 1, maxLength: 6 }),
      (base, changes) => {
        const bytes = Buffer.from(base);
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
        const result = decode(bytes, 300_000);
        expect(result.kind === 'ok' ? result.bytes.length : 0).toBeLessThanOrEqual(300_000);
      },
    ),
    { numRuns: 3_000 },
  );
});

type Compress = (bytes: Uint8Array, options?: object) => Buffer;
const { zstdCompressSync } = zlib as { readonly zstdCompressSync?: Compress };

it.runIf(zstdCompressSync)('reads what the zstd of Node.js writes', () => {
  const piece = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.string({ maxLength: 300 }));
  fc.assert(
    fc.property(fc.array(fc.tuple(piece, fc.integer({ min: 1, max: 40 })), { maxLength: 20 }), (parts) => {
      const text = Buffer.concat(
        parts.flatMap(([one, times]) => Array.from({ length: times }, () => Buffer.from(one as string))),
      );
      const bytes = zstdCompressSync?.(text) ?? Buffer.alloc(0);
      expect(textOf(decode(bytes))?.equals(text)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

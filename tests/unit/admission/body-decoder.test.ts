import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { BodyDecoder } from '../../../src/admission/body-decoder.ts';
import { BodyQueue } from '../../../src/admission/body-queue.ts';
import { type Coding, codingOf, type Decoded, mostDecoded } from '../../../src/admission/content-coding.ts';
import { eventually } from '../../support/eventually.ts';
import { zstdOfOneByte, zstdStored } from '../../support/zstd.ts';

const TEXT = Buffer.from(JSON.stringify({ model: 'demo', content: 'Grüße, 世界! '.repeat(50) }));
const ENCODERS: readonly (readonly [string, Coding, (bytes: Buffer) => Buffer])[] = [
  ['gzip', 'gzip', gzipSync],
  ['br', 'br', brotliCompressSync],
  ['zstd', 'zstd', zstdStored],
  ['deflate', 'deflate', deflateSync],
  ['deflate, raw', 'deflate', deflateRawSync],
];

const bugs: unknown[] = [];
const onBug = (error: unknown): void => void bugs.push(error);
const decoder = new BodyDecoder(new BodyQueue({ now: () => 0, later: setImmediate, onBug }), {
  now: () => 7,
  onBug,
});
const decode = (coding: Coding, bytes: Uint8Array, most = 1_000_000): Promise<Decoded> =>
  new Promise((resolve) => decoder.decode('a', coding, { bytes, most }, resolve));

describe('what a content-encoding says', () => {
  it.each([
    ['', 'identity'],
    ['identity', 'identity'],
    ['gzip', 'gzip'],
    [' GZip ', 'gzip'],
    ['x-gzip', 'gzip'],
    ['br', 'br'],
    ['ZSTD', 'zstd'],
    ['deflate', 'deflate'],
    ['gzip, br', undefined],
    ['gzip,gzip', undefined],
    ['identity, gzip', undefined],
    ['gzip;q=1', undefined],
    ['compress', undefined],
    ['x-deflate', undefined],
    ['dcz', undefined],
    ['aws-chunked', undefined],
    ['"gzip"', undefined],
  ])('%j is %s', (value, coding) => expect(codingOf(value)).toBe(coding));

  it('bounds what a body may become: a hundred times itself, 256 KiB, and never more than the largest', () => {
    const most = (bytes: number): number => mostDecoded(bytes, 8_388_608);
    expect([0, 100, 2_622, 10_240, 83_886, 83_887, 8_000_000].map(most)).toEqual([
      262_144, 262_144, 262_200, 1_024_000, 8_388_600, 8_388_608, 8_388_608,
    ]);
    expect(mostDecoded(100, 1_024)).toBe(1_024);
  });
});

describe.each(ENCODERS)('a body in %s', (_, coding, encode) => {
  it('is what it was', async () => {
    const result = await decode(coding, encode(TEXT));
    expect(result.kind === 'ok' && TEXT.equals(result.bytes)).toBe(true);
    const large = Buffer.concat(Array.from({ length: 400 }, () => TEXT));
    const all = await decode(coding, encode(large));
    expect(all.kind === 'ok' && large.equals(all.bytes)).toBe(true);
  });

  it('keeps no more memory than it needs, when it is short', async () => {
    const result = await decode(coding, encode(TEXT));
    expect(result.kind === 'ok' && result.bytes.buffer.byteLength).toBeLessThanOrEqual(65_536);
  });

  it('is broken when it is cut off anywhere, and when something stands behind its end', async () => {
    const bytes = encode(TEXT);
    for (const end of [0, 1, 2, 10, bytes.length >> 1, bytes.length - 1]) {
      expect(await decode(coding, bytes.subarray(0, end))).toEqual({ kind: 'broken' });
    }
    for (const more of ['\0', 'x', '{"model":"other"}']) {
      expect(await decode(coding, Buffer.concat([bytes, Buffer.from(more)]))).toEqual({ kind: 'broken' });
    }
    expect(await decode(coding, TEXT)).toEqual({ kind: 'broken' });
  });

  it('stops at what it may become', async () => {
    expect(await decode(coding, encode(TEXT), TEXT.length)).toMatchObject({ kind: 'ok' });
    expect(await decode(coding, encode(TEXT), TEXT.length - 1)).toEqual({ kind: 'too-large' });
    const bomb = coding === 'zstd' ? zstdOfOneByte(0, 5_000_000) : encode(Buffer.alloc(5_000_000));
    expect(await decode(coding, bomb)).toEqual({ kind: 'too-large' });
  });

  it('is not given to who does not want it any more, and a fault of who takes it is told', async () => {
    let isGiven = false;
    decoder
      .decode('a', coding, { bytes: encode(TEXT), most: 1_000_000 }, () => {
        isGiven = true;
      })
      .cancel();
    decoder.decode('b', coding, { bytes: encode(TEXT), most: 1_000_000 }, () => {
      throw new Error(`of ${coding}`);
    });
    await decode(coding, encode(Buffer.concat([TEXT, TEXT])));
    // Each is on a thread of its own: which of them is over first is chance.
    await eventually(
      () => bugs.length,
      (told) => told > 0,
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(isGiven).toBe(false);
    expect(bugs.splice(0)).toEqual([new Error(`of ${coding}`)]);
  });
});

it('reads members of gzip one after another, as its format has it', async () => {
  const result = await decode('gzip', Buffer.concat([gzipSync('{"a":'), gzipSync('1}')]));
  expect(result.kind === 'ok' && Buffer.from(result.bytes).toString()).toBe('{"a":1}');
});

it('finds a wrong checksum of gzip and zlib', async () => {
  for (const [coding, bytes] of [
    ['gzip', gzipSync(TEXT)],
    ['deflate', deflateSync(TEXT)],
  ] as const) {
    const at = bytes.length - (coding === 'gzip' ? 6 : 1);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    expect(await decode(coding, bytes)).toEqual({ kind: 'broken' });
  }
});

describe('bodies that are not wanted any more', () => {
  it('keep nothing of what they would have become', async () => {
    const large = Buffer.from('word after word, '.repeat(480_000));
    const bytes = gzipSync(large);
    const idle = process.memoryUsage().arrayBuffers;
    let most = idle;
    for (let i = 0; i < 100; i += 1) {
      const reading = decoder.decode('a', 'gzip', { bytes, most: 9_000_000 }, () => {
        throw new Error('it was cancelled');
      });
      setTimeout(() => reading.cancel(), 2);
    }
    for (let i = 0; i < 20; i += 1) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      most = Math.max(most, process.memoryUsage().arrayBuffers);
    }
    // 800 MB, were they decoded on.
    expect(most - idle).toBeLessThan(50_000_000);
    expect(bugs).toEqual([]);
  });
});

import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createBodyMeter } from '../../../src/openai/body-meter.ts';
import { createEncodedMeter } from '../../../src/openai/encoded-meter.ts';
import { createStreamMeter } from '../../../src/openai/stream-meter.ts';

const BODY = Buffer.from(
  JSON.stringify({
    choices: [{ message: { content: 'hi' } }],
    usage: { prompt_tokens: 5, completion_tokens: 2 },
  }),
);
const STREAM = Buffer.from(
  'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\ndata: {"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}\n\ndata: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\ndata: [DONE]\n\n',
);
const USAGE = { promptTokens: 5, completionTokens: 2, cachedTokens: 0 };

function read(encoding: string, bytes: Uint8Array, stream = false, pieceBytes = 7) {
  const inner = stream
    ? createStreamMeter({ route: 'chat.completions', removeUsageChunk: false })
    : createBodyMeter('chat.completions');
  const subject = createEncodedMeter(inner, encoding);
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    expect(subject.push(bytes.subarray(at, at + pieceBytes), 100 + at)).toBeUndefined();
  }
  expect(subject.end()).toBeUndefined();
  return subject.result();
}

describe('a compressed answer', () => {
  it.each([
    ['gzip', gzipSync],
    ['x-gzip', gzipSync],
    ['GZIP', gzipSync],
    ['deflate', deflateSync],
    ['deflate', deflateRawSync],
    ['br', brotliCompressSync],
  ] as const)('is read: %s', (encoding, compress) => {
    expect(read(encoding, compress(BODY))).toMatchObject({
      usage: USAGE,
      bytes: BODY.length,
      finished: true,
    });
    const streamed = read(encoding, compress(STREAM), true);
    expect(streamed).toMatchObject({ usage: USAGE, tokenEvents: 2, finished: true });
  });

  it('is timed by its own bytes', () => {
    const bytes = gzipSync(STREAM);
    const result = read('gzip', bytes, true, 10);
    expect(result.firstTokenMs).toBe(100);
    expect(result.lastTokenMs).toBe(100 + 10 * Math.floor((bytes.length - 1) / 10));
    expect(result.itl).toEqual({ count: 0, sumMs: 0, maxMs: 0 });
  });

  it('is read as far as it came when it was cut off', () => {
    const bytes = gzipSync(STREAM);
    expect(read('gzip', bytes.subarray(0, bytes.length - 8), true)).toMatchObject({ usage: USAGE });
  });

  it('of an unknown encoding, broken, too large or a bomb has only times and bytes', () => {
    const large = Buffer.alloc(1_200_000, 1);
    const bomb = gzipSync(Buffer.alloc(40 * 1024 * 1024));
    for (const [encoding, bytes] of [
      ['zstd', BODY],
      ['gzip, br', gzipSync(BODY)],
      ['gzip', Buffer.from('not gzip at all')],
      ['br', Buffer.from('not brotli at all')],
      ['deflate', Buffer.from('xxxxxxxx')],
      ['gzip', large],
      ['gzip', bomb],
    ] as const) {
      const result = read(encoding, bytes, false, 50_000);
      expect(result).toMatchObject({ bytes: bytes.length, firstTokenMs: 100, finished: true });
      expect(result.usage).toBeUndefined();
    }
  });

  it('never throws, even without a byte', () => {
    expect(read('gzip', new Uint8Array(0))).toMatchObject({ bytes: 0, tokenEvents: 0 });
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 60 }),
        fc.constantFrom('gzip', 'deflate', 'br'),
        (bytes, encoding) => {
          read(encoding, bytes, true);
        },
      ),
    );
  });
});

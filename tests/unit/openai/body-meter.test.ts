import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EngineRoute } from '../../../src/domain/routes.ts';
import { createBodyMeter } from '../../../src/openai/body-meter.ts';
import { cutAt } from './sse-streams.ts';

function read(body: Buffer | string, pieceBytes = 16_384, route: EngineRoute = 'chat.completions') {
  const subject = createBodyMeter(route);
  const bytes = Buffer.from(body);
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    if (subject.push(bytes.subarray(at, at + pieceBytes), at) !== undefined)
      throw new Error('bytes replaced');
  }
  expect(subject.end()).toBeUndefined();
  return subject.result();
}

const USAGE = { prompt_tokens: 12, completion_tokens: 3, total_tokens: 15 };
const EXPECTED = { promptTokens: 12, completionTokens: 3, cachedTokens: 0 };
const answer = (content: string, rest: object = {}) =>
  JSON.stringify({ id: 'x', choices: [{ index: 0, message: { content } }], usage: USAGE, ...rest });

describe('usage of a JSON answer', () => {
  it.each([10, 1000, 10_000, 250_000, 262_144, 300_000, 3_000_000])(
    'is read behind %i bytes of text',
    (size) => {
      for (const piece of [1000, 16_384, 70_000, 10_000_000]) {
        const body = answer('x'.repeat(size));
        expect(read(body, piece)).toMatchObject({ usage: EXPECTED, bytes: body.length, finished: true });
      }
    },
  );

  it('is read from the head of a large answer as well', () => {
    const body = JSON.stringify({ usage: USAGE, choices: [{ message: { content: 'x'.repeat(500_000) } }] });
    expect(read(body).usage).toEqual(EXPECTED);
  });

  it('does not depend on how the answer is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 10 }), fc.constantFrom(100, 270_000), (at, size) => {
        const subject = createBodyMeter('chat.completions');
        for (const piece of cutAt(Buffer.from(answer('é'.repeat(size))), at)) subject.push(piece, 1);
        subject.end();
        expect(subject.result().usage).toEqual(EXPECTED);
      }),
      { numRuns: 60 },
    );
  });

  it('is whole when the bytes that are kept are moved in the middle of it', () => {
    for (let size = 262_000; size < 262_160; size += 5) {
      expect(read(answer('x'.repeat(size)), 16).usage).toEqual(EXPECTED);
    }
  });

  it('is not taken from text or from members that are not the root object’s', () => {
    const fake = { prompt_tokens: 1, completion_tokens: 1 };
    for (const size of [10, 300_000]) {
      const padding = 'x'.repeat(size);
      expect(
        read(JSON.stringify({ padding, text: `"usage":${JSON.stringify(fake)}` })).usage,
      ).toBeUndefined();
      expect(read(JSON.stringify({ padding, tools: [{ usage: fake }] })).usage).toBeUndefined();
      expect(read(JSON.stringify({ tools: [{ usage: fake }], padding })).usage).toBeUndefined();
      expect(
        read(JSON.stringify({ padding, usage: USAGE, tools: [{ usage: fake }], text: '"usage"' })).usage,
      ).toEqual(EXPECTED);
      expect(read(JSON.stringify({ tools: [{ usage: fake }], usage: USAGE, padding })).usage).toEqual(
        EXPECTED,
      );
    }
  });

  it('is read with white space as some engines write it', () => {
    const body = JSON.stringify({ choices: [], padding: 'x'.repeat(300_000), usage: USAGE }, null, 2);
    expect(read(body).usage).toEqual(EXPECTED);
  });

  it('has no output for embeddings', () => {
    const body = JSON.stringify({
      data: Array.from({ length: 30_000 }, (_, i) => i / 7),
      usage: { prompt_tokens: 4 },
    });
    expect(read(body, 16_384, 'embeddings').usage).toEqual({
      promptTokens: 4,
      completionTokens: 0,
      cachedTokens: 0,
    });
  });

  it('is absent from garbage and from an answer that was cut off', () => {
    for (const body of [
      '',
      'x',
      '{',
      '[1]',
      'null',
      '<html>',
      answer('x').slice(0, -1),
      answer('x'.repeat(300_000)).slice(0, -1),
    ]) {
      expect(read(body).usage).toBeUndefined();
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(read(Buffer.from(bytes)).bytes).toBe(bytes.length);
      }),
    );
  });

  it.each([300, 40_000, 700_000, 5_000_000])('is read in the middle of %i bytes', (size) => {
    const half = 'x'.repeat(size / 2);
    const tokens = Array.from({ length: size / 10 }, (_, i) => i % 999);
    const tools = [
      { usage: { prompt_tokens: 1, completion_tokens: 1 }, text: '"usage":{"prompt_tokens":1}' },
    ];
    for (const [before, after] of [
      [{ half }, { tokens }],
      [
        { tokens, tools },
        { half, tools },
      ],
    ]) {
      const body = JSON.stringify({ ...before, usage: USAGE, ...after });
      expect(read(body).usage).toEqual(EXPECTED);
      expect(
        read(body.replace('"usage":{"prompt_tokens":12', '"us\\u0061ge":{"prompt_tokens":12')).usage,
      ).toEqual(EXPECTED);
      // As Python writes them.
      expect(read(`{"logprob":-Infinity,"a":[NaN],${body.slice(1)}`).usage).toEqual(EXPECTED);
      expect(read(`\uFEFF${body}`).usage).toEqual(EXPECTED);
      expect(read(`{"usage":{"prompt_tokens":1},${body.slice(1)}`).usage).toEqual(EXPECTED);
      expect(read(`${body.slice(0, -1)},"error":{"message":"x"}}`).errorFrame).toBe(true);
    }
  });

  it('survives a tail that is full of what it looks for', () => {
    const many = '{"usage":{"input_tokens":1},"a":'.repeat(10_000);
    expect(read(`{"padding":${many}1${'}'.repeat(10_000)},"usage":${JSON.stringify(USAGE)}}`).usage).toEqual(
      EXPECTED,
    );
  });
});

describe('a JSON answer', () => {
  it('that is an error in spite of its status is told', () => {
    expect(read(JSON.stringify({ error: { message: 'x' } })).errorFrame).toBe(true);
    expect(read(JSON.stringify({ error: null, usage: USAGE })).errorFrame).toBe(false);
  });

  it('is timed by its first and last byte', () => {
    const subject = createBodyMeter('chat.completions');
    expect(subject.result()).not.toHaveProperty('firstTokenMs');
    for (const nowMs of [0, 5, 9]) subject.push(Buffer.from(' '), nowMs);
    expect(subject.result()).toMatchObject({
      firstTokenMs: 0,
      lastTokenMs: 9,
      bytes: 3,
      finished: false,
      tokenEvents: 0,
    });
  });
});

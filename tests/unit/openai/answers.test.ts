import { describe, expect, it } from 'vitest';
import { createBodyMeter } from '../../../src/openai/body-meter.ts';
import type { ResponseMeter } from '../../../src/openai/response-meter.ts';
import { createStreamMeter } from '../../../src/openai/stream-meter.ts';
import { compareAnswers } from '../../prove/answers.ts';
import { REBUILT } from '../../support/answer-generator.ts';

/** Bytes of all buffers, and characters of all strings, that can be reached from here. */
function heldBytes(root: unknown): number {
  const seen = new Set<unknown>();
  let bytes = 0;
  const visit = (value: unknown): void => {
    if (typeof value === 'string') bytes += value.length;
    if (typeof value !== 'object' || value === null || seen.has(value)) return;
    seen.add(value);
    if (ArrayBuffer.isView(value)) {
      if (!seen.has(value.buffer)) bytes += value.buffer.byteLength;
      seen.add(value.buffer);
      return;
    }
    for (const one of value instanceof Map || value instanceof Set ? value : Object.values(value)) visit(one);
  };
  visit(root);
  return bytes;
}

function mostHeld(meter: ResponseMeter, text: Buffer, pieceBytes: number): number {
  let most = 0;
  for (let at = 0; at < text.length; at += pieceBytes) {
    // A copy for each, as they arrive: the meter holds what it keeps of them.
    meter.push(Buffer.from(text.subarray(at, at + pieceBytes)), 1);
    most = Math.max(most, heldBytes(meter));
  }
  meter.end();
  return Math.max(most, heldBytes(meter));
}

describe('answers by chance', () => {
  // `npm run prove -- answers` compares more.
  it('are read as a plain reader reads the whole text', () => {
    const { differences, withUsage, odd, errors } = compareAnswers({ answers: 1500, seed: 11 });
    expect(differences.map(({ what, expected, found }) => ({ what, expected, found }))).toEqual([]);
    for (const seen of [withUsage, odd, errors]) expect(seen).toBeGreaterThan(100);
  }, 60_000);
});

describe('an answer as its API and engine give it', () => {
  it.each(REBUILT)('$name of $engine', ({ route, lines, json, expected }) => {
    const text = Buffer.from(lines?.join('\n') ?? JSON.stringify(json));
    for (const pieceBytes of [1, 37, 100_000]) {
      const meter =
        lines === undefined ? createBodyMeter(route) : createStreamMeter({ route, removeUsageChunk: false });
      for (let at = 0; at < text.length; at += pieceBytes) meter.push(text.subarray(at, at + pieceBytes), 1);
      meter.end();
      const { usage, isUsageEarly, oddUsage, errorFrame, tokenEvents, finished } = meter.result();
      expect({ usage, isUsageEarly, oddUsage, errorFrame, tokenEvents, finished }).toEqual({
        usage: undefined,
        isUsageEarly: undefined,
        oddUsage: undefined,
        errorFrame: false,
        ...(lines === undefined && { tokenEvents: 0, finished: true }),
        ...expected,
      });
    }
  });
});

describe('memory', () => {
  const MOST = 256 * 1024;
  const usage = { prompt_tokens: 700, completion_tokens: 3 };

  it.each([1000, 16_384, 65_536])('holds little of an event of 1.2 MB in pieces of %i bytes', (size) => {
    for (const removeUsageChunk of [false, true]) {
      const events = [
        { choices: [{ index: 0, delta: { content: 'a' }, finish_reason: 'stop' }] },
        {
          padding: 'x'.repeat(600_000),
          choices: [],
          usage,
          more: Array.from({ length: 120_000 }, () => 1234),
        },
      ];
      const text = Buffer.from(events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join(''));
      expect(text.length).toBeGreaterThan(1_200_000);
      const meter = createStreamMeter({ route: 'chat.completions', removeUsageChunk });
      expect(mostHeld(meter, text, size)).toBeLessThan(MOST);
      expect(meter.result().usage).toMatchObject({ promptTokens: 700, completionTokens: 3 });
    }
  });

  it.each([1000, 16_384, 65_536])('holds little of an answer of 5 MB in pieces of %i bytes', (size) => {
    const logprobs = Array.from({ length: 60_000 }, (_, i) => ({ token: `"t${i}"`, logprob: -i / 7 }));
    const [before, after] = [{ logprobs }, { token_ids: Array.from({ length: 800_000 }, (_, i) => i % 999) }];
    const text = Buffer.from(JSON.stringify({ ...before, usage, ...after }));
    expect(text.length).toBeGreaterThan(5_000_000);
    const meter = createBodyMeter('chat.completions');
    expect(mostHeld(meter, text, size)).toBeLessThan(MOST);
    expect(meter.result().usage).toMatchObject({ promptTokens: 700, completionTokens: 3 });
  });

  it.each([
    ['choices', '{"choices":[', '{"index":1,"delta":{"a":"x"}},', ''],
    ['duplicate keys', '{', '"usage":{"prompt_tokens":1},"response":{"usage":{"x":1}},', '"x":1}'],
    ['levels', '{"usage":', '{"usage":', ''],
    ['lists', '{"error":', '[', ''],
    ['a key', '{"', 'usage', '":1}'],
    ['a number', '{"usage":{"prompt_tokens":1', '0', '}}'],
  ])('holds little of hostile ones: many %s', (_, start, part, end) => {
    const text = start + part.repeat(3_000_000 / part.length) + end;
    expect(mostHeld(createBodyMeter('messages'), Buffer.from(text), 65_536)).toBeLessThan(MOST);
    const meter = createStreamMeter({ route: 'chat.completions', removeUsageChunk: true });
    expect(mostHeld(meter, Buffer.from(`data: ${text}\n\n`), 65_536)).toBeLessThan(MOST);
  });
});

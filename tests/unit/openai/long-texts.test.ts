import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FieldPolicy } from '../../../src/config/config.ts';
import type { EngineRoute } from '../../../src/domain/routes.ts';
import { DEFAULT_FORBIDDEN_FIELDS } from '../../../src/openai/forbidden-fields.ts';
import { decodeInto, NO_LONG_TEXTS, StringMeasure } from '../../../src/openai/long-texts.ts';
import {
  isUnchanged,
  type ParsedRequest,
  parseRequest,
  serialiseRequest,
} from '../../../src/openai/request.ts';
import { type JsonObject, parseStrict } from '../../../src/openai/strict-json.ts';
import { createPromptHasher } from '../../../src/route/choice/prompt-hash.ts';

const DROP: FieldPolicy = { onForbidden: 'drop', forbidden: DEFAULT_FORBIDDEN_FIELDS };
const LONG = 'She said: "naïve – 𝄞"\n\\ '.repeat(400);
const hasher = createPromptHasher(new Uint32Array([1, 2, 3, 4, 5, 6]));

/** JSON as other writers write it: more escapes than necessary. */
const escaped = (text: string): string =>
  JSON.stringify(text).replaceAll(/[^\x20-\x7e]|\//g, (unit) =>
    unit === '/' ? '\\/' : `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
const parse = (json: string, route: EngineRoute = 'chat.completions'): ParsedRequest => {
  const result = parseRequest(route, Buffer.from(json), DROP);
  if (result.kind === 'bad') throw new Error(result.error.message);
  return result.request;
};
const chatOf = (content: string, more = ''): string =>
  `{"messages":[{"role":"user","content":${content}}],"model":"m"${more}}`;
const sent = (request: ParsedRequest): unknown =>
  JSON.parse(Buffer.concat(serialiseRequest(request, { includeUsage: true })).toString());

/** Text with all that is special in JSON and in UTF-8, long enough to be set aside. */
const anyText = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.string({ maxLength: 40 }),
      fc.constantFrom('\\', '"', '\n', '\u0000', '\ud83d', '\ude00', '😀', 'é', '/', '\\u0041', '\u2028'),
    ),
    { minLength: 1, maxLength: 60 },
  )
  .map((parts) => `${parts.join('')}.`);

describe('long strings', () => {
  it('are not read as text, and are sent on byte by byte', () => {
    const written = chatOf(escaped(LONG), ',"stream":true');
    const request = parse(written);
    expect(JSON.stringify(request.body)).not.toContain('She said');
    const body = Buffer.concat(serialiseRequest(request, { includeUsage: true })).toString();
    expect(body).toContain(escaped(LONG));
    expect(JSON.parse(body)).toEqual({
      ...(JSON.parse(written) as object),
      stream_options: { include_usage: true },
    });
  });

  it('count and hash as they would as text, however they are written', () => {
    fc.assert(
      fc.property(anyText, fc.constantFrom(JSON.stringify, escaped), (some, write) => {
        const text = some.repeat(Math.ceil(9_000 / some.length));
        const request = parse(chatOf(write(text)));
        // What is not well-formed UTF-16 has no UTF-8 of its own.
        expect(request.promptBytes).toBe(Buffer.byteLength(text) + Buffer.byteLength('user'));
        const scope = { route: 'chat.completions', scope: 'a', model: 'm' } as const;
        const plain = JSON.parse(chatOf(JSON.stringify(text))) as JsonObject;
        expect(hasher.hash({ ...scope, body: request.body, long: request.long })).toEqual(
          hasher.hash({ ...scope, body: plain }),
        );
        expect(sent(request)).toEqual(plain);
      }),
    );
  });

  it('are refused where they are not JSON, as short ones are', () => {
    for (const bad of ['\\x', '\\u12g4', '\\u12', '\u0001', '\n', '\\']) {
      for (const content of [`"${'z'.repeat(9_000)}${bad}"`, `"${bad}${'z'.repeat(9_000)}"`]) {
        expect(parseRequest('chat.completions', Buffer.from(chatOf(content)), DROP)).toMatchObject({
          kind: 'bad',
          error: { code: 'invalid_json' },
        });
      }
    }
  });

  it('are read like short ones everywhere: any body means the same to the reader, or is refused by both', () => {
    const value = fc.letrec<{ readonly any: fc.JsonValue }>((tie) => ({
      any: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom(LONG, 'x'.repeat(600), 'short', 1, true, null),
        fc.array(tie('any'), { maxLength: 4 }) as fc.Arbitrary<fc.JsonValue>,
        fc.dictionary(fc.oneof(fc.string(), fc.constant('k'.repeat(700))), tie('any'), {
          maxKeys: 4,
        }) as fc.Arbitrary<fc.JsonValue>,
      ),
    })).any;
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom('prompt', 'input', 'model', 'a', 'b'), value), (body) => {
        const json = JSON.stringify({ ...body, filler: 'f'.repeat(9_000) });
        const read = parseStrict(Buffer.from(json));
        if (read.kind === 'bad') {
          expect(read.message).toContain('__proto__');
          return;
        }
        expect(JSON.parse(Buffer.concat(read.long.restore(JSON.stringify(read.value))).toString())).toEqual(
          JSON.parse(json),
        );
      }),
    );
  });

  it('are found as duplicates, and names of members are never set aside', () => {
    const key = 'k'.repeat(9_000);
    expect(parseStrict(Buffer.from(`{"${key}":1,"${key}":2}`))).toMatchObject({ kind: 'bad' });
    expect(parseStrict(Buffer.from(`{"a":{"${key}":1}}`))).toMatchObject({ value: { a: { [key]: 1 } } });
  });

  it('in fields that are checked are checked', () => {
    const model = 'm'.repeat(9_000);
    const json = `{"model":"${model}","prompt":"hi"}`;
    expect(parseRequest('completions', Buffer.from(json), DROP)).toMatchObject({
      error: { param: 'model', message: expect.stringContaining('longer than') as string },
    });
  });

  it('take images by their size, wherever the data is', () => {
    const data = 'A'.repeat(100_000);
    const part = (type: string, rest: string) => chatOf(`[{"type":"${type}",${rest}}]`);
    const image = parse(part('image_url', `"image_url":{"url":"data:image/png;base64,${data}"}`));
    expect(image.promptBytes).toBe(4_096 + 4);
    const audio = parse(part('input_audio', `"input_audio":{"data":"${data}","format":"wav"}`));
    expect(audio.promptBytes).toBeGreaterThan(1_000);
    expect(audio.promptBytes).toBeLessThan(1_100);
  });

  it('of one body do not stand for anything in another', () => {
    const first = parse(chatOf(JSON.stringify(LONG)));
    const standIn = JSON.stringify(
      (first.body['messages'] as unknown as readonly { readonly content: string }[])[0]?.content,
    );
    const second = parse(chatOf(standIn));
    expect(sent(second)).toEqual(JSON.parse(chatOf(standIn)));
    expect(second.long).toBe(NO_LONG_TEXTS);
  });
});

describe('text in JSON', () => {
  it('has the length of its string, or is none', () => {
    fc.assert(
      fc.property(anyText, fc.constantFrom(JSON.stringify, escaped), (text, write) => {
        const json = Buffer.from(`${write(text)},"more"`);
        const measure = new StringMeasure();
        measure.read(json, 1);
        expect(measure).toEqual({
          end: Buffer.byteLength(write(text)) - 1,
          byteLength: Buffer.byteLength(text),
        });
      }),
    );
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('\\', 'u', '0', 'd', '8', 'n', 'g', ' ', '\t') }),
        (raw) => {
          const measure = new StringMeasure();
          measure.read(Buffer.from(`"${raw}" `), 1);
          let length = -1;
          try {
            length = Buffer.byteLength(JSON.parse(`"${raw}"`) as string);
          } catch {
            // It is none.
          }
          expect(measure.byteLength).toBe(length);
        },
      ),
    );
  });

  it('is decoded in pieces of any size', () => {
    fc.assert(
      fc.property(anyText, fc.integer({ min: 4, max: 64 }), (text, size) => {
        const raw = Buffer.from(escaped(text).slice(1, -1));
        const target = Buffer.alloc(size);
        const pieces: Buffer[] = [];
        for (let from = 0; from < raw.length; ) {
          const decoded = decodeInto(target, 0, raw, from);
          expect(decoded.from).toBeGreaterThan(from);
          from = decoded.from;
          pieces.push(Buffer.from(target.subarray(0, decoded.at)));
        }
        expect(Buffer.concat(pieces).equals(Buffer.from(text))).toBe(true);
      }),
    );
  });
});

describe('a request that nothing is changed in', () => {
  it('is unchanged; another one is not', () => {
    const plain = parse(chatOf('"hi"'));
    expect(isUnchanged(plain, { includeUsage: true })).toBe(true);
    expect(isUnchanged(plain, { includeUsage: true, cacheSalt: 'a' })).toBe(false);
    expect(isUnchanged(plain, { includeUsage: true, model: 'b' })).toBe(false);
    expect(isUnchanged(plain, { includeUsage: true, maxOutputTokens: 5 })).toBe(false);
    expect(isUnchanged(plain, { includeUsage: true, priorityFollows: true })).toBe(false);
    const capped = parse(chatOf('"hi"', ',"max_tokens":5'));
    expect(isUnchanged(capped, { includeUsage: true, maxOutputTokens: 7 })).toBe(true);
    expect(isUnchanged(capped, { includeUsage: true, maxOutputTokens: 4 })).toBe(false);
    expect(isUnchanged(parse(chatOf('"hi"', ',"priority":5')), { includeUsage: true })).toBe(false);
    const stream = ',"stream":true';
    expect(isUnchanged(parse(chatOf('"hi"', stream)), { includeUsage: true })).toBe(false);
    const asked = `${stream},"stream_options":{"include_usage":true}`;
    expect(isUnchanged(parse(chatOf('"hi"', asked)), { includeUsage: true })).toBe(true);
  });
});

describe('what is sent on', () => {
  it.each([
    ['mostly long text', chatOf(JSON.stringify('x'.repeat(500_000)))],
    [
      'a long text among much else',
      chatOf(JSON.stringify('x'.repeat(20_000)), `,"ids":[${'7,'.repeat(500_000)}7]`),
    ],
    [
      'a long text beside a dropped one',
      chatOf(JSON.stringify('x'.repeat(20_000)), `,"kv_transfer_params":{"a":"${'y'.repeat(500_000)}"}`),
    ],
  ])('keeps at most about twice its size: %s', (_, json) => {
    const parts = serialiseRequest(parse(json.replace(/}$/, ',"stream":true}')), { includeUsage: true });
    const size = parts.reduce((sum, { length }) => sum + length, 0);
    const kept = [...new Set(parts.map(({ buffer }) => buffer))];
    expect(kept.reduce((sum, { byteLength }) => sum + byteLength, 0)).toBeLessThan(1.9 * size);
  });
});

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CommonRoute } from '../../../../src/domain/routes.ts';
import { decodeInto } from '../../../../src/openai/json/text.ts';
import type { ParsedRequest, RequestChanges } from '../../../../src/openai/parsed-request.ts';
import { changedBody, parseRequest, serialiseRequest } from '../../../../src/openai/request.ts';
import { createPromptHasher } from '../../../../src/routing/prompt-hash.ts';
import { jsonDocumentOf, policyWith } from '../../../support/documents.ts';

const DROP = policyWith({ forbidden: ['priority', 'cache_salt', 'a.b', 'stream_options.x', 'kv_*'] });
const LONG = 'She said: "naïve – 𝄞"\n\\ '.repeat(400);
const hasher = createPromptHasher(new Uint32Array([1, 2, 3, 4, 5, 6]));

/** JSON as other writers write it: more escapes than necessary. */
const escaped = (text: string): string =>
  JSON.stringify(text).replaceAll(/[^\x20-\x7e]|\//g, (unit) =>
    unit === '/' ? '\\/' : `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
const parse = (json: string, route: CommonRoute = 'chat.completions', policy = DROP): ParsedRequest => {
  const result = parseRequest(route, Buffer.from(json), policy);
  if (result.kind === 'bad') throw new Error(result.error.message);
  return result.request;
};
const chatOf = (content: string, more = ''): string =>
  `{"messages":[{"role":"user","content":${content}}],"model":"m"${more}}`;
const textOf = (request: ParsedRequest, changes: Partial<RequestChanges> = {}): string =>
  Buffer.concat(serialiseRequest(request, { includeUsage: true, ...changes })).toString();

/** Text with all that is special in JSON and in UTF-8. */
const anyText = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 40 }),
      fc.constantFrom('\\', '"', '\n', '\u0000', '😀', 'é', '/', '\\u0041', '\u2028'),
    ),
    { minLength: 1, maxLength: 60 },
  )
  .map((parts) => `${parts.join('')}.`);

describe('a body that is changed', () => {
  it('is the client’s own, byte for byte, around what is changed', () => {
    const odd =
      '{ "zeta":1.10, "10": {"b":0.1000000000000000055511151231257827,"a":9223372036854775807}\t,"2":[] }';
    const json = `\n{"tools":[${odd}] , "model" :"m","stream":true,\n"messages":[{"role":"user","content":${escaped(LONG)}}]} `;
    expect(textOf(parse(json))).toBe(json.replace('{', '{"stream_options":{"include_usage":true},'));
    expect(textOf(parse(json), { includeUsage: false, model: 'n', cacheSalt: 's' })).toBe(
      json.replace('"model" :"m"', '"model" :"n"').replace('{', '{"cache_salt":"s",'),
    );
  });

  it('loses what is forbidden, with one comma, wherever it stands', () => {
    const cases = [
      ['{"priority":5,"model":"m","prompt":"hi"}', '{"model":"m","prompt":"hi"}'],
      ['{"model":"m", "priority" : [5,{}] , "prompt":"hi"}', '{"model":"m", "prompt":"hi"}'],
      ['{"model":"m","prompt":"hi" , "priority":"x"}', '{"model":"m","prompt":"hi"}'],
      [
        '{"kv_a":1,"kv_b":"2","model":"m","prompt":"hi","kv_c":3,"priority":null}',
        '{"model":"m","prompt":"hi"}',
      ],
      ['{"model":"m","prompt":"hi","a":{"b":1}}', '{"model":"m","prompt":"hi","a":{}}'],
      ['{"model":"m","prompt":"hi","a":{"c":0,"b":1}}', '{"model":"m","prompt":"hi","a":{"c":0}}'],
      [
        '{"model":"m","prompt":"hi","a":[{"b":1,"c":0},[{"b":2}],7]}',
        '{"model":"m","prompt":"hi","a":[{"c":0},[{}],7]}',
      ],
      ['{"model":"m","prompt":"hi","a":{"a":{"b":1}}}', '{"model":"m","prompt":"hi","a":{"a":{"b":1}}}'],
      ['{"model":"m","prompt":"hi","\\u0070riority":1}', '{"model":"m","prompt":"hi"}'],
    ] as const;
    for (const [json, sent] of cases) expect(textOf(parse(json, 'completions'))).toBe(sent);
    expect(parse(cases[6][0], 'completions').dropped).toEqual(['a.b', 'a.b']);
  });

  it('is JSON that says what was meant, whatever is cut, set and added', () => {
    const value = fc.constantFrom('1', '"x"', '{}', '[1,2]', 'null', '{"b":1}', '{"b":1,"c":[]}', 'true');
    const space = fc.constantFrom('', ' ', '\n ');
    const name = fc.constantFrom('priority', 'cache_salt', 'kv_a', 'kv_b', 'a', 'user', 'x');
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(name, space, value, space), { selector: ([key]) => key }),
        fc.constantFrom(
          undefined,
          'null',
          '{}',
          '{"x":1}',
          '{"include_usage":false,"x":1}',
          '{"y":1, "x":2}',
        ),
        fc.record({
          priorityFollows: fc.boolean(),
          includeUsage: fc.boolean(),
          model: fc.constantFrom('n', 'm'),
          cacheSalt: fc.constant('s'),
          maxOutputTokens: fc.integer({ min: 1, max: 9 }),
        }),
        fc.nat(),
        fc.boolean(),
        (members, options, changes, at, allowsPriority) => {
          const written = members.map(([key, a, v, b]) => `"${key}"${a}:${b}${v}${a}`);
          if (options !== undefined) written.push(`"stream_options":${options}`);
          const own = ['"model":"m"', '"prompt":"hi"', '"stream":true', '"max_tokens": 5'];
          for (const [i, member] of own.entries()) written.splice((at + i) % (written.length + 1), 0, member);
          const json = ` {${written.join(',')}}`;
          const policy = policyWith({
            forbidden: [
              'cache_salt',
              'a.b',
              'stream_options.x',
              'kv_*',
              ...(allowsPriority ? [] : ['priority']),
            ],
          });
          const sent = JSON.parse(textOf(parse(json, 'completions', policy), changes)) as Record<
            string,
            unknown
          >;
          const meant = JSON.parse(json) as Record<string, unknown> & { a?: { b?: unknown } };
          for (const key of ['cache_salt', 'kv_a', 'kv_b']) delete meant[key];
          if (!allowsPriority || changes.priorityFollows) delete meant['priority'];
          if (typeof meant.a === 'object' && meant.a !== null) delete meant.a.b;
          const kept = (meant['stream_options'] ?? undefined) as Record<string, unknown> | undefined;
          if (kept !== undefined) delete kept['x'];
          expect(sent).toEqual({
            ...meant,
            model: changes.model,
            cache_salt: 's',
            max_tokens: Math.min(5, changes.maxOutputTokens),
            ...(changes.includeUsage && { stream_options: { ...kept, include_usage: true } }),
          });
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it('counts and hashes the same however its text is written', () => {
    fc.assert(
      fc.property(
        anyText,
        fc.constantFrom(JSON.stringify, escaped),
        fc.integer({ min: 1, max: 400 }),
        (some, write, times) => {
          const text = some.repeat(times);
          const request = parse(chatOf(write(text)));
          expect(request.promptBytes).toBe(Buffer.byteLength(text) + Buffer.byteLength('user'));
          const scope = { route: 'chat.completions', scope: 'a', model: 'm' } as const;
          expect(hasher.hash({ ...scope, document: request.document })).toEqual(
            hasher.hash({ ...scope, document: jsonDocumentOf(JSON.parse(chatOf(JSON.stringify(text)))) }),
          );
        },
      ),
    );
  });

  it('is refused where it is not JSON, in long strings as in short ones', () => {
    for (const bad of ['\\x', '\\u12g4', '\\u12', '\u0001', '\n', '\\']) {
      for (const content of [`"${'z'.repeat(9_000)}${bad}"`, `"${bad}${'z'.repeat(9_000)}"`]) {
        expect(parseRequest('chat.completions', Buffer.from(chatOf(content)), DROP)).toMatchObject({
          kind: 'bad',
          error: { code: 'invalid_json' },
        });
      }
    }
  });
});

describe('text in JSON', () => {
  it('is decoded in pieces of any size', () => {
    fc.assert(
      fc.property(anyText, fc.integer({ min: 4, max: 64 }), (text, size) => {
        const raw = Buffer.from(escaped(text).slice(1, -1));
        const target = Buffer.alloc(size);
        const pieces: Buffer[] = [];
        for (let from = 0; from < raw.length; ) {
          const decoded = decodeInto(target, 0, raw, from, raw.length);
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
    expect(changedBody(plain, { includeUsage: true })).toBeUndefined();
    expect(changedBody(plain, { includeUsage: true, cacheSalt: 'a' })).toBeDefined();
    expect(changedBody(plain, { includeUsage: true, model: 'b' })).toBeDefined();
    expect(changedBody(plain, { includeUsage: true, maxOutputTokens: 5 })).toBeDefined();
    expect(changedBody(plain, { includeUsage: true, priorityFollows: true })).toBeDefined();
    const capped = parse(chatOf('"hi"', ',"max_tokens":5'));
    expect(changedBody(capped, { includeUsage: true, maxOutputTokens: 7 })).toBeUndefined();
    expect(changedBody(capped, { includeUsage: true, maxOutputTokens: 4 })).toBeDefined();
    expect(changedBody(parse(chatOf('"hi"', ',"priority":5')), { includeUsage: true })).toBeDefined();
    const stream = ',"stream":true';
    expect(changedBody(parse(chatOf('"hi"', stream)), { includeUsage: true })).toBeDefined();
    const asked = `${stream},"stream_options":{"include_usage":true}`;
    expect(changedBody(parse(chatOf('"hi"', asked)), { includeUsage: true })).toBeUndefined();
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
      chatOf(JSON.stringify('x'.repeat(20_000)), `,"kv_params":{"a":"${'y'.repeat(500_000)}"}`),
    ],
  ])('keeps at most about twice its size: %s', (_, json) => {
    const parts = serialiseRequest(parse(json.replace(/}$/, ',"stream":true}')), { includeUsage: true });
    const size = parts.reduce((sum, { length }) => sum + length, 0);
    const kept = [...new Set(parts.map(({ buffer }) => buffer))];
    expect(kept.reduce((sum, { byteLength }) => sum + byteLength, 0)).toBeLessThan(1.9 * size);
  });
});

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonReader, LIMITS, readJson, STEP_BYTES } from '../../../../src/openai/json/reader.ts';
import { NAMES } from '../../../../src/openai/names.ts';
import { cpuMs } from '../../../support/cpu-time.ts';
import { valueOf } from '../../../support/documents.ts';
import { naiveStrict } from './naive-json.ts';

const MAX_DEPTH = LIMITS.depth;
type Read =
  | { readonly kind: 'ok'; readonly value: unknown }
  | { readonly kind: 'bad'; readonly message: string };
const parseStrict = (bytes: Uint8Array): Read => {
  const reading = readJson(bytes, NAMES);
  return reading.kind === 'bad' ? reading : { kind: 'ok', value: valueOf(reading.document) };
};
const read = (text: string) => parseStrict(Buffer.from(text));
const message = (text: string): string => {
  const result = read(text);
  return result.kind === 'bad' ? result.message : 'accepted';
};

/** The same string in one of its many JSON spellings. */
const spelled = (text: string, escape: boolean): string =>
  escape
    ? `"${Array.from(text, (c) => (c.length === 1 ? `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}` : c)).join('')}"`
    : JSON.stringify(text);

const key = fc.tuple(
  fc.constantFrom('a', 'b', 'model', 'é', '"', '\\', ':', '{', '', '__proto__', 'constructor', '1'),
  fc.boolean(),
);
const anyString = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.constantFrom(
    '\\',
    '\\\\',
    '"',
    '\\"',
    '":{',
    '}',
    'x'.repeat(200),
    `${'x'.repeat(90)}\\"\\${'y'.repeat(90)}`,
  ),
);
const number = fc.oneof(
  fc.integer().map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => JSON.stringify(x)),
  fc.constantFrom(
    '1e999',
    '-1e400',
    '9007199254740991',
    '9007199254740993',
    '-9223372036854775808',
    '1e300',
    '0.1e1',
  ),
);
const space = fc.constantFrom('', ' ', '\n', '\t ');
const { json } = fc.letrec<{ json: string }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 4 },
    fc.oneof(
      fc.constantFrom('true', 'false', 'null'),
      number,
      fc.tuple(anyString, fc.boolean()).map(([t, escape]) => spelled(t, escape)),
    ),
    fc.array(tie('json'), { maxLength: 4 }).map((items) => `[${items.join(',')}]`),
    fc
      .array(fc.tuple(key, space, tie('json'), space), { maxLength: 5 })
      .map((members) => `{${members.map(([[k, e], s, v, t]) => `${spelled(k, e)}${s}:${t}${v}`).join(',')}}`),
  ),
}));

describe('a strict reader', () => {
  it('agrees with the reference on generated JSON with duplicate keys, escapes and large numbers', () => {
    let accepted = 0;
    fc.assert(
      fc.property(json, (inner) => {
        const source = `{"x":${inner}}`;
        const expected = naiveStrict(source);
        const actual = read(source);
        expect(actual.kind).toBe(expected.ok ? 'ok' : 'bad');
        if (expected.ok && actual.kind === 'ok') {
          accepted++;
          expect(actual.value).toEqual(expected.value);
        }
      }),
      { numRuns: 2000 },
    );
    expect(accepted).toBeGreaterThan(200);
  });

  it('reads keys that are written with escapes, as clients write every key that is not ASCII', () => {
    const source =
      '{"\\u540d\\u524d":{"^\\\\d+$":[1,{"\\u0061":null}],"b":"\\u0062"} , "list":[ ] ,"\\ud83d\\ude00":-1.5e3, "t":true}';
    expect(read(source)).toMatchObject({
      kind: 'ok',
      value: { 名前: { '^\\d+$': [1, { a: null }], b: 'b' }, list: [], '😀': -1500, t: true },
    });
    expect(read('{"a":1,"\\u0061":2}').kind).toBe('bad');
    expect(read('{"x":{"__prot\\u006f__":{}}}').kind).toBe('bad');
  });

  it('agrees with the reference on JSON that was damaged anywhere', () => {
    fc.assert(
      fc.property(
        json,
        fc.nat(),
        fc.constantFrom('', '"', '{', '}', ',', ':', '\\', '0', '\u0001'),
        (inner, at, put) => {
          const whole = `{"x":${inner}}`;
          const position = at % whole.length;
          const source = whole.slice(0, position) + put + whole.slice(position + 1);
          // A cut through a surrogate pair is no UTF-8 text.
          fc.pre(!/[\ud800-\udfff]/.test(source.replace(/[\ud800-\udbff][\udc00-\udfff]/g, '')));
          expect(read(source).kind).toBe(naiveStrict(source).ok ? 'ok' : 'bad');
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('gives what survives being written and read again', () => {
    fc.assert(
      fc.property(json, (inner) => {
        const first = read(`{"x":${inner}}`);
        fc.pre(first.kind === 'ok');
        if (first.kind !== 'ok') return;
        expect(read(JSON.stringify(first.value)).kind).toBe('ok');
      }),
    );
  });

  it('never throws on arbitrary bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(['ok', 'bad']).toContain(parseStrict(bytes).kind);
      }),
      { numRuns: 1000 },
    );
  });

  it('names the key that an object repeats, however it is spelled', () => {
    expect(message('{"a":1,"\\u0061":2}')).toBe('Duplicate key "a" in the request body.');
    expect(message('{"x":[{"deep":1,"deep":1}]}')).toContain('"deep"');
    expect(message('{"a":{"k":1},"b":{"k":1}}')).toBe('accepted');
    expect(message('{"text":"a:b:c{"}')).toBe('accepted');
  });

  it('refuses what engines read in different ways', () => {
    expect(message('')).toContain('empty');
    expect(message('[1]')).toContain('must be a JSON object');
    expect(message('null')).toContain('must be a JSON object');
    expect(message('\ufeff{}')).toContain('byte order mark');
    expect(message('{"a":"\\ud83d"}')).toContain('half of a surrogate pair');
    expect(message('{"a":"\\ude00\\ud83d"}')).toContain('half of a surrogate pair');
    expect(message('{"\\ud83d":1}')).toContain('half of a surrogate pair');
    expect(message('{"a":NaN}')).toContain('not valid JSON');
    expect(parseStrict(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]))).toMatchObject({
      message: 'The request body is not valid UTF-8.',
    });
    expect(parseStrict(Buffer.from('{"a":1}', 'utf16le')).kind).toBe('bad');
  });

  it('refuses __proto__ in every spelling and leaves the prototypes alone', () => {
    expect(message('{"__proto__":{"polluted":1}}')).toContain('__proto__');
    expect(message('{"a":[{"\\u005f_proto__":{"polluted":1}}]}')).toContain('__proto__');
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  it('takes nesting up to the bound and refuses a million brackets at once', () => {
    const nested = (depth: number) => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`;
    expect(message(nested(MAX_DEPTH))).toBe('accepted');
    expect(message(nested(MAX_DEPTH + 1))).toContain('nested deeper');
    expect(message(`{"a":${'['.repeat(1_000_000)}`)).toContain('nested deeper');
    expect(message(`{"a":${'{"b":'.repeat(1_000_000)}`)).toContain('nested deeper');
  });

  it('never quotes the body when it is not JSON', () => {
    expect(message('{"messages": my secret prompt}')).not.toContain('secret');
    expect(message('{"a":"secret')).not.toContain('secret');
  });

  it('reads a body whose text is all escapes', () => {
    for (const body of ['\\\\'.repeat(1000), '\\"'.repeat(1000), `${'x'.repeat(100)}\\\\`]) {
      expect(message(`{"a":"${body}"}`)).toBe('accepted');
    }
  });

  it('reads a slice of a larger buffer', () => {
    const larger = Buffer.from('xx{"a":1}yy');
    expect(parseStrict(larger.subarray(2, 9))).toMatchObject({ kind: 'ok', value: { a: 1 } });
  });

  it('reads a key once, however many colons follow it', () => {
    // Once for each colon this takes a quarter of an hour.
    const body = `{"${'a'.repeat(10_000)}"${':'.repeat(1_000_000)}`;
    const begin = cpuMs();
    expect(message(body)).toContain('not valid JSON');
    expect(cpuMs() - begin).toBeLessThan(5_000);
  });

  it('names the place of an error as the client counts it, also behind long strings', () => {
    const body = `{"prompt":"${'x'.repeat(10_000)}","a":1 "b":2}`;
    const position = body.indexOf('"b"');
    expect(message(body)).toContain(`(at position ${position})`);
  });
});

describe('a body that is read a step at a time', () => {
  const steps = (text: string): { readonly result: string; readonly count: number } => {
    const reader = new JsonReader(Buffer.from(text), NAMES);
    for (let count = 1; ; count += 1) {
      const result = reader.step();
      if (result === undefined) continue;
      const said = result.kind === 'ok' ? JSON.stringify(valueOf(result.document)) : result.message;
      return { result: said, count };
    }
  };

  it('means the same wherever a step ends: within a string, an escape, a character or a number', () => {
    const tail = '"a\\n\\u00e9\\ud83d\\ude00é😀","k\\u0065y":[-12.5e3,"",{"x":null}],"é":true}';
    for (let shift = 0; shift < Buffer.byteLength(tail) + 2; shift += 1) {
      const filler = 'f'.repeat(STEP_BYTES - 9 - shift);
      const text = `{"f":"${filler}","t":${tail}`;
      expect(steps(text)).toEqual({ result: JSON.stringify(JSON.parse(text)), count: 2 });
    }
  });

  it('is refused for bytes that are no UTF-8 wherever a step ends', () => {
    for (const bytes of [[0xe2, 0x82], [0xff], [0x80, 0x80, 0x80, 0x80, 0x80], [0xf0, 0x9f, 0x98]]) {
      for (let shift = 0; shift < 8; shift += 1) {
        const body = Buffer.concat([
          Buffer.from(`{"f":"${'f'.repeat(STEP_BYTES - 6 - shift)}`),
          Buffer.from(bytes),
          Buffer.from('"}'),
        ]);
        expect(parseStrict(body)).toMatchObject({ message: 'The request body is not valid UTF-8.' });
      }
    }
  });
});

describe('what a body may have', () => {
  const times = (count: number, text: string): string => `${`${text},`.repeat(count - 1)}${text}`;

  it.each([
    [
      'fields',
      LIMITS.topLevelMembers,
      (n: number) => `{${Array.from({ length: n }, (_, i) => `"${i}":0`).join(',')}}`,
    ],
    ['members', LIMITS.members - 1, (n: number) => `{"a":[${times(n, '{"k":0}')}]}`],
    ['objects and arrays', LIMITS.containers - 2, (n: number) => `{"a":[${times(n, '[]')}]}`],
    ['strings and literals', LIMITS.scalars, (n: number) => `{"a":[${times(n, '""')}]}`],
    ['numbers', LIMITS.numbers, (n: number) => `{"a":[${times(n, '0')}]}`],
  ])('has a bound: %s', (what, most, textOf) => {
    expect(readJson(Buffer.from(textOf(most)), NAMES).kind).toBe(what === 'members' ? 'bad' : 'ok');
    expect(message(textOf(most + 2))).toMatch(/has more than \d+ /);
  });

  it('has a bound for a key and for a number, wherever they stand', () => {
    expect(message(`{"${'k'.repeat(LIMITS.keyBytes)}":0}`)).toBe('accepted');
    expect(message(`{"${'k'.repeat(LIMITS.keyBytes + 1)}":0}`)).toContain('a key of more than');
    expect(message(`{"${'k'.repeat(2 * STEP_BYTES)}`)).toContain('a key of more than');
    expect(message(`{"a":0.${'1'.repeat(LIMITS.numberBytes - 2)}}`)).toBe('accepted');
    expect(message(`{"a":0.${'1'.repeat(LIMITS.numberBytes)}}`)).toContain('a number of more than');
    expect(message(`{"a":${'1'.repeat(400)}}`)).toBe('accepted');
  });
});

describe('the tape', () => {
  it('has runs of numbers in one place, and not across brackets', () => {
    const reading = readJson(Buffer.from('{"a":[1,2 , 3],"b":[[1],2,[3,4],5,"x",6,-7],"c":8}'), NAMES);
    expect(reading.kind).toBe('ok');
    if (reading.kind !== 'ok') return;
    expect(valueOf(reading.document)).toEqual({ a: [1, 2, 3], b: [[1], 2, [3, 4], 5, 'x', 6, -7], c: 8 });
    expect(reading.document.length(8)).toBe(3);
  });

  it.each([
    '9223372036854775807',
    '-9223372036854775809',
    '1'.repeat(400),
    '-0',
    '1E400',
    '-1e+999',
    '1.7976931348623159e308',
    '0.1000000000000000055511151231257827',
  ])('keeps numbers of any size as they are written: %s', (written) => {
    const reading = readJson(Buffer.from(`{"a":${written}}`), NAMES);
    if (reading.kind !== 'ok') throw new Error(reading.message);
    const { document } = reading;
    expect(document.bytes.toString('utf8', document.start(8), document.end(8))).toBe(written);
  });
});

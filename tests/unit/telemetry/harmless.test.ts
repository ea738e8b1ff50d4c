import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { harmless, harmlessJson, harmlessLines } from '../../../src/domain/harmless.ts';

const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]/u;
const json = fc.jsonValue({ stringUnit: 'binary' });
/** Lone surrogates too. */
const anyText = fc
  .array(fc.integer({ min: 0, max: 0xffff }))
  .map((units) => units.map((unit) => String.fromCharCode(unit)).join(''));

/** What a value is to become, said another way. */
const expected = (value: unknown): unknown => {
  if (typeof value === 'string') return harmless(value);
  if (Array.isArray(value)) return value.map(expected);
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [harmless(key), expected(one)]));
  }
  return value;
};

describe('text of others', () => {
  it('has nothing left that is not seen', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        expect(harmless(text)).not.toMatch(UNSEEN);
        expect(harmlessLines(text).replaceAll(/[\n\t]/g, '')).not.toMatch(UNSEEN);
      }),
    );
  });

  it('stays as it is when there is nothing in it, and shown is not shown again', () => {
    expect(harmless('é 日本 "x" \\u0041')).toBe('é 日本 "x" \\u0041');
    expect(harmless(harmless('\u001b'))).toBe('\\u001b');
    expect(harmlessLines('a\n\tb\r')).toBe('a\n\tb\\r');
  });

  it('in JSON reads as the same text alone, whatever else is in the line', () => {
    fc.assert(
      fc.property(json, (value) => {
        const line = JSON.stringify(value);
        const cleaned = harmlessJson(`${line}\n`);
        expect(cleaned.slice(0, -1)).not.toMatch(UNSEEN);
        expect(JSON.parse(cleaned)).toEqual(expected(JSON.parse(line)));
      }),
    );
  });

  it('in JSON that JSON.stringify would not write is read as well', () => {
    expect(JSON.parse(harmlessJson('{"a":"\\/\\u0041\u202e\\\\u0042"}'))).toEqual({
      a: '/\\u0041\\u202e\\u0042',
    });
  });
});

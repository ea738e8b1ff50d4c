/** Numbers of the console as people read them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  clockText,
  countText,
  durationText,
  percentText,
  rateText,
  shortName,
  whenText,
} from '../../../src/console/numbers.ts';

const plain = (text: string): string => text.replaceAll('\u202f', ' ');

describe('durationText', () => {
  it.each([
    [undefined, '–'],
    [Number.NaN, '–'],
    [Number.POSITIVE_INFINITY, '–'],
    [0, '0 ms'],
    [0.49, '0 ms'],
    [0.5, '1 ms'],
    [58.4, '58 ms'],
    [999.4, '999 ms'],
    [999.5, '1.0 s'],
    [4_100, '4.1 s'],
    [9_949, '9.9 s'],
    [9_950, '10 s'],
    [99_400, '99 s'],
    [99_500, '2 min'],
    [3_600_000, '60 min'],
    [6_000_000, '2 h'],
    [172_800_000, '2 d'],
  ])('%s ms is %s', (ms, text) => expect(plain(durationText(ms))).toBe(text));

  it('is short, and never not a number', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e11, noNaN: true }), (ms) => {
        expect(plain(durationText(ms))).toMatch(/^\d{1,4}(\.\d)? (ms|s|min|h|d)$/);
      }),
    );
  });
});

describe('countText', () => {
  it.each([
    [undefined, '–'],
    [Number.NaN, '–'],
    [0, '0'],
    [999, '999'],
    [1_301, '1 301'],
    [28_723, '28 723'],
    [-1_500, '-1 500'],
    [999_949, '999 949'],
    [999_950, '1.0 M'],
    [12_345_678, '12.3 M'],
    [4_200_000_000, '4.2 G'],
  ])('%s is %s', (value, text) => expect(plain(countText(value))).toBe(text));

  it('keeps the digits of whole numbers below a million', () => {
    fc.assert(
      fc.property(fc.integer({ min: -999_949, max: 999_949 }), (value) => {
        expect(Number(plain(countText(value)).replaceAll(' ', ''))).toBe(value);
      }),
    );
  });
});

it.each([
  [0, '0'],
  [0.04, '0.0'],
  [1, '1.0'],
  [9.94, '9.9'],
  [9.95, '10'],
  [1_234.5, '1 235'],
])('a rate of %s is %s', (value, text) => expect(plain(rateText(value))).toBe(text));

it('parts are whole percents', () => {
  expect([0, 0.004, 0.875, 1].map((part) => plain(percentText(part)))).toEqual([
    '0 %',
    '0 %',
    '88 %',
    '100 %',
  ]);
});

describe('shortName', () => {
  it('leaves short names, and cuts at whole characters', () => {
    expect(shortName('quiet')).toBe('quiet');
    expect(shortName('x'.repeat(40))).toBe('x'.repeat(40));
    expect(shortName('x'.repeat(41))).toBe(`${'x'.repeat(39)}…`);
    expect(shortName('😀'.repeat(41), 3)).toBe('😀😀…');
  });

  it('of any text is short and whole', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 300 }), (name) => {
        const short = shortName(name, 10);
        expect(Array.from(short).length).toBeLessThanOrEqual(10);
        expect(() => encodeURIComponent(short)).not.toThrow();
      }),
    );
  });
});

it('the time of day has seconds', () => {
  expect(clockText(Date.parse('2026-01-02T03:04:05'))).toBe('03:04:05');
});

describe('whenText', () => {
  const noon = new Date(2026, 2, 4, 12, 0, 0).getTime();
  it.each([
    [new Date(2026, 2, 4, 0, 0, 1), '00:00:01'],
    [new Date(2026, 2, 3, 23, 59, 59), '2026-03-03 23:59:59'],
    [new Date(2025, 2, 4, 12, 0, 0), '2025-03-04 12:00:00'],
  ])('%s is %s', (at, text) => expect(whenText(at.getTime(), noon)).toBe(text));
});

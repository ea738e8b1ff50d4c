import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cutToWidth, fitToWidth, textWidth } from '../../../src/domain/text-width.ts';

describe('the width of text on a terminal', () => {
  it.each([
    ['', 0],
    ['plain', 5],
    ['日本', 4],
    ['가', 2],
    ['ｆ', 2],
    ['🚀', 2],
    ['é', 1],
    // A letter and its mark.
    ['e\u0301', 1],
    ['–…', 2],
  ])('of %j is %d', (text, width) => {
    expect(textWidth(text)).toBe(width);
  });

  it('is never more than was asked for', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 40 });
    fc.assert(
      fc.property(text, fc.nat(30), (any, width) => {
        expect(textWidth(cutToWidth(any, width))).toBeLessThanOrEqual(width);
        expect(textWidth(fitToWidth(any, width))).toBe(width);
        expect(textWidth(fitToWidth(any, width, 'right'))).toBe(width);
      }),
    );
  });

  it('says where it was cut', () => {
    expect([cutToWidth('tenant', 6), cutToWidth('tenant', 5), cutToWidth('日本語', 4)]).toEqual([
      'tenant',
      'tena…',
      '日…',
    ]);
  });
});

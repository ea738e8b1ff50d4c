import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { textTable, widthFor, wrapped } from '../../../src/domain/text-table.ts';

describe('a table', () => {
  it('has its headings on one line where it fits', () => {
    expect(
      textTable(
        ['arm', 'tokens/s'],
        [
          ['direct', '15,765'],
          ['solo', '403'],
        ],
      ),
    ).toEqual(['  arm     tokens/s', '  direct    15,765', '  solo         403']);
  });

  it('breaks headings where it does not, and then puts columns below with the first one again', () => {
    const narrow = textTable(['arm', 'first token ms', 'kept of direct'], [['fairlane', '378', '95 %']], 28);
    expect(narrow).toEqual([
      '            first    kept',
      '            token      of',
      '  arm          ms  direct',
      '  fairlane    378    95 %',
    ]);
    expect(textTable(['arm', 'one', 'two'], [['a', '1'.repeat(30), '2'.repeat(30)]], 60)).toEqual([
      `  arm  ${'one'.padStart(30)}`,
      `  a    ${'1'.repeat(30)}`,
      `  arm  ${'two'.padStart(30)}`,
      `  a    ${'2'.repeat(30)}`,
    ]);
  });

  it('is never wider than it may be, and says every cell', () => {
    const cell = fc.string({ unit: fc.constantFrom('a', '1', ',', '.'), maxLength: 30 });
    const heading = fc.array(fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 12 }), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(
        fc.array(
          heading.map((words) => words.map((word) => word.replaceAll(' ', '_')).join(' ')),
          {
            minLength: 1,
            maxLength: 12,
          },
        ),
        fc.array(fc.array(cell, { minLength: 12, maxLength: 12 }), { maxLength: 5 }),
        fc.constantFrom(60, 80, 100),
        (headings, rows, width) => {
          const lines = textTable(headings, rows, width);
          for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
          const text = lines.join('\n');
          for (const row of rows) {
            for (const one of row.slice(1, headings.length)) expect(text).toContain(one);
          }
        },
      ),
      { seed: 14, numRuns: 200 },
    );
  });

  it('cuts names that would take all of it', () => {
    const [, row = ''] = textTable(['tenant', 'requests'], [['t'.repeat(64), '12']]);
    expect(row).toBe(`  ${'t'.repeat(23)}…        12`);
  });
});

describe('a paragraph', () => {
  it('has lines of the width, and every word', () => {
    const text = 'one two three four five sixsixsixsixsixsix seven';
    const lines = wrapped(text, 10, '  ');
    expect(lines).toEqual(['one two', '  three', '  four', '  five', '  sixsixsixsixsixsix', '  seven']);
    expect(lines.map((line) => line.trim()).join(' ')).toBe(text);
    expect(wrapped('', 10)).toEqual(['']);
  });

  it('is as wide as the terminal, within reason', () => {
    expect([undefined, 0, 80, 300].map(widthFor)).toEqual([100, 60, 80, 100]);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type GridColumn, grid } from '../../../src/cli/grid.ts';
import { textWidth } from '../../../src/domain/text-width.ts';

const columns: readonly GridColumn[] = [
  { heading: 'NAME', cells: ['a', 'a-long-name-of-a-tenant'], align: 'left', least: 6 },
  { heading: 'COUNT', cells: ['1', '1,000'] },
  { heading: 'EXTRA', cells: ['x', 'y'], spare: 1 },
];

describe('a table for a terminal', () => {
  it('has figures to the right', () => {
    expect(grid(columns, 80)).toEqual([
      'NAME                     COUNT  EXTRA',
      'a                            1      x',
      'a-long-name-of-a-tenant  1,000      y',
    ]);
  });

  it('cuts names first, then leaves out what is spare', () => {
    expect(grid(columns, 22)).toEqual([
      'NAME      COUNT  EXTRA',
      'a             1      x',
      'a-long-…  1,000      y',
    ]);
    expect(grid(columns, 16)).toEqual(['NAME       COUNT', 'a              1', 'a-long-n…  1,000']);
  });

  it('is never wider than it may be', () => {
    const cell = fc.string({ unit: 'grapheme', maxLength: 30 });
    const column = fc.record({
      heading: fc.string({ minLength: 1, maxLength: 12 }),
      cells: fc.array(cell, { minLength: 3, maxLength: 3 }),
      least: fc.option(fc.nat(10), { nil: undefined }),
      spare: fc.option(fc.nat(3), { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.array(column, { minLength: 1, maxLength: 8 }), fc.nat(100), (any, width) => {
        const lines = grid(any as readonly GridColumn[], width);
        expect(lines).toHaveLength(4);
        for (const line of lines) expect(textWidth(line)).toBeLessThanOrEqual(width);
      }),
    );
  });
});

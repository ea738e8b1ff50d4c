/** CSV is that of RFC 4180, and no spreadsheet calculates with it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { csvLine } from '../../../src/domain/csv.ts';
import { coinDigits } from '../../../src/domain/currency.ts';

/** As RFC 4180 reads a file. */
function readCsv(text: string): readonly (readonly string[])[] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = '';
  let quoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const at = text.charAt(i);
    if (quoted && at === '"' && text[i + 1] === '"') {
      cell += '"';
      i += 1;
    } else if (at === '"') quoted = !quoted;
    else if (quoted) cell += at;
    else if (at === ',') {
      row.push(cell);
      cell = '';
    } else if (at === '\r' && text[i + 1] === '\n') {
      rows.push([...row, cell]);
      row = [];
      cell = '';
      i += 1;
    } else cell += at;
  }
  return rows;
}

describe('a line of CSV', () => {
  it('quotes what has to be quoted', () => {
    expect(csvLine(['a', 'b,c', 'say "x"', 'two\nlines', '', 1, 2n, -3])).toBe(
      'a,"b,c","say ""x""","two\nlines",,1,2,-3\r\n',
    );
  });

  it.each(['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1', '=HYPERLINK("http://x","y")'])(
    '%j is no formula',
    (text) => {
      const [[cell = ''] = []] = readCsv(csvLine([text]));
      expect(cell).toBe(`'${text}`);
    },
  );

  it('is read as it was, but for an apostrophe before formulas', () => {
    const cell = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom('"', ',', '\r', '\n', '=', 'a', 'é', '😀') }),
    );
    fc.assert(
      fc.property(fc.array(fc.array(cell, { minLength: 1 }), { minLength: 1 }), (rows) => {
        const read = readCsv(rows.map((row) => csvLine(row)).join(''));
        expect(read).toEqual(
          rows.map((row) => row.map((text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text))),
        );
      }),
    );
  });
});

describe('the smallest coin', () => {
  it.each([
    ['EUR', 2],
    ['USD', 2],
    ['JPY', 0],
    ['KWD', 3],
    ['XQZ', 2],
  ])('of %s has %i decimals', (currency, digits) => {
    expect(coinDigits(currency)).toBe(digits);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LEDGER_MIGRATIONS } from '../../../src/ledger/migrations.ts';
import { COLUMNS, columnOf, isLine, lineOf } from '../../../src/ledger/row-line.ts';
import { ledgerRowOf } from '../../../src/ledger/row-of.ts';
import { ledgerRecord } from '../../support/ledger-records.ts';

const INT64 = 2n ** 63n;

describe('a usage record as a row', () => {
  it('has every column of the table, in one line', () => {
    const row = ledgerRowOf(ledgerRecord(1), 0);
    expect(Object.keys(row).sort()).toEqual([...COLUMNS].sort());
    const table = LEDGER_MIGRATIONS[0]?.statements[0];
    const text = typeof table === 'string' ? table : (table?.postgresql ?? '');
    for (const column of COLUMNS.map(columnOf)) expect(text).toMatch(new RegExp(`\\b${column} `));
    expect(isLine(lineOf(row))).toBe(true);
    // Each value where its column is.
    const values = COLUMNS.map((key) => (typeof row[key] === 'bigint' ? row[key].toString() : row[key]));
    expect(JSON.parse(lineOf(row))).toEqual(values);
  });

  it('is made of any numbers and texts, and is whole, bounded and on one line', () => {
    const text = fc.string({ unit: 'binary', maxLength: 600 });
    const number = fc.oneof(fc.double(), fc.integer(), fc.constant(Number.NaN), fc.constant(Infinity));
    const amount = fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n });
    fc.assert(
      fc.property(text, number, number, amount, (of, one, other, pico) => {
        const row = ledgerRowOf(
          ledgerRecord(1, {
            tenant: of,
            clientRequestId: of,
            model: of,
            durationMs: one,
            promptTokens: other,
            gpuSeconds: one,
            kvTokenSeconds: other,
            endedMs: one,
            cost: { currency: 'EUR', pico },
          }),
          5,
        );
        for (const value of Object.values(row)) {
          if (typeof value === 'number') {
            expect(Number.isSafeInteger(value) && value >= 0).toBe(true);
          } else if (typeof value === 'bigint') {
            expect(value < INT64 && value > -INT64).toBe(true);
          } else if (typeof value === 'string') {
            expect(value.length).toBeLessThanOrEqual(256);
            expect(value).not.toMatch(/[\0\p{Surrogate}]/u);
          }
        }
        const line = lineOf(row);
        expect(line).not.toContain('\n');
        expect(isLine(line)).toBe(true);
        expect((JSON.parse(line) as unknown[])[2]).toBe(row.tenant);
      }),
    );
  });

  it('has an id and a time where the record has none', () => {
    const { id: _, endedMs: __, ...rest } = ledgerRecord(1);
    expect(ledgerRowOf(rest, 77)).toMatchObject({ id: 'request-1', endedMs: 77 });
  });

  it('that was cut anywhere is no line', () => {
    const line = lineOf(ledgerRowOf(ledgerRecord(1, { tenant: 'a]"]' }), 0));
    for (let i = 0; i < line.length; i += 1) expect(isLine(line.slice(0, i))).toBe(false);
    expect(isLine(`${line}${line}`)).toBe(false);
  });
});

import { describe, expect, it } from 'vitest';
import { numbered } from '../../../src/database/placeholders.ts';
import { csvHeader, csvLine } from '../../../src/ledger/csv.ts';
import { hasEnded } from '../../../src/ledger/owner.ts';
import { monthOf, timeOf } from '../../../src/ledger/period.ts';

describe('CSV', () => {
  const columns = ['start_ms', 'tenant', 'cost_pico', 'requests'];

  it('has amounts as decimals and times as ISO 8601', () => {
    expect(csvHeader(columns)).toBe('start,tenant,cost,requests\r\n');
    const row = { start_ms: 0, tenant: 'a', cost_pico: -2_500_000_000_000n, requests: 3 };
    expect(csvLine(columns, row)).toBe('1970-01-01T00:00:00.000Z,a,-2.50,3\r\n');
  });

  it.each([
    ['a,b', '"a,b"'],
    ['a"b', '"a""b"'],
    ['a\r\nb', 'a\\r\\nb'],
    ['=1+1', "'=1+1"],
    ['+1', "'+1"],
    ['-1', "'-1"],
    ['@sum', "'@sum"],
    ['\t=1', "'\\t=1"],
    ['\u202Ea', '\\u202ea'],
    ['a=b', 'a=b'],
    [null, ''],
  ])('writes %j so that nothing is broken or computed', (tenant, expected) => {
    expect(csvLine(['tenant'], { tenant })).toBe(`${expected}\r\n`);
  });
});

describe('times', () => {
  it('are days and months that there are, in UTC', () => {
    expect(timeOf('2024-02-29')).toBe(Date.UTC(2024, 1, 29));
    expect(monthOf('2026-12')).toEqual({ fromMs: Date.UTC(2026, 11), toMs: Date.UTC(2027, 0) });
    for (const text of ['2026-02-29', '2026-13-01', '2026-1-1', '', 'today'])
      expect(timeOf(text)).toBeUndefined();
    for (const text of ['2026-00', '2026-13', '2026', '2026-11-01']) expect(monthOf(text)).toBeUndefined();
  });
});

describe('an owner of records', () => {
  const owner = { pid: 7, started: '100', namespace: 'here' };
  const alive = (): string => '100';

  it.each([
    ['runs here', owner, 'here', 1e9, alive, false],
    ['ran here, and its number is free', owner, 'here', 0, () => undefined, true],
    ['ran here, and its number is another’s', owner, 'here', 0, () => '200', true],
    ['is elsewhere, and has just said that it runs', owner, 'there', 5_000, () => undefined, false],
    ['is elsewhere, and has said nothing for long', owner, 'there', 31_000, alive, true],
    ['is elsewhere, and the clock was set back', owner, 'there', -3_600_000, alive, true],
    ['is unknown, and has just come', undefined, 'here', 0, alive, false],
    ['is unknown, and silent', undefined, 'here', 31_000, alive, true],
  ])('that %s', (_, of, here, silentMs, startOf, expected) => {
    expect(hasEnded(of, here, silentMs, startOf)).toBe(expected);
  });
});

describe('placeholders', () => {
  it('get numbers, but for those in texts, names and comments', () => {
    expect(numbered(`SELECT ?, '?', "a?" -- ?\n, ? WHERE x = 'it''s ?' AND y = ?`)).toBe(
      `SELECT $1, '?', "a?" -- ?\n, $2 WHERE x = 'it''s ?' AND y = $3`,
    );
  });
});

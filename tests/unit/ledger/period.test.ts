/** Periods of reports are half-open, in UTC. */
import { describe, expect, it } from 'vitest';
import { periodOf, periodText, type WrittenPeriod } from '../../../src/ledger/period.ts';

const NOW = Date.UTC(2026, 10, 29, 14, 25, 3);
const read = (written: WrittenPeriod): string => {
  const answer = periodOf(written, NOW);
  return answer.kind === 'ok' ? periodText(answer.period) : answer.problem;
};

describe('a period', () => {
  it.each<[WrittenPeriod, string]>([
    [{}, '2026-11-01 to 2026-12-01 (UTC, the end not included)'],
    [{ month: '2026-12' }, '2026-12-01 to 2027-01-01 (UTC, the end not included)'],
    [{ month: '2028-02' }, '2028-02-01 to 2028-03-01 (UTC, the end not included)'],
    [{ from: '2026-11-28' }, '2026-11-28 to 2026-11-29T15:00Z (UTC, the end not included)'],
    [{ from: '2026-11-01', to: '2026-11-02' }, '2026-11-01 to 2026-11-02 (UTC, the end not included)'],
    [
      { from: '2026-11-01T14:00', to: '2026-11-01 15:00Z' },
      '2026-11-01T14:00Z to 2026-11-01T15:00Z (UTC, the end not included)',
    ],
  ])('%j', (written, text) => {
    expect(read(written)).toBe(text);
  });

  it.each<[WrittenPeriod, string]>([
    [{ month: '2026-13' }, '--month 2026-13: must be a month such as 2026-11'],
    [{ month: '11/2026' }, '--month 11/2026: must be a month such as 2026-11'],
    [{ month: '0099-01' }, '--month 0099-01: must be a month'],
    [{ month: '2026-11', from: '2026-11-01' }, '--month is a period already'],
    [{ to: '2026-11-01' }, '--to needs --from'],
    [{ from: '2026-02-30' }, '--from 2026-02-30: must be a day such as 2026-11-01, or a full hour'],
    [{ from: '2026-11-01T14:30' }, '--from 2026-11-01T14:30: must be a day'],
    [{ from: '2026-11-01T25:00' }, '--from 2026-11-01T25:00: must be a day'],
    [{ from: '2026-11-01', to: 'now' }, '--to now: must be a day'],
    [{ from: '2026-11-02', to: '2026-11-02' }, 'the period is empty: it begins at 2026-11-02'],
    [{ from: '2027-11-02' }, 'the period is empty'],
  ])('%j is none', (written, text) => {
    expect(read(written)).toContain(text);
  });
});

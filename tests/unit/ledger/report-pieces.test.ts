/** A period is cut into whole months, days and hours, none twice and none left out. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { piecesOf, type Step } from '../../../src/ledger/report-pieces.ts';

const HOUR_MS = 3_600_000;
const STEPS = ['month', 'day', 'hour'] as const;

const at = (text: string): number => Date.parse(`${text}:00Z`);
const shown = (from: string, to: string, steps: readonly Step[] = STEPS) =>
  piecesOf({ fromMs: at(from), toMs: at(to) }, steps).map(
    ({ step, fromMs, toMs }) =>
      `${step} ${new Date(fromMs).toISOString().slice(0, 13)} ${new Date(toMs).toISOString().slice(0, 13)}`,
  );

describe('a period', () => {
  it('of whole months is read by months', () => {
    expect(shown('2026-11-01T00:00', '2026-12-01T00:00')).toEqual(['month 2026-11-01T00 2026-12-01T00']);
    expect(shown('2025-12-01T00:00', '2027-01-01T00:00')).toEqual(['month 2025-12-01T00 2027-01-01T00']);
  });

  it('has months in its middle, then days, and hours at its edges', () => {
    expect(shown('2026-09-29T22:00', '2026-12-02T03:00')).toEqual([
      'hour 2026-09-29T22 2026-09-30T00',
      'day 2026-09-30T00 2026-10-01T00',
      'month 2026-10-01T00 2026-12-01T00',
      'day 2026-12-01T00 2026-12-02T00',
      'hour 2026-12-02T00 2026-12-02T03',
    ]);
  });

  it('within a month or a day has none of those', () => {
    expect(shown('2026-11-02T00:00', '2026-11-30T00:00')).toEqual(['day 2026-11-02T00 2026-11-30T00']);
    expect(shown('2026-11-02T01:00', '2026-11-03T00:00')).toEqual(['hour 2026-11-02T01 2026-11-03T00']);
  });

  it('is read by no larger step than it is asked by', () => {
    expect(shown('2026-11-01T00:00', '2026-12-01T01:00', ['day', 'hour'])).toEqual([
      'day 2026-11-01T00 2026-12-01T00',
      'hour 2026-12-01T00 2026-12-01T01',
    ]);
    expect(shown('2026-11-01T00:00', '2026-12-01T00:00', ['hour'])).toEqual([
      'hour 2026-11-01T00 2026-12-01T00',
    ]);
  });

  it('that is empty has no pieces', () => {
    expect(shown('2026-11-01T00:00', '2026-11-01T00:00')).toEqual([]);
  });

  it('is its pieces, in their order and without gaps', () => {
    const hour = fc.integer({ min: 0, max: 80 * 366 * 24 });
    fc.assert(
      fc.property(hour, hour, (a, b) => {
        const [fromMs, toMs] = [Math.min(a, b) * HOUR_MS, Math.max(a, b) * HOUR_MS];
        const pieces = piecesOf({ fromMs, toMs }, STEPS);
        expect(pieces.length).toBeLessThanOrEqual(5);
        let end = fromMs;
        for (const piece of pieces) {
          expect(piece.fromMs).toBe(end);
          expect(piece.toMs).toBeGreaterThan(piece.fromMs);
          const [first, last] = [new Date(piece.fromMs), new Date(piece.toMs)];
          if (piece.step !== 'hour') expect([first.getUTCHours(), last.getUTCHours()]).toEqual([0, 0]);
          if (piece.step === 'month') expect([first.getUTCDate(), last.getUTCDate()]).toEqual([1, 1]);
          if (piece.step === 'hour') expect(piece.toMs - piece.fromMs).toBeLessThan(48 * HOUR_MS);
          if (piece.step === 'day') expect(piece.toMs - piece.fromMs).toBeLessThan(62 * 24 * HOUR_MS);
          end = piece.toMs;
        }
        expect(end).toBe(toMs);
      }),
      { seed: 16 },
    );
  });
});

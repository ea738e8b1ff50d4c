/** Which sums a period is read from: whole months and days where it has them, hours at its edges. Pure. */
import { DAY_MS, HOUR_MS, type Period } from './period.ts';

export type Step = 'hour' | 'day' | 'month';

export interface Piece extends Period {
  /** What is between its ends is whole ones of these. */
  readonly step: Step;
}

const floorOf: Readonly<Record<Step, (ms: number) => number>> = {
  hour: (ms) => Math.floor(ms / HOUR_MS) * HOUR_MS,
  day: (ms) => Math.floor(ms / DAY_MS) * DAY_MS,
  month: (ms) => monthAt(ms, 0),
};
const nextOf: Readonly<Record<Step, (ms: number) => number>> = {
  hour: (ms) => ms + HOUR_MS,
  day: (ms) => ms + DAY_MS,
  month: (ms) => monthAt(ms, 1),
};

/** The beginning of the month of a time, or of one after it. */
function monthAt(ms: number, after: number): number {
  const date = new Date(ms);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + after);
}

/**
 * Cuts a period into pieces, each of the largest step that fits. They have no time in common, and are the period together.
 *
 * @param steps that sums may be read by, the largest first. The last one is for what is left.
 */
export function piecesOf(period: Period, [step, ...smaller]: readonly Step[]): readonly Piece[] {
  const { fromMs, toMs } = period;
  if (step === undefined || fromMs >= toMs) return [];
  if (smaller.length === 0) return [{ step, fromMs, toMs }];
  const first = floorOf[step](fromMs);
  const start = first === fromMs ? first : nextOf[step](first);
  const end = floorOf[step](toMs);
  if (start >= end) return piecesOf(period, smaller);
  return [
    ...piecesOf({ fromMs, toMs: start }, smaller),
    { step, fromMs: start, toMs: end },
    ...piecesOf({ fromMs: end, toMs }, smaller),
  ];
}

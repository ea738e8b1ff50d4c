/** The time that a report is about: half-open, in UTC. */

export interface Period {
  /** Unix time. It belongs to the period. */
  readonly fromMs: number;
  /** Unix time. It does not. */
  readonly toMs: number;
}

export type ReadPeriod =
  | { readonly kind: 'ok'; readonly period: Period }
  | { readonly kind: 'bad'; readonly problem: string };

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

const MONTH = /^\d{4}-(?:0[1-9]|1[0-2])$/;
const DAY = /^\d{4}-\d{2}-\d{2}$/;
const HOUR = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}):00Z?$/;

/** `2026-11`, whose end is the next month's beginning; undefined: it is none. */
export function monthOf(text: string): Period | undefined {
  if (!MONTH.test(text)) return undefined;
  const [year = 0, month = 0] = text.split('-').map(Number);
  // Years before 100 would be of the last century.
  return year < 1_970 ? undefined : { fromMs: Date.UTC(year, month - 1), toMs: Date.UTC(year, month) };
}

/** `2026-11-01` or `2026-11-01T14:00`; undefined: there is no such time, or it is within an hour. */
export function timeOf(text: string): number | undefined {
  const [, day = text, hour = '00'] = HOUR.exec(text) ?? [];
  if (!DAY.test(day)) return undefined;
  const whole = `${day}T${hour}:00:00.000Z`;
  const ms = Date.parse(whole);
  return Number.isNaN(ms) || new Date(ms).toISOString() !== whole ? undefined : ms;
}

/** `2026-11-29`. */
export const dayText = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

/** `2026-11-29T14:00Z`. */
export const hourText = (ms: number): string => `${new Date(ms).toISOString().slice(0, 16)}Z`;

/** The shortest that says it. */
const timeText = (ms: number): string => (ms % DAY_MS === 0 ? dayText(ms) : hourText(ms));

export const periodText = ({ fromMs, toMs }: Period): string =>
  `${timeText(fromMs)} to ${timeText(toMs)} (UTC, the end not included)`;

export interface WrittenPeriod {
  readonly month?: string;
  readonly from?: string;
  readonly to?: string;
}

const TIME_FORM = 'a day such as 2026-11-01, or a full hour such as 2026-11-01T14:00 (UTC)';

/** Without any: this month. Without an end: until now. */
export function periodOf({ month, from, to }: WrittenPeriod, nowMs: number): ReadPeriod {
  const bad = (problem: string): ReadPeriod => ({ kind: 'bad', problem });
  if (month !== undefined) {
    if (from !== undefined || to !== undefined)
      return bad('--month is a period already: leave out --from and --to');
    const period = monthOf(month);
    return period === undefined
      ? bad(`--month ${month}: must be a month such as 2026-11`)
      : { kind: 'ok', period };
  }
  if (from === undefined) {
    if (to !== undefined) return bad('--to needs --from: when does the period begin?');
    const period = monthOf(new Date(nowMs).toISOString().slice(0, 7));
    return period === undefined ? bad('the clock of this machine is wrong') : { kind: 'ok', period };
  }
  const fromMs = timeOf(from);
  if (fromMs === undefined) return bad(`--from ${from}: must be ${TIME_FORM}`);
  const toMs = to === undefined ? Math.floor(nowMs / HOUR_MS) * HOUR_MS + HOUR_MS : timeOf(to);
  if (toMs === undefined) return bad(`--to ${to}: must be ${TIME_FORM}`);
  if (toMs <= fromMs) {
    return bad(
      `the period is empty: it begins at ${timeText(fromMs)} and ends at ${timeText(toMs)}, which is not in it`,
    );
  }
  return { kind: 'ok', period: { fromMs, toMs } };
}

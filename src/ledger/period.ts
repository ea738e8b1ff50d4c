/** Times that a user asks for: a month, or from one day to another, in UTC. */

export interface Period {
  /** Unix times in milliseconds; the end is not part of it. */
  readonly fromMs: number;
  readonly toMs: number;
}

const DAY = /^(\d{4})-(\d{2})-(\d{2})$/;
const MONTH = /^(\d{4})-(\d{2})$/;

/** The beginning of a day, `2026-11-05`; undefined: there is no such day. */
export function dayMs(text: string): number | undefined {
  if (!DAY.test(text)) return undefined;
  const ms = Date.parse(`${text}T00:00:00Z`);
  // Some take the 30th of February for a day in March.
  return Number.isNaN(ms) || !new Date(ms).toISOString().startsWith(text) ? undefined : ms;
}

/** `2026-11`; undefined: there is no such month. */
export function monthOf(text: string): Period | undefined {
  const [, year, month] = MONTH.exec(text) ?? [];
  if (month === undefined || Number(month) < 1 || Number(month) > 12) return undefined;
  return { fromMs: Date.UTC(Number(year), Number(month) - 1), toMs: Date.UTC(Number(year), Number(month)) };
}

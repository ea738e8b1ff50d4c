/** Numbers as people read them. Pure. */

const THIN = '\u202f';

/** A duration, three digits at most. @param ms milliseconds; undefined: nothing is known. */
export function durationText(ms: number | undefined): string {
  if (ms === undefined || !Number.isFinite(ms)) return '–';
  if (ms < 0.5) return `0${THIN}ms`;
  if (ms < 999.5) return `${Math.round(ms)}${THIN}ms`;
  const seconds = ms / 1_000;
  if (seconds < 9.95) return `${seconds.toFixed(1)}${THIN}s`;
  if (seconds < 99.5) return `${Math.round(seconds)}${THIN}s`;
  const minutes = seconds / 60;
  if (minutes < 99.5) return `${Math.round(minutes)}${THIN}min`;
  const hours = minutes / 60;
  return hours < 47.5 ? `${Math.round(hours)}${THIN}h` : `${Math.round(hours / 24)}${THIN}d`;
}

/** A count: whole with groups of three below a million. */
export function countText(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size >= 999_950_000) return `${(value / 1e9).toFixed(1)}${THIN}G`;
  if (size >= 999_950) return `${(value / 1e6).toFixed(1)}${THIN}M`;
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, THIN);
}

/** A rate: one decimal below ten. */
export const rateText = (value: number): string =>
  value > 0 && value < 9.95 ? value.toFixed(1) : countText(value);

/** @param part 0 to 1. */
export const percentText = (part: number): string => `${Math.round(100 * part)}${THIN}%`;

/** A name that somebody else chose, no longer than a line. */
export function shortName(name: string, length = 40): string {
  const letters = Array.from(name.slice(0, 4 * length));
  return letters.length > length || name.length > 4 * length
    ? `${letters.slice(0, length - 1).join('')}…`
    : name;
}

/** The time of day. @param unixMs milliseconds. */
export const clockText = (unixMs: number): string => new Date(unixMs).toTimeString().slice(0, 8);

/** When something was: the time of day, before today with its day. Both are this machine's. */
export function whenText(unixMs: number, nowMs: number): string {
  const at = new Date(unixMs);
  if (at.toDateString() === new Date(nowMs).toDateString()) return clockText(unixMs);
  const [month, day] = [at.getMonth() + 1, at.getDate()].map((part) => String(part).padStart(2, '0'));
  return `${at.getFullYear()}-${month}-${day} ${clockText(unixMs)}`;
}

/** The figures of quiet against noisy: what a visitor sees first. Pure. */
import type { RequestLine } from '../admin/console-feed.ts';
import type { StatusReport, TenantStatus } from '../admin/status.ts';
import { timesItsShare } from './words.ts';

/** Of the same minute as the medians of the status. */
const SPAN_MS = 60_000;
/** The queue's part of a time to first token up to which the tenant waits as if it were alone. */
const ALONE_PART = 0.2;

/** Where a tenant's time to first token went: medians of its streams of the last minute, in milliseconds. */
export interface Split {
  readonly queueMs: number;
  /** What is left without the queue: about what the tenant would wait alone. */
  readonly engineMs: number;
}

export interface Contestant {
  readonly tenant: TenantStatus;
  readonly split?: Split;
  /** How many times its fair share of the slots it holds or waits for; undefined: not known. */
  readonly times?: number;
  /** Its median is about that of an idle Fairlane. */
  readonly isAsAlone: boolean;
}

/** @returns the middle of the values, the higher one of two; undefined: there are none. */
export function median(values: readonly number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

/** @param lines requests that have ended, of all tenants. @param nowMs Unix milliseconds. */
export function splitOf(lines: readonly RequestLine[], tenant: string, nowMs: number): Split | undefined {
  const own = lines.filter(
    (line) => line.tenant === tenant && line.ttftMs !== undefined && nowMs - line.endedMs <= SPAN_MS,
  );
  const queueMs = median(own.map((line) => line.queueMs));
  const engineMs = median(own.map((line) => Math.max(0, (line.ttftMs ?? 0) - line.queueMs)));
  return queueMs === undefined || engineMs === undefined ? undefined : { queueMs, engineMs };
}

/** @returns the tenant that waits least for its first token, then the one that waits most: two, one or none. */
export function contestants(
  status: StatusReport,
  lines: readonly RequestLine[],
  nowMs: number,
): readonly Contestant[] {
  const known = status.tenants.rows
    .filter(({ ttftP50Ms }) => ttftP50Ms !== undefined)
    .toSorted((a, b) => (a.ttftP50Ms ?? 0) - (b.ttftP50Ms ?? 0));
  const ends = known.length > 1 ? [known[0], known.at(-1)] : known;
  return ends
    .filter((tenant) => tenant !== undefined)
    .map((tenant) => {
      const split = splitOf(lines, tenant.name, nowMs);
      const times = timesItsShare(tenant, status);
      return {
        tenant,
        ...(split !== undefined && { split }),
        ...(times !== undefined && { times }),
        isAsAlone: split !== undefined && split.queueMs <= ALONE_PART * (split.queueMs + split.engineMs),
      };
    });
}

/** The figures of quiet against noisy: what a visitor sees first. Pure. */
import type { RequestLine } from '../admin/console-feed.ts';
import type { StatusReport, TenantStatus } from '../admin/status.ts';
import { timesItsShare } from './words.ts';

/** Of the same minute as the medians of the status. */
const SPAN_MS = 60_000;
/** The queue's part of a time to first token up to which the tenant waits as if it were alone. */
const ALONE_PART = 0.2;

/** Where a tenant's time to first token went, in milliseconds: its parts sum to the median that the status has. */
export interface Split {
  readonly queueMs: number;
  /** The median of what is left without the queue: about what the tenant would wait alone. */
  readonly engineMs: number;
  /** The queue's part is small: the tenant waits about as long as in an idle Fairlane. */
  readonly isAsAlone: boolean;
}

export interface Contestant {
  readonly tenant: TenantStatus;
  readonly split?: Split;
  /** How many times its fair share of the slots it holds or waits for; undefined: not known. */
  readonly times?: number;
}

/** @returns the middle of the values, the higher one of two; undefined: there are none. */
export function median(values: readonly number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

/**
 * The page may know fewer streams than the median is of, so the parts are the engine's and the rest.
 *
 * @param lines requests that have ended, of all tenants. @param nowMs Unix milliseconds.
 * @returns undefined: nothing is known of it.
 */
export function splitOf(
  lines: readonly RequestLine[],
  { name, ttftP50Ms }: TenantStatus,
  nowMs: number,
): Split | undefined {
  const own = lines.filter(
    (line) => line.tenant === name && line.ttftMs !== undefined && nowMs - line.endedMs <= SPAN_MS,
  );
  const queueMs = median(own.map((line) => line.queueMs));
  const afterMs = median(own.map((line) => Math.max(0, (line.ttftMs ?? 0) - line.queueMs)));
  if (queueMs === undefined || afterMs === undefined || ttftP50Ms === undefined) return undefined;
  const engineMs = Math.min(afterMs, ttftP50Ms);
  return {
    queueMs: ttftP50Ms - engineMs,
    engineMs,
    isAsAlone: queueMs <= ALONE_PART * (queueMs + afterMs),
  };
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
      const split = splitOf(lines, tenant, nowMs);
      const times = timesItsShare(tenant, status);
      return {
        tenant,
        ...(split !== undefined && { split }),
        ...(times !== undefined && { times }),
      };
    });
}

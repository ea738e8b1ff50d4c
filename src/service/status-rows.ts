/** Which tenants `/status` shows, in which order, and what becomes of the others. Pure. */
import type { QueueStatus, StatusReport, StatusSort } from '../admin/status.ts';
import { NO_RATES, type RecentRates, type RecentRow } from '../telemetry/recent-usage.ts';
import type { OccupancyRow } from '../usage/occupancy.ts';

/** A name with requests now or of late; or one that is configured, without. */
export interface TenantActivity {
  readonly name: string;
  inFlight: number;
  waiting: number;
  /** When its last request ended, by the clock of the rates; undefined: not in the last minute. */
  readonly lastMs: number | undefined;
  readonly rates: RecentRates;
}

export const idleActivity = (name: string): TenantActivity => ({
  name,
  inFlight: 0,
  waiting: 0,
  lastMs: undefined,
  rates: NO_RATES,
});

/** By name. @param labelOf what a tenant is called: several may share a name. @param recent by that name. */
export function activities(
  occupancy: Iterable<OccupancyRow>,
  labelOf: (tenant: string) => string,
  recent: Iterable<RecentRow>,
): ReadonlyMap<string, TenantActivity> {
  const all = new Map<string, TenantActivity>();
  for (const { tenant: name, lastMs, rates } of recent) {
    all.set(name, { name, inFlight: 0, waiting: 0, lastMs, rates });
  }
  for (const { tenant, queued, inFlight } of occupancy) {
    const name = labelOf(tenant);
    let one = all.get(name);
    if (one === undefined) {
      one = idleActivity(name);
      all.set(name, one);
    }
    one.inFlight += inFlight;
    one.waiting += queued;
  }
  return all;
}

type Value = (one: TenantActivity) => number;
const VALUES: Readonly<Record<Exclude<StatusSort, 'name'>, Value>> = {
  waiting: ({ waiting }) => waiting,
  running: ({ inFlight }) => inFlight,
  requests: ({ rates }) => rates.requestsPerSecond,
  tokens: ({ rates }) => rates.tokensPerSecond,
  ttft: ({ rates }) => rates.ttftP99Ms ?? -1,
};

const byName = (a: { readonly name: string }, b: { readonly name: string }): number =>
  a.name < b.name ? -1 : a.name > b.name ? 1 : 0;

/** The most first; what is equal by what else there is, and then by name: rows keep their places from one look to the next. */
export function sorted(all: Iterable<TenantActivity>, sort: StatusSort): readonly TenantActivity[] {
  if (sort === 'name') return [...all].sort(byName);
  const value = VALUES[sort];
  return [...all].sort(
    (a, b) => value(b) - value(a) || b.waiting + b.inFlight - a.waiting - a.inFlight || byName(a, b),
  );
}

/** Sums over those that are not shown. */
export function restOf(rest: readonly TenantActivity[]): StatusReport['tenants']['rest'] {
  const sum = { tenants: rest.length, inFlight: 0, waiting: 0, ...NO_SUMS };
  for (const one of rest) {
    sum.inFlight += one.inFlight;
    sum.waiting += one.waiting;
    sum.requestsPerSecond += one.rates.requestsPerSecond;
    sum.refusalsPerSecond += one.rates.refusalsPerSecond;
    sum.tokensPerSecond += one.rates.tokensPerSecond;
  }
  return { ...sum, ...rounded(sum) };
}

const NO_SUMS = { requestsPerSecond: 0, refusalsPerSecond: 0, tokensPerSecond: 0 };

const tenth = (value: number): number => Math.round(value * 10) / 10;

/** To tenths. */
const rounded = ({
  requestsPerSecond,
  refusalsPerSecond,
  tokensPerSecond,
}: Pick<RecentRates, 'requestsPerSecond' | 'refusalsPerSecond' | 'tokensPerSecond'>) => ({
  requestsPerSecond: tenth(requestsPerSecond),
  refusalsPerSecond: tenth(refusalsPerSecond),
  tokensPerSecond: tenth(tokensPerSecond),
});

/** As `/status` shows them: whole milliseconds, and no member for what is not known. */
export const shownRates = ({ ttftP50Ms, ttftP99Ms, ...rates }: RecentRates) => ({
  ...rounded(rates),
  ...(ttftP50Ms !== undefined && { ttftP50Ms: Math.round(ttftP50Ms) }),
  ...(ttftP99Ms !== undefined && { ttftP99Ms: Math.round(ttftP99Ms) }),
});

/** Rows with the most first, one for each name. @param most that are shown. */
export function queueOf(
  rows: readonly (QueueStatus & { readonly label: string })[],
  most: number,
): StatusReport['queue'] {
  const merged = new Map<string, QueueStatus>();
  for (const { label, ...row } of rows) {
    const key = `${row.pool}\n${row.lane}\n${label}`;
    const before = merged.get(key);
    merged.set(key, {
      ...row,
      tenant: label,
      waiting: row.waiting + (before?.waiting ?? 0),
      oldestMs: Math.max(row.oldestMs, before?.oldestMs ?? 0),
    });
  }
  const all = [...merged.values()].sort((a, b) => b.waiting - a.waiting || b.oldestMs - a.oldestMs);
  const rest = all.slice(most);
  return {
    rows: all.slice(0, most),
    rest: { rows: rest.length, waiting: rest.reduce((sum, { waiting }) => sum + waiting, 0) },
  };
}

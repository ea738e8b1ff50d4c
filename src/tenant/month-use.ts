/** What is used of a month's tokens or budget, as far as this replica knows. */
import type { StoredBucket } from '../limit/memory-store.ts';
import type { Bucket } from './bucket.ts';

export interface MonthUse {
  /** Of the bucket: tenant, what it counts, and the month. */
  readonly key: string;
  /** Tokens, or 10^-9 of the currency's unit. */
  readonly used: number;
  readonly limit: number;
  /** Absent: tokens. */
  readonly currency?: string;
  /** It has refused a request, as it is configured. */
  readonly hasRefused: boolean;
  /** Unix time: the end of the month. */
  readonly endsMs: number;
}

/** None while nobody has said what is used. What is only reserved here is not used yet. */
export function monthUseOf({
  key,
  currency,
  month,
  knownUsed,
  open,
  shown,
  hasRefused,
}: Bucket): readonly MonthUse[] {
  if (month === undefined || knownUsed === undefined) return [];
  const used = Math.max(0, knownUsed - Math.max(0, open));
  const use = { key, used, limit: shown, hasRefused, endsMs: month.endsMs };
  return [currency === undefined ? use : { ...use, currency }];
}

/** As it is kept over a restart; undefined: nothing is known to be used. */
export function storedOf(bucket: Bucket | undefined): StoredBucket | undefined {
  if (bucket?.knownUsed === undefined) return undefined;
  const { amount, unitMs, keepMs } = bucket.stored;
  const stored = [bucket.key, amount, unitMs, amount - bucket.knownUsed] as const;
  return keepMs === undefined ? stored : [...stored, keepMs];
}

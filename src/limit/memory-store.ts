/**
 * Token buckets in this process, by what was used of them (used.ts). A bucket that is full again is forgotten: memory is that
 * of the keys in use.
 *
 * Invariant: over any interval, granted − given back ≤ amount + amount / unit · time, where a clock that goes back stands
 * still until it is there again: a bucket that was forgotten would fill twice otherwise. Where the limit changed, amount is
 * the last one and amount / unit · time the sum over the limits.
 */
import type { BucketRequest, LimitStore, StoredLimit, Taken } from './store.ts';
import { apply, TOLERANCE, usedAfter } from './used.ts';

/** A bucket as it is kept over a restart. Used are `amount − level`, whatever the limit is then. */
export type StoredBucket = readonly [
  key: string,
  amount: number,
  unitMs: number,
  level: number,
  keepMs?: number,
];

/** What a snapshot is made of, and restored to. */
export interface Snapshotted {
  /** Those that are not full. */
  buckets(nowMs: number): Iterable<StoredBucket>;
  /** Takes over buckets as they were `ageMs` ago; known ones stay as they are. */
  restore(buckets: Iterable<StoredBucket>, nowMs: number, ageMs: number): void;
}

export interface MemoryStore extends LimitStore, Snapshotted {
  take(requests: readonly BucketRequest[], nowMs: number): readonly Taken[];
  /** Buckets that are not known to be full. */
  size(): number;
}

interface Bucket {
  /** By which it was used last: a reload may change it. */
  limit: StoredLimit;
  /** More than the amount while in debt. */
  used: number;
  atMs: number;
  /** Key of the same bucket, for the sweep. */
  readonly key: string;
}

/** Buckets looked at for each request, to forget those that are full: twice as many as can be added. */
const SWEPT = 2;

/** Brings a bucket to `nowMs`, at the rate that it had until then. */
function refill(bucket: Bucket, nowMs: number): void {
  if (nowMs <= bucket.atMs) return;
  bucket.used = usedAfter(bucket.used, bucket.limit, nowMs - bucket.atMs);
  bucket.atMs = nowMs;
}

/** Whether nothing is lost when it is forgotten. */
function isForgettable({ limit, used, atMs }: Bucket, nowMs: number): boolean {
  const { keepMs = Number.POSITIVE_INFINITY } = limit;
  return nowMs - atMs > keepMs || usedAfter(used, limit, nowMs - atMs) < TOLERANCE;
}

export function createMemoryStore(): MemoryStore {
  const buckets = new Map<string, Bucket>();
  let sweep: Iterator<Bucket> = buckets.values();
  let latestMs = Number.NEGATIVE_INFINITY;
  const clock = (nowMs: number): number => {
    latestMs = Math.max(latestMs, nowMs);
    return latestMs;
  };

  /** A few at a time: no request pays for all. */
  const forgetFull = (nowMs: number): void => {
    for (let i = 0; i < SWEPT; i += 1) {
      const { value, done } = sweep.next();
      if (done === true) {
        sweep = buckets.values();
        return;
      }
      if (isForgettable(value, nowMs)) buckets.delete(value.key);
    }
  };

  return {
    take(requests, atMs) {
      const nowMs = clock(atMs);
      return requests.map(({ key, limit, hits, mode = 'take' }) => {
        forgetFull(nowMs);
        let bucket = buckets.get(key);
        if (bucket === undefined) {
          bucket = { limit, used: 0, atMs: nowMs, key };
          buckets.set(key, bucket);
        } else {
          refill(bucket, nowMs);
          bucket.limit = limit;
        }
        return apply(bucket, limit, hits, mode);
      });
    },
    size: () => buckets.size,
    *buckets(atMs) {
      const nowMs = clock(atMs);
      for (const bucket of buckets.values()) {
        if (isForgettable(bucket, nowMs)) continue;
        const { amount, unitMs, keepMs } = bucket.limit;
        const level = amount - usedAfter(bucket.used, bucket.limit, nowMs - bucket.atMs);
        const stored = [bucket.key, amount, unitMs, level] as const;
        yield keepMs === undefined ? stored : [...stored, keepMs];
      }
    },
    restore(stored, atMs, ageMs) {
      const nowMs = clock(atMs);
      for (const [key, amount, unitMs, level, keepMs] of stored) {
        // Until the bucket is used, nobody says how deep its debt may be.
        const maxDebt = Number.POSITIVE_INFINITY;
        const limit = { amount, unitMs, maxDebt, ...(keepMs !== undefined && { keepMs }) };
        const bucket = { key, limit, used: amount - level, atMs: nowMs - ageMs };
        if (!buckets.has(key) && !isForgettable(bucket, nowMs)) buckets.set(key, bucket);
      }
    },
    close: () => Promise.resolve(),
  };
}

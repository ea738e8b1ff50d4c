/**
 * Token buckets in this process. A bucket that is full again is forgotten: memory is that of the keys in use.
 *
 * Invariant: over any interval, granted − given back ≤ amount + amount / unit · time, where a clock that goes back stands
 * still until it is there again: a bucket that was forgotten would fill twice otherwise.
 */
import type { BucketRequest, LimitStore, StoredLimit, Taken } from './store.ts';

/** A bucket as it is kept over a restart. */
export type StoredBucket = readonly [key: string, amount: number, unitMs: number, level: number];

export interface MemoryStore extends LimitStore {
  take(demands: readonly BucketRequest[], nowMs: number): readonly Taken[];
  /** Buckets that are not known to be full. */
  size(): number;
  /** Those that are not full. */
  buckets(nowMs: number): Iterable<StoredBucket>;
  /** Takes over buckets as they were `ageMs` ago; known ones stay as they are. */
  restore(buckets: Iterable<StoredBucket>, nowMs: number, ageMs: number): void;
}

interface Bucket {
  amount: number;
  unitMs: number;
  /** Negative while in debt. */
  level: number;
  atMs: number;
  /** Key of the same bucket, for the sweep. */
  readonly key: string;
}

/** Buckets looked at for each demand, to forget those that are full: twice as many as can be added. */
const SWEPT = 2;
/** The refill is a product of floats. */
const TOLERANCE = 1e-6;

/** Brings a bucket to `nowMs` and to its limit, which a reload may have changed: a full bucket stays full. */
function refill(bucket: Bucket, { amount, unitMs }: StoredLimit, nowMs: number): void {
  if (nowMs > bucket.atMs) {
    const more = ((nowMs - bucket.atMs) * bucket.amount) / bucket.unitMs;
    bucket.level = Math.min(bucket.amount, bucket.level + more);
    bucket.atMs = nowMs;
  }
  if (amount === bucket.amount && unitMs === bucket.unitMs) return;
  bucket.level = Math.min(amount, bucket.level === bucket.amount ? amount : bucket.level);
  bucket.amount = amount;
  bucket.unitMs = unitMs;
}

/** Applies `hits` to a bucket that is up to date. Shared with the local side of other stores. */
export function apply(bucket: { amount: number; unitMs: number; level: number }, hits: number): Taken {
  let granted: boolean;
  if (hits > 0) {
    granted = bucket.level + TOLERANCE >= hits;
    if (granted) bucket.level -= hits;
    else if (hits > 1) bucket.level = Math.max(-bucket.amount, bucket.level - hits);
  } else {
    bucket.level = Math.min(bucket.amount, bucket.level - hits);
    granted = bucket.level + TOLERANCE >= 1;
  }
  return {
    granted,
    remaining: Math.max(0, Math.floor(bucket.level + TOLERANCE)),
    resetMs: Math.ceil(((bucket.amount - bucket.level) * bucket.unitMs) / Math.max(1, bucket.amount)),
  };
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
      const full = value.level + ((nowMs - value.atMs) * value.amount) / value.unitMs >= value.amount;
      if (full) buckets.delete(value.key);
    }
  };

  return {
    take(demands, atMs) {
      const nowMs = clock(atMs);
      return demands.map(({ key, limit, hits }) => {
        forgetFull(nowMs);
        let bucket = buckets.get(key);
        if (bucket === undefined) {
          bucket = { ...limit, level: limit.amount, atMs: nowMs, key };
          buckets.set(key, bucket);
        } else refill(bucket, limit, nowMs);
        return apply(bucket, hits);
      });
    },
    size: () => buckets.size,
    *buckets(atMs) {
      const nowMs = clock(atMs);
      for (const bucket of buckets.values()) {
        refill(bucket, bucket, nowMs);
        if (bucket.level < bucket.amount) yield [bucket.key, bucket.amount, bucket.unitMs, bucket.level];
      }
    },
    restore(stored, atMs, ageMs) {
      const nowMs = clock(atMs);
      for (const [key, amount, unitMs, level] of stored) {
        if (buckets.has(key)) continue;
        const filled = Math.min(amount, level + (ageMs * amount) / unitMs);
        if (filled < amount) buckets.set(key, { key, amount, unitMs, level: filled, atMs: nowMs });
      }
    },
    close: () => Promise.resolve(),
  };
}

/**
 * Token buckets in this process. A bucket that is full again is forgotten: memory is that of the keys in use.
 *
 * Invariant: over any interval, granted − given back ≤ amount + amount / unit · time, where a clock that goes back stands
 * still until it is there again: a bucket that was forgotten would fill twice otherwise.
 */
import type { BucketRequest, LimitStore, StoredLimit, TakeMode, Taken } from './store.ts';

/** A bucket as it is kept over a restart. */
export type StoredBucket = readonly [
  key: string,
  amount: number,
  unitMs: number,
  level: number,
  keepMs?: number,
];

export interface MemoryStore extends LimitStore {
  take(requests: readonly BucketRequest[], nowMs: number): readonly Taken[];
  /** Buckets that are not known to be full. */
  size(): number;
  /** Those that are not full. */
  buckets(nowMs: number): Iterable<StoredBucket>;
  /** Takes over buckets as they were `ageMs` ago; known ones stay as they are. */
  restore(buckets: Iterable<StoredBucket>, nowMs: number, ageMs: number): void;
}

interface Bucket {
  limit: StoredLimit;
  /** Negative while in debt. */
  level: number;
  atMs: number;
  /** Key of the same bucket, for the sweep. */
  readonly key: string;
}

/** Buckets looked at for each request, to forget those that are full: twice as many as can be added. */
const SWEPT = 2;
/** The refill is a product of floats. */
const TOLERANCE = 1e-6;

const gained = ({ limit, atMs }: Bucket, nowMs: number): number =>
  ((nowMs - atMs) * limit.amount) / limit.unitMs;

/** Brings a bucket to `nowMs` and to its limit, which a reload may have changed: a full bucket stays full. */
function refill(bucket: Bucket, limit: StoredLimit, nowMs: number): void {
  const { amount, unitMs } = bucket.limit;
  if (nowMs > bucket.atMs) {
    bucket.level = Math.min(amount, bucket.level + gained(bucket, nowMs));
    bucket.atMs = nowMs;
  }
  bucket.limit = limit;
  if (amount === limit.amount && unitMs === limit.unitMs) return;
  bucket.level = Math.min(limit.amount, bucket.level === amount ? limit.amount : bucket.level);
}

/** Applies `hits` to a bucket that is up to date. Shared with the local side of other stores. */
export function apply(bucket: { level: number }, limit: StoredLimit, hits: number, mode: TakeMode): Taken {
  const { amount, unitMs, maxDebt = amount } = limit;
  let granted: boolean;
  if (hits > 0) {
    granted = bucket.level + TOLERANCE >= hits;
    if (granted) bucket.level -= hits;
    else if (mode !== 'take') bucket.level = Math.max(-maxDebt, bucket.level - hits);
  } else {
    bucket.level = Math.min(amount, bucket.level - hits);
    granted = bucket.level + TOLERANCE >= 1;
  }
  return {
    granted,
    level: bucket.level,
    remaining: Math.max(0, Math.floor(bucket.level + TOLERANCE)),
    resetMs: Math.ceil(((amount - bucket.level) * unitMs) / Math.max(1, amount)),
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
      const { amount, keepMs = Number.POSITIVE_INFINITY } = value.limit;
      const isFull = value.level + gained(value, nowMs) >= amount;
      if (isFull || nowMs - value.atMs > keepMs) buckets.delete(value.key);
    }
  };

  return {
    take(requests, atMs) {
      const nowMs = clock(atMs);
      return requests.map(({ key, limit, hits, mode = 'take' }) => {
        forgetFull(nowMs);
        let bucket = buckets.get(key);
        if (bucket === undefined) {
          bucket = { limit, level: limit.amount, atMs: nowMs, key };
          buckets.set(key, bucket);
        } else refill(bucket, limit, nowMs);
        return apply(bucket, limit, hits, mode);
      });
    },
    size: () => buckets.size,
    *buckets(atMs) {
      const nowMs = clock(atMs);
      for (const bucket of buckets.values()) {
        const { amount, unitMs, keepMs } = bucket.limit;
        const level = bucket.level + gained(bucket, nowMs);
        if (level >= amount || nowMs - bucket.atMs > (keepMs ?? Number.POSITIVE_INFINITY)) continue;
        const stored = [bucket.key, amount, unitMs, level] as const;
        yield keepMs === undefined ? stored : [...stored, keepMs];
      }
    },
    restore(stored, atMs, ageMs) {
      const nowMs = clock(atMs);
      for (const [key, amount, unitMs, level, keepMs] of stored) {
        if (buckets.has(key) || level + (ageMs * amount) / unitMs >= amount) continue;
        const limit = { amount, unitMs, ...(keepMs !== undefined && { keepMs }) };
        buckets.set(key, { key, limit, level, atMs: nowMs - ageMs });
      }
    },
    close: () => Promise.resolve(),
  };
}

/** How much good and bad was seen lately: a ring of buckets, so that the oldest part of the window goes at a time. */
interface Counts {
  readonly succeeded: number;
  readonly failed: number;
}

export interface SlidingCounts {
  add(failed: boolean, nowMs: number): void;
  /** Of the last windowMs, to a bucket. */
  sum(nowMs: number): Counts;
  clear(): void;
}

/** Memory: two numbers a bucket, whatever comes. */
export function createSlidingCounts(windowMs: number, buckets = 10): SlidingCounts {
  const bucketMs = windowMs / buckets;
  const succeeded = new Uint32Array(buckets);
  const failed = new Uint32Array(buckets);
  /** Number of the newest bucket since time began. */
  let newest = Number.NEGATIVE_INFINITY;

  const advance = (nowMs: number): number => {
    const bucket = Math.floor(nowMs / bucketMs);
    // A clock that goes back adds to the newest bucket.
    if (bucket <= newest) return newest;
    const from = Math.max(newest + 1, bucket - buckets + 1);
    for (let i = from; i <= bucket; i += 1) {
      const at = ((i % buckets) + buckets) % buckets;
      succeeded[at] = 0;
      failed[at] = 0;
    }
    newest = bucket;
    return bucket;
  };

  return {
    add(isFailed, nowMs) {
      const bucket = advance(nowMs);
      const at = ((bucket % buckets) + buckets) % buckets;
      const ring = isFailed ? failed : succeeded;
      ring[at] = (ring[at] ?? 0) + 1;
    },
    sum(nowMs) {
      advance(nowMs);
      let good = 0;
      let bad = 0;
      for (let i = 0; i < buckets; i += 1) {
        good += succeeded[i] ?? 0;
        bad += failed[i] ?? 0;
      }
      return { succeeded: good, failed: bad };
    },
    clear() {
      succeeded.fill(0);
      failed.fill(0);
    },
  };
}

/**
 * Counts successes and failures of the last `windowMs`, in a ring of buckets: what is too old leaves one bucket at a time.
 * Memory: two numbers a bucket.
 */
interface Counts {
  readonly succeeded: number;
  readonly failed: number;
}

export class SlidingCounts {
  readonly #buckets: number;
  readonly #bucketMs: number;
  readonly #succeeded: Uint32Array;
  readonly #failed: Uint32Array;
  /** Number of the newest bucket since time began. */
  #newest = Number.NEGATIVE_INFINITY;

  constructor(windowMs: number, buckets = 10) {
    this.#buckets = buckets;
    this.#bucketMs = windowMs / buckets;
    this.#succeeded = new Uint32Array(buckets);
    this.#failed = new Uint32Array(buckets);
  }

  add(isFailed: boolean, nowMs: number): void {
    this.#advance(nowMs);
    const at = this.#placeOf(this.#newest);
    const ring = isFailed ? this.#failed : this.#succeeded;
    ring[at] = (ring[at] ?? 0) + 1;
  }

  /** Sums the last `windowMs`, to a bucket. */
  sum(nowMs: number): Counts {
    this.#advance(nowMs);
    let succeeded = 0;
    let failed = 0;
    for (let i = 0; i < this.#buckets; i += 1) {
      succeeded += this.#succeeded[i] ?? 0;
      failed += this.#failed[i] ?? 0;
    }
    return { succeeded, failed };
  }

  clear(): void {
    this.#succeeded.fill(0);
    this.#failed.fill(0);
  }

  #placeOf(bucket: number): number {
    return ((bucket % this.#buckets) + this.#buckets) % this.#buckets;
  }

  /** Empties the buckets between the newest and now. A clock that goes back adds to the newest. */
  #advance(nowMs: number): void {
    const bucket = Math.floor(nowMs / this.#bucketMs);
    if (bucket <= this.#newest) return;
    const from = Math.max(this.#newest + 1, bucket - this.#buckets + 1);
    for (let i = from; i <= bucket; i += 1) {
      const at = this.#placeOf(i);
      this.#succeeded[at] = 0;
      this.#failed[at] = 0;
    }
    this.#newest = bucket;
  }
}

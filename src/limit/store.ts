/**
 * Where the levels of shared token buckets are kept: in this process (memory-store.ts) or in Redis (redis-lease-store.ts).
 * Both run the same conformance suite.
 */

/** A bucket of `amount` tokens that fills in `unitMs`. */
export interface StoredLimit {
  readonly amount: number;
  readonly unitMs: number;
}

export interface Taken {
  /** For a check or a refund: whether a single token could be taken now. */
  readonly granted: boolean;
  /** Whole tokens left, at least 0. */
  readonly remaining: number;
  /** Time until the bucket is full again. */
  readonly resetMs: number;
}

/**
 * One call for all buckets of a request: each is decided alone.
 *
 * @property hits more than 0: takes them, all or none. What is not granted and more than one is still charged, down to a
 *   debt of one full bucket: it is the report of something that has been used. 0: checks. Less than 0: gives back.
 */
export interface BucketRequest {
  readonly key: string;
  readonly limit: StoredLimit;
  readonly hits: number;
}

export interface LimitStore {
  /** In the order of the demands. A promise only when others have to be asked; it never rejects and is bounded in time. */
  take(demands: readonly BucketRequest[], nowMs: number): readonly Taken[] | Promise<readonly Taken[]>;
  close(): Promise<void>;
}

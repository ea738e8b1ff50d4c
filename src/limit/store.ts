/**
 * Where it is kept what was used of shared token buckets: in this process (memory-store.ts) or in Redis
 * (redis-lease-store.ts). Both run the same conformance suite.
 *
 * What is left is `amount − used`, with the amount of now: a key whose limit changed keeps what was used of it, and the
 * change applies at once. 100 used of 1,000 are 900 left, of 100 none, and of 50 a debt of 50 that is paid off at the new
 * rate. used.ts has the arithmetic.
 */

/** A bucket of `amount` tokens that fills in `unitMs`. It may be another one than at the last call. */
export interface StoredLimit {
  readonly amount: number;
  readonly unitMs: number;
  /** The most that use beyond the bucket can put it in debt. Default: one full bucket. */
  readonly maxDebt?: number;
  /** A bucket that nobody used for this long is forgotten, full or not. Default: only full ones are. */
  readonly keepMs?: number;
}

/**
 * What happens to hits that there are not enough tokens for.
 * - `take`: nothing is taken.
 * - `charge`: they are refused, and charged all the same, down to the debt: they have been used already.
 * - `report`: they are charged, and nobody waits for whether there were enough.
 */
export type TakeMode = 'take' | 'charge' | 'report';

export interface Taken {
  /** For a check or a refund: whether a single token could be taken now. */
  readonly granted: boolean;
  /** Tokens left; negative in debt. Where a shared store could not be asked: of this replica's part. */
  readonly level: number;
  /** Tokens used of the whole bucket, by all who share it; undefined where nobody could be asked so far. */
  readonly used: number | undefined;
  /** Whole tokens left, at least 0. */
  readonly remaining: number;
  /** Time until the bucket is full again. */
  readonly resetMs: number;
}

/**
 * One call for all buckets of a request: each is decided alone.
 *
 * @property hits more than 0: takes them, all or none. 0: checks. Less than 0: gives back.
 * @property mode of hits; default `take`.
 */
export interface BucketRequest {
  readonly key: string;
  readonly limit: StoredLimit;
  readonly hits: number;
  readonly mode?: TakeMode;
  /** What the caller knows to be used, of a bucket that does not fill: for when a shared store cannot be asked. */
  readonly knownUsed?: number;
}

export interface LimitStore {
  /** In the order of the requests. A promise only when others have to be asked; it never rejects and is bounded in time. */
  take(requests: readonly BucketRequest[], nowMs: number): readonly Taken[] | Promise<readonly Taken[]>;
  close(): Promise<void>;
}

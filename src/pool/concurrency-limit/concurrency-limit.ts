/**
 * How many sequences an endpoint may have in flight: as many as its engine runs at once, so that its batch is full and its
 * own queue, which knows no tenants, is empty.
 *
 * | file | what it is |
 * |---|---|
 * | fixed.ts | a number of the configuration |
 * | adaptive.ts | min(engine's room, SLO limit): what `auto` means |
 * | limit-search.ts | the engine's room: which size is known to be good, and when a larger one is tried |
 * | gauges.ts | moves the search by what the engine says of itself |
 * | vegas.ts | moves it by times to first token, where the gauges are missing or wrong (TCP Vegas) |
 * | slo.ts | the room that limits on TTFT and ITL leave |
 *
 * Another algorithm is another file here, and its name in adaptive.ts.
 */

/** What an engine says of itself. */
export interface Gauges {
  /** Sequences in its batch. */
  readonly running: number;
  /** Requests in its own queue. */
  readonly waiting: number;
  /** Part of the KV cache in use, 0 to 1; undefined when it does not say. */
  readonly kvUsage?: number;
}

/** What the limit goes by. */
export type LimitSource = 'fixed' | 'gauges' | 'ttft';

/** Reports of others are bounded in what they can move: a sample that cannot be true (NaN, negative, huge) moves nothing. */
export interface ConcurrencyLimit {
  /** Sequences that may be in flight, at least 1. */
  limit(nowMs: number): number;
  source(): LimitSource;
  /** A larger size is being probed: requests above their fair share may fill all of it. */
  isProbing(): boolean;
  /** Something is about to be known: a probe is on, or requests wait. The gauges are worth reading sooner. */
  isEager(): boolean;
  /** How much the engine can run is not known yet: requests of tenants below their fair share may exceed the limit. */
  isUnconfirmed(): boolean;
  /** A request found no room: only then is there a reason to widen it. */
  saturated(): void;
  /**
   * Hears a scrape: what the engine said, or that it said nothing that can be used. `inFlight` is our own count; `certain`
   * what of it was there for sure, where replicas count together and hear of one another a moment later.
   */
  gauges(sample: Gauges | 'unusable', inFlight: number, nowMs: number, certain?: number): void;
  /** Hears of a request's first token. `promptTokens` includes what was being computed before it. */
  firstToken(ttftMs: number, promptTokens: number, inFlight: number, nowMs: number): void;
  /** Hears the mean time between some tokens of a stream. */
  interToken(meanMs: number): void;
  /** Hears measured ÷ allowed, of a lane with limits on TTFT or ITL. */
  slo(ratio: number, nowMs: number): void;
  /** The engine itself says how many sequences it runs at once; undefined: it does not. */
  atMost(sequences: number | undefined): void;
}

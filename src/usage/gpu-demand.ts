/** What the division of an endpoint's time is told of a request, and keeps of it. */
import type { CachedGuess } from './cached-part.ts';

/** A request, as far as its engine's time goes. */
export interface GpuDemand {
  /** That decode. 0: it takes no place in the batch, and no time. */
  readonly sequences: number;
  /** Of the whole prompt. */
  readonly promptTokens: number;
  /** Of those, what is cached: a number where that is known, or what is guessed. */
  readonly cached: number | CachedGuess;
  /** Those, and all that are computed before them there. */
  readonly prefillTokens: number;
  /** `seen`: as tokens of a stream. `unseen`: in one piece. `none`: it is a prompt alone. */
  readonly output: 'seen' | 'unseen' | 'none';
}

/** What an engine says of a prompt. */
export interface PromptUse {
  readonly promptTokens: number;
  /** Of those, what it had cached. */
  readonly cachedTokens: number;
}

/** Where a window of a stream began. */
export interface WindowMark {
  ms: number;
  sequenceMs: number;
  computedTokens: number;
}

/** A request, as the clock of its endpoint keeps it: nobody else writes what can be written. */
export interface ClockedUse {
  readonly demand: GpuDemand;
  phase: 'prompt' | 'decoding';
  /** Of its prompt, as was thought when it began. */
  computedTokens: number;
  costMs: number;
  weight: number;
  /** As they were when it began there. */
  aside: number;
  beganMs: number;
  switchMs: number;
  /** When it began to decode: what it had until then, and V. */
  takenMs: number;
  /** It took what it was thought to cost, as others decoded beside it. */
  isByCost: boolean;
  vWholeMs: number;
  vPartMs: number;
}

/**
 * What keeps affinity from making hot spots.
 *
 * A cached prefix, a session or a loaded adapter attracts requests to one endpoint, and the more popular it is, the more.
 * Two rules hold it back:
 *
 * 1. One currency. The scores `prefix` and `queue` are in prompt tokens by the same scale: with equal weights the endpoint
 *    wins that has the fewest tokens to compute before this request's first one, those of others included. So a prefix is
 *    worth a queue as long as itself and no longer. It is the comparison of cached and missed prompt work of Preble's E2
 *    (V. Srivatsa et al., ICLR 2025, section 3) and of Mooncake's choice by estimated TTFT (R. Qin et al., FAST 2025).
 *    `prefillScale` is the prompt's length, or LEAST_SCALE_TOKENS for a shorter one: so little of a short prompt is to be saved
 *    that it follows the load.
 * 2. A bound. An endpoint above (1 + EXCESS) times the pool's mean use of its limits, and some slack, attracts nobody by what
 *    it remembers, however much that is: consistent hashing with bounded loads (V. Mirrokni, M. Thorup and
 *    M. Zadimoghaddam, SODA 2018), where the key's own bin is full at that many times the average. The slack is what
 *    SGLang's cache-aware router does with its absolute threshold: where hardly anything runs, any difference is a large ratio. A
 *    limit that has not had to grow is small, and says nothing of the engine: LEAST_SLACK sequences are always few.
 *
 * A popular prefix spreads by itself: whom the bound sends elsewhere takes the prefix along.
 */
import type { Candidate } from './candidate.ts';

const EXCESS = 0.25;
/** Of the concurrency limit. */
const SLACK = 0.125;
/** Sequences. */
const LEAST_SLACK = 8;
/** Above what prompts usually wait in an endpoint, so that their order is seen. */
const LEAST_SCALE_TOKENS = 16_384;

export const prefillScaleOf = (promptTokens: number): number => Math.max(LEAST_SCALE_TOKENS, promptTokens);

/** @param mean sequences in flight ÷ concurrency limits, of all endpoints that pass the cheap filters. */
export const attractionLimitOf = (mean: number): number => (1 + EXCESS) * mean;

/** What the endpoint remembers counts. */
export const attracts = (
  { sequences, waiting, concurrencyLimit, startWeight }: Candidate,
  limit: number,
): boolean =>
  sequences + waiting <=
  (limit * concurrencyLimit + Math.max(SLACK * concurrencyLimit, LEAST_SLACK)) * startWeight;

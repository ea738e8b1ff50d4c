import type { Candidate, Scorer, ScoringContext } from '../candidate.ts';

/** An endpoint whose capacity nobody knows is neither better nor worse. */
const UNKNOWN = 0.5;

/**
 * The part of the KV cache that is left when this request and all that is in flight have grown to what is predicted. The
 * prompt counts in full although a part may be cached: what it shares cannot be evicted while it runs.
 */
export const scoreKvRoom = (candidate: Candidate, { request }: ScoringContext): number => {
  const capacity = candidate.kvCapacityTokens;
  if (capacity === 0) return UNKNOWN;
  const left = capacity - candidate.kvTokens - request.totalTokens;
  return left <= 0 ? 0 : left / capacity;
};

export const kvRoom: Scorer = { name: 'kvRoom', applies: () => true, score: scoreKvRoom };

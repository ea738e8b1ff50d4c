import type { Candidate, Scorer, ScoringContext } from '../candidate.ts';

/**
 * Part of the concurrency limit in use. What waits in the engine's own queue is in flight and counts once more: it stands before this
 * request. An endpoint that has just come back has a part of its limit.
 */
const occupancyOf = (candidate: Candidate): number =>
  (candidate.sequences + candidate.waiting) / Math.max(1, candidate.concurrencyLimit * candidate.startWeight);

/** The part of its limit that is free. */
export const scoreLoad = (candidate: Candidate): number => {
  const used = occupancyOf(candidate);
  return used >= 1 ? 0 : 1 - used;
};

export const load: Scorer = {
  name: 'load',
  applies: (_context: ScoringContext) => true,
  score: scoreLoad,
};

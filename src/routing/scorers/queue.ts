import type { Candidate, Scorer, ScoringContext } from '../candidate.ts';

/**
 * How few prompt tokens have to be computed before this request's. In the unit of the prefix score: a token ahead in the
 * queue costs as much as a token that is in no cache.
 */
export const scoreQueue = (candidate: Candidate, { prefillScale }: ScoringContext): number => {
  const ahead = candidate.prefillTokens;
  return ahead >= prefillScale ? 0 : 1 - ahead / prefillScale;
};

export const queue: Scorer = { name: 'queue', applies: () => true, score: scoreQueue };

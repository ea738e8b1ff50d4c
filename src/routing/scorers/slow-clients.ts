import type { Candidate, Scorer, ScoringContext } from '../candidate.ts';

/** Slow clients may hold this part of an endpoint's limit before the next one gets some. */
const FULL_PART = 0.5;

/**
 * A slow client holds its slot for longer than its tokens take. Slow ones are packed together, as long as they leave half of
 * the limit; others are kept away from them.
 */
export const scoreSlowClients = (candidate: Candidate, { request }: ScoringContext): number => {
  const part = Math.min(1, candidate.slowClients / Math.max(1, candidate.concurrencyLimit));
  if (!request.slow) return 1 - part;
  return part < FULL_PART ? part / FULL_PART : 0;
};

export const slowClients: Scorer = { name: 'slowClients', applies: () => true, score: scoreSlowClients };

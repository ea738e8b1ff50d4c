import { type Candidate, type Filter, GUARDED, type ScoringContext } from '../candidate.ts';

/** The breaker of this model or adapter lets the request in. It is asked only where one is not closed. */
export const isPermitted = (candidate: Candidate, { queries }: ScoringContext): boolean =>
  (candidate.flags & GUARDED) === 0 || queries.permits(candidate);

export const breaker: Filter = { name: 'breaker', passes: isPermitted };

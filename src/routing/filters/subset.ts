import type { Candidate, Filter, ScoringContext } from '../candidate.ts';

/** It is one of the addresses to which the request was narrowed, if it was. */
export const isInSubset = (candidate: Candidate, { request }: ScoringContext): boolean =>
  request.subset === undefined || request.subset.has(candidate.address);

export const subset: Filter = { name: 'subset', passes: isInSubset };

import { type Candidate, type Filter, ISOLATED, type ScoringContext } from '../candidate.ts';

/** Slow clients go where they are isolated, and nobody else does; while one side has no endpoint, both share the other's. */
export const isOnItsSide = (candidate: Candidate, { request, isolate }: ScoringContext): boolean =>
  !isolate || ((candidate.flags & ISOLATED) !== 0) === request.slow;

export const isolation: Filter = { name: 'isolation', passes: isOnItsSide };

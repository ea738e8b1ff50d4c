import type { Candidate, Scorer, ScoringContext } from '../candidate.ts';

/** It is where the request wants to stay. */
const scoreZone = (candidate: Candidate, { request }: ScoringContext): number =>
  request.zone === undefined || candidate.zone === request.zone ? 1 : 0;

export const zone: Scorer = {
  name: 'zone',
  applies: ({ request }) => request.zone !== undefined,
  score: scoreZone,
};

import type { Candidate, Scorer, ScoringContext } from '../candidate.ts';

/** It served the session's latest request. */
export const scoreSession = (candidate: Candidate, { sessionCandidate }: ScoringContext): number =>
  candidate.candidateIndex === sessionCandidate ? 1 : 0;

export const session: Scorer = {
  name: 'session',
  remembers: true,
  applies: ({ sessionCandidate }) => sessionCandidate >= 0,
  score: scoreSession,
};

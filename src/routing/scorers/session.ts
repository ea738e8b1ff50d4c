import type { Candidate, Scorer, ScoringContext } from '../candidate.ts';

/** It served the session's latest request. */
export const scoreSession = (
  candidate: Candidate,
  { sessionCandidate: sessionSlot }: ScoringContext,
): number => (candidate.candidateIndex === sessionSlot ? 1 : 0);

export const session: Scorer = {
  name: 'session',
  remembers: true,
  applies: ({ sessionCandidate: sessionSlot }) => sessionSlot >= 0,
  score: scoreSession,
};

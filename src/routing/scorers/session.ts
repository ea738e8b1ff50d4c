import type { Asked, Candidate, Scorer } from '../candidate.ts';

/** It served the session's latest request. */
export const scoreSession = (candidate: Candidate, { sessionSlot }: Asked): number =>
  candidate.slot === sessionSlot ? 1 : 0;

export const session: Scorer = {
  name: 'session',
  applies: ({ sessionSlot }) => sessionSlot >= 0,
  score: scoreSession,
};

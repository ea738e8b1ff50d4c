import type { Candidate, Scorer, ScoringContext } from '../candidate.ts';

/** Prompt tokens that the endpoint is thought to have cached. */
export const matchedTokens = (
  { candidateIndex: slot }: Candidate,
  { matchedBytes, matchedEverywhere, tokensPerByte, request }: ScoringContext,
): number =>
  Math.min(request.promptTokens, Math.max(matchedEverywhere, matchedBytes[slot] ?? 0) * tokensPerByte);

/**
 * Prompt tokens that need not be computed there, beyond those that need not be computed anywhere; `prefillScale` of them
 * are 1.
 */
export const scorePrefix = ({ candidateIndex: slot }: Candidate, asked: ScoringContext): number => {
  const more = (asked.matchedBytes[slot] ?? 0) - asked.matchedEverywhere;
  if (more <= 0) return 0;
  const score = (more * asked.tokensPerByte) / asked.prefillScale;
  return score > 1 ? 1 : score;
};

export const prefix: Scorer = {
  name: 'prefix',
  remembers: true,
  applies: ({ request }) => request.prompt !== undefined && request.prompt.blocks.length > 0,
  score: scorePrefix,
};

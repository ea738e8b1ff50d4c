import type { Candidate, Scorer, ScoringContext } from '../candidate.ts';

/** Prompt tokens that the endpoint is thought to have cached. */
export const matchedTokens = (
  { candidateIndex }: Candidate,
  { matchedBytes, matchedEverywhere, tokensPerByte, request }: ScoringContext,
): number =>
  Math.min(
    request.promptTokens,
    Math.max(matchedEverywhere, matchedBytes[candidateIndex] ?? 0) * tokensPerByte,
  );

/**
 * Prompt tokens that need not be computed there, beyond those that need not be computed anywhere; `prefillScale` of them
 * are 1.
 */
export const scorePrefix = ({ candidateIndex }: Candidate, context: ScoringContext): number => {
  const more = (context.matchedBytes[candidateIndex] ?? 0) - context.matchedEverywhere;
  if (more <= 0) return 0;
  const score = (more * context.tokensPerByte) / context.prefillScale;
  return score > 1 ? 1 : score;
};

export const prefix: Scorer = {
  name: 'prefix',
  remembers: true,
  applies: ({ request }) => request.prompt !== undefined && request.prompt.blocks.length > 0,
  score: scorePrefix,
};

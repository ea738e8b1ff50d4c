/**
 * The cost of a request: weighted tokens. A decoded token holds a batch slot for a whole step while prompt tokens share
 * steps in chunks, so output weighs more; a prompt token that the prefix cache had is hardly computed.
 */
export interface CostWeights {
  readonly prompt: number;
  /** Of a prompt token that the prefix cache had. */
  readonly cached: number;
  readonly output: number;
}

export const DEFAULT_COST: CostWeights = { prompt: 1, cached: 0.1, output: 2 };

/**
 * Weighted tokens of a request; at least 1, so that even an empty request moves the round on.
 *
 * @param cachedTokens part of promptTokens; more than those is cut.
 */
export function costOf(
  weights: CostWeights,
  promptTokens: number,
  cachedTokens: number,
  outputTokens: number,
): number {
  const cached = Math.min(promptTokens, Math.max(0, cachedTokens));
  return Math.max(
    1,
    weights.prompt * (promptTokens - cached) + weights.cached * cached + weights.output * outputTokens,
  );
}

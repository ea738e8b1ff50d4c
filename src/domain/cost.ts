/**
 * The cost of a request: weighted tokens. A decoded token holds a batch slot for a whole step while prompt tokens
 * share steps in chunks, so output weighs more.
 */
const PROMPT_WEIGHT = 1;
const OUTPUT_WEIGHT = 2;

/** Weighted tokens of a request; at least 1, so that even an empty request moves the round on. */
export function costOf(promptTokens: number, outputTokens: number): number {
  return Math.max(1, PROMPT_WEIGHT * promptTokens + OUTPUT_WEIGHT * outputTokens);
}

/** `cost`: what a request weighs in the queue; models may have their own. */
import { number, section } from './dsl.ts';

const weights = {
  prompt: number([0, 1_000], 'Weighted tokens of a prompt token.').prefault(1),
  cachedPrompt: number(
    [0, 1_000],
    'Weighted tokens of a prompt token that the engine’s prefix cache had.',
  ).prefault(0.1),
  output: number(
    [0, 1_000],
    'Weighted tokens of an output token: it holds its place in the batch for a whole step.',
  ).prefault(2),
};
export const cost = section(weights, 'Cost of requests, by which the queue’s order is fair.').refine(
  ({ prompt, output }) => prompt + output > 0,
  { error: 'prompt and output must not both be 0' },
);

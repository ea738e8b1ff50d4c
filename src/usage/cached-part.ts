/**
 * How much of a prompt an engine has cached, where that is not known before it says so: between two guesses.
 *
 *   cached = proportional + blend × (usual − proportional)
 *
 * `proportional` grows with the prompt, as in long conversations; `usual` is the same for all, as where prompts begin with one
 * long text. Which of the two it is, is learned for each engine: least squares, the old forgotten, between 0 and 1.
 */

/** What is guessed of a prompt's cached tokens. */
export interface CachedGuess {
  readonly proportional: number;
  readonly usual: number;
}

const KEEP = 0.99;
/** So that a few tokens of difference tell nothing, in tokens squared. */
const PRIOR = 10_000;

export class CachedPart {
  #products = 0;
  #squares = PRIOR;

  /** Tokens, as they are guessed now. */
  of({ proportional, usual }: CachedGuess): number {
    const blend = Math.max(0, Math.min(1, this.#products / this.#squares));
    return proportional + blend * (usual - proportional);
  }

  learn({ proportional, usual }: CachedGuess, cachedTokens: number): void {
    const difference = usual - proportional;
    const products = difference * (cachedTokens - proportional);
    if (!Number.isFinite(products)) return;
    this.#products = KEEP * this.#products + products;
    this.#squares = KEEP * this.#squares + (1 - KEEP) * PRIOR + difference * difference;
  }
}

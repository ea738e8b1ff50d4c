/**
 * What an engine's steps cost, learned from its streams: the time of a step by its decoding sequences, and of a prompt token.
 *
 *   ms per step = base + perSequence × decoding sequences + perPromptToken × prompt tokens of others in it
 *
 * Least squares over windows of streams, the old ones forgotten, none of the three below zero: each sample is a sweep of
 * Gauss–Seidel from where the last one ended. What samples cannot tell apart stays near what large models need.
 */

/** Over a few dozen tokens of one stream. */
export interface Window {
  readonly ms: number;
  /** Tokens that came, one for each step. */
  readonly steps: number;
  /** Mean of those that decoded beside it, itself among them. */
  readonly sequences: number;
  /** Of others, computed in that time. */
  readonly promptTokens: number;
}

/** A sample is forgotten after about so many. */
const MEMORY = 200;
const KEEP = 1 - 1 / MEMORY;
/** Samples that what is assumed is worth. */
const PRIOR = 0.005;
const BASE_MS = 15;
const SEQUENCE_MS = 0.1;
const PROMPT_TOKEN_MS = 0.1;
/** So that all three are of one size. */
const MANY = 100;
/** A client that reads slowly makes windows long: a step counts for at most so many times what was expected. */
const MOST_TIMES = 4;
const SWEEPS = 3;
/** Of all that was learned, what is forgotten when a prompt was all cached, and none of it was thought to be. */
const DOUBT = 0.2;
/** No window is shorter; of nothing there is more in one. */
const LEAST_MS = 0.01;
const MOST = 1e9;

const isIn = (value: number, least: number, most: number): boolean => value >= least && value <= most;

export class StepCosts {
  #baseMs = BASE_MS;
  #hundredSequencesMs = MANY * SEQUENCE_MS;
  #hundredTokensMs = MANY * PROMPT_TOKEN_MS;
  // Sums of products: of the factors (1, sequences / 100, tokens / 100), and of those with the times.
  #n = PRIOR;
  #s = 0;
  #p = 0;
  #ss = PRIOR;
  #sp = 0;
  #pp = PRIOR;
  #y = PRIOR * BASE_MS;
  #sy = PRIOR * MANY * SEQUENCE_MS;
  #py = PRIOR * MANY * PROMPT_TOKEN_MS;

  get msPerPromptToken(): number {
    return this.#hundredTokensMs / MANY;
  }

  /** Of a step in which so many sequences decode, and no prompt is computed. */
  stepMs(sequences: number): number {
    return this.#baseMs + (this.#hundredSequencesMs * sequences) / MANY;
  }

  /** Nothing is learned of what cannot be. */
  learn({ ms, steps, sequences, promptTokens }: Window): void {
    if (!(isIn(ms, LEAST_MS, MOST) && isIn(steps, 1, MOST) && isIn(sequences, 0.5, MOST))) return;
    if (!isIn(promptTokens, 0, MOST)) return;
    const s = sequences / MANY;
    const p = promptTokens / steps / MANY;
    const expected = this.#baseMs + this.#hundredSequencesMs * s + this.#hundredTokensMs * p;
    const y = Math.min(ms / steps, MOST_TIMES * expected);
    this.#keep(KEEP);
    this.#n += 1;
    this.#s += s;
    this.#p += p;
    this.#ss += s * s;
    this.#sp += s * p;
    this.#pp += p * p;
    this.#y += y;
    this.#sy += s * y;
    this.#py += p * y;
    for (let i = 0; i < SWEEPS; i += 1) this.#sweep();
  }

  /**
   * A prompt was thought to be so many tokens, and was of others: samples with such prompts tell little, and are forgotten sooner.
   *
   * @param thought @param computed tokens, at least 1.
   */
  doubt(thought: number, computed: number): void {
    const off = Math.abs(thought - computed) / Math.max(thought, computed);
    if (isIn(off, 0, 1)) this.#keep(1 - DOUBT * off * off);
  }

  #keep(part: number): void {
    const old = (1 - part) * PRIOR;
    this.#n = part * this.#n + old;
    this.#s *= part;
    this.#p *= part;
    this.#ss = part * this.#ss + old;
    this.#sp *= part;
    this.#pp = part * this.#pp + old;
    this.#y = part * this.#y + old * BASE_MS;
    this.#sy = part * this.#sy + old * MANY * SEQUENCE_MS;
    this.#py = part * this.#py + old * MANY * PROMPT_TOKEN_MS;
  }

  #sweep(): void {
    const atLeast = (least: number, value: number): number => Math.max(least, value);
    const b = this.#baseMs;
    const s = atLeast(0, (this.#sy - this.#s * b - this.#sp * this.#hundredTokensMs) / this.#ss);
    const p = atLeast(MANY * 1e-5, (this.#py - this.#p * b - this.#sp * s) / this.#pp);
    this.#hundredSequencesMs = s;
    this.#hundredTokensMs = p;
    this.#baseMs = atLeast(0.01, (this.#y - this.#s * s - this.#p * p) / this.#n);
  }
}

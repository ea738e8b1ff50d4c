/**
 * Moves the limit by times to first token, where no gauges tell what waits in the engine.
 *
 *   excess  = TTFT − 2 × ITL − prompt tokens × ms per prompt token       what is beyond a step and the prompt
 *   waiting = median(excess) × releases per ms                           Little's law
 *   waiting > 1 and median(excess) > LATE_STEPS × ITL:  limit ← limit − min(waiting, limit / 4)
 *   otherwise:                                          a larger limit may be probed (limit-search.ts)
 *
 * The rule of TCP Vegas: what a round trip takes beyond its least is what stands in a queue (L. Brakmo and L. Peterson 1995,
 * section 3). The least is learned: ms per prompt token rises more slowly than it falls, and so settles near the lower
 * quartile, what a prompt costs when nothing waits.
 *
 * One sample moves the estimates by a bounded factor (MOST_TIMES): TTFT may hide what no limit can change, as reasoning that
 * is not shown.
 */
import type { LimitSearch } from './limit-search.ts';
import { quantileOf } from './quantile.ts';

const ROUND_MS = 250;
const MIN_SAMPLES = 5;
const SMOOTHING = 0.1;
/** Shorter prompts say nothing of what a token costs. */
const MIN_PROMPT_TOKENS = 64;
/** Part of the first tokens that have to be late before a waiting request is thought to wait for a slot. */
const LATE_PART = 0.4;
const LATE_SMOOTHING = 0.2;
/** First tokens that were seen longer ago say nothing of now. */
const TOKENS_AGE_MS = 5_000;
/** A first token is late from so many steps beyond the expected time on. */
const LATE_STEPS = 3;
/** A sample counts for at most so many times what was known. */
const MOST_TIMES = 32;
/** Of what was known, at least so much, ms: or an estimate of 0 would stay. */
const LEAST_MS_PER_TOKEN = 0.01;
const LEAST_ITL_MS = 1;
/** Longer times are no measurement, nor are longer prompts. */
const MOST_MS = 3_600_000;
const MOST_TOKENS = 1_000_000_000;

const isTime = (ms: number): boolean => ms >= 0 && ms <= MOST_MS;

export class VegasRule {
  readonly #search: LimitSearch;

  // Learned.
  #itlMs: number | undefined;
  #msPerPromptToken: number | undefined;
  /** Part of the first tokens, lately, that were later than a step and their prompts explain. */
  #late = 0;
  #latestMs: number | undefined;

  // Of the round.
  #excess: number[] = [];
  #roundMs: number | undefined;

  constructor(search: LimitSearch) {
    this.#search = search;
  }

  /** First tokens are later than prompts explain; undefined: none was seen of late. */
  areLate(nowMs: number): boolean | undefined {
    if (this.#latestMs === undefined || nowMs - this.#latestMs >= TOKENS_AGE_MS) return undefined;
    return this.#late > LATE_PART;
  }

  interToken(meanMs: number): void {
    if (!isTime(meanMs)) return;
    const before = this.#itlMs ?? meanMs;
    const sample = Math.min(meanMs, MOST_TIMES * Math.max(before, LEAST_ITL_MS));
    this.#itlMs = before + SMOOTHING * (sample - before);
  }

  /** Learns from a first token, and gives what is beyond a step and the prompt, in ms; undefined: it is no measurement. */
  firstToken(ttftMs: number, promptTokens: number, nowMs: number): number | undefined {
    if (!isTime(ttftMs) || !(promptTokens >= 0 && promptTokens <= MOST_TOKENS)) return undefined;
    const tokens = Math.max(MIN_PROMPT_TOKENS, promptTokens);
    const itlMs = this.#itlMs ?? 0;
    const beyondStepMs = Math.max(0, ttftMs - 2 * itlMs);
    const before = this.#msPerPromptToken ?? beyondStepMs / tokens;
    const sample = Math.min(beyondStepMs / tokens, MOST_TIMES * Math.max(before, LEAST_MS_PER_TOKEN));
    const msPerToken = before + (sample < before ? SMOOTHING : SMOOTHING / 3) * (sample - before);
    this.#msPerPromptToken = msPerToken;
    const promptMs = msPerToken * tokens;
    const isLate = ttftMs > promptMs + LATE_STEPS * itlMs;
    this.#late += LATE_SMOOTHING * ((isLate ? 1 : 0) - this.#late);
    this.#latestMs = nowMs;
    return Math.max(0, ttftMs - 2 * itlMs - promptMs);
  }

  /**
   * Adds to the round, and moves the limit at its end.
   *
   * @param excessMs as firstToken() gave it.
   * @returns true at the end of a round.
   */
  apply(excessMs: number, inFlight: number, isSaturated: boolean, nowMs: number): boolean {
    this.#roundMs ??= nowMs;
    this.#excess.push(excessMs);
    const roundMs = nowMs - this.#roundMs;
    if (this.#excess.length < MIN_SAMPLES || roundMs < ROUND_MS) return false;
    const perMs = this.#excess.length / roundMs;
    const typicalMs = quantileOf(this.#excess, 0.5);
    this.#excess = [];
    this.#roundMs = nowMs;
    const waiting = typicalMs * perMs;
    if (typicalMs > LATE_STEPS * (this.#itlMs ?? 0) && waiting > 1) {
      const size = this.#search.size();
      this.#search.lower(size - Math.min(waiting, size / 4), true, nowMs);
    } else this.#search.raise(inFlight, isSaturated, nowMs);
    return true;
  }
}

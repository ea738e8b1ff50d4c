/**
 * The largest limit with which SLO_QUANTILE of the samples of measured ÷ allowed are at most 1. Each round of at least
 * SLO_ROUND_MS and MIN_SLO_SAMPLES, with `worst` their quantile:
 *
 *   worst > 1:                       limit ← limit × max(0.75, 1 − (worst − 1) / 2)
 *   worst ≤ 1, and it was saturated: limit ← limit × (1 + min(0.1, (1 − worst) / 2)) + 0.25
 *
 * Additive increase with multiplicative decrease (D. Chiu and R. Jain, 1989), both in proportion to the distance from the
 * target. One sample counts as one of a quantile, however large it is.
 */
import { quantileOf } from './quantile.ts';

const SLO_ROUND_MS = 1_000;
const MIN_SLO_SAMPLES = 20;
/** Part of the samples that has to keep the limits. */
const SLO_QUANTILE = 0.9;
/** Without samples of a lane with limits for so long, they bind nobody. */
const SLO_IDLE_MS = 10_000;

export class SloLimit {
  #limit = Number.POSITIVE_INFINITY;
  #samples: number[] = [];
  #roundMs: number | undefined;
  #latestMs = 0;

  limit(nowMs: number): number {
    return nowMs - this.#latestMs > SLO_IDLE_MS ? Number.POSITIVE_INFINITY : this.#limit;
  }

  /**
   * @param ratio measured ÷ allowed. What is not a number from 0 on is ignored.
   * @param current the concurrency limit that it was measured with.
   */
  add(ratio: number, current: number, isSaturated: boolean, nowMs: number): void {
    if (!(ratio >= 0) || ratio === Number.POSITIVE_INFINITY) return;
    this.#limit = this.limit(nowMs);
    this.#latestMs = nowMs;
    this.#roundMs ??= nowMs;
    this.#samples.push(ratio);
    if (nowMs - this.#roundMs < SLO_ROUND_MS || this.#samples.length < MIN_SLO_SAMPLES) return;
    const worst = quantileOf(this.#samples, SLO_QUANTILE);
    this.#samples = [];
    this.#roundMs = nowMs;
    const before = Math.min(this.#limit, current);
    if (worst > 1) this.#limit = Math.max(1, before * Math.max(0.75, 1 - (worst - 1) / 2));
    else if (isSaturated) this.#limit = before * (1 + Math.min(0.1, (1 - worst) / 2)) + 0.25;
  }
}

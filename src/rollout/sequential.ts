/**
 * Is the canary worse? A sequential test of whether bad outcomes (failures, slow answers) are the canary's more often than its
 * part of the traffic.
 *
 * If the arms are alike, whose an outcome is does not depend on whether it is bad: it is the canary's with probability s, its
 * part. Against an alternative with bad outcomes at rates c (canary) and b (stable), and m = s·c + (1 − s)·b, an outcome's
 * ratio is c/m or b/m if it is bad and (1 − c)/(1 − m) or (1 − b)/(1 − m) if it is not, for the canary's and the stable arm's. Over
 * the arms its mean is 1 for a bad and for a good outcome, so the product is a martingale whatever the rate of bad outcomes is and
 * however it changes: what befalls both arms (a burst of load, an outage) proves nothing.
 *
 * - It is Wald's sequential probability ratio test (A. Wald, "Sequential Tests of Statistical Hypotheses", Annals of Mathematical
 *   Statistics 16, 1945) with the ratio of R. Turner, A. Ly and P. Grünwald ("Generic E-variables for exact sequential k-sample
 *   tests that allow for optional stopping", 2021) for blocks of one outcome.
 * - Alternatives are mixed (H. Robbins, "Statistical Methods Related to the Law of the Iterated Logarithm", 1970), and so is the
 *   time of the change: one begins at each bad outcome, the k-th with a weight in proportion to k^-1.3. So a long good time
 *   does not bury a change under its evidence. The mixture is a martingale too.
 * - By Ville's inequality it ever reaches 1/α with a probability of at most α, however long it runs and however often one looks.
 */
export interface SequentialTest {
  /**
   * True from the outcome on that proves the canary worse.
   *
   * @param part the canary's part of the traffic, over 0 and under 1, known before the outcome.
   */
  outcome(isCanary: boolean, isBad: boolean, part: number): boolean;
  /** How many times as likely a worse canary makes what was seen than an equal one. */
  ratio(): number;
}

/** What the canary's rate of bad outcomes may be, given the stable arm's, and how much is set on it. */
const ALTERNATIVES: readonly { readonly weight: number; readonly rate: (stable: number) => number }[] = [
  { weight: 0.6, rate: (stable) => Math.max(0.95, stable) },
  { weight: 0.2, rate: (stable) => stable + 0.4 * (1 - stable) },
  { weight: 0.2, rate: (stable) => Math.min(0.9, 4 * stable) },
];
const CHANGE_EXPONENT = 1.3;
/** The sum of k^-1.3 over all k. */
const CHANGE_TOTAL = 3.9319;
const MIN_PART = 1e-4;
/** The stable arm's rate is taken to be within these. */
const MIN_RATE = 0.005;
const MAX_RATE = 0.8;
/** Outcomes of the stable arm by which its rate is learned. */
const RATE_OUTCOMES = 200;

class MixtureTest implements SequentialTest {
  private readonly alpha: number;
  /** For each alternative: the changes so far, each with its weight and its ratio. */
  private readonly sums = ALTERNATIVES.map(() => 0);
  private changes = 0;
  /** Weight of the changes that have not begun. */
  private unspent = 1;
  private stableRate = MIN_RATE;
  private isProven = false;

  constructor(alpha: number) {
    this.alpha = alpha;
  }

  outcome(isCanary: boolean, isBad: boolean, part: number): boolean {
    if (this.isProven) return true;
    const { sums } = this;
    if (isBad) this.beginChange();
    const s = Math.min(1 - MIN_PART, Math.max(MIN_PART, part));
    const b = Math.min(MAX_RATE, Math.max(MIN_RATE, this.stableRate));
    ALTERNATIVES.forEach(({ rate }, i) => {
      const c = rate(b);
      const m = s * c + (1 - s) * b;
      const own = isCanary ? c : b;
      sums[i] = (sums[i] ?? 0) * (isBad ? own / m : (1 - own) / (1 - m));
    });
    // Learned after it was used: the ratio may only know what came before.
    if (!isCanary) this.stableRate += ((isBad ? 1 : 0) - this.stableRate) / RATE_OUTCOMES;
    this.isProven = this.ratio() >= 1 / this.alpha;
    return this.isProven;
  }

  ratio(): number {
    return this.unspent + ALTERNATIVES.reduce((sum, { weight }, i) => sum + weight * (this.sums[i] ?? 0), 0);
  }

  /** The canary may have become worse at this outcome. */
  private beginChange(): void {
    const { sums } = this;
    this.changes += 1;
    const weight = this.changes ** -CHANGE_EXPONENT / CHANGE_TOTAL;
    this.unspent -= weight;
    for (let i = 0; i < sums.length; i += 1) sums[i] = (sums[i] ?? 0) + weight;
  }
}

/** @param alpha probability of ever calling a canary worse that is not. */
export const createSequentialTest = (alpha: number): SequentialTest => new MixtureTest(alpha);

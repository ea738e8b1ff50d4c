/**
 * From when on a first token counts as late: `slowFactor` times the `slowQuantile` of the stable arm's latest times, for
 * prompts of about that size.
 *
 * Prompts are in classes, each four times as long as the one before, because a long prompt takes longer without being slow.
 */

/** Prompts of up to 64 tokens, and each class four times as long. */
const SMALLEST_CLASS = 64;
const CLASSES = 8;
const CLASS_STEP = 4;
/** Times of the stable arm that are kept for each class, and how many there have to be. */
const KEPT = 256;
const ENOUGH = 32;
/** The quantile is taken anew after so many. */
const RENEW_AFTER = 16;

function classOf(promptTokens: number): number {
  let limit = SMALLEST_CLASS;
  for (let at = 0; at < CLASSES - 1; at += 1) {
    if (promptTokens <= limit) return at;
    limit *= CLASS_STEP;
  }
  return CLASSES - 1;
}

class SizeClass {
  /** A ring. */
  readonly times = new Float64Array(KEPT);
  seen = 0;
  slowAfterMs: number | undefined = undefined;
}

export class SlowThreshold {
  private readonly quantile: number;
  private readonly factor: number;
  private readonly classes = Array.from({ length: CLASSES }, () => new SizeClass());

  constructor({ slowQuantile, slowFactor }: { readonly slowQuantile: number; readonly slowFactor: number }) {
    this.quantile = slowQuantile;
    this.factor = slowFactor;
  }

  /** Undefined while the stable arm has shown too little. */
  slowAfterMs(promptTokens: number): number | undefined {
    return this.classes[classOf(promptTokens)]?.slowAfterMs;
  }

  /** Notes a time to first token of the stable arm. */
  learn(promptTokens: number, ttftMs: number): void {
    const size = this.classes[classOf(promptTokens)];
    if (size === undefined) return;
    size.times[size.seen % KEPT] = ttftMs;
    size.seen += 1;
    if (size.seen < ENOUGH || size.seen % RENEW_AFTER !== 0) return;
    const sorted = size.times.slice(0, Math.min(KEPT, size.seen)).sort();
    const at = Math.min(sorted.length - 1, Math.floor(this.quantile * sorted.length));
    size.slowAfterMs = this.factor * (sorted[at] ?? Number.POSITIVE_INFINITY);
  }
}

/**
 * Two known ways to find a concurrency limit, to compare ours with. Each follows its paper's rule, with the parameters
 * named there.
 */
import type { ConcurrencyLimit, Gauges } from '../src/pool/concurrency-limit/concurrency-limit.ts';

/** A limit that hears nothing: what each of the two does with what it hears is its own. */
abstract class KnownLimit implements ConcurrencyLimit {
  protected current: number;

  constructor(initial: number) {
    this.current = initial;
  }

  limit(): number {
    return Math.max(1, Math.floor(this.current));
  }

  source(): 'ttft' {
    return 'ttft';
  }

  isProbing(): boolean {
    return false;
  }

  isEager(): boolean {
    return false;
  }

  isUnconfirmed(): boolean {
    return false;
  }

  saturated(): void {}

  gauges(_sample: Gauges | 'unusable'): void {}

  firstToken(_ttftMs: number, _promptTokens: number, _inFlight: number): void {}

  interToken(): void {}

  slo(): void {}

  atMost(): void {}
}

/**
 * Additive increase, multiplicative decrease on the engine's waiting queue: one more at each scrape without a waiting
 * request while the limit is used up, a tenth less with one. D. Chiu and R. Jain 1989.
 */
class AimdLimit extends KnownLimit {
  #isSaturated = false;

  override saturated(): void {
    this.#isSaturated = true;
  }

  override gauges(sample: Gauges | 'unusable'): void {
    if (sample === 'unusable') return;
    if (sample.waiting > 0) this.current = Math.max(1, this.current * 0.9);
    else if (this.#isSaturated) this.current += 1;
    this.#isSaturated = false;
  }
}

/**
 * The gradient of the time to first token, as in Netflix's concurrency-limits (Gradient2Limit): the long-term mean over the
 * current time, at most 1 and at least 0.5, with a tolerance of 1.5, plus a queue of the limit's square root, smoothed.
 */
class GradientLimit extends KnownLimit {
  #longTermMs: number | undefined;

  override firstToken(ttftMs: number, _promptTokens: number, inFlight: number): void {
    let long = this.#longTermMs ?? ttftMs;
    long += (ttftMs - long) / 600;
    if (long / ttftMs > 2) long *= 0.95;
    this.#longTermMs = long;
    // A limit that is not used up says nothing.
    if (inFlight < this.current / 2) return;
    const gradient = Math.max(0.5, Math.min(1, (1.5 * long) / ttftMs));
    const wanted = this.current * gradient + Math.sqrt(this.current);
    this.current = Math.min(4_096, Math.max(4, 0.8 * this.current + 0.2 * wanted));
  }
}

export const aimdLimit = (initial: number): ConcurrencyLimit => new AimdLimit(initial);
export const gradientLimit = (initial: number): ConcurrencyLimit => new GradientLimit(initial);

/** Two known ways to size a window, to compare ours with. Each follows its paper's rule, with the parameters named there. */
import type { ConcurrencyLimit, Gauges } from '../src/pool/concurrency-limit/concurrency-limit.ts';

const still = {
  source: () => 'ttft' as const,
  isProbing: () => false,
  isEager: () => false,
  isUnconfirmed: () => false,
  saturated() {},
  interToken() {},
  slo() {},
  atMost() {},
};

/**
 * Additive increase, multiplicative decrease on the engine's waiting queue: one more at each scrape without a waiting
 * request while the window is used up, a tenth less with one. D. Chiu and R. Jain 1989.
 */
export function aimdWindow(initial: number): ConcurrencyLimit {
  let size = initial;
  let pressed = false;
  return {
    ...still,
    limit: () => Math.max(1, Math.floor(size)),
    saturated() {
      pressed = true;
    },
    gauges(sample: Gauges | 'unusable') {
      if (sample === 'unusable') return;
      if (sample.waiting > 0) size = Math.max(1, size * 0.9);
      else if (pressed) size += 1;
      pressed = false;
    },
    firstToken() {},
  };
}

/**
 * The gradient of the time to first token, as in Netflix's concurrency-limits (Gradient2Limit): the long-term mean over the
 * current time, at most 1 and at least 0.5, with a tolerance of 1.5, plus a queue of the window's square root, smoothed.
 */
export function gradientWindow(initial: number): ConcurrencyLimit {
  let size = initial;
  let long: number | undefined;
  return {
    ...still,
    limit: () => Math.max(1, Math.floor(size)),
    gauges() {},
    firstToken(ttftMs, _promptTokens, inFlight) {
      long = long === undefined ? ttftMs : long + (ttftMs - long) / 600;
      if (long / ttftMs > 2) long *= 0.95;
      // A window that is not used up says nothing.
      if (inFlight < size / 2) return;
      const gradient = Math.max(0.5, Math.min(1, (1.5 * long) / ttftMs));
      size = Math.min(4_096, Math.max(4, 0.8 * size + 0.2 * (size * gradient + Math.sqrt(size))));
    },
  };
}

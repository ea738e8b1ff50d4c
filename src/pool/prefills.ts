/**
 * The prompts that an endpoint computes, or that wait for it in its engine: how many tokens they are, and how long they take.
 *
 * A prompt is computed when its first token is seen. Where that is not seen it is over after the expected time, which is
 * learned:
 *
 *   ms per token ← ms per token + SMOOTHING × (TTFT / tokens − ms per token)
 *
 * A TTFT may hold more than prompts (reasoning that is not shown): one sample at most doubles the estimate, and no number of
 * them raises it above MOST_MS_PER_TOKEN.
 */

/** One prompt. */
export interface Prefill {
  readonly tokens: number;
  /** Of a tenant below its fair share: others wait while it is computed. */
  readonly belowFairShare: boolean;
  /** It is over by then, whether its first token was seen or not. */
  readonly untilMs: number;
}

const INITIAL_MS_PER_TOKEN = 0.2;
const SMOOTHING = 0.1;
/** Shorter prompts say nothing of what a token costs. */
const LEAST_TOKENS = 64;
/** A sample counts for at most so many times the estimate: with SMOOTHING, it doubles. */
const MOST_TIMES = 1 + 1 / SMOOTHING;
/** A CPU that computes twenty tokens of prompt a second. */
const MOST_MS_PER_TOKEN = 50;
/** A prefill is not waited for longer than so many times its expected duration, and some. */
const PATIENCE = 3;
const MARGIN_MS = 100;
/** An answer that does not stream shows no first token: the expected duration alone has to do. */
const UNSEEN_PATIENCE = 1;

export class Prefills {
  readonly #prefills = new Set<Prefill>();
  #tokens = 0;
  #belowFairShare = 0;
  /** The earliest end, or earlier. */
  #nextEndMs = Number.POSITIVE_INFINITY;
  #msPerToken = INITIAL_MS_PER_TOKEN;

  /** Tokens that are not computed yet. */
  get tokens(): number {
    return this.#tokens;
  }

  /** Prompts of tenants below their fair share. */
  get belowFairShare(): number {
    return this.#belowFairShare;
  }

  /** Of the prompts before it in the engine and its own; learned. */
  get msPerToken(): number {
    return this.#msPerToken;
  }

  /** @param isSeen its first token will be seen. */
  begin(tokens: number, belowFairShare: boolean, isSeen: boolean, nowMs: number): Prefill {
    const expectedMs = this.#msPerToken * (this.#tokens + tokens);
    const untilMs = nowMs + (isSeen ? PATIENCE : UNSEEN_PATIENCE) * expectedMs + MARGIN_MS;
    const prefill = { tokens, belowFairShare, untilMs };
    this.#prefills.add(prefill);
    this.#tokens += tokens;
    if (belowFairShare) this.#belowFairShare += 1;
    this.#nextEndMs = Math.min(this.#nextEndMs, untilMs);
    return prefill;
  }

  /** No-op for one that has ended. */
  end(prefill: Prefill): void {
    if (!this.#prefills.delete(prefill)) return;
    this.#tokens -= prefill.tokens;
    if (prefill.belowFairShare) this.#belowFairShare -= 1;
  }

  /** Ends those whose time is over. */
  expire(nowMs: number): void {
    if (nowMs < this.#nextEndMs) return;
    this.#nextEndMs = Number.POSITIVE_INFINITY;
    for (const prefill of this.#prefills) {
      if (prefill.untilMs <= nowMs) this.end(prefill);
      else this.#nextEndMs = Math.min(this.#nextEndMs, prefill.untilMs);
    }
  }

  /** Learns from a first token. @param tokens of its prompt and of those that were before it. */
  learn(ttftMs: number, tokens: number): void {
    if (!(ttftMs >= 0)) return;
    const before = this.#msPerToken;
    const sample = Math.min(ttftMs / Math.max(LEAST_TOKENS, tokens), MOST_TIMES * before);
    this.#msPerToken = Math.min(MOST_MS_PER_TOKEN, before + SMOOTHING * (sample - before));
  }
}

/** A token bucket of requests: what the arm request-bucket holds the others than the quiet tenants to. */
export class RequestBucket {
  readonly #perSecond: number;
  /** As much as a second brings, and one request at least. */
  readonly #burst: number;
  #level: number;
  #levelMs = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#burst = Math.max(1, perSecond);
    this.#level = this.#burst;
  }

  /** Takes one request's token, if there is one. @param nowMs from 0, never less than before. */
  passes(nowMs: number): boolean {
    const refill = ((nowMs - this.#levelMs) * this.#perSecond) / 1_000;
    this.#level = Math.min(this.#burst, this.#level + refill);
    this.#levelMs = nowMs;
    if (this.#level < 1) return false;
    this.#level -= 1;
    return true;
  }
}

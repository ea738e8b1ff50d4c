/**
 * The requests that came to an endpoint first, that it would not serve, and that Envoy has tried elsewhere. They keep their room here:
 * else an endpoint that refuses at once would always have room, and send everything that waits to others beyond their limits.
 *
 * They keep it until they end, until the endpoint answers anybody, or until it has been away. An endpoint that is well again may have
 * nothing else in its room: nobody would be sent there, and it could not show that it is. So one request tries it now and then, as
 * seldom again as it has refused for.
 *
 * Invariant: 0 ≤ sequences.
 */

const FIRST_TRY_MS = 1_000;
const MOST_BETWEEN_TRIES_MS = 30_000;

export class PassedOn {
  #sequences = 0;
  /** Times that all of them were forgotten: those that end later are none of the present ones. */
  #forgotten = 0;
  /** Since when there are any. */
  #sinceMs = 0;
  #nextTryMs = 0;

  /** In flight elsewhere. */
  get sequences(): number {
    return this.#sequences;
  }

  /** Gives what end() wants. */
  begin(sequences: number, nowMs: number): number {
    if (this.#sequences === 0) this.#sinceMs = nowMs;
    this.#sequences += sequences;
    this.tried(nowMs);
    return this.#forgotten;
  }

  /** @param forgotten what begin() gave. */
  end(sequences: number, forgotten: number): void {
    if (forgotten === this.#forgotten) this.#sequences -= sequences;
  }

  forget(): void {
    this.#sequences = 0;
    this.#forgotten += 1;
  }

  /** A request was sent to the endpoint: until it is known what came of it, the next one waits. */
  tried(nowMs: number): void {
    const refusedMs = nowMs - this.#sinceMs;
    this.#nextTryMs = nowMs + Math.min(MOST_BETWEEN_TRIES_MS, Math.max(FIRST_TRY_MS, refusedMs));
  }

  /** Whether a request may go there as if there were none of them. */
  mayTry(nowMs: number): boolean {
    return this.#sequences > 0 && nowMs >= this.#nextTryMs;
  }
}

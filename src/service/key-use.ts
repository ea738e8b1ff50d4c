/** When made keys were used last: noted at each request, and told to their store each minute. */

const TELL_MS = 60_000;
/** As many as are made. */
const MOST_KEYS = 100_000;

export class KeyUse {
  readonly #used = new Map<string, number>();
  #nextMs: number;

  /** @param unixMs Unix time, here and below. */
  constructor(unixMs: number) {
    this.#nextMs = unixMs + TELL_MS;
  }

  note(keyId: string, unixMs: number): void {
    if (this.#used.size < MOST_KEYS || this.#used.has(keyId)) this.#used.set(keyId, unixMs);
  }

  /** What is noted and not told yet. */
  usedMs(keyId: string): number | undefined {
    return this.#used.get(keyId);
  }

  /** Whether it is time to tell, once a minute; also where the clock was set back. */
  isDue(unixMs: number): boolean {
    if (Math.abs(unixMs + TELL_MS - this.#nextMs) < TELL_MS) return false;
    this.#nextMs = unixMs + TELL_MS;
    return true;
  }

  /** What could not be told is told the next time. */
  async tell(store: (used: ReadonlyMap<string, number>) => Promise<void>): Promise<void> {
    if (this.#used.size === 0) return;
    const used = new Map(this.#used);
    await store(used);
    for (const [id, ms] of used) if (this.#used.get(id) === ms) this.#used.delete(id);
  }
}

/** Long work in pieces: requests go by between two turns of the event loop. */
import { performance } from 'node:perf_hooks';

/** Of work before others have a turn. */
const MOST_MS = 10;

export class Turns {
  #sinceMs = performance.now();

  /** Whether it is time to let others go. */
  isOver(): boolean {
    return performance.now() - this.#sinceMs >= MOST_MS;
  }

  /** Lets them. */
  async next(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#sinceMs = performance.now();
  }
}

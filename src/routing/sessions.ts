/**
 * Where a session's latest request was served. An agent's loop sends its whole past with each step: where that was computed
 * last, it is cached.
 *
 * Memory is bounded: `max` sessions, those used last. A session ends with its endpoint, and after `idleMs` without a request.
 */
export interface SessionsConfig {
  readonly max: number;
  readonly idleMs: number;
}

/** About 6 MB. What an agent has left for half an hour, its engine has evicted. */
export const DEFAULT_SESSIONS: SessionsConfig = { max: 50_000, idleMs: 1_800_000 };

interface Session {
  candidateIndex: number;
  atMs: number;
}

export class Sessions {
  readonly #config: SessionsConfig;
  /** In the order of their latest use. */
  readonly #sessions = new Map<number, Session>();

  constructor(config: SessionsConfig) {
    this.#config = config;
  }

  /** Gives the candidateIndex; -1: not known. */
  find(session: number, nowMs: number): number {
    const known = this.#sessions.get(session);
    return known === undefined || nowMs - known.atMs >= this.#config.idleMs ? -1 : known.candidateIndex;
  }

  served(session: number, candidateIndex: number, nowMs: number): void {
    const known = this.#sessions.get(session) ?? { candidateIndex, atMs: nowMs };
    this.#sessions.delete(session);
    known.candidateIndex = candidateIndex;
    known.atMs = nowMs;
    this.#sessions.set(session, known);
    for (const oldest of this.#sessions.keys()) {
      if (this.#sessions.size <= this.#config.max) break;
      this.#sessions.delete(oldest);
    }
  }

  /** The endpoint left, or lost its cache. */
  end(candidateIndex: number): void {
    for (const [session, known] of this.#sessions) {
      if (known.candidateIndex === candidateIndex) this.#sessions.delete(session);
    }
  }

  size(): number {
    return this.#sessions.size;
  }
}

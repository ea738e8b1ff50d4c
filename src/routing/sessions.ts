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

export interface Sessions {
  /** The slot; -1: not known. */
  find(session: number, nowMs: number): number;
  served(session: number, slot: number, nowMs: number): void;
  /** The endpoint left, or lost its cache. */
  end(slot: number): void;
  size(): number;
}

export function createSessions({ max, idleMs }: SessionsConfig): Sessions {
  /** In the order of their latest use. */
  const sessions = new Map<number, { slot: number; atMs: number }>();
  return {
    find(session, nowMs) {
      const known = sessions.get(session);
      return known === undefined || nowMs - known.atMs >= idleMs ? -1 : known.slot;
    },
    served(session, slot, nowMs) {
      const known = sessions.get(session) ?? { slot, atMs: nowMs };
      sessions.delete(session);
      known.slot = slot;
      known.atMs = nowMs;
      sessions.set(session, known);
      for (const oldest of sessions.keys()) {
        if (sessions.size <= max) break;
        sessions.delete(oldest);
      }
    },
    end(slot) {
      for (const [session, known] of sessions) if (known.slot === slot) sessions.delete(session);
    },
    size: () => sessions.size,
  };
}

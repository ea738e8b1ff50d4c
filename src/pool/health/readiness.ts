/**
 * What an endpoint is, from the answers to its probes. An endpoint that is loading is not dead: it is probed sooner, keeps no
 * record of failures, and is told apart from one that is down.
 *
 *                ┌───────────────────────────┐
 *                ▼                           │
 *   unknown ──▶ healthy ◀──(good probes)── loading ◀── asleep, dead
 *      │          │                          │
 *      │          └──(bad probes)──▶ dead ◀──┘ (longer than loadTimeoutMs)
 *
 * In the rotation is `healthy` alone. What an answer means is for the engine's adapter to say.
 */
export type Evidence =
  | { readonly kind: 'ready'; readonly detail: string }
  | { readonly kind: 'loading'; readonly detail: string }
  /** It answers, and its weights are not in the GPU. */
  | { readonly kind: 'asleep'; readonly detail: string }
  /** Nobody listens. */
  | { readonly kind: 'refused'; readonly detail: string }
  /** No answer in time, or an error. */
  | { readonly kind: 'failed'; readonly detail: string };

export interface ReadinessConfig {
  /** Bad probes in a row before a healthy endpoint is dead. */
  readonly unhealthyAfter: number;
  /** Good probes in a row before a dead one is healthy; one that loaded needs one. */
  readonly healthyAfter: number;
  readonly intervalMs: number;
  /** Between the probes of a loading one. */
  readonly loadingIntervalMs: number;
  /** One that loads for longer is dead. */
  readonly loadTimeoutMs: number;
}

type Kind = 'unknown' | 'healthy' | 'loading' | 'asleep' | 'dead';

export interface Readiness {
  readonly kind: Kind;
  /** Since when it is that. */
  readonly sinceMs: number;
  /** Probes in a row that say something else. */
  readonly against: number;
  /** It took too long to load: it counts as dead until it is ready, or is gone and begins again. */
  readonly gaveUp: boolean;
  /** Of the last probe. */
  readonly detail: string;
}

export const unknownReadiness = (nowMs: number): Readiness => ({
  kind: 'unknown',
  sinceMs: nowMs,
  against: 0,
  gaveUp: false,
  detail: 'not probed yet',
});

const claimOf = (state: Readiness, evidence: Evidence): Kind => {
  switch (evidence.kind) {
    case 'ready':
      return 'healthy';
    case 'loading':
      return state.gaveUp ? 'dead' : 'loading';
    case 'asleep':
      return 'asleep';
    case 'refused':
    case 'failed':
      return 'dead';
  }
};

/** Probes in a row that are needed to go from one to the other: what the engine says of itself is believed at once. */
function needed(from: Kind, to: Kind, config: ReadinessConfig): number {
  if (from === 'unknown') return 1;
  if (to === 'dead') return config.unhealthyAfter;
  return from === 'dead' && to === 'healthy' ? config.healthyAfter : 1;
}

export function afterEvidence(
  before: Readiness,
  evidence: Evidence,
  config: ReadinessConfig,
  nowMs: number,
): Readiness {
  const { detail } = evidence;
  const state = before.gaveUp && evidence.kind === 'refused' ? { ...before, gaveUp: false } : before;
  const claim = claimOf(state, evidence);
  const loadedMs = nowMs - state.sinceMs;
  if (state.kind === 'loading' && claim === 'loading' && loadedMs >= config.loadTimeoutMs) {
    const words = `still loading after ${Math.round(loadedMs / 1_000)} s: ${detail}`;
    return { ...state, kind: 'dead', sinceMs: nowMs, against: 0, gaveUp: true, detail: words };
  }
  if (claim === state.kind) return { ...state, against: 0, detail };
  const against = state.against + 1;
  if (against < needed(state.kind, claim, config)) return { ...state, against, detail };
  const isReady = claim === 'healthy';
  return {
    kind: claim,
    sinceMs: nowMs,
    against: 0,
    gaveUp: state.gaveUp && !isReady,
    detail,
  };
}

export const isInRotation = ({ kind }: Readiness): boolean => kind === 'healthy';

/** When to probe next: a loading endpoint is worth a look sooner. */
export const nextProbeMs = ({ kind }: Readiness, config: ReadinessConfig): number =>
  kind === 'loading' ? Math.min(config.intervalMs, config.loadingIntervalMs) : config.intervalMs;

/** For `/health` and the log, e.g. `loading for 12 s: 503 Loading model`. */
export function describeReadiness({ kind, sinceMs, detail }: Readiness, nowMs: number): string {
  return `${kind} for ${Math.round(Math.max(0, nowMs - sinceMs) / 1_000)} s: ${detail}`;
}

/** When an endpoint leaves the rotation and when it returns, from the outcomes of its probes. Pure. */
export interface HealthThresholds {
  /** Failed probes in a row before the endpoint leaves. */
  readonly unhealthyAfter: number;
  /** Successful probes in a row before it returns. */
  readonly healthyAfter: number;
}

export interface HealthState {
  readonly healthy: boolean;
  /** Probes in a row that contradict `healthy`. */
  readonly against: number;
  /** False until the first probe has answered; that one decides alone. */
  readonly known: boolean;
}

/** Not in the rotation until its first probe has said so. */
export const UNKNOWN_HEALTH: HealthState = { healthy: false, against: 0, known: false };

export function afterProbe(state: HealthState, ok: boolean, thresholds: HealthThresholds): HealthState {
  if (!state.known) return { healthy: ok, against: 0, known: true };
  if (ok === state.healthy) return state.against === 0 ? state : { ...state, against: 0 };
  const against = state.against + 1;
  const needed = state.healthy ? thresholds.unhealthyAfter : thresholds.healthyAfter;
  return against >= needed
    ? { healthy: ok, against: 0, known: true }
    : { healthy: state.healthy, against, known: true };
}

/**
 * The engine's room: the largest size that was full without anybody waiting in the engine, and when to probe a larger one.
 *
 * A larger size is only believed once it was full and nobody waited: such a probe suspends the headroom, or the slots that are
 * kept free would hide the limit. The size at which requests waited is the ceiling. It is probed again ever less often,
 * because each probe makes somebody wait:
 *
 *   below the ceiling:  probe min(ceiling, GROWTH × size + 1)
 *   at the ceiling:     probe size + step after retryMs; step doubles with each success, retryMs with each failure
 *
 * Invariant: 1 ≤ size ≤ most.
 */

/** A probe below the ceiling is so many times the size. */
export const GROWTH = 1.25;
const FIRST_RETRY_MS = 60_000;
const MAX_RETRY_MS = 600_000;
/** Room that is short because of the KV cache changes with the requests, and times may mislead: tried again soon. */
const SHORT_RETRY_MS = 5_000;
/** What the engine says is a moment old: only the second look at a full probe counts. */
const FULL_LOOKS = 2;
/** A probe that does not fill any more ends after so many looks; the next begins after a pause that doubles. */
const PROBE_LOOKS = 8;
const PROBE_PAUSE_MS = 5_000;

interface Probe {
  readonly size: number;
  /** Since it filled any further. */
  looks: number;
  mostInFlight: number;
  /** Looks at which it was full. */
  full: number;
}

export class LimitSearch {
  readonly #configured: number;
  #most: number;
  #size: number;
  #probe: Probe | undefined;
  /** Where requests waited last. */
  #ceiling = Number.POSITIVE_INFINITY;
  /** When the ceiling may be probed again. */
  #retryAtMs = 0;
  #retryMs = FIRST_RETRY_MS;
  #pauseMs = PROBE_PAUSE_MS;
  /** Beyond the ceiling, by how much. */
  #step = 1;

  constructor(initial: number, configured: number) {
    this.#configured = configured;
    this.#most = configured;
    this.#size = Math.min(initial, configured);
  }

  size(): number {
    return this.#probe?.size ?? this.#size;
  }

  isProbing(): boolean {
    return this.#probe !== undefined;
  }

  /** No limit of the engine's is known at this size. */
  isUnconfirmed(): boolean {
    return (
      this.size() < this.#most && (this.#probe !== undefined || this.#ceiling === Number.POSITIVE_INFINITY)
    );
  }

  /** The engine runs no more than so many; undefined, or what cannot be true: it does not say. */
  atMost(sequences: number | undefined): void {
    const most = sequences !== undefined && sequences >= 1 ? sequences : this.#configured;
    this.#most = Math.min(this.#configured, Math.floor(most));
    this.#size = Math.min(this.#size, this.#most);
    if (this.#probe !== undefined && this.#probe.size > this.#most) this.#probe = undefined;
  }

  /**
   * Requests wait in the engine.
   *
   * @param ours sequences of ours that do not.
   * @param isPassing the reason may soon be gone.
   */
  lower(ours: number, isPassing: boolean, nowMs: number): void {
    if (Number.isNaN(ours) || (this.#probe === undefined && ours >= this.#size)) return;
    this.#probe = undefined;
    this.#size = Math.min(this.#most, Math.max(1, Math.floor(ours)));
    // The same place again: it is the engine's, and probes need not be frequent.
    const isSame = Math.abs(this.#size - this.#ceiling) <= Math.max(1, this.#ceiling / 16);
    if (isPassing) this.#retryMs = SHORT_RETRY_MS;
    else this.#retryMs = isSame ? Math.min(MAX_RETRY_MS, this.#retryMs * 2) : FIRST_RETRY_MS;
    this.#ceiling = this.#size;
    this.#step = 1;
    this.#retryAtMs = nowMs + this.#retryMs;
  }

  /** Requests waited during a probe, but were not late: perhaps for the computation of a prompt. */
  giveUpProbe(nowMs: number): void {
    if (this.#probe === undefined) return;
    this.#probe = undefined;
    this.#retryAtMs = Math.max(this.#retryAtMs, nowMs + this.#pauseMs);
    this.#pauseMs = Math.min(MAX_RETRY_MS, this.#pauseMs * 2);
  }

  /**
   * Nobody waits in the engine: ends a probe that was full, and begins one.
   *
   * @param inFlight what the engine has of ours.
   * @param isWanted a request found no room.
   */
  raise(inFlight: number, isWanted: boolean, nowMs: number): void {
    this.#look(inFlight, nowMs);
    if (this.#probe !== undefined || !isWanted || this.#size >= this.#most || nowMs < this.#retryAtMs) return;
    // Beyond the ceiling by one at first: it is enough to see whether that one waits.
    const next =
      this.#size < this.#ceiling ? Math.min(this.#ceiling, this.#size * GROWTH + 1) : this.#size + this.#step;
    this.#probe = { size: Math.min(this.#most, Math.floor(next)), looks: 0, mostInFlight: 0, full: 0 };
  }

  #look(inFlight: number, nowMs: number): void {
    const probe = this.#probe;
    if (probe === undefined) return;
    probe.looks = inFlight > probe.mostInFlight ? 0 : probe.looks + 1;
    probe.mostInFlight = Math.max(probe.mostInFlight, inFlight);
    if (inFlight >= probe.size) probe.full += 1;
    if (probe.full >= FULL_LOOKS) this.#confirm(probe.size);
    else if (probe.looks >= PROBE_LOOKS) this.giveUpProbe(nowMs);
  }

  #confirm(size: number): void {
    this.#probe = undefined;
    this.#size = size;
    this.#pauseMs = PROBE_PAUSE_MS;
    if (size <= this.#ceiling) return;
    this.#ceiling = size;
    this.#retryMs = FIRST_RETRY_MS;
    this.#step *= 2;
  }
}

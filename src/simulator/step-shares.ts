/**
 * Whose the time of a simulated engine's steps was: the truth that estimates from outside are measured against.
 *
 *   step = stepBaseMs + msPerPrefillToken × prompt tokens + msPerDecodeSequence × decoding sequences
 *
 * A prompt's tokens are its sequence's, a decoding sequence's part is its own, and the base is divided equally among the sequences of
 * the step. It only looks.
 */
import type { EngineProfile } from './profile.ts';
import type { Sequence } from './sequence.ts';
import type { StepObserver } from './step.ts';

export class StepShares implements StepObserver {
  readonly #profile: EngineProfile;
  readonly #ms = new Map<string, number>();
  #busyMs = 0;

  constructor(profile: EngineProfile) {
    this.#profile = profile;
  }

  /** Durations of all steps so far. */
  get busyMs(): number {
    return this.#busyMs;
  }

  planned(running: readonly Sequence[]): void {
    const { stepBaseMs, msPerPrefillToken, msPerDecodeSequence } = this.#profile;
    let sequences = 0;
    for (const { planned } of running) if (planned > 0) sequences += 1;
    for (const { request, planned, plannedDecode } of running) {
      if (planned === 0) continue;
      const own = plannedDecode ? msPerDecodeSequence : msPerPrefillToken * planned;
      const ms = own + stepBaseMs / sequences;
      this.#ms.set(request.id, (this.#ms.get(request.id) ?? 0) + ms);
      this.#busyMs += ms;
    }
  }

  /** What a request had, in milliseconds. */
  of(id: string): number {
    return this.#ms.get(id) ?? 0;
  }
}

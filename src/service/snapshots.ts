/**
 * Keeps what was used of limits over a restart, in a file that is written at times and at the end: of all buckets, or where
 * Redis has them of the tenants' months, for a start without it.
 */
import { messageOf } from '../domain/text-of.ts';
import { restoreSnapshot, saveSnapshot } from '../limit/fs-snapshot.ts';
import type { Snapshotted } from '../limit/memory-store.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';

/** What a crash may lose of the levels. */
const INTERVAL_MS = 10_000;

export interface SnapshotsOptions {
  readonly path: string;
  readonly store: Snapshotted;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly tell: (event: ServiceEvent) => void;
}

/** Several that are kept in one file: each finds what is its own. */
export const together = (...all: readonly Snapshotted[]): Snapshotted => ({
  *buckets(nowMs) {
    for (const one of all) yield* one.buckets(nowMs);
  },
  restore(buckets, nowMs, ageMs) {
    const stored = [...buckets];
    for (const one of all) one.restore(stored, nowMs, ageMs);
  },
});

export class Snapshots {
  readonly #options: SnapshotsOptions;
  #timer: NodeJS.Timeout | undefined;
  /** The last one could not be written: that is told once. */
  #isFailing = false;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
  }

  /** Restores the levels and begins to save them. A file that is bad or cannot be written is told of, and changes nothing else. */
  open(): void {
    const { path, store, now, tell } = this.#options;
    const restored = restoreSnapshot(path, store, now(), Date.now());
    if (restored.kind !== 'none' && restored.problem !== undefined) {
      tell({ kind: 'snapshot-failed', problem: restored.problem });
    }
    this.#timer = setInterval(() => this.#save(), INTERVAL_MS);
  }

  /** Saves once more. */
  close(): void {
    this.stop();
    this.#save();
  }

  /** Leaves the file as it is. */
  stop(): void {
    clearInterval(this.#timer);
  }

  #save(): void {
    const { path, store, now, tell } = this.#options;
    try {
      saveSnapshot(path, store, now(), Date.now());
      this.#isFailing = false;
    } catch (error) {
      if (this.#isFailing) return;
      this.#isFailing = true;
      tell({ kind: 'snapshot-failed', problem: messageOf(error) });
    }
  }
}

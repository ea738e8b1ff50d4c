/** Whose records wait in a folder of the spool: a process that runs, or one that has ended and whose records another one takes on. */

export interface SpoolOwner {
  readonly pid: number;
  /** When the process began, as its kernel counts it; undefined: not known. */
  readonly started: string | undefined;
  /** Where its process number means something: the kernel that runs, and the namespace of its processes. */
  readonly namespace: string;
}

/** Of an owner that runs elsewhere: it says that it does every few seconds. */
const SILENT_MS = 30_000;

/**
 * Whether an owner has ended.
 *
 * @param silentMs since it last said that it runs; negative where a clock was set back.
 * @param startOf when a process of `here` began; undefined: there is none of that number.
 */
export function hasEnded(
  owner: SpoolOwner | undefined,
  here: string,
  silentMs: number,
  startOf: (pid: number) => string | undefined,
): boolean {
  if (owner?.namespace === here && owner.started !== undefined) return startOf(owner.pid) !== owner.started;
  return Math.abs(silentMs) > SILENT_MS;
}

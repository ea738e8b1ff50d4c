/**
 * The levels of buckets in a file, for restarts without Redis. Keys hold what requests said of themselves, so the file is for
 * its owner alone. It is written whole and renamed: a crash leaves the old one.
 */
import { readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import type { MemoryStore, StoredBucket } from './memory-store.ts';

const VERSION = 1;

interface Snapshot {
  readonly version: number;
  /** Unix time. */
  readonly savedAtMs: number;
  readonly buckets: readonly StoredBucket[];
}

const isFinitePositive = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(value) && value > 0;

function isBucket(value: unknown): value is StoredBucket {
  if (!Array.isArray(value)) return false;
  const [key, amount, unitMs, level, keepMs] = value as readonly unknown[];
  return (
    typeof key === 'string' &&
    isFinitePositive(amount) &&
    isFinitePositive(unitMs) &&
    typeof level === 'number' &&
    level <= amount &&
    Number.isFinite(level) &&
    (keepMs === undefined || isFinitePositive(keepMs))
  );
}

/** @throws when the file cannot be written. */
export function saveSnapshot(path: string, store: MemoryStore, nowMs: number, unixMs: number): void {
  const snapshot: Snapshot = { version: VERSION, savedAtMs: unixMs, buckets: [...store.buckets(nowMs)] };
  const temporary = `${path}.new`;
  try {
    writeFileSync(temporary, JSON.stringify(snapshot), { mode: 0o600 });
    renameSync(temporary, path);
  } catch (error) {
    try {
      unlinkSync(temporary);
    } catch {
      // It was never made.
    }
    throw error;
  }
}

export type Restored =
  | { readonly kind: 'restored'; readonly buckets: number }
  | { readonly kind: 'none' }
  /** The file is not what was saved; buckets start full. */
  | { readonly kind: 'bad'; readonly problem: string };

/** Buckets fill by the time that passed since; a clock that went back adds nothing. */
export function restoreSnapshot(path: string, store: MemoryStore, nowMs: number, unixMs: number): Restored {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ENOENT'
      ? { kind: 'none' }
      : { kind: 'bad', problem: `${path}: ${code ?? 'unreadable'}` };
  }
  try {
    const { version, savedAtMs, buckets } = JSON.parse(text) as Snapshot;
    if (version !== VERSION || !isFinitePositive(savedAtMs) || !Array.isArray(buckets)) {
      return { kind: 'bad', problem: `${path}: no snapshot of this version` };
    }
    const good = buckets.filter(isBucket);
    store.restore(good, nowMs, Math.max(0, unixMs - savedAtMs));
    return { kind: 'restored', buckets: good.length };
  } catch {
    return { kind: 'bad', problem: `${path}: no JSON` };
  }
}

/**
 * The levels of buckets in a file, for restarts without Redis. Keys hold what requests said of themselves, so the file is for
 * its owner alone, and nobody else's is believed. It is written whole and renamed: a crash leaves the old one.
 */
import { readOwnFile, replaceOwnFile } from '../files/fs-own.ts';
import type { MemoryStore, StoredBucket } from './memory-store.ts';

const VERSION = 1;
/** V8's longest string is 512 MiB. */
const MOST_BYTES = 256 * 1024 ** 2;

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
  replaceOwnFile(path, JSON.stringify(snapshot));
}

const whyNot = (code: string): string => (code === 'ELOOP' ? 'it is a symbolic link' : code);

export type Restored =
  | { readonly kind: 'restored'; readonly buckets: number }
  | { readonly kind: 'none' }
  /** The file is not what was saved; buckets start full. */
  | { readonly kind: 'bad'; readonly problem: string };

/** Buckets fill by the time that passed since; a clock that went back adds nothing. */
export function restoreSnapshot(path: string, store: MemoryStore, nowMs: number, unixMs: number): Restored {
  let text: string;
  try {
    text = readOwnFile(path, MOST_BYTES);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { kind: 'none' };
    return { kind: 'bad', problem: code === undefined ? `${path} ${message}` : `${path}: ${whyNot(code)}` };
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

/**
 * The levels of buckets in a file, for restarts without Redis. Keys hold what requests said of themselves, so the file is for
 * its owner alone, and nobody else's is believed. It is written whole and renamed: a crash leaves the old one.
 */
import { readOwnFile, replaceOwnFile } from '../files/fs-own.ts';
import type { Snapshotted, StoredBucket } from './memory-store.ts';

const VERSION = 1;
/** V8's longest string is 512 MiB. */
const MOST_BYTES = 256 * 1024 ** 2;

interface Snapshot {
  readonly version: number;
  /** Unix time. */
  readonly savedAtMs: number;
  /** The amount stands beside the level, so what was used is there whatever the limit is when it is read. */
  readonly buckets: readonly StoredBucket[];
}

const isFinitePositive = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(value) && value > 0;

/**
 * A bucket as the file has it. Where only its level makes no sense, nothing of it is left: a damaged file is no gift.
 * Undefined: nothing can be said of it.
 */
function bucketOf(value: unknown): { readonly bucket: StoredBucket; readonly isWhole: boolean } | undefined {
  if (!Array.isArray(value)) return undefined;
  const [key, amount, unitMs, level, keepMs] = value as readonly unknown[];
  const hasLimit = typeof key === 'string' && isFinitePositive(amount) && isFinitePositive(unitMs);
  if (!hasLimit || !(keepMs === undefined || isFinitePositive(keepMs))) return undefined;
  const isWhole = typeof level === 'number' && Number.isFinite(level) && level <= amount;
  const believed = isWhole ? Math.max(level, -Number.MAX_SAFE_INTEGER) : 0;
  const stored = [key, amount, unitMs, believed] as const;
  return { bucket: keepMs === undefined ? stored : [...stored, keepMs], isWhole };
}

/** Of two entries of one key the one with less left. */
function bucketsOf(values: readonly unknown[]): {
  readonly buckets: ReadonlyMap<string, StoredBucket>;
  readonly spent: number;
  readonly unread: number;
} {
  const buckets = new Map<string, StoredBucket>();
  let [spent, unread] = [0, 0];
  for (const value of values) {
    const read = bucketOf(value);
    if (read === undefined) {
      unread += 1;
      continue;
    }
    if (!read.isWhole) spent += 1;
    const [key, amount, , level] = read.bucket;
    const [, otherAmount = 0, , otherLevel = 0] = buckets.get(key) ?? [];
    if (!buckets.has(key) || amount - level > otherAmount - otherLevel) buckets.set(key, read.bucket);
  }
  return { buckets, spent, unread };
}

/** @throws when the file cannot be written. */
export function saveSnapshot(path: string, store: Snapshotted, nowMs: number, unixMs: number): void {
  const snapshot: Snapshot = { version: VERSION, savedAtMs: unixMs, buckets: [...store.buckets(nowMs)] };
  replaceOwnFile(path, JSON.stringify(snapshot));
}

const whyNot = (code: string): string => (code === 'ELOOP' ? 'it is a symbolic link' : code);

export type Restored =
  /** @property problem of entries that make no sense. */
  | { readonly kind: 'restored'; readonly buckets: number; readonly problem?: string }
  | { readonly kind: 'none' }
  /** The file is not what was saved; buckets start full. */
  | { readonly kind: 'bad'; readonly problem: string };

/** Buckets fill by the time that passed since; a clock that went back adds nothing. */
export function restoreSnapshot(path: string, store: Snapshotted, nowMs: number, unixMs: number): Restored {
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
    const read = bucketsOf(buckets);
    store.restore(read.buckets.values(), nowMs, Math.max(0, unixMs - savedAtMs));
    const restored = { kind: 'restored', buckets: read.buckets.size } as const;
    if (read.spent + read.unread === 0) return restored;
    const counts = `${read.spent} count as empty, ${read.unread} as full`;
    return { ...restored, problem: `${path}: of ${buckets.length} buckets some make no sense: ${counts}` };
  } catch {
    return { kind: 'bad', problem: `${path}: no JSON` };
  }
}

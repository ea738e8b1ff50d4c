/**
 * One bucket of a tenant's contract, as this replica knows it: the key and the limit by which the store has it, and the level
 * that the store said last.
 */
import type { StoredLimit, Taken } from '../limit/store.ts';

/** The state of one bucket, as response headers show it. */
export interface BucketView {
  readonly limit: number;
  readonly remaining: number;
  readonly resetMs: number;
}

const MS_PER_MINUTE = 60_000;
/** Whatever is used is paid for. */
const MAX_DEBT = Number.MAX_SAFE_INTEGER;
/** A month's tokens do not come back: less than 0.0001 % of them in a month. */
const NO_REFILL_MS = Number.MAX_SAFE_INTEGER;
/** A month and some. */
const KEEP_MONTH_MS = 40 * 24 * 3_600_000;
/** Levels are products of floats. */
const TOLERANCE = 1e-6;

/** A bucket of `amount` that fills at `perMinute`. */
const storedLimit = (perMinute: number, amount: number): StoredLimit => ({
  amount,
  unitMs: (amount * MS_PER_MINUTE) / perMinute,
  maxDebt: MAX_DEBT,
});

export class Bucket {
  readonly key: string;
  /** When a month ends, in Unix time; undefined: it is refilled. */
  readonly endsMs: number | undefined;
  /** The limit as clients are told. */
  shown: number;
  stored: StoredLimit;
  /** Not configured any more: what was taken from it is nobody's. */
  isGone = false;
  private seen: { readonly level: number; readonly atMs: number } | undefined = undefined;

  private constructor(key: string, shown: number, stored: StoredLimit, endsMs: number | undefined) {
    this.key = key;
    this.shown = shown;
    this.stored = stored;
    this.endsMs = endsMs;
  }

  /** A bucket that is refilled. @param burst what it holds; undefined: a minute's. */
  static perMinute(key: string, perMinute: number, burst: number | undefined): Bucket {
    return new Bucket(key, perMinute, storedLimit(perMinute, burst ?? perMinute), undefined);
  }

  /** The tokens of the month in which `unixMs` is, by the calendar in UTC. */
  static ofMonth(keyPrefix: string, tokens: number, unixMs: number): Bucket {
    const date = new Date(unixMs);
    const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
    const stored = { amount: tokens, unitMs: NO_REFILL_MS, maxDebt: MAX_DEBT, keepMs: KEEP_MONTH_MS };
    return new Bucket(`${keyPrefix}:${year}-${month + 1}`, tokens, stored, Date.UTC(year, month + 1));
  }

  /** Takes another limit over; with the same one it changes nothing. */
  reconfigure(perMinute: number, burst: number | undefined): void {
    const amount = burst ?? perMinute;
    if (this.stored.amount !== amount || this.shown !== perMinute) this.seen = undefined;
    this.shown = perMinute;
    this.stored = storedLimit(perMinute, amount);
  }

  /** Notes what the store said. */
  note({ level }: Taken, nowMs: number): void {
    this.seen = { level, atMs: nowMs };
  }

  /** Whether the store has said anything yet of the bucket as it is configured. */
  isKnown(): boolean {
    return this.seen !== undefined;
  }

  /** Time until `level` has become `wanted`, in ms. */
  msUntil(wanted: number, level: number): number {
    const { amount, unitMs } = this.stored;
    return Math.max(0, Math.ceil(((wanted - level) * unitMs) / amount));
  }

  /** The level as last seen, refilled since; full where nothing was seen. */
  view(nowMs: number, unixMs: number): BucketView {
    const level = this.levelAt(nowMs);
    return {
      limit: this.shown,
      remaining: Math.max(0, Math.floor(level + TOLERANCE)),
      resetMs:
        this.endsMs === undefined
          ? this.msUntil(this.stored.amount, level)
          : Math.max(0, this.endsMs - unixMs),
    };
  }

  private levelAt(nowMs: number): number {
    const { seen } = this;
    const { amount, unitMs } = this.stored;
    if (seen === undefined) return amount;
    return Math.min(amount, seen.level + (Math.max(0, nowMs - seen.atMs) * amount) / unitMs);
  }
}

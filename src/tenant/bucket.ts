/**
 * One bucket of a tenant's contract, as this replica knows it: the key and the limit by which the store has it, and what the
 * store said last.
 */
import type { StoredLimit, Taken } from '../limit/store.ts';
import { TOLERANCE, usedAfter } from '../limit/used.ts';

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
/** Money does not come back: less than 10^-9 of a unit in a month, of the largest budget. */
const NO_MONEY_BACK_MS = 1e26;
/** A month and some. */
const KEEP_MONTH_MS = 40 * 24 * 3_600_000;
/** A bucket of `amount` that fills at `perMinute`. */
const storedLimit = (perMinute: number, amount: number): StoredLimit => ({
  amount,
  unitMs: (amount * MS_PER_MINUTE) / perMinute,
  maxDebt: MAX_DEBT,
});

const monthLimit = (amount: number, currency: string | undefined): StoredLimit => ({
  amount,
  unitMs: currency === undefined ? NO_REFILL_MS : NO_MONEY_BACK_MS,
  maxDebt: MAX_DEBT,
  keepMs: KEEP_MONTH_MS,
});

interface Month {
  readonly beginsMs: number;
  readonly endsMs: number;
}

export class Bucket {
  readonly key: string;
  /** In Unix time; undefined: it is refilled. */
  readonly month: Month | undefined;
  /** Of a budget, which counts 10^-9 of the currency's unit; undefined: it counts requests or tokens. */
  readonly currency: string | undefined;
  /** The limit as clients are told. */
  shown: number;
  stored: StoredLimit;
  /** Not configured at the moment. What is reserved is settled all the same: it counts if the limit comes back. */
  isGone = false;
  /** It refuses nobody: what is used is only counted. */
  isSoft = false;
  /** Of the month, what all replicas have used, as last known here. */
  knownUsed: number | undefined = undefined;
  /** Of that, what requests of this replica have reserved and not settled. */
  open = 0;
  /** It has refused a request as it is configured. */
  hasRefused = false;
  /** What this replica could take, as the store said last; undefined until it has. */
  private level: number | undefined = undefined;
  private levelAtMs = 0;
  /** Whether the store has said anything yet of the bucket as it is configured. */
  isKnown = false;

  private constructor(
    key: string,
    shown: number,
    stored: StoredLimit,
    month: Month | undefined,
    currency?: string,
  ) {
    this.key = key;
    this.shown = shown;
    this.stored = stored;
    this.month = month;
    this.currency = currency;
  }

  /** A bucket that is refilled. @param burst what it holds; undefined: a minute's. */
  static perMinute(key: string, perMinute: number, burst: number | undefined): Bucket {
    return new Bucket(key, perMinute, storedLimit(perMinute, burst ?? perMinute), undefined);
  }

  /**
   * The tokens of the month in which `unixMs` is, by the calendar in UTC.
   *
   * @param currency of a budget; undefined: tokens.
   */
  static ofMonth(keyPrefix: string, amount: number, unixMs: number, currency?: string): Bucket {
    const date = new Date(unixMs);
    const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
    const span = { beginsMs: Date.UTC(year, month), endsMs: Date.UTC(year, month + 1) };
    const key = `${keyPrefix}:${year}-${month + 1}`;
    return new Bucket(key, amount, monthLimit(amount, currency), span, currency);
  }

  /** Takes another limit over; with the same one it changes nothing. */
  reconfigure(perMinute: number, burst: number | undefined): void {
    this.limitIs(perMinute, storedLimit(perMinute, burst ?? perMinute));
  }

  reconfigureMonth(amount: number): void {
    this.limitIs(amount, monthLimit(amount, this.currency));
  }

  /** What was used stays; the store is asked what is left. */
  private limitIs(shown: number, stored: StoredLimit): void {
    const before = this.stored;
    this.shown = shown;
    this.stored = stored;
    this.isGone = false;
    if (stored.amount === before.amount && stored.unitMs === before.unitMs) return;
    this.isKnown = false;
    this.hasRefused = false;
    if (this.level !== undefined) this.level += stored.amount - before.amount;
  }

  /** Notes what the store said of the bucket. @param amount for which it was asked. */
  note({ level, used }: Taken, amount: number, nowMs: number): void {
    // The difference first: the largest budgets are exact only by themselves.
    this.level = level + (this.stored.amount - amount);
    this.levelAtMs = nowMs;
    this.isKnown = true;
    if (this.month !== undefined && used !== undefined) this.knownUsed = used;
  }

  /** Takes over what was used of the month before this service began, while nobody has said more. */
  restore(used: number): void {
    if (this.knownUsed !== undefined) return;
    this.knownUsed = used;
    this.level = this.stored.amount - used;
  }

  isOver(unixMs: number): boolean {
    return this.month !== undefined && (unixMs >= this.month.endsMs || unixMs < this.month.beginsMs);
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
        this.month === undefined
          ? this.msUntil(this.stored.amount, level)
          : Math.max(0, this.month.endsMs - unixMs),
    };
  }

  /** Tokens left, as last seen and refilled since; negative in debt. */
  levelAt(nowMs: number): number {
    const { level, stored } = this;
    if (level === undefined) return stored.amount;
    const used = Math.max(0, stored.amount - level);
    return stored.amount - usedAfter(used, stored, nowMs - this.levelAtMs);
  }
}

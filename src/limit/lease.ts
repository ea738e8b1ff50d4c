/**
 * What one replica holds of a bucket that several share: a lease of some tokens, an estimate of the rest, and an account
 * of what it has used. redis-lease-store.ts carries these to Redis and back.
 *
 * Invariants: tokens are granted from the lease only while the server still counts them as leased, so no other replica
 * has them; every token granted, charged or given back is in `used`, and `used − reported` is what the server has not
 * been told.
 */
import type { StoredLimit, TakeMode, Taken } from './store.ts';
import { apply, TOLERANCE, usedAfter, usedWith } from './used.ts';

/** A lease lives this long on the server. Here it ends a round trip earlier. */
export const LEASE_MS = 1_000;
/** A lease is what was used lately in this time, and a report is at most this old. */
export const REPORT_MS = 400;
/** Longer than any bucket takes to fill, and few enough milliseconds for Redis. */
const KEEP_MS = 2 ** 50;
/** Of the bucket, the most that one replica leases. */
const LEASE_PART = 0.02;
/** A lease below this part of its size is renewed ahead. */
const LOW = 0.25;
/** A bucket found empty is asked again when a token is there, within these bounds: others may give back. */
const ASK_AGAIN_MS = { least: 100, most: 500 } as const;

/** Of this replica's part. */
interface Bucket {
  amount: number;
  unitMs: number;
  used: number;
  atMs: number;
}

export interface Holding {
  amount: number;
  unitMs: number;
  maxDebt: number;
  keepMs: number;
  left: number;
  leaseEndsMs: number;
  /** Estimate of what is there beside leases; undefined until the server, or whoever took from it before, has said it. */
  level: number | undefined;
  levelAtMs: number;
  /** In leases of others, by the last answer. */
  heldByOthers: number;
  answeredMs: number;
  /** Until then nothing is asked: the bucket is empty. */
  askAtMs: number;
  /** Granted and charged less given back, since this holding exists. */
  used: number;
  reported: number;
  /** Tokens granted lately, fading with REPORT_MS. */
  recent: number;
  recentAtMs: number;
  /** What this replica may grant without the server. */
  alone: Bucket | undefined;
  /** Whether it has granted alone since the server last answered. */
  isAlone: boolean;
  /** What the server is told when it has lost the bucket: what was used, beside leases, and when by its clock. */
  seed: { readonly used: number; readonly atMs: number | undefined } | undefined;
  touchedMs: number;
}

/** What the server is asked. */
export interface Ask extends StoredLimit {
  readonly used: number;
  readonly reported: number;
  /** Size of the next lease. */
  readonly want: number;
  /** Of the present lease, what may be granted while the answer is awaited. */
  readonly inUse: number;
  readonly atMs: number;
}

/** What the server has answered. */
export interface Answer {
  readonly lease: number;
  /** Beside all leases. */
  readonly level: number;
  /** In leases of others. */
  readonly heldByOthers: number;
  /** By the server's clock. */
  readonly atMs: number;
  /** The account as the server now has it. */
  readonly used: number;
}

/** Before the server has ever said anything. */
const NEVER = Number.NEGATIVE_INFINITY;

/** @param used tokens that are known to be used of it; it is said of what does not come back. */
export const createHolding = (limit: StoredLimit, nowMs: number, used?: number): Holding => ({
  amount: limit.amount,
  unitMs: limit.unitMs,
  maxDebt: limit.maxDebt ?? limit.amount,
  keepMs: limit.keepMs ?? KEEP_MS,
  left: 0,
  leaseEndsMs: 0,
  level: used === undefined ? undefined : limit.amount - used,
  levelAtMs: nowMs,
  heldByOthers: 0,
  answeredMs: used === undefined ? nowMs : NEVER,
  askAtMs: 0,
  used: 0,
  reported: 0,
  recent: 0,
  recentAtMs: nowMs,
  alone: undefined,
  isAlone: false,
  seed: used === undefined ? undefined : { used, atMs: undefined },
  touchedMs: nowMs,
});

/** Tokens to lease, given those used lately: none for a key that is hardly used, so that it is decided exactly. */
export const leaseSize = (recent: number, amount: number): number =>
  Math.max(0, Math.floor(Math.min(recent, LEASE_PART * amount) + TOLERANCE));

/** When a bucket with less than a token is asked again. */
export function askAgainMs(level: number, { amount, unitMs }: StoredLimit): number {
  const wait = ((1 - level) * unitMs) / amount;
  // Also when the amount is 0, and the wait is not a number.
  return wait < ASK_AGAIN_MS.most ? Math.max(ASK_AGAIN_MS.least, Math.ceil(wait)) : ASK_AGAIN_MS.most;
}

const recentAt = (holding: Holding, nowMs: number): number =>
  holding.recent * Math.exp(-Math.max(0, nowMs - holding.recentAtMs) / REPORT_MS);

/** What no lease would cover calls for none. */
function remember(holding: Holding, hits: number, nowMs: number): void {
  if (hits > LEASE_PART * holding.amount) return;
  holding.recent = recentAt(holding, nowMs) + hits;
  holding.recentAtMs = nowMs;
}

/** Ends the lease when it is over, and refills the estimate. */
function bringTo(holding: Holding, nowMs: number): void {
  if (nowMs >= holding.leaseEndsMs && holding.left > 0) {
    if (holding.level !== undefined) holding.level += holding.left;
    holding.left = 0;
  }
  if (holding.level === undefined || nowMs <= holding.levelAtMs) return;
  const room = holding.amount - holding.left;
  holding.level = room - usedAfter(Math.max(0, room - holding.level), holding, nowMs - holding.levelAtMs);
  holding.levelAtMs = nowMs;
}

/** Takes another limit over: what was used stays, what is left changes at once, and the server is asked for a lease of it. */
function reconfigure(holding: Holding, { amount, unitMs }: StoredLimit, nowMs: number): void {
  if (amount === holding.amount && unitMs === holding.unitMs) return;
  bringTo(holding, nowMs);
  if (holding.level !== undefined) holding.level += holding.left + amount - holding.amount;
  holding.left = 0;
  holding.amount = amount;
  holding.unitMs = unitMs;
  holding.askAtMs = 0;
  holding.answeredMs = NEVER;
}

/** Charges the estimate, as far as the debt may go. */
function lower(holding: Holding, level: number, hits: number): number {
  const { amount } = holding;
  return amount - usedWith(amount - level, hits, holding);
}

/**
 * The outcome of hits. A refusal never shows as many as were asked for.
 *
 * @param total tokens there are beside the leases of others, which hold `heldByOthers`.
 */
export function takenOf(
  limit: StoredLimit,
  granted: boolean,
  hits: number,
  total: number,
  heldByOthers: number,
): Taken {
  const remaining = Math.max(0, Math.floor(total + TOLERANCE));
  return {
    granted,
    level: total,
    used: limit.amount - total - heldByOthers,
    remaining: granted ? remaining : Math.min(remaining, Math.max(0, Math.ceil(hits) - 1)),
    resetMs: Math.max(0, Math.ceil(((limit.amount - total) * limit.unitMs) / Math.max(1, limit.amount))),
  };
}

/** Charges what nobody decides any more: from the lease first, then from the rest. */
function charge(holding: Holding, hits: number, nowMs: number): void {
  const beyond = Math.max(0, hits - holding.left);
  holding.left = Math.max(0, holding.left - hits);
  holding.used += hits;
  if (beyond === 0 || holding.level === undefined) return;
  holding.level = lower(holding, holding.level, beyond);
  if (holding.level + TOLERANCE < 1) {
    holding.askAtMs = Math.max(holding.askAtMs, nowMs + askAgainMs(holding.level, holding));
  }
}

/** Decides without the server; undefined when it has to be asked. */
export function decide(
  holding: Holding,
  limit: StoredLimit,
  hits: number,
  mode: TakeMode,
  nowMs: number,
): Taken | undefined {
  holding.touchedMs = nowMs;
  holding.maxDebt = limit.maxDebt ?? limit.amount;
  holding.keepMs = limit.keepMs ?? KEEP_MS;
  reconfigure(holding, limit, nowMs);
  bringTo(holding, nowMs);
  if (holding.level === undefined) return undefined;
  const waits = nowMs < holding.askAtMs;
  const answer = (granted: boolean): Taken =>
    takenOf(holding, granted, hits, holding.left + (holding.level ?? 0), holding.heldByOthers);
  if (hits > 0 && mode === 'report') {
    charge(holding, hits, nowMs);
    return answer(true);
  }
  const isFresh = nowMs - holding.answeredMs < REPORT_MS;
  if (hits > 0) {
    if (holding.left + TOLERANCE >= hits) {
      holding.left -= hits;
      holding.used += hits;
      remember(holding, hits, nowMs);
      return answer(true);
    }
    // Many tokens at once: a moment ago there were fewer, and who tries again and again need not ask each time.
    const isTooMany = mode === 'take' && hits > 1 && isFresh && holding.left + holding.level < hits;
    if (!waits && !isTooMany) return undefined;
    if (mode === 'charge') charge(holding, hits, nowMs);
    return answer(false);
  }
  if (hits < 0) {
    holding.used += hits;
    holding.level = Math.min(holding.amount - holding.left, holding.level - hits);
    if (holding.level + TOLERANCE >= 1) holding.askAtMs = nowMs;
    return answer(holding.left + holding.level + TOLERANCE >= 1);
  }
  if (holding.left + TOLERANCE >= 1) return answer(true);
  if (waits) return answer(false);
  return isFresh && holding.level + TOLERANCE >= 1 ? answer(true) : undefined;
}

/** Whether a new lease should be asked for before this one has run out. */
export const isLow = (holding: Holding, nowMs: number): boolean =>
  nowMs >= holding.askAtMs &&
  holding.left < LOW * leaseSize(holding.recent, holding.amount) &&
  holding.level !== undefined;

/**
 * What to send to the server.
 *
 * @param exact hits go with it, and are decided on all there is: the lease is given back, and nothing is granted from it
 *   until the answer is there.
 */
export function ask(holding: Holding, exact: boolean, nowMs: number): Ask {
  bringTo(holding, nowMs);
  const want = leaseSize(recentAt(holding, nowMs), holding.amount);
  holding.left = exact ? 0 : Math.min(holding.left, want);
  return {
    amount: holding.amount,
    unitMs: holding.unitMs,
    used: holding.used,
    reported: holding.reported,
    want,
    inUse: holding.left,
    atMs: nowMs,
  };
}

/**
 * @param charged what the answer charged for hits that nobody has decided meanwhile
 * @param granted of these, each that was granted
 */
export function answered(
  holding: Holding,
  sent: Ask,
  answer: Answer,
  { charged, granted }: { readonly charged: number; readonly granted: readonly number[] },
  nowMs: number,
): void {
  bringTo(holding, nowMs);
  const meanwhile = holding.used - sent.used;
  holding.reported = answer.used;
  holding.used += charged;
  holding.answeredMs = nowMs;
  holding.isAlone = false;
  // What leases hold is not used.
  const used = sent.amount - answer.level - answer.lease - answer.heldByOthers;
  holding.seed = { used, atMs: answer.atMs };
  holding.heldByOthers = answer.heldByOthers;
  for (const hits of granted) remember(holding, hits, nowMs);
  if (sent.amount !== holding.amount || sent.unitMs !== holding.unitMs) {
    // Of a limit that is none any more: no lease of it counts, and the server is asked again.
    holding.level = holding.amount - used - meanwhile;
    holding.levelAtMs = nowMs;
    holding.answeredMs = NEVER;
    return;
  }
  const spent = sent.inUse - holding.left;
  holding.left = Math.max(0, answer.lease - spent);
  holding.leaseEndsMs = sent.atMs + LEASE_MS;
  holding.level = lower(holding, answer.level, meanwhile - spent);
  holding.levelAtMs = nowMs;
  holding.askAtMs = holding.level + TOLERANCE >= 1 ? nowMs : nowMs + askAgainMs(holding.level, holding);
  bringTo(holding, nowMs);
}

/** A replica's part of a limit: `part` of its rate, and of its amount at least the one token that a request needs. */
export function partOfLimit({ amount, unitMs }: StoredLimit, part: number): StoredLimit {
  const tokens = amount * part;
  if (tokens >= 1 || tokens <= 0) return { amount: tokens, unitMs };
  return { amount: Math.min(1, amount), unitMs: (unitMs * Math.min(1, amount)) / tokens };
}

function refillAlone(bucket: Bucket, maxDebt: number, nowMs: number): void {
  if (nowMs <= bucket.atMs) return;
  const { amount, unitMs } = bucket;
  bucket.used = usedAfter(bucket.used, { amount, unitMs, maxDebt }, nowMs - bucket.atMs);
  bucket.atMs = nowMs;
}

/**
 * Decides without the server, on `part` of the limit. An outage begins with `part` of what was left, and what an earlier
 * one has spent is not there again before it has been refilled.
 */
export function decideAlone(
  holding: Holding,
  part: number,
  hits: number,
  mode: TakeMode,
  nowMs: number,
): Taken {
  const { maxDebt } = holding;
  const limit = { ...partOfLimit(holding, part), maxDebt };
  holding.alone ??= { amount: limit.amount, unitMs: limit.unitMs, used: 0, atMs: nowMs };
  const bucket = holding.alone;
  refillAlone(bucket, maxDebt, nowMs);
  bucket.amount = limit.amount;
  bucket.unitMs = limit.unitMs;
  if (!holding.isAlone) {
    holding.isAlone = true;
    if (holding.level !== undefined && holding.amount > 0) {
      const used = holding.amount - holding.level - holding.left;
      bucket.used = Math.max(bucket.used, (used * limit.amount) / holding.amount);
    }
  }
  // What the whole bucket could give, and this part of it never can, goes when the part is full, and is paid off then.
  const isWhole = mode === 'take' && hits > limit.amount && hits <= holding.amount;
  const taken = apply(bucket, limit, isWhole ? limit.amount : hits, mode);
  if (isWhole && taken.granted) apply(bucket, limit, hits - limit.amount, 'report');
  if (hits < 0 || mode !== 'take' || taken.granted) {
    holding.used += hits;
    if (holding.level !== undefined) {
      holding.level = Math.min(holding.amount, lower(holding, holding.level, hits));
    }
  }
  if (taken.granted && hits > 0) remember(holding, hits, nowMs);
  const used =
    holding.level === undefined
      ? undefined
      : holding.amount - holding.level - holding.left - holding.heldByOthers;
  return { ...taken, level: limit.amount - bucket.used, used };
}

/** Whether nothing is lost when this is forgotten. What could not be reported does not matter once it has been refilled. */
export function isForgettable(holding: Holding, nowMs: number): boolean {
  const idleMs = nowMs - holding.touchedMs;
  if (idleMs < LEASE_MS || nowMs < holding.askAtMs) return false;
  // What does not come back is of no use when its time is over.
  const enoughMs = Math.min(2 * holding.unitMs, holding.keepMs);
  if (holding.used !== holding.reported && idleMs < enoughMs) return false;
  if (holding.alone === undefined) return true;
  refillAlone(holding.alone, holding.maxDebt, nowMs);
  return holding.alone.used < TOLERANCE || idleMs >= enoughMs;
}

/**
 * What one replica holds of a capacity that several share: requests of a tenant, sequences of an engine. Whoever keeps the
 * account (redis-shares.ts) is told by each replica what it keeps and wants, and answers with what it holds and its fair
 * part. What it holds above that is given back as it comes free.
 *
 * Invariants, while the account is kept: nothing is used beyond what the account says is held, also while a call is under
 * way, is lost or arrives late, so the sum over all replicas stays within the capacity. A share that was not renewed
 * ends here no later than there.
 *
 * Without an answer a replica uses `alone` of the capacity, or what it holds if that is more. The sum is then at most the
 * capacity plus that of each such replica. When the account is lost, or its clock jumps over shares, those who were counted
 * and those who come meanwhile may together have once more the capacity, until requests end.
 */

/** A share lives this long where the account is kept. */
export const ALLOTMENT_MS = 1_000;
/** Whoever holds anything says so this often. */
const HEARTBEAT_MS = 250;
/** When the account finds that it does not know of what is used, nobody gets more for so long: all will have said. */
export const SETTLE_MS = 300;
/** How soon a replica asks again for what it did not get. */
const ASK_AGAIN_MS = { least: 20, most: 40 } as const;
/** What comes free is not given back more often. */
const GIVE_BACK_MS = 20;
const FAILED_MS = 100;

/** What a replica has and wants of the capacity. All are whole numbers. */
export interface AllotmentUse {
  /** As this replica sees it. */
  readonly capacity: number;
  readonly inUse: number;
  /** What is in use as soon as it may be, `inUse` included: others count it as used as far as it is held. */
  readonly claimed: number;
  /** What it should hold, to have some at hand: at least `claimed`. 0 gives the share back. */
  readonly want: number;
}

export interface AllotmentRequest extends AllotmentUse {
  /** What it goes on using whatever the answer is: at least `inUse`. */
  readonly keep: number;
  /** An account that knows a later one ignores this call. */
  readonly number: number;
  readonly atMs: number;
}

/** Replicas other than this one. */
export interface Others {
  readonly count: number;
  readonly inUse: number;
  readonly held: number;
}

export interface AllotmentAnswer {
  /** At least what was kept. */
  readonly held: number;
  /** What this replica should come down to. */
  readonly fair: number;
  /** The largest that a live replica says. */
  readonly capacity: number;
  readonly others: Others;
}

export interface AllotmentState {
  held: number;
  fair: number;
  /** The largest that a live replica has said. */
  capacity: number;
  endsMs: number;
  others: Others;
  answeredMs: number;
  /** The call under way. */
  sent: AllotmentRequest | undefined;
  /** The last call that was made. */
  last: AllotmentRequest | undefined;
  /** The last call has failed. */
  failed: boolean;
  /** The last answer covered less than was wanted. */
  refused: boolean;
  /** How long to wait after such an answer. */
  waitMs: number;
}

const NOBODY: Others = { count: 0, inUse: 0, held: 0 };

export const createAllotmentState = (): AllotmentState => ({
  held: 0,
  fair: 0,
  capacity: 0,
  endsMs: 0,
  others: NOBODY,
  answeredMs: 0,
  sent: undefined,
  last: undefined,
  failed: false,
  refused: false,
  waitMs: 0,
});

/** Of a capacity, what a replica uses that hears of no other one: at least one. */
export const aloneOf = (capacity: number, failureShare: number): number =>
  Math.max(1, Math.floor(failureShare * capacity));

/** What all use together if each of the others uses as much of its part: the largest capacity of which it is this part. */
export const wholeOf = (inUse: number, failureShare: number): number =>
  inUse === 0 ? 0 : Math.ceil((inUse + 1) / failureShare) - 1;

const heldAt = (share: AllotmentState, nowMs: number): number =>
  nowMs < share.endsMs ? Math.min(share.held, share.fair) : 0;

/** Whether a call has failed, or is not answered within `maxWaitMs`. */
export const isSilent = (share: AllotmentState, maxWaitMs: number, nowMs: number): boolean =>
  share.failed || (share.sent !== undefined && nowMs - share.sent.atMs >= maxWaitMs);

/** What may be in use here. @param alone undefined while the account answers. */
export const limitOf = (share: AllotmentState, alone: number | undefined, nowMs: number): number =>
  Math.max(heldAt(share, nowMs), alone ?? 0);

/** What may be added to the limit when others have been asked, or give back what they do not use. */
export function comingOf(share: AllotmentState, capacity: number, nowMs: number): number {
  const held = heldAt(share, nowMs);
  const isKnown = share.refused && nowMs < share.endsMs;
  return Math.max(0, capacity - held - (isKnown ? share.others.inUse : 0));
}

/** Undefined when the last answer is too old to say. */
export const othersOf = (share: AllotmentState, nowMs: number): Others | undefined =>
  nowMs < share.endsMs ? share.others : undefined;

/** When the next call is due; undefined: not at all. @param limit as it is now. */
export function askAtMs(
  share: AllotmentState,
  use: AllotmentUse,
  limit: number,
  nowMs: number,
): number | undefined {
  const { last, held, endsMs } = share;
  const isHeld = nowMs < endsMs;
  if (share.sent !== undefined) return undefined;
  if (use.want === 0 && use.inUse === 0) {
    if (!isHeld) return undefined;
    return share.failed ? endsMs : nowMs;
  }
  if (last === undefined) return nowMs;
  if (share.failed) return share.answeredMs + FAILED_MS;
  if (!isHeld || use.capacity > last.capacity) return nowMs;
  if (Math.max(use.inUse, limit) < held) return last.atMs + GIVE_BACK_MS;
  if (use.want > held) return share.refused ? share.answeredMs + share.waitMs : nowMs;
  return share.answeredMs + HEARTBEAT_MS;
}

/**
 * @param limit as it is now: it stays until the answer.
 * @param number higher than that of any call before.
 */
export function ask(
  share: AllotmentState,
  use: AllotmentUse,
  limit: number,
  number: number,
  nowMs: number,
): AllotmentRequest {
  const leaves = use.want === 0 && use.inUse === 0;
  const sent: AllotmentRequest = {
    ...use,
    keep: leaves ? 0 : Math.max(use.inUse, limit),
    number,
    atMs: nowMs,
  };
  if (leaves) share.held = 0;
  share.sent = sent;
  share.last = sent;
  return sent;
}

/** @param answer undefined: there is none, and nobody knows whether the call arrived. */
export function answered(share: AllotmentState, answer: AllotmentAnswer | undefined, nowMs: number): void {
  const { sent } = share;
  if (sent === undefined) return;
  share.sent = undefined;
  share.failed = answer === undefined;
  share.answeredMs = nowMs;
  if (answer === undefined) return;
  const leaves = sent.keep === 0 && sent.want === 0;
  share.held = answer.held;
  share.fair = answer.fair;
  share.capacity = answer.capacity;
  share.endsMs = leaves ? 0 : sent.atMs + ALLOTMENT_MS;
  share.others = answer.others;
  share.refused = sent.want > answer.held;
  share.waitMs = share.refused
    ? Math.min(ASK_AGAIN_MS.most, Math.max(ASK_AGAIN_MS.least, 2 * share.waitMs))
    : 0;
}

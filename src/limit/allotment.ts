/**
 * An allotment: what one replica holds of a capacity that several use (requests of a tenant, sequences of an engine), and
 * when it has to say what about it.
 *
 * Whoever keeps the account (redis-allotments.ts) is told by each replica what it keeps and wants, and answers with what it
 * holds and its fair part. What it holds above that is given back as it comes free.
 *
 * Invariants, while the account is kept: nothing is used beyond what the account says is held, also while a call is under
 * way, is lost or arrives late, so the sum over all replicas stays within the capacity. An allotment that was not renewed
 * ends here no later than there.
 *
 * Without an answer a replica uses `alone` of the capacity, or what it holds if that is more. The sum is then at most the
 * capacity plus that of each such replica. When the account is lost, or its clock jumps over allotments, those who were
 * counted and those who come meanwhile may together have once more the capacity, until requests end.
 */

import type { EngineUse } from '../domain/engine-use.ts';

/** An allotment lives this long where the account is kept. */
export const ALLOTMENT_MS = 1_000;
/** Whoever holds anything says so this often. */
const HEARTBEAT_MS = 250;
/** Of an engine that others use too, while requests are in it: whose its time is depends on it. */
const ENGINE_HEARTBEAT_MS = 100;
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
  /** What it should hold, to have some at hand: at least `claimed`. 0 gives the allotment back. */
  readonly want: number;
  /** Of an engine's sequences: what they had of it. */
  readonly engine?: EngineUse;
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
  /** What theirs had of the engine, together, as of now; absent: not all of them say. */
  readonly engine?: EngineUse;
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

const NOBODY: Others = { count: 0, inUse: 0, held: 0 };

/** Of a capacity, what a replica uses that hears of no other one: at least one. */
export const aloneOf = (capacity: number, failureShare: number): number =>
  Math.max(1, Math.floor(failureShare * capacity));

/** What all use together if each of the others uses as much of its part: the largest capacity of which it is this part. */
export const wholeOf = (inUse: number, failureShare: number): number =>
  inUse === 0 ? 0 : Math.ceil((inUse + 1) / failureShare) - 1;

/** The replica's side of the account for one key. A pure state: time is an argument, and nothing is sent from here. */
export class AllotmentState {
  // As the last answer gave it.
  private held = 0;
  private fair = 0;
  private capacity = 0;
  private others: Others = NOBODY;
  private endsMs = 0;
  /** It covered less than was wanted. */
  private refused = false;
  /** How long to wait after such an answer. */
  private waitMs = 0;

  // The calls.
  /** The one under way. */
  private sent: AllotmentRequest | undefined = undefined;
  /** The last one that was made. */
  private last: AllotmentRequest | undefined = undefined;
  /** When the last one was answered, or failed. */
  private answeredMs = 0;
  private failed = false;

  /** Says when the allotment ends; undefined: it has. */
  endsAtMs(nowMs: number): number | undefined {
    return nowMs < this.endsMs ? this.endsMs : undefined;
  }

  /** The call under way. */
  asking(): AllotmentRequest | undefined {
    return this.sent;
  }

  /** The part that the last answer gave this replica. */
  fairPart(): number {
    return this.fair;
  }

  /** The largest capacity that a live replica has said. */
  largestCapacity(): number {
    return this.capacity;
  }

  /** Whether a call has failed, or is not answered within `maxWaitMs`. */
  isSilent(maxWaitMs: number, nowMs: number): boolean {
    return this.failed || (this.sent !== undefined && nowMs - this.sent.atMs >= maxWaitMs);
  }

  /** What may be in use here. @param alone undefined while the account answers. */
  limit(alone: number | undefined, nowMs: number): number {
    return Math.max(this.heldAt(nowMs), alone ?? 0);
  }

  /** What may be added to the limit when others have been asked, or give back what they do not use. */
  coming(capacity: number, nowMs: number): number {
    const isKnown = this.refused && nowMs < this.endsMs;
    return Math.max(0, capacity - this.heldAt(nowMs) - (isKnown ? this.others.inUse : 0));
  }

  /** Undefined when the last answer is too old to say. */
  othersAt(nowMs: number): Others | undefined {
    return nowMs < this.endsMs ? this.others : undefined;
  }

  /** When the last call was answered, or failed. */
  heardMs(): number {
    return this.answeredMs;
  }

  /** When the next call is due; undefined: not at all. @param limit as it is now. */
  askAtMs(use: AllotmentUse, limit: number, nowMs: number): number | undefined {
    const { last, held, endsMs } = this;
    const isHeld = nowMs < endsMs;
    if (this.sent !== undefined) return undefined;
    if (use.want === 0 && use.inUse === 0) {
      if (!isHeld) return undefined;
      return this.failed ? endsMs : nowMs;
    }
    if (last === undefined) return nowMs;
    if (this.failed) return this.answeredMs + FAILED_MS;
    if (!isHeld || use.capacity > last.capacity) return nowMs;
    if (Math.max(use.inUse, limit) < held) return last.atMs + GIVE_BACK_MS;
    if (use.want > held) return this.refused ? this.answeredMs + this.waitMs : nowMs;
    const isShared = last.engine !== undefined && this.others.count > 0 && use.inUse + last.inUse > 0;
    return this.answeredMs + (isShared ? ENGINE_HEARTBEAT_MS : HEARTBEAT_MS);
  }

  /**
   * Begins a call, and gives what to send.
   *
   * @param limit as it is now: it stays until the answer.
   * @param number higher than that of any call before.
   */
  ask(use: AllotmentUse, limit: number, number: number, nowMs: number): AllotmentRequest {
    const leaves = use.want === 0 && use.inUse === 0;
    const sent: AllotmentRequest = {
      ...use,
      keep: leaves ? 0 : Math.max(use.inUse, limit),
      number,
      atMs: nowMs,
    };
    if (leaves) this.held = 0;
    this.sent = sent;
    this.last = sent;
    return sent;
  }

  /** Ends the call. @param answer undefined: there is none, and nobody knows whether the call arrived. */
  answered(answer: AllotmentAnswer | undefined, nowMs: number): void {
    const { sent } = this;
    if (sent === undefined) return;
    this.sent = undefined;
    this.failed = answer === undefined;
    this.answeredMs = nowMs;
    if (answer === undefined) return;
    const leaves = sent.keep === 0 && sent.want === 0;
    this.held = answer.held;
    this.fair = answer.fair;
    this.capacity = answer.capacity;
    this.endsMs = leaves ? 0 : sent.atMs + ALLOTMENT_MS;
    this.others = answer.others;
    this.refused = sent.want > answer.held;
    this.waitMs = this.refused
      ? Math.min(ASK_AGAIN_MS.most, Math.max(ASK_AGAIN_MS.least, 2 * this.waitMs))
      : 0;
  }

  private heldAt(nowMs: number): number {
    return nowMs < this.endsMs ? Math.min(this.held, this.fair) : 0;
  }
}

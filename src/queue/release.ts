/**
 * A released request: its slot, and what it has paid.
 *
 * Two things end, each once and in any order: the slot (`free`) and the account (`settle`). Whoever got the release calls
 * both. What it costs is paid by its flow if it went in turn, and counted as its tenant's service in any case.
 */
import type { Slot } from '../pool/types.ts';
import type { Lane } from './lanes.ts';
import type { PoolQueue, QueuedRequest } from './pool-queue.ts';
import type { Release, Waiting } from './types.ts';

/** Who releases requests, and goes on when one has ended. */
export interface ReleaseOwner {
  /** The prompt is computed: others may be released there. */
  promptComputed(pool: PoolQueue, nowMs: number): void;
  /** The slot is free. Called once. */
  freed(release: PoolRelease, nowMs: number): void;
}

export class PoolRelease implements Release {
  readonly slot: Slot;
  readonly belowFairShare: boolean;
  readonly waitedMs: number;
  readonly queue: PoolQueue;
  readonly lane: Lane<QueuedRequest>;
  readonly tenant: string;
  readonly sequences: number;
  private readonly owner: ReleaseOwner;
  /** Its flow has paid for it. A request that went at once has not, and owes its flow nothing. */
  private readonly inTurn: boolean;

  private isFreed = false;
  private isSettled = false;
  /** Weighted tokens. */
  private paid: number;

  constructor(
    owner: ReleaseOwner,
    queue: PoolQueue,
    lane: Lane<QueuedRequest>,
    { tenant, cost, demand }: Waiting,
    slot: Slot,
    inTurn: boolean,
    belowFairShare: boolean,
    waitedMs: number,
  ) {
    this.owner = owner;
    this.queue = queue;
    this.lane = lane;
    this.tenant = tenant;
    this.sequences = demand.sequences;
    this.slot = slot;
    this.inTurn = inTurn;
    this.belowFairShare = belowFairShare;
    this.waitedMs = waitedMs;
    this.paid = cost;
  }

  get pool(): string {
    return this.queue.name;
  }

  firstToken(nowMs: number): void {
    this.slot.firstToken(nowMs);
    this.owner.promptComputed(this.queue, nowMs);
  }

  charge(costSoFar: number, nowMs: number): void {
    if (!this.isSettled && costSoFar > this.paid) this.pay(costSoFar, nowMs);
  }

  free(nowMs: number): void {
    if (this.isFreed) return;
    this.isFreed = true;
    this.slot.free(nowMs);
    this.owner.freed(this, nowMs);
  }

  settle(cost: number, nowMs: number): void {
    if (this.isSettled) return;
    this.isSettled = true;
    this.pay(cost, nowMs);
  }

  private pay(cost: number, nowMs: number): void {
    const more = cost - this.paid;
    this.paid = cost;
    this.queue.fairShare.served(this.tenant, more, nowMs);
    if (this.inTurn) this.lane.queue.charge(this.tenant, more);
  }
}

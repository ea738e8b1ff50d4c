/**
 * One key of redis-lease-store.ts: what this replica holds of its bucket (lease.ts), the hits that wait for Redis, and the
 * exchange with Redis, one at a time.
 *
 * Life of a hit that the holding cannot decide: `enqueue`, then in one of three ways to `decided`, once. Redis decides it
 * with the next exchange; the exchange fails and it is decided alone; or its caller waits no longer and decides it alone.
 */
import {
  type Ask,
  answered,
  ask,
  createHolding,
  decide,
  decideAlone,
  type Holding,
  isForgettable,
  isLow,
  REPORT_MS,
  takenOf,
} from './lease.ts';
import { LEASE_SCRIPT, leaseArguments, readLeaseReply } from './redis-lease-script.ts';
import type { RedisServers } from './redis-servers.ts';
import type { BucketRequest, StoredLimit, TakeMode, Taken } from './store.ts';

/** A key that Redis answers with an error is left alone for this long. */
const MUTED_MS = 1_000;
/** Hits decided in one call of the script, so that it stays short. */
const BATCH = 256;

/** What all keys of a store share. */
export interface LeaseContext {
  readonly keyPrefix: string;
  readonly replica: string;
  /** Part of each limit that is granted alone while Redis does not answer. */
  readonly failureShare: number;
  readonly servers: RedisServers;
  readonly now: () => number;
  /** Keys with use that Redis has not been told yet. */
  readonly unreported: Set<LeasedKey>;
}

/** Who waits for hits to be decided. */
export interface HitsCaller {
  decided(index: number, taken: Taken): void;
}

/** Hits that wait for Redis. */
export class WaitingHits {
  readonly key: LeasedKey;
  readonly hits: number;
  readonly mode: TakeMode;
  isDecided = false;
  private readonly caller: HitsCaller;
  /** Among the caller's. */
  private readonly index: number;

  constructor(key: LeasedKey, hits: number, mode: TakeMode, caller: HitsCaller, index: number) {
    this.key = key;
    this.hits = hits;
    this.mode = mode;
    this.caller = caller;
    this.index = index;
  }

  /** The first call counts. */
  decide(taken: Taken): void {
    if (this.isDecided) return;
    this.isDecided = true;
    this.caller.decided(this.index, taken);
  }

  decideAlone(): void {
    if (!this.isDecided) this.decide(this.key.decideAlone(this.hits, this.mode, this.key.now()));
  }
}

export class LeasedKey {
  readonly id: string;
  readonly redisKey: string;
  /** Of the key, among the servers. */
  readonly place: number;
  private readonly context: LeaseContext;
  /** Number of this holding among all that this replica had. */
  private readonly epoch: number;
  private readonly holding: Holding;

  private waiting: WaitingHits[] = [];
  private isScheduled = false;
  private isAsking = false;
  /** The exchange that runs, or the last one. It does not reject. */
  private asking: Promise<void> = Promise.resolve();
  private mutedUntilMs = 0;

  constructor(
    context: LeaseContext,
    id: string,
    epoch: number,
    { limit, knownUsed }: { readonly limit: StoredLimit; readonly knownUsed?: number },
    nowMs: number,
  ) {
    this.context = context;
    this.id = id;
    this.redisKey = `${context.keyPrefix}{${id}}`;
    this.place = context.servers.placeOf(this.redisKey);
    this.epoch = epoch;
    this.holding = createHolding(limit, nowMs, knownUsed);
  }

  now(): number {
    return this.context.now();
  }

  /** Whether Redis may be asked for this key now. */
  canAsk(nowMs: number): boolean {
    return this.context.servers.isUp(this.place) && nowMs >= this.mutedUntilMs;
  }

  /** Decides from the lease and what is known of the rest. Undefined: Redis has to be asked. */
  decide({ limit, hits, mode = 'take' }: BucketRequest, nowMs: number): Taken | undefined {
    const taken = decide(this.holding, limit, hits, mode, nowMs);
    if (taken !== undefined) this.note();
    return taken;
  }

  /** Decides without Redis, on this replica's part of the limit. */
  decideAlone(hits: number, mode: TakeMode, nowMs: number): Taken {
    const taken = decideAlone(this.holding, this.context.failureShare, hits, mode, nowMs);
    this.note();
    return taken;
  }

  enqueue(hits: WaitingHits): void {
    this.waiting.push(hits);
    if (this.isAsking || this.isScheduled) return;
    this.isScheduled = true;
    queueMicrotask(() => {
      this.isScheduled = false;
      void this.refresh();
    });
  }

  /** Renews the lease before it has run out. */
  renewIfLow(nowMs: number): void {
    if (!this.isAsking && isLow(this.holding, nowMs)) void this.refresh();
  }

  /** Tells Redis what was used, if that is due. @returns whether it was. */
  reportIfDue(nowMs: number): boolean {
    if (this.isAsking || !this.canAsk(nowMs) || nowMs - this.holding.answeredMs < REPORT_MS) return false;
    void this.refresh();
    return true;
  }

  /** Reports what was used and gives the lease back. Undefined: there is nothing to say, or nobody to tell. */
  giveBack(nowMs: number): Promise<void> | undefined {
    if ((!this.isAsking && !this.hasToTell()) || !this.canAsk(nowMs)) return undefined;
    this.holding.recent = 0;
    return this.tellTheRest();
  }

  /** What is not in an exchange that runs needs another one. */
  private async tellTheRest(): Promise<void> {
    if (this.isAsking) await this.asking;
    if (this.hasToTell()) await this.refresh();
  }

  private hasToTell(): boolean {
    return this.holding.left > 0 || this.holding.used !== this.holding.reported;
  }

  /** Tokens in its lease. */
  leased(nowMs: number): number {
    return nowMs < this.holding.leaseEndsMs ? this.holding.left : 0;
  }

  isForgettable(nowMs: number): boolean {
    return !this.isAsking && this.waiting.length === 0 && isForgettable(this.holding, nowMs);
  }

  /** Tells Redis what was used, has it decide what waits, and renews the lease. */
  private refresh(): Promise<void> {
    if (!this.isAsking) this.asking = this.exchanges();
    return this.asking;
  }

  private async exchanges(): Promise<void> {
    this.isAsking = true;
    try {
      do {
        await this.exchange();
        this.decideWaiting();
      } while (this.waiting.length > 0);
    } finally {
      this.isAsking = false;
    }
  }

  private async exchange(): Promise<void> {
    const { servers, replica } = this.context;
    const batch = this.waiting.splice(0, BATCH).filter(({ isDecided }) => !isDecided);
    const sent = ask(this.holding, batch.length > 0, this.now());
    try {
      const args = leaseArguments(replica, this.epoch, this.holding, sent, batch);
      this.take(sent, batch, await servers.scripts.run(LEASE_SCRIPT, this.redisKey, args));
      servers.answered(this.place);
    } catch (error) {
      if (servers.failed(this.place, error)) this.mutedUntilMs = this.now() + MUTED_MS;
      for (const hits of [...batch, ...this.waiting.splice(0)]) hits.decideAlone();
    }
  }

  private take(sent: Ask, batch: readonly WaitingHits[], reply: unknown): void {
    const read = readLeaseReply(reply);
    let charged = 0;
    const granted: number[] = [];
    batch.forEach((one, i) => {
      if (one.isDecided) return;
      const isGranted = read.granted(i);
      const { hits, mode } = one;
      if (isGranted || mode !== 'take' || hits < 0) charged += hits;
      if (isGranted && hits > 0) granted.push(hits);
      one.decide(takenOf(sent, isGranted, hits, read.levelAfter(i), read.answer.heldByOthers));
    });
    answered(this.holding, sent, read.answer, { charged, granted }, this.now());
    this.note();
  }

  /** Those that came meanwhile may be served by the lease, or it is known by now that nothing is there. */
  private decideWaiting(): void {
    this.waiting = this.waiting.filter((one) => {
      if (one.isDecided) return false;
      const taken = decide(this.holding, this.holding, one.hits, one.mode, this.now());
      if (taken === undefined) return true;
      one.decide(taken);
      this.note();
      return false;
    });
  }

  private note(): void {
    if (this.holding.used === this.holding.reported) this.context.unreported.delete(this);
    else this.context.unreported.add(this);
  }
}

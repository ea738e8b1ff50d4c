/**
 * Token buckets that any number of replicas hold together, in Redis, without a round trip for each decision: a replica
 * leases tokens of the keys it uses much and grants from its lease; the rest is decided in Redis, exactly.
 *
 * Over any interval, and over all replicas, granted − given back ≤ amount + amount / unit · time + B. While Redis answers
 * and nobody dies, B = 0. Otherwise B is the sum of
 * - what the leases of replicas held that died, or were cut off for longer than LEASE_MS: of each at most 2 % of the amount;
 * - for each replica, and each time that Redis does not answer it within waitMs: failureShare · (what was left of the amount
 *   + amount / unit · time without Redis), where a share of less than one token is one. What an earlier time has spent of
 *   it is there again only when refilled. It is charged when Redis answers, down to a debt of one bucket;
 * - when Redis loses its data: the leases there were, or a full bucket when no replica has used the key within a second;
 * - what the clock of Redis adds by going back and forth.
 *
 * Tokens idle elsewhere: a request can be refused while the other replicas lease at most 2 % of the amount each, and none
 * of a key that is used less than about three times a second or holds less than 50 tokens.
 */
import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { atMost } from '../domain/at-most.ts';
import { idOf } from './key-id.ts';
import { LEASE_SCRIPT, probeArguments } from './redis-lease-script.ts';
import { type HitsCaller, type LeaseContext, LeasedKey, WaitingHits } from './redis-leased-key.ts';
import type { RedisScripts } from './redis-scripts.ts';
import {
  createRedisServers,
  type RedisEvent,
  type RedisServers,
  type RedisTarget,
  TICK_MS,
} from './redis-servers.ts';
import type { BucketRequest, LimitStore, Taken } from './store.ts';

export interface RedisLeaseStoreOptions {
  readonly redis: string | RedisTarget;
  /** Before every key in Redis. */
  readonly keyPrefix?: string;
  /** The longest that a decision waits for Redis, in milliseconds. */
  readonly waitMs?: number;
  /** Part of each limit that this replica grants alone while Redis does not answer: more than 0, at most 1. */
  readonly failureShare?: number;
  readonly onEvent?: (event: RedisEvent) => void;
  /** Milliseconds of a clock that never goes back. */
  readonly now?: () => number;
  /** Name of this replica, of no other one and of no earlier run. */
  readonly replica?: string;
}

export interface RedisLeaseStatus {
  /** In a cluster: whether all of its servers answer. */
  readonly connected: boolean;
  /** Tokens in this replica's leases, over all keys: its part of the bound's B if it died now. */
  readonly leased: number;
  /** Keys in memory. */
  readonly keys: number;
  /** Keys with use that Redis has not been told yet. */
  readonly unreported: number;
  /** Commands sent since the start. */
  readonly commands: number;
}

export interface RedisLeaseStore extends LimitStore {
  status(): RedisLeaseStatus;
  /** For others who share this connection. */
  readonly scripts: RedisScripts;
  /** Whether the server that has this key answers at the moment: nothing should be asked of it otherwise. */
  isUp(redisKey: string): boolean;
}

/** Reports sent in one tick. */
const REPORTS = 5_000;
/** Keys looked at in one tick, to forget those that need not be kept: so many, or this part of all. */
const SWEPT = 1_000;
const SWEPT_PART = 1 / 50;
const CLOSE_MS = 500;

/** A `take` of which some hits wait for Redis, for a bounded time. */
class WaitingTake implements HitsCaller {
  private readonly servers: RedisServers;
  private readonly taken: Taken[];
  private readonly waiting: WaitingHits[] = [];
  private open = 0;
  private timer: NodeJS.Timeout | undefined = undefined;
  private resolve: (taken: readonly Taken[]) => void = () => undefined;

  constructor(servers: RedisServers, taken: Taken[]) {
    this.servers = servers;
    this.taken = taken;
  }

  add(key: LeasedKey, { hits, mode = 'take' }: BucketRequest, index: number): void {
    this.waiting.push(new WaitingHits(key, hits, mode, this, index));
    this.open += 1;
  }

  /** Resolves when all are decided: after waitMs at the latest. */
  result(waitMs: number): Promise<readonly Taken[]> {
    return new Promise((resolve) => {
      this.resolve = resolve;
      this.timer = setTimeout(() => {
        // An answer that is in the socket already is read before this.
        setImmediate(() => this.waitNoLonger());
      }, waitMs);
      for (const hits of this.waiting) hits.key.enqueue(hits);
    });
  }

  decided(index: number, taken: Taken): void {
    this.taken[index] = taken;
    this.open -= 1;
    if (this.open > 0) return;
    clearTimeout(this.timer);
    this.resolve(this.taken);
  }

  private waitNoLonger(): void {
    for (const hits of this.waiting) {
      if (hits.isDecided) continue;
      this.servers.late(hits.key.place);
      hits.decideAlone();
    }
  }
}

class LeaseStore implements RedisLeaseStore {
  readonly scripts: RedisScripts;
  private readonly context: LeaseContext;
  private readonly servers: RedisServers;
  private readonly waitMs: number;
  private readonly now: () => number;
  private readonly ticks: NodeJS.Timeout;

  /** By id. */
  private readonly keys = new Map<string, LeasedKey>();
  private readonly unreported = new Set<LeasedKey>();
  private sweep: Iterator<LeasedKey> = this.keys.values();
  private epochs = 0;
  private isClosed = false;

  constructor(options: RedisLeaseStoreOptions) {
    const {
      keyPrefix = 'fairlane:',
      waitMs = 10,
      failureShare = 0.5,
      onEvent = () => undefined,
      now = () => performance.now(),
      replica = randomUUID(),
    } = options;
    if (!(failureShare > 0 && failureShare <= 1)) {
      throw new RangeError(`failureShare is ${failureShare}; it must be more than 0 and at most 1`);
    }
    this.waitMs = waitMs;
    this.now = now;
    const probe = (redisKey: string): Promise<unknown> =>
      this.scripts.run(LEASE_SCRIPT, redisKey, probeArguments(replica));
    this.servers = createRedisServers({ target: options.redis, keyPrefix, onEvent, now, probe });
    this.scripts = this.servers.scripts;
    this.context = {
      keyPrefix,
      replica,
      failureShare,
      servers: this.servers,
      now,
      unreported: this.unreported,
    };
    this.ticks = setInterval(() => this.tick(now()), TICK_MS);
    this.ticks.unref();
  }

  take(requests: readonly BucketRequest[]): readonly Taken[] | Promise<readonly Taken[]> {
    const nowMs = this.now();
    const taken: Taken[] = [];
    let waiting: WaitingTake | undefined;
    requests.forEach((request, index) => {
      const key = this.keyOf(request, nowMs);
      const { hits, mode = 'take' } = request;
      const mayAsk = !this.isClosed && key.canAsk(nowMs);
      let outcome = key.decide(request, nowMs);
      if (outcome === undefined && !mayAsk) outcome = key.decideAlone(hits, mode, nowMs);
      if (outcome === undefined) {
        waiting ??= new WaitingTake(this.servers, taken);
        waiting.add(key, request, index);
        return;
      }
      taken[index] = outcome;
      if (mayAsk && hits > 0) key.renewIfLow(nowMs);
    });
    return waiting === undefined ? taken : waiting.result(this.waitMs);
  }

  isUp(redisKey: string): boolean {
    return !this.isClosed && this.servers.isUp(this.servers.placeOf(redisKey));
  }

  status(): RedisLeaseStatus {
    const nowMs = this.now();
    let leased = 0;
    for (const key of this.keys.values()) leased += key.leased(nowMs);
    return {
      connected: this.servers.isConnected(),
      leased,
      keys: this.keys.size,
      unreported: this.unreported.size,
      commands: this.scripts.commands(),
    };
  }

  /** Reports what was used and gives the leases back, as far as half a second allows. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    clearInterval(this.ticks);
    const nowMs = this.now();
    const last: Promise<void>[] = [];
    for (const key of this.keys.values()) {
      const told = key.giveBack(nowMs);
      if (told !== undefined) last.push(told);
    }
    await atMost(CLOSE_MS, Promise.all(last));
    this.servers.close();
  }

  private keyOf(request: BucketRequest, nowMs: number): LeasedKey {
    const id = idOf(request.key);
    let key = this.keys.get(id);
    if (key === undefined) {
      this.epochs += 1;
      key = new LeasedKey(this.context, id, this.epochs, request, nowMs);
      this.keys.set(id, key);
    }
    return key;
  }

  private tick(nowMs: number): void {
    this.servers.tick(nowMs);
    this.report(nowMs);
    this.forget(nowMs);
  }

  private report(nowMs: number): void {
    let sent = 0;
    for (const key of this.unreported) {
      if (sent === REPORTS) break;
      if (key.reportIfDue(nowMs)) sent += 1;
    }
  }

  /** A few at a time: no tick pays for all. */
  private forget(nowMs: number): void {
    for (let i = Math.max(SWEPT, this.keys.size * SWEPT_PART); i > 0; i -= 1) {
      const { value: key, done } = this.sweep.next();
      if (done === true) {
        this.sweep = this.keys.values();
        return;
      }
      if (!key.isForgettable(nowMs)) continue;
      this.keys.delete(key.id);
      this.unreported.delete(key);
    }
  }
}

/** Reconnects for ever and never throws: without Redis every decision is made alone. */
export const createRedisLeaseStore = (options: RedisLeaseStoreOptions): RedisLeaseStore =>
  new LeaseStore(options);

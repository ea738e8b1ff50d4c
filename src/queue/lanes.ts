/**
 * The lanes of one pool: which lane's turn it is.
 *
 * Unit of fairness: sequences in flight, over time as short as a slot is held.
 * Formula: of the lanes with eligible requests, the one with the least (in flight ÷ weight); of equal ones the first.
 * Source: weighted least-connection scheduling (W. Zhang, "Linux Virtual Server for Scalable Network Services", Ottawa
 * Linux Symposium 2000), with lanes in the place of servers. A lane with nothing to send lends its part at once and gets it
 * back as slots come free.
 *
 * Within a lane, deficit-round-robin.ts decides among tenants. Invariant: a lane object stays the same over a new
 * configuration as long as its name does, because what it has in flight refers to it.
 */
import type { LaneConfig } from '../config/config.ts';
import { DeficitRoundRobin } from './deficit-round-robin.ts';
import type { FlowOrder } from './flow.ts';

const orderOf = (lane: LaneConfig): FlowOrder =>
  lane.order === 'fcfs' ? { kind: 'fcfs' } : { kind: 'shortest', maxAgeMs: lane.maxAgeMs };

export class Lane<T> {
  readonly name: string;
  weight: number;
  queue: DeficitRoundRobin<T>;
  /** Sequences. The dispatcher counts them. */
  inFlight = 0;

  constructor(config: LaneConfig, quantumTokens: number) {
    this.name = config.name;
    this.weight = config.weight;
    this.queue = new DeficitRoundRobin(quantumTokens, orderOf(config));
  }
}

export class Lanes<T> {
  /** In the settings' order. */
  private list: readonly Lane<T>[] = [];

  constructor(lanes: Iterable<LaneConfig>, quantumTokens: number) {
    this.list = Array.from(lanes, (config) => new Lane<T>(config, quantumTokens));
  }

  [Symbol.iterator](): Iterator<Lane<T>> {
    return this.list[Symbol.iterator]();
  }

  /** What each lane has: requests queued, sequences in flight. */
  counts(): readonly { readonly lane: string; readonly queued: number; readonly inFlight: number }[] {
    return this.list.map(({ name, queue, inFlight }) => ({ lane: name, queued: queue.size(), inFlight }));
  }

  /** The lane of this name, else the first. */
  named(name: string): Lane<T> {
    for (const lane of this.list) if (lane.name === name) return lane;
    const [first] = this.list;
    if (first === undefined) throw new Error('the queue has no lane');
    return first;
  }

  /** Replaces the lanes. Their queues are empty afterwards: the caller puts the requests back. */
  reconfigure(lanes: Iterable<LaneConfig>, quantumTokens: number): void {
    const before = new Map(this.list.map((lane) => [lane.name, lane]));
    this.list = Array.from(lanes, (config) => {
      const made = new Lane<T>(config, quantumTokens);
      const known = before.get(config.name);
      if (known === undefined) return made;
      known.weight = made.weight;
      known.queue = made.queue;
      return known;
    });
  }

  /** Says whether the tenant's requests may go; those that wait keep their places. */
  setEligible(tenant: string, eligible: boolean): void {
    for (const { queue } of this.list) if (queue.sizeOf(tenant) > 0) queue.setEligible(tenant, eligible);
  }

  /** The request whose turn it is; undefined: nothing eligible waits. */
  next(nowMs: number): T | undefined {
    let best: T | undefined;
    let leader: Lane<T> | undefined;
    for (const lane of this.list) {
      if (lane.queue.size() === 0) continue;
      if (leader !== undefined && lane.inFlight * leader.weight >= leader.inFlight * lane.weight) continue;
      const entry = lane.queue.peek(nowMs);
      if (entry === undefined) continue;
      best = entry.item;
      leader = lane;
    }
    return best;
  }
}

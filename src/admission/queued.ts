/**
 * A request while it waits for a slot: what the dispatcher orders it by, and what will be sent. Nothing else of it is
 * kept here: the parsed body is gone, as it is several times the size of the text.
 */
import type { Demand } from '../pool/types.ts';
import type { Dispatcher, Release, Ticket } from '../queue/types.ts';
import type { EngineBody } from './engine-request.ts';

type Waiting = Parameters<Dispatcher['offer']>[0];
export type ExpiryReason = Parameters<Waiting['onExpire']>[0];

/** Envoy waits a little longer than the queue does, so that the queue's own answer is the one the client gets. */
export const HOLD_MARGIN_MS = 5_000;

/** What the dispatcher is told of a request. */
export type QueuedFields = Pick<Waiting, 'tenant' | 'pool' | 'lane' | 'cost' | 'demand'> & {
  /** Of its body. */
  readonly bytes: number;
};

/** Whose request it is. */
export interface QueuedOwner {
  released(queued: Queued, release: Release, nowMs: number): void;
  expired(queued: Queued, reason: ExpiryReason, waitedMs: number, nowMs: number): void;
}

export class Queued implements Waiting {
  // What the dispatcher orders it by
  readonly tenant: string;
  readonly pool: string;
  readonly lane: string;
  readonly cost: number;
  readonly bytes: number;
  readonly demand: Demand;
  // What is done when it may go
  readonly body: EngineBody;
  readonly sinceMs: number;
  private readonly owner: QueuedOwner;
  /** Undefined until it waits: many go at once. */
  private ticket: Ticket | undefined;

  constructor(owner: QueuedOwner, fields: QueuedFields, body: EngineBody, sinceMs: number) {
    this.tenant = fields.tenant;
    this.pool = fields.pool;
    this.lane = fields.lane;
    this.cost = fields.cost;
    this.bytes = fields.bytes;
    this.demand = fields.demand;
    this.body = body;
    this.sinceMs = sinceMs;
    this.owner = owner;
    this.ticket = undefined;
  }

  waits(ticket: Ticket): void {
    this.ticket = ticket;
  }

  onRelease(release: Release, nowMs: number): void {
    this.owner.released(this, release, nowMs);
  }

  onExpire(reason: ExpiryReason, waitedMs: number, nowMs: number): void {
    this.owner.expired(this, reason, waitedMs, nowMs);
  }

  /** Leaves the queue, if it is in it. */
  leave(nowMs: number): void {
    this.ticket?.cancel(nowMs);
  }
}

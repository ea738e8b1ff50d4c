/**
 * Events that wait to be sent to one receiver. Each is tried until it arrives or is a day old, at growing distances, one at a
 * time. What arrives makes those due that others have waited for: a receiver that is back gets all of them.
 *
 * Invariants: no more than `MOST_EVENTS` wait, and no more than `MOST_BYTES` of them; at most one is under way. Time and
 * randomness are arguments.
 */

export interface WebhookEvent {
  /** The same at every try: receivers drop doubles by it. */
  readonly id: string;
  /** JSON. */
  readonly body: string;
}

/** What became of a try. */
export type Delivery =
  | { readonly kind: 'delivered' }
  | {
      readonly kind: 'failed';
      /** What happened, without anything that the receiver said. */
      readonly problem: string;
      /** It was refused with 4xx: another try may not help, and the receiver is there. */
      readonly isRejected: boolean;
      /** As the receiver asks for it. */
      readonly retryAfterMs?: number;
    }
  /** The receiver wants no more events. */
  | { readonly kind: 'gone' };

const MOST_EVENTS = 1_000;
const MOST_BYTES = 4 * 1024 ** 2;
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 3_600_000;
/** A try is made for so long after the event. */
export const GIVE_UP_MS = 24 * 3_600_000;

/** Distance to the next try: twice as long each time, up to an hour, of which the second half is random. */
export function retryAfterMs(tries: number, random: number): number {
  const most = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(tries - 1, 32));
  return most / 2 + (most / 2) * random;
}

interface Waiting {
  readonly event: WebhookEvent;
  readonly sinceMs: number;
  tries: number;
  dueMs: number;
  isRejected: boolean;
}

export class WebhookQueue {
  private readonly random: () => number;
  private readonly waiting: Waiting[] = [];
  private bytes = 0;
  private underWay: Waiting | undefined = undefined;

  constructor(random: () => number) {
    this.random = random;
  }

  /** Those that wait, and the one that is under way. */
  get size(): number {
    return this.waiting.length + (this.underWay === undefined ? 0 : 1);
  }

  /** @returns how many were dropped to make room: the oldest first; or the event itself, if it is too large. */
  add(event: WebhookEvent, nowMs: number): number {
    if (event.body.length > MOST_BYTES) return 1;
    this.waiting.push({ event, sinceMs: nowMs, tries: 0, dueMs: nowMs, isRejected: false });
    this.bytes += event.body.length;
    let dropped = 0;
    while (this.waiting.length > MOST_EVENTS || this.bytes > MOST_BYTES) {
      this.bytes -= this.waiting.shift()?.event.body.length ?? 0;
      dropped += 1;
    }
    return dropped;
  }

  /** Takes the one that has been due for longest. Undefined: none is due, or one is under way. */
  next(nowMs: number): WebhookEvent | undefined {
    if (this.underWay !== undefined) return undefined;
    const due = this.earliest();
    if (due === undefined || due.dueMs > nowMs) return undefined;
    this.waiting.splice(this.waiting.indexOf(due), 1);
    this.bytes -= due.event.body.length;
    due.tries += 1;
    this.underWay = due;
    return due.event;
  }

  /** When `next` gives one; undefined: nothing waits, or one is under way. */
  dueMs(): number | undefined {
    return this.underWay === undefined ? this.earliest()?.dueMs : undefined;
  }

  /** @returns how many events are given up: nobody will try them again. */
  ended(delivery: Delivery, nowMs: number): number {
    const tried = this.underWay;
    if (tried === undefined) return 0;
    this.underWay = undefined;
    switch (delivery.kind) {
      case 'delivered':
        for (const one of this.waiting) if (!one.isRejected) one.dueMs = Math.min(one.dueMs, nowMs);
        return 0;
      case 'gone':
        return 1 + this.clear();
      case 'failed': {
        const wait = retryAfterMs(tried.tries, this.random());
        const asked = Math.min(LAST_RETRY_MS, delivery.retryAfterMs ?? 0);
        tried.dueMs = nowMs + Math.max(wait, asked);
        tried.isRejected = delivery.isRejected;
        if (tried.dueMs - tried.sinceMs > GIVE_UP_MS) return 1;
        this.waiting.unshift(tried);
        this.bytes += tried.event.body.length;
        return 0;
      }
    }
  }

  /** Drops what waits. @returns how many. */
  clear(): number {
    this.bytes = 0;
    return this.waiting.splice(0).length;
  }

  /** Makes all due that have not been refused: there is little time left. */
  hurry(nowMs: number): void {
    for (const one of this.waiting) if (!one.isRejected) one.dueMs = Math.min(one.dueMs, nowMs);
  }

  private earliest(): Waiting | undefined {
    let earliest: Waiting | undefined;
    for (const one of this.waiting) if (earliest === undefined || one.dueMs < earliest.dueMs) earliest = one;
    return earliest;
  }
}

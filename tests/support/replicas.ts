/** Replicas that share a capacity over the virtual account, on a virtual clock, with a network that a test can break. */

import type { AllotmentRequest } from '../../src/limit/allotment.ts';
import { type Allotment, type AllotmentKind, createAllotments } from '../../src/limit/allotments.ts';
import { createEventQueue } from '../../src/loadtest/event-queue.ts';
import { createVirtualAllotments } from '../../src/loadtest/virtual-allotments.ts';

const HOP_MS = 1;
const MAX_WAIT_MS = 10;
const TICK_MS = 10;
const REQUEST_MS = 100;

/** `stuck`: the call fails, and arrives all the same, much later. */
export type Fault = 'none' | 'call-lost' | 'answer-lost' | 'late' | 'stuck';
const LATE_MS = 300;

export interface TestReplica {
  readonly share: Allotment;
  inUse: number;
  /** Requests that wait. */
  queued: number;
  capacity: number;
  isUp: boolean;
  isDead: boolean;
  fault: Fault;
  /** Whether it has ever gone without the account. */
  wasAway: boolean;
  readonly asks: AllotmentRequest[];
  /** One more in use, if that may be. */
  take(): boolean;
  /** One ends, and what waits goes if it may. */
  free(): void;
  /** Takes and waits for so many. */
  demand(count: number): void;
  close(): void;
}

export interface Lab {
  readonly nowMs: () => number;
  replica(): TestReplica;
  /** Lets time pass. */
  run(ms: number): void;
  /** Lets time pass, in which requests take 100 ms and these replicas always have more. */
  work(ms: number, busy: readonly TestReplica[]): void;
  /** The account's clock jumps by so much. */
  jump(ms: number): void;
  flush(): void;
}

export function createLab({
  kind,
  capacity,
  failureShare,
}: {
  readonly kind: AllotmentKind;
  readonly capacity: number;
  readonly failureShare: number;
}): Lab {
  const account = createVirtualAllotments();
  let nowMs = 0;
  let offsetMs = 1e9;
  const replicas: { tick(nowMs: number): void }[] = [];
  const later: { atMs: number; run: (nowMs: number) => void }[] = [];
  const at = (atMs: number, run: (nowMs: number) => void): void => {
    later.push({ atMs, run });
  };

  const run = (ms: number): void => {
    const endMs = nowMs + ms;
    while (nowMs < endMs) {
      nowMs += 1;
      const due = createEventQueue();
      for (const one of later.splice(0)) {
        if (one.atMs <= nowMs) due.at(one.atMs, () => one.run(nowMs));
        else later.push(one);
      }
      due.run();
      if (nowMs % TICK_MS === 0) for (const one of replicas) one.tick(nowMs);
    }
  };

  return {
    nowMs: () => nowMs,
    run,
    work(ms, busy) {
      for (let i = 0; i < ms; i += TICK_MS) {
        run(TICK_MS);
        for (const one of busy) {
          const ends = Math.ceil((one.inUse * TICK_MS) / REQUEST_MS);
          for (let j = 0; j < ends; j += 1) {
            one.queued += 1;
            one.free();
          }
        }
      }
    },
    jump(ms) {
      offsetMs += ms;
    },
    flush: () => account.flush(),
    replica() {
      const name = `replica-${replicas.length}`;
      const asks: AllotmentRequest[] = [];
      const shares = createAllotments({
        failureShare,
        maxWaitMs: MAX_WAIT_MS,
        isUp: () => one.isUp,
        send(key, ofKind, sent, done) {
          asks.push(sent);
          const { fault } = one;
          if (fault === 'stuck') {
            at(nowMs + 2 * HOP_MS, (atMs) => done(undefined, atMs));
            at(nowMs + LATE_MS, () => account.call(key, ofKind, name, sent, nowMs + offsetMs));
            return;
          }
          at(nowMs + HOP_MS, () => {
            if (one.isDead) return;
            const answer =
              fault === 'call-lost' ? undefined : account.call(key, ofKind, name, sent, nowMs + offsetMs);
            const isLost = fault === 'call-lost' || fault === 'answer-lost';
            at(nowMs + (fault === 'none' ? HOP_MS : LATE_MS), (atMs) => {
              if (!one.isDead) done(isLost ? undefined : answer, atMs);
            });
          });
        },
        onActive: () => undefined,
      });
      const use = (count: number): void => {
        one.inUse += count;
        share.usageChanged(nowMs);
      };
      const serve = (): void => {
        while (one.queued > 0 && one.take()) one.queued -= 1;
      };
      const share = shares.hold('key', kind, {
        capacity: () => one.capacity,
        inUse: () => one.inUse,
        claimed: () => one.inUse + one.queued,
        want: () => one.inUse + one.queued,
        changed: () => serve(),
      });
      const one: TestReplica = {
        share,
        inUse: 0,
        queued: 0,
        capacity,
        isUp: true,
        isDead: false,
        fault: 'none',
        wasAway: false,
        asks,
        take() {
          if (one.isDead || one.inUse + 1 > Math.min(one.capacity, share.limit(nowMs))) return false;
          use(1);
          return true;
        },
        free() {
          if (one.inUse === 0) return;
          use(-1);
          serve();
        },
        demand(count) {
          for (let i = 0; i < count; i += 1) if (!one.take()) one.queued += 1;
          share.usageChanged(nowMs);
        },
        close: () => shares.close(nowMs),
      };
      replicas.push({
        tick(atMs) {
          if (one.isDead) return;
          shares.tick(atMs);
          if (!one.isUp || one.fault !== 'none') one.wasAway = true;
        },
      });
      return one;
    },
  };
}

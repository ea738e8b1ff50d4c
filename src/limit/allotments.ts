/**
 * The shares that this replica holds of capacities, each under its key: when what is said to the others, and what applies
 * meanwhile. Nothing waits: an owner asks what applies now, and is told when that has changed.
 *
 * Only keys that are in use, or were a moment ago, cost anything.
 */
import {
  type AllotmentAnswer,
  type AllotmentRequest,
  type AllotmentState,
  aloneOf,
  answered,
  ask,
  askAtMs,
  comingOf,
  createAllotmentState,
  isSilent,
  limitOf,
  type Others,
  othersOf,
  wholeOf,
} from './allotment.ts';

export type AllotmentKind = 'concurrency' | 'window';

/** Whose requests use the capacity. All are whole numbers. */
export interface AllotmentOwner {
  /** As this replica sees it. */
  capacity(nowMs: number): number;
  inUse(): number;
  /** What is in use and what would be if it might. */
  claimed(nowMs: number): number;
  /** What should be held, to have some at hand: at least what is claimed. With 0 the share is given back. */
  want(nowMs: number): number;
  /** More or less may be used than before. Never called from within a call of the owner's. */
  changed(nowMs: number): void;
  /** The share has been given back: it can be forgotten. */
  ended?(): void;
}

export interface Allotment {
  /** What may be in use here. */
  limit(nowMs: number): number;
  /** What may be added to it within moments: an answer is awaited, or others do not use what they hold. */
  coming(nowMs: number): number;
  /** The part that the last answer gave this replica, also while others hold some of it. */
  fair(): number;
  /** The capacity as the last answer gave it: another replica may know of more. */
  capacity(): number;
  /** Undefined while that is not known. */
  others(nowMs: number): Others | undefined;
  /** What all replicas use together; a guess while nothing is heard of the others, undefined before they were asked. */
  inUse(nowMs: number): number | undefined;
  /** What is used or wanted here has changed. */
  moved(nowMs: number): void;
}

export interface AllotmentsOptions {
  /** Part of a capacity that is used while nothing is heard of the other replicas. */
  readonly failureShare: number;
  /** Without an answer for so long, nothing is heard. */
  readonly maxWaitMs: number;
  /** Whether this key may be asked for. */
  readonly isUp: (key: string) => boolean;
  /** Calls back once, later. Undefined: no answer. */
  readonly send: (
    key: string,
    kind: AllotmentKind,
    sent: AllotmentRequest,
    done: (answer: AllotmentAnswer | undefined, nowMs: number) => void,
  ) => void;
  /** `tick` is needed from now on, until nothing is active. */
  readonly onActive: () => void;
}

export interface Allotments {
  /** @param key one that is held already goes over to the new owner. */
  hold(key: string, kind: AllotmentKind, owner: AllotmentOwner): Allotment;
  /** Does what is due. */
  tick(nowMs: number): void;
  /** Keys that `tick` is needed for. */
  active(): number;
  /** Gives all shares back: nothing is used any more. */
  close(nowMs: number): void;
  /** Over the active keys of a kind: what there is, and what may be in use here. */
  totals(kind: AllotmentKind, nowMs: number): { readonly capacity: number; readonly held: number };
}

interface Entry {
  readonly key: string;
  readonly kind: AllotmentKind;
  owner: AllotmentOwner;
  share: AllotmentState;
  /** What the owner knows: it is told of changes. */
  limit: number;
  isComing: boolean;
  wasUp: boolean;
  /** Until then there is nothing to do, unless something moves. */
  dueMs: number;
}

/** How often Redis is looked for while it is away. */
const AWAY_MS = 100;

export function createAllotments({
  failureShare,
  maxWaitMs,
  isUp,
  send,
  onActive,
}: AllotmentsOptions): Allotments {
  const entries = new Map<string, Entry>();
  const active = new Set<Entry>();
  let calls = 0;
  let isClosed = false;

  const isHeard = ({ key, share }: Entry, nowMs: number): boolean =>
    isUp(key) && !isSilent(share, maxWaitMs, nowMs);
  const limitNow = (entry: Entry, nowMs: number): number => {
    const alone = isHeard(entry, nowMs) ? undefined : aloneOf(entry.owner.capacity(nowMs), failureShare);
    return limitOf(entry.share, alone, nowMs);
  };
  const comingNow = (entry: Entry, nowMs: number): number =>
    !isClosed && isHeard(entry, nowMs) ? comingOf(entry.share, entry.owner.capacity(nowMs), nowMs) : 0;

  const rest = (entry: Entry): void => {
    if (!active.delete(entry)) return;
    if (entries.get(entry.key) === entry) entries.delete(entry.key);
    entry.share = createAllotmentState();
    entry.limit = 0;
    entry.isComing = false;
    entry.owner.ended?.();
  };

  const tell = (entry: Entry, nowMs: number): void => {
    const limit = limitNow(entry, nowMs);
    const isComing = comingNow(entry, nowMs) > 0;
    if (limit === entry.limit && isComing === entry.isComing) return;
    entry.limit = limit;
    entry.isComing = isComing;
    entry.owner.changed(nowMs);
  };

  const call = (entry: Entry, sent: AllotmentRequest): void => {
    const { share } = entry;
    send(entry.key, entry.kind, sent, (answer, nowMs) => {
      if (share.sent !== sent || isClosed) return;
      answered(share, answer, nowMs);
      step(entry, nowMs);
      if (active.has(entry)) tell(entry, nowMs);
    });
  };

  /** Asks if it is time, and notes when it is time again. */
  function step(entry: Entry, nowMs: number): void {
    if (isClosed) return;
    const { share, owner } = entry;
    const use = {
      capacity: owner.capacity(nowMs),
      inUse: owner.inUse(),
      claimed: owner.claimed(nowMs),
      want: owner.want(nowMs),
    };
    const isIdle = use.want === 0 && use.inUse === 0;
    if (!isIdle && !active.has(entry)) {
      active.add(entry);
      if (active.size === 1) onActive();
    }
    if (!active.has(entry)) return;
    const endsMs = nowMs < share.endsMs ? share.endsMs : Number.POSITIVE_INFINITY;
    if (share.sent !== undefined) {
      const lateMs = share.sent.atMs + maxWaitMs;
      entry.dueMs = nowMs < lateMs ? Math.min(lateMs, endsMs) : endsMs;
      return;
    }
    const limit = limitNow(entry, nowMs);
    const atMs = askAtMs(share, use, limit, nowMs);
    const isAway = !isUp(entry.key);
    if (atMs === undefined || (isIdle && isAway)) {
      if (isIdle) rest(entry);
      return;
    }
    if (nowMs >= atMs && !isAway) {
      calls += 1;
      const sent = ask(share, use, limit, calls, nowMs);
      entry.dueMs = Math.min(nowMs + maxWaitMs, endsMs);
      call(entry, sent);
    } else entry.dueMs = Math.min(isAway ? nowMs + AWAY_MS : atMs, endsMs);
  }

  return {
    hold(key, kind, owner) {
      const found = entries.get(key);
      const entry: Entry = found ?? {
        key,
        kind,
        owner,
        share: createAllotmentState(),
        limit: 0,
        isComing: false,
        wasUp: true,
        dueMs: 0,
      };
      entry.owner = owner;
      entries.set(key, entry);
      return {
        limit: (nowMs) => limitNow(entry, nowMs),
        coming: (nowMs) => comingNow(entry, nowMs),
        fair: () => entry.share.fair,
        capacity: () => entry.share.capacity,
        others: (nowMs) => othersOf(entry.share, nowMs),
        inUse(nowMs) {
          const inUse = entry.owner.inUse();
          const others = othersOf(entry.share, nowMs);
          if (others !== undefined) return inUse + others.inUse;
          return isHeard(entry, nowMs) ? undefined : wholeOf(inUse, failureShare);
        },
        moved: (nowMs) => step(entry, nowMs),
      };
    },
    tick(nowMs) {
      for (const entry of active) {
        const hasTurned = isUp(entry.key) !== entry.wasUp;
        entry.wasUp = isUp(entry.key);
        if (!hasTurned && nowMs < entry.dueMs) continue;
        step(entry, nowMs);
        if (active.has(entry)) tell(entry, nowMs);
      }
    },
    active: () => active.size,
    close(nowMs) {
      if (isClosed) return;
      isClosed = true;
      for (const entry of active) {
        if (!isUp(entry.key)) continue;
        calls += 1;
        call(entry, ask(entry.share, { capacity: 0, inUse: 0, claimed: 0, want: 0 }, 0, calls, nowMs));
      }
      active.clear();
    },
    totals(kind, nowMs) {
      let capacity = 0;
      let held = 0;
      for (const entry of active) {
        if (entry.kind !== kind) continue;
        capacity += entry.owner.capacity(nowMs);
        held += Math.min(entry.owner.capacity(nowMs), limitNow(entry, nowMs));
      }
      return { capacity, held };
    },
  };
}

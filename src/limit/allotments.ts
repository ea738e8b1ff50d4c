/**
 * The allotments (allotment.ts) that this replica holds of capacities, each under its key: when what is said to the others,
 * and what applies meanwhile. Nothing waits: an owner asks what applies now, and is told when that has changed.
 *
 * Life of an allotment: `hold`, asleep; active from the first use or want; back to sleep, and `ended`, once nothing is used
 * and it was given back. Only active keys, and those that are held, cost anything.
 */
import type { EngineUse } from '../domain/engine-use.ts';
import {
  type AllotmentAnswer,
  type AllotmentRequest,
  AllotmentState,
  type AllotmentUse,
  aloneOf,
  type Others,
  wholeOf,
} from './allotment.ts';

export type AllotmentKind = 'concurrency' | 'concurrency-limit';

/** Whose requests use the capacity. All are whole numbers. */
export interface AllotmentOwner {
  /** As this replica sees it. */
  capacity(nowMs: number): number;
  inUse(): number;
  /** What is in use and what would be if it might. */
  claimed(nowMs: number): number;
  /** What should be held, to have some at hand: at least what is claimed. With 0 the allotment is given back. */
  want(nowMs: number): number;
  /** What its requests had of the engine that the capacity is of; absent: it is of none. */
  engine?(nowMs: number): EngineUse;
  /** Others were heard of. */
  heard?(nowMs: number): void;
  /** More or less may be used than before. Never called from within a call of the owner's. */
  changed(nowMs: number): void;
  /** The allotment has been given back: it can be forgotten. */
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
  /** When others were last heard of. */
  heardMs(): number;
  /** What all replicas use together; a guess while nothing is heard of the others, undefined before they were asked. */
  inUse(nowMs: number): number | undefined;
  /** What is used or wanted here has changed. */
  usageChanged(nowMs: number): void;
  /** Its owner wants nothing any more: it is forgotten as soon as nothing is used. */
  left(): void;
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
  /** Gives all allotments back: nothing is used any more. */
  close(nowMs: number): void;
  /** Over the active keys of a kind: what there is, and what may be in use here. */
  totals(kind: AllotmentKind, nowMs: number): { readonly capacity: number; readonly held: number };
}

/** How often Redis is looked for while it is away. */
const AWAY_MS = 100;

const NOTHING: AllotmentUse = { capacity: 0, inUse: 0, claimed: 0, want: 0 };

/** An allotment under its key. */
class HeldAllotment implements Allotment {
  readonly key: string;
  readonly kind: AllotmentKind;
  owner: AllotmentOwner;
  private readonly table: AllotmentTable;
  private state = new AllotmentState();

  // What the owner knows: it is told of changes.
  private knownLimit = 0;
  private isComing = false;

  // When there is something to do.
  private wasUp = true;
  /** Until then there is nothing, unless something changes. */
  private dueMs = 0;

  constructor(table: AllotmentTable, key: string, kind: AllotmentKind, owner: AllotmentOwner) {
    this.table = table;
    this.key = key;
    this.kind = kind;
    this.owner = owner;
  }

  limit(nowMs: number): number {
    const { failureShare } = this.table.options;
    const alone = this.isHeard(nowMs) ? undefined : aloneOf(this.owner.capacity(nowMs), failureShare);
    return this.state.limit(alone, nowMs);
  }

  coming(nowMs: number): number {
    const isAnswered = !this.table.isClosed && this.isHeard(nowMs);
    return isAnswered ? this.state.coming(this.owner.capacity(nowMs), nowMs) : 0;
  }

  fair(): number {
    return this.state.fairPart();
  }

  capacity(): number {
    return this.state.largestCapacity();
  }

  others(nowMs: number): Others | undefined {
    return this.state.othersAt(nowMs);
  }

  heardMs(): number {
    return this.state.heardMs();
  }

  inUse(nowMs: number): number | undefined {
    const inUse = this.owner.inUse();
    const others = this.state.othersAt(nowMs);
    if (others !== undefined) return inUse + others.inUse;
    return this.isHeard(nowMs) ? undefined : wholeOf(inUse, this.table.options.failureShare);
  }

  usageChanged(nowMs: number): void {
    this.step(nowMs);
  }

  left(): void {
    this.table.left(this);
  }

  tick(nowMs: number): void {
    const isUp = this.table.isUp(this);
    const hasTurned = isUp !== this.wasUp;
    this.wasUp = isUp;
    if (!hasTurned && nowMs < this.dueMs) return;
    this.step(nowMs);
    if (this.table.isActive(this)) this.tell(nowMs);
  }

  giveBack(number: number, nowMs: number): void {
    this.send(this.state.ask(NOTHING, 0, number, nowMs));
  }

  /** Forgets everything, as nothing is used and nothing is held. */
  rest(): void {
    this.state = new AllotmentState();
    this.knownLimit = 0;
    this.isComing = false;
    this.owner.ended?.();
  }

  /** Whether the account answers. */
  private isHeard(nowMs: number): boolean {
    return this.table.isUp(this) && !this.state.isSilent(this.table.options.maxWaitMs, nowMs);
  }

  /** Asks if it is time, and notes when it is time again. */
  private step(nowMs: number): void {
    const { table, state, owner } = this;
    if (table.isClosed) return;
    const use = {
      capacity: owner.capacity(nowMs),
      inUse: owner.inUse(),
      claimed: owner.claimed(nowMs),
      want: owner.want(nowMs),
    };
    const isIdle = use.want === 0 && use.inUse === 0;
    if (!isIdle) table.activate(this);
    if (!table.isActive(this)) return;
    const endsMs = state.endsAtMs(nowMs) ?? Number.POSITIVE_INFINITY;
    const asking = state.asking();
    if (asking !== undefined) {
      const lateMs = asking.atMs + table.options.maxWaitMs;
      this.dueMs = nowMs < lateMs ? Math.min(lateMs, endsMs) : endsMs;
      return;
    }
    const limit = this.limit(nowMs);
    const atMs = state.askAtMs(use, limit, nowMs);
    const isAway = !table.isUp(this);
    if (atMs === undefined || (isIdle && isAway)) {
      if (isIdle) table.rest(this);
      return;
    }
    if (nowMs >= atMs && !isAway) {
      const engine = owner.engine?.(nowMs);
      const told = engine === undefined ? use : { ...use, engine };
      const sent = state.ask(told, limit, table.nextCall(), nowMs);
      this.dueMs = Math.min(nowMs + table.options.maxWaitMs, endsMs);
      this.send(sent);
    } else this.dueMs = Math.min(isAway ? nowMs + AWAY_MS : atMs, endsMs);
  }

  private send(sent: AllotmentRequest): void {
    const { table, state } = this;
    table.options.send(this.key, this.kind, sent, (answer, nowMs) => {
      if (state.asking() !== sent || table.isClosed) return;
      state.answered(answer, nowMs);
      this.owner.heard?.(nowMs);
      this.step(nowMs);
      if (table.isActive(this)) this.tell(nowMs);
    });
  }

  private tell(nowMs: number): void {
    const limit = this.limit(nowMs);
    const isComing = this.coming(nowMs) > 0;
    if (limit === this.knownLimit && isComing === this.isComing) return;
    this.knownLimit = limit;
    this.isComing = isComing;
    this.owner.changed(nowMs);
  }
}

class AllotmentTable implements Allotments {
  readonly options: AllotmentsOptions;
  private readonly held = new Map<string, HeldAllotment>();
  /** Those that `tick` is needed for. */
  private readonly awake = new Set<HeldAllotment>();
  private calls = 0;
  isClosed = false;

  constructor(options: AllotmentsOptions) {
    this.options = options;
  }

  hold(key: string, kind: AllotmentKind, owner: AllotmentOwner): Allotment {
    const known = this.held.get(key);
    if (known !== undefined) {
      known.owner = owner;
      return known;
    }
    const allotment = new HeldAllotment(this, key, kind, owner);
    this.held.set(key, allotment);
    return allotment;
  }

  tick(nowMs: number): void {
    for (const allotment of this.awake) allotment.tick(nowMs);
  }

  active(): number {
    return this.awake.size;
  }

  close(nowMs: number): void {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const allotment of this.awake) {
      if (this.isUp(allotment)) allotment.giveBack(this.nextCall(), nowMs);
    }
    this.awake.clear();
  }

  totals(kind: AllotmentKind, nowMs: number): { readonly capacity: number; readonly held: number } {
    let capacity = 0;
    let held = 0;
    for (const allotment of this.awake) {
      if (allotment.kind !== kind) continue;
      const all = allotment.owner.capacity(nowMs);
      capacity += all;
      held += Math.min(all, allotment.limit(nowMs));
    }
    return { capacity, held };
  }

  // ---- For the allotments.

  isUp({ key }: HeldAllotment): boolean {
    return this.options.isUp(key);
  }

  isActive(allotment: HeldAllotment): boolean {
    return this.awake.has(allotment);
  }

  activate(allotment: HeldAllotment): void {
    if (this.awake.has(allotment)) return;
    this.awake.add(allotment);
    if (this.awake.size === 1) this.options.onActive();
  }

  rest(allotment: HeldAllotment): void {
    if (!this.awake.delete(allotment)) return;
    if (this.held.get(allotment.key) === allotment) this.held.delete(allotment.key);
    allotment.rest();
  }

  /** One that is active rests when nothing is used any more. */
  left(allotment: HeldAllotment): void {
    const isHeld = this.held.get(allotment.key) === allotment;
    if (isHeld && !this.awake.has(allotment)) this.held.delete(allotment.key);
  }

  /** Higher than any before. */
  nextCall(): number {
    this.calls += 1;
    return this.calls;
  }
}

export const createAllotments = (options: AllotmentsOptions): Allotments => new AllotmentTable(options);

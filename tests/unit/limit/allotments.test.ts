import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { aloneOf } from '../../../src/limit/allotment.ts';
import { type AllotmentKind, createAllotments } from '../../../src/limit/allotments.ts';
import { createLab, type Fault, type Lab, type TestReplica } from '../../support/replicas.ts';

const lab = (kind: AllotmentKind, capacity: number, failureShare = 0.5): Lab =>
  createLab({ kind, capacity, failureShare });
const limits = (at: Lab, replicas: readonly TestReplica[]): number[] =>
  replicas.map(({ share }) => share.limit(at.nowMs()));
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

describe('a capacity that replicas share', () => {
  it('is all of the only one that wants it, after one answer', () => {
    const at = lab('concurrency-limit', 64);
    const one = at.replica();
    expect(one.take()).toBe(false);
    one.demand(64);
    at.run(2);
    expect(one.inUse).toBe(64);
    expect(limits(at, [one])).toEqual([64]);
    expect(one.share.others(at.nowMs())).toEqual({ count: 0, inUse: 0, held: 0 });
    at.run(5_000);
    expect(limits(at, [one])).toEqual([64]);
  });

  it('goes equally to replicas with equal demand, within half a second', () => {
    const at = lab('concurrency-limit', 64);
    const all = [at.replica(), at.replica(), at.replica()];
    all[0]?.demand(200);
    at.run(5);
    expect(limits(at, all)).toEqual([64, 0, 0]);
    all[1]?.demand(200);
    all[2]?.demand(200);
    for (let i = 0; i < 50; i += 1) {
      at.work(10, all);
      expect(sum(all.map(({ inUse }) => inUse))).toBeLessThanOrEqual(64);
    }
    expect(limits(at, all).toSorted((a, b) => a - b)).toEqual([21, 21, 22]);
  });

  it('goes nearly all to the busy one within half a second, when the others come to rest', () => {
    const at = lab('concurrency-limit', 64);
    const all = [at.replica(), at.replica(), at.replica()];
    for (const one of all) one.demand(200);
    at.work(600, all);
    expect(Math.max(...limits(at, all))).toBeLessThanOrEqual(22);
    for (const one of all.slice(1)) {
      one.queued = 0;
      while (one.inUse > 1) one.free();
    }
    at.work(500, all.slice(0, 1));
    expect(limits(at, all)).toEqual([62, 1, 1]);
  });

  it('divides what nobody wants of a window, with a part for whoever begins, and leaves that of a tenant where it is', () => {
    const windows = lab('concurrency-limit', 60);
    const all = [windows.replica(), windows.replica(), windows.replica()];
    for (const one of all) one.demand(3);
    windows.run(600);
    // 51 are wanted by nobody: a quarter each.
    expect(limits(windows, all)).toEqual([15, 15, 15]);
    const next = windows.replica();
    next.demand(5);
    windows.run(2);
    expect(next.inUse).toBe(5);

    const tenants = lab('concurrency', 60);
    const [one, other] = [tenants.replica(), tenants.replica()];
    one.demand(3);
    tenants.run(500);
    expect(limits(tenants, [one])).toEqual([3]);
    other.demand(50);
    tenants.run(2);
    expect(other.inUse).toBe(50);
  });

  it('leaves nobody out for long when it is smaller than the number of replicas', () => {
    const at = lab('concurrency', 2);
    const all = [at.replica(), at.replica(), at.replica()];
    const served = all.map(() => 0);
    for (const one of all) one.demand(1_000);
    for (let i = 0; i < 100; i += 1) {
      at.run(100);
      expect(sum(all.map(({ inUse }) => inUse))).toBeLessThanOrEqual(2);
      all.forEach((one, index) => {
        if (one.inUse > 0) {
          served[index] = (served[index] ?? 0) + 1;
          one.free();
        }
      });
    }
    expect(Math.min(...served)).toBeGreaterThan(20);
  });

  it('costs nothing while nothing is used or wanted', () => {
    const at = lab('concurrency', 8);
    const [one, other] = [at.replica(), at.replica()];
    one.demand(8);
    at.run(100);
    while (one.inUse > 0) one.free();
    at.run(30);
    const asked = one.asks.length;
    at.run(60_000);
    expect(one.asks).toHaveLength(asked);
    expect(one.asks.at(-1)).toMatchObject({ keep: 0, want: 0 });
    other.demand(8);
    at.run(2);
    expect(other.inUse).toBe(8);
  });

  it('is asked for four times a second while it is held, and more often only while something is missing', () => {
    const at = lab('concurrency-limit', 8);
    const one = at.replica();
    one.demand(3);
    at.run(100);
    const asked = one.asks.length;
    at.run(10_000);
    expect(one.asks.length - asked).toBeLessThanOrEqual(40);
    one.demand(100);
    at.run(100);
    const pressed = one.asks.length;
    at.run(10_000);
    expect(one.asks.length - pressed).toBeLessThanOrEqual(250);
  });

  it('is given back by a replica that closes at once, and by one that dies within a second', () => {
    const at = lab('concurrency-limit', 8);
    const [one, dying, other] = [at.replica(), at.replica(), at.replica()];
    one.demand(1);
    dying.demand(100);
    at.run(600);
    dying.isDead = true;
    const before = sum(limits(at, [one]));
    expect(before).toBeLessThan(8);
    at.run(1_300);
    one.demand(7);
    at.run(3);
    expect(one.inUse).toBe(8);
    one.queued = 0;
    one.inUse = 0;
    one.close();
    other.demand(8);
    at.run(3);
    expect(other.inUse).toBe(8);
  });

  it('follows a configuration that replicas do not read in the same moment', () => {
    const at = lab('concurrency', 10);
    const [one, other] = [at.replica(), at.replica()];
    one.demand(20);
    other.demand(20);
    at.work(600, [one, other]);
    one.capacity = 4;
    // The larger one counts while anybody says so.
    at.work(500, [one, other]);
    expect(limits(at, [one, other])).toEqual([5, 5]);
    expect([one.inUse, other.inUse]).toEqual([4, 5]);
    other.capacity = 4;
    at.work(1_000, [one, other]);
    expect([one.inUse, other.inUse]).toEqual([2, 2]);
  });
});

describe('while nothing is heard of the others', () => {
  it('a part is used, or what is held while that is more, and nobody waits', () => {
    const at = lab('concurrency-limit', 8);
    const [one, late] = [at.replica(), at.replica()];
    one.demand(6);
    at.run(100);
    one.isUp = false;
    const held = one.share.limit(at.nowMs());
    expect(held).toBeGreaterThanOrEqual(6);
    late.isUp = false;
    expect(limits(at, [one, late])).toEqual([held, 4]);
    late.demand(6);
    expect(late.inUse).toBe(4);
    at.run(1_100);
    expect(limits(at, [one, late])).toEqual([4, 4]);
    expect(lab('concurrency-limit', 1, 0.1).replica().share.limit(0)).toBe(0);
    expect(aloneOf(1, 0.1)).toBe(1);
  });

  it.each(['call-lost', 'answer-lost', 'late', 'stuck'] as const)(
    'no request waits longer than the configured time for an answer (%s)',
    (fault) => {
      const at = lab('concurrency', 8);
      const one = at.replica();
      one.fault = fault;
      one.demand(8);
      at.run(20);
      expect(one.inUse).toBe(4);
    },
  );

  it('everything is shared again within a second of the return', () => {
    const at = lab('concurrency-limit', 12);
    const all = [at.replica(), at.replica(), at.replica()];
    for (const one of all) one.demand(4);
    at.run(600);
    at.flush();
    for (const one of all) one.isUp = false;
    at.run(1_500);
    for (const one of all) one.demand(5);
    // Half of it each.
    expect(sum(all.map(({ inUse }) => inUse))).toBe(18);
    for (const one of all) one.isUp = true;
    at.work(1_000, all);
    expect(limits(at, all)).toEqual([4, 4, 4]);
    expect(all.map(({ inUse }) => inUse)).toEqual([4, 4, 4]);
  });

  it('an account that was emptied is told what is used before anybody gets more', () => {
    const at = lab('concurrency-limit', 12);
    const all = [at.replica(), at.replica(), at.replica()];
    for (const one of all) one.demand(50);
    at.work(600, all);
    for (let i = 0; i < 30; i += 1) {
      if (i === 5) at.flush();
      at.work(50, all);
      expect(sum(all.map(({ inUse }) => inUse))).toBeLessThanOrEqual(12);
    }
    expect(limits(at, all)).toEqual([4, 4, 4]);
  });
});

describe('under any order of events', () => {
  const arbStep = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ kind: fc.constant('demand'), replica: fc.nat(2), count: fc.nat(6) }),
    },
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('free'), replica: fc.nat(2), count: fc.nat(6) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('leave'), replica: fc.nat(2), count: fc.nat(0) }) },
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('run'), replica: fc.nat(0), count: fc.nat(700) }) },
  );
  const arbFault = fc.record({
    kind: fc.constantFrom(
      'call-lost',
      'answer-lost',
      'late',
      'stuck',
      'none',
      'away',
      'back',
      'die',
      'jump',
      'flush',
    ),
    replica: fc.nat(2),
    count: fc.integer({ min: -5_000, max: 5_000 }),
  });

  /** The most that was ever in use beyond the bound, and whether all that waits is served when everything has healed. */
  const play = (
    kind: AllotmentKind,
    capacity: number,
    steps: readonly { kind: string; replica: number; count: number }[],
  ): { readonly excess: number; readonly held: number; readonly isServed: boolean } => {
    const at = lab(kind, capacity);
    let excess = 0;
    const all = [at.replica(), at.replica(), at.replica()];
    /** Accounts that were lost. */
    let losses = 0;
    const check = (): void => {
      const away = all.filter(({ wasAway }) => wasAway).length;
      const alive = all.filter(({ isDead }) => !isDead);
      // Who is cut off keeps what it has in flight until that ends, and begins more only within its part.
      const bound = capacity * (1 + losses) + away * Math.max(capacity, aloneOf(capacity, 0.5));
      excess = Math.max(excess, sum(alive.map(({ inUse }) => inUse)) - bound);
    };
    for (const step of steps) {
      const one = all[step.replica] as TestReplica;
      if (step.kind === 'demand') one.demand(step.count);
      else if (step.kind === 'free') for (let i = 0; i < step.count; i += 1) one.free();
      else if (step.kind === 'leave') {
        one.queued = 0;
        while (one.inUse > 0) one.free();
      } else if (step.kind === 'run') at.run(step.count);
      else if (step.kind === 'away' || step.kind === 'back') {
        one.isUp = step.kind === 'back';
        one.wasAway = true;
      } else if (step.kind === 'die') one.isDead = true;
      else if (step.kind === 'jump') {
        at.jump(step.count);
        losses += 1;
      } else if (step.kind === 'flush') {
        at.flush();
        losses += 1;
      } else {
        one.fault = step.kind as Fault;
        one.wasAway = true;
      }
      check();
    }
    // Everything heals, and what is in use ends.
    const alive = all.filter(({ isDead }) => !isDead);
    for (const one of alive) {
      one.fault = 'none';
      one.isUp = true;
    }
    for (let i = 0; i < 40; i += 1) {
      at.run(100);
      for (const one of alive) one.free();
    }
    return {
      excess,
      held: sum(limits(at, alive)),
      isServed: alive.every(({ queued, inUse }) => queued === 0 || inUse > 0 || alive.length > capacity),
    };
  };

  it.each(['concurrency-limit', 'concurrency'] as const)(
    'no more is in use than there is, while answers arrive (%s)',
    (kind) => {
      fc.assert(
        fc.property(
          fc.integer({ min: 1, max: 20 }),
          fc.array(arbStep, { maxLength: 60 }),
          (capacity, steps) => {
            const { excess, held, isServed } = play(kind, capacity, steps);
            expect(excess).toBe(0);
            expect(held).toBeLessThanOrEqual(capacity);
            expect(isServed).toBe(true);
          },
        ),
        { numRuns: 400 },
      );
    },
  );

  it.each(['concurrency-limit', 'concurrency'] as const)(
    'no more than the stated bound, with lost calls and answers, deaths, outages, jumps of the clock and lost accounts (%s)',
    (kind) => {
      fc.assert(
        fc.property(
          fc.integer({ min: 1, max: 20 }),
          fc.array(fc.oneof({ weight: 4, arbitrary: arbStep }, { weight: 1, arbitrary: arbFault }), {
            maxLength: 60,
          }),
          (capacity, steps) => {
            const { excess, held, isServed } = play(kind, capacity, steps);
            expect(excess).toBe(0);
            expect(held).toBeLessThanOrEqual(capacity);
            expect(isServed).toBe(true);
          },
        ),
        { numRuns: 400 },
      );
    },
  );
});

describe('a capacity whose owner is gone', () => {
  const owner = (inUse: number) => ({
    capacity: () => 8,
    inUse: () => inUse,
    claimed: () => inUse,
    want: () => inUse,
    changed: () => undefined,
  });
  const table = () =>
    createAllotments({
      failureShare: 0.5,
      maxWaitMs: 10,
      isUp: () => true,
      send: () => undefined,
      onActive: () => undefined,
    });

  it('is forgotten at once where nothing was asked for', () => {
    const shares = table();
    const first = shares.hold('w:main:a', 'concurrency-limit', owner(0));
    expect(shares.hold('w:main:a', 'concurrency-limit', owner(0))).toBe(first);
    first.left();
    expect(shares.hold('w:main:a', 'concurrency-limit', owner(0))).not.toBe(first);
  });

  it('is kept while something is in use', () => {
    const shares = table();
    const first = shares.hold('w:main:a', 'concurrency-limit', owner(3));
    first.usageChanged(0);
    first.left();
    expect(shares.hold('w:main:a', 'concurrency-limit', owner(3))).toBe(first);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DeficitRoundRobin } from '../../../src/queue/deficit-round-robin.ts';
import type { FlowEntry } from '../../../src/queue/flow.ts';

const QUANTUM = 100;

const next = <T>(queue: DeficitRoundRobin<T>, nowMs = 0): FlowEntry<T> | undefined => {
  const entry = queue.peek(nowMs);
  if (entry !== undefined) queue.take(entry);
  return entry;
};
const takeAll = <T>(queue: DeficitRoundRobin<T>): FlowEntry<T>[] => {
  const taken: FlowEntry<T>[] = [];
  for (let entry = next(queue); entry !== undefined; entry = next(queue)) taken.push(entry);
  return taken;
};

describe('deficit round robin', () => {
  it('gives two backlogged flows weighted service within quantum + maxCost/wA + maxCost/wB, at every moment', () => {
    const arbFlow = fc.record({
      weight: fc.integer({ min: 1, max: 8 }),
      costs: fc.array(fc.integer({ min: 1, max: 2_000 }), { minLength: 30, maxLength: 60 }),
    });
    fc.assert(
      fc.property(fc.array(arbFlow, { minLength: 2, maxLength: 6 }), (flows) => {
        const queue = new DeficitRoundRobin<number>(QUANTUM);
        const left = flows.map((flow) => flow.costs.length);
        const served = flows.map(() => 0);
        const maxCost = Math.max(...flows.flatMap((flow) => flow.costs));
        flows.forEach((flow, i) => {
          for (const cost of flow.costs) queue.push(`f${i}`, flow.weight, cost, i, 0);
        });
        while (left.every((count) => count > 0)) {
          const entry = next(queue);
          if (entry === undefined) throw new Error('backlogged, and nothing served');
          served[entry.item] = (served[entry.item] ?? 0) + entry.cost / (flows[entry.item]?.weight ?? 1);
          left[entry.item] = (left[entry.item] ?? 0) - 1;
          flows.forEach((a, i) => {
            flows.forEach((b, j) => {
              const bound = QUANTUM + maxCost / a.weight + maxCost / b.weight;
              expect(Math.abs((served[i] ?? 0) - (served[j] ?? 0))).toBeLessThanOrEqual(bound + 1e-6);
            });
          });
        }
      }),
      { numRuns: 60 },
    );
  });

  it('serves every entry once, in order within its flow, whatever is pushed, removed, charged or paused', () => {
    const arbStep = fc.oneof(
      fc.record({
        kind: fc.constant('push' as const),
        flow: fc.nat(4),
        cost: fc.integer({ min: 1, max: 5_000 }),
      }),
      fc.record({ kind: fc.constant('next' as const) }),
      fc.record({ kind: fc.constant('remove' as const), index: fc.nat() }),
      fc.record({
        kind: fc.constant('charge' as const),
        flow: fc.nat(4),
        cost: fc.integer({ min: -3_000, max: 3_000 }),
      }),
      fc.record({ kind: fc.constant('eligible' as const), flow: fc.nat(4), on: fc.boolean() }),
    );
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 120 }), (steps) => {
        const queue = new DeficitRoundRobin<number>(QUANTUM);
        const waiting = new Map<number, FlowEntry<number>>();
        const paused = new Set<string>();
        const lastOf = new Map<string, number>();
        let id = 0;
        const served = (entry: FlowEntry<number>): void => {
          expect(waiting.delete(entry.item)).toBe(true);
          expect(entry.item).toBeGreaterThan(lastOf.get(entry.flow) ?? -1);
          lastOf.set(entry.flow, entry.item);
        };
        for (const step of steps) {
          if (step.kind === 'push') {
            waiting.set(id, queue.push(`f${step.flow}`, 1, step.cost, id, 0));
            id += 1;
          } else if (step.kind === 'next') {
            const entry = next(queue);
            if (entry === undefined) {
              expect([...waiting.values()].every((one) => paused.has(one.flow))).toBe(true);
            } else {
              expect(paused.has(entry.flow)).toBe(false);
              served(entry);
            }
          } else if (step.kind === 'remove') {
            const one = [...waiting.values()][step.index % Math.max(1, waiting.size)];
            if (one === undefined) continue;
            expect(queue.remove(one)).toBe(true);
            expect(queue.remove(one)).toBe(false);
            waiting.delete(one.item);
          } else if (step.kind === 'charge') queue.charge(`f${step.flow}`, step.cost);
          else {
            queue.setEligible(`f${step.flow}`, step.on);
            if (step.on) paused.delete(`f${step.flow}`);
            else paused.add(`f${step.flow}`);
          }
          expect(queue.size()).toBe(waiting.size);
        }
        for (const flow of paused) queue.setEligible(flow, true);
        for (const entry of takeAll(queue)) served(entry);
        expect(waiting.size).toBe(0);
      }),
    );
  });

  it('gives a returning flow no credit for the time it was away', () => {
    const queue = new DeficitRoundRobin<string>(QUANTUM);
    queue.push('a', 1, 10, 'a0', 0);
    expect(next(queue)?.item).toBe('a0');
    for (let i = 0; i < 50; i += 1) queue.push('b', 1, 100, `b${i}`, 0);
    for (let i = 0; i < 20; i += 1) next(queue);
    for (let i = 0; i < 20; i += 1) queue.push('a', 1, 100, `a${i}`, 0);
    const order = Array.from({ length: 20 }, () => next(queue)?.flow);
    expect(order.filter((flow) => flow === 'a').length).toBeGreaterThanOrEqual(9);
    expect(order.filter((flow) => flow === 'a').length).toBeLessThanOrEqual(11);
  });

  it('makes a flow that cost more than predicted pay before it is served again', () => {
    const queue = new DeficitRoundRobin<string>(QUANTUM);
    queue.charge('liar', 1_000);
    for (let i = 0; i < 20; i += 1) {
      queue.push('liar', 1, 100, 'liar', 0);
      queue.push('honest', 1, 100, 'honest', 0);
    }
    const first = Array.from({ length: 10 }, () => next(queue)?.item);
    expect(first).toEqual(Array.from({ length: 10 }, () => 'honest'));
  });

  it('gives a flow that makes its own costs look small no more than what it has in flight at once', () => {
    const costs = fc.array(fc.integer({ min: 1, max: 2_000 }), { minLength: 100, maxLength: 200 });
    fc.assert(
      fc.property(costs, fc.integer({ min: 1, max: 8 }), (real, inFlight) => {
        const queue = new DeficitRoundRobin<number>(QUANTUM);
        const most = Math.max(...real);
        real.forEach((_, i) => {
          queue.push('liar', 1, 1, i, 0);
          queue.push('honest', 1, most, i, 0);
        });
        const served = { liar: 0, honest: 0 };
        const running: number[] = [];
        for (let k = 0; k < real.length; k += 1) {
          const entry = next(queue);
          if (entry === undefined) throw new Error('backlogged, and nothing served');
          if (entry.cost === most && entry.owner.name === 'honest') served.honest += most;
          else {
            const cost = real[entry.item] ?? 0;
            served.liar += cost;
            running.push(cost);
          }
          // The oldest ends: what it has cost is settled.
          const ended = running.length > inFlight ? running.shift() : undefined;
          if (ended !== undefined) queue.charge('liar', ended - 1);
          expect(served.liar - served.honest).toBeLessThanOrEqual(QUANTUM + (inFlight + 2) * most);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('spends no time on visits that release nothing', () => {
    const queue = new DeficitRoundRobin<number>(1);
    for (let i = 0; i < 10; i += 1) queue.push(`f${i}`, 1, 1_000_000_000, i, 0);
    expect(takeAll(queue)).toHaveLength(10);
  });

  it('shows an entry without taking it, as often as it is asked', () => {
    const queue = new DeficitRoundRobin<string>(QUANTUM);
    queue.push('a', 1, 150, 'a', 0);
    queue.push('b', 1, 50, 'b', 0);
    expect([queue.peek(0)?.item, queue.peek(0)?.item, queue.size()]).toEqual(['b', 'b', 2]);
    expect(takeAll(queue).map(({ item }) => item)).toEqual(['b', 'a']);
  });

  it('with the order shortest serves the least cost of a flow first, but what is old before', () => {
    const queue = new DeficitRoundRobin<string>(QUANTUM, { kind: 'shortest', maxAgeMs: 1_000 });
    queue.push('a', 1, 900, 'long', 0);
    queue.push('a', 1, 20, 'short', 500);
    queue.push('a', 1, 10, 'shorter', 600);
    queue.push('a', 1, 10, 'as short, later', 700);
    expect(next(queue, 900)?.item).toBe('shorter');
    expect(next(queue, 1_000)?.item).toBe('long');
    expect(takeAll(queue).map(({ item }) => item)).toEqual(['as short, later', 'short']);
  });

  it('keeps the order shortest whatever is pushed and removed', () => {
    const arbStep = fc.oneof(
      fc.record({ kind: fc.constant('push' as const), cost: fc.integer({ min: 1, max: 50 }) }),
      fc.record({ kind: fc.constant('take' as const) }),
      fc.record({ kind: fc.constant('remove' as const), index: fc.nat() }),
    );
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 200 }), (steps) => {
        const queue = new DeficitRoundRobin<number>(QUANTUM, { kind: 'shortest', maxAgeMs: 1e9 });
        const waiting = new Set<FlowEntry<number>>();
        for (const step of steps) {
          if (step.kind === 'push') waiting.add(queue.push('a', 1, step.cost, step.cost, 0));
          else if (step.kind === 'take') {
            const entry = next(queue);
            if (entry === undefined) expect(waiting.size).toBe(0);
            else {
              expect(entry.cost).toBe(Math.min(...[...waiting].map(({ cost }) => cost)));
              waiting.delete(entry);
            }
          } else {
            const one = [...waiting][step.index % Math.max(1, waiting.size)];
            if (one !== undefined) expect(queue.remove(one)).toBe(waiting.delete(one));
          }
        }
      }),
    );
  });
});

describe('an entry that returns', () => {
  it.each(['fcfs', 'shortest'] as const)('(%s) goes to its place by age', (kind) => {
    const drr = new DeficitRoundRobin<string>(100, kind === 'fcfs' ? { kind } : { kind, maxAgeMs: 0 });
    const first = drr.push('a', 1, 10, 'first', 1);
    const second = drr.push('a', 1, 10, 'second', 2);
    drr.push('a', 1, 10, 'third', 3);
    drr.remove(first);
    drr.remove(second);
    drr.pushByAge('a', 1, 10, 'second', 2);
    drr.pushByAge('a', 1, 10, 'first', 1);
    drr.pushByAge('a', 1, 10, 'last', 9);
    const order: string[] = [];
    for (let one = next(drr, 10); one !== undefined; one = next(drr, 10)) order.push(one.item);
    expect(order).toEqual(['first', 'second', 'third', 'last']);
  });
  it('to an empty flow enters the round, and pays as any other', () => {
    const drr = new DeficitRoundRobin<string>(100);
    const alone = drr.push('a', 1, 100, 'alone', 1);
    drr.remove(alone);
    expect(drr.peek(2)).toBeUndefined();
    drr.pushByAge('a', 1, 100, 'alone', 1);
    drr.push('b', 1, 100, 'other', 2);
    expect(drr.size()).toBe(2);
    expect(drr.peek(3)?.item).toBe('alone');
  });
});

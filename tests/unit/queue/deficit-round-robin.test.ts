import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createDeficitRoundRobin, type DrrEntry } from '../../../src/queue/deficit-round-robin.ts';

const QUANTUM = 100;

const takeAll = <T>(queue: { next(): DrrEntry<T> | undefined }): DrrEntry<T>[] => {
  const taken: DrrEntry<T>[] = [];
  for (let entry = queue.next(); entry !== undefined; entry = queue.next()) taken.push(entry);
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
        const queue = createDeficitRoundRobin<number>(QUANTUM);
        const left = flows.map((flow) => flow.costs.length);
        const served = flows.map(() => 0);
        const maxCost = Math.max(...flows.flatMap((flow) => flow.costs));
        flows.forEach((flow, i) => {
          for (const cost of flow.costs) queue.push(`f${i}`, flow.weight, cost, i);
        });
        while (left.every((count) => count > 0)) {
          const entry = queue.next();
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
        const queue = createDeficitRoundRobin<number>(QUANTUM);
        const waiting = new Map<number, DrrEntry<number>>();
        const paused = new Set<string>();
        const lastOf = new Map<string, number>();
        let id = 0;
        const served = (entry: DrrEntry<number>): void => {
          expect(waiting.delete(entry.item)).toBe(true);
          expect(entry.item).toBeGreaterThan(lastOf.get(entry.flow) ?? -1);
          lastOf.set(entry.flow, entry.item);
        };
        for (const step of steps) {
          if (step.kind === 'push') {
            waiting.set(id, queue.push(`f${step.flow}`, 1, step.cost, id));
            id += 1;
          } else if (step.kind === 'next') {
            const entry = queue.next();
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
    const queue = createDeficitRoundRobin<string>(QUANTUM);
    queue.push('a', 1, 10, 'a0');
    expect(queue.next()?.item).toBe('a0');
    for (let i = 0; i < 50; i += 1) queue.push('b', 1, 100, `b${i}`);
    for (let i = 0; i < 20; i += 1) queue.next();
    for (let i = 0; i < 20; i += 1) queue.push('a', 1, 100, `a${i}`);
    const next = Array.from({ length: 20 }, () => queue.next()?.flow);
    expect(next.filter((flow) => flow === 'a').length).toBeGreaterThanOrEqual(9);
    expect(next.filter((flow) => flow === 'a').length).toBeLessThanOrEqual(11);
  });

  it('makes a flow that cost more than predicted pay before it is served again', () => {
    const queue = createDeficitRoundRobin<string>(QUANTUM);
    queue.charge('liar', 1_000);
    for (let i = 0; i < 20; i += 1) {
      queue.push('liar', 1, 100, 'liar');
      queue.push('honest', 1, 100, 'honest');
    }
    const first = Array.from({ length: 10 }, () => queue.next()?.item);
    expect(first).toEqual(Array.from({ length: 10 }, () => 'honest'));
  });

  it('spends no time on visits that release nothing', () => {
    const queue = createDeficitRoundRobin<number>(1);
    for (let i = 0; i < 10; i += 1) queue.push(`f${i}`, 1, 1_000_000_000, i);
    expect(takeAll(queue)).toHaveLength(10);
  });
});

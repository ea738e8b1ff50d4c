import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WaitingForAdapter } from '../../../src/queue/waiting-for-adapter.ts';

describe('requests that wait for an adapter', () => {
  it('come out in the order of their arrival, whenever they went in', () => {
    const waiting = new WaitingForAdapter<{ readonly arrival: number }>();
    for (const arrival of [3, 1, 2]) waiting.add('x', { arrival });
    waiting.add('y', { arrival: 0 });
    const [first, ...others] = waiting.takeFirsts('x', () => 'all');
    expect([first, others]).toEqual([{ arrival: 1 }, []]);
    if (first !== undefined) waiting.add('x', first);
    expect(waiting.takeAll('x').map(({ arrival }) => arrival)).toEqual([1, 2, 3]);
    expect([...waiting.adapters()]).toEqual(['y']);
    expect(waiting.size()).toBe(1);
  });

  it('are never lost, and never there twice', () => {
    const arbStep = fc.record({
      kind: fc.constantFrom('add', 'add', 'remove', 'first', 'all'),
      adapter: fc.constantFrom('x', 'y'),
      arrival: fc.nat(30),
    });
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 100 }), (steps) => {
        const waiting = new WaitingForAdapter<{ readonly arrival: number }>();
        const model = new Map<string, { readonly arrival: number }[]>([
          ['x', []],
          ['y', []],
        ]);
        for (const { kind, adapter, arrival } of steps) {
          const mine = model.get(adapter) ?? [];
          mine.sort((a, b) => a.arrival - b.arrival);
          if (kind === 'add' && !mine.some((one) => one.arrival === arrival)) {
            const item = { arrival };
            waiting.add(adapter, item);
            mine.push(item);
          } else if (kind === 'remove') {
            const item = mine.find((one) => one.arrival === arrival) ?? { arrival };
            expect(waiting.remove(adapter, item)).toBe(mine.includes(item));
            if (mine.includes(item)) mine.splice(mine.indexOf(item), 1);
          } else if (kind === 'first') {
            // The first odd one, the first even one, and those that are over 25.
            const isTaken = ({ arrival: one }: { readonly arrival: number }, i: number): boolean =>
              one > 25 || mine.findIndex((other) => other.arrival % 2 === one % 2) === i;
            const taken = mine.filter(isTaken);
            const rest = mine.filter((one) => !taken.includes(one));
            const classOf = ({ arrival: one }: { readonly arrival: number }) =>
              one > 25 ? undefined : `${one % 2}`;
            expect(waiting.takeFirsts(adapter, classOf)).toEqual(taken);
            mine.splice(0, mine.length, ...rest);
          } else if (kind === 'all') expect(waiting.takeAll(adapter)).toEqual(mine.splice(0));
          const sizes = [...model.values()].map(({ length }) => length);
          expect(waiting.size()).toBe(sizes.reduce((sum, size) => sum + size, 0));
          expect([...waiting.adapters()].sort()).toEqual(
            [...model].filter(([, { length }]) => length > 0).map(([name]) => name),
          );
        }
      }),
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createParking } from '../../../src/queue/parking.ts';

describe('parked requests', () => {
  it('come out in the order of their arrival, whenever they went in', () => {
    const parking = createParking<{ readonly arrival: number }>();
    for (const arrival of [3, 1, 2]) parking.add('x', { arrival });
    parking.add('y', { arrival: 0 });
    const [first, ...others] = parking.takeFirsts('x', () => 'all');
    expect([first, others]).toEqual([{ arrival: 1 }, []]);
    if (first !== undefined) parking.add('x', first);
    expect(parking.takeAll('x').map(({ arrival }) => arrival)).toEqual([1, 2, 3]);
    expect([...parking.keys()]).toEqual(['y']);
    expect(parking.size()).toBe(1);
  });

  it('are never lost, and never there twice', () => {
    const arbStep = fc.record({
      kind: fc.constantFrom('add', 'add', 'remove', 'first', 'all'),
      key: fc.constantFrom('x', 'y'),
      arrival: fc.nat(30),
    });
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 100 }), (steps) => {
        const parking = createParking<{ readonly arrival: number }>();
        const model = new Map<string, { readonly arrival: number }[]>([
          ['x', []],
          ['y', []],
        ]);
        for (const { kind, key, arrival } of steps) {
          const mine = model.get(key) ?? [];
          mine.sort((a, b) => a.arrival - b.arrival);
          if (kind === 'add' && !mine.some((one) => one.arrival === arrival)) {
            const item = { arrival };
            parking.add(key, item);
            mine.push(item);
          } else if (kind === 'remove') {
            const item = mine.find((one) => one.arrival === arrival) ?? { arrival };
            expect(parking.remove(key, item)).toBe(mine.includes(item));
            if (mine.includes(item)) mine.splice(mine.indexOf(item), 1);
          } else if (kind === 'first') {
            // The first odd one, the first even one, and those that are over 25.
            const isTaken = ({ arrival: one }: { readonly arrival: number }, i: number): boolean =>
              one > 25 || mine.findIndex((other) => other.arrival % 2 === one % 2) === i;
            const taken = mine.filter(isTaken);
            const rest = mine.filter((one) => !taken.includes(one));
            const classOf = ({ arrival: one }: { readonly arrival: number }) =>
              one > 25 ? undefined : `${one % 2}`;
            expect(parking.takeFirsts(key, classOf)).toEqual(taken);
            mine.splice(0, mine.length, ...rest);
          } else if (kind === 'all') expect(parking.takeAll(key)).toEqual(mine.splice(0));
          const sizes = [...model.values()].map(({ length }) => length);
          expect(parking.size()).toBe(sizes.reduce((sum, size) => sum + size, 0));
          expect([...parking.keys()].sort()).toEqual(
            [...model].filter(([, { length }]) => length > 0).map(([name]) => name),
          );
        }
      }),
    );
  });
});

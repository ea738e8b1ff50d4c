import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createOccupancy } from '../../../src/usage/occupancy.ts';

describe('occupancy', () => {
  it('counts each request where it is, once, and forgets it when it has left', () => {
    const arbStep = fc.record({
      request: fc.nat(5),
      what: fc.constantFrom('queued' as const, 'inFlight' as const, 'leave' as const),
    });
    fc.assert(
      fc.property(fc.array(arbStep, { maxLength: 60 }), (steps) => {
        const occupancy = createOccupancy();
        const entries = Array.from({ length: 6 }, (_, i) => occupancy.open(`t${i % 2}`, `m${i % 3}`));
        const where: string[] = Array.from({ length: 6 }, () => 'new');
        for (const { request, what } of steps) {
          if (what === 'leave') entries[request]?.leave();
          else entries[request]?.enter(what);
          if (where[request] !== 'leave') where[request] = what;
          const sum = (phase: 'queued' | 'inFlight') =>
            [...occupancy.rows()].reduce((all, row) => all + row[phase], 0);
          expect(sum('queued')).toBe(where.filter((one) => one === 'queued').length);
          expect(sum('inFlight')).toBe(where.filter((one) => one === 'inFlight').length);
        }
        for (const entry of entries) entry.leave();
        expect([...occupancy.rows()]).toEqual([]);
      }),
    );
  });
});

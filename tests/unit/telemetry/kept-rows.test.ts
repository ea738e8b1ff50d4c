/** Rows that all metrics of a scrape share: as they were made, once, and anew for the next scrape. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeptRows } from '../../../src/telemetry/kept-rows.ts';
import { createMetrics } from '../../../src/telemetry/prom-metrics.ts';
import { RECORD, SOURCE } from '../../support/metrics.ts';

describe('kept rows', () => {
  it('are those of the iterator for everybody, however the readers take turns', () => {
    fc.assert(
      fc.property(fc.array(fc.nat()), fc.array(fc.nat({ max: 2 })), (rows, turns) => {
        let made = 0;
        const kept = new KeptRows(
          (function* () {
            for (const row of rows) {
              made += 1;
              yield row;
            }
          })(),
        );
        const readers = [0, 1, 2].map(() => ({ read: [] as number[], rows: kept[Symbol.iterator]() }));
        for (const turn of turns) {
          const reader = readers[turn];
          const next = reader?.rows.next();
          if (next?.done !== true && next !== undefined) reader?.read.push(next.value);
          // None is made before somebody wants it.
          expect(made).toBeLessThanOrEqual(Math.max(...readers.map(({ read }) => read.length), 0));
        }
        for (const { read, rows: rest } of readers) {
          for (let next = rest.next(); next.done !== true; next = rest.next()) read.push(next.value);
          expect(read).toEqual(rows);
        }
        expect(made).toBe(rows.length);
      }),
      { seed: 17 },
    );
  });
});

describe('a scrape', () => {
  it('makes the rows of pools, tenants and limits once, and the next one anew', async () => {
    const made = { pools: 0, occupancy: 0, activeTenants: 0 };
    let queued = 1;
    const metrics = createMetrics({
      ...SOURCE,
      *pools() {
        made.pools += 1;
        for (const pool of SOURCE.pools()) yield { ...pool, queued };
      },
      *occupancy() {
        made.occupancy += 1;
        yield* SOURCE.occupancy();
      },
      *activeTenants() {
        made.activeTenants += 1;
        yield* SOURCE.activeTenants();
      },
    });
    metrics.requestEnded(RECORD);
    expect(await metrics.registry.metrics()).toContain('fairlane_pool_queued{pool="main"} 1');
    expect(made).toEqual({ pools: 1, occupancy: 1, activeTenants: 1 });
    queued = 2;
    expect(await metrics.registry.metrics()).toContain('fairlane_pool_queued{pool="main"} 2');
    expect(made).toEqual({ pools: 2, occupancy: 2, activeTenants: 2 });
  });

  it('that fails leaves nothing to the next one', async () => {
    let fails = true;
    const metrics = createMetrics({
      ...SOURCE,
      pools: () => {
        if (fails) throw new Error('no');
        return SOURCE.pools();
      },
    });
    await expect(metrics.registry.metrics()).rejects.toThrow('no');
    fails = false;
    expect(await metrics.registry.metrics()).toContain('fairlane_pool_queued{pool="main"} 1');
  });
});

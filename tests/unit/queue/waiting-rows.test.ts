import { expect, it } from 'vitest';
import { waitingRows } from '../../../src/queue/waiting-rows.ts';

it('who waits is summed by lane and tenant, with the time of the first', () => {
  const queued = [
    ['batch', 'a', 10],
    ['fast', 'a', 20],
    ['batch', 'b', 30],
    ['batch', 'a', 40],
  ] as const;
  const rows = waitingRows(
    queued.map(([lane, tenant, sinceMs]) => ({ lane: { name: lane }, waiting: { tenant }, sinceMs })),
  );
  expect(rows).toEqual([
    { lane: 'batch', tenant: 'a', waiting: 2, sinceMs: 10 },
    { lane: 'batch', tenant: 'b', waiting: 1, sinceMs: 30 },
    { lane: 'fast', tenant: 'a', waiting: 1, sinceMs: 20 },
  ]);
  expect(waitingRows([])).toEqual([]);
});

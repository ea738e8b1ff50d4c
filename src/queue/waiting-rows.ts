/** Who waits in a pool's queue, summed by lane and tenant. Pure. */

export interface WaitingRow {
  readonly lane: string;
  readonly tenant: string;
  /** Requests. */
  readonly waiting: number;
  /** When the oldest of them came, by the queue's clock. */
  readonly sinceMs: number;
}

interface Queued {
  readonly lane: { readonly name: string };
  readonly waiting: { readonly tenant: string };
  readonly sinceMs: number;
}

/** @param queued in order of arrival. Takes time for each of them: no more wait than `queue.maxQueued` says. */
export function waitingRows(queued: Iterable<Queued>): readonly WaitingRow[] {
  const byLane = new Map<string, Map<string, { waiting: number; readonly sinceMs: number }>>();
  for (const { lane, waiting, sinceMs } of queued) {
    let tenants = byLane.get(lane.name);
    if (tenants === undefined) {
      tenants = new Map();
      byLane.set(lane.name, tenants);
    }
    const row = tenants.get(waiting.tenant);
    if (row === undefined) tenants.set(waiting.tenant, { waiting: 1, sinceMs });
    else row.waiting += 1;
  }
  return [...byLane].flatMap(([lane, tenants]) =>
    Array.from(tenants, ([tenant, row]) => ({ lane, tenant, ...row })),
  );
}

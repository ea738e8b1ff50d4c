/** Who waits in a pool's queue, summed by lane and tenant. Pure. */

export interface WaitingRow {
  readonly lane: string;
  readonly tenant: string;
  /** Requests. */
  readonly waiting: number;
  /** When the oldest of them came, by the queue's clock. */
  readonly sinceMs: number;
}

/** What waits for a slot: not what waits because its tenant has as many in flight as it may, which goes no sooner with more slots. */
export interface SlotWait {
  readonly requests: number;
  /** Of one that joined the queue last; 0: none wait. Of the whole queue, whoever's it is. */
  readonly predictedMs: number;
}

export const NO_SLOT_WAIT: SlotWait = { requests: 0, predictedMs: 0 };

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

/** @param queued in order of arrival. @returns how many wait for a slot, and since when the first of them does. */
export function waitingForSlot(
  queued: Iterable<Queued>,
  isAtCap: (tenant: string) => boolean,
): { readonly requests: number; readonly sinceMs: number } {
  let [requests, sinceMs] = [0, 0];
  for (const request of queued) {
    if (isAtCap(request.waiting.tenant)) continue;
    if (requests === 0) ({ sinceMs } = request);
    requests += 1;
  }
  return { requests, sinceMs };
}

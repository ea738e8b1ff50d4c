/** A tenant's maxConcurrent, divided among the replicas that have requests of it. A tenant without any costs nothing. */
import type { Allotment, Allotments } from '../limit/allotments.ts';
import type { TenantCaps } from './dispatcher.ts';

export interface TenantCapsOptions {
  readonly shares: Pick<Allotments, 'hold'>;
  readonly keyOf: (tenant: string) => string;
  /** 0 for a tenant that has none any more. */
  readonly maxConcurrentOf: (tenant: string) => number;
  readonly inFlightOf: (tenant: string) => number;
  readonly queuedOf: (tenant: string) => number;
  readonly changed: (tenant: string, nowMs: number) => void;
}

/** So much more is held than is claimed, so that few requests have to wait for an answer. */
const SPARE_PART = 1 / 4;

export function createTenantCaps(options: TenantCapsOptions): TenantCaps {
  const { shares, keyOf, maxConcurrentOf, inFlightOf, queuedOf, changed } = options;
  const held = new Map<string, Allotment>();

  const claimedOf = (tenant: string): number => inFlightOf(tenant) + queuedOf(tenant);

  const shareOf = (tenant: string): Allotment => {
    let share = held.get(tenant);
    if (share === undefined) {
      share = shares.hold(keyOf(tenant), 'concurrency', {
        capacity: () => Math.max(maxConcurrentOf(tenant), 0),
        inUse: () => inFlightOf(tenant),
        claimed: () => claimedOf(tenant),
        want: () => Math.floor(claimedOf(tenant) * (1 + SPARE_PART)),
        changed: (nowMs) => changed(tenant, nowMs),
        ended: () => held.delete(tenant),
      });
      held.set(tenant, share);
    }
    return share;
  };

  return {
    limit: (tenant, nowMs) => shareOf(tenant).limit(nowMs),
    coming: (tenant, nowMs) => shareOf(tenant).coming(nowMs),
    moved: (tenant, nowMs) => shareOf(tenant).moved(nowMs),
  };
}

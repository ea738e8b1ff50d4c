/**
 * A tenant's maxConcurrent, divided among the replicas that have requests of it: one allotment (limit/allotments.ts) for each
 * tenant. A tenant without requests costs nothing.
 */
import type { Allotment, AllotmentOwner, Allotments } from '../limit/allotments.ts';
import type { TenantCaps } from './types.ts';

export interface TenantCapsOptions {
  readonly allotments: Pick<Allotments, 'hold'>;
  readonly keyOf: (tenant: string) => string;
  /** 0 for a tenant that has none any more. */
  readonly maxConcurrentOf: (tenant: string) => number;
  readonly inFlightOf: (tenant: string) => number;
  readonly queuedOf: (tenant: string) => number;
  readonly changed: (tenant: string, nowMs: number) => void;
}

/** So much more is held than is claimed, so that few requests have to wait for an answer. */
const SPARE_PART = 1 / 4;

class AllottedCaps implements TenantCaps {
  private readonly options: TenantCapsOptions;
  private readonly held = new Map<string, Allotment>();

  constructor(options: TenantCapsOptions) {
    this.options = options;
  }

  limit(tenant: string, nowMs: number): number {
    return this.allotmentOf(tenant).limit(nowMs);
  }

  coming(tenant: string, nowMs: number): number {
    return this.allotmentOf(tenant).coming(nowMs);
  }

  usageChanged(tenant: string, nowMs: number): void {
    this.allotmentOf(tenant).usageChanged(nowMs);
  }

  private allotmentOf(tenant: string): Allotment {
    const known = this.held.get(tenant);
    if (known !== undefined) return known;
    const { allotments, keyOf } = this.options;
    const allotment = allotments.hold(keyOf(tenant), 'concurrency', this.ownerOf(tenant));
    this.held.set(tenant, allotment);
    return allotment;
  }

  private ownerOf(tenant: string): AllotmentOwner {
    const { maxConcurrentOf, inFlightOf, queuedOf, changed } = this.options;
    const claimed = (): number => inFlightOf(tenant) + queuedOf(tenant);
    return {
      capacity: () => Math.max(maxConcurrentOf(tenant), 0),
      inUse: () => inFlightOf(tenant),
      claimed,
      want: () => Math.floor(claimed() * (1 + SPARE_PART)),
      changed: (nowMs) => changed(tenant, nowMs),
      ended: () => this.held.delete(tenant),
    };
  }
}

export const createTenantCaps = (options: TenantCapsOptions): TenantCaps => new AllottedCaps(options);

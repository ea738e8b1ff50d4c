/** The tenants: who they are, and the state of their contracts. */
import type { Config, TenantConfig } from '../config/config.ts';
import type { Snapshotted, StoredBucket } from '../limit/memory-store.ts';
import type { LimitStore } from '../limit/store.ts';
import { createTenantLimits, type TenantLimits } from './tenant-limits.ts';

export interface Tenant {
  config: TenantConfig;
  readonly limits: TenantLimits;
}

/** As a snapshot: what this replica knows to be used of the tenants' months, where the store is elsewhere. */
export interface TenantDirectory extends Snapshotted {
  get(name: string): Tenant | undefined;
  all(): Iterable<Tenant>;
  /** Tenants that stay keep their buckets' levels. */
  reconfigure(config: Config): void;
}

/**
 * @param store where the levels of the tenants' buckets are.
 * @param unixMs Unix time, for monthly quotas.
 */
export function createTenantDirectory(
  config: Config,
  store: LimitStore,
  unixMs: () => number,
): TenantDirectory {
  const tenants = new Map<string, Tenant>();
  const apply = (next: Config): void => {
    for (const name of tenants.keys()) if (!next.tenants.has(name)) tenants.delete(name);
    for (const tenant of next.tenants.values()) {
      const known = tenants.get(tenant.name);
      if (known === undefined) {
        const limits = createTenantLimits({ tenant: tenant.name, limits: tenant.limits, store, unixMs });
        tenants.set(tenant.name, { config: tenant, limits });
      } else {
        known.config = tenant;
        known.limits.reconfigure(tenant.limits);
      }
    }
  };
  apply(config);
  return {
    get: (name) => tenants.get(name),
    all: () => tenants.values(),
    reconfigure: apply,
    *buckets() {
      for (const { limits } of tenants.values()) {
        const used = limits.monthUsed();
        if (used !== undefined) yield used;
      }
    },
    restore(stored) {
      const byKey = new Map<string, StoredBucket>();
      for (const one of stored) byKey.set(one[0], one);
      for (const { limits } of tenants.values()) limits.restoreMonth(byKey);
    },
  };
}

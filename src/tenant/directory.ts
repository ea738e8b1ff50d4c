/** The tenants: who they are, and the state of their contracts. */
import type { Config, TenantConfig } from '../config/config.ts';
import type { LimitStore } from '../limit/store.ts';
import { createTenantLimits, type TenantLimits } from './tenant-limits.ts';

export interface Tenant {
  config: TenantConfig;
  readonly limits: TenantLimits;
}

export interface TenantDirectory {
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
  return { get: (name) => tenants.get(name), all: () => tenants.values(), reconfigure: apply };
}

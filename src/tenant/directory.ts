/** The tenants: who they are, and the state of their contracts. */
import type { Config, TenantConfig } from '../config/config.ts';
import { createTenantLimits, type TenantLimits } from '../limit/tenant-limits.ts';

export interface Tenant {
  config: TenantConfig;
  readonly limits: TenantLimits;
}

export interface TenantDirectory {
  get(name: string): Tenant | undefined;
  all(): Iterable<Tenant>;
  /** Tenants that stay keep their buckets' levels. */
  reconfigure(config: Config, nowMs: number): void;
}

export function createTenantDirectory(config: Config, nowMs: number): TenantDirectory {
  const tenants = new Map<string, Tenant>();
  const apply = (next: Config, now: number): void => {
    for (const name of tenants.keys()) if (!next.tenants.has(name)) tenants.delete(name);
    for (const tenant of next.tenants.values()) {
      const known = tenants.get(tenant.name);
      if (known === undefined) {
        tenants.set(tenant.name, { config: tenant, limits: createTenantLimits(tenant.limits, now) });
      } else {
        known.config = tenant;
        known.limits.reconfigure(tenant.limits, now);
      }
    }
  };
  apply(config, nowMs);
  return { get: (name) => tenants.get(name), all: () => tenants.values(), reconfigure: apply };
}

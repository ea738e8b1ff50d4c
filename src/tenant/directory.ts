/** The tenants: who they are, and the state of their contracts. */
import type { Config, Limits, TenantConfig, VisitorPolicy } from '../config/config.ts';
import type { Snapshotted, StoredBucket } from '../limit/memory-store.ts';
import type { LimitStore } from '../limit/store.ts';
import { LimitScopes } from './limit-scopes.ts';
import { limitsAt, nextEndMs } from './raises.ts';
import { createTenantLimits, type TenantLimits } from './tenant-limits.ts';
import { Visitors, type VisitRefusal } from './visitors.ts';

export interface Tenant {
  config: TenantConfig;
  readonly limits: TenantLimits;
}

/** As a snapshot: what this replica knows to be used of the tenants' months, where the store is elsewhere. */
export interface TenantDirectory extends Snapshotted {
  /** One that is configured, or has come with a token. */
  get(name: string): Tenant | undefined;
  /**
   * One that a token names and that is not configured comes. Undefined: such tenants are not taken.
   *
   * @param tier as the token names it; empty: it names none.
   */
  visit(name: string, tier: () => string, nowMs: number): Tenant | VisitRefusal | undefined;
  /** Those that are configured. */
  all(): Iterable<Tenant>;
  /** Those that are configured, and those that have come. */
  everybody(): Iterable<Tenant>;
  /** Tenants that stay keep their buckets' levels. */
  reconfigure(config: Config): void;
  /** Takes over the limits as they are now: raises of them may be over. */
  applyRaises(): void;
  /** Unix time at which the next raise of limits is over; undefined: none is in force. */
  nextRaiseEndMs(): number | undefined;
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
  const limitsOf = ({ name, limits }: TenantConfig): TenantLimits =>
    createTenantLimits({ tenant: name, limits, store, unixMs, scopes: (create) => new LimitScopes(create) });
  let stored: ReadonlyMap<string, StoredBucket> = new Map();
  const visitors = new Visitors(config.jwt?.visitors, (visitor) => {
    // They come one by one, and what they have used was known before.
    const limits = limitsOf(visitor);
    limits.restoreMonth(stored);
    return limits;
  });
  let takesVisitors = false;
  let current = config;
  const isLockedOut = (name: string): boolean => current.lockedOut?.has(name) === true;
  const apply = (next: Config): void => {
    current = next;
    const nowMs = unixMs();
    for (const name of tenants.keys()) if (!next.tenants.has(name)) tenants.delete(name);
    for (const written of next.tenants.values()) {
      const tenant = tenantAt(written, nowMs);
      const known = tenants.get(tenant.name);
      if (known === undefined) {
        tenants.set(tenant.name, { config: tenant, limits: limitsOf(tenant) });
      } else {
        known.config = tenant;
        known.limits.reconfigure(tenant.limits);
      }
    }
    takesVisitors = next.jwt?.visitors !== undefined;
    visitors.reconfigure(
      policyAt(next.jwt?.visitors, nowMs),
      (name) => tenants.has(name) || isLockedOut(name),
    );
  };
  apply(config);
  return {
    get: (name) => tenants.get(name) ?? visitors.get(name),
    visit(name, tier, nowMs) {
      if (!takesVisitors) return undefined;
      const known = tenants.get(name);
      if (known !== undefined) return known;
      return isLockedOut(name) ? 'locked-out' : visitors.visit(name, tier(), nowMs);
    },
    all: () => tenants.values(),
    *everybody() {
      yield* tenants.values();
      yield* visitors.all();
    },
    reconfigure: apply,
    applyRaises: () => apply(current),
    nextRaiseEndMs: () => nextEndMs(allLimitsOf(current), unixMs()),
    *buckets() {
      for (const { limits } of [...tenants.values(), ...visitors.all()]) {
        for (const part of limits.parts()) {
          for (const used of [part.monthUsed(), part.budgetUsed()]) if (used !== undefined) yield used;
        }
      }
    },
    restore(buckets) {
      stored = new Map([...buckets].map((one) => [one[0], one]));
      for (const { limits } of tenants.values()) limits.restoreMonth(stored);
      if (!takesVisitors) stored = new Map();
    },
  };
}

/** As it is at that time. */
function tenantAt(tenant: TenantConfig, unixMs: number): TenantConfig {
  const limits = limitsAt(tenant.limits, unixMs);
  return limits === tenant.limits ? tenant : { ...tenant, limits };
}

function policyAt(policy: VisitorPolicy | undefined, unixMs: number): VisitorPolicy | undefined {
  if (policy === undefined) return undefined;
  const limits = [...policy.limits].map(([tier, of]) => [tier, limitsAt(of, unixMs)] as const);
  return { ...policy, limits: new Map(limits) };
}

function* allLimitsOf({ tenants, jwt }: Config): Iterable<Limits> {
  for (const { limits } of tenants.values()) yield limits;
  yield* jwt?.visitors?.limits.values() ?? [];
}

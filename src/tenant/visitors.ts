/**
 * Tenants that a token names and the configuration does not. They have the limits of a tier, are bounded in number, and are forgotten
 * when they have not been here for an hour. Their levels are in the store, by their names: who is forgotten and comes again has
 * spent what it had spent.
 *
 * Invariants: there are never more than `most`; nobody is forgotten who has a request under way.
 */
import type { TenantConfig, VisitorPolicy } from '../config/config.ts';
import type { TenantLimits } from './tenant-limits.ts';

export interface VisitingTenant {
  config: TenantConfig;
  readonly limits: TenantLimits;
}

/** `bad-name`: no tenant can be called so. `full`: there are as many as may be. `locked-out`: it is one that is not served. */
export type VisitRefusal = 'bad-name' | 'full' | 'locked-out';

/** Addresses and ids of accounts too; in logs, and in keys of Redis. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@|+=-]{0,127}$/;
const FORGOTTEN_MS = 3_600_000;
/** An upload that is refused for its place alone would be begun in vain: who was here so lately stays. */
const RECENT_MS = 60_000;
/** Looked at for one that may go, those first that have not been here for longest. */
const LOOKED_AT = 8;

interface Entry {
  readonly tenant: VisitingTenant;
  lastMs: number;
}

export class Visitors {
  readonly #limitsOf: (config: TenantConfig) => TenantLimits;
  #policy: VisitorPolicy | undefined;
  /** Who was here longest ago comes first. */
  readonly #entries = new Map<string, Entry>();

  /** @param limitsOf makes the contract of one. */
  constructor(policy: VisitorPolicy | undefined, limitsOf: (config: TenantConfig) => TenantLimits) {
    this.#policy = policy;
    this.#limitsOf = limitsOf;
  }

  get size(): number {
    return this.#entries.size;
  }

  all(): Iterable<VisitingTenant> {
    return [...this.#entries.values()].map(({ tenant }) => tenant);
  }

  get(name: string): VisitingTenant | undefined {
    return this.#entries.get(name)?.tenant;
  }

  /** @param tierClaim as the token has it; one that is no tier's name counts as none. */
  visit(name: string, tierClaim: string, nowMs: number): VisitingTenant | VisitRefusal {
    const policy = this.#policy;
    if (policy === undefined || !NAME.test(name)) return 'bad-name';
    const known = this.#entries.get(name);
    const tier = policy.limits.has(tierClaim) ? tierClaim : policy.tier;
    if (known !== undefined) {
      this.#entries.delete(name);
      this.#entries.set(name, known);
      known.lastMs = nowMs;
      if (known.tenant.config.tier !== tier) this.#become(known.tenant, tier, policy);
      return known.tenant;
    }
    this.#forget(policy.most, nowMs);
    if (this.#entries.size >= policy.most) return 'full';
    const config = configOf(name, tier, policy);
    const tenant = { config, limits: this.#limitsOf(config) };
    this.#entries.set(name, { tenant, lastMs: nowMs });
    return tenant;
  }

  /** @param isOther of a name: it is configured or locked out, and no visitor's any more. */
  reconfigure(policy: VisitorPolicy | undefined, isOther: (name: string) => boolean): void {
    this.#policy = policy;
    for (const [name, { tenant }] of this.#entries) {
      if (policy === undefined || isOther(name)) {
        this.#entries.delete(name);
        continue;
      }
      const { tier = policy.tier } = tenant.config;
      this.#become(tenant, policy.limits.has(tier) ? tier : policy.tier, policy);
    }
  }

  #become(tenant: VisitingTenant, tier: string, policy: VisitorPolicy): void {
    tenant.config = configOf(tenant.config.name, tier, policy);
    tenant.limits.reconfigure(tenant.config.limits);
  }

  /** Those who have not been here for an hour, and where there is no room one who is not here now. */
  #forget(most: number, nowMs: number): void {
    let looked = 0;
    for (const [name, { tenant, lastMs }] of this.#entries) {
      const idleMs = nowMs - lastMs;
      const mayGo = idleMs >= FORGOTTEN_MS || (this.#entries.size >= most && idleMs >= RECENT_MS);
      if (!mayGo || looked >= LOOKED_AT) return;
      looked += 1;
      if (tenant.limits.outstanding() === 0) this.#entries.delete(name);
    }
  }
}

function configOf(name: string, tier: string, policy: VisitorPolicy): TenantConfig {
  const limits = policy.limits.get(tier);
  if (limits === undefined) throw new Error(`there is no tier ${tier}`);
  return { name, tier, keys: [], models: '*', limits };
}

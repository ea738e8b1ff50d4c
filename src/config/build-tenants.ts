/** Tenants, and what tokens bring, from a configuration that has been checked. */
import { createHash } from 'node:crypto';
import type { TenantKey } from '../domain/tenant-key.ts';
import { maxHeldBytesOf } from './body-limit.ts';
import { budgetLimitsOf } from './build-budgets.ts';
import type { FoundJwt } from './checks/identity.ts';
import type { KeyEntry } from './checks/keys.ts';
import type { Config, JwtConfig, Limits } from './config.ts';
import type { WrittenConfig } from './schema/schema.ts';

const DEFAULT_MAX_QUEUED = 100;
const DEFAULT_MAX_OUTPUTS = 16;

/** Of a key that is configured: it stays the same as long as the key does, and nobody finds the key by it who could not guess it. */
const keyIdOf = (key: string): string =>
  `cfg_${createHash('sha256').update(`fairlane key id\0${key}`).digest('hex').slice(0, 12)}`;

const keyOf = (value: string): TenantKey => ({ id: keyIdOf(value), secret: { kind: 'plain', value } });

export function tenantsOf(written: WrittenConfig, keys: readonly KeyEntry[]): Config['tenants'] {
  const { tenants, tiers } = written;
  const heldBytes = maxHeldBytesOf(written);
  const keysOf = byTenant(keys);
  return new Map(
    Object.entries(tenants).map(([name, { tier, trustGroup, models, limits }]) => [
      name,
      {
        name,
        ...(tier === undefined ? {} : { tier }),
        ...(trustGroup === undefined ? {} : { trustGroup }),
        keys: (keysOf.get(name) ?? []).flatMap(({ looked }) =>
          looked.kind === 'ok' ? [keyOf(looked.value)] : [],
        ),
        models: models === '*' ? '*' : new Set(models),
        limits: merge(tier === undefined ? {} : (tiers[tier] ?? {}), limits, heldBytes),
      },
    ]),
  );
}

export function jwtOf(written: WrittenConfig, { jwks }: FoundJwt): { readonly jwt?: JwtConfig } {
  const { jwt } = written.identity;
  // A gateway says itself who a tenant is.
  if (jwt === undefined || jwks?.kind !== 'ok' || written.mode === 'endpoint-picker') return {};
  const { issuer, audience = [], tenantClaim, tierClaim, unknownTenants, maxUnknownTenants: most } = jwt;
  const tiers = tierClaim === undefined ? [unknownTenants ?? ''] : Object.keys(written.tiers);
  const limitsOf = (tier: string): Limits => merge(written.tiers[tier] ?? {}, {}, maxHeldBytesOf(written));
  return {
    jwt: {
      issuer,
      audiences: typeof audience === 'string' ? [audience] : audience,
      jwks: jwks.jwks,
      tenantClaim,
      ...(tierClaim !== undefined && { tierClaim }),
      ...(unknownTenants !== undefined && {
        visitors: {
          tier: unknownTenants,
          limits: new Map(tiers.map((tier) => [tier, limitsOf(tier)])),
          most,
        },
      }),
    },
  };
}

function byTenant(keys: readonly KeyEntry[]): ReadonlyMap<string, readonly KeyEntry[]> {
  const owned = new Map<string, KeyEntry[]>();
  for (const entry of keys) {
    const list = owned.get(entry.tenant);
    if (list === undefined) owned.set(entry.tenant, [entry]);
    else list.push(entry);
  }
  return owned;
}

type WrittenLimits = WrittenConfig['tiers'][string];

/** The tenant's own limits over its tier's. A burst without a rate means nothing and is left out. */
function merge(tier: WrittenLimits, own: WrittenLimits, heldBytes: number): Limits {
  const {
    weight = 1,
    maxOutputs = DEFAULT_MAX_OUTPUTS,
    maxQueued = DEFAULT_MAX_QUEUED,
    maxHeldSize = heldBytes,
    ...rest
  } = { ...tier, ...own };
  const limits: Record<string, number> = {};
  for (const [key, value] of Object.entries(rest)) if (typeof value === 'number') limits[key] = value;
  if (limits['requestsPerMinute'] === undefined) delete limits['requestBurst'];
  if (limits['tokensPerMinute'] === undefined) delete limits['tokenBurst'];
  return { ...limits, ...budgetLimitsOf(rest), weight, maxOutputs, maxQueued, maxHeldBytes: maxHeldSize };
}

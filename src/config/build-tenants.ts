/** Tenants, and what tokens bring, from a configuration that has been checked. */
import { createHash } from 'node:crypto';
import { CONFIGURED_KEY_PREFIX, type TenantKey } from '../domain/tenant-key.ts';
import type { WrittenLimits } from './admin.ts';
import { maxHeldBytesOf } from './body-limit.ts';
import { budgetLimitsOf } from './build-budgets.ts';
import { type WrittenKeyLimits, withParts } from './build-limits.ts';

import type { FoundJwt } from './checks/identity.ts';
import type { KeyEntry } from './checks/keys.ts';
import type { Config, JwtConfig, Limits, TenantConfig } from './config.ts';
import type { KeySettings } from './schema/keys.ts';
import type { WrittenConfig } from './schema/schema.ts';

const DEFAULT_MAX_QUEUED = 100;
const DEFAULT_MAX_OUTPUTS = 16;

/**
 * Of a key that is configured: it stays the same as long as the key does, in plain text or hashed, and nobody finds the key by it who
 * could not guess it.
 */
const keyIdOf = (digest: string): string =>
  `${CONFIGURED_KEY_PREFIX}${createHash('sha256').update(`fairlane key id\0${digest}`).digest('hex').slice(0, 12)}`;

/** @param written the tenant's list of keys, as far as there is one. */
function keysOf(
  entries: readonly KeyEntry[],
  written: readonly (string | KeySettings)[] = [],
): readonly TenantKey[] {
  return entries.flatMap(({ kind, looked, digest, index }) => {
    if (looked.kind !== 'ok') return [];
    const secret: TenantKey['secret'] =
      kind === 'plain' ? { kind, value: looked.value } : { kind, digest: looked.value };
    const settings = written[index];
    if (typeof settings !== 'object') return [{ id: keyIdOf(digest), secret }];
    const { name, expires, models, routes } = settings;
    return [
      {
        id: keyIdOf(digest),
        secret,
        ...(name !== undefined && { name }),
        ...(expires !== undefined && { expiresMs: expires }),
        ...(models !== undefined && { models: new Set(models) }),
        ...(routes !== undefined && { routes: new Set(routes) }),
      },
    ];
  });
}

export function tenantsOf(written: WrittenConfig, keys: readonly KeyEntry[]): Config['tenants'] {
  const { tenants, tiers } = written;
  const heldBytes = maxHeldBytesOf(written);
  const entries = byTenant(keys);
  const tierOf = (tier: string): WrittenLimits | undefined => tiers[tier];
  return new Map(
    Object.entries(tenants).map(([name, settings]) => {
      const own = entries.get(name) ?? [];
      const tenantKeys = keysOf(own, settings.keys);
      return [
        name,
        tenantOf(name, settings, {
          keys: tenantKeys,
          keyLimits: keyLimitsOf(own, settings.keys),
          tierOf,
          heldBytes,
        }),
      ];
    }),
  );
}

/** What a tenant has beside its settings. */
interface TenantParts {
  readonly keys: readonly TenantKey[];
  /** Of those that have some, by their ids. */
  readonly keyLimits?: WrittenParts['keys'];
  readonly tierOf: (tier: string) => WrittenLimits | undefined;
  readonly heldBytes: number;
}

/** A tenant, from settings that have been checked, wherever they are kept. */
export function tenantOf(
  name: string,
  { tier, trustGroup, models, limits, modelLimits }: WrittenConfig['tenants'][string],
  { keys, keyLimits, tierOf, heldBytes }: TenantParts,
): TenantConfig {
  const parts: WrittenParts = { models: modelLimits, ...(keyLimits !== undefined && { keys: keyLimits }) };
  return {
    name,
    ...(tier === undefined ? {} : { tier }),
    ...(trustGroup === undefined ? {} : { trustGroup }),
    keys,
    models: models === '*' ? '*' : new Set(models),
    limits: limitsOf(tier === undefined ? {} : (tierOf(tier) ?? {}), limits, parts, heldBytes),
  };
}

export function jwtOf(written: WrittenConfig, { jwks }: FoundJwt): { readonly jwt?: JwtConfig } {
  const { jwt } = written.identity;
  // A gateway says itself who a tenant is.
  if (jwt === undefined || jwks?.kind !== 'ok' || written.mode === 'endpoint-picker') return {};
  const { issuer, audience = [], tenantClaim, tierClaim, unknownTenants, maxUnknownTenants: most } = jwt;
  const tiers = tierClaim === undefined ? [unknownTenants ?? ''] : Object.keys(written.tiers);
  const heldBytes = maxHeldBytesOf(written);
  const ofTier = (tier: string): Limits => limitsOf(written.tiers[tier] ?? {}, {}, {}, heldBytes);
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
          limits: new Map(tiers.map((tier) => [tier, ofTier(tier)])),
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

interface WrittenParts {
  readonly models?: WrittenLimits['modelLimits'] | undefined;
  readonly keys?: readonly WrittenKeyLimits[];
}

const limitsOf = (
  tier: WrittenLimits,
  own: WrittenLimits,
  { models, keys }: WrittenParts,
  heldBytes: number,
): Limits =>
  withParts(merge(tier, own, heldBytes), { tier: tier.modelLimits, own: models, keys }, (of, part) =>
    merge(of, part, heldBytes),
  );

/** The same of keys that were made apart from their tenant's settings. */
export function withKeyLimits(limits: Limits, keys: readonly WrittenKeyLimits[], heldBytes: number): Limits {
  const { byKey } = withParts({}, { tier: {}, own: {}, keys }, (of, part) => merge(of, part, heldBytes));
  return byKey === undefined ? limits : { ...limits, byKey: new Map([...(limits.byKey ?? []), ...byKey]) };
}

/** Of keys that have some. What was used of them goes on with the name: a key that follows another has it from that. */
const keyLimitsOf = (
  entries: readonly KeyEntry[],
  written: WrittenConfig['tenants'][string]['keys'] = [],
): NonNullable<WrittenParts['keys']> =>
  entries.flatMap(({ looked, digest, index }) => {
    const settings = looked.kind === 'ok' ? written[index] : undefined;
    return typeof settings === 'object' && settings.limits !== undefined
      ? [
          {
            id: keyIdOf(digest),
            limits: settings.limits,
            ...(settings.name !== undefined && { bucketsOf: `name:${settings.name}` }),
          },
        ]
      : [];
  });

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

/**
 * Joins the tenants of the configuration's files with those that were made while Fairlane runs. The files win: of a tenant that both
 * have, the settings are the file's, and the keys are those of both. A tenant that the configuration no longer fits, as one whose tier is
 * gone, is kept out and told; the others are served.
 */
import { isDeepStrictEqual } from 'node:util';
import type { TenantBasis } from '../config/admin.ts';
import type { WrittenKeyLimits } from '../config/build-limits.ts';
import { withKeyLimits } from '../config/build-tenants.ts';
import type { Config, TenantConfig } from '../config/config.ts';
import {
  type CheckedKeyLimits,
  type CheckedSettings,
  checkKeyLimits,
  checkTenantSettings,
} from '../config/tenant-settings.ts';
import { API_ROUTES, type EngineRoute, STORED_ROUTES, type StoredRoute } from '../domain/routes.ts';
import type { TenantKey } from '../domain/tenant-key.ts';
import type { StoredKey, StoredState, StoredTenant } from './tenant-store.ts';

/** One that is not served as it was made, or not at all. */
export interface KeptOut {
  readonly tenant: string;
  readonly problems: readonly string[];
}

export interface MergedTenants {
  readonly config: Config;
  /** By tenant that the files have too: what was made otherwise. Empty: nothing. */
  readonly differs: ReadonlyMap<string, readonly string[]>;
  readonly keptOut: readonly KeptOut[];
}

/** What a tenant comes to, as long as neither it nor what it is checked against changes: of a thousand one changes at a time. */
export class CheckedTenants {
  #basis: TenantBasis | undefined;
  #checked = new Map<string, { readonly stored: StoredTenant; readonly checked: CheckedSettings }>();
  /** Of keys that have limits, by their ids. */
  #keys = new Map<string, { readonly limits: unknown; readonly checked: CheckedKeyLimits }>();

  of(stored: StoredTenant, basis: TenantBasis): CheckedSettings {
    this.#goBy(basis);
    const known = this.#checked.get(stored.name);
    if (known !== undefined && isSame(known.stored, stored)) return known.checked;
    const checked = checkTenantSettings(stored.name, stored.settings, basis);
    this.#checked.set(stored.name, { stored, checked });
    return checked;
  }

  ofKey({ id, limits }: StoredKey, basis: TenantBasis): CheckedKeyLimits {
    if (limits === undefined) return NO_LIMITS;
    this.#goBy(basis);
    const known = this.#keys.get(id);
    if (known !== undefined && isDeepStrictEqual(known.limits, limits)) return known.checked;
    const checked = checkKeyLimits(limits, basis);
    this.#keys.set(id, { limits, checked });
    return checked;
  }

  /** Forgets those that are gone. */
  keep({ tenants, keys }: Pick<StoredState, 'tenants' | 'keys'>): void {
    for (const name of this.#checked.keys()) if (!tenants.has(name)) this.#checked.delete(name);
    for (const id of this.#keys.keys()) if (!keys.has(id)) this.#keys.delete(id);
  }

  #goBy(basis: TenantBasis): void {
    if (basis === this.#basis) return;
    this.#checked.clear();
    this.#keys.clear();
    this.#basis = basis;
  }
}

const NO_LIMITS: CheckedKeyLimits = { kind: 'ok', limits: undefined };

const isSame = (a: StoredTenant, b: StoredTenant): boolean =>
  a === b || (a.version === b.version && isDeepStrictEqual(a.settings, b.settings));

/** @param nowMs Unix time: keys end. */
export function mergeTenants(
  base: Config,
  state: StoredState,
  nowMs: number,
  checks: CheckedTenants = new CheckedTenants(),
): MergedTenants {
  const { admin } = base;
  if (admin === undefined) return { config: base, differs: new Map(), keptOut: [] };
  checks.keep(state);
  const keysOf = keysByTenant(state, nowMs, (key) => checks.ofKey(key, admin.tenants));
  const tenants = new Map(base.tenants);
  const differs = new Map<string, readonly string[]>();
  const keptOut: KeptOut[] = [];
  for (const stored of state.tenants.values()) {
    const checked = checks.of(stored, admin.tenants);
    const inFile = base.tenants.get(stored.name);
    if (inFile !== undefined) differs.set(stored.name, differences(inFile, stored, checked));
    else if (stored.isDisabled) continue;
    else if (checked.kind === 'bad') keptOut.push({ tenant: stored.name, problems: checked.problems });
    else tenants.set(stored.name, withKeys(checked.build([]), keysOf.get(stored.name), admin.tenants));
  }
  for (const [name, made] of keysOf) {
    const { keys, problems: ofKeys } = made;
    if (ofKeys.length > 0) keptOut.push({ tenant: name, problems: ofKeys });
    const inFile = base.tenants.get(name);
    const stored = state.tenants.get(name);
    if (inFile !== undefined && stored?.isDisabled !== true) {
      tenants.set(name, withKeys(inFile, made, admin.tenants));
    } else if (inFile === undefined && stored === undefined) {
      const problem = `its settings are gone from the configuration, and ${keys.length} of its keys are not served; create it`;
      keptOut.push({ tenant: name, problems: [problem] });
    }
  }
  const lockedOut = new Set([...state.tenants.keys()].filter((name) => !tenants.has(name)));
  return { config: { ...base, tenants, lockedOut }, differs, keptOut };
}

/** Whether it opens anything now. */
export const isInForce = (key: StoredKey, nowMs: number): boolean =>
  key.revokedMs === undefined && (key.expiresMs === undefined || key.expiresMs > nowMs);

/** Of a tenant, with the limits of those that have some. */
interface MadeKeys {
  readonly keys: TenantKey[];
  readonly limits: WrittenKeyLimits[];
  /** Of keys whose limits cannot be kept any more: they open nothing, rather than everything. */
  readonly problems: string[];
}

function keysByTenant(
  { keys }: StoredState,
  nowMs: number,
  limitsOf: (key: StoredKey) => CheckedKeyLimits,
): ReadonlyMap<string, MadeKeys> {
  const byTenant = new Map<string, MadeKeys>();
  for (const key of keys.values()) {
    if (!isInForce(key, nowMs)) continue;
    let made = byTenant.get(key.tenant);
    if (made === undefined) {
      made = { keys: [], limits: [], problems: [] };
      byTenant.set(key.tenant, made);
    }
    const { id, originId } = key;
    const checked = limitsOf(key);
    if (checked.kind === 'bad') {
      made.problems.push(...checked.problems.map((problem) => `key ${id}: ${problem}`));
      continue;
    }
    made.keys.push(tenantKeyOf(key));
    const { limits } = checked;
    if (limits !== undefined) {
      made.limits.push(originId === undefined ? { id, limits } : { id, limits, bucketsOf: originId });
    }
  }
  return byTenant;
}

function withKeys(
  tenant: TenantConfig,
  made: MadeKeys | undefined,
  { heldBytes }: TenantBasis,
): TenantConfig {
  if (made === undefined) return tenant;
  const limits = withKeyLimits(tenant.limits, made.limits, heldBytes);
  return { ...tenant, keys: [...tenant.keys, ...made.keys], limits };
}

/** Of routes that a version of Fairlane has which is not this one, none is opened. */
const isRoute = (name: string): name is EngineRoute | StoredRoute => KEY_ROUTES.includes(name);

/** Names that may stand in a key's routes. */
export const KEY_ROUTES: readonly string[] = [
  ...API_ROUTES,
  ...Object.keys(STORED_ROUTES),
  'custom.usage',
  'custom.requests',
  'custom.none',
];

const tenantKeyOf = ({ id, digest, name, expiresMs, models, routes }: StoredKey): TenantKey => ({
  id,
  secret: { kind: 'sha256', digest },
  ...(name !== undefined && { name }),
  ...(expiresMs !== undefined && { expiresMs }),
  ...(models !== undefined && { models: new Set(models) }),
  ...(routes !== undefined && { routes: new Set(routes.filter(isRoute)) }),
});

/** What was made otherwise than the file says, and is not in force. */
function differences(
  inFile: TenantConfig,
  stored: StoredTenant,
  checked: CheckedSettings,
): readonly string[] {
  if (checked.kind === 'bad') return checked.problems;
  const made = checked.build([]);
  const parts: readonly (readonly [string, unknown, unknown])[] = [
    ['tier', inFile.tier, made.tier],
    ['trustGroup', inFile.trustGroup, made.trustGroup],
    ['models', inFile.models, made.models],
    ...limitParts(inFile, made),
  ];
  return [
    ...(stored.isDisabled ? ['disabled: the file serves it, its made keys are not in force'] : []),
    ...parts
      .filter(([, file, own]) => !isDeepStrictEqual(file, own))
      .map(([name, file, own]) => `${name}: file ${shown(file)}, made ${shown(own)}`),
  ];
}

function limitParts(
  inFile: TenantConfig,
  made: TenantConfig,
): readonly (readonly [string, unknown, unknown])[] {
  const [file, own] = [inFile.limits, made.limits].map((limits) => new Map(Object.entries(limits)));
  const names = new Set([...(file?.keys() ?? []), ...(own?.keys() ?? [])]);
  return [...names].map((name) => [`limits.${name}`, file?.get(name), own?.get(name)]);
}

const shown = (value: unknown): string => {
  if (value === undefined) return 'default';
  return value instanceof Set ? JSON.stringify([...value]) : JSON.stringify(value);
};

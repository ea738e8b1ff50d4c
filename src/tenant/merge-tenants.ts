/**
 * Joins the tenants of the configuration's files with those that were made while Fairlane runs. The files win: of a tenant that both
 * have, the settings are the file's, and the keys are those of both. A tenant that the configuration no longer fits, as one whose tier is
 * gone, is kept out and told; the others are served.
 */
import { isDeepStrictEqual } from 'node:util';
import type { TenantBasis } from '../config/admin.ts';
import type { Config, TenantConfig } from '../config/config.ts';
import { type CheckedSettings, checkTenantSettings } from '../config/tenant-settings.ts';
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

  of(stored: StoredTenant, basis: TenantBasis): CheckedSettings {
    if (basis !== this.#basis) this.#checked.clear();
    this.#basis = basis;
    const known = this.#checked.get(stored.name);
    if (known !== undefined && isSame(known.stored, stored)) return known.checked;
    const checked = checkTenantSettings(stored.name, stored.settings, basis);
    this.#checked.set(stored.name, { stored, checked });
    return checked;
  }

  /** Forgets those that are gone. */
  keep(names: ReadonlyMap<string, unknown>): void {
    for (const name of this.#checked.keys()) if (!names.has(name)) this.#checked.delete(name);
  }
}

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
  checks.keep(state.tenants);
  const keysOf = keysByTenant(state, nowMs);
  const tenants = new Map(base.tenants);
  const differs = new Map<string, readonly string[]>();
  const keptOut: KeptOut[] = [];
  for (const stored of state.tenants.values()) {
    const checked = checks.of(stored, admin.tenants);
    const inFile = base.tenants.get(stored.name);
    if (inFile !== undefined) differs.set(stored.name, differences(inFile, stored, checked));
    else if (stored.isDisabled) continue;
    else if (checked.kind === 'bad') keptOut.push({ tenant: stored.name, problems: checked.problems });
    else tenants.set(stored.name, checked.build(keysOf.get(stored.name) ?? []));
  }
  for (const [name, keys] of keysOf) {
    const inFile = base.tenants.get(name);
    const stored = state.tenants.get(name);
    if (inFile !== undefined && stored?.isDisabled !== true) {
      tenants.set(name, { ...inFile, keys: [...inFile.keys, ...keys] });
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

function keysByTenant({ keys }: StoredState, nowMs: number): ReadonlyMap<string, readonly TenantKey[]> {
  const byTenant = new Map<string, TenantKey[]>();
  for (const key of keys.values()) {
    if (!isInForce(key, nowMs)) continue;
    const list = byTenant.get(key.tenant);
    if (list === undefined) byTenant.set(key.tenant, [tenantKeyOf(key)]);
    else list.push(tenantKeyOf(key));
  }
  return byTenant;
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

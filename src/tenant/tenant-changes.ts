/** What a command makes of the tenants and keys that there are: a change of the store, or why it is refused. Pure but for new keys. */
import { isDeepStrictEqual } from 'node:util';
import type { Config } from '../config/config.ts';
import { checkKeyLimits, checkTenantSettings } from '../config/tenant-settings.ts';
import type { MadeKey } from './made-key.ts';
import { isInForce } from './merge-tenants.ts';
import type { AuditAction, StoreChange, StoredKey, StoredState, StoredTenant } from './tenant-store.ts';

/** As many as the configuration may have. */
const MOST_TENANTS = 10_000;
/** In force, of a tenant. */
const MOST_KEYS = 64;
/** Those that open nothing any more are kept, to be seen; of more than these the oldest go. */
const MOST_DEAD_KEYS = 192;

export type RefusalCode =
  | 'invalid_settings'
  | 'tenant_exists'
  | 'tenant_unknown'
  | 'tenant_in_file'
  | 'too_many_tenants'
  | 'version_differs'
  | 'key_unknown'
  | 'key_ended'
  | 'key_name_exists'
  | 'too_many_keys';

/** Why nothing was changed, and what to do. */
interface Refused {
  readonly kind: 'refused';
  readonly code: RefusalCode;
  readonly message: string;
  readonly hint: string;
}

export type Decision =
  | { readonly kind: 'change'; readonly change: StoreChange; readonly made?: MadeKey }
  /** It is so already. */
  | { readonly kind: 'same' }
  | Refused;

/** What a decision is made of. */
export interface Known {
  readonly state: StoredState;
  /** The files' alone. */
  readonly files: Config;
  readonly actor: string;
  /** Unix time. */
  readonly nowMs: number;
}

export interface KeyWish {
  readonly name?: string | undefined;
  readonly expiresMs?: number | undefined;
  readonly models?: readonly string[] | undefined;
  readonly routes?: readonly string[] | undefined;
  readonly limits?: StoredKey['limits'] | undefined;
  readonly originId?: string | undefined;
}

const refuse = (code: RefusalCode, message: string, hint: string): Refused => ({
  kind: 'refused',
  code,
  message,
  hint,
});

type Settings = StoredTenant['settings'];

export function createTenant(known: Known, name: string, settings: Settings): Decision {
  const { state } = known;
  if (state.tenants.has(name)) {
    return refuse(
      'tenant_exists',
      `there is a tenant ${name} already`,
      'change it with PATCH, or choose another name',
    );
  }
  if (state.tenants.size >= MOST_TENANTS) {
    return refuse(
      'too_many_tenants',
      `there are ${MOST_TENANTS} tenants already`,
      'use another Fairlane for more',
    );
  }
  const problem = settingsProblem(known, name, settings);
  if (problem !== undefined) return problem;
  const { nowMs } = known;
  const tenant = {
    name,
    settings,
    isDisabled: false,
    createdMs: nowMs,
    changedMs: nowMs,
    version: state.version + 1,
  };
  return changeOf(known, 'tenant.create', name, { tenants: [tenant], after: shownTenant(tenant) });
}

export interface TenantPatch {
  /** What is null is set back to its default; limits one by one. */
  readonly settings?: Settings;
  readonly isDisabled?: boolean;
  /** Of the tenant; absent: any. */
  readonly version?: number | undefined;
}

export function patchTenant(known: Known, name: string, patch: TenantPatch): Decision {
  const before = known.state.tenants.get(name);
  if (before === undefined) return unknownTenant(known, name);
  if (patch.version !== undefined && patch.version !== before.version) {
    return refuse(
      'version_differs',
      `tenant ${name} is of version ${before.version} now, and ${patch.version} was to be changed`,
      'get it again, look at what somebody else has changed, and repeat the change with its new ETag',
    );
  }
  const settings = patched(before.settings, patch.settings ?? {});
  const isDisabled = patch.isDisabled ?? before.isDisabled;
  if (isDeepStrictEqual(settings, before.settings) && isDisabled === before.isDisabled)
    return { kind: 'same' };
  // Whoever only disables a tenant that fits no more is let.
  if (patch.settings !== undefined || !isDisabled) {
    const problem = settingsProblem(known, name, settings);
    if (problem !== undefined) return problem;
  }
  const { nowMs, state } = known;
  const after = { ...before, settings, isDisabled, changedMs: nowMs, version: state.version + 1 };
  const action =
    isDisabled === before.isDisabled ? 'tenant.set' : isDisabled ? 'tenant.disable' : 'tenant.enable';
  return changeOf(known, action, name, {
    tenants: [after],
    before: shownTenant(before),
    after: shownTenant(after),
  });
}

/** @param make a new key. */
export function createKey(known: Known, tenant: string, wish: KeyWish, make: () => MadeKey): Decision {
  if (!isKnownTenant(known, tenant)) return unknownTenant(known, tenant);
  const problem = keyProblem(known, tenant, wish);
  if (problem !== undefined) return problem;
  const { nowMs } = known;
  const made = make();
  const key = newKey(tenant, made, wish, nowMs);
  const change = { keys: [key], removed: surplus(known, tenant), keyId: key.id, after: shownKey(key) };
  return { ...changeOf(known, 'key.create', tenant, change), made };
}

/**
 * A new key in place of one, which goes on for a while.
 *
 * @param graceMs how long the old one goes on; 0: not at all.
 * @param expiresMs of the new one; undefined: it lives as long as the old one was made for.
 */
export function rotateKey(
  known: Known,
  {
    tenant,
    id,
    graceMs,
    expiresMs,
  }: {
    readonly tenant: string;
    readonly id: string;
    readonly graceMs: number;
    readonly expiresMs?: number | undefined;
  },
  make: () => MadeKey,
): Decision {
  const { nowMs } = known;
  const old = keyOf(known, tenant, id);
  if (old === undefined) return unknownKey(tenant, id);
  if (!isInForce(old, nowMs)) {
    return refuse(
      'key_ended',
      `key ${id} opens nothing any more`,
      'make a new one with POST /v1/tenants/NAME/keys',
    );
  }
  if (expiresMs !== undefined && expiresMs <= nowMs) return expiredAlready;
  const { name, models, routes, limits } = old;
  // The month goes on: a new key is no new budget.
  const originId = limits && (old.originId ?? id);
  const life = old.expiresMs === undefined ? undefined : nowMs + (old.expiresMs - old.createdMs);
  const wish = { name, models, routes, limits, originId, expiresMs: expiresMs ?? life };
  const ended = endedKey(old, nowMs, graceMs);
  if (ended.revokedMs === undefined && keysInForce(known, tenant).length >= MOST_KEYS)
    return tooManyKeys(tenant);
  const made = make();
  const key = newKey(tenant, made, wish, nowMs);
  const change = {
    keys: [ended, key],
    removed: surplus(known, tenant),
    keyId: id,
    before: shownKey(old),
    after: { old: shownKey(ended), new: shownKey(key) },
  };
  return { ...changeOf(known, 'key.rotate', tenant, change), made };
}

export function revokeKey(known: Known, tenant: string, id: string): Decision {
  const old = keyOf(known, tenant, id);
  if (old === undefined) return unknownKey(tenant, id);
  if (old.revokedMs !== undefined) return { kind: 'same' };
  const key = endedKey(old, known.nowMs, 0);
  const change = { keys: [key], keyId: id, before: shownKey(old), after: shownKey(key) };
  return changeOf(known, 'key.revoke', tenant, change);
}

/** Keys of a tenant, those first that open something. */
export function keysOf({ keys }: StoredState, tenant: string, nowMs: number): readonly StoredKey[] {
  const own = [...keys.values()].filter((key) => key.tenant === tenant);
  const rank = (key: StoredKey): number => (isInForce(key, nowMs) ? 0 : 1);
  return own.sort((a, b) => rank(a) - rank(b) || a.createdMs - b.createdMs);
}

/** Made here, or of a file: its keys may be made here too. */
export const isKnownTenant = ({ state, files }: Pick<Known, 'state' | 'files'>, name: string): boolean =>
  state.tenants.has(name) || files.tenants.has(name);

function changeOf(
  { state, actor, nowMs }: Known,
  action: AuditAction,
  tenant: string,
  parts: Partial<Pick<StoreChange, 'tenants' | 'keys' | 'removed'>> & {
    readonly keyId?: string;
    readonly before?: unknown;
    readonly after?: unknown;
  },
): Extract<Decision, { kind: 'change' }> {
  const { tenants = [], keys = [], removed = [], ...audit } = parts;
  const entry = { atMs: nowMs, actor, action, tenant, ...audit };
  return { kind: 'change', change: { base: state.version, tenants, keys, removed, audit: entry } };
}

function settingsProblem({ files }: Known, name: string, settings: Settings): Refused | undefined {
  if (files.admin === undefined) throw new Error('a tenant is changed where there is no admin API');
  const checked = checkTenantSettings(name, settings, files.admin.tenants);
  if (checked.kind === 'ok') return undefined;
  return refuse(
    'invalid_settings',
    checked.problems.join('; '),
    'correct the settings: they are those of tenants.NAME in the configuration, without keys',
  );
}

function unknownTenant({ files }: Known, name: string): Refused {
  return files.tenants.has(name)
    ? refuse(
        'tenant_in_file',
        `tenant ${name} is in the configuration’s files`,
        'change it there; keys can be made for it here',
      )
    : refuse(
        'tenant_unknown',
        `there is no tenant ${name}`,
        'create it with POST /v1/tenants, or look at GET /v1/tenants',
      );
}

const unknownKey = (tenant: string, id: string): Refused =>
  refuse(
    'key_unknown',
    `tenant ${tenant} has no key ${id} that was made here`,
    'look at GET /v1/tenants/NAME/keys',
  );

const tooManyKeys = (tenant: string): Refused =>
  refuse('too_many_keys', `tenant ${tenant} has ${MOST_KEYS} keys already`, 'revoke one that nobody uses');

const expiredAlready = refuse(
  'invalid_settings',
  'expires: is not in the future',
  'give a later time, or none',
);

function keyProblem(known: Known, tenant: string, { name, expiresMs, limits }: KeyWish): Refused | undefined {
  const own = keysInForce(known, tenant);
  if (own.length >= MOST_KEYS) return tooManyKeys(tenant);
  if (expiresMs !== undefined && expiresMs <= known.nowMs) return expiredAlready;
  if (name !== undefined && own.some((key) => key.name === name)) {
    return refuse(
      'key_name_exists',
      `tenant ${tenant} has a key of this name`,
      'choose another name, or rotate that key',
    );
  }
  const basis = known.files.admin?.tenants;
  if (limits === undefined || basis === undefined) return undefined;
  const checked = checkKeyLimits(limits, basis);
  if (checked.kind === 'ok') return undefined;
  const hint = 'correct them: they are those of keys[].limits in the configuration';
  return refuse('invalid_settings', checked.problems.join('; '), hint);
}

const keysInForce = ({ state, nowMs }: Known, tenant: string): readonly StoredKey[] =>
  [...state.keys.values()].filter((key) => key.tenant === tenant && isInForce(key, nowMs));

function keyOf({ state }: Known, tenant: string, id: string): StoredKey | undefined {
  const key = state.keys.get(id);
  return key?.tenant === tenant ? key : undefined;
}

const newKey = (tenant: string, made: MadeKey, wish: KeyWish, nowMs: number): StoredKey => ({
  id: made.id,
  tenant,
  digest: made.digest,
  ...(wish.name !== undefined && { name: wish.name }),
  ...(wish.models !== undefined && { models: wish.models }),
  ...(wish.routes !== undefined && { routes: wish.routes }),
  ...(wish.limits !== undefined && { limits: wish.limits }),
  ...(wish.originId !== undefined && { originId: wish.originId }),
  createdMs: nowMs,
  ...(wish.expiresMs !== undefined && { expiresMs: wish.expiresMs }),
});

const endedKey = (key: StoredKey, nowMs: number, graceMs: number): StoredKey =>
  graceMs <= 0
    ? { ...key, revokedMs: nowMs }
    : { ...key, expiresMs: Math.min(key.expiresMs ?? Number.POSITIVE_INFINITY, nowMs + graceMs) };

/** Ids of the oldest that open nothing. */
function surplus(known: Known, tenant: string): readonly string[] {
  const dead = [...known.state.keys.values()].filter(
    (key) => key.tenant === tenant && !isInForce(key, known.nowMs),
  );
  const most = dead.length - MOST_DEAD_KEYS;
  if (most <= 0) return [];
  return dead
    .sort((a, b) => a.createdMs - b.createdMs)
    .slice(0, most)
    .map(({ id }) => id);
}

/** RFC 7396 within a tenant's settings: mappings are patched key by key. */
function patched(before: Settings, patch: Settings): Settings {
  const after = new Map(Object.entries(before));
  for (const [key, value] of Object.entries(patch)) {
    const old = after.get(key);
    if (value === null) after.delete(key);
    else if (isPlain(value)) after.set(key, patched(isPlain(old) ? old : {}, value));
    else after.set(key, value);
  }
  return Object.fromEntries(after);
}

const isPlain = (value: unknown): value is Settings =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const shownTenant = ({ settings, isDisabled }: StoredTenant): unknown => ({
  ...settings,
  disabled: isDisabled,
});

/** In the audit log: without what it could be known by. */
const shownKey = ({ tenant: _tenant, digest: _digest, usedMs: _usedMs, ...shown }: StoredKey): unknown =>
  shown;

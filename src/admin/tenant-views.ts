/** How the admin API shows tenants and keys. */
import type { Limits, TenantConfig } from '../config/config.ts';
import type { LimitRaise } from '../config/limits.ts';
import { amountText } from '../domain/amount.ts';
import type { TenantKey } from '../domain/tenant-key.ts';
import { isInForce } from '../tenant/merge-tenants.ts';
import { keysOf } from '../tenant/tenant-changes.ts';
import type { StoredKey } from '../tenant/tenant-store.ts';
import type { AdminWorld } from './made-tenants.ts';

type View = Pick<AdminWorld, 'made' | 'unixMs'>;

export interface TenantShown {
  readonly name: string;
  readonly source: 'made' | 'file' | 'both';
  readonly disabled: boolean;
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly inForce?: Readonly<Record<string, unknown>>;
  readonly differs?: readonly string[];
  readonly problems?: readonly string[];
  readonly keys: number;
  readonly version?: number;
  readonly createdAt?: string;
  readonly changedAt?: string;
}

export interface KeyShown {
  readonly id: string;
  readonly name?: string;
  readonly source: 'made' | 'file';
  readonly state: 'active' | 'expired' | 'revoked';
  readonly models?: readonly string[];
  readonly routes?: readonly string[];
  readonly limits?: Readonly<Record<string, unknown>>;
  readonly originId?: string;
  readonly createdAt?: string;
  readonly expiresAt?: string;
  readonly revokedAt?: string;
  readonly lastUsedAt?: string;
}

const textOf = (ms: number): string => new Date(ms).toISOString();

/** One of which it is known that it is there. */
export function tenantShown({ made }: View, name: string): TenantShown {
  const stored = made.state.tenants.get(name);
  const inFile = made.files?.tenants.has(name) === true;
  const inForce = made.merged?.config.tenants.get(name);
  const differs = made.merged?.differs.get(name) ?? [];
  const problems = made.merged?.keptOut.find(({ tenant }) => tenant === name)?.problems;
  return {
    name,
    source: stored === undefined ? 'file' : inFile ? 'both' : 'made',
    disabled: stored?.isDisabled === true,
    ...(stored !== undefined && { settings: stored.settings }),
    ...(inForce !== undefined && { inForce: settingsOf(inForce) }),
    ...(differs.length > 0 && { differs }),
    ...(problems !== undefined && { problems }),
    keys: inForce?.keys.length ?? 0,
    ...(stored !== undefined && {
      version: stored.version,
      createdAt: textOf(stored.createdMs),
      changedAt: textOf(stored.changedMs),
    }),
  };
}

/** @param after names after this one. */
export function tenantsShown(
  view: View,
  after: string,
  limit: number,
): { readonly tenants: readonly TenantShown[]; readonly next?: string } {
  const { made } = view;
  const names = new Set([...made.state.tenants.keys(), ...(made.files?.tenants.keys() ?? [])]);
  const sorted = [...names].filter((name) => name > after).sort((a, b) => (a < b ? -1 : 1));
  const page = sorted.slice(0, limit);
  const next = sorted.length > limit ? page.at(-1) : undefined;
  return { tenants: page.map((name) => tenantShown(view, name)), ...(next !== undefined && { next }) };
}

function settingsOf({ tier, trustGroup, models, limits }: TenantConfig): Readonly<Record<string, unknown>> {
  return {
    ...(tier !== undefined && { tier }),
    ...(trustGroup !== undefined && { trustGroup }),
    models: models === '*' ? '*' : [...models],
    limits: limitsShown(limits),
    ...(limits.byModel !== undefined && {
      modelLimits: Object.fromEntries([...limits.byModel].map(([name, of]) => [name, partShown(of)])),
    }),
  };
}

type Shown = Readonly<Record<string, unknown>>;

/** As they can be written. */
function limitsShown({ byKey: _byKey, byModel: _byModel, bucketsOf: _of, ...limits }: Limits): Shown {
  const { budgetPerMonth, raises } = limits;
  return {
    ...limits,
    ...(budgetPerMonth !== undefined && { budgetPerMonth: amountText(budgetPerMonth) }),
    ...(raises !== undefined && { raises: raises.map(raiseShown) }),
  };
}

function raiseShown({ untilMs, budgetPerMonth, ...limits }: LimitRaise): Shown {
  const amounts = Object.entries(limits).map(([key, value]) => [
    key,
    value === Number.POSITIVE_INFINITY ? 'unlimited' : value,
  ]);
  return {
    until: textOf(untilMs),
    ...Object.fromEntries(amounts),
    ...(budgetPerMonth !== undefined && {
      budgetPerMonth: budgetPerMonth === 'unlimited' ? budgetPerMonth : amountText(budgetPerMonth),
    }),
  };
}

/** Of a key or a model: the rest is the queue's, where a tenant is one. */
function partShown(limits: Limits): Shown {
  const {
    weight: _weight,
    maxOutputs: _outputs,
    maxQueued: _queued,
    maxHeldBytes: _bytes,
    ...part
  } = limitsShown(limits);
  return part;
}

export function keysShown(view: View, tenant: string): readonly KeyShown[] {
  const { made, unixMs } = view;
  const { keys: ofFile = [], limits: { byKey } = {} } = made.files?.tenants.get(tenant) ?? {};
  return [
    ...ofFile.map((key) => fileKeyShown(key, byKey?.get(key.id), unixMs())),
    ...keysOf(made.state, tenant, unixMs()).map((key) => keyShown(view, key)),
  ];
}

export function keyShown({ made, unixMs }: View, key: StoredKey): KeyShown {
  const { id, name, models, routes, limits, originId, createdMs, expiresMs, revokedMs } = key;
  const usedMs = made.usedMs(id) ?? key.usedMs;
  const isOpen = isInForce(key, unixMs());
  return {
    id,
    ...(name !== undefined && { name }),
    source: 'made',
    state: isOpen ? 'active' : revokedMs === undefined ? 'expired' : 'revoked',
    ...(models !== undefined && { models }),
    ...(routes !== undefined && { routes }),
    ...(limits !== undefined && { limits }),
    ...(originId !== undefined && { originId }),
    createdAt: textOf(createdMs),
    ...(expiresMs !== undefined && { expiresAt: textOf(expiresMs) }),
    ...(revokedMs !== undefined && { revokedAt: textOf(revokedMs) }),
    ...(usedMs !== undefined && { lastUsedAt: textOf(usedMs) }),
  };
}

function fileKeyShown(
  { id, name, expiresMs, models, routes }: TenantKey,
  limits: Limits | undefined,
  nowMs: number,
): KeyShown {
  return {
    id,
    ...(name !== undefined && { name }),
    source: 'file',
    state: expiresMs !== undefined && expiresMs <= nowMs ? 'expired' : 'active',
    ...(models !== undefined && { models: [...models] }),
    ...(routes !== undefined && { routes: [...routes] }),
    ...(limits !== undefined && { limits: partShown(limits) }),
    ...(expiresMs !== undefined && { expiresAt: textOf(expiresMs) }),
  };
}

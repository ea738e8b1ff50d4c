/** How commands show tenants and keys. Pure. */
import type { KeyShown, TenantShown } from '../admin/tenant-views.ts';
import { harmless } from '../domain/harmless.ts';
import { textTable } from '../domain/text-table.ts';

/** Of a terminal. */
const WIDTH = 80;
const STYLE = { indent: '', align: 'left', longestName: 26, foldsHeadings: true } as const;
const LONGEST_CELL = 24;

const cut = (text: string, most = LONGEST_CELL): string => {
  const shown = harmless(text);
  return shown.length > most ? `${shown.slice(0, most - 1)}…` : shown;
};

const table = (headings: readonly string[], rows: readonly (readonly string[])[]): string =>
  textTable(headings, rows, WIDTH, STYLE).join('\n');

export function tenantsText(tenants: readonly TenantShown[]): string {
  if (tenants.length === 0) return 'There are no tenants: make one with fairlane tenant create NAME.';
  return table(
    ['tenant', 'from', 'state', 'tier', 'models', 'keys'],
    tenants.map(({ name, source, inForce, keys, ...rest }) => [
      cut(name, STYLE.longestName),
      source,
      stateOf(rest),
      cut(valueText(inForce?.['tier']), 12),
      cut(valueText(inForce?.['models']), 16),
      String(keys),
    ]),
  );
}

function stateOf({ disabled, problems, differs }: Partial<TenantShown>): string {
  if (disabled === true) return 'disabled';
  if (problems !== undefined) return 'kept out';
  return differs === undefined ? 'served' : 'differs';
}

const valueText = (value: unknown): string => {
  if (value === undefined) return '-';
  if (Array.isArray(value)) return value.map(valueText).join(',');
  return typeof value === 'string' ? value : JSON.stringify(value);
};

export function tenantText(tenant: TenantShown, keys: readonly KeyShown[]): string {
  const {
    name,
    source,
    inForce,
    settings,
    problems = [],
    differs = [],
    version,
    createdAt,
    changedAt,
  } = tenant;
  const lines = [
    `${harmless(name)}: ${stateOf(tenant)}, ${source === 'made' ? 'made here' : source === 'file' ? 'of the configuration’s files' : 'of the files, and made here too: the files win'}`,
    ...(version === undefined ? [] : [`version ${version}, made ${createdAt}, changed ${changedAt}`]),
    ...problems.map((problem) => `not served: ${harmless(problem)}`),
    ...differs.map((difference) => `differs: ${harmless(difference)}`),
    ...settingLines('in force', inForce),
    ...(inForce === undefined ? settingLines('made', settings) : []),
    '',
    keysText(keys),
  ];
  return lines.join('\n');
}

function settingLines(title: string, settings: TenantShown['settings']): readonly string[] {
  if (settings === undefined) return [];
  const { limits = {}, ...rest } = settings as Record<string, unknown>;
  const all = [...Object.entries(rest), ...Object.entries(limits as Record<string, unknown>)];
  return [`${title}:`, ...all.map(([key, value]) => `  ${harmless(key)}: ${cut(valueText(value), 60)}`)];
}

export function keysText(keys: readonly KeyShown[]): string {
  if (keys.length === 0) return 'It has no keys: make one with fairlane key create TENANT.';
  return table(
    ['key', 'name', 'state', 'ends', 'last used', 'scopes'],
    keys.map(({ id, name = '-', state, expiresAt, lastUsedAt, models, routes }) => [
      id,
      cut(name, 14),
      state,
      dayOf(expiresAt),
      dayOf(lastUsedAt),
      scopesText(models, routes),
    ]),
  );
}

const dayOf = (time: string | undefined): string => time?.slice(0, 10) ?? '-';

function scopesText(models: readonly string[] = [], routes: readonly string[] = []): string {
  const parts = [
    ...(models.length === 0 ? [] : [`${models.length} models`]),
    ...(routes.length === 0 ? [] : [`${routes.length} routes`]),
  ];
  return parts.length === 0 ? 'all' : parts.join(', ');
}

export interface EntryShown {
  readonly version: number;
  readonly at: string;
  readonly actor: string;
  readonly action: string;
  readonly tenant: string;
  readonly keyId?: string;
}

export function auditText(entries: readonly EntryShown[]): string {
  if (entries.length === 0) return 'Nothing has been changed.';
  return table(
    ['change', 'when', 'who', 'what', 'tenant'],
    entries.map(({ version, at, actor, action, tenant }) => [
      String(version),
      at.slice(0, 19),
      cut(actor, 10),
      action,
      cut(tenant, 22),
    ]),
  );
}

/**
 * Settings of a tenant that is made while Fairlane runs: those of a file of `tenantDirectory` without keys, which are made apart.
 * They are checked by the same schema and the same checks, so both say the same of the same mistake.
 */
import type { TenantKey } from '../domain/tenant-key.ts';
import type { TenantBasis, WrittenLimits } from './admin.ts';
import { tenantOf } from './build-tenants.ts';
import { checkTenantBudgets } from './checks/budgets.ts';
import type { Check } from './checks/check.ts';
import { checkTenantMemory } from './checks/memory.ts';
import { checkTenantReferences } from './checks/references.ts';
import { reportSchema } from './checks/schema-issues.ts';
import type { TenantConfig } from './config.ts';
import { createReport } from './report.ts';
import { madeKeyLimits, tenantFile } from './schema/tenants.ts';
import { isMapping, type Mapping } from './written-data.ts';

/** Of names of tenants. */
const TENANT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** A name that is a key of every object. */
const NO_NAME = '__proto__';

export const isTenantName = (name: string): boolean => TENANT_NAME.test(name) && name !== NO_NAME;

export type CheckedSettings =
  | {
      readonly kind: 'ok';
      readonly warnings: readonly string[];
      readonly build: (keys: readonly TenantKey[]) => TenantConfig;
    }
  | { readonly kind: 'bad'; readonly problems: readonly string[] };

/** What of a tenant's settings the API and commands know: keys are made apart, and the name is the tenant's own. */
export const runtimeSettings = tenantFile.omit({ name: true, keys: true });

const NOWHERE = { line: 0, column: 0 };
/** Of a report: there is no file that it could point into. */
const PLACE = 'tenant:0:0: ';

/** @param settings as they are kept: JSON. */
export function checkTenantSettings(name: string, settings: unknown, basis: TenantBasis): CheckedSettings {
  if (!isTenantName(name)) {
    return {
      kind: 'bad',
      problems: ['name: must be 1 to 64 letters, digits, ".", "_" or "-", the first a letter or digit'],
    };
  }
  if (!isMapping(settings)) return { kind: 'bad', problems: ['settings: must be a mapping'] };
  const report = createReport({
    file: 'tenant',
    hide: (text) => text,
    position: () => NOWHERE,
    asWritten: (path) => (path[0] === 'tenants' ? path.slice(2) : path),
  });
  const check = checkOf(name, settings, report, basis.root);
  const checked = runtimeSettings.safeParse(settings);
  if (!checked.success) reportSchema(checked.error.issues, check, ['tenants', name]);
  checkTenantReferences(basis.known, check);
  checkTenantMemory(basis.maxBodyBytes, check);
  checkTenantBudgets(check, basis.currencies);
  const problems = report.problems();
  if (!checked.success || problems.length > 0) return { kind: 'bad', problems: problems.map(withoutPlace) };
  const written = checked.data;
  const tierOf = (tier: string) => basis.tiers.get(tier);
  return {
    kind: 'ok',
    warnings: report.warnings().map(withoutPlace),
    build: (keys) => tenantOf(name, written, { keys, tierOf, heldBytes: basis.heldBytes }),
  };
}

export type CheckedKeyLimits =
  | { readonly kind: 'ok'; readonly limits: WrittenLimits | undefined }
  | { readonly kind: 'bad'; readonly problems: readonly string[] };

const KEY_PATH = ['tenants', 'tenant', 'keys', 0] as const;

/** Limits of a key that is made while Fairlane runs. @param limits as they are kept: JSON. */
export function checkKeyLimits(limits: unknown, basis: TenantBasis): CheckedKeyLimits {
  const report = createReport({
    file: 'tenant',
    hide: (text) => text,
    position: () => NOWHERE,
    asWritten: (path) => path.slice(KEY_PATH.length),
  });
  const check = checkOf('tenant', { keys: [{ limits }] }, report, basis.root);
  const checked = madeKeyLimits.safeParse(limits);
  if (!checked.success) reportSchema(checked.error.issues, check, [...KEY_PATH, 'limits']);
  checkTenantBudgets(check, basis.currencies);
  const problems = report.problems();
  if (!checked.success || problems.length > 0) return { kind: 'bad', problems: problems.map(withoutPlace) };
  return { kind: 'ok', limits: checked.data };
}

/** A gateway's mode is one in which tenants need no keys. */
const checkOf = (
  name: string,
  settings: Mapping,
  report: Check['report'],
  root: TenantBasis['root'] = {},
): Check => ({
  root: { ...root, mode: 'endpoint-picker', tenants: { [name]: settings } },
  report,
  hide: (text) => text,
  env: {},
  isUnresolved: false,
  nowMs: undefined,
});

const withoutPlace = (line: string): string => (line.startsWith(PLACE) ? line.slice(PLACE.length) : line);

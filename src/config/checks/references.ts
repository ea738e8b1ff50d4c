/** Names that must be configured elsewhere: pools, tiers, tenants, models, adapters and aliases. */
import type { KnownNames } from '../admin.ts';
import { loadAliases } from '../aliases.ts';
import { didYouMean, quote } from '../report.ts';
import { must } from '../values.ts';
import { at, entriesAt, isMapping, textsAt } from '../written-data.ts';
import type { Path } from '../yaml-source.ts';
import { checkAttribution } from './attribution.ts';
import type { Check } from './check.ts';
import { checkKeySettings } from './keys.ts';

export function checkReferences(check: Check): void {
  const { root } = check;
  const names = (section: string): readonly string[] => entriesAt(root, section).map(([name]) => name);
  const pools = names('pools');
  const models = names('models');
  const adapters = names('adapters');
  const mustExist = mustExistIn(check);
  const known = knownNamesOf(root);
  const { discovering } = known;
  const tenants = tenantNames(check);

  mustExist('pool', pools, ['envoy', 'fallbackPool'], at(root, 'envoy', 'fallbackPool'));
  mustExist('tenant', tenants, ['picker', 'tenant'], at(root, 'picker', 'tenant'));
  checkModels({ pools, models, adapters }, mustExist, check);
  checkAliases([...models, ...adapters], discovering, check);
  checkAdapters(models, discovering, mustExist, check);
  checkLanes(tenants, mustExist, check);
  checkAnyTenant(check);
  checkTierModels(known, check);
  checkAttribution(check);
  checkTenantReferences(known, check);
}

const tenantNames = ({ root, tenantsInFiles = [] }: Check): readonly string[] => [
  ...entriesAt(root, 'tenants').map(([name]) => name),
  ...tenantsInFiles,
];

export function knownNamesOf(root: unknown): KnownNames {
  const names = (section: string): readonly string[] => entriesAt(root, section).map(([name]) => name);
  const models = names('models');
  const named = new Set(
    entriesAt(root, 'models').flatMap(([, settings]) => [
      at(settings, 'pool'),
      at(settings, 'mirror', 'pool'),
    ]),
  );
  return {
    tiers: names('tiers'),
    usable: new Set([...models, ...names('adapters'), ...names('aliases')]),
    hasModels: models.length > 0,
    discovering: names('pools').some((pool) => !named.has(pool)),
  };
}

/** What the tenants of `check.root` name. */
export function checkTenantReferences(known: KnownNames, check: Check): void {
  checkTenants(known.tiers, mustExistIn(check), check);
  if (known.hasModels) checkTenantModels(known, check);
  for (const [name] of entriesAt(check.root, 'tenants')) {
    checkLimitedModels(['tenants', name, 'modelLimits'], known, check);
  }
  checkKeySettings((model) => (known.hasModels ? modelFault(known, model, check) : {}), check);
}

/** What is wrong with a model's name that a tenant, or a key, may use. */
function modelFault(
  { usable, discovering }: KnownNames,
  model: string,
  { hide }: Check,
): { readonly problem?: string; readonly warning?: string } {
  if (usable.has(model) || model === '*') return {};
  if (!discovering) return { problem: noSuch('model', [...usable], model, hide) };
  const message = `no model ${quote(hide(model))} is configured; it can be used only if an engine announces it`;
  return { warning: `${message}${didYouMean(model, [...usable])}` };
}

const mustExistIn =
  ({ root, report, hide, isUnresolved }: Check): MustExist =>
  (noun, known, path, name) => {
    if (typeof name !== 'string' || known.includes(name)) return;
    // It may be in a file that nobody was to read.
    if (noun === 'tenant' && isUnresolved && at(root, 'tenantDirectory') !== undefined) return;
    if (noun === 'tenant' && at(root, 'admin') !== undefined) {
      const message = `no tenant ${quote(hide(name))} is configured; it counts only if one of that name is made`;
      report.warning(path, `${message}${didYouMean(name, known)}`);
    } else report.problem(path, noSuch(noun, known, name, hide));
  };

/** Somebody must be able to send requests; a folder may fill later. */
function checkAnyTenant({ root, report }: Check): void {
  const { tenants, tenantDirectory, admin } = isMapping(root) ? root : {};
  if (tenantDirectory !== undefined || admin !== undefined) return;
  if (at(root, 'identity', 'jwt', 'unknownTenants') !== undefined) return;
  if (tenants !== undefined && (!isMapping(tenants) || Object.keys(tenants).length > 0)) return;
  report.problem(['tenants'], must('a mapping of 1 to 10000 tenants')({ input: tenants }));
}

/** Pools of models and of their copies, and canaries. */
function checkModels(
  known: { readonly [noun in 'pools' | 'models' | 'adapters']: readonly string[] },
  mustExist: MustExist,
  { root, report }: Check,
): void {
  for (const [model, settings] of entriesAt(root, 'models')) {
    mustExist('pool', known.pools, ['models', model, 'pool'], at(settings, 'pool'));
    const canary = at(settings, 'canary', 'model');
    const path = ['models', model, 'canary', 'model'];
    if (canary === model) report.problem(path, 'is the model itself; name another version');
    else if (
      typeof canary === 'string' &&
      !known.models.includes(canary) &&
      known.adapters.includes(canary)
    ) {
      report.problem(path, 'is an adapter, and a canary may not be one; name a model');
    } else mustExist('model', known.models, path, canary);
    mustExist('pool', known.pools, ['models', model, 'mirror', 'pool'], at(settings, 'mirror', 'pool'));
  }
}

/** Keys and tiers. With an endpoint picker the gateway says who a tenant is. */
function checkTenants(tiers: readonly string[], mustExist: MustExist, { root, report }: Check): void {
  const mayHaveNone = at(root, 'mode') === 'endpoint-picker' || isMapping(at(root, 'identity', 'jwt'));
  for (const [tenant, settings] of entriesAt(root, 'tenants')) {
    if (!mayHaveNone && isMapping(settings) && at(settings, 'keys') === undefined) {
      report.problem(['tenants', tenant, 'keys'], 'is missing; must be a list of 1 to 64 keys');
    }
    mustExist('tier', tiers, ['tenants', tenant, 'tier'], at(settings, 'tier'));
  }
}

function checkTenantModels(known: KnownNames, check: Check): void {
  const { root, report } = check;
  for (const [tenant, settings] of entriesAt(root, 'tenants')) {
    for (const [i, model] of textsAt(settings, 'models')) {
      const path = ['tenants', tenant, 'models', i];
      const { problem, warning } = modelFault(known, model, check);
      if (problem !== undefined) report.problem(path, problem);
      if (warning !== undefined) report.warning(path, warning);
    }
  }
}

function checkTierModels(known: KnownNames, check: Check): void {
  for (const [name] of entriesAt(check.root, 'tiers')) {
    checkLimitedModels(['tiers', name, 'modelLimits'], known, check);
  }
}

/** Models with limits: by the names that they have themselves, as what is asked for by another name counts for them. */
function checkLimitedModels(path: readonly string[], known: KnownNames, check: Check): void {
  const { root, report, hide } = check;
  const { usable, hasModels, discovering } = known;
  for (const [model] of entriesAt(root, ...path)) {
    const where = [...path, model];
    const alias = at(root, 'aliases', model);
    if (typeof alias === 'string') {
      report.problem(where, `is an alias; name the model that it stands for: ${quote(hide(alias))}`, 'key');
    } else if (hasModels && !usable.has(model)) {
      if (!discovering) report.problem(where, noSuch('model', [...usable], model, hide), 'key');
      else {
        const message = `no model ${quote(hide(model))} is configured; its limits count only if an engine announces it`;
        report.warning(where, `${message}${didYouMean(model, [...usable])}`, 'key');
      }
    }
  }
}

/** Aliases and fallbacks. While an engine may announce models, a name that is not configured may be one of its. */
function checkAliases(models: readonly string[], discovering: boolean, { root, report, hide }: Check): void {
  const known = new Set(models);
  const loaded = loadAliases(
    {
      aliases: new Map(
        entriesAt(root, 'aliases').flatMap(([alias, to]) => (typeof to === 'string' ? [[alias, to]] : [])),
      ),
      fallbacks: new Map(
        entriesAt(root, 'models').map(([model, settings]) => [
          model,
          textsAt(settings, 'fallback').map(([, name]) => name),
        ]),
      ),
    },
    (model) => known.has(model) || (discovering ? undefined : false),
  );
  if (loaded.kind === 'ok') return;
  for (const { path, message, unknown = '' } of loaded.problems) {
    report.problem(path, hide(`${message}${unknown === '' ? '' : didYouMean(unknown, models)}`));
  }
}

type MustExist = (noun: string, known: readonly string[], path: Path, name: unknown) => void;

/** A base that is not configured may be one that an engine announces, as long as a pool is asked. */
function checkAdapters(
  models: readonly string[],
  discovering: boolean,
  mustExist: MustExist,
  check: Check,
): void {
  const { root, report, hide } = check;
  const tenants = tenantNames(check);
  for (const [adapter, settings] of entriesAt(root, 'adapters')) {
    const path = ['adapters', adapter];
    if (models.includes(adapter)) {
      report.problem(path, "is a model's own name; choose another for the adapter", 'key');
    }
    for (const [i, tenant] of textsAt(settings, 'tenants')) {
      mustExist('tenant', tenants, [...path, 'tenants', i], tenant);
    }
    const base = at(settings, 'base');
    if (typeof base !== 'string' || models.includes(base)) continue;
    const where = [...path, 'base'];
    const of = (message: string): void => report.problem(where, message);
    if (at(root, 'adapters', base) !== undefined) of('is an adapter itself; name the model under both');
    else if (at(root, 'aliases', base) !== undefined) of('is an alias; name the model that it stands for');
    else if (!discovering) of(noSuch('model', models, base, hide));
    else if (models.length > 0) {
      const message = `no model ${quote(hide(base))} is configured; the adapter can be used only if an engine announces it`;
      report.warning(where, `${message}${didYouMean(base, models)}`);
    }
  }
}

/** Tenants and tiers that lanes name. Their models may come from an engine. */
function checkLanes(tenants: readonly string[], mustExist: MustExist, { root }: Check): void {
  const tiers = entriesAt(root, 'tiers').map(([name]) => name);
  for (const [lane, settings] of entriesAt(root, 'lanes')) {
    const conditions = at(settings, 'when');
    if (!Array.isArray(conditions)) continue;
    conditions.forEach((condition: unknown, i) => {
      for (const [key, noun, known] of [
        ['tenants', 'tenant', tenants],
        ['tiers', 'tier', tiers],
      ] as const) {
        for (const [k, name] of textsAt(condition, key)) {
          mustExist(noun, known, ['lanes', lane, 'when', i, key, k], name);
        }
      }
    });
  }
}

/** That there is no such name, and which to take. */
export function noSuch(
  noun: string,
  known: readonly string[],
  name: string,
  hide: (text: string) => string,
): string {
  const near = didYouMean(name, known) || `; add it under ${noun}s, or name one that is there`;
  return `there is no ${noun} ${quote(hide(name))}${near}`;
}

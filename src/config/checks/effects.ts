/** Settings that have no effect, or another one than they seem to have, beside the others. */
import { amountText } from '../../domain/amount.ts';
import { CREDENTIAL_HEADERS } from '../../domain/names.ts';
import type { Config, Limits } from '../config.ts';
import { quote, type Report } from '../report.ts';
import type { WrittenConfig } from '../schema/schema.ts';
import type { Path } from '../yaml-source.ts';
import type { Check } from './check.ts';

const BURSTS = [
  ['requestBurst', 'requestsPerMinute'],
  ['tokenBurst', 'tokensPerMinute'],
] as const;

type WrittenLimits = WrittenConfig['tiers'][string];
type Whole = WrittenLimits | Limits;

/** What only the merged configuration shows. */
export function checkEffects(config: Config, written: WrittenConfig, { report }: Check): void {
  checkLanes(config, written, report);
  checkAdapterPlaces(config, report);
  checkPassedHeaders(written, report);
  if (config.picker === undefined && written.service.tls?.clientCa !== undefined) {
    report.warning(
      ['service', 'tls', 'clientCa'],
      'has no effect with mode: sidecar: its Envoy has no certificate to show; leave it out',
    );
  }
  const isForgetful = config.redis === undefined && config.rateLimit.snapshot === undefined;
  checkAllLimits(config, written, isForgetful, report);
}

/** Of tiers and tenants, and within them of models and keys. */
function checkAllLimits(config: Config, written: WrittenConfig, isForgetful: boolean, report: Report): void {
  const partAt = (path: Path, own: WrittenLimits, merged: WrittenLimits | Limits, whole: Whole): void => {
    checkLimits(path, own, merged, isForgetful, report);
    checkWithin(path, own, whole, report);
  };
  for (const [name, tier] of Object.entries(written.tiers)) {
    checkLimits(['tiers', name], tier, tier, isForgetful, report);
    for (const [model, own] of Object.entries(tier.modelLimits ?? {})) {
      partAt(['tiers', name, 'modelLimits', model], own, own, tier);
    }
  }
  for (const [name, { limits: own, modelLimits = {}, keys = [] }] of Object.entries(written.tenants)) {
    const merged = config.tenants.get(name)?.limits;
    if (merged === undefined) continue;
    checkLimits(['tenants', name, 'limits'], own, merged, isForgetful, report);
    for (const [model, part] of Object.entries(modelLimits)) {
      partAt(['tenants', name, 'modelLimits', model], part, merged.byModel?.get(model) ?? {}, merged);
    }
    for (const [i, key] of keys.entries()) {
      if (typeof key !== 'object' || key.limits === undefined) continue;
      partAt(['tenants', name, 'keys', i, 'limits'], key.limits, key.limits, merged);
    }
  }
}

function checkPassedHeaders({ envoy }: WrittenConfig, report: Report): void {
  for (const [index, name] of (envoy.passHeaders ?? []).entries()) {
    if (!CREDENTIAL_HEADERS.includes(name)) continue;
    report.warning(
      ['envoy', 'passHeaders', index],
      `has no effect: engines never get ${name}, which tells who a client is; set pools.NAME.apiKey for a key of the engine`,
      'value',
    );
  }
}

/**
 * @param limits what stands at `path`, alone or merged with the tier's.
 * @param isForgetful nothing is kept over a restart.
 */
function checkLimits(
  path: Path,
  own: WrittenLimits,
  limits: WrittenLimits | Limits,
  isForgetful: boolean,
  report: Report,
): void {
  for (const [burst, rate] of BURSTS) {
    if (own[burst] === undefined || typeof limits[rate] === 'number') continue;
    report.warning([...path, burst], `has no effect without ${rate}`, 'key');
  }
  for (const key of ['tokensPerMonth', 'budgetPerMonth'] as const) {
    if (own[key] === undefined || own[key] === 'unlimited' || !isForgetful) continue;
    report.warning(
      [...path, key],
      'begins anew at every restart; set redis, or rateLimit.snapshot to a file that stays',
      'key',
    );
  }
  const { tokensPerMinute, tokenBurst = tokensPerMinute, maxContext } = limits;
  const says = own.tokensPerMinute ?? own.tokenBurst ?? own.maxContext;
  if (says === undefined || typeof tokenBurst !== 'number' || typeof maxContext !== 'number') return;
  if (typeof tokensPerMinute !== 'number' || maxContext <= tokenBurst) return;
  report.warning(
    path,
    `prompts of more than ${tokenBurst} tokens are always refused although maxContext is ${maxContext}; raise tokenBurst or lower maxContext`,
    'key',
  );
}

const AMOUNTS = ['requestsPerMinute', 'tokensPerMinute', 'tokensPerMonth', 'maxContext'] as const;

/** @param own of a model or a key, at `path`. @param limits that they are within. */
function checkWithin(path: Path, own: WrittenLimits, limits: Whole, report: Report): void {
  for (const key of AMOUNTS) {
    const [part, whole] = [own[key], limits[key]];
    if (typeof part !== 'number' || typeof whole !== 'number' || part <= whole) continue;
    report.warning(
      [...path, key],
      `has no effect: the tenant's own ${key} is ${whole}, which is less`,
      'key',
    );
  }
  const [part, whole] = [own.budgetPerMonth, limits.budgetPerMonth];
  if (typeof part !== 'object' || typeof whole !== 'object' || limits.onBudgetSpent === 'warn') return;
  if (part.currency !== whole.currency || part.nano <= whole.nano) return;
  report.warning(
    [...path, 'budgetPerMonth'],
    `has no effect: the tenant's own budgetPerMonth is ${amountText(whole)}, which is less`,
    'key',
  );
}

/** Lanes that no request gets to, and times that nothing can keep. */
function checkLanes({ pools }: Config, written: WrittenConfig, report: Report): void {
  const lanes = Object.entries(written.lanes);
  const catchAll = lanes.findIndex(([, { when }]) => when === undefined);
  const isAdaptive = [...pools.values()].some(({ concurrencyLimit }) => concurrencyLimit === 'auto');
  lanes.forEach(([name, { ttft, itl }], i) => {
    if (catchAll >= 0 && i > catchAll) {
      const before = lanes[catchAll]?.[0] ?? '';
      report.warning(
        ['lanes', name],
        `is never reached: ${before}, before it, has no when and takes every request`,
        'key',
      );
    }
    if ((ttft === undefined && itl === undefined) || isAdaptive) return;
    report.warning(['lanes', name], 'ttft and itl have no effect: no pool has concurrencyLimit: auto', 'key');
  });
}

/** Adapters that are to be loaded and have no place, and places that nothing is loaded into. */
function checkAdapterPlaces({ adapters, models, pools, tenants }: Config, report: Report): void {
  const loadable = new Set<string>();
  for (const { name, base, path, tenants: owners } of adapters.values()) {
    for (const tenant of tenants.values()) {
      if (owners === undefined || owners.has(tenant.name)) continue;
      if (tenant.models === '*' || !tenant.models.has(name)) continue;
      report.warning(
        ['tenants', tenant.name, 'models'],
        `names the adapter ${quote(name)}, which is for other tenants; add this one to adapters.${name}.tenants`,
        'key',
      );
    }
    if (path === undefined) continue;
    const model = models.get(base);
    const possible = [...pools.values()].filter((pool) =>
      model === undefined ? pool.discoverModels : pool.name === model.pool,
    );
    for (const pool of possible) loadable.add(pool.name);
    if (possible.some(({ adaptersPerEndpoint }) => adaptersPerEndpoint !== undefined)) continue;
    const [first] = possible;
    const where = model === undefined || first === undefined ? "its base's pool" : `pools.${first.name}`;
    report.warning(
      ['adapters', name, 'path'],
      `is never loaded: ${where} has no adaptersPerEndpoint; set it, or the adapter serves only where an engine has it already`,
      'key',
    );
  }
  for (const { name, adaptersPerEndpoint } of pools.values()) {
    if (adaptersPerEndpoint === undefined || loadable.has(name)) continue;
    report.warning(
      ['pools', name, 'adaptersPerEndpoint'],
      'has no effect: no adapter with a path has a base in this pool',
      'key',
    );
  }
}

/** Budgets in the currency of prices, and raises of limits that raise something. */
import { CURRENCY, moneyOf } from '../../domain/money.ts';
import { momentMs } from '../values.ts';
import { at, entriesAt, isMapping } from '../written-data.ts';
import type { Path } from '../yaml-source.ts';
import type { Check } from './check.ts';

/** Settings that prices may stand in, by what they are called. */
const PRICES = 'prices';

/** Of all prices that are written, wherever they stand in the section; undefined: there are none. */
export function currenciesOf(root: unknown): ReadonlySet<string> | undefined {
  const found = new Set<string>();
  const look = (value: unknown): void => {
    if (typeof value === 'string') {
      const currency = moneyOf(value)?.currency;
      if (currency !== undefined) found.add(currency);
    } else if (Array.isArray(value)) value.forEach(look);
    else if (isMapping(value)) {
      const { currency } = value;
      if (typeof currency === 'string' && CURRENCY.test(currency)) found.add(currency);
      Object.values(value).forEach(look);
    }
  };
  const own = entriesAt(root, 'tenants').map(([, tenant]) => at(tenant, PRICES));
  for (const prices of [at(root, PRICES), ...own]) look(prices);
  return found.size === 0 ? undefined : found;
}

/** @param prices the currencies that prices are in; undefined: nothing has a price. */
export function checkBudgets(check: Check, prices = currenciesOf(check.root)): void {
  for (const [name, tier] of entriesAt(check.root, 'tiers')) {
    checkLimits(['tiers', name], tier, undefined, prices, check);
    for (const [model, limits] of entriesAt(tier, 'modelLimits')) {
      checkLimits(['tiers', name, 'modelLimits', model], limits, undefined, prices, check);
    }
  }
  checkTenantBudgets(check, prices);
}

/** Of the tenants of `check.root`. */
export function checkTenantBudgets(check: Check, prices: ReadonlySet<string> | undefined): void {
  for (const [name, tenant] of entriesAt(check.root, 'tenants')) {
    const tier = at(tenant, 'tier');
    const ofTier = typeof tier === 'string' ? at(check.root, 'tiers', tier) : undefined;
    checkLimits(['tenants', name, 'limits'], at(tenant, 'limits'), ofTier, prices, check);
    for (const [model, limits] of entriesAt(tenant, 'modelLimits')) {
      const path = ['tenants', name, 'modelLimits', model];
      checkLimits(path, limits, at(ofTier, 'modelLimits', model), prices, check);
    }
    const keys = at(tenant, 'keys');
    for (const [i, key] of (Array.isArray(keys) ? keys : []).entries()) {
      checkLimits(['tenants', name, 'keys', i, 'limits'], at(key, 'limits'), undefined, prices, check);
    }
  }
}

function checkLimits(
  path: Path,
  limits: unknown,
  tier: unknown,
  prices: ReadonlySet<string> | undefined,
  check: Check,
): void {
  if (!isMapping(limits)) return;
  checkCurrency([...path, 'budgetPerMonth'], limits['budgetPerMonth'], prices, check);
  const whole = isMapping(tier) ? { ...tier, ...limits } : limits;
  const { raises } = limits;
  if (Array.isArray(raises)) {
    raises.forEach((raise: unknown, i) => {
      if (isMapping(raise)) checkRaise([...path, 'raises', i], raise, whole, check);
    });
  }
  if (limits['onBudgetSpent'] !== undefined && whole['budgetPerMonth'] === undefined) {
    // In a tier it may be for the budgets of its tenants.
    if (path[0] === 'tenants') {
      check.report.warning([...path, 'onBudgetSpent'], 'has no effect without budgetPerMonth', 'key');
    }
  }
}

function checkCurrency(
  path: Path,
  budget: unknown,
  prices: ReadonlySet<string> | undefined,
  { report }: Check,
): void {
  const currency = typeof budget === 'string' ? moneyOf(budget)?.currency : undefined;
  if (currency === undefined || prices?.has(currency) === true) return;
  if (prices === undefined) {
    report.warning(path, 'has no effect without prices: nothing is charged; add prices', 'key');
    return;
  }
  const known = [...prices].sort().join(' or ');
  report.problem(path, `is in ${currency}, and prices are in ${known}: write it in ${known}`);
}

const RAISABLE = ['requestsPerMinute', 'tokensPerMinute', 'tokensPerMonth', 'budgetPerMonth'] as const;

function checkRaise(
  path: Path,
  raise: Readonly<Record<string, unknown>>,
  limits: Readonly<Record<string, unknown>>,
  { report, nowMs }: Check,
): void {
  const { until } = raise;
  const untilMs = typeof until === 'string' ? momentMs(until) : undefined;
  if (untilMs !== undefined && nowMs !== undefined && untilMs <= nowMs) {
    report.warning([...path, 'until'], 'is over: the raise does nothing; leave it out', 'value');
    return;
  }
  const raised = RAISABLE.filter((key) => raise[key] !== undefined);
  if (raised.length === 0) report.warning(path, `raises nothing; give one of ${RAISABLE.join(', ')}`, 'key');
  for (const key of raised) {
    const problem = problemOf(raise[key], limits[key]);
    if (problem === 'currency') {
      report.problem([...path, key], `is in another currency than the ${key} that it raises`);
    } else if (problem === 'unlimited') {
      report.warning([...path, key], `has no effect: ${key} is not limited`, 'key');
    } else if (problem === 'lower') {
      report.warning([...path, key], `has no effect: ${key} is as high without it`, 'key');
    }
  }
}

function problemOf(raised: unknown, limit: unknown): 'currency' | 'unlimited' | 'lower' | undefined {
  if (limit === undefined || limit === 'unlimited') return 'unlimited';
  if (typeof raised === 'number' && typeof limit === 'number') return raised <= limit ? 'lower' : undefined;
  if (typeof raised !== 'string' || typeof limit !== 'string') return undefined;
  const [more, base] = [moneyOf(raised), moneyOf(limit)];
  if (more === undefined || base === undefined) return undefined;
  if (more.currency !== base.currency) return 'currency';
  return more.pico <= base.pico ? 'lower' : undefined;
}

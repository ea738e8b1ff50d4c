/** `prices`: names that must exist, one currency a price, and lists in the order of their dates. */
import { moneyOf } from '../../domain/money.ts';
import { didYouMean, quote } from '../report.ts';
import { dayMs } from '../schema/prices.ts';
import { at, entriesAt, isMapping } from '../written-data.ts';
import type { Path } from '../yaml-source.ts';
import type { Check } from './check.ts';
import { knownNamesOf, noSuch } from './references.ts';

const AMOUNTS = ['prompt', 'cachedPrompt', 'completion', 'request', 'image'] as const;

export function checkPrices(check: Check): void {
  const { root } = check;
  const prices = at(root, 'prices');
  if (!isMapping(prices)) return;
  checkLists(['prices'], prices, check);
  for (const [tenant, lists] of entriesAt(prices, 'tenants')) {
    checkTenant(tenant, check);
    checkLists(['prices', 'tenants', tenant], lists, check);
  }
  checkUnpriced(prices, check);
}

function checkLists(path: Path, lists: unknown, check: Check): void {
  const others = at(lists, 'default');
  if (others !== undefined) checkEntries([...path, 'default'], others, check);
  for (const [model, entries] of entriesAt(lists, 'models')) {
    checkModel([...path, 'models', model], model, check);
    checkEntries([...path, 'models', model], entries, check);
  }
}

function checkModel(path: Path, model: string, { root, report, hide }: Check): void {
  const names = (section: string): readonly string[] => entriesAt(root, section).map(([name]) => name);
  const known = [...names('models'), ...names('adapters')];
  if (known.includes(model)) return;
  const alias = at(root, 'aliases', model);
  if (alias !== undefined) {
    report.problem(path, 'is an alias; name the model that it stands for', 'key');
  } else if (knownNamesOf(root).discovering) {
    const message = `no model ${quote(hide(model))} is configured; the price is used only if an engine announces it`;
    report.warning(path, `${message}${didYouMean(model, known)}`, 'key');
  } else report.problem(path, noSuch('model', known, model, hide), 'key');
}

/** One that comes with a token, from a file or at run time may not be there yet. */
function checkTenant(tenant: string, { root, report, hide, tenantsInFiles = [] }: Check): void {
  const known = [...entriesAt(root, 'tenants').map(([name]) => name), ...tenantsInFiles];
  if (known.includes(tenant)) return;
  const path = ['prices', 'tenants', tenant];
  const mayCome =
    at(root, 'tenantDirectory') !== undefined ||
    at(root, 'identity', 'jwt', 'unknownTenants') !== undefined ||
    at(root, 'admin') !== undefined;
  if (!mayCome) report.problem(path, noSuch('tenant', known, tenant, hide), 'key');
  else {
    const message = `no tenant ${quote(hide(tenant))} is configured; the prices are used only if one of that name comes`;
    report.warning(path, `${message}${didYouMean(tenant, known)}`, 'key');
  }
}

function checkEntries(path: Path, written: unknown, { report }: Check): void {
  const entries: readonly unknown[] = Array.isArray(written) ? written : [written];
  let before: string | undefined;
  entries.forEach((entry, i) => {
    if (!isMapping(entry)) return;
    const here = Array.isArray(written) ? [...path, i] : path;
    checkAmounts(here, entry, report);
    const { from } = entry;
    if (from === undefined && i > 0) {
      report.problem(here, 'has no from; each price after the first one needs the day on which it begins');
    }
    if (typeof from !== 'string' || dayMs(from) === undefined) return;
    if (before === from) {
      report.problem([...here, 'from'], `is the day of the price before, ${from}; only one can be valid`);
    } else if (before !== undefined && before > from) {
      report.problem([...here, 'from'], `is before ${before} of the price before; put them in their order`);
    }
    before = from;
  });
}

function checkAmounts(path: Path, entry: Readonly<Record<string, unknown>>, report: Check['report']): void {
  const written = AMOUNTS.filter((key) => entry[key] !== undefined);
  if (written.length === 0) {
    report.problem(
      path,
      `has no amount; write at least one of ${AMOUNTS.join(', ')}, for example prompt: 2.50 EUR`,
    );
    return;
  }
  let first: { readonly key: string; readonly currency: string } | undefined;
  for (const key of written) {
    const text = entry[key];
    const currency = typeof text === 'string' ? moneyOf(text)?.currency : undefined;
    if (currency === undefined) continue;
    first ??= { key, currency };
    if (currency !== first.currency) {
      report.problem(
        [...path, key],
        `is in ${currency}, and ${first.key} is in ${first.currency}; a price has one currency`,
      );
    }
  }
}

/** A model that was forgotten is free. */
function checkUnpriced(prices: unknown, { root, report }: Check): void {
  if (at(prices, 'default') !== undefined) return;
  for (const [model] of entriesAt(root, 'models')) {
    if (at(prices, 'models', model) !== undefined) continue;
    report.warning(
      ['models', model],
      'has no price, so that its requests are free; add it to prices.models, or set prices.default',
      'key',
    );
  }
}

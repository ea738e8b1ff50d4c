/** The tenants' API keys: found, looked up, and different. */
import { quote } from '../report.ts';
import { type Looked, lookUpKey, SHORT_KEY, type Sources } from '../secrets.ts';
import { at, entriesAt, textsAt } from '../written-data.ts';
import type { Path } from '../yaml-source.ts';
import type { Check } from './check.ts';

export interface KeyEntry {
  readonly tenant: string;
  readonly path: Path;
  readonly text: string;
  readonly looked: Looked;
}

export function findKeys(value: unknown, sources: Sources): readonly KeyEntry[] {
  return entriesAt(value, 'tenants').flatMap(([tenant, settings]) => {
    const path = ['tenants', tenant, 'keys'];
    const single = at(settings, 'keys');
    const entry = (text: string, where: Path): KeyEntry => ({
      tenant,
      path: where,
      text,
      looked: lookUpKey(text, sources),
    });
    // A lone key instead of a list is the schema's to refuse, but a secret all the same.
    if (typeof single === 'string') return [entry(single, path)];
    return textsAt(settings, 'keys').map(([i, text]) => entry(text, [...path, i]));
  });
}

export function checkKeys(keys: readonly KeyEntry[], { report, hide }: Check): void {
  const owners = new Map<string, string>();
  for (const { tenant, path, looked } of keys) {
    if (looked.kind === 'bad') {
      report.problem(path, looked.problem);
      continue;
    }
    if (looked.kind === 'unresolved') continue;
    const owner = owners.get(looked.value);
    owners.set(looked.value, tenant);
    if (owner !== undefined) {
      const whose = owner === tenant ? 'this tenant' : `tenant ${quote(hide(owner))}`;
      report.problem(path, `${whose} has the same key already; give each its own`);
    } else if (looked.value.length < SHORT_KEY) {
      report.warning(path, `the key has fewer than ${SHORT_KEY} characters and can be guessed`);
    }
  }
}

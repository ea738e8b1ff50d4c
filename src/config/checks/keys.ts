/** The tenants' API keys: found, looked up, and different. */
import { createHash } from 'node:crypto';
import { isExpired } from '../../domain/find-key.ts';
import { quote } from '../report.ts';
import { type Looked, lookUpKey, SHORT_KEY, type Sources } from '../secrets.ts';
import { momentMs } from '../values.ts';
import { at, entriesAt, isMapping, type Mapping, textsAt } from '../written-data.ts';
import type { Path } from '../yaml-source.ts';
import type { Check } from './check.ts';

export interface KeyEntry {
  readonly tenant: string;
  readonly path: Path;
  readonly text: string;
  /** The key, or of a hashed one the digest. */
  readonly looked: Looked;
  readonly kind: 'plain' | 'sha256';
  /** The key's SHA-256, in lower case; of what is no key empty. */
  readonly digest: string;
  /** Which of its tenant's list it is. */
  readonly index: number;
}

const DIGEST = /^[0-9a-f]{64}$/;
/** What the command prints where the variable is not set: whoever shows nothing would have that key. */
const OF_NOTHING = createHash('sha256').digest('hex');

function hashed(looked: Looked): Looked {
  if (looked.kind !== 'ok') return looked;
  const value = looked.value.toLowerCase();
  if (value === OF_NOTHING) {
    return { kind: 'bad', problem: 'is the SHA-256 of an empty text; is the variable set that was hashed?' };
  }
  return DIGEST.test(value)
    ? { kind: 'ok', value }
    : {
        kind: 'bad',
        problem:
          'is no SHA-256 of a key: that is 64 hexadecimal digits, as `printf %s KEY | sha256sum` prints them',
      };
}

function entryOf(
  tenant: string,
  kind: KeyEntry['kind'],
  text: string,
  [path, index]: readonly [Path, number],
  sources: Sources,
): KeyEntry {
  const looked = kind === 'plain' ? lookUpKey(text, sources) : hashed(lookUpKey(text, sources));
  const value = looked.kind === 'ok' ? looked.value : '';
  const digest = kind === 'sha256' || value === '' ? value : createHash('sha256').update(value).digest('hex');
  return { tenant, path, text, looked, kind, digest, index };
}

export function findKeys(value: unknown, sources: Sources): readonly KeyEntry[] {
  return entriesAt(value, 'tenants').flatMap(([tenant, settings]) => {
    const path = ['tenants', tenant, 'keys'];
    const keys = at(settings, 'keys');
    // A lone key instead of a list is the schema's to refuse, but a secret all the same.
    if (typeof keys === 'string') return [entryOf(tenant, 'plain', keys, [path, 0], sources)];
    if (!Array.isArray(keys)) return [];
    return keys.flatMap((one: unknown, i) => {
      if (typeof one === 'string') return [entryOf(tenant, 'plain', one, [[...path, i], i], sources)];
      return (['key', 'sha256'] as const).flatMap((member) => {
        const text = at(one, member);
        const kind = member === 'key' ? 'plain' : member;
        return typeof text === 'string'
          ? [entryOf(tenant, kind, text, [[...path, i, member], i], sources)]
          : [];
      });
    });
  });
}

export function checkKeys(keys: readonly KeyEntry[], { report, hide }: Check): void {
  const owners = new Map<string, string>();
  for (const { tenant, path, looked, kind, digest } of keys) {
    if (looked.kind === 'bad') {
      report.problem(path, looked.problem);
      continue;
    }
    if (looked.kind === 'unresolved') continue;
    const owner = owners.get(digest);
    owners.set(digest, tenant);
    if (owner !== undefined) {
      const whose = owner === tenant ? 'this tenant' : `tenant ${quote(hide(owner))}`;
      report.problem(path, `${whose} has the same key already; give each its own`);
    } else if (kind === 'plain' && looked.value.length < SHORT_KEY) {
      report.warning(path, `the key has fewer than ${SHORT_KEY} characters and can be guessed`);
    }
  }
}

/** What stands beside keys, of the tenants of `check.root`. @param noSuchModel what is wrong with a name; undefined: nothing. */
export function checkKeySettings(
  noSuchModel: (model: string) => { readonly problem?: string; readonly warning?: string },
  check: Check,
): void {
  for (const [tenant, settings] of entriesAt(check.root, 'tenants')) {
    const keys = at(settings, 'keys');
    if (!Array.isArray(keys)) continue;
    const names = new Map<string, number>();
    keys.forEach((key: unknown, i) => {
      if (!isMapping(key)) return;
      const path = ['tenants', tenant, 'keys', i];
      checkForm(key, path, check);
      checkName(key, i, names, path, check);
      checkExpiry(key, path, check);
      checkScopes(key, textsAt(settings, 'models'), path, noSuchModel, check);
    });
  }
}

function checkForm(key: Mapping, path: Path, { report }: Check): void {
  const { key: plain, sha256 } = key;
  if (plain === undefined && sha256 === undefined)
    report.problem(path, 'has neither key nor sha256; write one');
  else if (plain !== undefined && sha256 !== undefined) {
    report.problem([...path, 'sha256'], 'stands beside key; write one of both', 'key');
  }
}

function checkName(key: Mapping, i: number, names: Map<string, number>, path: Path, check: Check): void {
  const { name } = key;
  if (typeof name !== 'string') return;
  const other = names.get(name);
  if (other === undefined) names.set(name, i);
  else {
    const message = `is the name of keys[${other}], too; give each its own`;
    check.report.problem([...path, 'name'], message);
  }
}

function checkExpiry({ expires }: Mapping, path: Path, { report, nowMs }: Check): void {
  const expiresMs = typeof expires === 'string' ? momentMs(expires) : undefined;
  if (nowMs === undefined || expiresMs === undefined || !isExpired({ expiresMs }, nowMs)) return;
  report.warning([...path, 'expires'], 'is in the past: the key is refused; remove it');
}

function checkScopes(
  key: Mapping,
  allowed: readonly (readonly [number, string])[],
  path: Path,
  noSuchModel: Parameters<typeof checkKeySettings>[0],
  { report, hide }: Check,
): void {
  const usable = new Set(allowed.map(([, model]) => model));
  for (const [i, model] of textsAt(key, 'models')) {
    const where = [...path, 'models', i];
    const { problem, warning } = noSuchModel(model);
    if (problem !== undefined) report.problem(where, problem);
    else if (warning !== undefined) report.warning(where, warning);
    else if (usable.size > 0 && !usable.has(model)) {
      report.warning(
        where,
        `${quote(hide(model))} is not among the models of the tenant: by that name the key has none`,
      );
    }
  }
}

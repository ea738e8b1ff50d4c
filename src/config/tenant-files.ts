/**
 * Tenants in files of their own (`tenantDirectory`). Each file is taken or refused alone: a mistake in one is no one else's. A tenant
 * whose file became bad is served as the file said before, as long as that is still right.
 */
import { basename } from 'node:path';
import type { KnownNames } from './admin.ts';
import { checkTenantBudgets, currenciesOf } from './checks/budgets.ts';
import type { Check } from './checks/check.ts';
import { isTokenLike, TOKEN_KEY } from './checks/identity.ts';
import { checkKeys, findKeys, type KeyEntry } from './checks/keys.ts';
import { checkTenantMemory } from './checks/memory.ts';
import { checkTenantReferences } from './checks/references.ts';
import { reportSchema } from './checks/schema-issues.ts';
import type { RefusedTenantFile } from './config.ts';
import { createReport, hiding, quote } from './report.ts';
import type { WrittenConfig } from './schema/schema.ts';
import { tenantFile } from './schema/tenants.ts';
import { SECRET_REFERENCE, SHORT_KEY, type Sources } from './secrets.ts';
import { isTenantName } from './tenant-settings.ts';
import { at, entriesAt, isMapping, type Mapping } from './written-data.ts';
import { readYaml } from './yaml-source.ts';

/** One file of the folder, as it was read. */
export interface TenantFile {
  /** As it is shown in problems. */
  readonly file: string;
  /** Or why it could not be read. */
  readonly content:
    | { readonly kind: 'ok'; readonly text: string }
    | { readonly kind: 'bad'; readonly problem: string; readonly isGone: boolean };
}

/** More is no tenant. */
export const MAX_TENANT_FILE_BYTES = 64 * 1024;
const MOST_TENANT_FILES = 10_000;

export interface TenantFilesInput {
  /** In the order in which they are taken: of two with one name the first one has it. */
  readonly files: readonly TenantFile[];
  /** What was taken of each file before. */
  readonly before: ReadonlyMap<string, string>;
  /** The configuration as written, for what it says of tiers and models. */
  readonly root: Mapping;
  readonly known: KnownNames;
  readonly keys: readonly KeyEntry[];
  readonly maxBodyBytes: number | undefined;
  readonly sources: Sources;
  readonly cache?: TenantFileCache;
}

/** What a text says, as long as the text is the same: of ten thousand files a few change at a time. */
interface ReadTenantFile {
  readonly text: string;
  /** As written. */
  readonly settings: unknown;
  readonly checked: ReturnType<typeof tenantFile.safeParse>;
}

/** By file; those that are gone are forgotten. */
export type TenantFileCache = Map<string, ReadTenantFile>;

type WrittenTenant = WrittenConfig['tenants'][string];

export interface LoadedTenantFiles {
  readonly tenants: ReadonlyMap<string, WrittenTenant>;
  readonly keys: readonly KeyEntry[];
  readonly refused: readonly RefusedTenantFile[];
  /** The text that each was taken from. */
  readonly texts: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
}

type Attempt =
  | {
      readonly kind: 'ok';
      readonly name: string;
      readonly tenant: WrittenTenant;
      readonly keys: readonly KeyEntry[];
      readonly warnings: readonly string[];
    }
  | { readonly kind: 'bad'; readonly problems: readonly string[] };

const NOT_READ: ReturnType<typeof readYaml> = { faults: [] };

export function loadTenantFiles(input: TenantFilesInput): LoadedTenantFiles {
  return new Loading(input).all();
}

class Loading {
  readonly #input: TenantFilesInput;
  readonly #hasTokens: boolean;
  /** That prices are in. */
  readonly #currencies: ReturnType<typeof currenciesOf>;
  /** Where each name stands, and whose each key is. */
  readonly #places = new Map<string, string>();
  readonly #owners = new Map<string, string>();
  readonly #tenants = new Map<string, WrittenTenant>();
  readonly #keys: KeyEntry[] = [];
  readonly #refused: RefusedTenantFile[] = [];
  readonly #texts = new Map<string, string>();
  readonly #warnings: string[] = [];

  constructor(input: TenantFilesInput) {
    this.#input = input;
    this.#currencies = currenciesOf(input.root);
    this.#hasTokens = isMapping(at(input.root, 'identity', 'jwt'));
    for (const [name] of entriesAt(input.root, 'tenants')) this.#places.set(name, 'the configuration');
    for (const { tenant, looked, digest } of input.keys)
      if (looked.kind === 'ok') this.#owners.set(digest, tenant);
  }

  all(): LoadedTenantFiles {
    const { files, cache = new Map() } = this.#input;
    const names = new Set(files.map(({ file }) => file));
    for (const file of cache.keys()) if (!names.has(file)) cache.delete(file);
    for (const one of files.slice(0, MOST_TENANT_FILES)) this.#take(one);
    for (const { file } of files.slice(MOST_TENANT_FILES)) {
      this.#refuse(file, [`${file}: is one of more than ${MOST_TENANT_FILES} files; remove some`], false);
    }
    return {
      tenants: this.#tenants,
      keys: this.#keys,
      refused: this.#refused,
      texts: this.#texts,
      warnings: this.#warnings,
    };
  }

  #take({ file, content }: TenantFile): void {
    const attempt: Attempt =
      content.kind === 'ok'
        ? this.#attempt(file, content.text)
        : { kind: 'bad', problems: [`${file}: ${content.problem}`] };
    if (content.kind === 'ok' && attempt.kind === 'ok') return this.#add(file, content.text, attempt);
    if (attempt.kind === 'ok') return;
    const before = content.kind === 'bad' && content.isGone ? undefined : this.#input.before.get(file);
    const kept = before === undefined ? attempt : this.#attempt(file, before);
    if (before !== undefined && kept.kind === 'ok') this.#add(file, before, kept);
    this.#refuse(file, attempt.problems, kept.kind === 'ok');
  }

  #refuse(file: string, problems: readonly string[], isKept: boolean): void {
    this.#refused.push({ file, problems, isKept });
  }

  #add(file: string, text: string, { name, tenant, keys, warnings }: Extract<Attempt, { kind: 'ok' }>): void {
    this.#places.set(name, file);
    for (const { looked, digest } of keys) if (looked.kind === 'ok') this.#owners.set(digest, name);
    this.#tenants.set(name, tenant);
    this.#keys.push(...keys);
    this.#texts.set(file, text);
    this.#warnings.push(...warnings);
  }

  #attempt(file: string, text: string): Attempt {
    const refuse = (problem: string): Attempt => ({ kind: 'bad', problems: [`${file}: ${problem}`] });
    const known = this.#input.cache?.get(file);
    const { source, faults } = known?.text === text ? NOT_READ : readYaml(text);
    const settings = known?.text === text ? known.settings : source?.value;
    if (faults.length === 0 && !isMapping(settings)) {
      return refuse(
        settings === null || settings === undefined
          ? 'is empty; it needs at least keys'
          : 'is not a mapping of settings; it has the keys of tenants.NAME, such as "keys:"',
      );
    }
    const { name: written = basename(file).replace(/\.ya?ml$/, ''), ...own } = isMapping(settings)
      ? settings
      : {};
    const name = typeof written === 'string' ? written : '';
    const root = { ...this.#input.root, tenants: { [name]: own } };
    const keys = findKeys(root, this.#input.sources);
    const check = this.#checkOf(file, text, root, keys);
    const { report } = check;
    for (const fault of faults) report.problem(fault.path, fault.message, fault.position);
    if (faults.length > 0) return { kind: 'bad', problems: report.problems() };
    const checked = known?.text === text ? known.checked : tenantFile.safeParse(settings);
    this.#input.cache?.set(file, { text, settings, checked });
    if (!checked.success) reportSchema(checked.error.issues, check, ['tenants', name]);
    this.#checkName(name, check);
    checkTenantReferences(this.#input.known, check);
    checkKeys(keys, check);
    this.#checkForeignKeys(keys, check);
    checkTenantMemory(this.#input.maxBodyBytes, check);
    checkTenantBudgets(check, this.#currencies);
    if (!checked.success || report.problems().length > 0) return { kind: 'bad', problems: report.problems() };
    const { name: _, ...tenant } = checked.data;
    return { kind: 'ok', name, tenant, keys, warnings: report.warnings() };
  }

  /** A report of its own, whose places are those of the file. */
  #checkOf(file: string, text: string, root: Mapping, keys: readonly KeyEntry[]): Check {
    const secrets = keys.flatMap(({ text: shown, looked }) => [
      ...(SECRET_REFERENCE.test(shown) ? [] : [shown]),
      ...(looked.kind === 'ok' ? [looked.value] : []),
    ]);
    const hide = hiding(secrets, SHORT_KEY);
    let read: ReturnType<typeof readYaml> | undefined;
    const report = createReport({
      file,
      hide,
      position(path, what) {
        read ??= readYaml(text);
        return read.source?.position(path, what) ?? { line: 1, column: 1 };
      },
      // The file is what stands at tenants.NAME.
      asWritten: (path) => (path[0] === 'tenants' ? path.slice(2) : path),
    });
    return { root, report, hide, env: this.#input.sources.env, isUnresolved: false, nowMs: undefined };
  }

  #checkName(name: string, { report, hide }: Check): void {
    const path = ['name'];
    const place = this.#places.get(name);
    if (!isTenantName(name)) {
      report.problem(
        path,
        'the name must be 1 to 64 letters, digits, ".", "_" or "-", the first a letter or digit; set name, or call the file otherwise',
      );
    } else if (place !== undefined) {
      report.problem(
        path,
        `tenant ${quote(hide(name))} is in ${place} already; choose another name, or remove one`,
      );
    }
  }

  #checkForeignKeys(keys: readonly KeyEntry[], { report, hide }: Check): void {
    for (const { path, looked, digest } of keys) {
      if (looked.kind !== 'ok') continue;
      const owner = this.#owners.get(digest);
      if (owner !== undefined) {
        report.problem(path, `tenant ${quote(hide(owner))} has the same key already; give each its own`);
      }
      if (this.#hasTokens && isTokenLike(looked.value)) report.problem(path, TOKEN_KEY);
    }
  }
}

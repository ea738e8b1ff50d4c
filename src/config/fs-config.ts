/** The configuration file and the secrets it names, read once or watched. */
import { createHash } from 'node:crypto';
import { type FSWatcher, readdirSync, readFileSync, statSync, watch } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { rootCertificates } from 'node:tls';
import type { ConfigSource } from './changes.ts';
import type { Config } from './config.ts';
import { unshowable } from './fs-tls.ts';
import { MAX_CONFIG_BYTES, parseConfig } from './load.ts';
import { readFailure } from './secrets.ts';
import { MAX_TENANT_FILE_BYTES, type TenantFile, type TenantFileCache } from './tenant-files.ts';

export type LoadedConfig =
  | {
      readonly kind: 'ok';
      readonly config: Config;
      readonly warnings: readonly string[];
      /** Of the contents that were read: equal contents, equal version. */
      readonly version: string;
      /** What was taken of each file of `tenantDirectory`. */
      readonly tenantTexts: ReadonlyMap<string, string>;
      readonly source: ConfigSource;
    }
  | { readonly kind: 'bad'; readonly problems: readonly string[] };

/** A system's list of authorities takes a quarter of it. */
const MAX_SECRET_BYTES = 1024 ** 2;

/** @param how `isUnresolved`: secrets stay references, and neither their files nor their variables are looked at. */
export function loadConfig(path: string, env: NodeJS.ProcessEnv, how: LoadOptions = {}): LoadedConfig {
  return read(path, env, how).loaded;
}

/** Where Envoy's files go unless `envoy.directory` says otherwise: a folder that is this user's own. */
function defaultDirectory(env: NodeJS.ProcessEnv): string {
  const runtime = env['XDG_RUNTIME_DIR'];
  if (runtime?.startsWith('/') === true) return join(runtime, 'fairlane');
  return join(tmpdir(), `fairlane-${process.getuid?.() ?? userInfo().username}`);
}

interface Reading {
  readonly loaded: LoadedConfig;
  /** Every file that was read, or should have been, and the folder of tenants. */
  readonly files: readonly string[];
  /** Those of tenants. */
  readonly tenantFiles: readonly string[];
  /** What secrets, certificates and keys hold, by path. */
  readonly contents: ReadonlyMap<string, string>;
}

const OTHERS_MAY_READ = 0o004;
const MOST_OPEN_TOLD = 10;

export interface LoadOptions {
  readonly isUnresolved?: boolean;
}

const openWarning = (file: string): string =>
  `${file} holds a secret that every user of this machine may read: chmod o-r it (in Kubernetes: defaultMode: 0440)`;

const openWarnings = (open: readonly string[]): readonly string[] => [
  ...open.slice(0, MOST_OPEN_TOLD).map(openWarning),
  ...(open.length > MOST_OPEN_TOLD ? [`${open.length - MOST_OPEN_TOLD} more secrets are open`] : []),
];

/** Certificates are public, and so are the keys that tokens are checked with. */
const isSecret = (text: string): boolean =>
  text.includes('PRIVATE KEY-----') ||
  !(text.includes('-----BEGIN CERTIFICATE-----') || /^\s*\{\s*"keys"\s*:/.test(text));

/** Also a link that leads nowhere. */
const isGone = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT';

/** Editors' and copiers' own files are none of tenants: hidden ones, and what ends otherwise. */
const TENANT_FILE = /^[^.#].*\.ya?ml$/;

/** What is in use. */
interface Before {
  /** What was taken of each file of a tenant. */
  readonly texts: ReadonlyMap<string, string>;
  /** As it was written. */
  readonly root?: unknown;
  /** What other files held, by path. */
  readonly contents: ReadonlyMap<string, string>;
}

const NOTHING: Before = { texts: new Map(), contents: new Map() };

/** Reads secrets. One that cannot be read is what it was before, where it was: `kept` says so, `held` is what each is now. */
function keeping(before: ReadonlyMap<string, string>, readFile: (path: string) => string) {
  const held = new Map<string, string>();
  const kept = new Set<string>();
  const readOrKeep = (path: string): string => {
    let content: string | undefined;
    try {
      content = readFile(path);
    } catch (error) {
      content = before.get(path);
      if (content === undefined) throw error;
      kept.add(`cannot read ${path} (${readFailure(error)}): what it held before stays in use`);
    }
    held.set(path, content);
    return content;
  };
  return { held, kept, readOrKeep };
}

function read(
  path: string,
  env: NodeJS.ProcessEnv,
  { isUnresolved = false }: LoadOptions,
  { texts, root, contents }: Before = NOTHING,
  cache?: TenantFileCache,
): Reading {
  const files = [path];
  const tenantFiles: string[] = [];
  /** Secrets that every user of the machine may read. */
  const open = new Set<string>();
  const hash = createHash('sha256');
  const digests = new Map<string, string>();
  const readFile = (file: string, mostBytes: number, isOurs = file === path): string => {
    // A pipe or device would block or never end.
    const stat = statSync(file);
    if (stat.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' });
    if (!stat.isFile()) throw Object.assign(new Error(), { code: 'not a regular file' });
    if (stat.size > mostBytes) throw Object.assign(new Error(), { code: 'EFBIG' });
    const text = readFileSync(file, 'utf8');
    hash.update(`${file}\0${text.length}\0${text}`);
    if (file !== path) digests.set(file, createHash('sha256').update(text).digest('base64'));
    if (!isOurs && (stat.mode & OTHERS_MAY_READ) !== 0 && isSecret(text)) open.add(file);
    return text;
  };
  let text: string;
  try {
    text = readFile(path, MAX_CONFIG_BYTES);
  } catch (error) {
    const problem = `${path}: cannot read the configuration (${readFailure(error)}); give the path of a readable YAML file`;
    return { loaded: { kind: 'bad', problems: [problem] }, files, tenantFiles, contents };
  }
  const readTenantFile = (file: string): TenantFile => {
    tenantFiles.push(file);
    try {
      return { file, content: { kind: 'ok', text: readFile(file, MAX_TENANT_FILE_BYTES, true) } };
    } catch (error) {
      const problem = `cannot be read (${readFailure(error)}); correct or remove it`;
      hash.update(`${file}\0${problem}`);
      return { file, content: { kind: 'bad', problem, isGone: isGone(error) } };
    }
  };
  const readNow = (secret: string): string => {
    files.push(secret);
    return readFile(secret, MAX_SECRET_BYTES);
  };
  const { held, kept, readOrKeep } = keeping(contents, readNow);
  const parsed = parseConfig({
    text,
    file: path,
    defaults: { directory: defaultDirectory(env) },
    env,
    isUnresolved,
    nowMs: Date.now(),
    authorities: () => rootCertificates.join('\n'),
    unshowable,
    before: root,
    tenantsBefore: texts,
    ...(cache !== undefined && { tenantCache: cache }),
    readFolder(folder) {
      files.push(folder);
      return readdirSync(folder)
        .filter((name) => TENANT_FILE.test(name))
        .sort()
        .map((name) => readTenantFile(join(folder, name)));
    },
    readFile: readOrKeep,
    readNow,
  });
  if (parsed.kind === 'bad') return { loaded: parsed, files, tenantFiles, contents: held };
  const warnings = [...parsed.warnings, ...kept, ...openWarnings([...open])];
  for (const told of kept) hash.update(told);
  const { written, ...rest } = parsed;
  const source = { ...written, file: path, digests };
  const loaded = { ...rest, warnings, version: hash.digest('hex'), source };
  return { loaded, files, tenantFiles, contents: held };
}

export interface WatchOptions {
  readonly path: string;
  readonly env: NodeJS.ProcessEnv;
  /** The version in use; absent: what the files contain now. With it, no change since it was read is missed. */
  readonly version?: string;
  /** `warnings`: those that were not told of the configuration before; after `reload`, all. */
  readonly onChange: (config: Config, warnings: readonly string[], source: ConfigSource) => void;
  /** The configuration in use stays. The same problems are told once. */
  readonly onBad: (problems: readonly string[]) => void;
}

export interface ConfigWatch {
  /** Reads now and tells the outcome, changed or not. */
  reload(): void;
  close(): void;
}

/** Files must be unchanged for so long before they are read: editors and copies write in steps. */
const SETTLE_MS = 100;
/** Where the kernel's notifications do not reach (network folders, targets of symlinks) a look finds the change. */
const LOOK_MS = 1_000;

export function watchConfig(options: WatchOptions): ConfigWatch {
  return new FileWatch(options);
}

class FileWatch implements ConfigWatch {
  readonly #options: WatchOptions;

  // What is in use, and what was told of it.
  #version: string;
  #inUse: Before = NOTHING;
  #toldProblems: string | undefined;
  #toldWarnings: ReadonlySet<string>;

  // The files as they were last seen.
  #files: readonly string[] = [];
  #seen = '';
  readonly #tenants = new TenantFilesSeen();
  readonly #cache: TenantFileCache = new Map();

  // What close() ends.
  #settling: NodeJS.Timeout | undefined;
  readonly #looking: NodeJS.Timeout;
  readonly #watchers = new Map<string, FSWatcher>();

  constructor(options: WatchOptions) {
    const { version } = options;
    this.#options = options;
    const loaded = this.#read();
    if (loaded.kind === 'ok') {
      this.#inUse = { ...this.#inUse, texts: loaded.tenantTexts, root: loaded.source.root };
    }
    const isRead = loaded.kind === 'ok' && (version === undefined || version === loaded.version);
    this.#version = version ?? (loaded.kind === 'ok' ? loaded.version : '');
    this.#toldWarnings = new Set(isRead ? loaded.warnings : []);
    this.#settle();
    this.#looking = setInterval(() => this.#look(), LOOK_MS);
    this.#looking.unref();
  }

  #read(): LoadedConfig {
    const { path, env } = this.#options;
    const { loaded, files, tenantFiles, contents } = read(path, env, {}, this.#inUse, this.#cache);
    if (loaded.kind === 'ok') this.#inUse = { ...this.#inUse, contents };
    this.#files = files;
    this.#seen = fingerprint(files);
    this.#tenants.see(tenantFiles);
    this.#watchFolders();
    return loaded;
  }

  reload(): void {
    this.#load(true);
  }

  close(): void {
    clearTimeout(this.#settling);
    clearInterval(this.#looking);
    for (const [folder, watcher] of this.#watchers) this.#forget(folder, watcher);
  }

  /** @param changed the file that the kernel has told of. */
  #look(changed?: string): void {
    const now = fingerprint(this.#files);
    const isTenant =
      changed === undefined ? this.#tenants.haveSomeChanged() : this.#tenants.hasChanged(changed);
    if (now === this.#seen && !isTenant) return;
    this.#seen = now;
    this.#settle();
  }

  #settle(): void {
    clearTimeout(this.#settling);
    const tenants = this.#tenants.fingerprint();
    this.#settling = setTimeout(() => {
      const now = fingerprint(this.#files);
      if (now === this.#seen && tenants === this.#tenants.fingerprint()) return this.#load(false);
      this.#seen = now;
      this.#settle();
    }, SETTLE_MS);
    this.#settling.unref();
  }

  #load(forced: boolean): void {
    clearTimeout(this.#settling);
    const loaded = this.#read();
    if (loaded.kind === 'bad') this.#refuse(loaded.problems, forced);
    else if (forced || this.#toldProblems !== undefined || loaded.version !== this.#version) {
      this.#takeOver(loaded, forced);
    }
  }

  #refuse(problems: readonly string[], forced: boolean): void {
    const text = problems.join('\n');
    if (!forced && text === this.#toldProblems) return;
    this.#toldProblems = text;
    this.#options.onBad(problems);
  }

  /** Warnings of the configuration before are not told again, unless somebody asks. */
  #takeOver(
    { config, version, warnings, source, tenantTexts }: Extract<LoadedConfig, { kind: 'ok' }>,
    forced: boolean,
  ): void {
    const fresh = forced ? warnings : warnings.filter((warning) => !this.#toldWarnings.has(warning));
    this.#toldProblems = undefined;
    this.#toldWarnings = new Set(warnings);
    this.#version = version;
    this.#inUse = { ...this.#inUse, texts: tenantTexts, root: source.root };
    this.#options.onChange(config, fresh, source);
  }

  #watchFolders(): void {
    const folders = new Set([
      ...this.#files.map((file) => dirname(resolve(file))),
      ...this.#tenants.folders(),
    ]);
    for (const [folder, watcher] of this.#watchers) if (!folders.has(folder)) this.#forget(folder, watcher);
    for (const folder of folders) {
      if (this.#watchers.has(folder)) continue;
      try {
        const watcher = watch(folder, { persistent: false }, (_, name) =>
          this.#look(name === null ? undefined : join(folder, name)),
        );
        watcher.on('error', () => this.#forget(folder, watcher));
        this.#watchers.set(folder, watcher);
      } catch {
        // No such folder, or no more watches: the regular look stays.
      }
    }
  }

  #forget(folder: string, watcher: FSWatcher): void {
    watcher.close();
    this.#watchers.delete(folder);
  }
}

/** Files of tenants that a regular look sees: a look at ten thousand would take a fifth of a second. */
const LOOKED_AT = 256;

/** The files of tenants as they were last seen. Of a change the kernel tells; where it does not, it is found a little later. */
class TenantFilesSeen {
  #files: readonly string[] = [];
  /** By resolved path. */
  #stamps: ReadonlyMap<string, string> = new Map();
  #next = 0;

  see(files: readonly string[]): void {
    this.#files = files.map((file) => resolve(file));
    this.#stamps = new Map(this.#files.map((file) => [file, fingerprint([file])]));
  }

  folders(): readonly string[] {
    return this.#files.slice(0, 1).map((file) => dirname(file));
  }

  hasChanged(file: string): boolean {
    const stamp = this.#stamps.get(file);
    return stamp !== undefined && stamp !== fingerprint([file]);
  }

  /** Some of them, others the next time. */
  haveSomeChanged(): boolean {
    const end = Math.min(this.#files.length, this.#next + LOOKED_AT);
    const some = this.#files.slice(this.#next, end);
    this.#next = end >= this.#files.length ? 0 : end;
    return some.some((file) => this.hasChanged(file));
  }

  /** As they are now. */
  fingerprint(): string {
    return fingerprint(this.#files);
  }
}

/** Changes when a file is written, replaced, or reached through another symlink. */
function fingerprint(files: readonly string[]): string {
  return files
    .map((file) => {
      try {
        const { dev, ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true });
        return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
      } catch {
        return '-';
      }
    })
    .join();
}

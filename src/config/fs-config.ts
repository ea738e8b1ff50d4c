/** The configuration file and the secrets it names, read once or watched. */
import { createHash } from 'node:crypto';
import { type FSWatcher, readFileSync, statSync, watch } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { ConfigSource } from './changes.ts';
import type { Config } from './config.ts';
import { MAX_CONFIG_BYTES, parseConfig } from './load.ts';
import { readFailure } from './secrets.ts';

export type LoadedConfig =
  | {
      readonly kind: 'ok';
      readonly config: Config;
      readonly warnings: readonly string[];
      /** Of the contents that were read: equal contents, equal version. */
      readonly version: string;
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
  /** Every file that was read, or should have been. */
  readonly files: readonly string[];
}

const OTHERS_MAY_READ = 0o004;
const MOST_OPEN_TOLD = 10;

export interface LoadOptions {
  readonly isUnresolved?: boolean;
}

const openWarning = (file: string): string =>
  `${file} holds a secret that every user of this machine may read: chmod o-r it (in Kubernetes: defaultMode: 0440)`;

/** Certificates are public. */
const isSecret = (text: string): boolean =>
  !text.includes('-----BEGIN CERTIFICATE-----') || text.includes('PRIVATE KEY-----');

function read(path: string, env: NodeJS.ProcessEnv, { isUnresolved = false }: LoadOptions = {}): Reading {
  const files = [path];
  /** Secrets that every user of the machine may read. */
  const open = new Set<string>();
  const hash = createHash('sha256');
  const digests = new Map<string, string>();
  const readFile = (file: string, mostBytes: number): string => {
    // A pipe or device would block or never end.
    const stat = statSync(file);
    if (stat.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' });
    if (!stat.isFile()) throw Object.assign(new Error(), { code: 'not a regular file' });
    if (stat.size > mostBytes) throw Object.assign(new Error(), { code: 'EFBIG' });
    const text = readFileSync(file, 'utf8');
    hash.update(`${file}\0${text.length}\0${text}`);
    if (file !== path) digests.set(file, createHash('sha256').update(text).digest('base64'));
    if (file !== path && (stat.mode & OTHERS_MAY_READ) !== 0 && isSecret(text)) open.add(file);
    return text;
  };
  let text: string;
  try {
    text = readFile(path, MAX_CONFIG_BYTES);
  } catch (error) {
    const problem = `${path}: cannot read the configuration (${readFailure(error)}); give the path of a readable YAML file`;
    return { loaded: { kind: 'bad', problems: [problem] }, files };
  }
  const parsed = parseConfig({
    text,
    file: path,
    defaults: { directory: defaultDirectory(env) },
    env,
    isUnresolved,
    nowMs: Date.now(),
    readFile: (secret) => {
      files.push(secret);
      return readFile(secret, MAX_SECRET_BYTES);
    },
  });
  if (parsed.kind === 'bad') return { loaded: parsed, files };
  const warnings = [...parsed.warnings, ...[...open].slice(0, MOST_OPEN_TOLD).map(openWarning)];
  if (open.size > MOST_OPEN_TOLD) warnings.push(`${open.size - MOST_OPEN_TOLD} more secrets are open`);
  const { written, ...rest } = parsed;
  const source = { ...written, file: path, digests };
  return { loaded: { ...rest, warnings, version: hash.digest('hex'), source }, files };
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
  #toldProblems: string | undefined;
  #toldWarnings: ReadonlySet<string>;

  // The files as they were last seen.
  #files: readonly string[];
  #seen: string;

  // What close() ends.
  #settling: NodeJS.Timeout | undefined;
  readonly #looking: NodeJS.Timeout;
  readonly #watchers = new Map<string, FSWatcher>();

  constructor(options: WatchOptions) {
    const { path, env, version } = options;
    this.#options = options;
    const { loaded, files } = read(path, env);
    const isRead = loaded.kind === 'ok' && (version === undefined || version === loaded.version);
    this.#version = version ?? (loaded.kind === 'ok' ? loaded.version : '');
    this.#toldWarnings = new Set(isRead ? loaded.warnings : []);
    this.#files = files;
    this.#seen = fingerprint(files);
    this.#watchFolders();
    this.#settle();
    this.#looking = setInterval(() => this.#look(), LOOK_MS);
    this.#looking.unref();
  }

  reload(): void {
    this.#load(true);
  }

  close(): void {
    clearTimeout(this.#settling);
    clearInterval(this.#looking);
    for (const [folder, watcher] of this.#watchers) this.#forget(folder, watcher);
  }

  #look(): void {
    const now = fingerprint(this.#files);
    if (now === this.#seen) return;
    this.#seen = now;
    this.#settle();
  }

  #settle(): void {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      const now = fingerprint(this.#files);
      if (now === this.#seen) return this.#load(false);
      this.#seen = now;
      this.#settle();
    }, SETTLE_MS);
    this.#settling.unref();
  }

  #load(forced: boolean): void {
    clearTimeout(this.#settling);
    const { path, env } = this.#options;
    const { loaded, files } = read(path, env);
    this.#files = files;
    this.#seen = fingerprint(files);
    this.#watchFolders();
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
    { config, version, warnings, source }: Extract<LoadedConfig, { kind: 'ok' }>,
    forced: boolean,
  ): void {
    const fresh = forced ? warnings : warnings.filter((warning) => !this.#toldWarnings.has(warning));
    this.#toldProblems = undefined;
    this.#toldWarnings = new Set(warnings);
    this.#version = version;
    this.#options.onChange(config, fresh, source);
  }

  #watchFolders(): void {
    const folders = new Set(this.#files.map((file) => dirname(resolve(file))));
    for (const [folder, watcher] of this.#watchers) if (!folders.has(folder)) this.#forget(folder, watcher);
    for (const folder of folders) {
      if (this.#watchers.has(folder)) continue;
      try {
        const watcher = watch(folder, { persistent: false }, () => this.#look());
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

/** The folder of rate limit files: read whole, and again when a file in it changes. */
import { type FSWatcher, readdirSync, readFileSync, statSync, watch } from 'node:fs';
import { join } from 'node:path';
import { type Domains, type LoadedLimits, loadLimits } from './limits-config.ts';

export interface LimitsFolder {
  readonly directory: string;
  readonly mergeDomains: boolean;
}

/** The files of a folder in the order of their names, hidden ones left out; or one file. */
export function readLimits({ directory, mergeDomains }: LimitsFolder): LoadedLimits {
  try {
    const isFile = statSync(directory).isFile();
    const names = isFile
      ? ['']
      : readdirSync(directory)
          .filter((name) => /^[^.].*\.ya?ml$/.test(name))
          .sort();
    if (names.length === 0) return { kind: 'bad', problem: `${directory}: there is no .yaml file` };
    return loadLimits(
      names.map((name) => {
        const path = isFile ? directory : join(directory, name);
        return { name: path, text: readFileSync(path, 'utf8') };
      }),
      mergeDomains,
    );
  } catch (error) {
    return {
      kind: 'bad',
      problem: `${directory}: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
}

/** Editors write in steps: changes are read once they have settled. */
const SETTLE_MS = 50;
/** Folders that are links (ConfigMaps) change without an event on what is watched. */
const POLL_MS = 2_000;

export interface LimitsWatcher {
  close(): void;
}

export function watchLimits(
  folder: LimitsFolder,
  onChange: (domains: Domains) => void,
  onBad: (problem: string) => void,
): LimitsWatcher {
  /** Everything that tells one state of the files from another. */
  const stamp = (): string => {
    try {
      const isFile = statSync(folder.directory).isFile();
      return (isFile ? [''] : readdirSync(folder.directory).sort())
        .map((name) => {
          const { mtimeMs, size, ino } = statSync(join(folder.directory, name));
          return `${name} ${mtimeMs} ${size} ${ino}`;
        })
        .join('\n');
    } catch {
      return '';
    }
  };
  let last = stamp();
  let timer: NodeJS.Timeout | undefined;
  const look = (): void => {
    const now = stamp();
    if (now === last) return;
    last = now;
    const loaded = readLimits(folder);
    if (loaded.kind === 'ok') onChange(loaded.domains);
    else onBad(loaded.problem);
  };
  const soon = (): void => {
    clearTimeout(timer);
    timer = setTimeout(look, SETTLE_MS);
  };
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(folder.directory, soon);
    watcher.on('error', () => {});
  } catch {
    // It is not there (any more): polling sees when it is.
  }
  const poll = setInterval(look, POLL_MS);
  return {
    close() {
      watcher?.close();
      clearTimeout(timer);
      clearInterval(poll);
    },
  };
}

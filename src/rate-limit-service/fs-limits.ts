/** The folder of rate limit files: read whole, and again when a file in it changes. */
import { type FSWatcher, statSync, watch } from 'node:fs';
import { messageOf } from '../domain/text-of.ts';
import { fileStamp, folderStamp, type Passed, readFolder, readRegularFile } from '../files/fs-folder.ts';
import { type Domains, type LoadedLimits, loadLimits } from './limits-config.ts';

export interface LimitsFolder {
  readonly directory: string;
  readonly mergeDomains: boolean;
}

/** Limits, and which files they are from. */
type FolderLimits =
  | (Extract<LoadedLimits, { kind: 'ok' }> & {
      readonly paths: readonly string[];
      /** What was passed over: a dangling link, a pipe, a folder, what may not be read. */
      readonly passed: readonly Passed[];
    })
  | Extract<LoadedLimits, { kind: 'bad' }>;
export type ReadLimits = FolderLimits & {
  /** Of the files before they were read: what is written meanwhile is another state. */
  readonly stamp: string;
};

/** A file of limits has some kilobytes. */
const MAX_FILE_BYTES = 4 * 1024 ** 2;

/** Hidden files, and the copies that editors make, are none. */
const isLimitsFile = (name: string): boolean => /^[^.].*\.ya?ml$/.test(name);

export const passedText = ({ path, why }: Passed): string => `${path}: passed over: ${why}`;

/** Everything that tells one state of the files from another. */
const stampOf = ({ directory }: LimitsFolder): string => `${fileStamp(directory)}\n${folderStamp(directory)}`;

/** The files of a folder in the order of their names, hidden ones left out; or one file. */
export function readLimits(folder: LimitsFolder): ReadLimits {
  const stamp = stampOf(folder);
  return { ...limitsOf(folder), stamp };
}

function limitsOf({ directory, mergeDomains }: LimitsFolder): FolderLimits {
  const bad = (problem: string) => ({ kind: 'bad', problem: `${directory}: ${problem}` }) as const;
  try {
    const { files, passed } = statSync(directory).isDirectory()
      ? readFolder(directory, isLimitsFile, MAX_FILE_BYTES)
      : readOne(directory);
    if (files.length === 0) {
      return bad(
        passed.length === 0 ? 'there is no .yaml file' : `no .yaml file can be read (${whyOf(passed)})`,
      );
    }
    const loaded = loadLimits(
      files.map(({ path, bytes }) => ({ name: path, text: bytes })),
      mergeDomains,
    );
    return loaded.kind === 'bad' ? loaded : { ...loaded, passed, paths: files.map(({ path }) => path) };
  } catch (error) {
    return bad(messageOf(error));
  }
}

const MOST_TOLD = 5;
const whyOf = (passed: readonly Passed[]): string =>
  passed
    .slice(0, MOST_TOLD)
    .map(({ path, why }) => `${path}: ${why}`)
    .join('; ');

function readOne(path: string): ReturnType<typeof readFolder> {
  const bytes = readRegularFile(path, MAX_FILE_BYTES);
  return Buffer.isBuffer(bytes)
    ? { files: [{ path, bytes }], passed: [] }
    : { files: [], passed: [{ path, why: bytes.why, isDenied: false }] };
}

/**
 * What a reload makes of the files: a file that said something and may not be read any more keeps its limits, with all others;
 * what is not there any more has none.
 */
export function takesOver(
  { passed }: { readonly passed: readonly Passed[] },
  before: readonly string[],
): boolean {
  return !passed.some(({ path, isDenied }) => isDenied && before.includes(path));
}

/** Editors write in steps: changes are read once they have settled. */
const SETTLE_MS = 50;
/** Folders that are links (ConfigMaps) change without an event on what is watched. */
const POLL_MS = 2_000;

export interface LimitsWatcher {
  close(): void;
}

/** @param first the limits in use; reading them once more would take as long again. */
export function watchLimits(
  folder: LimitsFolder,
  first: ReadLimits,
  onChange: (domains: Domains, passed: readonly Passed[]) => void,
  onBad: (problem: string) => void,
): LimitsWatcher {
  let last = first.stamp;
  let paths = first.kind === 'ok' ? first.paths : [];
  let timer: NodeJS.Timeout | undefined;
  const look = (): void => {
    if (stampOf(folder) === last) return;
    const loaded = readLimits(folder);
    last = loaded.stamp;
    if (loaded.kind === 'bad') onBad(loaded.problem);
    else if (!takesOver(loaded, paths)) onBad(`${whyOf(loaded.passed)}; the limits of before stay`);
    else {
      paths = loaded.paths;
      onChange(loaded.domains, loaded.passed);
    }
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

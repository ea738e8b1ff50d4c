/**
 * A folder whose files somebody else writes: editors, deployments, mounted volumes. What in it is no readable file is passed
 * over and told: one dangling link is not to take the others' effect.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

interface FolderFile {
  readonly path: string;
  readonly bytes: Buffer;
}

/** What was passed over. */
export interface Passed {
  readonly path: string;
  /** For a message, after the path. */
  readonly why: string;
  /** It is there, and may not be read: what it said before is not known to be wrong. */
  readonly isDenied: boolean;
}

export interface FolderContents {
  /** In the order of their names. */
  readonly files: readonly FolderFile[];
  readonly passed: readonly Passed[];
}

/** A pipe would block without O_NONBLOCK. */
const READ = constants.O_RDONLY | constants.O_NONBLOCK;

const codeOf = (error: unknown): string =>
  typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : String(error);

const REASONS: ReadonlyMap<string, string> = new Map([
  // It was listed: a link, or it has been removed since.
  ['ENOENT', 'there is nothing behind this name: a dangling link, or a file that has just been removed'],
  ['ELOOP', 'it is a link in a circle'],
  ['EACCES', 'permission denied'],
  ['EPERM', 'permission denied'],
  // A socket.
  ['ENXIO', 'it is no regular file'],
  ['EISDIR', 'it is a folder'],
]);

/**
 * Reads the files of a folder.
 *
 * @param isWanted by name: hidden files and editors' copies are not to be.
 * @param mostBytes of a file.
 * @throws what node:fs throws of the folder itself, and an Error for a file that is too large.
 */
export function readFolder(
  directory: string,
  isWanted: (name: string) => boolean,
  mostBytes: number,
): FolderContents {
  const files: FolderFile[] = [];
  const passed: Passed[] = [];
  for (const name of readdirSync(directory).filter(isWanted).sort()) {
    const path = join(directory, name);
    try {
      const bytes = readRegularFile(path, mostBytes);
      if (Buffer.isBuffer(bytes)) files.push({ path, bytes });
      else passed.push({ path, why: bytes.why, isDenied: false });
    } catch (error) {
      const code = codeOf(error);
      if (code === 'EFBIG') throw new Error(`${name} has more than ${mostBytes} bytes`, { cause: error });
      const isDenied = code === 'EACCES' || code === 'EPERM';
      passed.push({ path, why: REASONS.get(code) ?? code, isDenied });
    }
  }
  return { files, passed };
}

/** @throws what node:fs throws; EFBIG for a larger one. */
export function readRegularFile(path: string, mostBytes: number): Buffer | { readonly why: string } {
  const file = openSync(path, READ);
  try {
    const stats = fstatSync(file);
    if (stats.isDirectory()) return { why: 'it is a folder' };
    if (!stats.isFile()) return { why: 'it is no regular file' };
    if (stats.size > mostBytes) throw Object.assign(new Error(), { code: 'EFBIG' });
    return readFileSync(file);
  } finally {
    closeSync(file);
  }
}

/** Changes when a file of the folder is written, replaced, or reached through another link, and when one comes or goes. */
export function folderStamp(directory: string): string {
  try {
    return readdirSync(directory)
      .sort()
      .map((name) => `${name} ${fileStamp(join(directory, name))}`)
      .join('\n');
  } catch {
    return '';
  }
}

/** The same of one file. Empty: nothing is there. */
export function fileStamp(path: string): string {
  try {
    const { mtimeMs, size, ino, mode } = statSync(path);
    return `${mtimeMs} ${size} ${ino} ${mode}`;
  } catch {
    return '';
  }
}

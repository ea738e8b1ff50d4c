/**
 * Files that nobody else may put in place, read or replace: keys, the socket, levels of limits.
 *
 * A path is only as safe as each folder on the way to it: who may write to one may move the next away and put in his own. So
 * each must be of this user or root, and not for others to write to, as sshd asks it of `authorized_keys`.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  type Stats,
  writeFileSync,
} from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';

/** For the owner only. */
const FILE_MODE = 0o600;
const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;
/** A pipe would block without O_NONBLOCK. */
const READ_NO_LINK = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
/** As many as Linux follows. */
const MOST_LINKS = 40;

const isOurs = ({ uid }: Stats): boolean => uid === 0 || uid === (process.getuid?.() ?? uid);

const mayOthersWrite = ({ mode }: Stats): boolean => (mode & WRITABLE_BY_OTHERS) !== 0;

/**
 * @throws unless every folder on the way to the path keeps what is in it for its owner. In a sticky one, as /tmp is, nobody
 * moves what is another's. Symbolic links on the way are followed, and their own way is looked at too.
 */
export function requireSafeWay(path: string): void {
  let links = 0;
  let at = '/';
  let volume = lstatSync(at).dev;
  requireSafeFolder(at, lstatSync(at), volume);
  const steps = dirname(resolve(path)).split('/');
  // As the kernel goes: what a link says is relative to where the link really is.
  for (let step = steps.shift(); step !== undefined; step = steps.shift()) {
    const next = join(at, step);
    const stats = lstatSync(next);
    requireSafeFolder(next, stats, volume);
    if (!stats.isSymbolicLink()) {
      at = next;
      volume = stats.dev;
      continue;
    }
    links += 1;
    if (links > MOST_LINKS) throw new Error(`${next} leads through too many symbolic links`);
    const target = readlinkSync(next);
    if (isAbsolute(target)) {
      at = '/';
      volume = lstatSync(at).dev;
    }
    steps.unshift(...target.split('/'));
  }
}

/** @param volume that the folder around it is on. A volume's own root, as of an emptyDir in a pod, is for those whom it was given to. */
function requireSafeFolder(folder: string, stats: Stats, volume: number): void {
  if (!isOurs(stats)) {
    throw new Error(`${folder}, on the way to it, belongs to another user, who may replace what is in it`);
  }
  // The mode of a link says nothing.
  if (
    !stats.isSymbolicLink() &&
    mayOthersWrite(stats) &&
    (stats.mode & STICKY) === 0 &&
    stats.dev === volume
  ) {
    throw new Error(
      `others may write to ${folder}, on the way to it, and replace what is in it (chmod go-w ${folder})`,
    );
  }
}

/** @throws unless it is a folder, no link to one, that only this user or root can write to, and so is the way to it. */
export function requireOwnFolder(path: string): void {
  const stats = lstatSync(resolve(path));
  if (stats.isSymbolicLink()) throw new Error('it is a symbolic link; name the folder that it leads to');
  if (!stats.isDirectory()) throw new Error('it is no folder');
  if (!isOurs(stats)) throw new Error('it belongs to another user');
  if ((stats.mode & 0o002) !== 0) throw new Error(`everybody may write to it (chmod go-w ${path})`);
  if (mayOthersWrite(stats)) throw new Error(`its group may write to it (chmod go-w ${path})`);
  requireSafeWay(path);
}

/**
 * The text of a file that this user or root wrote, and nobody else may write to.
 *
 * @throws what node:fs throws, and for anything else that is there: a link, a pipe, somebody else's file. The message goes on
 * from the path.
 */
export function readOwnFile(path: string, mostBytes: number): string {
  const file = openSync(path, READ_NO_LINK);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) throw new Error('is no regular file');
    if (!isOurs(stats)) throw new Error('belongs to another user');
    if (mayOthersWrite(stats)) throw new Error('may be written to by others (chmod 600)');
    if (stats.size > mostBytes) throw new Error(`has more than ${mostBytes} bytes`);
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

/** Whether it is a file for this user alone, under no other name, that has just this text. */
export function holdsOwnText(path: string, text: string): boolean {
  let file: number;
  try {
    file = openSync(path, READ_NO_LINK);
  } catch {
    return false;
  }
  try {
    const stats = fstatSync(file);
    const isPrivate =
      stats.isFile() && isOurs(stats) && stats.nlink === 1 && (stats.mode & 0o777) === FILE_MODE;
    return isPrivate && readFileSync(file, 'utf8') === text;
  } finally {
    closeSync(file);
  }
}

/**
 * Writes beside the path and renames, so that whoever reads sees the old or the new one whole. What was there, a link too, is
 * replaced and never written through.
 *
 * @throws what node:fs throws.
 */
export function replaceOwnFile(path: string, text: string): void {
  const temporary = `${path}.new`;
  // What a crash left. A name that is taken again then is an error: a file or link that somebody put there is not written to.
  rmSync(temporary, { force: true });
  try {
    writeFileSync(temporary, text, { mode: FILE_MODE, flag: 'wx' });
    renameSync(temporary, path);
  } catch (error) {
    // What could not be written whole, as on a full disk. What somebody else put there is not ours to remove.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') rmSync(temporary, { force: true });
    throw error;
  }
}

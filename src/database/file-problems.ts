/** What SQLite and the system say is wrong with a file, as what it means and what to do. */
import type { DatabaseError } from './database.ts';

interface SqliteProblem {
  readonly kind: DatabaseError['kind'];
  readonly text: string;
  /** The connection is of no use any more. */
  readonly reconnect: boolean;
}

const problem = (kind: DatabaseError['kind'], text: string, reconnect = true): SqliteProblem => ({
  kind,
  text,
  reconnect,
});

/** By what its code begins with; the longer ones first. */
const PROBLEMS: readonly (readonly [code: string, SqliteProblem])[] = [
  ['SQLITE_BUSY', problem('away', 'another process has it locked', false)],
  ['SQLITE_LOCKED', problem('away', 'another process has it locked', false)],
  ['SQLITE_FULL', problem('away', 'the disk is full', false)],
  [
    'SQLITE_NOTADB',
    problem('refused', 'the file is no SQLite database; move it away, or name another folder'),
  ],
  [
    'SQLITE_CORRUPT',
    problem('refused', 'the file is damaged; restore a copy, or move it away and begin a new one'),
  ],
  ['SQLITE_READONLY', problem('refused', 'the file is read-only for this user')],
  ['SQLITE_PERM', problem('refused', 'this user has no right to the file')],
  ['SQLITE_CANTOPEN', problem('refused', 'the file cannot be opened')],
  ['SQLITE_IOERR', problem('away', 'the disk fails')],
  ['EACCES', problem('refused', 'this user has no right to the file')],
  ['EPERM', problem('refused', 'this user has no right to the file')],
  ['EROFS', problem('refused', 'its file system is read-only')],
  ['EISDIR', problem('refused', 'it is a folder, not a file')],
  ['ENOENT', problem('refused', 'there is no such file')],
  ['ENOTDIR', problem('refused', 'a part of its path is no folder')],
  ['ENOSPC', problem('away', 'the disk is full')],
];

export function sqliteProblem(error: unknown, { readOnly }: { readonly readOnly: boolean }): SqliteProblem {
  const { code = '', message = String(error) } = error as { code?: string; message?: string };
  if (code === 'ENOENT' && !readOnly) return problem('refused', 'its folder does not exist');
  const [, known] = PROBLEMS.find(([prefix]) => code.startsWith(prefix)) ?? [];
  if (known !== undefined) return { ...known, text: `${known.text} (${code})` };
  // The library says of a file that cannot be opened the number alone.
  if (message.startsWith('ConnectionFailed')) return problem('refused', 'the file cannot be opened');
  return problem('refused', message, false);
}

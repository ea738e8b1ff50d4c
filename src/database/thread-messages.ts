/** What the thread with the SQLite file is told, and answers. */
import type { DatabaseError, Statement, StatementResult } from './database.ts';

export interface SqliteSettings {
  readonly path: string;
  readonly readOnly: boolean;
}

/** In order, each answered once. */
export type SqliteRequest =
  | { readonly id: number; readonly statements: readonly Statement[] }
  /** It ends after it. */
  | 'close';

export type SqliteAnswer =
  | { readonly id: number; readonly results: readonly StatementResult[] }
  | { readonly id: number; readonly kind: DatabaseError['kind']; readonly problem: string };

/** Opens a database: SQLite or PostgreSQL. */
import type { Database } from './database.ts';
import { openPostgresql } from './pg-database.ts';
import { openSqlite } from './sqlite-database.ts';
import type { DatabaseOptions, DatabaseTarget } from './target.ts';

export type { DatabaseOptions, DatabaseTarget };

/**
 * Opens a database. It is connected to when the first batch asks for it, and again after each failure: what is away now may be
 * there for the next batch. Batches fail with a DatabaseError, this does not.
 */
export const openDatabase = (target: DatabaseTarget, options: DatabaseOptions = {}): Database =>
  target.kind === 'sqlite' ? openSqlite(target.path, options) : openPostgresql(target.url, options);

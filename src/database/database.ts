/**
 * A relational database, as features see it: SQLite or PostgreSQL. It knows no feature. Statements have `?` where a value goes, and are
 * of the part of SQL that both speak (`INSERT … ON CONFLICT … DO`), or there is one text for each dialect.
 *
 * Invariants: a batch is one transaction, all of it or nothing; batches are carried out in the order in which they were given.
 */

export type SqlValue = string | number | bigint | null | Uint8Array;
/** Whole numbers beyond 2^53 come as bigints. */
export type SqlRow = Readonly<Record<string, string | number | bigint | null>>;

export interface Statement {
  readonly sql: string;
  readonly values?: readonly SqlValue[];
  /**
   * Instead of `values`, for many rows of one statement, which is carried out for each: JSON lists of texts, numbers and nulls, with
   * commas between them. A whole number beyond 2^53 is a text: the column makes a number of it.
   */
  readonly rows?: string;
}

export interface StatementResult {
  /** Rows that it inserted, changed or removed, of all `rows` together. */
  readonly changed: number;
  /** Of a statement that returns some. */
  readonly rows: readonly SqlRow[];
}

export type Dialect = 'sqlite' | 'postgresql';

/** A text for both, or one for each. */
export type SqlText = string | Readonly<Record<Dialect, string>>;

/** A step of a feature's tables. Numbers begin with 1 and have no gaps; what has been released is never changed. */
export interface Migration {
  readonly number: number;
  readonly statements: readonly SqlText[];
}

export interface Database {
  readonly dialect: Dialect;
  /** For messages: the file, or the server without its password. */
  readonly shown: string;
  /** One transaction. @throws DatabaseError when it could not be, or may not have been carried out. */
  batch(statements: readonly Statement[]): Promise<readonly StatementResult[]>;
  /** Brings a feature's tables to its last step. @throws DatabaseError when they are of a newer version than it knows. */
  migrate(feature: string, migrations: readonly Migration[]): Promise<void>;
  close(): Promise<void>;
}

/** Why a database does not do what it was asked to, and what to do. */
export class DatabaseError extends Error {
  /**
   * `away`: it may come back by itself (locked, no connection, disk full); `refused`: somebody has to do something (newer version,
   * read-only, no rights, no database).
   */
  readonly kind: 'away' | 'refused';

  constructor(kind: DatabaseError['kind'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

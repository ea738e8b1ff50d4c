/**
 * The thread that has the SQLite file. Write-ahead log, and each commit on the disk before it is answered: what was answered
 * survives a power failure. One batch after the other.
 */
import { closeSync, openSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import Libsql from 'libsql';
import type { SqlRow, SqlValue, Statement, StatementResult } from './database.ts';
import { sqliteProblem } from './file-problems.ts';
import type { SqliteAnswer, SqliteRequest, SqliteSettings } from './thread-messages.ts';

/** Longest wait for another process's transaction, in milliseconds. */
const LOCK_WAIT_MS = 2_000;
/** For the owner alone: it says who used what. */
const FILE_MODE = 0o600;
/** Statements that stay prepared. */
const MOST_PREPARED = 200;
/** Of its memory, in KiB. */
const CACHE_KIB = 16_384;

type Connection = InstanceType<typeof Libsql>;
interface Prepared {
  readonly reader: boolean;
  run(values: readonly unknown[]): { readonly changes: number };
  all(values: readonly unknown[]): Record<string, unknown>[];
}

const settings = workerData as SqliteSettings;
let connection: Connection | undefined;
const prepared = new Map<string, Prepared>();

function connect(): Connection {
  if (connection !== undefined) return connection;
  const { path, readOnly } = settings;
  // Made here, because SQLite would make it readable for others.
  if (path !== ':memory:') closeSync(openSync(path, readOnly ? 'r' : 'a', FILE_MODE));
  const opened: Connection = new Libsql(path, { timeout: LOCK_WAIT_MS });
  try {
    opened.defaultSafeIntegers(true);
    if (readOnly) {
      opened.exec('PRAGMA query_only = 1');
    } else {
      opened.pragma('journal_mode = WAL', {});
      opened.exec('PRAGMA synchronous = FULL');
    }
    opened.exec(`PRAGMA cache_size = -${CACHE_KIB}`);
    opened.exec('PRAGMA temp_store = MEMORY');
    opened.prepare('SELECT count(*) FROM sqlite_master').all([]);
  } catch (error) {
    opened.close();
    throw error;
  }
  connection = opened;
  return opened;
}

function disconnect(): void {
  prepared.clear();
  connection?.close();
  connection = undefined;
}

function prepare(to: Connection, sql: string): Prepared {
  const known = prepared.get(sql);
  if (known !== undefined) return known;
  if (prepared.size >= MOST_PREPARED) prepared.clear();
  const made = to.prepare(sql) as Prepared;
  prepared.set(sql, made);
  return made;
}

/** A JavaScript number would become a floating point number there, also in arithmetic. */
const bound = (value: SqlValue): unknown =>
  typeof value === 'number' && Number.isInteger(value)
    ? BigInt(value)
    : value instanceof Uint8Array
      ? Buffer.from(value)
      : value;

function shown(row: Record<string, unknown>): SqlRow {
  const read: Record<string, string | number | bigint | null> = {};
  for (const [name, value] of Object.entries(row)) {
    const number = typeof value === 'bigint' ? Number(value) : undefined;
    read[name] =
      number !== undefined && Number.isSafeInteger(number)
        ? number
        : (value as string | number | bigint | null);
  }
  return read;
}

/** Numbers become what their column is: there is no arithmetic with them before. */
function carryOutRows(statement: Prepared, rows: string): StatementResult {
  let changed = 0;
  for (const row of JSON.parse(`[${rows}]`) as readonly (readonly unknown[])[]) {
    changed += statement.run(row).changes;
  }
  return { changed, rows: [] };
}

function carryOut(to: Connection, { sql, values = [], rows: many }: Statement): StatementResult {
  const statement = prepare(to, sql);
  if (many !== undefined) return carryOutRows(statement, many);
  const given = values.map(bound);
  if (statement.reader) {
    const rows = statement.all(given).map(shown);
    return { changed: isRead(sql) ? 0 : rows.length, rows };
  }
  return { changed: statement.run(given).changes, rows: [] };
}

const READS = /^\s*(?:SELECT|WITH|EXPLAIN|PRAGMA)\b/i;
const WRITES = /\b(?:INSERT|UPDATE|DELETE|REPLACE)\b/i;
const isRead = (sql: string): boolean => READS.test(sql) && !WRITES.test(sql);
/** Cannot be part of a transaction. */
const ALONE = /^\s*(?:VACUUM|PRAGMA)\b/i;

function transaction(statements: readonly Statement[]): readonly StatementResult[] {
  const to = connect();
  const [first] = statements;
  if (statements.length === 1 && first !== undefined && ALONE.test(first.sql)) return [carryOut(to, first)];
  // A transaction that will write waits for the others at its beginning: later it could not.
  to.exec(statements.every(({ sql }) => isRead(sql)) ? 'BEGIN' : 'BEGIN IMMEDIATE');
  try {
    const results = statements.map((statement) => carryOut(to, statement));
    to.exec('COMMIT');
    return results;
  } catch (error) {
    try {
      to.exec('ROLLBACK');
    } catch {
      // Some errors end the transaction themselves.
    }
    throw error;
  }
}

function answerTo({ id, statements }: Exclude<SqliteRequest, 'close'>): SqliteAnswer {
  try {
    return { id, results: transaction(statements) };
  } catch (error) {
    const { kind, text, reconnect } = sqliteProblem(error, settings);
    if (reconnect) disconnect();
    return { id, kind, problem: text };
  }
}

parentPort?.on('message', (request: SqliteRequest) => {
  if (request !== 'close') {
    parentPort?.postMessage(answerTo(request));
    return;
  }
  disconnect();
  parentPort?.close();
});

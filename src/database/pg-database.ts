/** PostgreSQL: one connection, which is opened again after each failure. */
import type pg from 'pg';
import {
  type Database,
  DatabaseError,
  type SqlRow,
  type SqlValue,
  type Statement,
  type StatementResult,
} from './database.ts';
import { migrate } from './migrate.ts';
import { numbered } from './placeholders.ts';
import type { DatabaseOptions } from './target.ts';

const CONNECT_MS = 5_000;
const BATCH_MS = 30_000;

/** Whole numbers that JavaScript cannot have as numbers are bigints; a sum of whole numbers is `numeric` there. */
function wholeNumber(text: string): number | bigint | string {
  if (!/^-?\d+$/.test(text)) return text;
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
}

/** Object identifiers of types, from pg_type.dat. */
const BOOL = 16;
const INT8 = 20;
const NUMERIC = 1700;
/** Loaded by the first connection: most processes have no PostgreSQL, and a command is to begin at once. */
let driver: typeof pg | undefined;

const isOfServer = (error: unknown): error is pg.DatabaseError =>
  driver !== undefined && error instanceof driver.DatabaseError;

const typesOf = ({ types }: typeof pg) => ({
  getTypeParser: (oid: number, format?: 'text' | 'binary') => {
    if (oid === INT8 || oid === NUMERIC) return wholeNumber;
    if (oid === BOOL) return (text: string) => (text === 't' ? 1 : 0);
    return types.getTypeParser(oid, format);
  },
});

/** Conditions that go by. SQLSTATE: its class, or all five characters. */
const AWAY = ['08', '53', '57', '58', '40', '55P03', '25006'];
const ADVICE: Readonly<Record<string, string>> = {
  '28P01': 'the password is wrong',
  '28000': 'this user may not connect',
  '3D000': 'there is no such database; create it',
  '42501': 'this user may not do it; grant the rights',
};

/** The server as messages name it. */
function shownUrl(url: string): string {
  try {
    const { hostname, port, pathname, username } = new URL(url);
    const user = username === '' ? '' : `${decodeURIComponent(username)}@`;
    return `postgresql://${user}${hostname}${port === '' ? '' : `:${port}`}${pathname}`;
  } catch {
    return 'the PostgreSQL database';
  }
}

export const openPostgresql = (url: string, options: DatabaseOptions): Database =>
  new PgDatabase(url, options);

class PgDatabase implements Database {
  readonly dialect = 'postgresql';
  readonly shown: string;
  readonly #url: string;
  readonly #options: DatabaseOptions;
  #client: pg.Client | undefined;
  /** The batches that were given so far. */
  #last: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(url: string, options: DatabaseOptions) {
    this.#url = url;
    this.#options = options;
    this.shown = shownUrl(url);
  }

  readonly batch = (statements: readonly Statement[]): Promise<readonly StatementResult[]> => {
    if (this.#isClosed) return Promise.reject(new DatabaseError('away', `${this.shown}: it is closed`));
    const done = this.#last.then(() => this.#transaction(statements));
    this.#last = done.catch(() => undefined);
    return done;
  };

  migrate: Database['migrate'] = (feature, migrations) => migrate(this, feature, migrations);

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#last;
    await this.#client?.end().catch(() => undefined);
    this.#client = undefined;
  }

  async #transaction(statements: readonly Statement[]): Promise<readonly StatementResult[]> {
    try {
      const client = await this.#connect();
      const [first] = statements;
      // It cannot be part of a transaction.
      if (statements.length === 1 && first !== undefined && /^\s*VACUUM\b/i.test(first.sql)) {
        return [await carryOut(client, first)];
      }
      await client.query(this.#options.readOnly === true ? 'BEGIN READ ONLY' : 'BEGIN');
      const results: StatementResult[] = [];
      for (const statement of statements) results.push(await carryOut(client, statement));
      await client.query('COMMIT');
      return results;
    } catch (error) {
      await this.#failed(error);
      throw this.#problem(error);
    }
  }

  async #connect(): Promise<pg.Client> {
    if (this.#client !== undefined) return this.#client;
    const timeoutMs = this.#options.timeoutMs ?? BATCH_MS;
    driver ??= (await import('pg')).default;
    const client = new driver.Client({
      connectionString: this.#url,
      connectionTimeoutMillis: CONNECT_MS,
      // The server's own bound comes first, and tells of itself; the other is for a server that says nothing.
      statement_timeout: timeoutMs,
      query_timeout: timeoutMs + CONNECT_MS,
      keepAlive: true,
      application_name: 'fairlane',
      types: typesOf(driver),
    });
    client.on('error', () => this.#drop(client));
    client.on('end', () => this.#drop(client));
    try {
      await client.connect();
    } catch (error) {
      client.end().catch(() => undefined);
      throw error;
    }
    this.#client = client;
    return client;
  }

  #drop(client: pg.Client): void {
    if (this.#client === client) this.#client = undefined;
  }

  /** Takes a transaction back; a connection that cannot do that is given up. */
  async #failed(reason: unknown): Promise<void> {
    const client = this.#client;
    if (client === undefined) return;
    const isServers = isOfServer(reason) && reason.severity === 'ERROR';
    const isBack =
      isServers &&
      (await client.query('ROLLBACK').then(
        () => true,
        () => false,
      ));
    if (isBack) return;
    this.#drop(client);
    // A server that says nothing would never say good-bye.
    client.end().catch(() => undefined);
    (client as unknown as { connection?: { stream?: { destroy(): void } } }).connection?.stream?.destroy();
  }

  #problem(error: unknown): DatabaseError {
    const { code = '', message } = error as { code?: string; message: string };
    const advice = ADVICE[code];
    const isRefused = isOfServer(error) && !AWAY.some((prefix) => code.startsWith(prefix));
    const text = advice === undefined ? message || code || 'no connection' : `${advice} (${message})`;
    return new DatabaseError(isRefused ? 'refused' : 'away', `${this.shown}: ${text}`, { cause: error });
  }
}

async function carryOut(
  client: pg.Client,
  { sql, values = [], rows: given }: Statement,
): Promise<StatementResult> {
  if (given === undefined) return carryOutOnce(client, sql, values);
  let changed = 0;
  for (const row of JSON.parse(`[${given}]`) as readonly (readonly SqlValue[])[]) {
    const result = await carryOutOnce(client, sql, row);
    changed += result.changed;
  }
  return { changed, rows: [] };
}

async function carryOutOnce(
  client: pg.Client,
  sql: string,
  values: readonly SqlValue[],
): Promise<StatementResult> {
  const given = values.map((value) =>
    typeof value === 'bigint' ? value.toString() : value instanceof Uint8Array ? Buffer.from(value) : value,
  );
  const { rowCount, rows, command } = await client.query<SqlRow>(numbered(sql), given);
  return { changed: command === 'SELECT' ? 0 : (rowCount ?? 0), rows };
}

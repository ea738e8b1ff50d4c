/**
 * How rows get into the ledger, exactly once: a row whose id is there already changes nothing, neither rows nor sums. All of it
 * is one transaction.
 */
import type { Dialect, Statement, StatementResult } from '../database/database.ts';
import { PICO_IN_MICRO, SUMS } from './migrations.ts';
import { COLUMN_NAMES, COLUMNS, columnOf, isNumber } from './row-line.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
const NAMES = COLUMN_NAMES.join(', ');

/** Of one row, a JSON list. Both databases understand it. */
const FIELDS = COLUMNS.map(
  (key, i) => `CAST(value ->> ${i} AS ${isNumber(key) ? 'BIGINT' : 'TEXT'}) AS ${columnOf(key)}`,
).join(', ');

const countOf = (condition: string): string => `sum(CASE WHEN ${condition} THEN 1 ELSE 0 END)`;
const COUNTS: Readonly<Record<string, string>> = {
  requests: 'count(*)',
  completed: countOf("outcome = 'completed'"),
  refused: countOf("outcome = 'refused'"),
  aborted: countOf("outcome = 'aborted'"),
  failed: countOf("outcome = 'failed'"),
  estimated: countOf("usage_source = 'estimate'"),
};
/** Empty text where there is none, as the sums are kept. */
export const DIMENSIONS = [
  'key_id',
  'tag',
  'model',
  'adapter',
  'pool',
  'cost_currency',
  'price_currency',
] as const;
const KEY = `start_ms, tenant, ${DIMENSIONS.join(', ')}`;

const PICO = PICO_IN_MICRO;

/** Of one amount: 10^-6 of the unit, rounded down, and what is over; the same for amounts below zero. */
const restOf = (column: string): string => `((${column} % ${PICO} + ${PICO}) % ${PICO})`;
const microOf = (column: string): string => `((${column} - ${restOf(column)}) / ${PICO})`;

/** The sum of many as the two parts, whose first one takes what the second one has too much. */
const moneyOf = (column: string): Readonly<Record<string, string>> => ({
  [column.replace('_pico', '_micro')]:
    `sum(${microOf(column)}) + CAST(sum(${restOf(column)}) AS BIGINT) / ${PICO}`,
  [column]: `sum(${restOf(column)}) % ${PICO}`,
});

/** How a sum is made of rows; else `sum(NAME)`. PostgreSQL's sums are `numeric`, whose division is not one of whole numbers. */
const MADE: Readonly<Record<string, string>> = {
  ...COUNTS,
  ...moneyOf('cost_pico'),
  ...moneyOf('price_pico'),
};

/** What becomes of a sum that is there already. */
function addedTo(table: string, name: string): string {
  const both = (column: string): string => `${table}.${column} + excluded.${column}`;
  if (name.endsWith('_pico')) return `${name} = (${both(name)}) % ${PICO}`;
  if (!name.endsWith('_micro')) return `${name} = ${both(name)}`;
  const pico = name.replace('_micro', '_pico');
  return `${name} = ${both(name)} + (${both(pico)}) / ${PICO}`;
}

/** Adds rows to sums. In the order of the key, so that two writers do not wait for each other in a circle. */
function addTo(table: string, start: string, from: string): string {
  const dimensions = DIMENSIONS.map((name) => `coalesce(${name}, '')`);
  const sums = SUMS.map((name) => `CAST(${MADE[name] ?? `sum(${name})`} AS BIGINT)`);
  const groups = Array.from({ length: DIMENSIONS.length + 2 }, (_, i) => i + 1).join(', ');
  return `INSERT INTO ${table} (${KEY}, ${SUMS.join(', ')})
    SELECT ${start}, tenant, ${dimensions.join(', ')}, ${sums.join(', ')}
    FROM ${from} WHERE true GROUP BY ${groups} ORDER BY ${groups}
    ON CONFLICT (${KEY}) DO UPDATE SET ${SUMS.map((name) => addedTo(table, name)).join(', ')}`;
}

const HOUR = `ended_ms - ended_ms % ${HOUR_MS}`;
const DAY = `ended_ms - ended_ms % ${DAY_MS}`;
/** The beginning of the month, in UTC. */
const MONTH: Readonly<Record<Dialect, string>> = {
  sqlite: "CAST(strftime('%s', ended_ms / 1000, 'unixepoch', 'start of month') AS INTEGER) * 1000",
  postgresql:
    "CAST(extract(epoch FROM date_trunc('month', to_timestamp(ended_ms / 1000) AT TIME ZONE 'UTC')) AS BIGINT) * 1000",
};

const COLUMN_TYPES = COLUMNS.map(
  (key) => `${columnOf(key)} ${isNumber(key) ? 'INTEGER' : 'TEXT'}${key === 'id' ? ' PRIMARY KEY' : ''}`,
).join(', ');

/** SQLite has no statement that inserts into several tables: what is new goes by a table of the connection's own. */
const SQLITE_BEFORE: readonly Statement[] = [
  { sql: `CREATE TEMP TABLE IF NOT EXISTS incoming (${COLUMN_TYPES})` },
  { sql: 'DELETE FROM temp.incoming' },
];
const SQLITE_INCOMING = `INSERT INTO temp.incoming (${NAMES}) SELECT ${FIELDS} FROM json_each(?)
  WHERE NOT EXISTS (SELECT 1 FROM request WHERE request.id = value ->> 0) ON CONFLICT (id) DO NOTHING`;
const SQLITE_AFTER: readonly Statement[] = [
  { sql: addTo('usage_hour', HOUR, 'temp.incoming') },
  { sql: addTo('usage_day', DAY, 'temp.incoming') },
  { sql: addTo('usage_month', MONTH.sqlite, 'temp.incoming') },
  { sql: `INSERT INTO request (${NAMES}) SELECT ${NAMES} FROM temp.incoming` },
];

const POSTGRESQL = `WITH incoming AS (
    INSERT INTO request (${NAMES}) SELECT ${FIELDS} FROM json_array_elements(CAST(? AS json)) AS value
    ON CONFLICT (id) DO NOTHING RETURNING *
  ), by_hour AS (${addTo('usage_hour', HOUR, 'incoming')} RETURNING 1
  ), by_day AS (${addTo('usage_day', DAY, 'incoming')} RETURNING 1
  ), by_month AS (${addTo('usage_month', MONTH.postgresql, 'incoming')} RETURNING 1
  ) SELECT count(*) AS added FROM incoming`;

/** One transaction. @param lines rows as `lineOf` writes them. */
export function insertRows(dialect: Dialect, lines: readonly string[]): readonly Statement[] {
  const values = [`[${lines.join(',')}]`];
  return dialect === 'sqlite'
    ? [...SQLITE_BEFORE, { sql: SQLITE_INCOMING, values }, ...SQLITE_AFTER]
    : [{ sql: POSTGRESQL, values }];
}

/** Of what `insertRows` made: rows that were not there before. */
export const addedRows = (dialect: Dialect, results: readonly StatementResult[]): number =>
  dialect === 'sqlite' ? (results.at(-1)?.changed ?? 0) : Number(results[0]?.rows[0]?.['added'] ?? 0);

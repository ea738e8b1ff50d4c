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

const countOf = (condition: string): string => `sum(CASE WHEN ${condition} THEN 1 ELSE 0 END)`;

/** Of one amount: 10^-6 of the unit, rounded down, and what is over; the same for amounts below zero. */
const restOf = (column: string): string => `((${column} % ${PICO} + ${PICO}) % ${PICO})`;
const microOf = (column: string): string => `((${column} - ${restOf(column)}) / ${PICO})`;

/** A sum's two parts, whose first one takes what the second one has too much. */
const carried = (name: string, micro: string, pico: string): Readonly<Record<string, string>> => ({
  // PostgreSQL's sums are `numeric`, whose division is not one of whole numbers.
  [`${name}_micro`]: `sum(${micro}) + CAST(sum(${pico}) AS BIGINT) / ${PICO}`,
  [`${name}_pico`]: `sum(${pico}) % ${PICO}`,
});

/** How a sum is made of rows by request; else `sum(NAME)`. */
const OF_REQUESTS: Readonly<Record<string, string>> = {
  requests: 'count(*)',
  completed: countOf("outcome = 'completed'"),
  refused: countOf("outcome = 'refused'"),
  aborted: countOf("outcome = 'aborted'"),
  failed: countOf("outcome = 'failed'"),
  estimated: countOf("usage_source = 'estimate'"),
  ...carried('cost', microOf('cost_pico'), restOf('cost_pico')),
  ...carried('price', microOf('price_pico'), restOf('price_pico')),
};
/** How it is made of sums of shorter times. */
const OF_SUMS: Readonly<Record<string, string>> = {
  ...carried('cost', 'cost_micro', 'cost_pico'),
  ...carried('price', 'price_micro', 'price_pico'),
};

const HOUR = `ended_ms - ended_ms % ${HOUR_MS}`;
const SAME = 'start_ms';
const DAY = `start_ms - start_ms % ${DAY_MS}`;
/** The beginning of the month, in UTC. */
const MONTH: Readonly<Record<Dialect, string>> = {
  sqlite: "CAST(strftime('%s', start_ms / 1000, 'unixepoch', 'start of month') AS INTEGER) * 1000",
  postgresql:
    "CAST(extract(epoch FROM date_trunc('month', to_timestamp(start_ms / 1000) AT TIME ZONE 'UTC')) AS BIGINT) * 1000",
};

/** Sums, in the order of the key, so that two writers do not wait for each other in a circle. */
function sumsFrom(
  from: string,
  start: string,
  made: Readonly<Record<string, string>>,
  dimension: (name: string) => string,
): string {
  const sums = SUMS.map((name) => `CAST(${made[name] ?? `sum(${name})`} AS BIGINT) AS ${name}`);
  const dimensions = DIMENSIONS.map((name) => `${dimension(name)} AS ${name}`);
  const groups = Array.from({ length: DIMENSIONS.length + 2 }, (_, i) => i + 1).join(', ');
  return `SELECT ${start} AS start_ms, tenant, ${dimensions.join(', ')}, ${sums.join(', ')}
    FROM ${from} GROUP BY ${groups} ORDER BY ${groups}`;
}

const ofRequests = (from: string): string =>
  sumsFrom(from, HOUR, OF_REQUESTS, (name) => `coalesce(${name}, '')`);

/** What becomes of a sum that is there already. */
function addedTo(table: string, name: string): string {
  const both = (column: string): string => `${table}.${column} + excluded.${column}`;
  if (name.endsWith('_pico')) return `${name} = (${both(name)}) % ${PICO}`;
  if (!name.endsWith('_micro')) return `${name} = ${both(name)}`;
  const pico = name.replace('_micro', '_pico');
  return `${name} = ${both(name)} + (${both(pico)}) / ${PICO}`;
}

const SUM_NAMES = `${KEY}, ${SUMS.join(', ')}`;

/** Adds sums by hour to others. */
const addTo = (table: string, start: string, from: string): string =>
  `INSERT INTO ${table} (${SUM_NAMES}) ${sumsFrom(`${from} WHERE true`, start, OF_SUMS, (name) => name)}
    ON CONFLICT (${KEY}) DO UPDATE SET ${SUMS.map((name) => addedTo(table, name)).join(', ')}`;

/**
 * SQLite has no statement that inserts into several tables. What is new has higher numbers than what was there, and its sums by
 * hour are in a table of the connection's own.
 */
const SQLITE_BEFORE: readonly Statement[] = [
  { sql: 'CREATE TEMP TABLE IF NOT EXISTS ledger_before (number INTEGER NOT NULL)' },
  { sql: `CREATE TEMP TABLE IF NOT EXISTS ledger_added (${SUM_NAMES})` },
  { sql: 'DELETE FROM temp.ledger_before' },
  { sql: 'DELETE FROM temp.ledger_added' },
  { sql: 'INSERT INTO temp.ledger_before SELECT coalesce(max(rowid), 0) FROM request' },
];
const SQLITE_ROW = `INSERT INTO request (${NAMES}) VALUES (${COLUMNS.map(() => '?').join(', ')})
  ON CONFLICT (id) DO NOTHING`;
const SQLITE_AFTER: readonly Statement[] = [
  {
    sql: `INSERT INTO temp.ledger_added (${SUM_NAMES})
      ${ofRequests('request WHERE rowid > (SELECT number FROM temp.ledger_before)')}`,
  },
  { sql: addTo('usage_hour', SAME, 'temp.ledger_added') },
  { sql: addTo('usage_day', DAY, 'temp.ledger_added') },
  { sql: addTo('usage_month', MONTH.sqlite, 'temp.ledger_added') },
];

const POSTGRESQL = `WITH incoming AS (
    INSERT INTO request (${NAMES}) SELECT ${FIELDS} FROM json_array_elements(CAST(? AS json)) AS value
    ON CONFLICT (id) DO NOTHING RETURNING *
  ), added AS (${ofRequests('incoming')}
  ), by_hour AS (${addTo('usage_hour', SAME, 'added')} RETURNING 1
  ), by_day AS (${addTo('usage_day', DAY, 'added')} RETURNING 1
  ), by_month AS (${addTo('usage_month', MONTH.postgresql, 'added')} RETURNING 1
  ) SELECT count(*) AS added FROM incoming`;

/** One transaction. @param lines rows as `lineOf` writes them. */
export const insertRows = (dialect: Dialect, lines: readonly string[]): readonly Statement[] =>
  dialect === 'sqlite'
    ? [...SQLITE_BEFORE, { sql: SQLITE_ROW, rows: lines.join(',') }, ...SQLITE_AFTER]
    : [{ sql: POSTGRESQL, values: [`[${lines.join(',')}]`] }];

/** Of what `insertRows` made: rows that were not there before. */
export const addedRows = (dialect: Dialect, results: readonly StatementResult[]): number =>
  dialect === 'sqlite'
    ? (results[SQLITE_BEFORE.length]?.changed ?? 0)
    : Number(results[0]?.rows[0]?.['added'] ?? 0);

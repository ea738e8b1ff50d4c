/**
 * Who used what: sums of the ledger, as questions in SQL and as rows of their answers. Sums of money are exact, and sums of any
 * size: their high and low parts are added apart, because a sum beyond 63 bits is an error there.
 */
import type { Database, SqlRow, SqlValue, Statement } from '../database/database.ts';
import { COUNTS } from './counts.ts';
import { PICO_IN_MICRO } from './migrations.ts';
import { DAY_MS, dayText, hourText, type Period } from './period.ts';
import { type Piece, piecesOf, type Step } from './report-pieces.ts';

/** What sums can be told apart by. */
export const DIMENSIONS = [
  'tenant',
  'model',
  'adapter',
  'key',
  'tag',
  'pool',
  'hour',
  'day',
  'month',
] as const;
export type Dimension = (typeof DIMENSIONS)[number];

const ADDED = [...COUNTS, 'audio_ms', 'gpu_us'] as const;
/** Sums as reports have them: of money in one number, 10^-12 of the currency's unit. */
const SUMS = [...ADDED, 'kv_token_ms', 'cost_pico', 'price_pico'] as const;
export type Sum = (typeof SUMS)[number];

/** Columns that may be large in a single row. */
const LARGE = ['kv_token_ms', 'cost_micro', 'price_micro'] as const;
/** What is left of money below 10^-6 of the unit. */
const RESTS = ['cost_pico', 'price_pico'] as const;

/** Where a large number is cut. */
const CUT = 1_000_000;

export interface UsageQuestion {
  readonly period: Period;
  readonly by: readonly Dimension[];
  readonly tenant?: string;
  /** Or adapter. */
  readonly model?: string;
}

export interface UsageRow {
  /** In the order of the question's `by`; empty text: there is none. */
  readonly names: readonly string[];
  readonly sums: Readonly<Record<Sum, bigint>>;
  /** Of `cost_pico`; empty: nothing has a cost. */
  readonly costCurrency: string;
  /** Of `price_pico`; empty: nothing was charged. */
  readonly chargeCurrency: string;
}

type Dialect = Database['dialect'];

const COLUMNS: Readonly<Record<Exclude<Dimension, 'month'>, string>> = {
  tenant: 'tenant',
  model: 'model',
  adapter: 'adapter',
  key: 'key_id',
  tag: 'tag',
  pool: 'pool',
  hour: 'start_ms',
  day: `start_ms - start_ms % ${DAY_MS}`,
};
const MONTH: Readonly<Record<Dialect, string>> = {
  sqlite: "strftime('%Y-%m', start_ms / 1000, 'unixepoch')",
  postgresql: "to_char(to_timestamp(start_ms / 1000) AT TIME ZONE 'UTC', 'YYYY-MM')",
};

const expressionOf = (dimension: Dimension, dialect: Dialect): string =>
  dimension === 'month' ? MONTH[dialect] : COLUMNS[dimension];

const TABLES: Readonly<Record<Step, string>> = {
  hour: 'usage_hour',
  day: 'usage_day',
  month: 'usage_month',
};

/** Months and days where those say it: there are fewer of them. */
function stepsFor(by: readonly Dimension[]): readonly Step[] {
  if (by.includes('hour')) return ['hour'];
  return by.includes('day') ? ['day', 'hour'] : ['month', 'day', 'hour'];
}

interface Condition {
  readonly sql: string;
  readonly values: readonly SqlValue[];
}

function conditionOf({ period, tenant, model }: Omit<UsageQuestion, 'by'>, time: string): Condition {
  const values: SqlValue[] = [period.fromMs, period.toMs];
  let sql = `${time} >= ? AND ${time} < ?`;
  if (tenant !== undefined) {
    sql += ' AND tenant = ?';
    values.push(tenant);
  }
  if (model !== undefined) {
    sql += ' AND (model = ? OR adapter = ?)';
    values.push(model, model);
  }
  return { sql, values };
}

/**
 * One for each piece of the period. What they answer together is what `usageRows` reads.
 *
 * @param most rows of each answer.
 */
export function usageStatements(
  question: UsageQuestion,
  dialect: Dialect,
  most: number,
): readonly Statement[] {
  const names = question.by.map((dimension, i) => `${expressionOf(dimension, dialect)} AS name_${i}`);
  const groups = [
    ...question.by.map((dimension) => expressionOf(dimension, dialect)),
    'cost_currency',
    'price_currency',
  ];
  const sums = [
    ...[...ADDED, ...RESTS].map((sum) => `sum(${sum}) AS ${sum}`),
    ...LARGE.flatMap((sum) => [`sum(${sum} / ${CUT}) AS ${sum}_high`, `sum(${sum} % ${CUT}) AS ${sum}_low`]),
  ];
  const columns = [...names, 'cost_currency', 'price_currency', ...sums].join(', ');
  const statement = (piece: Piece): Statement => {
    const { sql, values } = conditionOf({ ...question, period: piece }, 'start_ms');
    return {
      sql: `SELECT ${columns} FROM ${TABLES[piece.step]} WHERE ${sql} GROUP BY ${groups.join(', ')} LIMIT ?`,
      values: [...values, most],
    };
  };
  return piecesOf(question.period, stepsFor(question.by)).map(statement);
}

const whole = (value: SqlRow[string] | undefined): bigint => BigInt(value ?? 0);

const nameOf = (dimension: Dimension, value: SqlRow[string] | undefined): string => {
  if (dimension === 'hour') return hourText(Number(value));
  return dimension === 'day' ? dayText(Number(value)) : String(value ?? '');
};

function sumsOf(row: SqlRow): UsageRow['sums'] {
  const large = (sum: (typeof LARGE)[number]): bigint =>
    whole(row[`${sum}_high`]) * BigInt(CUT) + whole(row[`${sum}_low`]);
  return {
    ...(Object.fromEntries(ADDED.map((sum) => [sum, whole(row[sum])])) as Record<Sum, bigint>),
    kv_token_ms: large('kv_token_ms'),
    cost_pico: large('cost_micro') * PICO_IN_MICRO + whole(row['cost_pico']),
    price_pico: large('price_micro') * PICO_IN_MICRO + whole(row['price_pico']),
  };
}

/** Rows of answers, in the order of their names: one for each set of names, or one for each of its currencies. */
export function usageRows({ by }: Pick<UsageQuestion, 'by'>, answer: readonly SqlRow[]): readonly UsageRow[] {
  const rows = answer.map((row) => ({
    names: by.map((dimension, i) => nameOf(dimension, row[`name_${i}`])),
    sums: sumsOf(row),
    costCurrency: String(row['cost_currency'] ?? ''),
    chargeCurrency: String(row['price_currency'] ?? ''),
  }));
  const groups = new Map<string, UsageRow[]>();
  for (const row of rows) {
    const key = JSON.stringify(row.names);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [row]);
    else group.push(row);
  }
  return [...groups.values()].flatMap(foldCurrencies).toSorted(byNames);
}

/** The sum of rows: one, or one for each currency. */
export const totalOf = (rows: readonly UsageRow[]): readonly UsageRow[] =>
  rows.length === 0 ? [] : foldCurrencies(rows.map((row) => ({ ...row, names: [] }))).toSorted(byNames);

/** Rows of the same names. What has no currency is added to the first that has one. */
function foldCurrencies(rows: readonly UsageRow[]): readonly UsageRow[] {
  const firstOf = (of: 'costCurrency' | 'chargeCurrency'): string =>
    rows
      .map((row) => row[of])
      .filter((currency) => currency !== '')
      .toSorted()[0] ?? '';
  const [cost, charge] = [firstOf('costCurrency'), firstOf('chargeCurrency')];
  const folded = new Map<string, UsageRow>();
  for (const row of rows) {
    const costCurrency = row.costCurrency === '' ? cost : row.costCurrency;
    const chargeCurrency = row.chargeCurrency === '' ? charge : row.chargeCurrency;
    const key = `${costCurrency} ${chargeCurrency}`;
    const before = folded.get(key);
    const sums = before === undefined ? row.sums : added(before.sums, row.sums);
    folded.set(key, { names: row.names, sums, costCurrency, chargeCurrency });
  }
  return [...folded.values()];
}

const added = (a: UsageRow['sums'], b: UsageRow['sums']): UsageRow['sums'] =>
  Object.fromEntries(SUMS.map((sum) => [sum, a[sum] + b[sum]])) as UsageRow['sums'];

function byNames(a: UsageRow, b: UsageRow): number {
  const texts = ({ names, chargeCurrency, costCurrency }: UsageRow) => [
    ...names,
    chargeCurrency,
    costCurrency,
  ];
  const [left, right] = [texts(a), texts(b)];
  const at = left.findIndex((text, i) => text !== right[i]);
  if (at < 0) return 0;
  return (left[at] ?? '') < (right[at] ?? '') ? -1 : 1;
}

/** It cost more than is charged for it. Amounts of two currencies are not compared. */
export const isUnprofitable = ({ sums, costCurrency, chargeCurrency }: UsageRow): boolean =>
  costCurrency !== '' &&
  (chargeCurrency === '' || chargeCurrency === costCurrency) &&
  sums.cost_pico > sums.price_pico;

const PERCENT = 100n;

/** Cost ÷ charge, in hundredths, rounded half up; undefined: nothing was charged, or in another currency. */
export function costPerCharge({ sums, costCurrency, chargeCurrency }: UsageRow): bigint | undefined {
  if (costCurrency === '' || costCurrency !== chargeCurrency || sums.price_pico <= 0n) return undefined;
  return (sums.cost_pico * PERCENT + sums.price_pico / 2n) / sums.price_pico;
}

/** A request whose usage is an estimate, as the ledger has it. */
export interface EstimatedRequest {
  readonly id: string;
  readonly endedMs: number;
  readonly tenant: string;
  readonly model: string;
  readonly adapter: string;
  readonly outcome: string;
  readonly promptTokens: bigint;
  readonly completionTokens: bigint;
  readonly chargePico: bigint;
  readonly chargeCurrency: string;
}

/** @param after the last one of the page before. */
export function estimatedStatement(
  question: Omit<UsageQuestion, 'by'>,
  after: Pick<EstimatedRequest, 'endedMs' | 'id'> | undefined,
  most: number,
): Statement {
  const { sql, values } = conditionOf(question, 'ended_ms');
  const page = after === undefined ? '' : ' AND (ended_ms > ? OR (ended_ms = ? AND id > ?))';
  return {
    sql: `SELECT id, ended_ms, tenant, model, adapter, outcome, prompt_tokens, completion_tokens, price_pico, price_currency FROM request WHERE ${sql} AND usage_source = 'estimate'${page} ORDER BY ended_ms, id LIMIT ?`,
    values: [...values, ...(after === undefined ? [] : [after.endedMs, after.endedMs, after.id]), most],
  };
}

export const estimatedRequests = (answer: readonly SqlRow[]): readonly EstimatedRequest[] =>
  answer.map((row) => ({
    id: String(row['id']),
    endedMs: Number(row['ended_ms']),
    tenant: String(row['tenant']),
    model: String(row['model'] ?? ''),
    adapter: String(row['adapter'] ?? ''),
    outcome: String(row['outcome']),
    promptTokens: whole(row['prompt_tokens']),
    completionTokens: whole(row['completion_tokens']),
    chargePico: whole(row['price_pico']),
    chargeCurrency: String(row['price_currency'] ?? ''),
  }));

/** Names that the ledger has, for who asked for another one. */
export const namesStatement = (of: 'tenant' | 'model' | 'adapter', most: number): Statement => ({
  sql: `SELECT ${of} AS name FROM usage_month WHERE ${of} <> '' GROUP BY ${of} ORDER BY ${of} LIMIT ?`,
  values: [most],
});

/** The first and the last day that the ledger has sums of; `null` where it has none. */
export const DAYS_STATEMENT: Statement = {
  sql: 'SELECT (SELECT min(start_ms) FROM usage_day) AS first_ms, (SELECT max(start_ms) FROM usage_day) AS last_ms',
};

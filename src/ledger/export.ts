/** Reads the ledger from its beginning to its end, some at a time: as large as it is, it is never in memory as a whole. */
import type { Database, SqlRow, SqlValue } from '../database/database.ts';
import { DIMENSIONS } from './insert.ts';
import { PICO_IN_MICRO, SUMS } from './migrations.ts';
import type { Period } from './period.ts';
import { COLUMN_NAMES } from './row-line.ts';

export type ExportOf = 'requests' | 'hours' | 'days' | 'months';

const PAGE = 5_000;

interface Source {
  readonly table: string;
  readonly columns: readonly string[];
  readonly time: string;
  /** What no two rows have alike; the time first. */
  readonly key: readonly string[];
}

const sums = (table: string): Source => ({
  table,
  columns: ['start_ms', 'tenant', ...DIMENSIONS, ...SUMS],
  time: 'start_ms',
  key: ['start_ms', 'tenant', ...DIMENSIONS],
});

const SOURCES: Readonly<Record<ExportOf, Source>> = {
  requests: { table: 'request', columns: COLUMN_NAMES, time: 'ended_ms', key: ['ended_ms', 'id'] },
  hours: sums('usage_hour'),
  days: sums('usage_day'),
  months: sums('usage_month'),
};

const isMicro = (column: string): boolean => column.endsWith('_micro');

/** Each amount is in one of them. */
export const exportColumns = (of: ExportOf): readonly string[] =>
  SOURCES[of].columns.filter((column) => !isMicro(column));

/** Makes one number of each two that are an amount. */
function withAmounts(row: SqlRow): SqlRow {
  const amounts = Object.keys(row)
    .filter(isMicro)
    .map((micro) => {
      const pico = micro.replace('_micro', '_pico');
      return [pico, BigInt(row[micro] ?? 0) * PICO_IN_MICRO + BigInt(row[pico] ?? 0)] as const;
    });
  return amounts.length === 0 ? row : { ...row, ...Object.fromEntries(amounts) };
}

/** In the order of time. @param tenant one alone; undefined: all. */
export async function* exportRows(
  database: Pick<Database, 'batch'>,
  of: ExportOf,
  { fromMs, toMs }: Period,
  tenant: string | undefined,
): AsyncGenerator<readonly SqlRow[]> {
  const { table, columns, time, key } = SOURCES[of];
  const base = `SELECT ${columns.join(', ')} FROM ${table} WHERE ${time} >= ? AND ${time} < ?`;
  const ours = tenant === undefined ? '' : ' AND tenant = ?';
  const behind = ` AND (${key.join(', ')}) > (${key.map(() => '?').join(', ')})`;
  const order = ` ORDER BY ${key.join(', ')} LIMIT ${PAGE}`;
  const given: readonly SqlValue[] = tenant === undefined ? [fromMs, toMs] : [fromMs, toMs, tenant];
  let after: readonly SqlValue[] | undefined;
  for (;;) {
    const sql = `${base}${ours}${after === undefined ? '' : behind}${order}`;
    const [result] = await database.batch([{ sql, values: [...given, ...(after ?? [])] }]);
    const rows = result?.rows ?? [];
    if (rows.length > 0) yield rows.map(withAmounts);
    const last = rows.at(-1);
    if (rows.length < PAGE || last === undefined) return;
    after = key.map((name) => last[name] ?? null);
  }
}

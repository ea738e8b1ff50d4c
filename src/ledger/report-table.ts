/** Tables of reports for terminals of 80 columns: names to the left, figures to the right, sums below a line. */
import { harmless } from '../domain/harmless.ts';

export interface ReportColumn {
  /** One line or two. */
  readonly heading: readonly [string] | readonly [string, string];
  readonly cells: readonly string[];
  /** Names are cut where the table would not fit. */
  readonly kind: 'name' | 'figure';
}

interface ReportTable {
  readonly columns: readonly ReportColumn[];
  /** How many of the last rows are sums. */
  readonly sums: number;
}

const GAP = '  ';
const LEAST_NAME = 8;

const widthOf = ({ heading, cells }: ReportColumn): number =>
  [...heading, ...cells].reduce((most, { length }) => Math.max(most, length), 0);

const wholeWidth = (widths: readonly number[]): number =>
  widths.reduce((sum, width) => sum + width, GAP.length * (widths.length - 1));

/** The longest names become shorter until all fits, or each has its least. */
function cutNames({ columns }: ReportTable, width: number): readonly number[] {
  const widths = columns.map(widthOf);
  while (wholeWidth(widths) > width) {
    const longest = columns.reduce(
      (best, { kind }, i) => (kind === 'name' && (widths[i] ?? 0) > (widths[best] ?? 0) ? i : best),
      columns.findIndex(({ kind }) => kind === 'name'),
    );
    const now = widths[longest] ?? 0;
    if (now <= LEAST_NAME) return widths;
    widths[longest] = now - 1;
  }
  return widths;
}

const fits = (table: ReportTable, width: number): boolean => wholeWidth(cutNames(table, width)) <= width;

const cut = (text: string, most: number): string =>
  text.length > most ? `${text.slice(0, most - 1)}…` : text;

const safe = ({ columns, sums }: ReportTable): ReportTable => ({
  columns: columns.map((column) => ({ ...column, cells: column.cells.map(harmless) })),
  sums,
});

/** The first of several tables that fits, else the last one. Texts of others are made harmless. @param tables how to make each. */
export function firstThatFits(tables: readonly (() => ReportTable)[], width: number): readonly string[] {
  let last: ReportTable | undefined;
  for (const make of tables) {
    last = safe(make());
    if (fits(last, width)) break;
  }
  return last === undefined ? [] : linesOf(last, width);
}

function linesOf(table: ReportTable, width: number): readonly string[] {
  const widths = cutNames(table, width);
  const { columns, sums } = table;
  const line = (of: (column: ReportColumn) => string): string =>
    columns
      .map((column, i) => {
        const text = cut(of(column), widths[i] ?? 0);
        return column.kind === 'name' ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0);
      })
      .join(GAP)
      .trimEnd();
  const rows = (columns[0]?.cells ?? []).map((_, row) => line(({ cells }) => cells[row] ?? ''));
  const above = columns.some(({ heading }) => heading.length > 1)
    ? [line(({ heading }) => (heading.length > 1 ? heading[0] : ''))]
    : [];
  return [
    ...above,
    line(({ heading }) => heading.at(-1) ?? ''),
    ...rows.slice(0, rows.length - sums),
    '-'.repeat(wholeWidth(widths)),
    ...rows.slice(rows.length - sums),
  ];
}

const UNITS = ['', 'k', 'M', 'G', 'T', 'P', 'E'] as const;

/** `1,234,567`. */
export const grouped = (count: bigint): string => count.toString().replace(/\B(?=(\d{3})+$)/g, ',');

/** In three digits and a unit where it has more than four, cut, not rounded: `12.3k`. */
export function compact(count: bigint): string {
  const digits = count.toString();
  if (digits.length <= 4) return digits;
  const before = ((digits.length - 1) % 3) + 1;
  const unit = UNITS[(digits.length - before) / 3];
  if (unit === undefined) return digits;
  const after = digits.slice(before, 3);
  return `${digits.slice(0, before)}${after === '' ? '' : `.${after}`}${unit}`;
}

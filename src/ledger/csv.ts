/** The ledger as CSV (RFC 4180): a line for the names, amounts as decimal numbers, times as ISO 8601 in UTC. */
import type { SqlRow } from '../database/database.ts';
import { csvCell } from '../domain/csv.ts';
import { harmless } from '../domain/harmless.ts';
import { decimalOf } from '../domain/money.ts';

type Value = SqlRow[string];

const isTime = (column: string): boolean => column === 'ended_ms' || column === 'start_ms';
const isMoney = (column: string): boolean => column.endsWith('_pico');

/** `ended_ms` → `ended`, `cost_pico` → `cost`: they have no unit of their own there. */
const headerOf = (column: string): string =>
  isTime(column)
    ? column.slice(0, -'_ms'.length)
    : isMoney(column)
      ? column.slice(0, -'_pico'.length)
      : column;

function fieldOf(column: string, value: Value): string {
  if (value === null) return '';
  if (isTime(column)) return new Date(Number(value)).toISOString();
  // A number, not a text that could be a formula.
  if (isMoney(column)) return decimalOf(BigInt(value));
  // On one line, and nothing that a terminal would obey.
  return csvCell(value, harmless);
}

export const csvHeader = (columns: readonly string[]): string => `${columns.map(headerOf).join(',')}\r\n`;

export const csvLine = (columns: readonly string[], row: SqlRow): string =>
  `${columns.map((column) => fieldOf(column, row[column] ?? null)).join(',')}\r\n`;

/** Comma-separated values, as RFC 4180 has them. Spreadsheets take no text in it for a formula. */

/** What spreadsheets begin to calculate at. */
const FORMULA = /^[=+\-@\t\r]/;
const SPECIAL = /[",\r\n]/;

/**
 * @param cell a number is written as it is; a text that a spreadsheet would calculate has an apostrophe before it.
 * @param clean what becomes of a text before it is quoted.
 */
export function csvCell(
  cell: string | number | bigint,
  clean: (text: string) => string = (text) => text,
): string {
  if (typeof cell !== 'string') return String(cell);
  const text = clean(FORMULA.test(cell) ? `'${cell}` : cell);
  return SPECIAL.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** One record, with its line's end. */
export const csvLine = (cells: readonly (string | number | bigint)[]): string =>
  `${cells.map((cell) => csvCell(cell)).join(',')}\r\n`;

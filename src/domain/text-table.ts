/** Tables and paragraphs of a given width, for terminals and pages that fold nothing. */

/** What fits a page, a mail and half of a wide screen. */
export const PAGE_WIDTH = 100;
const LEAST_WIDTH = 60;

/** @param columns of the terminal; undefined: there is none. */
export const widthFor = (columns: number | undefined): number =>
  Math.max(LEAST_WIDTH, Math.min(columns ?? PAGE_WIDTH, PAGE_WIDTH));

const LONGEST_NAME = 24;
const GAP = '  ';
const INDENT = '  ';

/** As many words in a line as fit. A word that is longer than the width has a line of its own. */
export function wrapped(text: string, width: number, indent = ''): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    const room = width - (lines.length === 0 ? 0 : indent.length);
    if (line === '' || longer.length <= room) line = longer;
    else {
      lines.push(line);
      line = word;
    }
  }
  return [...lines, line].map((one, i) => (i === 0 ? one : `${indent}${one}`));
}

interface Column {
  /** From the top. */
  readonly heading: readonly string[];
  readonly cells: readonly string[];
  readonly width: number;
}

const wideColumnOf = (heading: string, cells: readonly string[]): Column => ({
  heading: [heading],
  cells,
  width: Math.max(heading.length, ...cells.map(({ length }) => length)),
});

/** As narrow as its longest cell and the longest word of its heading. */
function narrowColumnOf(heading: string, cells: readonly string[]): Column {
  const least = Math.max(
    ...heading.split(' ').map(({ length }) => length),
    ...cells.map(({ length }) => length),
  );
  const lines = wrapped(heading, least);
  return { heading: lines, cells, width: Math.max(least, ...lines.map(({ length }) => length)) };
}

const cut = (text: string): string =>
  text.length > LONGEST_NAME ? `${text.slice(0, LONGEST_NAME - 1)}…` : text;

/**
 * A table, indented, its first column to the left and the others to the right. Where it does not fit, headings have several
 * lines; columns that do not fit even then go below, with the first one again.
 */
export function textTable(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  width: number = PAGE_WIDTH,
): readonly string[] {
  const cellsOf = (i: number): readonly string[] =>
    rows.map((row) => (i === 0 ? cut(row[i] ?? '') : (row[i] ?? '')));
  const wide = headings.map((heading, i) => wideColumnOf(heading, cellsOf(i)));
  const total = wide.reduce((sum, column) => sum + column.width + GAP.length, 0);
  const columns = total <= width ? wide : headings.map((heading, i) => narrowColumnOf(heading, cellsOf(i)));
  const [first, ...others] = columns;
  if (first === undefined) return [];
  const blocks: Column[][] = [];
  let used = Number.POSITIVE_INFINITY;
  for (const column of others) {
    const more = GAP.length + column.width;
    if (used + more > width) {
      blocks.push([first]);
      used = INDENT.length + first.width;
    }
    blocks.at(-1)?.push(column);
    used += more;
  }
  return (blocks.length === 0 ? [[first]] : blocks).flatMap(linesOf);
}

function linesOf(columns: readonly Column[]): readonly string[] {
  const line = (of: (column: Column) => string): string =>
    `${INDENT}${columns
      .map((column, i) => (i === 0 ? of(column).padEnd(column.width) : of(column).padStart(column.width)))
      .join(GAP)}`.trimEnd();
  const height = Math.max(...columns.map(({ heading }) => heading.length));
  const headings = Array.from({ length: height }, (_, i) =>
    line(({ heading }) => heading[heading.length - height + i] ?? ''),
  );
  return [...headings, ...(columns[0]?.cells ?? []).map((_, i) => line(({ cells }) => cells[i] ?? ''))];
}

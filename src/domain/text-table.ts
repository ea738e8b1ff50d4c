/** Tables and paragraphs of a given width, for terminals and pages that fold nothing. */

/** What fits a page, a mail and half of a wide screen. */
export const PAGE_WIDTH = 100;
const LEAST_WIDTH = 60;

/** @param columns of the terminal; undefined: there is none. */
export const widthFor = (columns: number | undefined): number =>
  Math.max(LEAST_WIDTH, Math.min(columns ?? PAGE_WIDTH, PAGE_WIDTH));

const GAP = '  ';

export interface TableStyle {
  /** Before each line. */
  readonly indent: string;
  /** Where the columns after the first one stand. */
  readonly align: 'left' | 'right';
  /** Longer texts of the first column are cut. */
  readonly longestName: number;
  /** Whether headings may have several lines, where the table would not fit. */
  readonly foldsHeadings: boolean;
}

const FIGURES: TableStyle = { indent: '  ', align: 'right', longestName: 24, foldsHeadings: true };

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

const cut = (text: string, most: number): string =>
  text.length > most ? `${text.slice(0, most - 1)}…` : text;

/**
 * A table, its first column to the left; of figures the others stand to the right. Where it does not fit, headings may have
 * several lines; columns that do not fit even then go below, with the first one again.
 */
export function textTable(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  width: number = PAGE_WIDTH,
  style: TableStyle = FIGURES,
): readonly string[] {
  const cellsOf = (i: number): readonly string[] =>
    rows.map((row) => (i === 0 ? cut(row[i] ?? '', style.longestName) : (row[i] ?? '')));
  const wide = headings.map((heading, i) => wideColumnOf(heading, cellsOf(i)));
  const total = wide.reduce(
    (sum, column) => sum + column.width + GAP.length,
    style.indent.length - GAP.length,
  );
  const columns =
    total <= width || !style.foldsHeadings
      ? wide
      : headings.map((heading, i) => narrowColumnOf(heading, cellsOf(i)));
  const [first, ...others] = columns;
  if (first === undefined) return [];
  const blocks: Column[][] = [];
  let used = Number.POSITIVE_INFINITY;
  for (const column of others) {
    const more = GAP.length + column.width;
    if (used + more > width) {
      blocks.push([first]);
      used = style.indent.length + first.width;
    }
    blocks.at(-1)?.push(column);
    used += more;
  }
  return (blocks.length === 0 ? [[first]] : blocks).flatMap((block) => linesOf(block, style));
}

function linesOf(columns: readonly Column[], { indent, align }: TableStyle): readonly string[] {
  const line = (of: (column: Column) => string): string =>
    `${indent}${columns
      .map((column, i) =>
        i === 0 || align === 'left' ? of(column).padEnd(column.width) : of(column).padStart(column.width),
      )
      .join(GAP)}`.trimEnd();
  const height = Math.max(...columns.map(({ heading }) => heading.length));
  const headings = Array.from({ length: height }, (_, i) =>
    line(({ heading }) => heading[heading.length - height + i] ?? ''),
  );
  return [...headings, ...(columns[0]?.cells ?? []).map((_, i) => line(({ cells }) => cells[i] ?? ''))];
}

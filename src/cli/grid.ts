/** A table that is never wider than its terminal: long names are cut, then the least important columns are left out. Pure. */
import { cutToWidth, fitToWidth, textWidth } from '../domain/text-width.ts';

export interface GridColumn {
  readonly heading: string;
  readonly cells: readonly string[];
  /** Default: right, as figures stand. */
  readonly align?: 'left' | 'right';
  /** It may be cut down to so many cells. Default: it is never cut. */
  readonly least?: number;
  /** Where there is no room, the column with the highest number is left out first. Default: it stays. */
  readonly spare?: number;
}

const GAP = 2;

interface Placed {
  readonly column: GridColumn;
  width: number;
}

const naturalWidth = ({ heading, cells }: GridColumn): number =>
  cells.reduce((most, cell) => Math.max(most, textWidth(cell)), textWidth(heading));

const total = (placed: readonly Placed[]): number =>
  placed.reduce((sum, { width }) => sum + width + GAP, -GAP);

/** Takes away from the columns that may be cut, the widest first. @returns whether that was enough. */
function shrink(placed: readonly Placed[], width: number): boolean {
  for (let over = total(placed) - width; over > 0; ) {
    const able = placed.filter((one) => one.width > (one.column.least ?? Number.POSITIVE_INFINITY));
    const [widest] = able.toSorted((a, b) => b.width - a.width);
    if (widest === undefined) return false;
    widest.width -= 1;
    over -= 1;
  }
  return true;
}

function without(columns: readonly GridColumn[]): readonly GridColumn[] | undefined {
  const spare = Math.max(...columns.map((column) => column.spare ?? 0));
  if (spare <= 0) return undefined;
  const at = columns.findLastIndex((column) => column.spare === spare);
  return columns.toSpliced(at, 1);
}

function place(columns: readonly GridColumn[], width: number): readonly Placed[] {
  const placed = columns.map((column) => ({ column, width: naturalWidth(column) }));
  const fewer = shrink(placed, width) ? undefined : without(columns);
  return fewer === undefined ? placed : place(fewer, width);
}

/** The headings' line, then a line for each row; none is wider than `width`. */
export function grid(columns: readonly GridColumn[], width: number): readonly string[] {
  const placed = place(columns, width);
  const line = (textOf: (column: GridColumn) => string): string =>
    cutToWidth(
      placed
        .map((one) => fitToWidth(textOf(one.column), one.width, one.column.align ?? 'right'))
        .join(' '.repeat(GAP))
        .trimEnd(),
      width,
    );
  const rows = Math.max(0, ...columns.map(({ cells }) => cells.length));
  return [
    line(({ heading }) => heading),
    ...Array.from({ length: rows }, (_, i) => line(({ cells }) => cells[i] ?? '')),
  ];
}

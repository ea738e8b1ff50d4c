/**
 * How many requests of each tenant and model wait and run, for the gauges. Rows at zero are dropped: the memory is
 * that of the requests at hand.
 */
export interface OccupancyRow {
  readonly tenant: string;
  readonly model: string;
  readonly queued: number;
  readonly inFlight: number;
}

/** Where one request is. The first `leave` counts, and nothing after it. */
export interface OccupancyEntry {
  enter(phase: 'queued' | 'inFlight'): void;
  leave(): void;
}

export interface Occupancy {
  /** An entry for a request, which is counted nowhere yet. */
  open(tenant: string, model: string): OccupancyEntry;
  rows(): Iterable<OccupancyRow>;
}

interface MutableRow {
  readonly tenant: string;
  readonly model: string;
  queued: number;
  inFlight: number;
  /** Entries that have not left. */
  open: number;
}

type Rows = Map<string, MutableRow>;

class Entry implements OccupancyEntry {
  private readonly rows: Rows;
  private readonly row: MutableRow;
  private at: 'queued' | 'inFlight' | undefined;
  private hasLeft = false;

  constructor(rows: Rows, row: MutableRow) {
    this.rows = rows;
    this.row = row;
    this.at = undefined;
    row.open += 1;
  }

  enter(phase: 'queued' | 'inFlight'): void {
    if (this.hasLeft) return;
    if (this.at !== undefined) this.row[this.at] -= 1;
    this.at = phase;
    this.row[phase] += 1;
  }

  leave(): void {
    if (this.hasLeft) return;
    this.hasLeft = true;
    const { row } = this;
    if (this.at !== undefined) row[this.at] -= 1;
    row.open -= 1;
    if (row.open === 0) this.rows.delete(keyOf(row.tenant, row.model));
  }
}

const keyOf = (tenant: string, model: string): string => `${tenant}\n${model}`;

export function createOccupancy(): Occupancy {
  const rows: Rows = new Map();
  return {
    open(tenant, model) {
      const key = keyOf(tenant, model);
      let row = rows.get(key);
      if (row === undefined) {
        row = { tenant, model, queued: 0, inFlight: 0, open: 0 };
        rows.set(key, row);
      }
      return new Entry(rows, row);
    },
    *rows() {
      for (const row of rows.values()) if (row.queued > 0 || row.inFlight > 0) yield row;
    },
  };
}

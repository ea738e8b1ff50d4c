/**
 * How many requests of each tenant and model wait and run, for the gauges. Rows at zero are dropped: the memory is that
 * of the requests at hand.
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
  place(tenant: string, model: string): OccupancyEntry;
  rows(): Iterable<OccupancyRow>;
}

interface MutableRow {
  readonly tenant: string;
  readonly model: string;
  queued: number;
  inFlight: number;
}

export function createOccupancy(): Occupancy {
  const rows = new Map<string, MutableRow>();
  return {
    place(tenant, model) {
      const key = `${tenant}\n${model}`;
      let at: 'queued' | 'inFlight' | undefined;
      let left = false;
      const step = (delta: number): void => {
        if (at === undefined) return;
        const row = rows.get(key) ?? { tenant, model, queued: 0, inFlight: 0 };
        row[at] += delta;
        if (row.queued === 0 && row.inFlight === 0) rows.delete(key);
        else rows.set(key, row);
      };
      return {
        enter(phase) {
          if (left) return;
          step(-1);
          at = phase;
          step(1);
        },
        leave() {
          left = true;
          step(-1);
          at = undefined;
        },
      };
    },
    rows: () => rows.values(),
  };
}

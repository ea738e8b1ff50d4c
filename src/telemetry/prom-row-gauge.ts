/** Metrics that are read when they are scraped: nobody keeps a second count. */
import { Counter, Gauge, type Registry } from 'prom-client';
import { Turns } from './turns.ts';

export interface RowGauge<Label extends string> {
  readonly name: string;
  /** What it was called: it is shown under both names for one minor version. */
  readonly was?: string;
  readonly help: string;
  readonly labels: readonly Label[];
  /**
   * Every series there is now, with its value. What is not here any more is not shown any more. Of many rows, others
   * have turns in between.
   */
  readonly rows: () => Iterable<readonly [labels: Readonly<Record<Label, string>>, value: number]>;
}

/** Registers a gauge with one series a row. */
export function rowGauge<Label extends string>(
  registry: Registry,
  { name, was, help, labels, rows }: RowGauge<Label>,
): void {
  new Gauge<Label>({
    name,
    help,
    labelNames: labels,
    registers: [registry],
    async collect() {
      this.reset();
      const turns = new Turns();
      for (const [of, value] of rows()) {
        this.set(of, value);
        if (turns.isOver()) await turns.next();
      }
    },
  });
  if (was !== undefined) rowGauge(registry, { name: was, help: deprecated(name), labels, rows });
}

export interface KnownCounter<Label extends string> {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly Label[];
  /** Series that are shown as 0 until something is counted: Prometheus' `increase()` sees no rise of what begins with it. */
  readonly known: () => Iterable<Readonly<Record<Label, string>>>;
}

/** Registers a counter that shows what may come before it has come. */
export const knownCounter = <Label extends string>(
  registry: Registry,
  { name, help, labels, known }: KnownCounter<Label>,
): Counter<Label> =>
  new Counter<Label>({
    name,
    help,
    labelNames: labels,
    registers: [registry],
    collect() {
      for (const of of known()) this.inc(of, 0);
    },
  });

/** Registers a counter whose counts are kept elsewhere: one series a row. */
export function rowCounter<Label extends string>(
  registry: Registry,
  { name, was, help, labels, rows }: RowGauge<Label>,
): void {
  new Counter<Label>({
    name,
    help,
    labelNames: labels,
    registers: [registry],
    collect() {
      this.reset();
      for (const [of, value] of rows()) this.inc(of, value);
    },
  });
  // It was a gauge, by its name.
  if (was !== undefined) rowGauge(registry, { name: was, help: deprecated(name), labels, rows });
}

const deprecated = (name: string): string => `Deprecated: ${name}.`;

/** Gauges that are read when they are scraped: nobody keeps a second count. */
import { Gauge, type Registry } from 'prom-client';

export interface RowGauge<Label extends string> {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly Label[];
  /** Every series there is now, with its value. What is not here any more is not shown any more. */
  readonly rows: () => Iterable<readonly [labels: Readonly<Record<Label, string>>, value: number]>;
}

/** Registers a gauge with one series a row. */
export function rowGauge<Label extends string>(
  registry: Registry,
  { name, help, labels, rows }: RowGauge<Label>,
): void {
  new Gauge<Label>({
    name,
    help,
    labelNames: labels,
    registers: [registry],
    collect() {
      this.reset();
      for (const [of, value] of rows()) this.set(of, value);
    },
  });
}

/**
 * A registry whose text is written in pieces: of 10,000 tenants it has megabytes, and requests are not to wait for it. Who asks
 * while it is being written gets the same text: many scrapers cost as much as one.
 */
import { type MetricObjectWithValues, type MetricValue, Registry } from 'prom-client';
import { KeptRows } from './kept-rows.ts';
import { Turns } from './turns.ts';

/** As prom-client has them: a histogram's labels are shared by its buckets. */
type Sample = MetricValue<string> & {
  readonly metricName?: string;
  readonly sharedLabels?: Readonly<Record<string, string | number>>;
};

interface Collected {
  getForPromString?(): Promise<MetricObjectWithValues<Sample>>;
  get(): Promise<MetricObjectWithValues<Sample>>;
}

/** The clock is looked at once in so many. */
const LINES = 200;

export class PiecedRegistry extends Registry {
  #underWay: Promise<string> | undefined;
  /** Rows of the text that is being written, by what makes them; undefined: none is. */
  #kept: Map<() => unknown, KeptRows<unknown>> | undefined;

  override metrics(): Promise<string> {
    this.#underWay ??= this.#written().finally(() => {
      this.#underWay = undefined;
      this.#kept = undefined;
    });
    return this.#underWay;
  }

  /** Rows that all metrics of one text share: they are made once for it, and are of one moment. */
  oncePerText<Row>(rows: () => Iterable<Row>): () => Iterable<Row> {
    return () => {
      const kept = this.#kept;
      if (kept === undefined) return rows();
      const known = kept.get(rows) as KeptRows<Row> | undefined;
      if (known !== undefined) return known;
      const made = new KeptRows(rows());
      kept.set(rows, made);
      return made;
    };
  }

  async #written(): Promise<string> {
    this.#kept = new Map();
    const turns = new Turns();
    const pieces: string[] = [];
    for (const metric of this.getMetricsAsArray() as unknown as readonly Collected[]) {
      const { name, help, type, values } = await (metric.getForPromString?.() ?? metric.get());
      let piece = `# HELP ${name} ${escaped(help)}\n# TYPE ${name} ${String(type)}\n`;
      let lines = 0;
      for (const sample of values) {
        piece += lineOf(name, sample);
        lines += 1;
        if (lines % LINES !== 0) continue;
        pieces.push(piece);
        piece = '';
        if (turns.isOver()) await turns.next();
      }
      pieces.push(`${piece}\n`);
      if (turns.isOver()) await turns.next();
    }
    return pieces.join('').slice(0, -1);
  }
}

function lineOf(name: string, { metricName = name, labels, sharedLabels, value }: Sample): string {
  let text = '';
  for (const label in labels) text += `${text && ','}${label}="${labelText(labels[label])}"`;
  for (const label in sharedLabels) text += `${text && ','}${label}="${labelText(sharedLabels[label])}"`;
  return `${metricName}${text && `{${text}}`} ${numberText(value)}\n`;
}

const SPECIAL = /[\\\n"]/;

const escaped = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');

function labelText(value: string | number | undefined): string {
  const text = String(value);
  return SPECIAL.test(text) ? escaped(text).replaceAll('"', '\\"') : text;
}

function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  return value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value);
}

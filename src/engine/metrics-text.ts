/** Prometheus text: the samples of some metrics, by name. Names are matched exactly: one is the beginning of another. */

export interface Sample {
  /** What stands between the braces. */
  readonly labels: string;
  readonly value: number;
}

/** A metric that is not there has no entry. */
export type Samples = ReadonlyMap<string, readonly Sample[]>;

/** `name{labels} value [timestamp]` → its parts; undefined for anything else. */
function readLine(line: string): (Sample & { readonly name: string }) | undefined {
  const match = /^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t\r]*$/.exec(line);
  if (match === null) return undefined;
  const [, name = '', labels = '', text = ''] = match;
  return { name, labels, value: Number(text) };
}

/** Samples of the wanted names. A line of another name costs a look at its beginning. */
export function collectSamples(text: string, wanted: ReadonlySet<string>): Samples {
  const found = new Map<string, Sample[]>();
  for (let from = 0; from < text.length; ) {
    const newline = text.indexOf('\n', from);
    const end = newline < 0 ? text.length : newline;
    let nameEnd = from;
    while (nameEnd < end && !' {\t'.includes(text[nameEnd] ?? ' ')) nameEnd += 1;
    if (wanted.has(text.slice(from, nameEnd))) {
      const sample = readLine(text.slice(from, end));
      if (sample !== undefined) {
        const list = found.get(sample.name);
        if (list === undefined) found.set(sample.name, [sample]);
        else list.push(sample);
      }
    }
    from = end + 1;
  }
  return found;
}

/** The label's value, as it is written; undefined if there is no such label before the first thing that is none. */
export function labelOf(labels: string, name: string): string | undefined {
  // Each look begins where the last one ended: to look for a label at every letter takes the square of their number.
  const label = /[ \t]*([A-Za-z_]\w*)[ \t]*=[ \t]*"([^"\\]*(?:\\.[^"\\]*)*)"[ \t]*,?/y;
  for (let found = label.exec(labels); found !== null; found = label.exec(labels)) {
    if (found[1] === name) return found[2];
  }
  return undefined;
}

/** Several series are several cores behind one endpoint: their requests add up. */
export const sumOf = (samples: readonly Sample[]): number =>
  samples.reduce((sum, { value }) => sum + value, 0);

/** The sum of a metric that may be absent. Undefined, too, when it is no finite number ≥ 0. */
export function amountOf(samples: Samples, name: string): number | undefined {
  const list = samples.get(name);
  const sum = list === undefined ? Number.NaN : sumOf(list);
  return sum >= 0 && sum < Infinity ? sum : undefined;
}

/** The sum over the series of the product of two labels that are numbers. */
export function labelProduct(samples: Samples, name: string, one: string, other: string): number | undefined {
  return samples
    .get(name)
    ?.reduce((sum, { labels }) => sum + Number(labelOf(labels, one)) * Number(labelOf(labels, other)), 0);
}

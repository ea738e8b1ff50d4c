/** A line of the log for people: time, severity, what happened, and its fields as `name=value`. */

type Fields = Readonly<Record<string, unknown>>;

const COLOURS: Readonly<Record<string, number>> = { debug: 90, info: 36, warn: 33, error: 31 };
const DIM = 2;
/** One word, or what needs no quotes to be read as one value. */
const PLAIN_VALUE = /^[^\s"=]+$/;

function valueText(value: unknown): string {
  if (typeof value === 'string') return PLAIN_VALUE.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value);
}

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Fields of fields get a path; empty lists say nothing. */
function* pairsOf(fields: Fields, within = ''): Generator<readonly [string, unknown]> {
  for (const [name, value] of Object.entries(fields)) {
    if (isFields(value)) yield* pairsOf(value, `${within}${name}.`);
    else if (!Array.isArray(value) || value.length > 0) yield [`${within}${name}`, value];
  }
}

/** Of a list of sentences each has a line of its own, below. */
const isSentences = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((one) => typeof one === 'string' && one.includes(' '));

/**
 * @param line of JSON, harmless for a terminal already, with or without a line feed at its end.
 * @param colour with escape sequences.
 * @returns the same for people, with a line feed; the line itself where it is no JSON.
 */
export function prettyLine(line: string, colour: boolean): string {
  let read: unknown;
  try {
    read = JSON.parse(line);
  } catch {
    return line;
  }
  if (!isFields(read)) return line;
  const { level, time, service: _, message, ...fields } = read;
  const paint = (code: number, text: string): string => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const word = String(level);
  const clock = typeof time === 'string' ? time.slice(11, 23) : '';
  const pairs = [...pairsOf(fields)];
  const inline = pairs
    .filter(([, value]) => !isSentences(value))
    .map(([name, value]) => `${paint(DIM, `${name}=`)}${valueText(value)}`);
  const below = pairs.flatMap(([name, value]) =>
    isSentences(value) ? value.map((one) => `\n  ${paint(DIM, `${name}:`)} ${one}`) : [],
  );
  const head = [paint(DIM, clock), paint(COLOURS[word] ?? 0, word.toUpperCase().padEnd(5)), String(message)];
  return `${[...head, ...inline].join(' ')}${below.join('')}\n`;
}

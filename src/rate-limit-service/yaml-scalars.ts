/**
 * What a scalar of YAML 1.1 is, by the rules of the reader that the reference rate limit service has
 * (gopkg.in/yaml.v2 v2.4.0, resolve.go). Base 60 is left out, as there; timestamps are texts, as there.
 */
import { isUtf8 } from 'node:buffer';

export type YamlScalar =
  | { readonly kind: 'null' }
  | { readonly kind: 'bool'; readonly value: boolean }
  /** Within 64 bits with a sign. */
  | { readonly kind: 'int'; readonly value: bigint }
  /** Within 64 bits without one. */
  | { readonly kind: 'uint'; readonly value: bigint }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'text'; readonly value: string };

/** A text that is not what its tag says. */
export class YamlFault extends Error {}

const TAG = 'tag:yaml.org,2002:';
const TAGS = ['str', 'bool', 'int', 'float', 'null', 'timestamp', 'binary', 'merge'] as const;
type KnownTag = (typeof TAGS)[number];
const KNOWN_TAGS: ReadonlyMap<string, KnownTag> = new Map(TAGS.map((name) => [`${TAG}${name}`, name]));
export const MERGE_TAG = `${TAG}merge`;
export const NULL_TAG = `${TAG}null`;

const NULL: YamlScalar = { kind: 'null' };
const TRUE: YamlScalar = { kind: 'bool', value: true };
const FALSE: YamlScalar = { kind: 'bool', value: false };
const float = (value: number): YamlScalar => ({ kind: 'float', value });

const cased = (...words: readonly string[]): readonly string[] =>
  words.flatMap((word) => [word, `${word[0]?.toUpperCase() ?? ''}${word.slice(1)}`, word.toUpperCase()]);
const WORDS: ReadonlyMap<string, YamlScalar> = new Map([
  ...cased('y', 'yes', 'true', 'on').map((word) => [word, TRUE] as const),
  ...cased('n', 'no', 'false', 'off').map((word) => [word, FALSE] as const),
  ...['', '~', ...cased('null')].map((word) => [word, NULL] as const),
  ...['.nan', '.NaN', '.NAN'].map((word) => [word, float(Number.NaN)] as const),
  ...['', '+'].flatMap((sign) =>
    ['.inf', '.Inf', '.INF'].map((word) => [`${sign}${word}`, float(Number.POSITIVE_INFINITY)] as const),
  ),
  ...['-.inf', '-.Inf', '-.INF'].map((word) => [word, float(Number.NEGATIVE_INFINITY)] as const),
]);

const MOST_INT = 2n ** 63n - 1n;
const MOST_UINT = 2n ** 64n - 1n;
/** Longer ones than 64 bits in base 2 with its prefix have no more meaning, and cost more to read. */
const BASES: readonly (readonly [RegExp, string])[] = [
  [/^([-+]?)0[xX]([0-9a-fA-F]+)$/, '0x'],
  [/^([-+]?)0[bB]([01]+)$/, '0b'],
  [/^([-+]?)0[oO]?([0-7]+)$/, '0o'],
  [/^([-+]?)(0|[1-9][0-9]*)$/, ''],
];
/** A sign behind the prefix: what is behind `0b` is read once more by itself. */
const LATE_SIGN = /^0b([-+])([01]+)$/;
const FLOAT = /^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$/;

/** Undefined for what 64 bits do not hold. */
function integer(sign: string, prefix: string, digits: string): YamlScalar | undefined {
  const significant = digits.replace(/^0+/, '');
  if (significant.length > 64) return undefined;
  const size = BigInt(`${prefix}${significant === '' ? '0' : significant}`);
  if (sign === '-') return size <= MOST_INT + 1n ? { kind: 'int', value: -size } : undefined;
  if (size <= MOST_INT) return { kind: 'int', value: size };
  return sign === '' && size <= MOST_UINT ? { kind: 'uint', value: size } : undefined;
}

/** A float that no double holds is none. */
function floatOf(text: string): YamlScalar | undefined {
  const value = Number(text);
  return FLOAT.test(text) && Number.isFinite(value) ? float(value) : undefined;
}

function numberOf(written: string): YamlScalar | undefined {
  const text = written.replaceAll('_', '');
  for (const [pattern, prefix] of BASES) {
    const found = pattern.exec(text);
    if (found === null) continue;
    const whole = integer(found[1] ?? '', prefix, found[2] ?? '');
    if (whole !== undefined) return whole;
  }
  const late = LATE_SIGN.exec(text);
  return floatOf(text) ?? (late === null ? undefined : integer(late[1] ?? '', '0b', late[2] ?? ''));
}

const MONTH_DAYS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const DATE = /^(\d{4})-(\d{1,2})-(\d{1,2})(?:([Tt ])(\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.,]\d+)?(.*))?$/;
const ZONE = /^(?:Z|[-+](\d\d):(\d\d))$/;

function isTimestamp(text: string): boolean {
  const found = DATE.exec(text);
  if (found === null) return false;
  const [year = 0, month = 0, day = 0] = found.slice(1, 4).map(Number);
  const isLeap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const days = month === 2 && !isLeap ? 28 : (MONTH_DAYS[month - 1] ?? 0);
  if (day < 1 || day > days) return false;
  const between = found[4];
  if (between === undefined) return true;
  const [hour = 0, minute = 0, second = 0] = found.slice(5, 8).map(Number);
  if (hour > 23 || minute > 59 || second > 59) return false;
  const rest = found[8] ?? '';
  if (between === ' ') return rest === '';
  const zone = ZONE.exec(rest);
  return zone !== null && Number(zone[1] ?? 0) <= 24 && Number(zone[2] ?? 0) < 60;
}

/** What a text is that has no quotes and no tag. */
function plain(text: string): YamlScalar {
  const as = (value: YamlScalar | undefined): YamlScalar => value ?? { kind: 'text', value: text };
  const word = WORDS.get(text);
  if (word !== undefined) return word;
  const first = text[0] ?? '';
  // Other than in numbers with digits in front, an underscore has to be between two of them.
  if (first === '.') return as(floatOf(text.replace(/(?<=[0-9])_(?=[0-9])/g, '')));
  if (!/[-+0-9]/.test(first)) return as(undefined);
  return as(numberOf(text));
}

function binary(text: string): YamlScalar {
  const base64 = text.replace(/[\r\n]/g, '');
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(base64)) {
    throw new YamlFault('!!binary value contains invalid base64 data');
  }
  const bytes = Buffer.from(base64, 'base64');
  if (!isUtf8(bytes)) throw new YamlFault('!!binary value is no UTF-8: no request can carry it');
  return { kind: 'text', value: bytes.toString() };
}

const NAMES: Readonly<Record<YamlScalar['kind'], KnownTag>> = {
  null: 'null',
  bool: 'bool',
  int: 'int',
  uint: 'int',
  float: 'float',
  text: 'str',
};

function tagged(tag: KnownTag, text: string): YamlScalar {
  if (tag === 'timestamp' && isTimestamp(text)) return { kind: 'text', value: text };
  const found = plain(text);
  const name = NAMES[found.kind];
  if (name === tag) return found;
  if (tag === 'float' && found.kind === 'int') return float(Number(found.value));
  throw new YamlFault(`cannot decode !!${name} \`${text.slice(0, 100)}\` as a !!${tag}`);
}

/**
 * Resolves a scalar.
 *
 * @param tag whole, or empty.
 * @param isPlain neither quotes nor a block nor a tag say that it is a text.
 * @throws YamlFault for a tag that the text does not fit.
 */
export function resolveScalar(tag: string, text: string, isPlain: boolean): YamlScalar {
  if (tag === '') return isPlain ? plain(text) : { kind: 'text', value: text };
  const known = KNOWN_TAGS.get(tag);
  if (known === undefined || known === 'str' || known === 'merge') return { kind: 'text', value: text };
  return known === 'binary' ? binary(text) : tagged(known, text);
}

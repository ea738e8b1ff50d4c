/** Bodies changed by a few bytes: some stay JSON, most of the others are refused. */
import { STEP_BYTES } from '../../../src/openai/json/reader.ts';
import { BodyWriter, NUMBERS } from './bodies.ts';
import type { Random } from './random.ts';

type Mutation = (bytes: Buffer, random: Random, other: Buffer) => Buffer;

const put = (bytes: Buffer, from: number, to: number, text: string | Uint8Array): Buffer =>
  Buffer.concat([
    bytes.subarray(0, from),
    typeof text === 'string' ? Buffer.from(text) : text,
    bytes.subarray(to),
  ]);

/** Text that some readers take and others do not, or that they take for different things. */
const ODDITIES: readonly (string | Uint8Array)[] = [
  ...['/*x*/', '//x\n', '#x\n', ',', ',,', ':', '"', "'", '\\', '{', '}', '[', ']', '[]', '{}', '""', 'NaN'],
  ...['Infinity', '-Infinity', '-NaN', 'nan', 'inf', 'undefined', 'None', 'True', 'TRUE', 'nul', 'truefalse'],
  ...[
    '0x10',
    '0b1',
    '0o7',
    '01',
    '-01',
    '+1',
    '.5',
    '5.',
    '1.e1',
    '1e',
    '1e+',
    '--1',
    '1_000',
    '1f',
    '١',
    '１',
  ],
  ...[
    '\u0000',
    '\u0001',
    '\u001f',
    '\u007f',
    '\u0085',
    '\u00a0',
    '\u2028',
    '\u2029',
    '\u200b',
    '\u3000',
    '\ufeff',
  ],
  ...[
    '\v',
    '\f',
    ' ',
    '\t',
    '\n',
    '\r',
    '\\u0000',
    '\\u00',
    '\\u+041',
    '\\u 041',
    '\\x41',
    '\\0',
    '\\a',
    '\\v',
  ],
  ...["\\'", '\\\n', '\\U00000041', '\\u{41}', '\\ud800', '\\udc00', '\\ud83d\\ude00', '\\uD83D\\uDE00'],
  ...[
    '\\ude00\\ud83d',
    '\\ud83d\\u0041',
    '\\ud83d\\\\ude00',
    '\\ud83dx',
    '\\ufeff',
    '\\uffff',
    '\\u2028',
    '\\/',
  ],
  ...['\ufffd', '\ufffe', '\uffff', '😀', 'ſ', '\u212a', '"x":1,', ',"x":1', '"model":"other",', '"":0,'],
  ...[
    '"\\u006dodel":"other",',
    '"Model":"other",',
    '"priority":1,',
    '"pr\\u0069ority":-9,',
    '"__proto__":{},',
  ],
  ...[
    '"stream":true,',
    '"n":2,',
    '"\\u006e":3,',
    '"max_tokens":1,',
    '"MAX_TOKENS":1,',
    '1,',
    ',1',
    ' , 1',
    ',-1.5',
  ],
  // No UTF-8: overlong, surrogates, beyond the last character, cut short, alone.
  ...[
    'c080',
    'c1bf',
    'e08080',
    'e09fbf',
    'eda080',
    'edbfbf',
    'eda0bdedb880',
    'f0808080',
    'f08fbfbf',
    'f4908080',
  ].map((hex) => Buffer.from(hex, 'hex')),
  ...['c3', 'e282', 'f09f98', '80', 'bf', 'fe', 'ff', 'f8888080', 'efbbbf', 'fffe', 'feff', 'efbfbf'].map(
    (hex) => Buffer.from(hex, 'hex'),
  ),
];

const at = (bytes: Buffer, random: Random): number => random.below(bytes.length + 1);
const span = (bytes: Buffer, random: Random): readonly [number, number] => {
  const from = at(bytes, random);
  return [from, Math.min(bytes.length, from + 1 + random.below(2 ** random.below(7)))];
};

/** A place that the pattern finds, by chance; bytes as characters. */
function found(
  bytes: Buffer,
  pattern: RegExp,
  random: Random,
): readonly [number, number, string] | undefined {
  const matches = [...bytes.toString('latin1').matchAll(pattern)];
  if (matches.length === 0) return undefined;
  const { index, 0: text } = random.pick(matches);
  return [index, index + text.length, text];
}

const escapeOf = (text: string, random: Random): string =>
  text
    .split('')
    .map((unit) => {
      const hex = unit.charCodeAt(0).toString(16).padStart(4, '0');
      return `\\u${random.chance(0.5) ? hex.toUpperCase() : hex}`;
    })
    .join('');

const MUTATIONS: readonly Mutation[] = [
  function flipBit(bytes, random) {
    const changed = Buffer.from(bytes);
    const place = random.below(bytes.length);
    changed[place] = (changed[place] ?? 0) ^ (1 << random.below(8));
    return changed;
  },
  function setByte(bytes, random) {
    const place = random.below(bytes.length);
    return put(bytes, place, place + 1, Uint8Array.of(random.below(256)));
  },
  function insertByte(bytes, random) {
    const place = at(bytes, random);
    return put(bytes, place, place, Uint8Array.of(random.below(random.pick([128, 256]))));
  },
  function cut(bytes, random) {
    const [from, to] = span(bytes, random);
    return put(bytes, from, to, '');
  },
  function repeat(bytes, random) {
    const [from, to] = span(bytes, random);
    return put(bytes, to, to, bytes.subarray(from, to));
  },
  function move(bytes, random) {
    const [from, to] = span(bytes, random);
    const place = at(bytes, random);
    return put(bytes, place, place, bytes.subarray(from, to));
  },
  function join(bytes, random, other) {
    return Buffer.concat([bytes.subarray(0, at(bytes, random)), other.subarray(at(other, random))]);
  },
  function oddity(bytes, random) {
    const place = at(bytes, random);
    return put(
      bytes,
      place,
      random.chance(0.7) ? place : Math.min(bytes.length, place + 1),
      random.pick(ODDITIES),
    );
  },
  function oddityInString(bytes, random) {
    const place = found(bytes, /[a-z]/g, random)?.[0] ?? 0;
    return put(bytes, place, place, random.pick(ODDITIES));
  },
  function oddityAtStructure(bytes, random) {
    const place = found(bytes, /[{},:[\]]/g, random)?.[random.below(2)] ?? 0;
    return put(bytes, Number(place), Number(place), random.pick(ODDITIES));
  },
  function space(bytes, random) {
    const place = Number(found(bytes, /[{},:[\]]/g, random)?.[random.below(2)] ?? 0);
    return put(bytes, place, place, random.pick([' ', '\t', '\n', '\r\n', ' '.repeat(40), '\v', '\u00a0']));
  },
  function number(bytes, random) {
    const place = found(bytes, /-?\d[\d.eE+-]*/g, random);
    return place === undefined ? bytes : put(bytes, place[0], place[1], random.pick(NUMBERS));
  },
  function digits(bytes, random) {
    const place = found(bytes, /\d/g, random)?.[1] ?? 0;
    const more = Array.from({ length: 1 + random.below(2 ** random.below(9)) }, () => random.below(10)).join(
      '',
    );
    return put(
      bytes,
      place,
      place,
      random.pick([more, `.${more}`, `e${more.slice(0, 3)}`, `e-${more.slice(0, 3)}`]),
    );
  },
  function escape(bytes, random) {
    const place = found(bytes, /[\x20-\x21\x23-\x5b\x5d-\x7e]/g, random);
    return place === undefined ? bytes : put(bytes, place[0], place[1], escapeOf(place[2], random));
  },
  function escapeInKey(bytes, random) {
    const place = found(bytes, /(?<=")[a-z_]+(?="\s*:)/g, random);
    if (place === undefined) return bytes;
    const character = place[0] + random.below(place[2].length);
    return put(
      bytes,
      character,
      character + 1,
      escapeOf(bytes.toString('latin1', character, character + 1), random),
    );
  },
  function otherCase(bytes, random) {
    const place = found(bytes, /[a-zA-Z]/g, random);
    if (place === undefined) return bytes;
    const [from, to, letter] = place;
    const other = letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase();
    return put(bytes, from, to, letter === 's' && random.chance(0.2) ? 'ſ' : other);
  },
  function unescape(bytes, random) {
    const place = found(bytes, /\\(?:u[\da-fA-F]{4}|["\\/bfnrt])/g, random);
    return place === undefined
      ? bytes
      : put(bytes, place[0], place[1], random.pick(['x', 'é', '\\\\', '\\/', '\\"']));
  },
  function value(bytes, random) {
    const place = found(bytes, /(?<=:\s*)(?:true|false|null|-?\d[\d.eE+-]*|"[^"\\]*")/g, random);
    return place === undefined ? bytes : put(bytes, place[0], place[1], new BodyWriter(random).value(3));
  },
  function nest(bytes, random) {
    const place = found(bytes, /(?<=[:[,]\s*)(?:true|false|null|-?\d[\d.eE+-]*)/g, random);
    if (place === undefined) return bytes;
    const depth = random.pick([1, 3, 60, 120, 130, 300]);
    return put(bytes, place[0], place[1], '['.repeat(depth) + place[2] + ']'.repeat(depth));
  },
  /** So that something stands where one step of the reader ends. */
  function shift(bytes, random) {
    if (!random.chance(0.4)) return put(bytes, 0, 0, ' ');
    const place = Number(found(bytes, /[{},:[\]"]/g, random)?.[random.below(2)] ?? 0);
    const length = STEP_BYTES * (1 + random.below(2)) - place - random.below(24);
    return put(
      bytes,
      place,
      place,
      random.pick([' ', '\n', 'x', 'é', '\\n', '1,', '[],']).repeat(Math.max(0, length)),
    );
  },
];

const MOST_BYTES = 65_536;

/** @param bytes a body, not empty. */
export function mutated(bytes: Buffer, random: Random, other: Buffer): Buffer {
  let changed = bytes;
  do {
    changed = random.pick(MUTATIONS)(changed.length === 0 ? bytes : changed, random, other);
  } while (random.chance(0.35));
  return changed.length > MOST_BYTES ? changed.subarray(0, MOST_BYTES) : changed;
}

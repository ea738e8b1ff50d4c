/** Rate limit files by chance: in the ways that people write YAML, and in some that nobody should. */
import type { Random } from '../differential/random.ts';

const BOOLS = 'y yes true on n no false off null'.split(' ');
const WORDS = 'y yes true on n no false off null nil none .nan .inf -.inf +.inf'.split(' ');
export const ODD_SCALARS: readonly string[] = [
  ...[
    '',
    '~',
    '<<',
    '=',
    '.',
    '..',
    '-',
    '+',
    '_',
    '+_5',
    '_1',
    '-_1',
    '1_',
    '0_',
    '0x',
    '0b',
    '0o',
    '0b_1',
    '0b+1',
    '0b-1',
  ],
  ...[
    '-0b-1',
    '0b2',
    '0o8',
    '08',
    '09',
    '0x_1F',
    '0X1f',
    '0B11',
    '0O17',
    '-0x1F',
    '+0x1f',
    '-0o17',
    '00',
    '-0',
    '+0',
    '0.',
  ],
  ...[
    '.5',
    '.5_0',
    '.5e3',
    '-.5',
    '+.5',
    '5.',
    '5.e3',
    '1e3',
    '1E+3',
    '1e-400',
    '1e400',
    '-1e400',
    '1_0.5',
    '1._5',
    '1e',
    'e1',
  ],
  ...[
    '0x1p-2',
    '0x.8p1',
    'inf',
    'NaN',
    'infinity',
    '+inf',
    '-nan',
    '1:30',
    '190:20:30',
    '190:20:30.15',
    '12e03',
    '1,000',
  ],
  ...[
    '9223372036854775807',
    '9223372036854775808',
    '-9223372036854775808',
    '-9223372036854775809',
    '18446744073709551615',
  ],
  ...[
    '18446744073709551616',
    '+18446744073709551615',
    '0xFFFFFFFFFFFFFFFF',
    '0x10000000000000000',
    '9007199254740993',
  ],
  ...[
    '01777777777777777777777',
    '02000000000000000000000',
    '4294967295',
    '4294967296',
    '99999999999999999999999999',
  ],
  ...[
    '2020-01-01',
    '2020-1-1',
    '2020-13-01',
    '2020-02-30',
    '2020-01-01T00:00:00Z',
    '2020-01-01t1:2:3.5+01:00',
  ],
  ...['2020-01-01 10:00:00', '2020-01-01 10:00:00 -5', '2020-01-01T24:00:00Z', '0000-01-01', '02020-01-01'],
  ...[
    'constructor',
    '__proto__',
    'toString',
    'hasOwnProperty',
    'é',
    '日本',
    'a b',
    'a*',
    '*a',
    'a:b',
    'a#b',
    'a-b',
    'C:\\x',
  ],
  ...[
    '/api/*',
    'application/json',
    '10.0.0.0/8',
    '::1',
    'user@host',
    '50%',
    '"',
    "'",
    "it's",
    'a"b',
    '{}',
    '[]',
    '|',
    '>',
  ],
];
const UNITS =
  'second minute hour day week month year DAY Hour unknown fortnight constructor __proto__ 1'.split(' ');
const TAGS = [
  '!!str',
  '!!int',
  '!!float',
  '!!bool',
  '!!null',
  '!!timestamp',
  '!!binary',
  '!',
  '!foo',
  '!!foo',
  '!<tag:yaml.org,2002:str>',
];
const ANCHORS = ['a', 'b', 'x_y', 'r1', 'r2', 'A-1'];
/** Of a text that needs quotes. */
const SPECIAL = /[[\]{},"'#&*!|>%@`:\\]|^[-?](?![0-9.])|^\s|\s$/;
const LETTERS = '+-._:eExXoObBaAfFnNtTyYiI0123456789~';
const FLAGS = [
  'shadow_mode',
  'quota_mode',
  'detailed_metric',
  'value_to_metric',
  'share_threshold',
  'unlimited',
];

export class FileWriter {
  private readonly random: Random;
  private texts: string[] = [];
  private mappings: string[] = [];

  constructor(random: Random) {
    this.random = random;
  }

  /** The text of a scalar, without quotes. */
  scalar(): string {
    const { random } = this;
    // Most are nothing odd: a file is refused for one.
    if (random.chance(0.4)) return this.oddScalar();
    return `${this.letters(1, 'abcxyz/')}${this.letters(random.below(6), 'abcxyz_-./ 0123456789*')}z`;
  }

  /** One that has a meaning in YAML, or nearly. */
  oddScalar(): string {
    const { random } = this;
    const kind = random.below(4);
    if (kind === 0) return this.cased(random.pick(WORDS));
    if (kind === 1) return random.pick(ODD_SCALARS);
    if (kind === 2) return this.number();
    return this.letters(1 + random.below(8), LETTERS);
  }

  file(): string {
    const { random } = this;
    this.texts = [];
    this.mappings = [];
    const lines = [`${this.key('domain')}${this.value(() => (random.chance(0.8) ? 'D' : this.scalar()))}`];
    if (random.chance(0.95)) lines.push(`${this.key('descriptors')}${this.descriptors(0, 0)}`);
    if (random.chance(0.05)) lines.push(lines[0] ?? '');
    return this.framed(random.chance(0.05) ? lines.toReversed() : lines);
  }

  private framed(lines: readonly string[]): string {
    const { random } = this;
    let text = `${lines.join('\n')}${random.chance(0.95) ? '\n' : ''}`;
    if (random.chance(0.15)) text = `---${random.pick(['', ' ', ' # c'])}\n${text}`;
    if (random.chance(0.05)) text = `%YAML 1.1\n---\n${text}`;
    if (random.chance(0.1)) text = `# é: [\n${text}`;
    if (random.chance(0.1))
      text += random.pick(['---\n', '...\n', '---\ndomain: E\n', '...\n# c\n', '---\n[\n', '\n\n']);
    if (random.chance(0.1)) text = text.replaceAll('\n', '\r\n');
    if (random.chance(0.05)) text = text.replaceAll('\n', '\r');
    if (random.chance(0.05)) text = `\uFEFF${text}`;
    return text;
  }

  private number(): string {
    const { random } = this;
    const sign = random.pick(['', '', '', '+', '-']);
    const [prefix, digits] = random.pick([
      ['', '0123456789'],
      ['0', '01234567'],
      ['0', '0123456789'],
      ['0x', '0123456789abcdefABCDEF'],
      ['0o', '01234567'],
      ['0b', '01'],
    ] as const);
    const whole = this.letters(1 + random.below(random.chance(0.1) ? 25 : 5), digits);
    const parted = random.chance(0.2)
      ? whole.replace(/(.)(?=.)/g, (one) => (random.chance(0.3) ? `${one}_` : one))
      : whole;
    const rest = random.chance(0.25) ? random.pick(['.', '.5', '.50', 'e3', 'E+3', '.5e-3', '_', ':30']) : '';
    return `${sign}${prefix}${parted}${rest}`;
  }

  private cased(word: string): string {
    const { random } = this;
    const kind = random.below(4);
    if (kind === 0) return word.toUpperCase();
    if (kind === 1) return `${word[0]?.toUpperCase() ?? ''}${word.slice(1)}`;
    return kind === 2
      ? word
          .split('')
          .map((one) => (random.chance(0.3) ? one.toUpperCase() : one))
          .join('')
      : word;
  }

  private letters(count: number, from: string): string {
    return Array.from({ length: count }, () => from[this.random.below(from.length)] ?? '').join('');
  }

  private key(name: string): string {
    const { random } = this;
    const written = random.chance(0.04) ? random.pick([`"${name}"`, `'${name}'`, `${name} `]) : name;
    return `${written}:${random.chance(0.95) ? ' ' : random.pick(['', '  ', '\t', '\n   '])}`;
  }

  /** A scalar as it is written: in quotes or not, with a tag or an anchor or not. */
  private value(text: () => string): string {
    const { random } = this;
    if (this.texts.length > 0 && random.chance(0.04)) return `*${random.pick(this.texts)} `;
    const found = text();
    const tag = random.chance(0.03) ? `${random.chance(0.6) ? '!!str' : random.pick(TAGS)} ` : '';
    const anchor = random.chance(0.04) ? `&${this.named(this.texts)} ` : '';
    const kind = SPECIAL.test(found) && random.chance(0.9) ? random.below(2) : random.below(20);
    const quoted =
      kind === 0 ? JSON.stringify(found) : kind === 1 ? `'${found.replaceAll("'", "''")}'` : found;
    const comment = random.chance(0.03) ? random.pick([' # c', '\t# c', ' #', '#c']) : '';
    return `${anchor}${tag}${quoted}${comment}`;
  }

  private named(into: string[]): string {
    const isText = into === this.texts;
    const name = this.random.pick(
      this.random.chance(0.05) ? ANCHORS : ANCHORS.slice(isText ? 0 : 3).slice(0, 3),
    );
    into.push(name);
    return name;
  }

  private pairs(depth: number): (readonly [string, (level: number, flow: boolean) => string])[] {
    const { random } = this;
    const scalar = (text: () => string) => () => this.value(text);
    const pairs: (readonly [string, (level: number, flow: boolean) => string])[] = [];
    if (random.chance(0.97))
      pairs.push(['key', scalar(() => (random.chance(0.7) ? this.letters(2, 'kKxyz') : this.scalar()))]);
    if (random.chance(0.6)) pairs.push(['value', scalar(() => this.scalar())]);
    if (random.chance(0.8))
      pairs.push(['rate_limit', (level, flow) => this.mapping(this.limit(), level, flow)]);
    if (random.chance(0.15)) pairs.push([random.pick(FLAGS), scalar(() => this.flag())]);
    if (random.chance(0.05))
      pairs.push([
        'metadata',
        (level, flow) => this.mapping([['a', scalar(() => this.scalar())]], level, flow),
      ]);
    if (depth < 3 && random.chance(0.25)) {
      pairs.push([
        'descriptors',
        (level, flow) => (flow ? this.flowList(depth + 1) : this.descriptors(level, depth + 1)),
      ]);
    }
    if (random.chance(0.02)) pairs.push([this.scalar(), scalar(() => this.scalar())]);
    if (this.mappings.length > 0 && random.chance(0.2)) {
      pairs.splice(random.below(pairs.length + 1), 0, ['<<', () => `*${random.pick(this.mappings)}`]);
    }
    return random.chance(0.05) ? [...pairs, ...pairs.slice(0, 2)] : pairs;
  }

  private limit(): (readonly [string, (level: number, flow: boolean) => string])[] {
    const { random } = this;
    const amount = (): string => (random.chance(0.8) ? String(random.below(1_000)) : this.scalar());
    const pairs: (readonly [string, (level: number, flow: boolean) => string])[] = [
      ['unit', () => this.value(() => random.pick(UNITS))],
      ['requests_per_unit', () => this.value(amount)],
    ];
    if (random.chance(0.1)) pairs.push(['unlimited', () => this.value(() => this.flag())]);
    if (random.chance(0.1)) pairs.push(['name', () => this.value(() => this.scalar())]);
    if (random.chance(0.05)) pairs.push(['replaces', () => `[{ name: ${this.value(() => this.scalar())} }]`]);
    if (this.mappings.length > 0 && random.chance(0.2)) {
      pairs.splice(random.below(pairs.length + 1), 0, ['<<', () => `*${random.pick(this.mappings)}`]);
    }
    return random.shuffled(pairs).slice(0, random.chance(0.9) ? pairs.length : 1);
  }

  private flag(): string {
    return this.random.chance(0.95)
      ? this.random.chance(0.5)
        ? 'true'
        : this.cased(this.random.pick(BOOLS))
      : this.scalar();
  }

  private mapping(
    pairs: readonly (readonly [string, (level: number, flow: boolean) => string])[],
    level: number,
    flow: boolean,
  ): string {
    const { random } = this;
    const anchor = random.chance(0.1) ? `&${this.named(this.mappings)} ` : '';
    if (flow || random.chance(0.5)) {
      const space = random.pick([' ', ' ', '', '\n'.padEnd(level + 3, ' ')]);
      const separator = random.pick([', ', ', ', ',', ` ,\n${' '.repeat(level + 2)}`]);
      return `${anchor}{${space}${pairs.map(([key, value]) => `${this.key(key)}${value(level, true)}`).join(separator)}${space}}`;
    }
    const indent = ' '.repeat(level + 2);
    return `${anchor}\n${pairs.map(([key, value]) => `${indent}${this.key(key)}${value(level + 2, false)}`).join('\n')}`;
  }

  private descriptors(level: number, depth: number): string {
    const { random } = this;
    if (random.chance(0.15)) return this.flowList(depth);
    const indent = ' '.repeat(level + random.pick([0, 2, 2, 4]));
    const items = Array.from({ length: 1 + random.below(3) }, () => {
      if (random.chance(0.3)) return `${indent}- ${this.mapping(this.pairs(depth), indent.length, true)}`;
      const anchor = random.chance(0.1) ? `&${this.named(this.mappings)}\n${indent}  ` : '';
      const lines = this.pairs(depth).map(
        ([key, value]) => `${this.key(key)}${value(indent.length + 2, false)}`,
      );
      return `${indent}- ${anchor}${lines.join(`\n${indent}  `)}${random.chance(0.05) ? ' # c' : ''}`;
    });
    return `\n${items.join(random.chance(0.9) ? '\n' : '\n\n')}`;
  }

  private flowList(depth: number): string {
    const items = Array.from({ length: this.random.below(3) }, () =>
      this.mapping(this.pairs(depth), 4, true),
    );
    return `[${items.join(', ')}]`;
  }
}

const PIECES = [
  '\n',
  ' ',
  '\t',
  ': ',
  '- ',
  '#',
  ' #',
  ',',
  '{',
  '}',
  '[',
  ']',
  '"',
  "'",
  '&a ',
  '*a',
  '!',
  '!!str ',
  '<<: *a\n',
  '? ',
  '|\n',
  '>-\n',
  '---\n',
  '...\n',
  '\\',
  '%',
  '@',
  '`',
  '0',
  '~',
  '\r',
  '\u00A0',
  '\u0000',
  '\uFEFF',
  'é',
];

/** A text with a few small changes. */
export function altered(text: string, random: Random, other: string): string {
  let next = text;
  for (let left = 1 + random.below(3); left > 0; left -= 1) {
    const at = random.below(next.length + 1);
    const kind = random.below(4);
    const length = 1 + random.below(4);
    if (kind === 0) next = next.slice(0, at) + next.slice(at + length);
    else if (kind === 1) next = next.slice(0, at) + random.pick(PIECES) + next.slice(at);
    else if (kind === 2) next = next.slice(0, at) + random.pick(PIECES) + next.slice(at + length);
    else {
      const from = random.below(other.length);
      next = next.slice(0, at) + other.slice(from, from + length * 6) + next.slice(at);
    }
  }
  // A comma is part of a tag there, and its end here: that file is refused here.
  return next.replace(/\p{Surrogate}/gu, '').replace(/(![^\s,]*),/g, '$1 ,');
}

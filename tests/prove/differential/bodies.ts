/** Bodies by chance that are JSON, most of them requests, in all the spellings that JSON has. */

import { DEFAULT_FORBIDDEN_FIELDS } from '../../../src/config/forbidden-fields.ts';
import { API_ROUTES, type CommonRoute, isCommon } from '../../../src/domain/routes.ts';
import { KNOWN_NAMES } from '../../../src/openai/names.ts';
import type { Random } from './random.ts';

const ENGINE_ROUTES = API_ROUTES.filter(isCommon);

/** At the limits of integers and doubles, and in spellings that readers have tripped over. */
export const NUMBERS: readonly string[] = [
  ...'0 -0 1 -1 7 128 0.0 -0.0 0e0 -0e-0 0E+1 1.0 1e0 10E-1 1.50 0.1 1.1 123.456e-7 1e+07 1E-07 1e00000000001'.split(
    ' ',
  ),
  ...'2147483647 2147483648 -2147483649 4294967296 100000000000000000000000'.split(' '),
  ...'9007199254740991 9007199254740992 9007199254740993 -9007199254740993 9007199254740993.0'.split(' '),
  ...'9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809'.split(' '),
  ...'18446744073709551615 18446744073709551616 18446744073709551617 -18446744073709551616'.split(' '),
  ...'9223372036854775807.0 9223372036854775808e0 123456789012345678901234567890 1e19 1e20'.split(' '),
  ...'1e22 1e23 8.5e22 1e99 1e100 1e307 1e308 -1e308 1e309 1e-400 -1e-400 17976931348623157e292'.split(' '),
  ...'1.7976931348623157e308 1.7976931348623158e308 1.7976931348623159e308'.split(' '),
  ...'2.2250738585072014e-308 2.2250738585072011e-308 4.9e-324 5e-324 2e-324 1e-323 3.0e-310'.split(' '),
  ...'2.4703282292062327e-324 2.4703282292062328e-324 6.631236846766476e-316'.split(' '),
  ...'9007199254740992.5 9007199254740993.5 0.30000000000000004'.split(' '),
  '0.1000000000000000055511151231257827021181583404541015625',
  '1.00000000000000011102230246251565404236316680908203124',
  '1.00000000000000011102230246251565404236316680908203125',
  '1.00000000000000011102230246251565404',
  '0.000000000000000000000000000000000000000000000000000001',
  ...[`1${'0'.repeat(308)}`, `9${'9'.repeat(307)}`, `0.${'0'.repeat(330)}1`, `0.${'3'.repeat(700)}`],
  ...[`1${'0'.repeat(310)}e-10`, '1234567890'.repeat(30), `0.${'0'.repeat(300)}1e301`, `-${'7'.repeat(305)}`],
];

const PIECES: readonly string[] = [
  ...[
    'a',
    'hello ',
    'world',
    'x',
    ' ',
    'null',
    'NaN',
    '{"a":1}',
    '[1,2]',
    '//',
    '/*',
    '*/',
    "'",
    '#',
    ',',
    ':',
  ],
  ...[
    '"',
    '\\',
    '/',
    '\b',
    '\f',
    '\n',
    '\r',
    '\t',
    '\u0000',
    '\u0001',
    '\u001f',
    '\u007f',
    '\u0080',
    '\u009f',
  ],
  ...[
    'é',
    'e\u0301',
    'ſ',
    '\u212a',
    'ß',
    'İ',
    '\u00ad',
    '\u07ff',
    '\u0800',
    '\u2028',
    '\u2029',
    '\u202e',
    '\ud7ff',
  ],
  ...[
    '\ue000',
    '\ufeff',
    '\ufffd',
    '\ufffe',
    '\uffff',
    '\u{10000}',
    '😀',
    '𝄞',
    '\u{1ffff}',
    '\u{10ffff}',
    '名前',
  ],
  ...['\\u0041', '\\ud800', '\\n', '\\"', 'data:', 'AAAA', 'x'.repeat(70), 'Zürich – naïve '],
];

/** Members that engines and Fairlane look for, and what is next to them. */
const NAMES: readonly string[] = [
  ...KNOWN_NAMES,
  ...DEFAULT_FORBIDDEN_FIELDS.flatMap((path) => path.replace('*', 'x').split('.')),
  ...[
    'temperature',
    'top_p',
    'seed',
    'user',
    'metadata',
    'stop',
    'logit_bias',
    'unknown',
    '',
    '0',
    '-1',
    'a.b',
  ],
  ...[
    'constructor',
    'toString',
    'é',
    '名前',
    'x'.repeat(60),
    'modeL',
    'Model',
    'MESSAGES',
    'ſtream',
    'max_toKens',
  ],
];

const ROLES = ['system', 'user', 'assistant', 'tool', 'developer'];

/** Writes bodies. A class: one body has one style. */
export class BodyWriter {
  private readonly random: Random;
  private readonly spaces: readonly string[];
  private readonly escapes: number;

  constructor(random: Random) {
    this.random = random;
    this.spaces = random.pick([[''], [''], ['', ' '], ['', ' ', '\n', '\t', '\r\n', '  \n\t ']]);
    this.escapes = random.pick([0, 0, 0.1, 0.5, 1]);
  }

  body(): { readonly route: CommonRoute; readonly text: string } {
    const { random } = this;
    const route = random.pick(ENGINE_ROUTES);
    const members = [...this.required(route)];
    for (let i = random.below(8); i > 0; i -= 1) members.push(this.optional());
    const text = this.object(random.shuffled(members));
    return { route, text: `${this.space()}${text}${this.space()}` };
  }

  private required(route: CommonRoute): readonly (readonly [string, string])[] {
    const { random } = this;
    const model: readonly [string, string] = [
      'model',
      this.string(random.pick(['m', 'llama/3', 'é"', this.text()])),
    ];
    if (route === 'chat.completions' || route === 'messages') return [model, ['messages', this.messages()]];
    const text = (): string => this.string(this.text());
    const tokens = (): string => this.array(this.some(6, () => `${random.below(2 ** random.below(40))}`));
    if (route === 'responses') {
      return [model, ['input', random.pick([text, () => this.messages()])()]];
    }
    const prompt = random.pick([
      text,
      tokens,
      () => this.array(this.some(3, text)),
      () => this.array(this.some(3, tokens)),
    ])();
    return [model, [route === 'completions' ? 'prompt' : 'input', prompt]];
  }

  /** Values that are mostly of the type that the API has. */
  private optional(): readonly [string, string] {
    const { random } = this;
    const known: Readonly<Record<string, () => string>> = {
      stream: () => random.pick(['true', 'true', 'false', 'null']),
      n: () => random.pick(['1', '2', '128', '1.0', '2e0', '20e-1', 'null', '3.0000000000000000001']),
      best_of: () => random.pick(['1', '5', 'null', '4.0']),
      max_tokens: () => random.pick(['1', '77', '4096', '1e3', '2147483648', '5.0', '100.0000e0', 'null']),
      max_completion_tokens: () => random.pick(['1', '99', '1E2', '300.000', 'null']),
      max_output_tokens: () => random.pick(['1', '64', '1e1', 'null']),
      stream_options: () =>
        random.pick([
          'null',
          '{}',
          this.object([['include_usage', random.pick(['true', 'false', 'null'])]]),
          this.object([this.other(1), ['include_usage', 'false'], ['continuous_usage_stats', 'true']]),
        ]),
      suffix: () => this.string(this.text()),
      instructions: () => this.string(this.text()),
      system: () => random.pick([() => this.string(this.text()), () => this.array([this.part()])])(),
      tools: () => this.array(this.some(2, () => this.tool())),
      tool_choice: () => random.pick(['"auto"', this.object([['type', '"function"'], this.other(2)])]),
      response_format: () => this.object([['type', '"json_object"'], this.other(3)]),
      chat_template_kwargs: () => this.object([this.other(2), this.other(1)]),
      documents: () => this.array([this.object([['title', this.string(this.text())]])]),
      temperature: () => random.pick(NUMBERS),
      seed: () => random.pick(NUMBERS),
      logit_bias: () => this.object([[`${random.below(50_000)}`, random.pick(NUMBERS)]]),
      stop: () => this.array(this.some(3, () => this.string(this.text()))),
      priority: () => random.pick(NUMBERS),
      cache_salt: () => this.string(this.text()),
      bootstrap_host: () => '"h"',
      kv_transfer_params: () => this.value(2),
      lora_path: () => this.value(1),
      echo: () => random.pick(['true', 'false']),
    };
    if (random.chance(0.3)) return this.other(random.chance(0.05) ? 60 : 3);
    const name = random.pick(Object.keys(known));
    return [name, (known[name] ?? (() => 'null'))()];
  }

  private other(depth: number): readonly [string, string] {
    const { random } = this;
    const name = random.chance(0.4) ? random.pick(NAMES) : `x${random.below(100)}`;
    return [name, this.value(depth)];
  }

  private messages(): string {
    const { random } = this;
    return this.array(
      this.some(3, () => {
        const content = random.pick([
          () => this.string(this.text()),
          () => this.array(this.some(3, () => this.part())),
          () => 'null',
        ])();
        const role: readonly [string, string] = ['role', this.string(random.pick(ROLES))];
        const members: (readonly [string, string])[] = [role, ['content', content]];
        if (random.chance(0.2)) members.push(['name', this.string(this.text())]);
        if (random.chance(0.2)) members.push(this.other(2));
        if (random.chance(0.1)) {
          const call = this.object([
            ['name', '"f"'],
            ['arguments', this.string('{"a":1.0}')],
          ]);
          members.push([
            'tool_calls',
            this.array([
              this.object([
                ['id', '"1"'],
                ['type', '"function"'],
                ['function', call],
              ]),
            ]),
          ]);
        }
        return this.object(members);
      }),
    );
  }

  private part(): string {
    const { random } = this;
    const text: readonly [string, string] = ['text', this.string(this.text())];
    const url = this.string(random.pick(['data:image/png;base64,AAAA', 'data:,x', 'data:']));
    const type = (name: string): readonly [string, string] => ['type', this.string(name)];
    const members: readonly (readonly [string, string])[] = random.pick([
      [type('text'), text],
      [type('text'), text],
      [type('input_text'), text, this.other(1)],
      [
        type('image_url'),
        [
          'image_url',
          this.object([
            ['url', url],
            ['detail', '"low"'],
          ]),
        ],
      ],
      [type('image_url'), ['image_url', url], ['uuid', this.string('u')]],
      [
        type('input_audio'),
        [
          'input_audio',
          this.object([
            ['data', this.string('AAAA/+=='.repeat(random.below(40)))],
            ['format', '"wav"'],
          ]),
        ],
      ],
      [
        type('image'),
        ['source', this.object([type('base64'), ['media_type', '"image/png"'], ['data', '"AAAA"']])],
      ],
      [type('document'), ['source', this.object([type('text'), ['data', this.string(this.text())]])]],
      [type('tool_result'), ['tool_use_id', '"t"'], ['content', this.string(this.text())]],
      [type('thinking'), ['thinking', this.string(this.text())], ['signature', '"s"']],
    ]);
    return this.object(members);
  }

  private tool(): string {
    const { random } = this;
    const schema = this.object([
      ['type', '"object"'],
      ['properties', this.object([this.other(2), this.other(1)])],
    ]);
    const called = this.object([
      ['name', '"f"'],
      ['description', this.string(this.text())],
      ['parameters', schema],
    ]);
    return this.object([
      ['type', this.string(random.pick(['function', 'function', 'custom', 'bash_20250124']))],
      ['function', called],
    ]);
  }

  value(depth: number): string {
    const { random } = this;
    const kind = random.below(depth > 0 ? 7 : 4);
    if (kind === 0) return random.pick(NUMBERS);
    if (kind === 1) return this.string(this.text());
    if (kind === 2) return random.pick(['true', 'false', 'null']);
    if (kind === 3)
      return `${random.next() - 2 ** 31}${random.pick(['', '', '.5', `e${random.below(40) - 20}`])}`;
    // Deep ones are narrow.
    const most = depth > 5 ? 2 : 4;
    if (kind === 4) return this.array(this.some(6, () => random.pick(NUMBERS)));
    if (kind === 5) return this.array(this.some(most, () => this.value(depth - 1)));
    return this.object(this.some(most, () => this.other(depth - 1)));
  }

  private text(): string {
    const { random } = this;
    let text = '';
    for (let i = random.below(6); i > 0; i -= 1) {
      text += random.chance(0.05) ? String.fromCodePoint(this.codePoint()) : random.pick(PIECES);
    }
    return text;
  }

  private codePoint(): number {
    const code = this.random.below(2 ** this.random.pick([7, 11, 16, 20]));
    return code >= 0xd800 && code < 0xe000 ? code - 0x800 : code;
  }

  /** One of its spellings. */
  string(text: string): string {
    return `"${Array.from(text, (character) => this.character(character)).join('')}"`;
  }

  private character(character: string): string {
    const { random } = this;
    const short = SHORT_ESCAPES.get(character);
    const must = short !== undefined ? character !== '/' : character < ' ';
    if (!must && (this.escapes === 0 || !random.chance(this.escapes))) return character;
    if (short !== undefined && random.chance(0.7)) return short;
    return character
      .split('')
      .map((unit) => {
        const hex = unit.charCodeAt(0).toString(16).padStart(4, '0');
        return `\\u${random.chance(0.3) ? hex.toUpperCase() : hex}`;
      })
      .join('');
  }

  private array(items: readonly string[]): string {
    return `[${this.space()}${items.join(`${this.space()},${this.space()}`)}${this.space()}]`;
  }

  /** Most bodies have each key once. */
  private object(members: readonly (readonly [string, string])[]): string {
    const seen = new Set<string>();
    const texts: string[] = [];
    for (const [key, value] of members) {
      if (seen.has(key) && !this.random.chance(0.01)) continue;
      seen.add(key);
      texts.push(`${this.string(key)}${this.space()}:${this.space()}${value}`);
    }
    return `{${this.space()}${texts.join(`${this.space()},${this.space()}`)}${this.space()}}`;
  }

  private some<T>(most: number, make: () => T): readonly T[] {
    return Array.from({ length: 1 + this.random.below(most) }, make);
  }

  private space(): string {
    return this.random.pick(this.spaces);
  }
}

const SHORT_ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '\\"'],
  ['\\', '\\\\'],
  ['/', '\\/'],
  ['\b', '\\b'],
  ['\f', '\\f'],
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
]);

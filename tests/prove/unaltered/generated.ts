/** Bodies as clients send them and as nobody would, with members put in at any place that are changed or left out on the way. */
import { DEFAULT_FORBIDDEN_FIELDS } from '../../../src/config/forbidden-fields.ts';
import type { CommonRoute } from '../../../src/domain/routes.ts';
import { CLIENT_BODIES } from '../../support/client-bodies.ts';
import { BodyWriter, NUMBERS } from '../differential/bodies.ts';
import type { Random } from '../differential/random.ts';
import { placesOf, type Wanted } from './oracle.ts';

/** What a policy may leave out: the default, and names that meet the fields that are edited. */
export const POLICIES: readonly (readonly string[])[] = [
  DEFAULT_FORBIDDEN_FIELDS,
  [],
  ['cache_salt', 'kv_*', 'a.b', 'stream_options.x', 'messages.name', 'tools.function.strict'],
  [...DEFAULT_FORBIDDEN_FIELDS, 'user', 'metadata', 'stream_options.include_usage', 'x*'],
  ['stream_options', 'max_tokens', 'priority', 'seed', 'temperature', 'tools.function.parameters.*'],
];

export interface GeneratedBody {
  readonly route: CommonRoute;
  readonly text: string;
}

/** As many of them as there are of a kind, in the spellings and with the values that clients have. */
const MEMBERS: readonly (readonly [key: string, values: readonly string[]])[] = [
  ['stream', ['true', 'true', 'true', 'false', 'null']],
  [
    'stream_options',
    [
      'null',
      '{}',
      '{ }',
      '{"include_usage":true}',
      '{"include_usage":false}',
      '{"include_usage" : null , "x":1}',
      '{"x":1,"include_usage":false,"y":[1]}',
      '{"continuous_usage_stats":true}',
      '{\n"x":{"include_usage":false}\n}',
      '{"x":1}',
    ],
  ],
  ['max_tokens', ['1', '77', '4096', '1e3', '5.0', 'null']],
  ['max_completion_tokens', ['1', '99', '1E2', 'null']],
  ['max_output_tokens', ['64', '1e1', 'null']],
  ['priority', ['5', '-1e3', '"high"', 'null', '{"a":[1,2]}']],
  ['Priority', ['5']],
  ['pr\\u0069ority_x', ['0']],
  ['cache_salt', ['"theirs"', 'null', '"\\u0000"']],
  ['kv_transfer_params', ['{"do_remote_decode":true}', '{}']],
  ['bootstrap_host', ['"h"']],
  ['kv_a', ['1', '[1,2,[]]']],
  [
    'a',
    ['{"b":1}', '{"c":0,"b":1}', '{"b":1,"c":0}', '[{"b":1},{"c":1,"b":2},7,[{"b":3}]]', '{"a":{"b":1}}'],
  ],
  ['chat_template_kwargs', ['{"enable_thinking":false}', '{"chat_template":"x"}', '{"z":1,"tokenize":true}']],
  ['user', ['"u"', '"\\ud83d\\ude00"']],
  ['seed', ['9223372036854775807', '18446744073709551615', '-0', '1E400']],
  ['temperature', NUMBERS],
  ['logit_bias', ['{"50256":-100,"10":1E2}']],
  ['guided_json', ['{"zeta":1.10,"10":{"b":0.1000000000000000055511151231257827},"2":[]}']],
  ['metadata', ['{"priority":"high","stream_options":null}']],
  ['x', ['"\\/"', '"a\\"b,}"', '[[[[1]]]]', '{"x":{"x":{"x":{}}}}']],
  ['n', ['1', '2', '1.0', '128']],
];
/** Around what is copied and what is sent as a part of its own (splice.ts). */
const LONG_BYTES = [4_000, 16_370, 16_384, 20_000, 70_000];
const SPACES: readonly (readonly string[])[] = [[''], [''], ['', ' '], ['', ' ', '\n', '\t', '\r\n  ']];

/** By client: its members as they stand. */
const SEEDS = CLIENT_BODIES.map(({ route, bytes }) => ({ route, members: membersOf(bytes.toString()) }));

type Written = readonly [key: string, value: string];

function membersOf(text: string): readonly Written[] {
  return placesOf(text).members.map(({ start, value }) => {
    const colon = text.lastIndexOf(':', value.start);
    return [text.slice(start, colon).trim(), text.slice(value.start, value.end)];
  });
}

export function generated(random: Random): GeneratedBody {
  const seed = random.chance(0.6) ? random.pick(SEEDS) : undefined;
  if (seed === undefined && random.chance(0.5)) return new BodyWriter(random).body();
  const written = seed === undefined ? new BodyWriter(random).body() : undefined;
  const route = seed?.route ?? written?.route ?? 'completions';
  const members = [...(seed?.members ?? membersOf(written?.text ?? '{}'))];
  for (let more = random.below(6); more > 0; more -= 1) {
    const [key, values] = random.pick(MEMBERS);
    const name = `"${key}"`;
    const known = members.findIndex(([one]) => one === name);
    if (known >= 0) members.splice(known, 1);
    members.splice(random.below(members.length + 1), 0, [name, random.pick(values)]);
  }
  while (random.chance(0.02)) {
    const filler = random.pick(['x', 'é', '\\n', ' ']).repeat(random.pick(LONG_BYTES));
    members.splice(random.below(members.length + 1), 0, [`"l${random.next()}"`, `"${filler}"`]);
  }
  const spaces = random.pick(SPACES);
  const space = (): string => (spaces.length === 1 ? '' : random.pick(spaces));
  const body = members
    .map(([key, value]) => `${space()}${key}${space()}:${space()}${value}${space()}`)
    .join(',');
  const before = random.chance(0.005) ? '\n'.repeat(random.pick(LONG_BYTES)) : space();
  return { route, text: `${before}{${body}}${space()}` };
}

/** Each edit is on or off by itself: in a few thousand bodies all combinations come. */
export function wantedBy(random: Random): Wanted {
  return {
    includeUsage: random.chance(0.7),
    ...(random.chance(0.5)
      ? { model: random.pick(['n', 'demo', 'org/"other" é\\', 'adapter-0123456789']) }
      : {}),
    ...(random.chance(0.5) ? { maxOutputTokens: 1 + random.below(2 ** random.below(14)) } : {}),
    ...(random.chance(0.5) ? { cacheSalt: random.pick(['s', 'sält"']) } : {}),
    ...(random.chance(0.5) ? { priority: random.below(2_000) - 1_000 } : {}),
  };
}

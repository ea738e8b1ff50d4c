/** Bodies near the limit on which a reader may spend its time: each as many of one thing as fit. */

export interface WorstBody {
  readonly name: string;
  readonly path: string;
  readonly make: () => Buffer;
}

const BYTES = 7_900_000;
const CHAT = '/v1/chat/completions';

/** `text(i)` as often as it fits, with commas between. */
function many(text: (i: number) => string): string {
  const parts: string[] = [];
  let length = 0;
  for (let i = 0; length < BYTES - 300; i += 1) {
    const part = text(i);
    parts.push(part);
    length += Buffer.byteLength(part) + 1;
  }
  return parts.join(',');
}
const MESSAGES = '"messages":[{"role":"user","content":"hello"}]';
const chat = (more: string): Buffer => Buffer.from(`{"model":"demo",${MESSAGES},"max_tokens":5,${more}}`);
const field = (value: string): Buffer => chat(`"x":${value}`);
const content = (text: string): Buffer =>
  Buffer.from(`{"model":"demo","max_tokens":5,"messages":[{"role":"user","content":"${text}"}]}`);
const fill = (unit: string): string => unit.repeat(Math.floor((BYTES - 300) / Buffer.byteLength(unit)));
const nested = (depth: number, inner: string): string => '['.repeat(depth) + inner + ']'.repeat(depth);

/** Strings of digits that V8 hashes by their value: with few bits of it, many collide. */
const colliding = (i: number): string => `"${(i * 4_194_304 + 7).toString().padStart(1, '0')}":1`;

export const WORST_BODIES: readonly WorstBody[] = [
  {
    name: '560,000 members of the body',
    path: CHAT,
    make: () => chat(many((i) => `"key${100_000_000 + i}":1`)),
  },
  {
    name: '560,000 members of a member',
    path: CHAT,
    make: () => field(`{${many((i) => `"key${100_000_000 + i}":1`)}}`),
  },
  {
    name: 'members with the shortest names',
    path: CHAT,
    make: () => field(`{${many((i) => `"${i.toString(36)}":0`)}}`),
  },
  { name: 'empty arrays', path: CHAT, make: () => field(`[${many(() => '[]')}]`) },
  { name: 'empty objects', path: CHAT, make: () => field(`[${many(() => '{}')}]`) },
  { name: 'empty strings', path: CHAT, make: () => field(`[${many(() => '""')}]`) },
  { name: 'strings of a letter', path: CHAT, make: () => field(`[${many(() => '"a"')}]`) },
  {
    name: 'different short strings',
    path: CHAT,
    make: () => field(`[${many((i) => `"${i.toString(36)}"`)}]`),
  },
  { name: 'integers of a digit', path: CHAT, make: () => field(`[${many(() => '1')}]`) },
  { name: 'numbers with exponents', path: CHAT, make: () => field(`[${many(() => '1e1')}]`) },
  {
    name: 'numbers of many digits',
    path: CHAT,
    make: () => field(`[${many(() => `0.${'123456789'.repeat(30)}`)}]`),
  },
  {
    name: 'integers that no double holds',
    path: CHAT,
    make: () => field(`[${many(() => '9007199254740993')}]`),
  },
  { name: 'one number of 7.9 MB', path: CHAT, make: () => field(fill('1')) },
  { name: 'one fraction of 7.9 MB', path: CHAT, make: () => field(`0.${fill('1')}`) },
  { name: 'escaped letters', path: CHAT, make: () => content(fill('\\u0041')) },
  { name: 'escaped backslashes', path: CHAT, make: () => content(fill('\\\\')) },
  { name: 'escaped quotes', path: CHAT, make: () => content(fill('\\"')) },
  { name: 'escaped pairs of surrogates', path: CHAT, make: () => content(fill('\\ud83d\\ude00')) },
  { name: 'escaped surrogates alone', path: CHAT, make: () => content(fill('\\ud83d')) },
  { name: 'one long text of four-byte letters', path: CHAT, make: () => content(fill('😀')) },
  {
    name: 'text that is no UTF-8 at its end',
    path: CHAT,
    make: () =>
      Buffer.concat([content(fill('a')).subarray(0, -6), Buffer.from([0xff, 0x22, 0x7d, 0x5d, 0x7d])]),
  },
  { name: 'nesting without end', path: CHAT, make: () => Buffer.from('['.repeat(BYTES)) },
  { name: 'objects nested without end', path: CHAT, make: () => Buffer.from(fill('{"a":')) },
  {
    name: 'nesting to depth 120, again and again',
    path: CHAT,
    make: () => field(`[${many(() => nested(120, '1'))}]`),
  },
  { name: 'white space', path: CHAT, make: () => field(`[${' '.repeat(BYTES)}]`) },
  {
    name: 'a name twice at the end',
    path: CHAT,
    make: () => field(`{${many((i) => `"key${100_000_000 + i}":1`)},"key100000000":2}`),
  },
  {
    name: 'names that are escaped',
    path: CHAT,
    make: () => field(`{${many((i) => `"\\u006bey${100_000_000 + i}":1`)}}`),
  },
  {
    name: 'names that are numbers, backwards',
    path: CHAT,
    make: () => field(`{${many((i) => `"${9_000_000 - i}":1`)}}`),
  },
  { name: 'names of digits with one hash', path: CHAT, make: () => field(`{${many(colliding)}}`) },
  {
    name: 'names that are long and differ at the end',
    path: CHAT,
    make: () => field(`{${many((i) => `"${'k'.repeat(200)}${i}":1`)}}`),
  },
  {
    name: 'many objects with a member that is forbidden in JavaScript',
    path: CHAT,
    make: () => field(`[${many(() => '{"constructor":1}')}]`),
  },
  {
    name: 'small messages',
    path: CHAT,
    make: () =>
      Buffer.from(
        `{"model":"demo","max_tokens":5,"messages":[${many(() => '{"role":"user","content":"x"}')}]}`,
      ),
  },
  {
    name: 'small parts of one message',
    path: CHAT,
    make: () =>
      Buffer.from(
        `{"model":"demo","max_tokens":5,"messages":[{"role":"user","content":[${many(() => '{"type":"text","text":"x"}')}]}]}`,
      ),
  },
  {
    name: 'small images',
    path: CHAT,
    make: () =>
      Buffer.from(
        `{"model":"demo","max_tokens":5,"messages":[{"role":"user","content":[${many(() => '{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}')}]}]}`,
      ),
  },
  {
    name: 'small tools',
    path: CHAT,
    make: () => chat(`"tools":[${many((i) => `{"type":"function","function":{"name":"f${i}"}}`)}]`),
  },
  {
    name: 'arguments of the template',
    path: CHAT,
    make: () => chat(`"chat_template_kwargs":{${many((i) => `"k${i}":1`)}}`),
  },
  { name: 'biases of tokens', path: CHAT, make: () => chat(`"logit_bias":{${many((i) => `"${i}":-100`)}}`) },
  {
    name: 'token ids',
    path: '/v1/completions',
    make: () => Buffer.from(`{"model":"demo","max_tokens":5,"prompt":[${many(() => '1')}]}`),
  },
  {
    name: 'prompts of one token',
    path: '/v1/completions',
    make: () => Buffer.from(`{"model":"demo","max_tokens":5,"prompt":[${many(() => '[1]')}]}`),
  },
  {
    name: 'inputs of a letter',
    path: '/v1/embeddings',
    make: () => Buffer.from(`{"model":"embedder","input":[${many(() => '"a"')}]}`),
  },
  {
    name: 'items of a response',
    path: '/v1/responses',
    make: () => Buffer.from(`{"model":"demo","input":[${many(() => '{"role":"user","content":"x"}')}]}`),
  },
  {
    name: 'blocks of a message',
    path: '/v1/messages',
    make: () =>
      Buffer.from(
        `{"model":"demo","max_tokens":5,"messages":[{"role":"user","content":[${many(() => '{"type":"text","text":"x"}')}]}]}`,
      ),
  },
  {
    name: 'JSON that breaks off at its end',
    path: CHAT,
    make: () => field(`[${many(() => '{"a":[1,"b"]}')}`).subarray(0, -2),
  },
];

/** Serious 4: what a tenant may not set, it may not set inside of something else, nor by another spelling. */
import { expect } from 'vitest';
import { CHAT, chat, type Group, jsonOf, UP, type Vector, without, withoutKey } from '../support/vectors.ts';

const JINJA = "{% for c in range(999999999) %}{{ 'JINJA-OF-THE-TENANT' }}{% endfor %}";
const MARK = 'JINJA-OF-THE-TENANT';

/** Arguments of `apply_chat_template` that replace the template, the tokens or what is returned. */
const TEMPLATE_ARGUMENTS: Readonly<Record<string, unknown>> = {
  chat_template: JINJA,
  tokenize: false,
  return_dict: true,
  return_tensors: 'pt',
  tokenizer_kwargs: { padding: 'max_length', max_length: 1_000_000 },
  padding: 'max_length',
  max_length: 1_000_000,
  truncation: true,
  processor_kwargs: { max_pixels: 1_000_000_000 },
  conversation: [{ role: 'user', content: 'another conversation' }],
};

const dropOrRefuse = (status: number): boolean => status === 200 || status === 400;

const nested = (mode: 'drop' | 'refuse'): readonly Vector[] => [
  ...Object.entries(TEMPLATE_ARGUMENTS).map(
    ([key, value]): Vector => ({
      name: `${mode}: chat_template_kwargs.${key}`,
      modes: mode === 'drop' ? UP : ['open'],
      over: key === 'chat_template' ? ['h1', 'h2'] : ['h1'],
      send: { body: chat({ chat_template_kwargs: { enable_thinking: false, [key]: value } }) },
      expect:
        mode === 'refuse'
          ? { status: 400, engine: 'nothing' }
          : { status: dropOrRefuse, engine: withoutKey(key) },
    }),
  ),
  {
    name: `${mode}: chat_template_kwargs.chat_template beside a long prompt`,
    send: {
      body: chat({
        messages: [{ role: 'user', content: 'word '.repeat(20_000) }],
        chat_template_kwargs: { chat_template: JINJA },
      }),
    },
    expect: { status: dropOrRefuse, engine: without(MARK) },
  },
];

const spellings: readonly Vector[] = (
  [
    [
      'chat_template_kwargs with an escaped name',
      '"chat_template_kwargs":{"chat\\u005ftemplate":"JINJA-OF-THE-TENANT"}',
    ],
    [
      'an escaped chat_template_kwargs',
      '"chat_template_kwarg\\u0073":{"chat_template":"JINJA-OF-THE-TENANT"}',
    ],
    [
      'chat_template_kwargs twice',
      '"chat_template_kwargs":{},"chat_template_kwargs":{"chat_template":"JINJA-OF-THE-TENANT"}',
    ],
    [
      'chat_template_kwargs twice, one escaped',
      '"chat_template_kwargs":{},"chat_template_kwarg\\u0073":{"chat_template":"JINJA-OF-THE-TENANT"}',
    ],
    [
      'chat_template twice inside',
      '"chat_template_kwargs":{"chat_template":null,"chat_template":"JINJA-OF-THE-TENANT"}',
    ],
    [
      'chat_template in capitals inside',
      '"chat_template_kwargs":{"CHAT_TEMPLATE":"JINJA-OF-THE-TENANT","chat_template":"JINJA-OF-THE-TENANT"}',
    ],
    ['chat_template_kwargs in capitals', '"Chat_Template_Kwargs":{"chat_template":"JINJA-OF-THE-TENANT"}'],
    ['extra_body', '"extra_body":{"chat_template_kwargs":{"chat_template":"JINJA-OF-THE-TENANT"}}'],
    ['chat_template at the top, escaped', '"chat_templat\\u0065":"JINJA-OF-THE-TENANT"'],
    ['chat_template at the top, as an object', '"chat_template":{"a":"JINJA-OF-THE-TENANT"}'],
    ['chat_template at the top, in capitals', '"Chat_Template":"JINJA-OF-THE-TENANT"'],
  ] as const
).map(([name, member]) => ({
  name,
  modes: UP,
  send: { body: `{"model":"demo","max_tokens":5,"messages":[{"role":"user","content":"hello"}],${member}}` },
  expect: { status: dropOrRefuse, engine: without(MARK) },
}));

const routes: readonly Vector[] = (
  [
    ['/v1/completions', { model: 'demo', prompt: 'hello', max_tokens: 5 }],
    ['/v1/embeddings', { model: 'embedder', messages: CHAT.messages }],
    ['/v1/responses', { model: 'demo', input: 'hello' }],
    ['/v1/messages', { model: 'demo', messages: CHAT.messages, max_tokens: 5 }],
  ] as const
).flatMap(([path, body]) =>
  (['chat_template', 'tokenize'] as const).map((key) => ({
    name: `chat_template_kwargs.${key} on ${path}`,
    send: { path, body: { ...body, chat_template_kwargs: { [key]: JINJA } } },
    expect: { status: dropOrRefuse, engine: withoutKey(key) },
  })),
);

/** Names that are forbidden at the top, in the case that a Go engine reads as the same. */
const cases: readonly Vector[] = (
  [
    ['Priority', 1],
    ['PRIORITY', -100],
    ['Cache_Salt', 'x'],
    ['Request_Id', 'x'],
    ['Kv_Transfer_Params', {}],
    ['LORA_PATH', 'x'],
    ['Bootstrap_Host', 'x'],
    ['N_Predict', 100_000],
    ['Background', true],
  ] as readonly (readonly [string, unknown])[]
).map(([key, value]) => ({
  name: `${key}, which a Go engine reads as ${key.toLowerCase()}`,
  send: { body: chat({ [key]: value }) },
  expect: { status: dropOrRefuse, engine: withoutKey(key, key.toLowerCase()) },
}));

const jinjaElsewhere: readonly Vector[] = [
  {
    name: 'Jinja in a message is text, and served as it came',
    send: { body: chat({ messages: [{ role: 'user', content: JINJA }] }) },
    expect: {
      status: 200,
      engine: (seen) => expect(jsonOf(seen[0]).messages[0].content).toBe(JINJA),
    },
  },
  {
    name: 'arguments of a template that replace nothing are served',
    send: { body: chat({ chat_template_kwargs: { enable_thinking: false } }) },
    expect: {
      status: 200,
      engine: (seen) => expect(jsonOf(seen[0]).chat_template_kwargs).toEqual({ enable_thinking: false }),
    },
  },
];

export const SERIOUS_4: Group = {
  name: 'serious 4: nested fields',
  vectors: [...nested('drop'), ...spellings, ...routes, ...cases, ...jinjaElsewhere],
};

export const SERIOUS_4_REFUSED: Group = {
  name: 'serious 4: nested fields, refused',
  reconfigure: (world) =>
    world.reconfigure((config) => {
      config['fields'] = { onForbidden: 'refuse' };
    }),
  vectors: nested('refuse'),
};

/** Row 1: whatever an engine's template may render is counted as prompt, wherever it stands. */
import { expect } from 'vitest';
import { answerHeader } from '../support/h1.ts';
import { CHAT, chat, type Group, served, type Vector, without } from '../support/vectors.ts';
import { remainingTokens } from '../support/victim.ts';

const MARK = 'HIDDEN-PROMPT';
/** 120 KB: about 24,000 tokens, where 2,000 are allowed. */
const BIG = `${MARK} ${'word '.repeat(24_000)}`;
const TINY_PNG = 'data:image/png;base64,iVBORw0KGgo=';
const MEDIA_TYPES = [
  'image',
  'image_url',
  'input_image',
  'input_audio',
  'audio_url',
  'video_url',
  'file',
  'input_file',
  'document',
];

const messages = (...list: readonly object[]): object => ({ ...CHAT, messages: list });
const user = (more: object): object => messages({ role: 'user', content: 'hello', ...more });
const part = (one: object): object =>
  messages({ role: 'user', content: [{ type: 'text', text: 'hello' }, one] });
const call = (more: object, fn: object = {}): object =>
  messages(
    { role: 'user', content: 'hello' },
    {
      role: 'assistant',
      content: null,
      tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{}', ...fn }, ...more }],
    },
    { role: 'tool', tool_call_id: 'a', content: 'x' },
  );

const CHATS: readonly (readonly [string, object])[] = [
  ...MEDIA_TYPES.map((type) => [`a message with type ${type}`, user({ type, content: BIG })] as const),
  ...MEDIA_TYPES.map((type) => [`a part with type ${type} and a text`, part({ type, text: BIG })] as const),
  [
    'a message with type document and a base64 source',
    user({ type: 'document', source: { type: 'base64', data: '' }, content: BIG }),
  ],
  ['an image with a detail', part({ type: 'image_url', image_url: { url: TINY_PNG, detail: BIG } })],
  ['an image with a text beside it', part({ type: 'image_url', image_url: { url: TINY_PNG }, text: BIG })],
  [
    'an image with a content beside it',
    part({ type: 'image_url', image_url: { url: TINY_PNG }, content: BIG }),
  ],
  ['an image with a uuid', part({ type: 'image_url', image_url: { url: TINY_PNG }, uuid: BIG })],
  ['a part without a type', part({ text: BIG })],
  ['an image without a type, with a text', part({ image_url: { url: TINY_PNG }, text: BIG })],
  ['audio with a format', part({ type: 'input_audio', input_audio: { data: 'AAAA', format: BIG } })],
  [
    'a file with a name',
    part({ type: 'file', file: { filename: BIG, file_data: 'data:text/plain;base64,AAAA' } }),
  ],
  ['a refusal', part({ type: 'refusal', refusal: BIG })],
  ['a thought', part({ type: 'thinking', thinking: BIG })],
  ['a part whose type is the text', part({ type: BIG, text: 'x' })],
  ['a part of a part', part({ type: 'tool_result', content: [{ type: 'image', text: BIG }] })],
  ['a name', user({ name: BIG })],
  ['a role', messages({ role: BIG, content: 'hello' })],
  ['the id of a message', user({ id: BIG })],
  ['the status of a message', user({ status: BIG })],
  [
    'reasoning of an earlier answer',
    messages(
      { role: 'user', content: 'x' },
      { role: 'assistant', content: 'x', reasoning_content: BIG },
      { role: 'user', content: 'x' },
    ),
  ],
  [
    'reasoning under its other name',
    messages(
      { role: 'user', content: 'x' },
      { role: 'assistant', content: 'x', reasoning: BIG },
      { role: 'user', content: 'x' },
    ),
  ],
  ['the id of a tool call', call({ id: BIG })],
  ['the type of a tool call', call({ type: BIG })],
  ['the index of a tool call', call({ index: BIG })],
  ['the name in a tool call', call({}, { name: BIG })],
  ['the arguments of a tool call', call({}, { arguments: BIG })],
  ['arguments as an object', call({}, { arguments: { x: BIG } })],
  ['a key of the arguments', call({}, { arguments: { [BIG]: 1 } })],
  [
    'the tool call that is answered',
    messages({ role: 'user', content: 'x' }, { role: 'tool', tool_call_id: BIG, content: 'x' }),
  ],
  ['what a template is told', chat({ chat_template_kwargs: { custom: BIG } })],
  ['what a template is told, nested', chat({ chat_template_kwargs: { custom: [{ deep: { text: BIG } }] } })],
  ['a key of what a template is told', chat({ chat_template_kwargs: { custom: { [BIG]: 1 } } })],
  [
    'tools that a template is told',
    chat({
      chat_template_kwargs: { tools: [{ type: 'function', function: { name: 'f', description: BIG } }] },
    }),
  ],
  ['documents that a template is told', chat({ chat_template_kwargs: { documents: [{ text: BIG }] } })],
  ['a document', chat({ documents: [{ title: 'x', text: BIG }] })],
  ['the id of a document', chat({ documents: [{ id: BIG, text: 'x' }] })],
  ['the key of a document', chat({ documents: [{ [BIG]: 'x' }] })],
  ['a document that says that it is an image', chat({ documents: [{ type: 'image', text: BIG }] })],
  [
    'the description of a tool',
    chat({ tools: [{ type: 'function', function: { name: 'f', description: BIG } }] }),
  ],
  ['the type of a tool', chat({ tools: [{ type: BIG, function: { name: 'f' } }] })],
  [
    'a key of a tool’s parameters',
    chat({
      tools: [
        {
          type: 'function',
          function: { name: 'f', parameters: { type: 'object', properties: { [BIG]: {} } } },
        },
      ],
    }),
  ],
  ['a function', chat({ functions: [{ name: 'f', description: BIG }] })],
  ['white space that a tokenizer keeps', user({ content: `${MARK}${' \n'.repeat(60_000)}` })],
];

const OTHERS: readonly (readonly [string, string, object])[] = [
  ['a prompt', '/v1/completions', { model: 'demo', prompt: BIG, max_tokens: 5 }],
  ['one of several prompts', '/v1/completions', { model: 'demo', prompt: ['x', BIG], max_tokens: 5 }],
  ['a suffix', '/v1/completions', { model: 'demo', prompt: 'x', suffix: BIG, max_tokens: 5 }],
  ['the system prompt', '/v1/messages', { ...CHAT, system: BIG }],
  ['a block of the system prompt', '/v1/messages', { ...CHAT, system: [{ type: 'image', text: BIG }] }],
  [
    'a document as text',
    '/v1/messages',
    messages({
      role: 'user',
      content: [{ type: 'document', source: { type: 'text', media_type: 'text/plain', data: BIG } }],
    }),
  ],
  [
    'the title of a document',
    '/v1/messages',
    messages({
      role: 'user',
      content: [
        {
          type: 'document',
          title: BIG,
          source: { type: 'base64', media_type: 'application/pdf', data: 'AAAA' },
        },
      ],
    }),
  ],
  [
    'the context of a document',
    '/v1/messages',
    messages({
      role: 'user',
      content: [
        {
          type: 'document',
          context: BIG,
          source: { type: 'base64', media_type: 'application/pdf', data: 'AAAA' },
        },
      ],
    }),
  ],
  [
    'the input of a tool',
    '/v1/messages',
    messages(
      { role: 'user', content: 'x' },
      { role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'f', input: { x: BIG } }] },
    ),
  ],
  [
    'a key of a tool’s input',
    '/v1/messages',
    messages(
      { role: 'user', content: 'x' },
      { role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'f', input: { [BIG]: 1 } }] },
    ),
  ],
  [
    'the id of a tool’s use',
    '/v1/messages',
    messages(
      { role: 'user', content: 'x' },
      { role: 'assistant', content: [{ type: 'tool_use', id: BIG, name: 'f', input: {} }] },
    ),
  ],
  [
    'what a tool said',
    '/v1/messages',
    messages({ role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a', content: BIG }] }),
  ],
  [
    'the id of what a tool said',
    '/v1/messages',
    messages({ role: 'user', content: [{ type: 'tool_result', tool_use_id: BIG, content: 'x' }] }),
  ],
  [
    'the schema of a tool',
    '/v1/messages',
    { ...CHAT, tools: [{ name: 'f', input_schema: { type: 'object', description: BIG } }] },
  ],
  ['instructions', '/v1/responses', { model: 'demo', input: 'x', instructions: BIG, max_output_tokens: 5 }],
  [
    'an item that says that it is an image',
    '/v1/responses',
    { model: 'demo', input: [{ type: 'input_image', role: 'user', content: BIG }], max_output_tokens: 5 },
  ],
  [
    'what a function said',
    '/v1/responses',
    {
      model: 'demo',
      input: [
        { role: 'user', content: 'x' },
        { type: 'function_call_output', call_id: 'a', output: BIG },
      ],
      max_output_tokens: 5,
    },
  ],
  [
    'the id of a function call',
    '/v1/responses',
    {
      model: 'demo',
      input: [
        { role: 'user', content: 'x' },
        { type: 'function_call', call_id: BIG, name: 'f', arguments: '{}' },
      ],
      max_output_tokens: 5,
    },
  ],
  [
    'a summary of reasoning',
    '/v1/responses',
    {
      model: 'demo',
      input: [
        { role: 'user', content: 'x' },
        { type: 'reasoning', id: 'r', summary: [{ type: 'summary_text', text: BIG }] },
      ],
      max_output_tokens: 5,
    },
  ],
  [
    'the id of an item',
    '/v1/responses',
    { model: 'demo', input: [{ role: 'user', content: 'x', id: BIG }], max_output_tokens: 5 },
  ],
  ['an input', '/v1/embeddings', { model: 'embedder', input: BIG }],
  [
    'an input that says that it is an image',
    '/v1/embeddings',
    { model: 'embedder', input: [{ type: 'image', text: BIG }] },
  ],
];

const hidden = (name: string, path: string, body: object): Vector => ({
  name: `more than maxContext in ${name}${path === '/v1/chat/completions' ? '' : ` of ${path}`}`,
  send: { as: 'short', path, body },
  // Left out or refused: it is nobody's prompt.
  expect: { status: [200, 400, 413], engine: without(MARK) },
});

/** What is taken from the bucket for it before the engine has counted. */
const reserved = (name: string, body: object): Vector => ({
  name: `the bucket knows of ${name}`,
  async send({ world, send }) {
    const before = await remainingTokens(world, 'metered');
    const answer = await send({ as: 'metered', body });
    if (answer.status === 200) {
      const taken = before - Number(answerHeader(answer, 'x-ratelimit-remaining-tokens'));
      expect(taken, 'tokens reserved').toBeGreaterThan(10_000);
    }
    return answer;
  },
  expect: { status: [200, 400] },
});

export const REST_1: Group = {
  name: 'rest 1: hidden prompt',
  vectors: [
    ...CHATS.map(([name, body]) => hidden(name, '/v1/chat/completions', body)),
    ...OTHERS.map(([name, path, body]) => hidden(name, path, body)),
    reserved('a message with type image', user({ type: 'image', content: BIG })),
    reserved('the id of a tool call', call({ id: BIG })),
    reserved('what a template is told', chat({ chat_template_kwargs: { custom: BIG } })),
    {
      name: 'an image of 120 KB has a price of its own, and is served',
      send: {
        as: 'short',
        body: messages({
          role: 'user',
          content: [
            { type: 'text', text: '@@usage=1030,5@@' },
            { type: 'image_url', image_url: { url: `data:image/png;base64,${'A'.repeat(120_000)}` } },
          ],
        }),
      },
      expect: { status: 200, engine: served },
    },
  ],
};

/** Row 6: an engine fetches nothing for a tenant, unless the operator said so. */
import { expect } from 'vitest';
import { CHAT, type Group, jsonOf, UP, type Vector, without } from '../support/vectors.ts';

const HOST = '169.254.169.254';
const URLS = [
  `http://${HOST}/latest/meta-data/`,
  `https://${HOST}/latest/meta-data/`,
  `HTTP://${HOST}/latest/`,
  `hTtPs://${HOST}/latest/`,
  `//${HOST}/latest/`,
  ` http://${HOST}/latest/`,
  `\thttp://${HOST}/latest/`,
  `\nhttp://${HOST}/latest/`,
  `\u00a0http://${HOST}/latest/`,
  `\u0000http://${HOST}/latest/`,
  `ht\ntp://${HOST}/latest/`,
  `http:/${HOST}/latest/`,
  `http:\\\\${HOST}\\latest`,
  `ftp://${HOST}/x`,
  `gopher://${HOST}:70/_x`,
  `dict://${HOST}/x`,
  `s3://${HOST}/x`,
  `file:///etc/passwd?${HOST}`,
  `FILE:///etc/passwd?${HOST}`,
  `file:/etc/passwd?${HOST}`,
  `/etc/passwd?${HOST}`,
  `../../etc/passwd?${HOST}`,
  `blob:http://${HOST}/x`,
  `jar:http://${HOST}/x`,
  `data:http://${HOST}/,x`.replace('data:', 'view-source:'),
];
const DATA = 'data:image/png;base64,iVBORw0KGgo=';
const ENDS = without(HOST, '169.254', 'etc/passwd');
const refused = (status: number): boolean => status >= 400 && status < 500;

const chatPart = (part: object): object => ({
  ...CHAT,
  messages: [{ role: 'user', content: [{ type: 'text', text: 'x' }, part] }],
});
const url = `http://${HOST}/latest/meta-data/`;

const refusal = (name: string, path: string, body: object): Vector => ({
  name,
  send: { path, body },
  expect: { status: refused, engine: ENDS },
});

const PARTS: readonly (readonly [string, object])[] = [
  ['image_url', { type: 'image_url', image_url: { url } }],
  ['image_url as text', { type: 'image_url', image_url: url }],
  ['image_url without a type', { image_url: { url } }],
  ['image_url without a type, as text', { image_url: url }],
  ['input_image', { type: 'input_image', image_url: url }],
  ['image with url', { type: 'image', url }],
  ['image with image', { type: 'image', image: url }],
  ['image with path', { type: 'image', path: '/etc/passwd' }],
  ['image_pil', { type: 'image_pil', image_pil: url }],
  ['audio_url', { type: 'audio_url', audio_url: { url } }],
  ['audio_url without a type', { audio_url: { url } }],
  ['input_audio with url', { type: 'input_audio', input_audio: { url } }],
  ['input_audio whose data is a URL', { type: 'input_audio', input_audio: { data: url, format: 'wav' } }],
  ['video_url', { type: 'video_url', video_url: { url } }],
  ['video_url without a type', { video_url: { url } }],
  ['video with video', { type: 'video', video: url }],
  ['a list of frames', { type: 'video', video: [url, url] }],
  ['file with file_url', { type: 'file', file: { file_url: url } }],
  ['file whose data is a URL', { type: 'file', file: { file_data: url } }],
  ['file by its id', { type: 'file', file: { file_id: 'file-of-another-169.254' } }],
  ['file_url', { type: 'file_url', file_url: { url } }],
  ['image_embeds', { type: 'image_embeds', image_embeds: '169.254' }],
  ['image_embeds as an object', { type: 'image_embeds', image_embeds: { image_embeds: '169.254' } }],
  ['image_embeds without a type', { image_embeds: '169.254' }],
  ['audio_embeds', { type: 'audio_embeds', audio_embeds: '169.254' }],
  ['prompt_embeds', { type: 'prompt_embeds', prompt_embeds: '169.254' }],
  ['image_url and a data: URL beside it', { type: 'image_url', image_url: { url, URL: DATA } }],
];

const positions: readonly Vector[] = [
  ...PARTS.map(([name, part]) => refusal(`a part: ${name}`, '/v1/chat/completions', chatPart(part))),
  refusal('in the system message', '/v1/chat/completions', {
    ...CHAT,
    messages: [
      { role: 'system', content: [PARTS[0]?.[1]] },
      { role: 'user', content: 'x' },
    ],
  }),
  refusal('in what a tool said', '/v1/chat/completions', {
    ...CHAT,
    messages: [
      { role: 'user', content: 'x' },
      { role: 'tool', tool_call_id: 'a', content: [PARTS[0]?.[1]] },
    ],
  }),
  refusal('a part that is the whole content', '/v1/chat/completions', {
    ...CHAT,
    messages: [{ role: 'user', content: PARTS[0]?.[1] }],
  }),
  refusal('the second of two', '/v1/chat/completions', {
    ...CHAT,
    messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: DATA } }, PARTS[0]?.[1]] }],
  }),
  refusal('Anthropic: an image by URL', '/v1/messages', {
    ...CHAT,
    messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'url', url } }] }],
  }),
  refusal('Anthropic: a source without a type', '/v1/messages', {
    ...CHAT,
    messages: [{ role: 'user', content: [{ type: 'image', source: { url } }] }],
  }),
  refusal('Anthropic: a document by URL', '/v1/messages', {
    ...CHAT,
    messages: [{ role: 'user', content: [{ type: 'document', source: { type: 'url', url } }] }],
  }),
  refusal('Anthropic: a file by its id', '/v1/messages', {
    ...CHAT,
    messages: [
      {
        role: 'user',
        content: [{ type: 'image', source: { type: 'file', file_id: 'file-of-another-169.254' } }],
      },
    ],
  }),
  refusal('Anthropic: in what a tool said', '/v1/messages', {
    ...CHAT,
    messages: [
      {
        role: 'user',
        content: [
          {
            type: 'tool_result',
            tool_use_id: 'a',
            content: [{ type: 'image', source: { type: 'url', url } }],
          },
        ],
      },
    ],
  }),
  refusal('Anthropic: in a document of blocks', '/v1/messages', {
    ...CHAT,
    messages: [
      {
        role: 'user',
        content: [
          {
            type: 'document',
            source: { type: 'content', content: [{ type: 'image', source: { type: 'url', url } }] },
          },
        ],
      },
    ],
  }),
  refusal('responses: input_image', '/v1/responses', {
    model: 'demo',
    input: [{ role: 'user', content: [{ type: 'input_image', image_url: url }] }],
  }),
  refusal('responses: input_image by its id', '/v1/responses', {
    model: 'demo',
    input: [{ role: 'user', content: [{ type: 'input_image', file_id: 'file-of-another-169.254' }] }],
  }),
  refusal('responses: input_file by URL', '/v1/responses', {
    model: 'demo',
    input: [{ role: 'user', content: [{ type: 'input_file', file_url: url }] }],
  }),
  refusal('responses: input_file by its id', '/v1/responses', {
    model: 'demo',
    input: [{ role: 'user', content: [{ type: 'input_file', file_id: 'file-of-another-169.254' }] }],
  }),
  refusal('responses: in what a function said', '/v1/responses', {
    model: 'demo',
    input: [
      { type: 'function_call_output', call_id: 'a', output: [{ type: 'input_image', image_url: url }] },
    ],
  }),
  refusal('embeddings: messages', '/v1/embeddings', {
    model: 'embedder',
    messages: [{ role: 'user', content: [PARTS[0]?.[1]] }],
  }),
  refusal('embeddings: an input that is a part', '/v1/embeddings', {
    model: 'embedder',
    input: [{ type: 'image_url', image_url: { url } }],
  }),
  refusal('embeddings: an input with an image', '/v1/embeddings', {
    model: 'embedder',
    input: [{ image: url }],
  }),
  refusal('embeddings: an input with content', '/v1/embeddings', {
    model: 'embedder',
    input: [{ content: [{ type: 'image_url', image_url: { url } }] }],
  }),
];

const schemes: readonly Vector[] = URLS.flatMap((one): readonly Vector[] => [
  {
    ...refusal(
      `image_url: ${JSON.stringify(one)}`,
      '/v1/chat/completions',
      chatPart({ type: 'image_url', image_url: { url: one } }),
    ),
    modes: one.startsWith('http://') ? UP : ['open'],
    over: one.startsWith('http://') ? ['h1', 'h2'] : ['h1'],
  },
  refusal(`Anthropic: ${JSON.stringify(one)}`, '/v1/messages', {
    ...CHAT,
    messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'url', url: one } }] }],
  }),
]);

const allowed: readonly Vector[] = (
  [
    ['image_url', '/v1/chat/completions', chatPart({ type: 'image_url', image_url: { url: DATA } })],
    [
      'DATA:',
      '/v1/chat/completions',
      chatPart({ type: 'image_url', image_url: { url: DATA.replace('data:', 'DATA:') } }),
    ],
    [
      'input_audio',
      '/v1/chat/completions',
      chatPart({ type: 'input_audio', input_audio: { data: 'AAAA', format: 'wav' } }),
    ],
    [
      'Anthropic base64',
      '/v1/messages',
      {
        ...CHAT,
        messages: [
          {
            role: 'user',
            content: [
              { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } },
            ],
          },
        ],
      },
    ],
    [
      'input_image',
      '/v1/responses',
      { model: 'demo', input: [{ role: 'user', content: [{ type: 'input_image', image_url: DATA }] }] },
    ],
    [
      'a URL in a text',
      '/v1/chat/completions',
      { ...CHAT, messages: [{ role: 'user', content: `what is at ${url}?` }] },
    ],
    ['a URL in a text part', '/v1/chat/completions', chatPart({ type: 'text', text: url })],
    [
      'a URL in the arguments of a tool',
      '/v1/chat/completions',
      {
        ...CHAT,
        messages: [
          { role: 'user', content: 'x' },
          {
            role: 'assistant',
            tool_calls: [
              { id: 'a', type: 'function', function: { name: 'get', arguments: JSON.stringify({ url }) } },
            ],
          },
          { role: 'tool', tool_call_id: 'a', content: 'x' },
        ],
      },
    ],
    [
      'a URL in the schema of a tool',
      '/v1/chat/completions',
      {
        ...CHAT,
        tools: [
          {
            type: 'function',
            function: {
              name: 'get',
              parameters: { type: 'object', properties: { image_url: { type: 'string', default: url } } },
            },
          },
        ],
      },
    ],
  ] as const
).map(([name, path, body]) => ({
  name: `served: ${name}`,
  send: { path, body },
  expect: {
    status: name === 'DATA:' ? [200, 400] : 200,
    engine: (seen) => {
      for (const one of seen) expect(jsonOf(one)).toMatchObject(body);
    },
  },
}));

const told: Vector = {
  name: 'the refusal says which setting allows it',
  send: { body: chatPart({ type: 'image_url', image_url: { url } }) },
  expect: {
    status: 400,
    engine: 'nothing',
    answer: ({ body }) => expect(body.toString('utf8')).toMatch(/media/),
  },
};

export const REST_6: Group = {
  name: 'rest 6: media by URL',
  vectors: [...positions, ...schemes, ...allowed, told],
};

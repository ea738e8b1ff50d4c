import { describe, expect, it } from 'vitest';
import type { FieldPolicy, MediaPolicy } from '../../../src/config/config.ts';
import type { CommonRoute } from '../../../src/domain/routes.ts';
import type { ParsedRequest } from '../../../src/openai/parsed-request.ts';
import { parseRequest } from '../../../src/openai/request.ts';
import { policyWith } from '../../support/documents.ts';

const parse = (
  body: object,
  route: CommonRoute = 'chat.completions',
  fields: Partial<FieldPolicy> = {},
  media: Partial<MediaPolicy> = {},
) => parseRequest(route, Buffer.from(JSON.stringify({ model: 'm', ...body })), policyWith(fields, media));
const accepted = (...args: Parameters<typeof parse>): ParsedRequest => {
  const result = parse(...args);
  if (result.kind === 'bad') throw new Error(result.error.message);
  return result.request;
};
const codeOf = (...args: Parameters<typeof parse>): string => {
  const result = parse(...args);
  return result.kind === 'bad' ? result.error.code : 'accepted';
};
const chat = (content: unknown) => ({ messages: [{ role: 'user', content }] });
const LONG = 'a secret plan '.repeat(9_000);
const DATA = `data:image/png;base64,${'A'.repeat(100_000)}`;

describe('text counts as prompt, wherever it hides', () => {
  it.each<[string, object, CommonRoute?]>([
    ['a message that says it is an image', { messages: [{ role: 'user', type: 'image', content: LONG }] }],
    ['beside an image', chat([{ type: 'image_url', image_url: { url: 'data:,' }, text: LONG }])],
    ['within an image', chat([{ type: 'image_url', image_url: { url: 'data:,', caption: LONG } }])],
    ['a part without a type', chat([{ text: LONG }])],
    ['a part of an unknown type', chat([{ type: 'novel', novel: { chapters: [LONG] } }])],
    ['an image without a type, as text', chat([{ image_url: { url: 'data:,' }, anything: LONG }])],
    ['a type', chat([{ type: LONG }])],
    ['a tool call id', { messages: [{ role: 'tool', tool_call_id: LONG, content: 'x' }] }],
    ['a name', { messages: [{ role: 'user', name: LONG, content: 'x' }] }],
    ['a role', { messages: [{ role: LONG, content: 'x' }] }],
    [
      'a key',
      chat([
        { [LONG.slice(0, 16_000)]: 1, [`b${LONG.slice(0, 16_000)}`]: 1, [`c${LONG.slice(0, 16_000)}`]: 1 },
      ]),
    ],
    [
      'arguments of a call',
      {
        messages: [
          { role: 'assistant', tool_calls: [{ id: 'x', function: { name: 'f', arguments: LONG } }] },
        ],
      },
    ],
    ['reasoning', { messages: [{ role: 'assistant', reasoning_content: LONG }] }],
    ['a template’s arguments', { ...chat('x'), chat_template_kwargs: { story: LONG } }],
    ['documents', { ...chat('x'), documents: [{ title: 'x', body: LONG }] }],
    [
      'a schema',
      { ...chat('x'), response_format: { type: 'json_schema', json_schema: { description: LONG } } },
    ],
    [
      'a document of text',
      { messages: [{ role: 'user', content: [{ type: 'document', source: { type: 'text', data: LONG } }] }] },
      'messages',
    ],
    [
      'a tool’s result',
      {
        messages: [
          {
            role: 'user',
            content: [{ type: 'tool_result', tool_use_id: 'x', content: [{ type: 'text', text: LONG }] }],
          },
        ],
      },
      'messages',
    ],
    ['a system prompt', { ...chat('x'), system: [{ type: 'text', text: LONG }] }, 'messages'],
    ['an output', { input: [{ type: 'function_call_output', call_id: 'x', output: LONG }] }, 'responses'],
    [
      'a summary',
      { input: [{ type: 'reasoning', summary: [{ type: 'summary_text', text: LONG }] }] },
      'responses',
    ],
    ['content in place of an input', { input: 'x', content: LONG }, 'embeddings'],
  ])('%s', (_, body, route = 'chat.completions') => {
    expect(accepted(body, route).promptBytes).toBeGreaterThan(45_000);
  });
});

describe('a medium', () => {
  it.each<[string, unknown, CommonRoute?]>([
    ['an image', chat([{ type: 'image_url', image_url: { url: DATA } }])],
    ['an image as text', chat([{ type: 'image_url', image_url: DATA }])],
    ['an image without a type', chat([{ image_url: { url: DATA } }])],
    [
      'Anthropic’s image',
      chat([
        { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'A'.repeat(90_000) } },
      ]),
      'messages',
    ],
    [
      'an image of responses',
      { input: [{ role: 'user', content: [{ type: 'input_image', image_url: DATA }] }] },
      'responses',
    ],
  ])('has a price of its own: %s', (_, body, route = 'chat.completions') => {
    const request = accepted(body as object, route);
    expect(request.hasMedia).toBe(true);
    expect(request.promptBytes).toBeGreaterThanOrEqual(4_096);
    expect(request.promptBytes).toBeLessThan(4_200);
    expect(
      accepted(body as object, route, {}, { tokens: { image: 7, audio: 1, video: 1, file: 1 } }).promptBytes,
    ).toBeLessThan(150);
  });

  it('that is sound, video or a file has at least its price, and more by its size', () => {
    const sound = (bytes: number) =>
      chat([{ type: 'input_audio', input_audio: { data: 'A'.repeat(bytes), format: 'wav' } }]);
    expect(accepted(sound(100)).promptBytes).toBe(4 * 256 + 4);
    expect(accepted(sound(1_000_000)).promptBytes).toBe(10_004);
  });

  it('is none where there is only text', () => {
    expect(accepted(chat([{ type: 'text', text: 'x' }])).hasMedia).toBe(false);
    expect(accepted(chat([{ type: 'image_url', image_url: null }])).hasMedia).toBe(false);
  });
});

describe('what an engine would fetch', () => {
  const addresses = [
    'http://169.254.169.254/latest/meta-data',
    'HTTP://example.com/a.png',
    'https://example.com/a.png',
    '//example.com/a.png',
    'file:///etc/passwd',
    '/etc/passwd',
    'a.png',
    's3://bucket/a',
    ' data:image/png;base64,AAAA',
    '\tdata:,',
    'DATA:image/png;base64,AAAA',
    'data :,',
    '',
  ];
  const shapes: [string, (url: string) => object, CommonRoute?][] = [
    ['image_url', (url) => chat([{ type: 'image_url', image_url: { url } }])],
    ['image_url as text', (url) => chat([{ type: 'image_url', image_url: url }])],
    ['without a type', (url) => chat([{ image_url: { url } }])],
    ['with the type of text', (url) => chat([{ type: 'text', text: 'x', image_url: url }])],
    ['audio_url', (url) => chat([{ type: 'audio_url', audio_url: { url } }])],
    ['video_url', (url) => chat([{ type: 'video_url', video_url: { url } }])],
    ['image', (url) => chat([{ type: 'image', image: url }])],
    ['a list of images', (url) => chat([{ type: 'image', image: ['data:,', url] }])],
    ['input_audio.url', (url) => chat([{ type: 'input_audio', input_audio: { url } }])],
    [
      'within a tool’s result',
      (url) => chat([{ type: 'tool_result', content: [{ type: 'image', source: { type: 'url', url } }] }]),
      'messages',
    ],
    ['a part’s own url', (url) => chat([{ type: 'image', url }])],
    ['a part’s own path', (url) => chat([{ type: 'video', path: url }])],
    ['a path within', (url) => chat([{ type: 'image', image: { path: url } }])],
    ['source', (url) => chat([{ type: 'image', source: { type: 'url', url } }]), 'messages'],
    [
      'source of another type',
      (url) => chat([{ type: 'document', source: { type: 'novel', url } }]),
      'messages',
    ],
    [
      'input_image',
      (url) => ({ input: [{ role: 'user', content: [{ type: 'input_image', image_url: url }] }] }),
      'responses',
    ],
    [
      'input_file',
      (url) => ({ input: [{ role: 'user', content: [{ type: 'input_file', file_url: url }] }] }),
      'responses',
    ],
    ['an item itself', (url) => ({ input: [{ type: 'input_image', image_url: url }] }), 'responses'],
    [
      'an output',
      (url) => ({
        input: [{ type: 'computer_call_output', output: { type: 'computer_screenshot', image_url: url } }],
      }),
      'responses',
    ],
    ['an embedded part', (url) => ({ input: [{ type: 'image_url', image_url: { url } }] }), 'embeddings'],
    ['an embedded image', (url) => ({ input: [{ image: url }] }), 'embeddings'],
  ];

  it.each<[string, (url: string) => object, CommonRoute?]>(shapes)(
    'is refused by default: %s',
    (_, bodyOf, route) => {
      for (const url of addresses) expect([url, codeOf(bodyOf(url), route)]).toEqual([url, 'media_refused']);
      expect(codeOf(bodyOf('data:image/png;base64,AAAA'), route)).toBe('accepted');
    },
  );

  it('is not an address in text or in the arguments of a tool', () => {
    expect(
      codeOf(
        chat([
          {
            type: 'search_result',
            source: 'https://example.com/a',
            title: 'x',
            content: [{ type: 'text', text: 'x' }],
          },
        ]),
        'messages',
      ),
    ).toBe('accepted');
    expect(
      codeOf(
        {
          input: [
            {
              role: 'assistant',
              content: [
                {
                  type: 'output_text',
                  text: 'x',
                  annotations: [{ type: 'url_citation', url: 'https://example.com/' }],
                },
              ],
            },
          ],
        },
        'responses',
      ),
    ).toBe('accepted');
    expect(codeOf(chat([{ type: 'text', text: 'x', url: 'https://example.com/' }]))).toBe('accepted');
    const url = 'http://example.com/';
    expect(codeOf(chat(`look at ${url}`))).toBe('accepted');
    expect(
      codeOf(
        {
          messages: [
            { role: 'assistant', content: [{ type: 'tool_use', id: 'x', name: 'get', input: { url } }] },
          ],
        },
        'messages',
      ),
    ).toBe('accepted');
    expect(
      codeOf({
        ...chat('x'),
        tools: [{ type: 'function', function: { name: 'f', parameters: { url, image_url: url } } }],
      }),
    ).toBe('accepted');
  });

  it('is allowed from hosts of a list, read more strictly than any engine reads it', () => {
    const policy = { urls: 'allow-list', hosts: ['cdn.example.com', '*.images.example.com'] } as const;
    const of = (url: string) =>
      codeOf(chat([{ type: 'image_url', image_url: { url } }]), 'chat.completions', {}, policy);
    for (const url of [
      'https://cdn.example.com/a.png',
      'http://cdn.example.com:8080/a?b=c#d',
      'https://cdn.example.com',
      'https://a.b.images.example.com/x',
      'data:,',
    ]) {
      expect([url, of(url)]).toEqual([url, 'accepted']);
    }
    for (const url of [
      'https://example.com/',
      'https://images.example.com/',
      'https://cdn.example.com.evil.net/',
      'https://cdn.example.com@evil.net/',
      'https://evil.net/@cdn.example.com',
      'https://evil.net\\@cdn.example.com/',
      'https://cdn.example.com\\@evil.net/',
      'https:/cdn.example.com/',
      'https:cdn.example.com',
      'https://CDN.example.com/',
      'hTTps://cdn.example.com/',
      ' https://cdn.example.com/',
      'https://cdn.example.com/\n',
      'https://cdn.example.com/a b',
      'https://cdn.example.com:/',
      'https://[::1]/',
      'ftp://cdn.example.com/',
      'https://cdn.example.com./',
      `https://cdn.example.com/${'a'.repeat(3_000)}`,
      'https://cdn。example.com/',
    ]) {
      expect([url, of(url)]).toEqual([url, 'media_refused']);
    }
  });

  it('is allowed from anywhere but the machine itself with urls: allow', () => {
    const of = (url: string) => codeOf(chat([{ image_url: url }]), 'chat.completions', {}, { urls: 'allow' });
    expect(of('https://anything.example/x.png')).toBe('accepted');
    for (const url of ['file:///etc/passwd', '/etc/passwd', 's3://a/b', 'gopher://x'])
      expect(of(url)).toBe('media_refused');
  });

  it('is no file or address in place of base64, and no tensor', () => {
    for (const data of ['http://example.com/', 'file:///etc/passwd', '../secret.wav', ' AAAA']) {
      expect(codeOf(chat([{ type: 'input_audio', input_audio: { data, format: 'wav' } }]))).toBe(
        'media_refused',
      );
    }
    for (const key of ['image_embeds', 'audio_embeds', 'video_embeds', 'prompt_embeds', 'image_pil']) {
      expect(codeOf(chat([{ type: key, [key]: 'AAAA' }]))).toBe('embeddings_refused');
    }
  });
});

describe('tools that act elsewhere, and what is stored', () => {
  it.each([
    'mcp',
    'code_interpreter',
    'file_search',
    'image_generation',
    'shell',
    'web_fetch_20250910',
    'code_execution_20250522',
    '',
    'x'.repeat(100),
  ])('a tool of the type %j is refused, and allowed by its name', (type) => {
    for (const route of ['responses', 'chat.completions', 'messages'] as const) {
      const body = { ...chat('x'), input: 'x', tools: [{ type: 'function', name: 'f' }, { type }] };
      expect(codeOf(body, route)).toBe('tool_refused');
      expect(codeOf(body, route, { tools: ['function', '*'] })).toBe(
        type.length > 64 ? 'accepted' : 'accepted',
      );
      expect(codeOf({ ...body, tools: [{ type: 'namespace', tools: [{ type }] }] }, route)).toBe(
        'tool_refused',
      );
    }
  });

  it('what an MCP server was allowed or has answered is refused as the tool is', () => {
    for (const type of ['mcp_call', 'mcp_approval_response', 'mcp_list_tools']) {
      expect(codeOf({ input: [{ type, id: 'x', approve: true }] }, 'responses')).toBe('tool_refused');
      expect(codeOf({ input: [{ type, id: 'x', approve: true }] }, 'responses', { tools: ['mcp'] })).toBe(
        'accepted',
      );
    }
  });

  it('tools of the client’s own program are taken', () => {
    for (const type of [
      'function',
      'custom',
      'bash_20250124',
      'text_editor_20250728',
      'computer_20250124',
      'computer_use_preview',
      undefined,
      null,
    ]) {
      expect(codeOf({ ...chat('x'), tools: [{ type, name: 'f' }] })).toBe('accepted');
    }
    for (const field of ['mcp_servers', 'web_search_options', 'plugins']) {
      expect(codeOf({ ...chat('x'), [field]: [{}] })).toBe('tool_refused');
      expect(codeOf({ ...chat('x'), [field]: [{}] }, 'chat.completions', { tools: [field] })).toBe(
        'accepted',
      );
    }
  });

  it.each<[string, object, CommonRoute]>([
    ['conversation', { input: 'x', conversation: 'conv_1' }, 'responses'],
    ['previous_response_id', { ...chat('x'), previous_response_id: 'resp_1' }, 'chat.completions'],
    ['prompt', { input: 'x', prompt: { id: 'pmpt_1' } }, 'responses'],
    ['item_reference', { input: [{ type: 'item_reference', id: 'x' }] }, 'responses'],
    ['a bare id', { input: [{ id: 'x' }] }, 'responses'],
    ['file_id', { input: [{ role: 'user', content: [{ type: 'input_file', file_id: 'x' }] }] }, 'responses'],
    ['a file', chat([{ type: 'file', file: { file_id: 'x' } }]), 'chat.completions'],
    ['Anthropic’s file', chat([{ type: 'document', source: { type: 'file', file_id: 'x' } }]), 'messages'],
    ['container', { ...chat('x'), container: 'x' }, 'messages'],
  ])('%s is refused, and allowed by fields.state', (_, body, route) => {
    expect(codeOf(body, route)).toBe('state_refused');
    expect(codeOf(body, route, { state: 'allow' })).toBe('accepted');
  });
});

describe('a previous response of /v1/responses', () => {
  const read = (fields: object, policy?: Parameters<typeof accepted>[2]) =>
    accepted({ model: 'm', input: 'x', ...fields }, 'responses', policy);

  it('is named: whose it is, is asked later', () => {
    for (const state of ['refuse', 'allow'] as const) {
      expect(read({ previous_response_id: 'resp_1' }, { state }).previousResponse).toBe('resp_1');
    }
    expect(read({ previous_response_id: null }).previousResponse).toBeUndefined();
    expect(read({}).previousResponse).toBeUndefined();
    expect(read({ previous_response_id: '' }).previousResponse).toBe('');
    expect(read({ previous_response_id: 'a'.repeat(100_000) }).previousResponse?.length).toBeLessThan(300);
    expect(
      read({ previous_response_id: 'x' }, { forbidden: ['previous_response_id'] }).previousResponse,
    ).toBe(undefined);
    for (const wrong of [1, true, {}, ['resp_1']]) {
      expect(codeOf({ model: 'm', input: 'x', previous_response_id: wrong }, 'responses')).toBe(
        'invalid_request',
      );
    }
  });

  it('may be stored, unless the request says no', () => {
    expect(read({}).isStored).toBe(true);
    expect(read({ store: true }).isStored).toBe(true);
    expect(read({ store: null }).isStored).toBe(true);
    expect(read({ store: false }).isStored).toBeUndefined();
    expect(accepted(chat('x'), 'chat.completions').isStored).toBeUndefined();
  });
});

describe('a key in other letters than ours', () => {
  it('is refused in the body, in stream_options, in messages, in parts, in media and in tools', () => {
    for (const body of [
      { ...chat('x'), MODEL: 'other' },
      { ...chat('x'), meſſages: [] },
      { ...chat('x'), stream: true, stream_options: { Include_Usage: false } },
      { messages: [{ role: 'user', Content: 'x' }] },
      chat([{ type: 'text', Image_URL: 'http://x' }]),
      chat([{ type: 'image_url', image_url: { url: 'data:,', URL: 'http://x' } }]),
      { ...chat('x'), tools: [{ TYPE: 'mcp' }] },
      { ...chat('x'), tools: [{ type: 'namespace', tools: [{ type: 'function', Type: 'mcp' }] }] },
    ]) {
      expect([body, codeOf(body)]).toEqual([body, 'ambiguous_field']);
    }
  });

  it('of a forbidden one is left out as that is', () => {
    const other = { PRIORITY: 1, Bootstrap_Host: 'x', chat_template_kwargs: { Return_x: 1 } };
    expect(accepted({ ...chat('x'), ...other }).dropped.toSorted()).toEqual([
      'Bootstrap_Host',
      'PRIORITY',
      'chat_template_kwargs.Return_x',
    ]);
    expect(codeOf({ ...chat('x'), ...other }, 'chat.completions', { onForbidden: 'refuse' })).toBe(
      'forbidden_field',
    );
  });

  it('is the client’s own affair in schemas and arguments, and where it is another word', () => {
    expect(
      codeOf({
        ...chat('x'),
        tools: [{ type: 'function', function: { parameters: { Model: 1, CONTENT: 2 } } }],
      }),
    ).toBe('accepted');
    expect(codeOf({ ...chat('x'), metadata: { Model: 'x' }, Temperature: 1, größe: 1, maxTokens: 5 })).toBe(
      'accepted',
    );
  });
});

describe('forbidden within fields', () => {
  it('is what a template would run, or take for its own arguments', () => {
    const kwargs = {
      chat_template: '{{ 1 }}',
      tokenize: false,
      enable_thinking: true,
      return_dict: 1,
      Messages: [],
    };
    const request = accepted({ ...chat('x'), chat_template_kwargs: kwargs });
    expect(request.dropped.toSorted()).toEqual([
      'chat_template_kwargs.Messages',
      'chat_template_kwargs.chat_template',
      'chat_template_kwargs.return_dict',
      'chat_template_kwargs.tokenize',
    ]);
    expect(
      codeOf({ ...chat('x'), chat_template_kwargs: kwargs }, 'chat.completions', { onForbidden: 'refuse' }),
    ).toBe('forbidden_field');
  });

  it('is refused where there are a thousand of it', () => {
    const content = Array.from({ length: 1_200 }, () => ({ type: 'text', text: 'x', uuid: 'a' }));
    expect(codeOf(chat(content))).toBe('invalid_request');
  });

  it('is not read: neither as a cap, nor as anything else', () => {
    const body = {
      ...chat('x'),
      max_completion_tokens: 1,
      max_tokens: 9,
      stream: true,
      stream_options: { include_usage: true },
      n: 500,
      tools: [{ type: 'mcp' }],
      previous_response_id: 'x',
    };
    const forbidden = ['max_completion_tokens', 'stream_options', 'n', 'tools', 'previous_response_id'];
    expect(accepted(body, 'chat.completions', { forbidden })).toMatchObject({
      maxOutputTokens: 9,
      wantsUsage: false,
      outputs: 1,
    });
    const image = chat([{ type: 'text', text: 'x', image_url: 'http://x' }]);
    expect(codeOf(image, 'chat.completions', { forbidden: ['messages.content.image_url'] })).toBe('accepted');
  });
});

describe('what a stranger found', () => {
  const part = (one: object, route: CommonRoute = 'chat.completions') => accepted(chat([one]), route);

  it('a medium that says that it is text is a medium', () => {
    for (const one of [
      { type: 'image_url', image_url: { type: 'text', url: DATA } },
      { type: 'video_url', video_url: { type: 'content', url: DATA } },
      { type: 'image', source: { type: 'text', url: DATA } },
    ]) {
      expect(part(one)).toMatchObject({ hasMedia: true });
      expect(part(one).promptBytes).toBeGreaterThan(4_000);
    }
  });

  it('a message’s own medium is text, and a file of text in base64 is text', () => {
    const message = { role: 'user', content: 'x', image_url: `data:,${LONG}` };
    expect(accepted({ messages: [message] }).promptBytes).toBeGreaterThan(LONG.length);
    const text = `data:text/plain;base64,${'A'.repeat(100_000)}`;
    expect(part({ type: 'file', file: { file_data: text } }).promptBytes).toBeGreaterThan(75_000);
    const source = { type: 'base64', media_type: 'text/plain', data: 'A'.repeat(100_000) };
    expect(part({ type: 'document', source }, 'messages').promptBytes).toBeGreaterThan(75_000);
  });

  it('an item that has an id and says not what it is stands for a stored one', () => {
    for (const item of [
      { type: null, id: 'msg_1' },
      { id: 'msg_1', x: 1 },
    ]) {
      expect(codeOf({ input: [item] }, 'responses')).toBe('state_refused');
    }
    expect(codeOf({ input: [{ role: 'user', id: 'x', content: 'x' }] }, 'responses')).toBe('accepted');
    expect(codeOf({ input: [{ type: 'tool_search_output', tools: [{ type: 'mcp' }] }] }, 'responses')).toBe(
      'tool_refused',
    );
  });

  it('a path is no base64, and a JPEG is one however it is written', () => {
    for (const data of ['/etc/passwd', `${'/'.repeat(64)}etc/x.wav`, 'a.wav']) {
      expect(codeOf(chat([{ type: 'input_audio', input_audio: { data } }]))).toBe('media_refused');
    }
    const body = JSON.stringify({
      model: 'm',
      max_tokens: 1,
      ...chat([{ type: 'image', source: { type: 'base64', data: `/9j/4AAQ${'A/'.repeat(4_000)}` } }]),
    });
    const escaped = body.replaceAll('/', '\\/');
    for (const text of [body, escaped]) {
      expect(parseRequest('messages', Buffer.from(text), policyWith()).kind).toBe('ok');
    }
  });

  it('what a tool has put out is data', () => {
    const output = { ID: 1, URL: 'http://x', image: 'a.png' };
    expect(codeOf({ input: [{ type: 'function_call_output', call_id: 'x', output }] }, 'responses')).toBe(
      'accepted',
    );
    const result = { type: 'bash_code_execution_output', file_id: 'file_1' };
    expect(codeOf(chat([{ type: 'bash_code_execution_tool_result', content: [result] }]), 'messages')).toBe(
      'accepted',
    );
    expect(codeOf({ ...chat('x'), tools: [{ type: 'tool_search_tool_regex_20251119' }] }, 'messages')).toBe(
      'accepted',
    );
  });
});

/** Row 7: what acts elsewhere, or reads what another left, is refused unless the operator allows it. */
import { CHAT, type Group, served, UP, type Vector, without } from '../support/vectors.ts';

const MARK = 'acts-elsewhere';
const refused = (status: number): boolean => status >= 400 && status < 500;
const input = [{ role: 'user', content: 'hello' }];

const refusal = (name: string, path: string, body: object, modes: Vector['modes'] = ['open']): Vector => ({
  name,
  modes,
  over: modes === UP ? ['h1', 'h2'] : ['h1'],
  send: { path, body },
  expect: { status: refused, engine: 'nothing' },
});
/** Dropped or refused: both are safe. */
const absent = (name: string, path: string, body: object, mark = MARK): Vector => ({
  name,
  send: { path, body },
  expect: { status: (status) => status === 200 || refused(status), engine: without(mark) },
});

const TOOLS: readonly object[] = [
  { type: 'mcp', server_label: MARK, server_url: `http://${MARK}.example` },
  { type: 'MCP', server_label: MARK, server_url: `http://${MARK}.example` },
  { type: 'mcp', server_label: MARK, connector_id: 'connector_gmail' },
  { type: 'code_interpreter', container: { type: 'auto' } },
  { type: 'code_interpreter', container: MARK },
  { type: 'container', container: MARK },
  { type: 'file_search', vector_store_ids: [MARK] },
  { type: 'web_search' },
  { type: 'web_search_preview' },
];

const afterFunction = (tool: object): object => ({
  model: 'demo',
  input,
  tools: [{ type: 'function', name: 'f' }, tool],
});

const tools: readonly Vector[] = TOOLS.flatMap((tool): readonly Vector[] => {
  const text = JSON.stringify(tool);
  return [
    refusal(
      `responses: ${text}`,
      '/v1/responses',
      { model: 'demo', input, tools: [tool] },
      text.includes('"mcp"') ? UP : ['open'],
    ),
    // Clients offer a search beside their own tools in every turn: it is left out.
    text.includes('web_search')
      ? absent(`responses: after a function, ${text}`, '/v1/responses', afterFunction(tool), 'web_search')
      : refusal(`responses: after a function, ${text}`, '/v1/responses', afterFunction(tool)),
  ];
});

const state: readonly Vector[] = (
  [
    ['conversation', { conversation: MARK }],
    ['conversation as an object', { conversation: { id: MARK } }],
    ['prompt.id', { prompt: { id: MARK } }],
    ['prompt.id with variables', { prompt: { id: MARK, variables: { a: 'b' } } }],
    ['an item_reference', { input: [{ type: 'item_reference', id: MARK }] }],
    ['an item_reference without a type', { input: [{ id: MARK }] }],
    ['an item_reference after a message', { input: [...input, { type: 'item_reference', id: MARK }] }],
    [
      'an MCP call of an earlier answer',
      { input: [...input, { type: 'mcp_approval_response', approval_request_id: MARK, approve: true }] },
    ],
    ['container', { container: MARK }],
  ] as const
).map(([name, fields]) =>
  refusal(`responses: ${name}`, '/v1/responses', { model: 'demo', input, ...fields }),
);

const others: readonly Vector[] = [
  absent('responses: background', '/v1/responses', {
    model: 'demo',
    input,
    background: true,
    metadata: {},
    conversation: MARK,
  }),
  {
    name: 'responses: a background answer does not run on',
    send: { path: '/v1/responses', body: { model: 'demo', input, background: true } },
    expect: { engine: without('background') },
  },
  {
    name: 'responses: an MCP tool chosen by tool_choice',
    send: {
      path: '/v1/responses',
      body: {
        model: 'demo',
        input,
        tools: [{ type: 'mcp', server_label: MARK, server_url: 'http://a' }],
        tool_choice: { type: 'mcp', server_label: MARK },
      },
    },
    expect: { status: refused, engine: 'nothing' },
  },
  refusal(
    'Anthropic: mcp_servers',
    '/v1/messages',
    { ...CHAT, mcp_servers: [{ type: 'url', url: `http://${MARK}.example`, name: 'x' }] },
    UP,
  ),
  refusal('Anthropic: container', '/v1/messages', { ...CHAT, container: MARK }),
  ...['code_execution_20250522', 'web_search_20250305', 'web_fetch_20250910', 'mcp_toolset'].map((type) =>
    refusal(`Anthropic: a tool of type ${type}`, '/v1/messages', { ...CHAT, tools: [{ type, name: 'x' }] }),
  ),
  ...[
    { type: 'mcp', server_label: MARK, server_url: `http://${MARK}.example` },
    { type: 'code_interpreter' },
    { type: 'web_search' },
  ].map((tool) =>
    refusal(`chat: ${JSON.stringify(tool)}`, '/v1/chat/completions', { ...CHAT, tools: [tool] }),
  ),
  absent('responses: previous_response_id', '/v1/responses', {
    model: 'demo',
    input,
    previous_response_id: MARK,
  }),
];

const allowed: readonly Vector[] = (
  [
    [
      'responses: a function',
      '/v1/responses',
      { model: 'demo', input, tools: [{ type: 'function', name: 'f', parameters: { type: 'object' } }] },
    ],
    [
      'responses: what a function said',
      '/v1/responses',
      {
        model: 'demo',
        input: [
          ...input,
          { type: 'function_call', call_id: 'a', name: 'f', arguments: '{}' },
          { type: 'function_call_output', call_id: 'a', output: 'x' },
        ],
      },
    ],
    [
      'responses: reasoning of an earlier answer',
      '/v1/responses',
      { model: 'demo', input: [...input, { type: 'reasoning', id: 'r', summary: [] }] },
    ],
    [
      'chat: a function',
      '/v1/chat/completions',
      { ...CHAT, tools: [{ type: 'function', function: { name: 'f' } }], tool_choice: 'auto' },
    ],
    [
      'Anthropic: a tool without a type',
      '/v1/messages',
      { ...CHAT, tools: [{ name: 'f', input_schema: { type: 'object' } }] },
    ],
    [
      'Anthropic: a tool of type custom',
      '/v1/messages',
      { ...CHAT, tools: [{ type: 'custom', name: 'f', input_schema: { type: 'object' } }] },
    ],
  ] as const
).map(([name, path, body]) => ({
  name: `served: ${name}`,
  send: { path, body },
  expect: { status: 200, engine: served },
}));

export const REST_7: Group = {
  name: 'rest 7: tools and state',
  vectors: [...tools, ...state, ...others, ...allowed],
};

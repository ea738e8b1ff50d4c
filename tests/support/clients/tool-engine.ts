/**
 * An engine that calls a tool: `weather` of Paris, at first; once it has the tool's result, it says so. In the shapes of vLLM 0.32,
 * whole and streamed: strict clients read every field.
 */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const TOOL_MODEL = 'tools';
const ARGUMENTS = '{"city": "Paris"}';
const SAID = 'It is sunny.';

type Body = Readonly<Record<string, unknown>>;
type Event = Readonly<Record<string, unknown>> & { readonly type: string };

const usage = { prompt_tokens: 20, completion_tokens: 9, total_tokens: 29, prompt_tokens_details: null };
const itemsOf = (body: Body): readonly Body[] =>
  [body['messages'], body['input']].flatMap((list) => (Array.isArray(list) ? (list as Body[]) : []));
/** A tool has answered: a message of its role, an item of its type, or a block within a message. */
const hasResult = (body: Body): boolean =>
  itemsOf(body).some(
    ({ role, type, content }) =>
      role === 'tool' ||
      type === 'function_call_output' ||
      (Array.isArray(content) && (content as Body[]).some((block) => block['type'] === 'tool_result')),
  );

const head = { id: 'chatcmpl-1', created: 1_795_000_000, model: TOOL_MODEL };
const call = { id: 'call_1', type: 'function', function: { name: 'weather', arguments: ARGUMENTS } };

function chat(said: boolean): object {
  const written = said ? { content: SAID, tool_calls: [] } : { content: null, tool_calls: [call] };
  const choice = { index: 0, logprobs: null, finish_reason: said ? 'stop' : 'tool_calls' };
  return {
    ...head,
    object: 'chat.completion',
    choices: [{ ...choice, message: { role: 'assistant', refusal: null, ...written } }],
    usage,
  };
}

function chatChunks(said: boolean, withUsage: boolean): readonly object[] {
  const chunk = (delta: object, finish: string | null): object => ({
    ...head,
    object: 'chat.completion.chunk',
    choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }],
  });
  const piece = (fields: object): object => chunk({ tool_calls: [{ index: 0, ...fields }] }, null);
  const half = ARGUMENTS.length / 2;
  return [
    chunk({ role: 'assistant', content: '' }, null),
    ...(said
      ? [chunk({ content: SAID }, null)]
      : [
          piece({ ...call, function: { name: 'weather', arguments: '' } }),
          piece({ function: { arguments: ARGUMENTS.slice(0, half) } }),
          piece({ function: { arguments: ARGUMENTS.slice(half) } }),
        ]),
    chunk({}, said ? 'stop' : 'tool_calls'),
    ...(withUsage ? [{ ...head, object: 'chat.completion.chunk', choices: [], usage }] : []),
  ];
}

const block = (said: boolean): object =>
  said
    ? { type: 'text', text: SAID }
    : { type: 'tool_use', id: 'toolu_1', name: 'weather', input: { city: 'Paris' } };
const tokens = { input_tokens: 20, output_tokens: 9 };

function message(said: boolean): object {
  return {
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    content: [block(said)],
    model: TOOL_MODEL,
    stop_reason: said ? 'end_turn' : 'tool_use',
    stop_sequence: null,
    usage: tokens,
  };
}

function messageEvents(said: boolean): readonly Event[] {
  const empty = said ? { type: 'text', text: '' } : { ...block(false), input: {} };
  const delta = said
    ? { type: 'text_delta', text: SAID }
    : { type: 'input_json_delta', partial_json: ARGUMENTS };
  return [
    { type: 'message_start', message: { ...message(said), content: [], stop_reason: null } },
    { type: 'content_block_start', index: 0, content_block: empty },
    { type: 'content_block_delta', index: 0, delta },
    { type: 'content_block_stop', index: 0 },
    {
      type: 'message_delta',
      delta: { stop_reason: said ? 'end_turn' : 'tool_use', stop_sequence: null },
      usage: tokens,
    },
    { type: 'message_stop' },
  ];
}

const item = (said: boolean): object =>
  said
    ? {
        id: 'msg_1',
        type: 'message',
        role: 'assistant',
        status: 'completed',
        content: [{ type: 'output_text', text: SAID, annotations: [], logprobs: null }],
      }
    : {
        id: 'fc_1',
        type: 'function_call',
        call_id: 'call_1',
        name: 'weather',
        arguments: ARGUMENTS,
        status: 'completed',
      };

function response(said: boolean, tools: unknown): object {
  return {
    id: 'resp_1',
    object: 'response',
    created_at: 1_795_000_000,
    model: TOOL_MODEL,
    status: 'completed',
    output: [item(said)],
    parallel_tool_calls: true,
    tool_choice: 'auto',
    tools: tools ?? [],
    usage: {
      ...tokens,
      total_tokens: 29,
      input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
      output_tokens_details: { reasoning_tokens: 0 },
    },
  };
}

function responseEvents(said: boolean, tools: unknown): readonly Event[] {
  const whole = response(said, tools);
  const begun = { ...whole, status: 'in_progress', output: [], usage: null };
  const at = { item_id: said ? 'msg_1' : 'fc_1', output_index: 0 };
  const inPart = { ...at, content_index: 0 };
  const part = { type: 'output_text', text: '', annotations: [], logprobs: [] };
  const empty = { ...item(said), status: 'in_progress', ...(said ? { content: [] } : { arguments: '' }) };
  const written: readonly Event[] = said
    ? [
        { type: 'response.content_part.added', ...inPart, part },
        { type: 'response.output_text.delta', ...inPart, delta: SAID, logprobs: [] },
        { type: 'response.output_text.done', ...inPart, text: SAID, logprobs: [] },
        { type: 'response.content_part.done', ...inPart, part: { ...part, text: SAID } },
      ]
    : [
        { type: 'response.function_call_arguments.delta', ...at, delta: ARGUMENTS },
        { type: 'response.function_call_arguments.done', ...at, name: 'weather', arguments: ARGUMENTS },
      ];
  const events: readonly Event[] = [
    { type: 'response.created', response: begun },
    { type: 'response.in_progress', response: begun },
    { type: 'response.output_item.added', output_index: 0, item: empty },
    ...written,
    { type: 'response.output_item.done', output_index: 0, item: item(said) },
    { type: 'response.completed', response: whole },
  ];
  return events.map((event, i) => ({ ...event, sequence_number: i }));
}

const named = (events: readonly Event[]): string =>
  events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('');
const unnamed = (chunks: readonly object[]): string =>
  `${chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join('')}data: [DONE]\n\n`;

/** Of a path and a body: what it answers, whole or streamed. Undefined: it has no such route. */
function answerTo(path: string, body: Body): string | undefined {
  const said = hasResult(body) || !Array.isArray(body['tools']);
  const streams = body['stream'] === true;
  const options = body['stream_options'] as { include_usage?: boolean } | undefined;
  switch (path) {
    case '/v1/chat/completions':
      return streams
        ? unnamed(chatChunks(said, options?.include_usage === true))
        : JSON.stringify(chat(said));
    case '/v1/messages':
      return streams ? named(messageEvents(said)) : JSON.stringify(message(said));
    case '/v1/responses':
      return streams
        ? named(responseEvents(said, body['tools']))
        : JSON.stringify(response(said, body['tools']));
    default:
      return undefined;
  }
}

function answer(path: string, text: string, to: ServerResponse): void {
  const body = JSON.parse(text) as Body;
  const said = answerTo(path, body);
  const type = body['stream'] === true ? 'text/event-stream; charset=utf-8' : 'application/json';
  to.writeHead(said === undefined ? 404 : 200, { 'content-type': type }).end(
    said ?? '{"detail":"Not Found"}',
  );
}

export interface ToolEngine {
  readonly url: string;
  close(): Promise<void>;
}

export async function startToolEngine(): Promise<ToolEngine> {
  const server = createServer((request, to) => {
    const path = (request.url ?? '').split('?', 1)[0] ?? '';
    let text = '';
    request.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
    request.on('end', () => {
      if (request.method === 'POST') answer(path, text, to);
      else if (path === '/v1/models') {
        const data = [{ id: TOOL_MODEL, object: 'model', created: 0, owned_by: 'vllm' }];
        to.writeHead(200, { 'content-type': 'application/json' }).end(
          JSON.stringify({ object: 'list', data }),
        );
      } else to.writeHead(path === '/health' ? 200 : 404).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

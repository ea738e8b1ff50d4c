/**
 * An engine that writes down what reaches it, exactly, and answers as the request asks: marks in the request's body say how,
 * as in `@@delay=1500@@`. Several of them, each with its name, keep one list.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export interface Seen {
  readonly engine: string;
  readonly method: string;
  /** As it was on the request line. */
  readonly url: string;
  readonly version: string;
  /** In their order, names as they came. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** The address from which the client spoke to the proxy: the client says so by its user agent, or the proxy does. */
  readonly client: string | undefined;
  body: Buffer;
  /** The whole request has arrived. */
  whole: boolean;
  /** The answer was broken off by the other side. */
  cut: boolean;
  readonly atMs: number;
  /** When its answer was over, however that was. */
  endedMs: number | undefined;
}

export interface RecordingEngine {
  /** By name: where it listens. */
  readonly ports: ReadonlyMap<string, number>;
  url(name: string): string;
  /** What was not asked by the product itself: no probes. */
  seen(): readonly Seen[];
  clear(): void;
  /** Requests with larger bodies are forgotten. */
  forget(bytes: number): void;
  close(): Promise<void>;
}

const PROBES = new Set([
  '/health',
  '/metrics',
  '/version',
  '/is_sleeping',
  '/get_server_info',
  '/server_info',
  '/props',
  '/info',
]);
const MARK = /@@([a-z-]+)=([^@]*)@@/g;
const MODELS = ['demo', 'embedder', 'secret'];

const METRICS = `# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="demo"} 0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name="demo"} 0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{model_name="demo"} 0.1
`;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What a body asks of the engine. The marks are looked for in the text, so they may stand anywhere in it. */
function marksOf(body: Buffer): ReadonlyMap<string, string> {
  const head = body.subarray(0, 65_536).toString('latin1');
  const tail = body.length > 65_536 ? body.subarray(-4_096).toString('latin1') : '';
  return new Map([...(head + tail).matchAll(MARK)].map(([, name = '', value = '']) => [name, value]));
}

const numberOf = (marks: ReadonlyMap<string, string>, name: string, other: number): number =>
  marks.has(name) ? Number(marks.get(name)) : other;

interface Answering {
  readonly path: string;
  readonly marks: ReadonlyMap<string, string>;
  readonly stream: boolean;
  readonly prompt: number;
  readonly output: number;
}

const usageOf = ({ path, prompt, output }: Answering): object =>
  path === '/v1/messages' || path === '/v1/responses'
    ? { input_tokens: prompt, output_tokens: output, total_tokens: prompt + output }
    : { prompt_tokens: prompt, completion_tokens: output, total_tokens: prompt + output };

function wholeAnswer(asked: Answering, text: string): object {
  const usage = usageOf(asked);
  switch (asked.path) {
    case '/v1/completions':
      return {
        id: 'cmpl-1',
        object: 'text_completion',
        created: 1,
        model: 'demo',
        choices: [{ index: 0, text, finish_reason: 'stop' }],
        usage,
      };
    case '/v1/embeddings':
      return {
        object: 'list',
        model: 'embedder',
        data: [{ object: 'embedding', index: 0, embedding: [0.1, 0.2] }],
        usage: { prompt_tokens: asked.prompt, total_tokens: asked.prompt },
      };
    case '/v1/responses':
      return {
        id: 'resp_1',
        object: 'response',
        status: 'completed',
        model: 'demo',
        output: [
          {
            type: 'message',
            id: 'm',
            role: 'assistant',
            status: 'completed',
            content: [{ type: 'output_text', text, annotations: [] }],
          },
        ],
        usage,
      };
    case '/v1/messages':
      return {
        id: 'msg_1',
        type: 'message',
        role: 'assistant',
        model: 'demo',
        content: [{ type: 'text', text }],
        stop_reason: 'end_turn',
        usage,
      };
    default:
      return {
        id: 'chatcmpl-1',
        object: 'chat.completion',
        created: 1,
        model: 'demo',
        choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: 'stop' }],
        usage,
      };
  }
}

/** One event of a stream, of the kind that the request asks for. */
function eventOf(asked: Answering, text: string): string {
  const kind = asked.marks.get('events') ?? 'content';
  if (asked.path === '/v1/messages') {
    const delta =
      kind === 'reasoning'
        ? { type: 'thinking_delta', thinking: text }
        : kind === 'tools'
          ? { type: 'input_json_delta', partial_json: text }
          : { type: 'text_delta', text };
    return `event: content_block_delta\ndata: ${JSON.stringify({ type: 'content_block_delta', index: 0, delta })}\n\n`;
  }
  if (asked.path === '/v1/responses') {
    const type =
      kind === 'reasoning'
        ? 'response.reasoning_text.delta'
        : kind === 'tools'
          ? 'response.function_call_arguments.delta'
          : 'response.output_text.delta';
    return `event: ${type}\ndata: ${JSON.stringify({ type, delta: text, item_id: 'm', output_index: 0, content_index: 0 })}\n\n`;
  }
  const frame = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'demo' };
  if (asked.path === '/v1/completions')
    return `data: ${JSON.stringify({ ...frame, object: 'text_completion', choices: [{ index: 0, text, finish_reason: null }] })}\n\n`;
  const delta =
    kind === 'reasoning'
      ? { reasoning_content: text }
      : kind === 'tools'
        ? { tool_calls: [{ index: 0, function: { arguments: text } }] }
        : kind === 'hidden'
          ? {}
          : { content: text };
  return `data: ${JSON.stringify({ ...frame, choices: [{ index: 0, delta, finish_reason: null }] })}\n\n`;
}

async function streamAnswer(asked: Answering, response: ServerResponse): Promise<void> {
  const { marks } = asked;
  const events = numberOf(marks, 'count', 5);
  const text = 'word '.repeat(Math.max(1, Math.ceil(numberOf(marks, 'bytes', 5) / 5)));
  const everyMs = numberOf(marks, 'every', 0);
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  if (asked.path === '/v1/messages') {
    response.write(
      `event: message_start\ndata: ${JSON.stringify({ type: 'message_start', message: { id: 'msg_1', type: 'message', role: 'assistant', content: [], model: 'demo', usage: { input_tokens: asked.prompt, output_tokens: 1 } } })}\n\n`,
    );
  }
  for (let i = 0; i < events; i += 1) {
    if (response.destroyed) return;
    response.write(eventOf(asked, text));
    if (everyMs > 0) await sleep(everyMs);
  }
  if (marks.get('then') === 'silence') return;
  if (marks.get('then') === 'reset') {
    response.destroy();
    return;
  }
  const usage = usageOf(asked);
  if (asked.path === '/v1/messages') {
    response.write(
      `event: message_delta\ndata: ${JSON.stringify({ type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage })}\n\n`,
    );
    response.end(`event: message_stop\ndata: {"type":"message_stop"}\n\n`);
  } else if (asked.path === '/v1/responses') {
    response.end(
      `event: response.completed\ndata: ${JSON.stringify({ type: 'response.completed', response: { id: 'resp_1', status: 'completed', usage } })}\n\n`,
    );
  } else {
    response.write(
      `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'demo', choices: [], usage })}\n\n`,
    );
    response.end('data: [DONE]\n\n');
  }
}

async function answer(seen: Seen, socket: Socket, response: ServerResponse): Promise<void> {
  const marks = marksOf(seen.body);
  const path = seen.url.split('?', 1)[0] ?? '';
  const [prompt, output] = (marks.get('usage') ?? '').split(',').map(Number);
  const asked: Answering = {
    path,
    marks,
    stream: /"stream"\s*:\s*true/.test(seen.body.toString('latin1', 0, 65_536)),
    prompt: prompt || Math.ceil(seen.body.length / 4),
    output: output || 5,
  };
  if (marks.get('die') === 'at-once') {
    socket.resetAndDestroy();
    return;
  }
  if (marks.get('die') === 'close') {
    socket.destroy();
    return;
  }
  if (marks.get('die') === 'head') {
    socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-le');
    socket.destroy();
    return;
  }
  await sleep(numberOf(marks, 'delay', 0));
  if (marks.get('die') === 'late') {
    socket.resetAndDestroy();
    return;
  }
  if (response.destroyed) return;
  const status = numberOf(marks, 'status', 200);
  // Never any key: these are what an engine may say of itself, and what it may be made to say.
  if (marks.get('answer-headers') === 'hostile') {
    response.setHeader('server', 'uvicorn-of-the-engine');
    response.setHeader('x-powered-by', 'engine/1.2.3');
    response.setHeader('set-cookie', ['session=of-the-engine; Path=/', 'second=2']);
    response.setHeader('x-fairlane-model', 'a-lie');
    response.setHeader('X-Fairlane-Pool', 'a-lie');
    response.setHeader('x-envoy-upstream-service-time', '1');
    response.setHeader('access-control-allow-origin', '*');
    response.setHeader('x-ratelimit-remaining-tokens', '1');
    response.setHeader('alt-svc', 'h3=":443"');
    response.setHeader('strict-transport-security', 'max-age=1');
  }
  if (status !== 200) {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: { message: 'no', type: 'engine', param: null, code: status } }));
    return;
  }
  if (path === '/v1/models') {
    response.setHeader('content-type', 'application/json');
    response.end(
      JSON.stringify({
        object: 'list',
        data: MODELS.map((id) => ({ id, object: 'model', owned_by: 'vllm' })),
      }),
    );
    return;
  }
  if (asked.stream) {
    await streamAnswer(asked, response);
    return;
  }
  const text = 'w'.repeat(numberOf(marks, 'huge', 5));
  const bytes = Buffer.from(JSON.stringify(wholeAnswer(asked, text)));
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': bytes.length });
  if (marks.get('die') === 'body') {
    response.write(bytes.subarray(0, bytes.length / 2), () => socket.resetAndDestroy());
    return;
  }
  response.end(bytes);
}

function pairsOf(raw: readonly string[]): readonly (readonly [string, string])[] {
  const pairs: [string, string][] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) pairs.push([raw[i] ?? '', raw[i + 1] ?? '']);
  return pairs;
}

/** @param names of the engines; each has a port of its own. */
export async function startRecordingEngine(names: readonly string[]): Promise<RecordingEngine> {
  let list: Seen[] = [];
  const servers: Server[] = [];
  const ports = new Map<string, number>();
  const note = (engine: string, request: IncomingMessage): Seen => {
    const headers = pairsOf(request.rawHeaders);
    const value = (wanted: string): string | undefined =>
      headers.find(([name]) => name.toLowerCase() === wanted)?.[1];
    const agent = value('user-agent');
    const seen: Seen = {
      engine,
      method: request.method ?? '',
      url: request.url ?? '',
      version: request.httpVersion,
      headers,
      client:
        agent?.startsWith('127.') === true ? agent : value('x-forwarded-for')?.split(',').at(-1)?.trim(),
      body: Buffer.alloc(0),
      whole: false,
      cut: false,
      atMs: performance.now(),
      endedMs: undefined,
    };
    list.push(seen);
    return seen;
  };
  for (const name of names) {
    const take = (request: IncomingMessage, response: ServerResponse): void => {
      const path = (request.url ?? '').split('?', 1)[0] ?? '';
      const isProxied = request.headers['x-request-id'] !== undefined;
      if (!isProxied && (PROBES.has(path) || path === '/v1/models')) {
        if (path === '/metrics') response.end(METRICS);
        else if (path === '/v1/models') {
          response.setHeader('content-type', 'application/json');
          response.end(
            JSON.stringify({
              object: 'list',
              data: MODELS.map((id) => ({ id, object: 'model', owned_by: 'vllm' })),
            }),
          );
        } else response.writeHead(path === '/health' ? 200 : 404).end();
        return;
      }
      const seen = note(name, request);
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => {
        parts.push(part);
      });
      request.on('error', () => undefined);
      response.on('close', () => {
        seen.endedMs = performance.now();
        seen.cut = !response.writableFinished;
      });
      request.on('end', () => {
        seen.body = Buffer.concat(parts);
        seen.whole = true;
        answer(seen, request.socket, response).catch(() => response.destroy());
      });
      request.on('close', () => {
        if (!seen.whole) seen.body = Buffer.concat(parts);
      });
    };
    const server = createServer({ maxHeaderSize: 262_144, keepAliveTimeout: 60_000 }, take);
    const refuse = (request: IncomingMessage, socket: { end(text: string): void }): void => {
      note(name, request).whole = true;
      socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n');
    };
    server.on('connect', refuse);
    server.on('upgrade', refuse);
    server.on('checkExpectation', take);
    server.on('clientError', (_error, socket) => {
      list.push({
        engine: name,
        method: '',
        url: 'not HTTP',
        version: '',
        headers: [],
        client: undefined,
        body: Buffer.alloc(0),
        whole: false,
        cut: true,
        atMs: performance.now(),
        endedMs: performance.now(),
      });
      socket.destroy();
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    ports.set(name, (server.address() as AddressInfo).port);
    servers.push(server);
  }
  return {
    ports,
    url: (name) => `http://127.0.0.1:${ports.get(name) ?? 0}`,
    seen: () => list,
    clear() {
      list = [];
    },
    forget(bytes) {
      list = list.filter(({ body }) => body.length <= bytes);
    },
    async close() {
      await Promise.all(
        servers.map((server) => {
          server.closeAllConnections();
          return new Promise((resolve) => server.close(resolve));
        }),
      );
    },
  };
}

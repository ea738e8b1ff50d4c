/** Engines as docs/engines.md starts them: what each answers, what it wants a key for, and under which names. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type EngineAnswer, MODEL, readFixture } from './engine-answers.ts';

interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

export interface RecipeEngine {
  readonly port: number;
  readonly requests: () => readonly SeenRequest[];
  close(): Promise<void>;
}

/** What an engine answers and refuses, by its source or its documents. */
export interface EngineForm {
  /** By path. */
  readonly pages: ReadonlyMap<string, EngineAnswer>;
  readonly chat: EngineAnswer;
  readonly stream: EngineAnswer;
  /** Paths that need no key, where a key is wanted. */
  readonly isFree: (path: string) => boolean;
  /** It answers 403 to requests by other names. */
  readonly takesHost?: (host: string) => boolean;
}

const answer = (method: 'GET' | 'POST', path: string, body: unknown): EngineAnswer => {
  const isText = typeof body === 'string';
  const type = isText ? 'text/plain' : 'application/json';
  return { question: { method, path }, status: 200, type, body: isText ? body : JSON.stringify(body) };
};

/** The answers of tests/fixtures/engines. */
function recorded(kind: string, isFree: EngineForm['isFree']): EngineForm {
  const { answers } = readFixture(kind);
  const pages = new Map<string, EngineAnswer>();
  for (const one of answers.values()) {
    const { method, path } = one.question;
    if (method === 'GET' && one.status === 200 && !pages.has(path)) pages.set(path, one);
  }
  const [chat, stream] = [answers.get('chat'), answers.get('chat-stream')];
  if (chat === undefined || stream === undefined) throw new Error(`no chat in the answers of ${kind}`);
  return { pages, chat, stream, isFree };
}

const usage = { prompt_tokens: 11, completion_tokens: 3, total_tokens: 14 };
const chunk = (fields: object): string =>
  `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: MODEL, ...fields })}\n\n`;

/** An API like OpenAI's, and nothing else but these pages. `withUsage` false: it counts no tokens. */
function compatible(
  owner: string,
  others: Readonly<Record<string, unknown>>,
  { isFree = () => false, takesHost, withUsage = true }: Partial<EngineForm> & { withUsage?: boolean } = {},
): EngineForm {
  const models = { object: 'list', data: [{ id: MODEL, object: 'model', created: 1, owned_by: owner }] };
  const all = { '/v1/models': models, ...others };
  const message = { role: 'assistant', content: 'abc' };
  const chat = {
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1,
    model: MODEL,
    choices: [{ index: 0, message, finish_reason: 'stop' }],
    usage: withUsage ? usage : null,
  };
  const stream = [
    ...['a', 'b', 'c'].map((content) =>
      chunk({ choices: [{ index: 0, delta: { role: 'assistant', content }, finish_reason: null }] }),
    ),
    chunk({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }),
    withUsage ? chunk({ choices: [], usage }) : '',
    'data: [DONE]\n\n',
  ].join('');
  return {
    pages: new Map(Object.entries(all).map(([path, body]) => [path, answer('GET', path, body)])),
    chat: answer('POST', '/v1/chat/completions', chat),
    stream: { ...answer('POST', '/v1/chat/completions', stream), type: 'text/event-stream' },
    isFree,
    ...(takesHost !== undefined && { takesHost }),
  };
}

/** server/routes.go of Ollama: where it listens on the loopback address, other hosts are refused. */
const ofLoopback = (host: string): boolean => {
  const name = host.replace(/:\d+$/, '').toLowerCase();
  return /^(localhost|127\.[\d.]+|\[::1\])$/.test(name) || /\.(localhost|local|internal)$/.test(name);
};

/** vLLM's recorded answers, with the series of each metric once for every engine of two. */
function dataParallel(): EngineForm {
  const form = recorded('vllm', (path) => !path.startsWith('/v1'));
  const metrics = form.pages.get('/metrics');
  if (metrics === undefined) throw new Error('no metrics of vLLM');
  const lines = metrics.body.split('\n');
  const body = lines
    .flatMap((line) =>
      line.includes('engine="0"') ? [line, line.replace('engine="0"', 'engine="1"')] : [line],
    )
    .join('\n');
  return { ...form, pages: new Map([...form.pages, ['/metrics', { ...metrics, body }]]) };
}

export const FORMS = {
  vllm: () => recorded('vllm', (path) => !path.startsWith('/v1')),
  'vllm of two engines': dataParallel,
  sglang: () => recorded('sglang', (path) => /^\/(health|ready|metrics)/.test(path)),
  llamacpp: () => recorded('llamacpp', (path) => path === '/health' || path === '/v1/models'),
  tgi: () => recorded('tgi', (path) => /^\/(health|metrics|info|v1\/models)$/.test(path)),
  trtllm: () => recorded('trtllm', () => true),
  lmdeploy: () => recorded('lmdeploy', (path) => path === '/health' || path.startsWith('/metrics')),
  ollama: () => compatible('library', { '/': 'Ollama is running' }, { takesHost: ofLoopback }),
  triton: () =>
    compatible('Triton Inference Server', { '/health/ready': '', '/metrics': 'nv_gpu_utilization 0\n' }),
  hosted: () => compatible('system', {}),
} satisfies Readonly<Record<string, () => EngineForm>>;

export interface RecipeEngineOptions {
  readonly form: keyof typeof FORMS;
  readonly model: string;
  readonly key?: string;
  /** Before every path; what comes without it is a 404. */
  readonly prefix?: string;
  /** Ends TLS for it. */
  readonly listen?: (
    onRequest: (request: IncomingMessage, response: ServerResponse) => void,
  ) => ReturnType<typeof createServer>;
}

export async function startRecipeEngine(options: RecipeEngineOptions): Promise<RecipeEngine> {
  const { form: name, model, key, prefix = '', listen = createServer } = options;
  const form: EngineForm = FORMS[name]();
  const named = (body: string): string =>
    body.replaceAll(`"${MODEL}"`, JSON.stringify(model)).replaceAll(`"org/${MODEL}"`, JSON.stringify(model));
  const seen: SeenRequest[] = [];

  const reply = (response: ServerResponse, { status, type, body }: EngineAnswer): void => {
    response.writeHead(status, type === '' ? {} : { 'content-type': type }).end(named(body));
  };
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const { method = '', url = '', headers } = request;
    seen.push({ method, path: url, headers });
    let body = '';
    request.on('error', () => undefined);
    request.on('data', (part: Buffer) => {
      body += part.toString();
    });
    request.on('end', () => {
      const path = url.startsWith(prefix) ? url.slice(prefix.length) : '';
      const isLetIn = key === undefined || headers.authorization === `Bearer ${key}`;
      const page = form.pages.get(path);
      if (form.takesHost?.(headers.host ?? '') === false) response.writeHead(403).end();
      else if (!isLetIn && !form.isFree(path)) response.writeHead(401).end('{"error":"Unauthorized"}');
      else if (method === 'GET' && page !== undefined) reply(response, page);
      else if (method === 'POST' && path === '/v1/chat/completions') {
        const asked = JSON.parse(body) as { readonly model?: string; readonly stream?: boolean };
        if (asked.model !== model) response.writeHead(404).end('{"error":{"message":"no such model"}}');
        else reply(response, asked.stream === true ? form.stream : form.chat);
      } else response.writeHead(404).end('{"detail":"Not Found"}');
    });
  };
  const server = listen(onRequest);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    requests: () => seen,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** An engine that answers every request and remembers, to the byte, what reached it. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

interface Received {
  readonly method: string;
  readonly url: string;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly trailers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

export interface RecordingEngine {
  readonly url: string;
  /** Requests of clients: not the probes of its health. */
  readonly received: () => readonly Received[];
  forget(): void;
  /** How it answers from now on. */
  answerWith(headers: Readonly<Record<string, string | readonly string[]>>, status?: number): void;
  close(): Promise<void>;
}

const PROBES = new Set([
  '/health',
  '/metrics',
  '/v1/models',
  '/is_sleeping',
  '/get_server_info',
  '/server_info',
  '/props',
  '/info',
]);
const ANSWER = JSON.stringify({
  id: 'x',
  object: 'chat.completion',
  choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: 'hello' } }],
  usage: { prompt_tokens: 3, completion_tokens: 1, total_tokens: 4 },
});

export async function startRecordingEngine(models: readonly string[] = ['demo']): Promise<RecordingEngine> {
  const received: Received[] = [];
  let extra: Readonly<Record<string, string | readonly string[]>> = {};
  let status = 200;
  const list = JSON.stringify({
    object: 'list',
    data: models.map((id) => ({ id, object: 'model', owned_by: 'test' })),
  });
  const server = createServer({ maxHeaderSize: 256 * 1024 }, (request, response) => {
    const { method = '', url = '' } = request;
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('error', () => undefined);
    if (method === 'GET' && PROBES.has(url)) {
      if (url === '/health' || url === '/v1/models') {
        response.writeHead(200, { 'content-type': 'application/json' }).end(url === '/health' ? '' : list);
      } else response.writeHead(404).end();
      return;
    }
    const { headers, trailers } = request;
    request.on('end', () => {
      received.push({ method, url, headers, trailers, body: Buffer.concat(parts).toString() });
      response.writeHead(status, { 'content-type': 'application/json', ...extra } as Record<string, string>);
      response.end(ANSWER);
    });
  });
  // More than the default of Node.js: what reaches it is to be seen whole.
  server.maxHeadersCount = 0;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received: () => received,
    forget() {
      received.length = 0;
    },
    answerWith(headers, answered = 200) {
      extra = headers;
      status = answered;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

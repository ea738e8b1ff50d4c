/** An engine behind what production puts before one: TLS, a key, a prefix. It remembers everything that reaches it. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Certificate } from './certificates.ts';

interface Seen {
  readonly method: string;
  /** Whole, with the prefix. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly servername: string | false | null | undefined;
}

export interface GuardedEngine {
  readonly port: number;
  /** All that came, probes too. */
  readonly seen: () => readonly Seen[];
  /** Of clients. */
  readonly requests: () => readonly Seen[];
  /** What it does to requests of clients from now on. */
  does(fault: 'answer' | 'die' | 'die-in-headers' | 'echo' | 'unavailable'): void;
  /** Another key from now on. */
  wants(key: string | undefined): void;
  /** Another certificate from now on. */
  shows(certificate: Certificate): void;
  close(): Promise<void>;
}

export interface GuardedOptions {
  readonly key?: string;
  readonly prefix?: string;
  readonly tls?: Certificate & { /** Clients must show one of this authority. */ readonly clientCa?: string };
  /** A stream takes so long between its two events. */
  readonly streamMs?: number;
}

const ANSWER = JSON.stringify({
  id: 'x',
  object: 'chat.completion',
  choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: 'hello' } }],
  usage: { prompt_tokens: 3, completion_tokens: 1, total_tokens: 4 },
});
const MODELS = JSON.stringify({ object: 'list', data: [{ id: 'demo', object: 'model', owned_by: 'test' }] });
const JSON_TYPE = { 'content-type': 'application/json' };

export async function startGuardedEngine(options: GuardedOptions = {}): Promise<GuardedEngine> {
  const { prefix = '', tls, streamMs = 0 } = options;
  const seen: Seen[] = [];
  let { key } = options;
  let fault: Parameters<GuardedEngine['does']>[0] = 'answer';

  const serve = (request: IncomingMessage, response: ServerResponse, body: string): void => {
    const { headers, socket } = request;
    if (fault === 'die') socket.destroy();
    else if (fault === 'die-in-headers') {
      socket.write('HTTP/1.1 200 OK\r\ncontent-type: applica');
      setTimeout(() => socket.destroy(), 20);
    } else if (fault === 'unavailable') response.writeHead(503, JSON_TYPE).end('{}');
    else if (fault === 'echo') response.writeHead(200, { ...JSON_TYPE, ...(headers as object) }).end(ANSWER);
    else if (body.includes('"stream":true')) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n');
      setTimeout(() => response.end('data: {"choices":[]}\n\ndata: [DONE]\n\n'), streamMs);
    } else response.writeHead(200, JSON_TYPE).end(ANSWER);
  };
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const { method = '', url = '', headers } = request;
    const { servername } = request.socket as Partial<TLSSocket>;
    seen.push({ method, path: url, headers, servername });
    let body = '';
    request.on('error', () => undefined);
    request.on('data', (part: Buffer) => {
      body += part.toString();
    });
    request.on('end', () => {
      const path = url.startsWith(prefix) ? url.slice(prefix.length) : '';
      const isLetIn = key === undefined || headers.authorization === `Bearer ${key}`;
      if (path.startsWith('/v1/') && !isLetIn)
        response.writeHead(401, JSON_TYPE).end('{"error":"Unauthorized"}');
      else if (path === '/health') response.writeHead(200).end();
      else if (path === '/v1/models') response.writeHead(200, JSON_TYPE).end(MODELS);
      else if (method === 'POST' && path.startsWith('/v1/')) serve(request, response, body);
      else response.writeHead(404).end();
    });
  };
  const server: Server =
    tls === undefined
      ? createServer(onRequest)
      : createTlsServer(
          {
            cert: tls.cert,
            key: tls.key,
            ...(tls.clientCa !== undefined && { ca: tls.clientCa, requestCert: true }),
          },
          onRequest,
        );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    seen: () => seen,
    requests: () => seen.filter(({ method }) => method === 'POST'),
    does(next) {
      fault = next;
    },
    wants(next) {
      key = next;
    },
    shows(certificate) {
      (server as ReturnType<typeof createTlsServer>).setSecureContext({ ...certificate });
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

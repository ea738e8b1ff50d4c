/** `/metrics` for Prometheus and `/health` for whoever starts the service. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import type { HostPort } from '../config/config.ts';
import { refusalOf } from './command-source.ts';

export interface PoolHealth {
  readonly healthy: number;
  readonly endpoints: number;
  /** By endpoint: those that get no new requests. */
  readonly draining?: Readonly<Record<string, { readonly empty: boolean; readonly inFlight: number }>>;
  /** By endpoint: its window, what that goes by, what its probes say, which engine it is, and what is wrong with it. */
  readonly windows: Readonly<
    Record<
      string,
      {
        readonly window: number;
        readonly by: string;
        readonly state: string;
        readonly engine?: string;
        readonly gauges?: string;
        /** Only while requests are kept away because others failed there. */
        readonly ejected?: boolean;
        /** Models that are broken there. */
        readonly broken?: readonly string[];
        /** LoRA adapters, where the pool has any. */
        readonly adapters?: { readonly loaded: readonly string[]; readonly loading?: readonly string[] };
      }
    >
  >;
}

interface CanaryHealth {
  readonly model: string;
  /** Part of the requests that it has now, 0 to 1. */
  readonly weight: number;
  readonly rolledBack?: { readonly gate: string; readonly detail: string };
}

interface MirrorHealth {
  readonly pool: string;
  /** Part of the requests, 0 to 1. */
  readonly fraction: number;
  /** Copies that are thought to run. */
  readonly running: number;
}

/** What a drain was answered. */
export type DrainAnswer =
  | { readonly kind: 'draining'; readonly last: boolean }
  | { readonly kind: 'undone' }
  /** The configuration wants it drained. */
  | { readonly kind: 'still' }
  | { readonly kind: 'unknown' };

export interface HealthReport {
  readonly status: 'ok' | 'draining';
  /** Only where one is configured. */
  readonly redis?: 'connected' | 'away';
  readonly pools: Readonly<Record<string, PoolHealth>>;
  /** By model: its canary. Only where one is configured. */
  readonly canaries?: Readonly<Record<string, CanaryHealth>>;
  /** By model: the pool that gets copies. Only where one is configured. */
  readonly shadows?: Readonly<Record<string, MirrorHealth>>;
}

/** What commands are answered by. Bodies are JSON. */
export interface Commands {
  drain(endpoint: string, undo: boolean): DrainAnswer;
  /** @param question as it came. */
  explain(question: unknown): { readonly status: number; readonly answer: unknown };
  /** Of a question. */
  readonly maxBodyBytes: number;
}

export interface MetricsServer {
  readonly port: number;
  close(): Promise<void>;
}

const READ = ['GET', 'HEAD'];
const COMMAND = ['POST'];
const METHODS: ReadonlyMap<string, readonly string[]> = new Map([
  ['/metrics', READ],
  ['/health', READ],
  ['/drain', COMMAND],
  ['/explain', COMMAND],
]);

/** Far above a few scrapers, probes and commands, far below the files that a process may open. */
const MAX_CONNECTIONS = 256;
const SILENCE_MS = 10_000;
/** A question of some megabytes from this machine takes no longer. */
const BOUNDS = {
  headersTimeout: 5_000,
  requestTimeout: 20_000,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: 16 * 1024,
};

/** The body, or undefined when it is larger than it may be or does not come. */
async function bodyOf(request: IncomingMessage, maxBytes: number): Promise<string | undefined> {
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of request as AsyncIterable<Buffer>) {
      length += part.length;
      if (length > maxBytes) return undefined;
      parts.push(part);
    }
  } catch {
    return undefined;
  }
  return Buffer.concat(parts).toString('utf8');
}

function json(response: ServerResponse, status: number, answer: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(answer)}\n`);
}

export async function startMetricsServer(
  address: HostPort,
  registry: Registry,
  health: () => HealthReport,
  commands: Commands,
): Promise<MetricsServer> {
  const drain = (request: IncomingMessage, response: ServerResponse): void => {
    const { searchParams } = new URL(request.url ?? '/', 'http://localhost');
    const answer = commands.drain(searchParams.get('endpoint') ?? '', searchParams.get('undo') === 'on');
    json(response, answer.kind === 'unknown' ? 404 : 200, answer);
  };
  const explain = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const text = await bodyOf(request, commands.maxBodyBytes);
    if (text === undefined) {
      json(response, 413, { error: `a question has at most ${commands.maxBodyBytes} bytes` });
      return;
    }
    let question: unknown;
    try {
      question = JSON.parse(text);
    } catch {
      json(response, 400, { error: 'the question is not JSON' });
      return;
    }
    try {
      const { status, answer } = commands.explain(question);
      json(response, status, answer);
    } catch (error) {
      // A bug costs the question, not the process.
      json(response, 500, { error: `the service cannot explain it; please report this: ${String(error)}` });
    }
  };
  const command = (request: IncomingMessage, response: ServerResponse, path: string): void => {
    const refusal = refusalOf(request.headers, address.host);
    if (refusal !== undefined) {
      // Its body is not waited for.
      response.writeHead(403, { 'content-type': 'text/plain', connection: 'close' });
      response.end(`Commands are taken from this machine only: ${refusal}.\n`);
    } else if (path === '/drain') drain(request, response);
    else void explain(request, response);
  };
  const server: Server = createServer(BOUNDS, (request, response) => {
    const path = request.url?.split('?', 1)[0] ?? '';
    const methods = METHODS.get(path);
    if (methods === undefined) {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('Here are /metrics and /health.\n');
    } else if (!methods.includes(request.method ?? '')) {
      response.writeHead(405, { allow: methods.join(', '), connection: 'close' }).end();
    } else if (path === '/drain' || path === '/explain') {
      command(request, response, path);
    } else if (path === '/metrics') {
      registry.metrics().then(
        (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
        () => response.writeHead(500).end(),
      );
    } else {
      const report = health();
      json(response, report.status === 'ok' ? 200 : 503, report);
    }
  });
  server.maxConnections = MAX_CONNECTIONS;
  // Who does not read an answer, or says nothing.
  server.setTimeout(SILENCE_MS);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const where = `${address.host}:${address.port}`;
      reject(
        error.code === 'EADDRINUSE'
          ? new Error(`service.metrics: ${where} is in use; stop what listens there or choose another port`)
          : new Error(`service.metrics: cannot listen on ${where}: ${error.message}`),
      );
    });
    server.listen(address.port, address.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

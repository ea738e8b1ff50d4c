/** `/metrics` for Prometheus and `/health` for whoever starts the service. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import type { HostPort } from '../config/config.ts';

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

/** What a drain was answered. */
export type DrainAnswer =
  | { readonly kind: 'draining'; readonly last: boolean }
  | { readonly kind: 'undone' }
  /** The configuration wants it drained. */
  | { readonly kind: 'still' }
  | { readonly kind: 'unknown' };

/** Browsers do not send it to another site without being allowed to. */
export const COMMAND_HEADER = 'x-fairlane-command';

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);

export interface HealthReport {
  readonly status: 'ok' | 'draining';
  /** Only where one is configured. */
  readonly redis?: 'connected' | 'away';
  readonly pools: Readonly<Record<string, PoolHealth>>;
  /** By model: its canary. Only where one is configured. */
  readonly canaries?: Readonly<Record<string, CanaryHealth>>;
}

export interface MetricsServer {
  readonly port: number;
  close(): Promise<void>;
}

export async function startMetricsServer(
  address: HostPort,
  registry: Registry,
  health: () => HealthReport,
  drain: (endpoint: string, undo: boolean) => DrainAnswer,
): Promise<MetricsServer> {
  /** Nobody is authenticated here: only who is on this machine may command, and no web page that is open on it. */
  const command = (request: IncomingMessage, response: ServerResponse): void => {
    const { searchParams } = new URL(request.url ?? '/', 'http://localhost');
    const asked = (request.headers.host ?? '').replace(/:\d+$/, '');
    if (!isLoopback(address.host) || !isLoopback(asked) || request.headers[COMMAND_HEADER] === undefined) {
      response.writeHead(403, { 'content-type': 'text/plain' });
      response.end(
        'Commands are taken from this machine only, on a loopback address, from `fairlane drain`.\n',
      );
    } else {
      const answer = drain(searchParams.get('endpoint') ?? '', searchParams.get('undo') === 'on');
      response.writeHead(answer.kind === 'unknown' ? 404 : 200, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify(answer)}\n`);
    }
  };
  const server: Server = createServer((request, response) => {
    const path = request.url?.split('?', 1)[0];
    if (request.method === 'POST' && path === '/drain') command(request, response);
    else if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end();
    } else if (path === '/metrics') {
      registry.metrics().then(
        (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
        () => response.writeHead(500).end(),
      );
    } else if (path === '/health') {
      const report = health();
      response
        .writeHead(report.status === 'ok' ? 200 : 503, { 'content-type': 'application/json' })
        .end(`${JSON.stringify(report)}\n`);
    } else {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('Here are /metrics and /health.\n');
    }
  });
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

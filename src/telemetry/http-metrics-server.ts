/** `/metrics` for Prometheus and `/health` for whoever starts the service. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import type { HostPort } from '../config/config.ts';

interface PoolHealth {
  readonly healthy: number;
  readonly endpoints: number;
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
      }
    >
  >;
}

export interface HealthReport {
  readonly status: 'ok' | 'draining';
  /** Only where one is configured. */
  readonly redis?: 'connected' | 'away';
  readonly pools: Readonly<Record<string, PoolHealth>>;
}

export interface MetricsServer {
  readonly port: number;
  close(): Promise<void>;
}

export async function startMetricsServer(
  address: HostPort,
  registry: Registry,
  health: () => HealthReport,
): Promise<MetricsServer> {
  const server: Server = createServer((request, response) => {
    const path = request.url?.split('?', 1)[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') {
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

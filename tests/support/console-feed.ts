/** Serves the built page with its rules, and events that a test makes: what no real run shows on demand. */
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import type { ConsoleAbout, RequestLine, UsageEvent } from '../../src/admin/console-feed.ts';
import type { StatusReport } from '../../src/admin/status.ts';

const BUILT = join(import.meta.dirname, '../../dist/console');
const TYPES: Readonly<Record<string, string>> = { '.js': 'text/javascript', '.css': 'text/css' };
/** As the service has them. */
const RULES =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export interface ConsoleFeed {
  readonly url: string;
  /** Bytes of the page and its assets, as they went. */
  readonly bytes: () => number;
  status(status: StatusReport): void;
  requests(requests: readonly RequestLine[]): void;
  usage(usage: UsageEvent): void;
  /** What pages that connect from now on may do. */
  about(about: ConsoleAbout): void;
  /** Answers pages with that from now on, as under a name that is not the service's. */
  refuse(why: string): void;
  close(): Promise<void>;
}

/** @param port 0: any that is free. */
export async function startConsoleFeed(port = 0): Promise<ConsoleFeed> {
  const viewers = new Set<ServerResponse>();
  const last = new Map<string, unknown>([['about', { actions: true, admin: true } satisfies ConsoleAbout]]);
  let bytes = 0;
  let refusal: string | undefined;
  const send = (to: ServerResponse, name: string, document: unknown): void => {
    to.write(`event: ${name}\ndata: ${JSON.stringify(document)}\n\n`);
  };
  const tell = (name: string, document: unknown): void => {
    last.set(name, document);
    for (const viewer of viewers) send(viewer, name, document);
  };
  const server = createServer((request, response) => {
    const path = request.url?.split('?', 1)[0] ?? '';
    if (refusal !== undefined && !path.startsWith('/console/assets/') && path !== '/') {
      response.writeHead(403, { 'content-type': 'application/json' }).end(JSON.stringify({ error: refusal }));
      return;
    }
    if (path === '/console/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      viewers.add(response);
      response.on('close', () => viewers.delete(response));
      for (const [name, document] of last) if (name !== 'about') send(response, name, document);
      return;
    }
    const asked =
      path === '/status'
        ? last.get('status')
        : path === '/console/requests'
          ? last.get('requests')
          : path === '/console/about'
            ? last.get('about')
            : undefined;
    if (asked !== undefined) {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(asked));
      return;
    }
    const name = path === '/' ? 'index.html' : normalize(path.replace(/^\/console\//, ''));
    const file = join(BUILT, `${name}.br`);
    if (name.startsWith('..') || !existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    const body = readFileSync(file);
    bytes += body.length;
    response.writeHead(200, {
      'content-type': TYPES[extname(name)] ?? 'text/html; charset=utf-8',
      'content-encoding': 'br',
      'content-security-policy': RULES,
      'x-content-type-options': 'nosniff',
    });
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    bytes: () => bytes,
    status: (status) => tell('status', status),
    requests: (requests) => tell('requests', { requests, left: 0 }),
    usage: (usage) => tell('usage', usage),
    about: (about) => void last.set('about', about),
    refuse: (why) => {
      refusal = why;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

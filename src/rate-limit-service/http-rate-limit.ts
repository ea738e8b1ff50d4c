/**
 * The rate limit service's second edge: calls as JSON over HTTP, for clients without gRPC, and a health check.
 * Source: envoyproxy/ratelimit, src/server/server_impl.go, NewJsonHandler, and src/server/health.go. What is wrong is told in the
 * log alone, as there.
 */
import { createServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { HostPort } from '../config/config.ts';
import { textOf } from '../domain/text-of.ts';
import { bodyWithin, listenOn } from '../grpc/http-listen.ts';
import type { Decision } from './decide.ts';
import type { RateLimitServiceOptions } from './grpc-rate-limit.ts';
import { answerText, BadCall, parseCall } from './json-codec.ts';

export interface RateLimitHttpServer {
  readonly port: number;
  /** Waits for answers that are on their way until the deadline. */
  close(deadlineMs: number): Promise<void>;
}

export interface RateLimitHttpOptions extends RateLimitServiceOptions {
  readonly isServing: () => boolean;
}

/** A call has some hundred bytes. */
const MAX_BODY_BYTES = 1024 ** 2;
const MAX_CONNECTIONS = 1_024;
const SILENCE_MS = 10_000;
const BOUNDS = {
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 60_000,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: 16 * 1024,
};

/** As Go's `http.Error` writes it. */
function fail(response: ServerResponse, status: number): void {
  response
    .writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' })
    .end(`${STATUS_CODES[status] ?? ''}\n`);
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decode(body: Buffer): string {
  try {
    return utf8.decode(body);
  } catch {
    throw new BadCall('the body is not UTF-8');
  }
}

function answer(response: ServerResponse, decision: Decision): void {
  if (decision.kind === 'error') {
    fail(response, 400);
    return;
  }
  // Before the head: what fails here is a 500.
  const text = answerText(decision.answer);
  response.writeHead(decision.answer.over ? 429 : 200, { 'content-type': 'application/json' }).end(text);
}

async function answerCall(
  { decide, onError }: RateLimitServiceOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const body = await bodyWithin(request, MAX_BODY_BYTES);
    if (body === undefined) {
      response.setHeader('connection', 'close');
      fail(response, 413);
      return;
    }
    answer(response, await decide(parseCall(decode(body))));
  } catch (error) {
    // A client that went away before its call was there gets nothing.
    if (request.destroyed && !request.complete) response.destroy();
    else if (error instanceof BadCall) fail(response, 400);
    else {
      onError(textOf(error));
      fail(response, 500);
    }
  }
}

/** A page that is open in a browser may not use limits up: browsers say that it asks. */
const isFromPage = ({ headers }: IncomingMessage): boolean =>
  headers.origin !== undefined || !['none', undefined].includes(headers['sec-fetch-site']?.toString());

function serve(options: RateLimitHttpOptions, request: IncomingMessage, response: ServerResponse): void {
  const path = request.url?.split('?', 1)[0];
  if (path === '/healthcheck') {
    if (options.isServing())
      response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' }).end('OK');
    else response.writeHead(500).end();
  } else if (path !== '/json') fail(response, 404);
  else if (isFromPage(request)) {
    // Its body is not waited for.
    response.setHeader('connection', 'close');
    fail(response, 403);
  } else void answerCall(options, request, response);
}

/** @throws when it cannot listen. */
export async function startRateLimitHttp(
  address: HostPort,
  options: RateLimitHttpOptions,
): Promise<RateLimitHttpServer> {
  const server = createServer(BOUNDS, (request, response) => serve(options, request, response));
  server.maxConnections = MAX_CONNECTIONS;
  // Who does not read an answer, or says nothing in the middle of a call.
  server.setTimeout(Math.max(SILENCE_MS, BOUNDS.keepAliveTimeout));
  await listenOn(server, address, 'rateLimit.http');
  return {
    port: (server.address() as AddressInfo).port,
    async close(deadlineMs) {
      const cut = setTimeout(() => server.closeAllConnections(), deadlineMs);
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      });
      clearTimeout(cut);
    },
  };
}

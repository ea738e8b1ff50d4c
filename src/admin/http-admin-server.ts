/** `/metrics` for Prometheus, `/status` for commands and consoles, `/live`, `/ready` and `/health` for whoever starts the service, and commands from this machine. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import type { HostPort } from '../config/config.ts';
import { bodyWithin, listenOn, oneByOne } from '../grpc/http-listen.ts';
import { refusalOf } from './command-source.ts';
import type { Commands } from './commands.ts';
import type { HealthReport } from './health.ts';
import { Console, type ConsoleOptions } from './http-console.ts';
import { LargeAnswers } from './http-large-answers.ts';
import { answerStatus, type StatusText } from './http-status.ts';

export interface AdminServer {
  readonly port: number;
  close(): Promise<void>;
}

const READ = ['GET', 'HEAD'];
const COMMAND = ['POST'];
const METHODS: ReadonlyMap<string, readonly string[]> = new Map([
  ['/metrics', READ],
  ['/status', READ],
  ['/health', READ],
  ['/ready', READ],
  ['/live', READ],
  ['/drain', COMMAND],
  ['/explain', COMMAND],
]);

const CONSOLE_PATHS = '/, /console/events, /console/requests, ';

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

interface Pages {
  readonly registry: Registry;
  readonly health: () => HealthReport;
  readonly commands: Commands;
  readonly status: StatusText;
  readonly console: Console | undefined;
  /** What the server listens on: commands are taken on a loopback address only. */
  readonly host: string;
  readonly answers: LargeAnswers;
}

/** The body as text, or undefined when it is larger than it may be or does not come. */
const textWithin = (request: IncomingMessage, maxBytes: number): Promise<string | undefined> =>
  bodyWithin(request, maxBytes).then(
    (body) => body?.toString('utf8'),
    () => undefined,
  );

function json(response: ServerResponse, status: number, answer: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(answer)}\n`);
}

function answerDrain(commands: Commands, request: IncomingMessage, response: ServerResponse): void {
  const { searchParams } = new URL(request.url ?? '/', 'http://localhost');
  const answer = commands.drain(searchParams.get('endpoint') ?? '', searchParams.get('undo') === 'on');
  json(response, answer.kind === 'unknown' ? 404 : 200, answer);
}

async function answerExplain(
  commands: Commands,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const text = await textWithin(request, commands.maxBodyBytes);
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
    const { status, answer } = await commands.explain(question);
    json(response, status, answer);
  } catch (error) {
    // A bug costs the question, not the process.
    json(response, 500, { error: `the service cannot explain it; please report this: ${String(error)}` });
  }
}

function answerCommand(
  { commands, host }: Pages,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const refusal = refusalOf(request.headers, host);
  if (refusal !== undefined) {
    // Its body is not waited for.
    response.writeHead(403, { 'content-type': 'text/plain', connection: 'close' });
    response.end(`Commands are taken from this machine only: ${refusal}.\n`);
  } else if (path === '/drain') answerDrain(commands, request, response);
  else void answerExplain(commands, request, response);
}

function answerMetrics({ registry, answers }: Pages, response: ServerResponse): void {
  registry.metrics().then(
    (text) => answers.send(response, { 'content-type': registry.contentType }, text),
    () => response.writeHead(500).end(),
  );
}

/**
 * `/health` is a 503 only while the service drains, as it always was: who restarts a service by it is not to do so because an
 * engine is away. `/ready` says whether a request would find an engine.
 */
function answerHealth(path: string, report: HealthReport, response: ServerResponse): void {
  const { status, ready, reasons } = report;
  if (path === '/health') json(response, status === 'draining' ? 503 : 200, report);
  else json(response, ready ? 200 : 503, { ready, status, ...(reasons !== undefined && { reasons }) });
}

function serve(pages: Pages, request: IncomingMessage, response: ServerResponse): void {
  const path = request.url?.split('?', 1)[0] ?? '';
  if (pages.console?.answer(path, request, response) === true) return;
  const methods = METHODS.get(path);
  if (methods === undefined) {
    response
      .writeHead(404, { 'content-type': 'text/plain' })
      .end(
        `Here are ${pages.console?.isOn === true ? CONSOLE_PATHS : ''}/metrics, /status, /health, /ready and /live.\n`,
      );
  } else if (!methods.includes(request.method ?? '')) {
    response.writeHead(405, { allow: methods.join(', '), connection: 'close' }).end();
  } else if (methods === COMMAND) answerCommand(pages, path, request, response);
  else if (path === '/status') answerStatus(pages, request, response);
  else if (path === '/metrics') answerMetrics(pages, response);
  else if (path === '/live') json(response, 200, { status: 'live' });
  else answerHealth(path, pages.health(), response);
}

/** @throws when it cannot listen. */
export async function startAdminServer(
  address: HostPort,
  registry: Registry,
  health: () => HealthReport,
  commands: Commands,
  status: StatusText,
  options?: ConsoleOptions,
): Promise<AdminServer> {
  const { host } = address;
  const answers = new LargeAnswers();
  const console = options && new Console(options, status, host, answers);
  const pages: Pages = { registry, health, commands, status, console, host, answers };
  const server = createServer(
    BOUNDS,
    oneByOne((request, response) => serve(pages, request, response)),
  );
  server.maxConnections = MAX_CONNECTIONS;
  // Who does not read an answer, or says nothing.
  server.setTimeout(SILENCE_MS);
  await listenOn(server, address, 'service.metrics');
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        console?.close();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

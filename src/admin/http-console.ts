/** The console on the port of the metrics: its page, its events, and the same as documents. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ConsoleMode } from '../config/console.ts';
import type { BuildInfo } from '../domain/build-info.ts';
import { isLoopback } from '../domain/loopback.ts';
import { isConsoleOn, readerRefusalOf } from './command-source.ts';
import type { ConsoleAbout } from './console-feed.ts';
import type { ConsoleHistory } from './console-history.ts';
import { answerFile, type ConsoleFiles, readConsoleFiles } from './http-console-files.ts';
import { ConsoleStreams } from './http-console-streams.ts';
import type { LargeAnswers } from './http-large-answers.ts';
import type { StatusText } from './http-status.ts';
import type { TenantApi } from './http-tenant-api.ts';

export interface ConsoleOptions {
  readonly history: ConsoleHistory;
  readonly mode: ConsoleMode;
  readonly build?: BuildInfo | undefined;
  /** Absent: the admin API is not configured. */
  readonly api?: TenantApi | undefined;
  /** Where clients send to. */
  readonly apiUrl?: string | undefined;
}

const API = '/console/admin';
/** Lines of requests are kept for it: many who ask cost as much as one. */
const KEPT_MS = 200;
const JSON_HEADERS = {
  'content-type': 'application/json',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
};

const isConsolePath = (path: string): boolean => path === '/' || path.startsWith('/console/');

export class Console {
  readonly #host: string;
  readonly #history: ConsoleHistory;
  readonly #streams: ConsoleStreams;
  readonly #files: ConsoleFiles;
  readonly #build: BuildInfo | undefined;
  /** Where tokens come over no network. */
  readonly #api: TenantApi | undefined;
  readonly #answers: LargeAnswers;
  #requests: { readonly text: string; readonly sinceMs: number } | undefined;
  readonly #apiUrl: string | undefined;
  readonly isOn: boolean;

  /** @param host what the server listens on. */
  constructor(
    { history, mode, build, api, apiUrl }: ConsoleOptions,
    status: StatusText,
    host: string,
    answers: LargeAnswers,
  ) {
    this.#answers = answers;
    this.#host = host;
    this.#history = history;
    this.#streams = new ConsoleStreams(status, history);
    this.#build = build;
    this.#api = isLoopback(host) ? api : undefined;
    this.#apiUrl = apiUrl;
    this.isOn = isConsoleOn(mode, host);
    this.#files = this.isOn ? readConsoleFiles() : new Map();
  }

  /** @returns whether the path is the console's, and answered. */
  answer(path: string, request: IncomingMessage, response: ServerResponse): boolean {
    if (!this.isOn || !isConsolePath(path)) return false;
    const refusal = readerRefusalOf(request.headers, this.#host);
    if (refusal !== undefined && path !== '/') {
      // A body is not waited for.
      this.#json(response, 403, { error: refusal }, { connection: 'close' });
    } else if (this.#api !== undefined && path.startsWith(`${API}/`)) {
      void this.#api.serve(request, response, { host: this.#host, path: API });
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD', connection: 'close' }).end();
    } else if (path === '/console/events') {
      if (request.method === 'GET') this.#streams.add(response);
      else
        response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }).end();
    } else if (path === '/console/requests') {
      this.#answers.send(response, JSON_HEADERS, this.#requestsText(performance.now()));
    } else if (path === '/console/about') {
      this.#json(response, 200, this.#about());
    } else return answerFile(this.#files, path, request, response);
    return true;
  }

  close(): void {
    this.#streams.close();
  }

  #requestsText(nowMs: number): string {
    if (this.#requests === undefined || nowMs - this.#requests.sinceMs >= KEPT_MS) {
      this.#requests = { text: JSON.stringify(this.#history.requests()), sinceMs: nowMs };
    }
    return this.#requests.text;
  }

  #about(): ConsoleAbout {
    return {
      ...this.#build,
      actions: isLoopback(this.#host),
      admin: this.#api !== undefined,
      ...(this.#apiUrl !== undefined && { api: this.#apiUrl }),
    };
  }

  #json(response: ServerResponse, status: number, answer: unknown, headers = {}): void {
    response.writeHead(status, { ...headers, ...JSON_HEADERS });
    response.end(`${JSON.stringify(answer)}\n`);
  }
}

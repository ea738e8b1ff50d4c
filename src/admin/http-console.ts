/** The console on the port of the metrics: its page, its events, and the same as documents. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ConsoleMode } from '../config/config.ts';
import { isLoopback, readerRefusalOf } from './command-source.ts';
import { answerFile, type ConsoleFiles, readConsoleFiles } from './console-files.ts';
import type { ConsoleHistory } from './console-history.ts';
import { ConsoleStreams } from './console-streams.ts';
import type { StatusText } from './http-status.ts';

export interface ConsoleOptions {
  readonly history: ConsoleHistory;
  /** `auto`: where only this machine is listened to, since request lines say who asked for what, and when. */
  readonly mode: ConsoleMode;
}

const isConsolePath = (path: string): boolean => path === '/' || path.startsWith('/console/');

export class Console {
  readonly #host: string;
  readonly #history: ConsoleHistory;
  readonly #streams: ConsoleStreams;
  readonly #files: ConsoleFiles;
  readonly isOn: boolean;

  /** @param host what the server listens on. */
  constructor({ history, mode }: ConsoleOptions, status: StatusText, host: string) {
    this.#host = host;
    this.#history = history;
    this.#streams = new ConsoleStreams(status, history);
    this.isOn = mode === 'on' || (mode === 'auto' && isLoopback(host));
    this.#files = this.isOn ? readConsoleFiles() : new Map();
  }

  /** @returns whether the path is the console's, and answered. */
  answer(path: string, request: IncomingMessage, response: ServerResponse): boolean {
    if (!this.isOn || !isConsolePath(path)) return false;
    const refusal = readerRefusalOf(request.headers, this.#host);
    if (refusal !== undefined && path !== '/') {
      this.#json(response, 403, { error: refusal });
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD', connection: 'close' }).end();
    } else if (path === '/console/events') {
      if (request.method === 'GET') this.#streams.add(response);
      else
        response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }).end();
    } else if (path === '/console/requests') {
      this.#json(response, 200, this.#history.requests());
    } else if (path === '/console/about') {
      this.#json(response, 200, { actions: isLoopback(this.#host), admin: false });
    } else return answerFile(this.#files, path, request, response);
    return true;
  }

  close(): void {
    this.#streams.close();
  }

  #json(response: ServerResponse, status: number, answer: unknown): void {
    response.writeHead(status, {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    });
    response.end(`${JSON.stringify(answer)}\n`);
  }
}

/** Listens for the admin API. Connections, headers, bodies and the time for each are bounded; wrong tokens are answered late. */
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { AdminConfig } from '../config/admin.ts';
import { bodyWithin, listenOn, oneByOne } from '../grpc/http-listen.ts';
import type { AdminWorld } from './made-tenants.ts';
import { type AdminAnswer, answerAdmin, MAX_BODY_BYTES, problemAnswer } from './tenant-api.ts';

const MAX_CONNECTIONS = 64;
const SILENCE_MS = 20_000;
const BOUNDS = {
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: 16 * 1024,
};
/** A wrong token waits so long for its answer, and so many do at once; the others get 429. A right one is let in all the same. */
const LATE_MS = 500;
const MOST_LATE = 16;
/** Between two lines of the log about wrong tokens. */
const TELL_MS = 60_000;

export interface AdminApiServer {
  readonly port: number;
  /** From a configuration that was taken over: a certificate that changed is shown from now on. */
  reconfigure(admin: AdminConfig): void;
  close(): Promise<void>;
}

export interface AdminApiOptions extends Omit<AdminWorld, 'host'> {
  /** Requests with wrong tokens or none since the last time that it was told. */
  readonly onRefused: (requests: number) => void;
  readonly onAnswered: (status: number) => void;
}

class WrongTokens {
  readonly #tell: (requests: number) => void;
  readonly #unixMs: () => number;
  #count = 0;
  #toldMs = Number.NEGATIVE_INFINITY;
  #waiting = 0;

  constructor(tell: (requests: number) => void, unixMs: () => number) {
    this.#tell = tell;
    this.#unixMs = unixMs;
  }

  /** Whether it may wait; else there are too many. */
  async late(): Promise<boolean> {
    this.#count += 1;
    const nowMs = this.#unixMs();
    if (Math.abs(nowMs - this.#toldMs) >= TELL_MS) {
      this.#tell(this.#count);
      this.#toldMs = nowMs;
      this.#count = 0;
    }
    if (this.#waiting >= MOST_LATE) return false;
    this.#waiting += 1;
    await new Promise((resolve) => setTimeout(resolve, LATE_MS));
    this.#waiting -= 1;
    return true;
  }
}

function textOf(request: IncomingMessage): Promise<string | undefined> {
  return bodyWithin(request, MAX_BODY_BYTES).then(
    (body) => body?.toString('utf8'),
    () => undefined,
  );
}

function send(response: ServerResponse, { status, headers = {}, body }: AdminAnswer, isRead: boolean): void {
  response.writeHead(status, {
    'content-type': 'application/json',
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-store',
    ...headers,
    // What was not read of a body is not waited for.
    ...(!isRead && { connection: 'close' }),
  });
  response.end(`${JSON.stringify(body)}\n`);
}

const tooMany = (): AdminAnswer =>
  problemAnswer(
    429,
    'too_many_wrong_tokens',
    'too many requests with wrong tokens',
    'try again in a second',
    {
      'retry-after': '1',
    },
  );

/** Under another server's path, and for its own pages: that server has held their Host and Origin against its own. */
interface Mount {
  readonly host: string;
  readonly path: string;
}

/** Headers in which a page says where it is from. */
const PAGE_HEADERS = ['origin', 'sec-fetch-site'];

/** The admin API, wherever it is reached: wrong tokens are counted, and made late, together. */
export class TenantApi {
  readonly options: AdminApiOptions;
  readonly #wrong: WrongTokens;

  constructor(options: AdminApiOptions) {
    this.options = options;
    this.#wrong = new WrongTokens(options.onRefused, options.unixMs);
  }

  /** Answers a request. Never rejects. */
  async serve(request: IncomingMessage, response: ServerResponse, mount?: Mount): Promise<void> {
    const world: AdminWorld = { ...this.options, host: mount?.host ?? this.options.admin().address.host };
    const body = (): Promise<string | undefined> => textOf(request);
    const { method = '' } = request;
    let { url = '/', headers } = request;
    if (mount !== undefined) {
      url = url.slice(mount.path.length);
      headers = { ...headers };
      for (const name of PAGE_HEADERS) delete headers[name];
    }
    let answer = await answerAdmin({ method, url, headers, body }, world);
    if (answer.isUnauthorized === true && !(await this.#wrong.late())) answer = tooMany();
    this.options.onAnswered(answer.status);
    send(response, answer, request.complete);
  }
}

/** @throws when it cannot listen. */
export async function startTenantApi(api: TenantApi): Promise<AdminApiServer> {
  const { address, tls } = api.options.admin();
  const listener = oneByOne((request, response) => void api.serve(request, response));
  const secure = tls === undefined ? undefined : createHttpsServer({ ...BOUNDS, ...tlsOf(tls) }, listener);
  const server: Server = secure ?? createHttpServer(BOUNDS, listener);
  server.maxConnections = MAX_CONNECTIONS;
  server.setTimeout(SILENCE_MS);
  await listenOn(server, address, 'admin.address');
  return {
    port: (server.address() as AddressInfo).port,
    reconfigure: ({ tls: next }) => {
      if (next !== undefined) secure?.setSecureContext(tlsOf(next));
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const tlsOf = ({ cert, key }: NonNullable<AdminConfig['tls']>) => ({
  cert,
  key,
  minVersion: 'TLSv1.2' as const,
});

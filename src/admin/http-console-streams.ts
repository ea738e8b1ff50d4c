/**
 * Server-sent events for those who look at the console. Each document is made once for all of them, and none while nobody looks.
 * Streams are few, so that they never take what scrapers and probes need; who does not read is cut.
 */
import type { ServerResponse } from 'node:http';
import type { ConsoleHistory } from './console-history.ts';
import type { StatusText } from './http-status.ts';
import { DEFAULT_STATUS_QUERY } from './status.ts';

const MOST_STREAMS = 16;
/** Bytes that wait for a reader. The first events of 500 requests are some 300 KiB. */
const MOST_WAITING_BYTES = 2 * 1024 * 1024;
const TICK_MS = 500;
const STATUS_TICKS = 2;
const USAGE_TICKS = 10;
/** A reader whose waiting bytes stand still for so many ticks is gone: 10 s. */
const MOST_STILL_TICKS = 20;
const RETRY_SECONDS = 5;
const QUERY = { ...DEFAULT_STATUS_QUERY, tenants: 100, sort: 'tokens' } as const;

/** Who looks. */
interface Reader {
  /** Bytes that were taken by the last tick. */
  taken: number;
  stillTicks: number;
}

export class ConsoleStreams {
  readonly #status: StatusText;
  readonly #history: ConsoleHistory;
  readonly #open = new Map<ServerResponse, Reader>();
  #timer: NodeJS.Timeout | undefined;
  #ticks = 0;
  #id = 0;
  /** Requests that were told of. */
  #told = 0;

  constructor(status: StatusText, history: ConsoleHistory) {
    this.#status = status;
    this.#history = history;
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * Answers with a stream, or with a 503 where there are enough. Also behind another answer of its connection: such a one is told
   * nothing of the connection's end, and would keep its place.
   */
  add(response: ServerResponse): void {
    const { socket } = response;
    if (this.#open.size >= MOST_STREAMS || socket === null) {
      response.writeHead(503, {
        'content-type': 'text/plain',
        'retry-after': String(RETRY_SECONDS),
        // Streams that are not served keep no connection.
        connection: 'close',
      });
      response.end(`${MOST_STREAMS} streams are open: ask /status and /console/requests.\n`);
      return;
    }
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      connection: 'close',
    });
    // Silence ends other connections only; a reader that is gone or does not read is cut by what waits for it.
    socket.setTimeout(0);
    const gone = (): void => this.#remove(response);
    response.on('close', gone).on('error', gone);
    // What ended before goes to it, and from here on to all: nothing twice, nothing left out.
    if (this.#open.size > 0) this.#tellRequests();
    this.#told = this.#history.count;
    this.#open.set(response, { taken: 0, stillTicks: 0 });
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS);
    const events = [
      `retry: ${RETRY_SECONDS * 1_000}\n\n`,
      this.#event('requests', () => JSON.stringify(this.#history.requests())),
      this.#event('status', () => this.#status(QUERY)),
      this.#event('usage', () => JSON.stringify(this.#history.usage())),
    ];
    this.#write(response, Buffer.from(events.join('')));
  }

  /** Ends all streams. */
  close(): void {
    for (const response of this.#open.keys()) {
      response.end();
      this.#remove(response);
    }
  }

  #tick(): void {
    this.#ticks += 1;
    for (const [response, reader] of this.#open) this.#watch(response, reader);
    this.#tellRequests();
    if (this.#ticks % STATUS_TICKS === 0) this.#tell(this.#event('status', () => this.#status(QUERY)));
    if (this.#ticks % USAGE_TICKS !== 0) return;
    this.#tell(this.#event('usage', () => JSON.stringify(this.#history.usage())));
  }

  #tellRequests(): void {
    const { count } = this.#history;
    if (count === this.#told) return;
    const from = this.#told;
    this.#told = count;
    this.#tell(this.#event('requests', () => JSON.stringify(this.#history.requests(from))));
  }

  #tell(text: string): void {
    const bytes = Buffer.from(text);
    for (const response of this.#open.keys()) this.#write(response, bytes);
  }

  /** A bug costs the event, not the process: a comment is in its place. */
  #event(name: string, data: () => string | undefined): string {
    this.#id += 1;
    try {
      const text = data();
      if (text !== undefined) return `id: ${this.#id}\nevent: ${name}\ndata: ${text}\n\n`;
    } catch {
      // As where there is none.
    }
    return `: no ${name}\n\n`;
  }

  /** A reader that takes nothing of what waits for it loses its place. */
  #watch(response: ServerResponse, reader: Reader): void {
    const { bytesWritten = 0, writableLength: waiting = 0 } = response.socket ?? {};
    const taken = bytesWritten - waiting;
    reader.stillTicks = waiting > 0 && taken <= reader.taken ? reader.stillTicks + 1 : 0;
    reader.taken = taken;
    if (reader.stillTicks >= MOST_STILL_TICKS) this.#cut(response);
  }

  #write(response: ServerResponse, bytes: Buffer): void {
    if (response.writableLength > MOST_WAITING_BYTES) this.#cut(response);
    else response.write(bytes);
  }

  #cut(response: ServerResponse): void {
    this.#remove(response);
    response.destroy();
  }

  #remove(response: ServerResponse): void {
    this.#open.delete(response);
    if (this.#open.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

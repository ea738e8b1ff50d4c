/** HTTP as a client sees it. */
import { request as httpRequest } from 'node:http';
import type { Socket } from 'node:net';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** The body as JSON; tests look into it freely. */
  // oxlint-disable-next-line no-explicit-any -- answers have many shapes, and an assertion follows every look
  readonly json: any;
}

export const chatBody = (fields: object = {}): string =>
  JSON.stringify({ model: 'demo', messages: [{ role: 'user', content: 'hello' }], max_tokens: 5, ...fields });

export interface SendOptions {
  readonly key?: string | undefined;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer | undefined;
  readonly signal?: AbortSignal;
  readonly trailers?: Readonly<Record<string, string>>;
  /** A connection of its own, for this request alone. */
  readonly socket?: Socket;
}

/** Sends a request and reads the whole answer. A broken answer rejects. */
export function send(url: string, options: SendOptions = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { key, method = 'POST', path = '/v1/chat/completions', headers = {}, body } = options;
    const outgoing = httpRequest(
      url + path,
      {
        method,
        headers: {
          ...(key !== undefined && { authorization: `Bearer ${key}` }),
          'content-type': 'application/json',
          ...(options.trailers !== undefined && { 'transfer-encoding': 'chunked' }),
          ...headers,
        },
        ...(options.signal !== undefined && { signal: options.signal }),
        ...(options.socket !== undefined && { createConnection: () => options.socket }),
      },
      (incoming) => {
        const parts: Buffer[] = [];
        incoming.on('data', (part: Buffer) => parts.push(part));
        incoming.on('error', reject);
        incoming.on('close', () => {
          if (!incoming.complete) {
            reject(new Error('answer cut off'));
            return;
          }
          const text = Buffer.concat(parts).toString('utf8');
          let json: unknown;
          try {
            json = JSON.parse(text);
          } catch {
            json = undefined;
          }
          resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text, json });
        });
      },
    );
    outgoing.on('error', reject);
    if (options.trailers !== undefined) {
      outgoing.write(body ?? '');
      outgoing.addTrailers(options.trailers);
      outgoing.end();
    } else outgoing.end(body);
  });
}

/** The data of a stream's events, `[DONE]` included. */
export const eventsOf = (text: string): readonly string[] =>
  text
    .split(/\r?\n\r?\n/)
    .flatMap((event) => event.split(/\r?\n/).filter((line) => line.startsWith('data:')))
    .map((line) => line.slice(5).trim());

/** A streamed request that can be hung up on. */
export interface OpenStream {
  readonly status: number;
  readonly text: () => string;
  /** Resolves at the end; rejects when the answer is cut off. */
  readonly done: Promise<string>;
  readonly hangUp: () => void;
}

export function openStream(url: string, options: SendOptions = {}): Promise<OpenStream> {
  return new Promise((resolve, reject) => {
    const { key, path = '/v1/chat/completions', headers = {}, body } = options;
    const outgoing = httpRequest(
      url + path,
      {
        method: 'POST',
        headers: { authorization: `Bearer ${key ?? ''}`, 'content-type': 'application/json', ...headers },
        agent: false,
      },
      (incoming) => {
        let text = '';
        incoming.setEncoding('utf8');
        incoming.on('data', (part: string) => {
          text += part;
        });
        const done = new Promise<string>((finish, fail) => {
          incoming.on('error', fail);
          incoming.on('close', () => (incoming.complete ? finish(text) : fail(new Error('answer cut off'))));
        });
        // A test that hangs up does not look at `done`.
        done.catch(() => undefined);
        resolve({
          status: incoming.statusCode ?? 0,
          text: () => text,
          done,
          hangUp: () => outgoing.destroy(),
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

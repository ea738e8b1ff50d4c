/** A tenant that holds all that it can, an engine that lets it, and what the processes take meanwhile. */
import { readFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { type AddressInfo, connect as connectTcp, type Socket } from 'node:net';
import { buffer as bytesOf } from 'node:stream/consumers';

export const MiB = 1024 ** 2;

/** The most that a process has had resident, in bytes; on Linux. */
export function peakResidentOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? Number.NaN) * 1024;
}

/** All answers together, a second: more JSON than an engine computes. */
const RATE = 64 * MiB;
const TICK_MS = 10;
const PIECE = Buffer.alloc(65_536, 'x');
const HEAD = '{"object":"list","choices":[],"data":["';
const TAIL = '"],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}';
/** Prompts that are too long for it are refused, as engines do. */
const LONG_PROMPT = 100_000;

export interface GreedyEngine {
  readonly url: string;
  /** Requests that have come. */
  readonly came: () => number;
  close(): void;
}

/** @param answers bytes of an answer in one piece, by model; of another one, a few. */
export async function startGreedyEngine(answers: Readonly<Record<string, number>>): Promise<GreedyEngine> {
  /** Bytes that are still to be written, of each answer. */
  const answering = new Map<ServerResponse, number>();
  let came = 0;
  const write = (): void => {
    let budget = (RATE * TICK_MS) / 1_000;
    for (const [response, left] of answering) {
      if (budget <= 0) return;
      if (response.writableNeedDrain) continue;
      const now = Math.min(left, PIECE.length);
      budget -= now;
      // The one that has had its turn is the last to have it again.
      answering.delete(response);
      response.write(PIECE.subarray(0, now));
      if (now === left) response.end(TAIL);
      else answering.set(response, left - now);
    }
  };
  const writing = setInterval(write, TICK_MS);
  const server = createServer((request, response) => {
    response.on('error', () => undefined);
    if (request.method !== 'POST') {
      request.resume();
      response.end('{"object":"list","data":[]}');
      return;
    }
    came += 1;
    void bytesOf(request)
      .then((body) => {
        response.setHeader('content-type', 'application/json');
        response.statusCode = body.length > LONG_PROMPT ? 400 : 200;
        const model = /^\{"model":"(\w+)"/.exec(body.toString('latin1', 0, 64))?.[1] ?? '';
        const bytes = response.statusCode === 200 ? (answers[model] ?? 1) : 1;
        response.setHeader('content-length', HEAD.length + bytes + TAIL.length);
        response.write(HEAD);
        answering.set(response, bytes);
        response.on('close', () => answering.delete(response));
      })
      .catch(() => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 4_096, resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    came: () => came,
    close() {
      clearInterval(writing);
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Of exactly so many bytes. A stream, so that what goes to the engine is another body than what came. */
export function longPrompt(bytes: number): Buffer {
  const make = (content: string): string =>
    JSON.stringify({ model: 'large', messages: [{ role: 'user', content }], max_tokens: 1, stream: true });
  return Buffer.from(make('a'.repeat(bytes - make('').length)));
}

export const CHAT = '/v1/chat/completions';
export const EMBEDDINGS = '/v1/embeddings';
const STREAMS_PER_SESSION = 100;

type Version = 'http1' | 'http2';

/** A client that sends, and reads an answer's status at most. */
export class GreedyClient {
  private readonly sockets: Socket[] = [];
  private readonly sessions: ClientHttp2Session[] = [];
  private streams = 0;
  private readonly url: URL;
  private readonly key: string;
  /** Of the answers that were looked at. */
  readonly statuses: number[] = [];

  constructor(url: string, key: string) {
    this.url = new URL(url);
    this.key = key;
  }

  /** Sends all of it but the last byte. What it gives sends that. */
  upload(version: Version, path: string, body: Buffer, look = true): Promise<() => void> {
    return version === 'http1' ? this.viaHttp1(path, body, look) : this.viaHttp2(path, body, look);
  }

  /** A short request for a long answer, of which nothing is read. */
  async askAndDoNotRead(version: Version, model = 'large'): Promise<void> {
    const body = Buffer.from(JSON.stringify({ model, input: 'x' }));
    (await this.upload(version, EMBEDDINGS, body, false))();
  }

  private async viaHttp1(path: string, body: Buffer, look: boolean): Promise<() => void> {
    const socket = connectTcp(Number(this.url.port), this.url.hostname);
    this.sockets.push(socket);
    socket.on('error', () => undefined);
    let seen = false;
    if (look) {
      socket.on('data', (part: Buffer) => {
        if (!seen) this.statuses.push(Number(/^HTTP\/1\.1 (\d+)/.exec(part.toString('latin1'))?.[1]));
        seen = true;
      });
    }
    const lines = [`POST ${path} HTTP/1.1`, 'host: x', `authorization: Bearer ${this.key}`];
    lines.push('content-type: application/json', `content-length: ${body.length}`, '', '');
    socket.write(lines.join('\r\n'));
    await new Promise<void>((resolve) => {
      socket.once('close', () => resolve());
      socket.write(body.subarray(0, -1), () => resolve());
    });
    return () => socket.write(body.subarray(-1));
  }

  private async viaHttp2(path: string, body: Buffer, look: boolean): Promise<() => void> {
    const last = this.sessions.at(-1);
    if (this.streams % STREAMS_PER_SESSION === 0 || last?.closed === true || last?.destroyed === true) {
      const added = connectHttp2(this.url.href);
      added.on('error', () => undefined);
      this.sessions.push(added);
    }
    this.streams += 1;
    const stream = this.sessions.at(-1)?.request({
      ':method': 'POST',
      ':path': path,
      authorization: `Bearer ${this.key}`,
      'content-type': 'application/json',
      'content-length': String(body.length),
    });
    if (stream === undefined) throw new Error('no session');
    stream.on('error', () => undefined);
    if (look) {
      stream.on('response', (headers) => this.statuses.push(headers[':status'] ?? 0));
      stream.resume();
    }
    await new Promise<void>((resolve) => {
      stream.once('close', () => resolve());
      stream.write(body.subarray(0, -1), () => resolve());
    });
    return () => stream.end(body.subarray(-1));
  }

  hangUp(): void {
    for (const socket of this.sockets) socket.destroy();
    for (const session of this.sessions) session.destroy();
  }
}

/** An engine that remembers the bytes of each request as they came over HTTP/1.1: heads and framing are not interpreted away. */

import type { AddressInfo } from 'node:net';
import { createServer, type Socket } from 'node:net';

export interface RawRequest {
  /** Lines of the head, without the request line. */
  readonly head: readonly string[];
  /** As it was framed. */
  readonly body: Buffer;
}

export interface RawEngine {
  readonly url: string;
  /** POST requests that have come whole. */
  readonly received: () => readonly RawRequest[];
  close(): Promise<void>;
}

/** Values of a header in a head, one for each time that it stands there. */
export const valuesOf = ({ head }: RawRequest, name: string): readonly string[] =>
  head
    .filter((line) => line.toLowerCase().startsWith(`${name}:`))
    .map((line) => line.slice(name.length + 1).trim());

const answer = (status: string, body: object): string => {
  const text = JSON.stringify(body);
  return `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
};
const COMPLETION = {
  choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: 'hello' } }],
  usage: { prompt_tokens: 3, completion_tokens: 1, total_tokens: 4 },
};

const METRICS = `vllm:num_requests_running{model_name="x"} 0
vllm:num_requests_waiting{model_name="x"} 0
vllm:kv_cache_usage_perc{model_name="x"} 0.1
`;

function answerTo(path: string, models: readonly string[]): string {
  if (path === '/metrics') {
    return `HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: ${METRICS.length}\r\n\r\n${METRICS}`;
  }
  if (path === '/v1/models') return answer('200 OK', { object: 'list', data: models.map((id) => ({ id })) });
  return answer(path === '/health' ? '200 OK' : '404 Not Found', {});
}

/** @param dies asked at each head of a POST: whether the connection breaks there. */
export async function startRawEngine(
  models: readonly string[],
  dies: () => boolean = () => false,
): Promise<RawEngine> {
  const received: RawRequest[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let pending = Buffer.alloc(0);
    let isHeadSeen = false;
    const next = (): void => {
      const end = pending.indexOf('\r\n\r\n');
      if (end < 0) return;
      const [line = '', ...head] = pending.subarray(0, end).toString('latin1').split('\r\n');
      const [method = '', path = ''] = line.split(' ');
      if (method === 'POST' && !isHeadSeen) {
        isHeadSeen = true;
        if (dies()) {
          socket.destroy();
          return;
        }
      }
      const request = { head, body: Buffer.alloc(0) };
      const [length] = valuesOf(request, 'content-length');
      const isChunked = valuesOf(request, 'transfer-encoding').length > 0;
      const behind = pending.subarray(end + 4);
      const last = isChunked ? behind.indexOf('0\r\n\r\n') : -1;
      if (isChunked && last < 0) return;
      const bytes = isChunked ? last + 5 : Number(length ?? 0);
      if (behind.length < bytes) return;
      pending = behind.subarray(bytes);
      isHeadSeen = false;
      if (method === 'POST') {
        received.push({ head, body: Buffer.from(behind.subarray(0, bytes)) });
        socket.write(answer('200 OK', COMPLETION));
      } else socket.write(answerTo(path, models));
      next();
    };
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (part) => {
      pending = Buffer.concat([pending, part]);
      next();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received: () => received,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

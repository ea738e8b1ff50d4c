/** An engine that answers agents by a script: text, a call of one of their tools, or half of an answer and no more. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { deadPart, messageJson, messageStream, responseStream, type Turn } from './scripted-answers.ts';

interface Heard {
  readonly method: string;
  /** With the query. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  // oxlint-disable-next-line no-explicit-any -- what a client sent, as a test looks at it
  readonly body: any;
}

/** @param heard what the agent asks for now. @param before how many turns it has asked for since the script began. */
type Script = (heard: Heard, before: number) => Turn;

export interface ScriptedEngine {
  readonly url: string;
  /** Requests of clients since the script began, `count_tokens` too. */
  readonly heard: () => readonly Heard[];
  /** Those that asked for a turn. */
  readonly turns: () => readonly Heard[];
  /** How it answers from now on. */
  follow(script: Script): void;
  close(): Promise<void>;
}

const JSON_TYPE = { 'content-type': 'application/json' };
const STREAM_TYPE = { 'content-type': 'text/event-stream' };
const TURNS = new Set(['/v1/messages', '/v1/responses']);

export async function startScriptedEngine(models: readonly string[]): Promise<ScriptedEngine> {
  let heard: Heard[] = [];
  let script: Script = () => ({ text: 'Hello.' });
  const list = JSON.stringify({
    object: 'list',
    data: models.map((id) => ({ id, object: 'model', owned_by: 'test', max_model_len: 200_000 })),
  });
  const isTurn = ({ url }: Heard): boolean => TURNS.has(new URL(url, 'http://x').pathname);

  const answer = (request: Heard, before: number, response: ServerResponse): void => {
    if (!isTurn(request)) {
      const isCount = request.url.startsWith('/v1/messages/count_tokens');
      response.writeHead(isCount ? 200 : 404, JSON_TYPE).end(isCount ? '{"input_tokens":1000}' : '{}');
      return;
    }
    const turn = script(request, before);
    const model = String(request.body.model);
    const isMessages = request.url.startsWith('/v1/messages');
    if (isMessages && request.body.stream !== true) {
      response.writeHead(200, JSON_TYPE).end(messageJson(model, turn));
      return;
    }
    const stream = isMessages ? messageStream(model, turn) : responseStream(model, turn);
    response.writeHead(200, STREAM_TYPE);
    if (turn.dies !== true) response.end(stream);
    // The client shall have seen the beginning before the connection breaks.
    else response.write(deadPart(stream), () => setTimeout(() => response.socket?.destroy(), 50));
  };

  const server = createServer((request, response) => {
    const { method = '', url = '', headers } = request;
    const parts: Buffer[] = [];
    request.on('error', () => undefined);
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      if (method === 'GET') {
        const isModels = url === '/v1/models';
        response
          .writeHead(isModels || url === '/health' ? 200 : 404, JSON_TYPE)
          .end(isModels ? list : undefined);
        return;
      }
      const seen = { method, url, headers, body: JSON.parse(Buffer.concat(parts).toString()) };
      const before = heard.filter(isTurn).length;
      heard.push(seen);
      answer(seen, before, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    heard: () => heard,
    turns: () => heard.filter(isTurn),
    follow(next) {
      heard = [];
      script = next;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

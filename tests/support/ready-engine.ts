/** An engine that answers at once, and a stack that is ready before it. */
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { chatBody, send } from './client.ts';
import { eventually } from './eventually.ts';
import { type Draft, KEYS, type Stack, startStack } from './stack.ts';

/** The shortest answer to a chat that has usage; it does as a list of models, too. */
export function answerChat(response: ServerResponse, data: readonly string[] = []): void {
  const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ choices: [{ message: { content: 'x' } }], usage, object: 'list', data }));
}

export interface ReadyStack {
  readonly stack: Stack;
  /** Of the stack, then of the engine. */
  close(): Promise<void>;
}

/** Starts an engine that does what `answer` does, and a stack before it; resolves once a request has been served. */
export async function startReadyStack(
  answer: RequestListener,
  change: (config: Draft) => void = () => undefined,
): Promise<ReadyStack> {
  const engine = createServer(answer);
  await new Promise<void>((resolve) => engine.listen(0, '127.0.0.1', resolve));
  const { port } = engine.address() as AddressInfo;
  const stack = await startStack({ engines: [`http://127.0.0.1:${port}`], change });
  await eventually(
    () => send(stack.url, { key: KEYS.quiet, body: chatBody() }),
    ({ status }) => status === 200,
  );
  return {
    stack,
    async close() {
      await stack.close();
      engine.closeAllConnections();
      engine.close();
    },
  };
}

/** One of Envoy's counters or gauges. */
export async function envoyStat({ adminUrl }: Stack, name: string): Promise<number> {
  const response = await fetch(`${adminUrl}/stats?filter=^${name.replaceAll('.', '\\.')}$`);
  return Number(/: (\d+)/.exec(await response.text())?.[1] ?? Number.NaN);
}

interface Http2Options {
  readonly headers?: Readonly<Record<string, string>>;
  /** The stream may break: a refusal comes before all of the body was sent. */
  readonly mayBreak?: boolean;
}

/** Sends a chat over HTTP/2. @returns its status; 0 when the stream ended without one. */
export function sendOverHttp2(
  url: string,
  body: string | Buffer,
  { headers = {}, mayBreak = false }: Http2Options = {},
): Promise<number> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2(url);
    session.on('error', reject);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/v1/chat/completions',
      authorization: `Bearer ${KEYS.quiet}`,
      'content-type': 'application/json',
      ...headers,
    });
    let status = 0;
    stream.on('response', (answer) => {
      status = answer[':status'] ?? 0;
    });
    stream.on('error', (error) => {
      if (!mayBreak) reject(error);
    });
    stream.on('close', () => {
      session.close();
      resolve(status);
    });
    stream.resume();
    stream.end(body);
  });
}

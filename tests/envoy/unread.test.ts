/** Answers that are not read are given up in the end; what flows or waits is not. */
import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chatBody, eventsOf, openStream, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { GreedyClient } from '../support/greedy.ts';
import { answerChat, envoyStat, type ReadyStack, startReadyStack } from '../support/ready-engine.ts';
import { KEYS, type Stack } from '../support/stack.ts';

const IDLE_MS = 1_000;
/** Into Envoy’s buffer of a stream, and no further: what does not fit has not ended. */
const FITS = 60_000;

let ready: ReadyStack;
let stack: Stack;
const held: ServerResponse[] = [];

const event = (content: string): string =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`;

beforeAll(async () => {
  ready = await startReadyStack(
    (request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (part: string) => {
        body += part;
      });
      request.on('end', () => {
        if (body.includes('"hold"')) held.push(response);
        else if (body.includes('"stream":true')) {
          response.setHeader('content-type', 'text/event-stream');
          response.write(event('a'));
          setTimeout(() => response.write(event('b')), 3 * IDLE_MS);
          setTimeout(() => response.end(`${event('c')}data: [DONE]\n\n`), 5 * IDLE_MS);
        } else {
          answerChat(response, body.includes('"large"') ? ['x'.repeat(FITS)] : []);
        }
      });
    },
    (config) => {
      config['envoy'].idleTimeout = `${IDLE_MS}ms`;
      config['pools'].main.concurrencyLimit = 100;
      config['models'].large = { pool: 'main' };
      config['queue'].maxWait = '10s';
      config['tenants'].noisy.limits = { maxConcurrent: 1 };
    },
  );
  stack = ready.stack;
});
afterAll(() => ready.close());

const stat = (name: string): Promise<number> => envoyStat(stack, name);

describe.each(['http1', 'http2'] as const)('ended answers that nobody reads, over %s', (version) => {
  it('are given up with their connections', async () => {
    const connections = (): Promise<number> => stat('http.fairlane.downstream_cx_active');
    // Those of the test before, too: a connection of HTTP/2 drains for five seconds before it ends.
    await eventually(connections, (count) => count === 0, 15_000);
    const client = new GreedyClient(stack.url, KEYS.quiet);
    for (let i = 0; i < 20; i += 1) await client.askAndDoNotRead(version);
    await eventually(connections, (count) => count >= 1);
    await eventually(connections, (count) => count === 0, 15_000);
    client.hangUp();
    expect((await send(stack.url, { key: KEYS.quiet, body: chatBody() })).status).toBe(200);
  });
});

describe('what is slow for longer than that', () => {
  it('is whole: a stream whose engine pauses', async () => {
    const stream = await openStream(stack.url, { key: KEYS.quiet, body: chatBody({ stream: true }) });
    expect(eventsOf(await stream.done).at(-1)).toBe('[DONE]');
  });

  it('is served: a request that waits in the queue, and an answer that takes long', async () => {
    const first = send(stack.url, { key: KEYS.noisy, body: chatBody({ user: 'hold' }) });
    const second = send(stack.url, { key: KEYS.noisy, body: chatBody() });
    await eventually(
      () => held.length,
      (count) => count === 1,
    );
    await new Promise((resolve) => setTimeout(resolve, 4 * IDLE_MS));
    held[0]?.setHeader('content-type', 'application/json');
    held[0]?.end('{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}');
    expect((await first).status).toBe(200);
    expect((await second).status).toBe(200);
  });
});

/** What a request is charged whose client leaves before its engine has said what it used. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, openStream, send } from '../support/client.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

let engine: Simulator;
let scripted: Server;
let stack: Stack;
let answer: (response: ServerResponse) => void = (response) => response.end('{}');

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const event = (delta: object): string =>
  `data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', choices: [{ index: 0, delta }] })}\n\n`;

beforeAll(async () => {
  engine = await startSimulator({ profile: parseProfile('test', { stepBaseMs: 10 }), models: ['demo'] });
  scripted = createServer((request, response) => {
    request.resume();
    request.on('end', () => {
      if (request.method === 'GET') response.writeHead(request.url === '/health' ? 200 : 404).end();
      else answer(response);
    });
  });
  await new Promise<void>((resolve) => scripted.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(scripted.address() as AddressInfo).port}`;
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['pools']['scripted'] = { endpoints: [url], health: { interval: '200ms', timeout: '1s' } };
      config['models']['script'] = { pool: 'scripted' };
      config['tenants']['noisy']['limits'] = { tokensPerMinute: 1_000_000 };
    },
  });
  // How fast it writes is known from others.
  for (let i = 0; i < 20; i += 1) {
    await send(stack.url, { key: KEYS.quiet, body: chatBody({ stream: true, max_tokens: 60 }) });
  }
});
afterAll(async () => {
  await stack.close();
  await engine.close();
  scripted.closeAllConnections();
  scripted.close();
});

/** Sends it, leaves after so long, and gives its record. */
async function leave(fields: object, afterMs: number) {
  const before = stack.records().length;
  const signal = AbortSignal.timeout(afterMs);
  await send(stack.url, { key: KEYS.noisy, signal, body: chatBody(fields) }).catch(() => undefined);
  return stack.record((line) => stack.records().indexOf(line) >= before && line.tenant === 'noisy');
}

describe('a client that leaves pays for', () => {
  it('an answer in one piece that it did not wait for', async () => {
    const record = await leave({ max_tokens: 2_000 }, 1_500);
    expect(record).toMatchObject({ outcome: 'aborted', usageSource: 'estimate' });
    // About 150 steps of 10 ms, and a stranger's pace at first.
    expect(record.completionTokens).toBeGreaterThan(80);
    expect(record.completionTokens).toBeLessThan(250);
  });

  it('all the choices of one, up to its cap', async () => {
    const record = await leave({ max_tokens: 2_000, n: 16 }, 1_500);
    expect(record.completionTokens).toBeGreaterThan(16 * 60);
    expect(record.completionTokens).toBeLessThan(16 * 250);
    const capped = await leave({ max_tokens: 90, n: 16, min_tokens: 90 }, 700);
    expect(capped.completionTokens).toBeGreaterThan(16 * 25);
    expect(capped.completionTokens).toBeLessThanOrEqual(16 * 90);
  });

  it('the part of a stream that it has seen', async () => {
    const body = chatBody({ stream: true, max_tokens: 2_000 });
    const before = stack.records().length;
    const stream = await openStream(stack.url, { key: KEYS.noisy, body });
    await sleep(800);
    stream.hangUp();
    const record = await stack.record((line) => stack.records().indexOf(line) >= before);
    expect(record).toMatchObject({ outcome: 'aborted', usageSource: 'estimate' });
    expect(record.completionTokens).toBeGreaterThan(45);
    expect(record.completionTokens).toBeLessThan(130);
  });

  it('several tokens that came in one event', async () => {
    answer = (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (let i = 0; i < 5; i += 1) response.write(event({ content: 'several words at once '.repeat(20) }));
    };
    const record = await leave({ model: 'script', stream: true, max_tokens: 4_000 }, 300);
    expect(record.completionTokens).toBeGreaterThan(300);
    const capped = await leave({ model: 'script', stream: true, max_tokens: 50 }, 300);
    expect(capped.completionTokens).toBe(50);
  });

  it('the time in which its engine thought and showed nothing', async () => {
    answer = (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(event({ role: 'assistant', content: '' }));
      setTimeout(() => response.write(event({ content: 'So' })), 1_000).unref();
    };
    const record = await leave({ model: 'script', stream: true, max_tokens: 4_000 }, 1_300);
    expect(record.completionTokens).toBeGreaterThan(25);
    expect(record.completionTokens).toBeLessThan(100);
  });

  it('nothing but its usage, when the engine said it', async () => {
    answer = (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      setTimeout(() => {
        response.write(event({ content: 'word '.repeat(500) }));
        response.write(
          `data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 9, completion_tokens: 7 } })}\n\n`,
        );
      }, 600).unref();
    };
    const record = await leave({ model: 'script', stream: true, max_tokens: 4_000 }, 1_000);
    expect(record).toMatchObject({ usageSource: 'engine', promptTokens: 9, completionTokens: 7 });
  });
});

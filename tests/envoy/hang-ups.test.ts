/** What a request is charged whose client leaves before its engine has said what it used. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, eventsOf, openStream, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

let engine: Simulator;
let scripted: Server;
let stack: Stack;
let answer: (response: ServerResponse) => void = (response) => response.end('{}');

const STEP_MS = 10;
const event = (delta: object): string =>
  `data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', choices: [{ index: 0, delta }] })}\n\n`;

beforeAll(async () => {
  engine = await startSimulator({ profile: parseProfile('test', { stepBaseMs: STEP_MS }), models: ['demo'] });
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
      config['pools']['scripted'] = { endpoints: [url], health: { interval: '200ms', timeout: '5s' } };
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

const recordAfter = (before: number) =>
  stack.record((line) => stack.records().indexOf(line) >= before && line.tenant === 'noisy');

/** Tokens that the engine has written. */
const written = async (): Promise<number> => {
  const page = await (await fetch(`${engine.url}/metrics`)).text();
  return Number(/^vllm:generation_tokens_total\{[^}]*\} (\d+)/m.exec(page)?.[1]);
};

/** Sends it, leaves after so long, and gives its record, and what the engine has written for it. */
async function leave(fields: object, afterMs: number) {
  const before = stack.records().length;
  const { aborted } = engine.stats();
  const writtenBefore = await written();
  const signal = AbortSignal.timeout(afterMs);
  await send(stack.url, { key: KEYS.noisy, signal, body: chatBody(fields) }).catch(() => undefined);
  await eventually(
    () => engine.stats().aborted,
    (count) => count > aborted,
  );
  return { record: await recordAfter(before), tokens: (await written()) - writtenBefore };
}

/** Sends it as a stream, leaves once that has come, and gives its record. */
async function leaveAt(fields: object, hasCome: (text: string) => boolean) {
  const before = stack.records().length;
  const stream = await openStream(stack.url, {
    key: KEYS.noisy,
    body: chatBody({ ...fields, stream: true }),
  });
  const text = await eventually(stream.text, hasCome);
  stream.hangUp();
  return { record: await recordAfter(before), text };
}
/** What the engine could have written at most by the end, in each of its outputs. */
const mostOf = ({ durationMs = 0 }: { readonly durationMs?: number }): number => durationMs / STEP_MS;

describe('a client that leaves pays for', () => {
  it('an answer in one piece that it did not wait for', async () => {
    const { record, tokens } = await leave({ max_tokens: 2_000, ignore_eos: true }, 1_500);
    expect(record).toMatchObject({ outcome: 'aborted', usageSource: 'estimate' });
    // 150 steps of 10 ms at most, and a stranger's pace at first.
    expect(tokens).toBeGreaterThan(20);
    expect(record.completionTokens).toBeGreaterThan(0.55 * tokens);
    expect(record.completionTokens).toBeLessThan(1.6 * mostOf(record));
  });

  it('all the choices of one, up to its cap', async () => {
    const { record, tokens } = await leave({ max_tokens: 2_000, n: 16, ignore_eos: true }, 1_500);
    // Eight run at a time, and the others wait for them: it is charged as if all did.
    expect(tokens).toBeGreaterThan(8 * 20);
    expect(record.completionTokens).toBeGreaterThan(0.8 * tokens);
    expect(record.completionTokens).toBeLessThan(16 * 1.6 * mostOf(record));
    const capped = await leave({ max_tokens: 90, n: 16, ignore_eos: true }, 700);
    expect(capped.record.completionTokens).toBeGreaterThan(0.8 * capped.tokens);
    expect(capped.record.completionTokens).toBeLessThanOrEqual(16 * 90);
  });

  it('the part of a stream that it has seen', async () => {
    const { record, text } = await leaveAt(
      { max_tokens: 2_000, ignore_eos: true },
      (seen) => eventsOf(seen).length > 60,
    );
    expect(record).toMatchObject({ outcome: 'aborted', usageSource: 'estimate' });
    // The first event has no token.
    expect(record.completionTokens).toBeGreaterThanOrEqual(eventsOf(text).length - 1);
    expect(record.completionTokens).toBeLessThan(1.6 * mostOf(record));
  });

  it('several tokens that came in one event', async () => {
    answer = (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (let i = 0; i < 5; i += 1) response.write(event({ content: 'several words at once '.repeat(20) }));
    };
    const all = (text: string) => text.split('several words').length > 5 * 20;
    const { record } = await leaveAt({ model: 'script', max_tokens: 4_000 }, all);
    expect(record.completionTokens).toBeGreaterThan(300);
    const capped = await leaveAt({ model: 'script', max_tokens: 50 }, all);
    expect(capped.record.completionTokens).toBe(50);
  });

  it('the time in which its engine thought and showed nothing', async () => {
    answer = (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(event({ role: 'assistant', content: '' }));
      setTimeout(() => response.write(event({ content: 'So' })), 1_000).unref();
    };
    const { record } = await leaveAt({ model: 'script', max_tokens: 4_000 }, (text) => text.includes('So'));
    expect(record.completionTokens).toBeGreaterThan(20);
    expect(record.completionTokens).toBeLessThan(mostOf(record));
  });

  it('nothing but its usage, when the engine said it', async () => {
    answer = (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      // At once: who has seen the words leaves after the usage.
      const usage = { choices: [], usage: { prompt_tokens: 9, completion_tokens: 7 } };
      const last = `${event({ content: 'word '.repeat(500) })}data: ${JSON.stringify(usage)}\n\n`;
      setTimeout(() => response.write(last), 600).unref();
    };
    const { record } = await leaveAt({ model: 'script', max_tokens: 4_000 }, (text) => text.includes('word'));
    expect(record).toMatchObject({ usageSource: 'engine', promptTokens: 9, completionTokens: 7 });
  });
});

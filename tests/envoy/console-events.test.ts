/** The console's events of requests that went through a real Envoy: how soon, and until when. */
import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RequestsEvent } from '../../src/admin/console-feed.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, send } from '../support/client.ts';
import { KEYS, type Stack, startStack, untilServed } from '../support/stack.ts';

let engine: Simulator;
let stack: Stack;

beforeAll(async () => {
  engine = await startSimulator({ profile: parseProfile('test', { stepBaseMs: 10 }), models: ['demo'] });
  stack = await startStack({ engines: [engine.url] });
  await untilServed(stack.url);
});
afterAll(async () => {
  await stack.close();
  await engine.close();
});

interface Listener {
  readonly heard: { readonly event: string; readonly data: unknown; readonly atMs: number }[];
  readonly ended: Promise<void>;
}

/** Reads the events as a browser does, until the stream ends. */
async function listen(): Promise<Listener> {
  const heard: Listener['heard'] = [];
  const response = await fetch(`${stack.metricsUrl}/console/events`);
  const read = async (): Promise<void> => {
    let rest = '';
    for await (const chunk of (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream())) {
      const parts = (rest + chunk).split('\n\n');
      rest = parts.pop() ?? '';
      for (const part of parts) {
        const event = /^event: (.*)$/m.exec(part)?.[1];
        const data = /^data: (.*)$/m.exec(part)?.[1];
        if (event !== undefined && data !== undefined) {
          heard.push({ event, data: JSON.parse(data), atMs: performance.now() });
        }
      }
    }
  };
  return { heard, ended: read() };
}

const count = ({ heard }: Listener, name: string): number =>
  heard.filter(({ event }) => event === name).length;

it('a request is told of within a second of its end, once, and status comes each second', async () => {
  const listener = await listen();
  await expect.poll(() => count(listener, 'usage')).toBe(1);
  for (let at = 0; at < 3; at += 1) {
    const before = count(listener, 'requests');
    await send(stack.url, { key: KEYS.quiet, body: chatBody() });
    const endedMs = performance.now();
    await expect.poll(() => count(listener, 'requests'), { interval: 10 }).toBe(before + 1);
    expect((listener.heard.findLast(({ event }) => event === 'requests')?.atMs ?? 0) - endedMs).toBeLessThan(
      1_000,
    );
  }
  const lines = listener.heard
    .filter(({ event }) => event === 'requests')
    .flatMap(({ data }) => (data as RequestsEvent).requests);
  expect(new Set(lines.map(({ id }) => id)).size).toBe(lines.length);
  expect(lines.at(-1)).toMatchObject({ tenant: 'quiet', model: 'demo', outcome: 'completed', status: 200 });
  expect(JSON.stringify(listener.heard)).not.toContain(KEYS.quiet);
  const status = count(listener, 'status');
  await expect.poll(() => count(listener, 'status'), { timeout: 3_000 }).toBeGreaterThan(status);
});

it('goes on while the service drains, and ends with it', async () => {
  const listener = await listen();
  const running = send(stack.url, {
    key: KEYS.quiet,
    body: chatBody({ max_tokens: 500, ignore_eos: true }),
  }).catch(() => undefined);
  await expect.poll(() => stack.metric('fairlane_pool_in_flight')).toBe(1);
  const drained = stack.service().drain();
  const status = count(listener, 'status');
  await expect.poll(() => count(listener, 'status'), { timeout: 3_000 }).toBeGreaterThan(status);
  await drained;
  await listener.ended.catch(() => undefined);
  await running;
});

/** What is held in memory, on the real Envoy: a tenant's bounds, and what Envoy does before its heap is full. */
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { CHAT, GreedyClient, longPrompt, MiB, peakResidentOf } from '../support/greedy.ts';
import { holdAll } from '../support/hold-all.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

let stack: Stack | undefined;
let engine: Server | undefined;
const clients: GreedyClient[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) client.hangUp();
  await stack?.close();
  engine?.closeAllConnections();
  engine?.close();
  stack = undefined;
  engine = undefined;
});

async function startEngine(): Promise<string> {
  const server = createServer((request, response) => {
    request.resume();
    request.on('end', () => {
      const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({ choices: [{ message: { content: 'x' } }], usage, object: 'list', data: [] }),
      );
    });
  });
  engine = server;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const clientOf = (url: string, key: string): GreedyClient => {
  const client = new GreedyClient(url, key);
  clients.push(client);
  return client;
};

describe('a tenant that holds all that it can', () => {
  it('takes no more of Envoy’s memory than is computed, is told so, and the other one is served', async () => {
    const { bound, idle, peak, refused, others } = await holdAll({
      change: (config) => {
        config['envoy'].maxBodySize = '2MiB';
        config['pools'].main.concurrencyLimit = 40;
        config['lanes'] = { all: { stalledAfter: '1s' } };
        config['tenants'].greedy.limits = { maxConcurrent: 40, maxQueued: 10, maxHeldSize: '16MiB' };
        config['tenants'].other.limits = { maxConcurrent: 1, maxQueued: 1, maxHeldSize: '2MiB' };
      },
    });
    expect(bound.tenant).toBe('greedy');
    expect(peak.envoy).toBeLessThanOrEqual(bound.envoy);
    // It did hold something: the bodies at least.
    expect(peak.envoy - idle.envoy).toBeGreaterThan(16 * MiB);
    expect(refused).toEqual({ open: [429], bytes: [429] });
    expect(new Set(others)).toEqual(new Set([200]));
  }, 120_000);
});

describe('an Envoy whose heap is nearly full', () => {
  it('refuses in the shape of the API, gives up what holds most, stays within bounds, and serves again', async () => {
    const heap = 96 * MiB;
    stack = await startStack({
      engines: [await startEngine()],
      change: (config) => {
        config['envoy'].maxHeapSize = '96MiB';
        config['tenants'].noisy.limits = { maxHeldSize: '1GiB', maxConcurrent: 1_000 };
      },
    });
    const { url, envoy } = stack;
    const ask = (socket?: Socket) =>
      send(url, { key: KEYS.quiet, body: chatBody(), ...(socket !== undefined && { socket }) });
    await eventually(
      () => ask(),
      ({ status }) => status === 200,
    );
    const client = clientOf(url, KEYS.noisy);
    const body = longPrompt(4 * MiB);
    const connection = () => connect(Number(new URL(url).port)).on('error', () => undefined);
    // Envoy that is full takes no connections, and soon ends those that wait: each is made half a second before it is used.
    const ahead = Array.from({ length: 10 }, connection);
    let isRefused = false;
    const refused = (async () => {
      for (;;) {
        ahead.push(connection());
        const socket = ahead.shift();
        const answer = socket?.destroyed === false ? await ask(socket).catch(() => undefined) : undefined;
        if (answer?.status === 503) {
          isRefused = true;
          return answer;
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();
    // It refuses a part of what comes when it is nearly full: as much is sent as that takes, and 160 MiB at least.
    for (let i = 0; i < 40 || (!isRefused && i < 400); i += 1) {
      await Promise.race([
        client.upload(i % 2 === 0 ? 'http1' : 'http2', CHAT, body),
        new Promise((resolve) => setTimeout(resolve, 200)),
      ]);
      // Envoy looks every 100 ms, a busy machine's later: two or three bodies come meanwhile, and not as many as it can take.
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    const answer = await refused;
    expect(answer.json.error).toMatchObject({ type: 'server_error', code: 'gateway_overloaded' });
    expect(answer.headers['retry-after']).toBe('5');
    // Half as much again as the heap: what is no heap, and what came between two looks.
    expect(peakResidentOf(envoy.pid)).toBeLessThan(1.5 * heap + 58 * MiB);
    client.hangUp();
    for (const socket of ahead) socket.destroy();
    await eventually(
      () => ask(),
      ({ status }) => status === 200,
      20_000,
    );
  });
});

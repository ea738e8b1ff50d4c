/** Engines that die, or answer with errors, under load: what clients see, and where requests go. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { measureDeath } from '../../bench/routing/death.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const MODELS = ['demo', 'embedder'];
const BROKEN = { kind: 'status', status: 500, body: '{"error":{"message":"CUDA error"}}' } as const;

let engines: Simulator[] = [];
let stack: Stack;

/** An engine that fails on what a request says, and answers any other. */
async function startFragile(): Promise<{ readonly url: string; readonly server: Server }> {
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (part: Buffer) => {
      body += part.toString();
    });
    request.on('end', () => {
      if (body.includes('"reset"')) request.socket.destroy();
      else if (body.includes('"error"')) response.writeHead(500).end('{}');
      else if (request.method === 'GET') response.writeHead(request.url === '/health' ? 200 : 404).end();
      else {
        const usage = { prompt_tokens: 1, completion_tokens: 1 };
        const answer = JSON.stringify({ choices: [], usage });
        setTimeout(() => response.writeHead(200, { 'content-type': 'application/json' }).end(answer), 10);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

async function start(count: number, more: readonly string[] = []): Promise<void> {
  engines = await Promise.all(
    Array.from({ length: count }, () =>
      startSimulator({ profile: parseProfile('test', { stepBaseMs: 10 }), models: MODELS, faults: true }),
    ),
  );
  stack = await startStack({
    engines: [...engines.map(({ url }) => url), ...more],
    change(config) {
      config['pools']['main']['health'] = { interval: '200ms', timeout: '5s', slowStart: '3s' };
    },
  });
}

const ask = (key: string, fields: object = {}) =>
  send(stack.url, { key, body: chatBody({ max_tokens: 10, ...fields }) });

/** Clients that ask again as soon as they are answered, until they are told to stop: the statuses that they got. */
function load(key: string, clients: number, fields: object = {}) {
  const statuses: number[] = [];
  /** Answers to each client. */
  const answers = Array.from({ length: clients }, () => 0);
  let stopped = false;
  const client = async (_: unknown, at: number): Promise<void> => {
    while (!stopped) {
      const { status } = await ask(key, fields).catch(() => ({ status: 0 }));
      statuses.push(status);
      answers[at] = (answers[at] ?? 0) + 1;
    }
  };
  const all = Array.from({ length: clients }, client);
  return {
    statuses,
    /** Resolves once what is under way now has been answered. */
    async settled(): Promise<void> {
      const before = [...answers];
      await eventually(
        () => answers.every((count, at) => count > (before[at] ?? 0)),
        (are) => are,
        30_000,
      );
    },
    async stop(): Promise<readonly number[]> {
      stopped = true;
      await Promise.all(all);
      return statuses;
    },
  };
}
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
/** How soon they are answered is no claim here, but that they are. */
const many = (requests: () => number, least: number): Promise<number> =>
  eventually(requests, (count) => count > least, 30_000);
const failed = (statuses: readonly number[]) => statuses.filter((status) => status !== 200);
const logged = (message: string, fields: string) =>
  stack
    .logText()
    .split('\n')
    .filter((line) => line.includes(`"message":"${message}"`) && line.includes(fields)).length;

it('one of four dies under load: every request without the headers of an answer is served by another', async () => {
  const { failed: lost, requests } = await measureDeath();
  expect(requests).toBeGreaterThan(200);
  expect(lost).toBe(0);
});

describe('engines that fail', () => {
  afterEach(async () => {
    await stack.close();
    await Promise.all(engines.map((engine) => engine.close()));
  });

  it.each(['error', 'reset'])(
    'requests of one tenant that make engines fail (%s) take no endpoint and no model from another tenant',
    async (how) => {
      const fragile = await Promise.all([startFragile(), startFragile()]);
      await start(
        0,
        fragile.map(({ url }) => url),
      );
      const good = load(KEYS.quiet, 2);
      await eventually(
        () => good.statuses.length,
        (count) => count > 2,
      );
      const bad = load(KEYS.noisy, 4, { messages: [{ role: 'user', content: how }] });
      await sleep(3_000);
      await many(() => Math.min(bad.statuses.length, good.statuses.length), 50);
      const wrong = await bad.stop();
      expect(wrong.length).toBeGreaterThan(50);
      expect(failed(wrong)).toHaveLength(wrong.length);
      const right = await good.stop();
      expect(right.length).toBeGreaterThan(50);
      expect(failed(right)).toEqual([]);
      expect(logged('endpoint-ejected', '')).toBe(0);
      expect(logged('model-broken', '')).toBe(0);
      for (const { server } of fragile) server.close();
    },
  );

  it('one that answers 500 to everything gets no more requests within seconds, is tried again, and returns slowly', async () => {
    await start(4);
    const one = load(KEYS.quiet, 6);
    const other = load(KEYS.noisy, 6);
    await sleep(500);
    const broken = engines[0] as Simulator;
    const window = () => stack.metric('fairlane_endpoint_window', { address: `127.0.0.1:${broken.port}` });
    broken.setFault(BROKEN);
    await eventually(
      () => logged('endpoint-ejected', '"ejected":true'),
      (count) => count === 1,
      10_000,
    );
    const answered = () => one.statuses.length + other.statuses.length;
    const errors = () => failed(one.statuses).length + failed(other.statuses).length;
    await Promise.all([one.settled(), other.settled()]);
    const [answeredBefore, errorsBefore] = [answered(), errors()];
    await sleep(1_500);
    await many(() => answered() - answeredBefore, 40);
    expect(errors()).toBe(errorsBefore);
    broken.setFault(undefined);
    await eventually(
      () => logged('endpoint-ejected', '"ejected":false'),
      (count) => count === 1,
      20_000,
    );
    expect(await window()).toBeLessThan(4);
    await eventually(window, (size) => size === 8);
    const { started } = broken.stats();
    await many(() => broken.stats().started - started, 5);
    expect(errors()).toBe(errorsBefore);
    await one.stop();
    await other.stop();
  });

  it.each([
    ['one tenant, which ejects nothing alone', 64],
    ['two tenants', 48],
  ])(
    'one that refuses at once does not send the other more than both have room for (%s)',
    async (_, noisy) => {
      await start(2);
      await ask(KEYS.quiet);
      const fields = { max_tokens: 30, stream: true };
      const loads = [load(KEYS.noisy, noisy, fields), load(KEYS.quiet, 64 - noisy, fields)];
      const [refuses, serves] = engines as [Simulator, Simulator];
      await many(() => serves.stats().finished, 20);
      refuses.setFault({ kind: 'status', status: 503, body: '{}' });
      let most = 0;
      const looking = setInterval(() => {
        const { started, finished, aborted } = serves.stats();
        most = Math.max(most, started - finished - aborted);
      }, 2);
      const { finished } = serves.stats();
      await many(() => serves.stats().finished - finished, 100);
      clearInterval(looking);
      // Both concurrency limits, and who tries it again where nobody was sent there for a second or more.
      expect(most).toBeLessThanOrEqual(16 + 2);
      await Promise.all(loads.map((one) => one.stop()));
    },
  );
});

/** Loading and unloading adapters, and asking which there are, of engines as they should be and of anything else that may answer. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { EndpointConfig } from '../../src/config/config.ts';
import type { EngineKind } from '../../src/domain/engine-kinds.ts';
import { type AdapterMonitor, startAdapterMonitor } from '../../src/lora/http-loader.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { eventually } from '../support/eventually.ts';

type Handler = (request: IncomingMessage, response: ServerResponse, body: string) => void;

let server: Server | undefined;
let simulator: Simulator | undefined;
let monitor: AdapterMonitor | undefined;
afterEach(async () => {
  monitor?.stop();
  await simulator?.close();
  await new Promise<void>((resolve) => {
    if (server === undefined) resolve();
    else server.close(() => resolve());
    server?.closeAllConnections();
  });
  server = undefined;
  simulator = undefined;
});

/** @param answer of everything but the list. */
async function serve(answer: Handler, models: Handler = list([])): Promise<number> {
  const made = createServer((request, response) => {
    let body = '';
    request.on('data', (part: Buffer) => {
      body += part.toString();
    });
    request.on('end', () => (request.url === '/v1/models' ? models : answer)(request, response, body));
  });
  server = made;
  await new Promise<void>((resolve) => made.listen(0, '127.0.0.1', resolve));
  return (made.address() as AddressInfo).port;
}

function list(adapters: readonly unknown[]): Handler {
  const data = [{ id: 'm', parent: null }, ...adapters.map((id) => ({ id, parent: 'm' }))];
  return (_, response) => void response.end(JSON.stringify({ object: 'list', data }));
}
const status =
  (code: number, body = '', headers: Readonly<Record<string, string>> = {}): Handler =>
  (_, response) =>
    void response.writeHead(code, headers).end(body);

/** For engines that answer. */
const PATIENT = { listTimeoutMs: 5_000, loadTimeoutMs: 5_000, unloadTimeoutMs: 5_000 };
/** For those that may not. */
const HASTY = { listTimeoutMs: 300, loadTimeoutMs: 400, unloadTimeoutMs: 300 };

function watch(
  port: number,
  kind: EngineKind | 'unknown' = 'vllm',
  { surplus = [], timeouts = PATIENT }: { surplus?: readonly string[]; timeouts?: typeof PATIENT } = {},
) {
  const url = `http://127.0.0.1:${port}`;
  const endpoint: EndpointConfig = { url, host: '127.0.0.1', port };
  const seen: string[] = [];
  const told = [...surplus];
  const givenUp = new Set<string>();
  monitor = startAdapterMonitor({
    endpoints: [endpoint],
    engineOf: () => (kind === 'unknown' ? undefined : kind),
    times: { listEveryMs: 100, ...timeouts },
    isWanted: (_, adapter) => !givenUp.has(adapter),
    surplus: () => told.splice(0).map((adapter) => ({ endpoint: url, adapter })),
    onListed: (_, adapters) => seen.push(`has ${adapters.join(',')}`),
    onLoaded: (_, adapter) => seen.push(`loaded ${adapter}`),
    onFailed: (_, adapter, detail) => seen.push(`failed ${adapter}: ${detail}`),
    onUnloaded: (_, adapter) => seen.push(`unloaded ${adapter}`),
    onKept: (_, adapter, detail) => seen.push(`kept ${adapter}: ${detail}`),
  });
  const load = (name: string, evict?: string) =>
    monitor?.load(url, { name, base: 'm', path: `/${name}` }, evict);
  const ends = () => seen.filter((line) => !line.startsWith('has '));
  const end = async (count = 1): Promise<readonly string[]> =>
    eventually(ends, ({ length }) => length >= count);
  return {
    url,
    seen,
    load,
    giveUp: (name: string) => givenUp.add(name),
    end,
    ends,
    ask: () => monitor?.ask(url),
  };
}

describe('an engine as it should be', () => {
  const start = async (loaded: readonly string[] = [], loadMs = 30): Promise<number> => {
    simulator = await startSimulator({
      profile: parseProfile('test', {}),
      models: ['m'],
      adapters: { max: 2, loadMs, loaded },
    });
    return simulator.port;
  };

  it('unloads, then loads, and says what it has', async () => {
    const { load, end, seen, ask } = watch(await start(['a', 'b']));
    load('c', 'a');
    expect(await end(2)).toEqual(['unloaded a', 'loaded c']);
    ask();
    await eventually(
      () => seen.at(-1),
      (line) => line === 'has b,c',
    );
    expect(simulator?.adapters()).toMatchObject({ most: 2, loads: 1, unloads: 1 });
  });
  it('is told one thing at a time, and what it lists meanwhile is not believed', async () => {
    const { load, end, seen } = watch(await start([], 150));
    load('a');
    load('b');
    load('c', 'a');
    await end(4);
    expect(simulator?.adapters()).toMatchObject({ most: 2 });
    const lists = seen.slice(0, seen.indexOf('loaded c')).filter((line) => line.startsWith('has'));
    expect(lists.filter((line) => line !== 'has ')).toEqual([]);
    await eventually(
      () => seen.at(-1),
      (line) => line === 'has b,c',
    );
  });
  it('that has it already has it, and that has lost what is to go has no more of it', async () => {
    const { load, end } = watch(await start(['a']));
    load('a', 'gone');
    expect(await end(2)).toEqual(['unloaded gone', 'loaded a']);
  });
  it('is not told what was given up before its turn', async () => {
    const { load, end, giveUp } = watch(await start(['b'], 100));
    load('a');
    load('c', 'b');
    load('d', 'a');
    giveUp('c');
    expect(await end(3)).toEqual(['loaded a', 'unloaded a', 'loaded d']);
    expect(simulator?.adapters().loaded).toEqual(['b', 'd']);
  });
  it('says why it cannot, and what is too much is unloaded', async () => {
    const { load, end } = watch(await start(['a', 'b']), 'vllm', { surplus: ['b'] });
    load('missing');
    const [failed] = await end(1);
    expect(failed).toBe('failed missing: 404: Loading lora missing failed: No adapter found for /missing');
    expect(await end(2)).toContain('unloaded b');
  });
});

describe('an engine that is not one for this', () => {
  it.each([
    ['vllm', '{"detail":"Not Found"}', 404, 'VLLM_ALLOW_RUNTIME_LORA_UPDATING=True'],
    ['sglang', '', 405, '--enable-lora'],
    [
      'sglang',
      '{"success":false,"error_message":"LoRA is not enabled. Please set `--enable-lora`."}',
      400,
      'LoRA is not enabled',
    ],
    ['sglang', '{"success":false,"error_message":"it failed"}', 200, 'it failed'],
  ] as const)('(%s: %s) says what it needs', async (kind, body, code, said) => {
    const { load, end } = watch(await serve(status(code, body)), kind);
    load('a');
    expect((await end())[0]).toContain(said);
  });
  it('because it loads none, or because nobody knows what it is, is said so', async () => {
    const port = await serve(status(200));
    const llama = watch(port, 'llamacpp');
    llama.load('a');
    expect(await llama.end()).toEqual(['failed a: llama.cpp loads no adapters while it runs']);
    monitor?.stop();
    const unknown = watch(port, 'unknown');
    unknown.load('a', 'b');
    expect((await unknown.end(1))[0]).toMatch(/^failed a: b could not be unloaded for it: it is not known/);
  });
});

describe('whatever else may answer', () => {
  const HOSTILE: readonly (readonly [string, Handler])[] = [
    ['hangs', () => undefined],
    ['sends a byte at a time', (_, response) => void setInterval(() => response.write(' '), 50).unref()],
    ['redirects', status(307, '', { location: 'http://127.0.0.1:1/' })],
    ['hangs up', (request) => void request.socket.destroy()],
    ['fails without a word', status(500)],
    ['fails with garbage', status(400, '\u0000\u001b[31m{"error":')],
    ['fails with wrong types', status(400, '{"error":{"message":{"a":[1]}},"error_message":7}')],
    [
      'fails with a huge message',
      status(400, JSON.stringify({ error: { message: `${'x'.repeat(9_999)}\n\u0007` } })),
    ],
    [
      'sends more than an answer',
      (_, response) => {
        response.on('error', () => undefined);
        response.write('x'.repeat(6 * 1024 ** 2));
      },
    ],
    ['says null', status(400, 'null')],
    ['says that it found no such adapter', status(404, '{"error":{"message":"no such adapter"}}')],
  ];

  it.each(HOSTILE)(
    'to a load %s: it has failed, in few words, and the next one is tried',
    async (_, handler) => {
      const { load, end } = watch(await serve(handler), 'vllm', { timeouts: HASTY });
      load('a');
      load('b');
      const ended = await end(2);
      expect(ended.map((line) => line.slice(0, 9))).toEqual(['failed a:', 'failed b:']);
      for (const line of ended) {
        expect(line.length).toBeLessThan(260);
        expect(line).not.toMatch(/\p{C}/u);
      }
    },
  );
  it.each(HOSTILE)('to an unload %s: it stays, and nothing is loaded in its place', async (_, handler) => {
    const { load, end } = watch(await serve(handler, list(['a'])), 'vllm', { timeouts: HASTY });
    load('b', 'a');
    expect((await end())[0]).toMatch(/^failed b: a could not be unloaded for it: /);
  });
  it.each<readonly [string, Handler]>([
    ...HOSTILE,
    ['names what is no list', status(200, '{"data":{"id":"a","parent":"m"}}')],
    [
      'names what are no names',
      (_, response) => void response.end('{"data":[null,7,{"id":5,"parent":"m"},{"id":"a"}]}'),
    ],
    ['names what is too long', list(['x'.repeat(10_000)])],
  ])('to the question which it has %s: nothing is believed', async (_, handler) => {
    const { seen, ask } = watch(await serve(status(200), handler), 'vllm', { timeouts: HASTY });
    ask();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(seen.filter((line) => line !== 'has ')).toEqual([]);
  });
  it('lists more than it can have: some of it is believed', async () => {
    const names = Array.from({ length: 20_000 }, (_, i) => `a${i}`);
    const { seen, ask } = watch(await serve(status(200), list(names)));
    ask();
    const line = await eventually(
      () => seen[0],
      (text) => text !== undefined,
    );
    expect(line?.split(',')).toHaveLength(4_096);
  });
  it('is not asked more often than it may be, and not at all after the end', async () => {
    let questions = 0;
    const { ask, seen } = watch(
      await serve(status(200), (request, response, body) => {
        questions += 1;
        list([])(request, response, body);
      }),
    );
    for (let i = 0; i < 500; i += 1) ask();
    await new Promise((resolve) => setTimeout(resolve, 350));
    expect(questions).toBeGreaterThan(0);
    expect(questions).toBeLessThan(8);
    monitor?.stop();
    ask();
    const [asked, told] = [questions, seen.length];
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(questions - asked).toBeLessThanOrEqual(1);
    expect(seen.length).toBe(told);
  });
  it('to a load when nobody waits any more is not told', async () => {
    const { load, seen } = watch(await serve(() => undefined), 'vllm', { timeouts: HASTY });
    load('a');
    await new Promise((resolve) => setTimeout(resolve, 50));
    monitor?.stop();
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(seen).toEqual([]);
  });
});

/** Requests that kill the engine that gets them: how many they reach, who is limited, and who is served meanwhile. */

import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

type Mode = 'ok' | 'reset' | 'close' | 'mid-headers' | '503';

/** A request kills its engine after so long: one that ends well is answered well before, on a busy machine too. */
const KILL_MS = 200;
/** Requests that are about to kill an engine, and the most there were. */
let killing = 0;
let mostKilling = 0;

/** An HTTP engine by hand: it can break at any byte. A prompt with `kill` ends it, for a while. */
class Engine {
  requests = 0;
  deaths = 0;
  mode: Mode;
  readonly port: number;
  #server: Server | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #deadForMs: number;

  /** @param port that nobody else takes while it is dead. */
  constructor(mode: Mode, port: number, deadForMs = 800) {
    this.mode = mode;
    this.port = port;
    this.#deadForMs = deadForMs;
  }

  async start(): Promise<this> {
    this.#server = createServer((socket) => this.#connected(socket));
    const server = this.#server;
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve));
    return this;
  }

  stop(): void {
    this.#server?.close();
    this.#server = undefined;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  #die(): void {
    if (this.#server === undefined) return;
    this.deaths += 1;
    this.stop();
    setTimeout(() => void this.start(), this.#deadForMs).unref();
  }

  #connected(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => undefined);
    let text = '';
    socket.on('data', (part: Buffer) => {
      text += part.toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      if (end < 0 || text.length < end + 4 + length) return;
      const request = text.slice(0, end + 4 + length);
      text = text.slice(end + 4 + length);
      this.#answer(socket, request);
    });
  }

  #answer(socket: Socket, request: string): void {
    const reply = (status: string, body: string): void => {
      socket.write(
        `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
    };
    if (request.startsWith('GET')) {
      reply(request.startsWith('GET /health') ? '200 OK' : '404 Not Found', '{}');
      return;
    }
    this.requests += 1;
    if (request.includes('x-fairlane-')) throw new Error('a header of ours reached the engine');
    if (request.includes('kill')) {
      killing += 1;
      mostKilling = Math.max(mostKilling, killing);
      setTimeout(() => {
        killing -= 1;
        this.#die();
      }, KILL_MS);
    } else if (this.mode === 'reset') socket.resetAndDestroy();
    else if (this.mode === 'close') socket.end();
    else if (this.mode === 'mid-headers') {
      socket.write('HTTP/1.1 200 OK\r\ncontent-ty');
      setTimeout(() => socket.resetAndDestroy(), 20);
    } else if (this.mode === '503') reply('503 Service Unavailable', '{}');
    else {
      const usage = { prompt_tokens: 3, completion_tokens: 1 };
      setTimeout(() => reply('200 OK', JSON.stringify({ choices: [], usage })), 20);
    }
  }
}

let engines: Engine[] = [];
let stack: Stack;

async function start(modes: readonly Mode[], interval = '200ms'): Promise<void> {
  const ports = await freePorts(modes.length);
  engines = await Promise.all(modes.map((mode, i) => new Engine(mode, ports[i] ?? 0).start()));
  stack = await startStack({
    engines: engines.map(({ port }) => `http://127.0.0.1:${port}`),
    change(config) {
      config['pools']['main']['health'] = { interval, timeout: '5s', slowStart: '500ms' };
    },
  });
}
afterEach(async () => {
  await stack.close();
  for (const engine of engines) engine.stop();
});

const ask = (key: string, content: string) =>
  send(stack.url, { key, body: chatBody({ messages: [{ role: 'user', content }] }) });
const reached = (): number => engines.reduce((sum, { requests }) => sum + requests, 0);
const deaths = (): number => engines.reduce((sum, one) => sum + one.deaths, 0);
const limitedLines = (tenant: string, limited: boolean): number =>
  stack
    .logText()
    .split('\n')
    .filter(
      (line) =>
        line.includes('"message":"tenant-limited"') &&
        line.includes(`"tenant":"${tenant}"`) &&
        line.includes(`"limited":${limited}`),
    ).length;

describe('a request reaches', () => {
  it.each(['reset', 'close', 'mid-headers'] as const)(
    'two engines of six at most, when they break off (%s)',
    async (mode) => {
      await start(['ok', 'ok', 'ok', 'ok', 'ok', 'ok']);
      for (const engine of engines) engine.mode = mode;
      const answer = await ask(KEYS.noisy, 'hello');
      expect(reached()).toBe(2);
      expect(answer.status).toBe(502);
      expect(answer.json.error).toMatchObject({ code: 'engine_broke_twice', type: 'server_error' });
      expect(answer.headers).toMatchObject({
        'x-should-retry': 'false',
        'x-fairlane-limited': 'engines-died',
      });
    },
  );

  it('the third of three, when two refuse connections', async () => {
    await start(['ok', 'ok', 'ok'], '30s');
    engines[0]?.stop();
    engines[1]?.stop();
    const answers = await Promise.all(Array.from({ length: 12 }, () => ask(KEYS.quiet, 'hello')));
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 12 }, () => 200));
  });

  it('one after two that answer 503, and one after one that broke', async () => {
    await start(['503', '503', 'ok']);
    for (let i = 0; i < 6; i += 1) expect((await ask(KEYS.quiet, 'hello')).status).toBe(200);
    for (const engine of engines) engine.mode = 'ok';
    (engines[1] as Engine).mode = 'reset';
    for (let i = 0; i < 6; i += 1) expect((await ask(KEYS.quiet, 'hello')).status).toBe(200);
    expect(limitedLines('quiet', true)).toBe(0);
  });

  it('two engines also while the service is away', async () => {
    await start(['ok', 'ok', 'ok', 'ok']);
    await stack.service().drain();
    for (const engine of engines) engine.mode = 'reset';
    const before = reached();
    const answer = await ask(KEYS.noisy, 'hello');
    expect(reached() - before).toBe(2);
    expect(answer.status).toBe(502);
    expect(answer.json.error.code).toBe('engine_broke_twice');
  });
});

describe('a tenant whose requests kill engines', () => {
  it('kills two with one, is limited and told, and is free when one ends well; others are served', async () => {
    await start(['ok', 'ok', 'ok']);
    const statuses: number[] = [];
    let stopped = false;
    const client = async (): Promise<void> => {
      while (!stopped) statuses.push((await ask(KEYS.quiet, 'hello')).status);
    };
    const clients = [client(), client()];
    await eventually(
      () => statuses.length,
      (count) => count > 4,
    );
    const answer = await ask(KEYS.noisy, 'kill');
    expect(answer.status).toBe(502);
    expect(deaths()).toBe(2);
    expect(limitedLines('noisy', true)).toBe(1);
    expect(await stack.metric('fairlane_tenant_limited_total', { tenant: 'noisy' })).toBe(1);
    // Two at once: the second waits for the first.
    const both = await Promise.all([ask(KEYS.noisy, 'hello'), ask(KEYS.noisy, 'hello')]);
    expect(both.map(({ status }) => status)).toEqual([200, 200]);
    expect(limitedLines('noisy', false)).toBe(1);
    stopped = true;
    await Promise.all(clients);
    expect(statuses.filter((status) => status !== 200)).toEqual([]);
    expect(limitedLines('quiet', true)).toBe(0);
  });

  it('has no two of them in engines at a time then', async () => {
    await start(['ok', 'ok', 'ok', 'ok', 'ok']);
    await ask(KEYS.noisy, 'kill');
    expect(deaths()).toBe(2);
    mostKilling = 0;
    const answers = await Promise.all(Array.from({ length: 4 }, () => ask(KEYS.noisy, 'kill')));
    expect(answers.every(({ status }) => status >= 500)).toBe(true);
    expect(mostKilling).toBe(1);
    expect(limitedLines('noisy', true)).toBe(1);
  });
});

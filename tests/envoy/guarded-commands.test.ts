/** What the commands say of engines with keys and TLS, and that the simulator is one. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createAuthority } from '../support/certificates.ts';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { type CliProcess, runCli } from '../support/serve.ts';
import { configYaml, type Draft, KEYS } from '../support/stack.ts';

const ENGINE_KEY = 'key-of-the-simulator';
const authority = createAuthority();

let folder: string;
let running: CliProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-guarded-'));
});
afterEach(async () => {
  for (const { child } of running) child.kill('SIGTERM');
  await Promise.all(running.map(({ exited }) => exited));
  running = [];
  rmSync(folder, { recursive: true, force: true });
});

const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
};
const run = (...args: readonly string[]): CliProcess => {
  const started = runCli(args);
  running.push(started);
  return started;
};

/** A simulator behind TLS with a key and a prefix. */
async function simulate(): Promise<string> {
  const { cert, key } = authority.issue(['127.0.0.1']);
  const tls = ['--tls-cert', file('server.pem', cert), '--tls-key', file('server.key', key)];
  const guards = ['--api-key', ENGINE_KEY, '--prefix', '/llm'];
  const simulator = run('simulate', '--port', '0', '--profile', 'test', ...guards, ...tls);
  await simulator.until('https://');
  return /https:\S+/.exec(simulator.stdout())?.[0] ?? '';
}

async function configuration(url: string, pool: object): Promise<{ path: string; api: number }> {
  const [api = 0, admin = 0, metrics = 0] = await freePorts(3);
  const path = file(
    'fairlane.yaml',
    configYaml([`${url}/v1`], { api, admin, metrics }, join(folder, 'envoy'), (config: Draft) => {
      Object.assign(config['pools']['main'], pool);
      config['models'] = { demo: { pool: 'main' } };
    }),
  );
  return { path, api };
}
const ask = (api: number) => send(`http://127.0.0.1:${api}`, { key: KEYS.quiet, body: chatBody() });
const ca = () => ({ ca: file('ca.pem', authority.ca) });

describe('fairlane doctor', () => {
  const doctor = async (pool: object): Promise<{ readonly text: string; readonly code: number | null }> => {
    const { path } = await configuration(await simulate(), pool);
    const command = runCli(['doctor', '--config', path]);
    const code = await command.exited;
    return { code, text: command.stdout() };
  };

  it.each<[string, () => object, string]>([
    ['the authority', () => ({ tls: {} }), 'pools.main.tls.ca'],
    ['the name', () => ({ tls: { ...ca(), serverName: 'other.test' } }), 'pools.main.tls.serverName'],
    ['the key', () => ({ tls: ca() }), '401 to /v1/models: it wants a key (pools.main.apiKey)'],
    [
      'another key',
      () => ({ tls: ca(), apiKey: `file:${file('key', 'a-wrong-key')}` }),
      'does not take the key of pools.main.apiKey',
    ],
  ])('names %s that is missing', async (_, pool, expected) => {
    const { code, text } = await doctor(pool());
    expect(
      text.split('\n').find((line) => line.startsWith('problem') && line.includes(expected)),
    ).toBeDefined();
    expect(text).not.toContain('a-wrong-key');
    expect(code).toBe(1);
  });

  it('finds no problem with an engine where nothing is missing', async () => {
    const { text } = await doctor({ tls: ca(), apiKey: `file:${file('key', ENGINE_KEY)}` });
    expect(text).toMatch(/^ok .*serves demo/m);
    expect(text).not.toMatch(/^problem .*pool main/m);
    expect(text).not.toContain(ENGINE_KEY);
  });
});

describe('fairlane start', () => {
  it('lists what nothing serves, with the setting, and serves once that is written', async () => {
    const url = await simulate();
    const { path, api } = await configuration(url, { tls: ca() });
    const start = run('start', '--config', path, '--envoy-concurrency', '1');
    await start.until('Ctrl-C drains');
    expect(start.stdout()).toContain('no engine is healthy yet');
    expect(start.stdout()).toMatch(/^ {2}pool main, .*it wants a key \(pools\.main\.apiKey\)/m);
    const { path: again } = await configuration(url, {
      tls: ca(),
      apiKey: `file:${file('key', ENGINE_KEY)}`,
    });
    expect(again).toBe(path);
    // Addresses of the first configuration stay in use: they wait for a restart.
    await eventually(
      async () => (await ask(api)).status,
      (status) => status === 200,
      20_000,
    );
    expect(start.stdout() + start.stderr()).not.toContain(ENGINE_KEY);
  });
});

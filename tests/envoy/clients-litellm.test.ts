/** LiteLLM: its library and its proxy before Fairlane, by the snippets of docs/clients.md, and whose tenant a request is then. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { eventsOf, send } from '../support/client.ts';
import { OTHER_DEMO_KEY, run, snippet } from '../support/clients/page.ts';
import { pythonWith } from '../support/clients/python.ts';
import { type ClientStack, hastyKey, SPENT_KEY, startClientStack } from '../support/clients/stack.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';

const INSTALL_MS = 900_000;
const START_MS = 240_000;
/** Of the page. */
const MASTER_KEY = 'sk-of-litellm';
/** It asks nobody for prices. */
const OFFLINE = { LITELLM_LOCAL_MODEL_COST_MAP: 'True', HF_HUB_OFFLINE: '1' };

vi.setConfig({ testTimeout: START_MS });

let clients: ClientStack;
let python = '';
let proxyUrl = '';
let stopProxy: () => Promise<void> = () => Promise.resolve();

async function startProxy(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'fairlane-litellm-'));
  const [port = 0] = await freePorts(1);
  const config = join(folder, 'config.yaml');
  writeFileSync(config, snippet('litellm-proxy', clients.stack.url));
  const args = ['--config', config, '--host', '127.0.0.1', '--port', String(port), '--telemetry', 'False'];
  const child = spawn(join(dirname(python), 'litellm'), args, {
    env: { PATH: process.env['PATH'], HOME: folder, ...OFFLINE },
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-4_000);
    });
  }
  const exited = new Promise((resolve) => child.once('exit', resolve));
  proxyUrl = `http://127.0.0.1:${port}`;
  stopProxy = async () => {
    child.kill('SIGKILL');
    await exited;
    rmSync(folder, { recursive: true, force: true });
  };
  await eventually(
    async () => {
      if (child.exitCode !== null) throw new Error(`litellm has ended: ${said}`);
      const answer = await send(proxyUrl, { method: 'GET', path: '/health/liveliness' }).catch(
        () => undefined,
      );
      return answer?.status;
    },
    (status) => status === 200,
    START_MS,
  );
}

beforeAll(async () => {
  python = await pythonWith('litellm');
  clients = await startClientStack();
  await startProxy();
}, INSTALL_MS);
afterAll(async () => {
  await stopProxy();
  await clients.close();
});

const through = (model: string, fields: object = {}): ReturnType<typeof send> => {
  const body = { model, messages: [{ role: 'user', content: 'hello' }], max_tokens: 3, ...fields };
  return send(proxyUrl, { key: MASTER_KEY, body: JSON.stringify(body) });
};
const requestsOf = (tenant: string): number =>
  clients.stack.records().filter((record) => record.tenant === tenant).length;

it('the snippet of docs/clients.md as a library: whole, streamed and counted', async () => {
  const before = requestsOf('quiet');
  const ran = await run(python, ['-W', 'ignore', '-c', snippet('litellm', clients.stack.url)], OFFLINE);
  expect(ran).toMatchObject({ code: 0 });
  expect(ran.stdout).toMatch(/the engine says one word/);
  expect(ran.stdout).toMatch(/\n\d+ tokens\n/);
  expect(requestsOf('quiet')).toBe(before + 2);
});

describe('the proxy with the file of docs/clients.md', () => {
  it('is one tenant for all its users', async () => {
    const before = requestsOf('quiet');
    const { status, json } = await through('demo');
    expect([status, json.choices[0].message.content]).toEqual([200, 'the engine says']);
    expect(requestsOf('quiet')).toBe(before + 1);
  });

  it('streams, with usage for who asks', async () => {
    const { text } = await through('demo', { stream: true, stream_options: { include_usage: true } });
    const events = eventsOf(text);
    expect(events.at(-1)).toBe('[DONE]');
    expect(events.join('')).toContain('"completion_tokens":3');
  });

  it('passes the key that a request brings: the snippet is the other tenant', async () => {
    const before = requestsOf('noisy');
    const text = snippet('litellm-keys', clients.stack.url).replace('http://127.0.0.1:4000', proxyUrl);
    const { code, stdout, stderr } = await run(python, ['-c', text]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/the engine says/);
    expect(requestsOf('noisy')).toBe(before + 1);
  });

  it('lets nobody in where no key is brought', async () => {
    expect((await through('demo-by-user')).status).toBe(401);
  });

  it('gives the refusal of one tenant to that one, after one try, and the deployment to the others', async () => {
    const before = requestsOf('spent');
    for (let i = 0; i < 4; i += 1) {
      const { status, text } = await through('demo-by-user', { api_key: SPENT_KEY });
      expect(status).toBe(429);
      expect(text).toContain('quota');
    }
    expect(requestsOf('spent')).toBe(before + 4);
    expect((await through('demo-by-user', { api_key: OTHER_DEMO_KEY })).status).toBe(200);
  });

  it('tells a client how long to wait', async () => {
    await through('demo-by-user', { api_key: hastyKey('litellm') });
    const { status, headers } = await through('demo-by-user', { api_key: hastyKey('litellm') });
    expect(status).toBe(429);
    const waitS = Number(headers['retry-after'] ?? headers['llm_provider-retry-after']);
    expect([1, 2, 3]).toContain(waitS);
  });
});

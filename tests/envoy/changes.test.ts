/** New versions and other names of models, with a real Envoy and two engines. */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { type Answer, chatBody, eventsOf, openStream, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { runCli } from '../support/serve.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const EVERY_MS = 33;
const SOON_MS = 10_000;

let engines: readonly [Simulator, Simulator];
let stack: Stack;
const startedOn = (engine: 0 | 1): number => engines[engine].stats().started;
const ask = (model: string, headers: Record<string, string> = {}): Promise<Answer> =>
  send(stack.url, { key: KEYS.quiet, headers, body: chatBody({ model, max_tokens: 2, stream: true }) });

let sessions = 0;
/** About 30 requests a second, each of a session of its own. */
async function load(until: (sent: number) => boolean | Promise<boolean>): Promise<readonly Answer[]> {
  const answers: Promise<Answer>[] = [];
  while (!(await until(answers.length))) {
    sessions += 1;
    answers.push(ask('demo', { 'x-session-id': `session ${sessions}` }));
    await sleep(EVERY_MS);
  }
  return Promise.all(answers);
}

beforeAll(async () => {
  const simulator = () =>
    startSimulator({ profile: parseProfile('test', {}), models: ['demo', 'demo-v2'], faults: true });
  engines = [await simulator(), await simulator()];
  const health = { interval: '200ms', timeout: '5s' };
  stack = await startStack({
    engines: [],
    change(config) {
      config['pools'] = {
        now: { endpoints: [engines[0].url], health },
        next: { endpoints: [engines[1].url], health },
      };
      config['models'] = {
        demo: { pool: 'now', canary: { model: 'demo-v2', weight: 20, by: 'session' } },
        'demo-v2': { pool: 'next' },
      };
      config['aliases'] = { 'gpt-4o': 'demo-v2' };
    },
  });
});
afterAll(async () => {
  await stack.close();
  await Promise.all(engines.map((engine) => engine.close()));
});

describe('an alias', () => {
  it('is served by its model, which the client is told', async () => {
    const before = startedOn(1);
    const answer = await ask('gpt-4o');
    expect([answer.status, answer.headers['x-fairlane-model']]).toEqual([200, 'demo-v2']);
    expect(startedOn(1)).toBe(before + 1);
    const models = await send(stack.url, { key: KEYS.quiet, method: 'GET', path: '/v1/models' });
    const ids = (models.json as { data: { id: string }[] }).data.map(({ id }) => id);
    expect(ids).toEqual(['demo', 'demo-v2', 'gpt-4o']);
  });
});

describe('a canary', () => {
  const canary = async (): Promise<{ readonly weight: number; readonly rolledBack?: object }> => {
    const response = await fetch(`${stack.metricsUrl}/health`);
    const report = (await response.json()) as {
      canaries: { demo: { weight: number; rolledBack?: object } };
    };
    return report.canaries.demo;
  };

  it('that is as good keeps its part', async () => {
    const before = startedOn(1);
    const answers = await load((sent) => sent >= 150);
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    const part = (startedOn(1) - before) / answers.length;
    expect(part).toBeGreaterThan(0.08);
    expect(part).toBeLessThan(0.35);
    expect(await canary()).toEqual({ model: 'demo-v2', weight: 0.2 });
  }, 30_000);

  it('that fails is rolled back within seconds, is told, and gets nothing afterwards', async () => {
    engines[1].setFault({ kind: 'status', status: 500 });
    const begunMs = Date.now();
    await load(async () => Date.now() - begunMs > SOON_MS || (await canary()).rolledBack !== undefined);
    expect(Date.now() - begunMs).toBeLessThan(SOON_MS);
    expect(await canary()).toMatchObject({ weight: 0, rolledBack: { gate: 'failures' } });
    expect(stack.logText()).toContain('"message":"canary-rolled-back"');
    expect(await stack.metric('fairlane_canary_rollbacks_total', { model: 'demo', gate: 'failures' })).toBe(
      1,
    );
    const answers = await load((sent) => sent >= 60);
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    expect(answers.some(({ headers }) => headers['x-fairlane-model'] !== undefined)).toBe(false);
  }, 60_000);
});

describe('a drain', () => {
  const cli = async (...args: readonly string[]) => {
    const { exited, stdout, stderr } = runCli(['drain', ...args, '--config', stack.configPath]);
    const code = await exited;
    return { code, stdout: stdout(), stderr: stderr() };
  };

  it('by the command lets a stream end, gives the endpoint nothing new, and is taken back', async () => {
    engines[1].setFault(undefined);
    const { url } = engines[1];
    const stream = await openStream(stack.url, {
      key: KEYS.quiet,
      body: chatBody({ model: 'demo-v2', stream: true, max_tokens: 4_000, ignore_eos: true }),
    });
    const drained = await cli(url);
    expect([drained.code, drained.stdout.trim()]).toEqual([0, `${url} gets no new requests`]);
    expect(drained.stderr).toContain('no other endpoint');
    expect((await ask('demo-v2')).status).toBe(503);
    const report = (await (await fetch(`${stack.metricsUrl}/health`)).json()) as {
      pools: { next: { draining: Record<string, object> } };
    };
    expect(report.pools.next.draining[url]).toEqual({ empty: false, inFlight: 1 });
    const waiting = cli(url, '--wait');
    expect(eventsOf(await stream.done).at(-1)).toBe('[DONE]');
    expect((await waiting).stdout).toContain(`${url} is empty`);
    await eventually(
      () => stack.logText(),
      (text) => /"state":"empty".*"endpoint-drain"/.test(text),
    );
    expect((await cli(url, '--undo')).stdout).toContain('takes requests again');
    expect((await ask('demo-v2')).status).toBe(200);
  }, 60_000);

  it('of what is no endpoint is told so', async () => {
    const { code, stderr } = await cli('http://127.0.0.1:1');
    expect([code, stderr]).toEqual([1, expect.stringContaining('has no endpoint http://127.0.0.1:1')]);
  });

  it('is not taken from a web page, nor by another name of this machine', async () => {
    const path = `/drain?endpoint=${encodeURIComponent(engines[0].url)}`;
    const headers = { 'x-fairlane-command': 'drain' };
    expect((await send(stack.metricsUrl, { path })).status).toBe(403);
    expect(
      (await send(stack.metricsUrl, { path, headers: { ...headers, host: 'evil.example' } })).status,
    ).toBe(403);
    expect((await ask('demo')).status).toBe(200);
  });
});

describe('explain', () => {
  const question = async (path: string, ...args: readonly string[]) => {
    const { exited, stdout, stderr } = runCli(['explain', path, '--config', stack.configPath, ...args]);
    const code = await exited;
    return { code, stdout: stdout(), stderr: stderr() };
  };
  const file = (text: string): string => {
    const path = join(dirname(stack.configPath), 'request.json');
    writeFileSync(path, text);
    return path;
  };

  it('says what the running service would do with a request, and sends nothing', async () => {
    const before = stack.records().length;
    const path = file(chatBody({ model: 'demo-v2' }));
    const { code, stdout, stderr } = await question(path, '--tenant', 'quiet');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^tenant +quiet: no limits\nmodel +demo-v2, in the pool next/);
    expect(stdout).toContain(`Chosen: ${engines[1].url}`);
    const answer = JSON.parse((await question(path, '--tenant', 'quiet', '--json')).stdout) as object;
    expect(answer).toMatchObject({ kind: 'placed', queue: { choice: { endpoints: [{ refusedBy: [] }] } } });
    expect(stack.records()).toHaveLength(before);
  }, 30_000);

  it('says how it would be refused, and what is wrong with the question', async () => {
    const refused = await question(file('{"model":"none","messages":[]}'), '--tenant', 'quiet');
    expect([refused.code, refused.stdout]).toEqual([2, expect.stringContaining('refused with 400')]);
    const missing = await question('/nowhere/request.json', '--tenant', 'quiet');
    expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining('cannot read /nowhere')]);
    const latin1 = join(dirname(stack.configPath), 'latin1.json');
    writeFileSync(latin1, Buffer.from(chatBody({ user: 'é' }), 'latin1'));
    const encoded = await question(latin1, '--tenant', 'quiet');
    expect([encoded.code, encoded.stderr]).toEqual([1, expect.stringContaining('is not UTF-8')]);
    const header = await question(file('{}'), '--tenant', 'quiet', '--header', 'nothing');
    expect([header.code, header.stderr]).toEqual([1, expect.stringContaining('must be NAME: VALUE')]);
  }, 30_000);

  it('says that who answers is no Fairlane', async () => {
    const stranger = createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1');
    await once(stranger, 'listening');
    const path = join(dirname(stack.configPath), 'stranger.yaml');
    const { port } = stranger.address() as AddressInfo;
    const text = readFileSync(stack.configPath, 'utf8');
    writeFileSync(path, text.replace(new URL(stack.metricsUrl).host, `127.0.0.1:${port}`));
    const { code, stderr } = await question(file(chatBody({})), '--tenant', 'quiet', '--config', path);
    stranger.close();
    expect([code, stderr]).toEqual([1, expect.stringMatching(/no Fairlane .* is it service\.metrics/)]);
  }, 30_000);

  it('takes no question that is none, too large, or from a web page', async () => {
    const post = (body: string, headers: Readonly<Record<string, string>> = { 'x-fairlane-command': 'on' }) =>
      fetch(`${stack.metricsUrl}/explain`, { method: 'POST', headers, body });
    expect((await post('{}', {})).status).toBe(403);
    for (const body of ['', 'null', '{', '[]', '{"tenant":1}', '{"tenant":"quiet","path":"/","body":{}}']) {
      expect((await post(body)).status).toBe(400);
    }
    expect((await post('x'.repeat(2 * stack.config.envoy.maxBodyBytes + 1))).status).toBe(413);
  });
});

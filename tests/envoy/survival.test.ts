/** What holds when the service dies, hangs or is not there, and under many short requests. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { loadConfig } from '../../src/config/fs-config.ts';
import { bootstrapOf } from '../../src/envoy/bootstrap.ts';
import { type RunningEnvoy, startEnvoy } from '../../src/envoy/process-envoy.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, eventsOf, openStream, send } from '../support/client.ts';
import { envoyForTests } from '../support/envoy.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { type CliProcess, runCli } from '../support/serve.ts';
import { configYaml, KEYS } from '../support/stack.ts';

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const long = (tokens: number) => chatBody({ stream: true, max_tokens: tokens, ignore_eos: true });

interface World {
  readonly url: string;
  readonly adminUrl: string;
  readonly config: Config;
  readonly engine: Simulator;
  service: CliProcess;
  startService(): Promise<void>;
  close(): Promise<void>;
}

async function startWorld(failureMode: 'open' | 'closed', address: 'unix' | 'tcp' = 'unix'): Promise<World> {
  const engine = await startSimulator({
    profile: parseProfile('test', { stepBaseMs: 10, maxSequences: 64 }),
    models: ['demo'],
    faults: true,
  });
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-test-'));
  const [api = 0, admin = 0, metrics = 0, grpc = 0] = await freePorts(4);
  const path = join(directory, 'fairlane.yaml');
  const yaml = configYaml([engine.url], { api, admin, metrics }, directory, (config) => {
    config['envoy']['failureMode'] = failureMode;
    config['pools']['main']['concurrencyLimit'] = 40;
    // Longer than a slow machine needs for the queue.
    config['queue']['maxWait'] = '30s';
    if (address === 'tcp') config['service']['address'] = `127.0.0.1:${grpc}`;
  });
  writeFileSync(path, yaml);
  const loaded = loadConfig(path, process.env);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  const { config } = loaded;
  let service = runCli(['serve', '--config', path]);
  await service.until('serving ext_proc');
  let envoy: RunningEnvoy | undefined = await startEnvoy({
    envoy: await envoyForTests(),
    bootstrap: bootstrapOf(config),
    directory,
    admin: config.envoy.admin,
    concurrency: 1,
    onLog: () => undefined,
  });
  return {
    url: `http://127.0.0.1:${api}`,
    adminUrl: `http://127.0.0.1:${admin}`,
    config,
    engine,
    get service() {
      return service;
    },
    set service(next) {
      service = next;
    },
    async startService() {
      service = runCli(['serve', '--config', path]);
      await service.until('serving ext_proc');
    },
    async close() {
      service.child.kill('SIGTERM');
      await service.exited;
      await envoy?.stop(500);
      envoy = undefined;
      await engine.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

const quiet = (world: World, fields: object = {}) =>
  send(world.url, { key: KEYS.quiet, body: chatBody(fields) });
const records = (world: World) =>
  world.service
    .stdout()
    .split('\n')
    .filter((line) => line.includes('"message":"request"'));

describe.each(['unix', 'tcp'] as const)('failing open, over %s', (address) => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld('open', address);
  });
  afterAll(() => world.close());
  afterEach(() => world.engine.setFault(undefined));

  it('SIGKILL of the service in mid-stream: the client gets its whole stream, and the restarted service the next request', async () => {
    const stream = await openStream(world.url, { key: KEYS.quiet, body: long(150) });
    await eventually(
      () => eventsOf(stream.text()).length,
      (count) => count > 20,
    );
    world.service.child.kill('SIGKILL');
    await world.service.exited;
    // While it is away: identity and routes hold, the rest passes.
    expect((await quiet(world)).status).toBe(200);
    expect((await send(world.url, { body: chatBody() })).status).toBe(401);
    expect((await send(world.url, { key: KEYS.quiet, path: '/v1/load_lora_adapter' })).status).toBe(404);
    // Stored responses have owners, whom nobody knows now.
    for (const method of ['GET', 'DELETE']) {
      const stored = await send(world.url, { key: KEYS.quiet, method, path: '/v1/responses/resp_1' });
      expect([method, stored.status, stored.json.error.type]).toEqual([method, 503, 'server_error']);
    }
    const seen = world.engine.requests().at(-1);
    expect(JSON.stringify(seen?.headers)).not.toMatch(/fairlane|key-of-the/);
    const events = eventsOf(await stream.done);
    expect(events.at(-1)).toBe('[DONE]');
    expect(events.filter((event) => event.includes('"content":"') && !event.includes('"role"'))).toHaveLength(
      150,
    );

    await world.startService();
    expect((await quiet(world, { max_tokens: 2 })).status).toBe(200);
    await eventually(
      () => records(world).length,
      (count) => count === 1,
    );
  });

  it('a stored response is not asked for by a service that hangs', async () => {
    world.service.child.kill('SIGSTOP');
    const before = world.engine.requests().length;
    const answer = await send(world.url, {
      key: KEYS.quiet,
      method: 'POST',
      path: '/v1/responses/resp_1/cancel',
      headers: { 'content-length': '0' },
    });
    world.service.child.kill('SIGCONT');
    expect(answer.status).toBe(503);
    expect(world.engine.requests()).toHaveLength(before);
  });

  it('SIGTERM lets streams finish and ends within the deadline, with exit code 0', async () => {
    const short = await openStream(world.url, { key: KEYS.quiet, body: long(50) });
    const endless = await openStream(world.url, { key: KEYS.quiet, body: long(400) });
    await sleep(100);
    const started = Date.now();
    world.service.child.kill('SIGTERM');
    expect(await world.service.exited).toBe(0);
    const took = Date.now() - started;
    expect(took).toBeGreaterThan(1_500);
    expect(took).toBeLessThan(4_000);
    expect(eventsOf(await short.done).at(-1)).toBe('[DONE]');
    expect(eventsOf(await endless.done).at(-1)).toBe('[DONE]');
    expect(records(world).some((line) => line.includes('"outcome":"completed"'))).toBe(true);
    await world.startService();
  });

  if (address === 'unix') {
    it('32 clients with short requests as fast as they go for 10 s beside one long stream: none fails, the stream is whole', async () => {
      const tokens = 900;
      const failuresOf = async (): Promise<number> => {
        const response = await fetch(`${world.adminUrl}/stats?filter=ext_proc`);
        const lines = (await response.text()).split('\n');
        return lines
          .filter((line) =>
            /ext_proc\.(streams_failed|failure_mode_allowed|message_timeouts|spurious_msgs_received):/.test(
              line,
            ),
          )
          .reduce((sum, line) => sum + Number(line.split(': ')[1]), 0);
      };
      const before = await failuresOf();
      const stream = await openStream(world.url, { key: KEYS.quiet, body: long(tokens) });
      const until = Date.now() + 10_000;
      const failures: string[] = [];
      let done = 0;
      // Half of them are answered by Fairlane itself: the most streams that end a second.
      const client = async (index: number) => {
        while (Date.now() < until) {
          const answer =
            index % 2 === 0
              ? await send(world.url, { key: KEYS.noisy, method: 'GET', path: '/v1/models' })
              : await send(world.url, { key: KEYS.noisy, body: chatBody({ max_tokens: 1 }) });
          if (answer.status !== 200) failures.push(`${answer.status} ${answer.text.slice(0, 200)}`);
          done += 1;
        }
      };
      await Promise.all(Array.from({ length: 32 }, (_, index) => client(index)));
      expect(failures.slice(0, 3)).toEqual([]);
      expect(done).toBeGreaterThan(200);
      const events = eventsOf(await stream.done);
      expect(events.at(-1)).toBe('[DONE]');
      expect(
        events.filter((event) => event.includes('"content":"') && !event.includes('"role"')),
      ).toHaveLength(tokens);
      expect(await failuresOf()).toBe(before);
    });

    it('more than 1,024 requests at once are no more than a queue', async () => {
      const answers = await Promise.all(
        Array.from({ length: 1_200 }, () =>
          send(world.url, { key: KEYS.noisy, body: chatBody({ max_tokens: 1 }) }),
        ),
      );
      const statuses = new Map<number, number>();
      for (const { status } of answers) statuses.set(status, (statuses.get(status) ?? 0) + 1);
      const others = answers.filter(({ status }) => status !== 200 && status !== 429);
      expect(others.map(({ text }) => text).slice(0, 3)).toEqual([]);
      expect([...statuses.keys()].sort((a, b) => a - b)).toEqual([200, 429]);
      expect(answers.find(({ status }) => status === 429)?.json.error.code).toBe('tenant_queue_full');
      // A queue of 100, and 40 slots, of which one is kept free for quiet tenants.
      expect(statuses.get(200)).toBeGreaterThanOrEqual(139);
    });
  }
});

describe('failing closed', () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld('closed');
  });
  afterAll(() => world.close());

  it('refuses in the shape of the API while the service is away, and serves again after', async () => {
    world.service.child.kill('SIGKILL');
    await world.service.exited;
    const answer = await quiet(world);
    expect(answer.status).toBe(503);
    expect(answer.json.error.type).toBe('server_error');
    expect(answer.headers['retry-after']).toBeDefined();
    expect((await send(world.url, { body: chatBody() })).status).toBe(401);
    await world.startService();
    await eventually(
      () => quiet(world),
      ({ status }) => status === 200,
    );
  });

  it('a service that hangs is noticed after 5 s, and the request is refused', async () => {
    world.service.child.kill('SIGSTOP');
    const started = Date.now();
    const answer = await quiet(world);
    world.service.child.kill('SIGCONT');
    expect([503, 504]).toContain(answer.status);
    expect(answer.json.error.type).toBe('server_error');
    expect(Date.now() - started).toBeLessThan(8_000);
  });
});

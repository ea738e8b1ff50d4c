/** The commands of docker-compose.yml as processes, on the folders that it mounts: start, reload by saving, stop in its order. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { healthCheck, services } from '../support/compose.ts';
import { debianProgram } from '../support/debian.ts';
import { askStream, expectDrain } from '../support/drain.ts';
import { envoyForTests } from '../support/envoy.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { findServer } from '../support/redis.ts';
import { type CliProcess, runCli } from '../support/serve.ts';

const run = promisify(execFile);
const commandOf = (name: string): readonly string[] => services[name]?.command ?? [];
const QUIET = 'key-of-the-quiet-one';

/** The lines of shells on the page about compose. */
const written = [...readFileSync('docs/install/compose.md', 'utf8').matchAll(/^```sh\n([^]*?)^```/gm)]
  .flatMap(([, lines = '']) => lines.replaceAll(/ *\\\n */g, ' ').split('\n'))
  .filter((line) => line !== '');
const IN_CONTAINER =
  /^docker compose (?:exec fairlane node dist\/cli\/index\.js|run --rm --no-deps (?:-T )?fairlane) /;
const TAR = /^docker compose (?:--profile redis )?run --rm --no-deps -T --entrypoint (tar) \w+ /;
/** What only Docker, git or whoever reads it can do. */
const NOT_RUN =
  /^(?:\w+=\S+ )?docker compose (?:up|stop|start|down|build|restart)\b|^(?:git|sudo|mkdir|cp|mv|echo|chmod|openssl) /;
/** Arguments of each of Fairlane's own commands there. */
const ownCommands = written
  .filter((line) => IN_CONTAINER.test(line))
  .map((line) => line.replace(IN_CONTAINER, '').replace(/ > .*/, ''));
const tars = written.filter((line) => TAR.test(line)).map((line) => line.replace(TAR, '$1 '));
const READY_MS = 60_000;

let folder: string;
let ports: readonly number[];
let engine: CliProcess;
let redis: ChildProcess;
let prometheus: ChildProcess;
let service: CliProcess;
let envoy: ChildProcess;
let envoyEnded: Promise<number | null>;

const port = (i: number): number => ports[i] ?? 0;
const api = (): string => `http://127.0.0.1:${port(0)}`;

/** The example's text with what is this test's own: ports and folders. */
const here = (text: string): string =>
  text
    .replaceAll('0.0.0.0:8080', `127.0.0.1:${port(0)}`)
    .replaceAll('0.0.0.0:9901', `127.0.0.1:${port(1)}`)
    .replaceAll('0.0.0.0:9464', `127.0.0.1:${port(2)}`)
    .replaceAll('/run/fairlane', join(folder, 'run'))
    .replaceAll('/var/lib/fairlane', join(folder, 'state'))
    .replaceAll('/etc/fairlane', join(folder, 'config'))
    .replaceAll('/etc/envoy', join(folder, 'envoy'))
    .replaceAll('/data', join(folder, 'redis'))
    .replaceAll('=/etc/prometheus', `=${join(folder, 'rules')}`)
    .replaceAll('=/prometheus', `=${join(folder, 'series')}`)
    .replaceAll('fairlane:9464', `127.0.0.1:${port(2)}`)
    .replaceAll('envoy:9901', `127.0.0.1:${port(1)}`);

/** What Fairlane's container has. */
const environment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  ENGINE_URL: `http://127.0.0.1:${port(4)}`,
  QUIET_KEY: QUIET,
  NOISY_KEY: 'key-of-the-noisy-one',
  REDIS_URL: `redis://127.0.0.1:${port(3)}`,
  STATE_DIRECTORY: join(folder, 'state'),
  FAIRLANE_PUBLISHED_ON: '127.0.0.1',
});

const ask = (key: string, tokens: number): Promise<Response> => askStream(api(), key, tokens);

/** Moved into place, as editors save. */
function save(change: (text: string) => string): void {
  const path = join(folder, 'config', 'fairlane.yaml');
  writeFileSync(`${path}.new`, change(readFileSync(path, 'utf8')));
  renameSync(`${path}.new`, path);
}

/** Redis by its command. @param placed the folder in it. */
function startRedis(placed: (arg: string) => string): ChildProcess {
  const server = findServer();
  if (server === undefined) throw new Error('there is no Redis to run');
  const [, ...args] = commandOf('redis');
  return spawn(server, [...args.map(placed), '--port', String(port(3))], { stdio: 'ignore' });
}

/** Prometheus by its command, on copies of the files that are mounted: elsewhere, and asking more often. */
function startPrometheus(): ChildProcess {
  cpSync('observability/prometheus', join(folder, 'rules'), { recursive: true });
  const path = join(folder, 'rules', 'prometheus.yaml');
  writeFileSync(path, here(readFileSync(path, 'utf8')).replaceAll(': 15s', ': 1s'));
  const args = [...commandOf('prometheus').map(here), `--web.listen-address=127.0.0.1:${port(5)}`];
  return spawn(debianProgram('prometheus', 'prometheus'), args, { stdio: 'ignore' });
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-compose-'));
  ports = await freePorts(6);
  for (const name of ['run', 'state', 'redis', 'bin']) mkdirSync(join(folder, name), { mode: 0o700 });
  cpSync('examples/docker', join(folder, 'config'), { recursive: true });
  cpSync('envoy/docker', join(folder, 'envoy'), { recursive: true });
  save(here);
  engine = runCli(commandOf('simulator').map((arg) => (arg === '8000' ? String(port(4)) : arg)));
  redis = startRedis(here);
  const env = environment();
  const config = join(folder, 'config', 'fairlane.yaml');
  for (const [file, ...args] of [
    ['envoy.yaml', '--listeners', join(folder, 'run', 'envoy')],
    ['listeners.json', '--part', 'listeners'],
  ] as const) {
    const printed = runCli(['envoy-config', '--config', config, ...args], env);
    expect([await printed.exited, printed.stderr()]).toEqual([0, '']);
    writeFileSync(join(folder, 'envoy', file), printed.stdout());
  }
  service = runCli(commandOf('fairlane').map(here), env);
  await service.until('serving ext_proc');
  const [program, ...leading] = (await envoyForTests()).command;
  expect(leading).toEqual([]);
  symlinkSync(program, join(folder, 'bin', 'envoy'));
  const [shell = '', ...args] = commandOf('envoy').map(here);
  envoy = spawn(shell, [...args, '--concurrency', '1'], {
    stdio: 'inherit',
    env: {
      ...process.env,
      PATH: `${join(folder, 'bin')}:${process.env['PATH'] ?? ''}`,
      ENVOY_LISTENERS: join(folder, 'run', 'envoy'),
      ENVOY_ADMIN_PORT: String(port(1)),
      DRAIN_SECONDS: '20',
    },
  });
  envoyEnded = new Promise((resolve) => {
    envoy.once('exit', resolve);
  });
  await eventually(
    () =>
      fetch(`${api()}/v1/models`, { headers: { authorization: `Bearer ${QUIET}` } }).catch(() => undefined),
    (response) => response?.status === 200,
    READY_MS,
  );
  prometheus = startPrometheus();
}, READY_MS * 2);

afterAll(async () => {
  envoy.kill('SIGKILL');
  service.child.kill('SIGKILL');
  redis.kill('SIGKILL');
  prometheus.kill('SIGKILL');
  engine.child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

it('does what the page says, command by command', async () => {
  const curls = written.filter((line) => line.startsWith('curl '));
  const others = written.filter(
    (line) => ![IN_CONTAINER, TAR, NOT_RUN, /^curl /].some((kind) => kind.test(line)),
  );
  expect([curls.length, ownCommands.length, tars.length, others]).toEqual([2, 6, 4, []]);
  for (const line of curls) {
    const command = line.replace(':8080/', `:${port(0)}/`).replace('demo-quiet-key', QUIET);
    expect(JSON.parse((await run('sh', ['-c', command])).stdout)).toHaveProperty('object');
  }
  // The ledger is looked at when it is restored.
  for (const command of ownCommands.filter((one) => !one.startsWith('ledger'))) {
    const args = here(command).split(' ');
    const told = runCli(
      args[0] === 'status' ? [...args, '--address', `127.0.0.1:${port(2)}`] : args,
      environment(),
    );
    expect([command, await told.exited, told.stderr()]).toEqual([command, 0, '']);
  }
}, 60_000);

it('has a simulator and a Fairlane that are healthy by their checks', async () => {
  expect(await healthCheck('simulator', port(4), 8000)).toBe(0);
  expect(await healthCheck('fairlane', port(2), 9464)).toBe(0);
});

it('shows the console to a browser on this machine, and to no page under a foreign name', async () => {
  const status = (path: string, host: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      get({ host: '127.0.0.1', port: port(2), path, headers: { host } }, (response) => {
        response.destroy();
        resolve(response.statusCode);
      }).on('error', reject);
    });
  for (const host of [`127.0.0.1:${port(2)}`, `localhost:${port(2)}`])
    expect(await status('/console/requests', host)).toBe(200);
  for (const path of ['/console/requests', '/console/events', '/console/about'])
    expect(await status(path, `attacker.example:${port(2)}`)).toBe(403);
});

it('has a Prometheus that is healthy, knows the rules, and reads Fairlane and Envoy', async () => {
  const answer = (path: string): Promise<unknown> =>
    fetch(`http://127.0.0.1:${port(5)}/api/v1/${path}`).then(
      (response) => response.json(),
      () => undefined,
    );
  interface Targets {
    readonly data: {
      readonly activeTargets: readonly {
        readonly health: string;
        readonly labels: { readonly job: string };
      }[];
    };
  }
  const jobs = (said: unknown): string =>
    ((said as Targets | undefined)?.data.activeTargets ?? [])
      .map((target) => `${target.labels.job} ${target.health}`)
      .sort()
      .join();
  await eventually(
    async () => jobs(await answer('targets')),
    (text) => text === 'envoy up,fairlane up',
    30_000,
  );
  debianProgram('wget', 'wget');
  expect(await healthCheck('prometheus', port(5), 9090)).toBe(0);
  const { data } = (await answer('rules')) as { readonly data: { readonly groups: readonly unknown[] } };
  expect(data.groups.length).toBeGreaterThan(1);
}, 60_000);

it('has a Redis that is healthy by its check, keeps what it is told, and is used', async () => {
  const [, program = '', ...args] = services['redis']?.healthcheck.test ?? [];
  const { stdout } = await run(
    program,
    args.map((arg) => arg.replace('6379', String(port(3)))),
  );
  expect(stdout.trim()).toBe('PONG');
  // Only this test's service is there to connect to it.
  const clients = await run(program, ['-p', String(port(3)), 'client', 'list']);
  expect(clients.stdout.trim().split('\n').length).toBeGreaterThan(1);
});

it('takes over a configuration that is saved, by replacing the file in the folder', async () => {
  expect((await ask('key-of-a-new-one', 1)).status).toBe(401);
  writeFileSync(join(folder, 'config', 'fresh.key'), 'key-of-a-new-one\n', { mode: 0o400 });
  save((text) => `${text}  fresh: { keys: ["file:fresh.key", "file:fresh.next.key?"] }\n`);
  await eventually(
    async () => (await ask('key-of-a-new-one', 1)).status,
    (status) => status === 200,
    20_000,
  );
});

it('loses no stream when it is stopped in the order of compose: Envoy, Fairlane, then the others', async () => {
  await expectDrain(api(), QUIET, 400, () => envoy.kill('SIGTERM'));
  expect(await envoyEnded).toBe(0);
  service.child.kill('SIGTERM');
  expect(await service.exited).toBe(0);
}, 60_000);

it('is backed up and restored as the page says: the ledger and what Redis holds', async () => {
  const redisEnded = new Promise((resolve) => redis.once('exit', resolve));
  redis.kill('SIGTERM');
  await redisEnded;
  /** Volumes that are made anew. */
  const anew = (text: string): string =>
    text
      .replaceAll('/var/lib/fairlane', join(folder, 'state-2'))
      .replaceAll('/data', join(folder, 'redis-2'));
  for (const name of ['state-2', 'redis-2']) mkdirSync(join(folder, name), { mode: 0o700 });
  for (const line of tars) {
    await run('sh', ['-c', line.includes('-cf') ? here(line) : anew(line)], { cwd: folder });
  }
  const path = join(folder, 'config', 'fairlane.yaml');
  writeFileSync(path, readFileSync(path, 'utf8').replace(join(folder, 'state'), join(folder, 'state-2')));
  const [check = ''] = ownCommands.filter((one) => one.startsWith('ledger'));
  const told = runCli(here(check).split(' '), environment());
  expect([await told.exited, told.stderr()]).toEqual([0, '']);
  expect(told.stdout()).toMatch(/^OK: .*state-2.*: [1-9]\d* rows/m);
  redis = startRedis(anew);
  await eventually(
    () =>
      run('redis-cli', ['-p', String(port(3)), 'dbsize']).then(
        ({ stdout }) => stdout.trim(),
        () => '',
      ),
    (size) => /[1-9]/.test(size),
    10_000,
  );
}, 60_000);

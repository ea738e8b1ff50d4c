/**
 * A real vLLM on the CPU: a tiny model with random weights, in an environment of its own under the user's cache.
 * Linux on x86_64; the first start installs about 6 GB.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePorts } from '../../tests/support/ports.ts';

export interface RealEngine {
  /** `http://127.0.0.1:PORT`; the model is called `tiny`. */
  readonly url: string;
  readonly version: string;
  /** Ends every process of the engine; resolves when they are gone. */
  stop(): Promise<void>;
}

interface VllmOptions {
  /** Sequences that run at once; more of them wait, first come, first served. */
  readonly maxSequences: number;
  /** A free one where it is left out. */
  readonly port?: number;
  /** Further ones, and further environment variables. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly onProgress: (line: string) => void;
}

const VERSION = '0.32.0';
const UV = 'uv==0.13.8';
/** What the wheels in requirements.txt are made for: from the first to the second, the second not included. */
const PYTHON = [11, 15] as const;
const PYTHONS = ['python3', 'python3.11', 'python3.12', 'python3.13', 'python3.14'];

const PROBE_MS = 20_000;
const STEP_MS = 1_200_000;
const HEALTHY_MS = 240_000;
const HEALTH_MS = 2_000;
const POLL_MS = 250;
const TICK_MS = 15_000;
/** From the request to end until the end is no longer a request. */
const GRACE_MS = 10_000;
const LOG_LINES = 30;

const REQUIREMENTS = fileURLToPath(new URL('./requirements.txt', import.meta.url));
const MAKE_MODEL = fileURLToPath(new URL('./make-tiny-model.py', import.meta.url));
const run = promisify(execFile);

/** vLLM looks for itself under this name, which the CPU package does not have. */
const METADATA = `Metadata-Version: 2.1\nName: vllm\nVersion: ${VERSION}+cpu\n`;

interface Home {
  readonly environment: string;
  readonly model: string;
  /** Holds the digest of what the folder was made from; written last. */
  readonly complete: string;
}

function homeOf(env: NodeJS.ProcessEnv): Home & { readonly folder: string } {
  const base = env['XDG_CACHE_HOME'];
  const folder = join(
    base === undefined || base === '' ? join(homedir(), '.cache') : base,
    'fairlane',
    `vllm-${VERSION}`,
  );
  return {
    folder,
    environment: join(folder, 'environment'),
    model: join(folder, 'tiny'),
    complete: join(folder, 'complete'),
  };
}

const lastLines = (text: string, count: number): string =>
  text.trimEnd().split('\n').slice(-count).join('\n');

/** Says every now and then that a long step goes on. */
async function telling<T>(
  what: string,
  onProgress: (line: string) => void,
  work: () => Promise<T>,
): Promise<T> {
  const began = performance.now();
  const seconds = (): number => Math.round((performance.now() - began) / 1_000);
  onProgress(what);
  const tick = setInterval(() => onProgress(`${what}: ${seconds()} s so far`), TICK_MS);
  try {
    const result = await work();
    onProgress(`${what}: done in ${seconds()} s`);
    return result;
  } finally {
    clearInterval(tick);
  }
}

/** @throws naming every Python that was tried and why it will not do. */
async function findPython(): Promise<string> {
  const failed: string[] = [];
  for (const name of PYTHONS) {
    try {
      const script = 'import sys; print("%d.%d" % sys.version_info[:2]); import ensurepip, venv';
      const { stdout } = await run(name, ['-c', script], { timeout: PROBE_MS });
      const [major = 0, minor = 0] = stdout.trim().split('.').map(Number);
      if (major === 3 && minor >= PYTHON[0] && minor < PYTHON[1]) return name;
      failed.push(`${name} is ${major}.${minor}`);
    } catch (error) {
      const { code, stderr = '' } = error as { readonly code?: unknown; readonly stderr?: string };
      if (code === 'ENOENT') failed.push(`${name} is not on PATH`);
      else failed.push(`${name}: ${lastLines(stderr, 1) || String(error)}`);
    }
  }
  throw new Error(
    `vLLM ${VERSION} needs a Python from 3.${PYTHON[0]} to 3.${PYTHON[1] - 1} with the modules venv and ` +
      `ensurepip (on Debian: the package python3-venv) on PATH: ${failed.join('; ')}`,
  );
}

/** Nothing to do when the folder is complete and made from the same files; otherwise it is made from the start. */
async function prepare(onProgress: (line: string) => void): Promise<Home> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(
      `vLLM ${VERSION} is pinned for Linux on x86_64; this is ${process.platform} ${process.arch}`,
    );
  }
  const home = homeOf(process.env);
  const hash = createHash('sha256').update(METADATA);
  for (const path of [REQUIREMENTS, MAKE_MODEL]) hash.update(await readFile(path));
  const digest = hash.digest('hex');
  if ((await readFile(home.complete, 'utf8').catch(() => '')) === digest) return home;

  const step = async (what: string, command: string, args: readonly string[]): Promise<string> => {
    try {
      return (await run(command, args, { timeout: STEP_MS, maxBuffer: 2 ** 26, env: environmentOf() }))
        .stdout;
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { readonly stdout?: string; readonly stderr?: string };
      const said = lastLines(stderr.trim() === '' ? stdout : stderr, LOG_LINES) || String(error);
      throw new Error(`could not ${what}: ${said}`, { cause: error });
    }
  };
  const python = join(home.environment, 'bin', 'python');
  const base = await findPython();
  onProgress(`vLLM ${VERSION} goes to ${home.folder} (6 GB); remove the folder to be rid of it`);
  await rm(home.folder, { recursive: true, force: true });
  await mkdir(home.folder, { recursive: true });
  await telling('making a virtual environment', onProgress, async () => {
    await step('make a virtual environment', base, ['-m', 'venv', home.environment]);
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', UV];
    await step(`install ${UV}`, python, pip);
  });
  await telling(`installing vLLM ${VERSION}`, onProgress, async () => {
    const how = ['--quiet', '--no-cache', '--no-deps', '--no-build', '--python', python];
    const uv = join(home.environment, 'bin', 'uv');
    await step('install vLLM', uv, ['pip', 'install', ...how, '--requirement', REQUIREMENTS]);
    const where = 'import sysconfig; print(sysconfig.get_path("purelib"))';
    const packages = (await step('find its packages', python, ['-c', where])).trim();
    const information = join(packages, `vllm-${VERSION}+cpu.dist-info`);
    await mkdir(information, { recursive: true });
    await writeFile(join(information, 'METADATA'), METADATA);
  });
  await telling('making the tiny model', onProgress, () =>
    step('make the tiny model', python, [MAKE_MODEL, home.model]),
  );
  await writeFile(home.complete, digest);
  return home;
}

/** Ours, without what would let another Python's packages in. */
function environmentOf(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return { ...process.env, PYTHONPATH: undefined, PYTHONHOME: undefined, HF_HUB_OFFLINE: '1', ...more };
}

/** The living processes of a process group. */
async function membersOf(group: number): Promise<readonly number[]> {
  const members: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '');
    // `pid (name) state parent group …`; the name may have spaces and brackets.
    const [state = 'Z', , member] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (Number(member) === group && state !== 'Z' && state !== 'X') members.push(Number(name));
  }
  return members;
}

/** The first two CPUs that this process may use: `0-1,4` → [0, 1]. */
async function twoCores(): Promise<readonly [number, number] | undefined> {
  const status = await readFile('/proc/self/status', 'utf8');
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? '';
  const cores = list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return Array.from({ length: Math.min(2, last - first + 1) }, (_, index) => first + index);
  });
  const [model, server] = cores;
  return model === undefined || server === undefined ? undefined : [model, server];
}

function signal(target: number, name: NodeJS.Signals): void {
  try {
    process.kill(target, name);
  } catch {
    // Gone already.
  }
}

/**
 * Installs vLLM if it has to, starts it and waits until it is healthy. With two cores the model has the first and the
 * API server the second: where they share one, whole streams arrive in one read. A client is best on the second.
 *
 * @throws when it cannot be installed or does not become healthy in time; the message has the end of its log.
 */
export async function startVllm({
  maxSequences,
  port,
  flags: more = [],
  env = {},
  onProgress,
}: VllmOptions): Promise<RealEngine> {
  const home = await prepare(onProgress);
  const [free = 0] = port === undefined ? await freePorts(1) : [port];
  const url = `http://127.0.0.1:${free}`;
  const cores = await twoCores();
  const sockets = await mkdtemp(join(tmpdir(), 'fairlane-vllm-'));
  const flags =
    `--served-model-name tiny --host 127.0.0.1 --port ${free} --load-format dummy --dtype float32 --enforce-eager ` +
    `--max-model-len 2048 --max-num-seqs ${maxSequences} --scheduling-policy fcfs --uvicorn-log-level warning ` +
    '--enable-prompt-tokens-details --enable-request-id-headers';
  const engine = spawn(
    join(home.environment, 'bin', 'vllm'),
    ['serve', home.model, ...flags.split(' '), ...more],
    {
      // A process group of its own, so that all of it can be ended at once.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: environmentOf({
        VLLM_CPU_KVCACHE_SPACE: '1',
        VLLM_NO_USAGE_STATS: '1',
        // It leaves its sockets behind.
        TMPDIR: sockets,
        VLLM_CACHE_ROOT: join(home.environment, 'cache'),
        VLLM_CONFIG_ROOT: join(home.environment, 'config'),
        ...env,
        ...(cores === undefined ? {} : { VLLM_CPU_OMP_THREADS_BIND: String(cores[0]) }),
      }),
    },
  );
  const log: string[] = [];
  for (const input of [engine.stdout, engine.stderr]) {
    createInterface({ input }).on('line', (line) => {
      log.push(line);
      if (log.length > LOG_LINES) log.shift();
    });
  }
  await once(engine, 'spawn');
  const group = engine.pid;
  if (group === undefined) throw new Error('vLLM has no process id');

  // Outlives this process: its input ends when we do, however we do, and then the engine ends.
  const script =
    'read -r _; kill -TERM "-$0"; for _ in $(seq "$2"); do kill -0 "-$0" || break; sleep 1; done; ' +
    'kill -KILL "-$0"; rm -rf "$1"';
  const guard = spawn('sh', ['-c', script, String(group), sockets, String(GRACE_MS / 1_000)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });

  let running = false;
  let stopping: Promise<void> | undefined;
  const end = async (): Promise<void> => {
    signal(-group, 'SIGTERM');
    const until = performance.now() + GRACE_MS;
    while ((await membersOf(group)).length > 0) {
      if (performance.now() > until) signal(-group, 'SIGKILL');
      await delay(POLL_MS);
    }
    guard.kill('SIGKILL');
    await rm(sockets, { recursive: true, force: true });
  };
  const stop = (): Promise<void> => (stopping ??= end());
  const failure = (what: string): Error =>
    new Error(`vLLM ${what}; the end of its log:\n${log.map((line) => `  ${line}`).join('\n')}`);
  const ended = (): string | undefined =>
    engine.exitCode === null && engine.signalCode === null
      ? undefined
      : `ended with ${engine.exitCode ?? engine.signalCode}`;
  engine.once('close', () => {
    if (running && stopping === undefined) onProgress(failure(ended() ?? 'ended').message);
  });
  const get = (path: string): Promise<Response> =>
    fetch(`${url}${path}`, { signal: AbortSignal.timeout(HEALTH_MS) });

  const untilHealthy = async (): Promise<void> => {
    const until = performance.now() + HEALTHY_MS;
    while (
      !(await get('/health').then(
        ({ status }) => status === 200,
        () => false,
      ))
    ) {
      const reason = ended();
      if (reason !== undefined) throw failure(reason);
      if (performance.now() > until) throw failure(`was not healthy after ${HEALTHY_MS / 1_000} s`);
      await delay(POLL_MS);
    }
  };
  /** The API server leads the group; the rest of it runs the model. */
  const pin = async ([model, server]: readonly [number, number]): Promise<void> => {
    for (const member of await membersOf(group)) {
      const core = String(member === group ? server : model);
      await run('taskset', ['--all-tasks', '--cpu-list', '--pid', core, String(member)]);
    }
    onProgress(`the model has core ${model}, the API server core ${server}`);
  };

  try {
    await telling(`starting vLLM ${VERSION} at ${url}`, onProgress, untilHealthy);
    if (cores === undefined) onProgress('one core: the model and the API server share it');
    else await pin(cores).catch((error: unknown) => onProgress(`not pinned to cores: ${String(error)}`));
    const { version } = (await (await get('/version')).json()) as { readonly version: string };
    running = true;
    return { url, version, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

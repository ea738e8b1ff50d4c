import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import type { AdminAddress, Config, HostPort } from '../config/config.ts';
import { QUICKSTART_CONFIG, QUICKSTART_ENGINE_VARIABLE } from '../config/quickstart.ts';
import { bootstrapOf } from '../envoy/bootstrap.ts';
import { type RunningEnvoy, startEnvoy } from '../envoy/process-envoy.ts';
import { findEnvoy } from '../envoy/process-find-envoy.ts';
import { type RunningSimulator, startSimulatorProcess } from '../simulator/process-simulator.ts';
import { loadOrThrow, type RunningService, runService, stopSignal } from './running.ts';
import { print, printError } from './terminal.ts';

const DEMO_TENANTS = ['quiet', 'noisy'];
const DEMO_PORT_TRIES = 50;

const urlOf = ({ host, port }: HostPort): string => {
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
};
const adminOf = (address: AdminAddress): string =>
  'path' in address ? `unix:${address.path}` : urlOf(address);
const say = (text: string): void => printError(`fairlane: ${text}`);

/** The address, or the same with the next port that is free: the demo gives way to whatever runs already. */
async function freeAddress(address: HostPort, taken: ReadonlySet<number>): Promise<HostPort> {
  for (let port = address.port; port < address.port + DEMO_PORT_TRIES; port += 1) {
    if (taken.has(port)) continue;
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once('error', () => resolve(false));
      server.listen(port, address.host, () => server.close(() => resolve(true)));
    });
    if (free) return { ...address, port };
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
  return {
    ...config,
    listen: await next(config.listen),
    envoy: {
      ...config.envoy,
      ...(!('path' in config.envoy.admin) && { admin: await next(config.envoy.admin) }),
    },
    service: { ...config.service, metrics: await next(config.service.metrics) },
  };
}

function banner(config: Config, metricsPort: number, demo: boolean): string {
  const api = urlOf(config.listen);
  const lines = [
    '',
    'Fairlane is up.',
    `  API      ${api}/v1`,
    `  admin    ${adminOf(config.envoy.admin)}`,
    `  metrics  ${urlOf({ ...config.service.metrics, port: metricsPort })}/metrics`,
    '',
  ];
  if (demo) {
    lines.push('Try it as one of the demo tenants:');
    for (const name of DEMO_TENANTS) {
      const key = config.tenants.get(name)?.keys[0] ?? '';
      lines.push(
        '',
        `curl ${api}/v1/chat/completions -H 'authorization: Bearer ${key}' -H 'content-type: application/json' -d '{"model":"demo","messages":[{"role":"user","content":"Hello from ${name}"}],"max_tokens":32}'`,
      );
    }
    lines.push('');
  }
  lines.push('Ctrl-C drains and stops.', '');
  return lines.join('\n');
}

/** `fairlane start`: Envoy, the service and, without a configuration, the engine simulator. */
export function startCommand(): Command {
  return new Command('start')
    .description(
      'Run Envoy and the service together; without --config also an engine simulator to try them on.',
    )
    .option('-c, --config <file>', 'configuration (YAML); default: a demo with the tenants quiet and noisy')
    .option('--envoy-concurrency <threads>', "Envoy's worker threads (default: one per core)", Number)
    .action(async (options: { config?: string; envoyConcurrency?: number }) => {
      const demo = options.config === undefined;
      const path = options.config ?? fileURLToPath(QUICKSTART_CONFIG);
      const env = { ...process.env };
      let simulator: RunningSimulator | undefined;
      let running: RunningService | undefined;
      let envoy: RunningEnvoy | undefined;
      /** Of the demo: its own, so that two of them do not share a socket. */
      let directory: string | undefined;

      const killAll = (): void => {
        envoy?.kill();
        simulator?.kill();
        if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
      };
      const stopped = stopSignal(() => {
        killAll();
        process.exit(130);
      });

      try {
        if (demo) {
          simulator = await startSimulatorProcess({ profile: 'quickstart', model: 'demo' });
          env[QUICKSTART_ENGINE_VARIABLE] = simulator.url;
          directory = mkdtempSync(join(tmpdir(), 'fairlane-'));
          env['XDG_RUNTIME_DIR'] = directory;
        }
        const loaded = loadOrThrow(path, env);
        if (loaded.config.picker !== undefined) {
          throw new Error('mode: endpoint-picker is for a gateway that runs already; use `fairlane serve`');
        }
        const config = demo ? await onFreePorts(loaded.config) : loaded.config;
        const binary = await findEnvoy({ env: process.env, onProgress: say });
        say(binary.description);
        running = await runService(path, { ...loaded, config }, env);
        envoy = await startEnvoy({
          envoy: binary,
          bootstrap: bootstrapOf(config),
          directory: config.envoy.directory,
          admin: config.envoy.admin,
          ...(options.envoyConcurrency !== undefined && { concurrency: options.envoyConcurrency }),
          onLog: (line) => printError(line),
        });
        print(banner(config, running.service.metricsPort, demo));

        const died = await Promise.race([
          stopped.then(() => undefined),
          envoy.exited.then(({ code, signal }) => `Envoy ended by itself (${signal ?? `exit code ${code}`})`),
          ...(simulator === undefined ? [] : [simulator.exited.then(() => 'the simulator ended by itself')]),
        ]);
        if (died !== undefined) throw new Error(died);

        say('draining; Ctrl-C again stops at once');
        running.stopWatching();
        await envoy.drainListeners();
        await running.service.idle();
        // The service first: Envoy goes on without it, while its own streams would be torn by Envoy's end.
        await running.service.drain();
        await envoy.stop(1_000);
        await simulator?.stop();
        say('stopped');
      } finally {
        killAll();
      }
      process.exit(0);
    });
}

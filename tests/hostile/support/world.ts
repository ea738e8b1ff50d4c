/**
 * What a hostile tenant meets: recording engines, one service as a process of its own, and two Envoys in front of it, one that
 * fails open and one that fails closed. The service can be stopped (it hangs) and killed.
 */
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { loadConfig } from '../../../src/config/fs-config.ts';
import { bootstrapOf } from '../../../src/envoy/bootstrap.ts';
import { type RunningEnvoy, startEnvoy } from '../../../src/envoy/process-envoy.ts';
import { envoyForTests } from '../../support/envoy.ts';
import { eventually } from '../../support/eventually.ts';
import { freePorts } from '../../support/ports.ts';
import { type CliProcess, runCli } from '../../support/serve.ts';
import type { Draft } from '../../support/stack.ts';
import { type RecordingEngine, startRecordingEngine } from './recording-engine.ts';

export type FailureMode = 'open' | 'closed';

/** Keys by tenant. None of them is in a log, an answer or an engine's request. */
export const KEY = {
  /** May use demo and embedder, which are in the pool `main`. */
  attacker: 'key-of-the-attacker',
  /** May use every model. */
  victim: 'key-of-the-victim',
  /** Someone else with the same models, who has never asked. */
  newcomer: 'key-of-the-newcomer',
  /** At most 2,000 tokens a request. */
  short: 'key-of-the-short-one',
  /** A bucket of ten million tokens that fills by ten a second: what is charged can be read from it. */
  metered: 'key-of-the-metered-one',
  /** Another of these. */
  watched: 'key-of-the-watched-one',
  /** Four requests at once, eight more wait. */
  narrow: 'key-of-the-narrow-one',
  /** One request at a time, a hundred wait. */
  single: 'key-of-the-single-one',
} as const;
export type Tenant = keyof typeof KEY;

export interface World {
  readonly engine: RecordingEngine;
  readonly envoys: Readonly<Record<FailureMode, RunningEnvoy>>;
  readonly apiPort: Readonly<Record<FailureMode, number>>;
  readonly adminPort: Readonly<Record<FailureMode, number>>;
  readonly metricsPort: number;
  readonly directory: string;
  readonly configPath: string;
  service(): CliProcess;
  /** Everything that the service has written so far. */
  log(): string;
  pause(): void;
  resume(): void;
  kill(): Promise<void>;
  revive(): Promise<void>;
  /** The configuration with a change is taken over by the running service. */
  reconfigure(change: (config: Draft) => void): Promise<void>;
  /** An Envoy that has ended is started anew. */
  restartEnvoy(mode: FailureMode): Promise<void>;
  close(): Promise<void>;
}

export interface WorldOptions {
  /** How many endpoints the pool `main` has. */
  readonly endpoints?: number;
  readonly change?: (config: Draft) => void;
}

const MODES: readonly FailureMode[] = ['open', 'closed'];
/** Of an Envoy that is in no configuration of the product: somebody's own cluster beside ours. */
export const FOREIGN_CLUSTER = 'foreign';

const bucket = { tokensPerMinute: 600, tokenBurst: 10_000_000 };

function draftOf(
  engine: RecordingEngine,
  directory: string,
  endpoints: readonly string[],
  ports: { readonly api: number; readonly admin: number; readonly metrics: number },
  mode: FailureMode,
): Draft {
  const health = { interval: '200ms', timeout: '2s', slowStart: '500ms' };
  const own = ['demo', 'embedder'];
  return {
    listen: `127.0.0.1:${ports.api}`,
    envoy: {
      admin: `127.0.0.1:${ports.admin}`,
      directory,
      failureMode: mode,
      fallbackPool: 'main',
      maxBodySize: '8MiB',
    },
    service: { metrics: `127.0.0.1:${ports.metrics}`, drainTimeout: '1s' },
    queue: { maxWait: '10s' },
    pools: {
      main: { endpoints: endpoints.map((name) => engine.url(name)), concurrencyLimit: 64, health },
      private: { endpoints: [engine.url('private')], concurrencyLimit: 64, health },
    },
    models: { demo: { pool: 'main' }, embedder: { pool: 'main' }, secret: { pool: 'private' } },
    tenants: {
      attacker: { keys: [KEY.attacker], models: own, limits: { maxConcurrent: 16, maxQueued: 50 } },
      victim: { keys: [KEY.victim] },
      newcomer: { keys: [KEY.newcomer], models: own, limits: { ...bucket } },
      short: { keys: [KEY.short], models: own, limits: { maxContext: 2_000 } },
      metered: { keys: [KEY.metered], models: own, limits: { ...bucket } },
      watched: { keys: [KEY.watched], models: own, limits: { ...bucket } },
      narrow: { keys: [KEY.narrow], models: own, limits: { maxConcurrent: 4, maxQueued: 8 } },
      single: { keys: [KEY.single], models: own, limits: { maxConcurrent: 1, maxQueued: 100 } },
    },
  };
}

function load(path: string) {
  const loaded = loadConfig(path, process.env);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  return loaded.config;
}

const count = (text: string, part: string): number => text.split(part).length - 1;

export async function startWorld({
  endpoints = 1,
  change = () => undefined,
}: WorldOptions = {}): Promise<World> {
  const mains = Array.from({ length: endpoints }, (_, i) => (i === 0 ? 'main' : `main-${i + 1}`));
  const engine = await startRecordingEngine([...mains, 'private', 'foreign']);
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-hostile-'));
  const [openApi = 0, closedApi = 0, openAdmin = 0, closedAdmin = 0, metricsPort = 0] = await freePorts(5);
  const apiPort = { open: openApi, closed: closedApi };
  const adminPort = { open: openAdmin, closed: closedAdmin };

  const write = (mode: FailureMode, more: (config: Draft) => void): string => {
    const ports = { api: apiPort[mode], admin: adminPort[mode], metrics: metricsPort };
    const draft = draftOf(engine, directory, mains, ports, mode);
    change(draft);
    more(draft);
    const path = join(directory, `${mode}.yaml`);
    writeFileSync(`${path}.new`, stringify(draft));
    renameSync(`${path}.new`, path);
    return path;
  };
  const paths = {
    open: write('open', () => undefined),
    closed: write('closed', () => undefined),
  };
  let service = runCli(['serve', '--config', paths.open]);
  /** Of services that are gone. */
  let earlier = '';
  const log = (): string => earlier + service.stdout() + service.stderr();
  await service.until('serving ext_proc');

  const startOne = async (mode: FailureMode): Promise<RunningEnvoy> => {
    const config = load(paths[mode]);
    mkdirSync(join(directory, `envoy-${mode}`), { recursive: true, mode: 0o700 });
    const bootstrap = JSON.parse(JSON.stringify(bootstrapOf(config))) as Draft;
    bootstrap['static_resources'].clusters.push({
      name: FOREIGN_CLUSTER,
      type: 'STATIC',
      connect_timeout: '1s',
      load_assignment: {
        cluster_name: FOREIGN_CLUSTER,
        endpoints: [
          {
            lb_endpoints: [
              {
                endpoint: {
                  address: {
                    socket_address: { address: '127.0.0.1', port_value: engine.ports.get('foreign') ?? 0 },
                  },
                },
              },
            ],
          },
        ],
      },
    });
    return startEnvoy({
      envoy: await envoyForTests(),
      bootstrap,
      // Its own: an Envoy's listeners are in a file there.
      directory: join(directory, `envoy-${mode}`),
      admin: config.envoy.admin,
      concurrency: 1,
      onLog: (line) => {
        if (process.env['FAIRLANE_TEST_VERBOSE'] !== undefined) console.error(line);
      },
    });
  };
  const envoys = { open: await startOne('open'), closed: await startOne('closed') };

  const serve = async (): Promise<void> => {
    earlier = log();
    service = runCli(['serve', '--config', paths.open]);
    await service.until('serving ext_proc');
  };

  return {
    engine,
    envoys,
    apiPort,
    adminPort,
    metricsPort,
    directory,
    configPath: paths.open,
    service: () => service,
    log,
    pause() {
      service.child.kill('SIGSTOP');
    },
    resume() {
      service.child.kill('SIGCONT');
    },
    async kill() {
      service.child.kill('SIGKILL');
      await service.exited;
    },
    revive: serve,
    async reconfigure(more) {
      const told = '"message":"config-reloaded"';
      const before = count(service.stdout(), told);
      write('open', more);
      await eventually(
        () => count(service.stdout(), told),
        (now) => now > before,
        20_000,
      );
    },
    async restartEnvoy(mode) {
      envoys[mode].kill();
      await envoys[mode].exited;
      envoys[mode] = await startOne(mode);
    },
    async close() {
      service.child.kill('SIGCONT');
      service.child.kill('SIGTERM');
      await service.exited;
      await Promise.all(MODES.map((mode) => envoys[mode].stop(500)));
      await engine.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

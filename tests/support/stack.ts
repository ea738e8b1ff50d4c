/** The whole: engines, a real Envoy and the service, each as its users run it, on free ports and in its own folder. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { Config } from '../../src/config/config.ts';
import { loadConfig } from '../../src/config/fs-config.ts';
import { bootstrapOf } from '../../src/envoy/bootstrap.ts';
import { type RunningEnvoy, startEnvoy } from '../../src/envoy/process-envoy.ts';
import { type Service, startService } from '../../src/service/service.ts';
import { createLog } from '../../src/telemetry/pino-log.ts';
import type { UsageRecord } from '../../src/usage/usage-record.ts';
import { chatBody, send } from './client.ts';
import { envoyForTests } from './envoy.ts';
import { eventually } from './eventually.ts';
import { freePorts } from './ports.ts';
import { type Labels, scraped, sumIn } from './scraped.ts';

interface LogLine extends Partial<UsageRecord> {
  readonly message: string;
}

export interface Stack {
  /** Base URL of the API, without /v1. */
  readonly url: string;
  readonly adminUrl: string;
  readonly metricsUrl: string;
  readonly config: Config;
  readonly configPath: string;
  readonly service: () => Service;
  readonly envoy: RunningEnvoy;
  /** Everything the service has logged, as text: nothing secret may be in it. */
  readonly logText: () => string;
  readonly records: () => readonly LogLine[];
  /** The first record that fits, waited for. */
  record(fits: (line: LogLine) => boolean): Promise<LogLine>;
  /** The sum of a metric's series whose labels contain all of these. */
  metric(name: string, labels?: Labels): Promise<number>;
  restartService(): Promise<void>;
  close(): Promise<void>;
}

/** A configuration being written. */
// oxlint-disable-next-line no-explicit-any -- the schema checks it as soon as it is read
export type Draft = Record<string, any>;

export const KEYS = { quiet: 'key-of-the-quiet-one', noisy: 'key-of-the-noisy-one' } as const;

/** YAML of a configuration for tests: `change` edits the plain object before it is written. */
export function configYaml(
  engines: readonly string[],
  ports: { readonly api: number; readonly admin: number; readonly metrics: number },
  directory: string,
  change: (config: Draft) => void = () => undefined,
): string {
  const config: Draft = {
    listen: `127.0.0.1:${ports.api}`,
    envoy: { admin: `127.0.0.1:${ports.admin}`, directory },
    service: { metrics: `127.0.0.1:${ports.metrics}`, drainTimeout: '2s' },
    queue: { maxWait: '5s' },
    pools: {
      main: {
        endpoints: [...engines],
        concurrencyLimit: 8,
        // Engines are mostly in the test's own process: one that is busy is not ill.
        health: { interval: '200ms', timeout: '5s', slowStart: '500ms' },
      },
    },
    models: { demo: { pool: 'main' }, embedder: { pool: 'main' } },
    tenants: {
      quiet: { keys: [KEYS.quiet] },
      noisy: { keys: [KEYS.noisy] },
    },
  };
  change(config);
  return stringify(config);
}

const BUILD = { version: '0.0.0', commit: '0123456' };

/** Waits until a request is answered: Envoy has its clusters, and the engine's models are known. */
export const untilServed = (url: string, key: string = KEYS.quiet): Promise<unknown> =>
  eventually(
    async () => (await send(url, { key, body: chatBody() })).status,
    (status) => status === 200,
    20_000,
  );

export interface StackOptions {
  readonly engines: readonly string[];
  readonly change?: (config: Draft) => void;
  /** The service is not started: what Envoy does alone. */
  readonly withoutService?: boolean;
}

export async function startStack(options: StackOptions): Promise<Stack> {
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-test-'));
  const [api = 0, admin = 0, metrics = 0] = await freePorts(3);
  const configPath = join(directory, 'fairlane.yaml');
  writeFileSync(configPath, configYaml(options.engines, { api, admin, metrics }, directory, options.change));
  const loaded = loadConfig(configPath, process.env);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  const { config } = loaded;

  let logText = '';
  const records: LogLine[] = [];
  const destination = {
    write(line: string) {
      logText += line;
      const entry = JSON.parse(line) as LogLine;
      if (entry.message === 'request') records.push(entry);
    },
  };
  const serve = (): Promise<Service> =>
    startService(config, createLog('debug', destination), undefined, BUILD);
  let service = await serve();
  const envoy = await startEnvoy({
    envoy: await envoyForTests(),
    bootstrap: bootstrapOf(config),
    directory,
    admin: config.envoy.admin,
    concurrency: 1,
    onLog: (line) => {
      if (process.env['FAIRLANE_TEST_VERBOSE'] !== undefined) console.error(line);
    },
  });

  return {
    url: `http://127.0.0.1:${api}`,
    adminUrl: `http://127.0.0.1:${admin}`,
    metricsUrl: `http://127.0.0.1:${metrics}`,
    config,
    configPath,
    service: () => service,
    envoy,
    logText: () => logText,
    records: () => records,
    record: async (fits) => {
      const found = await eventually(
        () => records.find(fits),
        (line) => line !== undefined,
      );
      return found as LogLine;
    },
    async metric(name, labels = {}) {
      return sumIn(await scraped(`http://127.0.0.1:${metrics}`), name, labels);
    },
    async restartService() {
      await service.drain();
      service = await serve();
    },
    async close() {
      await service.drain();
      await envoy.stop(500);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

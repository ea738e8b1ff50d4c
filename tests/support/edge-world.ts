/** Two pools with a recording engine each, a real Envoy, and the service as a process that can be stopped and killed. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../../src/config/fs-config.ts';
import { bootstrapOf } from '../../src/envoy/bootstrap.ts';
import { startEnvoy } from '../../src/envoy/process-envoy.ts';
import { send } from './client.ts';
import { envoyForTests } from './envoy.ts';
import { eventually } from './eventually.ts';
import { freePorts } from './ports.ts';
import { type RecordingEngine, startRecordingEngine } from './recording-engine.ts';
import { type CliProcess, runCli } from './serve.ts';
import { configYaml, type Draft, KEYS } from './stack.ts';

export type FailureMode = 'open' | 'closed';
/** `stopped` hangs: nothing is answered, nothing is closed. */
export type ServiceState = 'up' | 'stopped' | 'dead';

export interface EdgeWorld {
  readonly port: number;
  readonly adminPort: number;
  readonly url: string;
  /** Of the pool that the tenants may use, and of one that nobody's models are in. */
  readonly engine: RecordingEngine;
  readonly other: RecordingEngine;
  readonly directory: string;
  become(state: ServiceState): Promise<void>;
  /** What the service that runs has said. */
  log(): string;
  close(): Promise<void>;
}

export async function startEdgeWorld(
  failureMode: FailureMode,
  change: (config: Draft) => void = () => undefined,
): Promise<EdgeWorld> {
  const [engine, other] = await Promise.all([
    startRecordingEngine(['demo']),
    startRecordingEngine(['secret']),
  ]);
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-test-'));
  const [api = 0, admin = 0, metrics = 0] = await freePorts(3);
  const path = join(directory, 'fairlane.yaml');
  const yaml = configYaml([engine.url], { api, admin, metrics }, directory, (config) => {
    config['envoy']['failureMode'] = failureMode;
    config['envoy']['fallbackPool'] = 'main';
    // Uploads without a length count as the largest body: many of them come at once here.
    config['envoy']['maxBodySize'] = '1MiB';
    config['pools']['other'] = { endpoints: [other.url], concurrencyLimit: 8 };
    config['models'] = { demo: { pool: 'main' }, secret: { pool: 'other' } };
    config['tenants'] = {
      quiet: { keys: [KEYS.quiet], models: ['demo'] },
      noisy: { keys: [KEYS.noisy] },
    };
    change(config);
  });
  writeFileSync(path, yaml);
  const loaded = loadConfig(path, process.env);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  const { config } = loaded;
  const serve = async (): Promise<CliProcess> => {
    const started = runCli(['serve', '--config', path]);
    await started.until('serving ext_proc');
    return started;
  };
  let service: CliProcess | undefined = await serve();
  let state: ServiceState = 'up';
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
  const url = `http://127.0.0.1:${api}`;
  const isServing = () =>
    eventually(
      () => send(url, { key: KEYS.quiet, method: 'GET', path: '/v1/models' }),
      ({ status }) => status === 200,
      10_000,
    );
  await isServing();

  return {
    port: api,
    adminPort: admin,
    url,
    engine,
    other,
    directory,
    async become(next) {
      if (next === state) return;
      if (state === 'stopped') service?.child.kill('SIGCONT');
      if (next === 'stopped' && state === 'up') service?.child.kill('SIGSTOP');
      else if (next === 'dead') {
        service?.child.kill('SIGKILL');
        await service?.exited;
        service = undefined;
      } else {
        service ??= await serve();
        await isServing();
        if (next === 'stopped') service.child.kill('SIGSTOP');
      }
      state = next;
    },
    log: () => service?.stdout() ?? '',
    async close() {
      service?.child.kill('SIGKILL');
      await service?.exited;
      await envoy.stop(500);
      await Promise.all([engine.close(), other.close()]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

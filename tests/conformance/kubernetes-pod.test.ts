/** The pods of the Helm chart: their configuration as Fairlane reads it, and a gateway's commands as processes. */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { credentials, loadPackageDefinition, type ServiceClientConstructor } from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import {
  configOf,
  containerOf,
  KEYS,
  layOut,
  patched,
  podOf,
  renderedBy,
  SHAPES,
  theOne,
} from '../support/chart.ts';
import { envoyForTests } from '../support/envoy.ts';
import { eventually } from '../support/eventually.ts';
import { helmForTests } from '../support/helm.ts';
import { type Container, type Pod, seenBy, writeAsKubelet } from '../support/pod.ts';
import { freePorts } from '../support/ports.ts';
import { type CliProcess, fairlaneProgram, runCli } from '../support/serve.ts';

const run = promisify(execFile);
const FIRST_INSTALL_MS = 1_200_000;

let rendered: ReturnType<typeof renderedBy>;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-pod-'));
  rendered = renderedBy(helmForTests());
}, FIRST_INSTALL_MS);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The command of the container that prepares, with the program of the tests. */
async function prepared(container: Container, root: string): Promise<void> {
  const here = seenBy(container, root);
  const program = ['node', ...fairlaneProgram()].join(' ');
  const [shell = '', ...rest] = [...container.command, ...container.args].map((arg) =>
    here(arg)
      .replaceAll('node dist/cli/index.js', program)
      // What Envoy has as /tmp, which it names here.
      .replaceAll('/fairlane-tmp/envoy', '/fairlane-tmp-envoy/envoy'),
  );
  await run(shell, rest);
}

describe('the configuration', () => {
  it.each(SHAPES)('of %s passes check-config, without a warning', async (shape) => {
    const objects = rendered(shape);
    const root = mkdtempSync(join(folder, `${shape}-`));
    const path = layOut(containerOf(podOf(shape, objects), 'fairlane'), root, {
      'fairlane.yaml': configOf(objects),
    });
    const check = runCli(['check-config', path]);
    expect([await check.exited, check.stderr()]).toEqual([0, '']);
    expect(check.stdout()).toMatch(/^OK: 2 tenants, 1 pool with 1 endpoint/);
  });

  it('a configuration that is not one is refused by Fairlane, before a container serves', async () => {
    const root = mkdtempSync(join(folder, 'wrong-'));
    const objects = rendered('gateway', '--set', 'config.tennants=1');
    const prepare = containerOf(podOf('gateway', objects), 'fairlane-prepare');
    layOut(prepare, root, { ...theOne(objects, 'ConfigMap').data });
    mkdirSync(seenBy(prepare, root)('/run/prepared'));
    await expect(prepared(prepare, root)).rejects.toThrow(
      'tennants: unknown setting; did you mean "tenants"?',
    );
  });
});

/** What a service of gRPC's health protocol answers, as the kubelet asks it. */
async function healthOf(port: number, service: string): Promise<unknown> {
  const definition = loadPackageDefinition(
    protoLoader.loadSync('grpc/health/v1/health.proto', { includeDirs: ['proto'], enums: String }),
  ) as unknown as { grpc: { health: { v1: { Health: ServiceClientConstructor } } } };
  const client = new definition.grpc.health.v1.Health(`127.0.0.1:${port}`, credentials.createInsecure());
  const reply = await new Promise((resolve, reject) => {
    client['check']?.({ service }, (error: Error | null, answer: { status: unknown }) => {
      if (error === null) resolve(answer.status);
      else reject(error);
    });
  });
  client.close();
  return reply;
}

it('the pod of an endpoint picker serves by the services that are probed', async () => {
  const root = mkdtempSync(join(folder, 'picker-'));
  const [port = 0, metrics = 0] = await freePorts(2);
  const objects = rendered('endpoint-picker');
  const fairlane = containerOf(podOf('endpoint-picker', objects), 'fairlane');
  const text = configOf(objects)
    .replace('0.0.0.0:9002', `127.0.0.1:${port}`)
    .replace('0.0.0.0:9464', `127.0.0.1:${metrics}`);
  layOut(fairlane, root, { 'fairlane.yaml': text });
  const service = runCli(fairlane.args.map(seenBy(fairlane, root)), {
    ...process.env,
    STATE_DIRECTORY: join(root, 'state'),
  });
  try {
    await service.until('serving ext_proc');
    const asked = z.looseObject({ grpc: z.strictObject({ port: z.literal(9002), service: z.string() }) });
    for (const probe of [fairlane.startupProbe, fairlane.livenessProbe, fairlane.readinessProbe]) {
      expect(await healthOf(port, asked.parse(probe).grpc.service)).toBe('SERVING');
    }
    expect(asked.parse(fairlane.readinessProbe).grpc.service).toBe('readiness');
    service.child.kill('SIGTERM');
    expect(await service.exited).toBe(0);
  } finally {
    service.child.kill('SIGKILL');
  }
});

it('the engine beside a sidecar is held until Envoy has ended', async () => {
  const lifecycle = z.looseObject({
    preStop: z.looseObject({ exec: z.looseObject({ command: z.array(z.string()) }) }),
  });
  const { spec } = patched(rendered('sidecar'));
  const { containers } = z
    .looseObject({
      template: z.looseObject({
        spec: z.looseObject({ containers: z.array(z.looseObject({ name: z.string() })) }),
      }),
    })
    .parse(spec).template.spec;
  const engine = containers.find(({ name }) => name === 'vllm');
  const [shell = '', ...args] = lifecycle.parse(engine?.['lifecycle']).preStop.exec.command;
  const [port = 0] = await freePorts(1);
  const admin = createServer((socket) => socket.destroy()).listen(port, '127.0.0.1');
  await once(admin, 'listening');
  const held = spawn(
    shell,
    args.map((arg) => arg.replace('/9901', `/${port}`)),
    { stdio: 'ignore' },
  );
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  expect(held.exitCode).toBeNull();
  const [[code]] = await Promise.all([once(held, 'exit'), promisify(admin.close.bind(admin))()]);
  expect(code).toBe(0);
});

describe('the pod of a gateway, as processes', () => {
  let root: string;
  let ports: readonly number[];
  let engine: Awaited<ReturnType<typeof startSimulator>>;
  let service: CliProcess;
  let envoy: ChildProcess;
  let ended: Promise<number | null>;
  let pod: Pod;

  const ask = (key: string): Promise<number> =>
    fetch(`http://127.0.0.1:${ports[0]}/v1/models`, { headers: { authorization: `Bearer ${key}` } }).then(
      ({ status }) => status,
      () => 0,
    );

  beforeAll(async () => {
    root = mkdtempSync(join(folder, 'pod-'));
    ports = await freePorts(3);
    engine = await startSimulator({ profile: parseProfile('test', {}), models: ['demo'] });
    const values = ['--set', `replicas=1,config.redis=null,config.pools.main.endpoints[0]=${engine.url}`];
    const objects = rendered('gateway', ...values);
    pod = podOf('gateway', objects);
    const data = theOne(objects, 'ConfigMap').data ?? {};
    const text = (data['fairlane.yaml'] ?? '')
      .replace('0.0.0.0:8080', `127.0.0.1:${ports[0]}`)
      .replace('127.0.0.1:9901', `127.0.0.1:${ports[1]}`)
      .replace('0.0.0.0:9464', `127.0.0.1:${ports[2]}`);
    const fairlane = containerOf(pod, 'fairlane');
    // Below another folder than it is mounted on in the pod, so nobody else may write to this one.
    for (const { name } of pod.volumes) mkdirSync(join(root, name), { mode: 0o700 });
    layOut(fairlane, root, { ...data, 'fairlane.yaml': text });
    await prepared(containerOf(pod, 'fairlane-prepare'), root);
    const environment = {
      ...process.env,
      STATE_DIRECTORY: seenBy(fairlane, root)('/var/lib/fairlane/state'),
    };
    service = runCli(fairlane.args.map(seenBy(fairlane, root)), environment);
    await service.until('serving ext_proc');
    const container = containerOf(pod, 'fairlane-envoy');
    const here = seenBy(container, root);
    mkdirSync(join(root, 'bin'));
    symlinkSync((await envoyForTests()).command[0] ?? '', join(root, 'bin', 'envoy'));
    const [shell = '', ...args] = container.command.map(here);
    envoy = spawn(shell, args, {
      stdio: 'inherit',
      env: {
        ...process.env,
        PATH: `${join(root, 'bin')}:${process.env['PATH'] ?? ''}`,
        ENVOY_LISTENERS: here('/tmp/envoy'),
        ENVOY_ADMIN_PORT: String(ports[1]),
        DRAIN_SECONDS: '10',
      },
    });
    ended = new Promise((resolve) => envoy.once('exit', resolve));
  }, 120_000);

  afterAll(async () => {
    envoy.kill('SIGKILL');
    service.child.kill('SIGKILL');
    await engine.close();
  });

  it('has folders for their owner alone, and a bootstrap that Envoy takes', async () => {
    for (const name of ['fairlane', 'envoy']) {
      expect(statSync(join(root, 'fairlane-run', name)).mode & 0o777).toBe(0o700);
    }
    const bootstrap = join(root, 'fairlane-run', 'envoy', 'envoy.yaml');
    await run(join(root, 'bin', 'envoy'), ['--mode', 'validate', '--config-path', bootstrap]);
  });

  it('serves a tenant by its key, and takes over a Secret that the kubelet swaps', async () => {
    await eventually(
      () => ask(KEYS.alice),
      (status) => status === 200,
      30_000,
    );
    expect(await ask('a-key-of-nobody')).toBe(401);
    const keys = seenBy(containerOf(pod, 'fairlane'), root)('/etc/fairlane/keys');
    writeAsKubelet(keys, { ...KEYS, alice: 'a-new-key-of-alice' });
    await eventually(
      () => ask('a-new-key-of-alice'),
      (status) => status === 200,
      30_000,
    );
    expect(await ask(KEYS.alice)).toBe(401);
  });

  it('is live by its own probe, and ends in order: Envoy, then Fairlane', async () => {
    const probe = z
      .looseObject({ exec: z.looseObject({ command: z.array(z.string()) }) })
      .parse(containerOf(pod, 'fairlane-envoy').livenessProbe);
    const [shell = '', ...args] = probe.exec.command.map((arg) => arg.replace('/9901', `/${ports[1]}`));
    const isLive = () => spawnSync(shell, args).status === 0;
    expect(isLive()).toBe(true);
    envoy.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(isLive()).toBe(false);
    service.child.kill('SIGTERM');
    expect(await service.exited).toBe(0);
  });
});

/** The commands of packaging/systemd as processes, in systemd's order: both start, and Envoy drains before Fairlane stops. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { askStream, expectDrain } from '../support/drain.ts';
import { envoyForTests } from '../support/envoy.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { fairlaneProgram } from '../support/serve.ts';

const run = promisify(execFile);
const READY_MS = 60_000;
const KEY = 'key-of-alice-here';

/** Settings of a unit, in the order in which they are written. */
function settings(unit: string, name: string): readonly string[] {
  const text = readFileSync(join('packaging/systemd', unit), 'utf8');
  return [...text.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value = '']) => here(value));
}

interface Unit {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
}

let folder: string;
let api: number;
let admin: number;
let engine: Awaited<ReturnType<typeof startSimulator>>;
let env: NodeJS.ProcessEnv;
let fairlane: Unit;
let envoy: Unit;

/** Its folders in this test's own. */
const here = (text: string): string =>
  text
    .replaceAll('/usr/lib/fairlane/', `${resolve('packaging/systemd')}/`)
    .replaceAll(/(?<=^|[ '])\/(usr\/bin|etc\/fairlane|run\/fairlane-envoy|run\/fairlane)\b/g, `${folder}/$1`);

/** As systemd runs it: ExecStartPre one after another, then ExecStart. */
async function start(unit: string): Promise<Unit> {
  for (const command of settings(unit, 'ExecStartPre')) {
    const { stderr } = await run('sh', ['-c', `exec ${command}`], { env });
    expect(stderr).toBe('');
  }
  const [command = ''] = settings(unit, 'ExecStart');
  const child = spawn('sh', ['-c', `exec ${command}`], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  return { child, ended: new Promise((done) => child.once('exit', done)) };
}

/** ExecStop with the process's id, then SIGTERM. */
async function stop(unit: string, { child, ended }: Unit): Promise<number | null> {
  const MAINPID = String(child.pid);
  for (const command of settings(unit, 'ExecStop')) {
    await run('sh', ['-c', `exec ${command}`], { env: { ...env, MAINPID } });
  }
  child.kill('SIGTERM');
  return ended;
}

const ask = (tokens: number): Promise<Response> => askStream(`http://127.0.0.1:${api}`, KEY, tokens);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-systemd-'));
  for (const name of ['usr/bin', 'etc/fairlane', 'run/fairlane', 'run/fairlane-envoy', 'state']) {
    mkdirSync(join(folder, name), { recursive: true, mode: 0o700 });
  }
  const ports = await freePorts(3);
  [api = 0, admin = 0] = ports;
  engine = await startSimulator({ profile: parseProfile('test', { stepBaseMs: 20 }), models: ['demo'] });
  writeFileSync(
    join(folder, 'etc/fairlane/fairlane.yaml'),
    [
      `listen: 127.0.0.1:${api}`,
      `envoy: { directory: ${join(folder, 'run/fairlane')}, admin: '127.0.0.1:${admin}' }`,
      `service: { metrics: '127.0.0.1:${ports[2]}' }`,
      `pools: { main: { endpoints: ['${engine.url}'] } }`,
      'tenants: { alice: { keys: [env:ALICE_KEY] } }',
      '',
    ].join('\n'),
  );
  const program = join(folder, 'usr/bin/fairlane');
  const line = [process.execPath, ...fairlaneProgram()].map((part) => `'${part}'`).join(' ');
  writeFileSync(program, `#!/bin/sh\nexec ${line} "$@"\n`);
  chmodSync(program, 0o755);
  const [binary, ...leading] = (await envoyForTests()).command;
  expect(leading).toEqual([]);
  symlinkSync(binary, join(folder, 'usr/bin/envoy'));
  env = {
    ...process.env,
    ALICE_KEY: KEY,
    ENVOY_ADMIN_PORT: String(admin),
    DRAIN_SECONDS: '20',
    STATE_DIRECTORY: join(folder, 'state'),
  };
  // Type=exec: Envoy's unit starts as soon as there is a process, which has written nothing yet.
  fairlane = await start('fairlane.service');
  envoy = await start('fairlane-envoy.service');
  await eventually(
    () =>
      ask(1).then(
        ({ status }) => status,
        () => undefined,
      ),
    (status) => status === 200,
    READY_MS,
  );
}, READY_MS * 2);

afterAll(async () => {
  envoy.child.kill('SIGKILL');
  fairlane.child.kill('SIGKILL');
  await engine.close();
  rmSync(folder, { recursive: true, force: true });
});

it('Envoy is stopped before Fairlane, and started after it', () => {
  // What is ordered after something at the start is stopped before it.
  expect(settings('fairlane-envoy.service', 'After').join(' ')).toContain('fairlane.service');
  expect(settings('fairlane-envoy.service', 'Requires')).toEqual(['fairlane.service']);
});

it('a reload is taken without a restart', async () => {
  const [reload = ''] = settings('fairlane.service', 'ExecReload');
  expect(reload).toBe('/bin/kill -HUP $MAINPID');
  await run('sh', ['-c', reload], { env: { ...env, MAINPID: String(fairlane.child.pid) } });
  expect((await ask(1)).status).toBe(200);
  expect(fairlane.child.exitCode).toBeNull();
});

it('a stop takes nothing new, and breaks no stream', async () => {
  let stopped: Promise<number | null> | undefined;
  await expectDrain(`http://127.0.0.1:${api}`, KEY, 250, () => {
    stopped = stop('fairlane-envoy.service', envoy);
  });
  expect(await stopped).toBe(0);
  expect(await stop('fairlane.service', fairlane)).toBe(0);
}, 60_000);

it('an Envoy that is gone already is not waited for', async () => {
  const beganMs = Date.now();
  for (const MAINPID of ['', String(envoy.child.pid)]) {
    for (const command of settings('fairlane-envoy.service', 'ExecStop')) {
      await run('sh', ['-c', `exec ${command}`], { env: { ...env, MAINPID } });
    }
  }
  expect(Date.now() - beganMs).toBeLessThan(10_000);
});

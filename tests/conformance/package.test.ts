/** The package as somebody gets it: packed, installed into an empty folder, and run from there. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, sep } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePorts, withDemoPorts } from '../support/ports.ts';
import { builtProgram } from '../support/program.ts';
import { type CliProcess, runCli } from '../support/serve.ts';

const here = JSON.parse(readFileSync('package.json', 'utf8')) as {
  readonly version: string;
  readonly bin: { readonly fairlane: string };
  readonly dependencies: Readonly<Record<string, string>>;
};
const INSTALL_MS = 180_000;
const LEFT_OUT: ReadonlySet<string> = new Set(['node_modules', '.git', '.cache', 'dist']);

let folder: string;
/** The package in its new place. */
let installed: string;

/** A command of the installed program, as `npx` runs it. Nothing of this repository is in reach. */
const fairlane = (...args: readonly string[]): CliProcess =>
  runCli(args, { ...process.env, ALICE_KEY: 'key-of-alice', BOB_KEY: 'key-of-bob-too' }, [
    join(folder, 'node_modules', '.bin', 'fairlane'),
  ]);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-package-'));
  const npm = (...args: readonly string[]): string =>
    execFileSync('npm', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  // This repository, with the build that these tests were given: `prepack` would make the same from the same sources.
  const source = join(folder, 'source');
  const isLeftOut = (path: string): boolean => LEFT_OUT.has(relative('.', path).split(sep)[0] ?? '');
  cpSync('.', source, { recursive: true, filter: (path) => !isLeftOut(path) });
  cpSync(dirname(dirname(builtProgram())), join(source, 'dist'), { recursive: true });
  const [packed] = JSON.parse(npm('pack', source, '--json', '--ignore-scripts')) as [
    { readonly filename: string },
  ];
  rmSync(source, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "private": true }');
  npm('install', join(folder, packed.filename), '--prefer-offline', '--no-audit', '--no-fund');
  installed = join(folder, 'node_modules', 'fairlane');
}, INSTALL_MS);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The folder of a package's scope, or of the package. */
const scopeOf = (name: string): string => (name.startsWith('@') ? dirname(name) : name);

describe('the installed package', () => {
  it('has the licence, what the program reads, and no sources or tests', () => {
    for (const file of [
      'LICENSE',
      'README.md',
      here.bin.fairlane,
      'proto/envoy',
      'envoy/requirements.txt',
      'examples/quickstart.yaml',
      'docs/config.schema.json',
    ]) {
      expect([file, existsSync(join(installed, file))]).toEqual([file, true]);
    }
    for (const file of ['src', 'tests', 'bench', 'dist/.tsbuildinfo']) {
      expect([file, existsSync(join(installed, file))]).toEqual([file, false]);
    }
  });

  it('needs no package that only development has', () => {
    const names = readdirSync(join(folder, 'node_modules')).filter((name) => !name.startsWith('.'));
    expect(names).toEqual(
      expect.arrayContaining(['fairlane', ...Object.keys(here.dependencies).map(scopeOf)]),
    );
    for (const name of ['typescript', 'tsx', 'vitest']) expect(names).not.toContain(name);
  });

  it('says its version, and what it can do', async () => {
    const version = fairlane('--version');
    expect(await version.exited).toBe(0);
    const said = version.stdout().trim();
    expect(said.startsWith(`${here.version} (`)).toBe(true);
    expect(said.endsWith(`, Node.js ${process.versions.node})`)).toBe(true);
    const help = fairlane('--help');
    expect(await help.exited).toBe(0);
    for (const name of ['start', 'serve', 'check-config', 'bench', 'doctor', 'envoy-config', 'simulate']) {
      expect(help.stdout()).toMatch(new RegExp(`^  ${name} `, 'm'));
    }
  });

  it('checks a configuration', async () => {
    const good = fairlane('check-config', join(installed, 'examples/existing-vllm.yaml'));
    expect([await good.exited, good.stderr()]).toEqual([0, '']);
    const path = join(folder, 'wrong.yaml');
    writeFileSync(path, 'pools: { main: { endpoint: [http://127.0.0.1:8000] } }\n');
    const bad = fairlane('check-config', path);
    expect(await bad.exited).toBe(1);
    expect(bad.stdout() + bad.stderr()).toContain('endpoints');
  });

  it('serves beside an Envoy, is healthy over gRPC, and ends when it is told to', async () => {
    const [metrics = 0, grpc = 0] = await freePorts(2);
    const path = join(folder, 'fairlane.yaml');
    writeFileSync(
      path,
      [
        `envoy: { directory: ${join(folder, 'run')} }`,
        `service: { metrics: 127.0.0.1:${metrics}, address: 127.0.0.1:${grpc} }`,
        'pools: { main: { endpoints: ["http://127.0.0.1:9"] } }',
        'models: { demo: { pool: main } }',
        'tenants: { alice: { keys: [long-enough-key] } }',
        '',
      ].join('\n'),
    );
    const serve = fairlane('serve', '--config', path);
    await serve.until('serving ext_proc');
    // The health check reads the package's proto files.
    const doctor = fairlane('doctor', '--config', path);
    await doctor.exited;
    expect(doctor.stdout()).toMatch(/^ok +gRPC on .*: SERVING$/m);
    serve.child.kill('SIGTERM');
    expect(await serve.exited).toBe(0);
  });

  it('starts the demo: an Envoy is found or installed, the simulator runs', { timeout: INSTALL_MS }, () =>
    withDemoPorts(async () => {
      const start = fairlane('start');
      await start.until('Ctrl-C drains and stops.');
      const url = /API +(\S+)\/v1/.exec(start.stdout())?.[1] ?? '';
      const answer = await fetch(`${url}/v1/models`, {
        headers: { authorization: 'Bearer demo-quiet-key' },
      });
      expect(answer.status).toBe(200);
      start.child.kill('SIGINT');
      expect(await start.exited).toBe(0);
    }),
  );
});

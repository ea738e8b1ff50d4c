/**
 * The package as somebody gets it: packed, installed into an empty folder, and run from there by the commands of
 * docs/install/npm.md.
 */
import { execFile, execFileSync, spawn } from 'node:child_process';
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts, withDemoPorts } from '../support/ports.ts';
import { builtProgram } from '../support/program.ts';
import { type CliProcess, runCli } from '../support/serve.ts';

const here = JSON.parse(readFileSync('package.json', 'utf8')) as {
  readonly version: string;
  readonly bin: { readonly fairlane: string };
  readonly dependencies: Readonly<Record<string, string>>;
};
const execFileAsync = promisify(execFile);
const INSTALL_MS = 180_000;
const LEFT_OUT: ReadonlySet<string> = new Set(['node_modules', '.git', '.cache', 'dist']);

/** What a package of this size has is looked at by nobody: it must not grow unseen. */
const MOST_BYTES = 1_100_000;
const [PACK = '', INSTALL = '', DEMO = '', CONFIG = '', START = '', ASK = ''] = [
  ...readFileSync('docs/install/npm.md', 'utf8').matchAll(/```sh\n([^]*?)```/g),
].map(([, text = '']) => text.trim());

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string }[];
}

let folder: string;
/** The package in its new place. */
let installed: string;
let packed: Packed;

/** Runs lines in the folder as a shell does; others' messages go to the test's own. */
const shell = (script: string, env: NodeJS.ProcessEnv = process.env): string =>
  execFileSync('sh', ['-ec', script], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...env, npm_config_prefer_offline: 'true', npm_config_audit: 'false', npm_config_fund: 'false' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });

/** Runs lines whose last one serves, and what is to be done meanwhile; ends them as Ctrl-C in a terminal does. */
async function serving(script: string, env: NodeJS.ProcessEnv, meanwhile: (said: string) => Promise<void>) {
  const running = spawn('sh', ['-ec', script], {
    cwd: folder,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [running.stdout, running.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  }
  const ended = new Promise((done) => running.once('close', done));
  try {
    await eventually(
      () => said,
      (text) => text.includes('Ctrl-C drains and stops.') || running.exitCode !== null,
      INSTALL_MS,
    );
    await meanwhile(said);
  } finally {
    if (running.exitCode === null) process.kill(-(running.pid ?? 0), 'SIGINT');
  }
  await ended;
  return said;
}

/** A command of the installed program, as `npx` runs it. Nothing of this repository is in reach. */
const fairlane = (...args: readonly string[]): CliProcess =>
  runCli(args, { ...process.env, ALICE_KEY: 'key-of-alice', BOB_KEY: 'key-of-bob-too' }, [
    join(folder, 'node_modules', '.bin', 'fairlane'),
  ]);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-package-'));
  // This repository, with the build that these tests were given: `prepack` would make the same from the same sources.
  const source = join(folder, 'source');
  const isLeftOut = (path: string): boolean => LEFT_OUT.has(relative('.', path).split(sep)[0] ?? '');
  cpSync('.', source, { recursive: true, filter: (path) => !isLeftOut(path) });
  cpSync(dirname(dirname(builtProgram())), join(source, 'dist'), { recursive: true });
  symlinkSync(resolve('node_modules'), join(source, 'node_modules'));
  shell('cd source && node dist/cli/write-build-info.js && npm run --silent build:console');
  const [made] = JSON.parse(shell('npm pack ./source --json --ignore-scripts')) as [Packed];
  packed = made;
  rmSync(source, { recursive: true });
  shell(INSTALL);
  installed = join(folder, 'node_modules', 'fairlane');
}, INSTALL_MS);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The folder of a package's scope, or of the package. */
const scopeOf = (name: string): string => (name.startsWith('@') ? dirname(name) : name);

/** Files below a folder, with their paths from here. */
const below = (top: string): readonly string[] =>
  readdirSync(top, { recursive: true, encoding: 'utf8' })
    .map((name) => join(top, name))
    .filter((path) => statSync(path).isFile() && !path.endsWith('.gitkeep'));

describe('the tarball', () => {
  it('has the program, what it reads, and what users copy: nothing else', () => {
    const isOfPage = (path: string): boolean => path.startsWith('dist/console/');
    const program = below('src')
      .filter((path) => path.endsWith('.ts') && !path.startsWith('src/console/'))
      .map((path) => path.replace(/^src\/(.*)\.ts$/, 'dist/$1.js'));
    const paths = packed.files.map(({ path }) => path);
    expect(paths.filter((path) => !isOfPage(path)).sort()).toEqual(
      [
        ...['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md', 'docs/config.schema.json'],
        ...['dist/build-info.json', 'envoy/requirements.txt'],
        ...['existing-vllm', 'full', 'quickstart', 'limits/shop'].map((name) => `examples/${name}.yaml`),
        ...['proto', 'scenarios', 'observability', 'packaging/systemd'].flatMap(below),
        ...program,
      ].sort(),
    );
    const page = paths.filter(isOfPage).map((path) => path.replace(/-[\w-]{8}\./, '-HASH.'));
    const once = ['index.html', 'assets/index-HASH.css', 'assets/index-HASH.js'];
    expect(page.sort()).toEqual(
      [
        'dist/console/LICENSES.md',
        ...once.flatMap((name) => ['', '.br', '.gz'].map((end) => `dist/console/${name}${end}`)),
      ].sort(),
    );
  });

  it('is small', () => {
    process.stdout.write(`npm package: ${packed.size} bytes, ${packed.unpackedSize} unpacked\n`);
    expect(packed.size).toBeLessThan(MOST_BYTES);
  });
});

describe('the installed package', () => {
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
    const path = join(folder, 'served.yaml');
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
    expect(doctor.stdout()).toContain('1 tenant, 1 pool\n');
    expect(doctor.stdout()).toMatch(/^ok +gRPC on .*: SERVING$/m);
    serve.child.kill('SIGTERM');
    expect(await serve.exited).toBe(0);
  });
});

describe('docs/install/npm.md', () => {
  it('has no command that is not run here', () => {
    expect(PACK).toBe('npm ci && npm pack');
    expect(INSTALL).toContain(`npm install ./${packed.filename}`);
    expect([DEMO, ASK.startsWith('curl '), START.split('\n')]).toEqual([
      'npx fairlane start',
      true,
      [expect.stringMatching(/^export ALICE_KEY=/), 'npx fairlane check-config', 'npx fairlane start'],
    ]);
  });

  it('starts the demo: an Envoy is found or installed, the simulator runs', { timeout: INSTALL_MS }, () =>
    withDemoPorts(async () => {
      const said = await serving(DEMO, process.env, async (banner) => {
        const url = /API +(\S+)\/v1/.exec(banner)?.[1] ?? '';
        const headers = { authorization: 'Bearer demo-quiet-key' };
        expect((await fetch(`${url}/v1/models`, { headers })).status).toBe(200);
        const page = await fetch(/console +(\S+)/.exec(banner)?.[1] ?? '');
        expect(await page.text()).toContain('<script type="module"');
        // The line to paste works where it is pasted: in this folder, in a shell without what npx has put on its PATH.
        const line = /^npx fairlane load.*$/m.exec(banner)?.[0] ?? '';
        expect(shell(`${line} --seconds 1`)).toMatch(/^quiet .*\nnoisy /m);
      });
      expect(said).toContain('fairlane: stopped');
    }),
  );

  it('serves an engine by the configuration that it writes', { timeout: INSTALL_MS }, () =>
    withDemoPorts(async () => {
      const engine = await startSimulator({ profile: parseProfile('test', {}), models: ['demo'] });
      shell(CONFIG.replace('http://127.0.0.1:8000', engine.url));
      const [makeKey = '', ...rest] = START.split('\n');
      const ALICE_KEY = shell(`${makeKey}\nprintf %s "$ALICE_KEY"`);
      expect(ALICE_KEY).toMatch(/^[0-9a-f]{48}$/);
      const env = { ...process.env, ALICE_KEY, XDG_RUNTIME_DIR: folder };
      const said = await serving(rest.join('\n'), env, async (banner) => {
        const url = /API +(\S+)\/v1/.exec(banner)?.[1] ?? '';
        expect(url).toBe('http://127.0.0.1:8080');
        // Not in one piece: the engine is in this process.
        const { stdout } = await execFileAsync('sh', ['-ec', ASK.replace('curl ', 'curl --silent ')], {
          env,
        });
        const answer = JSON.parse(stdout);
        expect(answer.choices[0].message.content).not.toBe('');
      });
      expect(said).toContain('1 tenant, 1 pool with 1 endpoint');
      expect(said).toContain('fairlane: stopped');
      await engine.close();
    }),
  );
});

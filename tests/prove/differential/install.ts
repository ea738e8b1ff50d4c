/** Where the readers of others come from: installed or compiled once, in the user's cache. */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedBy } from '../../support/cache.ts';
import { onPath } from '../../support/debian.ts';

const fileHere = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
export const PYTHON_READERS = fileHere('readers.py');
const REQUIREMENTS = fileHere('../differential-requirements.txt');
const CPP = fileHere('reader.cpp');
const GO = fileHere('reader.go');
const YAML = fileHere('../yaml/reader.go');
const INSTALLER = 'apt-get';

const cached = (name: string, source: string): string => cachedBy(`differential-${name}`, source);

/** @throws what the program said. */
function runs(program: string, args: readonly string[], what: string): void {
  try {
    execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env: ENVIRONMENT });
  } catch (error) {
    const said = (error as { readonly stderr?: Buffer }).stderr?.toString().trim() ?? '';
    throw new Error(`${what}\n${said.slice(-2_000)}`, { cause: error });
  }
}

const ENVIRONMENT = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };

/** Makes a program in a folder beside its own, so that no half of it is found. */
function built(program: string, build: (target: string) => void): string {
  if (existsSync(program)) return program;
  mkdirSync(dirname(program), { recursive: true });
  const work = mkdtempSync(`${program}-`);
  try {
    build(join(work, 'program'));
    renameSync(join(work, 'program'), program);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return program;
}

/** Python alone: its json. */
export function findPython(): string {
  const python = onPath('python3');
  if (python === undefined) throw new Error('No python3 on PATH: install Python 3.10 or later.');
  return python;
}

/** Python with the readers that differential-requirements.txt pins. */
export function pythonWithReaders(): string {
  const system = findPython();
  const folder = cached('python', REQUIREMENTS);
  const [python, complete] = [join(folder, 'bin', 'python'), join(folder, 'complete')];
  // An environment has its own path in it: it cannot be moved.
  if (existsSync(complete)) return python;
  rmSync(folder, { recursive: true, force: true });
  runs(system, ['-m', 'venv', folder], 'Python has no venv: install it (Debian: python3-venv).');
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps'];
  runs(
    python,
    [...pip, '--require-hashes', '--only-binary=:all:', '--requirement', REQUIREMENTS],
    `Python's readers could not be installed: pip needs its package index, and wheels for this Python (${REQUIREMENTS}).`,
  );
  mkdirSync(complete);
  return python;
}

/** nlohmann::json's header is installed with apt-get where that is possible without asking anybody. */
export function nlohmannReader(): string {
  return built(cached('nlohmann', CPP), (target) => {
    const compiler = onPath('g++') ?? onPath('c++');
    if (compiler === undefined) throw new Error('No g++ on PATH: install a C++ compiler (Debian: g++).');
    const compile = (): void =>
      runs(
        compiler,
        ['-std=c++17', '-O2', '-o', target, CPP],
        'The reader of nlohmann::json could not be compiled: install its header (Debian: nlohmann-json3-dev).',
      );
    if (process.getuid?.() !== 0 || onPath(INSTALLER) === undefined) {
      compile();
      return;
    }
    try {
      compile();
    } catch {
      const failed = 'nlohmann::json could not be installed: apt-get needs its package index.';
      runs(INSTALLER, ['update', '-qq'], failed);
      runs(INSTALLER, ['install', '-y', '-qq', '--no-install-recommends', 'nlohmann-json3-dev'], failed);
      compile();
    }
  });
}

/** Undefined without Go, which is not asked for. */
export function goReader(): string | undefined {
  const go = onPath('go');
  if (go === undefined) return undefined;
  return built(cached('go', GO), (target) =>
    runs(go, ['build', '-o', target, GO], 'The reader of Go could not be compiled.'),
  );
}

/** The reference rate limit service's reader of YAML. @throws without Go, or without its module proxy. */
export function yamlReader(): string {
  const go = onPath('go');
  if (go === undefined) throw new Error('No go on PATH: install Go 1.21 or later.');
  return built(cached('yaml', YAML), (target) =>
    runs(
      go,
      ['build', '-C', dirname(YAML), '-o', target, '.'],
      'The reader of yaml.v2 could not be compiled: go needs its module proxy.',
    ),
  );
}

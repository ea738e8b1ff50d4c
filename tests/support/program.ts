/**
 * The program as it is installed, for tests that start it: built from the sources, once a run. It starts in half the time that
 * a loader of sources takes, and is what users run.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Beside the build lie links to what a package holds besides it. */
const FOLDER = join(ROOT, '.cache', 'program');
const BESIDE = ['package.json', 'proto', 'envoy', 'examples'];

/** Where a build is, for the processes of tests. */
const VARIABLE = 'FAIRLANE_TEST_PROGRAM';
const built = Symbol.for('fairlane.tests.program');

/** Builds what has changed, without checking types: `npm run typecheck` does that. Throws what the compiler says. */
function build(): string {
  mkdirSync(FOLDER, { recursive: true });
  for (const name of BESIDE) {
    const link = join(FOLDER, name);
    if (!existsSync(link)) symlinkSync(join(ROOT, name), link);
  }
  const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const to = ['--outDir', join(FOLDER, 'dist'), '--tsBuildInfoFile', join(FOLDER, '.tsbuildinfo')];
  execFileSync(process.execPath, [compiler, '-p', 'tsconfig.build.json', '--noCheck', ...to], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  return join(FOLDER, 'dist', 'cli', 'index.js');
}

/** The file that Node.js runs. Throws where Vitest's set-up has not built it: in a project that does not ask for it. */
export function builtProgram(): string {
  const path = process.env[VARIABLE];
  if (path === undefined)
    throw new Error(`${VARIABLE} is not set: tests/support/program.ts sets it for tests`);
  return path;
}

/** Vitest's global set-up of each project that starts the program: the first one builds it for all. */
export default function setup(): void {
  const shared = globalThis as { [built]?: string };
  shared[built] ??= build();
  process.env[VARIABLE] = shared[built];
}

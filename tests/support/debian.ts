/** Programs that tests run and do not ship: found on PATH, or installed with apt-get where that is possible without asking anybody. */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, mkdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

const INSTALLER = 'apt-get';
/** Two test files do not install at once: the second waits, and finds what the first has installed. */
const LOCK = join(tmpdir(), 'fairlane-tests-apt.lock');
const LOCK_WAIT_MS = 170_000;
const LOCK_LOOK_MS = 200;

/** Programs that serve are where not everybody's PATH leads. */
export function onPath(name: string): string | undefined {
  for (const folder of [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin']) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in that one.
    }
  }
  return undefined;
}

function holdLock(): void {
  const endMs = Date.now() + LOCK_WAIT_MS;
  for (;;) {
    try {
      mkdirSync(LOCK);
      return;
    } catch {
      const ageMs = Date.now() - (statSync(LOCK, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
      if (ageMs > LOCK_WAIT_MS || Date.now() > endMs) rmSync(LOCK, { recursive: true, force: true });
      else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOCK_LOOK_MS);
    }
  }
}

/** Installs a package where that is possible without asking anybody. @param isThere looked at again once it is our turn. @throws when apt-get fails. */
export function installDebian(debianPackage: string, isThere: () => boolean): void {
  if (process.getuid?.() !== 0 || onPath(INSTALLER) === undefined) return;
  holdLock();
  try {
    if (isThere()) return;
    const options = { stdio: 'ignore', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } } as const;
    execFileSync(INSTALLER, ['update', '-qq'], options);
    execFileSync(INSTALLER, ['install', '-y', '-qq', '--no-install-recommends', debianPackage], options);
  } finally {
    rmSync(LOCK, { recursive: true, force: true });
  }
}

/**
 * The program's path.
 *
 * @param name as it is called. @param debianPackage that has it.
 * @throws when there is none and it cannot be installed.
 */
export function debianProgram(name: string, debianPackage: string): string {
  const found = onPath(name);
  if (found !== undefined) return found;
  installDebian(debianPackage, () => onPath(name) !== undefined);
  const installed = onPath(name);
  if (installed === undefined) throw new Error(`no ${name} on PATH: install it (Debian: ${debianPackage})`);
  return installed;
}

/** Python with the clients that a file pins, in the user's cache: installed once. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cachedBy } from '../cache.ts';

const execute = promisify(execFile);

/**
 * @param name of `NAME-requirements.txt` beside this file. Each is for one file of tests: two would install at one time.
 * @returns the program.
 */
export async function pythonWith(
  name: 'python' | 'litellm' | 'schemathesis' | 'kubernetes',
): Promise<string> {
  const requirements = fileURLToPath(new URL(`${name}-requirements.txt`, import.meta.url));
  const folder = cachedBy(`clients-${name}`, requirements);
  const [python, complete] = [join(folder, 'bin', 'python'), join(folder, 'complete')];
  // An environment has its own path in it: it cannot be made elsewhere and moved.
  if (existsSync(complete)) return python;
  rmSync(folder, { recursive: true, force: true });
  const options = { maxBuffer: 16 * 1024 * 1024 };
  try {
    await execute('python3', ['-m', 'venv', folder], options);
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps'];
    const pinned = ['--require-hashes', '--only-binary=:all:', '--requirement', requirements];
    await execute(python, [...pip, ...pinned], options);
  } catch (error) {
    throw new Error(
      `The clients of ${requirements} could not be installed: that needs Python 3.11 or later with venv, and its package index.`,
      { cause: error },
    );
  }
  mkdirSync(complete);
  return python;
}

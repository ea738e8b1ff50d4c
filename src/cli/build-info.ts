/** Reads which Fairlane this is. */
import { readFileSync } from 'node:fs';
import type { BuildInfo } from '../domain/build-info.ts';

export function buildInfo(): BuildInfo {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const { version } = JSON.parse(text) as { readonly version: string };
  return { version };
}

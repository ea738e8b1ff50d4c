/** Which Fairlane this is: its version, and the commit that `npm run build` writes beside the compiled program. */
import { readFileSync } from 'node:fs';
import type { BuildInfo } from '../domain/build-info.ts';

/** Beside the folder of the compiled commands. Running from sources there is none. */
export const BUILD_INFO = new URL('../build-info.json', import.meta.url);

const COMMIT = /^[0-9a-f]{7,40}(-dirty)?$/;

/** Takes what is a commit, with `-dirty` where files differed from it; all else is not believed. */
export function commitOf(text: unknown): string | undefined {
  return typeof text === 'string' && COMMIT.test(text) ? text : undefined;
}

/** Reads the commit of this build; undefined where nothing readable tells it. */
export function readCommit(): string | undefined {
  try {
    const info = JSON.parse(readFileSync(BUILD_INFO, 'utf8')) as { readonly commit?: unknown } | null;
    return commitOf(info?.commit);
  } catch {
    return undefined;
  }
}

/** Says what `fairlane --version` prints. */
export function versionText(version: string, commit: string | undefined, node: string): string {
  return `${version} (${commit ?? 'unknown'}, Node.js ${node})`;
}

/** Reads which Fairlane this is. */
export function buildInfo(): BuildInfo {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const { version } = JSON.parse(text) as { readonly version: string };
  const commit = readCommit();
  return { version, ...(commit !== undefined && { commit }) };
}

/** Writes the files that Envoy watches. Envoy reacts to a rename only: each is written beside itself and moved. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JsonMap } from './envoy-json.ts';

/** They hold API keys: for the owner only. */
const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

const current = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
};

/** Whoever else can write here can put in keys of his own, or take the socket's place. */
function requireOwn(directory: string): void {
  const { uid, mode } = statSync(directory);
  const mine = process.getuid?.();
  if (mine !== undefined && uid !== mine && uid !== 0) throw new Error('it belongs to another user');
  if ((mode & 0o002) !== 0) throw new Error('everybody may write to it');
}

/** Writes one file, or leaves it when it says that already. */
export function writeDynamicFile(directory: string, name: string, content: JsonMap): void {
  const path = join(directory, name);
  const text = JSON.stringify(content);
  if (current(path) === text) return;
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, text, { mode: FILE_MODE });
  renameSync(temporary, path);
}

/** Writes what changed, in the map's order, then removes endpoint files of pools that are gone. */
export function writeDynamicFiles(directory: string, files: ReadonlyMap<string, JsonMap>): void {
  try {
    mkdirSync(directory, { recursive: true, mode: DIRECTORY_MODE });
    requireOwn(directory);
    for (const [name, content] of files) writeDynamicFile(directory, name, content);
    for (const name of readdirSync(directory)) {
      if (/^endpoints-.*\.json$/.test(name) && !files.has(name))
        rmSync(join(directory, name), { force: true });
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(
      `envoy.directory: cannot use ${directory}: ${reason}; choose a folder that this user, and nobody else, may write to`,
      { cause: error },
    );
  }
}

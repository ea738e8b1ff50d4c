/** Writes the files that Envoy watches. Envoy reacts to a rename only: each is written beside itself and moved. */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { messageOf } from '../domain/text-of.ts';
import { holdsOwnText, replaceOwnFile, requireOwnFolder } from '../files/fs-own.ts';
import { isSecretsFile } from './engine-secrets.ts';
import type { JsonMap } from './envoy-json.ts';

/** They hold API keys: for the owner only. Whoever else could write here could put in keys of his own, or take the socket's place. */
const DIRECTORY_MODE = 0o700;

/** Writes one file, or leaves it when it says that already. */
export function writeDynamicFile(directory: string, name: string, content: JsonMap): void {
  const path = join(directory, name);
  const text = JSON.stringify(content);
  if (!holdsOwnText(path, text)) replaceOwnFile(path, text);
}

/** Writes what changed, in the map's order, then removes files of endpoints and secrets that are gone. */
export function writeDynamicFiles(folder: string, files: ReadonlyMap<string, JsonMap>): void {
  // Without `.` and `/` at its end, by which a link would pass for the folder that it leads to.
  const directory = resolve(folder);
  try {
    mkdirSync(directory, { recursive: true, mode: DIRECTORY_MODE });
    requireOwnFolder(directory);
    for (const [name, content] of files) writeDynamicFile(directory, name, content);
    for (const name of readdirSync(directory)) {
      const isOurs = /^endpoints-.*\.json$/.test(name) || isSecretsFile(name);
      if (isOurs && !files.has(name)) rmSync(join(directory, name), { force: true });
    }
  } catch (error) {
    const reason = messageOf(error);
    throw new Error(
      `envoy.directory: cannot use ${directory}: ${reason}; choose a folder that this user, and nobody else, may write to`,
      { cause: error },
    );
  }
}

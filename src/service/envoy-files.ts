/** The files that Envoy watches, in the folder that it was started with. A gateway that asks for endpoints has its own. */
import { existsSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { rootCertificates } from 'node:tls';
import type { Config } from '../config/config.ts';
import { dynamicFilesOf } from '../envoy/dynamic-files.ts';
import { writeDynamicFiles } from '../envoy/fs-dynamic-files.ts';
import { KeyExpiries, withoutExpired } from './key-expiries.ts';

/** Of Node.js, as probes go by them. */
const AUTHORITIES = rootCertificates.join('\n');

/** What was not there before the first write. */
interface Created {
  readonly files: readonly string[];
  /** The innermost first. */
  readonly folders: readonly string[];
}

export class EnvoyFiles {
  readonly #directory: string;
  readonly #isWritten: boolean;
  /** Envoy has the filters of tokens. */
  readonly #takesTokens: boolean;
  readonly #unixMs: () => number;
  readonly #expiries: KeyExpiries;
  #created: Created | undefined;

  /** @param initial the configuration that Envoy is started with. @param unixMs Unix time: keys expire. */
  constructor(initial: Config, unixMs: () => number = Date.now) {
    this.#unixMs = unixMs;
    this.#expiries = new KeyExpiries(unixMs);
    this.#directory = initial.envoy.directory;
    this.#isWritten = initial.picker === undefined;
    this.#takesTokens = initial.jwt !== undefined;
  }

  /** @param config with an endpoint for each address. @param addresses the IP of each. @throws when the folder cannot be used. */
  write(config: Config, addresses: ReadonlyMap<string, string>): void {
    if (!this.#isWritten) return;
    const directory = this.#directory;
    const tenants = withoutExpired(config.tenants, this.#unixMs());
    const inFolder = { ...config, tenants, envoy: { ...config.envoy, directory } };
    const files = dynamicFilesOf(inFolder, addresses, AUTHORITIES, this.#takesTokens);
    this.#created ??= absentOf(resolve(directory), files.keys());
    writeDynamicFiles(directory, files);
    this.#expiries.watch(config.tenants, () => this.write(config, addresses));
  }

  /** Writes nothing any more by itself. */
  close(): void {
    this.#expiries.close();
  }

  /** Removes what the first write created: a start that failed is not to leave keys behind. */
  removeCreated(): void {
    for (const path of this.#created?.files ?? []) rmSync(path, { force: true });
    for (const path of this.#created?.folders ?? []) {
      try {
        rmdirSync(path);
      } catch {
        // It was not created, or somebody has put something into it.
      }
    }
  }
}

function absentOf(directory: string, names: Iterable<string>): Created {
  const files = [...names].map((name) => join(directory, name)).filter((path) => !existsSync(path));
  const folders: string[] = [];
  for (let folder = directory; !existsSync(folder); folder = dirname(folder)) folders.push(folder);
  return { files, folders };
}

/** The configuration that a command is about. It loads no part of the service. */
import type { ConfigSource } from '../config/changes.ts';
import type { Config } from '../config/config.ts';
import { type LoadOptions, loadConfig } from '../config/fs-config.ts';
import { printError } from './terminal.ts';
import { problemsError } from './user-error.ts';

/** A configuration, and which state of its files it is. */
export interface Loaded {
  readonly config: Config;
  readonly version: string;
  readonly source: ConfigSource;
}

export function loadOrThrow(path: string, env: NodeJS.ProcessEnv, how: LoadOptions = {}): Loaded {
  const loaded = loadConfig(path, env, how);
  if (loaded.kind === 'bad') {
    throw problemsError('the configuration', loaded.problems);
  }
  for (const warning of loaded.warnings) printError(`fairlane: warning: ${warning}`);
  return loaded;
}

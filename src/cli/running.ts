/** What `start` and `serve` share: a configuration that is loaded and watched, a service, and its end. */

import type { Config } from '../config/config.ts';
import { loadConfig, watchConfig } from '../config/fs-config.ts';
import { type Service, startService } from '../service/service.ts';
import { createLog, stdoutLog } from '../telemetry/pino-log.ts';
import { printError } from './terminal.ts';

/** A mistake of the user's: told without a stack. Exit code 1. */
export class UserError extends Error {}

/** A configuration, and which state of its files it is. */
export interface Loaded {
  readonly config: Config;
  readonly version: string;
}

export function loadOrThrow(path: string, env: NodeJS.ProcessEnv): Loaded {
  const loaded = loadConfig(path, env);
  if (loaded.kind === 'bad') {
    const problems = loaded.problems.map((problem) => `  ${problem}`).join('\n');
    throw new UserError(`the configuration has ${loaded.problems.length} problem(s):\n${problems}`);
  }
  for (const warning of loaded.warnings) printError(`fairlane: warning: ${warning}`);
  return loaded;
}

export interface RunningService {
  readonly service: Service;
  readonly stopWatching: () => void;
}

/** @param path of the configuration, watched for changes; SIGHUP reloads it too. */
export async function runService(
  path: string,
  { config, version }: Loaded,
  env: NodeJS.ProcessEnv,
): Promise<RunningService> {
  const service = await startService(config, createLog(config.log.level, stdoutLog()));
  const watcher = watchConfig({
    path,
    env,
    version,
    onChange: (next, warnings) => void service.reload(next, warnings),
    onBad: (problems) => service.refuseReload(problems),
  });
  const reload = (): void => watcher.reload();
  process.on('SIGHUP', reload);
  return {
    service,
    stopWatching() {
      process.off('SIGHUP', reload);
      watcher.close();
    },
  };
}

/** Resolves at the first SIGINT or SIGTERM. A second one ends the process at once. */
export function stopSignal(onSecond: () => void): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let seen = false;
    const handler = (signal: NodeJS.Signals): void => {
      if (seen) onSecond();
      seen = true;
      resolve(signal);
    };
    process.on('SIGINT', handler);
    process.on('SIGTERM', handler);
  });
}

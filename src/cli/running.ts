/** What `start` and `serve` share: a configuration that is loaded and watched, a service, and its end. */

import type { ConfigSource } from '../config/changes.ts';
import type { Config, LogFormat } from '../config/config.ts';
import { type LoadOptions, loadConfig, watchConfig } from '../config/fs-config.ts';
import { type Service, startService } from '../service/service.ts';
import { createLog, type LogStyle, stdoutLog } from '../telemetry/pino-log.ts';
import { hasColour, printError } from './terminal.ts';

/** A mistake of the user's: told without a stack. Exit code 1. */
export class UserError extends Error {}

/** A configuration, and which state of its files it is. */
export interface Loaded {
  readonly config: Config;
  readonly version: string;
  readonly source: ConfigSource;
}

export function loadOrThrow(path: string, env: NodeJS.ProcessEnv, how: LoadOptions = {}): Loaded {
  const loaded = loadConfig(path, env, how);
  if (loaded.kind === 'bad') {
    const problems = loaded.problems.map((problem) => `  ${problem}`).join('\n');
    throw new UserError(`the configuration has ${loaded.problems.length} problem(s):\n${problems}`);
  }
  for (const warning of loaded.warnings) printError(`fairlane: warning: ${warning}`);
  return loaded;
}

/** The variables of a process are those that it was started with. */
const ofRunning = (problem: string): string =>
  problem.replace(
    /(environment variable [A-Za-z0-9_]+ is not set); set it or remove this line$/,
    '$1 in this process, which sees only what was set when it was started: restart it with the variable, or use file:PATH; what was in use before stays',
  );

/** For the banner: that nothing serves, and what its endpoints say. */
export function unreadyText(service: Service): string | undefined {
  const { ready, pools } = service.health();
  if (ready) return undefined;
  const endpoints = Object.values(pools).flatMap(({ windows }) => Object.entries(windows));
  const shown = endpoints.slice(0, MOST_SHOWN).map(([url, { state }]) => `\n  ${url}  ${state}`);
  if (endpoints.length > MOST_SHOWN) shown.push(`\n  and ${endpoints.length - MOST_SHOWN} more`);
  return `no engine is healthy yet: requests wait, or get a 503 (fairlane doctor says more)${shown.join('')}`;
}

const MOST_SHOWN = 5;

export interface RunningService {
  readonly service: Service;
  readonly stopWatching: () => void;
}

/** How log lines look on the standard output. */
function styleOf(format: LogFormat): LogStyle {
  const { stdout } = process;
  const isPretty = format === 'pretty' || (format === 'auto' && stdout.isTTY);
  return { isPretty, colour: hasColour(stdout) };
}

/**
 * @param path of the configuration, watched for changes; SIGHUP reloads it too.
 * @param format of the log, instead of the configuration's.
 */
export async function runService(
  path: string,
  { config, version, source }: Loaded,
  env: NodeJS.ProcessEnv,
  format: LogFormat = config.log.format,
): Promise<RunningService> {
  const log = createLog(config.log.level, stdoutLog(), styleOf(format));
  const service = await startService(config, log, source);
  const watcher = watchConfig({
    path,
    env,
    version,
    onChange: (next, warnings, read) => void service.reload(next, warnings, read),
    onBad: (problems) => service.refuseReload(problems.map(ofRunning)),
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

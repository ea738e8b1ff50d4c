/** What `start` and `serve` share: a configuration that is loaded and watched, a service, and its end. */

import type { LogFormat } from '../config/config.ts';
import { watchConfig } from '../config/fs-config.ts';
import { textOf } from '../domain/text-of.ts';
import { type Service, startService } from '../service/service.ts';
import { createLog, type LogStyle, stdoutLog } from '../telemetry/pino-log.ts';
import { buildInfo } from './build-info.ts';
import type { Loaded } from './loading.ts';
import { hasColour, isTerminalGone, leaveTerminal } from './terminal.ts';

/** The variables of a process are those that it was started with. */
const ofRunning = (problem: string): string =>
  problem.replace(
    /(environment variable [A-Za-z0-9_]+ is not set); set it or remove this line$/,
    '$1 in this process, which sees only what was set when it was started: restart it with the variable, or use file:PATH; what was in use before stays',
  );

/** Lines about engines that do not serve. */
const MOST_SHOWN = 10;

/** For who has just started it: pools that no engine serves, each engine with what is known of it; undefined: there is none. */
export function unservedText(service: Service): string | undefined {
  const engines = service.unserved();
  const { ready } = service.health();
  if (ready && engines.length === 0) return undefined;
  const what = ready
    ? 'nothing is healthy in these pools yet, requests to them get a 503'
    : 'no engine is healthy yet: requests wait, or get a 503';
  const lines = engines.slice(0, MOST_SHOWN).map((line) => `\n  ${line}`);
  if (engines.length > MOST_SHOWN) lines.push(`\n  and ${engines.length - MOST_SHOWN} more`);
  return `${what} (fairlane doctor says more)${lines.join('')}`;
}

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
 * @param path of the configuration, watched for changes; SIGHUP reloads it too, unless it says that the terminal is gone.
 * @param format of the log, instead of the configuration's.
 */
export async function runService(
  path: string,
  { config, version, source }: Loaded,
  env: NodeJS.ProcessEnv,
  format: LogFormat = config.log.format,
): Promise<RunningService> {
  const log = createLog(config.log.level, stdoutLog(), styleOf(format));
  const service = await startService(config, log, source, buildInfo());
  const watcher = watchConfig({
    path,
    env,
    version,
    onChange: (next, warnings, read) => {
      service.reload(next, warnings, read).catch((error: unknown) => service.refuseReload([textOf(error)]));
    },
    onBad: (problems) => service.refuseReload(problems.map(ofRunning)),
  });
  const reload = (): void => {
    if (!isTerminalGone()) watcher.reload();
  };
  process.on('SIGHUP', reload);
  return {
    service,
    stopWatching() {
      process.off('SIGHUP', reload);
      watcher.close();
    },
  };
}

/**
 * Resolves at the first SIGINT or SIGTERM, and where the terminal that it was started on is closed. A second SIGINT or SIGTERM ends
 * the process at once.
 */
export function stopSignal(onSecond: () => void): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let seen = false;
    const handler = (signal: NodeJS.Signals): void => {
      if (seen) onSecond();
      seen = true;
      resolve(signal);
    };
    process.on('SIGHUP', (signal) => {
      if (!isTerminalGone()) return;
      leaveTerminal();
      resolve(signal);
    });
    process.on('SIGINT', handler);
    process.on('SIGTERM', handler);
  });
}

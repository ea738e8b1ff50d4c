import { Command } from 'commander';
import type { LogFormat } from '../config/config.ts';
import { configOption, logFormatOption } from './arguments.ts';
import { loadOrThrow } from './loading.ts';
import { runService, stopSignal, unservedText } from './running.ts';
import { printError } from './terminal.ts';

/** `fairlane serve`: the service alone, for an Envoy that somebody else runs. */
export function serveCommand(): Command {
  return new Command('serve')
    .description(
      'Run the service alone, beside an Envoy that is started elsewhere. Logs to stdout: JSON lines, pretty ones on a terminal.',
    )
    .addOption(configOption())
    .addOption(logFormatOption())
    .action(async ({ config: path, logFormat }: { config: string; logFormat?: LogFormat }) => {
      const loaded = loadOrThrow(path, process.env);
      const { service, stopWatching } = await runService(path, loaded, process.env, logFormat);
      // Before it says that it serves: who reads that may end it at once.
      const stopped = stopSignal(() => process.exit(130));
      const { address } = service;
      printError(
        `fairlane: serving ext_proc on ${address.kind === 'unix' ? address.path : `${address.host}:${address.port}`}, metrics on port ${service.metricsPort}`,
      );
      const unserved = unservedText(service);
      if (unserved !== undefined) printError(`fairlane: warning: ${unserved}`);
      await stopped;
      stopWatching();
      await service.drain();
      process.exit(0);
    });
}

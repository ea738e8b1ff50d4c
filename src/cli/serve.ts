import { Command } from 'commander';
import { loadOrThrow, runService, stopSignal } from './running.ts';
import { printError } from './terminal.ts';

/** `fairlane serve`: the service alone, for an Envoy that somebody else runs. */
export function serveCommand(): Command {
  return new Command('serve')
    .description(
      'Run the service alone, beside an Envoy that is started elsewhere. Logs JSON lines to stdout.',
    )
    .requiredOption('-c, --config <file>', 'configuration (YAML)')
    .action(async ({ config: path }: { config: string }) => {
      const { service, stopWatching } = await runService(path, loadOrThrow(path, process.env), process.env);
      const { address } = service;
      printError(
        `fairlane: serving ext_proc on ${address.kind === 'unix' ? address.path : `${address.host}:${address.port}`}, metrics on port ${service.metricsPort}`,
      );
      await stopSignal(() => process.exit(130));
      stopWatching();
      await service.drain();
      process.exit(0);
    });
}

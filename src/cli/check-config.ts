import { Command } from 'commander';
import { loadConfig } from '../config/fs-config.ts';
import { memoryBoundOf } from '../config/memory-bound.ts';
import { counted } from '../domain/counted.ts';
import { configOption } from './arguments.ts';
import { print, printError } from './terminal.ts';
import { UserError } from './user-error.ts';

interface Options {
  readonly config: string;
  readonly memory?: true;
}

const inMiB = (bytes: number): string => `${Math.ceil(bytes / 1024 ** 2)} MiB`;

/** `fairlane check-config`: everything that is wrong with a configuration, without starting anything. */
export function checkConfigCommand(): Command {
  return new Command('check-config')
    .description('Check a configuration, with the environment variables and key files that it names.')
    .argument('[file]', 'the same as --config')
    .addOption(configOption())
    .option('--memory', 'say how much memory one tenant can take')
    .action((argument: string | undefined, options: Options, command: Command) => {
      const isGiven = command.getOptionValueSource('config') === 'cli';
      if (argument !== undefined && isGiven && argument !== options.config) {
        throw new UserError('the configuration is given twice: as an argument and with --config');
      }
      const file = argument ?? options.config;
      const loaded = loadConfig(file, process.env);
      if (loaded.kind === 'bad') {
        for (const problem of loaded.problems) printError(problem);
        process.exitCode = 1;
        return;
      }
      for (const warning of loaded.warnings) printError(`warning: ${warning}`);
      const { refusedTenantFiles: refused } = loaded.config;
      for (const { problems } of refused) for (const problem of problems) printError(problem);
      const { tenants, pools, models } = loaded.config;
      const endpoints = [...pools.values()].reduce((sum, pool) => sum + pool.endpoints.length, 0);
      const discovering = [...pools.values()].filter((pool) => pool.discoverModels).length;
      const asked = discovering === 0 ? '' : ` (${counted(discovering, 'pool')} will be asked for more)`;
      const verdict =
        refused.length === 0 ? 'OK' : `${counted(refused.length, 'file')} of tenants refused; the rest`;
      if (refused.length > 0) process.exitCode = 1;
      print(
        `${verdict}: ${counted(tenants.size, 'tenant')}, ${counted(pools.size, 'pool')} with ${counted(endpoints, 'endpoint')}, ${counted(models.size, 'model')}${asked}`,
      );
      if (options.memory !== true) return;
      const { tenant, envoy, fairlane } = memoryBoundOf(loaded.config);
      print(
        `Memory: tenant ${tenant} alone can fill Envoy to ${inMiB(envoy)} and Fairlane to ${inMiB(fairlane)}; Envoy sheds at a heap of ${inMiB(loaded.config.envoy.maxHeapBytes)}`,
      );
    });
}

import { Command } from 'commander';
import { loadConfig } from '../config/fs-config.ts';
import { counted } from '../domain/counted.ts';
import { configOption } from './arguments.ts';
import { addressesOf } from './doctor-addresses.ts';
import { checkEngine } from './doctor-engine.ts';
import { adapterFindings, type Level, listenerFindings, type Tell } from './doctor-findings.ts';
import { checkService } from './doctor-service.ts';
import { hasColour, printMarked } from './terminal.ts';

const COLOUR: Readonly<Record<Level, number>> = { ok: 32, warning: 33, problem: 31 };
const coloured = hasColour(process.stdout);

/** `fairlane doctor`: what is wrong between the configuration, the engines and a running service. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description(
      'Check the configuration, ask every engine for its health, models and gauges, and a running service for its concurrency limits, drains, adapters, canaries and mirrors.',
    )
    .addOption(configOption())
    .action(async ({ config: path }: { config: string }) => {
      let problems = 0;
      const tell: Tell = (level, text) => {
        if (level === 'problem') problems += 1;
        const word = level.padEnd(7);
        printMarked(coloured ? `\u001b[${COLOUR[level]}m${word}\u001b[0m` : word, text, word.length);
      };
      const loaded = loadConfig(path, process.env);
      if (loaded.kind === 'bad') {
        for (const problem of loaded.problems) tell('problem', problem);
        process.exit(1);
      }
      const { config, warnings } = loaded;
      for (const warning of warnings) tell('warning', warning);
      for (const { problems: ofFile } of config.refusedTenantFiles) {
        for (const problem of ofFile) tell('problem', problem);
      }
      tell('ok', `${path}: ${counted(config.tenants.size, 'tenant')}, ${counted(config.pools.size, 'pool')}`);
      for (const { level, text } of listenerFindings(config, Date.now())) tell(level, text);
      for (const pool of config.pools.values()) {
        const served: (readonly string[] | undefined)[] = [];
        for (const configured of pool.endpoints) {
          for (const endpoint of await addressesOf(pool.name, configured, config, tell)) {
            served.push(await checkEngine({ pool, endpoint, config, tell }));
          }
        }
        for (const { level, text } of adapterFindings(config, pool, served)) tell(level, text);
      }
      await checkService(config.service, tell);
      process.exit(problems === 0 ? 0 : 1);
    });
}

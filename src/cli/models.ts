import { Command } from 'commander';
import { DEFAULT_STATUS_QUERY } from '../admin/status.ts';
import { terminalWidth } from './status.ts';
import { addressOf, addressOption, askStatus, configOfRunning, type Where } from './status-client.ts';
import { modelLines } from './status-view.ts';
import { print, printLines } from './terminal.ts';

interface Options extends Where {
  readonly json?: true;
}

const EXAMPLES = `
Examples:
  fairlane models
  fairlane models --address 127.0.0.1:9464 --json | jq -r '.[].name'
`;

/** `fairlane models`: what clients can name, and what is behind it. */
export function modelsCommand(): Command {
  return new Command('models')
    .description(
      'List the models of the running service: configured ones, those that engines announce, and LoRA adapters with where they are loaded; each with its pool, aliases, context, canary, mirror and fallbacks.',
    )
    .addOption(configOfRunning())
    .addOption(addressOption())
    .option('--json', 'print the models as JSON (docs/reference/status.md)')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      const query = { ...DEFAULT_STATUS_QUERY, tenants: 0, models: true };
      const { report, document } = await askStatus(addressOf(options), query);
      if (options.json === true) {
        print(JSON.stringify((document as { readonly models?: unknown }).models ?? [], undefined, 2));
      } else printLines(modelLines(report.models ?? [], terminalWidth()));
    });
}

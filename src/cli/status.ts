import { Command } from 'commander';
import { DEFAULT_STATUS_QUERY, MOST_TENANT_ROWS } from '../admin/status.ts';
import { hostPortText } from '../domain/host-port.ts';
import { widthFor } from '../domain/text-table.ts';
import { wholeNumber } from './arguments.ts';
import { addressOf, addressOption, askStatus, configOfRunning, type Where } from './status-client.ts';
import { statusPage } from './status-view.ts';
import { print, printLines } from './terminal.ts';

interface Options extends Where {
  readonly tenants: number;
  readonly json?: true;
}

export const tenantRows = wholeNumber('a number of tenants', 0, MOST_TENANT_ROWS);

export const terminalWidth = (): number => widthFor(process.stdout.columns);

const EXAMPLES = `
Examples:
  fairlane status
  fairlane status --config /etc/fairlane/fairlane.yaml --tenants 10
  fairlane status --json | jq '.pools[] | {name, saturation, waiting}'
`;

/** `fairlane status`: what the running service does at the moment. */
export function statusCommand(): Command {
  return new Command('status')
    .description(
      'Show what the running service does now: pools with their saturation, endpoints with what is in flight, who waits, tenants with what is left of their limits, and what is wrong.',
    )
    .addOption(configOfRunning())
    .addOption(addressOption())
    .option('--tenants <number>', 'tenants, and rows of the queue, at most', tenantRows, 20)
    .option('--json', 'print the document of /status (docs/reference/status.md)')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      const address = addressOf(options);
      const { report, document } = await askStatus(address, {
        ...DEFAULT_STATUS_QUERY,
        tenants: options.tenants,
      });
      if (options.json === true) print(JSON.stringify(document, undefined, 2));
      else printLines(statusPage(report, hostPortText(address), terminalWidth()));
    });
}

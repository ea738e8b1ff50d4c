import { Command, Option } from 'commander';
import { DEFAULT_STATUS_QUERY, STATUS_SORTS, type StatusSort } from '../admin/status.ts';
import { tenantRows, terminalWidth } from './status.ts';
import { addressOf, addressOption, askStatus, configOfRunning, type Where } from './status-client.ts';
import { restLine, tenantLines } from './status-view.ts';
import { print, printLines } from './terminal.ts';

interface Options extends Where {
  readonly most: number;
  readonly sort: StatusSort;
  readonly active?: true;
  readonly json?: true;
}

const EXAMPLES = `
Examples:
  fairlane tenants
  fairlane tenants --active --sort tokens --most 10
  fairlane tenants --json | jq -r '.rows[] | [.name, .month.left] | @tsv'
`;

/** `fairlane tenants`: the tenants of the running service. `fairlane tenant` changes them. */
export function tenantsCommand(): Command {
  return new Command('tenants')
    .description(
      'List the tenants of the running service: tier, weight, what runs and waits, requests and tokens a second, and what is left of their limits. Changes nothing.',
    )
    .addOption(configOfRunning())
    .addOption(addressOption())
    .option('--most <number>', 'rows at most; the others are summed', tenantRows, 1_000)
    .addOption(new Option('--sort <by>', 'what comes first').choices(STATUS_SORTS).default('name'))
    .option('--active', 'only those with requests now, or in the last minute')
    .option('--json', 'print the tenants as JSON (docs/reference/status.md)')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      const { most: tenants, sort, active } = options;
      const query = { ...DEFAULT_STATUS_QUERY, tenants, sort, idle: active !== true };
      const { report, document } = await askStatus(addressOf(options), query);
      if (options.json === true) {
        print(JSON.stringify((document as { readonly tenants: unknown }).tenants, undefined, 2));
        return;
      }
      const rest = restLine(report);
      printLines([
        ...tenantLines(report.tenants.rows, terminalWidth()),
        ...(rest === undefined ? [] : [rest]),
      ]);
    });
}

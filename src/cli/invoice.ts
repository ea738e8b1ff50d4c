import { Command } from 'commander';
import { INVOICE_BY, invoiceCsv, invoiceJson, invoiceOf, invoiceText } from '../ledger/invoice.ts';
import { configOption, textArgument } from './arguments.ts';
import { askUsage, daysText, formatOption, tableWidth, withLedger, writeOut } from './ledger-reading.ts';
import { print, printError } from './terminal.ts';
import { usagePeriod } from './usage.ts';

interface Options {
  readonly config: string;
  readonly month: string;
  readonly format: 'text' | 'csv' | 'json';
}

/** `fairlane invoice TENANT`: what a tenant is charged for a month. */
export function invoiceCommand(): Command {
  return new Command('invoice')
    .description(
      'Say what a tenant is charged for a month (UTC), by model and adapter, from the ledger of a configuration. What it cost is not in it.',
    )
    .argument('<tenant>', 'whom', textArgument)
    .addOption(configOption('configuration (YAML) with the ledger'))
    .requiredOption('--month <month>', 'for example 2026-11')
    .addOption(formatOption('text'))
    .action(async (tenant: string, { config, month, format }: Options) => {
      const nowMs = Date.now();
      const period = usagePeriod({ month }, nowMs);
      await withLedger(config, async (ledger) => {
        const rows = await askUsage(ledger, { period, by: INVOICE_BY, tenant });
        const invoice = invoiceOf(tenant, period, nowMs, rows);
        if (format === 'csv') await writeOut(invoiceCsv(invoice));
        else if (format === 'json') await writeOut(`${JSON.stringify(invoiceJson(invoice), undefined, 2)}\n`);
        else print(invoiceText(invoice, tableWidth()).join('\n'));
        if (rows.length === 0) printError(`fairlane: ${await daysText(ledger)}`);
      });
    });
}

import { createWriteStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { LedgerConfig } from '../config/ledger.ts';
import { type Database, DatabaseError } from '../database/database.ts';
import { openDatabase } from '../database/open-database.ts';
import { checkLedger, requireLedger } from '../ledger/check.ts';
import { csvHeader, csvLine } from '../ledger/csv.ts';
import { type ExportOf, exportColumns, exportRows } from '../ledger/export.ts';
import { LEDGER_TABLES } from '../ledger/migrations.ts';
import { monthOf, type Period, timeOf } from '../ledger/period.ts';
import { dropOldRows } from '../ledger/retention.ts';
import { configOption, textArgument } from './arguments.ts';
import { loadOrThrow } from './loading.ts';
import { print, printError } from './terminal.ts';
import { UserError } from './user-error.ts';

/** A file of millions of rows takes its time. */
const COMMAND_MS = 3_600_000;
const FIRST_YEAR = Date.UTC(2000);
const LAST_YEAR = Date.UTC(10_000);

async function withLedger(
  config: string,
  readOnly: boolean,
  work: (database: Database, ledger: LedgerConfig) => Promise<void>,
): Promise<void> {
  const { ledger } = loadOrThrow(config, process.env).config;
  if (ledger === undefined) {
    throw new UserError(`${config} has no section ledger: nothing is kept (docs/billing.md)`);
  }
  const database = openDatabase(ledger.target, { readOnly, timeoutMs: COMMAND_MS });
  try {
    await work(database, ledger);
  } catch (error) {
    throw error instanceof DatabaseError ? new UserError(error.message) : error;
  } finally {
    await database.close();
  }
}

const day = (ms: number): string => new Date(ms).toISOString().slice(0, 'yyyy-mm-dd'.length);

/** Files with records that wait, of every process that writes into this directory. */
async function waitingFiles(directory: string): Promise<number> {
  const spool = join(directory, 'spool');
  const files = await readdir(spool, { recursive: true }).catch(() => []);
  return files.filter((file) => file.endsWith('.jsonl')).length;
}

async function check({ config }: { config: string }): Promise<void> {
  await withLedger(config, true, async (database, { directory }) => {
    const { requests, firstMs, lastMs, sumsFromMs, problems } = await checkLedger(database);
    for (const problem of problems) printError(`${database.shown}: ${problem}`);
    if (problems.length > 0) process.exitCode = 1;
    const times = firstMs === undefined || lastMs === undefined ? '' : `, ${day(firstMs)} to ${day(lastMs)}`;
    const sums = sumsFromMs === undefined ? '' : `; sums since ${day(sumsFromMs)}`;
    const verdict = problems.length === 0 ? 'OK' : 'NOT WHOLE';
    print(`${verdict}: ${database.shown}: ${requests} rows${times}${sums}`);
    const files = await waitingFiles(directory);
    if (files > 0) print(`${files} files of records in ${join(directory, 'spool')}: in use, or waiting`);
  });
}

async function vacuum({ config }: { config: string }): Promise<void> {
  await withLedger(config, false, async (database, { keepMs }) => {
    // A database that no service has written to has no tables.
    await requireLedger(database);
    const dropped = await dropOldRows(database, Date.now() - keepMs);
    if (database.dialect === 'sqlite') {
      await database.batch([{ sql: 'VACUUM' }]);
      await database.batch([{ sql: 'PRAGMA wal_checkpoint(TRUNCATE)' }]);
    } else {
      for (const table of LEDGER_TABLES) {
        await database.batch([{ sql: `VACUUM ${table}` }]);
      }
    }
    print(
      `${database.shown}: ${dropped} rows older than ${keepMs / 86_400_000} days dropped, space given back`,
    );
  });
}

interface ExportOptions {
  readonly config: string;
  readonly by: ExportOf;
  readonly month?: Period;
  readonly from?: number;
  readonly to?: number;
  readonly tenant?: string;
  readonly output?: string;
}

function periodOf({ month, from, to }: ExportOptions): Period {
  if (month !== undefined && (from !== undefined || to !== undefined)) {
    throw new UserError('the time is given twice: as --month, and as --from or --to');
  }
  const period = month ?? { fromMs: from ?? FIRST_YEAR, toMs: to ?? LAST_YEAR };
  if (period.fromMs >= period.toMs) throw new UserError('--from is not before --to');
  return period;
}

async function exportCsv(options: ExportOptions): Promise<void> {
  const period = periodOf(options);
  await withLedger(options.config, true, async (database) => {
    await requireLedger(database);
    const columns = exportColumns(options.by);
    let rows = 0;
    async function* text(): AsyncGenerator<string> {
      for await (const page of exportRows(database, options.by, period, options.tenant)) {
        if (rows === 0) yield csvHeader(columns);
        rows += page.length;
        yield page.map((row) => csvLine(columns, row)).join('');
      }
      if (rows === 0) yield csvHeader(columns);
    }
    const { output } = options;
    if (output === undefined) {
      // Not ended: the process has more to say, or not.
      await pipeline(Readable.from(text()), process.stdout, { end: false });
      return;
    }
    await pipeline(Readable.from(text()), createWriteStream(output, { mode: 0o600 }));
    print(`${output}: ${rows} lines`);
  });
}

const dayArgument = (text: string): number => {
  const ms = timeOf(text);
  if (ms === undefined) throw new InvalidArgumentError('it is a day, for example 2026-11-05');
  return ms;
};
const monthArgument = (text: string): Period => {
  const period = monthOf(text);
  if (period === undefined) throw new InvalidArgumentError('it is a month, for example 2026-11');
  return period;
};

/** `fairlane ledger`: whether it is whole, less of it, and all of it as CSV. */
export function ledgerCommand(): Command {
  return new Command('ledger')
    .description('The ledger: a row for each request, and sums by hour, day and month.')
    .addCommand(
      new Command('check')
        .description(
          'Check that the ledger can be read, is of this version, and that its rows and sums agree.',
        )
        .addOption(configOption())
        .action(check),
    )
    .addCommand(
      new Command('vacuum')
        .description(
          'Drop rows older than ledger.keep and give space back. The service may run: its records wait meanwhile.',
        )
        .addOption(configOption())
        .action(vacuum),
    )
    .addCommand(
      new Command('export')
        .description('Write the ledger as CSV. The service may run.')
        .addOption(configOption())
        .addOption(
          new Option('--by <what>', 'a line for each request, or sums')
            .choices(['requests', 'hours', 'days', 'months'])
            .default('requests'),
        )
        .option('--month <month>', 'one month (UTC), for example 2026-11', monthArgument)
        .option('--from <day>', 'from that day on (UTC), for example 2026-11-05', dayArgument)
        .option('--to <day>', 'up to that day, which is not part of it', dayArgument)
        .option('--tenant <name>', 'one tenant alone', textArgument)
        .option('-o, --output <file>', 'write to a file instead of the standard output', textArgument)
        .action(exportCsv),
    );
}

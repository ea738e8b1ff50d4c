import { Command, InvalidArgumentError, Option } from 'commander';
import { type Period, periodOf } from '../ledger/period.ts';
import {
  DIMENSIONS,
  type Dimension,
  type EstimatedRequest,
  estimatedRequests,
  estimatedStatement,
  isUnprofitable,
  type UsageQuestion,
} from '../ledger/report.ts';
import {
  ESTIMATED_CSV_HEAD,
  estimatedCsv,
  estimatedJson,
  estimatedTable,
  usageCsv,
  usageJson,
  usageTable,
} from '../ledger/usage-report.ts';
import { configOption, textArgument } from './arguments.ts';
import {
  askUsage,
  daysText,
  formatOption,
  type Ledger,
  listArgument,
  tableWidth,
  withLedger,
  writeOut,
} from './ledger-reading.ts';
import { print, printError } from './terminal.ts';
import { UserError } from './user-error.ts';

interface Options {
  readonly config: string;
  readonly tenant?: string;
  readonly model?: string;
  readonly by: readonly Dimension[];
  readonly from?: string;
  readonly to?: string;
  readonly month?: string;
  readonly format: 'table' | 'csv' | 'json';
  readonly unprofitable?: true;
  readonly estimated?: true;
}

const DEFAULT_BY: readonly Dimension[] = ['tenant', 'model'];
/** Rows of a page of requests, and the most that a table or a JSON text has. */
const PAGE = 10_000;
const MOST_LISTED = 100_000;

export function usagePeriod(options: Pick<Options, 'from' | 'to' | 'month'>, nowMs: number): Period {
  const read = periodOf(options, nowMs);
  if (read.kind === 'bad') throw new UserError(read.problem);
  return read.period;
}

/** `fairlane usage`: who used what, what it cost and what is charged for it. */
export function usageCommand(): Command {
  return new Command('usage')
    .description(
      'Say who used what, what it cost and what is charged for it, from the ledger of a configuration; the service may run or not. Times are UTC, and the end of a period is not in it.',
    )
    .addOption(configOption('configuration (YAML) with the ledger'))
    .option('-t, --tenant <name>', 'this tenant alone', textArgument)
    .option('-m, --model <name>', 'this model or adapter alone', textArgument)
    .addOption(
      new Option('--by <names>', `a row for each: one or more of ${DIMENSIONS.join(', ')}, with commas`)
        .argParser(listArgument(DIMENSIONS))
        .default(DEFAULT_BY, DEFAULT_BY.join(',')),
    )
    .option('--month <month>', 'for example 2026-11; default: this month')
    .option('--from <time>', 'first day or hour: 2026-11-01, or 2026-11-01T14:00')
    .option('--to <time>', 'first day or hour that is not meant any more; default: all until now')
    .addOption(formatOption('table'))
    .option('--unprofitable', 'only rows that cost more than is charged for them')
    .option('--estimated', 'list the requests whose usage is an estimate, with their ids')
    .action(async (options: Options) => {
      if (options.unprofitable === true && options.estimated === true) {
        throw new InvalidArgumentError('--unprofitable is of sums, and --estimated of requests: choose one');
      }
      const { tenant, model, by } = options;
      const question: UsageQuestion = {
        period: usagePeriod(options, Date.now()),
        by,
        ...(tenant !== undefined && { tenant }),
        ...(model !== undefined && { model }),
      };
      await withLedger(options.config, (ledger) =>
        options.estimated === true
          ? listEstimated(ledger, question, options.format)
          : tellUsage(ledger, question, options),
      );
    });
}

async function tellUsage(ledger: Ledger, question: UsageQuestion, options: Options): Promise<void> {
  const all = await askUsage(ledger, question);
  const rows = options.unprofitable === true ? all.filter(isUnprofitable) : all;
  const report = { ...question, rows };
  if (options.format === 'csv') await writeOut(usageCsv(report));
  else if (options.format === 'json') await writeOut(`${JSON.stringify(usageJson(report), undefined, 2)}\n`);
  else print(usageTable(report, tableWidth()).join('\n'));
  if (all.length === 0) printError(`fairlane: ${await daysText(ledger)}`);
}

async function listEstimated(
  ledger: Ledger,
  question: UsageQuestion,
  format: Options['format'],
): Promise<void> {
  const counted = (await askUsage(ledger, { ...question, by: [] })).reduce(
    (sum, { sums }) => sum + sums.estimated,
    0n,
  );
  const kept: EstimatedRequest[] = [];
  let listed = 0n;
  if (format === 'csv') await writeOut(ESTIMATED_CSV_HEAD);
  for await (const page of estimatedPages(ledger, question)) {
    listed += BigInt(page.length);
    if (format === 'csv') await writeOut(estimatedCsv(page));
    else if (kept.length + page.length <= MOST_LISTED) kept.push(...page);
    else throw new UserError(`more than ${MOST_LISTED} requests: take --format csv, or a shorter time`);
  }
  if (format === 'json')
    await writeOut(`${JSON.stringify(estimatedJson(question.period, kept), undefined, 2)}\n`);
  else if (format === 'table') print(estimatedTable(question.period, kept, tableWidth()).join('\n'));
  if (counted > listed) {
    printError(
      `fairlane: ${counted} were counted by an estimate, and ${listed} are listed: rows of the others are not kept any more (ledger.keep)`,
    );
  }
}

async function* estimatedPages(
  { database }: Ledger,
  question: UsageQuestion,
): AsyncGenerator<readonly EstimatedRequest[]> {
  let last: EstimatedRequest | undefined;
  for (;;) {
    const [answer] = await database.batch([estimatedStatement(question, last, PAGE)]);
    const page = estimatedRequests(answer?.rows ?? []);
    yield page;
    last = page.at(-1);
    if (page.length < PAGE) return;
  }
}

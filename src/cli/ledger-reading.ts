/** The ledger of a configuration, for reports: it is only read, also while the service runs or is stopped. */
import { InvalidArgumentError, Option } from 'commander';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/fs-config.ts';
import { didYouMean, quote } from '../config/report.ts';
import { type Database, DatabaseError } from '../database/database.ts';
import { openDatabase } from '../database/open-database.ts';
import { LEDGER_MIGRATIONS } from '../ledger/migrations.ts';
import { dayText } from '../ledger/period.ts';
import {
  DAYS_STATEMENT,
  namesStatement,
  type UsageQuestion,
  type UsageRow,
  usageRows,
  usageStatements,
} from '../ledger/report.ts';
import { problemsError, UserError } from './user-error.ts';

/** Longest time that a question may take. */
const TIMEOUT_MS = 600_000;
const MOST_ROWS = 500_000;
/** Names that are looked at for a similar one, and that are shown. */
const MOST_NAMES = 20_000;
const MOST_SHOWN = 10;
/** What a table is made for; a wider terminal has room for longer names. */
const TABLE_WIDTH = 80;
const MOST_WIDTH = 200;

export const tableWidth = (): number =>
  Math.max(TABLE_WIDTH, Math.min(process.stdout.columns ?? TABLE_WIDTH, MOST_WIDTH));

export const formatOption = (people: string): Option =>
  new Option('--format <format>', 'how it is printed').choices([people, 'csv', 'json']).default(people);

export interface Ledger {
  readonly config: Config;
  readonly database: Database;
}

/** Where nobody connects: the address is in a variable or a file that is not there. */
const isUnresolved = ({ ledger }: Config): boolean =>
  ledger?.target.kind === 'postgresql' && ledger.target.url.includes('.invalid/');

/** API keys and the like may be missing where reports are made. */
function configOf(path: string): Config {
  const loaded = loadConfig(path, process.env);
  if (loaded.kind === 'ok') return loaded.config;
  const without = loadConfig(path, process.env, { isUnresolved: true });
  if (without.kind === 'ok' && !isUnresolved(without.config)) return without.config;
  throw problemsError('the configuration', loaded.problems);
}

/** Opens the ledger for `use`, and closes it. @throws UserError when there is none, or it cannot be read. */
export async function withLedger(configPath: string, use: (ledger: Ledger) => Promise<void>): Promise<void> {
  const config = configOf(configPath);
  if (config.ledger === undefined) {
    throw new UserError(
      `${configPath} has no ledger, so that nothing is kept: add "ledger: { directory: /var/lib/fairlane }" and restart the service`,
    );
  }
  const database = openDatabase(config.ledger.target, { readOnly: true, timeoutMs: TIMEOUT_MS });
  try {
    await checkTables(database);
    await use({ config, database });
  } catch (error) {
    throw error instanceof DatabaseError ? new UserError(problemText(error)) : error;
  } finally {
    await database.close();
  }
}

const problemText = ({ message }: DatabaseError): string => {
  const hint = /no such file/.test(message)
    ? '; the service makes it when it starts with this configuration'
    : '';
  return `the ledger cannot be read: ${message}${hint}`;
};

/** They are made by the service; a newer one may have made others. */
async function checkTables(database: Database): Promise<void> {
  try {
    await database.migrate('ledger', LEDGER_MIGRATIONS);
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.kind === 'away') throw error;
    if (/newer|no such file|damaged|no SQLite|right|password|connect/.test(error.message)) throw error;
    throw new UserError(
      `${database.shown} has no tables of this version's ledger yet: start the service with this configuration first (${error.message})`,
    );
  }
}

/** Rows of a question. An unknown tenant or model is told, with what there is. */
export async function askUsage(ledger: Ledger, question: UsageQuestion): Promise<readonly UsageRow[]> {
  const { database } = ledger;
  const answers = await database.batch(usageStatements(question, database.dialect, MOST_ROWS + 1));
  const rows = usageRows(
    question,
    answers.flatMap((answer) => answer.rows),
  );
  if (rows.length > MOST_ROWS || answers.some((answer) => answer.rows.length > MOST_ROWS)) {
    throw new UserError(`more than ${MOST_ROWS} rows: ask for a shorter time, or by less`);
  }
  if (rows.length === 0) await checkNames(ledger, question);
  return rows;
}

async function checkNames({ config, database }: Ledger, { tenant, model }: UsageQuestion): Promise<void> {
  const inLedger = async (of: 'tenant' | 'model' | 'adapter'): Promise<readonly string[]> => {
    const [answer] = await database.batch([namesStatement(of, MOST_NAMES)]);
    return (answer?.rows ?? []).map(({ name }) => String(name));
  };
  if (tenant !== undefined && !config.tenants.has(tenant)) {
    checkName('tenant', tenant, [...config.tenants.keys(), ...(await inLedger('tenant'))]);
  }
  if (model !== undefined && !config.models.has(model) && !config.adapters.has(model)) {
    const known = [...config.models.keys(), ...config.adapters.keys()];
    checkName('model', model, [...known, ...(await inLedger('model')), ...(await inLedger('adapter'))]);
  }
}

function checkName(noun: string, name: string, all: readonly string[]): void {
  const known = [...new Set(all)].toSorted();
  if (known.includes(name)) return;
  const more = known.length > MOST_SHOWN ? ` and ${known.length - MOST_SHOWN} more` : '';
  const there = known.length === 0 ? 'none' : `${known.slice(0, MOST_SHOWN).join(', ')}${more}`;
  throw new UserError(
    `there is no ${noun} ${quote(name)}, in the configuration or in the ledger${didYouMean(name, known)} (there ${known.length === 1 ? 'is' : 'are'} ${there})`,
  );
}

/** Which days the ledger has, for who asked about others. */
export async function daysText({ database }: Ledger): Promise<string> {
  const [answer] = await database.batch([DAYS_STATEMENT]);
  const { first_ms: first, last_ms: last } = answer?.rows[0] ?? {};
  return first === null || first === undefined || last === null || last === undefined
    ? 'The ledger is empty.'
    : `The ledger has ${dayText(Number(first))} to ${dayText(Number(last))}.`;
}

/** To stdout, as it is, as fast as it is read. */
export async function writeOut(text: string): Promise<void> {
  if (process.stdout.write(text)) return;
  await new Promise((resolve) => process.stdout.once('drain', resolve));
}

/** A list of some of `options`, in their own order of writing, each once. */
export const listArgument =
  <T extends string>(options: readonly T[]) =>
  (text: string): readonly T[] => {
    const names = text.split(',').map((name) => name.trim());
    const wrong = names.find((name) => !options.some((option) => option === name));
    if (wrong !== undefined) {
      throw new InvalidArgumentError(
        `${quote(wrong)} is none of ${options.join(', ')}${didYouMean(wrong, options)}`,
      );
    }
    const [twice] = names.filter((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined) throw new InvalidArgumentError(`${twice} is there twice`);
    return names as readonly string[] as readonly T[];
  };

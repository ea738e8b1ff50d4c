/** Processes that write into one ledger and are killed, one after the other; and what is in the ledger then. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type DatabaseTarget, openDatabase } from '../../src/database/open-database.ts';
import { Spool } from '../../src/ledger/fs-spool.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { eventually } from './eventually.ts';

const PROGRAM = fileURLToPath(new URL('ledger-process.ts', import.meta.url));
/** Of the process, between two lines that it says. */
const STEP_MS = 10;
/** Between the numbers of two processes. */
const NUMBERS = 1_000_000;

export interface Killed {
  /** Numbers of its first record, and behind its last one. */
  readonly from: number;
  readonly to: number;
  /** Up to which it had given records to the writer so long before it was killed. */
  readonly certain: number;
}

/** What a crash may lose, in milliseconds before it. */
const BOUND_MS = 250;
/** So often the process speaks in that time. One that a busy machine keeps from running speaks less often, and writes later. */
const BOUND_STEPS = BOUND_MS / STEP_MS;

/** @param forMs how long it runs from its first record on. */
export async function writeAndKill(
  directory: string,
  target: DatabaseTarget,
  round: number,
  perSecond: number,
  forMs: number,
): Promise<Killed> {
  const from = round * NUMBERS;
  const args = [
    '--import',
    'tsx',
    PROGRAM,
    directory,
    JSON.stringify(target),
    String(from),
    String(perSecond),
    String(STEP_MS),
  ];
  const child: ChildProcess = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const said: { readonly number: number; readonly atMs: number }[] = [];
  let rest = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    const atMs = performance.now();
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) said.push({ number: Number(line), atMs });
  });
  await eventually(
    () => said.length,
    (length) => length > 0,
    60_000,
  );
  await new Promise((resolve) => setTimeout(resolve, forMs));
  const killedMs = performance.now();
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('close', resolve));
  const before = said.slice(0, -BOUND_STEPS);
  const certain = before.findLast(({ atMs }) => atMs <= killedMs - BOUND_MS)?.number ?? from;
  return { from, to: said.at(-1)?.number ?? from, certain };
}

export interface Counted {
  readonly rows: number;
  readonly hours: number;
  readonly days: number;
  /** Of all rounds: records that were given to a writer longer before its end than it may lose, and are not there. */
  readonly missing: number;
  /** Of those given within that time. */
  readonly lost: number;
}

/** Takes on what is left and counts. */
export async function countAfter(
  directory: string,
  target: DatabaseTarget,
  rounds: readonly Killed[],
): Promise<Counted> {
  const database = openDatabase(target);
  const spool = new Spool({ directory, maxBytes: 100_000_000, unixMs: Date.now });
  spool.open();
  await spool.keepUp();
  const writer = new LedgerWriter({
    database,
    spool,
    // Whenever it is run.
    keepMs: 36_500 * 86_400_000,
    unixMs: Date.now,
    tell: () => undefined,
  });
  writer.start();
  await eventually(
    () => writer.status(),
    ({ spooled }) => spooled === 0,
    60_000,
  );
  const count = async (sql: string, values: readonly string[] = []): Promise<number> => {
    const [result] = await database.batch([{ sql, values }]);
    return Number(result?.rows[0]?.['n'] ?? 0);
  };
  let [missing, lost] = [0, 0];
  const id = (number: number): string => `id-${String(number).padStart(9, '0')}`;
  for (const { from, to, certain } of rounds) {
    const sql = 'SELECT count(*) AS n FROM request WHERE id >= ? AND id < ?';
    missing += certain - from - (await count(sql, [id(from), id(certain)]));
    lost += to - certain - (await count(sql, [id(certain), id(to)]));
  }
  const counted = {
    rows: await count('SELECT count(*) AS n FROM request'),
    hours: await count('SELECT sum(requests) AS n FROM usage_hour'),
    days: await count('SELECT sum(requests) AS n FROM usage_day'),
    missing,
    lost,
  };
  await writer.close();
  await database.close();
  return counted;
}

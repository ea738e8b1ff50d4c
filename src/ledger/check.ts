/** Whether a ledger is whole. */
import { type Database, DatabaseError } from '../database/database.ts';
import { LEDGER_MIGRATIONS } from './migrations.ts';

const DAY_MS = 86_400_000;

export interface LedgerFindings {
  readonly requests: number;
  /** Unix times of the first and the last one; undefined: there is none. */
  readonly firstMs: number | undefined;
  readonly lastMs: number | undefined;
  /** Since when there are sums; undefined: there are none. */
  readonly sumsFromMs: number | undefined;
  /** One a line; empty: it is whole. */
  readonly problems: readonly string[];
}

type Batch = Pick<Database, 'batch' | 'dialect' | 'shown'>;

/** @throws DatabaseError when it cannot be read, is of another version, or has never been written to. */
export async function requireLedger({ batch, shown }: Batch): Promise<void> {
  const newest = LEDGER_MIGRATIONS.at(-1)?.number ?? 0;
  const sql = "SELECT max(number) AS version FROM fairlane_migration WHERE feature = 'ledger'";
  const [result] = await batch([{ sql }]).catch((error: unknown) => {
    if (/no such table|does not exist/.test(String(error))) return [];
    throw error;
  });
  const version = Number(result?.rows[0]?.['version'] ?? 0);
  if (version === newest) return;
  throw new DatabaseError(
    'refused',
    version === 0
      ? `${shown}: there is no ledger in it yet; the service makes it with the first record`
      : `${shown}: its ledger is of version ${version}, and this Fairlane has version ${newest}; ` +
          (version > newest ? 'run a newer Fairlane' : 'start the service once: it brings it up to date'),
  );
}

/** What SQLite itself says of the file. */
async function damage({ batch, dialect }: Batch): Promise<readonly string[]> {
  if (dialect !== 'sqlite') return [];
  const [result] = await batch([{ sql: 'PRAGMA integrity_check(10)' }]);
  const lines = (result?.rows ?? []).map((row) => String(Object.values(row)[0]));
  return lines.filter((line) => line !== 'ok');
}

/** Rows and sums of each whole day that has rows still. */
const COMPARED = `SELECT days.start_ms AS start_ms, days.requests AS summed, coalesce(rows_of.requests, 0) AS counted
  FROM (SELECT start_ms, sum(requests) AS requests FROM usage_day WHERE start_ms >= ? GROUP BY start_ms) AS days
  LEFT JOIN (SELECT ended_ms - ended_ms % ${DAY_MS} AS start_ms, count(*) AS requests FROM request
    WHERE ended_ms >= ? GROUP BY 1) AS rows_of ON rows_of.start_ms = days.start_ms
  WHERE days.requests <> coalesce(rows_of.requests, 0) ORDER BY 1 LIMIT 10`;

export async function checkLedger(database: Batch): Promise<LedgerFindings> {
  await requireLedger(database);
  const problems = [...(await damage(database))];
  const [rows, sums] = await database.batch([
    { sql: 'SELECT count(*) AS requests, min(ended_ms) AS first, max(ended_ms) AS last FROM request' },
    { sql: 'SELECT min(start_ms) AS first FROM usage_day' },
  ]);
  const { requests = 0, first = null, last = null } = rows?.rows[0] ?? {};
  const sumsFrom = sums?.rows[0]?.['first'] ?? null;
  // Of the first day some rows may have been dropped.
  const whole = first === null ? undefined : (Math.floor(Number(first) / DAY_MS) + 1) * DAY_MS;
  const from =
    whole !== undefined && sumsFrom !== null && Number(sumsFrom) >= whole - DAY_MS ? whole - DAY_MS : whole;
  if (from !== undefined) {
    const [compared] = await database.batch([{ sql: COMPARED, values: [from, from] }]);
    for (const { start_ms: day, summed, counted } of compared?.rows ?? []) {
      const name = new Date(Number(day)).toISOString().slice(0, 'yyyy-mm-dd'.length);
      problems.push(`${name}: ${counted} rows, and sums of ${summed} requests`);
    }
  }
  const msOrNone = (value: unknown): number | undefined => (value === null ? undefined : Number(value));
  return {
    requests: Number(requests),
    firstMs: msOrNone(first),
    lastMs: msOrNone(last),
    sumsFromMs: msOrNone(sumsFrom),
    problems,
  };
}

/** How old rows leave the ledger: some at a time, so that nobody waits long for the database. Sums stay. */
import type { Database } from '../database/database.ts';

const MOST_AT_ONCE = 5_000;

/** @param unixMs rows of requests that ended before are removed. @param goesOn asked before each part. @returns how many were. */
export async function dropOldRows(
  database: Database,
  unixMs: number,
  goesOn: () => boolean = () => true,
): Promise<number> {
  let dropped = 0;
  while (goesOn()) {
    const [result] = await database.batch([
      {
        sql: 'DELETE FROM request WHERE id IN (SELECT id FROM request WHERE ended_ms < ? ORDER BY ended_ms LIMIT ?)',
        values: [unixMs, MOST_AT_ONCE],
      },
    ]);
    const changed = result?.changed ?? 0;
    dropped += changed;
    if (changed < MOST_AT_ONCE) break;
  }
  return dropped;
}

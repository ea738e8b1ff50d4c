/**
 * Brings a feature's tables to its last step. There is a row for each step that was taken, written in the step's own transaction:
 * of two processes that take the same step at once one fails, sees that it has been taken, and goes on.
 */
import { type Database, DatabaseError, type Dialect, type Migration, type SqlText } from './database.ts';

const STEPS = `CREATE TABLE IF NOT EXISTS fairlane_migration (
  feature TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (feature, number))`;
const LAST_STEP = 'SELECT max(number) AS last FROM fairlane_migration WHERE feature = ?';
const STEP_TAKEN = 'INSERT INTO fairlane_migration (feature, number) VALUES (?, ?)';

const textFor = (dialect: Dialect, text: SqlText): string =>
  typeof text === 'string' ? text : text[dialect];

/** @throws DatabaseError when a step fails, or when the tables are of a newer version than `migrations` knows. */
export async function migrate(
  { batch, dialect, shown }: Pick<Database, 'batch' | 'dialect' | 'shown'>,
  feature: string,
  migrations: readonly Migration[],
): Promise<void> {
  const stepsTaken = async (): Promise<number> => {
    const [result] = await batch([{ sql: LAST_STEP, values: [feature] }]);
    return Number(result?.rows[0]?.['last'] ?? 0);
  };
  // Two processes that make a table at once can get in each other's way, although both say IF NOT EXISTS.
  const taken = await stepsTaken().catch(async () => {
    await batch([{ sql: STEPS }]).catch(() => undefined);
    return stepsTaken();
  });
  const newest = migrations.at(-1)?.number ?? 0;
  if (taken > newest) {
    throw new DatabaseError(
      'refused',
      `${shown}: its tables of "${feature}" are of version ${taken}, and this Fairlane knows up to version ${newest}; ` +
        'run a newer Fairlane, or give it another database',
    );
  }
  for (const { number, statements } of migrations) {
    if (number <= taken) continue;
    try {
      const own = statements.map((text) => ({ sql: textFor(dialect, text) }));
      await batch([{ sql: STEP_TAKEN, values: [feature, number] }, ...own]);
    } catch (error) {
      // Another process may have been faster.
      if ((await stepsTaken()) < number) throw error;
    }
  }
}

/** The ledger as it runs: a database, records that wait for it, and the one who writes. */
import type { LedgerHealth } from '../admin/health.ts';
import type { LedgerConfig } from '../config/ledger.ts';
import type { Database } from '../database/database.ts';
import { openDatabase } from '../database/open-database.ts';
import { atMost } from '../domain/at-most.ts';
import { textOf } from '../domain/text-of.ts';
import { Spool } from '../ledger/fs-spool.ts';
import { type LedgerStatus, LedgerWriter } from '../ledger/writer.ts';
import type { UsageRecord } from '../usage/usage-record.ts';
import type { Tell } from './pool-context.ts';

/** For a database that says nothing when the service ends. */
const END_MS = 2_000;

export class LedgerRuntime {
  /** For what else is kept beside the ledger. */
  readonly database: Database;
  readonly #writer: LedgerWriter;

  /** @throws when the state directory cannot be made. */
  constructor({ directory, target, keepMs, maxSpoolBytes }: LedgerConfig, tell: Tell) {
    const spool = new Spool({ directory, maxBytes: maxSpoolBytes, unixMs: Date.now });
    try {
      spool.open();
    } catch (error) {
      throw new Error(`ledger.directory: ${directory} cannot be used: ${textOf(error)}`, { cause: error });
    }
    this.database = openDatabase(target);
    this.#writer = new LedgerWriter({ database: this.database, spool, keepMs, unixMs: Date.now, tell });
    this.#writer.start();
  }

  record(record: UsageRecord): void {
    this.#writer.record(record);
  }

  status(): LedgerStatus {
    return this.#writer.status();
  }

  async close(): Promise<void> {
    await this.#writer.close();
    await atMost(END_MS, this.database.close());
  }
}

export const ledgerHealth = ({ problem, spooled, lost }: LedgerStatus): LedgerHealth => ({
  state: problem === undefined ? 'ok' : 'away',
  ...(problem !== undefined && { problem }),
  spooled,
  lost: Object.values(lost).reduce((sum, records) => sum + records, 0),
});

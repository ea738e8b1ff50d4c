/**
 * The ledger's one writer. A record becomes a line in memory; every 100 ms the lines are appended to the spool, and from there
 * they go to the database in batches. Nobody waits for either. What a crash may lose is what came since the last append.
 */
import type { Database } from '../database/database.ts';
import { atMost } from '../domain/at-most.ts';
import { messageOf } from '../domain/text-of.ts';
import type { UsageRecord } from '../usage/usage-record.ts';
import { addedRows, insertRows } from './insert.ts';
import { LEDGER_MIGRATIONS } from './migrations.ts';
import { dropOldRows } from './retention.ts';
import { lineOf } from './row-line.ts';
import { ledgerRowOf } from './row-of.ts';

/** The port of the spool; fs-spool.ts is one. */
export interface RecordSpool {
  readonly waiting: number;
  readonly oldestMs: number | undefined;
  append(lines: readonly string[]): Promise<number>;
  next(
    most: number,
  ): Promise<readonly { readonly lines: readonly string[]; readonly torn: number; done(): Promise<void> }[]>;
  sync(): Promise<void>;
  keepUp(): Promise<void>;
  close(): Promise<void>;
}

export type LedgerEvent =
  /** Records wait on the disk; false: the database takes them again. */
  | { readonly kind: 'ledger-away'; readonly away: boolean; readonly problem?: string }
  /** Records that are in no ledger: `spool-full`, `spool-failed` or `torn`. */
  | { readonly kind: 'ledger-lost'; readonly records: number; readonly reason: LossReason };
export type LossReason = 'spool-full' | 'spool-failed' | 'torn';

export interface LedgerWriterOptions {
  readonly database: Database;
  readonly spool: RecordSpool;
  readonly keepMs: number;
  readonly unixMs: () => number;
  readonly tell: (event: LedgerEvent) => void;
}

export interface LedgerStatus {
  /** Since the start. */
  readonly rows: number;
  readonly lost: Readonly<Record<LossReason, number>>;
  /** Records that wait, on the disk or for it. */
  readonly spooled: number;
  /** Age of the oldest one that waits, in milliseconds. */
  readonly lagMs: number;
  /** Why the database does not take records; undefined: it does, as far as is known. */
  readonly problem: string | undefined;
}

const APPEND_MS = 100;
/** Appended at once when so many wait in memory. */
const MOST_IN_MEMORY = 1_000;
/** In memory while the disk takes nothing. */
const MOST_HELD = 20_000;
const MOST_IN_BATCH = 2_000;
/** How often records go to the database, unless so many wait: a batch costs as much as some hundred records. */
const DRAIN_MS = 500;
const DRAINED_AT_ONCE = 1_000;
const KEEP_UP_MS = 5_000;
const SYNC_MS = 1_000;
const RETENTION_MS = 3_600_000;
const [FIRST_RETRY_MS, LAST_RETRY_MS] = [250, 5_000];
/** What the database may take longer for, before that is told of. */
const LATE_MS = 10_000;
/** What is lost is told of once in so long. */
const TOLD_MS = 10_000;
/** For the last records, when the service ends. */
const END_MS = 3_000;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms).unref());

export class LedgerWriter {
  readonly #options: LedgerWriterOptions;
  /** Not on the disk yet. */
  #lines: string[] = [];
  /** Records on their way to the disk: neither in memory nor there. */
  #underWay = 0;
  #appending: Promise<void> | undefined;
  #draining: Promise<void> | undefined;
  #rows = 0;
  readonly #lost: Record<LossReason, number> = { 'spool-full': 0, 'spool-failed': 0, torn: 0 };
  readonly #untold: Partial<Record<LossReason, number>> = {};
  #problem: string | undefined;
  #isAway = false;
  #isMigrated = false;
  #isClosing = false;
  readonly #timers: NodeJS.Timeout[] = [];

  constructor(options: LedgerWriterOptions) {
    this.#options = options;
  }

  start(): void {
    const every = (ms: number, work: () => unknown): void => {
      this.#timers.push(setInterval(work, ms).unref());
    };
    every(APPEND_MS, () => this.#appendSoon());
    every(DRAIN_MS, () => this.#drainSoon());
    every(KEEP_UP_MS, () => this.#keepUp());
    every(SYNC_MS, () => this.#isAway && this.#options.spool.sync().catch(() => undefined));
    every(RETENTION_MS, () => this.#retain());
    every(TOLD_MS, () => this.#tellLost());
    this.#keepUp();
    this.#drainSoon();
    // What other processes have left comes first: their rows must not be gone when they come.
    setTimeout(() => this.#retain(), 2 * KEEP_UP_MS).unref();
  }

  /** Takes a record; never fails, never waits. */
  record(record: UsageRecord): void {
    if (this.#lines.length >= MOST_HELD) {
      this.#lose(1, 'spool-failed');
      return;
    }
    this.#lines.push(lineOf(ledgerRowOf(record, this.#options.unixMs())));
    if (this.#lines.length >= MOST_IN_MEMORY) this.#appendSoon();
  }

  status(): LedgerStatus {
    const { spool, unixMs } = this.#options;
    const oldestMs = spool.oldestMs;
    const lagMs = oldestMs === undefined ? 0 : Math.max(0, unixMs() - oldestMs);
    const late = lagMs > LATE_MS ? `records wait for ${Math.round(lagMs / 1_000)} s` : undefined;
    return {
      rows: this.#rows,
      lost: this.#lost,
      spooled: spool.waiting + this.#underWay + this.#lines.length,
      lagMs,
      problem: this.#problem ?? late,
    };
  }

  /** Gives the database what there is, for a while; the rest waits on the disk for the next start. */
  async close(): Promise<void> {
    this.#isClosing = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#appending;
    await this.#append();
    this.#drainSoon();
    await atMost(END_MS, this.#draining);
    this.#tellLost();
    await this.#options.spool.close();
  }

  #appendSoon(): void {
    if (this.#lines.length === 0) return;
    this.#appending ??= this.#append().finally(() => {
      this.#appending = undefined;
    });
  }

  async #append(): Promise<void> {
    const lines = this.#lines;
    if (lines.length === 0) return;
    this.#lines = [];
    this.#underWay = lines.length;
    try {
      const taken = await this.#options.spool.append(lines);
      if (taken < lines.length) this.#lose(lines.length - taken, 'spool-full');
    } catch (error) {
      await this.#withoutDisk(lines, error);
    }
    this.#underWay = 0;
    if (this.#options.spool.waiting >= DRAINED_AT_ONCE) this.#drainSoon();
  }

  /** The disk takes nothing: the database may. Otherwise they wait in memory. */
  async #withoutDisk(lines: readonly string[], error: unknown): Promise<void> {
    if (this.#problem === undefined) {
      try {
        await this.#insert(lines);
        return;
      } catch {
        // It does not take them either.
      }
    }
    this.#away(`the spool cannot be written: ${messageOf(error)}`);
    const room = Math.max(0, MOST_HELD - this.#lines.length);
    if (lines.length > room) this.#lose(lines.length - room, 'spool-failed');
    this.#lines = [...lines.slice(0, room), ...this.#lines];
  }

  #drainSoon(): void {
    this.#draining ??= this.#drain().finally(() => {
      this.#draining = undefined;
    });
  }

  /** Until nothing waits; while the database takes nothing, it is asked again now and then. */
  async #drain(): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    // Its tables are there from the start on: who reads it finds them, and what is wrong with it is told at once.
    while (!this.#isMigrated || this.#options.spool.waiting > 0) {
      try {
        await this.#migrated();
        await this.#drainSome();
        this.#back();
        retryMs = FIRST_RETRY_MS;
      } catch (error) {
        this.#away(messageOf(error));
        if (this.#isClosing) return;
        await sleep(retryMs);
        retryMs = Math.min(LAST_RETRY_MS, retryMs * 2);
      }
    }
  }

  async #drainSome(): Promise<void> {
    for (const part of await this.#options.spool.next(MOST_IN_BATCH)) {
      if (part.lines.length > 0) await this.#insert(part.lines);
      if (part.torn > 0) this.#lose(part.torn, 'torn');
      await part.done();
    }
  }

  async #insert(lines: readonly string[]): Promise<void> {
    const { database } = this.#options;
    await this.#migrated();
    try {
      this.#rows += addedRows(database.dialect, await database.batch(insertRows(database.dialect, lines)));
    } catch (error) {
      // It may come back as another one, without tables.
      this.#isMigrated = false;
      throw error;
    }
  }

  async #migrated(): Promise<void> {
    if (this.#isMigrated) return;
    await this.#options.database.migrate('ledger', LEDGER_MIGRATIONS);
    this.#isMigrated = true;
  }

  #keepUp(): void {
    const { spool } = this.#options;
    spool.keepUp().then(
      () => this.#drainSoon(),
      (error: unknown) => this.#away(`the spool: ${messageOf(error)}`),
    );
  }

  #retain(): void {
    const { database, keepMs, unixMs, spool } = this.#options;
    // A row that is removed could come again from the spool.
    if (this.#isClosing || this.#isAway || spool.waiting > MOST_IN_BATCH) return;
    this.#migrated()
      .then(() => dropOldRows(database, unixMs() - keepMs, () => !this.#isClosing))
      .catch(() => undefined);
  }

  #away(problem: string): void {
    this.#problem = problem;
    if (this.#isAway) return;
    this.#isAway = true;
    this.#options.tell({ kind: 'ledger-away', away: true, problem });
  }

  #back(): void {
    this.#problem = undefined;
    if (!this.#isAway) return;
    this.#isAway = false;
    this.#options.tell({ kind: 'ledger-away', away: false });
  }

  #lose(records: number, reason: LossReason): void {
    this.#lost[reason] += records;
    const isFirst = this.#untold[reason] === undefined && this.#lost[reason] === records;
    this.#untold[reason] = (this.#untold[reason] ?? 0) + records;
    if (isFirst) this.#tellLost();
  }

  #tellLost(): void {
    for (const reason of Object.keys(this.#untold) as LossReason[]) {
      this.#options.tell({ kind: 'ledger-lost', records: this.#untold[reason] ?? 0, reason });
      delete this.#untold[reason];
    }
  }
}

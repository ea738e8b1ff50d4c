/** The ledger on a real file and a real server: each record once, whatever happens to either. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Database } from '../../src/database/database.ts';
import { type DatabaseTarget, openDatabase } from '../../src/database/open-database.ts';
import { Spool, type SpoolOptions } from '../../src/ledger/fs-spool.ts';
import { dropOldRows } from '../../src/ledger/retention.ts';
import { type LedgerEvent, LedgerWriter } from '../../src/ledger/writer.ts';
import { eventually } from '../support/eventually.ts';
import { ledgerRecord } from '../support/ledger-records.ts';
import { startPostgresql, type TestPostgresql } from '../support/postgresql.ts';

const root = mkdtempSync(join(tmpdir(), 'fairlane-ledger-'));
let server: TestPostgresql;
let folders = 0;
const closing: (() => Promise<void>)[] = [];

beforeAll(async () => {
  server = await startPostgresql();
}, 60_000);
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});
afterAll(async () => {
  await server.close();
  rmSync(root, { recursive: true, force: true });
});

const nextName = (): string => {
  folders += 1;
  return `l${folders}`;
};
const newFolder = (): string => {
  const folder = join(root, nextName());
  mkdirSync(folder);
  return folder;
};
const KINDS = {
  sqlite: (folder: string) => Promise.resolve({ kind: 'sqlite', path: join(folder, 'ledger.db') } as const),
  postgresql: async () => ({ kind: 'postgresql', url: await server.createDatabase(nextName()) }) as const,
};

interface Opened {
  readonly writer: LedgerWriter;
  readonly database: Database;
  readonly events: LedgerEvent[];
}

function openLedger(
  directory: string,
  target: DatabaseTarget,
  more: Partial<SpoolOptions> & { readonly unixMs?: () => number } = {},
): Opened {
  const unixMs = more.unixMs ?? Date.now;
  const database = openDatabase(target);
  const spool = new Spool({ directory, maxBytes: 20_000_000, unixMs, ...more });
  spool.open();
  const events: LedgerEvent[] = [];
  const writer = new LedgerWriter({
    database,
    spool,
    // Rows here have a date of their own: none is old, whenever it is run.
    keepMs: 36_500 * 86_400_000,
    unixMs,
    tell: (event) => events.push(event),
  });
  writer.start();
  closing.push(async () => {
    await writer.close();
    await database.close();
  });
  return { writer, database, events };
}

const written = (writer: LedgerWriter, rows: number): Promise<unknown> =>
  eventually(
    () => writer.status(),
    (status) => status.rows >= rows && status.spooled === 0,
    20_000,
  );

const SUMS = `SELECT count(*) AS rows, coalesce(sum(prompt_tokens), 0) AS prompt, coalesce(sum(cost_pico), 0) AS cost,
  coalesce(sum(gpu_us), 0) AS gpu FROM request`;
const sumsOf = (
  table: string,
) => `SELECT coalesce(sum(requests), 0) AS rows, coalesce(sum(prompt_tokens), 0) AS prompt,
  coalesce(sum(cost_micro) * 1000000 + sum(cost_pico), 0) AS cost, coalesce(sum(gpu_us), 0) AS gpu FROM ${table}`;

/** That rows and all sums say the same. @returns how many rows there are. */
async function counted(database: Database): Promise<number> {
  const [rows, hours, days, months] = await database.batch([
    { sql: SUMS },
    { sql: sumsOf('usage_hour') },
    { sql: sumsOf('usage_day') },
    { sql: sumsOf('usage_month') },
  ]);
  expect(hours?.rows).toEqual(rows?.rows);
  expect(days?.rows).toEqual(rows?.rows);
  expect(months?.rows).toEqual(rows?.rows);
  return Number(rows?.rows[0]?.['rows']);
}

const fill = (writer: LedgerWriter, from: number, to: number): void => {
  for (let i = from; i < to; i += 1) writer.record(ledgerRecord(i));
};

describe.each(['sqlite', 'postgresql'] as const)('the ledger in %s', (kind) => {
  it('has each record as a row, and its sums by hour and day', async () => {
    const folder = newFolder();
    const { writer, database } = openLedger(folder, await KINDS[kind](folder));
    fill(writer, 0, 2_500);
    writer.record(
      ledgerRecord(9_999, {
        tenant: 'a\n"b" \0 \uD800 ü',
        clientRequestId: 'x'.repeat(5_000),
        outcome: 'failed',
        usageSource: 'estimate',
        promptTokens: Number.NaN,
        durationMs: -5,
        cost: { currency: 'EUR', pico: 10n ** 40n },
        model: 'm',
        endedMs: Date.UTC(2026, 10, 6, 0),
      }),
    );
    await written(writer, 2_501);
    expect(await counted(database)).toBe(2_501);
    const [odd, hours] = await database.batch([
      { sql: 'SELECT * FROM request WHERE id = ?', values: ['id-000009999'] },
      { sql: 'SELECT * FROM usage_hour WHERE tenant = ? AND key_id = ?', values: ['tenant-0', 'key-0'] },
    ]);
    expect(odd?.rows[0]).toMatchObject({
      tenant: 'a\n"b" \uFFFD \uFFFD ü',
      client_request_id: 'x'.repeat(256),
      prompt_tokens: 0,
      duration_ms: 0,
      cost_pico: 10n ** 18n,
      price_pico: 3,
      gpu_us: 250_000,
      stream: 1,
      adapter: null,
    });
    const requests = Array.from({ length: 2_500 }, (_, i) => i).filter((i) => i % 6 === 0).length;
    expect(hours?.rows).toEqual([
      expect.objectContaining({
        start_ms: Date.UTC(2026, 10, 5, 12),
        requests,
        completed: requests,
        failed: 0,
        adapter: '',
        cost_currency: 'EUR',
        cost_micro: requests * 1_000,
        cost_pico: requests,
      }),
    ]);
  });

  it('has a record that comes twice, also in one batch, once', async () => {
    const folder = newFolder();
    const { writer, database } = openLedger(folder, await KINDS[kind](folder));
    fill(writer, 0, 10);
    fill(writer, 5, 15);
    await written(writer, 15);
    fill(writer, 0, 20);
    await written(writer, 20);
    expect(await counted(database)).toBe(20);
  });

  it('sums amounts that no column of its own could have, with a carry, also below zero, by months in UTC', async () => {
    const folder = newFolder();
    const { writer, database } = openLedger(folder, await KINDS[kind](folder));
    const end = Date.UTC(2026, 11, 1);
    const amounts = [999_999n, 10n ** 18n, 1n, -3n, 999_999_999_999_999_999n, -(10n ** 18n), 7n * 10n ** 17n];
    // More than 63 bits in one batch, and again in the next ones.
    const all = Array.from({ length: 40 }, () => [10n ** 18n, 999_999n, ...amounts]).flat();
    const times = (i: number): number => end + [-1, 0, -31 * 86_400_000, 86_400_000][i % 4]!;
    for (const part of [0, 1, 2]) {
      all.forEach((pico, i) => {
        const currency = 'EUR';
        const money = { cost: { currency, pico }, price: { currency, pico: -pico } };
        writer.record(ledgerRecord(part * 1_000 + i, { ...money, endedMs: times(i) }));
      });
      await written(writer, (part + 1) * all.length);
    }
    const expected = (of: readonly bigint[]): bigint => 3n * of.reduce((sum, pico) => sum + pico, 0n);
    for (const table of ['usage_hour', 'usage_day', 'usage_month']) {
      const [result] = await database.batch([{ sql: `SELECT * FROM ${table}` }]);
      const rows = result?.rows ?? [];
      const total = (name: string): bigint =>
        rows.reduce(
          (sum, row) =>
            sum + BigInt(row[`${name}_micro`] ?? 0) * 1_000_000n + BigInt(row[`${name}_pico`] ?? 0),
          0n,
        );
      expect([total('cost'), total('price')]).toEqual([expected(all), -expected(all)]);
      for (const row of rows) {
        for (const rest of [Number(row['cost_pico']), Number(row['price_pico'])]) {
          expect(rest >= 0 && rest < 1_000_000).toBe(true);
        }
      }
    }
    const [months] = await database.batch([
      {
        sql: 'SELECT start_ms, sum(requests) AS requests FROM usage_month GROUP BY start_ms ORDER BY start_ms',
      },
    ]);
    const ofMonth = (start: number) => ({
      start_ms: start,
      requests:
        3 *
        all.filter(
          (_, i) => Date.UTC(new Date(times(i)).getUTCFullYear(), new Date(times(i)).getUTCMonth()) === start,
        ).length,
    });
    expect(months?.rows).toEqual(
      [Date.UTC(2026, 9), Date.UTC(2026, 10), end].map(ofMonth).filter(({ requests }) => requests > 0),
    );
  });

  it('takes figures that are absurd, as often as they come', async () => {
    const folder = newFolder();
    const { writer, database } = openLedger(folder, await KINDS[kind](folder));
    for (let i = 0; i < 3_000; i += 1) {
      const absurd = Number.MAX_VALUE;
      writer.record(
        ledgerRecord(i, {
          endedMs: absurd,
          promptTokens: absurd,
          kvTokenSeconds: absurd,
          gpuSeconds: absurd,
          queueMs: Number.POSITIVE_INFINITY,
          cost: { currency: 'EUR', pico: 10n ** 30n },
        }),
      );
    }
    await written(writer, 3_000);
    const [result] = await database.batch([{ sql: 'SELECT sum(prompt_tokens) AS sum FROM usage_month' }]);
    expect(result?.rows[0]?.['sum']).toBe(3_000 * 1e12);
  });

  it('is written by several processes at once', async () => {
    const folder = newFolder();
    const target = await KINDS[kind](folder);
    const all = [0, 1, 2].map(() => openLedger(folder, target));
    all.forEach(({ writer }, i) => fill(writer, i * 500, i * 500 + 1_000));
    await Promise.all(all.map(({ writer }) => written(writer, 0)));
    await eventually(
      () => all.reduce((sum, { writer }) => sum + writer.status().rows, 0),
      (rows) => rows === 2_000,
      20_000,
    );
    expect(await counted(all[0]?.database as Database)).toBe(2_000);
  });

  it('drops rows that are old, and no sums; a clock that goes back changes neither', async () => {
    const folder = newFolder();
    let back = 0;
    const { writer, database } = openLedger(folder, await KINDS[kind](folder), {
      unixMs: () => Date.now() - back,
    });
    fill(writer, 0, 12_000);
    await written(writer, 12_000);
    back = 3_600_000;
    fill(writer, 12_000, 12_010);
    await written(writer, 12_010);
    expect(await counted(database)).toBe(12_010);
    expect(await dropOldRows(database, Date.UTC(2026, 10, 5, 12) + 11_000)).toBe(11_000);
    const [left, sums] = await database.batch([{ sql: SUMS }, { sql: sumsOf('usage_day') }]);
    expect([left?.rows[0]?.['rows'], sums?.rows[0]?.['rows']]).toEqual([1_010, 12_010]);
  });
});

describe('a database that is away', () => {
  it('costs nothing: records wait on the disk, that is told, and they arrive once', async () => {
    const folder = newFolder();
    const { writer, database, events } = openLedger(folder, await KINDS.postgresql());
    fill(writer, 0, 100);
    await written(writer, 100);
    await server.kill();
    fill(writer, 100, 1_500);
    await eventually(
      () => writer.status(),
      ({ problem, spooled }) => problem !== undefined && spooled === 1_400,
      10_000,
    );
    expect(writer.status().lagMs).toBeGreaterThan(0);
    await server.restart();
    await written(writer, 1_500);
    expect(await counted(database)).toBe(1_500);
    // It is told once the file is empty, which is a moment after nothing waits.
    await eventually(
      () => writer.status().problem,
      (problem) => problem === undefined,
    );
    expect(events.map(({ kind }) => kind)).toEqual(['ledger-away', 'ledger-away']);
    expect(writer.status()).toMatchObject({ problem: undefined, lagMs: 0, lost: { 'spool-full': 0 } });
  });

  it('that hangs does not hold up the disk', async () => {
    const folder = newFolder();
    const { writer, database } = openLedger(folder, await KINDS.postgresql());
    fill(writer, 0, 10);
    await written(writer, 10);
    server.freeze();
    fill(writer, 10, 20);
    await new Promise((resolve) => setTimeout(resolve, 400));
    fill(writer, 20, 30);
    await eventually(
      () => spooledLines(folder),
      (lines) => lines === 20,
      5_000,
    );
    server.resume();
    await written(writer, 30);
    expect(await counted(database)).toBe(30);
  });

  it('for longer than the spool has room loses what is newest, and says how much', async () => {
    const folder = newFolder();
    writeFileSync(join(folder, 'ledger.db'), 'no database '.repeat(1_000));
    const target = await KINDS.sqlite(folder);
    const { writer, events } = openLedger(folder, target, { maxBytes: 30_000 });
    fill(writer, 0, 1_000);
    await eventually(
      () => writer.status(),
      ({ lost, problem }) => lost['spool-full'] > 0 && problem !== undefined,
    );
    const { lost, spooled, problem } = writer.status();
    expect(lost['spool-full'] + spooled).toBe(1_000);
    expect(problem).toContain('no SQLite database');
    expect(events).toContainEqual({ kind: 'ledger-lost', records: lost['spool-full'], reason: 'spool-full' });
    // It is mended: what has room arrives.
    rmSync(join(folder, 'ledger.db'));
    await written(writer, spooled);
  });
});

async function spooledLines(folder: string): Promise<number> {
  let lines = 0;
  for (const owner of readdirSync(join(folder, 'spool'))) {
    for (const file of readdirSync(join(folder, 'spool', owner)).filter((name) => name.endsWith('.jsonl'))) {
      lines += (await readFile(join(folder, 'spool', owner, file), 'utf8')).split('\n').length - 1;
    }
  }
  return lines;
}

describe('a disk that is full', () => {
  it('takes nothing for the spool: the database gets records all the same', async () => {
    const folder = newFolder();
    let isFull = true;
    const { writer, database } = openLedger(folder, await KINDS.postgresql(), {
      write: async (file, text) => {
        if (!isFull) return file.appendFile(text);
        await file.appendFile(text.slice(0, 700));
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      },
    });
    fill(writer, 0, 100);
    await written(writer, 100);
    isFull = false;
    fill(writer, 100, 200);
    await written(writer, 200);
    expect(await counted(database)).toBe(200);
  });

  it('counts what is on its way to it among what waits', async () => {
    const folder = newFolder();
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let isAsked = false;
    const target = await KINDS.sqlite(folder);
    const { writer } = openLedger(folder, target, {
      maxBytes: 100_000_000,
      write: async (to, text) => {
        isAsked = true;
        await held;
        await to.appendFile(text);
      },
    });
    fill(writer, 0, 100);
    await eventually(
      () => isAsked,
      (asked) => asked,
    );
    expect(writer.status()).toMatchObject({ rows: 0, spooled: 100 });
    release();
    await written(writer, 100);
    expect(writer.status()).toMatchObject({ rows: 100, spooled: 0 });
  });

  it('and a database that is away: records wait in memory, as many as have room there', async () => {
    const folder = newFolder();
    let isFull = true;
    const file = join(folder, 'ledger.db');
    writeFileSync(file, 'no database '.repeat(1_000));
    const { writer, events } = openLedger(
      folder,
      { kind: 'sqlite', path: file },
      {
        maxBytes: 100_000_000,
        write: (to, text) =>
          isFull ? Promise.reject(new Error('ENOSPC: no space left on device')) : to.appendFile(text),
      },
    );
    fill(writer, 0, 30_000);
    await eventually(
      () => writer.status().problem ?? '',
      (problem) => problem.includes('ENOSPC'),
    );
    const { lost, spooled } = writer.status();
    expect(lost['spool-failed'] + spooled).toBe(30_000);
    expect(events.some(({ kind }) => kind === 'ledger-lost')).toBe(true);
    isFull = false;
    rmSync(file);
    await written(writer, spooled);
  });
});

describe('what a process has left behind', () => {
  it('is taken on by the next one; a line that was cut is counted, and the others arrive', async () => {
    const folder = newFolder();
    const left = join(folder, 'spool', 'left-behind');
    mkdirSync(left, { recursive: true });
    const other = openLedger(newFolder(), { kind: 'sqlite', path: join(folder, 'none', 'x.db') });
    fill(other.writer, 0, 50);
    // As a process that has ended, in this kernel and namespace.
    const { thisOwner } = await import('../../src/ledger/fs-owner.ts');
    const { lineOf } = await import('../../src/ledger/row-line.ts');
    const { ledgerRowOf } = await import('../../src/ledger/row-of.ts');
    const lines = Array.from({ length: 50 }, (_, i) => lineOf(ledgerRowOf(ledgerRecord(i), 0)));
    const file = join(left, '1-00000001.jsonl');
    writeFileSync(file, `${lines.join('\n')}\n`);
    truncateSync(file, Buffer.byteLength(lines.join('\n')) - 10);
    writeFileSync(join(left, 'owner'), JSON.stringify({ ...thisOwner(), pid: 4_000_000, started: '1' }));
    // What no version of this program has written stays.
    writeFileSync(join(left, '2-00000001.jsonl'), 'of a newer version\n');
    const { writer, database } = openLedger(folder, await KINDS.sqlite(folder));
    await written(writer, 49);
    expect(await counted(database)).toBe(49);
    expect(writer.status().lost.torn).toBe(1);
    // Records are taken on before their owner is forgotten.
    await eventually(
      () => readdirSync(left).join(),
      (names) => names === '2-00000001.jsonl',
    );
  });
});

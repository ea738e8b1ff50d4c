/** Processes that are killed while they write, and `fairlane ledger`. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/database/open-database.ts';
import { insertRows } from '../../src/ledger/insert.ts';
import { LEDGER_MIGRATIONS } from '../../src/ledger/migrations.ts';
import { lineOf } from '../../src/ledger/row-line.ts';
import { ledgerRowOf } from '../../src/ledger/row-of.ts';
import { countAfter, type Killed, writeAndKill } from '../support/ledger-kills.ts';
import { ledgerRecord } from '../support/ledger-records.ts';
import { runCli } from '../support/serve.ts';

const folder = mkdtempSync(join(tmpdir(), 'fairlane-ledger-process-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a process that is killed', () => {
  it('loses no record older than 250 ms, and none is there twice', async () => {
    const directory = mkdtempSync(join(folder, 'killed-'));
    const target = { kind: 'sqlite', path: join(directory, 'ledger.db') } as const;
    const rounds: Killed[] = [];
    for (let round = 0; round < 3; round += 1) {
      rounds.push(await writeAndKill(directory, target, round, 2_000, 500 + 130 * round));
    }
    const { rows, hours, days, missing } = await countAfter(directory, target, rounds);
    expect(missing).toBe(0);
    expect([hours, days]).toEqual([rows, rows]);
    expect(rows).toBeGreaterThan(1_000);
  }, 120_000);
});

describe('fairlane ledger', () => {
  const directory = join(folder, 'state');
  const path = join(directory, 'ledger.db');
  const file = join(folder, 'fairlane.yaml');

  beforeAll(async () => {
    const { mkdirSync } = await import('node:fs');
    mkdirSync(directory);
    writeFileSync(
      file,
      `pools: { main: { endpoints: ["http://127.0.0.1:1"] } }\ntenants: { a: { keys: [key-of-alice] } }\nledger: { directory: state, keep: 3650d }\n`,
    );
    const database = openDatabase({ kind: 'sqlite', path });
    await database.migrate('ledger', LEDGER_MIGRATIONS);
    const rows = Array.from({ length: 6_001 }, (_, i) =>
      ledgerRecord(i, { clientRequestId: i === 7 ? '=cmd|"x"\n,' : `c-${i}` }),
    );
    await database.batch(
      insertRows(
        'sqlite',
        rows.map((row) => lineOf(ledgerRowOf(row, 0))),
      ),
    );
    await database.close();
  });

  const ledger = async (...args: readonly string[]) => {
    const command = runCli(['ledger', ...args, '-c', file], { ...process.env, TZ: 'Asia/Tokyo' });
    const code = await command.exited;
    return { code, out: command.stdout(), problem: command.stderr() };
  };

  it('check says that it is whole, and since when', async () => {
    const { code, out } = await ledger('check');
    expect(out).toBe(`OK: ${path}: 6001 rows, 2026-11-05 to 2026-11-05; sums since 2026-11-05\n`);
    expect(code).toBe(0);
  });

  it('export writes each row once, amounts as decimals, and nothing that is a formula or breaks a line', async () => {
    const { code, out } = await ledger('export', '--month', '2026-11');
    expect(code).toBe(0);
    const lines = out.split('\r\n');
    expect(lines).toHaveLength(6_003);
    expect(lines[0]).toMatch(/^id,ended,tenant,tier,key_id,.*,cost,cost_currency,price,price_currency$/);
    expect(lines[1]).toBe(
      'id-000000000,2026-11-05T12:00:00.000Z,tenant-0,,key-0,,request-0,c-0,chat.completions,llama,,,main,,,,1,completed,,200,1,,,,100,10,2,5,0,0,0,engine,0,,0,250000,0.001000000001,EUR,0.000000000003,EUR',
    );
    expect(lines[8]).toContain(`,"'=cmd|""x""\\n,",`);
    expect(new Set(lines.map((line) => line.split(',')[0])).size).toBe(6_003);
  });

  it('export of sums, of one tenant, into a file for this user alone', async () => {
    const csv = join(folder, 'days.csv');
    const { code, out } = await ledger('export', '--by', 'days', '--tenant', 'tenant-1', '-o', csv);
    expect([code, out]).toEqual([0, `${csv}: 2 lines\n`]);
    const [header = '', ...lines] = readFileSync(csv, 'utf8').trim().split('\r\n');
    const at = header.split(',').indexOf('requests');
    expect(lines.reduce((sum, line) => sum + Number(line.split(',')[at]), 0)).toBe(2_000);
    expect(lines[0]?.startsWith('2026-11-05T00:00:00.000Z,tenant-1,key-0,')).toBe(true);
    expect(statSync(csv).mode & 0o077).toBe(0);
  });

  it.each([
    ['--month', '2026-13', 'it is a month'],
    ['--from', '2026-02-30', 'it is a day'],
    ['--from', 'yesterday', 'it is a day'],
  ])('export refuses %s %s', async (option, value, text) => {
    const { code, problem } = await ledger('export', option, value);
    expect([code, problem.includes(text)]).toEqual([1, true]);
  });

  it('vacuum drops what is too old, gives space back and leaves sums', async () => {
    const before = statSync(path).size;
    const config = readFileSync(file, 'utf8');
    writeFileSync(file, config.replace('3650d', '7d'));
    const database = openDatabase({ kind: 'sqlite', path });
    const old = Array.from({ length: 100 }, (_, i) =>
      ledgerRecord(10_000_000 + i, { endedMs: 1_000_000_000_000 }),
    );
    await database.batch(
      insertRows(
        'sqlite',
        old.map((row) => lineOf(ledgerRowOf(row, 0))),
      ),
    );
    await database.close();
    const { code, out } = await ledger('vacuum');
    expect(out).toMatch(/\d+ rows older than 7 days dropped, space given back\n$/);
    expect(code).toBe(0);
    expect(statSync(path).size).toBeLessThanOrEqual(before + 100_000);
    const { out: days } = await ledger('export', '--by', 'days');
    expect(days).toContain('2001-09-09T00:00:00.000Z');
    writeFileSync(file, config);
  });

  it('check finds sums that are not those of the rows', async () => {
    const database = openDatabase({ kind: 'sqlite', path });
    const [rows] = await database.batch([{ sql: 'SELECT count(*) AS n FROM request' }]);
    const line = lineOf(ledgerRowOf(ledgerRecord(20_000_000, { endedMs: Date.now() + 86_400_000 }), 0));
    await database.batch(
      insertRows('sqlite', [
        line,
        lineOf(ledgerRowOf(ledgerRecord(20_000_001, { endedMs: Date.now() + 3 * 86_400_000 }), 0)),
      ]),
    );
    await database.batch([{ sql: 'DELETE FROM request WHERE id = ?', values: ['id-020000001'] }]);
    await database.close();
    const { code, problem } = await ledger('check');
    expect(code).toBe(1);
    expect(problem).toContain('0 rows, and sums of 1 requests');
    expect(Number(rows?.rows[0]?.['n'])).toBeGreaterThanOrEqual(0);
  });

  it('says what is missing: a section, a file, tables', async () => {
    const without = join(folder, 'without.yaml');
    writeFileSync(without, readFileSync(file, 'utf8').replace(/ledger:.*/, ''));
    const command = runCli(['ledger', 'check', '-c', without]);
    expect(await command.exited).toBe(1);
    expect(command.stderr()).toContain('has no section ledger');
    const empty = join(folder, 'empty.yaml');
    writeFileSync(empty, readFileSync(file, 'utf8').replace('directory: state', 'directory: none'));
    const other = runCli(['ledger', 'export', '-c', empty]);
    expect(await other.exited).toBe(1);
    expect(other.stderr()).toContain('there is no such file');
  });

  it('a newer version is refused', async () => {
    const database = openDatabase({ kind: 'sqlite', path });
    await database.batch([{ sql: "INSERT INTO fairlane_migration VALUES ('ledger', 99)" }]);
    await database.close();
    for (const args of [['check'], ['vacuum'], ['export']]) {
      const { code, problem } = await ledger(...args);
      expect([code, problem]).toEqual([1, expect.stringContaining('of version 99')]);
    }
  });
});

/**
 * What the ledger costs: `node --import tsx bench/ledger.ts [REQUESTS]`. It prints the CPU time of a record in the thread that
 * serves requests and in all threads, then fills a SQLite file with a month of REQUESTS (10,000,000) of 1,000 tenants, as sums by
 * hour and day and without the rows by request, and times the month's report over the sums by day.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatabase } from '../src/database/open-database.ts';
import { Spool } from '../src/ledger/fs-spool.ts';
import { LEDGER_MIGRATIONS } from '../src/ledger/migrations.ts';
import { lineOf } from '../src/ledger/row-line.ts';
import { ledgerRowOf } from '../src/ledger/row-of.ts';
import { LedgerWriter } from '../src/ledger/writer.ts';
import { ledgerRecord } from '../tests/support/ledger-records.ts';

const requests = Number(process.argv[2] ?? 10_000_000);
const directory = mkdtempSync(join(tmpdir(), 'fairlane-bench-ledger-'));
const path = join(directory, 'ledger.db');
const database = openDatabase({ kind: 'sqlite', path });
await database.migrate('ledger', LEDGER_MIGRATIONS);

const RECORDS = 20_000;
const PER_TICK = 20;

async function record(): Promise<void> {
  const spool = new Spool({ directory, maxBytes: 1e9, unixMs: Date.now });
  spool.open();
  const writer = new LedgerWriter({ database, spool, keepMs: 1e12, unixMs: Date.now, tell: console.log });
  writer.start();
  await new Promise((resolve) => setTimeout(resolve, 500));
  let lineMs = 0;
  const all = process.cpuUsage();
  const idle = performance.now();
  for (let i = 0; i < RECORDS; i += PER_TICK) {
    const began = performance.now();
    for (let j = i; j < i + PER_TICK; j += 1) writer.record(ledgerRecord(j));
    lineMs += performance.now() - began;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  while (writer.status().spooled > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  const { user, system } = process.cpuUsage(all);
  const perSecond = Math.round(RECORDS / ((performance.now() - idle) / 1_000));
  console.log(
    `a record, at ${perSecond} a second: ${((lineMs * 1_000) / RECORDS).toFixed(1)} µs to make its line`,
  );
  console.log(`in all threads ${((user + system) / RECORDS).toFixed(1)} µs, timers of this bench included`);
  await writer.close();
  const began = performance.now();
  for (let i = 0; i < RECORDS; i += 1) lineOf(ledgerRowOf(ledgerRecord(i), 0));
  console.log(`lines alone: ${(((performance.now() - began) * 1_000) / RECORDS).toFixed(1)} µs each`);
}

const TENANTS = 1_000;
const MODELS = 5;
const DAYS = 30;

/** A month of sums: each tenant has two keys and uses all models every day. */
async function report(): Promise<void> {
  const keys = TENANTS * 2 * MODELS * DAYS;
  const each = Math.max(1, Math.round(requests / keys));
  const sql = `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${keys - 1})
    INSERT INTO usage_day SELECT ${Date.UTC(2026, 8, 1)} + (i / ${TENANTS * 2 * MODELS}) * 86400000,
      'tenant-' || (i % ${TENANTS}), 'key-' || (i / ${TENANTS} % 2), '', 'model-' || (i / ${TENANTS * 2} % ${MODELS}), '',
      'main', 'EUR', 'EUR', ${each}, ${each}, 0, 0, 0, 0, ${each * 500}, ${each * 50}, ${each * 100}, 0, 0, 0, 0,
      ${each * 900}, 1, 1, ${each} * 1000000000, ${each} * 2000000000 FROM n`;
  await database.batch([{ sql }]);
  const query = `SELECT tenant, model, sum(requests) AS requests, sum(prompt_tokens) AS prompt,
    sum(completion_tokens) AS completion, sum(cost_pico) AS cost, sum(price_pico) AS price
    FROM usage_day WHERE start_ms >= ? AND start_ms < ? GROUP BY tenant, model ORDER BY tenant, model`;
  const values = [Date.UTC(2026, 8, 1), Date.UTC(2026, 9, 1)];
  const times: number[] = [];
  for (let i = 0; i < 5; i += 1) {
    const began = performance.now();
    const [result] = await database.batch([{ sql: query, values }]);
    times.push(performance.now() - began);
    if (result?.rows.length !== TENANTS * MODELS) throw new Error(`${result?.rows.length} lines`);
  }
  const size = Math.round(statSync(path).size / 1_048_576);
  console.log(
    `a month of ${each * keys} requests, ${keys} sums by day (${size} MiB): report by tenant and model`,
  );
  console.log(`${times.map((ms) => ms.toFixed(0)).join(', ')} ms`);
}

await record();
await report();
await database.close();
rmSync(directory, { recursive: true, force: true });

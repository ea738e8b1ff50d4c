/**
 * How long a month's report takes: 10,000,000 requests of 1,000 tenants in SQLite, as `fairlane usage` prints them.
 *
 *   npm run bench:ledger
 *   npm run bench:ledger -- --requests 1000000 --rows 0
 *
 * The sums by hour, day and month are those of all requests. Rows by request, of which no sum is made, are as many as `--rows`
 * says. To be read: the whole command beside one that asks nothing, and the question alone. The table is that of
 * docs/billing.md.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Libsql from 'libsql';
import { openDatabase } from '../src/database/open-database.ts';
import { LEDGER_MIGRATIONS } from '../src/ledger/migrations.ts';
import { type UsageQuestion, usageRows, usageStatements } from '../src/ledger/report.ts';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '10000000' },
    tenants: { type: 'string', default: '1000' },
    models: { type: 'string', default: '4' },
    rows: { type: 'string', default: '1000000' },
    runs: { type: 'string', default: '5' },
  },
});
const [REQUESTS, TENANTS, MODELS, ROWS, RUNS] = [
  Number(values.requests),
  Number(values.tenants),
  Number(values.models),
  Number(values.rows),
  Number(values.runs),
];
const HOURS = 30 * 24;
const HOUR_MS = 3_600_000;
const NOVEMBER = Date.UTC(2026, 10, 1);

const folder = mkdtempSync(join(tmpdir(), 'fairlane-month-'));
const file = join(folder, 'ledger.db');

/** As much SQL as it takes: filling by rows from here would take longer than what is measured. */
function fill(): void {
  const database = new Libsql(file, {});
  database.exec('PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL');
  // Each tenant is at work in a third of the hours, with each model.
  const groups = (TENANTS * MODELS * HOURS) / 3;
  const each = Math.max(1, Math.round(REQUESTS / groups));
  const count = (name: string, to: number): string =>
    `${name}(${name}) AS (SELECT 0 UNION ALL SELECT ${name} + 1 FROM ${name} WHERE ${name} + 1 < ${to})`;
  const columns = `start_ms, tenant, key_id, tag, model, adapter, pool, cost_currency, price_currency, requests, completed,
    refused, aborted, failed, estimated, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, images, audio_ms,
    queue_ms, duration_ms, kv_token_ms, gpu_us, cost_micro, cost_pico, price_micro, price_pico`;
  database.exec(`INSERT INTO usage_hour (${columns})
    WITH RECURSIVE ${count('h', HOURS)}, ${count('t', TENANTS)}, ${count('m', MODELS)}
    SELECT ${NOVEMBER} + h * ${HOUR_MS}, printf('tenant-%04d', t), printf('key-%d', t), '', printf('model-%d', m), '', 'main',
      'EUR', 'EUR', ${each}, ${each}, 0, 0, 0, 0, ${each} * 1234, ${each} * 300, ${each} * 321, 0, 0, 0, ${each} * 20,
      ${each} * 4000, ${each} * 5000000, ${each} * 900000, ${each} * 123, 456789, ${each} * 234, 567891
    FROM h, t, m WHERE (h + t) % 3 = 0 ORDER BY 1, 2, 3, 4, 5`);
  const sums = columns.split(',').slice(9);
  const add = (from: string, to: string, start: string): unknown =>
    database.exec(`INSERT INTO ${to} (${columns})
      SELECT ${start}, tenant, key_id, tag, model, adapter, pool, cost_currency, price_currency,
        ${sums.map((name) => `sum(${name.trim()})`).join(', ')}
      FROM ${from} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9`);
  add('usage_hour', 'usage_day', 'start_ms - start_ms % 86400000');
  add('usage_day', 'usage_month', String(NOVEMBER));
  database.exec(`INSERT INTO request (id, ended_ms, tenant, request_id, route, model, stream, outcome, queue_ms, duration_ms,
      prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, audio_ms, images, usage_source, retries, kv_token_ms,
      gpu_us, cost_pico, cost_currency, price_pico, price_currency)
    WITH RECURSIVE ${count('r', Math.max(1, ROWS))}
    SELECT printf('%012x-7000-8000-%016x', ${NOVEMBER} + r * 2592, r), ${NOVEMBER} + r * 2592, printf('tenant-%04d', r % ${TENANTS}),
      printf('%032x', r), 'chat.completions', printf('model-%d', r % ${MODELS}), 1, 'completed', 20, 4000, 1234, 300, 321, 0, 0, 0,
      'engine', 0, 5000000, 900000, 123456789, 'EUR', 234567891, 'EUR'
    FROM r WHERE r < ${ROWS}`);
  const total = database.prepare('SELECT sum(requests) AS n FROM usage_day').get([]) as { n: number };
  const rows = (name: string): number =>
    (database.prepare(`SELECT count(*) AS n FROM ${name}`).get([]) as { n: number }).n;
  console.log(
    `${total.n} requests of ${TENANTS} tenants and ${MODELS} models: ${rows('usage_month')} rows of months, ${rows('usage_day')} of days, ${rows('usage_hour')} of hours, ${rows('request')} of requests, ${Math.round(statSync(file).size / 1024 ** 2)} MiB`,
  );
  database.close();
}

const median = (times: readonly number[]): number => times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0;
const row = (name: string, times: readonly number[]): void =>
  console.log(
    `| ${name} | ${[median(times), Math.min(...times), Math.max(...times)].map(Math.round).join(' | ')} |`,
  );

/** Of the built program. */
function timeCommand(name: string, ...args: readonly string[]): void {
  const times = Array.from({ length: RUNS }, () => {
    const before = performance.now();
    const { status, stderr } = spawnSync(process.execPath, ['dist/cli/index.js', ...args], {
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(stderr);
    return performance.now() - before;
  });
  row(name, times);
}

async function timeQuestion(name: string, question: UsageQuestion): Promise<void> {
  const times: number[] = [];
  for (let i = 0; i < RUNS; i += 1) {
    const before = performance.now();
    const answers = await database.batch(usageStatements(question, database.dialect, 500_000));
    usageRows(
      question,
      answers.flatMap(({ rows }) => rows),
    );
    times.push(performance.now() - before);
  }
  row(`the question alone, ${name}`, times);
}

const MONTH = { fromMs: NOVEMBER, toMs: Date.UTC(2026, 11, 1) };
/** Hours of a day, days, and hours of another one: no whole month. */
const EDGES = ['2026-11-01T05:00', '2026-11-30T19:00'] as const;
const CUT = { fromMs: Date.parse(`${EDGES[0]}Z`), toMs: Date.parse(`${EDGES[1]}Z`) };

const database = openDatabase({ kind: 'sqlite', path: file });
await database.migrate('ledger', LEDGER_MIGRATIONS);
fill();
const config = join(folder, 'fairlane.yaml');
writeFileSync(
  config,
  JSON.stringify({
    pools: { main: { endpoints: ['http://127.0.0.1:8000'] } },
    tenants: { one: { keys: ['a-key-of-one-tenant'] } },
    ledger: { directory: folder },
  }),
);
console.log('\n| what | median, ms | least | most |\n|---|---|---|---|');
await timeQuestion('a month by tenant', { period: MONTH, by: ['tenant'] });
await timeQuestion('a month by tenant and model', { period: MONTH, by: ['tenant', 'model'] });
await timeQuestion('a month by day', { period: MONTH, by: ['day'] });
await timeQuestion('a month less 10 hours, by tenant', { period: CUT, by: ['tenant'] });
await database.close();
timeCommand('a command that asks nothing: `fairlane --version`', '--version');
const usage = ['usage', '-c', config] as const;
const month = ['--month', '2026-11'] as const;
timeCommand('`fairlane usage --month 2026-11`', ...usage, ...month);
timeCommand('`… --by tenant`', ...usage, ...month, '--by', 'tenant');
timeCommand('`… --by day`', ...usage, ...month, '--by', 'day');
timeCommand('`… --format csv`', ...usage, ...month, '--format', 'csv');
timeCommand(
  `\`fairlane usage --from ${EDGES[0]} --to ${EDGES[1]}\``,
  ...usage,
  '--from',
  EDGES[0],
  '--to',
  EDGES[1],
);
timeCommand(
  '`fairlane invoice tenant-0007 --month 2026-11`',
  'invoice',
  'tenant-0007',
  '-c',
  config,
  ...month,
);
rmSync(folder, { recursive: true, force: true });

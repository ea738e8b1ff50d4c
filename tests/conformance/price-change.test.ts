/** A price that changes at midnight, and one that a reload changes: what is recorded stays, and each month has its own sums. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { openDatabase } from '../../src/database/open-database.ts';
import { Spool } from '../../src/ledger/fs-spool.ts';
import { LEDGER_MIGRATIONS } from '../../src/ledger/migrations.ts';
import { type Dimension, usageRows, usageStatements } from '../../src/ledger/report.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { currentPrices } from '../../src/service/prices.ts';
import { chatHead, createWorld } from '../support/lifecycle.ts';
import { configOf, minimal } from '../unit/config/parse.ts';

const folder = mkdtempSync(join(tmpdir(), 'fairlane-price-change-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const pricesOf = (prices: unknown) => configOf({ ...minimal(), prices: { default: prices } });
const DECEMBER = Date.UTC(2026, 11, 1);
const UNIT = 10n ** 12n;

it('does not rewrite what is recorded', async () => {
  const database = openDatabase({ kind: 'sqlite', path: join(folder, 'ledger.db') });
  await database.migrate('ledger', LEDGER_MIGRATIONS);
  let now = DECEMBER - 1;
  let config = pricesOf([{ request: '1 EUR' }, { from: '2026-12-01', request: '20 EUR' }]);

  const spool = new Spool({ directory: folder, maxBytes: 1e8, unixMs: () => now });
  spool.open();
  const writer = new LedgerWriter({
    database,
    spool,
    keepMs: 1e12,
    unixMs: () => now,
    tell: () => undefined,
  });
  writer.start();

  const world = createWorld();
  world.context.prices = currentPrices(() => config);
  world.context.unixMs = () => now;
  let count = 0;
  world.context.stamp = (endedMs = now) => ({ id: `id-${(count += 1)}`, endedMs });
  const ask = (): void => {
    const { request } = world.open();
    request.headers(chatHead({ tenant: 'a' }), 0);
    request.body(
      Buffer.from('{"model":"small","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'),
      0,
    );
    request.responseHeaders(
      {
        status: 200,
        contentType: 'application/json',
        contentEncoding: '',
        upstream: '10.0.0.1:8000',
        endOfStream: false,
      },
      1,
    );
    const answer = {
      choices: [{ index: 0, message: { content: 'x' } }],
      usage: { prompt_tokens: 1, completion_tokens: 1 },
    };
    request.responseChunk(Buffer.from(JSON.stringify(answer)), true, 2);
    request.streamEnded(3);
    const record = world.records.at(-1);
    if (record === undefined) throw new Error('no record');
    writer.record(record);
  };

  ask();
  now = DECEMBER;
  ask();
  // A reload: all is dearer, also what had its price in November.
  config = pricesOf([{ request: '300 EUR' }, { from: '2026-12-02', request: '4000 EUR' }]);
  ask();
  await writer.close();

  const charges = async (by: Dimension): Promise<readonly (readonly [string, bigint, bigint])[]> => {
    const period = { fromMs: Date.UTC(2026, 10, 1), toMs: Date.UTC(2027, 0, 1) };
    const answers = await database.batch(usageStatements({ period, by: [by] }, database.dialect, 1_000));
    return usageRows(
      { by: [by] },
      answers.flatMap(({ rows }) => rows),
    ).map(({ names, sums }) => [names[0] ?? '', sums.requests, sums.price_pico / UNIT] as const);
  };
  expect(await charges('month')).toEqual([
    ['2026-11', 1n, 1n],
    ['2026-12', 2n, 320n],
  ]);
  expect(await charges('hour')).toEqual([
    ['2026-11-30T23:00Z', 1n, 1n],
    ['2026-12-01T00:00Z', 2n, 320n],
  ]);
  const [rows] = await database.batch([{ sql: 'SELECT price_pico FROM request ORDER BY id' }]);
  expect(rows?.rows.map((row) => BigInt(row['price_pico'] ?? 0) / UNIT)).toEqual([1n, 20n, 300n]);
  await database.close();
}, 60_000);

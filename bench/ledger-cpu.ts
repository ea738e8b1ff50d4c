/**
 * `node --import tsx bench/ledger-cpu.ts [--against PATH]`: CPU time that the ledger takes for a record, of all threads and of the
 * one that serves requests; with another checkout, both in turn. What the bench itself takes is measured, and taken off.
 * `--records N` a round (100,000), `--per-second N` (2,000), `--rounds N` (1).
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type * as OpenDatabase from '../src/database/open-database.ts';
import type * as FsSpool from '../src/ledger/fs-spool.ts';
import type * as Writer from '../src/ledger/writer.ts';
import type { UsageRecord } from '../src/usage/usage-record.ts';

const { values } = parseArgs({
  options: {
    against: { type: 'string' },
    records: { type: 'string', default: '100000' },
    'per-second': { type: 'string', default: '2000' },
    rounds: { type: 'string', default: '1' },
  },
});
const records = Number(values.records);
const perSecond = Number(values['per-second']);
const THIS = fileURLToPath(new URL('..', import.meta.url));
const STEP_MS = 5;
const TENANTS = 50;

/** In the order of time, as a UUID of version 7. */
const idOf = (number: number): string => {
  const time = (Date.UTC(2026, 10, 5) + number).toString(16).padStart(12, '0');
  const rest = ((number * 2_654_435_761) % 2 ** 32).toString(16).padStart(8, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${rest.slice(0, 3)}-8${rest.slice(3, 6)}-${rest}${time.slice(8)}`;
};

/** As the service makes them: a stream that was completed. */
const recordOf = (number: number): UsageRecord => ({
  id: idOf(number),
  endedMs: Date.UTC(2026, 10, 5) + number,
  requestId: `0f3b1c5e-8d7a-4b6c-9e2f-${(number * 7_919).toString(16).padStart(12, '0')}`,
  tenant: `tenant-${number % TENANTS}`,
  tier: 'standard',
  keyId: `key-${number % TENANTS}-${number % 2}`,
  route: 'chat.completions',
  model: number % 3 === 0 ? 'llama-3-70b' : 'llama-3-8b',
  pool: 'main',
  endpoint: `10.0.0.${number % 4}:8000`,
  engine: 'vllm',
  lane: 'interactive',
  stream: true,
  outcome: 'completed',
  status: 200,
  queueMs: (number % 40) + 0.25,
  ttftMs: 80.5 + (number % 100),
  prefillMs: 60.125,
  decodeMs: 900.75,
  itlMeanMs: 20.1,
  itlMaxMs: 44.5,
  durationMs: 1_041.5,
  promptTokens: 500 + (number % 300),
  completionTokens: 45,
  cachedTokens: 128,
  kvTokenSeconds: 612.75,
  gpuSeconds: 0.087_654,
  cost: { currency: 'EUR', pico: 60_871_527n + BigInt(number % 1_000) },
  price: { currency: 'EUR', pico: 381_000_000n + BigInt(number % 977) },
  usageSource: 'engine',
  quiet: false,
  stalled: false,
  droppedFields: [],
});

interface Measured {
  readonly micros: number;
  /** Of the thread that calls `record`. */
  readonly ownMicros: number;
  readonly bytes: number;
}

async function fill(take: (record: UsageRecord) => void): Promise<void> {
  const began = performance.now();
  let next = 0;
  while (next < records) {
    const until = Math.min(records, Math.floor(((performance.now() - began) * perSecond) / 1_000));
    for (; next < until; next += 1) take(recordOf(next));
    await new Promise((done) => setTimeout(done, STEP_MS));
  }
}

const cpu = (since?: NodeJS.CpuUsage): number => {
  const { user, system } = process.cpuUsage(since);
  return user + system;
};

/** The bench alone: its records, its timers. */
async function idle(): Promise<number> {
  const before = process.cpuUsage();
  await fill(() => undefined);
  return cpu(before) / records;
}

async function measure(root: string): Promise<Measured> {
  const load = <T>(path: string): Promise<T> =>
    import(pathToFileURL(join(resolve(root), 'src', path)).href) as Promise<T>;
  const { openDatabase } = await load<typeof OpenDatabase>('database/open-database.ts');
  const { Spool } = await load<typeof FsSpool>('ledger/fs-spool.ts');
  const { LedgerWriter } = await load<typeof Writer>('ledger/writer.ts');
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-bench-ledger-'));
  const path = join(directory, 'ledger.db');
  const database = openDatabase({ kind: 'sqlite', path });
  const spool = new Spool({ directory, maxBytes: 1e9, unixMs: Date.now });
  spool.open();
  const writer = new LedgerWriter({ database, spool, keepMs: 1e12, unixMs: Date.now, tell: console.error });
  writer.start();
  const settled = async (): Promise<void> => {
    while (writer.status().spooled > 0) await new Promise((done) => setTimeout(done, 20));
  };
  // Its thread, its tables, and what is compiled while it runs.
  for (let i = 0; i < 5_000; i += 1) writer.record({ ...recordOf(i), id: `before-${i}` });
  await settled();
  const before = process.cpuUsage();
  let own = 0;
  await fill((record) => {
    const began = performance.now();
    writer.record(record);
    own += performance.now() - began;
  });
  await settled();
  const micros = cpu(before) / records;
  await writer.close();
  await database.batch([{ sql: 'PRAGMA wal_checkpoint(TRUNCATE)' }]);
  const bytes = statSync(path).size / (records + 5_000);
  await database.close();
  rmSync(directory, { recursive: true, force: true });
  return { micros, ownMicros: (own * 1_000) / records, bytes };
}

for (let round = 0; round < Number(values.rounds); round += 1) {
  const alone = await idle();
  for (const root of [values.against, THIS].filter((path) => path !== undefined)) {
    const { micros, ownMicros, bytes } = await measure(root);
    const name = root === THIS ? 'this checkout' : root;
    console.log(
      `${name}: ${(micros - alone).toFixed(1)} µs a record in all threads, ${ownMicros.toFixed(1)} to take it; ` +
        `${bytes.toFixed(0)} bytes a record (the bench itself ${alone.toFixed(1)} µs)`,
    );
  }
}

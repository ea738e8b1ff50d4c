/**
 * A process that writes records into a ledger until it is killed. Its standard output has, every few milliseconds, the number up
 * to which it has given records to the writer. `node --import tsx ledger-process.ts DIRECTORY TARGET FROM PER_SECOND STEP_MS`
 */
import { type DatabaseTarget, openDatabase } from '../../src/database/open-database.ts';
import { Spool } from '../../src/ledger/fs-spool.ts';
import { LedgerWriter } from '../../src/ledger/writer.ts';
import { ledgerRecord } from './ledger-records.ts';

const [directory = '', target = '', from = '0', perSecond = '1000', stepMs = '10'] = process.argv.slice(2);

const spool = new Spool({ directory, maxBytes: 100_000_000, unixMs: Date.now });
spool.open();
const writer = new LedgerWriter({
  database: openDatabase(JSON.parse(target) as DatabaseTarget),
  spool,
  // Whenever it is run.
  keepMs: 36_500 * 86_400_000,
  unixMs: Date.now,
  tell: (event) => process.stderr.write(`${JSON.stringify(event)}\n`),
});
writer.start();
let next = Number(from);
const began = performance.now();
setInterval(() => {
  const until = Number(from) + Math.floor(((performance.now() - began) * Number(perSecond)) / 1_000);
  for (; next < until; next += 1) writer.record(ledgerRecord(next));
  process.stdout.write(`${next}\n`);
}, Number(stepMs));

/**
 * That the ledger has each record once: a process that writes 2,000 records a second is killed with SIGKILL a hundred times, each
 * time at another moment; what the next one finds is taken on. No record that was given to it more than 250 ms before its end may
 * be missing, and none may be counted twice. Options: `--kills N`, `--postgresql URL` of an empty database.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { countAfter, type Killed, writeAndKill } from '../support/ledger-kills.ts';

const { values } = parseArgs({
  options: { kills: { type: 'string', default: '100' }, postgresql: { type: 'string' } },
});
const kills = Number(values.kills);
const PER_SECOND = 2_000;

const directory = mkdtempSync(join(tmpdir(), 'fairlane-prove-ledger-'));
const target =
  values.postgresql === undefined
    ? ({ kind: 'sqlite', path: join(directory, 'ledger.db') } as const)
    : ({ kind: 'postgresql', url: values.postgresql } as const);
const rounds: Killed[] = [];
for (let round = 0; round < kills; round += 1) {
  // From an empty ledger in its first batch to one in the middle of others.
  rounds.push(await writeAndKill(directory, target, round, PER_SECOND, 50 + ((round * 37) % 900)));
}
const { rows, hours, days, missing, lost } = await countAfter(directory, target, rounds);
rmSync(directory, { recursive: true, force: true });
const given = rounds.reduce((sum, { from, to }) => sum + to - from, 0);
console.log(`${kills} kills, ${given} records given, ${rows} rows, ${hours} and ${days} in the sums`);
console.log(`lost of the last 250 ms before a kill: ${lost}, ${(lost / kills).toFixed(1)} a kill`);
console.log(`missing of those before: ${missing}; counted twice: ${Math.max(hours, days) - rows}`);
process.exitCode = missing === 0 && hours === rows && days === rows ? 0 : 1;

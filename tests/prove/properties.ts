/**
 * `npm run prove -- properties [--rounds N] [--seed S]`: the property tests of the unit project with other seeds than the
 * one that `npm test` has. Prints what failed, with its seed, and ends with 1 if something did.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { z } from 'zod';

const root = fileURLToPath(new URL('../../', import.meta.url));
const Report = z.object({
  testResults: z.array(
    z.object({
      assertionResults: z.array(
        z.object({ fullName: z.string(), status: z.string(), failureMessages: z.array(z.string()) }),
      ),
    }),
  ),
});

const { values } = parseArgs({ options: { rounds: { type: 'string' }, seed: { type: 'string' } } });
const rounds = Number(values.rounds ?? 10);
const firstSeed = Number(values.seed ?? Date.now() % 1_000_000_000);
if (!Number.isInteger(rounds) || rounds < 1 || !Number.isInteger(firstSeed)) {
  console.error('--rounds and --seed must be whole numbers, and there is at least one round.');
  process.exit(2);
}

const files = readdirSync(join(root, 'tests/unit'), { recursive: true, encoding: 'utf8' })
  .map((name) => join('tests/unit', name))
  .filter((name) => name.endsWith('.test.ts'))
  .filter((name) => readFileSync(join(root, name), 'utf8').includes("from 'fast-check'"));

const folder = mkdtempSync(join(tmpdir(), 'fairlane-properties-'));
let failures = 0;
for (let round = 0; round < rounds; round += 1) {
  const seed = firstSeed + round;
  const report = join(folder, `${seed}.json`);
  const { status } = spawnSync(
    join(root, 'node_modules/.bin/vitest'),
    ['run', '--project', 'unit', '--reporter', 'json', '--outputFile', report, ...files],
    { cwd: root, env: { ...process.env, FAIRLANE_TEST_SEED: String(seed) }, stdio: 'ignore' },
  );
  const failed = Report.parse(JSON.parse(readFileSync(report, 'utf8')))
    .testResults.flatMap(({ assertionResults }) => assertionResults)
    .filter((one) => one.status === 'failed');
  for (const one of failed) console.log(`seed ${seed}: ${one.fullName}\n${one.failureMessages.join('\n')}`);
  failures += failed.length;
  if (status !== 0 && failed.length === 0) throw new Error(`the tests did not run (exit code ${status})`);
  console.log(`round ${round + 1} of ${rounds}, seed ${seed}: ${failed.length} failed`);
}
rmSync(folder, { recursive: true, force: true });
console.log(JSON.stringify({ files: files.length, rounds, firstSeed, failures }));
process.exitCode = failures > 0 ? 1 : 0;

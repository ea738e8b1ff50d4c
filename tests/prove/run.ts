/**
 * `npm run prove` runs every proof, `npm run prove -- NAME … [OPTIONS]` some, `npm run prove -- --list` names them. A proof is a program
 * in this folder: it prints its figures, and ends with 0 when they are what docs/explanation/proofs.md claims.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('.', import.meta.url));
const all = readdirSync(folder)
  .filter((file) => file.endsWith('.ts') && file !== 'run.ts')
  .map((file) => file.slice(0, -'.ts'.length))
  .sort();

const args = process.argv.slice(2);
const isList = args[0] === '--list';
/** What comes behind the names is for the proof. */
const optionsAt = args.findIndex((arg) => arg.startsWith('-'));
const named = optionsAt < 0 ? args : args.slice(0, optionsAt);
const options = optionsAt < 0 ? [] : args.slice(optionsAt);
const wanted = named.length === 0 ? all : named;
const unknown = named.filter((name) => !all.includes(name));
if (isList || unknown.length > 0) {
  if (unknown.length > 0) console.error(`There is no proof ${unknown.join(', ')}. There are:`);
  console.log(all.join('\n'));
  process.exit(unknown.length > 0 ? 1 : 0);
}

const failed = wanted.filter((name) => {
  console.log(`== ${name}`);
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', `${folder}${name}.ts`, ...options], {
    stdio: 'inherit',
  });
  return status !== 0;
});
if (failed.length > 0) console.error(`Failed: ${failed.join(', ')}.`);
process.exitCode = failed.length > 0 ? 1 : 0;

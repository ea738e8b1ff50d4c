/** `node --import tsx tests/support/record-engine.ts vllm|llamacpp`: writes tests/fixtures/engines anew from a real engine. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { fixtureText, metricsText } from './engine-answers.ts';
import { askLlamaCpp, askVllm, findLlamaCpp } from './live-engines.ts';

const engine = process.argv[2];
const server = findLlamaCpp(process.env);
if (engine !== 'vllm' && (engine !== 'llamacpp' || server === undefined)) {
  throw new Error('give vllm or llamacpp; llama.cpp needs FAIRLANE_TEST_LLAMACPP');
}
const { version, command, answers } =
  engine === 'vllm' ? await askVllm((line) => console.error(line)) : await askLlamaCpp(server ?? '');
const about = { engine, version, recorded: true, command };
const folder = fileURLToPath(new URL(`../fixtures/engines/${engine}/`, import.meta.url));
mkdirSync(folder, { recursive: true });
writeFileSync(`${folder}answers.json`, fixtureText(about, answers));
for (const [name, { body }] of answers) {
  if (name.startsWith('metrics')) writeFileSync(`${folder}${name}.txt`, metricsText(about, body));
}

/** docs/billing.md, "From nothing to a month's CSV": its blocks, run as they stand there. */

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { fencesOf } from '../support/clients/page.ts';
import { eventually } from '../support/eventually.ts';
import { builtProgram } from '../support/program.ts';
import { type Draft, type Stack, startStack } from '../support/stack.ts';

const MARK = 'run by: tests/envoy/billing-page.test.ts';
const [config, request, report] = fencesOf(readFileSync('docs/billing.md', 'utf8'))
  .filter(({ mark }) => mark === MARK)
  .map(({ text }) => text);
const KEY = 'key-of-alice-of-the-page';

let engine: Simulator;
let stack: Stack;
let folder = '';

beforeAll(async () => {
  const written = parse(config ?? '') as Draft;
  engine = await startSimulator({
    profile: parseProfile('test', {}),
    models: Object.keys(written['models']),
  });
  process.env['ALICE_KEY'] = KEY;
  stack = await startStack({
    engines: [engine.url],
    change(draft) {
      folder = String(draft['envoy'].directory);
      const { main } = draft['pools'];
      // The page's, but for where things are on this machine.
      Object.assign(draft, written, {
        listen: draft['listen'],
        pools: { main: { ...main, ...written['pools'].main, endpoints: main.endpoints } },
        ledger: { ...written['ledger'], directory: join(folder, 'ledger') },
      });
    },
  });
});
afterAll(async () => {
  delete process.env['ALICE_KEY'];
  await stack.close();
  await engine.close();
});

const shell = (script: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const here = script.replaceAll('127.0.0.1:8080', new URL(stack.url).host);
    const program = `fairlane() { "${process.execPath}" "${builtProgram()}" "$@"; }`;
    execFile('sh', ['-ec', `${program}\n${here}`], { cwd: folder }, (error, out, err) =>
      error === null ? resolve(out) : reject(new Error(err)),
    );
  });

it('leads from nothing to a month’s CSV', async () => {
  expect(JSON.parse(await shell(request ?? ''))).toMatchObject({ object: 'chat.completion' });
  const month = new Date().toISOString().slice(0, 7);
  const csv = await eventually(
    async () => {
      await shell((report ?? '').replace('2026-11', month));
      return readFileSync(join(folder, 'november.csv'), 'utf8');
    },
    (text) => text.includes('alice'),
    20_000,
  );
  const [head = [], line = [], ...more] = csv
    .split('\r\n')
    .slice(0, -1)
    .map((text) => text.split(','));
  expect(more).toEqual([]);
  const row = Object.fromEntries(head.map((name, i) => [name, line[i] ?? '']));
  expect(row).toMatchObject({ tenant: 'alice', model: 'llama-3-70b', requests: '1', estimated: '0' });
  expect([row['cost_currency'], row['charge_currency']]).toEqual(['EUR', 'EUR']);
  const micro = Number(row['prompt_tokens']) * 6 + Number(row['completion_tokens']) * 18;
  expect(Number(row['charge']) * 1e7).toBeCloseTo(micro, 6);
  expect(Number(row['gpu_seconds'])).toBeGreaterThan(0);
  expect(Number(row['cost'])).toBeCloseTo((Number(row['gpu_seconds']) * 2.5) / 3_600, 6);
});

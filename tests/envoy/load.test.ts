/** `fairlane load` as a visitor runs it: before a real Envoy, the service and a simulated engine. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { runCli } from '../support/serve.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

let engine: Simulator;
let stack: Stack;
beforeAll(async () => {
  engine = await startSimulator({ profile: parseProfile('quickstart', {}), models: ['demo'] });
  stack = await startStack({
    engines: [engine.url],
    change: (config) => {
      delete config['pools'].main.concurrencyLimit;
      config['queue'] = { maxWait: '60s' };
    },
  });
}, 60_000);
afterAll(async () => {
  await stack.close();
  await engine.close();
});

const ENV = { ...process.env, QUIET_KEY: KEYS.quiet, NOISY_KEY: KEYS.noisy, WRONG_KEY: 'nobodys-key-at-all' };
const load = (quietKey: string, ...more: readonly string[]) =>
  runCli(
    ['load', '--url', `${stack.url}/v1`, '--quiet-key', quietKey, '--noisy-key', 'env:NOISY_KEY', ...more],
    ENV,
  );

/** Milliseconds, from a row of the summary: p50 and p99. */
function ttftOf(summary: string, tenant: string): readonly number[] {
  const row = summary.split('\n').find((line) => line.startsWith(`${tenant} `)) ?? '';
  return [...row.matchAll(/([\d.]+) (ms|s)\b/g)].map(
    ([, figure, unit]) => Number(figure) * (unit === 's' ? 1_000 : 1),
  );
}

it('shows that quiet’s TTFT stays below noisy’s', async () => {
  const run = load('env:QUIET_KEY', '--seconds', '8');
  expect([await run.exited, run.stderr()]).toEqual([0, expect.stringContaining('model demo, 8 s')]);
  const [, quiet = Number.NaN] = ttftOf(run.stdout(), 'quiet');
  const [, noisy = Number.NaN] = ttftOf(run.stdout(), 'noisy');
  expect(quiet).toBeLessThan(noisy);
  expect(run.stdout() + run.stderr()).not.toContain(KEYS.quiet);
}, 40_000);

it('ends at Ctrl-C with its summary', async () => {
  const run = load('env:QUIET_KEY', '--seconds', '600');
  await run.until('Ctrl-C ends it');
  const served = () => stack.records().filter(({ tenant, status }) => tenant === 'quiet' && status === 200);
  const { length } = served();
  await eventually(served, (records) => records.length > length + 3, 15_000);
  run.child.kill('SIGINT');
  expect(await run.exited).toBe(0);
  expect(run.stdout()).toMatch(/^quiet +[\d.]+ m?s/m);
  expect(run.stderr()).not.toMatch(/at .*\.[jt]s:\d+/);
}, 30_000);

it('with a key that is nobody’s says whose it is and what to do, without the key', async () => {
  const run = load('env:WRONG_KEY');
  expect(await run.exited).toBe(1);
  expect(run.stderr()).toContain('does not take the key of quiet (status 401)');
  expect(run.stderr()).toContain('--quiet-key env:NAME');
  expect(run.stderr()).not.toContain(ENV.WRONG_KEY);
});

it('takes no key itself: it would be in the list of processes', async () => {
  const run = load(KEYS.quiet);
  expect(await run.exited).toBe(1);
  expect(run.stderr()).toContain('env:NAME or file:PATH');
  expect(run.stderr()).not.toContain(KEYS.quiet);
});

it('where nothing answers says so', async () => {
  const [port = 0] = await freePorts(1);
  const run = runCli(['load', '--url', `http://127.0.0.1:${port}`]);
  expect(await run.exited).toBe(1);
  expect(run.stderr()).toContain(`nothing answers at http://127.0.0.1:${port}`);
  expect(run.stderr()).toContain('ECONNREFUSED');
});

/** Reports of a real load: what `fairlane usage` says is what the engine has counted, but for what is estimated, which is listed. */
import { execFile } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { builtProgram } from '../support/program.ts';
import { scraped, sumIn } from '../support/scraped.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

let engine: Simulator;
let stack: Stack;

beforeAll(async () => {
  engine = await startSimulator({
    profile: parseProfile('test', {}),
    models: ['demo', 'embedder'],
    faults: true,
  });
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['ledger'] = { directory: `${config['envoy']['directory']}/ledger` };
      config['prices'] = {
        models: {
          demo: {
            prompt: '0.60 EUR',
            cachedPrompt: '0.06 EUR',
            completion: '1.80 EUR',
            request: '0.001 EUR',
          },
        },
        default: { prompt: '0.10 EUR' },
        tenants: { noisy: { models: { demo: { completion: '3 EUR' } } } },
      };
    },
  });
});
afterAll(async () => {
  await stack.close();
  await engine.close();
});

async function counters(): Promise<{ readonly prompt: number; readonly generation: number }> {
  const page = await scraped(engine.url);
  return {
    prompt: sumIn(page, 'vllm:prompt_tokens_total'),
    generation: sumIn(page, 'vllm:generation_tokens_total'),
  };
}

const fairlane = (...args: readonly string[]): Promise<string> =>
  new Promise((resolve, reject) => {
    execFile(process.execPath, [builtProgram(), ...args, '-c', stack.configPath], (error, out, err) => {
      if (error === null) resolve(out);
      else reject(new Error(err));
    });
  });

interface Row {
  readonly tenant?: string;
  readonly model?: string;
  readonly requests: number;
  readonly completed: number;
  readonly estimated: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  readonly charge: { readonly amount: string } | null;
}

const usage = async (): Promise<{ readonly rows: readonly Row[]; readonly total: readonly Row[] }> =>
  JSON.parse(await fairlane('usage', '--format', 'json')) as never;

/** When all that was asked for has got there. */
const usageOf = (requests: number) =>
  eventually(usage, ({ total }) => total.reduce((sum, row) => sum + row.requests, 0) >= requests, 20_000);

const pico = (amount: string | undefined): bigint => {
  const [whole = '', fraction = ''] = (amount ?? '0').split('.');
  return BigInt(whole + fraction.padEnd(12, '0'));
};

it('sums equal the engine’s own counters, and charges the prices', async () => {
  const all = Array.from({ length: 24 }, (_, i) => {
    const key = i % 3 === 0 ? KEYS.noisy : KEYS.quiet;
    return send(stack.url, { key, body: chatBody({ stream: i % 2 === 0, max_tokens: 4 + i }) });
  });
  const statuses = (await Promise.all(all)).map(({ status }) => status);
  const refused = await send(stack.url, { key: KEYS.quiet, body: chatBody({ model: 'no-such-model' }) });
  expect([new Set(statuses), refused.status]).toEqual([new Set([200]), 404]);

  const { rows, total } = await usageOf(25);
  const counted = await counters();
  const [sum] = total;
  expect(total).toHaveLength(1);
  expect(sum).toMatchObject({
    completed: 24,
    estimated: 0,
    promptTokens: counted.prompt,
    completionTokens: counted.generation,
  });
  const quiet = rows.find(({ tenant, model }) => tenant === 'quiet' && model === 'demo');
  const noisy = rows.find(({ tenant, model }) => tenant === 'noisy' && model === 'demo');
  if (quiet === undefined || noisy === undefined) throw new Error('a row is missing');
  const uncached = BigInt(quiet.promptTokens - quiet.cachedTokens);
  // 10^-12 of a euro for a token.
  const expected =
    uncached * 600_000n +
    BigInt(quiet.cachedTokens) * 60_000n +
    BigInt(quiet.completionTokens) * 1_800_000n +
    BigInt(quiet.completed) * 1_000_000_000n;
  expect(pico(quiet.charge?.amount)).toBe(expected);
  expect(pico(noisy.charge?.amount)).toBe(BigInt(noisy.completionTokens) * 3_000_000n);
});

it('what is estimated is counted, and listed by id', async () => {
  const before = (await usage()).total[0]?.requests ?? 0;
  const gone = new AbortController();
  const asked = fetch(`${stack.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEYS.quiet}`, 'content-type': 'application/json' },
    body: chatBody({ stream: true, max_tokens: 2_000, ignore_eos: true }),
    signal: gone.signal,
  });
  const answer = await asked;
  await answer.body?.getReader().read();
  gone.abort();
  const { total } = await usageOf(before + 1);
  expect(total[0]?.estimated).toBe(1);
  const lines = (await fairlane('usage', '--estimated', '--format', 'csv')).split('\r\n');
  expect(lines).toHaveLength(3);
  expect(lines[1]).toMatch(/^[0-9a-f-]{36},.*,quiet,demo,,aborted,/);
});

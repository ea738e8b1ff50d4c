/** Two sidecars, each an Envoy and a service, in front of one engine and with one Redis: a tenant has one contract. */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { loadConfig } from '../../src/config/fs-config.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { type Answer, chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { runCli } from '../support/serve.ts';
import { type Draft, KEYS, type Stack, startStack } from '../support/stack.ts';

let redis: TestRedis;
let engine: Simulator;
let stacks: readonly [Stack, Stack];

const TENANTS = {
  /** One request a minute comes back: fewer than a test lasts. */
  requests: { keys: ['key-of-requests'], limits: { requestsPerMinute: 1, requestBurst: 20 } },
  tokens: { keys: ['key-of-tokens'], limits: { tokensPerMinute: 1, tokenBurst: 2_000 } },
  monthly: { keys: ['key-of-monthly'], limits: { tokensPerMonth: 2_000 } },
  outage: { keys: ['key-of-outage'], limits: { requestsPerMinute: 1, requestBurst: 40 } },
};

const startSidecar = (): Promise<Stack> =>
  startStack({
    engines: [engine.url],
    change: (config) => {
      // Who waits no longer decides alone, and that is another test: a busy machine's Redis has time.
      config['redis'] = { url: redis.url, maxWait: '1s', failureShare: 0.25 };
      config['tenants'] = { ...config['tenants'], ...TENANTS };
    },
  });
const ask = (stack: Stack, tenant: keyof typeof TENANTS, fields: object = {}): Promise<Answer> =>
  send(stack.url, { key: `key-of-${tenant}`, body: chatBody({ max_tokens: 1, ...fields }) });
/** Alternating. */
async function askBoth(
  tenant: keyof typeof TENANTS,
  count: number,
  fields: object = {},
): Promise<readonly Answer[]> {
  const answers: Answer[] = [];
  for (let i = 0; i < count; i += 2) {
    answers.push(...(await Promise.all(stacks.map((stack) => ask(stack, tenant, fields)))));
  }
  return answers;
}
const granted = (answers: readonly Answer[]): number => answers.filter(({ status }) => status === 200).length;
const redisOf = async (stack: Stack): Promise<unknown> =>
  ((await (await fetch(`${stack.metricsUrl}/health`)).json()) as { redis?: string }).redis;

beforeAll(async () => {
  redis = await startRedis();
  engine = await startSimulator({ profile: parseProfile('test', {}), models: ['demo'] });
  stacks = [await startSidecar(), await startSidecar()];
  await Promise.all(
    stacks.map((stack) =>
      eventually(
        () => redisOf(stack),
        (state) => state === 'connected',
      ),
    ),
  );
});
afterAll(async () => {
  for (const stack of stacks) await stack.close();
  await engine.close();
  await redis.close();
});

describe('two sidecars with one Redis', () => {
  it('hold the requests of a tenant together, and show what is left', async () => {
    const answers = await askBoth('requests', 30);
    expect(granted(answers)).toBeGreaterThanOrEqual(20);
    expect(granted(answers)).toBeLessThanOrEqual(21);
    expect(answers.every(({ status }) => status === 200 || status === 429)).toBe(true);
    expect(answers.at(-1)?.headers).toMatchObject({
      'x-ratelimit-limit-requests': '1',
      'x-ratelimit-remaining-requests': '0',
    });
  });

  it('hold its tokens together: what one saw used, the other does not grant again', async () => {
    const answers = await askBoth('tokens', 40, { max_tokens: 100 });
    const used = answers
      .filter(({ status }) => status === 200)
      .reduce((sum, { json }) => sum + Number(json.usage.total_tokens), 0);
    expect(used).toBeGreaterThan(1_000);
    // Each may have begun one on a prediction that was too low.
    expect(used).toBeLessThanOrEqual(2_000 + 2 * 150);
    expect(answers.at(-1)?.status).toBe(429);
  });

  it('hold its month together, and keep it over a restart', async () => {
    const answers = await askBoth('monthly', 40, { max_tokens: 100 });
    expect(granted(answers)).toBeGreaterThan(5);
    expect(answers.at(-1)?.text).toContain('insufficient_quota');
    await stacks[0].restartService();
    const after = await eventually(
      () => ask(stacks[0], 'monthly', { max_tokens: 100 }),
      ({ headers }) => headers['x-ratelimit-limit-tokens-month'] !== undefined,
    );
    expect(after.status).toBe(429);
    expect(Number(after.headers['x-ratelimit-remaining-tokens-month'])).toBeLessThan(400);
  });

  it('grant a share each while Redis is away, fail nothing, and settle when it is back', async () => {
    await redis.kill();
    const away = await askBoth('outage', 60);
    expect(away.every(({ status }) => status === 200 || status === 429)).toBe(true);
    // A quarter of the 40 for each.
    expect(granted(away)).toBeGreaterThanOrEqual(20);
    expect(granted(away)).toBeLessThanOrEqual(22);
    expect(await redisOf(stacks[0])).toBe('away');
    const doctor = runCli(['doctor', '--config', stacks[0].configPath]);
    await doctor.exited;
    expect(doctor.stdout()).toMatch(/^warning +Redis: away; limits are decided alone/m);
    expect((await send(stacks[1].url, { key: KEYS.quiet, body: chatBody({ max_tokens: 1 }) })).status).toBe(
      200,
    );
    await redis.restart();
    for (const stack of stacks) {
      await eventually(
        () => redisOf(stack),
        (state) => state === 'connected',
        10_000,
      );
    }
    // Redis came back empty, and was told what each had seen and used.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const back = await askBoth('outage', 60);
    expect(granted(back)).toBeLessThanOrEqual(22);
    expect(granted(back)).toBeGreaterThanOrEqual(18);
  });
});

describe('a sidecar without Redis', () => {
  it('keeps the month of its tenants in the snapshot file', async () => {
    const stack = await startStack({
      engines: [engine.url],
      change: (config) => {
        config['rateLimit'] = { snapshot: 'levels.json' };
        config['tenants'] = { ...config['tenants'], ...TENANTS };
      },
    });
    const left = async (): Promise<number> =>
      Number((await ask(stack, 'monthly')).headers['x-ratelimit-remaining-tokens-month']);
    for (let i = 0; i < 3; i += 1) await ask(stack, 'monthly', { max_tokens: 100 });
    const before = await left();
    await stack.restartService();
    const after = await eventually(left, Number.isFinite);
    expect(before).toBeLessThan(1_700);
    expect(after).toBeLessThanOrEqual(before);
    expect(after).toBeGreaterThan(before - 400);
    await stack.close();
  });

  it('applies another month at once, in both directions, and explains what is refused', async () => {
    const stack = await startStack({
      engines: [engine.url],
      change: (config) => {
        config['rateLimit'] = { snapshot: 'levels.json' };
        config['tenants'] = { ...config['tenants'], ...TENANTS };
      },
    });
    const reload = async (tokensPerMonth: number): Promise<void> => {
      const draft = parse(readFileSync(stack.configPath, 'utf8')) as Draft;
      draft['tenants'] = {
        ...draft['tenants'],
        monthly: { ...TENANTS.monthly, limits: { tokensPerMonth } },
      };
      writeFileSync(stack.configPath, stringify(draft));
      const loaded = loadConfig(stack.configPath, process.env);
      if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
      await stack.service().reload(loaded.config, loaded.warnings);
    };
    const left = ({ headers }: Answer): number => Number(headers['x-ratelimit-remaining-tokens-month']);
    const path = join(dirname(stack.configPath), 'request.json');
    writeFileSync(path, chatBody({ max_tokens: 1_000 }));
    const explain = async (): Promise<readonly [number | null, string]> => {
      const args = ['explain', path, '--config', stack.configPath, '--tenant', 'monthly'];
      const { exited, stdout } = runCli(args);
      return [await exited, stdout()];
    };
    expect((await explain())[0]).toBe(0);
    let last = await ask(stack, 'monthly', { max_tokens: 100 });
    for (let i = 0; i < 40 && last.status === 200; i += 1)
      last = await ask(stack, 'monthly', { max_tokens: 100 });
    expect(last).toMatchObject({
      status: 429,
      text: expect.stringContaining('insufficient_quota') as string,
    });
    const [code, text] = await explain();
    expect([code, text]).toEqual([2, expect.stringContaining('would be refused with 429')]);
    expect(text).toMatch(/^reason {3}insufficient_quota; try again in \d+ s, at \d{4}-\d\d-01T00:00:0/m);
    const spent = 2_000 - left(last);

    await reload(10_000);
    expect((await explain())[0]).toBe(0);
    const raised = await ask(stack, 'monthly', { max_tokens: 1 });
    expect(raised.status).toBe(200);
    expect(left(raised)).toBeLessThanOrEqual(10_000 - spent);
    expect(left(raised)).toBeGreaterThan(10_000 - spent - 400);

    await reload(1_000);
    const lowered = await ask(stack, 'monthly', { max_tokens: 1 });
    expect([lowered.status, left(lowered)]).toEqual([429, 0]);
    // Of the configuration before, 2,000.
    await stack.restartService();
    const after = await eventually(
      () => ask(stack, 'monthly', { max_tokens: 1 }),
      (answer) => Number.isFinite(left(answer)),
    );
    expect(left(after)).toBeLessThanOrEqual(2_000 - spent);
    await stack.close();
  }, 60_000);
});

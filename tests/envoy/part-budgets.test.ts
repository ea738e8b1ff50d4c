/** Budgets of a tenant, a key and a pair through a real Envoy: what refuses, in which words, and that prices add up. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { type Answer, chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { KEYS, type Stack, startStack, untilServed } from '../support/stack.ts';

const CI = 'key-of-the-noisy-one-for-ci';
/** Each request costs a unit, whatever its tokens. */
const PRICE = { request: '1 EUR' };
let engine: Simulator;
let stack: Stack;

beforeAll(async () => {
  engine = await startSimulator({ profile: parseProfile('test', {}), models: ['demo', 'other'] });
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['models'] = { demo: { pool: 'main' }, other: { pool: 'main' } };
      config['prices'] = { models: { demo: PRICE, other: { ...PRICE, completion: '100000 EUR' } } };
      config['tenants']['noisy'] = {
        keys: [KEYS.noisy, { key: CI, name: 'ci', limits: { budgetPerMonth: '2 EUR' } }],
        limits: { budgetPerMonth: '6 EUR' },
        modelLimits: { other: { budgetPerMonth: '1.50 EUR' } },
      };
    },
  });
  await untilServed(stack.url);
}, 60_000);
afterAll(async () => {
  await stack.close();
  await engine.close();
});

const ask = (key: string, model: string): Promise<Answer> =>
  send(stack.url, { key, body: chatBody({ model, max_tokens: 4 }) });
const spent = async (key: string, model: string, budget: string, whose: string): Promise<void> => {
  const { status, json } = await ask(key, model);
  expect([status, json]).toMatchObject([
    429,
    {
      error: {
        code: 'insufficient_quota',
        message: `You exceeded your budget of ${budget} a month${whose}. It begins anew with the next month, in UTC.`,
      },
    },
  ]);
};

it('each refuses in its words when it is used up, and the records’ prices are what the buckets have taken', async () => {
  // 1.40 with its four tokens.
  expect((await ask(KEYS.noisy, 'other')).status).toBe(200);
  await spent(KEYS.noisy, 'other', '1.50 EUR', ' for model other');
  expect((await ask(CI, 'demo')).status).toBe(200);
  expect((await ask(CI, 'demo')).status).toBe(200);
  await spent(CI, 'demo', '2.00 EUR', ' for this key');
  for (let i = 0; i < 2; i += 1) expect((await ask(KEYS.noisy, 'demo')).status).toBe(200);
  await spent(KEYS.noisy, 'demo', '6.00 EUR', '');

  const charged = stack
    .records()
    .filter(({ tenant, status }) => tenant === 'noisy' && status === 200)
    .map((line) => Number.parseFloat(JSON.stringify(line['price']).slice(1)));
  expect(charged).toEqual([1.4, 1, 1, 1, 1]);
  const sum = charged.reduce((all, one) => all + one, 0);
  expect(await stack.metric('fairlane_budget_used_ratio', { tenant: 'noisy' })).toBeCloseTo(sum / 6, 9);
  const warned = { tenant: 'noisy', of: 'key', percent: '100' };
  await eventually(
    () => stack.metric('fairlane_budget_alerts_total', warned),
    (alerts) => alerts === 1,
  );
}, 60_000);

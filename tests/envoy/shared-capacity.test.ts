/** Two sidecars in front of one engine, with one Redis: what a tenant and the engine may have at once is divided. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { type Answer, chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const WINDOW = 4;

let redis: TestRedis;
let engine: Simulator;
let stacks: readonly [Stack, Stack];

const startSidecar = (): Promise<Stack> =>
  startStack({
    engines: [engine.url],
    change: (config) => {
      config['redis'] = { url: redis.url, maxWait: '1s', failureShare: 0.5 };
      // Nothing kept free for quiet tenants: the window is to be full.
      Object.assign(config['pools']['main'], { concurrencyLimit: WINDOW, headroom: 0 });
      config['queue'] = { maxWait: '20s' };
      config['tenants'] = {
        ...config['tenants'],
        capped: { keys: ['key-of-capped'], limits: { maxConcurrent: 2 } },
        hasty: { keys: ['key-of-hasty'], limits: { maxConcurrent: 2, maxQueued: 0 } },
      };
    },
  });
/** Requests that run for a while, in turn to each. */
const askBoth = (key: string, count: number, tokens = 20): Promise<readonly Answer[]> =>
  Promise.all(
    Array.from({ length: count }, (_, i) =>
      send((stacks[i % 2] ?? stacks[0]).url, { key, body: chatBody({ max_tokens: tokens }) }),
    ),
  );
const running = async (): Promise<number> => {
  const text = await (await fetch(`${engine.url}/metrics`)).text();
  const of = (name: string): number =>
    Number(new RegExp(`^vllm:num_requests_${name}\\{[^}]*\\} (\\S+)`, 'm').exec(text)?.[1] ?? Number.NaN);
  return of('running') + of('waiting');
};
/** The most that the engine had at once until all is over. */
async function mostWhile(work: Promise<readonly Answer[]>): Promise<{ most: number; statuses: number[] }> {
  let most = 0;
  let answers: readonly Answer[] | undefined;
  void work.then((all) => {
    answers = all;
  });
  while (answers === undefined) {
    most = Math.max(most, await running());
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return { most, statuses: answers.map(({ status }) => status) };
}

beforeAll(async () => {
  redis = await startRedis();
  engine = await startSimulator({ profile: parseProfile('test', { stepBaseMs: 15 }), models: ['demo'] });
  stacks = [await startSidecar(), await startSidecar()];
  for (const stack of stacks) {
    await eventually(
      () => stack.metric('fairlane_redis_connected'),
      (connected) => connected === 1,
    );
  }
});
afterAll(async () => {
  for (const stack of stacks) await stack.close();
  await engine.close();
  await redis.close();
});

describe('two sidecars with one Redis', () => {
  it('never have more of a tenant in the engine than its maxConcurrent, and do have as many', async () => {
    const { most, statuses } = await mostWhile(askBoth('key-of-capped', 16));
    expect(most).toBe(2);
    expect(statuses.every((status) => status === 200)).toBe(true);
  });

  it('serve a tenant that may not queue at once, on either', async () => {
    for (let i = 0; i < 6; i += 1) {
      const answers = await askBoth('key-of-hasty', 2, 2);
      expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    }
    const { most, statuses } = await mostWhile(askBoth('key-of-hasty', 12));
    expect(most).toBeLessThanOrEqual(2);
    // A part may be changing hands: who may not queue cannot wait for it.
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(1);
    expect(statuses.every((status) => status === 200 || status === 429)).toBe(true);
  });

  it('have no more in the engine together than its window, and do fill it', async () => {
    const { most, statuses } = await mostWhile(askBoth(KEYS.noisy, 24));
    expect(most).toBe(WINDOW);
    expect(statuses.every((status) => status === 200)).toBe(true);
  });

  it('show what each may use, and give it back when they end', async () => {
    const work = askBoth(KEYS.noisy, 24);
    const held = async (): Promise<number[]> =>
      Promise.all(stacks.map((stack) => stack.metric('fairlane_shared_capacity_held', { kind: 'window' })));
    await eventually(held, ([one = 0, other = 0]) => one === WINDOW / 2 && other === WINDOW / 2);
    expect(await stacks[0].metric('fairlane_shared_capacity', { kind: 'window' })).toBe(WINDOW);
    await work;
    await stacks[0].restartService();
    await eventually(
      () => stacks[0].metric('fairlane_redis_connected'),
      (connected) => connected === 1,
    );
    const { most } = await mostWhile(askBoth(KEYS.noisy, 12));
    expect(most).toBe(WINDOW);
  });
});

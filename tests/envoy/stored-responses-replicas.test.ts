/** Two sidecars with one Redis: what one has seen in an answer, the other knows. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { type Answer, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

let redis: TestRedis;
let engines: readonly Simulator[];
let stacks: readonly [Stack, Stack];
const unknown = 'resp_00000000000000000000000000000000';

const startSidecar = (): Promise<Stack> =>
  startStack({
    engines: engines.map(({ url }) => url),
    change: (config) => {
      config['redis'] = { url: redis.url, maxWait: '1s' };
    },
  });
const ask = (stack: Stack, previous?: string, key: string = KEYS.quiet): Promise<Answer> =>
  send(stack.url, {
    key,
    path: '/v1/responses',
    body: JSON.stringify({
      model: 'demo',
      input: 'hello',
      max_output_tokens: 2,
      ...(previous !== undefined && { previous_response_id: previous }),
    }),
  });
const read = (stack: Stack, id: string, method = 'GET', key: string = KEYS.quiet): Promise<Answer> =>
  send(stack.url, { key, method, path: `/v1/responses/${id}` });
const redisOf = async (stack: Stack): Promise<unknown> =>
  ((await (await fetch(`${stack.metricsUrl}/health`)).json()) as { redis?: string }).redis;
const connected = (): Promise<unknown> =>
  Promise.all(
    stacks.map((stack) =>
      eventually(
        () => redisOf(stack),
        (state) => state === 'connected',
      ),
    ),
  );

beforeAll(async () => {
  redis = await startRedis();
  engines = await Promise.all(
    [0, 1].map(() => startSimulator({ profile: parseProfile('test', {}), models: ['demo', 'embedder'] })),
  );
  stacks = [await startSidecar(), await startSidecar()];
  await connected();
});
afterAll(async () => {
  await Promise.all(stacks.map((stack) => stack.close()));
  await Promise.all(engines.map((engine) => engine.close()));
  await redis.close();
});

describe('replicas that share Redis', () => {
  it('go on with each other’s conversations, turn by turn', async () => {
    for (let conversation = 0; conversation < 3; conversation += 1) {
      let id: string = (await ask(stacks[0])).json.id;
      for (let turn = 1; turn < 5; turn += 1) {
        const next = await ask(stacks[turn % 2] as Stack, id);
        expect(next.status).toBe(200);
        id = next.json.id;
      }
      expect((await read(stacks[1], id)).json.id).toBe(id);
      expect((await read(stacks[0], id)).json.id).toBe(id);
    }
  });

  it('give the same 404 for another’s id as for an unknown one, through either', async () => {
    const { id } = (await ask(stacks[0])).json as { id: string };
    for (const stack of stacks) {
      for (const call of [
        (one: string) => read(stack, one, 'GET', KEYS.noisy),
        (one: string) => read(stack, one, 'DELETE', KEYS.noisy),
        (one: string) => ask(stack, one, KEYS.noisy),
      ]) {
        const [foreign, nobodys] = [await call(id), await call(unknown)];
        expect(foreign.status).toBe(404);
        expect(foreign.text.replace(id, 'ID')).toBe(nobodys.text.replace(unknown, 'ID'));
      }
    }
    expect((await read(stacks[1], id)).status).toBe(200);
  });

  it('forget together what was deleted, and remember over a restart', async () => {
    const kept: string = (await ask(stacks[0])).json.id;
    const gone: string = (await ask(stacks[0])).json.id;
    expect((await read(stacks[0], gone, 'DELETE')).status).toBe(200);
    expect((await read(stacks[1], gone)).status).toBe(404);
    await stacks[0].restartService();
    await connected();
    await eventually(
      () => ask(stacks[0], kept),
      ({ status }) => status === 200,
    );
  });

  it('keep ids and prompts out of the names of keys', async () => {
    const { id } = (await ask(stacks[0])).json as { id: string };
    const keys = await redis.client.keys('*');
    expect(keys.some((key) => key.includes('response:'))).toBe(true);
    expect(keys.some((key) => key.includes(id))).toBe(false);
    const [key = ''] = keys.filter((one) => one.includes('response:'));
    expect(await redis.client.pttl(key)).toBeGreaterThan(3_600_000);
  });

  it('without Redis go on with what they know themselves, and say that of the rest nothing is known', async () => {
    const { id } = (await ask(stacks[0])).json as { id: string };
    await redis.kill();
    expect((await ask(stacks[0], id)).status).toBe(200);
    for (const answer of [
      await ask(stacks[1], id),
      await ask(stacks[1], unknown),
      await ask(stacks[0], id, KEYS.noisy),
      await ask(stacks[0], unknown, KEYS.noisy),
    ]) {
      expect([answer.status, answer.json.error.code]).toEqual([503, 'response_owner_unknown']);
    }
  });
});

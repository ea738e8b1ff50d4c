/** What replicas learn of requests, together, in a real Redis. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type RedisLearned, startRedisLearned } from '../../src/limit/redis-learned.ts';
import { createRedisLeaseStore, type RedisLeaseStore } from '../../src/limit/redis-lease-store.ts';
import { createSharedPredictor, DECAY, type SharedPredictor } from '../../src/usage/predictor.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { Stalls } from '../support/stalls.ts';

interface Replica {
  readonly predictor: SharedPredictor;
  readonly learned: RedisLearned;
  readonly store: RedisLeaseStore;
  /** So many requests of 300 bytes, which are 100 tokens. */
  learn(outputTokens: number, times?: number, tenant?: string): void;
  usual(tenant?: string): number;
}

let redis: TestRedis;
let prefix = '';
const open: Replica[] = [];
const stalls = new Stalls();
afterAll(() => stalls.close());

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.close());
beforeEach(() => {
  prefix = `t:${randomUUID()}:`;
});
const close = async ({ learned, store }: Replica): Promise<void> => {
  await learned.close();
  await store.close();
};
afterEach(async () => {
  for (const one of open.splice(0)) await close(one);
});

async function startReplica(): Promise<Replica> {
  const store = createRedisLeaseStore({ redis: redis.url, keyPrefix: prefix });
  const predictor = createSharedPredictor();
  const learned = startRedisLearned({
    scripts: store.scripts,
    isUp: (key) => store.isUp(key),
    keyPrefix: prefix,
    rows: predictor,
    decay: DECAY,
  });
  const one: Replica = {
    predictor,
    learned,
    store,
    learn(outputTokens, times = 1, tenant = 'a') {
      const seen = { promptBytes: 300, promptTokens: 100, cachedTokens: 0, outputTokens };
      for (let i = 0; i < times; i += 1) predictor.learn(tenant, 'm', seen);
    },
    usual: (tenant = 'a') => predictor.outputTokens(tenant, 'm', undefined),
  };
  open.push(one);
  await eventually(() => store.status().connected, Boolean);
  return one;
}
const isTold = (one: Replica): Promise<number> =>
  eventually(
    () => one.predictor.changes(),
    (rows) => rows === 0,
  );

describe('what replicas learn', () => {
  it('is known to a new one within a second of its first request', async () => {
    const old = await startReplica();
    old.learn(40, 200);
    await isTold(old);
    const started = await startReplica();
    const before = performance.now();
    expect(started.usual()).toBe(256);
    expect(started.predictor.promptTokens('a', 'm', 300)).toBe(75);
    await eventually(
      () => [started.usual(), started.predictor.promptTokens('a', 'm', 300)],
      ([usual, prompt]) => usual === 40 && prompt === 100,
    );
    expect(stalls.sinceMs(before)).toBeLessThan(1_000);
  });

  it('is what all of them saw', async () => {
    const [one, other] = [await startReplica(), await startReplica()];
    one.learn(100, 20);
    await isTold(one);
    other.learn(300, 20);
    await isTold(other);
    one.learn(100, 1);
    // The later ones weigh a little more.
    const usual = await eventually(
      () => one.usual(),
      (tokens) => tokens > 200,
    );
    expect(usual).toBeLessThan(240);
  });

  it('is told at the end, and forgotten a month after its last use', async () => {
    const one = await startReplica();
    one.learn(40, 50);
    await close(one);
    const keys = await redis.client.keys(`${prefix}{*}`);
    const rows = keys.filter((key) => key.includes('{u:') || key.includes('{p:'));
    expect(rows).toHaveLength(2);
    for (const key of rows) {
      const ttlMs = await redis.client.pttl(key);
      expect(ttlMs).toBeGreaterThan(29 * 86_400_000);
      expect(ttlMs).toBeLessThanOrEqual(30 * 86_400_000);
    }
    expect((await startReplica()).usual()).toBe(256);
  });

  it('stays local while Redis is away, and is told when it is back', async () => {
    const one = await startReplica();
    one.learn(100);
    await isTold(one);
    await redis.kill();
    await eventually(
      () => one.store.status().connected,
      (is) => !is,
    );
    one.learn(20, 400);
    for (let i = 0; i < 50; i += 1) one.learn(20, 10, `tenant-${i}`);
    expect(one.usual()).toBe(20);
    // Two rows of each tenant.
    expect(one.predictor.changes()).toBeLessThanOrEqual(104);
    await redis.restart();
    await isTold(one);
    const other = await startReplica();
    other.usual('tenant-7');
    await eventually(
      () => [other.usual(), other.usual('tenant-7')],
      (both) => both.every((tokens) => tokens === 20),
    );
  });

  it('is not taken from values that no requests can have, and heals', async () => {
    const one = await startReplica();
    one.learn(40, 10);
    await isTold(one);
    const [key = ''] = await redis.client.keys(`${prefix}{u:*`);
    await redis.client.hset(key, { 1: 'nan', 2: '-1e9', 3: '1e308', 4: 'odd', more: '1' });
    one.learn(40);
    await isTold(one);
    expect(one.usual()).toBe(40);
    const other = await startReplica();
    await eventually(
      () => other.usual(),
      (usual) => usual === 40,
    );
    await redis.client.set(`${prefix}{u:b\nm}`, 'of somebody else');
    one.learn(70, 5, 'b');
    one.learn(40);
    await eventually(
      () => one.predictor.changes(),
      (rows) => rows === 1,
    );
    expect(one.usual('b')).toBe(70);
    await redis.client.del(`${prefix}{u:b\nm}`);
    await isTold(one);
  });
});

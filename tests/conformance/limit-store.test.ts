/** What every store of buckets does, and what several replicas on one Redis do together. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createMemoryStore } from '../../src/limit/memory-store.ts';
import { createRedisLeaseStore, type RedisLeaseStore } from '../../src/limit/redis-lease-store.ts';
import type { RedisTarget } from '../../src/limit/redis-servers.ts';
import type { LimitStore, StoredLimit, TakeMode, Taken } from '../../src/limit/store.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { anyRedis, startRedis, type TestRedis } from '../support/redis.ts';

const HOUR = 3_600_000;
/** Of a bucket, the most that a command leases. */
const LEASE_PART = 0.02;
/** How often a bucket is asked that is found empty. */
const EMPTY_ASKED_PER_S = 10;

/** A store, and how time passes for it. */
interface Bench {
  readonly store: LimitStore;
  now(): number;
  pass(ms: number): Promise<void>;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

let redis: Pick<TestRedis, 'url' | 'client' | 'close'>;
let cluster: TestRedis;
const open: LimitStore[] = [];

beforeAll(async () => {
  [redis, cluster] = await Promise.all([anyRedis(), startCluster()]);
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((store) => store.close()));
});
afterAll(() => Promise.all([redis.close(), cluster.close()]));

/** A cluster of one server, which tells clients where keys are as a large one does. */
async function startCluster(): Promise<TestRedis> {
  // Without a port of its own for the bus it takes one that may be too high to exist.
  const [bus = 0] = await freePorts(1);
  const settings = ['--cluster-enabled', 'yes', '--cluster-port', `${bus}`];
  const node = await startRedis([...settings, '--cluster-announce-ip', '127.0.0.1']);
  await node.client.cluster('ADDSLOTSRANGE', 0, 16_383);
  const isUp = (info: unknown): boolean => String(info).includes('cluster_state:ok');
  await eventually(() => node.client.cluster('INFO'), isUp, 20_000);
  return node;
}

async function replica(
  keyPrefix: string,
  target: string | RedisTarget = redis.url,
): Promise<RedisLeaseStore> {
  // The tests are about what Redis decides, so none gives up waiting for it.
  const store = createRedisLeaseStore({ redis: target, keyPrefix, waitMs: 5_000 });
  open.push(store);
  await eventually(() => store.status().connected, Boolean);
  return store;
}

const benches: Readonly<Record<string, () => Promise<Bench>>> = {
  memory: () => {
    let now = 0;
    return Promise.resolve({
      store: createMemoryStore(),
      now: () => now,
      pass: (ms) => {
        now += ms;
        return Promise.resolve();
      },
    });
  },
  Redis: async () => ({ store: await replica(`t:${randomUUID()}:`), now: () => 0, pass: sleep }),
  'a Redis cluster': async () => {
    const target = { nodes: [{ host: cluster.host, port: cluster.port }] };
    return { store: await replica(`t:${randomUUID()}:`, target), now: () => 0, pass: sleep };
  },
};

describe.each(Object.entries(benches))('the store in %s', (_name, createBench) => {
  let bench: Bench;
  const take = async (hits: number, limit: StoredLimit, key = 'k'): Promise<Taken> => {
    const [taken] = await bench.store.take(
      [{ key, limit, hits, mode: hits > 1 ? 'charge' : 'take' }],
      bench.now(),
    );
    if (taken === undefined) throw new Error('no outcome');
    return taken;
  };
  const takeAll = async (hits: number, limit: StoredLimit, mode: TakeMode): Promise<Taken> => {
    const [taken] = await bench.store.take([{ key: 'k', limit, hits, mode }], bench.now());
    if (taken === undefined) throw new Error('no outcome');
    return taken;
  };
  const slow = { amount: 10, unitMs: HOUR };

  it('grants the amount and no more', async () => {
    bench = await createBench();
    const granted = [];
    for (let i = 0; i < 12; i += 1) granted.push(await take(1, slow));
    expect(granted.map((taken) => taken.granted)).toEqual([...Array(10).fill(true), false, false]);
    expect(granted.map((taken) => taken.remaining)).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]);
  });

  it('grants a large amount to the token, however it is split', async () => {
    bench = await createBench();
    // No token comes back while they are taken, however long that takes.
    const limit = { amount: 5_000, unitMs: 10_000 * HOUR };
    let granted = 0;
    for (let i = 0; i < 6_000; i += 1) granted += (await take(1, limit)).granted ? 1 : 0;
    expect(granted).toBe(5_000);
  });

  it('says when the bucket is full again', async () => {
    bench = await createBench();
    expect((await take(5, slow)).resetMs).toBeGreaterThan(HOUR / 2 - 5_000);
    expect((await take(0, slow)).resetMs).toBeLessThanOrEqual(HOUR / 2);
  });

  it('refills with time, and not beyond the amount', async () => {
    bench = await createBench();
    // One a millisecond: what passes between two calls is far from what is asked for.
    const limit = { amount: 2_000, unitMs: 2_000 };
    const isGranted = async (hits: number): Promise<boolean> => (await takeAll(hits, limit, 'take')).granted;
    expect(await isGranted(2_000)).toBe(true);
    expect(await isGranted(700)).toBe(false);
    await bench.pass(750);
    expect(await isGranted(700)).toBe(true);
    await bench.pass(3_500);
    expect(await isGranted(2_000)).toBe(true);
    expect(await isGranted(1_000)).toBe(false);
  });

  it('checks without taking', async () => {
    bench = await createBench();
    for (let i = 0; i < 5; i += 1)
      expect(await take(0, slow)).toMatchObject({ granted: true, remaining: 10 });
    await take(10, slow);
    expect(await take(0, slow)).toMatchObject({ granted: false, remaining: 0 });
  });

  it('takes back, and not more than there is room for', async () => {
    bench = await createBench();
    await take(10, slow);
    expect(await take(-4, slow)).toMatchObject({ granted: true, remaining: 4 });
    expect((await take(4, slow)).granted).toBe(true);
    expect((await take(1, slow)).granted).toBe(false);
    await take(-1_000, slow);
    expect((await take(0, slow)).remaining).toBe(10);
    expect((await take(11, slow)).granted).toBe(false);
  });

  it('charges what was used beyond the bucket, to a debt of one bucket at most', async () => {
    bench = await createBench();
    expect(await take(15, slow)).toMatchObject({ granted: false, remaining: 0 });
    expect((await take(-5, slow)).granted).toBe(false);
    expect((await take(-1, slow)).granted).toBe(true);
    await take(1_000_000, slow);
    expect((await take(-10, slow)).granted).toBe(false);
    expect(await take(-3, slow)).toMatchObject({ granted: true, remaining: 3 });
  });

  it('takes many at once or none', async () => {
    bench = await createBench();
    expect(await takeAll(11, slow, 'take')).toMatchObject({ granted: false });
    expect(await takeAll(10, slow, 'take')).toMatchObject({ granted: true, remaining: 0 });
    expect((await takeAll(5, slow, 'take')).granted).toBe(false);
    await take(-5, slow);
    await bench.pass(500);
    expect((await takeAll(5, slow, 'take')).granted).toBe(true);
  });

  it('charges what is reported, however much, down to the debt of the limit', async () => {
    bench = await createBench();
    const deep = { ...slow, maxDebt: 100 };
    await take(1, deep);
    expect((await takeAll(50, deep, 'report')).level).toBeLessThan(-40);
    expect(await take(0, deep)).toMatchObject({ granted: false, remaining: 0 });
    await takeAll(1_000, deep, 'report');
    expect((await take(-100, deep)).granted).toBe(false);
    expect((await take(-5, deep)).remaining).toBe(5);
  });

  it('charges nothing for one request that is refused', async () => {
    bench = await createBench();
    await take(10, slow);
    for (let i = 0; i < 20; i += 1) expect((await take(1, slow)).granted).toBe(false);
    expect(await take(-1, slow)).toMatchObject({ granted: true, remaining: 1 });
  });

  it('keeps what was used when the limit changes, in both directions, at once', async () => {
    bench = await createBench();
    await take(4, slow);
    expect(await take(1, { amount: 100, unitMs: HOUR })).toMatchObject({ granted: true, remaining: 95 });
    expect(await take(0, { amount: 3, unitMs: HOUR })).toMatchObject({ granted: false, remaining: 0 });
    expect((await take(-3, { amount: 3, unitMs: HOUR })).remaining).toBe(1);
    expect((await take(0, { amount: 20, unitMs: HOUR })).remaining).toBe(18);
    expect((await take(0, { amount: 20, unitMs: 24 * HOUR })).remaining).toBe(18);
  });

  it('has a debt where more was used than the lowered limit holds, and loses nothing of it', async () => {
    bench = await createBench();
    const large = { amount: 1_000, unitMs: 1_000 * HOUR };
    const small = { amount: 100, unitMs: 1_000 * HOUR };
    await takeAll(300, large, 'take');
    for (let i = 0; i < 5; i += 1) {
      expect((await takeAll(0, small, 'take')).level).toBeCloseTo(-200, 1);
      expect((await takeAll(1, small, 'take')).granted).toBe(false);
      expect((await takeAll(0, large, 'take')).level).toBeCloseTo(700, 1);
    }
    // Not even what is charged changes what the old limit knows, beyond the debt that there may be.
    await takeAll(50, small, 'charge');
    expect((await takeAll(0, large, 'take')).level).toBeCloseTo(700, 1);
    await takeAll(-250, small, 'take');
    expect((await takeAll(0, small, 'take')).level).toBeCloseTo(50, 1);
  });

  it('pays a debt off at the new rate', async () => {
    bench = await createBench();
    const unit = { amount: 1_000, unitMs: HOUR, maxDebt: 1e9 };
    await takeAll(300, unit, 'take');
    // 200 a second.
    const fast = { amount: 100, unitMs: 500, maxDebt: 1e9 };
    expect((await takeAll(0, fast, 'take')).level).toBeLessThan(0);
    await bench.pass(1_100);
    expect(await takeAll(0, fast, 'take')).toMatchObject({ granted: true });
  });

  it('keeps what was used while the limit is 0', async () => {
    bench = await createBench();
    await take(4, slow);
    expect((await take(1, { amount: 0, unitMs: HOUR })).granted).toBe(false);
    expect((await take(0, slow)).remaining).toBe(6);
  });

  it('counts to 2^53 tokens exactly', async () => {
    bench = await createBench();
    const most = { amount: 2 ** 53, unitMs: 2 ** 80, maxDebt: Number.MAX_SAFE_INTEGER };
    await takeAll(2 ** 53 - 10, most, 'take');
    expect((await takeAll(11, most, 'take')).granted).toBe(false);
    expect((await takeAll(10, most, 'take')).granted).toBe(true);
    expect((await takeAll(0, { ...most, amount: 1_000 }, 'take')).granted).toBe(false);
    expect((await takeAll(0, most, 'take')).level).toBe(0);
  });

  it('refuses everything where the amount is 0', async () => {
    bench = await createBench();
    const none = { amount: 0, unitMs: HOUR };
    for (const hits of [1, 5, 0, -3, 1]) expect((await take(hits, none)).granted).toBe(false);
  });

  it('decides each demand of a call alone, in their order', async () => {
    bench = await createBench();
    const demands = [
      { key: 'a', limit: slow, hits: 10 },
      { key: 'b', limit: slow, hits: 3 },
      { key: 'a', limit: slow, hits: 1 },
      { key: 'c', limit: slow, hits: 0 },
    ];
    const taken = await bench.store.take(demands, bench.now());
    expect(taken.map((one) => [one.granted, one.remaining])).toEqual([
      [true, 0],
      [true, 7],
      [false, 0],
      [true, 10],
    ]);
    expect(await bench.store.take([], bench.now())).toEqual([]);
  });

  it('keeps many keys apart', async () => {
    bench = await createBench();
    const keys = Array.from({ length: 2_000 }, (_, i) => `key-${i}`);
    const round = async (hits: number): Promise<number> => {
      const all = await Promise.all(
        keys.map(async (key) => bench.store.take([{ key, limit: slow, hits }], bench.now())),
      );
      return all.filter(([taken]) => taken?.granted).length;
    };
    expect(await round(6)).toBe(2_000);
    expect(await round(4)).toBe(2_000);
    expect(await round(1)).toBe(0);
  });

  it('keeps hostile keys apart', async () => {
    bench = await createBench();
    const keys = [
      '',
      '{}',
      '}{',
      '{a}',
      '\r\n*1\r\n$8\r\nFLUSHALL\r\n',
      '\0',
      'ключ',
      '😀',
      '\ud83d',
      '\ude00',
      '\ufffd',
      '#',
      'x'.repeat(1_000_000),
      'x'.repeat(1_000_001),
      'l:',
      'level',
      '__proto__',
      '%s%n',
    ];
    for (const key of keys) expect((await take(7, slow, key)).remaining).toBe(3);
    for (const key of keys) expect((await take(0, slow, key)).remaining).toBe(3);
  });

  it('grants what the bucket holds and refills, whatever is taken and given back', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 200 }),
        fc.array(fc.integer({ min: -20, max: 60 }), { maxLength: 60 }),
        async (amount, steps) => {
          bench = await createBench();
          let granted = 0;
          const limit = { amount, unitMs: 1_000 * HOUR };
          for (const hits of steps) {
            const taken = await take(hits, limit);
            if (hits < 0) granted += hits;
            else if (taken.granted) granted += hits;
            expect(granted).toBeLessThanOrEqual(amount);
            expect(taken.remaining).toBeLessThanOrEqual(amount);
          }
          await bench.store.close();
        },
      ),
      { numRuns: 25 },
    );
  });
});

describe('replicas on one Redis', () => {
  it('decide a key that is hardly used exactly: no token is idle elsewhere', async () => {
    const prefix = `t:${randomUUID()}:`;
    const stores = await Promise.all([replica(prefix), replica(prefix), replica(prefix)]);
    const limit = { amount: 10, unitMs: HOUR };
    let granted = 0;
    for (let i = 0; i < 30; i += 1) {
      const [taken] = (await stores[i % 3]?.take([{ key: 'k', limit, hits: 1 }], 0)) ?? [];
      granted += taken?.granted ? 1 : 0;
    }
    expect(granted).toBe(10);
  });

  it('grant a limit together under load, no token too many and hardly one too few', async () => {
    const prefix = `t:${randomUUID()}:`;
    const stores = await Promise.all([replica(prefix), replica(prefix), replica(prefix), replica(prefix)]);
    const limit = { amount: 4_000, unitMs: 4_000 };
    let granted = 0;
    const started = performance.now();
    const worker = async (store: LimitStore): Promise<void> => {
      while (performance.now() - started < 3_000) {
        for (let i = 0; i < 20; i += 1) {
          const [taken] = await store.take([{ key: 'k', limit, hits: 1 }], 0);
          granted += taken?.granted ? 1 : 0;
        }
        await sleep(1);
      }
    };
    await Promise.all(stores.flatMap((store) => [worker(store), worker(store)]));
    const allowed = limit.amount + performance.now() - started;
    expect(granted).toBeLessThanOrEqual(allowed);
    expect(granted).toBeGreaterThan(0.9 * allowed);
    expect(stores.reduce((sum, store) => sum + store.status().leased, 0)).toBeLessThanOrEqual(4 * 80);
  });

  it('need few commands for a hot key, granted or refused', async () => {
    for (const amount of [100_000, 1_000]) {
      const store = await replica(`t:${randomUUID()}:`);
      const limit = { amount, unitMs: 1_000 };
      let granted = 0;
      const round = async (ms: number): Promise<void> => {
        const until = performance.now() + ms;
        while (performance.now() < until) {
          for (let i = 0; i < 20; i += 1) {
            const [taken] = await store.take([{ key: 'k', limit, hits: 1 }], 0);
            granted += taken?.granted ? 1 : 0;
          }
          await sleep(1);
        }
      };
      await round(300);
      const before = store.status().commands;
      granted = 0;
      const startMs = performance.now();
      await round(1_500);
      // By what is granted and by time, and not by decisions: a machine that is busy makes fewer of these.
      const seconds = (performance.now() - startMs) / 1_000;
      const needed = granted / (LEASE_PART * amount) + EMPTY_ASKED_PER_S * seconds;
      expect(store.status().commands - before).toBeLessThan(1.5 * needed);
    }
  });

  it('see what another one gave back within a second', async () => {
    const prefix = `t:${randomUUID()}:`;
    const [a, b] = await Promise.all([replica(prefix), replica(prefix)]);
    const one = (store: LimitStore, hits: number) =>
      Promise.resolve(store.take([{ key: 'k', limit: { amount: 1_000, unitMs: HOUR }, hits }], 0));
    await one(a, 1_000);
    expect((await one(b, 500))[0]?.granted).toBe(false);
    await one(a, -1_000);
    await sleep(1_000);
    expect((await one(b, 500))[0]?.granted).toBe(true);
  });

  it('never grant more than amount + rate · time together, in any interleaving', async () => {
    const arbStep = fc.record({
      replica: fc.nat(3),
      hits: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, fc.integer({ min: -10, max: 50 })),
      times: fc.integer({ min: 1, max: 40 }),
      /** Whether the next step waits for this one. */
      isAwaited: fc.boolean(),
      clockMs: fc.integer({ min: -1e9, max: 1e9 }),
      sleepMs: fc.constantFrom(0, 0, 0, 1, 30, 250),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 4 }),
        fc.integer({ min: 1, max: 2_000 }),
        fc.array(arbStep, { minLength: 5, maxLength: 40 }),
        async (replicas, amount, steps) => {
          const prefix = `t:${randomUUID()}:`;
          const stores = await Promise.all(Array.from({ length: replicas }, () => replica(prefix)));
          const limit = { amount, unitMs: 10_000 };
          const started = performance.now();
          const running: Promise<void>[] = [];
          // Given back counts when it is asked for, granted when it is answered: the sum is never too high for that.
          let granted = 0;
          const one = async (store: LimitStore, hits: number, clockMs: number): Promise<void> => {
            if (hits < 0) granted += hits;
            const [taken] = await store.take([{ key: 'k', limit, hits }], clockMs);
            if (hits > 0 && taken?.granted) granted += hits;
            const elapsed = performance.now() - started + 5;
            expect(granted).toBeLessThanOrEqual(amount + (elapsed * amount) / limit.unitMs + 1e-3);
          };
          for (const step of steps) {
            const store = stores[step.replica % replicas];
            if (store === undefined) continue;
            for (let i = 0; i < step.times; i += 1) {
              const done = one(store, step.hits, step.clockMs);
              if (step.isAwaited) await done;
              else running.push(done);
            }
            if (step.sleepMs > 0) await sleep(step.sleepMs);
          }
          await Promise.all(running);
          await Promise.all(stores.map((store) => store.close()));
        },
      ),
      { numRuns: 25 },
    );
  });

  it('give their leases back when they are closed', async () => {
    const prefix = `t:${randomUUID()}:`;
    const store = await replica(prefix);
    const limit = { amount: 1_000, unitMs: 1_000 * HOUR };
    let taken = 0;
    while (taken < 90 || store.status().leased === 0) {
      await store.take([{ key: 'k', limit, hits: 1 }], 0);
      taken += 1;
    }
    await store.close();
    const other = await replica(prefix);
    const rest = [{ key: 'k', limit, hits: 1_000 - taken }];
    expect((await other.take(rest, 0))[0]).toMatchObject({
      granted: true,
      remaining: 0,
    });
  });

  it('leave nothing in Redis that does not expire', async () => {
    const prefix = `t:${randomUUID()}:`;
    const store = await replica(prefix);
    await store.take([{ key: 'k', limit: { amount: 10, unitMs: 60_000 }, hits: 5 }], 0);
    const [key = ''] = await redis.client.keys(`${prefix}*k*`);
    const ttl = await redis.client.pttl(key);
    expect(ttl).toBeGreaterThan(30_000);
    expect(ttl).toBeLessThanOrEqual(32_000);
  });

  it('forget keys that are not used any more', async () => {
    const store = await replica(`t:${randomUUID()}:`);
    const limit = { amount: 10, unitMs: HOUR };
    // At once: keys are forgotten a second after their use.
    const keys = Array.from({ length: 500 }, (_, i) => `k${i}`);
    await Promise.all(keys.map(async (key) => store.take([{ key, limit, hits: 1 }], 0)));
    expect(store.status().keys).toBe(500);
    await eventually(
      () => store.status().keys,
      (count) => count === 0,
      5_000,
    );
    expect((await store.take([{ key: 'k7', limit, hits: 0 }], 0))[0]?.remaining).toBe(9);
  });
});

/** Capacities that replicas divide among them in a real Redis: alone, together, dying, and while Redis fails. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Allotment, AllotmentKind } from '../../src/limit/allotments.ts';
import { askAccount, createRedisAllotments, type RedisAllotments } from '../../src/limit/redis-allotments.ts';
import { createRedisLeaseStore, type RedisLeaseStore } from '../../src/limit/redis-lease-store.ts';
import { createVirtualAllotments } from '../../src/loadtest/virtual-allotments.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { Stalls } from '../support/stalls.ts';

const CAPACITY = 12;
const FAILURE_SHARE = 0.25;
const ALONE = 3;
const now = (): number => performance.now();
const stalls = new Stalls();
afterAll(() => stalls.close());
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

interface Replica {
  readonly store: RedisLeaseStore;
  readonly allotments: RedisAllotments;
  readonly allotment: Allotment;
  inUse: number;
  /** Requests that always want to go. */
  backlog: number;
  /** One ends, and the next may go. */
  end(): void;
  serve(): void;
  /** As if its process had ended. */
  die(): void;
  close(): Promise<void>;
}

let redis: TestRedis;
let prefix = '';
const open: Replica[] = [];

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.close());
beforeEach(() => {
  prefix = `t:${randomUUID()}:`;
});
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

/** @param maxWaitMs that it waits for an answer. Most tests are about what Redis decides, so none gives up waiting for it. */
async function startReplica(
  kind: AllotmentKind,
  { tenant, maxWaitMs = 5_000 }: { readonly tenant?: string; readonly maxWaitMs?: number } = {},
): Promise<Replica> {
  const one = startWithout(kind, tenant, maxWaitMs);
  await eventually(() => one.store.status().connected, Boolean);
  return one;
}

/** Whether or not there is a Redis. */
function startWithout(kind: AllotmentKind = 'concurrency-limit', tenant = 'tenant', maxWaitMs = 20): Replica {
  const store = createRedisLeaseStore({
    redis: redis.url,
    keyPrefix: prefix,
    waitMs: 10,
    failureShare: FAILURE_SHARE,
  });
  let isDead = false;
  const allotments = createRedisAllotments({
    scripts: {
      run: (script, redisKey, args) =>
        isDead ? new Promise(() => undefined) : store.scripts.run(script, redisKey, args),
      commands: () => 0,
    },
    isUp: (key) => store.isUp(key),
    keyPrefix: prefix,
    maxWaitMs,
    failureShare: FAILURE_SHARE,
  });
  const one: Replica = {
    store,
    allotments,
    allotment: allotments.hold(allotments.keyOfTenant(tenant), kind, {
      capacity: () => CAPACITY,
      inUse: () => one.inUse,
      claimed: () => one.inUse + one.backlog,
      want: () => one.inUse + one.backlog,
      changed: () => one.serve(),
    }),
    inUse: 0,
    backlog: 0,
    end() {
      if (one.inUse > 0) one.inUse -= 1;
      one.serve();
      one.allotment.usageChanged(now());
    },
    serve() {
      if (isDead) return;
      while (one.backlog > 0 && one.inUse < Math.min(CAPACITY, one.allotment.limit(now()))) {
        one.backlog -= 1;
        one.inUse += 1;
      }
    },
    die() {
      isDead = true;
      one.inUse = 0;
      one.backlog = 0;
    },
    async close() {
      one.inUse = 0;
      one.backlog = 0;
      await allotments.close();
      await store.close();
    },
  };
  open.push(one);
  return one;
}

const threeReplicas = async (kind: AllotmentKind): Promise<readonly [Replica, Replica, Replica]> => [
  await startReplica(kind),
  await startReplica(kind),
  await startReplica(kind),
];
const inUse = (all: readonly Replica[]): number => all.reduce((sum, one) => sum + one.inUse, 0);
const demand = (one: Replica, count: number): void => {
  one.backlog += count;
  one.serve();
  one.allotment.usageChanged(now());
};
/** Requests end and begin in all of them until it is good; the most that was in use at once. */
async function work(
  all: readonly Replica[],
  good: () => boolean,
  { withinMs = 5_000, least = 0 }: { readonly withinMs?: number; readonly least?: number } = {},
): Promise<number> {
  const startMs = now();
  let most = 0;
  while (now() - startMs < least || !good()) {
    if (now() - startMs > withinMs) throw new Error(`in use: ${all.map((one) => one.inUse).join(', ')}`);
    for (const one of all) {
      if (one.inUse > 0) one.backlog += 1;
      one.end();
    }
    most = Math.max(most, inUse(all));
    await sleep(5);
  }
  return most;
}
const isEqual = (all: readonly Replica[], part: number) => () => all.every((one) => one.inUse === part);

describe('the script', () => {
  it.each(['concurrency-limit', 'concurrency'] as const)(
    'answers as the virtual account does (%s)',
    async (kind) => {
      const store = createRedisLeaseStore({ redis: redis.url, keyPrefix: prefix });
      await eventually(() => store.status().connected, Boolean);
      let model = createVirtualAllotments();
      let key = '';
      let startMs = 0;
      const held = new Map<string, number>();
      // A linear congruential generator: the same calls every time.
      let state = 1;
      const random = (below: number): number => {
        state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
        return Math.floor(state / 65_536) % below;
      };
      for (let i = 1; i <= 300; i += 1) {
        // Calls of one account are within a moment, also on a machine that is busy: nothing ends meanwhile.
        if (i % 50 === 1) {
          model = createVirtualAllotments();
          held.clear();
          key = `x${i}`;
          startMs = Date.now();
        }
        const replica = `replica-${random(4)}`;
        const keep = random(1 + (held.get(replica) ?? 0));
        const claimed = keep + random(9);
        const want = claimed + random(3);
        const number = random(20) === 0 ? 1 : i;
        const use = { capacity: 8 + random(5), inUse: keep, claimed, want, keep, number, atMs: 0 };
        // Nothing decodes: that would be another sum at each moment.
        const engine = {
          decoding: 0,
          pendingMs: random(100),
          sequenceMs: 1e13 + i,
          promptMs: random(1e9),
          promptTokens: i,
        };
        const sent = kind === 'concurrency' || random(30) === 0 ? use : { ...use, engine };
        const answer = await askAccount(store.scripts, replica, `${prefix}{${key}}`, kind, sent);
        expect(Date.now() - startMs).toBeLessThan(900);
        expect(answer).toEqual(model.call(key, kind, replica, sent, startMs));
        if (answer !== undefined) held.set(replica, answer.held);
      }
      await store.close();
    },
  );

  it('passes over what somebody else has written, and forgets it', async () => {
    const one = await startReplica('concurrency-limit');
    const key = one.allotments.keyOfTenant('tenant');
    await redis.client.hset(key, {
      odd: 'of somebody else',
      old: '12:12:12:12:1:1',
      future: `12:12:12:12:${Date.now() + 1e9}:1`,
      '!': 'never',
    });
    demand(one, 5);
    await eventually(
      () => one.inUse,
      (count) => count === 5,
    );
    expect(Object.keys(await redis.client.hgetall(key))).toHaveLength(1);
  });

  it('keeps names that are long or odd apart', async () => {
    const { allotments } = await startReplica('concurrency-limit');
    const long = 'x'.repeat(300);
    const keys = [
      allotments.keyOfTenant(long),
      allotments.keyOfTenant(`${long}y`),
      allotments.keyOfEndpoint('p', long),
    ];
    expect(new Set(keys).size).toBe(3);
    for (const key of keys) expect(key.length).toBeLessThan(150);
  });
});

describe('three replicas', () => {
  it.each(['concurrency-limit', 'concurrency'] as const)(
    'never use more than there is, and all of it (%s)',
    async (kind) => {
      const all = await threeReplicas(kind);
      for (const one of all) demand(one, 20);
      const most = await work(all, isEqual(all, 4), { least: 1_000 });
      expect(most).toBe(CAPACITY);
    },
  );

  it('let a first request go within a moment, and the busy one have what the others leave', async () => {
    const [busy, quiet] = await threeReplicas('concurrency');
    demand(busy, 5);
    await eventually(
      () => busy.inUse,
      (count) => count === 5,
    );
    const before = now();
    demand(quiet, 1);
    while (quiet.inUse === 0) await sleep(0);
    expect(stalls.sinceMs(before)).toBeLessThan(100);
    quiet.end();
    const left = now();
    demand(busy, 20);
    await eventually(
      () => busy.inUse,
      (count) => count === CAPACITY,
    );
    // Sooner than it would have ended by itself.
    expect(stalls.sinceMs(left)).toBeLessThan(1_000);
  });

  it('get the allotment of one that dies within two seconds, and of one that closes at once', async () => {
    const [one, dying, closing] = await threeReplicas('concurrency-limit');
    for (const each of [one, dying, closing]) demand(each, 20);
    await work([one, dying, closing], isEqual([one, dying, closing], 4));
    dying.die();
    await work([one, closing], isEqual([one, closing], 6), { withinMs: 2_500 });
    closing.inUse = 0;
    closing.backlog = 0;
    await closing.allotments.close();
    const closed = now();
    await work([one], () => one.inUse === CAPACITY);
    expect(stalls.sinceMs(closed)).toBeLessThan(500);
    expect(inUse([one, closing])).toBe(CAPACITY);
  });

  it('cost nothing when they have nothing to do', async () => {
    const all = await threeReplicas('concurrency');
    for (const one of all) demand(one, 3);
    await work(all, () => inUse(all) === 9);
    for (const one of all) {
      one.inUse = 0;
      one.backlog = 0;
      one.allotment.usageChanged(now());
    }
    await eventually(
      () => all.map(({ allotments }) => allotments.active()),
      (counts) => counts.every((n) => n === 0),
    );
    expect(await redis.client.exists(all[0].allotments.keyOfTenant('tenant'))).toBe(0);
    const commands = all.map(({ store }) => store.status().commands);
    await sleep(500);
    expect(all.map(({ store }) => store.status().commands)).toEqual(commands);
  });
});

describe('while Redis fails', () => {
  const bound = CAPACITY + 3 * ALONE;

  it('is killed and comes back: a part is used without it, and everything is shared within a second', async () => {
    const all = await threeReplicas('concurrency-limit');
    for (const one of all) demand(one, 20);
    await work(all, isEqual(all, 4));
    await redis.kill();
    // Shares end after a second: then each uses its part alone.
    const away = await work(all, isEqual(all, ALONE), { least: 1_500 });
    expect(away).toBeLessThanOrEqual(CAPACITY);
    const late = startWithout();
    demand(late, 20);
    expect(late.inUse).toBe(ALONE);
    late.inUse = 0;
    late.backlog = 0;
    await redis.restart();
    await eventually(() => all.every(({ store }) => store.status().connected), Boolean);
    const back = await work(all, isEqual(all, 4), { withinMs: 2_000 });
    expect(back).toBeLessThanOrEqual(bound);
  });

  it('is emptied: what is used is told again before anybody gets more', async () => {
    const all = await threeReplicas('concurrency-limit');
    for (const one of all) demand(one, 20);
    await work(all, isEqual(all, 4));
    await redis.client.flushall();
    expect(await work(all, isEqual(all, 4), { least: 1_000 })).toBeLessThanOrEqual(CAPACITY);
  });

  it('is paused: nobody waits, and nothing breaks', async () => {
    const all = await threeReplicas('concurrency');
    for (const one of all) demand(one, 20);
    await work(all, isEqual(all, 4));
    const late = await startReplica('concurrency', { maxWaitMs: 20 });
    await redis.client.client('PAUSE', 700, 'ALL');
    const before = now();
    demand(late, 1);
    while (late.inUse === 0 && now() - before < 2_000) await sleep(0);
    // 20 ms, and what timers add.
    expect(stalls.sinceMs(before)).toBeLessThan(200);
    const everybody = [...all, late];
    expect(await work(everybody, () => true, { least: 600 })).toBeLessThanOrEqual(CAPACITY + 4 * ALONE);
    demand(late, 20);
    await work(everybody, isEqual(everybody, 3));
  });

  it('answers with errors for one key: that one is used in part, the others go on', async () => {
    const broken = await startReplica('concurrency-limit', { tenant: 'broken' });
    await redis.client.set(broken.allotments.keyOfTenant('broken'), 'of somebody else');
    demand(broken, 20);
    await eventually(
      () => broken.inUse,
      (count) => count === ALONE,
    );
    const other = await startReplica('concurrency-limit');
    demand(other, 20);
    await eventually(
      () => other.inUse,
      (count) => count === CAPACITY,
    );
    await redis.client.del(broken.allotments.keyOfTenant('broken'));
    await eventually(
      () => broken.inUse,
      (count) => count === CAPACITY,
    );
    expect(other.inUse).toBe(CAPACITY);
  });
});

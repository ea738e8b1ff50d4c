/** What is used of a month: over reloads, restarts, several replicas and versions, and while Redis is away. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Config, Limits } from '../../src/config/config.ts';
import { restoreSnapshot, saveSnapshot } from '../../src/limit/fs-snapshot.ts';
import { createMemoryStore } from '../../src/limit/memory-store.ts';
import { createRedisLeaseStore, type RedisLeaseStore } from '../../src/limit/redis-lease-store.ts';
import type { LimitStore, StoredLimit, TakeMode } from '../../src/limit/store.ts';
import { createTenantDirectory } from '../../src/tenant/directory.ts';
import {
  createTenantLimits,
  type ReservationResult,
  type TenantLimits,
} from '../../src/tenant/tenant-limits.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const HOUR = 3_600_000;
const NOVEMBER_28 = Date.UTC(2026, 10, 28);
const MONTH_KEY = 'tenant:a:tokens:2026-11';
const month = (amount: number): StoredLimit => ({
  amount,
  unitMs: Number.MAX_SAFE_INTEGER,
  maxDebt: Number.MAX_SAFE_INTEGER,
  keepMs: 40 * 24 * HOUR,
});
const monthly = (tokensPerMonth: number): Limits => ({
  weight: 1,
  maxOutputs: 16,
  maxQueued: 1,
  tokensPerMonth,
});
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

let redis: TestRedis;
let prefix = '';
const open: LimitStore[] = [];
const folder = mkdtempSync(join(tmpdir(), 'fairlane-quotas-'));

beforeAll(async () => {
  redis = await startRedis();
});
beforeEach(() => {
  prefix = `t:${randomUUID()}:`;
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((store) => store.close()));
});
afterAll(async () => {
  await redis.close();
  rmSync(folder, { recursive: true, force: true });
});

async function replica(waitMs = 5_000): Promise<RedisLeaseStore> {
  const store = createRedisLeaseStore({ redis: redis.url, keyPrefix: prefix, waitMs, failureShare: 0.5 });
  open.push(store);
  await eventually(() => store.status().connected, Boolean);
  return store;
}
function tenantOn(store: LimitStore, limits: Limits): TenantLimits {
  return createTenantLimits({ tenant: 'a', limits, store, unixMs: () => NOVEMBER_28 });
}
const reserve = async (tenant: TenantLimits, tokens: number): Promise<ReservationResult> =>
  tenant.reserveTokens(tokens, performance.now());
async function use(tenant: TenantLimits, tokens: number): Promise<void> {
  const reserved = await reserve(tenant, tokens);
  if (reserved.kind !== 'reserved') throw new Error(reserved.kind);
  reserved.reservation.settle(tokens, performance.now());
}
const left = async (store: LimitStore, limit: StoredLimit, key = 'k'): Promise<number> =>
  (await store.take([{ key, limit, hits: 0 }], 0))[0]?.level ?? Number.NaN;
/** A replica that has used nothing for this long keeps nothing in memory. */
const forgotten = (store: RedisLeaseStore): Promise<number> =>
  eventually(
    () => store.status().keys,
    (keys) => keys === 0,
    5_000,
  );

describe('a month in Redis', () => {
  it('is raised and lowered at once, and loses nothing', async () => {
    const store = await replica();
    const tenant = tenantOn(store, monthly(1_000));
    await use(tenant, 1_000);
    expect((await reserve(tenant, 1)).kind).toBe('spent');
    tenant.reconfigure(monthly(1_500));
    await tenant.look(0);
    expect(tenant.month(0)).toMatchObject({ limit: 1_500, remaining: 500 });
    await use(tenant, 400);
    tenant.reconfigure(monthly(100));
    expect((await reserve(tenant, 1)).kind).toBe('spent');
    tenant.reconfigure(monthly(1_401));
    expect((await reserve(tenant, 2)).kind).toBe('spent');
    expect((await reserve(tenant, 1)).kind).toBe('reserved');
  });

  it('is one for replicas of which only some have the new limit', async () => {
    const [a, b] = await Promise.all([replica(), replica()]);
    const [ahead, behind] = [tenantOn(a, monthly(2_000)), tenantOn(b, monthly(1_000))];
    await use(behind, 900);
    for (let i = 0; i < 10; i += 1) {
      await use(ahead, 50);
      expect((await reserve(behind, 101)).kind).toBe('spent');
    }
    // 1,400 are used: 600 are left of the new limit, and 400 too many were of the old one.
    expect((await reserve(ahead, 601)).kind).toBe('spent');
    expect((await reserve(behind, 1)).kind).toBe('spent');
    await use(ahead, 600);
    behind.reconfigure(monthly(2_001));
    expect((await reserve(behind, 2)).kind).toBe('spent');
    expect((await reserve(behind, 1)).kind).toBe('reserved');
  });

  it('is exact, whatever replicas with different limits take, report and give back', async () => {
    const arbStep = fc.record({
      replica: fc.nat(1),
      hits: fc.oneof({ weight: 3, arbitrary: fc.constant(1) }, fc.integer({ min: 1, max: 80 })),
      isGivenBack: fc.boolean(),
      mode: fc.constantFrom<TakeMode>('take', 'take', 'charge', 'report'),
      amount: fc.constantFrom(50, 1_000, 5_000),
      isReconfigured: fc.boolean(),
      sleepMs: fc.constantFrom(0, 0, 0, 0, 0, 20, 450),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(arbStep, { minLength: 10, maxLength: 60 }), async (steps) => {
        prefix = `t:${randomUUID()}:`;
        const stores = await Promise.all([replica(), replica()]);
        const amounts = [1_000, 1_000];
        const own = [0, 0];
        for (const { replica: i, hits, isGivenBack, mode, amount, isReconfigured, sleepMs } of steps) {
          const store = stores[i];
          if (store === undefined) continue;
          if (isReconfigured) amounts[i] = amount;
          const limit = month(amounts[i] ?? 0);
          const back = isGivenBack ? Math.min(own[i] ?? 0, hits) : 0;
          const [taken] = await store.take([{ key: 'k', limit, hits: back > 0 ? -back : hits, mode }], 0);
          if (back > 0) own[i] = (own[i] ?? 0) - back;
          else if (taken?.granted === true || mode !== 'take') own[i] = (own[i] ?? 0) + hits;
          if (sleepMs > 0) await sleep(sleepMs);
        }
        await Promise.all(stores.map((store) => store.close()));
        const other = await replica();
        const used = (own[0] ?? 0) + (own[1] ?? 0);
        const [taken] = await other.take([{ key: 'k', limit: month(7_000), hits: 0 }], 0);
        expect(taken?.used).toBeCloseTo(used, 3);
        await other.close();
      }),
      { numRuns: 20 },
    );
  }, 60_000);

  it('is read as a version wrote it that kept what is left', async () => {
    const tenant = tenantOn(await replica(), monthly(1_000));
    // From here on: a lease lasts a second.
    const at = Date.now();
    const old = { level: '0', at: `${at}`, amount: '1000', unit: `${Number.MAX_SAFE_INTEGER}` };
    await redis.client.hset(`${prefix}{${MONTH_KEY}}`, {
      ...old,
      level: '-20',
      'l:gone': `20:${at - 60_000}:1:1000`,
      'l:other': `15:${at + 900}:7:400`,
    });
    expect((await reserve(tenant, 1)).kind).toBe('spent');
    tenant.reconfigure(monthly(1_500));
    await tenant.look(0);
    // Of 985 that are used: 20 of a lease that is over are back, and 15 are leased by another one.
    expect(tenant.month(0)?.remaining).toBe(500);
    expect(tenant.monthUsed()?.[3]).toBeCloseTo(1_500 - 985, 6);
    await redis.client.hset(`${prefix}{bucket}`, {
      level: '300',
      at: `${at}`,
      amount: '1000',
      unit: `${1_000 * HOUR}`,
    });
    const limit = { amount: 100, unitMs: 1_000 * HOUR, maxDebt: 1e9 };
    expect(await left(await replica(), limit, 'bucket')).toBeCloseTo(-600, 0);
  });

  it('is understood by a version that keeps what is left, in turn with this one', async () => {
    const script = readFileSync(new URL('../fixtures/redis/lease-by-level.lua', import.meta.url), 'utf8');
    const store = await replica();
    const limit = month(1_000);
    let account = 0;
    const ask = async (hits: number): Promise<number> => {
      const { amount, unitMs, maxDebt = 0, keepMs = 0 } = limit;
      const args = [amount, unitMs, 'old', '1', account, account, 0, 0, 1_000, '', '', maxDebt, keepMs, hits];
      const reply = (await redis.client.eval(script, 1, `${prefix}{k}`, ...args)) as readonly string[];
      account = Number(reply[4]);
      return Number(reply[1]);
    };
    for (let i = 1; i <= 10; i += 1) {
      expect((await store.take([{ key: 'k', limit, hits: 30 }], 0))[0]?.granted).toBe(true);
      expect(await ask(20)).toBeCloseTo(1_000 - 50 * i, 6);
    }
    expect(await left(await replica(), limit)).toBeCloseTo(500, 6);
    expect(await left(store, month(3_000))).toBeCloseTo(2_500, 6);
  });
});

describe('a month that is known to be spent', () => {
  const spent = async (waitMs: number): Promise<{ store: RedisLeaseStore; tenant: TenantLimits }> => {
    // Whoever waits for a moment only may be refused it, by its part.
    await use(tenantOn(await replica(), monthly(1_000)), 1_000);
    const store = await replica(waitMs);
    const tenant = tenantOn(store, monthly(1_000));
    await eventually(
      async () => {
        await tenant.look(0);
        return tenant.month(0)?.remaining;
      },
      (remaining) => remaining === 0,
    );
    await forgotten(store);
    return { store, tenant };
  };
  const refusals = async (tenant: TenantLimits): Promise<Set<string>> => {
    const kinds = new Set<string>();
    for (let i = 0; i < 20; i += 1) kinds.add((await reserve(tenant, 1)).kind);
    return kinds;
  };

  it('stays refused while Redis hangs, with a raised limit by what that leaves', async () => {
    const { tenant } = await spent(10);
    const pid = Number(/process_id:(\d+)/.exec(await redis.client.info('server'))?.[1]);
    process.kill(pid, 'SIGSTOP');
    try {
      expect(await refusals(tenant)).toEqual(new Set(['spent']));
      await sleep(1_500);
      expect(await refusals(tenant)).toEqual(new Set(['spent']));
      tenant.reconfigure(monthly(1_100));
      // Half of the 100 more.
      expect((await reserve(tenant, 51)).kind).toBe('spent');
      expect((await reserve(tenant, 50)).kind).toBe('reserved');
      expect((await reserve(tenant, 1)).kind).toBe('spent');
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  });

  it('stays refused while Redis is slow', async () => {
    const { tenant } = await spent(10);
    await redis.client.client('PAUSE', 1_000, 'ALL');
    expect(await refusals(tenant)).toEqual(new Set(['spent']));
  });

  it('stays refused while Redis is gone, and when it comes back empty', async () => {
    const { store, tenant } = await spent(10);
    await redis.kill();
    expect(await refusals(tenant)).toEqual(new Set(['spent']));
    await eventually(
      () => store.status().connected,
      (is) => !is,
    );
    expect(await refusals(tenant)).toEqual(new Set(['spent']));
    await redis.restart();
    await eventually(() => store.status().connected, Boolean);
    expect(await refusals(tenant)).toEqual(new Set(['spent']));
    const other = tenantOn(await replica(), monthly(1_000));
    expect((await reserve(other, 1)).kind).toBe('spent');
  });

  it('is told to a Redis that has lost it, though nothing was used lately', async () => {
    const { tenant } = await spent(5_000);
    await redis.client.flushall();
    expect(await refusals(tenant)).toEqual(new Set(['spent']));
    const other = tenantOn(await replica(), monthly(1_000));
    expect((await reserve(other, 1)).kind).toBe('spent');
    tenant.reconfigure(monthly(1_001));
    expect((await reserve(tenant, 1)).kind).toBe('reserved');
  });

  it('stays refused after a restart without Redis, by the snapshot', async () => {
    const config = {
      tenants: new Map([['a', { name: 'a', keys: [], models: '*', limits: monthly(1_000) }]]),
    } as unknown as Config;
    const path = join(folder, 'months.json');
    const before = createTenantDirectory(config, await replica(), () => NOVEMBER_28);
    const tenant = before.get('a');
    if (tenant === undefined) throw new Error('no tenant');
    await use(tenant.limits, 1_000);
    saveSnapshot(path, before, 0, NOVEMBER_28);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({
      buckets: [[MONTH_KEY, 1_000, month(1).unitMs, 0, 40 * 24 * HOUR]],
    });
    const away = createRedisLeaseStore({ redis: 'redis://127.0.0.1:1', keyPrefix: prefix });
    open.push(away);
    const restart = (of: number): TenantLimits => {
      tenant.config = { ...tenant.config, limits: monthly(of) };
      const next = { tenants: new Map([['a', tenant.config]]) } as unknown as Config;
      const after = createTenantDirectory(next, away, () => NOVEMBER_28);
      expect(restoreSnapshot(path, after, 0, NOVEMBER_28)).toEqual({ kind: 'restored', buckets: 1 });
      const limits = after.get('a')?.limits;
      if (limits === undefined) throw new Error('no tenant');
      return limits;
    };
    const limits = restart(1_000);
    expect(limits.month(0)?.remaining).toBe(0);
    expect(await refusals(limits)).toEqual(new Set(['spent']));
    // It is kept until it is known better.
    saveSnapshot(
      path,
      { buckets: () => [limits.monthUsed()].filter((one) => one !== undefined), restore: () => undefined },
      0,
      NOVEMBER_28,
    );
    expect(restart(1_000).month(0)?.remaining).toBe(0);
  });

  it('of a tenant that came with a token stays refused too, when it comes again', async () => {
    const visitors = { tier: 'free', limits: new Map([['free', monthly(1_000)]]), most: 10 };
    const config = { tenants: new Map(), jwt: { visitors } } as unknown as Config;
    const path = join(folder, 'months-of-visitors.json');
    const comes = (directory: ReturnType<typeof createTenantDirectory>): TenantLimits => {
      const visit = directory.visit('v', () => '', 0);
      if (visit === undefined || typeof visit === 'string') throw new Error('no visitor');
      return visit.limits;
    };
    const before = createTenantDirectory(config, await replica(), () => NOVEMBER_28);
    await use(comes(before), 1_000);
    saveSnapshot(path, before, 0, NOVEMBER_28);
    const away = createRedisLeaseStore({ redis: 'redis://127.0.0.1:1', keyPrefix: prefix });
    open.push(away);
    const after = createTenantDirectory(config, away, () => NOVEMBER_28);
    expect(restoreSnapshot(path, after, 0, NOVEMBER_28)).toEqual({ kind: 'restored', buckets: 1 });
    expect(await refusals(comes(after))).toEqual(new Set(['spent']));
  });

  it('is of no use in the next month', async () => {
    const { store, tenant } = await spent(5_000);
    let unix = NOVEMBER_28;
    const later = createTenantLimits({
      tenant: 'a',
      limits: monthly(1_000),
      store,
      unixMs: () => unix,
    });
    expect((await reserve(later, 1)).kind).toBe('spent');
    unix = Date.UTC(2026, 11, 1);
    await use(later, 1_000);
    expect((await reserve(later, 1)).kind).toBe('spent');
    expect((await reserve(tenant, 1)).kind).toBe('spent');
  });
});

it('a snapshot of the store in memory gives a month with another limit what it has left', async () => {
  const path = join(folder, 'memory.json');
  const before = createMemoryStore();
  await use(tenantOn(before, monthly(1_000)), 900);
  saveSnapshot(path, before, performance.now(), NOVEMBER_28);
  for (const [tokens, remaining] of [
    [2_000, 1_100],
    [500, 0],
  ] as const) {
    const store = createMemoryStore();
    restoreSnapshot(path, store, performance.now(), NOVEMBER_28);
    expect(tenantOn(store, monthly(tokens)).month(performance.now())?.remaining).toBe(remaining);
  }
});

it('a replica asks Redis no more often for a month that it knows', async () => {
  const store = await replica();
  const tenant = tenantOn(store, monthly(1_000_000));
  for (let i = 0; i < 200; i += 1) {
    await use(tenant, 10);
    if (i % 20 === 0) await sleep(1);
  }
  const before = store.status().commands;
  for (let i = 0; i < 500; i += 1) await use(tenant, 10);
  expect(store.status().commands - before).toBeLessThan(50);
});

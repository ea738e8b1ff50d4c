/** What is used of a budget: with a real Redis, over replicas, restarts, outages and reloads; and its warnings, told once. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Config, Limits } from '../../src/config/config.ts';
import { restoreSnapshot, saveSnapshot } from '../../src/limit/fs-snapshot.ts';
import { createMemoryStore } from '../../src/limit/memory-store.ts';
import { createRedisLeaseStore, type RedisLeaseStore } from '../../src/limit/redis-lease-store.ts';
import type { LimitStore } from '../../src/limit/store.ts';
import { together } from '../../src/service/snapshots.ts';
import { createTenantDirectory, type TenantDirectory } from '../../src/tenant/directory.ts';
import { MonthAlerts } from '../../src/tenant/month-alerts.ts';
import type { TenantLimits } from '../../src/tenant/tenant-limits.ts';
import type { MonthAlert } from '../../src/usage/month-alert.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const NOVEMBER_28 = Date.UTC(2026, 10, 28);
const NANO = 1e9;
const EUR = (units: number) => ({ currency: 'EUR', nano: Math.round(units * NANO) });
const limited = (units: number, more: Partial<Limits> = {}): Limits => ({
  weight: 1,
  maxOutputs: 16,
  maxQueued: 1,
  budgetPerMonth: EUR(units),
  ...more,
});
const configOf = (limits: Limits): Config =>
  ({ tenants: new Map([['a', { name: 'a', keys: [], models: '*', limits }]]) }) as unknown as Config;

let redis: TestRedis;
let prefix = '';
const open: LimitStore[] = [];
const folder = mkdtempSync(join(tmpdir(), 'fairlane-budgets-'));

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

async function replica(): Promise<RedisLeaseStore> {
  const store = createRedisLeaseStore({ redis: redis.url, keyPrefix: prefix, waitMs: 5_000 });
  open.push(store);
  await eventually(() => store.status().connected, Boolean);
  return store;
}
const directory = (store: LimitStore, limits: Limits): TenantDirectory =>
  createTenantDirectory(configOf(limits), store, () => NOVEMBER_28);
function of(tenants: TenantDirectory): TenantLimits {
  const limits = tenants.get('a')?.limits;
  if (limits === undefined) throw new Error('no tenant');
  return limits;
}
/** @returns what became of it. */
async function use(tenants: TenantDirectory, units: number, charged = units): Promise<string> {
  const reserved = await of(tenants).reserveTokens(1, performance.now(), () => EUR(units));
  if (reserved.kind === 'reserved') {
    const pico = BigInt(Math.round(charged * NANO)) * 1_000n;
    reserved.reservation.settle(1, performance.now(), { currency: 'EUR', pico });
  }
  return reserved.kind;
}
const left = async (tenants: TenantDirectory): Promise<number | undefined> => {
  await of(tenants).look(0);
  return of(tenants).budget(performance.now())?.remaining;
};

describe.each(['in Redis', 'in memory'])('a budget %s', (where) => {
  const storeOf = (): Promise<LimitStore> =>
    where === 'in Redis' ? replica() : Promise.resolve(createMemoryStore());

  it('is used up, raised and lowered at once', async () => {
    const tenants = directory(await storeOf(), limited(10));
    expect(await use(tenants, 6, 7.5)).toBe('reserved');
    expect(await use(tenants, 2.6)).toBe('spent');
    expect(await use(tenants, 2.5)).toBe('reserved');
    expect(await use(tenants, 0.000000001)).toBe('spent');
    tenants.reconfigure(configOf(limited(15)));
    expect(await left(tenants)).toBe(5 * NANO);
    tenants.reconfigure(configOf(limited(1)));
    expect(await use(tenants, 0.01)).toBe('spent');
    tenants.reconfigure(configOf(limited(1, { onBudgetSpent: 'warn' })));
    expect(await use(tenants, 4)).toBe('reserved');
    tenants.reconfigure(configOf(limited(20)));
    expect(await left(tenants)).toBe(6 * NANO);
  });

  it('is exact at its largest', async () => {
    const tenants = directory(await storeOf(), limited(9_000_000));
    expect(await use(tenants, 8_999_999.999999998, 0.000000003)).toBe('reserved');
    expect(await left(tenants)).toBe(9_000_000 * NANO - 3);
  });
});

describe('replicas', () => {
  it('have one budget, and a restart of all of them keeps what was used', async () => {
    const [a, b] = await Promise.all([replica(), replica()]);
    const [one, other] = [directory(a, limited(10)), directory(b, limited(10))];
    for (let i = 0; i < 9; i += 1) expect(await use(i % 2 === 0 ? one : other, 1)).toBe('reserved');
    expect(await use(other, 1.5)).toBe('spent');
    await Promise.all([a.close(), b.close()]);
    const later = directory(await replica(), limited(10));
    expect(await left(later)).toBe(NANO);
    expect(await use(later, 1.1)).toBe('spent');
  });

  it('are told of 80 and 100 per cent once, all together, also after a restart', async () => {
    const [a, b] = await Promise.all([replica(), replica()]);
    const [one, other] = [directory(a, limited(10)), directory(b, limited(10))];
    await use(one, 7);
    await use(other, 1.5);
    await use(one, 0.1);
    const round = (tenants: TenantDirectory, store: LimitStore): Promise<readonly MonthAlert[]> =>
      new MonthAlerts(store).round(tenants.everybody(), performance.now(), NOVEMBER_28);
    const told = (await Promise.all([round(one, a), round(other, b)])).flat();
    expect(told.map(({ percent }) => percent)).toEqual([80]);
    await use(other, 1.4);
    await use(one, 0.001);
    await Promise.all([a.close(), b.close()]);
    const c = await replica();
    const later = directory(c, limited(10));
    await left(later);
    expect((await round(later, c)).map(({ percent }) => percent)).toEqual([100]);
    expect(await round(later, c)).toEqual([]);
  });

  it('without Redis stay refused after a restart, and warn of nothing twice, by the snapshot', async () => {
    const path = join(folder, 'months.json');
    const store = await replica();
    const before = directory(store, limited(10));
    const alerts = new MonthAlerts(store);
    await use(before, 10);
    expect(await alerts.round(before.everybody(), performance.now(), NOVEMBER_28)).toHaveLength(2);
    saveSnapshot(path, together(before, alerts), 0, NOVEMBER_28);
    const away = createRedisLeaseStore({ redis: 'redis://127.0.0.1:1', keyPrefix: prefix });
    open.push(away);
    const after = directory(away, limited(10));
    const afterAlerts = new MonthAlerts(away);
    expect(restoreSnapshot(path, together(after, afterAlerts), 0, NOVEMBER_28)).toEqual({
      kind: 'restored',
      buckets: 3,
    });
    expect(of(after).budget(0)?.remaining).toBe(0);
    expect(await use(after, 0.01)).toBe('spent');
    expect(await afterAlerts.round(after.everybody(), performance.now(), NOVEMBER_28)).toEqual([]);
  });

  it('ask Redis no more often for a budget that they know', async () => {
    const store = await replica();
    const tenants = directory(store, limited(1_000_000));
    const used = async (): Promise<void> => {
      await use(tenants, 0.01);
    };
    for (let i = 0; i < 200; i += 1) {
      await used();
      if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const before = store.status().commands;
    for (let i = 0; i < 500; i += 1) await used();
    expect(store.status().commands - before).toBeLessThan(50);
  });
});

it('a snapshot of the store in memory gives a budget with another amount what it has left, and warns of nothing twice', async () => {
  const path = join(folder, 'memory.json');
  const before = createMemoryStore();
  const tenants = directory(before, limited(10));
  await use(tenants, 9);
  const round = (all: TenantDirectory, store: LimitStore): Promise<readonly MonthAlert[]> =>
    new MonthAlerts(store).round(all.everybody(), performance.now(), NOVEMBER_28);
  expect(await round(tenants, before)).toHaveLength(1);
  saveSnapshot(path, before, performance.now(), NOVEMBER_28);
  for (const [units, remaining, warnings] of [
    [10, 1, 0],
    [20, 11, 0],
    [5, 0, 2],
  ] as const) {
    const store = createMemoryStore();
    restoreSnapshot(path, store, performance.now(), NOVEMBER_28);
    const later = directory(store, limited(units));
    expect(await left(later)).toBe(remaining * NANO);
    expect(await round(later, store)).toHaveLength(warnings);
  }
});

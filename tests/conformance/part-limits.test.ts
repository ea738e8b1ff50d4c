/** Limits of keys and models in a real Redis: of several replicas, over reloads and restarts. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Config, Limits } from '../../src/config/config.ts';
import { restoreSnapshot, saveSnapshot } from '../../src/limit/fs-snapshot.ts';
import { createRedisLeaseStore, type RedisLeaseStore } from '../../src/limit/redis-lease-store.ts';
import type { LimitStore } from '../../src/limit/store.ts';
import { createTenantDirectory, type TenantDirectory } from '../../src/tenant/directory.ts';
import { MonthAlerts } from '../../src/tenant/month-alerts.ts';
import type { RequestLimits, ReservationResult } from '../../src/tenant/tenant-limits.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const NOVEMBER_28 = Date.UTC(2026, 10, 28);
const part = (limits: Partial<Limits>): Limits => ({ weight: 1, maxOutputs: 16, maxQueued: 1, ...limits });
const configOf = (ofKey: number, ofModel: number): Config =>
  ({
    tenants: new Map([
      [
        'a',
        {
          name: 'a',
          keys: [],
          models: '*',
          limits: part({
            tokensPerMonth: 1_000,
            byKey: new Map([['k', part({ tokensPerMonth: ofKey })]]),
            byModel: new Map([['m:8b', part({ tokensPerMonth: ofModel })]]),
          }),
        },
      ],
    ]),
  }) as unknown as Config;

let redis: TestRedis;
let prefix = '';
const open: LimitStore[] = [];
const folder = mkdtempSync(join(tmpdir(), 'fairlane-part-limits-'));

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
  const store = createRedisLeaseStore({
    redis: redis.url,
    keyPrefix: prefix,
    waitMs: 5_000,
    failureShare: 0.5,
  });
  open.push(store);
  await eventually(() => store.status().connected, Boolean);
  return store;
}
const directoryOn = (store: LimitStore, config = configOf(400, 300)): TenantDirectory =>
  createTenantDirectory(config, store, () => NOVEMBER_28);
function within(directory: TenantDirectory, key?: string, model?: string): RequestLimits {
  const tenant = directory.get('a');
  if (tenant === undefined) throw new Error('no tenant');
  return tenant.limits.within(key, model);
}
const reserve = async (limits: RequestLimits, tokens: number): Promise<ReservationResult> =>
  limits.reserveTokens(tokens, performance.now());
async function use(limits: RequestLimits, reserved: number, used = reserved): Promise<void> {
  const result = await reserve(limits, reserved);
  if (result.kind !== 'reserved') throw new Error(result.kind);
  result.reservation.settle(used, performance.now());
}
/** Of tenant, key and model, as Redis has it. */
async function left(directory: TenantDirectory): Promise<readonly (number | undefined)[]> {
  const limits = directory.get('a')?.limits;
  await limits?.look(performance.now());
  return [...(limits?.parts() ?? [])].map((one) => one.month(performance.now())?.remaining);
}

describe('limits of keys and models in Redis', () => {
  it('are one for all replicas, all or none, and exact', async () => {
    const [one, other] = [directoryOn(await replica()), directoryOn(await replica())];
    await use(within(one, 'k', 'm:8b'), 120);
    await use(within(other, 'k', 'm:8b'), 80);
    expect(await reserve(within(other, 'k', 'm:8b'), 101)).toMatchObject({
      kind: 'spent',
      limit: 300,
      scope: { kind: 'model', model: 'm:8b' },
    });
    expect(await reserve(within(one, 'k', 'else'), 201)).toMatchObject({
      kind: 'spent',
      scope: { kind: 'key' },
    });
    expect(await reserve(within(one, undefined, 'else'), 801)).toMatchObject({ kind: 'spent', limit: 1_000 });
    // What was used beyond the reservation is told with the next call.
    await use(within(one, 'k', 'm:8b'), 60, 40);
    await Promise.all(open.splice(0).map((store) => store.close()));
    expect(await left(directoryOn(await replica()))).toEqual([760, 160, 60]);
  });

  it('have budgets, each refuses in its turn, and are warned of once by all replicas', async () => {
    const EUR = (units: number) => ({ currency: 'EUR', nano: units * 1e9 });
    const budget = (units: number, more: Partial<Limits> = {}): Limits =>
      part({ budgetPerMonth: EUR(units), ...more });
    const limits = budget(10, {
      byKey: new Map([
        ['k', budget(5)],
        ['next', budget(5, { bucketsOf: 'k' })],
      ]),
      byModel: new Map([['m:8b', budget(3)]]),
    });
    const config = {
      tenants: new Map([['a', { name: 'a', keys: [], models: '*', limits }]]),
    } as unknown as Config;
    const stores = [await replica(), await replica()] as const;
    const [one, other] = [directoryOn(stores[0], config), directoryOn(stores[1], config)];
    const spend = async (of: RequestLimits, units: number): Promise<unknown> => {
      const result = await of.reserveTokens(1, performance.now(), () => EUR(units));
      if (result.kind !== 'reserved') return result;
      result.reservation.settle(1, performance.now(), { currency: 'EUR', pico: BigInt(units) * 10n ** 12n });
      return units;
    };
    expect(await spend(within(one, 'k', 'm:8b'), 3)).toBe(3);
    const spent = { kind: 'spent', currency: 'EUR' };
    expect(await spend(within(other, 'k', 'm:8b'), 1)).toMatchObject({ ...spent, scope: { kind: 'model' } });
    expect(await spend(within(other, 'k', 'else'), 2)).toBe(2);
    expect(await spend(within(one, 'next', 'else'), 1)).toMatchObject({ ...spent, scope: { kind: 'key' } });
    expect(await spend(within(one, undefined, 'else'), 6)).toMatchObject({ ...spent, limit: 10e9 });
    const rounds = [one, other].map((directory, i) =>
      new MonthAlerts(stores[i] as LimitStore).round(directory.everybody(), performance.now(), NOVEMBER_28),
    );
    const told = (await Promise.all(rounds)).flat();
    const names = told.map(({ keyId, model, percent }) => `${keyId ?? model ?? 'own'} ${percent}`);
    expect(names.sort()).toEqual(['m:8b 100', 'm:8b 80', 'next 100', 'next 80']);
  });

  it('change, go and come at a reload, and keep what was used', async () => {
    const store = await replica();
    const directory = directoryOn(store);
    await use(within(directory, 'k', 'm:8b'), 200);
    directory.reconfigure(configOf(100, 250));
    expect((await reserve(within(directory, 'k', 'else'), 1)).kind).toBe('spent');
    expect((await reserve(within(directory, undefined, 'm:8b'), 51)).kind).toBe('spent');
    const none = configOf(1, 1);
    const own = part({ tokensPerMonth: 1_000 });
    directory.reconfigure({
      tenants: new Map([['a', { ...none.tenants.get('a'), limits: own }]]),
    } as unknown as Config);
    await use(within(directory, 'k', 'm:8b'), 300);
    directory.reconfigure(configOf(400, 300));
    expect(await left(directory)).toEqual([500, 200, 100]);
  });

  it('stay spent after a restart without Redis, by the snapshot', async () => {
    const path = join(folder, 'months.json');
    const before = directoryOn(await replica());
    await use(within(before, 'k', 'm:8b'), 300);
    saveSnapshot(path, before, 0, NOVEMBER_28);
    const away = createRedisLeaseStore({ redis: 'redis://127.0.0.1:1', keyPrefix: prefix });
    open.push(away);
    const after = directoryOn(away);
    expect(restoreSnapshot(path, after, 0, NOVEMBER_28)).toEqual({ kind: 'restored', buckets: 3 });
    expect(await reserve(within(after, undefined, 'm:8b'), 1)).toMatchObject({ kind: 'spent', limit: 300 });
    // Half of what is left: this replica's part while Redis is away.
    expect(within(after, 'k', 'else').month(0)).toMatchObject({ limit: 400, remaining: 50 });
  });
});

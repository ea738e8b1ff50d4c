import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Limits } from '../../../src/config/config.ts';
import { createMemoryStore, type MemoryStore, type StoredBucket } from '../../../src/limit/memory-store.ts';
import type { LimitStore } from '../../../src/limit/store.ts';
import { LimitScopes } from '../../../src/tenant/limit-scopes.ts';
import {
  createTenantLimits,
  type RequestLimits,
  type Reservation,
  type ReservationResult,
  type TenantLimits,
} from '../../../src/tenant/tenant-limits.ts';

const STANDARD = { weight: 1, maxOutputs: 16, maxQueued: 10 };
const NOVEMBER_28 = Date.UTC(2026, 10, 28);
const KEYS = ['k1', 'k2', undefined] as const;
const MODELS = ['m1', 'm2:8b', 'other'] as const;

const part = (limits: Partial<Limits>): Limits => ({ ...STANDARD, ...limits });
const tenantOn = (store: LimitStore, limits: Partial<Limits>): TenantLimits =>
  createTenantLimits({
    tenant: 'a',
    limits: part(limits),
    store,
    unixMs: () => NOVEMBER_28,
    scopes: (create) => new LimitScopes(create),
  });
/** Asks others each time. */
const lateStore = (store: MemoryStore): LimitStore => ({
  take: async (requests, nowMs) => Promise.resolve().then(() => store.take(requests, nowMs)),
  close: () => store.close(),
});
/** What is used of each bucket that anybody has asked for. */
const usedOf = (store: MemoryStore): ReadonlyMap<string, number> =>
  new Map([...store.buckets(0)].map(([key, amount, , level]) => [key, amount - level]));
const reserve = async (limits: RequestLimits, tokens: number): Promise<ReservationResult> =>
  limits.reserveTokens(tokens, 0);
async function reserved(limits: RequestLimits, tokens: number): Promise<Reservation> {
  const result = await reserve(limits, tokens);
  if (result.kind !== 'reserved') throw new Error(result.kind);
  return result.reservation;
}

const arbPart = fc.record(
  {
    requestsPerMinute: fc.integer({ min: 1, max: 8 }),
    tokensPerMinute: fc.integer({ min: 1, max: 400 }),
    tokensPerMonth: fc.integer({ min: 1, max: 600 }),
  },
  { requiredKeys: [] },
);
const arbLimits = fc.record({
  own: arbPart,
  k1: arbPart,
  m1: arbPart,
  m2: arbPart,
});
const arbStep = fc.record({
  key: fc.constantFrom(...KEYS),
  model: fc.constantFrom(...MODELS),
  tokens: fc.integer({ min: 0, max: 120 }),
  charged: fc.option(fc.integer({ min: 0, max: 200 }), { nil: undefined }),
  used: fc.integer({ min: 0, max: 150 }),
  settlesLater: fc.boolean(),
});
type Given = typeof arbLimits extends fc.Arbitrary<infer T> ? T : never;

const limitsOf = ({ own, k1, m1, m2 }: Given): Partial<Limits> => ({
  ...own,
  byKey: new Map([['k1', part(k1)]]),
  byModel: new Map([
    ['m1', part(m1)],
    ['m2:8b', part(m2)],
  ]),
});

/** The buckets that a request of that key and model is within, with what they hold. */
function bucketsOf(
  { own, k1, m1, m2 }: Given,
  key: string | undefined,
  model: string,
): readonly { readonly requests?: string; readonly name: string; readonly limits: Partial<Limits> }[] {
  return [
    ...(model === 'm1' ? [{ name: 'tenant:a:model:m1', limits: m1 }] : []),
    ...(model === 'm2:8b' ? [{ name: 'tenant:a:model:m2:8b', limits: m2 }] : []),
    ...(key === 'k1' ? [{ name: 'tenant:a:key:k1', limits: k1 }] : []),
    { name: 'tenant:a', limits: own },
  ];
}

describe.each([
  ['at once', (store: MemoryStore): LimitStore => store],
  ['after others were asked', lateStore],
] as const)('limits of a tenant, its keys and its models, decided %s', (_, over) => {
  it('grant all or nothing, and what was used is used in each', async () => {
    await fc.assert(
      fc.asyncProperty(arbLimits, fc.array(arbStep, { maxLength: 40 }), async (given, steps) => {
        const store = createMemoryStore();
        const tenant = tenantOn(over(store), limitsOf(given));
        const expected = new Map<string, number>();
        const add = (bucket: string, amount: number): void => {
          expected.set(bucket, Math.max(0, (expected.get(bucket) ?? 0) + amount));
        };
        const later: (() => void)[] = [];
        for (const { key, model, tokens, charged, used, settlesLater } of steps) {
          const within = bucketsOf(given, key, model);
          const kinds = within.flatMap(({ name, limits }) => [
            ...(limits.tokensPerMinute === undefined
              ? []
              : [[`${name}:tokens`, limits.tokensPerMinute] as const]),
            ...(limits.tokensPerMonth === undefined
              ? []
              : [[`${name}:tokens:2026-11`, limits.tokensPerMonth] as const]),
          ]);
          const fits = kinds.every(([name, amount]) => amount - (expected.get(name) ?? 0) >= tokens);
          const result = await reserve(tenant.within(key, model), tokens);
          expect(result.kind === 'reserved').toBe(tokens === 0 || fits);
          if (result.kind !== 'reserved') continue;
          for (const [name] of kinds) add(name, tokens);
          const held = Math.max(tokens, charged ?? 0);
          if (charged !== undefined) {
            result.reservation.charge(charged, 0);
            for (const [name] of kinds) add(name, held - tokens);
          }
          const settle = (): void => {
            result.reservation.settle(used, 0);
            result.reservation.settle(used + 5, 0);
            for (const [name] of kinds) add(name, used - held);
          };
          if (settlesLater) later.push(settle);
          else settle();
          await Promise.resolve();
        }
        for (const settle of later) settle();
        await new Promise((resolve) => setImmediate(resolve));
        const left = usedOf(store);
        for (const [name, used] of expected) expect(left.get(name) ?? 0).toBeCloseTo(used, 6);
        for (const [name, used] of left) expect(used).toBeCloseTo(expected.get(name) ?? 0, 6);
        for (const one of tenant.parts()) expect(one.outstanding()).toBe(0);
      }),
      { numRuns: 150 },
    );
  });

  it('count a request in each or in none', async () => {
    await fc.assert(
      fc.asyncProperty(arbLimits, fc.array(arbStep, { maxLength: 40 }), async (given, steps) => {
        const store = createMemoryStore();
        const tenant = tenantOn(over(store), limitsOf(given));
        const expected = new Map<string, number>();
        for (const { key, model } of steps) {
          const within = bucketsOf(given, key, model).filter(
            ({ limits }) => limits.requestsPerMinute !== undefined,
          );
          const fits = within.every(
            ({ name, limits }) => (expected.get(name) ?? 0) + 1 <= (limits.requestsPerMinute ?? 0),
          );
          const taken = await tenant.within(key, model).takeRequest(0);
          expect(taken.kind).toBe(fits ? 'taken' : 'short');
          if (fits) for (const { name } of within) expected.set(name, (expected.get(name) ?? 0) + 1);
        }
        await new Promise((resolve) => setImmediate(resolve));
        for (const [name, used] of usedOf(store)) {
          expect(used).toBeCloseTo(expected.get(name.replace(/:requests$/, '')) ?? 0, 6);
        }
      }),
      { numRuns: 150 },
    );
  });

  it('are the tenant’s alone where key and model bound no bucket', async () => {
    await fc.assert(
      fc.asyncProperty(arbPart, fc.array(arbStep, { maxLength: 40 }), async (own, steps) => {
        const nothing = part({ maxContext: 100 });
        const byKey = new Map([['k1', nothing]]);
        const byModel = new Map([['m1', nothing]]);
        const plain = tenantOn(over(createMemoryStore()), own);
        const chained = tenantOn(over(createMemoryStore()), { ...own, byKey, byModel }).within('k1', 'm1');
        const views = (limits: RequestLimits): unknown => [
          limits.requests(0),
          limits.tokens(0),
          limits.month(0),
          limits.wouldTakeRequest(0),
          limits.wouldReserve(50, 0),
        ];
        for (const { tokens, used } of steps) {
          expect(await chained.takeRequest(0)).toEqual(await plain.takeRequest(0));
          const [one, other] = [await reserve(chained, tokens), await reserve(plain, tokens)];
          if (one.kind === 'reserved' && other.kind === 'reserved') {
            expect(one.reservation.tokens).toBe(other.reservation.tokens);
            one.reservation.settle(used, 0);
            other.reservation.settle(used, 0);
          } else expect(one).toEqual(other);
          await new Promise((resolve) => setImmediate(resolve));
          expect(views(chained)).toEqual(views(plain));
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe('limits of keys and models', () => {
  it('cost nothing where none are configured: the tenant’s own object answers', () => {
    const tenant = tenantOn(createMemoryStore(), { requestsPerMinute: 5 });
    expect(tenant.within('k1', 'm1')).toBe(tenant);
    const limited = tenantOn(createMemoryStore(), {
      byModel: new Map([['m1', part({ tokensPerMinute: 5 })]]),
    });
    expect(limited.within('k1', 'm2')).toBe(limited);
    expect(limited.ofModel('m2')).toBeUndefined();
    expect(limited.within('k1', 'm1')).not.toBe(limited);
  });

  it('say whose it was that refuses, and when that lets it pass', async () => {
    const tenant = tenantOn(createMemoryStore(), {
      requestsPerMinute: 100,
      tokensPerMinute: 1_000,
      byKey: new Map([['k1', part({ requestsPerMinute: 1, tokensPerMonth: 300 })]]),
      byModel: new Map([['m1', part({ requestsPerMinute: 2, tokensPerMinute: 60 })]]),
    });
    expect(await tenant.within('k1', undefined).takeRequest(0)).toEqual({ kind: 'taken' });
    expect(await tenant.within('k1', undefined).takeRequest(0)).toEqual({
      kind: 'short',
      limit: 1,
      retryAfterMs: 60_000,
      scope: { kind: 'key' },
    });
    expect(await reserve(tenant.within('k1', 'm1'), 61)).toEqual({
      kind: 'never',
      limit: 60,
      scope: { kind: 'model', model: 'm1' },
    });
    (await reserved(tenant.within('k1', 'm1'), 60)).settle(60, 0);
    expect(await reserve(tenant.within(undefined, 'm1'), 30)).toEqual({
      kind: 'short',
      limit: 60,
      retryAfterMs: 30_000,
      scope: { kind: 'model', model: 'm1' },
    });
    expect(await reserve(tenant.within('k1', 'm2'), 241)).toMatchObject({
      kind: 'spent',
      scope: { kind: 'key' },
    });
    // The tenant's own is nobody's in particular, and says first what waiting cannot mend.
    expect(await reserve(tenant.within('k1', 'm1'), 1_001)).toMatchObject({ kind: 'never', limit: 60 });
    expect(await reserve(tenant.within('k1', 'm2'), 1_001)).toEqual({ kind: 'never', limit: 1_000 });
  });

  it('show the tightest', async () => {
    const tenant = tenantOn(createMemoryStore(), {
      requestsPerMinute: 10,
      tokensPerMinute: 1_000,
      byKey: new Map([['k1', part({ tokensPerMinute: 500, tokensPerMonth: 700 })]]),
      byModel: new Map([['m1', part({ requestsPerMinute: 10, requestBurst: 3, tokensPerMinute: 900 })]]),
    });
    const both = tenant.within('k1', 'm1');
    expect(both.requests(0)).toMatchObject({ limit: 10, remaining: 3 });
    expect(both.tokens(0)).toMatchObject({ limit: 500, remaining: 500 });
    expect(both.month(0)).toMatchObject({ limit: 700, remaining: 700 });
    (await reserved(tenant.within(undefined, 'm1'), 800)).settle(800, 0);
    expect(both.tokens(0)).toMatchObject({ limit: 900, remaining: 100 });
    expect(tenant.within('k1', undefined).tokens(0)).toMatchObject({ limit: 1_000, remaining: 200 });
  });

  it('keep what was used when they change, go and come again', async () => {
    const store = createMemoryStore();
    const of = (tokensPerMonth: number): Partial<Limits> => ({
      byModel: new Map([['m1', part({ tokensPerMonth })]]),
    });
    const tenant = tenantOn(store, of(100));
    const open = await reserved(tenant.within(undefined, 'm1'), 40);
    tenant.reconfigure(part(of(50)));
    expect(await reserve(tenant.within(undefined, 'm1'), 11)).toMatchObject({ kind: 'spent', limit: 50 });
    tenant.reconfigure(part({}));
    expect(tenant.within(undefined, 'm1')).toBe(tenant);
    open.settle(45, 0);
    tenant.reconfigure(part(of(100)));
    const again = tenant.within(undefined, 'm1');
    expect((await reserve(again, 56)).kind).toBe('spent');
    (await reserved(again, 55)).settle(55, 0);
    expect((await reserve(again, 1)).kind).toBe('spent');
  });

  it('tell what is used of their months, and take it over', async () => {
    const byKey = new Map([['k1', part({ tokensPerMonth: 1_000 })]]);
    const byModel = new Map([['m1', part({ tokensPerMonth: 500 })]]);
    const before = tenantOn(createMemoryStore(), { byKey, byModel });
    (await reserved(before.within('k1', 'm1'), 300)).settle(300, 0);
    const stored = new Map<string, StoredBucket>();
    for (const one of before.parts()) {
      const used = one.monthUsed();
      if (used !== undefined) stored.set(used[0], used);
    }
    expect([...stored.keys()].sort()).toEqual([
      'tenant:a:key:k1:tokens:2026-11',
      'tenant:a:model:m1:tokens:2026-11',
    ]);
    const after = tenantOn(createMemoryStore(), { byKey, byModel });
    after.restoreMonth(stored);
    expect(after.within('k1', 'm1').wouldReserve(201, 0)).toMatchObject({
      kind: 'spent',
      scope: { kind: 'model', model: 'm1' },
    });
    expect(after.within('k1', undefined).wouldReserve(701, 0)).toMatchObject({
      kind: 'spent',
      scope: { kind: 'key' },
    });
  });
});

describe('budgets of a tenant, a key and a model', () => {
  const EUR = (units: number) => ({ currency: 'EUR', nano: units * 1e9 });
  const pico = (units: number) => ({ currency: 'EUR', pico: BigInt(units * 1e6) * 10n ** 6n });
  const ask = async (limits: RequestLimits, units: number): Promise<ReservationResult> =>
    limits.reserveTokens(1, 0, () => EUR(units));

  it.each([
    ['the tenant', 10, 20, 20, undefined],
    ['the key', 20, 10, 20, { kind: 'key' }],
    ['the model', 20, 20, 10, { kind: 'model', model: 'm1' }],
  ])('are all asked: that of %s refuses, and says so', async (_, own, key, model, scope) => {
    const store = createMemoryStore();
    const limits = tenantOn(store, {
      budgetPerMonth: EUR(own),
      byKey: new Map([['k1', part({ budgetPerMonth: EUR(key) })]]),
      byModel: new Map([['m1', part({ budgetPerMonth: EUR(model) })]]),
    }).within('k1', 'm1');
    const first = await ask(limits, 6);
    if (first.kind !== 'reserved') throw new Error(first.kind);
    first.reservation.charge(1, 0, 7e9);
    first.reservation.settle(1, 0, pico(7.5));
    const spent = { kind: 'spent', limit: 10e9, currency: 'EUR', ...(scope !== undefined && { scope }) };
    expect(await ask(limits, 3)).toMatchObject(spent);
    expect(limits.wouldReserve(1, 0, () => EUR(3))).toMatchObject(spent);
    expect(limits.budget(0)).toMatchObject({ limit: 10e9, remaining: 2.5e9 });
    expect([...usedOf(store).values()]).toEqual([7.5e9, 7.5e9, 7.5e9]);
  });

  it('show the one that refuses first, before one that only warns', () => {
    const limits = tenantOn(createMemoryStore(), {
      budgetPerMonth: EUR(10),
      byKey: new Map([['k1', part({ budgetPerMonth: EUR(1), onBudgetSpent: 'warn' })]]),
    });
    expect(limits.within('k1', undefined).budget(0)).toMatchObject({ limit: 10e9, isSoft: false });
  });
});

import { describe, expect, it } from 'vitest';
import type { Config, Limits } from '../../../src/config/config.ts';
import type { LimitRaise } from '../../../src/config/limits.ts';
import { createMemoryStore, type MemoryStore } from '../../../src/limit/memory-store.ts';
import { createTenantDirectory, type TenantDirectory } from '../../../src/tenant/directory.ts';
import { MonthAlerts } from '../../../src/tenant/month-alerts.ts';
import { limitsAt, nextEndMs } from '../../../src/tenant/raises.ts';
import type { MonthAlert } from '../../../src/usage/month-alert.ts';

const NOVEMBER_28 = Date.UTC(2026, 10, 28);
const DECEMBER = Date.UTC(2026, 11, 1);
const EUR = (units: number) => ({ currency: 'EUR', nano: units * 1e9 });
const BASE: Limits = { weight: 1, maxOutputs: 16, maxQueued: 10 };

const configOf = (limits: Limits): Config =>
  ({ tenants: new Map([['a', { name: 'a', keys: [], models: '*', limits }]]) }) as unknown as Config;

interface World {
  readonly tenants: TenantDirectory;
  readonly alerts: MonthAlerts;
  use(tokens: number, price?: number): string;
  /** What is told now, as `limit percent`. */
  told(): Promise<readonly string[]>;
  round(): Promise<readonly MonthAlert[]>;
  readonly clock: { unixMs: number };
}
function world(limits: Limits, store: MemoryStore = createMemoryStore()): World {
  const clock = { unixMs: NOVEMBER_28 };
  const self: World = {
    clock,
    tenants: createTenantDirectory(configOf(limits), store, () => clock.unixMs),
    alerts: new MonthAlerts(store),
    use(tokens, price = 0) {
      const of = self.tenants.get('a')?.limits;
      const reserved = of?.reserveTokens(tokens, 0, () => EUR(price));
      if (reserved === undefined || reserved instanceof Promise) throw new Error('no answer');
      if (reserved.kind === 'reserved') {
        const pico = BigInt(Math.round(price * 1e9)) * 1_000n;
        reserved.reservation.settle(tokens, 0, { currency: 'EUR', pico });
      }
      return reserved.kind;
    },
    round: () => self.alerts.round(self.tenants.everybody(), 0, clock.unixMs),
    told: async () => (await self.round()).map(({ limit, percent }) => `${limit} ${percent}`),
  };
  return self;
}

describe('warnings of months', () => {
  it('are told once at 80 and at 100 per cent, of tokens and of budgets', async () => {
    const at = world({ ...BASE, tokensPerMonth: 1_000, budgetPerMonth: EUR(10) });
    at.use(799, 1);
    expect(await at.told()).toEqual([]);
    at.use(1, 7);
    expect(await at.told()).toEqual(['tokens 80', 'budget 80']);
    expect(await at.told()).toEqual([]);
    at.use(100, 2);
    expect(await at.told()).toEqual(['budget 100']);
    expect(await at.told()).toEqual([]);
  });

  it('say what is used, of what, in which month', async () => {
    const at = world({ ...BASE, budgetPerMonth: EUR(10), budgetAlerts: [50] });
    at.use(1, 5.5);
    expect(await at.round()).toEqual([
      {
        id: expect.stringMatching(/^evt_[0-9a-f]{32}$/),
        tenant: 'a',
        limit: 'budget',
        percent: 50,
        used: '5.50 EUR',
        of: '10.00 EUR',
        month: '2026-11',
        refusing: false,
      },
    ]);
  });

  it('are told when a limit refuses though a little is left, and not of a request that is too large', async () => {
    const at = world({ ...BASE, tokensPerMonth: 1_000 });
    expect(at.use(1_001)).toBe('spent');
    expect(await at.told()).toEqual([]);
    at.use(950);
    expect(await at.told()).toEqual(['tokens 80', 'tokens 100']);
  });

  it('go by what is used, not by what is reserved', async () => {
    const at = world({ ...BASE, tokensPerMonth: 1_000 });
    const reserved = at.tenants.get('a')?.limits.reserveTokens(900, 0);
    expect(await at.told()).toEqual([]);
    if (reserved !== undefined && 'reservation' in reserved) reserved.reservation.settle(850, 0);
    expect(await at.told()).toEqual(['tokens 80']);
  });

  it('are one for all who share a store, and for a restart with its snapshot', async () => {
    const store = createMemoryStore();
    const limits = { ...BASE, tokensPerMonth: 1_000 };
    const [one, other] = [world(limits, store), world(limits, store)];
    one.use(900);
    other.use(1);
    const told = await Promise.all([one.told(), other.told()]);
    expect(told.flat()).toEqual(['tokens 80']);
    const next = createMemoryStore();
    next.restore([...store.buckets(0)], 0, 0);
    const later = world(limits, next);
    later.use(1);
    expect(await later.told()).toEqual([]);
    // A replica whose store is elsewhere remembers what it told itself.
    const alone = world(limits);
    alone.alerts.restore([...one.alerts.buckets(), ...other.alerts.buckets()]);
    alone.use(950);
    expect(await alone.told()).toEqual([]);
  });

  it('are told again in the next month, and of another amount', async () => {
    const at = world({ ...BASE, tokensPerMonth: 1_000 });
    at.use(1_000);
    expect(await at.told()).toEqual(['tokens 80', 'tokens 100']);
    at.tenants.reconfigure(configOf({ ...BASE, tokensPerMonth: 1_200 }));
    at.use(0);
    expect(await at.told()).toEqual(['tokens 80']);
    at.clock.unixMs = DECEMBER;
    expect(await at.told()).toEqual([]);
    at.use(1_000);
    expect(await at.told()).toEqual(['tokens 80']);
    expect([...at.alerts.buckets()].map(([key]) => key)).toEqual(['tenant:a:tokens:2026-12:told:1200:80']);
  });

  it('are none where none are wanted', async () => {
    const at = world({ ...BASE, tokensPerMonth: 1_000, budgetAlerts: [] });
    at.use(1_000);
    expect(await at.told()).toEqual([]);
  });
});

describe('raises of limits', () => {
  const raise = (untilMs: number, limits: Partial<LimitRaise>): LimitRaise => ({ untilMs, ...limits });
  const limits: Limits = {
    ...BASE,
    requestsPerMinute: 60,
    tokensPerMinute: 1_000,
    tokensPerMonth: 10_000,
    budgetPerMonth: EUR(500),
    raises: [
      raise(100, { budgetPerMonth: EUR(800), tokensPerMonth: 20_000 }),
      raise(200, { budgetPerMonth: EUR(700), requestsPerMinute: 600, tokensPerMinute: 1 }),
      raise(300, { budgetPerMonth: { currency: 'USD', nano: 9e15 } }),
    ],
  };
  const at = (unixMs: number) => {
    const { requestsPerMinute, tokensPerMinute, tokensPerMonth, budgetPerMonth } = limitsAt(limits, unixMs);
    return [requestsPerMinute, tokensPerMinute, tokensPerMonth, budgetPerMonth?.nano];
  };

  it('are in force until their end, which is not of them; of several the largest counts', () => {
    expect(at(0)).toEqual([600, 1_000, 20_000, 800e9]);
    expect(at(99)).toEqual([600, 1_000, 20_000, 800e9]);
    expect(at(100)).toEqual([600, 1_000, 10_000, 700e9]);
    expect(at(200)).toEqual([60, 1_000, 10_000, 500e9]);
    expect(limitsAt(limits, 300)).toBe(limits);
    expect([0, 100, 200, 300].map((ms) => nextEndMs([limits, BASE], ms))).toEqual([100, 200, 300, undefined]);
  });

  it('lift a limit, and do nothing where nothing is limited', () => {
    const lifted = raise(100, { tokensPerMonth: Number.POSITIVE_INFINITY, budgetPerMonth: 'unlimited' });
    const raised = limitsAt({ ...limits, raises: [lifted] }, 0);
    expect(raised).not.toHaveProperty('tokensPerMonth');
    expect(raised).not.toHaveProperty('budgetPerMonth');
    expect(limitsAt({ ...BASE, raises: [raise(1, { tokensPerMonth: 5 })] }, 0)).not.toHaveProperty(
      'tokensPerMonth',
    );
  });

  it('apply to a running tenant, and end: what was used stays used', () => {
    const raised = { ...BASE, tokensPerMonth: 100, raises: [raise(DECEMBER - 1, { tokensPerMonth: 300 })] };
    const of = world(raised);
    expect(of.use(250)).toBe('reserved');
    expect(of.tenants.nextRaiseEndMs()).toBe(DECEMBER - 1);
    of.clock.unixMs = DECEMBER - 1;
    of.tenants.applyRaises();
    expect(of.tenants.get('a')?.limits.month(0)).toMatchObject({ limit: 100, remaining: 0 });
    expect(of.use(1)).toBe('spent');
    expect(of.tenants.nextRaiseEndMs()).toBeUndefined();
  });
});

describe('months of keys and models', () => {
  const of = (more: Partial<Limits>): Limits => ({ ...BASE, ...more });
  const limits = of({
    tokensPerMonth: 1_000,
    byKey: new Map([
      ['k1', of({ tokensPerMonth: 100 })],
      ['k2', of({ tokensPerMonth: 100, bucketsOf: 'k1' })],
    ]),
    byModel: new Map([
      ['m', of({ budgetPerMonth: EUR(10), budgetAlerts: [50] })],
      ['idle', of({ tokensPerMonth: 1 })],
    ]),
  });
  const use = (at: World, key: string | undefined, model: string | undefined, tokens: number, price = 0) => {
    const tenant = at.tenants.get('a');
    const reserved = tenant?.limits.within(key, model).reserveTokens(tokens, 0, () => EUR(price));
    if (reserved === undefined || reserved instanceof Promise) throw new Error('no answer');
    const pico = BigInt(price) * 10n ** 12n;
    if (reserved.kind === 'reserved') reserved.reservation.settle(tokens, 0, { currency: 'EUR', pico });
    return reserved.kind;
  };

  it('are warned of once, each by its own alerts, and the warning says whose it is', async () => {
    const at = world(limits);
    expect(use(at, 'k1', 'm', 50, 5)).toBe('reserved');
    expect(await at.round()).toMatchObject([{ tenant: 'a', model: 'm', limit: 'budget', percent: 50 }]);
    expect(use(at, 'k2', 'else', 35)).toBe('reserved');
    const [told, ...more] = await at.round();
    expect(told).toMatchObject({ tenant: 'a', keyId: 'k2', limit: 'tokens', percent: 80, used: 85, of: 100 });
    expect(told).not.toHaveProperty('model');
    expect([more, await at.round()]).toEqual([[], []]);
  });

  it('go on with the key that follows another, also after a restart', () => {
    const store = createMemoryStore();
    const at = world(limits, store);
    expect(use(at, 'k1', undefined, 90)).toBe('reserved');
    expect(use(at, 'k2', undefined, 11)).toBe('spent');
    const later = createMemoryStore();
    later.restore([...store.buckets(0)], 0, 0);
    const byKey = new Map([['k3', of({ tokensPerMonth: 100, bucketsOf: 'k1' })]]);
    const next = world(of({ byKey }), later);
    expect(use(next, 'k3', undefined, 11)).toBe('spent');
    expect(use(next, 'k3', undefined, 10)).toBe('reserved');
  });

  it('cost nothing while nobody uses them, also after a restart', () => {
    const at = world(limits);
    use(at, 'k1', undefined, 90);
    const stored = [...at.tenants.buckets(0)];
    expect(stored.map(([key]) => key)).toEqual(['tenant:a:tokens:2026-11', 'tenant:a:key:k1:tokens:2026-11']);
    const next = world(limits);
    next.tenants.restore(stored, 0, NOVEMBER_28);
    expect([...(next.tenants.get('a')?.limits.parts() ?? [])].map(({ part }) => part?.name)).toEqual([
      undefined,
      'k1',
    ]);
  });

  it('are raised for a time like the tenant’s', () => {
    const raised = of({ tokensPerMonth: 100, raises: [{ untilMs: DECEMBER - 1, tokensPerMonth: 300 }] });
    for (const parts of [{ byKey: new Map([['k', raised]]) }, { byModel: new Map([['k', raised]]) }]) {
      const at = world(of(parts));
      expect(at.tenants.nextRaiseEndMs()).toBe(DECEMBER - 1);
      expect(use(at, 'k', 'k', 250)).toBe('reserved');
      at.clock.unixMs = DECEMBER - 1;
      at.tenants.applyRaises();
      expect(use(at, 'k', 'k', 1)).toBe('spent');
      expect(at.tenants.nextRaiseEndMs()).toBeUndefined();
    }
  });
});

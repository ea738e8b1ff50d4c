import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Config, Limits } from '../../../src/config/config.ts';
import { createMemoryStore } from '../../../src/limit/memory-store.ts';
import { MonthWatch } from '../../../src/service/month-watch.ts';
import type { ServiceEvent } from '../../../src/telemetry/telemetry.ts';
import { createTenantDirectory } from '../../../src/tenant/directory.ts';

const NOVEMBER_1 = Date.UTC(2026, 10, 1);
const DAY = 24 * 3_600_000;

const configOf = (limits: Partial<Limits>): Config =>
  ({
    tenants: new Map([
      [
        'a',
        { name: 'a', keys: [], models: '*', limits: { weight: 1, maxOutputs: 1, maxQueued: 1, ...limits } },
      ],
    ]),
  }) as unknown as Config;

function watch(limits: Partial<Limits>) {
  const store = createMemoryStore();
  const tenants = createTenantDirectory(configOf(limits), store, Date.now);
  const told: ServiceEvent[] = [];
  const now = (): number => performance.now();
  const tell = (event: ServiceEvent): void => void told.push(event);
  const months = new MonthWatch({ tenants, store, tell, now, unixMs: Date.now });
  const limitsOf = () => tenants.get('a')?.limits;
  return { tenants, told, months, limitsOf };
}

beforeEach(() => {
  vi.useFakeTimers({ now: NOVEMBER_1 });
});
afterEach(() => {
  vi.useRealTimers();
});

describe('a watch over months', () => {
  it('ends a raise at its time, without a reload, also one of forty days', async () => {
    const untilMs = NOVEMBER_1 + 40 * DAY;
    const { tenants, told, months } = watch({
      requestsPerMinute: 60,
      raises: [{ untilMs, requestsPerMinute: 600 }],
    });
    const raised = () => tenants.get('a')?.config.limits.requestsPerMinute;
    expect(raised()).toBe(600);
    await vi.advanceTimersByTimeAsync(40 * DAY - 1);
    expect([raised(), told]).toEqual([600, []]);
    await vi.advanceTimersByTimeAsync(1);
    expect(raised()).toBe(60);
    expect(told).toEqual([{ kind: 'limit-raise-ended', tenants: ['a'], count: 1 }]);
    months.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('ends a raise that a reload has brought, and none that a reload took away', async () => {
    const { tenants, told, months } = watch({ tokensPerMonth: 10 });
    tenants.reconfigure(
      configOf({ tokensPerMonth: 10, raises: [{ untilMs: NOVEMBER_1 + 5, tokensPerMonth: 20 }] }),
    );
    months.reconfigured();
    expect(tenants.get('a')?.limits.month(0)?.limit).toBe(20);
    await vi.advanceTimersByTimeAsync(10);
    expect(tenants.get('a')?.limits.month(0)?.limit).toBe(10);
    tenants.reconfigure(
      configOf({ tokensPerMonth: 10, raises: [{ untilMs: NOVEMBER_1 + 99, tokensPerMonth: 20 }] }),
    );
    months.reconfigured();
    tenants.reconfigure(configOf({ tokensPerMonth: 10 }));
    months.reconfigured();
    await vi.advanceTimersByTimeAsync(200);
    expect(told).toHaveLength(1);
    months.close();
  });

  it('tells of what is used within a second, once, and how much that is', async () => {
    const { told, months, limitsOf } = watch({ tokensPerMonth: 100 });
    const reserved = await limitsOf()?.reserveTokens(85, 0);
    if (reserved?.kind === 'reserved') reserved.reservation.settle(85, 0);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(told).toMatchObject([
      { kind: 'budget-alert', tenant: 'a', limit: 'tokens', percent: 80, used: 85 },
    ]);
    expect([...months.ratios()]).toEqual([{ tenant: 'a', limit: 'tokens', ratio: 0.85 }]);
    months.close();
  });
});

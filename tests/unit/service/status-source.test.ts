/** The status, made from parts that hold much. */
import { describe, expect, it } from 'vitest';
import { DEFAULT_STATUS_QUERY, statusSchema } from '../../../src/admin/status.ts';
import { type StatusParts, StatusSource } from '../../../src/service/status-source.ts';
import { RecentUsage } from '../../../src/telemetry/recent-usage.ts';
import type { BucketView } from '../../../src/tenant/bucket.ts';
import type { BudgetView } from '../../../src/tenant/request-limits.ts';
import { createOccupancy } from '../../../src/usage/occupancy.ts';

const nameOf = (i: number): string => `tenant-${String(i).padStart(5, '0')}`;

function world(tenants: number, active = tenants) {
  const occupancy = createOccupancy();
  const recent = new RecentUsage();
  const count = { looks: 0, limits: 0 };
  const clock = { nowMs: 100_000 };
  for (let i = 0; i < active; i += 1) {
    occupancy.open(nameOf(i), 'm').enter(i % 2 === 0 ? 'queued' : 'inFlight');
    recent.ended(
      nameOf(i),
      { outcome: 'completed', promptTokens: 10, completionTokens: 0, ttftMs: 50 },
      99_000,
    );
  }
  const view = (): BucketView => {
    count.limits += 1;
    return { limit: 60, remaining: 12, resetMs: 500 };
  };
  const budget = (): BudgetView => ({
    limit: 10_000_000,
    remaining: 4_200_000.6,
    resetMs: 7.4,
    currency: 'EUR',
    isSoft: false,
  });
  const limits = { requests: view, tokens: () => undefined, month: () => undefined, budget };
  const configured = new Map(Array.from({ length: tenants }, (_, i) => [nameOf(i), {}]));
  const parts = {
    config: () => {
      count.looks += 1;
      return { tenants: configured, models: new Map(), aliases: new Map(), adapters: new Map() };
    },
    inUse: () => ({ file: 'fairlane.yaml', sinceMs: 5_000 }),
    health: () => ({ status: 'ok', ready: true, pools: {} }),
    redis: () => ({ connected: false, leased: 0.4 }),
    openStreams: () => active,
    pools: { all: () => [], get: () => undefined },
    dispatcher: {},
    tenants: {
      get: (name: string) => ({
        config: { name, tier: 'gold', limits: { weight: 2, maxConcurrent: 4 } },
        limits,
      }),
    },
    catalog: { served: () => [] },
    rollouts: { list: () => [] },
    mirrors: { list: () => [] },
    occupancy,
    recent,
    labelOf: (name: string) => name,
    now: () => clock.nowMs,
    unixMs: () => 1_000_000 + clock.nowMs,
  } as unknown as StatusParts;
  const source = new StatusSource(parts);
  const read = (change = {}) =>
    statusSchema.parse(JSON.parse(source.text({ ...DEFAULT_STATUS_QUERY, ...change }) ?? ''));
  return { source, read, count, clock };
}

describe('the status', () => {
  it('shows those with the most, and sums the others', () => {
    const { read, count } = world(10_000);
    const { tenants, totals, redis, config } = read({ tenants: 3 });
    expect(tenants.rows.map(({ name }) => name)).toEqual([nameOf(0), nameOf(2), nameOf(4)]);
    expect(tenants.rows[0]).toEqual({
      name: nameOf(0),
      tier: 'gold',
      weight: 2,
      inFlight: 0,
      waiting: 1,
      requestsPerSecond: 0.1,
      refusalsPerSecond: 0,
      tokensPerSecond: 1,
      ttftP50Ms: expect.closeTo(50, -1),
      ttftP99Ms: expect.closeTo(50, -1),
      maxConcurrent: 4,
      requests: { limit: 60, left: 12, resetMs: 500 },
      budget: { limit: '0.01 EUR', left: '0.0042 EUR', refuses: true, resetMs: 7 },
      lastEndedAt: new Date(1_099_000).toISOString(),
    });
    expect(tenants.rest).toMatchObject({ tenants: 9_997, inFlight: 5_000, waiting: 4_997 });
    expect(totals).toMatchObject({ inFlight: 5_000, waiting: 5_000, requestsPerSecond: 1_000 });
    expect(redis).toEqual({ connected: false, leasedTokens: 0 });
    expect(config.inUseSince).toBe(new Date(5_000).toISOString());
    // Limits are looked up for what is shown.
    expect(count.limits).toBe(3);
  });

  it('is made once in 200 ms, for whoever asks the same', () => {
    const { source, count, clock } = world(10);
    const ask = (change = {}) => source.text({ ...DEFAULT_STATUS_QUERY, ...change });
    const first = ask();
    const { looks } = count;
    for (let i = 0; i < 100; i += 1) expect(ask()).toBe(first);
    expect(count.looks).toBe(looks);
    clock.nowMs += 199;
    expect(ask()).toBe(first);
    expect(ask({ sort: 'name' })).toContain('"sort":"name"');
    clock.nowMs += 1;
    expect(ask()).not.toBe(first);
  });

  it('is made for sixteen questions in 200 ms, and for no more', () => {
    const { source, count, clock } = world(10);
    const ask = (tenants: number) => source.text({ ...DEFAULT_STATUS_QUERY, tenants });
    const texts = Array.from({ length: 500 }, (_, tenants) => ask(tenants));
    expect(texts.flatMap((text, at) => (text === undefined ? [] : [at]))).toEqual(
      [...texts.keys()].slice(0, 16),
    );
    const { limits } = count;
    expect([ask(15), ask(16), count.limits]).toEqual([texts[15], undefined, limits]);
    clock.nowMs += 200;
    expect(JSON.parse(ask(2) ?? '').tenants.rows).toHaveLength(2);
  });

  it('has tenants without requests only where they are asked for', () => {
    const { read } = world(50, 2);
    expect(read().tenants).toMatchObject({ configured: 50, active: 2, rows: { length: 2 } });
    const { rows, rest } = read({ idle: true, tenants: 10, sort: 'name' }).tenants;
    expect([rows.length, rows[9]?.name, rest.tenants]).toEqual([10, nameOf(9), 40]);
  });

  it('of 10,000 tenants with requests takes milliseconds', () => {
    const { source, clock } = world(10_000);
    const times = Array.from({ length: 7 }, () => {
      clock.nowMs += 1_000;
      const before = process.cpuUsage();
      source.text(DEFAULT_STATUS_QUERY);
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1_000;
    });
    // Some 15 ms: what grows faster than the tenants is far above.
    expect(Math.min(...times)).toBeLessThan(200);
  });
});

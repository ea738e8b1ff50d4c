import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Config, TenantConfig } from '../../../src/config/config.ts';
import { KeyExpiries, nextExpiryMs, withoutExpired } from '../../../src/service/key-expiries.ts';

const tenantsOf = (...ends: readonly (number | undefined)[]): Config['tenants'] =>
  new Map(
    ends.map((expiresMs, i) => [
      `t${i}`,
      {
        name: `t${i}`,
        keys: [
          {
            id: `k${i}`,
            secret: { kind: 'plain', value: 'x' },
            ...(expiresMs !== undefined && { expiresMs }),
          },
        ],
      } as unknown as TenantConfig,
    ]),
  );
const DAY_MS = 86_400_000;

beforeEach(() => void vi.useFakeTimers({ now: 0 }));
afterEach(() => void vi.useRealTimers());

describe('keys that expire', () => {
  it('are left out from their end on; without any the tenants are the same', () => {
    const tenants = tenantsOf(undefined, 100, 200);
    expect(withoutExpired(tenants, 99)).toBe(tenants);
    expect([...withoutExpired(tenants, 100)].map(([, { keys }]) => keys.length)).toEqual([1, 0, 1]);
    expect(nextExpiryMs(tenants, 0)).toBe(100);
    expect(nextExpiryMs(tenants, 100)).toBe(200);
    expect(nextExpiryMs(tenants, 200)).toBeUndefined();
  });

  it('are told once, at their end, also in two years', () => {
    const expired = vi.fn<() => void>();
    const expiries = new KeyExpiries(Date.now);
    expiries.watch(tenantsOf(730 * DAY_MS), expired);
    vi.advanceTimersByTime(730 * DAY_MS - 1);
    expect(expired).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(expired).toHaveBeenCalledTimes(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('are told within an hour where the clock was set forward', () => {
    let offset = 0;
    const expired = vi.fn<() => void>();
    new KeyExpiries(() => Date.now() + offset).watch(tenantsOf(10 * DAY_MS), expired);
    offset = 20 * DAY_MS;
    vi.advanceTimersByTime(3_600_000);
    expect(expired).toHaveBeenCalledTimes(1);
  });

  it('are told within an hour where the clock was set back before their end', () => {
    let offset = 20 * DAY_MS;
    const changed = vi.fn<() => void>();
    new KeyExpiries(() => Date.now() + offset).watch(tenantsOf(10 * DAY_MS, 15 * DAY_MS), changed);
    vi.advanceTimersByTime(2 * 3_600_000);
    expect(changed).not.toHaveBeenCalled();
    offset = 12 * DAY_MS;
    vi.advanceTimersByTime(3_600_000);
    expect(changed).toHaveBeenCalledTimes(1);
  });

  it('are told again where that failed, and not after the end', () => {
    const expired = vi.fn<() => void>(() => {
      throw new Error('no space left');
    });
    const expiries = new KeyExpiries(Date.now);
    expiries.watch(tenantsOf(100), expired);
    vi.advanceTimersByTime(100 + 30_000);
    expect(expired.mock.calls.length).toBeGreaterThan(2);
    expiries.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('that nobody has are not waited for', () => {
    new KeyExpiries(Date.now).watch(tenantsOf(undefined), vi.fn<() => void>());
    expect(vi.getTimerCount()).toBe(0);
  });
});

import { describe, expect, it } from 'vitest';
import { SlidingCounts } from '../../../../src/pool/health/sliding-counts.ts';
import { TenantVotes } from '../../../../src/pool/health/tenant-votes.ts';

describe('counts in a sliding window', () => {
  it('forget what is older than the window, a bucket at a time', () => {
    const counts = new SlidingCounts(1_000, 10);
    counts.add(true, 0);
    counts.add(false, 550);
    expect(counts.sum(900)).toEqual({ succeeded: 1, failed: 1 });
    expect(counts.sum(1_000)).toEqual({ succeeded: 1, failed: 0 });
    expect(counts.sum(5_000)).toEqual({ succeeded: 0, failed: 0 });
  });
  it('take a clock that goes back for the newest time', () => {
    const counts = new SlidingCounts(1_000, 10);
    counts.add(true, 5_000);
    counts.add(true, 100);
    expect(counts.sum(5_000).failed).toBe(2);
  });
});

describe("tenants' votes", () => {
  const votes = () => new TenantVotes({ windowMs: 10_000, failureShare: 0.5, maxTenants: 3 });

  it('blame the place when two tenants fail and nobody contradicts', () => {
    const it1 = votes();
    it1.add('a', true, 0);
    expect(it1.verdict(0)).toEqual({ kind: 'alone', tenant: 'a' });
    it1.add('b', true, 0);
    expect(it1.verdict(0)).toEqual({ kind: 'place' });
  });
  it('count a tenant once, however many requests it sends', () => {
    const it1 = votes();
    for (let i = 0; i < 1_000; i += 1) it1.add('flooder', true, i);
    it1.add('quiet', false, 1_000);
    expect(it1.verdict(1_000)).toEqual({ kind: 'fine' });
  });
  it('do not blame the place while more tenants succeed than fail', () => {
    const it1 = new TenantVotes({ windowMs: 10_000, failureShare: 0.5, maxTenants: 10 });
    for (const tenant of ['a', 'b']) it1.add(tenant, true, 0);
    for (const tenant of ['c', 'd', 'e']) it1.add(tenant, false, 0);
    expect(it1.verdict(0)).toEqual({ kind: 'fine' });
  });
  it('remember the tenants that were here last, and none beyond the window', () => {
    const it1 = votes();
    for (let i = 0; i < 100; i += 1) it1.add(`tenant ${i}`, true, i);
    expect(it1.size()).toBe(3);
    it1.add('late', true, 20_000);
    expect(it1.size()).toBe(1);
  });
  it('know whose latest outcome was a success, also after the counting began again', () => {
    const it1 = votes();
    it1.add('a', false, 5);
    it1.add('b', false, 5);
    it1.add('b', true, 6);
    it1.clear();
    expect(it1.succeededAtMs('a')).toBe(5);
    expect(it1.succeededAtMs('b')).toBeUndefined();
    expect(it1.total(6)).toEqual({ succeeded: 0, failed: 0 });
  });
});

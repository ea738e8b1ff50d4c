import { describe, expect, it } from 'vitest';
import {
  heapFor,
  maxOpenOf,
  maxWaitingOf,
  memoryBoundOf,
  uploadMs,
} from '../../../src/config/memory-bound.ts';
import { configOf, full, minimal, problemsOf, put, type Settings } from './parse.ts';

const MiB = 1024 ** 2;

const withTenant = (limits: Settings): Settings => put(minimal(), 'tenants.alice.limits', limits);
const openOf = (settings: Settings): number => {
  const config = configOf(settings);
  const limits = config.tenants.get('alice')?.limits;
  if (limits === undefined) throw new Error('no alice');
  return maxOpenOf(limits, config);
};
const totalOf = (settings: Settings): number => {
  const { envoy, fairlane } = memoryBoundOf(configOf(settings));
  return envoy + fairlane;
};

describe('exchanges that a tenant may have open', () => {
  it('are those in the engines, those in the queue and a few that are ending', () => {
    expect(openOf(withTenant({ maxConcurrent: 4, maxQueued: 6 }))).toBe(18);
  });
  it('without a limit are 256 in the engines for each endpoint, or its window', () => {
    expect(openOf(minimal())).toBe(256 + 100 + 8);
    expect(openOf(put(minimal(), 'pools.main.endpoints', ['http://a:1', 'http://b:1']))).toBe(512 + 108);
    expect(openOf(put(minimal(), 'pools.main.concurrencyLimit', 1_000))).toBe(1_000 + 108);
    expect(openOf(put(minimal(), 'pools.main.concurrencyLimit', 4))).toBe(364);
  });
});

describe('the memory that one tenant can take', () => {
  it('is at most 768 MiB with the defaults, and at most 512 MiB where bodies have 8 MiB', () => {
    expect(totalOf(minimal())).toBeLessThanOrEqual(768 * MiB);
    expect(totalOf(put(minimal(), 'envoy.maxBodySize', '8MiB'))).toBeLessThanOrEqual(512 * MiB);
  });
  it('is what it takes over as many connections as there may be, within the heap', () => {
    const large = put(put(minimal(), 'envoy.maxHeapSize', '1024GiB'), 'envoy.maxConnections', 16);
    for (const [path, value] of [
      ['tenants.alice.limits', { maxHeldSize: '128MiB' }],
      ['tenants.alice.limits', { maxQueued: 1_000 }],
      ['envoy.connectionBufferSize', '256KiB'],
      ['envoy.maxBodySize', '128MiB'],
      ['envoy.maxConnections', 17],
    ] as const) {
      expect(totalOf(put(large, path, value))).toBeGreaterThan(totalOf(large));
    }
  });
  it('is that of the tenant that may hold most', () => {
    const two = put(minimal(), 'tenants.bob', { keys: ['key-of-bob'], limits: { maxConcurrent: 1_000 } });
    expect(memoryBoundOf(configOf(two)).tenant).toBe('bob');
  });
  it('is in Envoy no more than its heap and what is none', () => {
    const { envoy } = memoryBoundOf(configOf(put(minimal(), 'envoy.maxHeapSize', '96MiB')));
    expect(envoy).toBe((96 + 58) * MiB);
  });
  it('leaves room for others in a heap that is not configured', () => {
    for (const settings of [
      minimal(),
      withTenant({ maxHeldSize: '1GiB' }),
      withTenant({ maxQueued: 5_000 }),
    ]) {
      const config = configOf(settings);
      expect(config.envoy.maxHeapBytes).toBe(heapFor(config));
      const few = { ...config, envoy: { ...config.envoy, maxConnections: 0 } };
      expect(memoryBoundOf(few).envoy - 58 * MiB).toBeLessThan(0.9 * config.envoy.maxHeapBytes);
    }
  });
});

it('half as many bytes as may be held may wait for room, one body at least, and never more than may be held', () => {
  const config = configOf(put(minimal(), 'envoy.maxBodySize', '8MiB'));
  expect(maxWaitingOf(48 * MiB, config)).toBe(24 * MiB);
  expect(maxWaitingOf(12 * MiB, config)).toBe(config.envoy.maxBodyBytes);
  expect(maxWaitingOf(1 * MiB, config)).toBe(1 * MiB);
  expect(maxWaitingOf(Number.POSITIVE_INFINITY, config)).toBe(Number.POSITIVE_INFINITY);
});

it('a body may take its length at the least rate, and the grace', () => {
  const { envoy } = configOf(minimal());
  expect(uploadMs(envoy, 0)).toBe(10_000);
  expect(uploadMs(envoy, 163_840)).toBe(20_000);
});

it.each(['queue.maxQueuedSize', 'tiers.gold.maxHeldSize', 'tenants.alice.limits.maxHeldSize'])(
  '%s that is smaller than the largest body is a problem that says what to do',
  (path) => {
    expect(problemsOf(put(full(), path, '63KiB'))).toEqual([
      expect.stringMatching(
        new RegExp(
          `: ${path.replaceAll('.', '\\.')}: is smaller than envoy.maxBodySize \\(65536 bytes\\).*raise it, or lower`,
        ),
      ),
    ]);
    expect(problemsOf(put(full(), path, '64KiB'))).toEqual([]);
  },
);

/** Slow clients with endpoints of their own, and the queue before them. */
import { describe, expect, it } from 'vitest';
import { DEFAULT_LANE, type Limits } from '../../../src/config/config.ts';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import { createDispatcher } from '../../../src/queue/dispatcher.ts';
import type { Release } from '../../../src/queue/types.ts';

const LIMITS: Limits = { weight: 1, maxOutputs: 16, maxQueued: 100 };
const FAST = '10.0.0.1:8000';
const SLOW = '10.0.0.2:8000';

/** Two endpoints of two slots each; the second one is for slow clients. */
function createQueue() {
  const endpoints = createPoolEndpoints(fixedLimit);
  endpoints.reconfigure(
    [
      { url: 'http://fast:8000', address: FAST },
      { url: 'http://slow:8000', address: SLOW, isolated: true },
    ],
    {
      concurrencyLimit: 2,
      prefillTokens: 1_000_000,
      headroom: 0,
      routing: { profile: 'slow-client-isolation' },
    },
  );
  for (const url of ['http://fast:8000', 'http://slow:8000']) endpoints.setHealthy(url, true, 0);
  const dispatcher = createDispatcher(
    {
      maxWaitMs: 10_000,
      maxQueued: 100,
      quantumTokens: 64,
      lanes: new Map([[DEFAULT_LANE.name, DEFAULT_LANE]]),
    },
    () => LIMITS,
  );
  dispatcher.addPool('main', endpoints);
  const released: { readonly name: string; readonly release: Release }[] = [];
  let nowMs = 0;
  return {
    released,
    /** Where it went; undefined: it waits. */
    offer(name: string, tenant: string, slow: boolean): string | undefined {
      nowMs += 1;
      let release: Release | undefined;
      dispatcher.offer(
        {
          tenant,
          pool: 'main',
          lane: 'default',
          cost: 100,
          demand: {
            sequences: 1,
            promptTokens: 10,
            totalTokens: 20,
            streamed: true,
            choice: {
              prompt: undefined,
              promptBytes: 40,
              promptTokens: 10,
              totalTokens: 20,
              stream: true,
              slow,
            },
          },
          onRelease(granted, at) {
            release = granted;
            granted.firstToken(at);
            released.push({ name, release: granted });
          },
          onExpire: () => undefined,
        },
        nowMs,
      );
      return release?.slot.address;
    },
    free(name: string): void {
      nowMs += 1;
      released.find((one) => one.name === name)?.release.free(nowMs);
    },
    addressOf: (name: string) => released.find((one) => one.name === name)?.release.slot.address,
  };
}

describe('the queue before endpoints that are kept for slow clients', () => {
  it('is held up by no slow client, however many there are', () => {
    const queue = createQueue();
    expect(['s1', 's2', 's3'].map((name) => queue.offer(name, 'a', true))).toEqual([SLOW, SLOW, FAST]);
    expect(queue.offer('f1', 'a', false)).toBe(FAST);
    // Two wait; the slow one came first.
    queue.offer('s4', 'a', true);
    queue.offer('f2', 'a', false);
    queue.free('s3');
    expect(queue.addressOf('s4')).toBe(FAST);
    queue.free('f1');
    expect(queue.addressOf('f2')).toBe(FAST);
  });

  it('gives a slow client its own endpoint as soon as that has room', () => {
    const queue = createQueue();
    for (const name of ['s1', 's2']) queue.offer(name, 'a', true);
    for (const name of ['f1', 'f2']) queue.offer(name, 'a', false);
    queue.offer('s3', 'a', true);
    queue.free('s1');
    expect(queue.addressOf('s3')).toBe(SLOW);
  });

  it('keeps everybody else off them, quiet tenants too', () => {
    const queue = createQueue();
    expect(['f1', 'f2', 'f3'].map((name) => queue.offer(name, 'a', false))).toEqual([FAST, FAST, undefined]);
    expect(queue.offer('q1', 'b', false)).toBeUndefined();
    queue.free('f1');
    expect(queue.addressOf('q1')).toBe(FAST);
    queue.free('f2');
    expect(queue.addressOf('f3')).toBe(FAST);
  });
});

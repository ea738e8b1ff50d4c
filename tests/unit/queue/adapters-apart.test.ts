/** Requests that wait for adapters, where slow clients have endpoints of their own, and what is explained meanwhile. */
import { describe, expect, it } from 'vitest';
import { DEFAULT_LANE as LANE, type LoraAdapterConfig } from '../../../src/config/config.ts';
import { createPoolAdapters } from '../../../src/lora/pool-adapters.ts';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import type { Demand } from '../../../src/pool/types.ts';
import { createDispatcher } from '../../../src/queue/dispatcher.ts';
import type { Release } from '../../../src/queue/types.ts';

const urlOf = (n: number): string => `http://10.0.0.${n}:8000`;

interface Asked {
  readonly tenant?: string;
  readonly adapter?: string;
  readonly slow?: boolean;
  readonly cost?: number;
}

/** The second endpoint is kept for slow clients. */
function setup(window = 4, headroom = 0) {
  const loads: string[] = [];
  const adapters = createPoolAdapters({
    load: (endpoint, { name }) => loads.push(`${endpoint} ${name}`),
    suspect: () => undefined,
  });
  const endpoints = createPoolEndpoints(fixedLimit, undefined, undefined, adapters);
  endpoints.reconfigure(
    [1, 2].map((n) => ({ url: urlOf(n), address: `10.0.0.${n}:8000`, isolated: n === 2 })),
    {
      concurrencyLimit: window,
      prefillTokens: 1_000_000,
      headroom,
      slowStartMs: 0,
      routing: { profile: 'slow-client-isolation' },
    },
  );
  adapters.reconfigure(
    [1, 2].map(urlOf),
    2,
    new Map<string, LoraAdapterConfig>([['x', { name: 'x', base: 'm', path: '/x' }]]),
  );
  for (const n of [1, 2]) endpoints.setHealthy(urlOf(n), true, 0);
  const dispatcher = createDispatcher(
    { maxWaitMs: 10_000, maxQueued: 100, quantumTokens: 100, lanes: new Map([[LANE.name, LANE]]) },
    () => ({ weight: 1, maxOutputs: 16, maxQueued: 100 }),
  );
  dispatcher.addPool('main', endpoints);
  const released: { readonly address: string; readonly release: Release }[] = [];
  const demandOf = ({ adapter, slow = false }: Asked): Demand => ({
    sequences: 1,
    promptTokens: 1,
    totalTokens: 2,
    streamed: true,
    model: adapter ?? 'm',
    ...(adapter !== undefined && { adapter }),
    choice: {
      prompt: undefined,
      promptBytes: 4,
      promptTokens: 1,
      totalTokens: 2,
      stream: true,
      slow,
      ...(adapter !== undefined && { adapter }),
    },
  });
  const offer = (asked: Asked, nowMs: number): string =>
    dispatcher.offer(
      {
        tenant: asked.tenant ?? 'a',
        pool: 'main',
        lane: LANE.name,
        cost: asked.cost ?? 10,
        demand: demandOf(asked),
        onRelease(release, at) {
          released.push({ address: release.slot.address, release });
          release.firstToken(at);
        },
        onExpire: () => undefined,
      },
      nowMs,
    ).kind;
  const explain = (asked: Asked, nowMs: number) =>
    dispatcher.explain({ tenant: asked.tenant ?? 'a', pool: 'main', demand: demandOf(asked) }, nowMs);
  const loaded = (n: number, nowMs: number): void => {
    adapters.loaded(urlOf(n), 'x', nowMs);
    dispatcher.adaptersChanged('main', 'x', nowMs);
  };
  return { dispatcher, adapters, offer, explain, loaded, loads, released };
}

describe('of the requests of one tenant that wait for an adapter', () => {
  it('those of slow clients go when it is there on their side, whoever came before them', () => {
    const { offer, loaded, loads, released } = setup();
    expect(offer({ adapter: 'x' }, 0)).toBe('queued');
    expect(offer({ adapter: 'x', slow: true }, 1)).toBe('queued');
    expect(loads).toEqual([`${urlOf(1)} x`, `${urlOf(2)} x`]);
    loaded(2, 10);
    expect(released.map(({ address }) => address)).toEqual(['10.0.0.2:8000']);
    loaded(1, 20);
    expect(released.map(({ address }) => address)).toEqual(['10.0.0.2:8000', '10.0.0.1:8000']);
  });
});

describe('an explanation while requests wait for an adapter', () => {
  it('calls a tenant quiet as long as the next request of it would be', () => {
    const { offer, explain, released, dispatcher } = setup(12);
    // Alone it is not quiet: its request waits in turn.
    expect(offer({ tenant: 'b', adapter: 'x' }, 0)).toBe('queued');
    for (let i = 0; i < 4; i += 1) offer({ tenant: 'a', cost: 1_000 }, 1);
    expect(explain({ tenant: 'b' }, 2)).toMatchObject({ belowFairShare: true, queuedOfTenant: 1 });
    expect(offer({ tenant: 'b' }, 2)).toBe('released');
    expect(released.at(-1)?.release.belowFairShare).toBe(true);
    expect(dispatcher.queuedOfTenant('b')).toBe(1);
  });
});

describe('a request that waits for an adapter', () => {
  /** `b` has one that waits for its adapter, and one in an engine that passed the queue of `a`. */
  const beside = () => {
    const at = setup(4, 1);
    // Alone it is not quiet: it would wait for its turn.
    expect(at.offer({ tenant: 'b', adapter: 'x' }, 0)).toBe('queued');
    for (let i = 0; i < 10; i += 1) at.offer({ tenant: 'a', cost: 1_000 }, 1);
    expect(at.offer({ tenant: 'b' }, 2)).toBe('queued');
    at.released[0]?.release.free(3);
    expect(at.released.at(-1)?.release.belowFairShare).toBe(true);
    expect(at.dispatcher.headroomOf('main', 4)).toBe(1);
    return at;
  };

  it('does not take from its tenant what is kept free for it, however often it looks', () => {
    const { dispatcher, released } = beside();
    // Room, for its look.
    released[1]?.release.free(10);
    for (let now = 50; now < 300; now += 50) dispatcher.tick(now);
    expect(dispatcher.queuedOfTenant('b')).toBe(1);
    expect(dispatcher.headroomOf('main', 300)).toBe(1);
  });
});

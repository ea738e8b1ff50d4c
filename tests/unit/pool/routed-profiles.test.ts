/** Each profile does what it is for, through the endpoints of a pool as the queue asks them. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PROFILE_NAMES } from '../../../src/domain/routing-profiles.ts';
import { adaptiveLimit } from '../../../src/pool/concurrency-limit/adaptive.ts';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import type { Claim, Demand, PoolEndpoints, Slot } from '../../../src/pool/types.ts';
import type { ChoiceRequest } from '../../../src/routing/candidate.ts';
import type { RoutingConfig } from '../../../src/routing/profiles.ts';
import { createPromptHasher, type PromptHashes } from '../../../src/routing/prompt-hash.ts';
import { jsonDocumentOf } from '../../support/documents.ts';

const hasher = createPromptHasher(new Uint32Array([1, 2, 3, 4, 5, 6]));
const urlOf = (n: number): string => `http://e${n}:8000`;
const addressOf = (n: number): string => `10.0.0.${n}:8000`;
const CAPACITY = 100_000;

interface PoolOptions {
  readonly routing: RoutingConfig;
  readonly window?: number;
  readonly isolated?: readonly number[];
  readonly zones?: Readonly<Record<number, string>>;
}

function pool(count: number, { routing, window = 32, isolated = [], zones = {} }: PoolOptions) {
  const endpoints = createPoolEndpoints(fixedLimit);
  const configure = (slowStartMs = 30_000): void =>
    endpoints.reconfigure(
      Array.from({ length: count }, (_, i) => {
        const zone = zones[i + 1];
        return {
          url: urlOf(i + 1),
          address: addressOf(i + 1),
          isolated: isolated.includes(i + 1),
          ...(zone !== undefined && { zone }),
        };
      }),
      { concurrencyLimit: window, prefillTokens: 1_000_000, headroom: 'auto', routing, slowStartMs },
    );
  configure();
  for (let n = 1; n <= count; n += 1) {
    endpoints.setHealthy(urlOf(n), true, 0);
    endpoints.setCapacity(urlOf(n), CAPACITY);
  }
  return endpoints;
}

function hash(text: string, sessionId?: string): PromptHashes | undefined {
  return hasher.hash({
    route: 'chat.completions',
    document: jsonDocumentOf({ messages: [{ role: 'user', content: text }] }),
    scope: 'tenant a',
    model: 'm',
    ...(sessionId !== undefined && { sessionId }),
  });
}

interface Asked extends Partial<ChoiceRequest> {
  readonly text?: string;
  readonly session?: string;
  /** Only this endpoint may serve it. */
  readonly only?: number;
  readonly quiet?: boolean;
  readonly output?: number;
}

/** Nothing here needs an adapter. */
function acquired(
  endpoints: PoolEndpoints,
  ...asked: Parameters<PoolEndpoints['acquire']>
): Slot | undefined {
  const got = endpoints.acquire(...asked);
  return got?.kind === 'slot' ? got : undefined;
}

let unlike = 0;

const CLAIM: Claim = { belowFairShare: false, headroom: 0, tenant: 'a' };

function demandOf(asked: Asked): Demand {
  unlike += 1;
  const { text = `${unlike} is unlike all others`, session, only, output = 100, ...more } = asked;
  const promptTokens = more.promptTokens ?? Math.ceil(text.length / 4);
  const within = only === undefined ? undefined : new Set([addressOf(only)]);
  const choice: ChoiceRequest = {
    prompt: hash(text, session),
    promptBytes: text.length,
    promptTokens,
    totalTokens: promptTokens + output,
    stream: true,
    slow: false,
    ...(within !== undefined && { subset: within }),
    ...more,
  };
  return {
    sequences: 1,
    promptTokens,
    totalTokens: choice.totalTokens,
    streamed: true,
    choice,
    ...(within !== undefined && { within }),
  };
}

const ask = (endpoints: PoolEndpoints, asked: Asked = {}, claim: Partial<Claim> = {}, nowMs = 0) =>
  acquired(endpoints, demandOf(asked), { ...CLAIM, ...claim }, nowMs);
/** So many requests run there, their prompts computed. */
function load(endpoints: PoolEndpoints, n: number, count: number, asked: Asked = {}) {
  return Array.from({ length: count }, () => {
    const slot = ask(endpoints, { only: n, ...asked });
    slot?.firstToken(1);
    return slot;
  });
}
const chosen = (endpoints: PoolEndpoints, asked: Asked = {}, nowMs = 0): number => {
  const slot = ask(endpoints, asked, {}, nowMs);
  slot?.free(nowMs);
  return Number(/10\.0\.0\.(\d+):/.exec(slot?.address ?? '')?.[1] ?? 0);
};

const DOCUMENT = 'what everybody asks about '.repeat(600);
/** It was asked for there. */
const teach = (endpoints: PoolEndpoints, n: number): void => {
  const slot = ask(endpoints, { text: DOCUMENT, only: n });
  slot?.firstToken(1);
  slot?.free(2);
};

describe('balanced', () => {
  it('goes to the endpoint with the least to do, and to a cached prompt where both have as much', () => {
    const endpoints = pool(2, { routing: { profile: 'balanced' } });
    teach(endpoints, 2);
    expect(chosen(endpoints, { text: `${DOCUMENT} and more` })).toBe(2);
    load(endpoints, 2, 20);
    expect(chosen(endpoints)).toBe(1);
  });
});

describe('prefix-cache', () => {
  it('goes where the prompt is cached although that has more to do, up to a bound', () => {
    const endpoints = pool(2, { routing: { profile: 'prefix-cache' } });
    teach(endpoints, 2);
    load(endpoints, 2, 6);
    load(endpoints, 1, 2);
    expect(chosen(endpoints, { text: `${DOCUMENT} and more` })).toBe(2);
    load(endpoints, 2, 20);
    expect(chosen(endpoints, { text: `${DOCUMENT} and more` })).toBe(1);
  });
});

describe('interactive', () => {
  it('does not wait behind a long prompt for what is cached, where prefix-cache does', () => {
    const first = (profile: RoutingConfig['profile']): number => {
      const endpoints = pool(2, { routing: { profile } });
      teach(endpoints, 2);
      // Being computed: no first token yet.
      ask(endpoints, { only: 2, promptTokens: 6_000 });
      load(endpoints, 1, 1);
      return chosen(endpoints, { text: `${DOCUMENT} and more` });
    };
    expect([first('interactive'), first('prefix-cache')]).toEqual([1, 2]);
  });
});

describe('large-tokens', () => {
  it('goes where most room is left in the KV cache, although more runs there', () => {
    const first = (profile: RoutingConfig['profile']): number => {
      const endpoints = pool(2, { routing: { profile } });
      load(endpoints, 1, 2, { promptTokens: 35_000 });
      load(endpoints, 2, 12);
      return chosen(endpoints, { promptTokens: 10_000 });
    };
    expect([first('large-tokens'), first('interactive')]).toEqual([2, 1]);
  });
});

describe('slow-client-isolation', () => {
  const routing = { profile: 'slow-client-isolation' } as const;

  it('keeps slow clients on their endpoints and all others off them', () => {
    const endpoints = pool(3, { routing, isolated: [2] });
    for (let i = 0; i < 6; i += 1) {
      expect(chosen(endpoints, { slow: true })).toBe(2);
      expect(chosen(endpoints)).not.toBe(2);
    }
  });

  it('lets slow clients wait for nobody: what their endpoints have no room for goes to others', () => {
    const endpoints = pool(2, { routing, isolated: [2], window: 3 });
    const explained = () => endpoints.explain(demandOf({ slow: true }), CLAIM, 0).chosen;
    const slow = Array.from({ length: 6 }, () => [explained(), ask(endpoints, { slow: true })?.address]);
    expect(slow).toEqual([2, 2, 2, 1, 1, 1].map((n) => [addressOf(n), addressOf(n)]));
  });

  it('keeps their endpoints free of others while those are full', () => {
    const endpoints = pool(2, { routing, isolated: [2], window: 3 });
    load(endpoints, 1, 3);
    expect(ask(endpoints)).toBeUndefined();
    expect(ask(endpoints, {}, { belowFairShare: true })).toBeUndefined();
    expect(ask(endpoints, { slow: true })?.address).toBe(addressOf(2));
  });

  it('keeps slots free for quiet tenants where those may go', () => {
    const endpoints = pool(2, { routing, isolated: [2], window: 3 });
    const noisy = (asked: Asked = {}): string | undefined => {
      const slot = ask(endpoints, asked, { headroom: 1 });
      slot?.firstToken(1);
      return slot?.address;
    };
    expect([noisy(), noisy(), noisy()]).toEqual([addressOf(1), addressOf(1), undefined]);
    expect(ask(endpoints, {}, { belowFairShare: true })?.address).toBe(addressOf(1));
    // Slow ones take what is theirs.
    const slow = { slow: true };
    expect([noisy(slow), noisy(slow), noisy(slow)]).toEqual([addressOf(2), addressOf(2), undefined]);
  });

  it('keeps no more free than the endpoints of others have', () => {
    const endpoints = pool(2, { routing, isolated: [2], window: 3 });
    load(endpoints, 2, 1, { slow: true });
    const slots = [1, 2, 3].map(() => {
      const slot = ask(endpoints, {}, { headroom: 5 });
      slot?.firstToken(1);
      return slot?.address;
    });
    expect(slots).toEqual([addressOf(1), undefined, undefined]);
  });

  it('lets both use what there is while one side has no endpoint', () => {
    const endpoints = pool(2, { routing, isolated: [2] });
    endpoints.setHealthy(urlOf(2), false, 1);
    expect(chosen(endpoints, { slow: true })).toBe(1);
    endpoints.setHealthy(urlOf(2), true, 2);
    endpoints.setDrained(urlOf(1), true);
    expect(chosen(endpoints)).toBe(2);
  });

  it('without endpoints of their own packs slow clients together, as long as they leave half of a window', () => {
    const endpoints = pool(2, { routing, window: 16 });
    const first = ask(endpoints, { slow: true })?.address;
    const slow = Array.from({ length: 7 }, () => ask(endpoints, { slow: true })?.address);
    expect(new Set(slow)).toEqual(new Set([first]));
    const other = first === addressOf(1) ? 2 : 1;
    expect(chosen(endpoints)).toBe(other);
    expect(chosen(endpoints, { slow: true })).toBe(other);
  });

  it('counts slow clients only while they are in flight, and where Envoy served them', () => {
    const endpoints = pool(2, { routing, window: 16 });
    const slots = Array.from({ length: 4 }, () => ask(endpoints, { slow: true, only: 1 }));
    expect(endpoints.list(0).map(({ slowClients }) => slowClients)).toEqual([4, 0]);
    for (const slot of slots) slot?.moveTo(addressOf(2), 0);
    expect(endpoints.list(0).map(({ slowClients }) => slowClients)).toEqual([0, 4]);
    load(endpoints, 1, 4);
    expect(chosen(endpoints)).toBe(1);
    expect(chosen(endpoints, { slow: true })).toBe(2);
    for (const slot of slots) slot?.free(1);
    load(endpoints, 1, 4);
    expect(chosen(endpoints, { slow: true })).toBe(2);
    expect(chosen(endpoints)).toBe(2);
  });
});

describe('class-aware', () => {
  it('sends large, interactive and slow requests each where their own profile would', () => {
    const endpoints = pool(3, {
      routing: { profile: 'class-aware', largeTokens: 5_000 },
      isolated: [3],
    });
    load(endpoints, 1, 2, { promptTokens: 35_000 });
    load(endpoints, 2, 12);
    expect(chosen(endpoints, { promptTokens: 10_000 })).toBe(2);
    expect(chosen(endpoints, { promptTokens: 100 })).toBe(1);
    expect(chosen(endpoints, { promptTokens: 100, slow: true })).toBe(3);
  });

  it('takes a request for large from largeTokens on', () => {
    const first = (largeTokens: number): number => {
      const endpoints = pool(2, { routing: { profile: 'class-aware', largeTokens } });
      load(endpoints, 1, 2, { promptTokens: 35_000 });
      load(endpoints, 2, 12);
      return chosen(endpoints, { promptTokens: 6_000 });
    };
    expect([first(5_000), first(50_000)]).toEqual([2, 1]);
  });
});

describe('every profile', () => {
  it.each(PROFILE_NAMES)('%s prefers the zone of the request, as much as its weight says', (profile) => {
    const zones = { 1: 'eu', 2: 'us' };
    const near = pool(2, { routing: { profile, weights: { zone: 5 } }, zones });
    const ignoring = pool(2, { routing: { profile, weights: { zone: 0 } }, zones });
    for (const endpoints of [near, ignoring]) load(endpoints, 2, 4);
    expect(chosen(near, { zone: 'us' })).toBe(2);
    expect(chosen(ignoring, { zone: 'us' })).toBe(1);
    expect(chosen(near, { zone: 'nowhere' })).toBe(1);
  });

  it.each(PROFILE_NAMES)('%s keeps a session where it was served last', (profile) => {
    const endpoints = pool(3, { routing: { profile, weights: { session: 5 } } });
    const home = chosen(endpoints, { session: 'one' });
    for (let i = 0; i < 5; i += 1) {
      chosen(endpoints, { session: `other ${i}` });
      expect(chosen(endpoints, { session: 'one' })).toBe(home);
    }
  });

  it.each(PROFILE_NAMES)('%s avoids an engine whose own queue others fill, as its gauges say', (profile) => {
    const endpoints = pool(2, { routing: { profile } });
    for (let i = 0; i < 4; i += 1) {
      endpoints.gauges(urlOf(1), { running: 20, waiting: 10 }, i);
      endpoints.gauges(urlOf(2), { running: 0, waiting: 0 }, i);
      load(endpoints, 2, 1);
    }
    for (let i = 0; i < 4; i += 1) expect(chosen(endpoints)).toBe(2);
    endpoints.gauges(urlOf(1), 'unusable', 10);
    expect(chosen(endpoints)).toBe(1);
  });

  it.each(PROFILE_NAMES)('%s believes no gauge so far that an endpoint is never chosen', (profile) => {
    const endpoints = pool(2, { routing: { profile }, window: 2 });
    endpoints.gauges(urlOf(1), { running: 1_000_000, waiting: 1_000_000 }, 0);
    load(endpoints, 2, 2);
    expect(chosen(endpoints)).toBe(1);
  });

  it('believes no gauge so far that others look idle beside it, and attract without a bound', () => {
    const endpoints = pool(4, { routing: { profile: 'prefix-cache' } });
    teach(endpoints, 2);
    load(endpoints, 2, 28);
    endpoints.gauges(urlOf(1), { running: 1_000_000, waiting: 0 }, 0);
    expect([3, 4]).toContain(chosen(endpoints, { text: `${DOCUMENT} and more` }));
  });

  it.each(PROFILE_NAMES)('%s sends less to an endpoint that has just come back', (profile) => {
    const endpoints = pool(3, { routing: { profile } });
    endpoints.setHealthy(urlOf(1), false, 0);
    endpoints.setHealthy(urlOf(1), true, 1_000);
    for (const n of [1, 2, 3]) load(endpoints, n, 2);
    const seen = new Set([1, 2, 3].map(() => chosen(endpoints, {}, 1_100)));
    expect(seen).toEqual(new Set([2, 3]));
    const later = new Set([1, 2, 3].map(() => chosen(endpoints, {}, 60_000)));
    expect(later).toEqual(new Set([1, 2, 3]));
  });
});

describe('a KV cache of which each sequence has its own part', () => {
  it('bounds nothing beside the window, where one for all does', () => {
    for (const isDivided of [true, false]) {
      const endpoints = pool(1, { routing: { profile: 'balanced' }, window: 2 });
      endpoints.setCapacity(urlOf(1), 4_000, isDivided);
      load(endpoints, 1, 1, { promptTokens: 1_900 });
      expect(ask(endpoints, { promptTokens: 1_900 }) === undefined).toBe(!isDivided);
    }
  });
});

describe('what an engine says that it runs at once', () => {
  it('bounds the window that looks for it, also when that is made anew', () => {
    const endpoints = createPoolEndpoints((initial) => adaptiveLimit({ initial, most: 100 }));
    const config = { concurrencyLimit: 'auto', prefillTokens: 1_000, headroom: 'auto' } as const;
    endpoints.reconfigure([{ url: urlOf(1), address: addressOf(1) }], config);
    endpoints.setHealthy(urlOf(1), true, 0);
    expect(endpoints.concurrencyLimit(0)).toBe(8);
    endpoints.setMaxSequences(urlOf(1), 3);
    expect(endpoints.concurrencyLimit(0)).toBe(3);
    endpoints.setCapacity(urlOf(1), 1_000_000);
    expect(endpoints.concurrencyLimit(0)).toBe(3);
    endpoints.setMaxSequences(urlOf(1), undefined);
    endpoints.setCapacity(urlOf(1), 2_000_000);
    expect(endpoints.concurrencyLimit(0)).toBe(8);
  });

  it('changes no window that is configured', () => {
    const endpoints = pool(1, { routing: { profile: 'balanced' }, window: 16 });
    endpoints.setMaxSequences(urlOf(1), 3);
    expect(endpoints.concurrencyLimit(0)).toBe(16);
  });
});

describe('whatever the profile and the state', () => {
  const COUNT = 5;
  const arbState = fc.record({
    profile: fc.constantFrom(...PROFILE_NAMES),
    weights: fc.record(
      { load: fc.nat(9), queue: fc.nat(9), prefix: fc.nat(9), zone: fc.nat(9), slowClients: fc.nat(9) },
      { requiredKeys: [] },
    ),
    window: fc.integer({ min: 1, max: 6 }),
    isolated: fc.subarray([1, 2, 3, 4, 5], { maxLength: 4 }),
    zones: fc.array(fc.constantFrom('eu', 'us'), { minLength: COUNT, maxLength: COUNT }),
    down: fc.subarray([1, 2, 3, 4, 5]),
    drained: fc.subarray([1, 2, 3, 4, 5]),
    gauges: fc.array(fc.record({ running: fc.nat(2_000_000), waiting: fc.nat(2_000_000) }), {
      minLength: COUNT,
      maxLength: COUNT,
    }),
    busy: fc.array(fc.nat(7), { minLength: COUNT, maxLength: COUNT }),
    asks: fc.array(
      fc.record({
        slow: fc.boolean(),
        quiet: fc.boolean(),
        stream: fc.boolean(),
        zone: fc.constantFrom('eu', 'us', 'nowhere'),
        text: fc.constantFrom(DOCUMENT, 'short'),
        session: fc.constantFrom('one', 'two', undefined),
        subset: fc.option(fc.subarray([1, 2, 3, 4, 5], { minLength: 1 }), { nil: undefined }),
      }),
      { minLength: 1, maxLength: 12 },
    ),
  });

  it('a chosen endpoint passes all filters, and one is chosen while any on its side has room', () => {
    fc.assert(
      fc.property(arbState, (state) => {
        const { profile, window, isolated, busy } = state;
        const endpoints = pool(COUNT, {
          routing: { profile, weights: state.weights },
          window,
          isolated,
          zones: Object.fromEntries(state.zones.map((zone, i) => [i + 1, zone])),
        });
        busy.forEach((count, i) => load(endpoints, i + 1, count));
        for (const n of state.down) endpoints.setHealthy(urlOf(n), false, 1);
        for (const n of state.drained) endpoints.setDrained(urlOf(n), true);
        state.gauges.forEach((sample, i) => endpoints.gauges(urlOf(i + 1), sample, 1));
        const isolates = profile === 'slow-client-isolation' || profile === 'class-aware';
        for (const { quiet, session, subset, ...asked } of state.asks) {
          const within = subset && new Set(subset.map(addressOf));
          const inFlight = new Map(endpoints.list(1).map((one) => [one.address, one.inFlight]));
          const admitted = [1, 2, 3, 4, 5].filter(
            (n) =>
              !state.down.includes(n) &&
              !state.drained.includes(n) &&
              (within === undefined || within.has(addressOf(n))),
          );
          const own = admitted.filter((n) => isolated.includes(n) === asked.slow);
          const side = isolates && own.length > 0 && !asked.slow ? own : admitted;
          const withRoom = side.filter((n) => (inFlight.get(addressOf(n)) ?? 0) < window);
          const slot = acquired(
            endpoints,
            {
              sequences: 1,
              promptTokens: 10,
              totalTokens: 20,
              streamed: true,
              ...(within !== undefined && { within }),
              choice: {
                prompt: hash(asked.text, session),
                promptBytes: asked.text.length,
                promptTokens: 10,
                totalTokens: 20,
                stream: asked.stream,
                slow: asked.slow,
                zone: asked.zone,
                ...(within !== undefined && { subset: within }),
              },
            },
            { belowFairShare: quiet, headroom: 0, tenant: 'a' },
            1,
          );
          slot?.firstToken(1);
          if (withRoom.length === 0) expect(slot).toBeUndefined();
          else expect(withRoom.map(addressOf)).toContain(slot?.address);
          // Own endpoints first: others only when those have no room.
          const ownRoom = own.filter((n) => (inFlight.get(addressOf(n)) ?? 0) < window);
          if (isolates && ownRoom.length > 0) expect(ownRoom.map(addressOf)).toContain(slot?.address);
        }
      }),
    );
  });
});

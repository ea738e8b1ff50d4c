/** Adapters where endpoints are chosen by more than load: caches, zones, sides of slow clients. */

import { describe, expect, it } from 'vitest';
import type { LoraAdapterConfig } from '../../../src/config/config.ts';
import { createPoolAdapters } from '../../../src/lora/pool-adapters.ts';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import type { Demand } from '../../../src/pool/types.ts';
import type { ChoiceRequest } from '../../../src/routing/candidate.ts';
import type { RoutingConfig } from '../../../src/routing/profiles.ts';
import { createPromptHasher } from '../../../src/routing/prompt-hash.ts';
import { jsonDocumentOf } from '../../support/documents.ts';

const hasher = createPromptHasher(new Uint32Array([1, 2, 3, 4, 5, 6]));
const urlOf = (n: number): string => `http://e${n}:8000`;
const addressOf = (n: number): string => `10.0.0.${n}:8000`;

interface Options {
  readonly routing?: RoutingConfig;
  readonly isolated?: readonly number[];
  readonly window?: number;
  readonly places?: number;
  readonly prefillTokens?: number;
}

interface Asked extends Partial<Demand> {
  readonly adapter?: string;
  readonly text?: string;
  readonly slow?: boolean;
  readonly only?: readonly number[];
}

let unlike = 0;

function setup(count: number, options: Options = {}) {
  const { isolated = [], window = 8, prefillTokens = 1_000_000, routing } = options;
  const loads: string[] = [];
  const adapters = createPoolAdapters({
    load: (url, { name }) => loads.push(`${url} ${name}`),
    suspect: () => undefined,
  });
  const endpoints = createPoolEndpoints(fixedLimit, undefined, undefined, adapters);
  const numbers = Array.from({ length: count }, (_, i) => i + 1);
  endpoints.reconfigure(
    numbers.map((n) => ({ url: urlOf(n), address: addressOf(n), isolated: isolated.includes(n) })),
    {
      concurrencyLimit: window,
      prefillTokens,
      headroom: 0,
      slowStartMs: 0,
      ...(routing !== undefined && { routing }),
    },
  );
  adapters.reconfigure(
    numbers.map(urlOf),
    options.places,
    new Map<string, LoraAdapterConfig>(
      ['x', 'y'].map((name) => [name, { name, base: 'm', path: `/${name}` }] as const),
    ),
  );
  for (const n of numbers) endpoints.setHealthy(urlOf(n), true, 0);
  const demandOf = ({ adapter, text, slow = false, only, ...more }: Asked): Demand => {
    unlike += 1;
    const prompt = text ?? `${unlike} is unlike all others`;
    const promptTokens = Math.ceil(prompt.length / 4);
    const within = only && new Set(only.map(addressOf));
    const choice: ChoiceRequest = {
      prompt: hasher.hash({
        route: 'chat.completions',
        document: jsonDocumentOf({ messages: [{ role: 'user', content: prompt }] }),
        scope: 'tenant a',
        model: adapter ?? 'm',
      }),
      promptBytes: prompt.length,
      promptTokens,
      totalTokens: promptTokens + 100,
      stream: true,
      slow,
      ...(adapter !== undefined && { adapter }),
      ...(within !== undefined && { subset: within }),
    };
    return {
      sequences: 1,
      promptTokens,
      totalTokens: promptTokens + 100,
      streamed: true,
      model: adapter ?? 'm',
      ...(adapter !== undefined && { adapter }),
      ...(within !== undefined && { within }),
      ...(routing !== undefined && { choice }),
      ...more,
    };
  };
  const claim = { belowFairShare: false, headroom: 0, tenant: 'a' };
  const ask = (asked: Asked, nowMs = 100) => endpoints.acquire(demandOf(asked), claim, nowMs);
  const explain = (asked: Asked, nowMs = 100) => endpoints.explain(demandOf(asked), claim, nowMs);
  /** Where it went, or what it waits for. */
  const go = (asked: Asked, nowMs = 100): string => {
    const got = ask(asked, nowMs);
    if (got?.kind !== 'slot') return got?.kind ?? 'full';
    got.firstToken(nowMs);
    return got.address;
  };
  const has = (n: number, ...names: readonly string[]): void => adapters.reported(urlOf(n), names, 0);
  return { endpoints, adapters, loads, ask, explain, go, has };
}

const BALANCED: RoutingConfig = { profile: 'balanced' };
const ISOLATING: RoutingConfig = { profile: 'slow-client-isolation' };
const DOCUMENT = 'what everybody asks about '.repeat(2_000);

describe('an adapter in a pool that keeps slow clients apart', () => {
  it('takes nobody to the side of slow clients because it is loaded there', () => {
    const { go, has, loads } = setup(2, { routing: ISOLATING, isolated: [2], places: 2 });
    has(2, 'x');
    expect(go({ adapter: 'x' })).toBe('later');
    expect(loads).toEqual([`${urlOf(1)} x`]);
  });

  it('takes nobody there because the own side is full', () => {
    const { go, has } = setup(2, { routing: ISOLATING, isolated: [2], places: 2, window: 1 });
    has(1, 'x');
    has(2, 'x');
    expect(go({ adapter: 'x' })).toBe(addressOf(1));
    expect(go({ adapter: 'x' })).toBe('full');
  });

  it('keeps retries on the own side', () => {
    const { ask, has } = setup(3, { routing: ISOLATING, isolated: [3], places: 2 });
    for (const n of [1, 2, 3]) has(n, 'x');
    const got = ask({ adapter: 'x' });
    expect(got?.kind === 'slot' && [...got.addresses].sort()).toEqual([addressOf(1), addressOf(2)]);
  });

  it('lets slow clients borrow a place on the other side when theirs is full', () => {
    const { go, has } = setup(2, { routing: ISOLATING, isolated: [2], places: 2, window: 1 });
    has(1, 'x');
    has(2, 'x');
    expect(go({ adapter: 'x', slow: true })).toBe(addressOf(2));
    expect(go({ adapter: 'x', slow: true })).toBe(addressOf(1));
  });

  it('is served on the other side where the own one can never have it', () => {
    const { go, has } = setup(2, { routing: ISOLATING, isolated: [2] });
    has(2, 'x');
    expect(go({ adapter: 'x' })).toBe(addressOf(2));
  });
});

describe('an adapter that several endpoints have', () => {
  it('is used where the prompt is cached, though an endpoint without it is idle', () => {
    const { go, has, loads } = setup(3, { routing: { profile: 'balanced' }, places: 2, window: 4 });
    has(2, 'x');
    has(3, 'x');
    expect(go({ adapter: 'x', text: DOCUMENT, only: [3] })).toBe(addressOf(3));
    for (let i = 0; i < 2; i += 1) go({ only: [3] });
    go({ only: [2] });
    // Its own cache is worth a few requests more, as without adapters.
    expect(go({ adapter: 'x', text: `${DOCUMENT} and more` })).toBe(addressOf(3));
    expect(loads).toEqual([]);
  });

  it('is used where the cached prompt leaves room, though the whole prompt would not', () => {
    const { ask, go, has, loads } = setup(2, {
      routing: { profile: 'interactive' },
      places: 2,
      prefillTokens: 1_000,
    });
    has(1, 'x');
    go({ adapter: 'x', text: DOCUMENT, only: [1] });
    // Prompts that are being computed there, so that the other endpoint looks better.
    for (let i = 0; i < 3; i += 1) ask({ text: `${i} ${'word '.repeat(1_500)}`, only: [1] });
    expect(go({ adapter: 'x', text: `${DOCUMENT} and more` })).toBe(addressOf(1));
    expect(loads).toEqual([]);
  });
});

describe('an adapter that is loaded only where a request may not go', () => {
  it.each([
    ['least loaded', undefined],
    ['routed', BALANCED],
  ])('is refused at once where nothing is loaded from here (%s)', (_, routing) => {
    const { ask, has } = setup(2, routing === undefined ? {} : { routing });
    has(2, 'x');
    expect(ask({ adapter: 'x', only: [1] })).toMatchObject({ kind: 'refused', reason: 'no-endpoint' });
    expect(ask({ adapter: 'x', only: [2] })).toMatchObject({ kind: 'slot' });
  });

  it('is waited for while one that has it is full', () => {
    const { go, has } = setup(2, { window: 1 });
    has(2, 'x');
    expect(go({ adapter: 'x' })).toBe(addressOf(2));
    expect(go({ adapter: 'x' })).toBe('later');
  });

  it('is refused while the only endpoint that has it is drained', () => {
    const { ask, endpoints, has } = setup(2);
    has(2, 'x');
    endpoints.setDrained(urlOf(2), true);
    expect(ask({ adapter: 'x' })).toMatchObject({ kind: 'refused', reason: 'no-endpoint' });
  });
});

describe('an explanation of a request for an adapter', () => {
  it.each([
    ['least loaded', undefined],
    ['routed', BALANCED],
  ])('names the endpoint that has it, as the request would (%s)', (_, routing) => {
    const { explain, go, has, loads } = setup(3, { places: 1, ...(routing !== undefined && { routing }) });
    has(2, 'x');
    for (let i = 0; i < 3; i += 1) go({ only: [2] });
    const before = explain({ adapter: 'x' });
    expect(before.chosen).toBe(addressOf(2));
    expect(before.fallbacks).toEqual([]);
    expect(go({ adapter: 'x' })).toBe(before.chosen);
    expect(loads).toEqual([]);
  });

  it.each([
    ['least loaded', undefined],
    ['routed', BALANCED],
  ])('chooses none while it has to be loaded first, says so, and orders nothing (%s)', (_, routing) => {
    const { explain, adapters, loads } = setup(2, { places: 1, ...(routing !== undefined && { routing }) });
    const { chosen, fallbacks, endpoints } = explain({ adapter: 'x' });
    expect([chosen, fallbacks]).toEqual([undefined, []]);
    expect(endpoints.map(({ refusedBy, place }) => [refusedBy, place])).toEqual([
      [['adapter not loaded'], undefined],
      [['adapter not loaded'], undefined],
    ]);
    expect(loads).toEqual([]);
    expect(adapters.list().map(({ loaded, loading }) => [loaded, loading])).toEqual([
      [[], []],
      [[], []],
    ]);
  });

  it('keeps to the side of the client', () => {
    const { explain, has } = setup(2, { routing: ISOLATING, isolated: [2], places: 2 });
    has(2, 'x');
    expect(explain({ adapter: 'x' }).chosen).toBeUndefined();
    expect(explain({ adapter: 'x', slow: true }).chosen).toBe(addressOf(2));
  });
});

describe('an explanation of a slow client’s request', () => {
  it('names the other side when its own is full, as the request would', () => {
    const { explain, go } = setup(2, { routing: ISOLATING, isolated: [2], window: 1 });
    expect(go({ slow: true })).toBe(addressOf(2));
    const { chosen } = explain({ slow: true });
    expect(chosen).toBe(addressOf(1));
    expect(go({ slow: true })).toBe(chosen);
  });
});

describe('an endpoint that requests have put out of the rotation', () => {
  /** The first one fails whatever comes, of several tenants. */
  const ejecting = () => {
    const at = setup(4, { places: 2, window: 100 });
    for (let i = 0; i < 40; i += 1) {
      const demand: Demand = {
        sequences: 1,
        promptTokens: 1,
        totalTokens: 2,
        streamed: true,
        model: `m${i}`,
      };
      const tenant = i % 8 < 4 ? 'a' : 'b';
      const slot = at.endpoints.acquire(demand, { belowFairShare: false, headroom: 0, tenant }, 0);
      if (slot?.kind !== 'slot') throw new Error('no slot');
      slot.ended({ status: slot.address === addressOf(1) ? 500 : 200 }, 0);
      slot.free(0);
    }
    expect(at.endpoints.list(0).map(({ ejected }) => ejected)).toEqual([true, false, false, false]);
    return at;
  };

  it('is not where an adapter is loaded for a trial, while another could load it', () => {
    const { ask, loads } = ejecting();
    expect(ask({ adapter: 'x' }, 5_000)).toMatchObject({ kind: 'later' });
    expect(loads).toHaveLength(1);
    expect(loads).not.toContain(`${urlOf(1)} x`);
  });

  it('is tried by a request whose adapter it has, and loads one when no other is there', () => {
    const { go, has, loads } = ejecting();
    has(1, 'x');
    has(2, 'x');
    expect(go({ adapter: 'x' }, 5_000)).toBe(addressOf(1));
    expect(go({ adapter: 'y', only: [1] }, 6_000)).toBe('full');
    const fresh = ejecting();
    expect(fresh.go({ adapter: 'y', only: [1] }, 6_000)).toBe('later');
    expect([loads, fresh.loads]).toEqual([[], [`${urlOf(1)} y`]]);
  });
});

/** What is explained is what is acquired, and explaining changes nothing. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPoolAdapters, type PoolAdapters } from '../../../src/lora/pool-adapters.ts';
import { adaptiveLimit } from '../../../src/pool/concurrency-limit/adaptive.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import type { Claim, Demand, PoolEndpoints, Slot } from '../../../src/pool/types.ts';
import type { PromptHashes } from '../../../src/routing/prompt-hash.ts';

const COUNT = 4;
const MODELS = ['m', 'n'];
const at = (n: number) => ({
  url: `http://e${n}:8000`,
  address: `10.0.0.${n}:8000`,
  isolated: n === COUNT - 1,
  ...(n === 1 && { weight: 3 }),
});
const ALL = Array.from({ length: COUNT }, (_, n) => at(n));

const BLOCKS = 60;
/** Prompts of which a part is the same: none, a third, two thirds, or all. */
const promptOf = (shared: number): PromptHashes => ({
  blocks: Uint32Array.from({ length: 2 * BLOCKS }, (_, i) =>
    i < (2 * BLOCKS * shared) / 3 ? 1_000 + i : 77_000 * (shared + 1) + i,
  ),
  bytes: 36_000,
  session: shared + 1,
  continues: shared > 0,
});

const arbAsk = fc.record({
  kind: fc.constant('ask' as const),
  tenant: fc.constantFrom('a', 'b', 'c'),
  belowFairShare: fc.boolean(),
  headroom: fc.nat(3),
  sequences: fc.constantFrom(1, 1, 1, 3),
  promptTokens: fc.constantFrom(10, 600, 9_000, 9_000),
  shared: fc.nat(3),
  slow: fc.boolean(),
  streamed: fc.boolean(),
  model: fc.constantFrom(...MODELS),
  adapter: fc.constantFrom(undefined, undefined, undefined, 'x', 'y', 'z'),
  within: fc.constantFrom(undefined, undefined, undefined, [0, 1], [2]),
});
type Ask = typeof arbAsk extends fc.Arbitrary<infer T> ? T : never;

const endpointIndex = fc.nat(COUNT - 1);
const arbStep = fc.oneof(
  { weight: 4, arbitrary: arbAsk },
  fc.record({ kind: fc.constant('health' as const), endpoint: endpointIndex, healthy: fc.boolean() }),
  fc.record({ kind: fc.constant('drain' as const), endpoint: endpointIndex, drained: fc.boolean() }),
  fc.record({
    kind: fc.constant('gauges' as const),
    endpoint: endpointIndex,
    running: fc.nat(12),
    waiting: fc.nat(3),
  }),
  fc.record({
    kind: fc.constant('capacity' as const),
    endpoint: endpointIndex,
    kvTokens: fc.constantFrom(undefined, 8_000, 40_000),
  }),
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('token' as const), slot: fc.nat(20) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('end' as const),
      slot: fc.nat(20),
      status: fc.constantFrom(200, 200, 500, 404),
    }),
  },
  fc.record({ kind: fc.constant('fail' as const), endpoint: endpointIndex, isOfModel: fc.boolean() }),
  fc.record({ kind: fc.constant('move' as const), slot: fc.nat(20), endpoint: endpointIndex }),
  fc.record({
    kind: fc.constant('loaded' as const),
    endpoint: endpointIndex,
    adapter: fc.constantFrom('x', 'y'),
  }),
);
type Step = typeof arbStep extends fc.Arbitrary<infer T> ? T : never;

const arbPool = fc.record({
  concurrencyLimit: fc.constantFrom('auto' as const, 1, 2, 5, 12),
  prefillTokens: fc.constantFrom(500, 4_000, 1_000_000),
  profile: fc.constantFrom(undefined, 'balanced' as const, 'prefix-cache' as const, 'class-aware' as const),
  loadsAdapters: fc.boolean(),
  steps: fc.array(fc.tuple(fc.constantFrom(0, 0, 1, 10, 40, 300, 6_000, 40_000), arbStep), { maxLength: 60 }),
});
type Pool = typeof arbPool extends fc.Arbitrary<infer T> ? T : never;

/** A pool that is driven by steps. */
class Driven {
  readonly endpoints: PoolEndpoints;
  readonly #adapters: PoolAdapters;
  readonly #slots: Slot[] = [];
  readonly #choices = new Map<string, Demand['choice']>();

  constructor({ concurrencyLimit, prefillTokens, profile, loadsAdapters }: Pool) {
    this.#adapters = createPoolAdapters({ load: () => undefined, suspect: () => undefined });
    this.endpoints = createPoolEndpoints(
      (initial) => adaptiveLimit({ initial, most: 64 }),
      undefined,
      undefined,
      loadsAdapters ? this.#adapters : undefined,
    );
    this.#adapters.reconfigure(
      ALL.map(({ url }) => url),
      1,
      new Map(['x', 'y'].map((name) => [name, { name, base: 'm', path: `/${name}` }])),
    );
    this.endpoints.reconfigure(ALL, {
      concurrencyLimit,
      prefillTokens,
      headroom: 'auto',
      ...(profile !== undefined && { routing: { profile } }),
    });
    for (const { url } of ALL) this.endpoints.setHealthy(url, true, 0);
  }

  /** The same request has the same object, as one that waits in a queue. */
  demandOf(ask: Ask): Demand {
    const { sequences, promptTokens, streamed, model, adapter, slow, within } = ask;
    const totalTokens = promptTokens + 100;
    const key = JSON.stringify([promptTokens, slow, adapter, ask.shared, ask.tenant]);
    const choice = this.#choices.get(key) ?? {
      prompt: promptOf(ask.shared),
      promptBytes: 4 * promptTokens,
      promptTokens,
      totalTokens,
      stream: streamed,
      slow,
      ...(adapter !== undefined && { adapter }),
    };
    this.#choices.set(key, choice);
    return {
      ...{ sequences, promptTokens, totalTokens, streamed, model, choice },
      ...(adapter !== undefined && { adapter }),
      ...(within !== undefined && { within: new Set(within.map((n) => at(n).address)) }),
    };
  }

  /** @returns addresses of the slot, the chosen one first; empty: none. */
  acquire(ask: Ask, nowMs: number): readonly string[] {
    const got = this.endpoints.acquire(this.demandOf(ask), claimOf(ask), nowMs);
    if (got?.kind !== 'slot') return [];
    this.#slots.push(got);
    return got.addresses;
  }

  explain(ask: Ask, nowMs: number): readonly string[] {
    const { chosen, fallbacks } = this.endpoints.explain(this.demandOf(ask), claimOf(ask), nowMs);
    return chosen === undefined ? [] : [chosen, ...fallbacks];
  }

  apply(step: Exclude<Step, Ask>, nowMs: number): void {
    const url = 'endpoint' in step ? at(step.endpoint).url : '';
    const slot = 'slot' in step ? this.#slots[step.slot % Math.max(1, this.#slots.length)] : undefined;
    switch (step.kind) {
      case 'health':
        return this.endpoints.setHealthy(url, step.healthy, nowMs);
      case 'drain':
        return this.endpoints.setDrained(url, step.drained);
      case 'gauges':
        return this.endpoints.gauges(url, step, nowMs);
      case 'capacity':
        return this.endpoints.setCapacity(url, step.kvTokens);
      case 'token':
        return slot?.firstToken(nowMs);
      case 'move':
        return slot?.moveTo(at(step.endpoint).address, 0);
      case 'fail':
        return this.#fail(step, nowMs);
      case 'loaded':
        return this.#adapters.reported(url, [step.adapter], nowMs);
      case 'end':
        slot?.ended({ status: step.status }, nowMs);
        return slot?.free(nowMs);
    }
  }

  /** Requests of two tenants fail there, until the endpoint is ejected or the model's circuit opens. */
  #fail({ endpoint, isOfModel }: Extract<Step, { kind: 'fail' }>, nowMs: number): void {
    for (let i = 0; i < 16; i += 1) {
      const demand: Demand = {
        ...{ sequences: 1, promptTokens: 10, totalTokens: 20, streamed: true, model: 'm' },
        within: new Set([at(endpoint).address]),
      };
      const tenant = i % 4 < 2 ? 'a' : 'b';
      const claim = { belowFairShare: true, headroom: 0, tenant };
      const slot = this.endpoints.acquire(demand, claim, nowMs);
      if (slot?.kind !== 'slot') return;
      const unknown = { status: 404, errorCode: 'model_not_found' };
      slot.ended(isOfModel ? unknown : { status: 500 }, nowMs);
      slot.free(nowMs);
    }
  }

  state(nowMs: number) {
    const { endpoints } = this;
    return {
      list: endpoints.list(nowMs),
      limit: endpoints.concurrencyLimit(nowMs),
      adapters: this.#adapters.list(),
      broken: MODELS.map((model) =>
        endpoints.brokenMs(
          { sequences: 1, promptTokens: 1, totalTokens: 2, streamed: true, model },
          'a',
          nowMs,
        ),
      ),
    };
  }
}

const claimOf = ({ belowFairShare, headroom, tenant }: Ask): Claim => ({
  belowFairShare,
  headroom: belowFairShare ? 0 : headroom,
  tenant,
});

describe('an explanation', () => {
  it('names the endpoint that the request then gets, and its fallbacks', () => {
    let given = 0;
    fc.assert(
      fc.property(arbPool, (pool) => {
        const driven = new Driven(pool);
        let nowMs = 0;
        for (const [afterMs, step] of pool.steps) {
          nowMs += afterMs;
          if (step.kind !== 'ask') driven.apply(step, nowMs);
          else {
            const explained = driven.explain(step, nowMs);
            expect(driven.acquire(step, nowMs)).toEqual(explained);
            given += explained.length;
          }
        }
      }),
      { numRuns: 300 },
    );
    expect(given).toBeGreaterThan(0);
  });

  it('changes nothing: who was asked goes on as who was not', () => {
    fc.assert(
      fc.property(arbPool, fc.array(arbAsk, { minLength: 1, maxLength: 5 }), (pool, questions) => {
        const asked = new Driven(pool);
        const other = new Driven(pool);
        let nowMs = 0;
        for (const [afterMs, step] of pool.steps) {
          nowMs += afterMs;
          for (const question of questions) asked.explain(question, nowMs);
          if (step.kind === 'ask') {
            expect(asked.acquire(step, nowMs)).toEqual(other.acquire(step, nowMs));
          } else {
            asked.apply(step, nowMs);
            other.apply(step, nowMs);
          }
          expect(asked.state(nowMs)).toEqual(other.state(nowMs));
        }
      }),
      { numRuns: 150 },
    );
  });
});

const FREE = { kind: 'ask', tenant: 'a', headroom: 0, sequences: 1, slow: false, streamed: true } as const;
const MORE = { model: 'm', adapter: undefined, within: undefined } as const;
/** A prompt of 9,000 tokens that is the same for all who ask for it. */
const LONG: Ask = { ...FREE, ...MORE, belowFairShare: false, promptTokens: 9_000, shared: 3 };
const SHORT: Ask = { ...LONG, promptTokens: 10, shared: 0 };

describe('an explanation of a request that waits for its cached prompt', () => {
  const waiting = () => {
    const driven = new Driven({
      ...{
        concurrencyLimit: 12,
        prefillTokens: 500,
        profile: 'prefix-cache',
        loadsAdapters: false,
        steps: [],
      },
    });
    const [home = ''] = driven.acquire(LONG, 0);
    driven.apply({ kind: 'token', slot: 0 }, 1_000);
    driven.apply({ kind: 'end', slot: 0, status: 200 }, 1_000);
    // Its own tokens are more than what goes beside a prompt of a tenant below its fair share.
    driven.acquire({ ...LONG, belowFairShare: true, shared: 2 }, 1_000);
    return { driven, home };
  };

  it('chooses none, says where the prompt is cached, and does not begin the wait', () => {
    const { driven, home } = waiting();
    const ask = { ...LONG, shared: 1 };
    const report = driven.endpoints.explain(driven.demandOf(ask), claimOf(ask), 1_000);
    const held = report.endpoints.find(({ address }) => address === home);
    expect([report.chosen, report.fallbacks]).toEqual([undefined, []]);
    expect(held?.refusedBy).toEqual(['prompts before it']);
    expect(
      report.endpoints.filter(({ address }) => address !== home).map(({ refusedBy }) => refusedBy),
    ).toEqual(Array.from({ length: COUNT - 1 }, () => [`the prompt is cached at ${home}`]));
    // Long after the explanation the request still waits, when it asks for the first time.
    const again = waiting();
    again.driven.explain(ask, 1_000);
    expect(again.driven.acquire(ask, 1_300)).toEqual([]);
    expect(again.driven.acquire(ask, 1_400)).toEqual([]);
    expect(again.driven.explain(ask, 1_551).length).toBeGreaterThan(0);
    expect(again.driven.acquire(ask, 1_551)).not.toEqual([]);
  });
});

describe('an explanation where an endpoint needs a half-open probe', () => {
  const ejecting = () => {
    const driven = new Driven({
      ...{
        concurrencyLimit: 12,
        prefillTokens: 1_000_000,
        profile: undefined,
        loadsAdapters: false,
        steps: [],
      },
    });
    driven.apply({ kind: 'fail', endpoint: 1, isOfModel: false }, 0);
    expect(driven.endpoints.list(0).map(({ ejected }) => ejected)).toEqual([false, true, false, false]);
    return driven;
  };

  it('names it, as the request goes there', () => {
    const driven = ejecting();
    expect(driven.explain(SHORT, 4_000)[0]).not.toBe(at(1).address);
    const explained = driven.explain(SHORT, 5_000);
    expect(explained[0]).toBe(at(1).address);
    expect(driven.acquire(SHORT, 5_000)).toEqual(explained);
  });

  it('leaves the probe to others as long as before, for a tenant below its fair share', () => {
    const driven = ejecting();
    const quiet = { ...SHORT, belowFairShare: true };
    driven.explain(quiet, 5_000);
    expect(driven.acquire(quiet, 9_000)[0]).not.toBe(at(1).address);
    expect(driven.acquire(quiet, 10_001)[0]).not.toBe(at(1).address);
    expect(driven.explain(quiet, 14_000)[0]).toBe(at(1).address);
    expect(driven.acquire(quiet, 14_000)[0]).toBe(at(1).address);
  });
});

/** An explanation is what an offer then meets: both decide by the same functions. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_LANE as LANE, type Limits } from '../../../src/config/config.ts';
import { fixedLimit } from '../../../src/pool/concurrency-limit/fixed.ts';
import { createPoolEndpoints } from '../../../src/pool/pool-endpoints.ts';
import type { Demand } from '../../../src/pool/types.ts';
import { createDispatcher } from '../../../src/queue/dispatcher.ts';
import type { Offer, QueueReport, Release } from '../../../src/queue/types.ts';

const URLS = ['http://10.0.0.1:8000', 'http://10.0.0.2:8000'];

const LIMITS: Readonly<Record<string, Partial<Limits>>> = {
  a: { maxQueued: 4 },
  b: { maxQueued: 2, weight: 2 },
  c: { maxQueued: 3, maxConcurrent: 1 },
  d: { maxQueued: 0 },
};

const arbStep = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('offer' as const),
      tenant: fc.constantFrom('a', 'a', 'a', 'b', 'c', 'd'),
      cost: fc.integer({ min: 1, max: 2_000 }),
      sequences: fc.constantFrom(1, 1, 1, 3),
      isSubset: fc.constantFrom(false, false, false, true),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('free' as const), index: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('prompt' as const), index: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cancel' as const), index: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('tick' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('health' as const), endpoint: fc.nat(1), on: fc.boolean() }),
  },
);
type Step = typeof arbStep extends fc.Arbitrary<infer T> ? T : never;
type Offered = Extract<Step, { kind: 'offer' }>;

function createWorld(headroom: number | 'auto') {
  const endpoints = createPoolEndpoints(fixedLimit);
  endpoints.reconfigure(
    URLS.map((url) => ({ url, address: url.slice('http://'.length) })),
    { concurrencyLimit: 4, prefillTokens: 1_000, headroom, slowStartMs: 0 },
  );
  for (const url of URLS) endpoints.setHealthy(url, true, 0);
  const dispatcher = createDispatcher(
    {
      maxWaitMs: 5_000,
      maxQueued: 8,
      maxQueuedBytes: 700,
      quantumTokens: 100,
      lanes: new Map([[LANE.name, LANE]]),
    },
    (tenant) => ({ weight: 1, maxOutputs: 16, maxQueued: 3, ...LIMITS[tenant] }),
  );
  dispatcher.addPool('main', endpoints);
  const trace: unknown[] = [];
  const running: Release[] = [];
  const tickets: ((nowMs: number) => boolean)[] = [];
  let arrivals = 0;
  const requestOf = ({ tenant, sequences, isSubset }: Offered) => {
    const demand: Demand = {
      sequences,
      promptTokens: 50,
      totalTokens: 100,
      streamed: true,
      ...(isSubset && { within: new Set(['10.0.0.1:8000']) }),
    };
    return { tenant, pool: 'main', bytes: 100, demand };
  };
  const pick = <T>(list: readonly T[], index: number): T | undefined =>
    list[index % Math.max(1, list.length)];

  return {
    trace,
    released: running,
    explain: (step: Offered, nowMs: number): QueueReport | undefined =>
      dispatcher.explain(requestOf(step), nowMs),
    offer(step: Offered, nowMs: number): Offer {
      arrivals += 1;
      const arrival = arrivals;
      const offer = dispatcher.offer(
        {
          ...requestOf(step),
          lane: LANE.name,
          cost: step.cost,
          onRelease(release, at) {
            running.push(release);
            trace.push([arrival, release.slot.address, release.belowFairShare, release.waitedMs, at]);
          },
          onExpire: (reason, waitedMs, at) => trace.push([arrival, reason, waitedMs, at]),
        },
        nowMs,
      );
      trace.push([arrival, offer.kind === 'refused' ? offer : offer.kind]);
      if (offer.kind === 'queued') tickets.push((at) => offer.ticket.cancel(at));
      return offer;
    },
    do(step: Exclude<Step, Offered>, nowMs: number): void {
      if (step.kind === 'free') {
        const release = pick(running, step.index);
        if (release === undefined) return;
        running.splice(running.indexOf(release), 1);
        release.settle(300, nowMs);
        release.free(nowMs);
      } else if (step.kind === 'prompt') pick(running, step.index)?.firstToken(nowMs);
      else if (step.kind === 'cancel') pick(tickets, step.index)?.(nowMs);
      else if (step.kind === 'tick') dispatcher.tick(nowMs);
      else {
        endpoints.setHealthy(URLS[step.endpoint] ?? '', step.on, nowMs);
        dispatcher.dispatch(nowMs);
      }
    },
    figures: (nowMs: number) => [
      dispatcher.queued(),
      dispatcher.headroomOf('main', nowMs),
      endpoints.list(nowMs),
    ],
  };
}

describe('an explanation', () => {
  it('says of a request what becomes of it when it is offered, and changes nothing', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(arbStep, fc.constantFrom(1, 20, 200, 30_000)), { maxLength: 80 }),
        fc.constantFrom(0, 1, 'auto' as const),
        (steps, headroom) => {
          const asked = createWorld(headroom);
          const unasked = createWorld(headroom);
          let nowMs = 0;
          for (const [step, waitMs] of steps) {
            nowMs += waitMs;
            if (step.kind !== 'offer') {
              for (const world of [asked, unasked]) world.do(step, nowMs);
              continue;
            }
            const report = asked.explain(step, nowMs);
            expect(asked.explain(step, nowMs)).toEqual(report);
            const before = asked.released.length;
            const offer = asked.offer(step, nowMs);
            unasked.offer(step, nowMs);
            expect(offer.kind === 'refused' ? offer.reason : undefined).toBe(report?.refusal);
            if (offer.kind === 'released' && report?.queued === 0) {
              const release = asked.released[before];
              // For a tenant that waits in turn nothing is kept free: then its request finds a slot after all.
              expect(release?.slot.address).toBe(report.choice.chosen ?? release?.slot.address);
              expect(release?.belowFairShare).toBe(report.belowFairShare);
              expect(report.atCap).toBe(false);
            }
            if (offer.kind === 'queued' && report?.queued === 0 && !report.atCap) {
              expect(report.choice.chosen).toBeUndefined();
            }
            expect(asked.trace).toEqual(unasked.trace);
            expect(asked.figures(nowMs)).toEqual(unasked.figures(nowMs));
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});

/** Three Fairlanes share one engine of 64 sequences: it stays full, its queue empty, and a quiet tenant is protected. */
import { beforeAll, describe, expect, it } from 'vitest';
import { capacityOf, HOP_MS, noisyNeighbour, profileOf } from '../../bench/fairness/loads.ts';
import { allRequests, type Request } from '../../src/loadtest/load.ts';
import { type ArmOutcome, quantileOf } from '../../src/loadtest/outcome.ts';
import { runArm } from '../../src/loadtest/virtual-lab.ts';
import type { Replicas } from '../../src/loadtest/virtual-replicas.ts';

const profile = profileOf('8b', 64);
const tenants = noisyNeighbour(1, 'chat');
const durationMs = 150_000;
/** The windows have found the engine's size by then, in every arm. */
const WARM_MS = 20_000;
const SEEDS = [1, 2, 3];
const capacityPerSecond = capacityOf(profile, tenants);

interface Result {
  readonly p50: number;
  readonly p99: number;
  readonly tokensPerSecond: number;
  /** Of all replicas together, seen every 10 ms. */
  readonly inFlight: readonly number[];
  /** Of each replica: when it had how much of the window. */
  readonly windows: readonly { readonly nowMs: number; readonly list: readonly number[] }[];
}

function run(replicas: Omit<Replicas, 'onAllotments'> | undefined, seeds: readonly number[] = SEEDS): Result {
  const ttfts: number[] = [];
  const inFlight: number[] = [];
  const windows: { nowMs: number; list: number[] }[] = [];
  let tokens = 0;
  for (const seed of seeds) {
    const onAllotments: Replicas['onAllotments'] = (list, nowMs) => {
      windows.push({ nowMs, list: list.map(({ concurrencyLimit }) => concurrencyLimit) });
      if (nowMs >= WARM_MS) inFlight.push(list.reduce((sum, one) => sum + one.inFlight, 0));
    };
    const outcome: ArmOutcome = runArm(
      {
        kind: 'fairlane',
        fairlane: replicas === undefined ? {} : { replicas: { ...replicas, onAllotments } },
      },
      {
        profile,
        tenants,
        requests: allRequests(tenants, { seed, durationMs, capacityPerSecond }),
        durationMs,
        hopMs: HOP_MS,
      },
    );
    tokens += outcome.usefulTokens;
    for (const { tenant, atMs, firstTokenMs } of outcome.requests) {
      if (tenant !== 'noisy' && atMs >= WARM_MS && firstTokenMs !== undefined)
        ttfts.push(firstTokenMs - atMs);
    }
  }
  return {
    p50: quantileOf(ttfts, 0.5) ?? Number.NaN,
    p99: quantileOf(ttfts, 0.99) ?? Number.NaN,
    tokensPerSecond: (tokens * 1_000) / durationMs / seeds.length,
    inFlight,
    windows,
  };
}

/** The flooder comes to the first replica, or to the first and the last in turn. */
const flooderOn = (...on: readonly number[]) => {
  let turn = 0;
  return ({ tenant }: Request): number => {
    if (tenant !== 'noisy') return 1;
    turn += 1;
    return on[turn % on.length] ?? 0;
  };
};

describe('three replicas in front of one engine', () => {
  let one: Result;
  beforeAll(() => {
    one = run(undefined);
  });

  /** What is not as it should be. A trial of a larger window is the only time when anybody waits in the engine. */
  const shortcomings = (result: Result, timesP99: number): readonly string[] =>
    Object.entries({
      'tokens/s': result.tokensPerSecond / one.tokensPerSecond > 0.95,
      p50: result.p50 / one.p50 < 1.2,
      p99: result.p99 / one.p99 < timesP99,
      'the engine is full': (quantileOf(result.inFlight, 0.5) ?? 0) > 56,
      'nobody waits in it': (quantileOf(result.inFlight, 0.95) ?? 65) <= 64,
      'trials are small': Math.max(...result.inFlight) < 64 * 1.25,
    }).flatMap(([claim, holds]) => (holds ? [] : [claim]));

  it('protect a quiet tenant on the second from a flooder on the first', () => {
    expect(shortcomings(run({ count: 3, of: flooderOn(0) }), 1.5)).toEqual([]);
  });

  it('and from one on the two others', () => {
    expect(shortcomings(run({ count: 3, of: flooderOn(0, 2) }), 1.5)).toEqual([]);
  });

  it('and with everybody on all of them', () => {
    let turn = 0;
    expect(shortcomings(run({ count: 3, of: () => turn++ % 3 }), 2)).toEqual([]);
  });

  it('divide the window equally with equal demand, and give nearly all to the only busy one', () => {
    let turn = 0;
    const halfMs = durationMs / 2;
    const { windows } = run(
      { count: 3, of: ({ tenant, atMs }) => (tenant !== 'noisy' ? 1 : atMs < halfMs ? turn++ % 3 : 0) },
      [1],
    );
    const before = windows.filter(({ nowMs }) => nowMs > WARM_MS && nowMs < halfMs);
    for (const i of [0, 1, 2]) {
      const median = quantileOf(
        before.map(({ list }) => list[i] ?? 0),
        0.5,
      );
      expect(median).toBeGreaterThanOrEqual(20);
      expect(median).toBeLessThanOrEqual(22);
    }
    // Their queues have to be served first: 100 requests each.
    const after = windows.filter(({ nowMs }) => nowMs > halfMs + 30_000);
    expect(
      quantileOf(
        after.map(({ list }) => list[0] ?? 0),
        0.5,
      ),
    ).toBeGreaterThanOrEqual(56);
  });

  it('find the engine’s size from a guess as one does, with all of them busy, and do not run away', () => {
    let turn = 0;
    const { windows } = run({ count: 3, of: () => turn++ % 3 }, [1]);
    const sums = windows.map(({ nowMs, list }) => ({ nowMs, sum: list.reduce((a, b) => a + b, 0) }));
    expect(sums.find(({ sum }) => sum >= 60)?.nowMs).toBeLessThan(10_000);
    expect(Math.max(...sums.filter(({ nowMs }) => nowMs > WARM_MS).map(({ sum }) => sum))).toBeLessThan(80);
  });
});

describe('a single replica with the account of shares', () => {
  it('keeps the engine as full as one without it', () => {
    const alone = run({ count: 1, of: () => 0 }, [1]);
    const without = run(undefined, [1]);
    expect(alone.tokensPerSecond / without.tokensPerSecond).toBeGreaterThan(0.98);
    expect(alone.p99 / without.p99).toBeLessThan(1.2);
  });

  it('learns the engine’s size without the account too, and uses its half of it at least', () => {
    const { tokensPerSecond } = run({ count: 1, of: () => 0, isUp: () => false }, [1]);
    expect(tokensPerSecond / run(undefined, [1]).tokensPerSecond).toBeGreaterThan(0.6);
  });

  it('takes its share again within a second of an outage', () => {
    const { windows } = run(
      { count: 1, of: () => 0, isUp: (nowMs) => nowMs < 60_000 || nowMs > 70_000 },
      [1],
    );
    const at = (ms: number): number => windows.find(({ nowMs }) => nowMs >= ms)?.list[0] ?? 0;
    expect(at(59_000)).toBeGreaterThanOrEqual(62);
    expect(at(62_000)).toBeLessThanOrEqual(33);
    expect(at(71_000)).toBeGreaterThanOrEqual(62);
  });
});
